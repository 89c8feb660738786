/**
 * DNS at an address of the guest's network: a forwarder to the host's resolvers, over UDP (RFC 1035, RFC 5625). DNS
 * over TCP needs no forwarder; the engine connects those flows to `firstHealthyResolver`.
 *
 * Every query in flight is an entry with a host socket of its own, connected to one resolver: the kernel picks its
 * port at random, lets nobody else answer, and reports a closed port (RFC 5452 section 9). The query is kept, in a
 * slot of the arena, to be sent again.
 *
 *   query --> send to a resolver --(answer with its id and question)--> guest        entry freed
 *                 |      ^
 *                 |      +---- refused, or no answer in time: the next resolver, in rounds of growing patience
 *                 +---- all refused, or QUERY_MS over: SERVFAIL to guest               entry freed
 *
 * There is no cache, and an answer passes as it is, unless it is longer than the guest's stub takes: then it shrinks
 * to its question with the TC bit, and the stub asks again over TCP. A query repeated by the guest goes out again from
 * the same socket. When all entries are in use the oldest gives way without an answer.
 */

import {
  ADDRESS_PORT,
  ADDRESS_WORDS,
  type AddressWords,
  EMFILE,
  ENFILE,
  type HostNetwork,
  type UdpBatch,
  V4_MAPPED,
} from "../boundary.ts";
import type { ResolverAddress } from "../config.ts";
import { DNS_QUERIES_MAX, DNS_QUERY_OCTETS_MAX } from "../limits.ts";
import type { Packet } from "../memory/packet.ts";
import { type Counters, counter } from "../metrics/counters.ts";
import { dropReason, HANDLED } from "../metrics/drop-reasons.ts";
import type { UdpService } from "../transport/udp/input.ts";
import {
  additionals,
  checkQuery,
  DNS_HEADER_OCTETS,
  FLAG_RECURSION_AVAILABLE,
  FLAG_RECURSION_DESIRED,
  FLAG_RESPONSE,
  FLAG_TRUNCATED,
  findOpt,
  flags,
  id,
  isSameQuestion,
  OPCODE_MASK,
  OPT_OCTETS,
  optOctets,
  optPayloadOctets,
  PLAIN_UDP_OCTETS,
  questionEnd,
  RCODE_MASK,
  RCODE_SERVFAIL,
  setFlags,
  setRecordCounts,
  writeOpt,
} from "../wire/dns.ts";

/** Patience with one resolver in the first round; doubles with each round. */
const ROUND_MS = 1500;
/** When the guest is told SERVFAIL: its own patience ends soon after (RFC 1123 section 6.1.3.3 asks for 5 s at least). */
const QUERY_MS = 10_000;
/** How long a resolver that failed is not the first choice. */
const UNHEALTHY_MS = 30_000;
/** Batches read from one socket at a time; the rest waits for the timer. */
const RECEIVE_ROUNDS = 4;

const QUERIES = counter("dns-queries");
const ANSWERS = counter("dns-answers");
const TRUNCATED = counter("dns-truncated");
const MALFORMED = dropReason("dns-malformed");
const NO_RESOLVER = dropReason("dns-no-resolver");
const TABLE_FULL = dropReason("flow-table-full");
const SOCKET_FAILED = dropReason("host-socket-failed");
const SEND_REFUSED = dropReason("host-send-refused");

const NO_HANDLE = -1;

export interface DnsForwarderOptions {
  readonly octets: Uint8Array;
  readonly view: DataView;
  /** An arena offset with room for DNS_QUERIES_MAX queries of DNS_QUERY_OCTETS_MAX octets. */
  readonly regionAt: number;
  readonly network: HostNetwork;
  /** Where answers are received; shared with other users of `udpReceive`. */
  readonly batch: UdpBatch;
  readonly counters: Counters;
  /** Token of entry 0; entry n has `token + n`. */
  readonly token: number;
  readonly resolvers: readonly ResolverAddress[];
  /** Sends a datagram from the DNS address, port 53, to the guest. The octets may be overwritten once it returns. */
  readonly reply: (guestAddress: number, guestPort: number, payloadAt: number, length: number) => void;
}

