/**
 * Every option of `sluice run` and its sisters, once: parsing, validation, `--help`, the library's property names and
 * docs/options.md all come from this table.
 */

import { defaultEngineConfig } from "../engine/config.ts";
import { GUESTS_MAX, MTU_MAX, MTU_MIN } from "../engine/limits.ts";
import { DOMAIN_NAME, DOMAIN_SEARCH, HOST_NAME } from "../engine/wire/dhcp-options.ts";
import { encodeSearchList } from "../engine/wire/domain-list.ts";
import {
  formatMac,
  formatNetwork,
  type Network,
  parseGuestAddresses,
  parseInteger,
  parseIpv4,
  parseMac,
  parseNetwork,
  parseReservation,
  parseResolver,
  subnetAddresses,
} from "./address.ts";
import { BOOT_OPTIONS } from "./boot-options.ts";
import { CONTROL_OPTIONS } from "./control-options.ts";
import { parseDhcpOption } from "./dhcp-option.ts";
import { parseDomainName } from "./domain-name.ts";
import { parseGuestfwd, parseHostfwd } from "./forward-grammar.ts";
import { DHCP_FLAGS, HOST_OPTIONS, HOST_POLICY_OPTIONS } from "./host-options.ts";
import { IPV6_OPTIONS } from "./ipv6-options.ts";
import { LIMIT_OPTIONS } from "./limit-options.ts";
import {
  parseDatagramAddresses,
  parseDescriptor,
  parseDeviceName,
  parseNamespace,
  parsePath,
  parseStreamAddress,
} from "./link-grammar.ts";
import {
  type CommandName,
  choice,
  dhcpText,
  flag,
  type OptionDefinition,
  option,
} from "./option-definition.ts";
import { OUTBOUND_OPTIONS } from "./outbound-options.ts";
import { POLICY_OPTIONS } from "./policy-options.ts";
import { PROCESS_OPTIONS } from "./process-options.ts";
import { parsePublish } from "./publish-grammar.ts";
import { VHOST_OPTIONS } from "./vhost-options.ts";

const RUN: readonly CommandName[] = ["run"];
const TAPS: readonly CommandName[] = ["run", "exec"];
const QEMU: readonly CommandName[] = ["qemu"];
const LIVE: readonly CommandName[] = ["run", "exec", "qemu"];
const ALL: readonly CommandName[] = ["run", "exec", "qemu", "replay"];

/** What the core does by itself: many defaults below are its. */
export const CORE = defaultEngineConfig();

const BEHAVIOURS = ["endpoint-independent", "address-dependent", "address-and-port-dependent"] as const;
const MODELS = ["virtio", "e1000", "e1000e", "ne2k_pci", "pcnet", "rtl8139"] as const;

/** RFC 4787 REQ-5: a mapping timer never expires in under two minutes. */
const UDP_TIMEOUT_SECONDS_MIN = 120;
const UDP_TIMEOUT_SECONDS_MAX = 86_400;

