/** A flow judged without a guest: by the rules that judge packets, as if its name had been asked for and shown. */

import { V4_MAPPED } from "../boundary.ts";
import type { PolicyConfig } from "../config.ts";
import type { DropReasonName } from "../metrics/drop-reasons.ts";
import { isLegitimate4, isLegitimate6 } from "../network/addresses.ts";
import { isMapped } from "../wire/mapped-address.ts";
import { JudgedFlow } from "./judged-flow.ts";
import { Name } from "./name.ts";
import { NO_RULE, PINNED, RuleSet } from "./rule-set.ts";
import { OVER_QUIC, OVER_TCP, OVER_UDP } from "./targets.ts";

export interface OfflineFlow {
  /** One of both: a name, or four words (IPv4 as v4-mapped). */
  readonly host: { readonly name: string } | { readonly words: readonly number[] };
  readonly port: number;
  /** `quic`: UDP that shows the name. */
  readonly protocol: "tcp" | "udp" | "quic";
}

export interface OfflineVerdict {
  readonly allowed: boolean;
  /** It is, once somebody has said yes. */
  readonly asks: boolean;
  /** Number of the rule that decides, or -1 for the default. */
  readonly rule: number;
  /** Null where it is allowed. */
  readonly reason: DropReasonName | null;
}

const PROTOCOLS = { tcp: OVER_TCP, udp: OVER_UDP, quic: OVER_QUIC } as const;

/** What stands for the address of a name that is not looked up: public, and in nobody's network. */
const SOME_ADDRESS = Int32Array.of(0, 0, V4_MAPPED, 0xf0000001);

export class OfflinePolicy {
  private readonly rules: RuleSet;
  private readonly name = new Name();
  private readonly flow = new JudgedFlow();

  constructor(config: PolicyConfig) {
    this.rules = new RuleSet(config);
  }

  judge({ host, port, protocol }: OfflineFlow): OfflineVerdict {
    const { rules, name } = this;
    const over = PROTOCOLS[protocol];
    const words = "words" in host ? Int32Array.from(host.words) : SOME_ADDRESS;
    if ("words" in host && !isLegitimate(words))
      return { allowed: false, asks: false, rule: -1, reason: "destination-refused" };
    let rule = this.addressRule(words, port, over);
    if ("name" in host && name.setText(host.name)) {
      rule = Math.min(rule, rules.nameRule(name, port, over, PINNED));
    }
    const allowed = rules.allows(rule);
    const isForNames = "words" in host && rules.firstAllowing(port, over) !== NO_RULE;
    const byDefault = isForNames ? "policy-address-unnamed" : "policy-no-rule";
    const reason = allowed ? null : rule === NO_RULE ? byDefault : "policy-denied";
    return { allowed, asks: rules.asks(rule), rule: rule === NO_RULE ? -1 : rule, reason };
  }

  /** The rule for an address: of all that it may be, one that denies before one that allows. */
  private addressRule(words: Int32Array, port: number, over: number): number {
    const { rules, flow } = this;
    const all = flow.candidates(words, 0);
    let found = NO_RULE;
    for (let i = 0; i < all; i++) {
      flow.take(i, words, 0);
      found = rules.addressRule(flow.words, 0, port, over);
      if (!rules.allows(found)) break;
    }
    return found;
  }
}

function isLegitimate(words: Int32Array): boolean {
  return isMapped(words, 0) ? isLegitimate4(words[3], false) : isLegitimate6(words, 0, false);
}
