/**
 * IPv6 from the guest: checks a packet once, guards against spoofed sources, walks its headers, reassembles fragments,
 * and hands whole datagrams up. Packets that are not for the engine to carry are dropped with a reason.
 *
 * What may be a source:
 *
 *   an address of the guest's prefix    everything; not prefix::, the routers' anycast address, and not ours
 *   a link-local address                Neighbour Discovery, MLD and DHCPv6
 *   ::                                  Neighbour Discovery and MLD, which say themselves when they allow it
 */
import type { Neighbours6 } from "../link/neighbours6.ts";
import type { Packet } from "../memory/packet.ts";
import { type Counters, counter } from "../metrics/counters.ts";
import { dropReason, HANDLED } from "../metrics/drop-reasons.ts";
import { DHCP6_SERVER_PORT } from "../wire/dhcpv6.ts";
import { PROTOCOL_TCP, PROTOCOL_UDP } from "../wire/ipv4.ts";
import {
  checkIpv6,
  DESTINATION,
  ExtensionHeaders,
  FRAGMENT_BITS,
  FRAGMENT6_MORE,
  FRAGMENT6_OFFSET_MASK,
  hopLimit,
  IPV6_HEADER_OCTETS,
  isLinkLocal,
  isMapped,
  isMulticast,
  isUnspecified,
  NEXT_ICMPV6,
  payloadLength,
  readAddress,
  SOURCE,
} from "../wire/ipv6.ts";
import { headerLength, TCP_HEADER_OCTETS } from "../wire/tcp.ts";
import { destinationPort, UDP_HEADER_OCTETS } from "../wire/udp.ts";
import type { Transport } from "./ipv4.ts";
import type { Reassembly } from "./reassembly.ts";

const MALFORMED = dropReason("ipv6-malformed");
const MAPPED = dropReason("ipv6-mapped-address");
const SPOOFED = dropReason("ipv6-spoofed-source");
const HOP_LIMIT = dropReason("ipv6-hop-limit");
const EXTENSION_HEADER = dropReason("ipv6-extension-header");
const UNKNOWN_PROTOCOL = dropReason("ipv6-unknown-protocol");
const FRAGMENT_MALFORMED = dropReason("ipv6-fragment-malformed");
const REFUSED = dropReason("destination-refused");
const FRAGMENTS_FROM_GUEST = counter("fragments-from-guest");
const REASSEMBLED = counter("datagrams-reassembled");

const ICMPV6_OCTETS_MIN = 8;

/** Kinds of sources. */
const IN_PREFIX = 0;
const LINK_LOCAL = 1;
const UNSPECIFIED = 2;
const OWN = 3;
const FOREIGN = 4;

export interface Ipv6Parts {
  readonly view: DataView;
  readonly reassembly: Reassembly;
  readonly counters: Counters;
  readonly neighbours: Neighbours6;
  /** The guest's /64. */
  readonly prefix: Int32Array;
  /** Our addresses: what is sent to them is not forwarded, so its hop limit does not matter. */
  readonly own: { isOwn(words: Int32Array, index: number): boolean };
  readonly tcp: Transport;
  readonly udp: Transport;
  readonly icmpv6: Transport;
}

export class Ipv6 {
  private readonly view: DataView;
  private readonly headers = new ExtensionHeaders();

  constructor(private readonly parts: Ipv6Parts) {
    this.view = parts.view;
  }

  /** The packet at `networkAt`, of at most `networkOctets`. Returns HANDLED or a drop reason. */
  packet(packet: Packet): number {
    const { view, headers } = this;
    const at = packet.networkAt;
    const checked = checkIpv6(view, at, packet.networkOctets);
    if (checked !== HANDLED) return checked;
    // Before anything else looks at them: to the layers above they are IPv4 addresses.
    if (isMapped(view, at + SOURCE) || isMapped(view, at + DESTINATION)) return MAPPED;
    const end = at + IPV6_HEADER_OCTETS + payloadLength(view, at);
    const walked = headers.walk(view, at, end);
    if (walked !== HANDLED) return walked;
    packet.ipOctets = IPV6_HEADER_OCTETS;
    readAddress(view, at + SOURCE, packet.pair, 0);
    readAddress(view, at + DESTINATION, packet.pair, 4);
    packet.reassembled = false;
    packet.fragmented = headers.fragmentAt !== 0;
    const source = this.sourceOf(packet);
    if (source === FOREIGN) return SPOOFED;
    if (hopLimit(view, at) <= 1 && !this.isForUs(packet)) return HOP_LIMIT;
    if (!packet.fragmented) return this.handUp(packet, source, end);
    return this.fragment(packet, source, end);
  }

