/**
 * Reassembly of what the guest fragments: IPv4 (RFC 791 section 3.2, RFC 815's problem with a simpler answer) and IPv6
 * (RFC 8200 section 4.5), in one pool.
 *
 * A queue is one datagram in the making: a 64 KiB buffer and a sorted list of the ranges that have arrived. Both are
 * sized at start, so a guest that never finishes its datagrams costs nothing more than its own queues: the oldest
 * gives way when a new one needs a place, and every queue ends its family's time after its first fragment.
 *
 *   slot:  | headroom | header (up to 60), ending here | payload, up to 65535 octets |
 *                                                      ^ payloadAt
 *
 * The payload is copied to its final place as it arrives; the header is that of the fragment with offset 0, written
 * so that it ends where the payload begins. Of IPv6 that is the fixed header alone, and its next header is what the
 * first fragment's says it is: extension headers in front of the fragment header have done their work. A fragment that
 * repeats another one to the octet is a duplicate and is ignored. Any other overlap, a second end, or data beyond the end condemns the datagram: it and every later fragment of it
 * is dropped until its time is up (the rule of RFC 5722, applied to IPv4 as well, because no sender overlaps by accident
 * and every reassembly attack does).
 *
 * A datagram is complete when the ranges end to end are as long as the last fragment said.
 */
import {
  HEADROOM_OCTETS,
  IP_PACKET_MAX,
  REASSEMBLY_FRAGMENTS_MAX,
  REASSEMBLY_QUEUES_MAX,
  REASSEMBLY_TIMEOUT_MS,
  REASSEMBLY6_TIMEOUT_MS,
} from "../limits.ts";
import type { Counters } from "../metrics/counters.ts";
import { dropReason } from "../metrics/drop-reasons.ts";
import {
  destination,
  FLAGS_FRAGMENT,
  FRAGMENT_OFFSET_MASK,
  fragmentBits,
  IPV4_HEADER_OCTETS,
  identification,
  MORE_FRAGMENTS,
  protocol,
  source,
  TOTAL_LENGTH,
} from "../wire/ipv4.ts";
import {
  FRAGMENT_BITS,
  FRAGMENT_HEADER_OCTETS,
  FRAGMENT_IDENTIFICATION,
  FRAGMENT6_MORE,
  FRAGMENT6_OFFSET_MASK,
  DESTINATION as IPV6_DESTINATION,
  IPV6_HEADER_OCTETS,
  SOURCE as IPV6_SOURCE,
  isAddress,
  NEXT_HEADER,
  PAYLOAD_LENGTH,
  readAddress,
} from "../wire/ipv6.ts";

const IPV4_HEADER_MAX = 60;
const PAYLOAD_MAX = IP_PACKET_MAX - IPV4_HEADER_OCTETS;
/** Octets before the payload: headroom and the longest header; a multiple of 4 keeps headers aligned. */
const PAYLOAD_OFFSET = HEADROOM_OCTETS + IPV4_HEADER_MAX;
const SLOT_OCTETS = Math.ceil((PAYLOAD_OFFSET + IP_PACKET_MAX) / 64) * 64;

/** What `Reassembly` needs of the arena: 16 queues of 64 KiB and a little. */
export const REASSEMBLY_REGION_OCTETS = REASSEMBLY_QUEUES_MAX * SLOT_OCTETS;

const PAIR_WORDS = 8;

const FREE = 0;
const OPEN = 1;
const CONDEMNED = 2;

/** Families, and index into the reasons below. */
const IPV4 = 0;
const IPV6 = 1;
const MALFORMED = [dropReason("ipv4-fragment-malformed"), dropReason("ipv6-fragment-malformed")];
const OVERLAP = [dropReason("ipv4-fragment-overlap"), dropReason("ipv6-fragment-overlap")];
const LIMIT = [dropReason("ipv4-fragment-limit"), dropReason("ipv6-fragment-limit")];
const TIMEOUT = [dropReason("ipv4-fragment-timeout"), dropReason("ipv6-fragment-timeout")];
const TIMEOUT_MS = [REASSEMBLY_TIMEOUT_MS, REASSEMBLY6_TIMEOUT_MS];

/** Results of `insert` that are not a place in the list. */
const DUPLICATE = -1;
const COLLISION = -2;
/** Result of `place` when the octets are where they belong. */
const PLACED = 1;