export const OPTIONS = {
  tap: option({
    group: "Link",
    commands: RUN,
    placeholder: "NAME",
    help: "The TAP device NAME, created if it is not there.",
    parse: parseDeviceName,
  }),
  netns: option({
    group: "Link",
    commands: RUN,
    placeholder: "PATH|PID",
    help: "With --tap: the device is in this network namespace. No root needed where the namespace is yours.",
    parse: parseNamespace,
  }),
  userns: option({
    group: "Link",
    commands: RUN,
    placeholder: "PATH",
    help: "With --netns PATH: enter this user namespace first.",
    parse: parsePath,
    defaultWords: "the one that owns it",
  }),
  configure: flag(
    "Link",
    RUN,
    "With --tap: set the guest's address, default route and MTU on the device; bring it up.",
  ),
  "tun-device": option({
    group: "Link",
    commands: TAPS,
    placeholder: "PATH",
    help: "The clone device that TAPs are opened by.",
    parse: parsePath,
    default: "/dev/net/tun",
  }),
  "tap-fd": option({
    group: "Link",
    commands: RUN,
    placeholder: "N",
    help: "An open TAP, inherited as descriptor N.",
    parse: parseDescriptor,
  }),
  "qemu-listen": option({
    group: "Link",
    commands: RUN,
    placeholder: "ADDRESS",
    help: "Listen for QEMU's -netdev stream or socket,connect= on unix:PATH or tcp:HOST:PORT.",
    parse: parseStreamAddress,
  }),
  "qemu-connect": option({
    group: "Link",
    commands: RUN,
    placeholder: "ADDRESS",
    help: "Connect to QEMU's -netdev stream,server=on or socket,listen= on unix:PATH or tcp:HOST:PORT.",
    parse: parseStreamAddress,
  }),
  "qemu-dgram": option({
    group: "Link",
    commands: RUN,
    placeholder: "LOCAL,REMOTE",
    help: "Exchange datagrams with QEMU's -netdev dgram or socket,udp=: two unix:PATH or two udp:HOST:PORT.",
    parse: parseDatagramAddresses,
  }),
  ...VHOST_OPTIONS,
  fd: option({
    group: "Link",
    commands: RUN,
    placeholder: "N",
    help: "A socket to QEMU (-netdev socket,fd=), inherited as descriptor N.",
    parse: parseDescriptor,
  }),
  model: option({
    group: "Link",
    commands: QEMU,
    placeholder: "MODEL",
    help: `The network card QEMU shows the guest: ${MODELS.join(", ")}.`,
    parse: choice(MODELS),
    default: "virtio",
  }),
  "no-offload": flag(
    "Link",
    LIVE,
    "Plain frames only: no super-frames, no checksums left to the other side.",
  ),

  mtu: option({
    group: "Network",
    commands: ALL,
    placeholder: "N",
    help: `Largest IP packet on the link, ${MTU_MIN} to ${MTU_MAX} octets; told to the guest.`,
    parse: (text) => parseInteger(text, MTU_MIN, MTU_MAX),
    default: String(CORE.mtu),
  }),
  net: option({
    group: "Network",
    commands: ALL,
    placeholder: "NET/PREFIX",
    help: "The guest's subnet.",
    parse: parseNetwork,
    default: formatNetwork(CORE),
  }),
  gateway: option({
    group: "Network",
    commands: ALL,
    placeholder: "ADDRESS",
    help: "The gateway's address.",
    parse: parseIpv4,
    defaultIn: (net) => subnetAddresses(net).gateway,
    defaultWords: "the third of the subnet",
  }),
  "guest-addr": option({
    group: "Network",
    commands: ALL,
    placeholder: "ADDRESSES",
    help: "The guest's address, where forwards go and which a guest without DHCP may use; more it may use, behind commas; any: every address of the subnet, forwards then go to the one heard from if none is named.",
    parse: parseGuestAddresses,
    defaultWords: "--dhcp-start",
  }),
  "guest-mac": option({
    group: "Network",
    commands: ALL,
    placeholder: "MAC",
    help: "The guest's MAC address; others are then ignored.",
    parse: parseMac,
    defaultWords: "learned from its first frame",
  }),
  "gateway-mac": option({
    group: "Network",
    commands: ALL,
    placeholder: "MAC",
    help: "The gateway's MAC address.",
    parse: parseMac,
    defaultWords: `52:55 and the gateway's address, ${formatMac(CORE.gatewayMac)}`,
  }),
  ...HOST_OPTIONS,

  "dhcp-start": option({
    group: "DHCP",
    commands: ALL,
    placeholder: "ADDRESS",
    help: `First of at most ${GUESTS_MAX} addresses leased.`,
    parse: parseIpv4,
    defaultIn: (net) => subnetAddresses(net).start,
    defaultWords: "the sixteenth of the subnet",
  }),
  "dhcp-option": option({
    group: "DHCP",
    commands: ALL,
    placeholder: "CODE=VALUE",
    repeat: true,
    property: "dhcpOptions",
    help: "Any option by number, such as 42=10.0.2.2. VALUE may begin with its form: ip: text: hex: u8: u16: u32:.",
    parse: parseDhcpOption,
  }),
  reserve: option({
    group: "DHCP",
    commands: ALL,
    placeholder: "MAC=ADDRESS",
    repeat: true,
    property: "reservations",
    help: "Lease ADDRESS, of IPv4 or IPv6, to this MAC alone.",
    parse: parseReservation,
  }),
  hostname: option({
    group: "DHCP",
    commands: ALL,
    placeholder: "NAME",
    help: "The guest's host name.",
    parse: parseDomainName,
    dhcp: dhcpText(HOST_NAME),
  }),
  domain: option({
    group: "DHCP",
    commands: ALL,
    placeholder: "NAME",
    help: "The guest's domain.",
    parse: parseDomainName,
    dhcp: dhcpText(DOMAIN_NAME),
  }),
  search: option({
    group: "DHCP",
    commands: ALL,
    placeholder: "NAME",
    repeat: true,
    help: "A domain to search.",
    parse: parseDomainName,
    dhcp: { code: DOMAIN_SEARCH, encode: encodeSearchList },
  }),
  ...BOOT_OPTIONS,
  ...DHCP_FLAGS,

  ...IPV6_OPTIONS,

  publish: option({
    group: "Ports",
    commands: LIVE,
    short: "p",
    placeholder: "PORTS",
    repeat: true,
    property: "ports",
    help: "Forward host ports to the guest: 80, 2222:22, udp:127.0.0.1:5353:53, 8000-8010:8000, 80,443. Binds 127.0.0.1 unless an address is given, such as [::1], or * for all, *%eth0 for those of an interface; host port 0 takes a free one. all has every port that the host has no use for, ~22 leaves one out; auto those that somebody in the guest's namespace listens on, while it does.",
    parse: parsePublish,
  }),
  hostfwd: option({
    group: "Ports",
    commands: LIVE,
    placeholder: "RULE",
    repeat: true,
    help: "The same in QEMU's grammar and meaning, tcp:127.0.0.1:2222-:22; no host address means all of IPv4. IPv6 in brackets.",
    parse: parseHostfwd,
  }),
  "publish-when-open": flag(
    "Ports",
    LIVE,
    "TCP ports of -p and --hostfwd take clients only while the guest's port is open, and refuse them while it is not: the guest is asked every second, over IPv4, by a handshake that it does not hear of.",
  ),
  guestfwd: option({
    group: "Ports",
    commands: LIVE,
    placeholder: "RULE",
    repeat: true,
    help: "Serve an address and port of the guest's subnet from the host, in QEMU's grammar: tcp:10.0.2.100:7-tcp:127.0.0.1:7777, -unix:PATH or -cmd:COMMAND. IPv6 in brackets.",
    parse: parseGuestfwd,
  }),

  restrict: flag(
    "Policy",
    ALL,
    "Nothing goes out, DNS included: connections are reset and questions refused at once. Forwards and guest forwards still work.",
  ),
  ...POLICY_OPTIONS,
  "allow-host-loopback": flag("Policy", ALL, "The gateway's address reaches the host's own 127.0.0.1."),
  "allow-link-local": flag("Policy", ALL, "169.254.0.0/16 and cloud metadata elsewhere can be reached."),
  "allow-multicast": flag("Policy", ALL, "Queries to groups (mDNS, SSDP) leave and are answered."),
  ...OUTBOUND_OPTIONS,
  ...HOST_POLICY_OPTIONS,
  "udp-mapping": option({
    group: "Policy",
    commands: ALL,
    placeholder: "BEHAVIOUR",
    help: `RFC 4787 mapping: ${BEHAVIOURS.join(", ")}.`,
    parse: choice(BEHAVIOURS),
    default: CORE.udpMapping,
  }),
  "udp-filtering": option({
    group: "Policy",
    commands: ALL,
    placeholder: "BEHAVIOUR",
    help: "RFC 4787 filtering: the same three.",
    parse: choice(BEHAVIOURS),
    default: CORE.udpFiltering,
  }),
  "udp-ports": option({
    group: "Policy",
    commands: LIVE,
    placeholder: "POLICY",
    help: "Ports of the host for UDP: ephemeral, which takes none that a program of the host may want; or preserve, the guest's own where it is free.",
    parse: choice(["ephemeral", "preserve"]),
    default: "ephemeral",
  }),
  "udp-timeout": option({
    group: "Policy",
    commands: ALL,
    placeholder: "SECONDS",
    help: `How long an idle UDP mapping lives, ${UDP_TIMEOUT_SECONDS_MIN} or more.`,
    default: String(CORE.udpTimeoutMs / 1000),
    parse: (text) =>
      parseInteger(text, UDP_TIMEOUT_SECONDS_MIN, UDP_TIMEOUT_SECONDS_MAX, "number of seconds"),
  }),

  ...LIMIT_OPTIONS,

  dns: option({
    group: "DNS",
    commands: ALL,
    placeholder: "ADDRESS",
    help: "The address that answers DNS.",
    parse: parseIpv4,
    defaultIn: (net) => subnetAddresses(net).dns,
    defaultWords: "the fourth of the subnet",
  }),
  "no-dns": flag("DNS", ALL, "No DNS address."),
  resolver: option({
    group: "DNS",
    commands: LIVE,
    placeholder: "ADDRESS",
    repeat: true,
    property: "resolvers",
    help: "Ask this resolver, ADDRESS, IPV4:PORT or [IPV6]:PORT, instead of those in the host's resolv.conf.",
    parse: parseResolver,
  }),
  "dns-host-name": option({
    group: "DNS",
    commands: ALL,
    placeholder: "NAME",
    repeat: true,
    property: "dnsHostNames",
    help: "A name for the host, such as host.internal: DNS answers it with the gateway's address. The host's services are there with --allow-host-loopback.",
    parse: parseDomainName,
  }),

  ...PROCESS_OPTIONS,
  ...CONTROL_OPTIONS,

  pcap: option({
    group: "Log",
    commands: ALL,
    placeholder: "FILE",
    help: "Capture the link's frames to FILE; in pcapng, with comments, if its name ends so.",
    parse: parsePath,
  }),
  "log-level": option({
    group: "Log",
    commands: ALL,
    placeholder: "LEVEL",
    help: "error, warn, info or debug.",
    parse: choice(["error", "warn", "info", "debug"]),
    default: "info",
    defaultFor: { commands: ["exec", "qemu", "replay"], value: "warn" },
  }),
  "log-format": option({
    group: "Log",
    commands: ALL,
    placeholder: "FORMAT",
    help: "text or json.",
    parse: choice(["text", "json"]),
    default: "text",
  }),
  "log-file": option({
    group: "Log",
    commands: ALL,
    placeholder: "FILE",
    help: "Append the log to FILE instead of standard error.",
    parse: parsePath,
  }),
} as const;

