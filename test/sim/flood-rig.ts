/**
 * A flood and, beside it, a connection that behaves: one octet every few milliseconds, echoed by its peer. What the
 * flood does to it is read off the times its echoes take, in virtual time.
 */
import { defaultEngineConfig, type EngineConfig } from "../../src/config/engine-config.ts";
import type { EngineCore } from "../../src/engine.ts";
import { EngineLoop } from "./engine-loop.ts";
import { arenaForWorld, makeEngine } from "./engine-under-test.ts";
import {
  buildEthernet,
  buildIpv4,
  buildTcp,
  ETHERTYPE_IPV4,
  PROTOCOL_TCP,
  parseEthernet,
  parseIpv4,
  parseTcp,
  type TcpSegment,
} from "./guest-stack/codec.ts";
import { Guest } from "./guest-stack/guest.ts";
import { TcpConnection } from "./guest-stack/tcp.ts";
import type { TcpSettings } from "./guest-stack/tcp-settings.ts";
import { SimulatedHost } from "./host-network/host-network.ts";
import { type PeerEnd, TcpSocket } from "./host-network/tcp-socket.ts";
import { PERFECT } from "./pipe.ts";
import { SegmentMonitor } from "./segment-monitor.ts";
import { SimulatedLink } from "./simulated-link.ts";
import { Pattern } from "./world/pattern.ts";
import { World } from "./world/world.ts";

