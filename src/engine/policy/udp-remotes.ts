/** Remotes of UDP and what was decided about each: asked for every datagram. One place for each; the newer takes it. */
import { POLICY_UDP_REMOTES_MAX } from "../limits.ts";
import { CHECK, GO } from "../network/destinations.ts";

const WORDS = 4;
/** How long a refusal counts that passes by itself: a limit that was reached, a question that is open. */
const BRIEF_MS = 1000;
const HASH_PRIME = 0x9e3779b1 | 0;

/** Nothing is known of it. No verdict has so high a number. */
export const UNKNOWN = 0x7fffffff;

export class UdpRemotes {
  readonly verdict = new Int32Array(POLICY_UDP_REMOTES_MAX);
  /** The rule that decided. */
  readonly rule = new Int32Array(POLICY_UDP_REMOTES_MAX);
  private readonly words = new Int32Array(POLICY_UDP_REMOTES_MAX * WORDS);
  private readonly port = new Int32Array(POLICY_UDP_REMOTES_MAX);
  private readonly askedAt = new Float64Array(POLICY_UDP_REMOTES_MAX);
  /** What was known then: refusals last until something more is. */
  private readonly generation = new Int32Array(POLICY_UDP_REMOTES_MAX);

  constructor(private readonly timeoutMs: number) {}

  /** The verdict on the remote at `words[at]` and on, or UNKNOWN. */
  find(words: Int32Array, at: number, port: number, nowMs: number, generation: number): number {
    const i = placeOf(words, at, port);
    if (this.port[i] !== port || nowMs - this.askedAt[i] >= this.timeoutMs) return UNKNOWN;
    for (let word = 0; word < WORDS; word++)
      if (this.words[i * WORDS + word] !== words[at + word]) return UNKNOWN;
    if (this.isOpen(i)) this.askedAt[i] = nowMs;
    else if (this.generation[i] !== generation) return UNKNOWN;
    return this.verdict[i];
  }

  /** Gives the remote a place. The caller puts the verdict there. */
  take(words: Int32Array, at: number, port: number, nowMs: number, generation: number): number {
    const i = placeOf(words, at, port);
    for (let word = 0; word < WORDS; word++) this.words[i * WORDS + word] = words[at + word];
    this.port[i] = port;
    this.askedAt[i] = nowMs;
    this.generation[i] = generation;
    return i;
  }

  /** What is decided about the remote at this place, which was just taken, counts only for a moment. */
  keepBriefly(place: number, nowMs: number): void {
    this.askedAt[place] = nowMs - Math.max(0, this.timeoutMs - BRIEF_MS);
  }

  /** The rule that lets datagrams go to the remote, or -1. */
  ruleOf(words: Int32Array, at: number, port: number): number {
    const i = placeOf(words, at, port);
    if (this.port[i] !== port || !this.isOpen(i)) return -1;
    for (let word = 0; word < WORDS; word++) if (this.words[i * WORDS + word] !== words[at + word]) return -1;
    return this.rule[i];
  }

  /** Datagrams to the remote, which has been judged, count for another rule: that of the name that was shown. */
  setRule(words: Int32Array, at: number, port: number, rule: number): void {
    if (this.ruleOf(words, at, port) >= 0) this.rule[placeOf(words, at, port)] = rule;
  }

  /** Datagrams may go there, if need be once a name was shown. */
  private isOpen(i: number): boolean {
    return this.verdict[i] === GO || this.verdict[i] === CHECK;
  }

  clear(): void {
    this.port.fill(0);
  }
}

function placeOf(words: Int32Array, at: number, port: number): number {
  let mixed = Math.imul(port, HASH_PRIME);
  for (let word = 0; word < WORDS; word++) mixed = Math.imul(mixed ^ words[at + word], 0x85ebca6b);
  return (mixed >>> 16) & (POLICY_UDP_REMOTES_MAX - 1);
}
