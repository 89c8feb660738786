/**
 * The TCP layer without an engine around it: what its parts work with, over a link and a host that a test holds in its
 * hands. For tests of one part; what a guest sees is in the scripts (tcp-script.ts).
 */
import type { FrameLink } from "../../../src/engine/boundary.ts";
import { defaultEngineConfig } from "../../../src/engine/config.ts";
import { TX_HEADER_SLOT_OCTETS, TX_QUEUE_MAX } from "../../../src/engine/limits.ts";
import { Egress } from "../../../src/engine/link/egress.ts";
import { Neighbours } from "../../../src/engine/link/neighbours.ts";
import { Neighbours6 } from "../../../src/engine/link/neighbours6.ts";
import { type TransmitQueue, TX_CHECKSUM_PARTIAL } from "../../../src/engine/memory/transmit-queue.ts";
import { Counters } from "../../../src/engine/metrics/counters.ts";
import { endedBy, endReason, FLOW_END_REASONS, FLOW_ENDED_BY } from "../../../src/engine/metrics/flow-end.ts";
import type { Destinations } from "../../../src/engine/network/destinations.ts";
import { FlowLedger } from "../../../src/engine/transport/flow-ledger.ts";
import { FlowTable } from "../../../src/engine/transport/flow-table.ts";
import { PAIR_WORDS, Path } from "../../../src/engine/transport/path.ts";
import type { Recorder } from "../../../src/engine/transport/recorder.ts";
import { ESTABLISHED, type TcpConnection } from "../../../src/engine/transport/tcp/connection.ts";
import { TcpContext, type TcpParts } from "../../../src/engine/transport/tcp/context.ts";
import { newConnection } from "../../../src/engine/transport/tcp/open.ts";
import { JavaScriptChecksum } from "../../../src/engine/wire/checksum.ts";
import { IPV6_HEADER_OCTETS } from "../../../src/engine/wire/ipv6.ts";
import { arenaForWorld } from "../../sim/engine-under-test.ts";
import {
  ETHERTYPE_IPV4,
  type Ipv4Packet,
  type Ipv6Packet,
  parseEthernet,
  parseIpv4,
  parseIpv6,
  parseTcp,
  type TcpSegment,
} from "../../sim/guest-stack/codec.ts";
import { HeldNetwork } from "../../support/frame-exchange.ts";

export const GUEST_IP = 0x0a00020f;
export const REMOTE_IP = 0xc6336407 | 0; // 198.51.100.7
export const GUEST_PORT = 40_000;
export const REMOTE_PORT = 80;
export const SECRETS = [0x1234567, 0x89abcd] as const;
const GATEWAY_MAC = Uint8Array.of(0x52, 0x55, 10, 0, 2, 2);
const GUEST_MAC = [0x5254, 0x00123456] as const;

interface SentFrame {
  readonly octets: Buffer;
  readonly flags: number;
  readonly segmentSize: number;
  readonly transportOffset: number;
}

class KeptLink implements FrameLink {
  readonly name = "kept";
  readonly udpOffload = false;
  readonly frames: SentFrame[] = [];
  /** Frames it would still take. */
  room = Number.POSITIVE_INFINITY;

  constructor(
    readonly mtu: number,
    readonly tcpOffload: boolean,
    readonly queueFrames: number,
    private readonly octets: Uint8Array,
  ) {}

  receive(): number {
    return 0;
  }

  transmit(queue: TransmitQueue): number {
    const count = Math.min(queue.length, this.room);
    for (let n = 0; n < count; n++) {
      const i = (queue.first + n) & (queue.capacity - 1);
      const [header, payload] = [queue.headerAt[i], queue.payloadAt[i]];
      this.frames.push({
        octets: Buffer.concat([
          this.octets.slice(header, header + queue.headerLength[i]),
          this.octets.slice(payload, payload + queue.payloadLength[i]),
        ]),
        flags: queue.flags[i],
        segmentSize: queue.segmentSize[i],
        transportOffset: queue.transportOffset[i],
      });
    }
    this.room -= count;
    queue.taken(count);
    return count;
  }

  close(): void {}
}

export interface LayerOptions {
  readonly flows?: number;
  readonly offload?: boolean;
  readonly queueFrames?: number;
  readonly mtu?: number;
  readonly maxHalfOpen?: number;
  readonly payloadOctets?: number;
}

export class TcpLayer {
  readonly arena = arenaForWorld();
  readonly counters = new Counters();
  readonly network = new HeldNetwork(this.arena);
  readonly neighbours = new Neighbours();
  readonly egress: Egress;
  readonly link: KeptLink;
  ctx: TcpContext;
  readonly parts: TcpParts;
  /** Ids whose deadline the wheel told of. */
  readonly fired: number[] = [];
  /** Ports of connections whose beginning was told, and how connections ended: by whom and why, and what the host said. */
  readonly told: { readonly opened: number[]; readonly ended: [port: number, end: string, errno: number][] };

