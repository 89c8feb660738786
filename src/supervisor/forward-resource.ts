/** A forward as the control API shows it. */
import { portsOf, ruleGuest, ruleHost, ruleText } from "../config/forward-rule.ts";
import type { ForwardResource } from "../control/schema.ts";
import type { ServedRule } from "../host/own-forwards.ts";

export function forwardResource({ id, rule, hostPort, origin }: ServedRule): ForwardResource {
  const [first] = rule;
  if (first === undefined) throw new RangeError("a rule without a port");
  return {
    id,
    rule: ruleText(rule, hostPort),
    protocol: first.protocol,
    hostAddress: ruleHost(rule),
    hostPort,
    guestAddress: ruleGuest(rule),
    guestPort: first.guestPort,
    ports: portsOf(rule),
    origin,
  };
}
