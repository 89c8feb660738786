/**
 * Scripts for the TCP state machine, after packetdrill: a script injects segments as the guest, says what the host's
 * kernel does, lets virtual time pass, and states exactly which segments the engine must answer with.
 *
 * Numbers are relative, as in packetdrill: the guest's SYN is sequence 0 and its first octet 1; an acknowledgment
 * counts from the engine's SYN in the same way. Stream octets come from patterns, so that what passes through is
 * checked without being spelt out.
 */

import type { EngineCore } from "../../../src/engine/api.ts";
import { EMFILE } from "../../../src/engine/boundary.ts";
import { defaultEngineConfig, defaultIpv6Config, type EngineConfig } from "../../../src/engine/config.ts";
import { EngineLoop } from "../../sim/engine-loop.ts";
import { arenaForWorld, makeEngine } from "../../sim/engine-under-test.ts";
import {
  ACK,
  buildArp,
  buildEthernet,
  buildIpv4,
  buildIpv6,
  buildNeighbourAdvertisement,
  buildTcp,
  describeTcp,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  FIN,
  formatFlags,
  type Ip6,
  NEIGHBOUR_SOLICITATION,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PSH,
  parseArp,
  parseEthernet,
  parseIpv4,
  parseIpv6,
  parseTcp,
  RST,
  SYN,
  type TcpOptions,
  type TcpSegment,
  URG,
} from "../../sim/guest-stack/codec.ts";
import type { SimFrame } from "../../sim/guest-stack/guest.ts";
import { SimulatedHost } from "../../sim/host-network/host-network.ts";
import { type PeerEnd, TcpSocket } from "../../sim/host-network/tcp-socket.ts";
import { PERFECT } from "../../sim/pipe.ts";
import { SimulatedLink } from "../../sim/simulated-link.ts";
import { Pattern } from "../../sim/world/pattern.ts";
import { World } from "../../sim/world/world.ts";
import { openForward } from "../../support/open-forward.ts";

