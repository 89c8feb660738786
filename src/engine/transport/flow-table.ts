/**
 * One table for every flow, TCP and UDP. A flow is named by an id (a small int, reused) and found by what the guest
 * put on the wire: protocol, guest address and port, remote address and port. NAT needs no second table: where the
 * host socket goes is a property of the flow.
 *
 * Keys have two widths in one table, one id space, one limit. An IPv4 flow's addresses are two ints; an IPv6 flow's are
 * eight words of `words`, and its protocol has FAMILY_IPV6 set, so that comparing protocols compares families as well.
 *
 * The index is open addressing with linear probing over an Int32Array, deletion by backward shift, load at most 1/2.
 * The guest chooses the keys, so the hash is keyed (HalfSipHash-1-3, Aumasson and Bernstein 2012) with a secret. The last
 * flow found is tried first: a batch of frames is mostly one flow.
 */

import type { Entropy } from "../boundary.ts";
import { FLOWS_MAX } from "../limits.ts";
import { IPV6_HEADER_OCTETS } from "../wire/ipv6.ts";
import { type Ends, PAIR_WORDS } from "./path.ts";

export const NO_FLOW = -1;

/** In `FlowTable.protocol`: the addresses are in `words`. */
const FAMILY_IPV6 = 0x80;
/** Sets labels apart from whatever else is hashed of a flow: no protocol. */
const FLOW_LABEL = 0x100;

export class FlowTable {
  readonly guestAddress: Int32Array;
  readonly remoteAddress: Int32Array;
  /** PAIR_WORDS of each IPv6 flow: memory that only they touch. */
  readonly words: Int32Array;
  /** Guest port in the high half, remote port in the low half. */
  readonly ports: Int32Array;
  /** IP protocol number, with FAMILY_IPV6 for IPv6; 0 while the id is free. */
  readonly protocol: Uint8Array;
  /** Neighbours in the queue a flow stands in, if any (flow-queue.ts). */
  readonly queueNext: Int32Array;
  readonly queuePrevious: Int32Array;
  private readonly hashes: Int32Array;
  /** Flow id + 1; 0 is an empty slot. */
  private readonly index: Int32Array;
  private readonly indexMask: number;
  /** Ids from `fresh` on were never given out: their pages are untouched. Of the others, those given back. */
  private fresh = 0;
  private readonly free: Int32Array;
  private freeCount = 0;
  /** What the last search found: compared before it is believed, so it may be any flow by now. */
  private lastHit = 0;
  private readonly key0: number;
  private readonly key1: number;

  constructor(
    entropy: Entropy,
    readonly capacity: number = FLOWS_MAX,
  ) {
    this.key0 = entropy.int32();
    this.key1 = entropy.int32();
    this.guestAddress = new Int32Array(capacity);
    this.remoteAddress = new Int32Array(capacity);
    this.words = new Int32Array(capacity * PAIR_WORDS);
    this.ports = new Int32Array(capacity);
    this.protocol = new Uint8Array(capacity);
    this.queueNext = new Int32Array(capacity);
    this.queuePrevious = new Int32Array(capacity);
    this.hashes = new Int32Array(capacity);
    this.free = new Int32Array(capacity);
    this.index = new Int32Array(powerOfTwo(capacity) * 2);
    this.indexMask = this.index.length - 1;
  }

  /** The IP protocol of flow `id`, whatever its family; 0 while the id is free. */
  protocolOf(id: number): number {
    return this.protocol[id] & ~FAMILY_IPV6;
  }

  /** Ids below it have been given out at least once. */
  get end(): number {
    return this.fresh;
  }

  get count(): number {
    return this.fresh - this.freeCount;
  }

  /** The IPv4 flow with this key, or NO_FLOW. */
  find(protocol: number, guest: number, remote: number, ports: number): number {
    const last = this.lastHit;
    if (this.holds(last, protocol, guest, remote, ports)) return last;
    const { index, indexMask } = this;
    let slot = keyedHash(this.key0, this.key1, protocol, guest, remote, ports) & indexMask;
    for (;;) {
      const id = index[slot] - 1;
      if (id < 0) return NO_FLOW;
      if (this.holds(id, protocol, guest, remote, ports)) {
        this.lastHit = id;
        return id;
      }
      slot = (slot + 1) & indexMask;
    }
  }

