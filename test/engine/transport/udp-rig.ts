/** UDP between a guest and sockets that a test holds in its hands: no wire codec, no kernel, no clock but the test's. */
import {
  ADDRESS_WORDS,
  type FrameLink,
  type HostNetwork,
  type UdpBatch,
} from "../../../src/engine/boundary.ts";
import { defaultEngineConfig, type EngineConfig } from "../../../src/engine/config.ts";
import { Egress } from "../../../src/engine/link/egress.ts";
import { Neighbours } from "../../../src/engine/link/neighbours.ts";
import { Neighbours6 } from "../../../src/engine/link/neighbours6.ts";
import { Arena } from "../../../src/engine/memory/arena.ts";
import { Packet } from "../../../src/engine/memory/packet.ts";
import type { TransmitQueue } from "../../../src/engine/memory/transmit-queue.ts";
import { makeUdpBatch } from "../../../src/engine/memory/udp-batch.ts";
import { Counters } from "../../../src/engine/metrics/counters.ts";
import { DROP_REASONS, type DropReasonName } from "../../../src/engine/metrics/drop-reasons.ts";
import { GO } from "../../../src/engine/network/destinations.ts";
import { FlowLedger } from "../../../src/engine/transport/flow-ledger.ts";
import { FlowTable } from "../../../src/engine/transport/flow-table.ts";
import { Udp } from "../../../src/engine/transport/udp/udp.ts";
import { JavaScriptChecksum } from "../../../src/engine/wire/checksum.ts";
import { ip } from "../../support/frames.ts";
import { ip6 } from "../../support/frames6.ts";

export const GUEST = ip("10.0.2.15");
export const REMOTE = ip("192.0.2.1");
export const GUEST6 = ip6("2001:db8:1:2:3:4:5:6");
export const REMOTE6 = ip6("2001:db8:a:b:c:d:e:f");
export const TOKEN = 0x2000000;
/** What the guest sees of an IPv6 remote. */
export const SEEN_BIT = 0x100;
/** What the guest sees of an IPv4 remote it did not name. */
export const seenByGuest = (address: number): number => address ^ 0x200;

/** A datagram, or a run of them in segments, as a socket gives it. */
export interface Arriving {
  readonly words: readonly number[];
  readonly port: number;
  readonly octets: number;
  readonly segment?: number;
  readonly local?: readonly number[];
}

/** What one read of a socket gives: datagrams, and whether more may wait; or an error. */
export type Read = { readonly list: readonly Arriving[]; readonly drained: boolean } | number;

export const from4 = (address: number, port: number, octets = 9): Arriving => ({
  ...{ words: [0, 0, 0xffff, address], port, octets },
});
export const drained = (...list: Arriving[]): Read => ({ list, drained: true });
export const more = (...list: Arriving[]): Read => ({ list, drained: false });

const arena = new Arena();

interface Over extends Partial<EngineConfig> {
  readonly flows?: number;
  readonly nowMs?: number;
}

export class UdpRig {
  readonly arena = arena;
  readonly counters = new Counters();
  readonly flows: FlowTable;
  readonly ledger: FlowLedger;
  readonly egress: Egress;
  readonly batch = makeUdpBatch(8);
  readonly udp: Udp;
  readonly neighbours = new Neighbours();
  /** Sockets by number, what they are told, in order. */
  readonly opened: { readonly token: number; readonly family: number; readonly port: number }[] = [];
  readonly calls: unknown[][] = [];
  readonly reads = new Map<number, Read[]>();
  /** What the host says to the next sockets that are to be opened, 0 for a handle. */
  openErrors: number[] = [];
  refuses = 0;
  /** The number of the first socket; those of the next count on from there. */
  firstHandle = 500;
  /** Frames the link still takes; headers and payloads of those it took. */
  room = Number.POSITIVE_INFINITY;
  readonly frames: Buffer[] = [];
  /** How the next datagrams are judged, and where they go instead of where they are addressed to. */
  verdict = GO;
  to: readonly number[] | null = null;
  now: number;

  constructor({ flows = 64, nowMs = 0, ...over }: Over = {}) {
    this.now = nowMs;
    this.flows = new FlowTable({ int32: () => 7 }, flows);
    this.ledger = new FlowLedger(flows, () => this.now);
    const neighbours6 = new Neighbours6();
    this.neighbours.learn(GUEST, 0x5254, 0x00123456);
    neighbours6.learn(Int32Array.from(GUEST6), 0, 0x5254, 0x00123456);
    this.egress = new Egress(arena, this.neighbours, Uint8Array.of(0x52, 0x55, 10, 0, 2, 2), this.counters);
    this.egress.neighbours6 = neighbours6;
    this.egress.attach({
      ...{ name: "rig", mtu: 1500, queueFrames: 0, tcpOffload: true, udpOffload: true },
      ...{ receive: () => 0, close: () => {}, transmit: (queue: TransmitQueue) => this.take(queue) },
    } as FrameLink);
    const { egress, counters, batch, ledger } = this;
    this.udp = new Udp(
      {
        ...{ arena, egress, counters, batch, ledger, flows: this.flows, secret0: 1, secret1: 2 },
        network: this.network(),
        checksum: new JavaScriptChecksum(arena.view),
        destinations: {
          udp: (packet: Packet, to: Int32Array) =>
            this.judge(packet, to, [0, 0, 0xffff, packet.remoteAddress]),
          seenByGuest,
          clientSeenByGuest: (words: Int32Array, from: number) => seenByGuest(words[from + 3] ?? 0),
          translated: () => new Int32Array(4),
        },
        destinations6: {
          udp: (packet: Packet, to: Int32Array) => this.judge(packet, to, [...packet.pair.subarray(4)]),
          seenByGuest: (words: Int32Array, from: number, to: Int32Array, at: number): void => {
            for (let word = 0; word < 4; word++) to[at + word] = (words[from + word] ?? 0) ^ SEEN_BIT;
          },
        },
        config: { ...defaultEngineConfig(), ...over },
      } as unknown as ConstructorParameters<typeof Udp>[0],
      nowMs,
      TOKEN,
    );
    this.udp.advance(nowMs);
  }

