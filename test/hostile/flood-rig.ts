/**
 * An engine that can be flooded: a link that makes its frames where they are read, host sockets that are two numbers
 * each, and an honest connection beside the flood whose every round trip is timed. Nothing here grows with the flood,
 * so whatever does is the engine's.
 *
 * Time is virtual: a turn of the engine takes one millisecond and one batch of frames.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { type EngineCore, TOKEN_LINK } from "../../src/engine/api.ts";
import {
  ADDRESS_PORT,
  ADDRESS_WORDS,
  type AddressWords,
  EAGAIN,
  EINPROGRESS,
  type FrameLink,
  type HostNetwork,
  PEER_CLOSED,
  READABLE,
  type UdpBatch,
  WRITABLE,
} from "../../src/engine/boundary.ts";
import { defaultEngineConfig, type EngineConfig } from "../../src/engine/config.ts";
import { createEngineCore } from "../../src/engine/engine.ts";
import { FLOWS_MAX, UDP_RX_SLOT_OCTETS } from "../../src/engine/limits.ts";
import { Arena } from "../../src/engine/memory/arena.ts";
import { CHECKSUM_VALID, type FrameBatch } from "../../src/engine/memory/frame-batch.ts";
import type { TransmitQueue } from "../../src/engine/memory/transmit-queue.ts";
import { REASSEMBLY_REGION_OCTETS } from "../../src/engine/network/reassembly.ts";
import { JavaScriptChecksum } from "../../src/engine/wire/checksum.ts";
import { asTcp, REMOTE, tcp } from "./guest-packets.ts";
import { FAR_ECHO_PORT, FAR_MS, Newcomers } from "./newcomers.ts";

const [SYN, RST, ACK, PSH] = [2, 4, 16, 8];
/** The honest connection: to an echo service, from a port no flood uses, like every port below. */
const HONEST_PORT = 999;
const ECHO_PORT = 7;
const ASK_OCTETS = 100;
const FRAME_STRIDE = 2048;
/** A connection is given up after the one that needs its place has its socket. */
const HANDLES_MAX = FLOWS_MAX * 2;

/** What the host's kernel does with connections to a port. */
export type Behaviour = "echo" | "hang" | "never-reads" | "gives-for-ever";

const ECHO = 0;
const HANG = 1;
const NEVER_READS = 2;
const GIVES = 3;
const KINDS: Record<Behaviour, number> = {
  echo: ECHO,
  hang: HANG,
  "never-reads": NEVER_READS,
  "gives-for-ever": GIVES,
};

/** Host sockets as numbers: what each is for and how many octets it has to give. */
export class CountingNetwork implements HostNetwork {
  behaviour: Behaviour = "hang";
  tcpOpen = 0;
  tcpOpened = 0;
  udpSockets = 0;
  datagrams = 0;
  taken = 0;
  core: EngineCore | null = null;
  now = 0;
  private latest = -1;
  private ended = -1;
  /** Connections to the far service, in the order in which they will be answered. */
  private readonly far: { readonly handle: number; readonly atMs: number }[] = [];
  private readonly kind = new Uint8Array(HANDLES_MAX);
  private readonly token = new Int32Array(HANDLES_MAX);
  private readonly has = new Int32Array(HANDLES_MAX);
  private readonly free = Int32Array.from({ length: HANDLES_MAX }, (_, i) => i);
  private freeCount = HANDLES_MAX;

  private open(token: number, kind: number): number {
    if (this.freeCount === 0) throw new Error("more sockets open than the engine may have flows");
    const handle = this.free[--this.freeCount];
    this.kind[handle] = kind;
    this.latest = handle;
    this.token[handle] = token;
    this.has[handle] = 0;
    return handle;
  }

  tcpConnect(token: number, to: AddressWords): number {
    this.tcpOpen++;
    this.tcpOpened++;
    if (to[4] === FAR_ECHO_PORT) {
      const handle = this.open(token, HANG);
      this.far.push({ handle, atMs: this.now + FAR_MS });
      return handle;
    }
    return this.open(token, to[4] === ECHO_PORT ? ECHO : KINDS[this.behaviour]);
  }

