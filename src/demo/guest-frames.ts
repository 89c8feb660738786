/** The few frames that the demo's guest makes by hand: DHCP requests and pings. */
import { ETHERNET_HEADER_OCTETS } from "../engine/wire/ethernet.ts";
import { PROTOCOL_ICMP, PROTOCOL_UDP } from "../engine/wire/ipv4.ts";

const IPV4_OCTETS = 20;
const UDP_OCTETS = 8;
const BROADCAST_MAC = Uint8Array.of(255, 255, 255, 255, 255, 255);

export interface Endpoints {
  readonly sourceMac: Uint8Array;
  readonly destinationMac: Uint8Array;
  readonly source: number;
  readonly destination: number;
}

/** RFC 1071, for a few octets at a time. */
function internetChecksum(octets: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < octets.length; i += 2) sum += ((octets[i] ?? 0) << 8) | (octets[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function ipv4Frame(ends: Endpoints, protocol: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(ETHERNET_HEADER_OCTETS + IPV4_OCTETS + payload.length);
  const view = new DataView(frame.buffer);
  frame.set(ends.destinationMac, 0);
  frame.set(ends.sourceMac, 6);
  view.setUint16(12, 0x0800);
  view.setUint8(14, 0x45);
  view.setUint16(16, IPV4_OCTETS + payload.length);
  view.setUint8(22, 64);
  view.setUint8(23, protocol);
  view.setInt32(26, ends.source);
  view.setInt32(30, ends.destination);
  view.setUint16(
    24,
    internetChecksum(frame.subarray(ETHERNET_HEADER_OCTETS, ETHERNET_HEADER_OCTETS + IPV4_OCTETS)),
  );
  frame.set(payload, ETHERNET_HEADER_OCTETS + IPV4_OCTETS);
  return frame;
}

/** An ICMP echo request (RFC 792). */
export function pingFrame(ends: Endpoints, sequence: number): Uint8Array {
  const message = new Uint8Array(64);
  const view = new DataView(message.buffer);
  view.setUint8(0, 8);
  view.setUint16(4, 0x5c1e);
  view.setUint16(6, sequence);
  view.setUint16(2, internetChecksum(message));
  return ipv4Frame(ends, PROTOCOL_ICMP, message);
}

/** Whether a frame is an ICMP echo reply. */
export function isPingReply(frame: DataView): true | undefined {
  const isIcmp =
    frame.byteLength > 34 && frame.getUint16(12) === 0x0800 && frame.getUint8(23) === PROTOCOL_ICMP;
  return isIcmp && frame.getUint8(34) === 0 ? true : undefined;
}

export const DHCP_DISCOVER = 1;
export const DHCP_OFFER = 2;
export const DHCP_REQUEST = 3;
export const DHCP_ACK = 5;

/** Where a DHCP message lies in a frame, and where its options begin in the message. */
const DHCP_AT = ETHERNET_HEADER_OCTETS + IPV4_OCTETS + UDP_OCTETS;
const DHCP_OPTIONS = 240;
const MAGIC_COOKIE = 0x63825363;

/** A client's broadcast (RFC 2131 section 4.4.1); the UDP checksum is left out, as IPv4 allows. */
export function dhcpFrame(
  mac: Uint8Array,
  xid: number,
  type: number,
  extra: readonly (readonly number[])[],
): Uint8Array {
  const wanted = [1, 3, 6, 15, 26, 51];
  const options = [53, 1, type, ...extra.flat(), 55, wanted.length, ...wanted, 255];
  const datagram = new Uint8Array(UDP_OCTETS + DHCP_OPTIONS + options.length);
  const view = new DataView(datagram.buffer);
  view.setUint16(0, 68);
  view.setUint16(2, 67);
  view.setUint16(4, datagram.length);
  const message = UDP_OCTETS;
  view.setUint8(message, 1);
  view.setUint8(message + 1, 1);
  view.setUint8(message + 2, 6);
  view.setInt32(message + 4, xid);
  datagram.set(mac, message + 28);
  view.setUint32(message + 236, MAGIC_COOKIE);
  datagram.set(options, message + DHCP_OPTIONS);
  const ends = { sourceMac: mac, destinationMac: BROADCAST_MAC, source: 0, destination: -1 };
  return ipv4Frame(ends, PROTOCOL_UDP, datagram);
}

export interface DhcpAnswer {
  readonly type: number;
  readonly address: number;
  /** Values by code. */
  readonly options: ReadonlyMap<number, DataView>;
}

/** A server's answer to `xid` in a frame, or undefined. */
export function readDhcpAnswer(frame: DataView, xid: number): DhcpAnswer | undefined {
  if (frame.byteLength < DHCP_AT + DHCP_OPTIONS || frame.getUint16(12) !== 0x0800) return undefined;
  if (frame.getUint8(23) !== PROTOCOL_UDP || frame.getUint16(36) !== 68) return undefined;
  if (frame.getUint8(DHCP_AT) !== 2 || frame.getInt32(DHCP_AT + 4) !== xid) return undefined;
  const options = new Map<number, DataView>();
  for (let at = DHCP_AT + DHCP_OPTIONS; at + 1 < frame.byteLength && frame.getUint8(at) !== 255; ) {
    const length = frame.getUint8(at + 1);
    if (at + 2 + length > frame.byteLength) break;
    const value = frame.buffer.slice(frame.byteOffset + at + 2, frame.byteOffset + at + 2 + length);
    options.set(frame.getUint8(at), new DataView(value));
    at += 2 + length;
  }
  return { type: options.get(53)?.getUint8(0) ?? 0, address: frame.getInt32(DHCP_AT + 16), options };
}
