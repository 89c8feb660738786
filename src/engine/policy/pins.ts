/**
 * Pins: which names our resolver has answered with an address, and until when that counts. A flow to a name is let
 * through by one of these and by nothing else, so they are made from answers to questions of our own only.
 *
 * Pins of one address hang together, newest first. A full table gives up the pin that has been without use longest, of
 * those it looks at in one go. Times are milliseconds of a clock that does not wrap: a pin must not come back to life.
 */
import { PIN_ROWS_MAX, PINS_MAX, PINS_PER_ADDRESS_MAX } from "../limits.ts";
import { formatAddress } from "../wire/address-text.ts";
import { Name } from "./name.ts";
import { NameTable } from "./name-table.ts";

export const NO_PIN = -1;
/** However short or long the TTL. */
const PIN_SECONDS_MIN = 30;
const PIN_SECONDS_MAX = 3600;
const WORDS = 4;
const HASH_PRIME = 0x9e3779b1 | 0;
/** Pins looked at for one that can give way. */
const EVICTION_LOOKS = 64;
/** How long it is believed that no flow keeps an old pin alive. */
const KEPT_BELIEF_MS = 1000;

/** One pin, for people. */
export interface PinRow {
  readonly address: string;
  /** That the guest reaches there, as policies have names. */
  readonly name: string;
  /** Milliseconds that it is good for, without what its open flows may add then. */
  readonly endsInMs: number;
  /** The address is nobody's: it stands for the name (stand-ins.ts). */
  readonly isStandIn: boolean;
}

export class Pins {
  readonly names: NameTable;
  /** Four of each. */
  readonly words: Int32Array;
  private readonly name: Int32Array;
  private readonly until: Float64Array;
  private readonly usedAt: Float64Array;
  /** When all flows were last looked through for one that keeps the pin. */
  private readonly lookedAt: Float64Array;
  private readonly isOwnPin: Uint8Array;
  private readonly live: Uint8Array;
  private readonly next: Int32Array;
  private readonly heads: Int32Array;
  private readonly mask: number;
  /** How long a pin lasts beyond its TTL. */
  graceMs: number;
  private free = 0;
  private hand = 0;
  /** Pins there are. */
  used = 0;
  /** Grows when a pin is made: what was denied before may be allowed now. */
  generation = 0;
  /** Whether a flow that this pin let in is open; asked of pins that are over. */
  isInUse: (pin: number) => boolean = () => false;

  /** `capacity` is a power of two. */
  constructor(graceMs: number, capacity = PINS_MAX, names = new NameTable()) {
    this.graceMs = graceMs;
    this.names = names;
    this.words = new Int32Array(capacity * WORDS);
    this.name = new Int32Array(capacity);
    this.until = new Float64Array(capacity);
    this.usedAt = new Float64Array(capacity);
    this.lookedAt = new Float64Array(capacity);
    this.isOwnPin = new Uint8Array(capacity);
    this.live = new Uint8Array(capacity);
    this.next = new Int32Array(capacity);
    this.heads = new Int32Array(capacity).fill(NO_PIN);
    this.mask = capacity - 1;
    for (let i = 0; i < capacity; i++) this.next[i] = i + 1 < capacity ? i + 1 : NO_PIN;
  }

  /** The name leads to the address in `words[at]` and on; `isOwn`: one of the guest's network, by which we are reached. */
  add(name: Name, words: Int32Array, at: number, ttlSeconds: number, isOwn: boolean, nowMs: number): void {
    const seconds = Math.min(Math.max(ttlSeconds, PIN_SECONDS_MIN), PIN_SECONDS_MAX);
    const until = nowMs + seconds * 1000 + this.graceMs;
    let pin = this.find(name, words, at);
    if (pin === NO_PIN) pin = this.make(name, words, at, nowMs);
    else if (until < this.until[pin] && !this.isOver(pin, nowMs)) return;
    this.until[pin] = until;
    this.isOwnPin[pin] = isOwn ? 1 : 0;
    this.generation = (this.generation + 1) | 0;
  }

  /** The pin of this name at this address, over or not; or NO_PIN. */
  find(name: Name, words: Int32Array, at: number): number {
    const id = this.names.find(name);
    if (id < 0) return NO_PIN;
    let pin = this.firstOf(words, at);
    while (pin !== NO_PIN && this.name[pin] !== id) pin = this.nextOf(pin);
    return pin;
  }

  private make(name: Name, words: Int32Array, at: number, nowMs: number): number {
    this.limitAddress(words, at);
    while (this.free === NO_PIN || (this.names.full && this.names.find(name) < 0)) this.evict(nowMs);
    const pin = this.free;
    this.free = this.next[pin];
    this.used++;
    this.live[pin] = 1;
    for (let i = 0; i < WORDS; i++) this.words[pin * WORDS + i] = words[at + i];
    this.name[pin] = this.names.take(name);
    this.usedAt[pin] = nowMs;
    this.lookedAt[pin] = Number.NEGATIVE_INFINITY;
    const bucket = this.bucket(words, at);
    this.next[pin] = this.heads[bucket];
    this.heads[bucket] = pin;
    return pin;
  }

