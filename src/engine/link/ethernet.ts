/** Ethernet on the guest's link: whose frames are taken, and which layer each goes to. */
import type { Packet } from "../memory/packet.ts";
import { dropReason } from "../metrics/drop-reasons.ts";
import {
  destinationHigh,
  destinationLow,
  ETHERNET_HEADER_OCTETS,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  etherType,
  isGroup,
  macHigh,
  macLow,
  sourceHigh,
  sourceLow,
} from "../wire/ethernet.ts";
import type { Egress } from "./egress.ts";

const TRUNCATED = dropReason("frame-truncated");
const NOT_FOR_US = dropReason("ethernet-not-for-us");
const UNKNOWN_TYPE = dropReason("ethernet-unknown-type");
const BAD_SOURCE = dropReason("ethernet-bad-source");
const IPV4_OFF = dropReason("ipv4-off");
const IPV6_OFF = dropReason("ipv6-off");

/** A protocol that the guest's link does not carry: all of it is dropped. */
export const SILENT_IPV4: NetworkProtocol = { packet: () => IPV4_OFF };

/** A protocol of the layer above. Returns HANDLED or a drop reason. */
export interface NetworkProtocol {
  packet(packet: Packet): number;
}

export interface EthernetParts {
  readonly view: DataView;
  /** Whose MAC address is ours. */
  readonly egress: Egress;
  /** The guest's MAC address where it is declared: no other may send. */
  readonly guestMac: Uint8Array | undefined;
  readonly arp: NetworkProtocol;
  readonly ipv4: NetworkProtocol;
  /** Null where the link carries IPv4 alone. */
  readonly ipv6: NetworkProtocol | null;
}

export class Ethernet {
  private readonly view: DataView;
  private readonly ownHigh: number;
  private readonly ownLow: number;
  /** -1: any. */
  private readonly guestHigh: number;
  private readonly guestLow: number;
  private readonly arp: NetworkProtocol;
  private readonly ipv4: NetworkProtocol;
  private readonly ipv6: NetworkProtocol | null;

  constructor(parts: EthernetParts) {
    this.view = parts.view;
    this.ownHigh = parts.egress.gatewayMacHigh;
    this.ownLow = parts.egress.gatewayMacLow;
    this.guestHigh = parts.guestMac === undefined ? -1 : macHigh(parts.guestMac);
    this.guestLow = parts.guestMac === undefined ? 0 : macLow(parts.guestMac);
    this.arp = parts.arp;
    this.ipv4 = parts.ipv4;
    this.ipv6 = parts.ipv6;
  }

  /** The frame at `frameAt`, `frameOctets` long. Returns HANDLED or a drop reason. */
  frame(packet: Packet): number {
    const at = packet.frameAt;
    if (packet.frameOctets < ETHERNET_HEADER_OCTETS) return TRUNCATED;
    const view = this.view;
    const toHigh = destinationHigh(view, at);
    if (!isGroup(toHigh) && (toHigh !== this.ownHigh || destinationLow(view, at) !== this.ownLow)) {
      return NOT_FOR_US;
    }
    const fromHigh = sourceHigh(view, at);
    const fromLow = sourceLow(view, at);
    if (isGroup(fromHigh) || !this.mayBeGuest(fromHigh, fromLow)) return BAD_SOURCE;
    packet.sourceHigh = fromHigh;
    packet.sourceLow = fromLow;
    packet.networkAt = at + ETHERNET_HEADER_OCTETS;
    packet.networkOctets = packet.frameOctets - ETHERNET_HEADER_OCTETS;
    switch (etherType(view, at)) {
      case ETHERTYPE_IPV4:
        return this.ipv4.packet(packet);
      case ETHERTYPE_ARP:
        return this.arp.packet(packet);
      case ETHERTYPE_IPV6:
        return this.ipv6 === null ? IPV6_OFF : this.ipv6.packet(packet);
      default:
        return UNKNOWN_TYPE;
    }
  }

  private mayBeGuest(high: number, low: number): boolean {
    return this.guestHigh < 0 || (high === this.guestHigh && low === this.guestLow);
  }
}
