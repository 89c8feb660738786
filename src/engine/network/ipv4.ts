/**
 * IPv4 from the guest: checks a packet once, guards against spoofed sources, reassembles fragments, and hands whole
 * datagrams up. Packets that are not for the engine to carry are dropped with a reason; ICMP is one of them, but for
 * pings to ourselves where these are answered.
 */
import type { Neighbours } from "../link/neighbours.ts";
import type { Packet } from "../memory/packet.ts";
import { type Counters, counter } from "../metrics/counters.ts";
import { dropReason, HANDLED } from "../metrics/drop-reasons.ts";
import {
  checkIpv4,
  destination,
  fragmentBits,
  headerLength,
  headerSum,
  IPV4_HEADER_OCTETS,
  PROTOCOL_ICMP,
  PROTOCOL_IGMP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  protocol,
  source,
  totalLength,
  ttl,
} from "../wire/ipv4.ts";
import { DHCP_SERVER_PORT } from "../wire/udp.ts";
import type { Echo } from "./echo.ts";
import type { Reassembly } from "./reassembly.ts";
import type { Sources } from "./sources.ts";
import type { Strangers } from "./strangers.ts";

const BAD_CHECKSUM = dropReason("ipv4-bad-checksum");
const TTL_EXPIRED = dropReason("ipv4-ttl-expired");
const SPOOFED = dropReason("ipv4-spoofed-source");
const SOURCE_ROUTE = dropReason("ipv4-options-source-route");
const UNKNOWN_PROTOCOL = dropReason("ipv4-unknown-protocol");
const ICMP = dropReason("icmp");
const IGMP = dropReason("igmp");
const FRAGMENTS_FROM_GUEST = counter("fragments-from-guest");
const REASSEMBLED = counter("datagrams-reassembled");

/** Loose and strict source route (RFC 791); RFC 7126 section 4.3 says drop. */
const OPTION_LSRR = 131;
const OPTION_SSRR = 137;

/** A protocol of the layer above. Returns HANDLED or a drop reason. */
export interface Transport {
  packet(packet: Packet): number;
}

export interface Ipv4Parts {
  readonly view: DataView;
  readonly reassembly: Reassembly;
  readonly counters: Counters;
  readonly sources: Sources;
  readonly strangers: Strangers;
  readonly neighbours: Neighbours;
  /** Packets to these are not forwarded, so their TTL does not matter: our own addresses, and groups that may be sent to. */
  readonly own: { isOwn(address: number): boolean };
  readonly tcp: Transport;
  readonly udp: Transport;
  /** Null where no ping is answered. */
  readonly echo: Echo | null;
}

export class Ipv4 {
  private readonly view: DataView;

  constructor(private readonly parts: Ipv4Parts) {
    this.view = parts.view;
  }

  /** The packet at `networkAt`, of at most `networkOctets`. Returns HANDLED or a drop reason. */
  packet(packet: Packet): number {
    const { view, parts } = this;
    const at = packet.networkAt;
    const checked = checkIpv4(view, at, packet.networkOctets);
    if (checked !== HANDLED) return checked;
    const header = headerLength(view, at);
    if (headerSum(view, at, header) !== 0xffff) return BAD_CHECKSUM;
    if (header > IPV4_HEADER_OCTETS && this.hasSourceRoute(at + IPV4_HEADER_OCTETS, at + header)) {
      return SOURCE_ROUTE;
    }
    const from = source(view, at);
    const to = destination(view, at);
    if (!parts.sources.isGuest(from)) {
      if (from !== 0 || !this.isDhcp(at, header)) {
        parts.strangers.note(from);
        return SPOOFED;
      }
    } else {
      parts.neighbours.noteSource(from, packet.sourceHigh, packet.sourceLow);
    }
    if (ttl(view, at) <= 1 && !parts.own.isOwn(to) && to !== -1) return TTL_EXPIRED;
    packet.ipOctets = IPV4_HEADER_OCTETS;
    packet.guestAddress = from;
    packet.remoteAddress = to;
    packet.reassembled = false;
    const total = totalLength(view, at);
    if (fragmentBits(view, at) !== 0) return this.fragment(packet, header, total);
    return this.handUp(packet, header, total);
  }

  private fragment(packet: Packet, header: number, total: number): number {
    const { counters, reassembly } = this.parts;
    counters.add(FRAGMENTS_FROM_GUEST, 1);
    const whole = reassembly.add(packet.networkAt, header, total, packet.nowMs);
    if (whole <= 0) return -whole;
    counters.add(REASSEMBLED, 1);
    packet.networkAt = whole;
    packet.verify = true;
    packet.reassembled = true;
    return this.handUp(packet, headerLength(this.view, whole), reassembly.completedLength);
  }

  private handUp(packet: Packet, header: number, total: number): number {
    packet.transportAt = packet.networkAt + header;
    packet.transportOctets = total - header;
    switch (protocol(this.view, packet.networkAt)) {
      case PROTOCOL_TCP:
        return this.parts.tcp.packet(packet);
      case PROTOCOL_UDP:
        return this.parts.udp.packet(packet);
      case PROTOCOL_ICMP:
        return this.parts.echo === null ? ICMP : this.parts.echo.packet(packet, this.parts.own);
      case PROTOCOL_IGMP:
        return IGMP;
      default:
        return UNKNOWN_PROTOCOL;
    }
  }

  /** A client without an address yet: from 0.0.0.0 to the DHCP server's port, unfragmented. */
  private isDhcp(at: number, header: number): boolean {
    const view = this.view;
    return (
      protocol(view, at) === PROTOCOL_UDP &&
      fragmentBits(view, at) === 0 &&
      totalLength(view, at) >= header + 8 &&
      view.getUint16(at + header + 2) === DHCP_SERVER_PORT
    );
  }

  private hasSourceRoute(at: number, end: number): boolean {
    const view = this.view;
    while (at < end) {
      const kind = view.getUint8(at);
      if (kind === 0) return false;
      if (kind === OPTION_LSRR || kind === OPTION_SSRR) return true;
      if (kind === 1) {
        at++;
        continue;
      }
      const octets = at + 1 < end ? view.getUint8(at + 1) : 0;
      if (octets < 2) return false;
      at += octets;
    }
    return false;
  }
}
