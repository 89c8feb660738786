/** The line that says what is served: addresses the guest has, ports the host has. */
import { formatNetwork } from "../config/address.ts";
import { forwardHost, isOnEveryAddress } from "../config/forward-text.ts";
import { type EngineConfig, type Forward, type Ipv6Config, ipv6OnLink } from "../engine/config.ts";
import { formatIpv4, formatIpv6 } from "../engine/wire/address-text.ts";

export interface Ready {
  readonly linkName: string;
  readonly listenPort: number;
  readonly forwardPorts: readonly number[];
}

function describeForward(forward: Forward, port: number): string {
  const { protocol, ports = 1, guestPort, optional } = forward;
  const guest = describeForwardGuest(forward);
  // Of a set, those that the host has no use for: which is not said here.
  const first = optional ? forward.hostPort : port;
  const free = optional ? " where free" : "";
  return `${protocol} ${forwardHost(forward)}:${row(first, ports)}${free} -> ${guest}:${row(guestPort, ports)}`;
}

const row = (first: number, ports: number): string =>
  ports === 1 ? `${first}` : `${first}-${first + ports - 1}`;

/** Empty for the guest's own IPv4 address or the one it turns out to have, `[]` for its own of IPv6. */
function describeForwardGuest({ guestAddress, guestAddress6, eitherFamily }: Forward): string {
  if (eitherFamily) return "";
  if (guestAddress6 !== undefined) return guestAddress6 === null ? "[]" : `[${formatIpv6(guestAddress6)}]`;
  return guestAddress === 0 ? "" : formatIpv4(guestAddress);
}

function describeIpv6({ prefix, gateway, dns }: Ipv6Config): string {
  const resolver = dns === null ? "no DNS" : `DNS ${formatIpv6(dns)}`;
  return `IPv6 in ${formatIpv6(prefix)}/64, gateway ${formatIpv6(gateway)}, ${resolver}`;
}

/** The addresses a guest may have, but for those it gets by DHCP. */
function describeGuest(config: EngineConfig): string {
  const named = config.forwardsFollowGuest ? [] : [config.guestAddress, ...config.otherGuestAddresses];
  return [...named.map(formatIpv4), ...(config.anyGuestAddress ? ["any address"] : [])].join(" or ");
}

/** What it means that ports are on all addresses. */
function describeOpen(forwards: readonly Forward[]): string[] {
  const open = new Set(forwards.filter(isOnEveryAddress).map(forwardHost));
  const families = [["*", "IPv4"] as const, ["[::]", "IPv6"] as const];
  return families
    .filter(([host]) => open.has(host))
    .map(([host, family]) => `${host} is every address of this host over ${family}`);
}

const FORWARDS_SHOWN_MAX = 12;

/** `ready: tap tap0; guest 10.0.2.15 in 10.0.2.0/24, gateway 10.0.2.2, DNS 10.0.2.3; tcp 127.0.0.1:2222 -> :22`. */
export function describeService(config: EngineConfig, ready: Ready): string {
  const listen = ready.listenPort === 0 ? "" : `, port ${ready.listenPort}`;
  const ipv6 = ipv6OnLink(config);
  const dns = config.dns === 0 ? "no DNS" : `DNS ${formatIpv4(config.dns)}`;
  const shown = config.forwards.slice(0, FORWARDS_SHOWN_MAX);
  const forwards = shown.map((forward, i) =>
    describeForward(forward, ready.forwardPorts[i] ?? forward.hostPort),
  );
  const more = config.forwards.length - shown.length;
  const parts = [
    `ready: ${ready.linkName}${listen}`,
    ...(config.ipv4
      ? [
          `guest ${describeGuest(config)} in ${formatNetwork(config)}, gateway ${formatIpv4(config.gateway)}, ${dns}`,
        ]
      : []),
    ...(ipv6 === null ? [] : [describeIpv6(ipv6)]),
    ...(config.restrict ? ["nothing goes out"] : []),
    ...(forwards.length > 0 ? [`${forwards.join(", ")}${more > 0 ? ` and ${more} more` : ""}`] : []),
    ...describeOpen(config.forwards),
  ];
  return parts.join("; ");
}
