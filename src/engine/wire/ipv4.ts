/**
 * IPv4 header (RFC 791 section 3.1).
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +-------+-------+---------------+-------------------------------+
 *   |version|  IHL  | type of serv. |          total length         |
 *   +-------------------------------+-----+-------------------------+
 *   |         identification        |flags|     fragment offset     |
 *   +---------------+---------------+-----+-------------------------+
 *   |      TTL      |    protocol   |        header checksum        |
 *   +---------------+---------------+-------------------------------+
 *   |                         source address                        |
 *   |                       destination address                     |
 *   +---------------------------------------------------------------+
 *
 * Addresses are int32 in host order.
 */
import { dropReason, HANDLED } from "../metrics/drop-reasons.ts";

export const VERSION_IHL = 0;
export const TOS = 1;
export const TOTAL_LENGTH = 2;
export const IDENTIFICATION = 4;
export const FLAGS_FRAGMENT = 6;
export const TTL = 8;
export const PROTOCOL = 9;
export const CHECKSUM = 10;
export const SOURCE = 12;
export const DESTINATION = 16;
export const IPV4_HEADER_OCTETS = DESTINATION + 4;

export const PROTOCOL_ICMP = 1;
export const PROTOCOL_IGMP = 2;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;

export const DONT_FRAGMENT = 0x4000;
export const MORE_FRAGMENTS = 0x2000;
export const FRAGMENT_OFFSET_MASK = 0x1fff;
export const TTL_DEFAULT = 64;

const MALFORMED = dropReason("ipv4-malformed");

export function headerLength(view: DataView, at: number): number {
  return (view.getUint8(at + VERSION_IHL) & 15) << 2;
}
export function totalLength(view: DataView, at: number): number {
  return view.getUint16(at + TOTAL_LENGTH);
}
export function identification(view: DataView, at: number): number {
  return view.getUint16(at + IDENTIFICATION);
}
/** Flags and offset together: 0 (DF ignored) means a whole datagram. */
export function fragmentBits(view: DataView, at: number): number {
  return view.getUint16(at + FLAGS_FRAGMENT) & (MORE_FRAGMENTS | FRAGMENT_OFFSET_MASK);
}
export function ttl(view: DataView, at: number): number {
  return view.getUint8(at + TTL);
}
export function protocol(view: DataView, at: number): number {
  return view.getUint8(at + PROTOCOL);
}
export function source(view: DataView, at: number): number {
  return view.getInt32(at + SOURCE);
}
export function destination(view: DataView, at: number): number {
  return view.getInt32(at + DESTINATION);
}

/** 224.0.0.0/4 (RFC 5771). */
export function isMulticast(address: number): boolean {
  return address >>> 28 === 0xe;
}

/**
 * The only length check: after it every accessor above is safe and `totalLength` octets are there.
 * Returns HANDLED or a drop reason.
 */
export function checkIpv4(view: DataView, at: number, available: number): number {
  if (available < IPV4_HEADER_OCTETS) return MALFORMED;
  const first = view.getUint8(at + VERSION_IHL);
  const header = (first & 15) << 2;
  const total = view.getUint16(at + TOTAL_LENGTH);
  if (first >>> 4 !== 4 || header < IPV4_HEADER_OCTETS || total < header || total > available)
    return MALFORMED;
  return HANDLED;
}

/** Ones' complement sum of the header, folded; 0xffff when its checksum is right (RFC 1071). */
export function headerSum(view: DataView, at: number, octets: number): number {
  let sum = 0;
  for (let i = 0; i < octets; i += 2) sum += view.getUint16(at + i);
  sum = (sum & 0xffff) + (sum >>> 16);
  return (sum & 0xffff) + (sum >>> 16);
}

/** Folded ones' complement sum of two addresses: their part of the header's checksum and of the pseudo-header's. */
export function addressSum(a: number, b: number): number {
  const sum = (a >>> 16) + (a & 0xffff) + (b >>> 16) + (b & 0xffff);
  const folded = (sum & 0xffff) + (sum >>> 16);
  return (folded & 0xffff) + (folded >>> 16);
}

/** Writes a 20-octet header with its checksum. `sumOfAddresses` is that of the two (addressSum). */
export function writeIpv4(
  view: DataView,
  at: number,
  total: number,
  id: number,
  flagsFragment: number,
  protocolNumber: number,
  sourceAddress: number,
  destinationAddress: number,
  sumOfAddresses: number,
): void {
  const ttlProtocol = (TTL_DEFAULT << 8) | protocolNumber;
  view.setUint16(at, 0x4500);
  view.setUint16(at + TOTAL_LENGTH, total);
  view.setUint16(at + IDENTIFICATION, id);
  view.setUint16(at + FLAGS_FRAGMENT, flagsFragment);
  view.setUint16(at + TTL, ttlProtocol);
  let sum = 0x4500 + total + (id & 0xffff) + flagsFragment + ttlProtocol + sumOfAddresses;
  sum = (sum & 0xffff) + (sum >>> 16);
  sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(at + CHECKSUM, ~sum & 0xffff);
  view.setInt32(at + SOURCE, sourceAddress);
  view.setInt32(at + DESTINATION, destinationAddress);
}

/** Gives a 20-octet header that is written another type of service. */
export function setTypeOfService(view: DataView, at: number, typeOfService: number): void {
  view.setUint8(at + TOS, typeOfService);
  view.setUint16(at + CHECKSUM, 0);
  view.setUint16(at + CHECKSUM, ~headerSum(view, at, IPV4_HEADER_OCTETS) & 0xffff);
}

/** Folded sum of a pseudo-header, not complemented, from the sum of its addresses: of either family. */
export function pseudoSum(sumOfAddresses: number, protocolNumber: number, octets: number): number {
  let sum = sumOfAddresses + protocolNumber + octets;
  sum = (sum & 0xffff) + (sum >>> 16);
  return (sum & 0xffff) + (sum >>> 16);
}

/** Folded sum of the pseudo-header (RFC 9293 section 3.1, RFC 768), not complemented. */
export function pseudoHeaderSum(
  sourceAddress: number,
  destinationAddress: number,
  protocolNumber: number,
  octets: number,
): number {
  return pseudoSum(addressSum(sourceAddress, destinationAddress), protocolNumber, octets);
}
