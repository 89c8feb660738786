/**
 * A datagram of the guest, checked, and who takes it: a service of the gateway at this address and port, or else the
 * mappings to the world.
 */
import type { ChecksumKernel } from "../../boundary.ts";
import type { Packet } from "../../memory/packet.ts";
import { dropReason, HANDLED } from "../../metrics/drop-reasons.ts";
import { PROTOCOL_UDP, pseudoHeaderSum } from "../../wire/ipv4.ts";
import {
  checksum,
  checkUdp,
  DNS_PORT,
  destinationPort,
  length,
  sourcePort,
  UDP_HEADER_OCTETS,
} from "../../wire/udp.ts";
import type { Udp } from "./udp.ts";

const BAD_CHECKSUM = dropReason("udp-bad-checksum");
const PORT_ZERO = dropReason("udp-port-zero");
const DHCP_NOT_OURS = dropReason("dhcp-not-ours");

/** What the gateway itself answers over UDP. Returns HANDLED or a drop reason. */
export interface UdpService {
  datagram(packet: Packet): number;
}

/** A place on the guest's network where a service answers. */
export interface UdpServiceEntry {
  readonly address: number;
  readonly port: number;
  readonly service: UdpService;
}

/** Who may answer a query that was dropped for `reason`. */
export interface DroppedQueries {
  dropped(packet: Packet, reason: number): void;
}

export class UdpInput {
  constructor(
    private readonly view: DataView,
    private readonly checksum: ChecksumKernel,
    private readonly udp: Udp,
    /** A handful: looked at one after the other. */
    private readonly services: readonly UdpServiceEntry[],
    /** Told of datagrams to port 53 elsewhere that did not go out. */
    private readonly dns: DroppedQueries,
  ) {}

  /** Returns HANDLED or a drop reason. */
  packet(packet: Packet): number {
    const view = this.view;
    const at = packet.transportAt;
    const checked = checkUdp(view, at, packet.transportOctets);
    if (checked !== HANDLED) return checked;
    const octets = length(view, at);
    if (packet.verify && checksum(view, at) !== 0) {
      const pseudo = pseudoHeaderSum(packet.guestAddress, packet.remoteAddress, PROTOCOL_UDP, octets);
      if (this.checksum.sum(at, octets, pseudo) !== 0xffff) return BAD_CHECKSUM;
    }
    const port = destinationPort(view, at);
    packet.guestPort = sourcePort(view, at);
    packet.remotePort = port;
    if (port === 0 || packet.guestPort === 0) return PORT_ZERO;
    packet.payloadAt = at + UDP_HEADER_OCTETS;
    packet.payloadOctets = octets - UDP_HEADER_OCTETS;
    const { services } = this;
    for (let i = 0; i < services.length; i++) {
      if (services[i].port === port && services[i].address === packet.remoteAddress) {
        return services[i].service.datagram(packet);
      }
    }
    // A client without an address has nothing to say to the world.
    if (packet.guestAddress === 0) return DHCP_NOT_OURS;
    const result = this.udp.datagram(packet);
    // The reassembly buffer is used again for the next datagram.
    if (packet.reassembled) this.udp.endOfBatch();
    if (result !== HANDLED && port === DNS_PORT) this.dns.dropped(packet, result);
    return result;
  }
}
