/**
 * The engine core: one guest's network. Sans-I/O: it reads frames from a FrameLink, talks to host sockets through
 * HostNetwork, and knows the time only from its caller.
 *
 * One turn, always in this order and each step bounded: timers; one batch of frames from the link (ARP answered,
 * datagrams handed up); what the batch gathered goes to host sockets, with one ACK per connection; new clients of
 * forwards; host sockets with octets for the guest; frames to the link.
 */

import {
  type CreateEngineCore,
  type EngineCore,
  type EnginePorts,
  type FlowRow,
  TOKEN_DNS,
  TOKEN_FORWARD,
  TOKEN_INDEX_MASK,
  TOKEN_LINK,
  TOKEN_TCP_FLOW,
  TOKEN_UDP_FLOW,
} from "./api.ts";
import { type FrameLink, LINK_CLOSED, READABLE, WRITABLE } from "./boundary.ts";
import type { EngineConfig, ResolverAddress } from "./config.ts";
import { DNS_QUERIES_MAX, RX_BATCH_MAX, UDP_RX_SLOTS } from "./limits.ts";
import { ARP_FRAME_OCTETS, ArpResponder } from "./link/arp.ts";
import { Egress } from "./link/egress.ts";
import { Neighbours } from "./link/neighbours.ts";
import { CHECKSUM_PARTIAL, CHECKSUM_VALID, FrameBatch } from "./memory/frame-batch.ts";
import { IdleMemory } from "./memory/idle-memory.ts";
import { makeUdpBatch } from "./memory/udp-batch.ts";
import { Counters, counter } from "./metrics/counters.ts";
import { dropReason, HANDLED } from "./metrics/drop-reasons.ts";
import { Destinations } from "./network/destinations.ts";
import { Ipv4, type Ipv4Handlers } from "./network/ipv4.ts";
import { Reassembly } from "./network/reassembly.ts";
import { DnsForwarder } from "./service/dns-forwarder.ts";
import { Gateway } from "./service/gateway.ts";
import { FlowTable } from "./transport/flow-table.ts";
import { InboundForwards } from "./transport/inbound-forwards.ts";
import { Tcp } from "./transport/tcp/tcp.ts";
import { Udp } from "./transport/udp/udp.ts";
import {
  destinationHigh,
  destinationLow,
  ETHERNET_HEADER_OCTETS,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  etherType,
  isGroup,
  sourceHigh,
  sourceLow,
} from "./wire/ethernet.ts";
import { PROTOCOL_UDP, pseudoHeaderSum } from "./wire/ipv4.ts";
import {
  checkUdp,
  destinationPort,
  sourcePort,
  UDP_HEADER_OCTETS,
  checksum as udpChecksum,
  length as udpLength,
} from "./wire/udp.ts";

export * from "./api.ts";

const FRAMES_FROM_GUEST = counter("link-frames-from-guest");
const OCTETS_FROM_GUEST = counter("link-octets-from-guest");
const ARP_REPLIES = counter("arp-replies");
const TRUNCATED = dropReason("frame-truncated");
const OVERSIZED = dropReason("frame-oversized");
const NOT_FOR_US = dropReason("ethernet-not-for-us");
const UNKNOWN_TYPE = dropReason("ethernet-unknown-type");
const BAD_SOURCE = dropReason("ethernet-bad-source");
const IPV6 = dropReason("ipv6-unsupported");
const UDP_BAD_CHECKSUM = dropReason("udp-bad-checksum");
const UDP_PORT_ZERO = dropReason("udp-port-zero");
const DHCP_NOT_OURS = dropReason("dhcp-not-ours");
const RESTRICTED = dropReason("destination-restricted");
const LINK_DOWN = dropReason("link-down");
const LINK_FULL = dropReason("link-full");

const DNS_PORT = 53;
const DHCP_SERVER_PORT = 67;
/** ARP requests for a guest that a forward waits for, and how long a window of receivers is remembered. */
const ARP_INTERVAL_MS = 1000;
const RECEIVERS_INTERVAL_MS = 64;

export const createEngineCore: CreateEngineCore = (config, ports, nowMs) => new Engine(config, ports, nowMs);