  /** The IPv6 flow with this key, or NO_FLOW. `pair`: the guest's address, then the remote's. */
  find6(protocol: number, pair: Int32Array, ports: number): number {
    const key = protocol | FAMILY_IPV6;
    const last = this.lastHit;
    if (this.holds6(last, key, pair, ports)) return last;
    const { index, indexMask } = this;
    let slot = keyedHash6(this.key0, this.key1, key, pair, 0, ports) & indexMask;
    for (;;) {
      const id = index[slot] - 1;
      if (id < 0) return NO_FLOW;
      if (this.holds6(id, key, pair, ports)) {
        this.lastHit = id;
        return id;
      }
      slot = (slot + 1) & indexMask;
    }
  }

  /** The flow of either family between these ends, whose `pairAt` is 0; or NO_FLOW. */
  findEnds(protocol: number, ends: Ends): number {
    const ports = packPorts(ends.guestPort, ends.remotePort);
    return ends.ipOctets === IPV6_HEADER_OCTETS
      ? this.find6(protocol, ends.pair, ports)
      : this.find(protocol, ends.guestAddress, ends.remoteAddress, ports);
  }

  private holds(id: number, protocol: number, guest: number, remote: number, ports: number): boolean {
    return (
      this.ports[id] === ports &&
      this.remoteAddress[id] === remote &&
      this.guestAddress[id] === guest &&
      this.protocol[id] === protocol
    );
  }

  private holds6(id: number, key: number, pair: Int32Array, ports: number): boolean {
    if (this.ports[id] !== ports || this.protocol[id] !== key) return false;
    const { words } = this;
    // From the end: what differs most between flows are the low words of the remote.
    for (let i = PAIR_WORDS - 1, at = id * PAIR_WORDS + i; i >= 0; i--, at--) {
      if (words[at] !== pair[i]) return false;
    }
    return true;
  }

  /** The id the next `insert` will give, or NO_FLOW when the table is full. */
  nextId(): number {
    if (this.freeCount > 0) return this.free[this.freeCount - 1];
    return this.fresh < this.capacity ? this.fresh : NO_FLOW;
  }

  /** Takes the id that `nextId` names. */
  private takeId(): number {
    if (this.freeCount > 0) return this.free[--this.freeCount];
    return this.fresh < this.capacity ? this.fresh++ : NO_FLOW;
  }

  /** Adds an IPv4 flow whose key is not there yet. Returns its id, or NO_FLOW when the table is full. */
  insert(protocol: number, guest: number, remote: number, ports: number): number {
    const id = this.takeId();
    if (id === NO_FLOW) return NO_FLOW;
    this.guestAddress[id] = guest;
    this.remoteAddress[id] = remote;
    this.enter(id, protocol, ports, keyedHash(this.key0, this.key1, protocol, guest, remote, ports));
    return id;
  }

  /** `insert` for an IPv6 flow; copies the addresses of `pair`. */
  insert6(protocol: number, pair: Int32Array, ports: number): number {
    const id = this.takeId();
    if (id === NO_FLOW) return NO_FLOW;
    const key = protocol | FAMILY_IPV6;
    for (let i = 0; i < PAIR_WORDS; i++) this.words[id * PAIR_WORDS + i] = pair[i];
    this.enter(id, key, ports, keyedHash6(this.key0, this.key1, key, pair, 0, ports));
    return id;
  }

  /** `insert` for either family; `pairAt` is 0. */
  insertEnds(protocol: number, ends: Ends): number {
    const ports = packPorts(ends.guestPort, ends.remotePort);
    return ends.ipOctets === IPV6_HEADER_OCTETS
      ? this.insert6(protocol, ends.pair, ports)
      : this.insert(protocol, ends.guestAddress, ends.remoteAddress, ports);
  }