export class Reassembly {
  /** Total length of the datagram `add` has just completed, header included. */
  completedLength = 0;
  /** Queues in use. */
  inUse = 0;

  private readonly state = new Uint8Array(REASSEMBLY_QUEUES_MAX);
  private readonly family = new Uint8Array(REASSEMBLY_QUEUES_MAX);
  private readonly source = new Int32Array(REASSEMBLY_QUEUES_MAX);
  private readonly destination = new Int32Array(REASSEMBLY_QUEUES_MAX);
  /** Source and destination of IPv6, eight words per queue. */
  private readonly pairs = new Int32Array(REASSEMBLY_QUEUES_MAX * PAIR_WORDS);
  /** IPv4: identification in the top 16 bits, protocol in the low 8. IPv6: identification. */
  private readonly key = new Int32Array(REASSEMBLY_QUEUES_MAX);
  private readonly startedAt = new Int32Array(REASSEMBLY_QUEUES_MAX);
  /** Payload octets the last fragment announced, or -1. */
  private readonly end = new Int32Array(REASSEMBLY_QUEUES_MAX);
  /** Payload octets received. */
  private readonly received = new Int32Array(REASSEMBLY_QUEUES_MAX);
  /** Header octets of the fragment with offset 0, or 0 while it is missing. */
  private readonly headerLength = new Int32Array(REASSEMBLY_QUEUES_MAX);
  /** Ranges [from, to) by queue, sorted, disjoint. */
  private readonly ranges = new Int32Array(REASSEMBLY_QUEUES_MAX);
  private readonly from = new Int32Array(REASSEMBLY_QUEUES_MAX * REASSEMBLY_FRAGMENTS_MAX);
  private readonly to = new Int32Array(REASSEMBLY_QUEUES_MAX * REASSEMBLY_FRAGMENTS_MAX);

  /** `regionAt` is an arena offset with REASSEMBLY_REGION_OCTETS octets; `octets` is the arena. */
  constructor(
    private readonly octets: Uint8Array,
    private readonly view: DataView,
    private readonly regionAt: number,
    private readonly counters: Counters,
  ) {}

  /**
   * Takes the fragment whose checked IPv4 header is at `at`. Returns the offset of the completed datagram's header
   * (whole, with its total length and no fragment bits; its checksum is not renewed), valid until the next `add`,
   * 0 while the datagram is incomplete, or a negative drop reason.
   */
  add(at: number, headerLength: number, totalLength: number, nowMs: number): number {
    const bits = fragmentBits(this.view, at);
    const offset = (bits & FRAGMENT_OFFSET_MASK) << 3;
    const more = (bits & MORE_FRAGMENTS) !== 0;
    const length = totalLength - headerLength;
    if (length <= 0 || (more && (length & 7) !== 0) || offset + length > PAYLOAD_MAX) return -MALFORMED[IPV4];
    const queue = this.queueFor(at, nowMs);
    const placed = this.place(queue, at + headerLength, offset, length, more);
    if (placed !== PLACED) return placed;
    if (offset === 0) {
      this.headerLength[queue] = headerLength;
      this.octets.copyWithin(this.payloadAt(queue) - headerLength, at, at + headerLength);
    }
    return this.isComplete(queue) ? this.complete(queue) : 0;
  }

  /**
   * Takes the fragment of the IPv6 packet at `at` whose fragment header is at `fragmentAt`, up to `end`. Returns as
   * `add` does: the datagram has a fixed header and no fragment header.
   */
  add6(at: number, fragmentAt: number, end: number, nowMs: number): number {
    const bits = this.view.getUint16(fragmentAt + FRAGMENT_BITS);
    const offset = bits & FRAGMENT6_OFFSET_MASK;
    const more = (bits & FRAGMENT6_MORE) !== 0;
    const from = fragmentAt + FRAGMENT_HEADER_OCTETS;
    const length = end - from;
    if (length <= 0 || (more && (length & 7) !== 0) || offset + length > IP_PACKET_MAX) {
      return -MALFORMED[IPV6];
    }
    const queue = this.queueFor6(at, fragmentAt, nowMs);
    const placed = this.place(queue, from, offset, length, more);
    if (placed !== PLACED) return placed;
    if (offset === 0) {
      const headerAt = this.payloadAt(queue) - IPV6_HEADER_OCTETS;
      this.headerLength[queue] = IPV6_HEADER_OCTETS;
      this.octets.copyWithin(headerAt, at, at + IPV6_HEADER_OCTETS);
      this.octets[headerAt + NEXT_HEADER] = this.octets[fragmentAt];
    }
    return this.isComplete(queue) ? this.complete6(queue) : 0;
  }