  private sourceOf(packet: Packet): number {
    const { view, parts } = this;
    const { pair } = packet;
    const sourceAt = packet.networkAt + SOURCE;
    if (parts.own.isOwn(pair, 0)) return OWN;
    if (pair[0] === parts.prefix[0] && pair[1] === parts.prefix[1]) {
      return (pair[2] | pair[3]) === 0 ? FOREIGN : IN_PREFIX;
    }
    if (isLinkLocal(view, sourceAt)) return LINK_LOCAL;
    return isUnspecified(view, sourceAt) ? UNSPECIFIED : FOREIGN;
  }

  private isForUs(packet: Packet): boolean {
    return this.parts.own.isOwn(packet.pair, 4) || isMulticast(this.view, packet.networkAt + DESTINATION);
  }

  private fragment(packet: Packet, source: number, end: number): number {
    const { view, headers } = this;
    const { counters, reassembly } = this.parts;
    counters.add(FRAGMENTS_FROM_GUEST, 1);
    const { fragmentAt } = headers;
    const bits = view.getUint16(fragmentAt + FRAGMENT_BITS);
    const isFirst = (bits & FRAGMENT6_OFFSET_MASK) === 0;
    const isLast = (bits & FRAGMENT6_MORE) === 0;
    if (isFirst) {
      const walked = headers.behindFragment(view, end);
      if (walked !== HANDLED) return walked === MALFORMED && !isLast ? FRAGMENT_MALFORMED : walked;
      // RFC 6946: a fragment that is the whole datagram waits for nothing and meets no other.
      if (isLast) return this.handUp(packet, source, end);
      // RFC 7112: whoever looks at a first fragment alone must see what it is of.
      if (!this.hasTransportHeader(end)) return FRAGMENT_MALFORMED;
    }
    if (source !== IN_PREFIX) return SPOOFED;
    const whole = reassembly.add6(packet.networkAt, fragmentAt, end, packet.nowMs);
    if (whole <= 0) return -whole;
    counters.add(REASSEMBLED, 1);
    packet.networkAt = whole;
    packet.verify = true;
    packet.reassembled = true;
    const wholeEnd = whole + reassembly.completedLength;
    const walked = headers.walk(view, whole, wholeEnd);
    if (walked !== HANDLED) return walked;
    // A fragment in a fragment.
    return headers.fragmentAt === 0 ? this.handUp(packet, source, wholeEnd) : EXTENSION_HEADER;
  }

  /** Whether the transport header the walk has found is there up to its end. */
  private hasTransportHeader(end: number): boolean {
    const { protocol, protocolAt } = this.headers;
    const octets = end - protocolAt;
    if (protocol === PROTOCOL_UDP) return octets >= UDP_HEADER_OCTETS;
    if (protocol === NEXT_ICMPV6) return octets >= ICMPV6_OCTETS_MIN;
    if (protocol !== PROTOCOL_TCP) return true;
    return octets >= TCP_HEADER_OCTETS && octets >= headerLength(this.view, protocolAt);
  }

  private handUp(packet: Packet, source: number, end: number): number {
    const { parts, headers } = this;
    const { pair, sourceHigh, sourceLow } = packet;
    packet.transportAt = headers.protocolAt;
    packet.transportOctets = end - headers.protocolAt;
    if (headers.protocol === NEXT_ICMPV6) return parts.icmpv6.packet(packet);
    if (source !== IN_PREFIX) return this.fromOutsidePrefix(packet, source);
    parts.neighbours.noteSource(pair, 0, sourceHigh, sourceLow);
    switch (headers.protocol) {
      case PROTOCOL_TCP:
        return parts.tcp.packet(packet);
      case PROTOCOL_UDP:
        return parts.udp.packet(packet);
      default:
        return UNKNOWN_PROTOCOL;
    }
  }

  /** A client of DHCPv6 has nothing but its link-local address. What it says to groups on the link is its own affair. */
  private fromOutsidePrefix(packet: Packet, source: number): number {
    const { view, headers } = this;
    if (source !== LINK_LOCAL || headers.protocol !== PROTOCOL_UDP) return SPOOFED;
    if (
      packet.transportOctets >= UDP_HEADER_OCTETS &&
      destinationPort(view, packet.transportAt) === DHCP6_SERVER_PORT
    ) {
      return this.parts.udp.packet(packet);
    }
    return isMulticast(view, packet.networkAt + DESTINATION) ? REFUSED : SPOOFED;
  }
}
