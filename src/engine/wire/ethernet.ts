/**
 * Ethernet II header (IEEE 802.3 clause 3).
 *
 *    0               6               12      14
 *   +---------------+---------------+-------+-----------
 *   |  destination  |    source     | type  | payload
 *   +---------------+---------------+-------+-----------
 *
 * A MAC address is two ints: its top 16 bits and its low 32 bits (int32).
 */

export const DESTINATION = 0;
export const SOURCE = DESTINATION + 6;
export const TYPE = SOURCE + 6;
export const ETHERNET_HEADER_OCTETS = TYPE + 2;
/** The header with a VLAN tag (IEEE 802.1Q), which a frame of full MTU may carry. */
export const ETHERNET_VLAN_HEADER_OCTETS = ETHERNET_HEADER_OCTETS + 4;

export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
export const ETHERTYPE_VLAN = 0x8100;
export const ETHERTYPE_IPV6 = 0x86dd;

/** The group bit of the first octet, seen in the top 16 bits of an address. */
const GROUP_BIT = 0x0100;

export function destinationHigh(view: DataView, at: number): number {
  return view.getUint16(at + DESTINATION);
}
export function destinationLow(view: DataView, at: number): number {
  return view.getInt32(at + DESTINATION + 2);
}
export function sourceHigh(view: DataView, at: number): number {
  return view.getUint16(at + SOURCE);
}
export function sourceLow(view: DataView, at: number): number {
  return view.getInt32(at + SOURCE + 2);
}
export function etherType(view: DataView, at: number): number {
  return view.getUint16(at + TYPE);
}

/** The two ints of a MAC address in six octets. */
export function macHigh(mac: Uint8Array): number {
  return (mac[0] << 8) | mac[1];
}
export function macLow(mac: Uint8Array): number {
  return (mac[2] << 24) | (mac[3] << 16) | (mac[4] << 8) | mac[5];
}

/** The broadcast address. */
export const BROADCAST_HIGH = 0xffff;
export const BROADCAST_LOW = -1;

/** Group (multicast or broadcast) addresses are legal destinations, never sources. */
export function isGroup(high: number): boolean {
  return (high & GROUP_BIT) !== 0;
}

/** Writes all 14 octets. */
export function writeEthernet(
  view: DataView,
  at: number,
  destinationHigh16: number,
  destinationLow32: number,
  sourceHigh16: number,
  sourceLow32: number,
  type: number,
): void {
  view.setUint16(at + DESTINATION, destinationHigh16);
  view.setInt32(at + DESTINATION + 2, destinationLow32);
  view.setUint16(at + SOURCE, sourceHigh16);
  view.setInt32(at + SOURCE + 2, sourceLow32);
  view.setUint16(at + TYPE, type);
}
