/**
 * A question's way to an answer: which resolver is asked, how long, and who is asked next. Every question under way is an
 * entry, with a host socket connected to one resolver (udp-upstream.ts, tcp-upstream.ts); the query is kept, in a slot of
 * the arena, to be asked again.
 *
 *   start --> ask a resolver --(answer with our id and its question)--> answered       entry ended
 *                 |      ^
 *                 |      +---- failed, refused, or no answer in time: the next one, in rounds of growing patience
 *                 +---- all failed, or QUERY_MS over: the last one's failure           entry ended
 */
import { EMFILE, ENFILE } from "../../boundary.ts";
import type { ResolverAddress } from "../../config.ts";
import { DNS_QUERIES_MAX, DNS_QUERY_OCTETS_MAX } from "../../limits.ts";
import { type Counters, counter } from "../../metrics/counters.ts";
import { dropReason, HANDLED } from "../../metrics/drop-reasons.ts";
import {
  DNS_HEADER_OCTETS,
  FLAG_RESPONSE,
  flags,
  id,
  isFailure,
  isSameQuery,
  isSameQuestion,
  questionEnd,
  RCODE_MASK,
  RCODE_SERVFAIL,
} from "../../wire/dns.ts";
import type { Query } from "./query.ts";
import { isOverTcp, NO_QUESTION, QUESTIONS_MAX, Questions } from "./questions.ts";
import { OVER_TCP, OVER_UDP, type Resolvers } from "./resolvers.ts";
import { TcpUpstream } from "./tcp-upstream.ts";
import { UdpUpstream } from "./udp-upstream.ts";
import type { Upstream, UpstreamListener, UpstreamParts } from "./upstream.ts";

const UDP_REGION_OCTETS = DNS_QUERIES_MAX * DNS_QUERY_OCTETS_MAX;

/** Patience with one resolver in the first round; doubles with each round. */
const ROUND_MS = 1500;
/** When the guest is told SERVFAIL: its own patience ends soon after (RFC 1123 section 6.1.3.3 asks for 5 s at least). */
const QUERY_MS = 10_000;
/** Reads of one entry in a row, and how long it waits when it has had them, or when the guest has no room for more. */
const READS = 4;
const HELD_MS = 10;

const NEXT_RESOLVER = counter("dns-next-resolver");
const MALFORMED = dropReason("dns-malformed");
const NO_RESOLVER = dropReason("dns-no-resolver");
const TABLE_FULL = dropReason("flow-table-full");
const SOCKET_FAILED = dropReason("host-socket-failed");

/** Told of what becomes of an entry. */
export interface AnswerListener {
  /** An answer, which may be a failure; its question ends after `end` octets. The octets may be written over. */
  answered(entry: number, at: number, length: number, end: number): void;
  /** No resolver said anything that could be passed on; `rcode` is for the guest. */
  failed(entry: number, rcode: number): void;
  /** No more answers come of a zone transfer that has had some. */
  transferEnded(entry: number): void;
  /** The entry is free again; whoever still waits for it has been told, or gives way. */
  ended(entry: number): void;
  /** Whether the guest has room for another message of a zone transfer. */
  hasRoom(entry: number): boolean;
}

export class Resolution implements UpstreamListener {
  readonly resolvers: Resolvers;
  readonly questions = new Questions();
  private readonly view: DataView;
  private readonly counters: Counters;
  private readonly udp: UdpUpstream;
  private readonly tcp: TcpUpstream;
  private now = 0;

  /** `regionAt`: the arena's octets for kept queries and answers over TCP. */
  constructor(
    private readonly parts: UpstreamParts,
    regionAt: number,
    private readonly listener: AnswerListener,
  ) {
    this.view = parts.view;
    this.counters = parts.counters;
    this.resolvers = parts.resolvers;
    this.udp = new UdpUpstream(parts, regionAt, this);
    this.tcp = new TcpUpstream(parts, regionAt + UDP_REGION_OCTETS, this);
  }

  setResolvers(resolvers: readonly ResolverAddress[]): void {
    this.resolvers.set(resolvers);
    this.questions.restart();
    this.udp.forgetResolvers();
    this.tcp.forgetResolvers();
  }

  private upstream(entry: number): Upstream {
    return isOverTcp(entry) ? this.tcp : this.udp;
  }

  /** Milliseconds since it was asked. */
  ageMs(entry: number): number {
    return (this.now - this.questions.startedAt[entry]) | 0;
  }

  /** Where the entry's query is kept. */
  queryAt(entry: number): number {
    return this.upstream(entry).queryAt(entry);
  }

