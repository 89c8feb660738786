/** A flow judged without a guest: by the rules that judge packets, as if its name had been asked for and shown. */

import { V4_MAPPED } from "../boundary.ts";
import type { PolicyConfig } from "../config.ts";
import type { DropReasonName } from "../metrics/drop-reasons.ts";
import { isLegitimate4, isLegitimate6 } from "../network/addresses.ts";
import { Name } from "./name.ts";
import { NO_RULE, PINNED, RuleSet } from "./rule-set.ts";
import { OVER_TCP, OVER_UDP } from "./targets.ts";

export interface OfflineFlow {
  /** One of both: a name, or four words (IPv4 as v4-mapped). */
  readonly host: { readonly name: string } | { readonly words: readonly number[] };
  readonly port: number;
  readonly protocol: "tcp" | "udp";
}

export interface OfflineVerdict {
  readonly allowed: boolean;
  /** Number of the rule that decides, or -1 for the default. */
  readonly rule: number;
  /** Null where it is allowed. */
  readonly reason: DropReasonName | null;
}

/** What stands for the address of a name that is not looked up: public, and in nobody's network. */
const SOME_ADDRESS = Int32Array.of(0, 0, V4_MAPPED, 0xf0000001);

export class OfflinePolicy {
  private readonly rules: RuleSet;
  private readonly name = new Name();

  constructor(config: PolicyConfig) {
    this.rules = new RuleSet(config);
  }

  judge({ host, port, protocol }: OfflineFlow): OfflineVerdict {
    const { rules, name } = this;
    const over = protocol === "tcp" ? OVER_TCP : OVER_UDP;
    const words = "words" in host ? Int32Array.from(host.words) : SOME_ADDRESS;
    if ("words" in host && !isLegitimate(words))
      return { allowed: false, rule: -1, reason: "destination-refused" };
    let rule = rules.addressRule(words, 0, port, over);
    if ("name" in host && name.setText(host.name)) {
      rule = Math.min(rule, rules.nameRule(name, port, over, PINNED));
    }
    const allowed = rules.allows(rule);
    const isForNames = "words" in host && rules.firstAllowing(port, over) !== NO_RULE;
    const byDefault = isForNames ? "policy-address-unnamed" : "policy-no-rule";
    const reason = allowed ? null : rule === NO_RULE ? byDefault : "policy-denied";
    return { allowed, rule: rule === NO_RULE ? -1 : rule, reason };
  }
}

function isLegitimate(words: Int32Array): boolean {
  const isIpv4 = words[2] === V4_MAPPED && (words[0] | words[1]) === 0;
  return isIpv4 ? isLegitimate4(words[3], false) : isLegitimate6(words, 0, false);
}
