/**
 * The simulated guest: one Ethernet interface, ARP and IPv4 or Neighbour Discovery and IPv6, with fragments both ways, UDP
 * sockets and TCP connections. Addresses are ints in either case (address-plan.ts).
 * Frames go out through `transmit` and come in through `receive`; everything it receives is checked, and a frame the
 * engine should never have sent breaks the run.
 */
import type { World } from "../world/world.ts";
import { type AddressPlan, address6, type IpPacket, intOf, PLAN4 } from "./address-plan.ts";
import {
  ACK,
  buildArp,
  buildEthernet,
  buildIpv6,
  buildNeighbourAdvertisement,
  buildNeighbourSolicitation,
  buildTcp,
  buildUdp,
  describeTcp,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV6,
  FIN,
  formatIp,
  type Ip6,
  NEIGHBOUR_ADVERTISEMENT,
  NEIGHBOUR_SOLICITATION,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  parseArp,
  parseEthernet,
  parseIcmpv6,
  parseIpv6,
  parseTcp,
  parseUdp,
  ROUTER_ADVERTISEMENT,
  RST,
  SYN,
  solicitedNode,
  type TcpSegment,
} from "./codec.ts";
import type { TcpConnection } from "./tcp.ts";
import type { TcpAddress } from "./tcp-settings.ts";

/** A frame as it crosses the link: octets and what a virtio header would say about them. */
export interface SimFrame {
  readonly octets: Buffer;
  /** The transport checksum field holds the pseudo-header's sum only. */
  readonly partialChecksum: boolean;
  /** Payload octets per segment of a super-frame; 0 for a plain frame. */
  readonly segmentSize: number;
}

export interface GuestSettings {
  readonly mac: Buffer;
  readonly ip: number;
  readonly gateway: number;
  readonly prefixLength: number;
  readonly mtu: number;
  /** The interface completes checksums and cuts segments, both ways. */
  readonly offload: boolean;
  /** Frames shorter than 60 octets are padded with this octet, or not at all (-1). */
  readonly padding: number;
  /** Send UDP without a checksum (RFC 768 allows it, over IPv4). */
  readonly udpChecksum: boolean;
  /** IPv4 unless it is given. */
  readonly plan?: AddressPlan;
}

export type UdpReceiver = (payload: Buffer, fromIp: number, fromPort: number) => void;
/** Decides about a SYN for a listening port: the connection that will take it, or null (a RST is sent). */
export type TcpListener = (address: TcpAddress, syn: TcpSegment) => TcpConnection | null;

const BROADCAST = Buffer.from("ffffffffffff", "hex");
const ARP_RETRY_MS = 1000;
const ARP_TRIES = 60;
const REASSEMBLY_MS = 30_000;
const SOLICITED_AND_OVERRIDE = 0x60;
const NDP_HOPS = 255;
/** First two octets of a group's MAC (RFC 2464 7). */
const GROUP_MAC = "3333";

interface Neighbour {
  mac: Buffer | null;
  tries: number;
  readonly waiting: ((mac: Buffer) => void)[];
}

interface Reassembly {
  readonly parts: Map<number, Buffer>;
  total: number;
}

export class Guest {
  private readonly neighbours = new Map<number, Neighbour>();
  private readonly udpPorts = new Map<number, UdpReceiver>();
  private readonly listeners = new Map<number, TcpListener>();
  private readonly connections = new Map<string, TcpConnection>();
  private readonly reassemblies = new Map<string, Reassembly>();
  private nextIpId: number;
  framesIn = 0;
  framesOut = 0;
  badChecksums = 0;
  resetsSent = 0;
  /** Frames may have been changed on their way, so a wrong checksum is the link's doing. */
  corruptingLink = false;
  private readonly plan: AddressPlan;

  constructor(
    readonly world: World,
    readonly settings: GuestSettings,
    private readonly transmit: (frame: SimFrame) => void,
  ) {
    this.nextIpId = world.random.int32() & 0xffff;
    this.plan = settings.plan ?? PLAN4;
  }

  // --- sockets -----------------------------------------------------------------------------------------------------

  bindUdp(port: number, receiver: UdpReceiver): void {
    this.udpPorts.set(port, receiver);
  }

  listen(port: number, listener: TcpListener): void {
    this.listeners.set(port, listener);
  }

  static key(address: TcpAddress): string {
    return `${address.localPort} ${address.remoteIp >>> 0} ${address.remotePort}`;
  }

  addConnection(connection: TcpConnection): void {
    const key = Guest.key(connection.address);
    this.connections.get(key)?.discard();
    this.connections.set(key, connection);
  }

  removeConnection(connection: TcpConnection): void {
    const key = Guest.key(connection.address);
    if (this.connections.get(key) === connection) this.connections.delete(key);
  }