  /** The far service answers those whose time has come. */
  pass(nowMs: number): void {
    this.now = nowMs;
    while (this.far.length > 0 && this.far[0].atMs <= nowMs) {
      const { handle } = this.far.shift()!;
      this.kind[handle] = ECHO;
      this.core?.handleEvent(this.token[handle], WRITABLE, nowMs);
    }
  }
  tcpConnectService(): number {
    return -1;
  }
  tcpConnectOperator(): number {
    return -1;
  }
  connectResult(handle: number): number {
    return this.kind[handle] === HANG ? EINPROGRESS : 0;
  }
  tcpAccept(): number {
    return EAGAIN;
  }
  /** The host of the connection opened last ends its side. */
  endsLatest(): void {
    this.ended = this.latest;
    this.core?.handleEvent(this.token[this.latest], READABLE | PEER_CLOSED, this.now);
  }
  tcpReceive(handle: number, scatter: Int32Array, count: number): number {
    if (handle === this.ended) return 0;
    let length = 0;
    for (let i = 0; i < count; i++) length += scatter[2 * i + 1];
    if (this.kind[handle] === GIVES) return length;
    const octets = Math.min(this.has[handle], length);
    this.has[handle] -= octets;
    return octets === 0 ? EAGAIN : octets;
  }
  tcpSend(handle: number, gather: Int32Array, count: number): number {
    if (this.kind[handle] === NEVER_READS) return EAGAIN;
    let octets = 0;
    for (let i = 0; i < count; i++) octets += gather[i * 2 + 1];
    this.taken += octets;
    if (this.kind[handle] === ECHO) {
      this.has[handle] += octets;
      this.core?.handleEvent(this.token[handle], READABLE | WRITABLE, 0);
    }
    return octets;
  }
  tcpShutdown(): void {}
  tcpStatus(_handle: number, status: Int32Array): number {
    status.fill(0);
    return 0;
  }
  tcpProbe(): number {
    return 0;
  }
  tcpClose(handle: number): void {
    this.tcpOpen--;
    const far = this.kind[handle] === HANG ? this.far.findIndex((one) => one.handle === handle) : -1;
    if (far >= 0) this.far.splice(far, 1);
    this.free[this.freeCount++] = handle;
  }
  udpOpen(token: number): number {
    this.udpSockets++;
    return this.open(token, ECHO);
  }
  udpSend(handle: number, to: AddressWords, _at: number, length: number): void {
    this.datagrams++;
    if (to[4] !== FAR_ECHO_PORT) return;
    this.has[handle] = length;
    this.core?.handleEvent(this.token[handle], READABLE, this.now);
  }
  udpSendFrom(handle: number, _from: AddressWords, to: AddressWords, at: number, length: number): void {
    this.udpSend(handle, to, at, length);
  }
  udpFlush(): number {
    return 0;
  }
  udpReceive(handle: number, batch: UdpBatch): number {
    if (this.has[handle] === 0) return 0;
    batch.at[0] = arena.udpSlotsAt;
    batch.length[0] = Math.min(this.has[handle], UDP_RX_SLOT_OCTETS);
    batch.segment[0] = 0;
    batch.drained = true;
    batch.words.fill(0, 0, ADDRESS_WORDS);
    batch.words[2] = 0xffff;
    batch.words[3] = REMOTE;
    batch.words[ADDRESS_PORT] = FAR_ECHO_PORT;
    this.has[handle] = 0;
    return 1;
  }
  udpReceiveLocal(handle: number, batch: UdpBatch): number {
    return this.udpReceive(handle, batch);
  }
  udpConnect(): number {
    return 0;
  }
  udpToGroups(): void {}
  udpClose(handle: number): void {
    this.udpSockets--;
    this.free[this.freeCount++] = handle;
  }
}

/** Writes frame number `n` of a flood at `at`; returns its length. */
export type Flood = (octets: Uint8Array, view: DataView, at: number, n: number) => number;

