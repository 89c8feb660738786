/** `--outbound-addr` for an engine process. */
import type { HostPlan } from "../config/host-plan.ts";
import type { OptionSet } from "../config/option-set.ts";
import { outboundAddress } from "../host/outbound.ts";
import type { EnginePlan } from "../supervisor/control.ts";

/** Where outbound sockets are bound. Complains about an interface without an IPv4 address. */
export function resolveOutbound(options: OptionSet, host: HostPlan): EnginePlan["outbound"] {
  const address = outboundAddress(host.outbound);
  if (address !== undefined) return { address };
  if (host.outbound)
    options.reject("outbound-addr", "an IPv4 address, or an interface of this host that has one");
  return undefined;
}