  constructor(options: LayerOptions = {}) {
    const { flows: capacity = 16, offload = false, queueFrames = 0, mtu = 1500 } = options;
    const defaults = defaultEngineConfig();
    const config = {
      ...defaults,
      maxHalfOpen: options.maxHalfOpen ?? capacity,
      payloadOctets: options.payloadOctets ?? defaults.payloadOctets,
    };
    const { arena, counters } = this;
    // Nothing of an earlier test's frames.
    arena.octets.fill(0xee, arena.txHeadersAt, arena.txHeadersAt + TX_QUEUE_MAX * TX_HEADER_SLOT_OCTETS);
    this.neighbours.learn(GUEST_IP, ...GUEST_MAC);
    this.egress = new Egress(arena, this.neighbours, GATEWAY_MAC, counters);
    this.link = new KeptLink(mtu, offload, queueFrames, arena.octets);
    let state = 12_345;
    const entropy = { int32: () => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0) };
    const parts: TcpParts = {
      arena,
      counters,
      egress: this.egress,
      network: this.network,
      checksum: new JavaScriptChecksum(arena.view),
      flows: new FlowTable(entropy, capacity),
      ledger: new FlowLedger(capacity, () => 0),
      // Nobody here asks where a destination is.
      destinations: null as unknown as Destinations,
      destinations6: null,
      unreachable: null,
      config,
      mtu,
      secret0: SECRETS[0],
      secret1: SECRETS[1],
      token: 0x4000_0000,
    };
    this.parts = parts;
    this.ctx = new TcpContext(parts, 0, (id) => this.fired.push(id));
    this.egress.attach(this.link);
    this.told = { opened: [], ended: [] };
    parts.ledger.recorder = {
      flowOpened: (_id: number, _protocol: number, { guestPort }: Path) => this.told.opened.push(guestPort),
      flowEnded: (
        _id: number,
        _protocol: number,
        { guestPort }: Path,
        _: unknown,
        end: number,
        errno: number,
      ) =>
        this.told.ended.push([
          guestPort,
          `${FLOW_END_REASONS[endReason(end)]} by ${FLOW_ENDED_BY[endedBy(end)]}`,
          errno,
        ]),
    } as unknown as Recorder;
  }

  /** The ends of a connection, over IPv4 or between addresses of IPv6: the guest's, then the remote's. */
  ends(guestPort = GUEST_PORT, pair?: readonly number[]): Path {
    const ends = new Path(Int32Array.from(pair ?? new Array<number>(PAIR_WORDS).fill(0)));
    ends.guestPort = guestPort;
    ends.remotePort = REMOTE_PORT;
    if (pair === undefined) {
      ends.guestAddress = GUEST_IP;
      ends.remoteAddress = REMOTE_IP;
    } else {
      ends.ipOctets = IPV6_HEADER_OCTETS;
      this.egress.neighbours6 ??= new Neighbours6();
      this.egress.neighbours6.learn(ends.pair, 0, ...GUEST_MAC);
    }
    return ends;
  }

  /** A connection that nothing has been said about yet. */
  connection(guestPort = GUEST_PORT, pair?: readonly number[]): TcpConnection {
    const c = newConnection(this.ctx, this.ends(guestPort, pair));
    if (c === null) throw new Error("the table is full");
    return c;
  }

  /** One that is open, with a host socket, at sequence numbers that wrap soon. */
  opened(guestPort = GUEST_PORT): TcpConnection {
    const { ctx, network } = this;
    const c = this.connection(guestPort);
    c.state = ESTABLISHED;
    ctx.halfOpen.remove(c.id);
    c.handle = network.tcpConnect(ctx.token | c.id, Int32Array.of(0, 0, 0xffff, REMOTE_IP, REMOTE_PORT));
    c.mss = 1000;
    c.cwnd = 10_000;
    c.iss = 0x7ffff000;
    c.sndUna = (c.iss + 1) | 0;
    c.sndNxt = c.sndUna;
    c.sndEnd = c.sndUna;
    c.sndWnd = 60_000;
    c.sndWndMax = 60_000;
    c.irs = 0x7fffe000;
    c.rcvNxt = (c.irs + 1) | 0;
    c.rcvTaken = c.rcvNxt;
    c.rcvAdvertised = (c.rcvNxt + 60_000) | 0;
    return c;
  }

  /** Frames that left since the last call. */
  frames(): SentFrame[] {
    this.egress.flush();
    return this.link.frames.splice(0);
  }

  /** Frames that left since the last call, taken apart: checksums are right, or left to who finishes them. */
  packets(): { frame: SentFrame; packet: Ipv4Packet | Ipv6Packet; segment: TcpSegment }[] {
    return this.frames().map((frame) => {
      const ethernet = parseEthernet(frame.octets);
      if (typeof ethernet === "string") throw new Error(ethernet);
      const packet =
        ethernet.type === ETHERTYPE_IPV4 ? parseIpv4(ethernet.payload) : parseIpv6(ethernet.payload);
      if (typeof packet === "string") throw new Error(packet);
      const isPartial = (frame.flags & TX_CHECKSUM_PARTIAL) !== 0;
      const segment = parseTcp(packet.payload, packet.source, packet.destination, isPartial);
      if (typeof segment === "string") throw new Error(segment);
      return { frame, packet, segment };
    });
  }

  /** Segments that left since the last call. */
  sent(): TcpSegment[] {
    return this.packets().map(({ segment }) => segment);
  }
}