  private judge(packet: Packet, to: Int32Array, words: readonly number[]): number {
    to.set(this.to ?? words);
    to[ADDRESS_WORDS - 1] = packet.remotePort;
    return this.verdict;
  }

  private network(): HostNetwork {
    const call = (...args: unknown[]): void => void this.calls.push(args);
    const receive = (handle: number, batch: UdpBatch): number => this.read(handle, batch);
    return {
      udpOpen: (token: number, family: number, port: number): number => {
        const error = this.openErrors.shift() ?? 0;
        call("open", token, family, port);
        if (error !== 0) return error;
        this.opened.push({ token, family, port });
        return this.firstHandle + this.opened.length - 1;
      },
      udpSend: (handle: number, to: Int32Array, at: number, length: number) =>
        call("send", handle, [...to], at, length),
      udpSendFrom: (handle: number, from: Int32Array, to: Int32Array, at: number, length: number) =>
        call("sendFrom", handle, [...from], [...to], at, length),
      udpFlush: (): number => {
        call("flush");
        return this.refuses;
      },
      udpReceive: receive,
      udpReceiveLocal: receive,
      udpToGroups: (handle: number, ttl: number) => call("toGroups", handle, ttl),
      udpClose: (handle: number) => call("close", handle),
    } as unknown as HostNetwork;
  }

  private read(handle: number, batch: UdpBatch): number {
    this.calls.push(["read", handle]);
    const next = this.reads.get(handle)?.shift();
    if (next === undefined) return 0;
    if (typeof next === "number") {
      batch.drained = false;
      return next;
    }
    let at = arena.udpSlotsAt;
    for (const [i, { words, port, octets, segment = 0, local = [0, 0, 0, 0, 0] }] of next.list.entries()) {
      batch.at[i] = at;
      batch.length[i] = octets;
      batch.segment[i] = segment;
      batch.words.set([...words, port], i * ADDRESS_WORDS);
      batch.local.set(local, i * ADDRESS_WORDS);
      arena.octets.fill(65 + i, at, at + octets);
      at += octets;
    }
    batch.drained = next.drained;
    return next.list.length;
  }

  private take(queue: TransmitQueue): number {
    const count = Math.min(queue.length, this.room);
    this.room -= count;
    for (let n = 0; n < count; n++) {
      const i = (queue.first + n) & (queue.capacity - 1);
      const part = (at = 0, length = 0): Uint8Array => arena.octets.slice(at, at + length);
      this.frames.push(
        Buffer.concat([
          part(queue.headerAt[i], queue.headerLength[i]),
          part(queue.payloadAt[i], queue.payloadLength[i]),
        ]),
      );
    }
    queue.taken(count);
    return count;
  }

  /** A packet of the guest, of either family. */
  packet(over: Partial<Packet> = {}, isIpv6 = false): Packet {
    const packet = Object.assign(new Packet(), {
      ...{ ipOctets: isIpv6 ? 40 : 20, guestPort: 4000, remotePort: 80, payloadAt: arena.rxWindowAt },
      ...{ guestAddress: isIpv6 ? 0 : GUEST, remoteAddress: isIpv6 ? 0 : REMOTE, payloadOctets: 100 },
      nowMs: this.now,
    });
    if (isIpv6) packet.pair.set([...GUEST6, ...REMOTE6]);
    return Object.assign(packet, over);
  }

  /** What becomes of a datagram of the guest. */
  out(over: Partial<Packet> = {}): DropReasonName | undefined {
    return DROP_REASONS[this.udp.datagram(this.packet(over))];
  }

  out6(over: Partial<Packet> = {}): DropReasonName | undefined {
    return DROP_REASONS[this.udp.datagram6(this.packet(over, true))];
  }

  /** The calls since the last look that have one of these names. */
  took(...names: string[]): unknown[][] {
    return this.calls.splice(0).filter(([name]) => names.includes(String(name)));
  }

  /** Time passes. */
  pass(ms: number): void {
    this.now = (this.now + ms) | 0;
    this.udp.advance(this.now);
  }

  /** The socket has something: `reads`, one after the other. Whether work is left after one turn. */
  arrive(handle: number, ...reads: Read[]): boolean {
    this.reads.set(handle, reads);
    const socket = this.opened[handle - this.firstHandle];
    this.udp.hostEvent((socket?.token ?? 0) & ~TOKEN);
    return this.udp.work();
  }

  /** Ends and lengths of the frames the guest got since the last look. */
  seen(): { from: number | readonly number[]; fromPort: number; toPort: number; octets: number }[] {
    this.egress.flush();
    return this.frames.splice(0).map((frame) => {
      const isIpv4 = frame.readUInt16BE(12) === 0x0800;
      const udpAt = isIpv4 ? 34 : 54;
      return {
        from: isIpv4 ? frame.readInt32BE(26) : [22, 26, 30, 34].map((at) => frame.readInt32BE(at)),
        ...{ fromPort: frame.readUInt16BE(udpAt), toPort: frame.readUInt16BE(udpAt + 2) },
        octets: frame.length - udpAt - 8,
      };
    });
  }

  dropped(...names: DropReasonName[]): number[] {
    return names.map((name) => this.counters.dropped(name));
  }
}
