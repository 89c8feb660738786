/** The command line of an engine: everything a spec says about a NIC behind NAT, in the options of `sluice run`. */
import type { VmNic } from "../spec/vm-model.ts";
import { optionText } from "./delegation.ts";
import { type GuestResolver, SEARCH_DOMAINS_MAX } from "./resolver.ts";

/** Octets of the search list one DHCP option carries. */
const SEARCH_OCTETS_MAX = 255;

export interface EngineRequest {
  readonly nic: VmNic;
  readonly mac: string;
  /** The options of the link to QEMU. */
  readonly link: readonly string[];
  readonly hostname: string | undefined;
  readonly resolver: GuestResolver;
  /** Confine the engine. */
  readonly sandbox: boolean;
  /** The pod has IPv6: so has the guest, and its ports are those of both families. */
  readonly isDualStack: boolean;
}

/** Arguments of `sluice`, and what a person should know about them. */
export function engineArguments(request: EngineRequest): { argv: string[]; warnings: string[] } {
  const { nic, mac, link, hostname, resolver, sandbox, isDualStack } = request;
  const everyAddress = isDualStack ? "*" : "0.0.0.0";
  const { domain, engineResolvers } = resolver;
  const search = fittingSearch(resolver.search);
  const hasDns = nic.nat === undefined || nic.nat.dns !== undefined;
  const direct = hasDns ? [] : resolver.nameServers.filter((address) => !address.startsWith("127."));
  const left = resolver.search.slice(search.length);
  const argv = [
    ...["run", ...link, "--guest-mac", mac],
    ...addressArguments(nic),
    ...nic.ports.flatMap(({ protocol, port, end }) => {
      const ports = end === undefined ? `${port}` : `${port}-${end}`;
      return ["--publish", `${protocol}:${everyAddress}:${ports}:${port}`];
    }),
    ...(isDualStack ? ["--ipv6", "auto"] : []),
    ...(hostname === undefined ? [] : ["--hostname", hostname]),
    ...(domain === undefined ? [] : ["--domain", domain]),
    ...search.flatMap((name) => ["--search", name]),
    ...(hasDns ? engineResolvers.flatMap((address) => ["--resolver", address]) : []),
    ...(direct.length === 0 ? [] : ["--dhcp-option", `6=ip:${direct.join(",")}`]),
    ...(nic.dhcpOptions ?? []).flatMap((option) => ["--dhcp-option", optionText(option)]),
    ...(sandbox ? [] : ["--no-sandbox"]),
  ];
  const warnings = [
    ...(hasDns || direct.length > 0
      ? []
      : [`${nic.name}: its subnet has no room for DNS, and none is told to the guest`]),
    ...(left.length === 0
      ? []
      : [`${nic.name}: the search list is too long for DHCP; left out: ${left.join(", ")}`]),
  ];
  return { argv, warnings };
}

function addressArguments({ nat }: VmNic): string[] {
  if (nat === undefined) return [];
  const dns = nat.dns === undefined ? ["--no-dns"] : ["--dns", nat.dns];
  return ["--net", nat.network, "--gateway", nat.gateway, "--guest-addr", nat.guest, ...dns];
}

/** The first domains that fit. */
function fittingSearch(search: readonly string[]): string[] {
  let octets = 0;
  return search.slice(0, SEARCH_DOMAINS_MAX).filter((domain) => {
    octets += domain.length + 2;
    return octets <= SEARCH_OCTETS_MAX;
  });
}
