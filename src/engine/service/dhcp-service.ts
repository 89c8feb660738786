/**
 * DHCP on the guest's link: messages go to the server, its answers leave as frames of the gateway's. Not the packet path:
 * plain objects are welcome here.
 */

import type { ChecksumKernel } from "../boundary.ts";
import type { EngineConfig } from "../config.ts";
import type { Egress } from "../link/egress.ts";
import type { Neighbours } from "../link/neighbours.ts";
import type { Arena } from "../memory/arena.ts";
import type { Packet } from "../memory/packet.ts";
import type { Scratch } from "../memory/scratch.ts";
import { type Counters, counter } from "../metrics/counters.ts";
import { DROP_REASONS, dropReason, HANDLED } from "../metrics/drop-reasons.ts";
import type { Sources } from "../network/sources.ts";
import type { UdpService } from "../transport/udp/input.ts";
import {
  BROADCAST_HIGH,
  BROADCAST_LOW,
  ETHERNET_HEADER_OCTETS,
  ETHERTYPE_IPV4,
  macHigh,
  macLow,
  writeEthernet,
} from "../wire/ethernet.ts";
import { addressSum, IPV4_HEADER_OCTETS, PROTOCOL_UDP, pseudoSum, writeIpv4 } from "../wire/ipv4.ts";
import { DHCP_CLIENT_PORT, DHCP_SERVER_PORT, UDP_HEADER_OCTETS, writeUdp } from "../wire/udp.ts";
import { type DhcpReply, DhcpServer } from "./dhcp.ts";
import type { Lease } from "./dhcp-leases.ts";

const DHCP_REPLIES = counter("dhcp-replies");
const LINK_FULL = dropReason("link-full");
/** Leases run for days; the host's timers do not. */
const LEASE_CHECK_MS = 3_600_000;

export interface DhcpServiceParts {
  readonly config: EngineConfig;
  readonly arena: Arena;
  readonly egress: Egress;
  readonly scratch: Scratch;
  readonly counters: Counters;
  readonly checksum: ChecksumKernel;
  readonly neighbours: Neighbours;
  readonly sources: Sources;
}

export class DhcpService implements UdpService {
  private readonly server: DhcpServer | null;
  private uptimeMs = 0;
  /** Uptime at which the first lease runs out. */
  private leaseEndsMs = Number.POSITIVE_INFINITY;

  constructor(private readonly parts: DhcpServiceParts) {
    const { config, neighbours, sources } = parts;
    this.server = config.dhcp === null ? null : new DhcpServer(config.dhcp);
    if (this.server === null) return;
    this.server.onLease = (lease) => {
      neighbours.lease(lease.address, macHigh(lease.mac), macLow(lease.mac));
      sources.lease(lease.address);
    };
    this.server.onRelease = (lease) => {
      neighbours.release(lease.address);
      sources.release(lease.address);
    };
  }

  preferIpv6Only(isPreferred: boolean): void {
    this.server?.preferIpv6Only(isPreferred);
  }

  leases(): Lease[] {
    return this.server?.leases() ?? [];
  }

  /** Ends leases that have run out. `uptimeMs` does not wrap. */
  poll(uptimeMs: number): void {
    this.uptimeMs = uptimeMs;
    if (this.server !== null && uptimeMs >= this.leaseEndsMs) {
      this.server.poll(Math.floor(uptimeMs / 1000));
      this.noteLeaseEnd();
    }
  }

  private noteLeaseEnd(): void {
    this.leaseEndsMs = (this.server?.nextDeadlineSeconds() ?? Number.POSITIVE_INFINITY) * 1000;
  }

  /** Milliseconds until a lease runs out, at most an hour; -1 when none will. */
  nextDeadlineMs(): number {
    if (this.leaseEndsMs === Number.POSITIVE_INFINITY) return -1;
    return Math.max(0, Math.min(this.leaseEndsMs - this.uptimeMs, LEASE_CHECK_MS));
  }

  datagram(packet: Packet): number {
    return this.message(packet.payloadAt, packet.payloadOctets);
  }

  /** A DHCP message of `octets` at `at`. Returns HANDLED or a drop reason. */
  message(at: number, octets: number): number {
    if (this.server === null) return DROP_REASONS.indexOf("dhcp-not-ours");
    const message = this.parts.arena.octets.slice(at, at + octets);
    const outcome = this.server.handle(message, Math.floor(this.uptimeMs / 1000));
    this.noteLeaseEnd();
    if ("drop" in outcome) return DROP_REASONS.indexOf(outcome.drop);
    return this.send(outcome);
  }

  private send({ reply, destination, address, mac }: DhcpReply): number {
    const { config, arena, egress, scratch, checksum, counters } = this.parts;
    const at = scratch.keep(reply.length);
    if (at === 0 || !egress.hasRoom()) return LINK_FULL;
    const octets = UDP_HEADER_OCTETS + reply.length;
    arena.octets.set(reply, at);
    const view = arena.view;
    const server = config.dhcp?.serverAddress ?? config.gateway;
    const broadcast = destination === "broadcast";
    const to = broadcast ? -1 : address;
    const udpAt = egress.queue.nextHeaderEnd() - UDP_HEADER_OCTETS;
    const ipAt = udpAt - IPV4_HEADER_OCTETS;
    writeEthernet(
      view,
      ipAt - ETHERNET_HEADER_OCTETS,
      broadcast ? BROADCAST_HIGH : macHigh(mac),
      broadcast ? BROADCAST_LOW : macLow(mac),
      egress.gatewayMacHigh,
      egress.gatewayMacLow,
      ETHERTYPE_IPV4,
    );
    const addresses = addressSum(server, to);
    writeIpv4(view, ipAt, IPV4_HEADER_OCTETS + octets, 0, 0, PROTOCOL_UDP, server, to, addresses);
    const header = DHCP_SERVER_PORT + DHCP_CLIENT_PORT + octets;
    const sum = ~checksum.sum(at, reply.length, pseudoSum(addresses, PROTOCOL_UDP, octets) + header) & 0xffff;
    writeUdp(view, udpAt, DHCP_SERVER_PORT, DHCP_CLIENT_PORT, octets, sum === 0 ? 0xffff : sum);
    egress.queue.push(
      ETHERNET_HEADER_OCTETS + IPV4_HEADER_OCTETS + UDP_HEADER_OCTETS,
      at,
      reply.length,
      0,
      0,
      0,
    );
    counters.add(DHCP_REPLIES, 1);
    return HANDLED;
  }
}
