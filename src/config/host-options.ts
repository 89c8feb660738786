/** The options of the table by which the guest's network takes after the host's, or shows something of it. */
import { LOOPBACK, NOBODY } from "../engine/config.ts";
import { formatIpv4 } from "../engine/wire/address-text.ts";
import { isIpv4, parseIpv4 } from "./address.ts";
import { parseDeviceName } from "./link-grammar.ts";
import { type CommandName, choice, flag, option } from "./option-definition.ts";
import { Unacceptable } from "./problem.ts";

const ALL: readonly CommandName[] = ["run", "exec", "qemu", "replay"];
const LIVE: readonly CommandName[] = ["run", "exec", "qemu"];

/** What an alias leads to: an address, or `host`, which follows from the host's routes at the start. */
export interface AliasRule {
  readonly address: number;
  readonly target: number | "host";
}

const WORDS = new Map([
  ["loopback", LOOPBACK],
  ["nobody", NOBODY],
]);

/** `ADDRESS=TARGET`. */
function parseHostAlias(text: string): AliasRule {
  const at = text.indexOf("=");
  if (at < 0) {
    throw new Unacceptable(
      "ADDRESS=TARGET, TARGET being loopback, host or an address, such as 10.0.2.4=loopback",
    );
  }
  const target = text.slice(at + 1);
  return { address: parseIpv4(text.slice(0, at)), target: target === "host" ? "host" : parseTarget(target) };
}

function parseTarget(text: string): number {
  const known = WORDS.get(text);
  if (known !== undefined) return known;
  if (!isIpv4(text)) throw new Unacceptable("loopback, host, nobody or an IPv4 address", text);
  const address = parseIpv4(text);
  if (address >>> 24 === 0 || address >>> 24 >= 224) {
    throw new Unacceptable(`an address that one host has; ${formatIpv4(address)} is none`, text);
  }
  return address;
}

export const HOST_OPTIONS = {
  "copy-host": option({
    group: "Network",
    commands: LIVE,
    placeholder: "INTERFACE",
    help: "The guest has the IPv4 address, subnet, gateway and search domains that the host has on INTERFACE, auto being that of its default route; DNS is answered at the gateway's address. So it has the host's IPv6 address, /64 and gateway, where there is one. Implies --shared-subnet. What other options say counts instead. A host without a default route: 169.254.2.1/16, gateway 169.254.2.2.",
    parse: (text) => (text === "auto" ? text : parseDeviceName(text)),
  }),
  "shared-subnet": flag(
    "Network",
    ALL,
    "Other machines have addresses of the guest's subnet: they are reached as the host reaches them.",
  ),
} as const;

export const DHCP_FLAGS = {
  "no-dhcp": flag("DHCP", ALL, "No DHCP: the guest has its address by hand, or by --configure."),
  "no-dhcp-dns": flag("DHCP", ALL, "DHCP names no resolver."),
  "no-search": flag("DHCP", LIVE, "With --copy-host: not the host's search domains."),
} as const;

export const HOST_POLICY_OPTIONS = {
  "host-alias": option({
    group: "Policy",
    commands: ALL,
    placeholder: "ADDRESS=TARGET",
    repeat: true,
    property: "hostAliases",
    help: "At ADDRESS, in the subnet or not, the guest reaches loopback, the host's own 127.0.0.1; host, the host by the address that it reaches others with; another address; or nobody, an address that is there and says nothing.",
    parse: parseHostAlias,
  }),
  "answer-ping": flag(
    "Policy",
    ALL,
    "Pings to the gateway and our other addresses are answered, here; no others leave.",
  ),
  "refuse-with": option({
    group: "Policy",
    commands: ALL,
    placeholder: "HOW",
    help: "What the guest hears where it may not go: reset, which is silence for UDP; or ICMP, of both families and for UDP too: unreachable, the code for a network without a route, or prohibited, that of a filter. Some systems wait on ICMP's word where a reset ends the attempt.",
    parse: choice(["reset", "unreachable", "prohibited"]),
    default: "reset",
  }),
  "outbound-device": option({
    group: "Policy",
    commands: LIVE,
    placeholder: "INTERFACE",
    help: "Outbound sockets use this interface of the host alone (SO_BINDTODEVICE), and with it its routes.",
    parse: parseDeviceName,
  }),
} as const;