  /** Puts `length` octets at `from` into their place. Returns PLACED, 0 for a duplicate, or a negative drop reason. */
  private place(queue: number, from: number, offset: number, length: number, more: boolean): number {
    const family = this.family[queue];
    if (this.state[queue] === CONDEMNED) return -OVERLAP[family];
    const to = offset + length;
    const end = this.end[queue];
    if (more ? end >= 0 && to > end : (end >= 0 && end !== to) || this.furthest(queue) > to) {
      return this.condemn(queue, OVERLAP[family]);
    }
    const place = this.placeFor(queue, offset, to);
    const isRepeated = place === DUPLICATE && this.repeats(queue, from, offset, length, more);
    if (isRepeated) return 0;
    if (place < 0) return this.condemn(queue, OVERLAP[family]);
    if (this.ranges[queue] === REASSEMBLY_FRAGMENTS_MAX) return this.condemn(queue, LIMIT[family]);
    this.insert(queue, place, offset, to);
    if (!more) this.end[queue] = to;
    this.octets.copyWithin(this.payloadAt(queue) + offset, from, from + length);
    return PLACED;
  }

  /** Whether the fragment says once more what is there. Other octets in the same place are an overlap. */
  private repeats(queue: number, from: number, offset: number, length: number, more: boolean): boolean {
    const { octets } = this;
    if (more === (this.end[queue] === offset + length)) return false;
    const known = this.payloadAt(queue) + offset;
    for (let i = 0; i < length; i++) if (octets[known + i] !== octets[from + i]) return false;
    return true;
  }

  private isComplete(queue: number): boolean {
    return this.received[queue] === this.end[queue];
  }

  /** Ends what has waited too long, and counts it. */
  poll(nowMs: number): void {
    if (this.inUse === 0) return;
    for (let queue = 0; queue < REASSEMBLY_QUEUES_MAX; queue++) {
      if (this.state[queue] === FREE) continue;
      const family = this.family[queue];
      if (((nowMs - this.startedAt[queue]) | 0) < TIMEOUT_MS[family]) continue;
      if (this.state[queue] === OPEN) this.counters.drop(TIMEOUT[family]);
      this.free(queue);
    }
  }

  /** Milliseconds from `nowMs` until `poll` has something to do: 0 or more, or -1 when nothing waits. */
  nextDeadlineMs(nowMs: number): number {
    if (this.inUse === 0) return -1;
    let next = Math.max(REASSEMBLY_TIMEOUT_MS, REASSEMBLY6_TIMEOUT_MS);
    for (let queue = 0; queue < REASSEMBLY_QUEUES_MAX; queue++) {
      if (this.state[queue] === FREE) continue;
      const left = TIMEOUT_MS[this.family[queue]] - ((nowMs - this.startedAt[queue]) | 0);
      if (left < next) next = left;
    }
    return Math.max(next, 0);
  }

  /** Forgets everything, without counting. */
  clear(): void {
    this.state.fill(FREE);
    this.inUse = 0;
  }

  private payloadAt(queue: number): number {
    return this.regionAt + queue * SLOT_OCTETS + PAYLOAD_OFFSET;
  }

  /** The queue of this fragment's datagram; a new one, in place of the oldest if need be, when there is none. */
  private queueFor(at: number, nowMs: number): number {
    const view = this.view;
    const from = source(view, at);
    const to = destination(view, at);
    const key = (identification(view, at) << 16) | protocol(view, at);
    for (let queue = 0; queue < REASSEMBLY_QUEUES_MAX; queue++) {
      if (
        this.key[queue] === key &&
        this.source[queue] === from &&
        this.destination[queue] === to &&
        this.family[queue] === IPV4 &&
        this.state[queue] !== FREE
      ) {
        return queue;
      }
    }
    const queue = this.open(IPV4, key, nowMs);
    this.source[queue] = from;
    this.destination[queue] = to;
    return queue;
  }

