/**
 * Answers echo requests to our own addresses, for programs that take a ping to the gateway for a sign of life. Nothing
 * is forwarded and no other ICMP is spoken; a request that does not fit into one packet is not answered.
 */
import type { ChecksumKernel } from "../boundary.ts";
import type { Egress } from "../link/egress.ts";
import type { Packet } from "../memory/packet.ts";
import type { Scratch } from "../memory/scratch.ts";
import { type Counters, counter } from "../metrics/counters.ts";
import { dropReason, HANDLED } from "../metrics/drop-reasons.ts";
import { ETHERNET_HEADER_OCTETS, ETHERTYPE_IPV4, ETHERTYPE_IPV6, writeEthernet } from "../wire/ethernet.ts";
import {
  ECHO_HEADER_OCTETS,
  ECHO_REPLY,
  ECHO_REPLY_6,
  ECHO_REQUEST,
  ECHO_REQUEST_6,
  makeReply,
  typeAndCode,
} from "../wire/icmp.ts";
import { icmpv6Sum } from "../wire/icmpv6.ts";
import { addressSum, IPV4_HEADER_OCTETS, identification, PROTOCOL_ICMP, writeIpv4 } from "../wire/ipv4.ts";
import {
  DESTINATION,
  IPV6_HEADER_OCTETS,
  NEXT_ICMPV6,
  SOURCE,
  writeAddress,
  writeIpv6,
} from "../wire/ipv6.ts";

const ECHO_REPLIES = counter("echo-replies");
const ICMP = dropReason("icmp");
const ICMPV6 = dropReason("icmpv6");
const BAD_CHECKSUM = dropReason("icmp-bad-checksum");
const LINK_FULL = dropReason("link-full");
const HOP_LIMIT = 64;
/** The remote's words of a packet's pair. */
const REMOTE = 4;

export interface EchoParts {
  /** The arena's. */
  readonly octets: Uint8Array;
  readonly view: DataView;
  readonly checksum: ChecksumKernel;
  readonly counters: Counters;
  readonly egress: Egress;
  readonly scratch: Scratch;
  readonly mtu: number;
}

export class Echo {
  constructor(private readonly parts: EchoParts) {}

  /** An ICMP message in `packet`, to an address for which `own` says whether it is ours. Returns HANDLED or a drop reason. */
  packet(packet: Packet, own: { isOwn(address: number): boolean }): number {
    const { view, checksum } = this.parts;
    const { transportAt: at, transportOctets: octets } = packet;
    if (octets < ECHO_HEADER_OCTETS || typeAndCode(view, at) !== ECHO_REQUEST << 8) return ICMP;
    if (!own.isOwn(packet.remoteAddress) || IPV4_HEADER_OCTETS + octets > this.parts.mtu) return ICMP;
    if (checksum.sum(at, octets, 0) !== 0xffff) return BAD_CHECKSUM;
    const ipAt = this.frame(packet, IPV4_HEADER_OCTETS, ETHERTYPE_IPV4);
    if (ipAt === 0) return LINK_FULL;
    const id = identification(view, packet.networkAt);
    const { remoteAddress: from, guestAddress: to } = packet;
    writeIpv4(view, ipAt, IPV4_HEADER_OCTETS + octets, id, 0, PROTOCOL_ICMP, from, to, addressSum(from, to));
    return this.send(ipAt, IPV4_HEADER_OCTETS, octets, ECHO_REPLY);
  }

  /** Whether an ICMPv6 message is an echo request. */
  isRequest6({ transportAt, transportOctets }: Packet): boolean {
    return (
      transportOctets >= ECHO_HEADER_OCTETS &&
      typeAndCode(this.parts.view, transportAt) === ECHO_REQUEST_6 << 8
    );
  }

  /** An echo request of IPv6 to an address that is ours. Returns HANDLED or a drop reason. */
  packet6(packet: Packet): number {
    const { view, checksum } = this.parts;
    const { transportAt: at, transportOctets: octets, networkAt } = packet;
    if (IPV6_HEADER_OCTETS + octets > this.parts.mtu) return ICMPV6;
    if (icmpv6Sum(checksum, view, networkAt, at, octets) !== 0xffff) return BAD_CHECKSUM;
    const ipAt = this.frame(packet, IPV6_HEADER_OCTETS, ETHERTYPE_IPV6);
    if (ipAt === 0) return LINK_FULL;
    writeIpv6(view, ipAt, octets, NEXT_ICMPV6, HOP_LIMIT, 0);
    writeAddress(view, ipAt + SOURCE, packet.pair, REMOTE);
    writeAddress(view, ipAt + DESTINATION, packet.pair, 0);
    return this.send(ipAt, IPV6_HEADER_OCTETS, octets, ECHO_REPLY_6);
  }

  /** Room for a frame back to the station that sent `packet`, with the message copied; returns where its IP header goes, or 0. */
  private frame(packet: Packet, ipOctets: number, etherType: number): number {
    const { octets, view, egress, scratch } = this.parts;
    const at = scratch.keep(ETHERNET_HEADER_OCTETS + ipOctets + packet.transportOctets);
    if (at === 0) return 0;
    const { sourceHigh, sourceLow } = packet;
    writeEthernet(view, at, sourceHigh, sourceLow, egress.gatewayMacHigh, egress.gatewayMacLow, etherType);
    const messageAt = at + ETHERNET_HEADER_OCTETS + ipOctets;
    octets.copyWithin(messageAt, packet.transportAt, packet.transportAt + packet.transportOctets);
    return at + ETHERNET_HEADER_OCTETS;
  }

  private send(ipAt: number, ipOctets: number, octets: number, replyType: number): number {
    const { view, egress, counters } = this.parts;
    makeReply(view, ipAt + ipOctets, replyType);
    const length = ETHERNET_HEADER_OCTETS + ipOctets + octets;
    if (!egress.sendKept(ipAt - ETHERNET_HEADER_OCTETS, length)) return LINK_FULL;
    counters.add(ECHO_REPLIES, 1);
    return HANDLED;
  }
}
