/**
 * What the gateway itself answers: DHCP on its own or the broadcast address, and the replies of the DNS forwarder.
 * Not the packet path: plain objects are welcome here. Replies are built in the arena's scratch region, which is
 * used front to back and starts over whenever the transmit queue is empty.
 */

import type { ChecksumKernel } from "../boundary.ts";
import type { EngineConfig } from "../config.ts";
import { SCRATCH_OCTETS } from "../limits.ts";
import type { Egress } from "../link/egress.ts";
import type { Neighbours } from "../link/neighbours.ts";
import type { Arena } from "../memory/arena.ts";
import { type Counters, counter } from "../metrics/counters.ts";
import { DROP_REASONS, dropReason, HANDLED } from "../metrics/drop-reasons.ts";
import { ETHERNET_HEADER_OCTETS, ETHERTYPE_IPV4, writeEthernet } from "../wire/ethernet.ts";
import { IPV4_HEADER_OCTETS, PROTOCOL_UDP, pseudoHeaderSum, writeIpv4 } from "../wire/ipv4.ts";
import { UDP_HEADER_OCTETS, writeUdp } from "../wire/udp.ts";
import { type DhcpReply, DhcpServer } from "./dhcp.ts";

const DHCP_REPLIES = counter("dhcp-replies");
const LINK_FULL = dropReason("link-full");
const SERVER_PORT = 67;
const CLIENT_PORT = 68;
/** Leases run for days; the host's timers do not. */
const LEASE_CHECK_MS = 3_600_000;

export class Gateway {
  readonly dhcp: DhcpServer | null;
  private scratchUsed = 0;
  /** Uptime at which the first lease runs out. */
  private leaseEndsMs = Number.POSITIVE_INFINITY;

  constructor(
    private readonly config: EngineConfig,
    private readonly arena: Arena,
    private readonly egress: Egress,
    private readonly counters: Counters,
    private readonly checksum: ChecksumKernel,
    neighbours: Neighbours,
  ) {
    this.dhcp = config.dhcp === null ? null : new DhcpServer(config.dhcp);
    if (this.dhcp === null) return;
    this.dhcp.onLease = (lease) => {
      const mac = new DataView(lease.mac.buffer, lease.mac.byteOffset, 6);
      neighbours.lease(lease.address, mac.getUint16(0), mac.getInt32(2));
    };
    this.dhcp.onRelease = (lease) => neighbours.release(lease.address);
  }

  isLeased(address: number): boolean {
    return this.dhcp?.isLeased(address) ?? false;
  }

  /** Ends leases that have run out. `uptimeMs` does not wrap. */
  poll(uptimeMs: number): void {
    if (this.dhcp !== null && uptimeMs >= this.leaseEndsMs) {
      this.dhcp.poll(Math.floor(uptimeMs / 1000));
      this.noteLeaseEnd();
    }
  }

  private noteLeaseEnd(): void {
    this.leaseEndsMs = (this.dhcp?.nextDeadlineSeconds() ?? Number.POSITIVE_INFINITY) * 1000;
  }

  /** Milliseconds until a lease runs out, at most an hour; -1 when none will. */
  nextDeadlineMs(uptimeMs: number): number {
    if (this.leaseEndsMs === Number.POSITIVE_INFINITY) return -1;
    return Math.max(0, Math.min(this.leaseEndsMs - uptimeMs, LEASE_CHECK_MS));
  }

  /** A DHCP message of `octets` at `at`. Returns HANDLED or a drop reason. */
  message(at: number, octets: number, nowSeconds: number): number {
    if (this.dhcp === null) return DROP_REASONS.indexOf("dhcp-not-ours");
    const outcome = this.dhcp.handle(this.arena.octets.slice(at, at + octets), nowSeconds);
    this.noteLeaseEnd();
    if ("drop" in outcome) return DROP_REASONS.indexOf(outcome.drop);
    return this.send(outcome);
  }

  private send(reply: DhcpReply): number {
    const at = this.keep(reply.reply.length);
    if (at === 0 || !this.egress.hasRoom()) return LINK_FULL;
    const octets = UDP_HEADER_OCTETS + reply.reply.length;
    this.arena.octets.set(reply.reply, at);
    const view = this.arena.view;
    const server = this.config.dhcp?.serverAddress ?? this.config.gateway;
    const broadcast = reply.destination === "broadcast";
    const to = broadcast ? -1 : reply.address;
    const mac = new DataView(reply.mac.buffer, reply.mac.byteOffset, 6);
    const end = this.egress.queue.nextHeaderEnd();
    const udpAt = end - UDP_HEADER_OCTETS;
    const ipAt = udpAt - IPV4_HEADER_OCTETS;
    writeEthernet(
      view,
      ipAt - ETHERNET_HEADER_OCTETS,
      broadcast ? 0xffff : mac.getUint16(0),
      broadcast ? -1 : mac.getInt32(2),
      this.egress.gatewayMacHigh,
      this.egress.gatewayMacLow,
      ETHERTYPE_IPV4,
    );
    writeIpv4(view, ipAt, IPV4_HEADER_OCTETS + octets, 0, 0, PROTOCOL_UDP, server, to);
    const pseudo = pseudoHeaderSum(server, to, PROTOCOL_UDP, octets) + SERVER_PORT + CLIENT_PORT + octets;
    const sum = ~this.checksum.sum(at, reply.reply.length, pseudo) & 0xffff;
    writeUdp(view, udpAt, SERVER_PORT, CLIENT_PORT, octets, sum === 0 ? 0xffff : sum);
    this.egress.queue.push(end - ipAt + ETHERNET_HEADER_OCTETS, at, reply.reply.length, 0, 0, 0);
    this.counters.add(DHCP_REPLIES, 1);
    return HANDLED;
  }

  /** Room for `octets` of a reply until the queue has drained, or 0 when there is none left. */
  keep(octets: number): number {
    if (this.egress.queue.length === 0) this.scratchUsed = 0;
    if (this.scratchUsed + octets > SCRATCH_OCTETS) return 0;
    const at = this.arena.scratchAt + this.scratchUsed;
    this.scratchUsed += (octets + 3) & ~3;
    return at;
  }
}
