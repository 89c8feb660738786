/**
 * The layers that a guest with IPv6 has more than another, put together once, and their part of a turn.
 *
 *   frames -> ethernet -> ipv6 -+-> ndp -+-> router advertisements
 *                               |        +-> the guest's addresses
 *                               +-> tcp, udp input (-> DHCPv6, DNS, TFTP): the same as of IPv4
 */
import type { ChecksumKernel, Entropy } from "./boundary.ts";
import type { EngineConfig, GuestForward, Ipv6Config, Ipv6Words } from "./config.ts";
import type { Egress } from "./link/egress.ts";
import { GuestAddresses } from "./link/guest-addresses.ts";
import { Ndp, NeighbourDiscovery } from "./link/ndp.ts";
import { Neighbours6 } from "./link/neighbours6.ts";
import type { Arena } from "./memory/arena.ts";
import type { Scratch } from "./memory/scratch.ts";
import type { Counters } from "./metrics/counters.ts";
import type { Echo } from "./network/echo.ts";
import type { Transport } from "./network/ipv4.ts";
import { Ipv6 } from "./network/ipv6.ts";
import type { Reassembly } from "./network/reassembly.ts";
import type { Unreachable } from "./network/unreachable.ts";
import type { Lease6 } from "./service/dhcpv6.ts";
import { Dhcp6Service } from "./service/dhcpv6-service.ts";
import { RouterAdvertiser } from "./service/router.ts";
import type { Tcp } from "./transport/tcp/tcp.ts";
import type { UdpInput, UdpService, UdpServiceEntry6 } from "./transport/udp/input.ts";
import { DHCP6_SERVER_PORT } from "./wire/dhcpv6.ts";
import type { Nat64Prefix } from "./wire/translated-address.ts";
import { DNS_PORT, TFTP_PORT } from "./wire/udp.ts";

/** ff02::1:2, all DHCP agents on the link (RFC 9915 section 7.1). */
const DHCP_AGENTS: Ipv6Words = [0xff020000 | 0, 0, 0, 0x00010002];

/** The remote's words of a packet's pair. */
const PAIR_REMOTE = 4;

export interface Layers6Parts {
  readonly config: EngineConfig;
  readonly arena: Arena;
  readonly egress: Egress;
  readonly scratch: Scratch;
  readonly counters: Counters;
  readonly checksum: ChecksumKernel;
  readonly entropy: Entropy;
  readonly now: () => number;
}

export class Layers6 {
  readonly neighbours = new Neighbours6();
  readonly guests: GuestAddresses;
  readonly ndp: Ndp;
  private readonly router: RouterAdvertiser;
  private readonly dhcp: Dhcp6Service | null;
  private readonly prefix: Int32Array;

  constructor(
    private readonly parts: Layers6Parts,
    private readonly ipv6: Ipv6Config,
  ) {
    const { config, arena, egress, scratch, counters, checksum, entropy, now } = parts;
    const { view } = arena;
    const { neighbours } = this;
    egress.neighbours6 = neighbours;
    this.prefix = Int32Array.from(ipv6.prefix);
    this.guests = new GuestAddresses(this.prefix, ipv6.guestAddress && Int32Array.from(ipv6.guestAddress));
    const routerAddress = Int32Array.from(ipv6.routerAddress);
    const { guests } = this;
    const shared = { view, checksum, counters, entropy, prefix: this.prefix, mtu: config.mtu };
    this.router = new RouterAdvertiser({
      ...shared,
      address: routerAddress,
      mac: config.gatewayMac,
      preferredSeconds: ipv6.preferredSeconds,
      validSeconds: ipv6.validSeconds,
      managed: ipv6.dhcp !== null,
      resolver: ipv6.dns === null || config.restrict ? null : Int32Array.from(ipv6.dns),
      searchDomains: ipv6.searchDomains,
      keep: (octets) => scratch.keep(octets),
      send: (at, octets) => egress.sendKept(at, octets),
    });
    const discovery = new NeighbourDiscovery({
      ...shared,
      neighbours,
      listener: {
        routerSolicited: (ipAt, high, low) => this.router.solicited(ipAt, high, low, now()),
        guestHeard: (words, index, high, low) => guests.heard(words, index, high, low, now()),
      },
      ownAddresses: Int32Array.from(ownAddresses(ipv6, config.guestForwards).flat()),
      gatewayMac: config.gatewayMac,
      shared: ipv6.shared,
    });
    this.ndp = new Ndp(discovery, egress, scratch, counters, now());
    const dhcp = ipv6.dhcp && (config.restrict ? { ...ipv6.dhcp, dnsServers: [] } : ipv6.dhcp);
    this.dhcp =
      dhcp && new Dhcp6Service({ ...parts, config: dhcp, neighbours, listener: guests, routerAddress });
    if (config.guestMac !== undefined && ipv6.guestAddress !== null) {
      const mac = new DataView(config.guestMac.buffer, config.guestMac.byteOffset, 6);
      neighbours.declare(Int32Array.from(ipv6.guestAddress), 0, mac.getUint16(0), mac.getInt32(2));
    }
    this.setUplink(false);
  }

