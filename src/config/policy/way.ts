/** Ways out that a rule may name: another place (`to:`), or a proxy (`via:`). */
import type { OperatorTarget, PolicyConfig, PolicyWay, StandInNetwork } from "../../engine/config.ts";
import { formatAddress } from "../../engine/wire/address-text.ts";
import { isIpv4, parseInteger, parseIpv4, parseNetwork } from "../address.ts";
import { parseIpv6 } from "../address6.ts";
import { parseSocketPath } from "../forward-grammar.ts";
import { HIDDEN, hideLogin } from "../hidden-login.ts";
import { Unacceptable } from "../unacceptable.ts";
import type { RuleDocument } from "./schema.ts";

const VIA = "socks5://[USER:PASSWORD@]ADDRESS:PORT or http://[USER:PASSWORD@]ADDRESS:PORT";
const TO = "ADDRESS:PORT or unix:PATH";
/** Of a user's name and of a password (RFC 1929 section 2). */
const LOGIN_OCTETS_MAX = 255;
const V4_MAPPED = 0xffff;

/** Reads `ADDRESS:PORT`, an IPv6 address in brackets. A name would have to be asked for first. */
function parseEnd(text: string, allowed: string): OperatorTarget {
  const [, inBrackets, plain = "", port] = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(text) ?? [];
  if (port === undefined) throw new Unacceptable(allowed);
  const number = parseInteger(port, 1, 65_535, "port");
  if (inBrackets !== undefined) return { kind: "tcp", words: parseIpv6(inBrackets), port: number };
  const address = plain === "localhost" ? "127.0.0.1" : plain;
  if (!isIpv4(address)) throw new Unacceptable(`${allowed}, with an address and no name`);
  return { kind: "tcp", words: [0, 0, V4_MAPPED, parseIpv4(address)], port: number };
}

/** Reads what `to:` says. Throws Unacceptable. */
function parseTo(text: string, proxyHeader: boolean): PolicyWay {
  const target: OperatorTarget = text.startsWith("unix:")
    ? { kind: "unix", path: parseSocketPath(text.slice(5)) }
    : parseEnd(text, TO);
  return { kind: "to", target, proxyHeader };
}

/** The password that a policy which was shown says nothing of: `proxy` is its URL as it was shown. */
export type HiddenPassword = (proxy: string) => string | undefined;

/** Those of the policy that was shown. */
export function passwordsOf({ way, rules }: PolicyConfig): HiddenPassword {
  const known = new Map<string, string>();
  for (const each of [way, ...rules.map((rule) => rule.way)]) {
    const login = each === undefined ? undefined : loginOf(each);
    if (each !== undefined && login !== undefined) known.set(formatVia(each), login.password);
  }
  return (proxy) => known.get(proxy);
}

/** Reads what `via:` says. Throws Unacceptable. */
export function parseVia(text: string, hidden: HiddenPassword = () => undefined): PolicyWay {
  const [, kind, login, end] = /^(socks5|http):\/\/(?:(.*)@)?([^@/]*)\/?$/.exec(text) ?? [];
  if (end === undefined) throw new Unacceptable(VIA);
  const target = parseEnd(end, VIA);
  const given = login === undefined ? undefined : parseLogin(login, kind === "http");
  const way = proxyWay(kind === "socks5" ? kind : "http", target, given);
  if (given === undefined || !login?.endsWith(`:${HIDDEN}`) || given.password !== HIDDEN) return way;
  const password = hidden(formatVia(way));
  if (password === undefined) {
    throw new Unacceptable(
      `the password: ${HIDDEN} stands for that of a policy which was shown, for the same user at the same proxy (a password of three asterisks is %2A%2A%2A)`,
    );
  }
  return proxyWay(way.kind === "socks5" ? way.kind : "http", target, { ...given, password });
}

interface Login {
  readonly user: string;
  readonly password: string;
}

function proxyWay(kind: "socks5" | "http", target: OperatorTarget, login: Login | undefined): PolicyWay {
  if (kind === "socks5") return { kind, target, ...(login === undefined ? {} : { login }) };
  if (login === undefined) return { kind, target };
  return { kind, target, credentials: Buffer.from(`${login.user}:${login.password}`).toString("base64") };
}

