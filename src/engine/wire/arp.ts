/**
 * Address Resolution Protocol for IPv4 over Ethernet (RFC 826; probes and announcements: RFC 5227).
 *
 *    0       2       4   5   6       8               14          18              24          28
 *   +-------+-------+---+---+-------+---------------+-----------+---------------+-----------+
 *   | hw=1  |pr=0800| 6 | 4 |  op   |  sender MAC   | sender IP |  target MAC   | target IP |
 *   +-------+-------+---+---+-------+---------------+-----------+---------------+-----------+
 *
 * A MAC address is two ints: its top 16 bits and its low 32 bits (int32). IPv4 addresses are int32 in host order.
 */
import { dropReason, HANDLED } from "../metrics/drop-reasons.ts";
import { ETHERTYPE_IPV4 } from "./ethernet.ts";

export const HARDWARE_TYPE = 0;
export const PROTOCOL_TYPE = HARDWARE_TYPE + 2;
export const HARDWARE_LENGTH = PROTOCOL_TYPE + 2;
export const PROTOCOL_LENGTH = HARDWARE_LENGTH + 1;
export const OPERATION = PROTOCOL_LENGTH + 1;
export const SENDER_MAC = OPERATION + 2;
export const SENDER_ADDRESS = SENDER_MAC + 6;
export const TARGET_MAC = SENDER_ADDRESS + 4;
export const TARGET_ADDRESS = TARGET_MAC + 6;
export const ARP_OCTETS = TARGET_ADDRESS + 4;

export const HARDWARE_ETHERNET = 1;
export const REQUEST = 1;
export const REPLY = 2;

const MAC_OCTETS = 6;
const IPV4_OCTETS = 4;
const MALFORMED = dropReason("arp-malformed");

export function operation(view: DataView, at: number): number {
  return view.getUint16(at + OPERATION);
}
export function senderMacHigh(view: DataView, at: number): number {
  return view.getUint16(at + SENDER_MAC);
}
export function senderMacLow(view: DataView, at: number): number {
  return view.getInt32(at + SENDER_MAC + 2);
}
export function senderAddress(view: DataView, at: number): number {
  return view.getInt32(at + SENDER_ADDRESS);
}
export function targetMacHigh(view: DataView, at: number): number {
  return view.getUint16(at + TARGET_MAC);
}
export function targetMacLow(view: DataView, at: number): number {
  return view.getInt32(at + TARGET_MAC + 2);
}
export function targetAddress(view: DataView, at: number): number {
  return view.getInt32(at + TARGET_ADDRESS);
}

/** Writes the fixed fields and the operation; the addresses follow by `writeSender` and `writeTarget`. */
export function writeArp(view: DataView, at: number, operationCode: number): void {
  view.setUint16(at + HARDWARE_TYPE, HARDWARE_ETHERNET);
  view.setUint16(at + PROTOCOL_TYPE, ETHERTYPE_IPV4);
  view.setUint8(at + HARDWARE_LENGTH, MAC_OCTETS);
  view.setUint8(at + PROTOCOL_LENGTH, IPV4_OCTETS);
  view.setUint16(at + OPERATION, operationCode);
}
export function writeSender(
  view: DataView,
  at: number,
  macHigh: number,
  macLow: number,
  address: number,
): void {
  view.setUint16(at + SENDER_MAC, macHigh);
  view.setInt32(at + SENDER_MAC + 2, macLow);
  view.setInt32(at + SENDER_ADDRESS, address);
}
export function writeTarget(
  view: DataView,
  at: number,
  macHigh: number,
  macLow: number,
  address: number,
): void {
  view.setUint16(at + TARGET_MAC, macHigh);
  view.setInt32(at + TARGET_MAC + 2, macLow);
  view.setInt32(at + TARGET_ADDRESS, address);
}

/**
 * The only length check: after it every accessor above is safe. Also refuses what is not ARP for IPv4 over Ethernet.
 * Octets behind the packet are Ethernet padding. Returns HANDLED or a drop reason.
 */
export function checkArp(view: DataView, at: number, available: number): number {
  if (available < ARP_OCTETS) return MALFORMED;
  if (
    view.getUint16(at + HARDWARE_TYPE) !== HARDWARE_ETHERNET ||
    view.getUint16(at + PROTOCOL_TYPE) !== ETHERTYPE_IPV4 ||
    view.getUint8(at + HARDWARE_LENGTH) !== MAC_OCTETS ||
    view.getUint8(at + PROTOCOL_LENGTH) !== IPV4_OCTETS
  ) {
    return MALFORMED;
  }
  const code = view.getUint16(at + OPERATION);
  return code === REQUEST || code === REPLY ? HANDLED : MALFORMED;
}
