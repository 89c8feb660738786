/** Ways out, as a policy compares them: another policy says the same with other objects. */
import type { PolicyConfig, PolicyWay } from "../config.ts";
import { NO_RULE, type RuleSet } from "./rule-set.ts";

/** What a rule says of the way; null: straight. */
export function wayOf(config: PolicyConfig, rules: RuleSet, rule: number): PolicyWay | null {
  const own = rule !== NO_RULE && rules.allows(rule) ? config.rules[rule].way : undefined;
  return own ?? config.way ?? null;
}

export function isSameWay(a: PolicyWay | null, b: PolicyWay | null): boolean {
  if (a === b) return true;
  return a !== null && b !== null && JSON.stringify(a) === JSON.stringify(b);
}
