/**
 * Which of its addresses a guest's forwards go to. A guest that makes its own addresses has several in the prefix: one
 * by DHCPv6, one that stays, and temporary ones, which are the last it is seen with and the worst to send clients to
 * (RFC 8981). In this order:
 *
 *   1. the configured one
 *   2. a leased one that has been seen
 *   3. the one made of the guest's MAC (EUI-64, RFC 4291 appendix A)
 *   4. the one seen first, of those that still answer
 *
 * An address that clients use without having been heard of for REACHABLE_MS is to be asked for by neighbour
 * solicitation, once a second; silent three times, it is forgotten, and the next one in the order is chosen (RFC 4861
 * section 7.3). The table is fixed and small: a new address takes the place of the one heard of longest ago, but not
 * of one that 2 to 4 would choose.
 */
import { GUESTS_MAX } from "../limits.ts";

/** As long as a sign of life is believed (RFC 4861 section 10: REACHABLE_TIME). */
export const REACHABLE_MS = 30_000;
/** Solicitations without an answer, and how far apart (RETRANS_TIMER). */
export const PROBES = 3;
export const PROBE_INTERVAL_MS = 1000;

/** The universal bit of an interface identifier, and ff:fe in its middle. */
const UNIVERSAL_BIT = 0x02000000;
const MIDDLE_HIGH = 0xff;
const MIDDLE_LOW = 0xfe000000 | 0;

export class GuestAddresses {
  /** What `choose` chose. */
  readonly chosen = new Int32Array(4);
  /** Four words per address, by index. */
  readonly words: Int32Array;
  private readonly used: Uint8Array;
  private readonly seen: Uint8Array;
  private readonly leased: Uint8Array;
  private readonly madeOfMac: Uint8Array;
  /** Order of arrival. */
  private readonly order: Int32Array;
  private readonly heardMs: Int32Array;
  /** Solicitations since the address was heard of, and when the last one left. */
  private readonly probes: Uint8Array;
  private readonly probedMs: Int32Array;
  private nextOrder = 0;
  /** The address a client is sent to and nothing was heard of for long, or -1. */
  private doubted = -1;

  /** `prefix`: the guest's /64. `configured`: where forwards go whatever is seen, or null. */
  constructor(
    private readonly prefix: Int32Array,
    private readonly configured: Int32Array | null,
    private readonly capacity: number = GUESTS_MAX,
  ) {
    this.words = new Int32Array(capacity * 4);
    this.used = new Uint8Array(capacity);
    this.seen = new Uint8Array(capacity);
    this.leased = new Uint8Array(capacity);
    this.madeOfMac = new Uint8Array(capacity);
    this.order = new Int32Array(capacity);
    this.heardMs = new Int32Array(capacity);
    this.probes = new Uint8Array(capacity);
    this.probedMs = new Int32Array(capacity);
  }

  /** A guest at this MAC showed that it has the address. Others than those of the prefix are of no use to clients. */
  heard(words: Int32Array, index: number, macHigh: number, macLow: number, nowMs: number): void {
    if (words[index] !== this.prefix[0] || words[index + 1] !== this.prefix[1]) return;
    let i = this.indexOf(words, index);
    if (i < 0) i = this.add(words, index, nowMs);
    if (i < 0) return;
    this.seen[i] = 1;
    this.madeOfMac[i] = isMadeOf(words[index + 2], words[index + 3], macHigh, macLow) ? 1 : 0;
    this.heardMs[i] = nowMs;
    this.probes[i] = 0;
    if (this.doubted === i) this.doubted = -1;
  }

  /** The address was leased. It is not chosen before the guest shows that it has taken it. */
  lease(words: Int32Array, index: number, nowMs: number): void {
    let i = this.indexOf(words, index);
    if (i < 0) i = this.add(words, index, nowMs);
    if (i >= 0) this.leased[i] = 1;
  }

  /** The lease on the address ended: the guest has it no more. */
  release(words: Int32Array, index: number): void {
    const i = this.indexOf(words, index);
    if (i >= 0) this.forget(i);
  }

