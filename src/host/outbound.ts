/** `--outbound-addr`, looked up on this host. */
import { networkInterfaces } from "node:os";
import { parseIpv4 } from "../config/address.ts";
import type { Outbound } from "../config/host-plan.ts";

/** The address outbound sockets are bound to; undefined when none was asked for or the interface has none. */
export function outboundAddress(outbound: Outbound | undefined): number | undefined {
  if (outbound?.kind !== "interface") return outbound?.address;
  const found = networkInterfaces()[outbound.name]?.find(({ family }) => family === "IPv4");
  return found && parseIpv4(found.address);
}