class FloodLink implements FrameLink {
  readonly name = "flood";
  readonly mtu = 1500;
  readonly tcpOffload = false;
  readonly udpOffload = false;
  readonly queueFrames = 0;
  /** What is left of the flood. */
  next = 0;
  end = 0;
  flood: Flood = () => 0;
  /** Frames of the honest connection, which come behind those of the flood that are in the queue. */
  readonly honest: Uint8Array[] = [];
  answer: (frame: Uint8Array) => void = () => {};
  sent = 0;
  sentToFlood: (view: DataView, at: number, length: number) => void = () => {};

  constructor(private readonly arena: Arena) {}

  receive(batch: FrameBatch): number {
    batch.reset();
    const { octets, view } = this.arena;
    let at = this.arena.rxWindowAt;
    while (this.next < this.end && batch.count < batch.capacity - 8) {
      const length = this.flood(octets, view, at + 2, this.next++);
      batch.push(at + 2, length, CHECKSUM_VALID, 0);
      at += FRAME_STRIDE;
    }
    for (const frame of this.honest.splice(0, 8)) {
      octets.set(frame, at + 2);
      batch.push(at + 2, frame.length, 0, 0);
      at += FRAME_STRIDE;
    }
    return batch.count;
  }

  transmit(queue: TransmitQueue): number {
    const count = queue.length;
    const { octets, view } = this.arena;
    for (let n = 0; n < count; n++) {
      const i = (queue.first + n) & (queue.capacity - 1);
      const at = queue.headerAt[i];
      const isHonest = queue.headerLength[i] >= 42 && view.getUint16(at + 36) <= HONEST_PORT;
      if (!isHonest) {
        this.sentToFlood(view, at, queue.payloadLength[i]);
        continue;
      }
      const frame = new Uint8Array(queue.headerLength[i] + queue.payloadLength[i]);
      frame.set(octets.subarray(at, at + queue.headerLength[i]));
      const from = queue.payloadAt[i];
      frame.set(octets.subarray(from, from + queue.payloadLength[i]), queue.headerLength[i]);
      this.answer(frame);
    }
    this.sent += count;
    queue.taken(count);
    return count;
  }
  close(): void {}
}

const arena = new Arena(REASSEMBLY_REGION_OCTETS);
setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/**
 * Octets on the heap, and of typed arrays beside it, after what is garbage has gone. The first collection leaves
 * megabytes of it on Node 24 that the second takes.
 */