/** A resolver with what is known about it. */
interface Resolver {
  readonly address: ResolverAddress;
  readonly words: AddressWords;
  readonly family: 4 | 6;
  failed: boolean;
  failedAtMs: number;
}

export class DnsForwarder implements UdpService {
  /** Queries in flight. */
  inUse = 0;
  private readonly octets: Uint8Array;
  private readonly view: DataView;
  private readonly network: HostNetwork;
  private readonly batch: UdpBatch;
  private readonly counters: Counters;
  private resolvers: readonly Resolver[];

  private readonly used = new Uint8Array(DNS_QUERIES_MAX);
  private readonly guestAddress = new Int32Array(DNS_QUERIES_MAX);
  private readonly guestPort = new Int32Array(DNS_QUERIES_MAX);
  private readonly queryId = new Int32Array(DNS_QUERIES_MAX);
  /** Octets of the kept query. */
  private readonly length = new Int32Array(DNS_QUERIES_MAX);
  private readonly handle = new Int32Array(DNS_QUERIES_MAX).fill(NO_HANDLE);
  /** Index of the resolver the socket is connected to. */
  private readonly resolver = new Int32Array(DNS_QUERIES_MAX);
  /** Index of the resolver asked first, and how many have been asked since. */
  private readonly first = new Int32Array(DNS_QUERIES_MAX);
  private readonly attempts = new Int32Array(DNS_QUERIES_MAX);
  /** Resolvers in a row that refused. */
  private readonly refusals = new Int32Array(DNS_QUERIES_MAX);
  private readonly startedAt = new Int32Array(DNS_QUERIES_MAX);
  private readonly dueAt = new Int32Array(DNS_QUERIES_MAX);
  /** Entries whose sockets have something. */
  private readonly ready = new Int32Array(DNS_QUERIES_MAX);
  private readyCount = 0;
  /** No entry is due before this; it may be early. Meaningless while `inUse` is 0. */
  private earliestDue = 0;

  constructor(private readonly options: DnsForwarderOptions) {
    this.octets = options.octets;
    this.view = options.view;
    this.network = options.network;
    this.batch = options.batch;
    this.counters = options.counters;
    this.resolvers = options.resolvers.map(toResolver);
  }

  /**
   * Replaces the resolvers. Queries in flight wait for the one they asked as long as they would have, then go to the
   * new ones from the start.
   */
  setResolvers(resolvers: readonly ResolverAddress[]): void {
    this.resolvers = resolvers.map(toResolver);
    this.first.fill(0);
    this.attempts.fill(0);
    this.refusals.fill(0);
    this.resolver.fill(-1);
  }

  /** The resolver to ask first: the first in order that has not failed lately; the first if all have. Null: none is set. */
  firstHealthyResolver(nowMs: number): ResolverAddress | null {
    return this.resolvers.length === 0 ? null : this.resolvers[this.firstHealthy(nowMs)].address;
  }

  /** Takes a query from the guest: UDP payload at `at`. Returns HANDLED or a drop reason. */
  query(guestAddress: number, guestPort: number, at: number, length: number, nowMs: number): number {
    if (length > DNS_QUERY_OCTETS_MAX || checkQuery(this.view, at, length) !== HANDLED) return MALFORMED;
    this.counters.add(QUERIES, 1);
    const queryId = id(this.view, at);
    let entry = this.find(guestAddress, guestPort, queryId);
    if (entry >= 0 && this.isRepeated(entry, at, length)) {
      if (this.handle[entry] !== NO_HANDLE && this.send(entry)) return HANDLED;
      return this.next(entry, nowMs);
    }
    if (entry >= 0) this.free(entry);
    entry = this.place();
    this.used[entry] = 1;
    this.inUse++;
    this.guestAddress[entry] = guestAddress;
    this.guestPort[entry] = guestPort;
    this.queryId[entry] = queryId;
    this.length[entry] = length;
    this.octets.copyWithin(this.slotAt(entry), at, at + length);
    this.first[entry] = this.firstHealthy(nowMs);
    this.attempts[entry] = 0;
    this.refusals[entry] = 0;
    this.startedAt[entry] = nowMs;
    return this.next(entry, nowMs);
  }

