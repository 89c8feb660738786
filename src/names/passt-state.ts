/** What the command lines of passt(1) and pasta(1) come to, and how that is written for `sluice run`. */
import { isIpv4, netmask, parseIpv4, prefixLengthOf } from "../config/address.ts";
import { readIpv6 } from "../config/address6.ts";
import { FORWARDS_MOST } from "../config/limit-options.ts";
import { formatIpv4, formatIpv6 } from "../engine/wire/address-text.ts";
import { encodeDomainList } from "../engine/wire/domain-list.ts";
import { EVERYWHERE, type ForwardWords, hasIpv6, ruleArguments } from "./passt-ports.ts";
import { type Question, Refusal, type Surroundings } from "./words.ts";

/** What passt and pasta begin with, which is the most they take. */
export const MTU_MOST = 65_520;
const LOOPBACK_4 = "127.0.0.1";

/** What both programs take. */
export interface PasstWords {
  question?: Question;
  foreground: boolean;
  debug: boolean;
  logFile?: string;
  pidFile?: string;
  control?: string;
  user?: string;
  pcap?: string;
  mtu: number;
  address?: { readonly text: string; readonly prefixLength?: number };
  address6?: string;
  prefixLength?: number;
  gateway?: string;
  gateway6?: string;
  gatewayMac?: string;
  interface?: string;
  outbound: string[];
  outboundDevice?: string;
  dns: string[];
  dnsForward?: string;
  dnsHost?: string;
  search: string[];
  hostname?: string;
  fqdn?: string;
  dhcp: boolean;
  dhcpDns: boolean;
  dhcpSearch: boolean;
  ping: boolean;
  /** Where the host's loopback is; undefined: at the gateway's address. */
  hostLoopback?: string | "none";
  hostAlias?: string;
  ipv4: boolean;
  /** `off` also where a word takes away what IPv6 needs here. */
  ipv6: boolean;
  /** A word that takes away a part of IPv6 that goes only as a whole. */
  withoutDhcp6: boolean;
  tcp: ForwardWords;
  udp: ForwardWords;
}

export function emptyWords(): PasstWords {
  return {
    foreground: false,
    debug: false,
    mtu: MTU_MOST,
    outbound: [],
    dns: [],
    search: [],
    dhcp: true,
    dhcpDns: true,
    dhcpSearch: true,
    ping: true,
    ipv4: true,
    ipv6: true,
    withoutDhcp6: false,
    tcp: { rules: [], isSaid: false },
    udp: { rules: [], isSaid: false },
  };
}

/** `ADDRESS[/PREFIX]` of either family. */
export function noteAddress(words: PasstWords, text: string): void {
  const [address = "", prefix] = text.split("/", 2);
  if (readIpv6(address) !== null) {
    if (prefix !== undefined && prefix !== "64")
      throw new Refusal(`invalid address "${text}": IPv6 has 64 bits`);
    words.address6 = address;
    return;
  }
  if (!isIpv4(address)) throw new Refusal(`invalid address "${text}"`);
  words.address = { text: address, ...(prefix === undefined ? {} : { prefixLength: prefixOf(prefix) }) };
}

/** A prefix length, or a mask in its dotted form. */
export function prefixOf(text: string): number {
  const length = isIpv4(text) ? prefixLengthOf(parseIpv4(text)) : /^\d{1,2}$/.test(text) ? Number(text) : 0;
  if (length === undefined || length < 1 || length > 32) throw new Refusal(`invalid netmask "${text}"`);
  return length;
}

/** The prefix of an address's class (RFC 791), which is what passt takes where it is told none. */
function classOf(address: string): number {
  const first = parseIpv4(address) >>> 24;
  if (first < 128) return 8;
  return first < 192 ? 16 : 24;
}

/** The subnet's options: what was said, else what the host has. */
function subnetArguments(words: PasstWords): string[] {
  const { address, gateway } = words;
  // What is not said is the host's.
  const args = ["--mtu", String(words.mtu), "--copy-host", words.interface ?? "auto"];
  if (address !== undefined) {
    const prefixLength = words.prefixLength ?? address.prefixLength ?? classOf(address.text);
    const network = parseIpv4(address.text) & netmask(prefixLength);
    args.push("--net", `${formatIpv4(network)}/${prefixLength}`, "--guest-addr", address.text);
  } else if (words.prefixLength !== undefined) {
    throw new Refusal("--netmask needs --address");
  }
  if (gateway !== undefined) args.push("--gateway", gateway);
  if (words.gatewayMac !== undefined) args.push("--gateway-mac", words.gatewayMac);
  return args;
}

