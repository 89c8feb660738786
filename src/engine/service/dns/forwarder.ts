/**
 * DNS for the guest: a forwarder to the host's resolvers (RFC 1035, RFC 5625), over UDP or TCP as the guest asks.
 *
 *   query --(a name for the host)--> answered here
 *     |
 *     +--(the same question is under way)--> one asker more
 *     |
 *     +--> a question under an id of ours (RFC 5452), see resolution.ts --> its answer, to all askers
 *
 * There is no cache, and an answer passes as it is but for the asker's id and letters, unless it is longer than the
 * guest's stub takes over UDP: then it shrinks to its question with the TC bit, and the stub asks again over TCP. A query
 * repeated by the guest goes out again from the same socket. When all entries are in use the oldest gives way without an
 * answer.
 */
import type { Ipv6Words, ResolverAddress } from "../../config.ts";
import { DNS_QUERY_OCTETS_MAX, DNS_REGION_OCTETS, DNS_TCP_QUERIES_MAX } from "../../limits.ts";
import { counter } from "../../metrics/counters.ts";
import { dropReason, HANDLED } from "../../metrics/drop-reasons.ts";
import {
  DENIED,
  LIMITED,
  NO_DATA,
  PASSES,
  type QuestionJudge,
  STAND_IN_SECONDS,
  STANDS_IN,
} from "../../network/judge.ts";
import type { FlowLedger } from "../../transport/flow-ledger.ts";
import { type Ends, PAIR_WORDS, Path } from "../../transport/path.ts";
import {
  checkQuery,
  DNS_HEADER_OCTETS,
  FLAG_AUTHORITATIVE,
  flags,
  isSameName,
  queryHash,
  questionEnd,
  questionType,
  RCODE_MASK,
  RCODE_NXDOMAIN,
  RCODE_REFUSED,
  TYPE_AXFR,
  TYPE_IXFR,
} from "../../wire/dns.ts";
import { IPV4_HEADER_OCTETS } from "../../wire/ipv4.ts";
import { IPV6_HEADER_OCTETS } from "../../wire/ipv6.ts";
import { isMapped, setMapped } from "../../wire/mapped-address.ts";
import { DNS_PORT } from "../../wire/udp.ts";
import { Askers, NO_ASKER } from "./askers.ts";
import { HostNames, NOT_OURS } from "./host-names.ts";
import { NO_STREAM, Query } from "./query.ts";
import { isOverTcp, NO_QUESTION, QUESTIONS_MAX } from "./questions.ts";
import { explain, OwnAnswer, payloadMax, REPLY_OCTETS, truncate, writeReply } from "./reply.ts";
import { type AnswerListener, Resolution } from "./resolution.ts";
import { Resolvers } from "./resolvers.ts";
import { BY_NOBODY, BY_SLUICE, DnsTeller } from "./teller.ts";
import type { UpstreamParts } from "./upstream.ts";

/** Where answers of our own are made, with room for a length in front. */
const REPLY_OFFSET = DNS_REGION_OCTETS - REPLY_OCTETS;

/** The port of no guest. */
const OURSELVES = 0;

const QUERIES = counter("dns-queries");
const ANSWERS = counter("dns-answers");
const SLUICE_NOERROR = counter("dns-sluice-noerror");
const SLUICE_NXDOMAIN = counter("dns-sluice-nxdomain");
const SLUICE_REFUSED = counter("dns-sluice-refused");
const BY_NONE = counter("dns-nobody-none");
const RESOLVER_OTHER = counter("dns-resolver-other");
/** A resolver's answers by response code. */
const BY_RCODE = [
  counter("dns-resolver-noerror"),
  RESOLVER_OTHER,
  counter("dns-resolver-servfail"),
  counter("dns-resolver-nxdomain"),
  RESOLVER_OTHER,
  counter("dns-resolver-refused"),
];
const MERGED = counter("dns-merged");
const TRUNCATED = counter("dns-truncated");
const MALFORMED = dropReason("dns-malformed");
const RESTRICTED = dropReason("destination-restricted");
const TABLE_FULL = dropReason("flow-table-full");

