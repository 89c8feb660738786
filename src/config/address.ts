/**
 * Addresses as people write them, to and from the plain numbers of `EngineConfig`. IPv4 is int32 in host order.
 */
import { Address4, Address6 } from "ip-address";
import type { Reservation, Reservation6, ResolverAddress } from "../engine/config.ts";
import { formatIpv4 } from "../engine/wire/address-text.ts";
import { DNS_PORT } from "../engine/wire/udp.ts";
import { readIpv6 } from "./address6.ts";
import { Unacceptable } from "./unacceptable.ts";

export interface Network {
  readonly network: number;
  readonly prefixLength: number;
}

/** A dotted quad and nothing else (no `127.1`, no leading zeros). */
export function isIpv4(text: string): boolean {
  return /^\d{1,3}(\.\d{1,3}){3}$/.test(text) && Address4.isValid(text);
}

export function parseIpv4(text: string): number {
  if (!isIpv4(text)) throw new Unacceptable("an IPv4 address such as 10.0.2.2", text);
  return Number(new Address4(text).bigInt()) | 0;
}

/** The netmask of a prefix length as int32. */
export function netmask(prefixLength: number): number {
  return prefixLength === 0 ? 0 : (-1 << (32 - prefixLength)) | 0;
}

/** The prefix length of a netmask (int32), 0 to 32; undefined for a mask with a hole. */
export function prefixLengthOf(mask: number): number | undefined {
  const host = ~mask;
  return (host & (host + 1)) === 0 ? Math.clz32(host) : undefined;
}

export function inNetwork(address: number, net: Network): boolean {
  return (address & netmask(net.prefixLength)) === net.network;
}

export function formatNetwork(net: Network): string {
  return `${formatIpv4(net.network)}/${net.prefixLength}`;
}

/** Addresses of the gateway, the resolver and the first lease that a subnet gets by itself. */
export function subnetAddresses(net: Network): { gateway: number; dns: number; start: number } {
  const at = (offset: number): number => net.network + (offset & ~netmask(net.prefixLength));
  if (net.prefixLength <= 16) return { gateway: at(0x0202), dns: at(0x0203), start: at(0x020f) };
  if (net.prefixLength <= 27) return { gateway: at(2), dns: at(3), start: at(15) };
  if (net.prefixLength <= 29) return { gateway: at(2), dns: at(3), start: at(4) };
  return { gateway: at(1), dns: at(3), start: at(2) };
}

const PREFIX_MIN = 4;
const PREFIX_MAX = 32;

/**
 * The guest's subnet, `ADDRESS/PREFIX`: a unicast network of one host (/32, its gateway being elsewhere) to a sixteenth of
 * the space (/4).
 */
export function parseNetwork(text: string): Network {
  const allowed = `ADDRESS/PREFIX with a prefix of ${PREFIX_MIN} to ${PREFIX_MAX}, such as 10.0.2.0/24`;
  const [, host = "", prefix] = /^([^/]+)\/(\d{1,2})$/.exec(text) ?? [];
  if (!isIpv4(host)) throw new Unacceptable(allowed);
  const prefixLength = Number(prefix);
  if (prefixLength < PREFIX_MIN || prefixLength > PREFIX_MAX) throw new Unacceptable(allowed);
  const address = parseIpv4(host);
  const net = { network: address & netmask(prefixLength), prefixLength };
  if (net.network !== address) {
    throw new Unacceptable(`a network address, whose host part is zero: did you mean ${formatNetwork(net)}?`);
  }
  const first = address >>> 24;
  if (first === 0 || first === 127 || first >= 224) {
    throw new Unacceptable("a unicast network; 0/8, 127/8 and 224/3 are reserved");
  }
  return net;
}

/** Which addresses a guest may have without asking. */
export interface GuestAddresses {
  /** By name, the first of them where forwards go. */
  readonly addresses: readonly number[];
  /** Every address of the subnet besides. */
  readonly any: boolean;
}

/** At most so many by name: a guest has few. */
const GUEST_ADDRESSES_MAX = 16;

