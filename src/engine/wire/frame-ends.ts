/**
 * Who sent a frame to whom, as far as its first octets tell: for captures and records, which see frames that nothing has been
 * checked of. What the core handles is read by its layers.
 */
import { V4_MAPPED } from "../boundary.ts";
import { ETHERNET_HEADER_OCTETS, ETHERTYPE_IPV4, ETHERTYPE_IPV6, etherType } from "./ethernet.ts";
import { IPV4_HEADER_OCTETS, PROTOCOL_TCP, PROTOCOL_UDP } from "./ipv4.ts";
import { DESTINATION, IPV6_HEADER_OCTETS, NEXT_HEADER, SOURCE } from "./ipv6.ts";

const WORDS = 4;
const PORTS_OCTETS = 4;
const IPV4_PROTOCOL = 9;
const IPV4_FRAGMENT = 6;
const IPV4_SOURCE = 12;
const IPV4_DESTINATION = 16;
/** Of IPv4's flags and fragment offset, the offset. */
const FRAGMENT_OFFSET = 0x1fff;
/** Octets of a frame that tell all there is to tell: the longest IPv4 header, and ports. */
export const FRAME_ENDS_OCTETS = ETHERNET_HEADER_OCTETS + 60 + PORTS_OCTETS;

export class FrameEnds {
  /** Of the IP header; -1 where there is none to be read. */
  protocol = -1;
  isIpv4 = false;
  /** The guest's address in four words (IPv4 as v4-mapped), then the other one. */
  readonly words = new Int32Array(2 * WORDS);
  /** -1 where they cannot be read. */
  guestPort = -1;
  remotePort = -1;

  /** Reads the frame's first `octets` octets at `at`. */
  read(view: DataView, at: number, octets: number, fromGuest: boolean): void {
    this.protocol = -1;
    this.guestPort = -1;
    this.remotePort = -1;
    if (octets < ETHERNET_HEADER_OCTETS) return;
    const type = etherType(view, at);
    const ipAt = at + ETHERNET_HEADER_OCTETS;
    if (type === ETHERTYPE_IPV4) this.ipv4(view, ipAt, at + octets, fromGuest);
    else if (type === ETHERTYPE_IPV6) this.ipv6(view, ipAt, at + octets, fromGuest);
  }

  private ipv4(view: DataView, at: number, end: number, fromGuest: boolean): void {
    if (end - at < IPV4_HEADER_OCTETS || view.getUint8(at) >> 4 !== 4) return;
    this.isIpv4 = true;
    const { words } = this;
    words.fill(0);
    words[2] = V4_MAPPED;
    words[WORDS + 2] = V4_MAPPED;
    words[3] = view.getInt32(at + (fromGuest ? IPV4_SOURCE : IPV4_DESTINATION));
    words[WORDS + 3] = view.getInt32(at + (fromGuest ? IPV4_DESTINATION : IPV4_SOURCE));
    this.protocol = view.getUint8(at + IPV4_PROTOCOL);
    const isFirst = (view.getUint16(at + IPV4_FRAGMENT) & FRAGMENT_OFFSET) === 0;
    if (isFirst) this.ports(view, at + (view.getUint8(at) & 15) * 4, end, fromGuest);
  }

  private ipv6(view: DataView, at: number, end: number, fromGuest: boolean): void {
    if (end - at < IPV6_HEADER_OCTETS || view.getUint8(at) >> 4 !== 6) return;
    this.isIpv4 = false;
    for (let i = 0; i < WORDS; i++) {
      const [source, destination] = fromGuest ? [i, WORDS + i] : [WORDS + i, i];
      this.words[source] = view.getInt32(at + SOURCE + 4 * i);
      this.words[destination] = view.getInt32(at + DESTINATION + 4 * i);
    }
    this.protocol = view.getUint8(at + NEXT_HEADER);
    this.ports(view, at + IPV6_HEADER_OCTETS, end, fromGuest);
  }

  private ports(view: DataView, at: number, end: number, fromGuest: boolean): void {
    if ((this.protocol !== PROTOCOL_TCP && this.protocol !== PROTOCOL_UDP) || at + PORTS_OCTETS > end) return;
    this.guestPort = view.getUint16(fromGuest ? at : at + 2);
    this.remotePort = view.getUint16(fromGuest ? at + 2 : at);
  }
}
