/**
 * Every option of `sluice run` and its sisters, once: parsing, validation, `--help`, the library's property names and
 * docs/options.md all come from this table.
 */

import type { Reservation } from "../engine/config.ts";
import { MTU_MAX, MTU_MIN } from "../engine/limits.ts";
import { parseInteger, parseIpv4, parseMac, parseNetwork, parseResolver } from "./address.ts";
import { parseDhcpOption } from "./dhcp-option.ts";
import { parseDomainName } from "./domain-name.ts";
import { parseGuestfwd, parseHostfwd, parsePublish } from "./forward-grammar.ts";
import type { Outbound } from "./host-plan.ts";
import {
  parseDatagramPair,
  parseDescriptor,
  parseDeviceName,
  parseNamespace,
  parsePath,
  parseStreamEndpoint,
  parseUser,
} from "./link-grammar.ts";
import { Unacceptable } from "./problem.ts";

export type CommandName = "run" | "exec" | "qemu" | "replay";
export type OptionGroup = "Link" | "Network" | "DHCP" | "Ports" | "Policy" | "DNS" | "Process" | "Log";

export interface OptionDefinition<T> {
  readonly group: OptionGroup;
  readonly commands: readonly CommandName[];
  /** One-letter form. */
  readonly short?: string;
  /** What stands for the value in the help; absent for a flag. */
  readonly placeholder?: string;
  readonly repeat?: boolean;
  /** The property of the library's options, when it is not the name in camel case. */
  readonly property?: string;
  readonly help: string;
  /** The value, or throws Unacceptable. Never called for a flag. */
  readonly parse: (text: string) => T;
}

const RUN: readonly CommandName[] = ["run"];
const TAPS: readonly CommandName[] = ["run", "exec"];
const QEMU: readonly CommandName[] = ["qemu"];
const LIVE: readonly CommandName[] = ["run", "exec", "qemu"];
const ALL: readonly CommandName[] = ["run", "exec", "qemu", "replay"];

/** Keeps a definition's own type (its property's name, whether it repeats) for the library's types. */
function option<const D extends OptionDefinition<unknown>>(definition: D): D {
  return definition;
}

interface FlagDefinition {
  readonly group: OptionGroup;
  readonly commands: readonly CommandName[];
  readonly help: string;
  readonly parse: () => true;
}

function flag(group: OptionGroup, commands: readonly CommandName[], help: string): FlagDefinition {
  return { group, commands, help, parse: () => true };
}

function choice<const T extends string>(values: readonly T[]): (text: string) => T {
  return (text) => {
    const value = values.find((v) => v === text);
    if (value === undefined) throw new Unacceptable(`one of ${values.join(", ")}`, text);
    return value;
  };
}

function parseReservation(text: string): Reservation {
  const at = text.indexOf("=");
  if (at < 0) throw new Unacceptable("MAC=ADDRESS, such as 52:54:00:12:34:56=10.0.2.20");
  return { mac: parseMac(text.slice(0, at)), address: parseIpv4(text.slice(at + 1)) };
}

function parseOutbound(text: string): Outbound {
  if (/^[\d.]+$/.test(text)) return { kind: "address", address: parseIpv4(text) };
  return { kind: "interface", name: parseDeviceName(text) };
}