export type OptionName = keyof typeof OPTIONS;
export type OptionType<N extends OptionName> =
  (typeof OPTIONS)[N] extends OptionDefinition<infer T> ? T : never;

export const OPTION_NAMES = Object.keys(OPTIONS) as OptionName[];

/** The definition with its value type forgotten, for code that walks the table. */
export function definitionOf(name: OptionName): OptionDefinition<unknown> {
  return OPTIONS[name];
}

/** The options one command takes, in table order. */
export function optionsOf(command: CommandName): OptionName[] {
  return OPTION_NAMES.filter((name) => definitionOf(name).commands.includes(command));
}

/** The options that have a default one could write. */
export type DefaultedName = {
  [N in OptionName]: (typeof OPTIONS)[N] extends { readonly default: string } ? N : never;
}[OptionName];

/** What holds for `command` when the option is not given. */
export function defaultOf<N extends DefaultedName>(name: N, command: CommandName): OptionType<N> {
  const { parse, default: usual, defaultFor } = definitionOf(name);
  const text = defaultFor?.commands.includes(command) ? defaultFor.value : usual;
  return parse(text ?? "") as OptionType<N>;
}

/** What an address option is in `net` when it is not given. */
export function defaultAddress(name: "gateway" | "dns" | "dhcp-start", net: Network): number {
  return OPTIONS[name].defaultIn(net);
}
