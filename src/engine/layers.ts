/**
 * The layers of an engine, put together once: what each is given, and which lies on which. Nothing here runs per packet.
 *
 *   frames -> ethernet -+-> arp
 *                       +-> ipv4 -+-> tcp -> host sockets, guest forwards
 *                                 +-> udp input -+-> services of the gateway (DHCP, DNS, TFTP)
 *                                                +-> udp -> host sockets
 *                       +-> ipv6 (layers6.ts) -> tcp, udp input
 */
import { type EnginePorts, TOKEN_DNS, TOKEN_TCP_FLOW, TOKEN_UDP_FLOW } from "./api.ts";
import type { HostNetwork, ServedFiles } from "./boundary.ts";
import type { EngineConfig, Ipv6Config } from "./config.ts";
import { Layers6 } from "./layers6.ts";
import { GUESTS_MAX, UDP_RX_SLOTS } from "./limits.ts";
import { Arp, ArpResponder } from "./link/arp.ts";
import { Egress } from "./link/egress.ts";
import { Ethernet, SILENT_IPV4 } from "./link/ethernet.ts";
import { Neighbours } from "./link/neighbours.ts";
import { IdleMemory } from "./memory/idle-memory.ts";
import { Scratch } from "./memory/scratch.ts";
import { makeUdpBatch } from "./memory/udp-batch.ts";
import type { Counters } from "./metrics/counters.ts";
import { isLinkLocal6, isUnicast6 } from "./network/addresses.ts";
import { Admission, AdmissionJudge } from "./network/admission.ts";
import type { ControlPorts } from "./network/control-ports.ts";
import { Destinations } from "./network/destinations.ts";
import { Destinations6 } from "./network/destinations6.ts";
import { Echo } from "./network/echo.ts";
import { Ipv4 } from "./network/ipv4.ts";
import type { FlowJudge } from "./network/judge.ts";
import { Reassembly } from "./network/reassembly.ts";
import { GuestSubnet, Sources } from "./network/sources.ts";
import { Strangers } from "./network/strangers.ts";
import { Unreachable, type UnreachableParts } from "./network/unreachable.ts";
import type { Destined, PolicyLayers, PolicyLayersParts, TurnService } from "./policy-layers.ts";
import { DhcpService } from "./service/dhcp-service.ts";
import { Dns } from "./service/dns/dns.ts";
import { DnsReplies } from "./service/dns/replies.ts";
import { Nat64 } from "./service/nat64.ts";
import { Tftp, type TftpParts } from "./service/tftp/tftp.ts";
import { FlowLedger } from "./transport/flow-ledger.ts";
import { FlowTable } from "./transport/flow-table.ts";
import { InboundForwards } from "./transport/inbound-forwards.ts";
import { Tcp } from "./transport/tcp/tcp.ts";
import { UdpInput, type UdpServiceEntry } from "./transport/udp/input.ts";
import { Udp } from "./transport/udp/udp.ts";
import { isMulticast } from "./wire/ipv4.ts";
import type { Nat64Prefix } from "./wire/translated-address.ts";
import { DHCP_SERVER_PORT, DNS_PORT, TFTP_PORT } from "./wire/udp.ts";

const BROADCAST = -1;
/** What a guest without IPv4 has in place of it. */
const NO_IPV4 = { arp: SILENT_IPV4, ipv4: SILENT_IPV4 };

/** Makes what a policy needs; given by who has loaded it. */
export type MakePolicyLayers = (parts: PolicyLayersParts) => PolicyLayers;
export interface Clock {
  /** The time of the turn. */
  readonly now: () => number;
  /** One that does not wrap. */
  readonly uptimeMs: () => number;
}

export class Layers {
  readonly egress: Egress;
  readonly arp: Arp;
  readonly ethernet: Ethernet;
  readonly reassembly: Reassembly;
  readonly tcp: Tcp;
  readonly udp: Udp;
  readonly dhcp: DhcpService;
  readonly dns: Dns;
  /** Null where no files are served. */
  readonly tftp: Tftp | null;
  /** The step of the turn of DNS and of who else serves the guest's connections. */
  readonly services: TurnService;
  private readonly destined: Destined;
  /** Null where nothing but the options says where the guest may go. */
  readonly policy: PolicyLayers | null;
  readonly inbound: InboundForwards;
  readonly idleMemory: IdleMemory;
  /** Null where the guest has no IPv6. */
  readonly v6: Layers6 | null;
  /** Null where IPv4 destinations are reached by IPv4 or not at all. */
  readonly nat64: Nat64 | null;

