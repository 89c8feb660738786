/**
 * UDP header (RFC 768).
 *
 *    0       2       4       6       8
 *   +-------+-------+-------+-------+---------
 *   | source| dest. | length|  sum  | payload
 *   +-------+-------+-------+-------+---------
 */
import { dropReason, HANDLED } from "../metrics/drop-reasons.ts";

export const SOURCE_PORT = 0;
export const DESTINATION_PORT = 2;
export const LENGTH = 4;
export const CHECKSUM = 6;
export const UDP_HEADER_OCTETS = CHECKSUM + 2;
/** Well-known ports (RFC 1035, RFC 2131, RFC 1350). */
export const DNS_PORT = 53;
export const DHCP_SERVER_PORT = 67;
export const DHCP_CLIENT_PORT = 68;
export const TFTP_PORT = 69;
/** Largest payload in one IPv4 datagram: 65535 - 20 - 8. */
export const UDP_PAYLOAD_MAX = 65507;
/** In one IPv6 datagram, whose length does not count the IP header: 65535 - 8. */
export const UDP_PAYLOAD_MAX_6 = 65527;

const MALFORMED = dropReason("udp-malformed");

export function sourcePort(view: DataView, at: number): number {
  return view.getUint16(at + SOURCE_PORT);
}
export function destinationPort(view: DataView, at: number): number {
  return view.getUint16(at + DESTINATION_PORT);
}
export function length(view: DataView, at: number): number {
  return view.getUint16(at + LENGTH);
}
/** 0 means the sender computed none. */
export function checksum(view: DataView, at: number): number {
  return view.getUint16(at + CHECKSUM);
}

/** The only length check. `available` is what the IP header says is there. Returns HANDLED or a drop reason. */
export function checkUdp(view: DataView, at: number, available: number): number {
  if (available < UDP_HEADER_OCTETS) return MALFORMED;
  const octets = view.getUint16(at + LENGTH);
  return octets < UDP_HEADER_OCTETS || octets > available ? MALFORMED : HANDLED;
}

export function writeUdp(
  view: DataView,
  at: number,
  source: number,
  destination: number,
  octets: number,
  sum: number,
): void {
  view.setUint16(at + SOURCE_PORT, source);
  view.setUint16(at + DESTINATION_PORT, destination);
  view.setUint16(at + LENGTH, octets);
  view.setUint16(at + CHECKSUM, sum);
}