function parseLogin(text: string, isHttp: boolean): Login {
  const colon = text.indexOf(":");
  if (colon < 0) throw new Unacceptable("USER:PASSWORD before the @");
  const [user, password] = [text.slice(0, colon), text.slice(colon + 1)].map(decode) as [string, string];
  for (const part of [user, password]) {
    const octets = new TextEncoder().encode(part).length;
    if (octets === 0 || octets > LOGIN_OCTETS_MAX) {
      throw new Unacceptable(`a user and a password of 1 to ${LOGIN_OCTETS_MAX} octets each`);
    }
  }
  // RFC 7617 section 2.
  if (isHttp && user.includes(":")) throw new Unacceptable("a user without a colon");
  return { user, password };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Unacceptable("a user and a password in which % begins two hexadecimal digits (%25 is %)");
  }
}

/** A way as it is shown: what a file's members say, but for a password. */
export function wayDocument(way: PolicyWay): Record<string, string> {
  if (way.kind === "to") {
    return { to: formatEnd(way.target), ...(way.proxyHeader ? { "proxy-protocol": "v2" } : {}) };
  }
  return { via: formatVia(way) };
}

function formatVia(way: PolicyWay): string {
  const login = loginOf(way);
  const user = login === undefined ? "" : `${encodeURIComponent(login.user)}:${HIDDEN}@`;
  return `${way.kind}://${user}${formatEnd(way.target)}`;
}

/** A policy without its passwords, to be shown. */
export function withoutPasswords(config: PolicyConfig): PolicyConfig {
  const hide = <T extends { readonly way?: PolicyWay }>(of: T): T => {
    const login = of.way === undefined ? undefined : loginOf(of.way);
    if (of.way === undefined || login === undefined) return of;
    const { kind, target } = of.way;
    return {
      ...of,
      way: proxyWay(kind === "socks5" ? kind : "http", target, { ...login, password: HIDDEN }),
    };
  };
  return { ...hide(config), rules: config.rules.map(hide) };
}

function formatEnd(target: OperatorTarget): string {
  if (target.kind === "unix") return `unix:${target.path}`;
  const address = formatAddress(target.words);
  return `${address.includes(":") ? `[${address}]` : address}:${target.port}`;
}

function loginOf(way: PolicyWay): Login | undefined {
  if (way.kind === "socks5") return way.login;
  if (way.kind === "to" || way.credentials === undefined) return undefined;
  const text = Buffer.from(way.credentials, "base64").toString();
  const colon = text.indexOf(":");
  return { user: text.slice(0, colon), password: text.slice(colon + 1) };
}

/** Prefix lengths of networks of stand-ins: names need room, and an operator an overview. */
const STAND_INS_PREFIX_MIN = 10;
const STAND_INS_PREFIX_MAX = 20;

/** Reads what `stand-ins:` says. Throws Unacceptable. */
export function parseStandIns(text: string): StandInNetwork {
  const { network, prefixLength } = parseNetwork(text);
  if (prefixLength < STAND_INS_PREFIX_MIN || prefixLength > STAND_INS_PREFIX_MAX) {
    throw new Unacceptable(
      `a network with a prefix of ${STAND_INS_PREFIX_MIN} to ${STAND_INS_PREFIX_MAX} bits`,
    );
  }
  return { address: network, prefixLength };
}

/** The way of a rule, if it says one. What is wrong with it is given to `reject`. */
export function wayOfRule(
  rule: RuleDocument,
  reject: (key: "to" | "via" | "proxy-protocol", allowed: string, found?: string) => void,
  hidden?: HiddenPassword,
): PolicyWay | undefined {
  const { to, via, "proxy-protocol": proxyProtocol } = rule;
  if (rule.allow === undefined) {
    for (const key of ["to", "via"] as const)
      if (rule[key] !== undefined) reject(key, `${key} only with allow`);
  }
  if (to !== undefined && via !== undefined) reject("via", "either to or via");
  if (proxyProtocol !== undefined && to === undefined) {
    reject("proxy-protocol", "proxy-protocol only with to: a proxy of via is told by its own protocol");
  }
  for (const [key, text] of [
    ["to", to],
    ["via", via],
  ] as const) {
    if (text === undefined) continue;
    try {
      return key === "to" ? parseTo(text, proxyProtocol !== undefined) : parseVia(text, hidden);
    } catch (error) {
      if (!(error instanceof Unacceptable)) throw error;
      reject(key, error.allowed, key === "via" ? hideLogin(text) : (error.found ?? text));
    }
  }
  return undefined;
}