  private enter(id: number, protocol: number, ports: number, hash: number): void {
    this.protocol[id] = protocol;
    this.ports[id] = ports;
    this.hashes[id] = hash;
    let slot = hash & this.indexMask;
    while (this.index[slot] !== 0) slot = (slot + 1) & this.indexMask;
    this.index[slot] = id + 1;
  }

  remove(id: number): void {
    let slot = this.hashes[id] & this.indexMask;
    while (this.index[slot] !== id + 1) slot = (slot + 1) & this.indexMask;
    // Backward shift: pull later entries of the run into the hole unless they are at or before their home.
    let hole = slot;
    for (;;) {
      slot = (slot + 1) & this.indexMask;
      const other = this.index[slot] - 1;
      if (other < 0) break;
      const home = this.hashes[other] & this.indexMask;
      if (((slot - home) & this.indexMask) >= ((slot - hole) & this.indexMask)) {
        this.index[hole] = other + 1;
        hole = slot;
      }
    }
    this.index[hole] = 0;
    this.protocol[id] = 0;
    this.free[this.freeCount++] = id;
  }
}

/** The smallest power of two that is not less than `n`. */
export function powerOfTwo(n: number): number {
  let size = 1;
  while (size < n) size *= 2;
  return size;
}

/** Puts a flow's object where its id says. Ids are given out in order at first, so the list grows as flows come. */
export function placeAt<T>(list: (T | null)[], id: number, flow: T): void {
  while (list.length <= id) list.push(null);
  list[id] = flow;
}

export function packPorts(guestPort: number, remotePort: number): number {
  return (guestPort << 16) | remotePort;
}

/** HalfSipHash-1-3 of four words, 32 bits out. Also serves initial sequence numbers (RFC 6528). */
export function keyedHash(k0: number, k1: number, a: number, b: number, c: number, d: number): number {
  let v0 = k0;
  let v1 = k1;
  let v2 = k0 ^ 0x6c796765;
  let v3 = k1 ^ 0x74656462;
  for (let i = 0; i < 8; i++) {
    // Words 0-3 are the message, 4 its length, 5-7 the three finishing rounds.
    const m = i === 0 ? a : i === 1 ? b : i === 2 ? c : i === 3 ? d : i === 4 ? 16 << 24 : 0;
    if (i === 5) v2 ^= 0xff;
    v3 ^= m;
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    v0 ^= m;
  }
  return v1 ^ v3;
}

/** A keyed hash of a flow of either family: `domain` tells one use of it from another. */
export function hashEnds(k0: number, k1: number, domain: number, ends: Ends): number {
  const ports = packPorts(ends.guestPort, ends.remotePort);
  return ends.ipOctets === IPV6_HEADER_OCTETS
    ? keyedHash6(k0, k1, domain, ends.pair, ends.pairAt, ports)
    : keyedHash(k0, k1, ends.guestAddress, ends.remoteAddress, ports, domain);
}

/** The 20 bits that are the same in all packets of a flow of IPv6, and are not 0 (RFC 6437 section 3). */
export function flowLabelOf(k0: number, k1: number, ends: Ends): number {
  return hashEnds(k0, k1, FLOW_LABEL, ends) & 0xfffff || 1;
}

/** HalfSipHash-1-3 of a protocol, two IPv6 addresses and two ports, 32 bits out. */
function keyedHash6(
  k0: number,
  k1: number,
  protocol: number,
  pair: Int32Array,
  pairAt: number,
  ports: number,
): number {
  let v0 = k0;
  let v1 = k1;
  let v2 = k0 ^ 0x6c796765;
  let v3 = k1 ^ 0x74656462;
  // Words 0-9 are the message, 10 its length, 11-13 the three finishing rounds.
  for (let i = 0; i < 14; i++) {
    const m = i < 8 ? pair[pairAt + i] : i === 8 ? protocol : i === 9 ? ports : i === 10 ? 40 << 24 : 0;
    if (i === 11) v2 ^= 0xff;
    v3 ^= m;
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    v0 ^= m;
  }
  return v1 ^ v3;
}