class Engine implements EngineCore, Ipv4Handlers {
  readonly counters = new Counters();
  private readonly view: DataView;
  private readonly batch = new FrameBatch(RX_BATCH_MAX);
  private readonly neighbours = new Neighbours();
  private readonly egress: Egress;
  private readonly arp: ArpResponder;
  private readonly reassembly: Reassembly;
  private readonly ipv4: Ipv4;
  private readonly destinations: Destinations;
  private readonly tcpLayer: Tcp;
  private readonly udpLayer: Udp;
  private readonly dnsForwarder: DnsForwarder;
  private readonly gateway: Gateway;
  private readonly inbound: InboundForwards;
  private readonly declaredMacHigh: number;
  private readonly declaredMacLow: number;
  private readonly dnsReady: Int32Array = new Int32Array(DNS_QUERIES_MAX);
  private dnsReadyCount = 0;
  private link: FrameLink | null = null;
  private linkReadable = false;
  private now: number;
  /** Uptime that does not wrap, for leases. */
  private uptimeMs = 0;
  private frameSourceHigh = 0;
  private frameSourceLow = 0;
  private arpAskedMs: number;
  private receiversSinceMs: number;
  private readonly idleMemory: IdleMemory;

  constructor(
    readonly config: EngineConfig,
    private readonly ports: EnginePorts,
    nowMs: number,
  ) {
    const { arena, network, checksum } = ports;
    this.now = nowMs;
    this.receiversSinceMs = nowMs;
    this.arpAskedMs = (nowMs - ARP_INTERVAL_MS) | 0;
    this.view = arena.view;
    const counters = this.counters;
    this.egress = new Egress(arena, this.neighbours, config.gatewayMac, counters);
    this.arp = this.makeArp();
    this.reassembly = new Reassembly(arena.octets, arena.view, arena.reassemblyAt, counters);
    this.ipv4 = new Ipv4(arena.view, this.reassembly, counters, this);
    this.gateway = new Gateway(config, arena, this.egress, counters, checksum, this.neighbours);
    this.destinations = new Destinations(
      config,
      () => this.dnsForwarder.firstHealthyResolver(this.now),
      ports.admit,
    );
    const flows = new FlowTable(ports.entropy);
    const { egress, destinations } = this;
    const batch = makeUdpBatch(UDP_RX_SLOTS);
    this.tcpLayer = new Tcp(
      {
        arena,
        egress,
        network,
        counters,
        checksum,
        flows,
        mtu: config.mtu,
        secret0: ports.entropy.int32(),
        secret1: ports.entropy.int32(),
      },
      nowMs,
      TOKEN_TCP_FLOW,
      destinations,
    );
    this.idleMemory = new IdleMemory(this.tcpLayer.ctx.pool, ports.discard);
    this.udpLayer = new Udp(
      { arena, egress, network, counters, checksum, flows, destinations, batch, config },
      nowMs,
      TOKEN_UDP_FLOW,
    );
    this.dnsForwarder = new DnsForwarder({
      octets: arena.octets,
      view: arena.view,
      regionAt: arena.dnsAt,
      network,
      batch,
      counters,
      token: TOKEN_DNS,
      resolvers: config.resolvers,
      reply: (guest, port, at, length) => this.dnsReply(guest, port, at, length),
    });
    this.inbound = new InboundForwards({
      forwards: config.forwards,
      guestAddress: config.guestAddress,
      network,
      egress,
      destinations,
      neighbours: this.neighbours,
      tcp: this.tcpLayer,
      udp: this.udpLayer,
      token: TOKEN_TCP_FLOW,
    });
    const mac = config.guestMac;
    this.declaredMacHigh = mac === undefined ? -1 : (mac[0] << 8) | mac[1];
    this.declaredMacLow = mac === undefined ? 0 : (mac[2] << 24) | (mac[3] << 16) | (mac[4] << 8) | mac[5];
    if (mac !== undefined) {
      this.neighbours.declare(config.guestAddress, this.declaredMacHigh, this.declaredMacLow);
    }
  }

  private makeArp(): ArpResponder {
    const { config } = this;
    const own = [config.gateway];
    if (config.dns !== 0) own.push(config.dns);
    for (const service of config.guestForwards) own.push(service.address);
    return new ArpResponder({
      view: this.view,
      neighbours: this.neighbours,
      ownAddresses: own,
      gatewayMac: config.gatewayMac,
      network: config.network,
      netmask: (-1 << (32 - config.prefixLength)) | 0,
    });
  }

