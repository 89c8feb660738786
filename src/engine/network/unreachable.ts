/**
 * Tells the guest by ICMP that it may not reach a destination (RFC 792, RFC 4443 section 3.1), where that is wanted in place of
 * TCP's reset and UDP's silence. As routers are told to (RFC 1812 sections 4.3.2 and 5.2.7.1, RFC 4443 section 2.4): never
 * about what is for more than one station, with as much of the packet as fits, and so many a second at most.
 */
import type { ChecksumKernel } from "../boundary.ts";
import type { EngineConfig } from "../config.ts";
import type { Egress } from "../link/egress.ts";
import type { Arena } from "../memory/arena.ts";
import type { Packet } from "../memory/packet.ts";
import type { Scratch } from "../memory/scratch.ts";
import { type Counters, counter } from "../metrics/counters.ts";
import { DROP_REASONS, type DropReasonName } from "../metrics/drop-reasons.ts";
import {
  destinationHigh,
  ETHERNET_HEADER_OCTETS,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  isGroup,
  writeEthernet,
} from "../wire/ethernet.ts";
import {
  finishIcmp,
  NET_UNREACHABLE,
  NO_ROUTE_6,
  PROHIBITED,
  PROHIBITED_6,
  UNREACHABLE,
  UNREACHABLE_6,
  UNREACHABLE_HEADER_OCTETS,
  writeUnreachable,
} from "../wire/icmp.ts";
import { finishIcmpv6 } from "../wire/icmpv6.ts";
import {
  addressSum,
  DONT_FRAGMENT,
  IPV4_HEADER_OCTETS,
  PROTOCOL_ICMP,
  setTypeOfService,
  writeIpv4,
} from "../wire/ipv4.ts";
import {
  DESTINATION,
  HOP_LIMIT_DEFAULT,
  IPV6_HEADER_OCTETS,
  NEXT_ICMPV6,
  SOURCE,
  writeAddress,
  writeIpv6,
} from "../wire/ipv6.ts";
import { DNS_PORT } from "../wire/udp.ts";
import { isUnicast6 } from "./addresses.ts";
import type { Destinations } from "./destinations.ts";
import type { Transport } from "./ipv4.ts";

const SENT = counter("icmp-unreachable");
const LIMITED = counter("icmp-unreachable-limited");

/** Where the guest may not go; what it may not do at the moment is no matter of destinations. */
const REFUSALS: readonly DropReasonName[] = [
  "destination-refused",
  "destination-restricted",
  "destination-no-service",
  "control-refused",
  "policy-no-rule",
  "policy-denied",
  "policy-address-unnamed",
  "policy-question-refused",
];

/** Whole messages, IP header included: RFC 1812 section 4.3.2.3, RFC 4443 section 2.4. */
const OCTETS_MAX = 576;
const OCTETS_MAX_6 = 1280;
/** Internetwork control (RFC 1812 section 4.3.2.5). */
const PRECEDENCE = 0xc0;
/** RFC 1812 section 4.3.2.8, RFC 4443 section 2.4(f): Linux' own bound, one each millisecond and so many at once. */
const AT_ONCE = 50;
/** The remote's words of a packet's pair. */
const REMOTE = 4;

export interface UnreachableParts {
  readonly arena: Arena;
  readonly checksum: ChecksumKernel;
  readonly counters: Counters;
  readonly egress: Egress;
  readonly scratch: Scratch;
  readonly config: EngineConfig;
  readonly destinations: Destinations;
}

export class Unreachable {
  /** Which addresses of IPv6 are ours; set by the engine where the guest has IPv6. */
  own6: { isOwn(words: Int32Array, index: number): boolean } | null = null;
  private readonly isRefusal = Uint8Array.from(DROP_REASONS, (name) => (REFUSALS.includes(name) ? 1 : 0));
  private readonly code: number;
  private readonly code6: number;
  private readonly gateway6: Int32Array;
  private left = AT_ONCE;
  private leftAtMs = 0;

  constructor(private readonly parts: UnreachableParts) {
    const { refuseWith, ipv6 } = parts.config;
    this.code = refuseWith === "prohibited" ? PROHIBITED : NET_UNREACHABLE;
    this.code6 = refuseWith === "prohibited" ? PROHIBITED_6 : NO_ROUTE_6;
    this.gateway6 = Int32Array.from(ipv6?.gateway ?? [0, 0, 0, 0]);
  }

  /** UDP's `transport`, and the guest is told of what it refuses: but for questions, which DNS refuses in its own words. */
  telling(transport: Transport): Transport {
    return {
      packet: (packet) => {
        const reason = transport.packet(packet);
        if (this.isRefusal[reason] !== 0 && packet.remotePort !== DNS_PORT) this.tell(packet, reason);
        return reason;
      },
    };
  }