  get connectionCount(): number {
    return this.connections.size;
  }

  sendUdp(localPort: number, remoteIp: number, remotePort: number, payload: Buffer): void {
    const { ip, mtu, offload, udpChecksum } = this.settings;
    const { plan } = this;
    const fits = plan.headerOctets + 8 + payload.length <= mtu;
    const mayLack = !udpChecksum && plan.family === 4;
    const checksum = mayLack ? "none" : offload && fits ? "partial" : "full";
    const datagram = { sourcePort: localPort, destinationPort: remotePort, payload };
    const octets = buildUdp(datagram, plan.address(ip), plan.address(remoteIp), checksum);
    this.sendIp(remoteIp, PROTOCOL_UDP, octets, checksum === "partial", 0);
  }

  sendTcp(address: TcpAddress, segment: TcpSegment, segmentSize: number): void {
    if (segment.flags & RST) this.resetsSent++;
    const partial = this.settings.offload;
    const [local, remote] = [address.localIp, address.remoteIp].map((ip) => this.plan.address(ip));
    const octets = buildTcp(segment, local, remote, partial ? "partial" : "full");
    this.sendIp(address.remoteIp, PROTOCOL_TCP, octets, partial, segmentSize);
  }

  // --- sending -----------------------------------------------------------------------------------------------------

  private sendIp(to: number, protocol: number, payload: Buffer, partial: boolean, segmentSize: number): void {
    const { ip, mtu } = this.settings;
    const { headerOctets, fragmentOctets } = this.plan;
    const id = this.nextIpId;
    this.nextIpId = (id + 1) & 0xffff;
    const common = { source: ip, destination: to, protocol, ttl: 64, id };
    if (segmentSize > 0 || headerOctets + payload.length <= mtu) {
      const dontFragment = protocol === PROTOCOL_TCP;
      this.sendPacket(
        to,
        { ...common, dontFragment, moreFragments: false, fragmentOffset: 0, payload },
        partial,
        segmentSize,
      );
      return;
    }
    const size = (mtu - fragmentOctets) & ~7;
    const fragments: IpPacket[] = [];
    for (let at = 0; at < payload.length; at += size) {
      const part = payload.subarray(at, at + size);
      const moreFragments = at + size < payload.length;
      fragments.push({ ...common, dontFragment: false, moreFragments, fragmentOffset: at, payload: part });
    }
    // Linux once sent the last fragment first; orders vary.
    if (this.world.random.chance(0.2)) fragments.reverse();
    for (const fragment of fragments) this.sendPacket(to, fragment, false, 0);
  }

  private sendPacket(to: number, packet: IpPacket, partial: boolean, segmentSize: number): void {
    const { ip, prefixLength, gateway, mac } = this.settings;
    const { plan } = this;
    const local = (to ^ ip) >>> (32 - prefixLength) === 0;
    this.resolve(local ? to : gateway, (nextHop) => {
      this.sendFrame(buildEthernet(nextHop, mac, plan.etherType, plan.build(packet)), partial, segmentSize);
    });
  }

  private sendFrame(octets: Buffer, partialChecksum: boolean, segmentSize: number): void {
    const { padding } = this.settings;
    this.framesOut++;
    const short = padding >= 0 && octets.length < 60;
    const padded = short ? Buffer.concat([octets, Buffer.alloc(60 - octets.length, padding)]) : octets;
    this.transmit({ octets: padded, partialChecksum, segmentSize });
  }

  private resolve(ip: number, ready: (mac: Buffer) => void): void {
    let neighbour = this.neighbours.get(ip);
    if (neighbour === undefined) {
      neighbour = { mac: null, tries: 0, waiting: [] };
      this.neighbours.set(ip, neighbour);
    }
    if (neighbour.mac !== null) {
      ready(neighbour.mac);
      return;
    }
    neighbour.waiting.push(ready);
    if (neighbour.waiting.length === 1) this.askFor(ip, neighbour);
  }

  private askFor(ip: number, neighbour: Neighbour): void {
    if (neighbour.mac !== null) return;
    if (++neighbour.tries > ARP_TRIES) this.world.violation(`nobody answers for ${formatIp(ip)}`);
    if (this.plan.family === 6) this.solicit(address6(ip));
    else this.sendArp(1, BROADCAST, Buffer.alloc(6), ip);
    this.world.after(ARP_RETRY_MS, () => this.askFor(ip, neighbour));
  }

  private sendArp(operation: number, to: Buffer, targetMac: Buffer, targetIp: number): void {
    const { mac, ip } = this.settings;
    const packet = buildArp({ operation, senderMac: mac, senderIp: ip, targetMac, targetIp });
    this.sendFrame(buildEthernet(to, mac, ETHERTYPE_ARP, packet), false, 0);
  }