  // --- outside ---------------------------------------------------------------------------------------------------

  attach(link: FrameLink | null, nowMs: number): void {
    this.now = nowMs;
    this.link = link;
    this.egress.link = link;
    this.egress.blocked = false;
    this.egress.failed = false;
    this.egress.flush();
    this.linkReadable = link !== null;
    const ctx = this.tcpLayer.ctx;
    ctx.queueFrames = link?.queueFrames ?? 0;
    ctx.tcpOffload = link?.tcpOffload ?? false;
    this.udpLayer.output.linkChanged(link);
  }

  openForward(index: number, handle: number): void {
    this.inbound.open(index, handle);
  }

  setResolvers(resolvers: readonly ResolverAddress[]): void {
    this.dnsForwarder.setResolvers(resolvers);
  }

  handleEvent(token: number, events: number, _nowMs: number): void {
    const index = token & TOKEN_INDEX_MASK;
    switch (token & ~TOKEN_INDEX_MASK) {
      case TOKEN_LINK:
        if ((events & ~WRITABLE) !== 0) this.linkReadable = true;
        if ((events & WRITABLE) !== 0) this.egress.blocked = false;
        return;
      case TOKEN_TCP_FLOW:
        this.tcpLayer.hostEvent(index, events);
        return;
      case TOKEN_UDP_FLOW:
        this.udpLayer.hostEvent(index);
        return;
      case TOKEN_DNS:
        if (this.dnsReadyCount < DNS_QUERIES_MAX) this.dnsReady[this.dnsReadyCount++] = index;
        return;
      case TOKEN_FORWARD:
        if ((events & READABLE) !== 0) this.inbound.ready(index);
    }
  }

  turn(nowMs: number): boolean {
    this.uptimeMs += (nowMs - this.now) | 0;
    this.now = nowMs;
    this.tcpLayer.advance(nowMs);
    this.udpLayer.advance(nowMs);
    this.reassembly.poll(nowMs);
    this.gateway.poll(this.uptimeMs);
    let more = this.receiveFrames();
    this.countReceivers();
    if (!this.egress.blocked) {
      if (this.inbound.work(nowMs)) more = true;
      this.serveDns();
      if (this.tcpLayer.work()) more = true;
      if (this.udpLayer.work()) more = true;
    }
    this.egress.flush();
    if (this.egress.unresolved !== 0) this.askForGuest();
    this.idleMemory.tend(nowMs);
    return more;
  }

  nextDeadlineMs(nowMs: number): number {
    let soonest = this.tcpLayer.nextDeadlineMs(nowMs);
    soonest = earlier(soonest, this.udpLayer.nextDeadlineMs(nowMs));
    // While the link is full DNS waits for its writable event, not for the clock.
    if (!this.egress.blocked) soonest = earlier(soonest, this.dnsForwarder.nextDeadlineMs(nowMs));
    soonest = earlier(soonest, this.gateway.nextDeadlineMs(this.uptimeMs));
    if (!this.egress.blocked) soonest = earlier(soonest, this.inbound.nextDeadlineMs(nowMs));
    soonest = earlier(soonest, this.idleMemory.nextDeadlineMs(nowMs));
    return earlier(soonest, this.reassembly.nextDeadlineMs(nowMs));
  }

  // --- frames in -------------------------------------------------------------------------------------------------

  /** One batch. True when the link most likely has more. */
  private receiveFrames(): boolean {
    const { link, batch, counters } = this;
    if (link === null || !this.linkReadable) return false;
    const count = link.receive(batch);
    for (let i = batch.oversized; i > 0; i--) counters.drop(OVERSIZED);
    if (count < 0) {
      this.linkReadable = false;
      if (count === LINK_CLOSED) counters.drop(LINK_DOWN);
      return false;
    }
    if (count === 0 && batch.oversized === 0) {
      this.linkReadable = false;
      return false;
    }
    let octets = 0;
    for (let i = 0; i < count; i++) {
      octets += batch.length[i];
      this.udpLayer.segmentSize = batch.segmentSize[i];
      counters.drop(this.frame(batch.at[i], batch.length[i], batch.flags[i]));
    }
    counters.add(FRAMES_FROM_GUEST, count);
    counters.add(OCTETS_FROM_GUEST, octets);
    this.tcpLayer.endOfBatch();
    this.udpLayer.endOfBatch();
    if (batch.drained) this.linkReadable = false;
    return !batch.drained;
  }

