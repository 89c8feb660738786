/**
 * What was denied, or would have been: each target once, with a count. A guest that tries ten thousand addresses fills the
 * table and no more; what finds no place is counted together.
 */
import { DENIALS_MAX } from "../limits.ts";
import { DROP_REASONS, type DropReasonName } from "../metrics/drop-reasons.ts";
import { formatAddress } from "../wire/address-text.ts";
import { Name } from "./name.ts";
import { OVER_TCP } from "./targets.ts";

const WORDS = 4;
const NAME_SLOT_OCTETS = 256;
const HASH_PRIME = 0x9e3779b1 | 0;
/** Twice as many as denials, so that searches are short. */
const SLOTS_MASK = DENIALS_MAX * 2 - 1;

/** Of a flow in hand: a question. */
export const OVER_DNS = 0;

/** Where a flow wants to go. One that is a question has neither address nor port. */
export interface FlowInHand {
  /** Four words, IPv4 as v4-mapped. */
  readonly words: Int32Array;
  readonly port: number;
  readonly protocol: number;
}

/** Flows that each rule let through, and did not; the default's come last. */
export interface PolicyCounts {
  readonly allowed: readonly number[];
  readonly denied: readonly number[];
}

/** One line of the table, for people. */
export interface DenialRow {
  /** A name as it was asked for or shown, or an address. */
  readonly host: string;
  /** 0 for a question. */
  readonly port: number;
  /** Of the flow; `dns` for a question. */
  readonly protocol: "tcp" | "udp" | "dns";
  /** Why, as the drop counters have it. */
  readonly reason: DropReasonName;
  /** Number of the rule among those there are now, or -1 for the default or one that is gone. */
  readonly rule: number;
  /** Its name, or null. */
  readonly ruleName: string | null;
  /** Tries so far. */
  readonly count: number;
  /** It is a name that led to a private address: its rule has to say `private: true`. */
  readonly isPrivate: boolean;
}

export class Denials {
  /** Those that found no place. */
  others = 0;
  private readonly slots = new Int32Array(SLOTS_MASK + 1).fill(-1);
  private readonly words = new Int32Array(DENIALS_MAX * WORDS);
  private readonly octets = new Uint8Array(DENIALS_MAX * NAME_SLOT_OCTETS);
  private readonly nameLength = new Uint8Array(DENIALS_MAX);
  private readonly port = new Int32Array(DENIALS_MAX);
  private readonly protocol = new Uint8Array(DENIALS_MAX);
  private readonly reason = new Int32Array(DENIALS_MAX);
  private readonly rule = new Int32Array(DENIALS_MAX);
  private readonly count = new Float64Array(DENIALS_MAX);
  private used = 0;

  /** Notes one. By its name where there is one, else by its address; `rule` is -1 for the default. */
  note(flow: FlowInHand, name: Name | null, reason: number, rule: number): void {
    const { words, port, protocol } = flow;
    let hash = Math.imul(port ^ (protocol << 16), HASH_PRIME);
    if (name !== null) hash ^= name.hashes[name.labels];
    else for (let i = 0; i < WORDS; i++) hash = Math.imul(hash ^ words[i] ^ (hash >>> 15), HASH_PRIME);
    let slot = (hash ^ (hash >>> 16)) & SLOTS_MASK;
    for (; this.slots[slot] >= 0; slot = (slot + 1) & SLOTS_MASK) {
      const entry = this.slots[slot];
      if (!this.isAt(entry, flow, name)) continue;
      this.count[entry]++;
      this.reason[entry] = reason;
      this.rule[entry] = rule;
      return;
    }
    if (this.used === DENIALS_MAX) {
      this.others++;
      return;
    }
    const entry = this.used++;
    this.slots[slot] = entry;
    for (let i = 0; i < WORDS; i++) this.words[entry * WORDS + i] = words[i];
    this.nameLength[entry] = name === null ? 0 : name.length;
    for (let i = 0; name !== null && i < name.length; i++) {
      this.octets[entry * NAME_SLOT_OCTETS + i] = name.octets[i];
    }
    this.port[entry] = port;
    this.protocol[entry] = protocol;
    this.reason[entry] = reason;
    this.rule[entry] = rule;
    this.count[entry] = 1;
  }

  private isAt(entry: number, { words, port, protocol }: FlowInHand, name: Name | null): boolean {
    if (this.port[entry] !== port || this.protocol[entry] !== protocol) return false;
    const length = this.nameLength[entry];
    if (name !== null) {
      return length > 0 && name.hasSuffix(name.labels, this.octets, entry * NAME_SLOT_OCTETS, length);
    }
    if (length > 0) return false;
    for (let i = 0; i < WORDS; i++) if (this.words[entry * WORDS + i] !== words[i]) return false;
    return true;
  }

  /** Rules have other numbers: `before` says for each which one it had, or -1. */
  renumber(before: readonly number[]): void {
    const now = new Map(before.map((old, rule) => [old, rule]));
    for (let entry = 0; entry < this.used; entry++) {
      if (this.rule[entry] >= 0) this.rule[entry] = now.get(this.rule[entry]) ?? -1;
    }
  }

  /** For people: most tries first. */
  rows(
    rules: readonly { readonly name: string }[],
    isPrivate: (words: Int32Array, at: number) => boolean,
  ): DenialRow[] {
    const name = new Name();
    return Array.from({ length: this.used }, (_, entry): DenialRow => {
      const length = this.nameLength[entry];
      if (length > 0) name.copy(this.octets, entry * NAME_SLOT_OCTETS, length);
      const protocol = this.protocol[entry];
      return {
        host: length > 0 ? name.text : formatAddress(this.words, entry * WORDS),
        port: this.port[entry],
        protocol: protocol === OVER_TCP ? "tcp" : protocol === OVER_DNS ? "dns" : "udp",
        reason: DROP_REASONS[this.reason[entry]],
        rule: this.rule[entry],
        ruleName: rules[this.rule[entry]]?.name ?? null,
        count: this.count[entry],
        isPrivate: length > 0 && protocol !== OVER_DNS && isPrivate(this.words, entry * WORDS),
      };
    }).sort((a, b) => b.count - a.count);
  }
}
