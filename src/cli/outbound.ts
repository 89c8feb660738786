/** `--outbound-addr` and `--udp-ports` for an engine process. */
import type { HostPlan } from "../config/host-plan.ts";
import type { OptionSet } from "../config/option-set.ts";
import { OUTBOUND_ALLOWED, resolveOutbound as resolve } from "../host/outbound.ts";
import type { EnginePlan } from "../supervisor/control.ts";

/** What the guest's traffic leaves by. Complains about an interface without an address. */
export function resolveOutbound(options: OptionSet, host: HostPlan): EnginePlan["outbound"] {
  const outbound = resolve(host);
  if (outbound === undefined) options.reject("outbound-addr", OUTBOUND_ALLOWED);
  return outbound;
}
