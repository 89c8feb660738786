/** UDP datagrams to the guest: one frame, a super-frame where the link cuts it, or IP fragments. */

import type { ChecksumKernel } from "../../boundary.ts";
import type { Egress } from "../../link/egress.ts";
import type { Arena } from "../../memory/arena.ts";
import { TX_CHECKSUM_PARTIAL, TX_UDP_SEGMENTS } from "../../memory/transmit-queue.ts";
import { type Counters, counter } from "../../metrics/counters.ts";
import { dropReason, HANDLED } from "../../metrics/drop-reasons.ts";
import { FragmentCutter } from "../../network/fragment.ts";
import { ETHERNET_HEADER_OCTETS } from "../../wire/ethernet.ts";
import {
  addressSum,
  DONT_FRAGMENT,
  IPV4_HEADER_OCTETS,
  PROTOCOL_UDP,
  pseudoSum,
  writeIpv4,
} from "../../wire/ipv4.ts";
import { UDP_HEADER_OCTETS, UDP_PAYLOAD_MAX, writeUdp } from "../../wire/udp.ts";
import type { Ends } from "../path.ts";

const DATAGRAMS_TO_GUEST = counter("udp-datagrams-to-guest");
const OCTETS_TO_GUEST = counter("udp-octets-to-guest");
const FRAGMENTS_TO_GUEST = counter("fragments-to-guest");
const LINK_FULL = dropReason("link-full");
const NO_GUEST = dropReason("inbound-no-guest");
const TOO_LONG = dropReason("inbound-too-long");
const HEADERS = ETHERNET_HEADER_OCTETS + IPV4_HEADER_OCTETS;

export class UdpOutput {
  private readonly cutter = new FragmentCutter();
  private identification = 0;

  constructor(
    private readonly arena: Arena,
    private readonly egress: Egress,
    private readonly counters: Counters,
    private readonly checksum: ChecksumKernel,
    private readonly mtu: number,
  ) {}

  /**
   * Sends `length` octets at `at`, which must stay in place until the queue is flushed, from the remote to the guest of
   * `ends`; `segment` cuts them into datagrams of that size (0: one datagram). Returns HANDLED or a drop reason.
   */
  send(ends: Ends, at: number, length: number, segment: number): number {
    if (segment === 0 || length <= segment) return this.datagram(ends, at, length, 0);
    if (
      this.egress.udpOffload &&
      segment + IPV4_HEADER_OCTETS + UDP_HEADER_OCTETS <= this.mtu &&
      length <= UDP_PAYLOAD_MAX
    ) {
      return this.datagram(ends, at, length, segment);
    }
    for (let offset = 0; offset < length; offset += segment) {
      const one = this.datagram(ends, at + offset, Math.min(length - offset, segment), 0);
      if (one !== HANDLED) this.counters.drop(one);
    }
    return HANDLED;
  }

  private datagram(ends: Ends, at: number, length: number, segment: number): number {
    if (length > UDP_PAYLOAD_MAX) return TOO_LONG;
    const octets = UDP_HEADER_OCTETS + length;
    if (segment === 0 && IPV4_HEADER_OCTETS + octets > this.mtu) return this.fragments(ends, at, length);
    const { egress } = this;
    if (!egress.hasRoom()) return LINK_FULL;
    const { guestAddress, remoteAddress } = ends;
    const udpAt = egress.queue.nextHeaderEnd() - UDP_HEADER_OCTETS;
    const ipAt = udpAt - IPV4_HEADER_OCTETS;
    if (!egress.writeHeader(ipAt, guestAddress)) return NO_GUEST;
    const addresses = addressSum(remoteAddress, guestAddress);
    const pseudo = pseudoSum(addresses, PROTOCOL_UDP, octets);
    let flags = 0;
    let sum = pseudo;
    if (egress.tcpOffload) flags = segment > 0 ? TX_CHECKSUM_PARTIAL | TX_UDP_SEGMENTS : TX_CHECKSUM_PARTIAL;
    else sum = this.finished(ends, pseudo, at, length);
    const view = this.arena.view;
    writeUdp(view, udpAt, ends.remotePort, ends.guestPort, octets, sum);
    const id = this.nextIdentification();
    const total = IPV4_HEADER_OCTETS + octets;
    writeIpv4(view, ipAt, total, id, DONT_FRAGMENT, PROTOCOL_UDP, remoteAddress, guestAddress, addresses);
    egress.queue.push(HEADERS + UDP_HEADER_OCTETS, at, length, flags, segment, HEADERS);
    this.counters.add(DATAGRAMS_TO_GUEST, segment > 0 ? Math.ceil(length / segment) : 1);
    this.counters.add(OCTETS_TO_GUEST, length);
    return HANDLED;
  }

  /** The header leads the first fragment, so the first takes 8 octets of payload less. */
  private fragments(ends: Ends, at: number, length: number): number {
    const { egress, cutter } = this;
    const { guestAddress, remoteAddress } = ends;
    const view = this.arena.view;
    const octets = UDP_HEADER_OCTETS + length;
    const addresses = addressSum(remoteAddress, guestAddress);
    const sum = this.finished(ends, pseudoSum(addresses, PROTOCOL_UDP, octets), at, length);
    const id = this.nextIdentification();
    for (cutter.start(octets, IPV4_HEADER_OCTETS, this.mtu); cutter.next(); ) {
      if (!egress.hasRoom()) return LINK_FULL;
      const end = egress.queue.nextHeaderEnd();
      const lead = cutter.offset === 0 ? UDP_HEADER_OCTETS : 0;
      const ipAt = end - lead - IPV4_HEADER_OCTETS;
      if (!egress.writeHeader(ipAt, guestAddress)) return NO_GUEST;
      if (lead > 0) writeUdp(view, end - lead, ends.remotePort, ends.guestPort, octets, sum);
      const total = IPV4_HEADER_OCTETS + cutter.length;
      writeIpv4(view, ipAt, total, id, cutter.bits, PROTOCOL_UDP, remoteAddress, guestAddress, addresses);
      const from = at + cutter.offset - UDP_HEADER_OCTETS + lead;
      egress.queue.push(HEADERS + lead, from, cutter.length - lead, 0, 0, 0);
      this.counters.add(FRAGMENTS_TO_GUEST, 1);
    }
    this.counters.add(DATAGRAMS_TO_GUEST, 1);
    this.counters.add(OCTETS_TO_GUEST, length);
    return HANDLED;
  }

  /** The checksum field; a sum of zero is sent as all ones (RFC 768). */
  private finished(ends: Ends, pseudo: number, at: number, length: number): number {
    const header = ends.remotePort + ends.guestPort + UDP_HEADER_OCTETS + length;
    let sum = this.checksum.sum(at, length, pseudo) + header;
    sum = (sum & 0xffff) + (sum >>> 16);
    sum = (sum & 0xffff) + (sum >>> 16);
    const field = ~sum & 0xffff;
    return field === 0 ? 0xffff : field;
  }

  private nextIdentification(): number {
    this.identification = (this.identification + 1) & 0xffff;
    return this.identification;
  }
}
