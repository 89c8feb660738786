/**
 * ICMP echo (RFC 792, RFC 4443 section 4), the same in both families but for the types and the pseudo-header.
 *
 *    0      1      2             4             6             8
 *   +------+------+-------------+-------------+-------------+------
 *   | type | code |  checksum   | identifier  |  sequence   | data
 *   +------+------+-------------+-------------+-------------+------
 */
export const ECHO_REPLY = 0;
export const ECHO_REQUEST = 8;
export const ECHO_REQUEST_6 = 128;
export const ECHO_REPLY_6 = 129;

const CHECKSUM = 2;
export const ECHO_HEADER_OCTETS = 8;

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
  view.setUint16(at + CHECKSUM, ~sum & 0xffff);
}
