/** UDP datagrams to the guest: one frame, a super-frame where the link cuts it, or IP fragments. */

import type { ChecksumKernel } from "../../boundary.ts";
import { IP_PACKET_MAX } from "../../limits.ts";
import type { Egress } from "../../link/egress.ts";
import type { Arena } from "../../memory/arena.ts";
import { TX_CHECKSUM_PARTIAL, TX_IPV6, TX_UDP_SEGMENTS } from "../../memory/transmit-queue.ts";
import { type Counters, counter } from "../../metrics/counters.ts";
import { dropReason, HANDLED } from "../../metrics/drop-reasons.ts";
import { FragmentCutter } from "../../network/fragment.ts";
import { ETHERNET_HEADER_OCTETS } from "../../wire/ethernet.ts";
import { DONT_FRAGMENT, IPV4_HEADER_OCTETS, PROTOCOL_UDP, pseudoSum, writeIpv4 } from "../../wire/ipv4.ts";
import {
  FRAGMENT_HEADER_OCTETS,
  IPV6_HEADER_OCTETS,
  NEXT_FRAGMENT,
  writeFragmentHeader,
} from "../../wire/ipv6.ts";
import { UDP_HEADER_OCTETS, UDP_PAYLOAD_MAX, UDP_PAYLOAD_MAX_6, writeUdp } from "../../wire/udp.ts";
import { hashEnds } from "../flow-table.ts";
import { sumOfAddresses, writeHeader6, writeLinkHeader } from "../ip-header.ts";
import type { Path } from "../path.ts";

const DATAGRAMS_TO_GUEST = counter("udp-datagrams-to-guest");
const OCTETS_TO_GUEST = counter("udp-octets-to-guest");
const FRAGMENTS_TO_GUEST = counter("fragments-to-guest");
const LINK_FULL = dropReason("link-full");
const NO_GUEST = dropReason("inbound-no-guest");
const TOO_LONG = dropReason("inbound-too-long");
/** Sets the start of fragment identifications apart from whatever else is hashed of a flow: no protocol. */
const IDENTIFICATION = 0x200;

export interface UdpOutputParts {
  readonly arena: Arena;
  readonly egress: Egress;
  readonly counters: Counters;
  readonly checksum: ChecksumKernel;
  readonly mtu: number;
  readonly secret0: number;
  readonly secret1: number;
}

export class UdpOutput {
  private readonly cutter = new FragmentCutter();
  private readonly arena: Arena;
  private readonly egress: Egress;
  private readonly counters: Counters;
  private readonly checksum: ChecksumKernel;
  private readonly mtu: number;
  private identification = 0;
  private identification6 = 0;

  constructor(private readonly parts: UdpOutputParts) {
    this.arena = parts.arena;
    this.egress = parts.egress;
    this.counters = parts.counters;
    this.checksum = parts.checksum;
    this.mtu = parts.mtu;
  }

  /**
   * Sends `length` octets at `at`, which must stay in place until the queue is flushed, from the remote to the guest of
   * `ends`; `segment` cuts them into datagrams of that size (0: one datagram). Returns HANDLED or a drop reason.
   */
  send(ends: Path, at: number, length: number, segment: number): number {
    if (segment === 0 || length <= segment) return this.datagram(ends, at, length, 0);
    if (
      this.egress.udpOffload &&
      segment + ends.ipOctets + UDP_HEADER_OCTETS <= this.mtu &&
      length <= IP_PACKET_MAX - ends.ipOctets - UDP_HEADER_OCTETS
    ) {
      return this.datagram(ends, at, length, segment);
    }
    for (let offset = 0; offset < length; offset += segment) {
      const one = this.datagram(ends, at + offset, Math.min(length - offset, segment), 0);
      if (one !== HANDLED) this.counters.drop(one);
    }
    return HANDLED;
  }

  private datagram(ends: Path, at: number, length: number, segment: number): number {
    const { ipOctets } = ends;
    const isIpv4 = ipOctets === IPV4_HEADER_OCTETS;
    if (length > (isIpv4 ? UDP_PAYLOAD_MAX : UDP_PAYLOAD_MAX_6)) return TOO_LONG;
    const octets = UDP_HEADER_OCTETS + length;
    if (segment === 0 && ipOctets + octets > this.mtu) {
      return isIpv4 ? this.fragments(ends, at, length) : this.fragments6(ends, at, length);
    }
    const { egress } = this;
    if (!egress.hasRoom()) return LINK_FULL;
    const udpAt = egress.queue.nextHeaderEnd() - UDP_HEADER_OCTETS;
    const ipAt = udpAt - ipOctets;
    if (!writeLinkHeader(egress, ipAt, ends)) return NO_GUEST;
    const addresses = sumOfAddresses(ends);
    const pseudo = pseudoSum(addresses, PROTOCOL_UDP, octets);
    let flags = 0;
    let sum = pseudo;
    if (egress.tcpOffload) {
      const family = isIpv4 ? 0 : TX_IPV6;
      flags = family | (segment > 0 ? TX_CHECKSUM_PARTIAL | TX_UDP_SEGMENTS : TX_CHECKSUM_PARTIAL);
    } else sum = this.finished(ends, pseudo, at, length);
    const view = this.arena.view;
    writeUdp(view, udpAt, ends.remotePort, ends.guestPort, octets, sum);
    if (isIpv4) {
      const { remoteAddress, guestAddress } = ends;
      const id = this.nextIdentification();
      const total = IPV4_HEADER_OCTETS + octets;
      writeIpv4(view, ipAt, total, id, DONT_FRAGMENT, PROTOCOL_UDP, remoteAddress, guestAddress, addresses);
    } else {
      writeHeader6(view, ipAt, octets, PROTOCOL_UDP, ends.flowLabel, ends);
    }
    const headers = ETHERNET_HEADER_OCTETS + ipOctets;
    egress.queue.push(headers + UDP_HEADER_OCTETS, at, length, flags, segment, headers);
    this.counters.add(DATAGRAMS_TO_GUEST, segment > 0 ? Math.ceil(length / segment) : 1);
    this.counters.add(OCTETS_TO_GUEST, length);
    return HANDLED;
  }