  /** A question to the DNS address. */
  datagram(packet: Packet): number {
    const { guestAddress, guestPort, payloadAt, payloadOctets, nowMs } = packet;
    return this.query(guestAddress, guestPort, payloadAt, payloadOctets, nowMs);
  }

  /** Readiness of the socket with token `token + entry`; `work` looks at it. */
  hostEvent(entry: number): void {
    if (this.readyCount < DNS_QUERIES_MAX) this.ready[this.readyCount++] = entry;
  }

  /** Reads the sockets that have answers and does what is due. No frame may point into the receive slots. */
  work(nowMs: number): void {
    for (let i = 0; i < this.readyCount; i++) this.handleEvent(this.ready[i], nowMs);
    this.readyCount = 0;
    this.poll(nowMs);
  }

  /** Reads the socket with token `token + entry`. */
  handleEvent(entry: number, nowMs: number): void {
    if (entry >= DNS_QUERIES_MAX || this.used[entry] === 0 || this.handle[entry] === NO_HANDLE) return;
    this.receive(entry, nowMs);
  }

  /** Does what is due: the next resolver, or the end. */
  poll(nowMs: number): void {
    if (this.inUse === 0 || ((nowMs - this.earliestDue) | 0) < 0) return;
    for (let entry = 0; entry < DNS_QUERIES_MAX; entry++) {
      if (this.used[entry] === 0 || ((nowMs - this.dueAt[entry]) | 0) < 0) continue;
      // An answer may have come at this very moment, or be behind a flood of others.
      if (this.handle[entry] !== NO_HANDLE && this.receive(entry, nowMs)) continue;
      this.refusals[entry] = 0;
      this.markFailed(entry, nowMs);
      this.next(entry, nowMs);
    }
    this.findEarliest();
  }

  /** Milliseconds from `nowMs` until `poll` has something to do: 0 or more, or -1 when no query is in flight. */
  nextDeadlineMs(nowMs: number): number {
    return this.inUse === 0 ? -1 : Math.max(0, (this.earliestDue - nowMs) | 0);
  }

  /** Forgets all queries and closes their sockets. */
  close(): void {
    for (let entry = 0; entry < DNS_QUERIES_MAX; entry++) if (this.used[entry] !== 0) this.free(entry);
  }

  private slotAt(entry: number): number {
    return this.options.regionAt + entry * DNS_QUERY_OCTETS_MAX;
  }

  private find(guestAddress: number, guestPort: number, queryId: number): number {
    for (let entry = 0; entry < DNS_QUERIES_MAX; entry++) {
      if (
        this.used[entry] !== 0 &&
        this.queryId[entry] === queryId &&
        this.guestPort[entry] === guestPort &&
        this.guestAddress[entry] === guestAddress
      ) {
        return entry;
      }
    }
    return -1;
  }

  private isRepeated(entry: number, at: number, length: number): boolean {
    const octets = questionEnd(this.view, at, length);
    const slot = this.slotAt(entry);
    return (
      questionEnd(this.view, slot, this.length[entry]) === octets &&
      isSameQuestion(this.view, slot, at, octets)
    );
  }

  /** A free entry; the oldest is freed for it if need be. */
  private place(): number {
    let oldest = 0;
    for (let entry = 0; entry < DNS_QUERIES_MAX; entry++) {
      if (this.used[entry] === 0) return entry;
      if (((this.startedAt[entry] - this.startedAt[oldest]) | 0) < 0) oldest = entry;
    }
    this.counters.drop(TABLE_FULL);
    this.free(oldest);
    return oldest;
  }