  /** The question under way that a query repeats, or NO_QUESTION. */
  find(query: Query): number {
    const last = query.overTcp ? QUESTIONS_MAX : DNS_QUERIES_MAX;
    for (let entry = query.overTcp ? DNS_QUERIES_MAX : 0; entry < last; entry++) {
      if (this.questions.transfer[entry] === 0 && this.isSame(entry, query)) return entry;
    }
    return NO_QUESTION;
  }

  /** Whether a query asks what the entry does. */
  isSame(entry: number, query: Query): boolean {
    const { used, hash, length } = this.questions;
    return (
      hash[entry] === query.hash &&
      used[entry] !== 0 &&
      length[entry] === query.length &&
      isSameQuery(this.view, this.queryAt(entry), query.at, query.length, query.end)
    );
  }

  /**
   * An entry for a question: over TCP one whose connection waits for it, if there is one; else a free one; else that of
   * the oldest question.
   */
  place(overTcp: boolean, nowMs: number): number {
    if (overTcp && this.resolvers.count > 0) {
      const idle = this.tcp.idleTo(this.resolvers.first(OVER_TCP, nowMs));
      if (idle >= 0) return idle;
    }
    const free = this.questions.free(overTcp);
    if (free !== NO_QUESTION) return free;
    this.counters.drop(TABLE_FULL);
    const from = overTcp ? DNS_QUERIES_MAX : 0;
    const oldest = this.questions.oldest(from, overTcp ? QUESTIONS_MAX : DNS_QUERIES_MAX, NO_QUESTION);
    this.end(oldest);
    return oldest;
  }

  /** Asks a query. Returns HANDLED or a drop reason. */
  start(entry: number, query: Query, isTransfer: boolean): number {
    this.now = query.nowMs;
    this.parts.octets.copyWithin(this.queryAt(entry), query.at, query.at + query.length);
    const first = this.resolvers.first(isOverTcp(entry) ? OVER_TCP : OVER_UDP, query.nowMs);
    this.questions.begin(entry, query, first);
    if (isTransfer) this.questions.transfer[entry] = 1;
    return this.next(entry);
  }

  /** The guest asks again: the resolver is, too. Returns HANDLED or a drop reason. */
  repeat(entry: number, nowMs: number): number {
    this.now = nowMs;
    return this.upstream(entry).repeat(entry, this.questions.length[entry]) ? HANDLED : this.next(entry);
  }

  /** Ends an entry without an answer. */
  end(entry: number): void {
    this.upstream(entry).close(entry);
    this.questions.remove(entry);
    this.listener.ended(entry);
  }

  // --- the resolvers' side -----------------------------------------------------------------------------------------

  /** Asks the next resolver, or ends the question when its time or all resolvers are used up. */
  private next(entry: number): number {
    const { questions, now } = this;
    const count = this.resolvers.count;
    const left = (questions.startedAt[entry] + QUERY_MS - now) | 0;
    while (left > 0 && questions.refusals[entry] < count) {
      const attempt = questions.attempts[entry]++;
      const index = (questions.first[entry] + attempt) % count;
      if (attempt > 0 && count > 1) this.counters.add(NEXT_RESOLVER, 1);
      questions.resolver[entry] = index;
      const result = this.upstream(entry).ask(entry, index, questions.length[entry]);
      if (result === EMFILE || result === ENFILE) {
        this.counters.drop(SOCKET_FAILED);
        break;
      }
      if (result >= 0) {
        const round = Math.floor(attempt / count);
        questions.schedule(entry, (now + Math.min(left, ROUND_MS << round)) | 0);
        return HANDLED;
      }
      this.noteSilence(entry);
      questions.refusals[entry]++;
    }
    this.listener.failed(entry, questions.failure[entry]);
    this.end(entry);
    return count === 0 ? NO_RESOLVER : HANDLED;
  }

  /** The resolver says nothing, now or ever. */
  private noteSilence(entry: number): void {
    const { questions } = this;
    questions.failure[entry] = RCODE_SERVFAIL;
    this.resolvers.failed(questions.resolver[entry], isOverTcp(entry) ? OVER_TCP : OVER_UDP, this.now);
  }

  refused(entry: number): void {
    if (this.questions.passed[entry] !== 0) {
      this.endTransfer(entry);
      return;
    }
    this.noteSilence(entry);
    this.questions.refusals[entry]++;
    this.next(entry);
  }

  private endTransfer(entry: number): void {
    this.listener.transferEnded(entry);
    this.end(entry);
  }

  mayRead(entry: number, round: number): boolean {
    if (round < READS && (this.questions.transfer[entry] === 0 || this.listener.hasRoom(entry))) return true;
    this.questions.held[entry] = 1;
    this.questions.schedule(entry, (this.now + HELD_MS) | 0);
    return false;
  }