export const GUEST_IP = 0x0a00020f;
export const GUEST_MAC = Buffer.from([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
/** First octets of the MACs a flood invents. */
const INVENTED_MAC = [0x02, 0xfe];
/** Where the flood goes; the connection that behaves has another peer. */
export const FLOOD_IP = 0xcb007100 | 0; // 203.0.113.0
const PEER_IP = 0xc6336407 | 0; // 198.51.100.7
const PEER_PORT = 7;
const ECHO_EVERY_MS = 5;
const MTU = 1500;
/** 1 Gbit/s, 0.1 ms there. */
const WAY = { ...PERFECT, rate: 125_000, delayMs: 0.1, queueFrames: 1000 };

const SETTINGS: TcpSettings = {
  mss: MTU - 40,
  windowScale: 7,
  sack: true,
  timestamps: true,
  receiveBuffer: 200_000,
  delayedAckMs: 40,
  nagle: false,
  minRtoMs: 200,
  maxRtoMs: 60_000,
  maxRetries: 30,
  timeWaitMs: 1000,
  keepaliveMs: 0,
  probe: "old",
  initialWindow: 10,
  superPayload: 0,
  renege: 0,
  shrinks: false,
  crossSyn: false,
};

/** A peer that sends back what it gets. */
class EchoPeer implements PeerEnd {
  private echoed = 0;
  private socket: TcpSocket | null = null;

  established(socket: TcpSocket): void {
    this.socket = socket;
  }

  incoming(): void {
    const { socket } = this;
    if (socket === null) return;
    const fresh = socket.reached - this.echoed;
    this.echoed = socket.reached;
    socket.peerReads(fresh);
    socket.peerWrites(fresh, false);
  }

  writable(): void {}
  resetByEngine(): void {}
}

/** A peer that takes nothing, or sends without end. */
export class StubbornPeer implements PeerEnd {
  established(socket: TcpSocket): void {
    if (this.sends > 0) socket.peerWrites(Math.min(this.sends, socket.peerRoom), false);
  }

  constructor(private readonly sends: number) {}
  incoming(): void {}
  writable(): void {}
  resetByEngine(): void {}
}

export class FloodRig {
  readonly world = new World(1);
  readonly core: EngineCore;
  readonly host: SimulatedHost;
  readonly guest: Guest;
  readonly link: SimulatedLink;
  readonly pattern = new Pattern(4711);
  /** Milliseconds each echo took. */
  readonly echoMs: number[] = [];
  echoesSent = 0;
  private readonly sentAtMs: number[] = [];
  private readonly gateway: Buffer;
  private connection: TcpConnection | null = null;

  constructor(config: Partial<EngineConfig> = {}) {
    const { world } = this;
    const arena = arenaForWorld();
    this.host = new SimulatedHost(world, arena, { exhaustion: 0, refuseDatagram: 0 });
    this.core = makeEngine(world, arena, this.host, { ...defaultEngineConfig(), ...config });
    this.gateway = Buffer.from(this.core.config.gatewayMac);
    this.guest = new Guest(
      world,
      {
        mac: GUEST_MAC,
        ip: GUEST_IP,
        gateway: this.core.config.gateway,
        prefixLength: 24,
        mtu: MTU,
        offload: false,
        padding: 0,
        udpChecksum: true,
      },
      (frame) => this.link.fromGuest(frame),
    );
    const settings = { mtu: MTU, offload: false, queueFrames: 1000, streamOctets: 0, alignment: 2 };
    this.link = new SimulatedLink(
      world,
      arena,
      { ...settings, toGuest: WAY, toEngine: { ...WAY, queueFrames: 100_000 } },
      new SegmentMonitor(world),
      (frame) => this.toGuest(frame.octets),
    );
    new EngineLoop(world, this.core, this.host, () => 0).attach(this.link);
    this.run(10);
  }

  /** Frames for flood ports go nowhere; the rest goes to the guest's stack, which would answer them with RSTs. */
  private toGuest(octets: Buffer): void {
    const ethernet = parseEthernet(octets);
    const invented = octets[0] === INVENTED_MAC[0] && octets[1] === INVENTED_MAC[1];
    if (invented) {
      this.onInvented?.(octets);
      return;
    }
    if (typeof ethernet !== "string" && ethernet.type === ETHERTYPE_IPV4) {
      const packet = parseIpv4(ethernet.payload);
      if (typeof packet !== "string" && packet.source >>> 8 === FLOOD_IP >>> 8) {
        this.onFlooded?.(packet.source, packet.payload);
        return;
      }
      if (typeof packet !== "string" && packet.destination !== GUEST_IP) return;
    }
    this.guest.receive({ octets, partialChecksum: false, segmentSize: 0 });
  }
  /** Called with frames to MACs the flood invented. */
  onInvented: ((octets: Buffer) => void) | null = null;
  /** Called with what the engine sends in answer to the flood. */
  onFlooded: ((source: number, payload: Buffer) => void) | null = null;

  /** Lets virtual time pass. */
  run(ms: number): void {
    const until = this.world.nowMs + ms;
    while (this.world.step(until));
    this.world.nowMs = until;
  }

  /** Opens the connection that behaves and starts its octets. */
  startEcho(): void {
    const { world, host, guest } = this;
    const peer = new EchoPeer();
    host.serveTcp(PEER_IP, PEER_PORT, (handle, token) =>
      this.socket(handle, token, peer, this.pattern, this.pattern),
    );
    const address = { localIp: GUEST_IP, localPort: 33_333, remoteIp: PEER_IP, remotePort: PEER_PORT };
    const connection: TcpConnection = new TcpConnection(
      world,
      address,
      SETTINGS,
      this.pattern,
      this.pattern,
      (segment, segmentSize) => guest.sendTcp(address, segment, segmentSize),
      () => guest.removeConnection(connection),
    );
    this.connection = connection;
    connection.user = {
      connected: () => this.sendEcho(),
      readable: () => this.takeEchoes(),
      acknowledged: () => {},
      ended: (ending) => world.violation(`the connection that behaves ended: ${ending}`),
    };
    guest.addConnection(connection);
    connection.connect();
  }

  /** No more octets; those under way are still answered. */
  stopEcho(): void {
    this.stopped = true;
  }
  private stopped = false;

  private sendEcho(): void {
    if (this.stopped) return;
    this.sentAtMs.push(this.world.nowMs);
    this.echoesSent++;
    this.connection!.write(1);
    this.world.after(ECHO_EVERY_MS, () => this.sendEcho());
  }

  private takeEchoes(): void {
    for (let n = this.connection!.read(1_000_000); n > 0; n--) {
      this.echoMs.push(this.world.nowMs - this.sentAtMs[this.echoMs.length]);
    }
  }

  /** A host socket whose octets follow the two patterns; it connects at once. */
  socket(handle: number, token: number, peer: PeerEnd, fromGuest: Pattern, fromPeer: Pattern): TcpSocket {
    const socket = new TcpSocket(
      this.world,
      this.world.random,
      handle,
      token,
      "flood",
      { sendBuffer: 65_536, receiveBuffer: 200_000, delayMs: 0, hiccups: 0 },
      fromGuest,
      fromPeer,
      peer,
      this.host.wake,
    );
    this.world.after(0, () => socket.connected());
    return socket;
  }

  /** Puts an IP packet on the link as the guest would. */
  packet(
    destination: number,
    protocol: number,
    payload: Buffer,
    change: { id?: number; more?: boolean } = {},
  ): void {
    const packet = buildIpv4({
      source: GUEST_IP,
      destination,
      protocol,
      ttl: 64,
      id: change.id ?? 0,
      dontFragment: false,
      moreFragments: change.more ?? false,
      fragmentOffset: 0,
      payload,
    });
    this.frame(buildEthernet(this.gateway, GUEST_MAC, ETHERTYPE_IPV4, packet));
  }

  frame(octets: Buffer): void {
    this.link.fromGuest({ octets, partialChecksum: false, segmentSize: 0 });
  }

  segment(destination: number, segment: Partial<TcpSegment>): void {
    const whole: TcpSegment = {
      sourcePort: 1,
      destinationPort: 80,
      sequence: 1000,
      acknowledgment: 0,
      flags: 0,
      window: 65_535,
      urgentPointer: 0,
      options: {},
      payload: Buffer.alloc(0),
      ...segment,
    };
    this.packet(destination, PROTOCOL_TCP, buildTcp(whole, GUEST_IP, destination, "full"));
  }

  /** The TCP segment in what `onFlooded` got. */
  parse(source: number, payload: Buffer): TcpSegment {
    const segment = parseTcp(payload, source, GUEST_IP, false);
    return typeof segment === "string" ? this.world.violation(segment) : segment;
  }
}