  /** Asks the next resolver, or ends the query when its time or all resolvers are used up. */
  private next(entry: number, nowMs: number): number {
    const left = (this.startedAt[entry] + QUERY_MS - nowMs) | 0;
    while (left > 0 && this.refusals[entry] < this.resolvers.length) {
      const attempt = this.attempts[entry]++;
      const index = (this.first[entry] + attempt) % this.resolvers.length;
      const result = this.connect(entry, index);
      if (result === EMFILE || result === ENFILE) {
        this.counters.drop(SOCKET_FAILED);
        break;
      }
      if (result >= 0 && this.send(entry)) {
        const round = Math.floor(attempt / this.resolvers.length);
        this.schedule(entry, (nowMs + Math.min(left, ROUND_MS << round)) | 0);
        return HANDLED;
      }
      this.refusals[entry]++;
      this.markFailed(entry, nowMs);
    }
    this.replyFailure(entry);
    return this.resolvers.length === 0 ? NO_RESOLVER : HANDLED;
  }

  /** Connects the entry's socket to a resolver, keeping the one it has if it is that one's. */
  private connect(entry: number, index: number): number {
    if (this.handle[entry] !== NO_HANDLE) {
      if (this.resolver[entry] === index) return this.handle[entry];
      this.network.udpClose(this.handle[entry]);
      this.handle[entry] = NO_HANDLE;
    }
    const { words, family } = this.resolvers[index];
    this.resolver[entry] = index;
    const handle = this.network.udpOpen(this.options.token + entry, family, 0);
    if (handle < 0) return handle;
    const result = this.network.udpConnect(handle, words);
    if (result < 0) {
      this.network.udpClose(handle);
      return result;
    }
    this.handle[entry] = handle;
    return handle;
  }

  /** Sends the kept query; false when the kernel refused it. Others' datagrams go first, so that the count is ours. */
  private send(entry: number): boolean {
    const index = this.resolver[entry];
    if (index < 0) return false;
    this.counters.drops[SEND_REFUSED] += this.network.udpFlush();
    const { words } = this.resolvers[index];
    this.network.udpSend(this.handle[entry], words, this.slotAt(entry), this.length[entry]);
    return this.network.udpFlush() === 0;
  }

  /** Reads the entry's socket. Returns true when that settled it: answered, or moved on after a refusal. */
  private receive(entry: number, nowMs: number): boolean {
    const { batch } = this;
    for (let round = 0; round < RECEIVE_ROUNDS; round++) {
      const count = this.network.udpReceive(this.handle[entry], batch);
      if (count < 0) {
        this.refusals[entry]++;
        this.markFailed(entry, nowMs);
        this.next(entry, nowMs);
        return true;
      }
      if (count === 0) return false;
      for (let i = 0; i < count; i++) {
        const segment = batch.segment[i] || batch.length[i];
        let from = 0;
        do {
          const length = Math.min(segment, batch.length[i] - from);
          if (this.accept(entry, batch.at[i] + from, length)) return true;
          from += segment;
        } while (from < batch.length[i]);
      }
    }
    return false;
  }

  /** Passes the answer on if it is one to this query. */
  private accept(entry: number, at: number, length: number): boolean {
    const { view } = this;
    const slot = this.slotAt(entry);
    const octets = questionEnd(view, slot, this.length[entry]);
    const answered = questionEnd(view, at, length);
    const isResponse =
      answered > 0 && id(view, at) === this.queryId[entry] && (flags(view, at) & FLAG_RESPONSE) !== 0;
    // A server that could not read the question answers with an error and none (RFC 1035 section 4.1.1).
    const isBareError = answered === DNS_HEADER_OCTETS && (flags(view, at) & RCODE_MASK) !== 0;
    if (!isResponse || !(isBareError || (answered === octets && isSameQuestion(view, slot, at, octets)))) {
      this.counters.drop(MALFORMED);
      return false;
    }
    const index = this.resolver[entry];
    if (index >= 0) this.resolvers[index].failed = false;
    this.counters.add(ANSWERS, 1);
    this.reply(entry, at, this.fit(entry, at, length, answered));
    this.free(entry);
    return true;
  }

