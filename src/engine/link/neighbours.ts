/**
 * Which MAC address an IPv4 address of the guest's network answers to.
 *
 * The guest fills this table (by ARP, by the frames it sends, by taking leases), so it is small and fixed: a new
 * address takes the place of the learned one that has gone unused longest. Entries that came from a lease or from
 * the configuration are pinned, so a flood of invented senders cannot push out a guest that has its address by right.
 *
 *   learned    may be evicted; the last MAC seen wins (RFC 826)
 *   leased     stays until `release`; the last MAC seen wins
 *   declared   stays; its MAC never changes
 *
 * Lookups happen per packet: a linear scan over at most GUESTS_MAX ints, starting with the last hit.
 */
import { GUESTS_MAX } from "../limits.ts";
import { isGroup, macHigh, macLow } from "../wire/ethernet.ts";

const FREE = 0;
const LEARNED = 1;
const LEASED = 2;
const DECLARED = 3;

export class Neighbours {
  readonly address: Int32Array;
  /** Top 16 bits of the MAC, by index. */
  readonly macHigh: Int32Array;
  /** Low 32 bits of the MAC as int32, by index. */
  readonly macLow: Int32Array;
  private readonly kind: Uint8Array;
  /** When the entry was last used, in ticks of `clock`. */
  private readonly usedAt: Int32Array;
  private clock = 0;
  private lastHit = 0;
  /** Called when an address was learned that had no entry. */
  appeared: (address: number) => void = () => {};

  constructor(readonly capacity: number = GUESTS_MAX) {
    this.address = new Int32Array(capacity);
    this.macHigh = new Int32Array(capacity);
    this.macLow = new Int32Array(capacity);
    this.kind = new Uint8Array(capacity);
    this.usedAt = new Int32Array(capacity);
  }

  /**
   * Notes that `address` is at this MAC. Returns false when it was not taken: a group or zero MAC, another MAC for a
   * declared address, or no entry left that may be evicted.
   */
  learn(address: number, macHigh: number, macLow: number): boolean {
    const isNew = this.indexOf(address) < 0;
    if (!this.put(address, macHigh, macLow, LEARNED)) return false;
    if (isNew) this.appeared(address);
    return true;
  }

  /** `learn` for the source of a packet: cheap where nothing is new. */
  noteSource(address: number, macHigh: number, macLow: number): void {
    const i = this.find(address);
    if (i < 0 || this.macHigh[i] !== macHigh || this.macLow[i] !== macLow) {
      this.learn(address, macHigh, macLow);
    }
  }

  /** As `learn`, and keeps the entry until `release`. */
  lease(address: number, macHigh: number, macLow: number): boolean {
    return this.put(address, macHigh, macLow, LEASED);
  }

  /** As `learn`, for good: no other MAC can take the address over. */
  declare(address: number, macHigh: number, macLow: number): boolean {
    return this.put(address, macHigh, macLow, DECLARED);
  }

  /** `declare` with a MAC of six octets. */
  declareMac(address: number, mac: Uint8Array): boolean {
    return this.declare(address, macHigh(mac), macLow(mac));
  }

  /** The lease on `address` ended: what is known stays known, but may be evicted. */
  release(address: number): void {
    const i = this.indexOf(address);
    if (i >= 0 && this.kind[i] === LEASED) this.kind[i] = LEARNED;
  }

  /** Index of the entry for `address`, or -1. Counts as a use. */
  find(address: number): number {
    const i = this.indexOf(address);
    if (i >= 0) this.touch(i);
    return i;
  }

  /** The address used last among those that `guests` knows as a guest's, or 0. */
  latest(guests: { isGuest(address: number): boolean }): number {
    let latest = -1;
    for (let i = 0; i < this.capacity; i++) {
      if (this.kind[i] === FREE || !guests.isGuest(this.address[i])) continue;
      if (latest < 0 || ((this.usedAt[i] - this.usedAt[latest]) | 0) > 0) latest = i;
    }
    return latest < 0 ? 0 : this.address[latest];
  }

  /** Entries in use. */
  get size(): number {
    let count = 0;
    for (let i = 0; i < this.capacity; i++) if (this.kind[i] !== FREE) count++;
    return count;
  }

  private indexOf(address: number): number {
    const last = this.lastHit;
    if (this.kind[last] !== FREE && this.address[last] === address) return last;
    for (let i = 0; i < this.capacity; i++) {
      if (this.kind[i] !== FREE && this.address[i] === address) {
        this.lastHit = i;
        return i;
      }
    }
    return -1;
  }

  private put(address: number, macHigh: number, macLow: number, kind: number): boolean {
    if (isGroup(macHigh) || (macHigh === 0 && macLow === 0)) return false;
    let i = this.indexOf(address);
    if (i < 0) {
      i = this.place();
      if (i < 0) return false;
      this.address[i] = address;
      this.kind[i] = kind;
    } else if (this.kind[i] === DECLARED && kind !== DECLARED) {
      return this.macHigh[i] === macHigh && this.macLow[i] === macLow;
    } else if (kind > this.kind[i]) {
      this.kind[i] = kind;
    }
    this.macHigh[i] = macHigh;
    this.macLow[i] = macLow;
    this.touch(i);
    return true;
  }

  /** A free index, or the learned entry unused longest, or -1 when all are pinned. */
  private place(): number {
    let oldest = -1;
    for (let i = 0; i < this.capacity; i++) {
      if (this.kind[i] === FREE) return i;
      if (this.kind[i] !== LEARNED) continue;
      if (oldest < 0 || ((this.usedAt[i] - this.usedAt[oldest]) | 0) < 0) oldest = i;
    }
    return oldest;
  }

  private touch(index: number): void {
    this.clock = (this.clock + 1) | 0;
    this.usedAt[index] = this.clock;
  }
}