  /** Returns HANDLED or a drop reason. */
  private frame(at: number, length: number, flags: number): number {
    if (length < ETHERNET_HEADER_OCTETS) return TRUNCATED;
    const view = this.view;
    const toHigh = destinationHigh(view, at);
    if (!isGroup(toHigh)) {
      if (toHigh !== this.egress.gatewayMacHigh || destinationLow(view, at) !== this.egress.gatewayMacLow) {
        return NOT_FOR_US;
      }
    }
    const fromHigh = sourceHigh(view, at);
    const fromLow = sourceLow(view, at);
    if (isGroup(fromHigh) || !this.isDeclaredMac(fromHigh, fromLow)) return BAD_SOURCE;
    this.frameSourceHigh = fromHigh;
    this.frameSourceLow = fromLow;
    const payloadAt = at + ETHERNET_HEADER_OCTETS;
    const octets = length - ETHERNET_HEADER_OCTETS;
    switch (etherType(view, at)) {
      case ETHERTYPE_IPV4:
        return this.ipv4.packet(
          payloadAt,
          octets,
          (flags & (CHECKSUM_PARTIAL | CHECKSUM_VALID)) === 0,
          this.now,
        );
      case ETHERTYPE_ARP:
        return this.handleArp(payloadAt, octets);
      case ETHERTYPE_IPV6:
        return IPV6;
      default:
        return UNKNOWN_TYPE;
    }
  }

  private isDeclaredMac(high: number, low: number): boolean {
    return this.declaredMacHigh < 0 || (high === this.declaredMacHigh && low === this.declaredMacLow);
  }

  private handleArp(at: number, octets: number): number {
    const known = this.neighbours.size;
    const scratch = this.gateway.keep(ARP_FRAME_OCTETS);
    if (scratch === 0) return LINK_FULL;
    const length = this.arp.handle(at, octets, scratch);
    if (this.neighbours.size !== known) this.tcpLayer.guestAppeared(this.config.guestAddress);
    if (length <= 0) return -length;
    if (!this.egress.sendWhole(scratch, length)) return LINK_FULL;
    this.counters.add(ARP_REPLIES, 1);
    return HANDLED;
  }

  // --- Ipv4Handlers ----------------------------------------------------------------------------------------------

  isGuest(address: number): boolean {
    return address === this.config.guestAddress || this.gateway.isLeased(address);
  }

  isOwn(address: number): boolean {
    return this.arp.isOwn(address);
  }

  sourceSeen(address: number): void {
    const i = this.neighbours.find(address);
    if (i >= 0) {
      if (
        this.neighbours.macHigh[i] === this.frameSourceHigh &&
        this.neighbours.macLow[i] === this.frameSourceLow
      ) {
        return;
      }
      this.neighbours.learn(address, this.frameSourceHigh, this.frameSourceLow);
      return;
    }
    if (this.neighbours.learn(address, this.frameSourceHigh, this.frameSourceLow)) {
      this.tcpLayer.guestAppeared(address);
    }
  }

  tcp(guest: number, remote: number, at: number, octets: number, verify: boolean): number {
    return this.tcpLayer.segment(guest, remote, at, octets, verify);
  }