/** Who answers DNS, and what DHCP says of it. */
function dnsArguments(words: PasstWords): string[] {
  const args: string[] = [];
  if (words.dnsForward !== undefined) args.push("--dns", words.dnsForward);
  if (words.dnsHost !== undefined) args.push("--resolver", words.dnsHost);
  const servers = words.dns.filter(isIpv4);
  const servers6 = words.dns.filter((text) => readIpv6(text) !== null);
  const usesIpv6 = isIpv6(words);
  if (!words.dhcp) args.push("--no-dhcp");
  else if (!words.dhcpDns) args.push("--no-dhcp-dns");
  else if (servers.length > 0) args.push("--dhcp-option", `6=${servers.join(",")}`);
  if (words.dhcpDns && usesIpv6 && servers6.length > 0)
    args.push("--dhcp6-option", `23=${servers6.join(",")}`);
  if (!words.dhcpSearch) args.push("--no-search");
  else for (const name of words.search) args.push("--search", name);
  if (words.hostname !== undefined) args.push("--hostname", words.hostname);
  // Option 81 (RFC 4702 section 2), as passt has it: flag E (the name is in DNS's form), both RCODEs 255.
  if (words.fqdn !== undefined && words.dhcp)
    args.push("--dhcp-option", `81=hex:04ffff${hexName(words.fqdn)}`);
  return args;
}

/** A name in the wire format of DNS (RFC 1035 section 3.1), in hexadecimal. */
function hexName(name: string): string {
  const labels = name.replace(/\.$/, "").split(".");
  if (!labels.every((label) => /^[\w-]{1,63}$/.test(label))) throw new Refusal(`invalid name "${name}"`);
  return [...encodeDomainList([name])].map((octet) => octet.toString(16).padStart(2, "0")).join("");
}

/** What of the host the guest reaches, and by what its traffic leaves. */
function hostArguments(words: PasstWords): string[] {
  const args: string[] = [];
  const { hostLoopback } = words;
  if (hostLoopback === undefined) args.push("--allow-host-loopback");
  else if (hostLoopback !== "none") args.push("--host-alias", `${hostLoopback}=loopback`);
  if (words.hostAlias !== undefined) args.push("--host-alias", `${words.hostAlias}=host`);
  for (const address of words.outbound) args.push("--outbound-addr", address);
  if (words.outboundDevice !== undefined) args.push("--outbound-device", words.outboundDevice);
  if (words.ping) args.push("--answer-ping");
  return args;
}

/** Whether the guest has IPv6. */
function isIpv6(words: PasstWords): boolean {
  if (words.ipv6 && words.withoutDhcp6) {
    throw new Refusal(
      "--no-dhcpv6 is not offered beside IPv6: addresses come by it; --ipv4-only goes without",
    );
  }
  return words.ipv6;
}

function ipv6Arguments(words: PasstWords): string[] {
  if (!isIpv6(words)) return ["--ipv6", "off"];
  const { address6, gateway6 } = words;
  const args = words.ipv4 ? ["--ipv6", "auto"] : ["--ipv4", "off", "--ipv6", "on"];
  if (address6 !== undefined) {
    const [high = 0, low = 0] = readIpv6(address6) ?? [];
    args.push("--net6", `${formatIpv6([high, low, 0, 0])}/64`, "--guest-addr6", address6);
  }
  if (gateway6 !== undefined) args.push("--gateway6", gateway6);
  return args;
}

function portArguments(protocol: "tcp" | "udp", { rules }: ForwardWords, everywhere: string): string[] {
  return rules.flatMap((rule) => ruleArguments(protocol, rule, everywhere));
}

const given = (option: string, value: string | undefined): string[] =>
  value === undefined ? [] : [option, value];

/** The same without what is about IPv4. */
function withoutIpv4(words: PasstWords): PasstWords {
  if (!words.ipv6) throw new Refusal("--ipv4-only and --ipv6-only: one of them");
  const {
    address: _a,
    prefixLength: _p,
    gateway: _g,
    dnsForward: _d,
    hostAlias: _h,
    fqdn: _f,
    ...rest
  } = words;
  const isAlias = rest.hostLoopback !== undefined && rest.hostLoopback !== "none";
  const dns = words.dns.filter((text) => !isIpv4(text));
  return { ...rest, dns, dhcp: true, dhcpDns: true, ...(isAlias ? { hostLoopback: "none" } : {}) };
}

/** The guest's network, whoever serves it. */
export function networkArguments(all: PasstWords, exists: Surroundings["exists"]): string[] {
  const words = all.ipv4 ? all : withoutIpv4(all);
  const everywhere = isIpv6(words) && hasIpv6(exists) ? EVERYWHERE : "0.0.0.0";
  return [
    ...subnetArguments(words),
    ...dnsArguments(words),
    ...hostArguments(words),
    ...ipv6Arguments(words),
    ...portArguments("tcp", words.tcp, everywhere),
    ...portArguments("udp", words.udp, everywhere),
    ...["--max-forwards", String(FORWARDS_MOST), "--allow-link-local"],
    ...given("--log-file", words.logFile),
    ...given("--pcap", words.pcap),
    ...["--control", words.control ?? "none"],
    ...["--log-level", words.debug ? "debug" : words.logFile === undefined ? "warn" : "info"],
  ];
}

/** The process that serves it. */
export function processArguments(words: PasstWords): string[] {
  return [...given("--pid-file", words.pidFile), ...given("--user", words.user), "--outlive-parent"];
}

/** Words of one address, or `none`. */
export function noteAlias(form: string, text: string): string | "none" {
  if (text === "none") return text;
  if (readIpv6(text) !== null) throw new Refusal(`${form} ${text} is not offered: an IPv4 address or none`);
  if (!isIpv4(text) || text === LOOPBACK_4) throw new Refusal(`invalid address for ${form}: "${text}"`);
  return text;
}
