/**
 * IPv6 addresses as people write them, to and from four words, int32 in host order. A parser of its own: it is part of
 * every start, and reads nothing but addresses.
 */
import { formatIpv6 } from "../engine/wire/address-text.ts";
import { Unacceptable } from "./unacceptable.ts";

/** Four words. */
export type Ipv6 = readonly [number, number, number, number];

const ADDRESS = "an IPv6 address such as 2001:db8::1";
const GROUPS = 8;
const OCTET = /^(0|[1-9]\d{0,2})$/;
const GROUP = /^[0-9a-f]{1,4}$/i;

/** The address, or null when `text` is none (RFC 4291 section 2.2, all three forms). A zone or brackets are no part. */
export function readIpv6(text: string): Ipv6 | null {
  const [first = "", second, ...more] = text.split("::");
  if (more.length > 0) return null;
  const before = readGroups(first, second === undefined);
  const after = second === undefined ? [] : readGroups(second, true);
  if (before === null || after === null) return null;
  const missing = GROUPS - before.length - after.length;
  if (second === undefined ? missing !== 0 : missing < 1) return null;
  const groups = [...before, ...new Array<number>(missing).fill(0), ...after];
  const word = (i: number): number => ((groups[i * 2] ?? 0) << 16) | (groups[i * 2 + 1] ?? 0);
  return [word(0), word(1), word(2), word(3)];
}

/** Groups of 16 bits; the last two may be a dotted quad where the text is the end of the address. */
function readGroups(text: string, isEnd: boolean): number[] | null {
  if (text === "") return [];
  const parts = text.split(":");
  const groups: number[] = [];
  for (const [i, part] of parts.entries()) {
    const quad = isEnd && i === parts.length - 1 ? readQuad(part) : null;
    if (quad !== null) {
      groups.push(quad >>> 16, quad & 0xffff);
    } else if (GROUP.test(part)) {
      groups.push(Number.parseInt(part, 16));
    } else {
      return null;
    }
  }
  return groups;
}

/** A dotted quad without leading zeros. */
function readQuad(text: string): number | null {
  const octets = text.split(".");
  if (octets.length !== 4 || !octets.every((octet) => OCTET.test(octet) && Number(octet) < 256)) return null;
  return octets.reduce((address, octet) => (address << 8) | Number(octet), 0);
}

export function parseIpv6(text: string): Ipv6 {
  const address = readIpv6(text);
  if (address === null) throw new Unacceptable(ADDRESS, text);
  return address;
}

/** All of the host's IPv6 addresses. */
export const EVERY_IPV6: Ipv6 = [0, 0, 0, 0];
const LINK_LOCAL: Ipv6 = [0xfe800000 | 0, 0, 0, 0];
const MULTICAST: Ipv6 = [0xff000000 | 0, 0, 0, 0];
const V4_MAPPED: Ipv6 = [0, 0, 0xffff, 0];

export function isLinkLocal6(address: Ipv6): boolean {
  return sharesPrefix(address, LINK_LOCAL, 10);
}

/** An address of the host's side that needs no interface to be named: one to bind to (`::` for all), or to connect to. */
export function parseHostAddress6(text: string): Ipv6 {
  return parseBoundAddress6(text, false);
}

/** The same where an interface is named if `onDevice`: there link-local ones are good too. */
export function parseBoundAddress6(text: string, onDevice: boolean): Ipv6 {
  const address = parseIpv6(text);
  if (sharesPrefix(address, V4_MAPPED, 96)) throw new Unacceptable("an IPv4 address without ::ffff:", text);
  if (sharesPrefix(address, MULTICAST, 8))
    throw new Unacceptable("an address of one station, no group", text);
  if (!onDevice && isLinkLocal6(address)) {
    throw new Unacceptable("an address good on any interface; [::] has the link-local ones too", text);
  }
  return address;
}

/** Prefixes the guest's network cannot be, each with the reason. */
const NO_GUEST_NETWORK: readonly (readonly [text: string, length: number, why: string])[] = [
  ["fe80::", 10, "fe80::/10 is link-local"],
  ["fec0::", 10, "fec0::/10 is deprecated (RFC 3879)"],
  ["ff00::", 8, "ff00::/8 is multicast"],
  ["64:ff9b::", 96, "64:ff9b::/96 is NAT64's"],
  ["2002::", 16, "2002::/16 is 6to4's"],
  ["::", 8, "::/8 is reserved"],
];

/** The guest's network, `PREFIX/64`: a unicast /64 whose host part is zero. Returns the address of the prefix. */
export function parseNetwork6(text: string): Ipv6 {
  const match = /^([^/]+)\/(\d{1,3})$/.exec(text);
  const address = match && readIpv6(match[1] ?? "");
  if (!match || !address) throw new Unacceptable("PREFIX/64, such as fd71:1ae0:d44d:2::/64", text);
  if (match[2] !== "64") {
    throw new Unacceptable("a prefix of 64 bits: guests make their own addresses of nothing else", text);
  }
  for (const [prefix, length, why] of NO_GUEST_NETWORK) {
    if (sharesPrefix(address, parseIpv6(prefix), length)) {
      throw new Unacceptable(`a prefix for a network; ${why}`, text);
    }
  }
  if (address[2] !== 0 || address[3] !== 0) {
    const network = formatIpv6([address[0], address[1], 0, 0]);
    throw new Unacceptable(`a network address, whose host part is zero: did you mean ${network}/64?`, text);
  }
  return address;
}

/** Whether the first `length` bits of both are the same. */
export function sharesPrefix(address: Ipv6, prefix: Ipv6, length: number): boolean {
  return address.every((word, i) => {
    const bits = Math.min(Math.max(length - i * 32, 0), 32);
    return bits === 0 || (word ^ (prefix[i] ?? 0)) >>> (32 - bits) === 0;
  });
}