const GUEST_IP = 0x0a00020f;
const REMOTE_IP = 0xc6336407 | 0; // 198.51.100.7
const REMOTE_PORT = 80;
const GUEST_PORT = 40_000;
const FORWARD_PORT = 8080;
const GUEST_MAC = Buffer.from([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const GUEST_ISN = 0x7fff0000;

/** The same over IPv6, in the same words: the guest's address, and a remote whose last word is the IPv4 one. */
const GUEST_IP6: Ip6 = [0xfd711ae0 | 0, 0xd44d0002 | 0, 0, 0x15];
const ROUTER_IP6: Ip6 = [0xfe800000 | 0, 0, 0, 2];
const REMOTE_IP6: Ip6 = [0x20010db8, 0, 0, REMOTE_IP];
/** Of a neighbour advertisement: solicited, override. */
const SOLICITED_OVERRIDE = 0x60;

/** What scripts run over; a test file that wants IPv6 says so before it makes the first. */
let family: 4 | 6 = 4;

/** All scripts of this test file run over this family from here on. */
export function runOver(which: 4 | 6): void {
  family = which;
}

/** Octets of the IP header that scripts run over. */
export function ipHeaderOctets(): number {
  return family === 4 ? 20 : 40;
}

/** The guest's end of a flow as the flow table writes it. */
export function guestEnd(port: number): string {
  return family === 4 ? `10.0.2.15:${port}` : `[fd71:1ae0:d44d:2::15]:${port}`;
}

const LETTERS: Record<string, number> = { S: SYN, F: FIN, R: RST, P: PSH, U: URG, ".": ACK };

/** `S.` as tcpdump writes it: SYN and ACK. */
function flagBits(text: string): number {
  return [...text].reduce((bits, letter) => {
    if (LETTERS[letter] === undefined) throw new Error(`no flag ${letter}`);
    return bits | LETTERS[letter];
  }, 0);
}

/** What a script says about a segment, all numbers relative. */
export interface SegmentFields extends TcpOptions {
  readonly seq?: number;
  readonly ack?: number;
  readonly win?: number;
  /** Payload octets, taken from the stream's pattern. */
  readonly length?: number;
  readonly urgent?: number;
  /** Port on the guest's side, when not the usual one. */
  readonly port?: number;
  /** Of an expected segment: 0 for a plain frame. */
  readonly segmentSize?: number;
}

export interface ScriptOptions {
  readonly sendBuffer?: number;
  readonly receiveBuffer?: number;
  /** One way between host and peer, milliseconds. */
  readonly peerDelayMs?: number;
  readonly offload?: boolean;
  readonly mtu?: number;
  readonly config?: Partial<EngineConfig>;
  readonly seed?: number;
  /** What the engine's clock shows at the start. */
  readonly clock?: number;
}

interface Arrival {
  readonly atMs: number;
  readonly segment: TcpSegment;
  readonly segmentSize: number;
}

/** The host's end of the connection, as the script drives it. */
class ScriptPeer implements PeerEnd {
  socket: TcpSocket | null = null;
  sawReset = false;
  private readOctets = 0;

  established(): void {}
  incoming(): void {}
  writable(): void {}

  resetByEngine(): void {
    this.sawReset = true;
  }

  /** Octets the engine has sent and the peer may read. */
  get available(): number {
    return (this.socket?.reached ?? 0) - this.readOctets;
  }

  get sawFin(): boolean {
    return this.socket?.finReached ?? false;
  }

  read(octets: number): void {
    this.readOctets += octets;
    this.socket?.peerReads(octets);
  }
}

export class TcpScript {
  readonly world: World;
  readonly core: EngineCore;
  readonly host: SimulatedHost;
  readonly peer = new ScriptPeer();
  private readonly link: SimulatedLink;
  private readonly inbox: Arrival[] = [];
  private readonly lines: string[] = [];
  private readonly loop: EngineLoop;
  private readonly fromGuest = new Pattern(12_345);
  private readonly fromPeer = new Pattern(654_321);
  private engineIsn: number | null = null;
  private guestIsn = GUEST_ISN;
  private guestPort = GUEST_PORT;
  private remotePort = REMOTE_PORT;
  private remoteIp = REMOTE_IP;
  private readonly mtu: number;
  connects = 0;
  /** Returned by connect(2) at once instead of a socket, when set. */
  connectErrno = 0;
  /** So many attempts find the host without a free descriptor. */
  descriptorsShort = 0;

  constructor(private readonly options: ScriptOptions = {}) {
    const world = new World(options.seed ?? 1, options.clock);
    this.world = world;
    world.trace.listener = (line) => this.lines.push(line);
    // The same room for a segment over either family, so that scripts count the same segments.
    this.mtu = (options.mtu ?? 1500) - 20 + ipHeaderOctets();
    const arena = arenaForWorld();
    this.host = new SimulatedHost(world, arena, { exhaustion: 0, refuseDatagram: 0 });
    this.host.family = family;
    const defaults = defaultEngineConfig();
    const ipv6 = family === 6 ? { ...defaultIpv6Config(defaults.gatewayMac), dhcp: null } : null;
    this.core = makeEngine(world, arena, this.host, {
      ...defaults,
      ipv6,
      mtu: this.mtu,
      dhcp: null,
      forwards: [
        {
          protocol: "tcp",
          hostAddress: 0x7f000001,
          hostPort: FORWARD_PORT,
          guestAddress: 0,
          ...(family === 6 ? { guestAddress6: null } : {}),
          guestPort: FORWARD_PORT,
        },
      ],
      ...options.config,
    });
    const offload = options.offload ?? false;
    const settings = {
      mtu: this.mtu,
      offload,
      queueFrames: 1000,
      streamOctets: 0,
      alignment: 2,
      toGuest: PERFECT,
      toEngine: PERFECT,
    };
    this.link = new SimulatedLink(world, arena, settings, { sent: () => {}, handed: () => {} }, (frame) =>
      this.arrives(frame),
    );
    this.loop = new EngineLoop(world, this.core, this.host, () => 0);
    this.loop.attach(this.link);
    openForward(this.core, this.host.openListener(0));
    this.host.serveTcp(REMOTE_IP, REMOTE_PORT, (handle, token) => {
      if (this.descriptorsShort > 0) {
        this.descriptorsShort--;
        return EMFILE;
      }
      this.connects++;
      return this.connectErrno !== 0 ? this.connectErrno : this.newSocket(handle, token);
    });
    const zero = Buffer.alloc(6);
    const hello = {
      operation: 1,
      senderMac: GUEST_MAC,
      senderIp: GUEST_IP,
      targetMac: zero,
      targetIp: GUEST_IP,
    };
    if (family === 6) this.advertise(Buffer.from(this.core.config.gatewayMac), ROUTER_IP6);
    else this.toEngine(buildEthernet(Buffer.alloc(6, 255), GUEST_MAC, ETHERTYPE_ARP, buildArp(hello)));
    this.advance(0);
  }

  private newSocket(handle: number, token: number): TcpSocket {
    const { sendBuffer = 200_000, receiveBuffer = 200_000, peerDelayMs = 0 } = this.options;
    const socket = new TcpSocket(
      this.world,
      this.world.random.fork(),
      handle,
      token,
      "peer",
      { sendBuffer, receiveBuffer, delayMs: peerDelayMs, hiccups: 0 },
      this.fromGuest,
      this.fromPeer,
      this.peer,
      this.host.wake,
    );
    this.peer.socket = socket;
    return socket;
  }

  // --- the host's kernel -------------------------------------------------------------------------------------------

  private get socket(): TcpSocket {
    if (this.peer.socket === null) this.fail("the engine has not opened a socket");
    return this.peer.socket;
  }

  /** The peer takes the connection. */
  hostConnects(): void {
    this.socket.connected();
    this.advance(0);
  }

  /** The way to the peer is cut, or whole again. */
  peerVanishes(): void {
    this.socket.vanishes();
  }

  peerReturns(): void {
    this.socket.returns();
  }

  /** The peer's keepalive arrives at the host's kernel. */
  peerAsks(): void {
    this.socket.peerAsks();
  }

  /** How often the host's kernel was asked to probe the peer. */
  get probes(): number {
    return this.socket.probes;
  }

  hostFails(errno: number): void {
    this.socket.failed(errno);
    this.advance(0);
  }

  peerWrites(octets: number, urgent = false): void {
    this.socket.peerWrites(octets, urgent);
    this.advance(0);
  }

  peerReads(octets: number): void {
    this.peer.read(octets);
    this.advance(0);
  }

  peerCloses(): void {
    this.socket.peerShutsDown();
    this.advance(0);
  }

  peerResets(): void {
    this.socket.peerResets();
    this.advance(0);
  }

  /** The kernel reports an error on the established connection. */
  socketFails(errno: number): void {
    this.socket.breaks(errno);
    this.advance(0);
  }

  /** The host's event loop sleeps, so that what the kernel does meanwhile is seen in one piece. */
  hostSleeps(ms: number): void {
    this.loop.stall(ms);
  }

  /** The next caller finds the host without a free descriptor. */
  hostExhausted(): void {
    this.host.acceptFailures = 1;
  }

  /** Somebody connects to the forwarded port: from here on the script is about that connection. */
  peerCalls(port = 50_000, ip = REMOTE_IP): void {
    this.guestPort = FORWARD_PORT;
    this.remotePort = port;
    this.remoteIp = ip;
    this.host.callListener(0, {
      ip,
      port,
      accepted: (handle, token) => this.newSocket(handle, token),
      refused: () => this.peer.resetByEngine(),
    });
    this.advance(0);
  }

  /** The link is gone, as when QEMU is killed; and there is another. */
  linkGoes(): void {
    this.loop.attach(null);
    this.advance(0);
  }

  linkReturns(): void {
    this.loop.attach(this.link);
    this.advance(0);
  }

  /** The device is down, or up again: frames that come meanwhile are lost, and the link says so. */
  deviceIsDown(down: boolean): void {
    this.link.refusing = down;
  }

  // --- the wire ------------------------------------------------------------------------------------------------------

  private toEngine(octets: Buffer, partialChecksum = false, segmentSize = 0): void {
    this.link.fromGuest({ octets, partialChecksum, segmentSize });
  }

  private arrives(frame: SimFrame): void {
    const ethernet = parseEthernet(frame.octets);
    if (typeof ethernet === "string") this.fail(ethernet);
    if (ethernet.type === ETHERTYPE_ARP) {
      this.arpArrives(ethernet.payload);
      return;
    }
    const packet = family === 6 ? parseIpv6(ethernet.payload) : parseIpv4(ethernet.payload);
    if (typeof packet === "string") this.fail(packet);
    if (packet.protocol === PROTOCOL_ICMPV6) this.discoveryArrives(ethernet, packet.payload);
    if (packet.protocol !== PROTOCOL_TCP) return;
    const segment = parseTcp(packet.payload, packet.source, packet.destination, frame.partialChecksum);
    if (typeof segment === "string") this.fail(segment);
    this.world.note("wire", [], () => `engine > ${describeTcp(this.relative(segment))}`);
    this.inbox.push({ atMs: this.world.nowMs, segment, segmentSize: frame.segmentSize });
  }

  /** Answers solicitations for the guest; the router's advertisements are nothing to a script. */
  private discoveryArrives({ source }: { readonly source: Buffer }, message: Buffer): void {
    if (message[0] !== NEIGHBOUR_SOLICITATION || message.readInt32BE(20) !== GUEST_IP6[3]) return;
    this.advertise(source, ROUTER_IP6);
  }

  /** The guest says where it is. */
  private advertise(mac: Buffer, to: Ip6): void {
    const payload = buildNeighbourAdvertisement(SOLICITED_OVERRIDE, GUEST_IP6, GUEST_MAC, to);
    const packet = buildIpv6({
      source: GUEST_IP6,
      destination: to,
      protocol: PROTOCOL_ICMPV6,
      hopLimit: 255,
      payload,
    });
    this.toEngine(buildEthernet(mac, GUEST_MAC, ETHERTYPE_IPV6, packet));
  }

  private arpArrives(payload: Buffer): void {
    const arp = parseArp(payload);
    if (typeof arp === "string") this.fail(arp);
    if (arp.operation !== 1 || arp.targetIp !== GUEST_IP) return;
    const answer = {
      operation: 2,
      senderMac: GUEST_MAC,
      senderIp: GUEST_IP,
      targetMac: arp.senderMac,
      targetIp: arp.senderIp,
    };
    this.toEngine(buildEthernet(arp.senderMac, GUEST_MAC, ETHERTYPE_ARP, buildArp(answer)));
  }

  /** A new connection from the guest: fresh numbers, optionally on another port. */
  startOver(isn: number, port = this.guestPort): void {
    this.guestIsn = isn;
    this.guestPort = port;
    this.engineIsn = null;
  }

  inject(flags: string, fields: SegmentFields = {}): void {
    const { seq = 0, ack, win = 65_535, length = 0, urgent = 0, port, segmentSize = 0, ...options } = fields;
    const bits = flagBits(flags);
    const data = bits & SYN ? 0 : seq - 1;
    const segment: TcpSegment = {
      sourcePort: port ?? this.guestPort,
      destinationPort: this.remotePort,
      sequence: (this.guestIsn + seq) >>> 0,
      acknowledgment: ack === undefined ? 0 : ((this.engineIsn ?? 0) + ack) >>> 0,
      flags: bits,
      window: win,
      urgentPointer: urgent,
      options: this.absoluteSack(options),
      payload: length > 0 ? this.fromGuest.slice(Math.max(0, data), length) : Buffer.alloc(0),
    };
    this.world.note(
      "wire",
      [],
      () => `guest  > ${describeTcp({ ...segment, sequence: seq, acknowledgment: ack ?? 0 })}`,
    );
    const partial = this.options.offload ?? false;
    const gateway = Buffer.from(this.core.config.gatewayMac);
    if (family === 6) {
      const payload = buildTcp(segment, GUEST_IP6, REMOTE_IP6, partial ? "partial" : "full");
      const ends = { source: GUEST_IP6, destination: REMOTE_IP6 };
      const packet = buildIpv6({ ...ends, protocol: PROTOCOL_TCP, hopLimit: 64, payload });
      this.toEngine(buildEthernet(gateway, GUEST_MAC, ETHERTYPE_IPV6, packet), partial, segmentSize);
      this.advance(0);
      return;
    }
    const payload = buildTcp(segment, GUEST_IP, this.remoteIp, partial ? "partial" : "full");
    const packet = buildIpv4({
      source: GUEST_IP,
      destination: this.remoteIp,
      protocol: PROTOCOL_TCP,
      ttl: 64,
      id: 1,
      dontFragment: true,
      moreFragments: false,
      fragmentOffset: 0,
      payload,
    });
    this.toEngine(buildEthernet(gateway, GUEST_MAC, ETHERTYPE_IPV4, packet), partial, segmentSize);
    this.advance(0);
  }

  private absoluteSack(options: TcpOptions): TcpOptions {
    if (options.sack === undefined) return options;
    const base = this.engineIsn ?? 0;
    return { ...options, sack: options.sack.map(([l, r]) => [(base + l) >>> 0, (base + r) >>> 0] as const) };
  }

  private relative(segment: TcpSegment): TcpSegment {
    const { options } = segment;
    const sack = options.sack?.map(
      ([l, r]) => [(l - this.guestIsn) | 0, (r - this.guestIsn) | 0] as [number, number],
    );
    return {
      ...segment,
      sequence: this.engineIsn === null ? segment.sequence : (segment.sequence - this.engineIsn) | 0,
      acknowledgment: (segment.acknowledgment - this.guestIsn) | 0,
      options: sack === undefined ? options : { ...options, sack },
    };
  }

  /** The engine's initial sequence number, once it has sent a SYN. */
  get initialSequence(): number {
    return this.engineIsn ?? 0;
  }

  /** Lets virtual time pass. */
  advance(ms: number): void {
    const until = this.world.nowMs + ms;
    while (this.world.step(until));
    this.world.nowMs = until;
  }

  /**
   * The next segment the engine sends must look like this; it has to come within `withinMs`, and not before
   * `afterMs`. Only the fields named are compared. Returns it with relative numbers.
   */
  expect(flags: string, fields: SegmentFields = {}, withinMs = 0, afterMs = 0): TcpSegment {
    const startMs = this.world.nowMs;
    while (this.inbox.length === 0 && this.world.step(startMs + withinMs));
    const arrival = this.inbox.shift();
    const wanted = `${flags} ${JSON.stringify(fields)} between ${afterMs} and ${withinMs} ms`;
    if (arrival === undefined) this.fail(`expected ${wanted}, got nothing`);
    if ((arrival.segment.flags & SYN) !== 0) this.engineIsn = arrival.segment.sequence;
    const segment = this.relative(arrival.segment);
    const got = `expected ${wanted}, got ${describeTcp(segment)} after ${arrival.atMs - startMs} ms`;
    if (formatFlags(segment.flags & ~PSH) !== formatFlags(flagBits(flags) & ~PSH)) this.fail(got);
    if (arrival.atMs - startMs < afterMs) this.fail(got);
    this.compare(segment, arrival.segmentSize, fields, got);
    return segment;
  }

  private compare(segment: TcpSegment, segmentSize: number, fields: SegmentFields, got: string): void {
    const { seq, ack, win, length, urgent, port, segmentSize: size, ...options } = fields;
    const pairs: [unknown, unknown][] = [
      [seq, segment.sequence],
      [ack, segment.acknowledgment],
      [win, segment.window],
      [length, segment.payload.length],
      [urgent, segment.urgentPointer],
      [port, segment.destinationPort],
      [size, segmentSize],
      ...Object.entries(options).map(([name, value]): [unknown, unknown] => [
        value,
        segment.options[name as keyof TcpOptions],
      ]),
    ];
    for (const [wanted, found] of pairs) {
      if (wanted !== undefined && JSON.stringify(wanted) !== JSON.stringify(found)) this.fail(got);
    }
    if (segment.payload.length > 0 && this.fromPeer.mismatch(segment.sequence - 1, segment.payload) >= 0) {
      this.fail(`wrong octets: ${got}`);
    }
  }

  /** The engine stays silent for `ms`. */
  expectNothing(ms = 0): void {
    this.advance(ms);
    const [arrival] = this.inbox;
    if (arrival !== undefined)
      this.fail(`expected silence, got ${describeTcp(this.relative(arrival.segment))}`);
  }

  /** Takes whatever came, for scripts that are about something else. */
  drain(): TcpSegment[] {
    return this.inbox.splice(0).map(({ segment }) => this.relative(segment));
  }

  fail(what: string): never {
    throw new Error(`${what}\n${this.lines.slice(-40).join("\n")}`);
  }

  // --- openings many scripts share -----------------------------------------------------------------------------------

  /** The guest opens a connection and the host accepts. */
  open(options: TcpOptions = { mss: 1460 }, win = 65_535): void {
    this.inject("S", { seq: 0, win, ...options });
    this.hostConnects();
    this.expect("S.", { ack: 1 });
    const stamp =
      options.timestamp === undefined ? {} : { timestamp: [options.timestamp[0] + 1, 0] as const };
    this.inject(".", { seq: 1, ack: 1, win, ...stamp });
    this.expectNothing();
  }

  /** How many flows the engine still has. */
  get flowCount(): number {
    return this.core.usage().tcp;
  }

  /** State of the only flow, as the flow table shows it. */
  get state(): string {
    return this.core.flows(this.world.clock)[0]?.state ?? "none";
  }
}
