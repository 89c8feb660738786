/** The options of the table that give the guest IPv6. */
import { defaultEngineConfig, defaultIpv6Config } from "../engine/config.ts";
import { GUESTS_MAX } from "../engine/limits.ts";
import { formatIpv6 } from "../engine/wire/address-text.ts";
import { parseIpv6, parseNetwork6 } from "./address6.ts";
import { parseDhcp6Option } from "./dhcp-option.ts";
import { parseNat64 } from "./nat64-prefix.ts";
import { choice, option } from "./option-definition.ts";

/** What the core does by itself where IPv6 is on. */
export const CORE6 = defaultIpv6Config(defaultEngineConfig().gatewayMac);

const COMMANDS = ["run", "exec", "qemu", "replay"] as const;

export const IPV6_OPTIONS = {
  ipv6: option({
    group: "IPv6",
    commands: COMMANDS,
    placeholder: "WHEN",
    help: "Addresses by router advertisement and DHCPv6, and a default route: auto, while the host has one to the Internet; on, always; off: IPv4 alone.",
    parse: choice(["auto", "on", "off"]),
    default: "auto",
  }),
  ipv4: option({
    group: "IPv6",
    commands: COMMANDS,
    placeholder: "WHEN",
    help: "on, or off: the guest has IPv6 alone; IPv4 and ARP are dropped, and forwards go to its IPv6 address.",
    parse: choice(["on", "off"]),
    default: "on",
  }),
  nat64: option({
    group: "IPv6",
    commands: ["run", "exec", "qemu"],
    placeholder: "PREFIX",
    help: "Where the host has IPv6 alone, the guest's IPv4 goes out by its network's NAT64: under PREFIX (64:ff9b::/96), or auto, the one its resolvers know (RFC 7050); off: not at all. Guests with IPv6 are told of it (RFC 8781).",
    parse: parseNat64,
    default: "auto",
  }),
  net6: option({
    group: "IPv6",
    commands: COMMANDS,
    placeholder: "PREFIX/64",
    help: "The guest's prefix. One outside fc00::/7 makes guests prefer IPv6 for names that have both (RFC 6724).",
    parse: parseNetwork6,
    defaultWords: `${formatIpv6(CORE6.prefix)}/64`,
  }),
  gateway6: option({
    group: "IPv6",
    commands: COMMANDS,
    placeholder: "ADDRESS",
    help: "The router's address in the prefix, fe80::2 being its link-local one; or its link-local address, the other being the prefix's ::2.",
    parse: parseIpv6,
    defaultWords: "the prefix's ::2",
  }),
  dns6: option({
    group: "IPv6",
    commands: COMMANDS,
    placeholder: "ADDRESS",
    help: "The address that answers DNS over IPv6.",
    parse: parseIpv6,
    defaultWords: "the prefix's ::3",
  }),
  "guest-addr6": option({
    group: "IPv6",
    commands: COMMANDS,
    placeholder: "ADDRESS",
    help: "The guest's address, where forwards to its IPv6 go.",
    parse: parseIpv6,
    defaultWords: "the one it is seen to keep",
  }),
  "dhcp6-start": option({
    group: "IPv6",
    commands: COMMANDS,
    placeholder: "ADDRESS",
    help: `First of ${GUESTS_MAX} addresses leased by DHCPv6.`,
    parse: parseIpv6,
    defaultWords: "the prefix's ::15",
  }),
  "dhcp6-option": option({
    group: "IPv6",
    commands: COMMANDS,
    placeholder: "CODE=VALUE",
    repeat: true,
    property: "dhcp6Options",
    help: "Any option of DHCPv6 by number, as --dhcp-option; ip: is IPv6.",
    parse: parseDhcp6Option,
  }),
} as const;