/** `10.0.2.15`, `10.0.2.15,10.0.2.100`, `any`, `10.0.2.15,any`. */
export function parseGuestAddresses(text: string): GuestAddresses {
  const words = text.split(",");
  const named = words.filter((word) => word !== "any");
  if (named.some((word) => !isIpv4(word))) {
    throw new Unacceptable("IPv4 addresses with commas between them, such as 10.0.2.15,10.0.2.100, or any");
  }
  if (words.length - named.length > 1 || new Set(named).size < named.length) {
    throw new Unacceptable("each address once, and any once");
  }
  if (named.length > GUEST_ADDRESSES_MAX)
    throw new Unacceptable(`at most ${GUEST_ADDRESSES_MAX} addresses, or any`);
  return { addresses: named.map(parseIpv4), any: named.length < words.length };
}

/** Six octets, `52:54:00:12:34:56` or `52-54-00-12-34-56`; unicast and not zero. */
export function parseMac(text: string): Uint8Array {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$|^[0-9a-f]{2}(-[0-9a-f]{2}){5}$/i.test(text)) {
    throw new Unacceptable("a MAC address such as 52:54:00:12:34:56", text);
  }
  const mac = Uint8Array.from(text.split(/[:-]/), (octet) => Number.parseInt(octet, 16));
  const [first = 0] = mac;
  if (first & 1) throw new Unacceptable("a unicast MAC address (the first octet is even)", text);
  if (mac.every((octet) => octet === 0)) throw new Unacceptable("a MAC address that is not all zero", text);
  return mac;
}

/** Why an address cannot be a host's in `net`, as the end of "an address that ...", or undefined. */
export function hostAddressProblem(address: number, net: Network): string | undefined {
  if (!inNetwork(address, net)) return `inside ${formatNetwork(net)}`;
  // A link of two has neither (RFC 3021), nor has one host alone.
  if (net.prefixLength > 30) return undefined;
  const host = address & ~netmask(net.prefixLength);
  if (host === 0 || host === ~netmask(net.prefixLength)) {
    return `of a host in ${formatNetwork(net)}, neither its first nor its last address`;
  }
  return undefined;
}

export { formatMac } from "../engine/wire/address-text.ts";

/** A decimal number, or Unacceptable. `what` completes "a ... from MIN to MAX", or "an ..." where that is how it is said. */
export function parseInteger(text: string, min: number, max: number, what = "whole number"): number {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) {
    const article = /^[aeio]/.test(what) ? "an" : "a";
    throw new Unacceptable(`${article} ${what} from ${min} to ${max}`, text);
  }
  return value;
}

export function parsePort(text: string, min = 1): number {
  return parseInteger(text, min, 65535, "port");
}

/** `192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1`, `[2001:db8::1]:5353`; a zone must be an interface's number. */
export function parseResolver(text: string): ResolverAddress {
  const allowed = "ADDRESS, IPV4:PORT or [IPV6]:PORT, such as 192.0.2.1:53 or [2001:db8::1]:53";
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(text);
  const v4 = /^([\d.]+)(?::(\d+))?$/.exec(text);
  const [, host = "", portText] = bracketed ?? v4 ?? [undefined, text, undefined];
  const port = portText === undefined ? DNS_PORT : parsePort(portText);
  if (!bracketed && isIpv4(host)) {
    const address = parseIpv4(host);
    if (address === 0) throw new Unacceptable("an address a packet can be sent to");
    return { words: [0, 0, 0xffff, address], port, scope: 0 };
  }
  const [bare = "", zone] = host.split("%", 2);
  if (!Address6.isValid(bare) || bare.includes("/")) throw new Unacceptable(allowed);
  const scope = zone === undefined ? 0 : parseInteger(zone, 1, 0x7fffffff, "interface number after %");
  return { words: ipv6Words(bare), port, scope };
}

function ipv6Words(text: string): [number, number, number, number] {
  const value = new Address6(text).bigInt();
  const word = (shift: bigint): number => Number(BigInt.asIntN(32, value >> shift));
  return [word(96n), word(64n), word(32n), word(0n)];
}

/** `MAC=ADDRESS`, of either family. */
export function parseReservation(text: string): Reservation | Reservation6 {
  const at = text.indexOf("=");
  if (at < 0) throw new Unacceptable("MAC=ADDRESS, such as 52:54:00:12:34:56=10.0.2.20");
  const [mac, address] = [parseMac(text.slice(0, at)), text.slice(at + 1)];
  const words = readIpv6(address);
  return words === null ? { mac, address: parseIpv4(address) } : { mac, address: words };
}