  /** Throws where there is a policy and nobody to keep it. */
  constructor(
    config: EngineConfig,
    ports: EnginePorts,
    counters: Counters,
    { now, uptimeMs }: Clock,
    makePolicy: MakePolicyLayers | null,
  ) {
    const { arena, checksum, entropy } = ports;
    const { view } = arena;
    const { guestAddress, guestMac, mtu } = config;
    const neighbours = new Neighbours();
    const egress = new Egress(arena, neighbours, config.gatewayMac, counters);
    const scratch = new Scratch(arena.scratchAt, egress.queue);
    const subnet = new GuestSubnet(config.network, config.prefixLength, addressesOf(config));
    const sources = sourcesOf(config, subnet);
    const strangers = new Strangers(ports.warn, subnet, guestAddress);
    const flows = new FlowTable(entropy, config.maxFlows);
    const { policy, judge, network } = judgesOf(config, ports, counters, uptimeMs, makePolicy);
    this.destined = destinedOf(config, judge);
    const secrets = { secret0: entropy.int32(), secret1: entropy.int32(), batch: makeUdpBatch(UDP_RX_SLOTS) };
    const ledger = new FlowLedger(config.maxFlows, uptimeMs);
    const world = { network, flows, ledger, ...this.destined, ...secrets };
    const shared = { config, arena, egress, counters, checksum, ...world };
    const unreachable = unreachableOf({ ...shared, scratch });
    this.egress = egress;
    this.tcp = new Tcp({ ...shared, unreachable, mtu, token: TOKEN_TCP_FLOW }, now());
    this.udp = new Udp(shared, now(), TOKEN_UDP_FLOW);
    this.idleMemory = new IdleMemory(this.tcp.ctx.pool, ports.discard);
    this.dns = new Dns({
      ...shared,
      network: ports.network,
      tcp: this.tcp.ctx,
      token: TOKEN_DNS,
      random: () => entropy.int32(),
      reply: new DnsReplies(arena, scratch, this.udp.output, counters).reply,
      policy: policy?.dns ?? null,
    });
    this.tftp = tftpOf(ports.files, { ...shared, mtu, output: this.udp.output });
    this.policy = policy;
    this.services = policy?.over(this.tcp.ctx, this.udp, this.dns, world) ?? this.dns;
    this.dhcp = new DhcpService({ ...shared, scratch, neighbours, sources });
    this.v6 = config.ipv6 && new Layers6({ ...shared, scratch, entropy, now }, config.ipv6);
    this.nat64 = this.nat64Of(config, view, this.destined, now);
    this.reassembly = new Reassembly(arena.octets, view, arena.reassemblyAt, counters);
    this.arp = new Arp(responderOf(config, view, neighbours, sources), egress, scratch, counters, now());
    const { tcp, udp, v6, arp, reassembly } = this;
    this.inbound = new InboundForwards({
      ...shared,
      guestAddress,
      followGuest: config.forwardsFollowGuest,
      sources,
      neighbours,
      v6,
      tcp,
      udp,
      token: TOKEN_TCP_FLOW,
    });
    neighbours.appeared = (address) => tcp.guestAppeared(address);
    if (guestMac !== undefined) neighbours.declareMac(guestAddress, guestMac);
    const echo = config.answerPing ? new Echo({ ...shared, octets: arena.octets, view, scratch, mtu }) : null;
    const servers = services(config, this.dhcp, this.dns, this.tftp);
    const servers6 = v6?.services(this.dns, this.tftp) ?? [];
    const udpInput = new UdpInput(view, checksum, udp, servers, servers6, this.dns);
    const guests = { sources, strangers, neighbours, own: unforwarded(config, arp) };
    const told = unreachable?.telling(udpInput) ?? udpInput;
    const ipv4 = new Ipv4({ ...guests, view, reassembly, counters, tcp, udp: told, echo });
    const ipv6 = v6?.network(reassembly, tcp, udpInput, echo, unreachable) ?? null;
    const over4 = config.ipv4 ? { arp, ipv4 } : NO_IPV4;
    this.ethernet = new Ethernet({ view, egress, guestMac, ...over4, ipv6 });
  }

  /** An answer to a question of our own: the policy's, or the search for a translator. */
  private ownAnswer(at: number, length: number, nowMs: number): void {
    if (this.policy?.answered(at, length) !== true) this.nat64?.answered(at, length, nowMs);
  }

  /** The guest reaches none of these. */
  setControlPorts(ports: ControlPorts | null): void {
    const { destinations, destinations6 } = this.destined;
    destinations.controlPorts = ports;
    if (destinations6 !== null) destinations6.controlPorts = ports;
  }

