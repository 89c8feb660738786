/** The words that passt(1) and pasta(1) have in common. */
import { isIpv4 } from "../config/address.ts";
import { readIpv6 } from "../config/address6.ts";
import { notePorts } from "./passt-ports.ts";
import { MTU_MOST, noteAddress, noteAlias, type PasstWords, prefixOf } from "./passt-state.ts";
import { MTU_LEAST, Refusal, readNumber, refusedWord, setter, type Word } from "./words.ts";

const sets = setter<PasstWords>();

function noteGateway(words: PasstWords, text: string): void {
  if (readIpv6(text) !== null) words.gateway6 = text;
  else if (isIpv4(text)) words.gateway = text;
  else throw new Refusal(`invalid gateway "${text}"`);
}

function noteDns(words: PasstWords, text: string): void {
  if (text === "none") words.dhcpDns = false;
  else if (isIpv4(text) || readIpv6(text) !== null) words.dns.push(text);
  else throw new Refusal(`invalid DNS address "${text}"`);
}

function noteSearch(words: PasstWords, text: string): void {
  if (text === "none") words.dhcpSearch = false;
  else words.search.push(...text.split(/\s+/).filter((name) => name !== ""));
}

function noteOutbound(words: PasstWords, text: string): void {
  if (!isIpv4(text) && readIpv6(text) === null) throw new Refusal(`invalid outbound address "${text}"`);
  words.outbound.push(text);
}

function ipv4Of(form: string): (text: string) => string {
  return (text) => {
    if (readIpv6(text) !== null) throw new Refusal(`${form} ${text} is not offered: an IPv4 address`);
    if (!isIpv4(text)) throw new Refusal(`invalid address for ${form}: "${text}"`);
    return text;
  };
}

const PROCESS: readonly Word<PasstWords>[] = [
  sets(["-d", "--debug"], undefined, "--log-level debug.", "debug", () => true),
  sets(["--trace"], undefined, "The same.", "debug", () => true),
  { forms: ["-q", "--quiet"], help: "Nothing is said but warnings, with it or without.", note: () => {} },
  { forms: ["-e", "--stderr"], help: "The log goes to standard error, as it does without.", note: () => {} },
  sets(["-f", "--foreground"], undefined, "No --background.", "foreground", () => true, "stay"),
  sets(["-l", "--log-file"], "PATH", "--log-file.", "logFile", (text) => text),
  refusedWord(["--log-size"], "OCTETS", "the log file has no bound"),
  sets(
    ["-c", "--conf-path"],
    "PATH",
    "--control: where pesto, and sluice's own commands, steer it.",
    "control",
    (text) => text,
  ),
  sets(["-P", "--pid"], "FILE", "--pid-file.", "pidFile", (text) => text),
  sets(["-p", "--pcap"], "FILE", "--pcap.", "pcap", (text) => text),
  sets(["--runas"], "USER", "--user.", "user", (text) => text),
  sets(["-h", "--help"], undefined, "This text.", "question", () => "help", "help"),
  sets(["--version"], undefined, "The version.", "question", () => "version", "version"),
];

