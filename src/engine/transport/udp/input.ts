/**
 * A datagram of the guest, checked, and who takes it: a service of the gateway at this address and port, or else the
 * mappings to the world.
 */
import type { ChecksumKernel } from "../../boundary.ts";
import type { Packet } from "../../memory/packet.ts";
import { dropReason, HANDLED } from "../../metrics/drop-reasons.ts";
import { DHCP6_SERVER_PORT } from "../../wire/dhcpv6.ts";
import { PROTOCOL_UDP, pseudoHeaderSum, pseudoSum } from "../../wire/ipv4.ts";
import { addressSum6, isLinkLocal, SOURCE } from "../../wire/ipv6.ts";
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
const DHCP6_NOT_OURS = dropReason("dhcp6-not-ours");

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

/** The same at an IPv6 address, four words. */
export interface UdpServiceEntry6 {
  readonly address: readonly number[];
  readonly port: number;
  readonly service: UdpService;
}

/** Who may answer a query that was dropped for `reason`. Returns HANDLED or a drop reason, which may be another. */
export interface DroppedQueries {
  dropped(packet: Packet, reason: number): number;
}

export class UdpInput {
  constructor(
    private readonly view: DataView,
    private readonly checksum: ChecksumKernel,
    private readonly udp: Udp,
    /** A handful: looked at one after the other. */
    private readonly services: readonly UdpServiceEntry[],
    private readonly services6: readonly UdpServiceEntry6[],
    /** Told of datagrams to port 53 elsewhere that did not go out. */
    private readonly dns: DroppedQueries,
  ) {}

  /** A datagram over IPv4. Returns HANDLED or a drop reason. */
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
    if (!this.read(packet, octets)) return PORT_ZERO;
    const port = packet.remotePort;
    const { services } = this;
    for (let i = 0; i < services.length; i++) {
      if (services[i].port === port && services[i].address === packet.remoteAddress) {
        return services[i].service.datagram(packet);
      }
    }
    // A client without an address has nothing to say to the world.
    if (packet.guestAddress === 0) return DHCP_NOT_OURS;
    return this.sent(packet, this.udp.datagram(packet));
  }

  /** The same over IPv6, where a datagram has a checksum (RFC 8200 section 8.1). */
  packet6(packet: Packet): number {
    const { view, services6 } = this;
    const { pair, transportAt: at } = packet;
    const checked = checkUdp(view, at, packet.transportOctets);
    if (checked !== HANDLED) return checked;
    const octets = length(view, at);
    if (checksum(view, at) === 0) return BAD_CHECKSUM;
    if (packet.verify) {
      const pseudo = pseudoSum(addressSum6(pair, 0), PROTOCOL_UDP, octets);
      if (this.checksum.sum(at, octets, pseudo) !== 0xffff) return BAD_CHECKSUM;
    }
    if (!this.read(packet, octets)) return PORT_ZERO;
    const port = packet.remotePort;
    for (let i = 0; i < services6.length; i++) {
      if (services6[i].port === port && isAt(services6[i].address, pair)) {
        return services6[i].service.datagram(packet);
      }
    }
    // Link-local addresses come this far for DHCPv6 alone, and have nothing to say to the world.
    if (port === DHCP6_SERVER_PORT && isLinkLocal(view, packet.networkAt + SOURCE)) return DHCP6_NOT_OURS;
    return this.sent(packet, this.udp.datagram6(packet));
  }

  /** Notes ports and payload. False when a port is 0. */
  private read(packet: Packet, octets: number): boolean {
    const at = packet.transportAt;
    packet.guestPort = sourcePort(this.view, at);
    packet.remotePort = destinationPort(this.view, at);
    packet.payloadAt = at + UDP_HEADER_OCTETS;
    packet.payloadOctets = octets - UDP_HEADER_OCTETS;
    return packet.guestPort !== 0 && packet.remotePort !== 0;
  }

  /** The datagram went the way of those to the world, with this result. */
  private sent(packet: Packet, result: number): number {
    // The reassembly buffer is used again for the next datagram.
    if (packet.reassembled) this.udp.endOfBatch();
    return result !== HANDLED && packet.remotePort === DNS_PORT ? this.dns.dropped(packet, result) : result;
  }
}

/** Whether the remote of the pair is this address. */
function isAt(address: readonly number[], pair: Int32Array): boolean {
  return address[3] === pair[7] && address[2] === pair[6] && address[1] === pair[5] && address[0] === pair[4];
}