  /** The header leads the first fragment, so the first takes 8 octets of payload less. */
  private fragments(ends: Path, at: number, length: number): number {
    const { egress, cutter } = this;
    const { guestAddress, remoteAddress } = ends;
    const view = this.arena.view;
    const octets = UDP_HEADER_OCTETS + length;
    const addresses = sumOfAddresses(ends);
    const sum = this.finished(ends, pseudoSum(addresses, PROTOCOL_UDP, octets), at, length);
    const id = this.nextIdentification();
    for (cutter.start(octets, IPV4_HEADER_OCTETS, this.mtu); cutter.next(); ) {
      if (!egress.hasRoom()) return LINK_FULL;
      const end = egress.queue.nextHeaderEnd();
      const lead = cutter.offset === 0 ? UDP_HEADER_OCTETS : 0;
      const ipAt = end - lead - IPV4_HEADER_OCTETS;
      if (!writeLinkHeader(egress, ipAt, ends)) return NO_GUEST;
      if (lead > 0) writeUdp(view, end - lead, ends.remotePort, ends.guestPort, octets, sum);
      const total = IPV4_HEADER_OCTETS + cutter.length;
      writeIpv4(view, ipAt, total, id, cutter.bits, PROTOCOL_UDP, remoteAddress, guestAddress, addresses);
      const from = at + cutter.offset - UDP_HEADER_OCTETS + lead;
      egress.queue.push(
        ETHERNET_HEADER_OCTETS + IPV4_HEADER_OCTETS + lead,
        from,
        cutter.length - lead,
        0,
        0,
        0,
      );
      this.counters.add(FRAGMENTS_TO_GUEST, 1);
    }
    this.counters.add(DATAGRAMS_TO_GUEST, 1);
    this.counters.add(OCTETS_TO_GUEST, length);
    return HANDLED;
  }

  /** The same of IPv6: a header more in each fragment, between the fixed one and the payload. */
  private fragments6(ends: Path, at: number, length: number): number {
    const { egress, cutter } = this;
    const view = this.arena.view;
    const octets = UDP_HEADER_OCTETS + length;
    const sum = this.finished(ends, pseudoSum(sumOfAddresses(ends), PROTOCOL_UDP, octets), at, length);
    const id = this.nextIdentification6(ends);
    const headers = IPV6_HEADER_OCTETS + FRAGMENT_HEADER_OCTETS;
    for (cutter.start(octets, headers, this.mtu); cutter.next(); ) {
      if (!egress.hasRoom()) return LINK_FULL;
      const end = egress.queue.nextHeaderEnd();
      const lead = cutter.offset === 0 ? UDP_HEADER_OCTETS : 0;
      const ipAt = end - lead - headers;
      if (!writeLinkHeader(egress, ipAt, ends)) return NO_GUEST;
      if (lead > 0) writeUdp(view, end - lead, ends.remotePort, ends.guestPort, octets, sum);
      writeFragmentHeader(view, ipAt + IPV6_HEADER_OCTETS, PROTOCOL_UDP, cutter.bits6, id);
      writeHeader6(view, ipAt, FRAGMENT_HEADER_OCTETS + cutter.length, NEXT_FRAGMENT, ends.flowLabel, ends);
      const from = at + cutter.offset - UDP_HEADER_OCTETS + lead;
      egress.queue.push(ETHERNET_HEADER_OCTETS + headers + lead, from, cutter.length - lead, 0, 0, 0);
      this.counters.add(FRAGMENTS_TO_GUEST, 1);
    }
    this.counters.add(DATAGRAMS_TO_GUEST, 1);
    this.counters.add(OCTETS_TO_GUEST, length);
    return HANDLED;
  }

  /** The checksum field; a sum of zero is sent as all ones (RFC 768). */
  private finished(ends: Path, pseudo: number, at: number, length: number): number {
    const header = ends.remotePort + ends.guestPort + UDP_HEADER_OCTETS + length;
    let sum = this.checksum.sum(at, length, pseudo) + header;
    sum = (sum & 0xffff) + (sum >>> 16);
    sum = (sum & 0xffff) + (sum >>> 16);
    const field = ~sum & 0xffff;
    return field === 0 ? 0xffff : field;
  }

  /** From a start that differs by flow and is nobody's to guess, one after the other (RFC 7739 section 5.3). */
  private nextIdentification6(ends: Path): number {
    const { secret0, secret1 } = this.parts;
    this.identification6 = (this.identification6 + 1) | 0;
    return (hashEnds(secret0, secret1, IDENTIFICATION, ends) + this.identification6) | 0;
  }

  private nextIdentification(): number {
    this.identification = (this.identification + 1) & 0xffff;
    return this.identification;
  }
}
