/**
 * Targets of a policy's rules, as people write them:
 *
 *   target = host [":" ports] ["/" proto]
 *   host   = name / "*." name / "*" / IPv4 ["/" prefix] / "[" IPv6 ["/" prefix] "]" / "@public" / "@private" / "@any"
 *   ports  = part *("," part) ;  part = 1-65535 ["-" 1-65535]
 *   proto  = "tcp" / "udp" / "quic"
 *
 * Ports are never guessed wide where something is allowed: a name without them is 443/tcp; what is denied without ports is
 * denied on all. An address without ports is all of TCP and UDP. `quic` is UDP that has to show the name, 443 without ports.
 */
import { domainToASCII } from "node:url";
import type { Ipv6Words, PolicyHost, PolicyTarget } from "../../engine/config.ts";
import { formatIpv4, formatIpv6 } from "../../engine/wire/address-text.ts";
import { isIpv4, netmask, parseInteger, parseIpv4 } from "../address.ts";
import { parseIpv6, sharesPrefix } from "../address6.ts";
import { Unacceptable } from "../unacceptable.ts";

export type Verdict = "allow" | "deny" | "ask";
type Ports = PolicyTarget["ports"];

const HTTPS_PORT = 443;
const EVERY_PORT: Ports = [[1, 65_535]];
const LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/;
const NAME_OCTETS_MAX = 253;
const V4_MAPPED_BITS = 96;
const PORTS_MAX = 64;

/** Networks whose addresses carry an IPv4 address, which is what rules are asked about (engine/network/addresses.ts). */
const CARRIERS: readonly (readonly [prefix: string, length: number])[] = [
  ["64:ff9b::", 96],
  ["64:ff9b:1::", 48],
  ["2002::", 16],
  ["2001::", 32],
];

const GROUPS: Readonly<Record<string, PolicyHost>> = {
  "@public": { kind: "public" },
  "@private": { kind: "private" },
  "@any": { kind: "every-address" },
  "*": { kind: "every-name" },
};

/** Reads one target of a rule with this verdict. Throws Unacceptable. */
export function parseTarget(text: string, verdict: Verdict): PolicyTarget {
  if (text.includes("://")) {
    throw new Unacceptable("a host without scheme and path, such as api.example.com:443");
  }
  const [, rest = text, proto] = /^(.*)\/([a-z]+)$/i.exec(text) ?? [];
  if (proto !== undefined && proto !== "tcp" && proto !== "udp" && proto !== "quic") {
    throw new Unacceptable("/tcp, /udp or /quic at the end", `/${proto}`);
  }
  const { hostText, portsText } = split(rest);
  const host = parseHost(hostText);
  const ports = portsText === undefined ? undefined : parsePorts(portsText);
  const isName = host.kind === "name" || host.kind === "names-under" || host.kind === "every-name";
  if (proto === "quic") return quicTarget(host, ports, isName, verdict);
  if (ports === undefined && isName && verdict !== "deny") {
    if (proto === "udp") throw new Unacceptable("ports before /udp, such as time.example.net:123/udp");
    return { host, ports: [[HTTPS_PORT, HTTPS_PORT]], tcp: true, udp: false };
  }
  const isWhole = ports === undefined && proto === undefined;
  return {
    host,
    ports: ports ?? EVERY_PORT,
    tcp: isWhole || proto !== "udp",
    udp: isWhole || proto === "udp",
  };
}

function quicTarget(
  host: PolicyHost,
  ports: Ports = [[HTTPS_PORT, HTTPS_PORT]],
  isName: boolean,
  verdict: Verdict,
): PolicyTarget {
  if (!isName) throw new Unacceptable("a name in front of /quic, or /udp: QUIC shows names and no addresses");
  if (verdict === "deny") throw new Unacceptable("/udp at the end, which denies QUIC too", "/quic");
  return { host, ports, tcp: false, udp: true, quic: true };
}

function split(text: string): { hostText: string; portsText: string | undefined } {
  const bracketed = /^(\[[^\]]*\])(?::(.*))?$/.exec(text);
  if (bracketed) return { hostText: bracketed[1] ?? "", portsText: bracketed[2] };
  const colons = text.split(":");
  if (colons.length > 2) {
    throw new Unacceptable("IPv6 addresses in brackets, such as [2001:db8::1]:443 or [2001:db8::/32]");
  }
  return { hostText: colons[0] ?? "", portsText: colons[1] };
}

function parseHost(text: string): PolicyHost {
  const group = Object.hasOwn(GROUPS, text) ? GROUPS[text] : undefined;
  if (group !== undefined) return group;
  if (text.startsWith("@")) throw new Unacceptable("@public, @private or @any", text);
  if (text.startsWith("[")) return parseNetwork6(text.slice(1, -1));
  if (/^[\d.]+(\/.*)?$/.test(text)) return parseNetwork4(text);
  if (text.startsWith("*.")) return { kind: "names-under", name: parseName(text.slice(2)) };
  return { kind: "name", name: parseName(text) };
}

