/**
 * Addresses that stand for names. A name whose rules say by what way it is reached is answered with one, so that it is
 * known for certain when a connection comes, and no resolver is asked for it.
 *
 * There is no table: a name's stand-in follows from its hash, and is the name's as long as the pin that says so lasts. Where
 * another name has it, the next place is tried.
 */
import { V4_MAPPED } from "../boundary.ts";
import type { StandInNetwork } from "../config.ts";
import { STAND_IN_SECONDS } from "../network/judge.ts";
import { isMapped } from "../wire/mapped-address.ts";
import { Name } from "./name.ts";
import { NO_PIN, type Pins } from "./pins.ts";

/** Places tried for a name. With four times as many places as there can be pins none is free once in a billion. */
const PLACES_TRIED = 16;
const HASH_PRIME = 0x9e3779b1 | 0;
/** No name's: that of the network, and of broadcasts. */
const RESERVED = 1;

export class StandIns {
  private readonly mask: number;
  private readonly words = Int32Array.of(0, 0, V4_MAPPED, 0);
  private readonly held = new Name();

  constructor(
    private readonly network: StandInNetwork,
    private readonly pins: Pins,
  ) {
    this.mask = (-1 << (32 - network.prefixLength)) | 0;
  }

  /** Whether both take their addresses from the same network. */
  isOf({ network }: StandIns): boolean {
    return network.address === this.network.address && network.prefixLength === this.network.prefixLength;
  }

  /** Whether this is one, of a name or of none. IPv4 as v4-mapped. */
  has(words: Int32Array, at: number): boolean {
    return isMapped(words, at) && (words[at + 3] & this.mask) === this.network.address;
  }

  /** The pin of the stand-in at `words[at]`, or NO_PIN where it is nobody's now. */
  pinAt(words: Int32Array, at: number, nowMs: number): number {
    const pin = this.pins.firstOf(words, at);
    return pin !== NO_PIN && this.pins.counts(pin, nowMs) ? pin : NO_PIN;
  }

  /** The stand-in of a name, which it has from now on if it had none. 0 when none is to be had. */
  of(name: Name, nowMs: number): number {
    const { words, pins } = this;
    let place = name.hashes[name.labels];
    for (let i = 0; i < PLACES_TRIED; i++) {
      place = Math.imul(place ^ (place >>> 15), HASH_PRIME) + i;
      const within = place & ~this.mask;
      if (within < RESERVED || within > ~this.mask - RESERVED) continue;
      words[3] = this.network.address | within;
      if (!this.isFree(name, nowMs)) continue;
      // Of our own making: no address of anybody's that a name could lead to.
      pins.add(name, words, 0, STAND_IN_SECONDS, true, nowMs);
      return words[3];
    }
    return 0;
  }

  /** Whether the place in hand is this name's, or nobody's. A pin that is over and another's is taken off. */
  private isFree(name: Name, nowMs: number): boolean {
    const { words, pins, held } = this;
    const pin = pins.firstOf(words, 0);
    if (pin === NO_PIN) return true;
    pins.readName(pin, held);
    if (held.hasSuffix(held.labels, name.octets, 0, name.length)) return true;
    if (pins.counts(pin, nowMs)) return false;
    pins.remove(pin);
    return true;
  }
}