  /** Tells the guest that `packet` was dropped for `reason`. False when it is not told, by the rules or for want of room. */
  tell(packet: Packet, reason: number): boolean {
    if (this.isRefusal[reason] === 0 || !this.isForOneStation(packet)) return false;
    if (!this.mayTell(packet.nowMs)) {
      this.parts.counters.add(LIMITED, 1);
      return false;
    }
    const isSent = packet.ipOctets === IPV4_HEADER_OCTETS ? this.write(packet) : this.write6(packet);
    if (!isSent) return false;
    this.parts.counters.add(SENT, 1);
    return true;
  }

  /** Whether it is one station's packet to one other, on the link too (RFC 1812 section 4.3.2.7, RFC 4443 section 2.4(e)). */
  private isForOneStation(packet: Packet): boolean {
    const { arena, destinations } = this.parts;
    if (isGroup(destinationHigh(arena.view, packet.frameAt))) return false;
    if (packet.ipOctets !== IPV4_HEADER_OCTETS) return isUnicast6(packet.pair, REMOTE);
    return packet.guestAddress !== 0 && destinations.isStation(packet.remoteAddress);
  }

  /** One more a millisecond, so many at once. */
  private mayTell(nowMs: number): boolean {
    const passed = (nowMs - this.leftAtMs) | 0;
    this.left = passed < 0 ? AT_ONCE : Math.min(this.left + passed, AT_ONCE);
    this.leftAtMs = nowMs;
    if (this.left === 0) return false;
    this.left--;
    return true;
  }

  private write(packet: Packet): boolean {
    const { arena, checksum, config } = this.parts;
    const { view } = arena;
    const ipAt = this.frame(packet, IPV4_HEADER_OCTETS, OCTETS_MAX, ETHERTYPE_IPV4);
    if (ipAt === 0) return false;
    const octets = messageOctets(packet, IPV4_HEADER_OCTETS, OCTETS_MAX);
    const { gateway: from } = config;
    const { guestAddress: to } = packet;
    const total = IPV4_HEADER_OCTETS + octets;
    writeIpv4(view, ipAt, total, 0, DONT_FRAGMENT, PROTOCOL_ICMP, from, to, addressSum(from, to));
    setTypeOfService(view, ipAt, PRECEDENCE);
    const at = ipAt + IPV4_HEADER_OCTETS;
    writeUnreachable(view, at, UNREACHABLE, this.code);
    finishIcmp(checksum, view, at, octets);
    return this.send(ipAt, total);
  }

  private write6(packet: Packet): boolean {
    const { arena, checksum } = this.parts;
    const { view } = arena;
    const ipAt = this.frame(packet, IPV6_HEADER_OCTETS, OCTETS_MAX_6, ETHERTYPE_IPV6);
    if (ipAt === 0) return false;
    const octets = messageOctets(packet, IPV6_HEADER_OCTETS, OCTETS_MAX_6);
    writeIpv6(view, ipAt, octets, NEXT_ICMPV6, HOP_LIMIT_DEFAULT, 0);
    // RFC 4443 section 2.2: who was addressed answers, where that is one of us.
    if (this.own6?.isOwn(packet.pair, REMOTE)) writeAddress(view, ipAt + SOURCE, packet.pair, REMOTE);
    else writeAddress(view, ipAt + SOURCE, this.gateway6, 0);
    writeAddress(view, ipAt + DESTINATION, packet.pair, 0);
    const at = ipAt + IPV6_HEADER_OCTETS;
    writeUnreachable(view, at, UNREACHABLE_6, this.code6);
    finishIcmpv6(checksum, view, ipAt, at, octets);
    return this.send(ipAt, IPV6_HEADER_OCTETS + octets);
  }

  /** Room for a frame back to the station that sent `packet`, with the packet's octets in it; returns where its IP header goes, or 0. */
  private frame(packet: Packet, ipOctets: number, most: number, etherType: number): number {
    const { arena, egress, scratch } = this.parts;
    const octets = messageOctets(packet, ipOctets, most);
    const at = scratch.keep(ETHERNET_HEADER_OCTETS + ipOctets + octets);
    if (at === 0) return 0;
    const { sourceHigh, sourceLow, networkAt } = packet;
    const { gatewayMacHigh, gatewayMacLow } = egress;
    writeEthernet(arena.view, at, sourceHigh, sourceLow, gatewayMacHigh, gatewayMacLow, etherType);
    const ipAt = at + ETHERNET_HEADER_OCTETS;
    const quoted = octets - UNREACHABLE_HEADER_OCTETS;
    arena.octets.copyWithin(ipAt + ipOctets + UNREACHABLE_HEADER_OCTETS, networkAt, networkAt + quoted);
    return ipAt;
  }

  private send(ipAt: number, octets: number): boolean {
    return this.parts.egress.sendKept(ipAt - ETHERNET_HEADER_OCTETS, ETHERNET_HEADER_OCTETS + octets);
  }
}

/** Octets of the message about `packet`: its header, and as much of the packet as fits. */
function messageOctets(packet: Packet, ipOctets: number, most: number): number {
  const whole = packet.transportAt + packet.transportOctets - packet.networkAt;
  return Math.min(UNREACHABLE_HEADER_OCTETS + whole, most - ipOctets);
}
