/**
 * ICMP echo (RFC 792, RFC 4443 section 4) and destination unreachable (RFC 792, RFC 4443 section 3.1), the same in both
 * families but for types, codes and the pseudo-header.
 *
 *    0      1      2             4             6             8
 *   +------+------+-------------+-------------+-------------+------
 *   | type | code |  checksum   | identifier  |  sequence   | data
 *   +------+------+-------------+-------------+-------------+------
 *   | type | code |  checksum   |          unused           | the packet it is about, from its IP header on
 *   +------+------+-------------+---------------------------+------
 */
import type { ChecksumKernel } from "../boundary.ts";

export const ECHO_REPLY = 0;
export const ECHO_REQUEST = 8;
export const ECHO_REQUEST_6 = 128;
export const ECHO_REPLY_6 = 129;
export const UNREACHABLE = 3;
export const UNREACHABLE_6 = 1;

/** Codes of destination unreachable: RFC 792 and RFC 1812 section 5.2.7.1, RFC 4443 section 3.1. */
export const NET_UNREACHABLE = 0;
export const PROHIBITED = 13;
export const NO_ROUTE_6 = 0;
export const PROHIBITED_6 = 1;

const CHECKSUM = 2;
const UNUSED = 4;
export const ECHO_HEADER_OCTETS = 8;
export const UNREACHABLE_HEADER_OCTETS = 8;

/** Type and code as one number; the code of both messages is 0. */
export function typeAndCode(view: DataView, at: number): number {
  return view.getUint16(at);
}

/** Makes the request at `at` the reply of this type: its checksum changes by as much as its type (RFC 1624). */
export function makeReply(view: DataView, at: number, replyType: number): void {
  const before = view.getUint16(at);
  const after = replyType << 8;
  view.setUint16(at, after);
  let sum = (~view.getUint16(at + CHECKSUM) & 0xffff) + (~before & 0xffff) + after;
  sum = (sum & 0xffff) + (sum >>> 16);
  sum = (sum & 0xffff) + (sum >>> 16);
  // 0 and 0xffff are one in such sums, but of nothing but zeros only the latter is right.
  view.setUint16(at + CHECKSUM, ~sum & 0xffff || 0xffff);
}

/** Writes the header of a destination unreachable; its checksum is 0. */
export function writeUnreachable(view: DataView, at: number, type: number, code: number): void {
  view.setUint16(at, (type << 8) | code);
  view.setUint16(at + CHECKSUM, 0);
  view.setInt32(at + UNUSED, 0);
}

/** Computes the checksum of a message over IPv4 that is otherwise complete, its own field 0, and writes it. */
export function finishIcmp(kernel: ChecksumKernel, view: DataView, at: number, octets: number): void {
  view.setUint16(at + CHECKSUM, ~kernel.sum(at, octets, 0) & 0xffff);
}