  /** The same of IPv6. The next header is no part of the key: a later fragment's is not looked at. */
  private queueFor6(at: number, fragmentAt: number, nowMs: number): number {
    const view = this.view;
    const key = view.getInt32(fragmentAt + FRAGMENT_IDENTIFICATION);
    for (let queue = 0; queue < REASSEMBLY_QUEUES_MAX; queue++) {
      if (
        this.key[queue] === key &&
        this.family[queue] === IPV6 &&
        this.state[queue] !== FREE &&
        isAddress(view, at + IPV6_SOURCE, this.pairs, queue * PAIR_WORDS) &&
        isAddress(view, at + IPV6_DESTINATION, this.pairs, queue * PAIR_WORDS + 4)
      ) {
        return queue;
      }
    }
    const queue = this.open(IPV6, key, nowMs);
    readAddress(view, at + IPV6_SOURCE, this.pairs, queue * PAIR_WORDS);
    readAddress(view, at + IPV6_DESTINATION, this.pairs, queue * PAIR_WORDS + 4);
    return queue;
  }

  /** A new queue, in place of the oldest of either family if need be. */
  private open(family: number, key: number, nowMs: number): number {
    let free = -1;
    let oldest = 0;
    for (let queue = 0; queue < REASSEMBLY_QUEUES_MAX; queue++) {
      if (this.state[queue] === FREE) free = queue;
      else if (((this.startedAt[queue] - this.startedAt[oldest]) | 0) < 0) oldest = queue;
    }
    if (free < 0) {
      if (this.state[oldest] === OPEN) this.counters.drop(LIMIT[this.family[oldest]]);
      this.free(oldest);
      free = oldest;
    }
    this.state[free] = OPEN;
    this.family[free] = family;
    this.key[free] = key;
    this.startedAt[free] = nowMs;
    this.end[free] = -1;
    this.received[free] = 0;
    this.headerLength[free] = 0;
    this.ranges[free] = 0;
    this.inUse++;
    return free;
  }

  /** Where the ranges of a queue end so far. */
  private furthest(queue: number): number {
    const count = this.ranges[queue];
    return count === 0 ? 0 : this.to[queue * REASSEMBLY_FRAGMENTS_MAX + count - 1];
  }

  /** Index at which [from, to) keeps the list sorted, DUPLICATE, or COLLISION. Searches from the end: most arrive in order. */
  private placeFor(queue: number, from: number, to: number): number {
    const base = queue * REASSEMBLY_FRAGMENTS_MAX;
    let i = this.ranges[queue];
    while (i > 0 && this.from[base + i - 1] >= to) i--;
    if (i === 0 || this.to[base + i - 1] <= from) return i;
    return this.from[base + i - 1] === from && this.to[base + i - 1] === to ? DUPLICATE : COLLISION;
  }

  private insert(queue: number, place: number, from: number, to: number): void {
    const at = queue * REASSEMBLY_FRAGMENTS_MAX + place;
    const last = queue * REASSEMBLY_FRAGMENTS_MAX + this.ranges[queue];
    this.from.copyWithin(at + 1, at, last);
    this.to.copyWithin(at + 1, at, last);
    this.from[at] = from;
    this.to[at] = to;
    this.ranges[queue]++;
    this.received[queue] += to - from;
  }

  /** Drops what has arrived, keeps the queue so that later fragments of the same datagram find it condemned. */
  private condemn(queue: number, reason: number): number {
    this.state[queue] = CONDEMNED;
    return -reason;
  }

  private complete(queue: number): number {
    const headerLength = this.headerLength[queue];
    const total = headerLength + this.end[queue];
    this.free(queue);
    if (total > IP_PACKET_MAX) return -MALFORMED[IPV4];
    const headerAt = this.payloadAt(queue) - headerLength;
    this.view.setUint16(headerAt + TOTAL_LENGTH, total);
    this.view.setUint16(headerAt + FLAGS_FRAGMENT, 0);
    this.completedLength = total;
    return headerAt;
  }

  /** The payload length does not count the header, so the packet may be 40 octets longer than an IPv4 one. */
  private complete6(queue: number): number {
    const payload = this.end[queue];
    this.free(queue);
    const headerAt = this.payloadAt(queue) - IPV6_HEADER_OCTETS;
    this.view.setUint16(headerAt + PAYLOAD_LENGTH, payload);
    this.completedLength = IPV6_HEADER_OCTETS + payload;
    return headerAt;
  }

  private free(queue: number): void {
    this.state[queue] = FREE;
    this.inUse--;
  }
}
