/**
 * TCP header (RFC 9293 section 3.1).
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +-------------------------------+-------------------------------+
 *   |          source port          |        destination port       |
 *   |                        sequence number                        |
 *   |                     acknowledgment number                     |
 *   +-------+-------+---------------+-------------------------------+
 *   |offset |       |C E U A P R S F|             window            |
 *   +-------+-------+---------------+-------------------------------+
 *   |            checksum           |         urgent pointer        |
 *   +-------------------------------+-------------------------------+
 *   |                       options, padded to 4                    |
 *
 * Sequence numbers are int32 and wrap; compare them by signed difference.
 */
import { dropReason, HANDLED } from "../metrics/drop-reasons.ts";

export const SOURCE_PORT = 0;
export const DESTINATION_PORT = 2;
export const SEQUENCE = 4;
export const ACKNOWLEDGMENT = 8;
export const DATA_OFFSET = 12;
export const FLAGS = 13;
export const WINDOW = 14;
export const CHECKSUM = 16;
export const URGENT = 18;
export const TCP_HEADER_OCTETS = URGENT + 2;

export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const PSH = 0x08;
export const ACK = 0x10;
export const URG = 0x20;

const MALFORMED = dropReason("tcp-malformed");

export function sourcePort(view: DataView, at: number): number {
  return view.getUint16(at + SOURCE_PORT);
}
export function destinationPort(view: DataView, at: number): number {
  return view.getUint16(at + DESTINATION_PORT);
}
export function sequence(view: DataView, at: number): number {
  return view.getInt32(at + SEQUENCE);
}
export function acknowledgment(view: DataView, at: number): number {
  return view.getInt32(at + ACKNOWLEDGMENT);
}
export function headerLength(view: DataView, at: number): number {
  return (view.getUint8(at + DATA_OFFSET) >>> 4) << 2;
}
export function flags(view: DataView, at: number): number {
  return view.getUint8(at + FLAGS);
}
/** As sent; scaled by the receiver's shift count, except in a SYN (RFC 7323 section 2.2). */
export function window(view: DataView, at: number): number {
  return view.getUint16(at + WINDOW);
}

/** The only length check. `available` is the IP payload. Returns HANDLED or a drop reason. */
export function checkTcp(view: DataView, at: number, available: number): number {
  if (available < TCP_HEADER_OCTETS) return MALFORMED;
  const header = (view.getUint8(at + DATA_OFFSET) >>> 4) << 2;
  return header < TCP_HEADER_OCTETS || header > available ? MALFORMED : HANDLED;
}

/** Writes the fixed 20 octets; the urgent pointer is 0. */
export function writeTcp(
  view: DataView,
  at: number,
  source: number,
  destination: number,
  sequenceNumber: number,
  acknowledgmentNumber: number,
  headerOctets: number,
  flagBits: number,
  windowField: number,
): void {
  view.setUint16(at + SOURCE_PORT, source);
  view.setUint16(at + DESTINATION_PORT, destination);
  view.setInt32(at + SEQUENCE, sequenceNumber);
  view.setInt32(at + ACKNOWLEDGMENT, acknowledgmentNumber);
  view.setUint16(at + DATA_OFFSET, (headerOctets << 10) | flagBits);
  view.setUint16(at + WINDOW, windowField);
  view.setInt32(at + CHECKSUM, 0);
}

/** True when a is before b in sequence space (RFC 9293 section 3.4). */
export function before(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}
/** True when a is before b or equal. */
export function beforeOrAt(a: number, b: number): boolean {
  return ((a - b) | 0) <= 0;
}