  private solicit(target: Ip6): void {
    const { mac, ip } = this.settings;
    const to = solicitedNode(target);
    const groupMac = Buffer.from(`${GROUP_MAC}${(to[3] >>> 0).toString(16).padStart(8, "0")}`, "hex");
    this.sendIcmpv6(groupMac, address6(ip), to, buildNeighbourSolicitation(target, mac, address6(ip)));
  }

  private sendIcmpv6(toMac: Buffer, source: Ip6, destination: Ip6, payload: Buffer): void {
    const packet = buildIpv6({ source, destination, protocol: PROTOCOL_ICMPV6, hopLimit: NDP_HOPS, payload });
    this.sendFrame(buildEthernet(toMac, this.settings.mac, ETHERTYPE_IPV6, packet), false, 0);
  }

  // --- receiving ---------------------------------------------------------------------------------------------------

  receive(frame: SimFrame): void {
    this.framesIn++;
    const ethernet = parseEthernet(frame.octets);
    if (typeof ethernet === "string") {
      this.broken(ethernet);
      return;
    }
    if (!this.isForMe(ethernet.destination)) {
      this.broken(`frame for another MAC ${ethernet.destination.toString("hex")}`);
      return;
    }
    if (ethernet.type === ETHERTYPE_ARP && this.plan.family === 4) {
      this.receiveArp(ethernet.payload);
      return;
    }
    if (ethernet.type !== this.plan.etherType) {
      this.broken(`EtherType ${ethernet.type.toString(16)}`);
      return;
    }
    if (this.plan.family === 6 && ethernet.payload[6] === PROTOCOL_ICMPV6) {
      this.receiveIcmpv6(ethernet.payload);
      return;
    }
    const packet = this.plan.parse(ethernet.payload);
    if (typeof packet === "string") {
      this.broken(packet);
      return;
    }
    if (packet.destination !== this.settings.ip) {
      this.broken(`packet for another address ${formatIp(packet.destination)}`);
      return;
    }
    const whole = this.reassemble(packet);
    if (whole === null) return;
    if (whole.protocol === PROTOCOL_TCP) this.receiveTcp(whole, frame);
    else if (whole.protocol === PROTOCOL_UDP) this.receiveUdp(whole, frame.partialChecksum);
    else this.broken(`IP protocol ${whole.protocol}`);
  }

  private isForMe(destination: Buffer): boolean {
    const { mac } = this.settings;
    if (destination.equals(mac)) return true;
    if (this.plan.family === 4) return destination.equals(BROADCAST);
    return destination.toString("hex", 0, 2) === GROUP_MAC;
  }

  /** Something is wrong with a frame: the link's doing where it corrupts or cuts, otherwise the engine's. */
  private broken(what: string): void {
    if (!this.corruptingLink) this.world.violation(`guest received a bad frame: ${what}`);
    this.badChecksums++;
  }

  private receiveArp(octets: Buffer): void {
    const arp = parseArp(octets);
    if (typeof arp === "string") {
      this.broken(arp);
      return;
    }
    if (arp.operation === 1 && arp.targetIp === this.settings.ip) {
      this.sendArp(2, arp.senderMac, arp.senderMac, arp.senderIp);
    }
    this.learn(arp.senderIp, arp.senderMac);
  }

  private learn(ip: number, mac: Buffer): void {
    const neighbour = this.neighbours.get(ip);
    if (neighbour === undefined || neighbour.mac !== null) return;
    neighbour.mac = Buffer.from(mac);
    for (const ready of neighbour.waiting.splice(0)) ready(neighbour.mac);
  }

  private receiveIcmpv6(octets: Buffer): void {
    const packet = parseIpv6(octets);
    const message = typeof packet === "string" ? packet : parseIcmpv6(packet);
    if (typeof packet === "string" || typeof message === "string") {
      this.broken(String(message));
      return;
    }
    if (packet.hopLimit !== NDP_HOPS) this.broken(`hop limit ${packet.hopLimit} of Neighbour Discovery`);
    const { type, target, mac } = message;
    if (target === null || mac === null) {
      if (type !== ROUTER_ADVERTISEMENT) this.broken(`ICMPv6 type ${type}`);
      return;
    }
    const ip = intOf(target);
    if (type === NEIGHBOUR_SOLICITATION && ip === this.settings.ip) {
      const answer = buildNeighbourAdvertisement(
        SOLICITED_AND_OVERRIDE,
        target,
        this.settings.mac,
        packet.source,
      );
      this.sendIcmpv6(mac, target, packet.source, answer);
    }
    if (type === NEIGHBOUR_ADVERTISEMENT && ip !== null) this.learn(ip, mac);
  }