const NETWORK: readonly Word<PasstWords>[] = [
  sets(["-m", "--mtu"], "MTU", `--mtu (default ${MTU_MOST}).`, "mtu", (text) =>
    readNumber("--mtu", text, MTU_LEAST, MTU_MOST),
  ),
  {
    forms: ["-a", "--address"],
    placeholder: "ADDRESS[/PREFIX]",
    help: "--guest-addr and --net (the prefix of the address's class without one); IPv6: --guest-addr6 and --net6. Default: the host's, by --copy-host.",
    note: noteAddress,
  },
  sets(["-n", "--netmask"], "MASK", "The prefix of --net, in bits or dotted.", "prefixLength", prefixOf),
  {
    forms: ["-g", "--gateway"],
    placeholder: "ADDRESS",
    help: "--gateway, --gateway6. Default: the host's.",
    note: noteGateway,
  },
  sets(["-M", "--mac-addr"], "MAC", "--gateway-mac.", "gatewayMac", (text) => text),
  sets(["-i", "--interface"], "INTERFACE", "--copy-host of this interface.", "interface", (text) => text),
  {
    forms: ["-o", "--outbound"],
    placeholder: "ADDRESS",
    help: "--outbound-addr, one of each family.",
    note: noteOutbound,
  },
  sets(["--outbound-if4"], "INTERFACE", "--outbound-device.", "outboundDevice", (text) => text),
  refusedWord(["--outbound-if6"], "INTERFACE", "IPv6 leaves as IPv4 does, by --outbound-if4"),
  sets(
    ["--map-host-loopback"],
    "ADDRESS|none",
    "--host-alias ADDRESS=loopback. Default: the gateway, by --allow-host-loopback.",
    "hostLoopback",
    (text) => noteAlias("--map-host-loopback", text),
  ),
  sets(["--no-map-gw"], undefined, "No --allow-host-loopback.", "hostLoopback", () => "none" as const),
  {
    forms: ["--map-guest-addr"],
    placeholder: "ADDRESS|none",
    help: "--host-alias ADDRESS=host.",
    note: (words, text) => {
      const alias = noteAlias("--map-guest-addr", text);
      if (alias !== "none") words.hostAlias = alias;
    },
  },
  sets(["-4", "--ipv4-only"], undefined, "--ipv6 off. Without it: --ipv6 auto.", "ipv6", () => false),
  sets(
    ["-6", "--ipv6-only"],
    undefined,
    "--ipv4 off --ipv6 on; what other words say of IPv4 is not heard.",
    "ipv4",
    () => false,
  ),
  sets(["--no-ndp"], undefined, "--ipv6 off.", "ipv6", () => false),
  sets(["--no-ra"], undefined, "--ipv6 off.", "ipv6", () => false),
  sets(["--no-dhcpv6"], undefined, "Only beside --ipv4-only.", "withoutDhcp6", () => true),
  sets(
    ["--no-icmp"],
    undefined,
    "No --answer-ping: pings to the gateway are not answered; no others ever leave.",
    "ping",
    () => false,
  ),
  refusedWord(["--no-tcp"], undefined, "TCP and UDP are always carried"),
  refusedWord(["--no-udp"], undefined, "TCP and UDP are always carried"),
  refusedWord(["--freebind"], undefined, "host ports are bound to addresses that the host has"),
];

const SERVICES: readonly Word<PasstWords>[] = [
  {
    forms: ["-D", "--dns"],
    placeholder: "ADDRESS|none",
    help: "--dhcp-option 6=, --dhcp6-option 23=. Default: the gateway or --dns-forward, which ask the host's resolvers.",
    note: noteDns,
  },
  sets(["--dns-forward"], "ADDRESS", "--dns; IPv4.", "dnsForward", ipv4Of("--dns-forward")),
  sets(["--dns-host"], "ADDRESS", "--resolver.", "dnsHost", (text) => text),
  {
    forms: ["-S", "--search"],
    placeholder: "LIST|none",
    help: "--search of each; none: --no-search. Default: the host's.",
    note: noteSearch,
  },
  sets(["-H", "--hostname"], "NAME", "--hostname.", "hostname", (text) => text),
  sets(["--fqdn"], "NAME", "--dhcp-option 81=, RFC 4702.", "fqdn", (text) => text),
  sets(["--no-dhcp"], undefined, "--no-dhcp.", "dhcp", () => false),
  sets(["--no-dhcp-dns"], undefined, "--no-dhcp-dns.", "dhcpDns", () => false),
  sets(["--no-dhcp-search"], undefined, "--no-search.", "dhcpSearch", () => false),
  {
    forms: ["-t", "--tcp-ports"],
    placeholder: "SPEC",
    help: "-p tcp: of each range: [ADDRESS[%INTERFACE]/]PORTS[:[GUEST/]PORTS],…, ~PORTS left out, all, auto (pasta: ports that somebody in the namespace listens on), or none. Without an address: all of IPv4 and IPv6.",
    note: (words, text) => notePorts(words.tcp, text),
  },
  {
    forms: ["-u", "--udp-ports"],
    placeholder: "SPEC",
    help: "-p udp: the same.",
    note: (words, text) => notePorts(words.udp, text),
  },
];

/** The release of both programs whose words these are. */
export const RELEASE = "2026_01_20";

export const COMMON_WORDS: readonly Word<PasstWords>[] = [...PROCESS, ...NETWORK, ...SERVICES];