export interface DnsForwarderOptions extends Omit<UpstreamParts, "resolvers"> {
  /** An arena offset with DNS_REGION_OCTETS octets. */
  readonly regionAt: number;
  readonly resolvers: readonly ResolverAddress[];
  /** Names that stand for the host, and the address they have. */
  readonly hostNames: readonly string[];
  readonly hostAddress: number;
  /** The guest's address that queries over UDP are sent to. */
  readonly dnsAddress: number;
  /** The same over IPv6, or null. */
  readonly dnsAddress6: Ipv6Words | null;
  /** Nothing goes out: every query is refused, but for the names above. */
  readonly restrict: boolean;
  /** Which questions leave; null: all. */
  readonly policy?: QuestionJudge | null;
  /** Sends a datagram from the remote of `ends` to the guest. The octets may be overwritten once it returns. */
  readonly reply: (ends: Path, payloadAt: number, length: number) => void;
  /**
   * Sends a message on a TCP connection of the guest; the two octets in front of it are free for its length. The
   * connection is there afterwards, whatever becomes of it later.
   */
  readonly replyStream: (stream: number, at: number, length: number) => void;
  /** Whether that connection has room for another message. */
  readonly streamHasRoom: (stream: number) => boolean;
  /** The ends of that connection. */
  readonly streamEnds: (stream: number) => Ends | null;
  readonly ledger: FlowLedger;
  /** No more messages come for a question of that connection that has had some: it is over. */
  readonly endStream: (stream: number) => void;
}

export class DnsForwarder implements AnswerListener {
  private readonly view: DataView;
  private readonly resolution: Resolution;
  private readonly askers = new Askers();
  private readonly teller: DnsTeller;
  private readonly hostNames: HostNames;
  private readonly replyAt: number;
  private readonly inHand = new Query();
  private readonly own = new OwnAnswer();
  /** Told of answers to questions of our own, at an offset; failures are answers. */
  ownAnswer: (at: number, length: number) => void = () => {};
  /** The ends of an answer over UDP. */
  private readonly path = new Path(new Int32Array(PAIR_WORDS));

  constructor(private readonly options: DnsForwarderOptions) {
    this.view = options.view;
    this.teller = new DnsTeller(options.view, options.ledger);
    this.hostNames = new HostNames(options.hostNames, options.hostAddress);
    const parts: UpstreamParts = { ...options, resolvers: new Resolvers(options.resolvers) };
    this.resolution = new Resolution(parts, options.regionAt, this);
    this.replyAt = options.regionAt + REPLY_OFFSET;
  }

  /** Questions under way. */
  get inUse(): number {
    return this.resolution.questions.inUse;
  }

  get resolvers(): Resolvers {
    return this.resolution.resolvers;
  }

  /**
   * Replaces the resolvers. Questions under way wait for the one they asked as long as they would have, then go to the
   * new ones from the start.
   */
  setResolvers(resolvers: readonly ResolverAddress[]): void {
    this.resolution.setResolvers(resolvers);
  }

  // --- queries -----------------------------------------------------------------------------------------------------

  /** Takes a query over UDP: payload at `at`, from the guest of `ends`. Returns HANDLED or a drop reason. */
  query(ends: Ends, at: number, length: number, nowMs: number): number {
    const { options, inHand } = this;
    this.takeGuest(ends);
    if (ends.ipOctets === IPV4_HEADER_OCTETS) setMapped(inHand.server, 0, options.dnsAddress);
    else for (let word = 0; word < 4; word++) inHand.server[word] = options.dnsAddress6?.[word] ?? 0;
    return this.take(at, length, nowMs);
  }

  /** The same of a query to another resolver: its answer comes from the address that was asked. */
  queryInStead(ends: Ends, at: number, length: number, nowMs: number): number {
    const { inHand } = this;
    this.takeGuest(ends);
    if (ends.ipOctets === IPV4_HEADER_OCTETS) setMapped(inHand.server, 0, ends.remoteAddress);
    else for (let word = 0; word < 4; word++) inHand.server[word] = ends.pair[ends.pairAt + 4 + word];
    return this.take(at, length, nowMs);
  }

