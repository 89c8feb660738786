/** What a connection to a denied name is told, whose name has an address for that alone. */
import { dropReason } from "../metrics/drop-reasons.ts";
import { NO_PIN } from "./pins.ts";
import type { Policy } from "./policy.ts";
import { NO_RULE, PINNED } from "./rule-set.ts";
import { OVER_TCP } from "./targets.ts";

const NO_SUCH_RULE = dropReason("policy-no-rule");
const DENIED = dropReason("policy-denied");
const MISMATCH = dropReason("policy-name-mismatch");

/**
 * Why a connection to the address in `words`, which stands for a denied name, is refused, now that it has shown the name in
 * `policy.name`. Returns the reason, which is noted.
 */
export function explain(policy: Policy, words: Int32Array, port: number): number {
  const { flow, name, rules, pins } = policy;
  flow.candidates(words, 0);
  flow.take(0, words, 0);
  const rule = rules.nameRule(name, port, OVER_TCP, PINNED);
  // One that is allowed by now is so at its next try.
  const isOther = pins.find(name, flow.words, 0) === NO_PIN || rules.allows(rule);
  const reason = isOther ? MISMATCH : rule === NO_RULE ? NO_SUCH_RULE : DENIED;
  policy.refusedFlow(flow.words, port, OVER_TCP, reason, rule);
  return reason;
}