  private reassemble(packet: IpPacket): IpPacket | null {
    if (!packet.moreFragments && packet.fragmentOffset === 0) return packet;
    const key = `${packet.source} ${packet.id} ${packet.protocol}`;
    let queue = this.reassemblies.get(key);
    if (queue === undefined) {
      queue = { parts: new Map(), total: -1 };
      this.reassemblies.set(key, queue);
      this.world.after(REASSEMBLY_MS, () => this.reassemblies.delete(key));
    }
    queue.parts.set(packet.fragmentOffset, Buffer.from(packet.payload));
    if (!packet.moreFragments) queue.total = packet.fragmentOffset + packet.payload.length;
    const parts: Buffer[] = [];
    let at = 0;
    for (let part = queue.parts.get(0); part !== undefined; part = queue.parts.get(at)) {
      parts.push(part);
      at += part.length;
      if (part.length === 0) break;
    }
    if (queue.total < 0 || at !== queue.total) return null;
    this.reassemblies.delete(key);
    return { ...packet, moreFragments: false, fragmentOffset: 0, payload: Buffer.concat(parts) };
  }

  private receiveUdp(packet: IpPacket, partial: boolean): void {
    const [source, destination] = this.endsOf(packet);
    const datagram = parseUdp(packet.payload, source, destination, partial);
    if (typeof datagram === "string") {
      this.broken(datagram);
      return;
    }
    const receiver = this.udpPorts.get(datagram.destinationPort);
    receiver?.(datagram.payload, packet.source, datagram.sourcePort);
  }

  private endsOf({ source, destination }: IpPacket): [number | Ip6, number | Ip6] {
    return [this.plan.address(source), this.plan.address(destination)];
  }

  private receiveTcp(packet: IpPacket, frame: SimFrame): void {
    const { mtu, ip, offload } = this.settings;
    const { headerOctets } = this.plan;
    const [source, destination] = this.endsOf(packet);
    const segment = parseTcp(packet.payload, source, destination, frame.partialChecksum);
    if (typeof segment === "string") {
      this.broken(segment);
      return;
    }
    const headers = headerOctets + packet.payload.length - segment.payload.length;
    if (frame.segmentSize === 0 && headerOctets + packet.payload.length > mtu) {
      this.broken(`TCP packet of ${headerOctets + packet.payload.length} octets on an MTU of ${mtu}`);
      return;
    }
    if (frame.segmentSize > 0) {
      if (!offload) {
        this.broken("a super-frame without offload");
        return;
      }
      if (frame.segmentSize + headers > mtu) {
        this.broken(`segments of ${frame.segmentSize + headers} octets`);
        return;
      }
      if (segment.payload.length <= frame.segmentSize) {
        this.broken("a super-frame of one segment");
        return;
      }
    }
    const address: TcpAddress = {
      localIp: ip,
      localPort: segment.destinationPort,
      remoteIp: packet.source,
      remotePort: segment.sourcePort,
    };
    this.deliverTcp(address, segment);
  }

  private deliverTcp(address: TcpAddress, segment: TcpSegment): void {
    const connection = this.connections.get(Guest.key(address));
    const pureSyn = (segment.flags & (SYN | ACK | RST)) === SYN;
    if (connection !== undefined && !(pureSyn && connection.mayReopen(segment))) {
      connection.segmentArrives(segment);
      return;
    }
    connection?.discard();
    if (pureSyn) {
      const accepted = this.listeners.get(address.localPort)?.(address, segment) ?? null;
      if (accepted !== null) {
        this.addConnection(accepted);
        accepted.accept(segment);
        return;
      }
    }
    if (!(segment.flags & RST)) this.refuse(address, segment);
  }

  /** RFC 9293 3.10.7.1: a segment without a connection is answered with a RST. */
  private refuse(address: TcpAddress, segment: TcpSegment): void {
    const withAck = (segment.flags & ACK) !== 0;
    const length = segment.payload.length + (segment.flags & SYN ? 1 : 0) + (segment.flags & FIN ? 1 : 0);
    this.world.note("guest", [address.localPort], () => `no connection for ${describeTcp(segment)}`);
    this.sendTcp(
      address,
      {
        sourcePort: address.localPort,
        destinationPort: address.remotePort,
        sequence: withAck ? segment.acknowledgment : 0,
        acknowledgment: withAck ? 0 : (segment.sequence + length) >>> 0,
        flags: withAck ? RST : RST | ACK,
        window: 0,
        urgentPointer: 0,
        options: {},
        payload: Buffer.alloc(0),
      },
      0,
    );
  }
}