  /** Cuts an answer that is longer than the guest takes down to question and OPT, in place. Returns its length. */
  private fit(entry: number, at: number, length: number, octets: number): number {
    const { view } = this;
    const queryOptAt = findOpt(view, this.slotAt(entry), this.length[entry]);
    const most = queryOptAt > 0 ? optPayloadOctets(view, queryOptAt) : PLAIN_UDP_OCTETS;
    if (length <= most) return length;
    this.counters.add(TRUNCATED, 1);
    const optAt = findOpt(view, at, length);
    let total = octets;
    if (optAt > 0 && octets + optOctets(view, optAt) <= most) {
      const record = optOctets(view, optAt);
      this.octets.copyWithin(at + octets, optAt, optAt + record);
      total += record;
    }
    setFlags(view, at, flags(view, at) | FLAG_TRUNCATED);
    setRecordCounts(view, at, 0, total > octets ? 1 : 0);
    return total;
  }

  /** Turns the kept query into a SERVFAIL answer, in place, and ends the entry. */
  private replyFailure(entry: number): void {
    const { view } = this;
    const at = this.slotAt(entry);
    const octets = questionEnd(view, at, this.length[entry]);
    const optAt = additionals(view, at) > 0 ? findOpt(view, at, this.length[entry]) : 0;
    if (optAt > 0) writeOpt(view, at + octets, optAt);
    setRecordCounts(view, at, 0, optAt > 0 ? 1 : 0);
    const kept = flags(view, at) & (OPCODE_MASK | FLAG_RECURSION_DESIRED);
    setFlags(view, at, FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | kept | RCODE_SERVFAIL);
    this.reply(entry, at, octets + (optAt > 0 ? OPT_OCTETS : 0));
    this.free(entry);
  }

  private reply(entry: number, at: number, length: number): void {
    this.options.reply(this.guestAddress[entry], this.guestPort[entry], at, length);
  }

  private free(entry: number): void {
    if (this.handle[entry] !== NO_HANDLE) this.network.udpClose(this.handle[entry]);
    this.handle[entry] = NO_HANDLE;
    this.used[entry] = 0;
    this.inUse--;
  }

  private schedule(entry: number, due: number): void {
    this.dueAt[entry] = due;
    if (this.inUse === 1 || ((due - this.earliestDue) | 0) < 0) this.earliestDue = due;
  }

  private findEarliest(): void {
    let found = false;
    for (let entry = 0; entry < DNS_QUERIES_MAX; entry++) {
      if (this.used[entry] === 0) continue;
      if (!found || ((this.dueAt[entry] - this.earliestDue) | 0) < 0) this.earliestDue = this.dueAt[entry];
      found = true;
    }
  }

  private markFailed(entry: number, nowMs: number): void {
    const index = this.resolver[entry];
    if (index < 0) return;
    this.resolvers[index].failed = true;
    this.resolvers[index].failedAtMs = nowMs;
  }

  private firstHealthy(nowMs: number): number {
    for (let i = 0; i < this.resolvers.length; i++) {
      const { failed, failedAtMs } = this.resolvers[i];
      if (!failed || ((nowMs - failedAtMs) | 0) >= UNHEALTHY_MS) return i;
    }
    return 0;
  }
}

function toResolver(address: ResolverAddress): Resolver {
  const words = new Int32Array(ADDRESS_WORDS);
  words.set(address.words);
  words[ADDRESS_PORT] = address.port;
  const mapped = address.words[0] === 0 && address.words[1] === 0 && address.words[2] === V4_MAPPED;
  return { address, words, family: mapped ? 4 : 6, failed: false, failedAtMs: 0 };
}