  /** Puts the address for a client that arrives now into `chosen`. False when no guest has shown one yet. */
  choose(nowMs: number): boolean {
    if (this.configured !== null) {
      this.chosen.set(this.configured);
      return true;
    }
    const best = this.best();
    if (best < 0) return false;
    for (let word = 0; word < 4; word++) this.chosen[word] = this.words[best * 4 + word];
    this.doubted = ((nowMs - this.heardMs[best]) | 0) >= REACHABLE_MS ? best : -1;
    return true;
  }

  /** Index in `words`, in addresses, of the one to be solicited now, or -1. Forgets what did not answer. */
  probe(nowMs: number): number {
    const i = this.doubted;
    if (i < 0 || this.probeInMs(i, nowMs) > 0) return -1;
    if (this.probes[i] === PROBES) {
      this.forget(i);
      this.choose(nowMs);
      return this.doubted < 0 ? -1 : this.probe(nowMs);
    }
    this.probes[i]++;
    this.probedMs[i] = nowMs;
    return i;
  }

  /** Milliseconds from `nowMs` until `probe` has something to do: 0 or more, or -1 when nothing is in doubt. */
  nextDeadlineMs(nowMs: number): number {
    return this.doubted < 0 ? -1 : this.probeInMs(this.doubted, nowMs);
  }

  private probeInMs(i: number, nowMs: number): number {
    if (this.probes[i] === 0) return 0;
    return Math.max(0, PROBE_INTERVAL_MS - ((nowMs - this.probedMs[i]) | 0));
  }

  private best(): number {
    let best = -1;
    for (let i = 0; i < this.capacity; i++) {
      if (this.seen[i] === 1 && (best < 0 || this.isBetter(i, best))) best = i;
    }
    return best;
  }

  private isBetter(i: number, than: number): boolean {
    const rank = this.leased[i] * 2 + this.madeOfMac[i];
    const other = this.leased[than] * 2 + this.madeOfMac[than];
    return rank === other ? ((this.order[i] - this.order[than]) | 0) < 0 : rank > other;
  }

  private indexOf(words: Int32Array, index: number): number {
    for (let i = 0; i < this.capacity; i++) {
      if (
        this.used[i] === 1 &&
        this.words[i * 4 + 3] === words[index + 3] &&
        this.words[i * 4 + 2] === words[index + 2] &&
        this.words[i * 4 + 1] === words[index + 1] &&
        this.words[i * 4] === words[index]
      ) {
        return i;
      }
    }
    return -1;
  }

  private add(words: Int32Array, index: number, nowMs: number): number {
    const i = this.place();
    if (i < 0) return -1;
    for (let word = 0; word < 4; word++) this.words[i * 4 + word] = words[index + word];
    this.used[i] = 1;
    this.order[i] = this.nextOrder;
    this.nextOrder = (this.nextOrder + 1) | 0;
    this.heardMs[i] = nowMs;
    return i;
  }

  /** A free index, or that of the address heard of longest ago which is not one of the better ones. */
  private place(): number {
    const best = this.best();
    let oldest = -1;
    for (let i = 0; i < this.capacity; i++) {
      if (this.used[i] === 0) return i;
      if (i === best || this.leased[i] === 1 || this.madeOfMac[i] === 1) continue;
      if (oldest < 0 || ((this.heardMs[i] - this.heardMs[oldest]) | 0) < 0) oldest = i;
    }
    if (oldest >= 0) this.forget(oldest);
    return oldest;
  }

  private forget(i: number): void {
    this.used[i] = 0;
    this.seen[i] = 0;
    this.leased[i] = 0;
    this.madeOfMac[i] = 0;
    this.probes[i] = 0;
    if (this.doubted === i) this.doubted = -1;
  }
}

/** Whether the last two words of an address are the identifier made of this MAC. */
function isMadeOf(word2: number, word3: number, macHigh: number, macLow: number): boolean {
  const top = (((macHigh << 16) | ((macLow >>> 16) & 0xff00)) ^ UNIVERSAL_BIT) | MIDDLE_HIGH;
  return word2 === top && word3 === (MIDDLE_LOW | (macLow & 0xffffff));
}
