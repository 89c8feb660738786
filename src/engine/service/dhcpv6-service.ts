/**
 * DHCPv6 on the guest's link: messages go to the server, its answers leave as frames of the router's, to the address and
 * the MAC they came from. Not the packet path: plain objects are welcome here.
 */
import type { ChecksumKernel } from "../boundary.ts";
import type { Dhcp6Config } from "../config.ts";
import type { Egress } from "../link/egress.ts";
import type { Neighbours6 } from "../link/neighbours6.ts";
import type { Arena } from "../memory/arena.ts";
import type { Packet } from "../memory/packet.ts";
import type { Scratch } from "../memory/scratch.ts";
import { type Counters, counter } from "../metrics/counters.ts";
import { DROP_REASONS, dropReason, HANDLED } from "../metrics/drop-reasons.ts";
import type { UdpService } from "../transport/udp/input.ts";
import { DHCP6_CLIENT_PORT, DHCP6_SERVER_PORT } from "../wire/dhcpv6.ts";
import { ETHERNET_HEADER_OCTETS, ETHERTYPE_IPV6, writeEthernet } from "../wire/ethernet.ts";
import { PROTOCOL_UDP, pseudoSum } from "../wire/ipv4.ts";
import {
  DESTINATION,
  HOP_LIMIT_DEFAULT,
  headerAddressSum6,
  IPV6_HEADER_OCTETS,
  SOURCE,
  writeAddress,
  writeIpv6,
} from "../wire/ipv6.ts";
import { UDP_HEADER_OCTETS, writeUdp } from "../wire/udp.ts";
import { Dhcp6Server, type Lease6 } from "./dhcpv6.ts";

const REPLIES = counter("dhcp6-replies");
const LINK_FULL = dropReason("link-full");
/** Leases run for days; the host's timers do not. */
const LEASE_CHECK_MS = 3_600_000;
/** ff02::1:2, all DHCP agents on the link (RFC 9915 section 7.1). */
const AGENTS_0 = 0xff020000 | 0;
const AGENTS_3 = 0x00010002;

/** Who keeps track of leased addresses besides the neighbour table. */
export interface Lease6Listener {
  lease(words: Int32Array, index: number, nowMs: number): void;
  release(words: Int32Array, index: number): void;
}

export interface Dhcp6ServiceParts {
  readonly config: Dhcp6Config;
  readonly arena: Arena;
  readonly egress: Egress;
  readonly scratch: Scratch;
  readonly counters: Counters;
  readonly checksum: ChecksumKernel;
  readonly neighbours: Neighbours6;
  readonly listener: Lease6Listener;
  /** The router's link-local address, which answers come from. */
  readonly routerAddress: Int32Array;
}

export class Dhcp6Service implements UdpService {
  private readonly server: Dhcp6Server;
  private readonly mac = new Uint8Array(6);
  private nowMs = 0;
  private uptimeMs = 0;
  /** Uptime at which the first lease runs out. */
  private leaseEndsMs = Number.POSITIVE_INFINITY;

  constructor(private readonly parts: Dhcp6ServiceParts) {
    const { neighbours, listener } = parts;
    this.server = new Dhcp6Server(parts.config);
    this.server.onLease = ({ address, mac }) => {
      const words = Int32Array.from(address);
      const view = new DataView(mac.buffer, mac.byteOffset, 6);
      neighbours.lease(words, 0, view.getUint16(0), view.getInt32(2));
      listener.lease(words, 0, this.nowMs);
    };
    this.server.onRelease = ({ address }) => {
      const words = Int32Array.from(address);
      neighbours.release(words, 0);
      listener.release(words, 0);
    };
  }

  leases(): Lease6[] {
    return this.server.leases();
  }

  /** Ends leases that have run out. `uptimeMs` does not wrap. */
  poll(uptimeMs: number): void {
    this.uptimeMs = uptimeMs;
    if (uptimeMs < this.leaseEndsMs) return;
    this.server.poll(Math.floor(uptimeMs / 1000));
    this.noteLeaseEnd();
  }

  /** Milliseconds until a lease runs out, at most an hour; -1 when none will. */
  nextDeadlineMs(): number {
    if (this.leaseEndsMs === Number.POSITIVE_INFINITY) return -1;
    return Math.max(0, Math.min(this.leaseEndsMs - this.uptimeMs, LEASE_CHECK_MS));
  }

  /** A datagram to port 547. Returns HANDLED or a drop reason. */
  datagram(packet: Packet): number {
    const { pair, payloadAt, payloadOctets, sourceHigh, sourceLow } = packet;
    this.nowMs = packet.nowMs;
    const view = new DataView(this.mac.buffer);
    view.setUint16(0, sourceHigh);
    view.setInt32(2, sourceLow);
    const toGroup = pair[4] === AGENTS_0 && (pair[5] | pair[6]) === 0 && pair[7] === AGENTS_3;
    const message = this.parts.arena.octets.slice(payloadAt, payloadAt + payloadOctets);
    const outcome = this.server.handle(message, this.mac, toGroup, Math.floor(this.uptimeMs / 1000));
    this.noteLeaseEnd();
    if ("drop" in outcome) return DROP_REASONS.indexOf(outcome.drop);
    return this.send(outcome.reply, packet);
  }

  private noteLeaseEnd(): void {
    this.leaseEndsMs = this.server.nextDeadlineSeconds() * 1000;
  }

  private send(reply: Uint8Array, { pair, sourceHigh, sourceLow }: Packet): number {
    const { arena, egress, scratch, checksum, counters, routerAddress } = this.parts;
    const at = scratch.keep(reply.length);
    if (at === 0 || !egress.hasRoom()) return LINK_FULL;
    arena.octets.set(reply, at);
    const { view } = arena;
    const octets = UDP_HEADER_OCTETS + reply.length;
    const udpAt = egress.queue.nextHeaderEnd() - UDP_HEADER_OCTETS;
    const ipAt = udpAt - IPV6_HEADER_OCTETS;
    writeEthernet(
      view,
      ipAt - ETHERNET_HEADER_OCTETS,
      sourceHigh,
      sourceLow,
      egress.gatewayMacHigh,
      egress.gatewayMacLow,
      ETHERTYPE_IPV6,
    );
    writeIpv6(view, ipAt, octets, PROTOCOL_UDP, HOP_LIMIT_DEFAULT, 0);
    writeAddress(view, ipAt + SOURCE, routerAddress, 0);
    writeAddress(view, ipAt + DESTINATION, pair, 0);
    const header = DHCP6_SERVER_PORT + DHCP6_CLIENT_PORT + octets;
    const pseudo = pseudoSum(headerAddressSum6(view, ipAt), PROTOCOL_UDP, octets);
    const sum = ~checksum.sum(at, reply.length, pseudo + header) & 0xffff;
    writeUdp(view, udpAt, DHCP6_SERVER_PORT, DHCP6_CLIENT_PORT, octets, sum === 0 ? 0xffff : sum);
    const headers = ETHERNET_HEADER_OCTETS + IPV6_HEADER_OCTETS + UDP_HEADER_OCTETS;
    egress.queue.push(headers, at, reply.length, 0, 0, 0);
    counters.add(REPLIES, 1);
    return HANDLED;
  }
}