  /** Where the gateway itself answers over UDP. */
  services(dns: UdpService, tftp: UdpService | null): UdpServiceEntry6[] {
    const { ipv6, dhcp } = this;
    const entries: UdpServiceEntry6[] = [];
    if (dhcp !== null) {
      for (const address of [DHCP_AGENTS, ipv6.routerAddress, ipv6.gateway]) {
        entries.push({ address, port: DHCP6_SERVER_PORT, service: dhcp });
      }
    }
    if (ipv6.dns !== null) entries.push({ address: ipv6.dns, port: DNS_PORT, service: dns });
    if (tftp !== null) entries.push({ address: ipv6.gateway, port: TFTP_PORT, service: tftp });
    return entries;
  }

  /** The network layer on top of this link, below `tcp` and `udp`. */
  network(
    reassembly: Reassembly,
    tcp: Tcp,
    udp: UdpInput,
    echo: Echo | null,
    unreachable: Unreachable | null,
  ): Ipv6 {
    const { parts, neighbours, ndp, prefix } = this;
    neighbours.appeared = (words, index) => tcp.guestAppeared6(words, index);
    if (unreachable !== null) unreachable.own6 = ndp;
    const datagrams: Transport = { packet: (packet) => udp.packet6(packet) };
    return new Ipv6({
      view: parts.arena.view,
      counters: parts.counters,
      reassembly,
      neighbours,
      prefix,
      own: ndp,
      tcp: { packet: (packet) => tcp.packet6(packet) },
      udp: unreachable?.telling(datagrams) ?? datagrams,
      icmpv6: echo === null ? ndp : answering(echo, ndp),
    });
  }

  linkChanged(hasLink: boolean, nowMs: number): void {
    this.router.linkChanged(hasLink, nowMs);
  }

  /** Whether the host has a way out. */
  setUplink(isUp: boolean): void {
    const isRouter = (isUp || this.ipv6.defaultRouter === "on") && !this.parts.config.restrict;
    this.router.setDefaultRouter(isRouter, this.parts.now());
  }

  /** The prefix by which guests reach IPv4, or null. */
  setNat64(nat64: Nat64Prefix | null): void {
    this.router.setNat64(nat64, this.parts.now());
  }

  leases(): Lease6[] {
    return this.dhcp?.leases() ?? [];
  }

  /** What is due by the clock. `uptimeMs` does not wrap. */
  poll(nowMs: number, uptimeMs: number): void {
    this.dhcp?.poll(uptimeMs);
    this.router.poll(nowMs);
  }

  /** Asks for guests that somebody waits for. */
  ask(nowMs: number): void {
    const { egress } = this.parts;
    const doubted = this.guests.probe(nowMs);
    if (doubted >= 0) this.ndp.ask(this.guests.words, doubted * 4, nowMs);
    if (egress.hasUnresolved6 && this.ndp.ask(egress.unresolved6, 0, nowMs)) egress.hasUnresolved6 = false;
  }

  /** Milliseconds until `poll` or `ask` has something to do by itself, or -1. */
  nextDeadlineMs(nowMs: number): number {
    const others = sooner(this.dhcp?.nextDeadlineMs() ?? -1, this.guests.nextDeadlineMs(nowMs));
    return sooner(this.router.nextDeadlineMs(nowMs), others);
  }

  close(): void {
    this.router.close();
  }
}

/** Of two deadlines, of which -1 is none. Every turn of the engine asks. */
function sooner(a: number, b: number): number {
  return b < 0 || (a >= 0 && a <= b) ? a : b;
}

/** ICMPv6 with pings to our own addresses answered. */
function answering(echo: Echo, ndp: Ndp): Transport {
  return {
    packet: (packet) =>
      echo.isRequest6(packet) && ndp.isOwn(packet.pair, PAIR_REMOTE)
        ? echo.packet6(packet)
        : ndp.packet(packet),
  };
}

/** What Neighbour Discovery answers for: the router's two first. */
function ownAddresses(
  { routerAddress, gateway, dns }: Ipv6Config,
  guestForwards: readonly GuestForward[],
): Ipv6Words[] {
  const services = guestForwards.flatMap(({ address6 }) => (address6 === undefined ? [] : [address6]));
  return [routerAddress, gateway, ...(dns === null ? [] : [dns]), ...services];
}
