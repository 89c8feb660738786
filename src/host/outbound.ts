/** `--outbound-addr` and `--udp-ports`, looked up on this host. */
import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { parseIpv4 } from "../config/address.ts";
import type { HostPlan } from "../config/host-plan.ts";
import type { Ipv6Words } from "../engine/config.ts";
import type { OutboundOptions, UdpPorts } from "./engine-options.ts";

/** What `resolveOutbound` finds wrong. */
export const OUTBOUND_ALLOWED = "an IPv4 or IPv6 address, or an interface of this host that has one";

const ADDRESSES6 = "/proc/net/if_inet6";
const GLOBAL_SCOPE = "00";
/** linux/if_addr.h: temporary (RFC 8981), found to be somebody else's, past its preferred time, not known to be ours yet. */
const TEMPORARY = 0x01;
const UNUSABLE = 0x08 | 0x20 | 0x40;

/**
 * The IPv6 address of an interface that outbound sockets are bound to, given what /proc/net/if_inet6 says: one of the
 * Internet before a ULA, one that stays before a temporary one. Null when there is none.
 */
export function interfaceAddress6(table: string, name: string): Ipv6Words | null {
  const rows = table
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , scope, , device]) => scope === GLOBAL_SCOPE && device === name)
    .map(([hex = "", , , , flags = ""]) => ({ hex, flags: Number.parseInt(flags, 16) }))
    .filter(({ flags }) => (flags & UNUSABLE) === 0);
  const rank = ({ hex, flags }: { hex: string; flags: number }): number =>
    (flags & TEMPORARY) + (/^f[cd]/.test(hex) ? 2 : 0);
  const [best] = rows.sort((a, b) => rank(a) - rank(b));
  if (best === undefined) return null;
  const word = (i: number): number => Number.parseInt(best.hex.slice(i * 8, i * 8 + 8), 16) | 0;
  return [word(0), word(1), word(2), word(3)];
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** Both addresses of an interface; null for a family that it has none of. */
function interfaceAddresses(name: string): { address: number | null; address6: Ipv6Words | null } {
  const found = networkInterfaces()[name]?.find(({ family }) => family === "IPv4");
  return {
    address: found ? parseIpv4(found.address) : null,
    address6: interfaceAddress6(readText(ADDRESSES6), name),
  };
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
  // Without /proc the kernel alone keeps count.
  return { preserve: policy === "preserve", ephemeralMax: ephemeralPortsMax(readText(PORT_RANGE)) };
}

/** What the guest's traffic leaves by; undefined when the interface that was asked for has no address. */
export function resolveOutbound(host: HostPlan): OutboundOptions | undefined {
  let sources: Pick<OutboundOptions, "address" | "address6"> = {};
  for (const outbound of host.outbound ?? []) {
    if (outbound.kind === "address") sources = { ...sources, address: outbound.address };
    else if (outbound.kind === "address6") sources = { ...sources, address6: outbound.address };
    else sources = interfaceAddresses(outbound.name);
  }
  if (sources.address === null && sources.address6 === null) return undefined;
  const { outboundDevice: device } = host;
  const bound =
    device === undefined ? {} : { device, deviceHasIpv4: interfaceAddresses(device).address !== null };
  return { ...sources, ...bound, udpPorts: udpPorts(host.udpPorts) };
}
