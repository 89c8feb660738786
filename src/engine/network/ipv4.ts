/**
 * IPv4 from the guest: checks a packet once, guards against spoofed sources, reassembles fragments, and hands whole
 * datagrams up. Packets that are not for the engine to carry are dropped with a reason; ICMP is one of them.
 */
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
import type { Reassembly } from "./reassembly.ts";

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
const DHCP_SERVER_PORT = 67;

/** What the layer above offers. `verify`: the link does not vouch for the transport checksum. */
export interface Ipv4Handlers {
  /** Whether a guest may use this source address. */
  isGuest(address: number): boolean;
  /** The gateway's own addresses: packets to them are not forwarded, so their TTL does not matter. */
  isOwn(address: number): boolean;
  tcp(guest: number, remote: number, at: number, octets: number, verify: boolean): number;
  /** `fragmented`: the octets lie in the reassembly buffer and are gone after the call. */
  udp(
    guest: number,
    remote: number,
    at: number,
    octets: number,
    verify: boolean,
    fragmented: boolean,
  ): number;
  /** The source is good: learn whose MAC it is. */
  sourceSeen(address: number): void;
}

export class Ipv4 {
  constructor(
    private readonly view: DataView,
    private readonly reassembly: Reassembly,
    private readonly counters: Counters,
    private readonly handlers: Ipv4Handlers,
  ) {}

  /** A packet of at most `available` octets at `at`. Returns HANDLED or a drop reason. */
  packet(at: number, available: number, verify: boolean, nowMs: number): number {
    const view = this.view;
    const checked = checkIpv4(view, at, available);
    if (checked !== HANDLED) return checked;
    const header = headerLength(view, at);
    if (headerSum(view, at, header) !== 0xffff) return BAD_CHECKSUM;
    if (header > IPV4_HEADER_OCTETS && this.hasSourceRoute(at + IPV4_HEADER_OCTETS, at + header)) {
      return SOURCE_ROUTE;
    }
    const from = source(view, at);
    const to = destination(view, at);
    if (!this.handlers.isGuest(from)) {
      if (from !== 0 || !this.isDhcp(at, header)) return SPOOFED;
    } else {
      this.handlers.sourceSeen(from);
    }
    if (ttl(view, at) <= 1 && !this.handlers.isOwn(to) && to !== -1) return TTL_EXPIRED;
    if (fragmentBits(view, at) === 0) {
      return this.datagram(at, header, totalLength(view, at), verify, false);
    }
    this.counters.add(FRAGMENTS_FROM_GUEST, 1);
    const whole = this.reassembly.add(at, header, totalLength(view, at), nowMs);
    if (whole <= 0) return -whole;
    this.counters.add(REASSEMBLED, 1);
    return this.datagram(whole, headerLength(view, whole), this.reassembly.completedLength, true, true);
  }

  private datagram(at: number, header: number, total: number, verify: boolean, fragmented: boolean): number {
    const view = this.view;
    const from = source(view, at);
    const to = destination(view, at);
    const octets = total - header;
    switch (protocol(view, at)) {
      case PROTOCOL_TCP:
        return this.handlers.tcp(from, to, at + header, octets, verify);
      case PROTOCOL_UDP:
        return this.handlers.udp(from, to, at + header, octets, verify, fragmented);
      case PROTOCOL_ICMP:
        return ICMP;
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
