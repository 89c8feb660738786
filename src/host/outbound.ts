/** `--outbound-addr` and `--udp-ports`, looked up on this host. */
import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { parseIpv4 } from "../config/address.ts";
import type { HostPlan, Outbound } from "../config/host-plan.ts";
import type { OutboundOptions, UdpPorts } from "./engine-options.ts";

/** The address outbound sockets are bound to; undefined when none was asked for or the interface has none. */
function outboundAddress(outbound: Outbound | undefined): number | undefined {
  if (outbound?.kind !== "interface") return outbound?.address;
  const found = networkInterfaces()[outbound.name]?.find(({ family }) => family === "IPv4");
  return found && parseIpv4(found.address);
}

/** One ephemeral port in so many is left to the host's own programs, whose every lookup of a name needs one. */
const HOST_SHARE = 8;

/** How many ports net.ipv4.ip_local_port_range (ip(7)), given as its text, leaves to the guest. */
export function ephemeralPortsMax(range: string): number {
  const [low, high] = range.trim().split(/\s+/).map(Number);
  const ports = high - low + 1;
  return ports > 0 ? ports - Math.ceil(ports / HOST_SHARE) : 65_535;
}

const PORT_RANGE = "/proc/sys/net/ipv4/ip_local_port_range";

function udpPorts(policy: HostPlan["udpPorts"]): UdpPorts {
  let range = "";
  try {
    range = readFileSync(PORT_RANGE, "utf8");
  } catch {
    // Without /proc the kernel alone keeps count.
  }
  return { preserve: policy === "preserve", ephemeralMax: ephemeralPortsMax(range) };
}

/** What the guest's traffic leaves by; undefined when the interface that was asked for has no IPv4 address. */
export function resolveOutbound(host: HostPlan): OutboundOptions | undefined {
  const address = outboundAddress(host.outbound);
  if (host.outbound && address === undefined) return undefined;
  const { outboundDevice: device } = host;
  return {
    ...(address === undefined ? {} : { address }),
    ...(device === undefined ? {} : { device }),
    udpPorts: udpPorts(host.udpPorts),
  };
}
