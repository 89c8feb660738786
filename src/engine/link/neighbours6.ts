/**
 * Which MAC address an IPv6 address of the guest's link answers to: `neighbours.ts` for addresses of four words.
 *
 * A guest has several addresses and may invent as many as it likes, so besides age there is a quota: a MAC that has
 * NEIGHBOURS6_PER_MAC_MAX entries gets a new one in place of its own oldest, and no guest pushes all others out
 * (RFC 6583). Unlike an ARP entry, a leased address stays with the MAC that has leased it: nobody else's
 * advertisement moves it.
 *
 *   learned    may be evicted; the last MAC seen wins (RFC 4861 section 7.2.3)
 *   leased     stays until `release`; only another lease moves it
 *   declared   stays; its MAC never changes
 *
 * Lookups happen per packet: a linear scan that starts with the last hit.
 */
import { NEIGHBOURS6_MAX, NEIGHBOURS6_PER_MAC_MAX } from "../limits.ts";
import { isGroup } from "../wire/ethernet.ts";

const FREE = 0;
const LEARNED = 1;
const LEASED = 2;
const DECLARED = 3;

export class Neighbours6 {
  /** Four words per entry. */
  readonly words: Int32Array;
  /** Top 16 bits of the MAC, by index. */
  readonly macHigh: Int32Array;
  /** Low 32 bits of the MAC as int32, by index. */
  readonly macLow: Int32Array;
  private readonly kind: Uint8Array;
  /** When the entry was last used, in ticks of `clock`. */
  private readonly usedAt: Int32Array;
  private clock = 0;
  private lastHit = 0;
  /** Called with an address that was learned and had no entry. */
  appeared: (words: Int32Array, index: number) => void = () => {};

  constructor(
    readonly capacity: number = NEIGHBOURS6_MAX,
    private readonly perMac: number = NEIGHBOURS6_PER_MAC_MAX,
  ) {
    this.words = new Int32Array(capacity * 4);
    this.macHigh = new Int32Array(capacity);
    this.macLow = new Int32Array(capacity);
    this.kind = new Uint8Array(capacity);
    this.usedAt = new Int32Array(capacity);
  }

  /**
   * Notes that the address is at this MAC. Returns false when it was not taken: a group or zero MAC, another MAC for a
   * leased or declared address, or no entry left that may be evicted.
   */
  learn(words: Int32Array, index: number, macHigh: number, macLow: number): boolean {
    const isNew = this.indexOf(words, index) < 0;
    if (!this.put(words, index, macHigh, macLow, LEARNED)) return false;
    if (isNew) this.appeared(words, index);
    return true;
  }

  /** `learn` for the source of a packet: cheap where nothing is new. */
  noteSource(words: Int32Array, index: number, macHigh: number, macLow: number): void {
    const i = this.find(words, index);
    if (i < 0 || this.macHigh[i] !== macHigh || this.macLow[i] !== macLow) {
      this.learn(words, index, macHigh, macLow);
    }
  }

  /** As `learn`, keeps the entry until `release`, and moves an earlier lease to this MAC. */
  lease(words: Int32Array, index: number, macHigh: number, macLow: number): boolean {
    return this.put(words, index, macHigh, macLow, LEASED);
  }

  /** As `learn`, for good: no other MAC can take the address over. */
  declare(words: Int32Array, index: number, macHigh: number, macLow: number): boolean {
    return this.put(words, index, macHigh, macLow, DECLARED);
  }

  /** The lease on the address ended: what is known stays known, but may be evicted. */
  release(words: Int32Array, index: number): void {
    const i = this.indexOf(words, index);
    if (i >= 0 && this.kind[i] === LEASED) this.kind[i] = LEARNED;
  }

  /** Index of the entry for the address, or -1. Counts as a use. */
  find(words: Int32Array, index: number): number {
    const i = this.indexOf(words, index);
    if (i >= 0) this.touch(i);
    return i;
  }

  /** Entries in use. */
  get size(): number {
    let count = 0;
    for (let i = 0; i < this.capacity; i++) if (this.kind[i] !== FREE) count++;
    return count;
  }

  private holds(i: number, words: Int32Array, index: number): boolean {
    const at = i * 4;
    return (
      this.words[at + 3] === words[index + 3] &&
      this.words[at + 2] === words[index + 2] &&
      this.words[at + 1] === words[index + 1] &&
      this.words[at] === words[index] &&
      this.kind[i] !== FREE
    );
  }

  private indexOf(words: Int32Array, index: number): number {
    if (this.holds(this.lastHit, words, index)) return this.lastHit;
    for (let i = 0; i < this.capacity; i++) {
      if (this.holds(i, words, index)) {
        this.lastHit = i;
        return i;
      }
    }
    return -1;
  }

  private put(words: Int32Array, index: number, macHigh: number, macLow: number, kind: number): boolean {
    if (isGroup(macHigh) || (macHigh === 0 && macLow === 0)) return false;
    let i = this.indexOf(words, index);
    if (i < 0) {
      i = this.place(macHigh, macLow);
      if (i < 0) return false;
      for (let word = 0; word < 4; word++) this.words[i * 4 + word] = words[index + word];
      this.kind[i] = kind;
    } else if (this.kind[i] > LEARNED && kind < this.kind[i]) {
      return this.macHigh[i] === macHigh && this.macLow[i] === macLow;
    } else {
      const moves = this.macHigh[i] !== macHigh || this.macLow[i] !== macLow;
      if (moves && this.entriesOf(macHigh, macLow) >= this.perMac) return false;
      this.kind[i] = kind;
    }
    this.macHigh[i] = macHigh;
    this.macLow[i] = macLow;
    this.touch(i);
    return true;
  }

  /**
   * A free index or the learned entry unused longest; of this MAC's own when it has its quota. -1 when all that could
   * give way are pinned.
   */
  private place(macHigh: number, macLow: number): number {
    let free = -1;
    let oldest = -1;
    let oldestOwn = -1;
    for (let i = 0; i < this.capacity; i++) {
      if (this.kind[i] === FREE) {
        free = i;
        continue;
      }
      const isOwn = this.macHigh[i] === macHigh && this.macLow[i] === macLow;
      if (this.kind[i] !== LEARNED) continue;
      if (oldest < 0 || this.isOlder(i, oldest)) oldest = i;
      if (isOwn && (oldestOwn < 0 || this.isOlder(i, oldestOwn))) oldestOwn = i;
    }
    if (this.entriesOf(macHigh, macLow) >= this.perMac) return oldestOwn;
    return free >= 0 ? free : oldest;
  }

  private entriesOf(macHigh: number, macLow: number): number {
    let count = 0;
    for (let i = 0; i < this.capacity; i++) {
      if (this.kind[i] !== FREE && this.macHigh[i] === macHigh && this.macLow[i] === macLow) count++;
    }
    return count;
  }

  private isOlder(i: number, than: number): boolean {
    return ((this.usedAt[i] - this.usedAt[than]) | 0) < 0;
  }

  private touch(i: number): void {
    this.clock = (this.clock + 1) | 0;
    this.usedAt[i] = this.clock;
  }
}