  message(entry: number, at: number, length: number): boolean {
    const { view, questions } = this;
    const end = questionEnd(view, at, length);
    if (!this.isAnswer(entry, at, end)) {
      this.counters.drop(MALFORMED);
      return false;
    }
    const rcode = flags(view, at) & RCODE_MASK;
    this.resolvers.answered(questions.resolver[entry], isOverTcp(entry) ? OVER_TCP : OVER_UDP);
    if (questions.passed[entry] === 0 && isFailure(view, at) && this.triesNext(entry, rcode)) return true;
    this.listener.answered(entry, at, length, end);
    if (questions.transfer[entry] !== 0 && rcode === 0) {
      questions.passed[entry] = 1;
      questions.schedule(entry, (this.now + QUERY_MS) | 0);
      return false;
    }
    this.upstream(entry).done(entry, this.now);
    questions.remove(entry);
    this.listener.ended(entry);
    return true;
  }

  /** Whether a message whose question ends after `end` octets answers the entry's question. */
  private isAnswer(entry: number, at: number, end: number): boolean {
    const { view, questions } = this;
    const upstream = this.upstream(entry);
    if (end < 0 || id(view, at) !== upstream.askedId(entry) || (flags(view, at) & FLAG_RESPONSE) === 0) {
      return false;
    }
    // A server that could not read the question answers with an error and none (RFC 1035 section 4.1.1); in a zone
    // transfer only the first message need have it (RFC 5936 section 2.2.1).
    if (
      end === DNS_HEADER_OCTETS &&
      ((flags(view, at) & RCODE_MASK) !== 0 || questions.passed[entry] !== 0)
    ) {
      return true;
    }
    return end === questions.end[entry] && isSameQuestion(view, upstream.queryAt(entry), at, end);
  }

  /** The resolver failed: asks the next one. False when there is none left; then what this one said is what counts. */
  private triesNext(entry: number, rcode: number): boolean {
    const { questions } = this;
    questions.refusals[entry]++;
    const left = (questions.startedAt[entry] + QUERY_MS - this.now) | 0;
    if (questions.refusals[entry] >= this.resolvers.count || left <= 0) return false;
    questions.failure[entry] = rcode === 0 ? RCODE_SERVFAIL : rcode;
    this.next(entry);
    return true;
  }

  // --- time --------------------------------------------------------------------------------------------------------

  /** Readiness of the socket with token `token + entry`. */
  handleEvent(entry: number, nowMs: number): void {
    if (entry >= QUESTIONS_MAX) return;
    this.now = nowMs;
    this.upstream(entry).receive(entry);
  }

  /** Does what is due: the next resolver, or the end. */
  poll(nowMs: number): void {
    const { questions } = this;
    this.now = nowMs;
    this.tcp.poll(nowMs);
    if (!questions.anyDue(nowMs)) return;
    for (let entry = 0; entry < QUESTIONS_MAX; entry++) if (questions.isDue(entry, nowMs)) this.due(entry);
    questions.findEarliest();
  }

  private due(entry: number): void {
    const { questions } = this;
    const wasHeld = questions.held[entry] !== 0;
    questions.held[entry] = 0;
    // An answer may have come at this very moment, or be behind a flood of others.
    if (this.upstream(entry).receive(entry)) return;
    const isTransfer = questions.transfer[entry] !== 0;
    const isOver = !isTransfer && ((this.now - questions.startedAt[entry] - QUERY_MS) | 0) >= 0;
    if (!isOver && questions.held[entry] !== 0) return;
    if (!isOver && wasHeld) {
      questions.schedule(entry, (this.now + (isTransfer ? QUERY_MS : ROUND_MS)) | 0);
      return;
    }
    if (questions.passed[entry] !== 0) {
      this.endTransfer(entry);
      return;
    }
    this.noteSilence(entry);
    questions.refusals[entry] = 0;
    this.next(entry);
  }

  /** Milliseconds from `nowMs` until `poll` has something to do: 0 or more, or -1 when nothing is under way. */
  nextDeadlineMs(nowMs: number): number {
    const due = this.questions.nextDeadlineMs(nowMs);
    const idle = this.tcp.nextDeadlineMs(nowMs);
    if (due < 0) return idle;
    return idle < 0 ? due : Math.min(due, idle);
  }

  /** Forgets all questions and closes their sockets. */
  close(): void {
    for (let entry = 0; entry < QUESTIONS_MAX; entry++) if (this.questions.used[entry] !== 0) this.end(entry);
    this.tcp.closeIdle();
  }
}
