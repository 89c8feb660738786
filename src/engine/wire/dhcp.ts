/**
 * DHCP and BOOTP messages: the fixed part (RFC 951, RFC 2131 section 2). Options are in `dhcp-options.ts`.
 *
 *    0       1       2       3       4
 *   +-------+-------+-------+-------+
 *   |  op   | htype | hlen  | hops  |
 *   +-------+-------+-------+-------+
 *   |              xid              |
 *   +---------------+---------------+
 *   |     secs      |     flags     |   flags: top bit = answer by broadcast
 *   +---------------+---------------+
 *   |  ciaddr  client, when it has one
 *   |  yiaddr  "your" address, from the server
 *   |  siaddr  next server to boot from
 *   |  giaddr  relay agent
 *   |  chaddr  client hardware address, 16 octets
 *   |  sname   server host name, 64 octets, or more options (overload)
 *   |  file    boot file name, 128 octets, or more options (overload)
 *   |  cookie  99.130.83.99, then options to the end
 *   +-------------------------------+
 */
import { dropReason, HANDLED } from "../metrics/drop-reasons.ts";
import { isGroup } from "./ethernet.ts";

const OP = 0;
const HTYPE = OP + 1;
const HLEN = HTYPE + 1;
const HOPS = HLEN + 1;
const XID = HOPS + 1;
const SECS = XID + 4;
const FLAGS = SECS + 2;
const CIADDR = FLAGS + 2;
const YIADDR = CIADDR + 4;
const SIADDR = YIADDR + 4;
const GIADDR = SIADDR + 4;
export const CHADDR = GIADDR + 4;
export const CHADDR_OCTETS = 16;
export const SNAME = CHADDR + CHADDR_OCTETS;
export const SNAME_OCTETS = 64;
export const FILE = SNAME + SNAME_OCTETS;
export const FILE_OCTETS = 128;
/** What every message has. The cookie and options follow; a plain BOOTP request may have neither. */
const BOOTP_HEADER_OCTETS = FILE + FILE_OCTETS;
export const COOKIE = BOOTP_HEADER_OCTETS;
export const OPTIONS = COOKIE + 4;
/** Shortest message a server may send (RFC 951: the vendor field is 64 octets; RFC 1542 section 2.1). */
export const BOOTP_MESSAGE_MIN = BOOTP_HEADER_OCTETS + 64;

const BOOTREQUEST = 1;
const BOOTREPLY = 2;
export const FLAG_BROADCAST = 0x8000;
const MAGIC_COOKIE = 0x63825363;

const HTYPE_ETHERNET = 1;
const MAC_OCTETS = 6;
const MALFORMED = dropReason("dhcp-malformed");

function xid(view: DataView, at: number): number {
  return view.getInt32(at + XID);
}
export function flags(view: DataView, at: number): number {
  return view.getUint16(at + FLAGS);
}
export function ciaddr(view: DataView, at: number): number {
  return view.getInt32(at + CIADDR);
}
export function giaddr(view: DataView, at: number): number {
  return view.getInt32(at + GIADDR);
}
/** Whether options follow; without the cookie the rest is a BOOTP vendor field of some other kind. */
export function hasCookie(view: DataView, at: number, length: number): boolean {
  return length >= OPTIONS && view.getInt32(at + COOKIE) === MAGIC_COOKIE;
}

export function setYiaddr(view: DataView, at: number, address: number): void {
  view.setInt32(at + YIADDR, address);
}
export function setCiaddr(view: DataView, at: number, address: number): void {
  view.setInt32(at + CIADDR, address);
}
export function setSiaddr(view: DataView, at: number, address: number): void {
  view.setInt32(at + SIADDR, address);
}

/** Turns zeroed octets at `at` into a reply to the request at `requestAt`: op, hardware type, xid, flags, cookie. */
export function writeReplyHeader(view: DataView, at: number, request: DataView, requestAt: number): void {
  view.setUint8(at + OP, BOOTREPLY);
  view.setUint8(at + HTYPE, HTYPE_ETHERNET);
  view.setUint8(at + HLEN, MAC_OCTETS);
  view.setInt32(at + XID, xid(request, requestAt));
  view.setUint16(at + FLAGS, flags(request, requestAt));
  view.setInt32(at + COOKIE, MAGIC_COOKIE);
}

/**
 * The only length check of the fixed part: a request of an Ethernet client with a station address. Returns HANDLED or
 * a drop reason.
 */
export function checkDhcpRequest(view: DataView, at: number, length: number): number {
  if (length < BOOTP_HEADER_OCTETS) return MALFORMED;
  if (
    view.getUint8(at + OP) !== BOOTREQUEST ||
    view.getUint8(at + HTYPE) !== HTYPE_ETHERNET ||
    view.getUint8(at + HLEN) !== MAC_OCTETS
  ) {
    return MALFORMED;
  }
  const high = view.getUint16(at + CHADDR);
  const low = view.getInt32(at + CHADDR + 2);
  return isGroup(high) || (high === 0 && low === 0) ? MALFORMED : HANDLED;
}