  /** Notes who asks over UDP. */
  private takeGuest(ends: Ends): void {
    const { inHand } = this;
    if (ends.ipOctets === IPV4_HEADER_OCTETS) setMapped(inHand.guest, 0, ends.guestAddress);
    else for (let word = 0; word < 4; word++) inHand.guest[word] = ends.pair[ends.pairAt + word];
    inHand.guestPort = ends.guestPort;
    inHand.stream = NO_STREAM;
  }

  /** Asks a question of our own; `ownAnswer` gets what comes of it, which may be nothing. */
  ask(message: Uint8Array, nowMs: number): void {
    const { inHand, replyAt } = this;
    this.options.octets.set(message, replyAt);
    inHand.guest.fill(0);
    inHand.server.fill(0);
    inHand.guestPort = OURSELVES;
    inHand.stream = NO_STREAM;
    this.take(replyAt, message.length, nowMs);
  }

  /** Takes a query that came on the guest's TCP connection `stream`. Returns HANDLED or a drop reason. */
  queryStream(stream: number, at: number, length: number, nowMs: number): number {
    const { inHand } = this;
    inHand.guest.fill(0);
    inHand.server.fill(0);
    inHand.guestPort = 0;
    inHand.stream = stream;
    return this.take(at, length, nowMs);
  }

  /** Whether a query over TCP finds a place without another one giving way. */
  get hasRoomForStream(): boolean {
    return this.resolution.questions.tcpInUse < DNS_TCP_QUERIES_MAX && !this.askers.full;
  }

  /** Queries of that connection which have no answer yet. */
  waitingOnStream(stream: number): number {
    return this.askers.onStream[stream];
  }

  /** Nobody waits on that connection any more. */
  streamGone(stream: number): void {
    while (this.askers.onStream[stream] > 0) this.leave(this.askers.ofStream(stream));
  }

  /**
   * A query to port 53 of an address the guest may not reach: refused in that address's stead, so that its resolver need
   * not wait. What is no query gets no answer.
   */
  refuse(ends: Ends, at: number, length: number): void {
    const { options, view, replyAt, path } = this;
    if (checkQuery(view, at, length) !== HANDLED) return;
    const octets = writeReply(options.octets, view, at, length, replyAt, this.own.be(RCODE_REFUSED));
    path.copyEnds(ends);
    options.reply(path, replyAt, octets);
  }

  /** The query in hand; who asks is written already. */
  private take(at: number, length: number, nowMs: number): number {
    const { view, askers, resolution, inHand: query } = this;
    if (length > DNS_QUERY_OCTETS_MAX || checkQuery(view, at, length) !== HANDLED) return MALFORMED;
    this.options.counters.add(QUERIES, 1);
    const end = questionEnd(view, at, length);
    query.at = at;
    query.length = length;
    query.end = end;
    query.hash = queryHash(view, at, length, end);
    query.nowMs = nowMs;
    const address = this.hostNames.answer(view, at, end);
    if (address !== NOT_OURS || this.options.restrict) return this.answerHere(query, address);
    const { policy = null } = this.options;
    const isGuests = query.overTcp || query.guestPort !== OURSELVES;
    if (policy !== null && isGuests) {
      const verdict = policy.question(view, at, end);
      if (verdict !== PASSES) return this.answerDenied(query, policy, verdict);
    }
    const asker = askers.find(view, query);
    if (asker !== NO_ASKER) {
      const asked = askers.question[asker];
      if (resolution.isSame(asked, query)) return resolution.repeat(asked, nowMs);
      this.leave(asker);
    }
    const isTransfer = query.overTcp && isTransferType(view, at, end);
    const same = isTransfer ? NO_QUESTION : resolution.find(query);
    if (!this.makeRoomForAsker(same)) return TABLE_FULL;
    const entry = same === NO_QUESTION ? resolution.place(query.overTcp, nowMs) : same;
    askers.add(entry, view, query);
    if (same === NO_QUESTION) return resolution.start(entry, query, isTransfer);
    this.options.counters.add(MERGED, 1);
    return HANDLED;
  }