/** Text that fits a fixed field of a DHCP message, its final NUL included. */
function parseFieldText(fieldOctets: number): (text: string) => string {
  return (text) => {
    const octets = new TextEncoder().encode(text).length;
    if (octets === 0 || octets >= fieldOctets || text.includes("\0")) {
      throw new Unacceptable(`text of 1 to ${fieldOctets - 1} octets`, text);
    }
    return text;
  };
}

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
    help: "With --netns PATH: enter this user namespace first (default: the one that owns it).",
    parse: parsePath,
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
    help: "The clone device that TAPs are opened by (default /dev/net/tun).",
    parse: parsePath,
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
    parse: parseStreamEndpoint,
  }),
  "qemu-connect": option({
    group: "Link",
    commands: RUN,
    placeholder: "ADDRESS",
    help: "Connect to QEMU's -netdev stream,server=on or socket,listen= on unix:PATH or tcp:HOST:PORT.",
    parse: parseStreamEndpoint,
  }),
  "qemu-dgram": option({
    group: "Link",
    commands: RUN,
    placeholder: "LOCAL,REMOTE",
    help: "Exchange datagrams with QEMU's -netdev dgram or socket,udp=: two unix:PATH or two udp:HOST:PORT.",
    parse: parseDatagramPair,
  }),
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
    help: `The network card QEMU shows the guest: ${MODELS.join(", ")} (default virtio).`,
    parse: choice(MODELS),
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
    help: `Largest IP packet on the link, ${MTU_MIN} to ${MTU_MAX} octets (default 1500); told to the guest.`,
    parse: (text) => parseInteger(text, MTU_MIN, MTU_MAX),
  }),
  net: option({
    group: "Network",
    commands: ALL,
    placeholder: "NET/PREFIX",
    help: "The guest's subnet (default 10.0.2.0/24).",
    parse: parseNetwork,
  }),
  gateway: option({
    group: "Network",
    commands: ALL,
    placeholder: "ADDRESS",
    help: "The gateway's address (default: the third of the subnet, 10.0.2.2).",
    parse: parseIpv4,
  }),
  "guest-addr": option({
    group: "Network",
    commands: ALL,
    placeholder: "ADDRESS",
    help: "The guest's address, where forwards go and which a guest without DHCP may use (default: --dhcp-start).",
    parse: parseIpv4,
  }),
  "guest-mac": option({
    group: "Network",
    commands: ALL,
    placeholder: "MAC",
    help: "The guest's MAC address; others are then ignored (default: learned from its first frame).",
    parse: parseMac,
  }),
  "gateway-mac": option({
    group: "Network",
    commands: ALL,
    placeholder: "MAC",
    help: "The gateway's MAC address (default 52:55 and the gateway's address, 52:55:0a:00:02:02).",
    parse: parseMac,
  }),

  "dhcp-start": option({
    group: "DHCP",
    commands: ALL,
    placeholder: "ADDRESS",
    help: "First of at most 16 addresses leased (default: the sixteenth of the subnet, 10.0.2.15).",
    parse: parseIpv4,
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
    help: "Lease ADDRESS to this MAC alone.",
    parse: parseReservation,
  }),
  hostname: option({
    group: "DHCP",
    commands: ALL,
    placeholder: "NAME",
    help: "The guest's host name (option 12).",
    parse: parseDomainName,
  }),
  domain: option({
    group: "DHCP",
    commands: ALL,
    placeholder: "NAME",
    help: "The guest's domain (option 15).",
    parse: parseDomainName,
  }),
  search: option({
    group: "DHCP",
    commands: ALL,
    placeholder: "NAME",
    repeat: true,
    help: "A domain to search (option 119).",
    parse: parseDomainName,
  }),
  "next-server": option({
    group: "DHCP",
    commands: ALL,
    placeholder: "ADDRESS",
    help: "The boot server (siaddr and option 66).",
    parse: parseIpv4,
  }),
  "tftp-server-name": option({
    group: "DHCP",
    commands: ALL,
    placeholder: "NAME",
    help: "The boot server's name (option 66, in place of the address).",
    parse: parseFieldText(64),
  }),
  "boot-file": option({
    group: "DHCP",
    commands: ALL,
    placeholder: "FILE",
    help: "The boot file (file field and option 67).",
    parse: parseFieldText(128),
  }),

  publish: option({
    group: "Ports",
    commands: LIVE,
    short: "p",
    placeholder: "PORTS",
    repeat: true,
    property: "ports",
    help: "Forward host ports to the guest: 80, 2222:22, udp:127.0.0.1:5353:53, 8000-8010:8000. Binds 127.0.0.1 unless an address is given; host port 0 takes a free one.",
    parse: parsePublish,
  }),
  hostfwd: option({
    group: "Ports",
    commands: LIVE,
    placeholder: "RULE",
    repeat: true,
    help: "The same in QEMU's grammar and meaning, tcp:127.0.0.1:2222-:22; no host address means all of them.",
    parse: parseHostfwd,
  }),
  guestfwd: option({
    group: "Ports",
    commands: LIVE,
    placeholder: "RULE",
    repeat: true,
    help: "Serve an address and port of the guest's subnet from the host, in QEMU's grammar: tcp:10.0.2.100:7-tcp:127.0.0.1:7777, -unix:PATH or -cmd:COMMAND.",
    parse: parseGuestfwd,
  }),

  restrict: flag("Policy", ALL, "Nothing goes out, DNS included; forwards and guest forwards still work."),
  "allow-host-loopback": flag("Policy", ALL, "The gateway's address reaches the host's own 127.0.0.1."),
  "allow-link-local": flag("Policy", ALL, "169.254.0.0/16 (cloud metadata) can be reached."),
  "outbound-addr": option({
    group: "Policy",
    commands: LIVE,
    placeholder: "ADDRESS|INTERFACE",
    help: "Outbound sockets leave from this address, or from the address of this interface.",
    parse: parseOutbound,
  }),
  "udp-mapping": option({
    group: "Policy",
    commands: ALL,
    placeholder: "BEHAVIOUR",
    help: `RFC 4787 mapping: ${BEHAVIOURS.join(", ")} (default the first).`,
    parse: choice(BEHAVIOURS),
  }),
  "udp-filtering": option({
    group: "Policy",
    commands: ALL,
    placeholder: "BEHAVIOUR",
    help: "RFC 4787 filtering: the same three (default address-dependent).",
    parse: choice(BEHAVIOURS),
  }),
  "udp-timeout": option({
    group: "Policy",
    commands: ALL,
    placeholder: "SECONDS",
    help: `How long an idle UDP mapping lives, ${UDP_TIMEOUT_SECONDS_MIN} or more (default 300).`,
    parse: (text) =>
      parseInteger(text, UDP_TIMEOUT_SECONDS_MIN, UDP_TIMEOUT_SECONDS_MAX, "number of seconds"),
  }),

  dns: option({
    group: "DNS",
    commands: ALL,
    placeholder: "ADDRESS",
    help: "The address that answers DNS (default: the fourth of the subnet, 10.0.2.3).",
    parse: parseIpv4,
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

  "ready-fd": option({
    group: "Process",
    commands: RUN,
    placeholder: "N",
    help: "Write 1 to descriptor N and close it once the guest is served.",
    parse: parseDescriptor,
  }),
  "exit-fd": option({
    group: "Process",
    commands: RUN,
    placeholder: "N",
    help: "End when descriptor N is closed at its other end.",
    parse: parseDescriptor,
  }),
  "one-off": flag("Process", RUN, "End when the first guest's connection ends (QEMU links)."),
  "pid-file": option({
    group: "Process",
    commands: RUN,
    placeholder: "FILE",
    help: "Write the process id to FILE; removed at the end.",
    parse: parsePath,
  }),
  "outlive-parent": flag("Process", RUN, "Keep serving when the process that started this one ends."),
  user: option({
    group: "Process",
    commands: RUN,
    placeholder: "USER",
    help: "Started as root: run the engine as this user, NAME or UID[:GID].",
    parse: parseUser,
  }),
  "no-sandbox": flag("Process", LIVE, "Do not confine the engine process."),

  pcap: option({
    group: "Log",
    commands: ALL,
    placeholder: "FILE",
    help: "Capture the link's frames to FILE.",
    parse: parsePath,
  }),
  "log-level": option({
    group: "Log",
    commands: ALL,
    placeholder: "LEVEL",
    help: "error, warn, info or debug (default info; warn for exec, qemu and replay).",
    parse: choice(["error", "warn", "info", "debug"]),
  }),
  "log-format": option({
    group: "Log",
    commands: ALL,
    placeholder: "FORMAT",
    help: "text or json (default text).",
    parse: choice(["text", "json"]),
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

type CamelCase<S extends string> = S extends `${infer Head}-${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : S;

/** The property of the library's options that stands for an option: camel case, or what the table says. */
export type PropertyOf<N extends OptionName> = (typeof OPTIONS)[N] extends {
  readonly property: infer P extends string;
}
  ? P
  : CamelCase<N>;

export function propertyOf(name: OptionName): string {
  return (
    definitionOf(name).property ?? name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
  );
}

/** What a property holds: the text of the command line, or a number or boolean that reads the same. */
export type PropertyValue<N extends OptionName> = (typeof OPTIONS)[N] extends { readonly repeat: true }
  ? readonly (string | number)[]
  : (typeof OPTIONS)[N] extends { readonly placeholder: string }
    ? string | number
    : boolean;

/** Options about the command's own processes and its log, which the library leaves to the program around it. */
const COMMAND_ONLY = [
  "model",
  "ready-fd",
  "exit-fd",
  "pid-file",
  "outlive-parent",
  "user",
  "no-sandbox",
  "log-level",
  "log-format",
  "log-file",
] as const satisfies readonly OptionName[];

export type CommandOnly = (typeof COMMAND_ONLY)[number];

export function isCommandOnly(name: OptionName): boolean {
  return (COMMAND_ONLY as readonly OptionName[]).includes(name);
}
