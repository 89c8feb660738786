/** `--outbound-addr`, looked up on this host. */
import { networkInterfaces } from "node:os";
import { parseIpv4 } from "../config/address.ts";
import type { HostPlan } from "../config/host-plan.ts";
import type { OptionSet } from "../config/option-set.ts";
import type { EnginePlan } from "./control.ts";

/** Where outbound sockets are bound. Complains about an interface without an IPv4 address. */
export function resolveOutbound(options: OptionSet, host: HostPlan): EnginePlan["outbound"] {
  const { outbound } = host;
  if (outbound === undefined) return undefined;
  if (outbound.kind === "address") return { address: outbound.address };
  const found = networkInterfaces()[outbound.name]?.find(({ family }) => family === "IPv4");
  if (found) return { address: parseIpv4(found.address) };
  options.reject("outbound-addr", "an IPv4 address, or an interface of this host that has one");
  return undefined;
}