  /** Leaves room for one more name of this address. */
  private limitAddress(words: Int32Array, at: number): void {
    let count = 0;
    let oldest = NO_PIN;
    for (let pin = this.firstOf(words, at); pin !== NO_PIN; pin = this.nextOf(pin)) {
      count++;
      if (oldest === NO_PIN || this.usedAt[pin] <= this.usedAt[oldest]) oldest = pin;
    }
    if (count >= PINS_PER_ADDRESS_MAX) this.remove(oldest);
  }

  private evict(nowMs: number): void {
    let oldest = NO_PIN;
    for (let looks = 0; looks < EVICTION_LOOKS || oldest === NO_PIN; looks++) {
      const pin = this.hand;
      this.hand = (pin + 1) & this.mask;
      if (this.live[pin] === 0) continue;
      if (this.isOver(pin, nowMs)) {
        oldest = pin;
        break;
      }
      if (oldest === NO_PIN || this.usedAt[pin] < this.usedAt[oldest]) oldest = pin;
    }
    this.remove(oldest);
  }

  /** Takes a pin off. */
  remove(pin: number): void {
    const bucket = this.bucket(this.words, pin * WORDS);
    if (this.heads[bucket] === pin) {
      this.heads[bucket] = this.next[pin];
    } else {
      let before = this.heads[bucket];
      while (this.next[before] !== pin) before = this.next[before];
      this.next[before] = this.next[pin];
    }
    this.names.release(this.name[pin]);
    this.live[pin] = 0;
    this.next[pin] = this.free;
    this.free = pin;
    this.used--;
  }

  /** Takes off all pins of addresses that are such. */
  removeOf(isSuch: (words: Int32Array, at: number) => boolean): void {
    for (let pin = 0; pin < this.live.length; pin++) {
      if (this.live[pin] !== 0 && isSuch(this.words, pin * WORDS)) this.remove(pin);
    }
  }

  /**
   * For people: those that a flow has used last come first, at most PIN_ROWS_MAX. Without those that are over and kept by open
   * flows alone, for which all flows would be looked through, each time.
   */
  rows(nowMs: number, isStandIn: (words: Int32Array, at: number) => boolean): PinRow[] {
    const name = new Name();
    const pins: number[] = [];
    for (let pin = 0; pin < this.live.length; pin++) {
      if (this.live[pin] !== 0 && !this.isOver(pin, nowMs)) pins.push(pin);
    }
    pins.sort((a, b) => this.usedAt[b] - this.usedAt[a]);
    return pins.slice(0, PIN_ROWS_MAX).map((pin) => {
      this.readName(pin, name);
      return {
        address: formatAddress(this.words, pin * WORDS),
        name: name.text,
        endsInMs: Math.ceil(this.until[pin] - nowMs),
        isStandIn: isStandIn(this.words, pin * WORDS),
      };
    });
  }

  /** The first pin of an address, over or not; NO_PIN when there is none. */
  firstOf(words: Int32Array, at: number): number {
    return this.sameFrom(this.heads[this.bucket(words, at)], words, at);
  }

  /** The next pin of the same address. */
  nextOf(pin: number): number {
    return this.sameFrom(this.next[pin], this.words, pin * WORDS);
  }

  private sameFrom(pin: number, words: Int32Array, at: number): number {
    while (pin !== NO_PIN) {
      const own = pin * WORDS;
      const isSame =
        this.words[own + 3] === words[at + 3] &&
        this.words[own + 2] === words[at + 2] &&
        this.words[own + 1] === words[at + 1] &&
        this.words[own] === words[at];
      if (isSame) return pin;
      pin = this.next[pin];
    }
    return NO_PIN;
  }

  /** Whether the pin counts at this time. One that is over does while a flow is open that it let in. */
  counts(pin: number, nowMs: number): boolean {
    if (!this.isOver(pin, nowMs)) return true;
    // Whoever tries again and again has all flows looked through once a second.
    if (nowMs - this.lookedAt[pin] < KEPT_BELIEF_MS) return false;
    this.lookedAt[pin] = nowMs;
    if (!this.isInUse(pin)) return false;
    this.until[pin] = nowMs + this.graceMs;
    return true;
  }

  private isOver(pin: number, nowMs: number): boolean {
    return nowMs >= this.until[pin];
  }

  /** A flow is let in by this pin. */
  use(pin: number, nowMs: number): void {
    this.usedAt[pin] = nowMs;
  }

  isOwn(pin: number): boolean {
    return this.isOwnPin[pin] !== 0;
  }

  /** Takes the pin's name in hand. */
  readName(pin: number, name: Name): void {
    this.names.read(this.name[pin], name);
  }

  /** The pin of this name at this address that counts now, or NO_PIN. */
  leading(name: Name, words: Int32Array, at: number, nowMs: number): number {
    const pin = this.find(name, words, at);
    return pin !== NO_PIN && this.counts(pin, nowMs) ? pin : NO_PIN;
  }

  private bucket(words: Int32Array, at: number): number {
    let hash = words[at + 3];
    hash = Math.imul(hash ^ words[at] ^ (hash >>> 15), HASH_PRIME);
    hash = Math.imul(hash ^ words[at + 1] ^ Math.imul(words[at + 2], HASH_PRIME), HASH_PRIME);
    return (hash ^ (hash >>> 16)) & this.mask;
  }
}