  /** Names for the host, and refusals under `restrict`: answered from here, at once. */
  private answerHere(query: Query, address: number): number {
    const { octets, counters } = this.options;
    const isRefused = address === NOT_OURS;
    if (!isRefused && address !== 0)
      this.options.policy?.answeredHere(this.view, query.at, query.end, address);
    const bits = isRefused ? RCODE_REFUSED : FLAG_AUTHORITATIVE;
    const record = isRefused ? 0 : address;
    const own = this.own.be(bits, record);
    const length = writeReply(octets, this.view, query.at, query.length, this.replyAt, own);
    this.answerQuery(query, length);
    counters.add(isRefused ? SLUICE_REFUSED : SLUICE_NOERROR, 1);
    if (this.teller.isHeard) this.tellHere(query, bits & RCODE_MASK, isRefused ? 0 : address);
    if (isRefused) return RESTRICTED;
    counters.add(ANSWERS, 1);
    return HANDLED;
  }

  /** What a policy does not let out: answered from here, at once. */
  private answerDenied(query: Query, policy: QuestionJudge, verdict: number): number {
    const { octets, counters } = this.options;
    const { view, replyAt } = this;
    const isDenied = verdict === DENIED;
    const address = verdict === STANDS_IN ? policy.standIn : 0;
    const isNone = verdict === NO_DATA || address !== 0;
    const rcode = isNone ? 0 : isDenied && !policy.refuses ? RCODE_NXDOMAIN : RCODE_REFUSED;
    const own = this.own.be(rcode, address, STAND_IN_SECONDS);
    let length = writeReply(octets, view, query.at, query.length, replyAt, own);
    if (isDenied) length = explain(octets, view, replyAt, length, policy.explain());
    this.answerQuery(query, length);
    counters.add(
      rcode === 0 ? SLUICE_NOERROR : rcode === RCODE_NXDOMAIN ? SLUICE_NXDOMAIN : SLUICE_REFUSED,
      1,
    );
    if (this.teller.isHeard) this.tellHere(query, rcode, address);
    counters.add(ANSWERS, 1);
    return isDenied || verdict === LIMITED ? policy.reason : HANDLED;
  }

  private tellHere(query: Query, rcode: number, address: number): void {
    const { teller } = this;
    teller.ownAnswer(BY_SLUICE, rcode, address);
    teller.question(query.at, query.end, 0);
    if (query.overTcp) teller.toldOnStream(this.options.streamEnds(query.stream));
    else teller.toldTo(query.guest, 0, query.guestPort);
  }

  /** Sends the answer at `replyAt` to whoever sent the query. */
  private answerQuery(query: Query, length: number): void {
    if (query.overTcp) this.options.replyStream(query.stream, this.replyAt, length);
    else this.reply(query.guest, query.server, 0, query.guestPort, this.replyAt, length);
  }

  /** Answers over UDP. The guest's address is `guests[index]` and on, the one that was asked `servers[index]`. */
  private reply(
    guests: Int32Array,
    servers: Int32Array,
    index: number,
    guestPort: number,
    at: number,
    length: number,
  ): void {
    const { options, path } = this;
    if (guestPort === OURSELVES) {
      this.ownAnswer(at, length);
      return;
    }
    const isIpv4 = isMapped(guests, index);
    path.ipOctets = isIpv4 ? IPV4_HEADER_OCTETS : IPV6_HEADER_OCTETS;
    path.guestPort = guestPort;
    path.remotePort = DNS_PORT;
    path.guestAddress = guests[index + 3];
    path.remoteAddress = servers[index + 3];
    for (let word = 0; word < 4; word++) {
      path.pair[word] = guests[index + word];
      path.pair[4 + word] = servers[index + word];
    }
    options.reply(path, at, length);
  }

  /** An asker leaves; a question nobody waits for ends. */
  private leave(asker: number): void {
    const entry = this.askers.question[asker];
    this.askers.remove(asker);
    if (this.askers.last(entry) === NO_ASKER) this.resolution.end(entry);
  }

  /** When every asker's place is taken the oldest question but `kept` gives way, with those who wait for it. */
  private makeRoomForAsker(kept: number): boolean {
    if (!this.askers.full) return true;
    const oldest = this.resolution.questions.oldest(0, QUESTIONS_MAX, kept);
    if (oldest === NO_QUESTION) return false;
    this.options.counters.drop(TABLE_FULL);
    this.resolution.end(oldest);
    return true;
  }

