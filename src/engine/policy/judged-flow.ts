/** The flow that is being judged, and the addresses it may really go to: one that carries another is judged as that. */
import { EMBEDDED_MAX, embeddedIpv4, isIsatap } from "../network/addresses.ts";
import { setMapped } from "../wire/mapped-address.ts";
import { extractIpv4, isOfPrefix, type Nat64Prefix } from "../wire/translated-address.ts";
import type { FlowInHand } from "./denials.ts";
import { OVER_TCP } from "./targets.ts";

const WORDS = 4;

export class JudgedFlow implements FlowInHand {
  readonly words = new Int32Array(WORDS);
  port = 0;
  protocol = OVER_TCP;
  /** The prefix of the network's translator, if it has one. */
  nat64: Nat64Prefix | null = null;
  readonly embedded = new Int32Array(EMBEDDED_MAX);
  private inside = 0;

  /** Puts the IPv4 addresses in the IPv6 address at `words[at]` into `embedded`. Returns how many. */
  inner(words: Int32Array, at: number): number {
    const { nat64, embedded } = this;
    if (nat64 === null || !isOfPrefix(words, at, nat64)) return embeddedIpv4(words, at, embedded);
    embedded[0] = extractIpv4(words, at, nat64.length);
    return 1;
  }

  /** How many addresses the one at `words[at]` may be: those inside, and itself where these leave it open. */
  candidates(words: Int32Array, at: number): number {
    this.inside = this.inner(words, at);
    return this.inside === 0 || isIsatap(words, at) ? this.inside + 1 : this.inside;
  }

  /** Takes the `i`-th of those that were just counted. */
  take(i: number, words: Int32Array, at: number): void {
    if (i < this.inside) setMapped(this.words, 0, this.embedded[i]);
    else for (let word = 0; word < WORDS; word++) this.words[word] = words[at + word];
  }
}
