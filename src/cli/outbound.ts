/** `--outbound-addr` and `--udp-ports` for an engine process. */
import type { HostPlan } from "../config/host-plan.ts";
import type { OptionSet } from "../config/option-set.ts";
import { resolveOutbound as resolve } from "../host/outbound.ts";
import type { EnginePlan } from "../supervisor/control.ts";

/** What the guest's traffic leaves by. Complains about an interface without an IPv4 address. */
export function resolveOutbound(options: OptionSet, host: HostPlan): EnginePlan["outbound"] {
  const outbound = resolve(host);
  if (outbound === undefined)
    options.reject("outbound-addr", "an IPv4 address, or an interface of this host that has one");
  return outbound;
}
