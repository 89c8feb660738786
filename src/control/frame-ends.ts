/** Who sent a frame to whom, as far as its first octets tell. They are the guest's: nothing about them is sure. */
import { formatIpv4, formatIpv6 } from "../engine/wire/address-text.ts";
import {
  ETHERNET_HEADER_OCTETS,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  etherType,
} from "../engine/wire/ethernet.ts";
import { IPV4_HEADER_OCTETS, PROTOCOL_TCP, PROTOCOL_UDP } from "../engine/wire/ipv4.ts";
import { IPV6_HEADER_OCTETS } from "../engine/wire/ipv6.ts";
import type { Endpoint } from "./records.ts";

export interface FrameEnds {
  readonly protocol: "tcp" | "udp" | null;
  readonly guest: Endpoint | null;
  readonly remote: Endpoint | null;
}

const UNKNOWN: FrameEnds = { protocol: null, guest: null, remote: null };
const PORTS_OCTETS = 4;
/** Of IPv4's flags and fragment offset, the offset. */
const FRAGMENT_OFFSET = 0x1fff;

export function endsOfFrame(frame: Uint8Array): FrameEnds {
  if (frame.length < ETHERNET_HEADER_OCTETS) return UNKNOWN;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const type = etherType(view, 0);
  if (type === ETHERTYPE_IPV4) return endsOfIpv4(view, ETHERNET_HEADER_OCTETS);
  return type === ETHERTYPE_IPV6 ? endsOfIpv6(view, ETHERNET_HEADER_OCTETS) : UNKNOWN;
}

function endsOfIpv4(view: DataView, at: number): FrameEnds {
  if (view.byteLength < at + IPV4_HEADER_OCTETS || view.getUint8(at) >> 4 !== 4) return UNKNOWN;
  const guest = formatIpv4(view.getInt32(at + 12));
  const remote = formatIpv4(view.getInt32(at + 16));
  const isFirst = (view.getUint16(at + 6) & FRAGMENT_OFFSET) === 0;
  const transportAt = at + (view.getUint8(at) & 15) * 4;
  return withPorts(view, isFirst ? transportAt : view.byteLength, view.getUint8(at + 9), guest, remote);
}

function endsOfIpv6(view: DataView, at: number): FrameEnds {
  if (view.byteLength < at + IPV6_HEADER_OCTETS || view.getUint8(at) >> 4 !== 6) return UNKNOWN;
  const words = Array.from({ length: 8 }, (_, i) => view.getInt32(at + 8 + 4 * i));
  const [guest, remote] = [formatIpv6(words, 0), formatIpv6(words, 4)];
  return withPorts(view, at + IPV6_HEADER_OCTETS, view.getUint8(at + 6), guest, remote);
}

/** Ports are 0 where they cannot be read. */
function withPorts(view: DataView, at: number, protocol: number, guest: string, remote: string): FrameEnds {
  const isRead =
    (protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP) && view.byteLength >= at + PORTS_OCTETS;
  return {
    protocol: protocol === PROTOCOL_TCP ? "tcp" : protocol === PROTOCOL_UDP ? "udp" : null,
    guest: { address: guest, port: isRead ? view.getUint16(at) : 0 },
    remote: { address: remote, port: isRead ? view.getUint16(at + 2) : 0 },
  };
}