export function heapOctets(): number {
  collect();
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

export class FloodRig {
  readonly network = new CountingNetwork();
  readonly link = new FloodLink(arena);
  readonly core: EngineCore;
  now = 0;
  /** Round trips of the honest connection, and the longest, milliseconds. */
  answers = 0;
  longestMs = 0;
  private sequence = 5000;
  private acknowledgment = 0;
  private askedMs = -1;
  private established = false;
  private newcomers: Newcomers | null = null;

  constructor(config: Partial<EngineConfig> = {}) {
    let state = 99;
    this.core = createEngineCore(
      { ...defaultEngineConfig(), ...config },
      {
        arena,
        network: this.network,
        entropy: { int32: () => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0) },
        checksum: new JavaScriptChecksum(arena.view),
      },
      0,
    );
    this.network.core = this.core;
    this.core.attach(this.link, 0);
    this.link.answer = (frame) => this.honestAnswer(frame);
  }

  /** One turn of one millisecond. */
  private turn(): void {
    this.newcomers?.step(this.now);
    this.network.pass(this.now);
    this.core.handleEvent(TOKEN_LINK, READABLE, this.now);
    this.core.turn(this.now);
    this.now = (this.now + 1) | 0;
  }

  /** Opens the honest connection; from then on it asks again whenever it has been answered. */
  befriend(): void {
    const options = { mss: 1460 };
    this.say(SYN, Buffer.alloc(0), options);
    this.sequence++;
    this.turn();
    if (!this.established) throw new Error("the honest connection could not be opened");
    this.turn();
  }

  /** From now on conversations begin, one after the other. */
  welcome(protocol: "tcp" | "udp"): Newcomers {
    this.newcomers = new Newcomers(protocol, (frame) => this.link.honest.push(frame));
    return this.newcomers;
  }

  private say(flags: number, payload: Buffer, options = {}): void {
    this.link.honest.push(
      tcp({
        sourcePort: HONEST_PORT,
        destinationPort: ECHO_PORT,
        flags,
        sequence: this.sequence,
        acknowledgment: this.acknowledgment,
        payload,
        options,
      }),
    );
  }

  private honestAnswer(frame: Uint8Array): void {
    if (new DataView(frame.buffer).getUint16(36) !== HONEST_PORT) {
      this.newcomers?.answer(frame);
      return;
    }
    const segment = asTcp(frame);
    if (!this.established && this.answers > 0) return;
    if ((segment.flags & RST) !== 0) throw new Error("the honest connection was reset");
    if ((segment.flags & SYN) !== 0) {
      this.acknowledgment = (segment.sequence + 1) | 0;
      this.established = true;
    }
    if (segment.payload.length === 0 && (segment.flags & SYN) === 0) return;
    this.acknowledgment = (segment.sequence + segment.payload.length + ((segment.flags & SYN) >> 1)) | 0;
    if (segment.payload.length > 0) {
      this.answers++;
      this.longestMs = Math.max(this.longestMs, this.now - this.askedMs);
      this.askedMs = -1;
    }
  }

  private ask(): void {
    if (!this.established || this.askedMs >= 0) return;
    this.askedMs = this.now;
    this.say(ACK | PSH, Buffer.alloc(ASK_OCTETS, this.answers));
    this.sequence = (this.sequence + ASK_OCTETS) | 0;
  }

  /** Floods with `count` frames, the honest connection asking all the while. */
  flood(count: number, flood: Flood): void {
    this.link.flood = flood;
    this.link.next = 0;
    this.link.end = count;
    while (this.link.next < this.link.end || this.link.honest.length > 0) {
      this.ask();
      this.turn();
    }
  }

  /** Lets time pass, the honest connection asking all the while. */
  pass(ms: number): void {
    for (const end = this.now + ms; this.now < end; ) {
      this.ask();
      this.turn();
    }
  }

  /** The honest guest goes away, without waiting for answers. */
  private farewell(): void {
    if (!this.established) return;
    this.established = false;
    this.newcomers = null;
    this.link.honest.length = 0;
    this.say(RST, Buffer.alloc(0));
    this.turn();
  }

  /** Time without traffic, a second at a time; nobody honest is left. */
  sleep(seconds: number): void {
    this.farewell();
    for (let i = 0; i < seconds; i++) {
      this.now = (this.now + 1000) | 0;
      this.core.turn(this.now);
    }
  }
}

// --- frames made in place ----------------------------------------------------------------------------------------------

/** Ethernet and IPv4 from `source` to `destination`, checksum right; `total` is the IP packet's length. */
export function writeHeaders(
  view: DataView,
  at: number,
  source: number,
  destination: number,
  protocol: number,
  total: number,
  id = 1,
  fragmentBits = 0,
): void {
  view.setInt32(at, 0x52550a00);
  view.setInt32(at + 4, 0x02025254);
  view.setInt32(at + 8, 0x00123456);
  view.setInt32(at + 12, 0x08004500);
  view.setUint16(at + 16, total);
  view.setUint16(at + 18, id);
  view.setUint16(at + 20, fragmentBits);
  view.setUint16(at + 22, 0x4000 | protocol);
  view.setUint16(at + 24, 0);
  view.setInt32(at + 26, source);
  view.setInt32(at + 30, destination);
  let sum = 0;
  for (let i = 14; i < 34; i += 2) sum += view.getUint16(at + i);
  sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(at + 24, ~((sum & 0xffff) + (sum >>> 16)));
}

/** A TCP header of 20 octets behind the others. */
export function writeSegment(
  view: DataView,
  at: number,
  ports: readonly [source: number, destination: number],
  flags: number,
  sequence: number,
  acknowledgment: number,
  window: number,
): void {
  view.setUint16(at + 34, ports[0]);
  view.setUint16(at + 36, ports[1]);
  view.setInt32(at + 38, sequence);
  view.setInt32(at + 42, acknowledgment);
  view.setUint16(at + 46, 0x5000 | flags);
  view.setUint16(at + 48, window);
  view.setInt32(at + 50, 0);
}