  udp(
    guest: number,
    remote: number,
    at: number,
    octets: number,
    verify: boolean,
    fragmented: boolean,
  ): number {
    const view = this.view;
    const checked = checkUdp(view, at, octets);
    if (checked !== HANDLED) return checked;
    const length = udpLength(view, at);
    if (verify && udpChecksum(view, at) !== 0) {
      const pseudo = pseudoHeaderSum(guest, remote, PROTOCOL_UDP, length);
      if (this.ports.checksum.sum(at, length, pseudo) !== 0xffff) return UDP_BAD_CHECKSUM;
    }
    const port = destinationPort(view, at);
    if (port === 0 || sourcePort(view, at) === 0) return UDP_PORT_ZERO;
    const payloadAt = at + UDP_HEADER_OCTETS;
    if (port === DHCP_SERVER_PORT && (remote === -1 || this.isDhcpServer(remote))) {
      const seconds = Math.floor(this.uptimeMs / 1000);
      return this.gateway.message(payloadAt, length - UDP_HEADER_OCTETS, seconds);
    }
    if (guest === 0) return DHCP_NOT_OURS;
    if (port === DNS_PORT && remote === this.config.dns && remote !== 0) {
      if (this.config.restrict) return RESTRICTED;
      return this.dnsForwarder.query(
        guest,
        sourcePort(view, at),
        payloadAt,
        length - UDP_HEADER_OCTETS,
        this.now,
      );
    }
    const result = this.udpLayer.datagram(guest, remote, at);
    // The reassembly buffer is used again for the next datagram.
    if (fragmented) this.udpLayer.endOfBatch();
    return result;
  }

  private isDhcpServer(address: number): boolean {
    return address === this.config.gateway || address === this.config.dhcp?.serverAddress;
  }

  // --- services --------------------------------------------------------------------------------------------------

  private dnsReply(guest: number, port: number, at: number, length: number): void {
    const kept = this.gateway.keep(length);
    if (kept === 0) {
      this.counters.drop(LINK_FULL);
      return;
    }
    this.ports.arena.octets.copyWithin(kept, at, at + length);
    const result = this.udpLayer.output.send(guest, port, this.config.dns, DNS_PORT, kept, length, 0);
    if (result !== HANDLED) this.counters.drop(result);
  }

  /** Answers and timeouts of DNS queries; sockets are read only while no frame points into the receive slots. */
  private serveDns(): void {
    if (this.dnsForwarder.inUse === 0) {
      this.dnsReadyCount = 0;
      return;
    }
    if (!this.udpLayer.slotsFree()) return;
    for (let i = 0; i < this.dnsReadyCount; i++) this.dnsForwarder.handleEvent(this.dnsReady[i], this.now);
    this.dnsReadyCount = 0;
    this.dnsForwarder.poll(this.now);
  }

  /** A frame wanted to go to a guest whose MAC is not known: ask, once a second. */
  private askForGuest(): void {
    const guest = this.egress.unresolved;
    if (this.link === null || ((this.now - this.arpAskedMs) | 0) < ARP_INTERVAL_MS) return;
    this.egress.unresolved = 0;
    this.arpAskedMs = this.now;
    const at = this.gateway.keep(ARP_FRAME_OCTETS);
    if (at === 0) return;
    this.egress.sendWhole(at, this.arp.request(at, guest));
    this.egress.flush();
  }

  /** How many connections filled windows lately: they share what the link can queue. */
  private countReceivers(): void {
    if (((this.now - this.receiversSinceMs) | 0) < RECEIVERS_INTERVAL_MS) return;
    this.receiversSinceMs = this.now;
    this.tcpLayer.ctx.endReceiverInterval();
  }

  // --- for people ------------------------------------------------------------------------------------------------

  flows(nowMs: number): FlowRow[] {
    return [...this.tcpLayer.rows(nowMs), ...this.udpLayer.rows(nowMs)];
  }

  usage(): ReturnType<EngineCore["usage"]> {
    const pool = this.tcpLayer.ctx.pool;
    return {
      tcp: this.tcpLayer.ctx.open,
      udp: this.udpLayer.open,
      dns: this.dnsForwarder.inUse,
      smallChunks: pool.smallInUse,
      largeChunks: pool.largeInUse,
      queuedFrames: this.egress.queue.length,
      reassembly: this.reassembly.inUse,
    };
  }

  close(nowMs: number): void {
    this.now = nowMs;
    this.tcpLayer.ctx.now = nowMs;
    this.tcpLayer.close();
    this.udpLayer.close();
    this.dnsForwarder.close();
    this.egress.flush();
  }
}

/** Of two delays in milliseconds, -1 meaning none, the shorter. */
function earlier(a: number, b: number): number {
  if (a < 0) return b;
  return b >= 0 && b < a ? b : a;
}