  // --- answers -----------------------------------------------------------------------------------------------------

  answered(entry: number, at: number, length: number, end: number): void {
    const { view } = this;
    const { counters } = this.options;
    const slot = this.resolution.queryAt(entry);
    if (this.teller.isHeard) {
      this.teller.answer(at, length, end);
      this.tellAll(entry);
    }
    if (!isOverTcp(entry)) {
      const most = payloadMax(view, slot, this.resolution.questions.length[entry]);
      if (length > most) {
        length = truncate(view, at, length, end, most);
        counters.add(TRUNCATED, 1);
      }
    }
    counters.add(ANSWERS, 1);
    counters.add(BY_RCODE[flags(view, at) & RCODE_MASK] ?? RESOLVER_OTHER, 1);
    this.options.policy?.answered(view, slot, end, at, length);
    // Letters that came back other than they were asked are left alone: an asker may go by them.
    this.answerAll(entry, at, length, isSameName(view, slot, at, end) ? end : 0);
  }

  failed(entry: number, rcode: number): void {
    const { replyAt, resolution } = this;
    const slot = resolution.queryAt(entry);
    const queryOctets = resolution.questions.length[entry];
    this.options.counters.add(BY_NONE, 1);
    if (this.teller.isHeard) {
      this.teller.ownAnswer(BY_NOBODY, -1, 0);
      this.tellAll(entry);
    }
    const own = this.own.be(rcode);
    const length = writeReply(this.options.octets, this.view, slot, queryOctets, replyAt, own);
    this.answerAll(entry, replyAt, length, resolution.questions.end[entry]);
  }

  /** `end` is where the question ends whose letters become the asker's, or 0. */
  private answerAll(entry: number, at: number, length: number, end: number): void {
    const { askers } = this;
    for (let asker = askers.last(entry); asker !== NO_ASKER; asker = askers.before(asker)) {
      askers.address(asker, this.view, at, end);
      const stream = askers.stream[asker];
      if (stream !== NO_STREAM) this.options.replyStream(stream, at, length);
      else this.reply(askers.guest, askers.server, asker * 4, askers.guestPort[asker], at, length);
    }
  }

  /** Tells of the question to come to an end, once for each who asked it. */
  private tellAll(entry: number): void {
    const { teller, askers, resolution } = this;
    const { questions } = resolution;
    teller.question(resolution.queryAt(entry), questions.end[entry], resolution.ageMs(entry));
    for (let asker = askers.last(entry); asker !== NO_ASKER; asker = askers.before(asker)) {
      const stream = askers.stream[asker];
      if (stream !== NO_STREAM) teller.toldOnStream(this.options.streamEnds(stream));
      else teller.toldTo(askers.guest, asker * 4, askers.guestPort[asker]);
    }
  }

  /** The resolver has hung up, or says no more: so it looks to the guest. */
  transferEnded(entry: number): void {
    this.options.endStream(this.askers.stream[this.askers.last(entry)]);
  }

  ended(entry: number): void {
    const { askers } = this;
    for (let asker = askers.last(entry); asker !== NO_ASKER; asker = askers.last(entry)) askers.remove(asker);
  }

  hasRoom(entry: number): boolean {
    return this.options.streamHasRoom(this.askers.stream[this.askers.last(entry)]);
  }

  // --- sockets and time --------------------------------------------------------------------------------------------

  /** Readiness of the socket with token `token + entry`. */
  handleEvent(entry: number, nowMs: number): void {
    this.resolution.handleEvent(entry, nowMs);
  }

  poll(nowMs: number): void {
    this.resolution.poll(nowMs);
  }

  /** Milliseconds from `nowMs` until `poll` has something to do: 0 or more, or -1 when nothing is under way. */
  nextDeadlineMs(nowMs: number): number {
    return this.resolution.nextDeadlineMs(nowMs);
  }

  /** Forgets all questions and closes their sockets. */
  close(): void {
    this.resolution.close();
  }
}

function isTransferType(view: DataView, at: number, end: number): boolean {
  if (end === DNS_HEADER_OCTETS) return false;
  const type = questionType(view, at, end);
  return type === TYPE_AXFR || type === TYPE_IXFR;
}