  private nat64Of(config: EngineConfig, view: DataView, destined: Destined, now: () => number): Nat64 | null {
    const { dns, udp, dhcp, v6, policy } = this;
    dns.ownAnswer = (at, length) => this.ownAnswer(at, length, now());
    if (config.nat64 === null || config.restrict) return null;
    return new Nat64(config.nat64, {
      view,
      ask: (message, nowMs) => dns.ask(message, nowMs),
      isOutside: (prefix) => isOutside(prefix, config.ipv6),
      changed: (outward, known) => {
        destined.destinations.translate(outward);
        destined.destinations6?.setNat64(known);
        policy?.setNat64(known);
        udp.translate(outward);
        v6?.setNat64(known);
        dhcp.preferIpv6Only(v6 !== null && known !== null);
      },
    });
  }
}

function destinedOf(config: EngineConfig, judge: FlowJudge | null): Destined {
  const destinations6 = config.ipv6 && new Destinations6(config, config.ipv6, judge);
  return { destinations: new Destinations(config, judge), destinations6 };
}

/** Whether addresses of a translator's prefix are somewhere out there, and not the guest's own network. */
function isOutside({ words }: Nat64Prefix, ipv6: Ipv6Config | null): boolean {
  const isGuests = ipv6 !== null && words[0] === ipv6.prefix[0] && words[1] === ipv6.prefix[1];
  return !isGuests && isUnicast6(words, 0) && !isLinkLocal6(words, 0);
}

/** Who says where the guest may go, beside the options: an embedding program, or a policy that it may narrow. */
function judgesOf(
  config: EngineConfig,
  { admit, network }: EnginePorts,
  counters: Counters,
  uptimeMs: () => number,
  makePolicy: MakePolicyLayers | null,
): { policy: PolicyLayers | null; judge: FlowJudge | null; network: HostNetwork } {
  const narrower = admit ? new AdmissionJudge(new Admission(admit, config.udpTimeoutMs)) : null;
  if (config.policy === null) return { policy: null, judge: narrower, network };
  if (makePolicy === null) throw new Error("a policy, and nothing that keeps it");
  const policy = makePolicy({ config, policy: config.policy, uptimeMs, narrower });
  return { policy, judge: policy.judge, network: policy.meter(network, counters) };
}

/** Which addresses the guest may send from. */
function sourcesOf(config: EngineConfig, subnet: GuestSubnet): Sources {
  return new Sources(
    config.guestAddress,
    GUESTS_MAX + (config.dhcp?.reservations.length ?? 0),
    config.otherGuestAddresses,
    config.anyGuestAddress ? subnet : null,
  );
}

function tftpOf(files: ServedFiles | undefined, parts: Omit<TftpParts, "files">): Tftp | null {
  return files === undefined ? null : new Tftp({ ...parts, files });
}

/** Who tells the guest by ICMP what it may not reach, or null. */
function unreachableOf(parts: UnreachableParts): Unreachable | null {
  return parts.config.refuseWith === "reset" ? null : new Unreachable(parts);
}

/** Where packets are not forwarded to: our own addresses, and groups that may be sent to. */
function unforwarded(config: EngineConfig, arp: Arp): { isOwn(address: number): boolean } {
  if (!config.allowMulticast) return arp;
  return { isOwn: (address) => arp.isOwn(address) || isMulticast(address) };
}

/** ARP for our own addresses, and for the subnet's others where it is shared. */
function responderOf(
  config: EngineConfig,
  view: DataView,
  neighbours: Neighbours,
  sources: Sources,
): ArpResponder {
  const { gatewayMac, network, prefixLength } = config;
  const netmask = prefixLength === 0 ? 0 : (-1 << (32 - prefixLength)) | 0;
  const shared = config.sharedSubnet ? { sharedWith: sources } : {};
  const ownAddresses = addressesOf(config);
  return new ArpResponder({ view, neighbours, ownAddresses, gatewayMac, network, netmask, ...shared });
}

/** What ARP answers for, the gateway first. */
function addressesOf(config: EngineConfig): number[] {
  const services = config.guestForwards.filter(({ address6 }) => address6 === undefined);
  const others = [...services, ...config.hostAliases].map(({ address }) => address);
  return config.dns === 0 ? [config.gateway, ...others] : [config.gateway, config.dns, ...others];
}

/** Where the gateway itself answers over UDP. */
function services(config: EngineConfig, dhcp: DhcpService, dns: Dns, tftp: Tftp | null): UdpServiceEntry[] {
  const servers = new Set([BROADCAST, config.gateway, config.dhcp?.serverAddress ?? config.gateway]);
  const entries: UdpServiceEntry[] = [...servers].map((address) => ({
    address,
    port: DHCP_SERVER_PORT,
    service: dhcp,
  }));
  if (config.dns !== 0) entries.push({ address: config.dns, port: DNS_PORT, service: dns });
  if (tftp !== null) entries.push({ address: config.gateway, port: TFTP_PORT, service: tftp });
  return entries;
}