/** A name as it is compared: A-labels in small letters, without a trailing dot. */
function parseName(text: string): string {
  if (text.includes("*")) {
    throw new Unacceptable('one leading "*." that stands for one or more labels, such as *.example.com');
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII.
  const isAscii = /^[\x00-\x7f]*$/.test(text);
  const ascii = isAscii ? text.toLowerCase() : domainToASCII(text);
  const name = ascii.endsWith(".") ? ascii.slice(0, -1) : ascii;
  const labels = name.split(".");
  if (name.length > NAME_OCTETS_MAX || !labels.every((label) => LABEL.test(label))) {
    throw new Unacceptable(
      "a host name (labels of 1 to 63 letters, digits and hyphens), an address, @public, @private, @any or *",
    );
  }
  const last = labels[labels.length - 1] ?? "";
  if (/^\d+$/.test(last) || /^0x[0-9a-f]*$/.test(last)) {
    throw new Unacceptable("a name that does not end in a number, or an address of four numbers");
  }
  return name;
}

/** An address and, behind a slash, the text of a prefix length. */
function splitNetwork(text: string): [address: string, prefix: string | undefined] {
  const [address = "", prefix, ...rest] = text.split("/");
  if (rest.length > 0) throw new Unacceptable("one prefix length", text);
  return [address, prefix];
}

function parseNetwork4(text: string): PolicyHost {
  const [address, prefixText] = splitNetwork(text);
  if (!isIpv4(address)) throw new Unacceptable("an IPv4 address such as 203.0.113.9 or 203.0.113.0/24", text);
  const prefixLength = prefixText === undefined ? 32 : parseInteger(prefixText, 0, 32, "prefix length");
  const value = parseIpv4(address);
  const network = value & netmask(prefixLength);
  if (network !== value) {
    throw new Unacceptable(
      `a network whose host part is zero: did you mean ${formatIpv4(network)}/${prefixLength}?`,
      text,
    );
  }
  return { kind: "network", words: [0, 0, 0xffff, value], prefixLength: V4_MAPPED_BITS + prefixLength };
}

function parseNetwork6(text: string): PolicyHost {
  const [address, prefixText] = splitNetwork(text);
  const words = parseIpv6(address);
  const prefixLength = prefixText === undefined ? 128 : parseInteger(prefixText, 0, 128, "prefix length");
  if (words[0] === 0 && words[1] === 0 && words[2] === 0xffff) {
    throw new Unacceptable("the IPv4 address itself, without ::ffff:", text);
  }
  const network = words.map((word, i) => {
    const bits = prefixLength - i * 32;
    return bits >= 32 ? word : bits <= 0 ? 0 : word & (-1 << (32 - bits));
  }) as unknown as Ipv6Words;
  if (network.some((word, i) => word !== words[i])) {
    throw new Unacceptable(
      `a network whose host part is zero: did you mean [${formatIpv6(network)}/${prefixLength}]?`,
      text,
    );
  }
  const carries = CARRIERS.find(
    ([prefix, length]) => prefixLength >= length && sharesPrefix(words, parseIpv6(prefix), length),
  );
  if (carries !== undefined) {
    throw new Unacceptable(
      `the IPv4 addresses themselves: one of ${carries.join("/")} is judged as what it carries`,
      text,
    );
  }
  return { kind: "network", words, prefixLength };
}

/** `443,8000-8010`; in order, and those that touch joined. */
function parsePorts(text: string): Ports {
  const parts = text.split(",").map((part): [number, number] => {
    const [, from, to] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part) ?? [];
    if (from === undefined)
      throw new Unacceptable("ports from 1 to 65535, such as 443 or 22,8000-8010", part);
    const first = parseInteger(from, 1, 65_535, "port");
    const last = to === undefined ? first : parseInteger(to, 1, 65_535, "port");
    if (last < first) throw new Unacceptable("a range that begins with its lower port", part);
    return [first, last];
  });
  if (parts.length > PORTS_MAX) throw new Unacceptable(`at most ${PORTS_MAX} ports and ranges`);
  const joined: [number, number][] = [];
  for (const [first, last] of parts.sort((a, b) => a[0] - b[0])) {
    const before = joined[joined.length - 1];
    if (before !== undefined && first <= before[1] + 1) before[1] = Math.max(before[1], last);
    else joined.push([first, last]);
  }
  return joined;
}

/** The target as it is written: `parseTarget` reads the same from it. */
export function formatTarget({ host, ports, tcp, udp, quic }: PolicyTarget, verdict: Verdict): string {
  const isEvery = ports.length === 1 && ports[0]?.[0] === 1 && ports[0][1] === 65_535;
  const portText = ports.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(",");
  const isName = host.kind === "name" || host.kind === "names-under" || host.kind === "every-name";
  if (isName && verdict !== "deny" && portText === `${HTTPS_PORT}` && tcp) return formatHost(host);
  if (isEvery && tcp && udp && (!isName || verdict === "deny")) return formatHost(host);
  return `${formatHost(host)}:${portText}${quic === true ? "/quic" : udp ? "/udp" : ""}`;
}

function formatHost(host: PolicyHost): string {
  switch (host.kind) {
    case "name":
      return host.name;
    case "names-under":
      return `*.${host.name}`;
    case "network":
      return formatNetwork(host.words, host.prefixLength);
    default: {
      const [text = ""] = Object.entries(GROUPS).find(([, group]) => group.kind === host.kind) ?? [];
      return text;
    }
  }
}

function formatNetwork(words: Ipv6Words, prefixLength: number): string {
  const isIpv4 = words[0] === 0 && words[1] === 0 && words[2] === 0xffff && prefixLength >= V4_MAPPED_BITS;
  if (isIpv4) {
    const address = formatIpv4(words[3]);
    return prefixLength === 128 ? address : `${address}/${prefixLength - V4_MAPPED_BITS}`;
  }
  const address = formatIpv6(words);
  return prefixLength === 128 ? `[${address}]` : `[${address}/${prefixLength}]`;
}
