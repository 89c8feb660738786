/**
 * An engine core between a link and a host network that a test holds in its hands: frames go in one at a time, what
 * comes out is kept whole, host sockets do what the test says. No kernel, no clock but the test's.
 */

import { type EngineCore, type EnginePorts, TOKEN_FORWARD, TOKEN_LINK } from "../../src/engine/api.ts";
import {
  type AddressWords,
  EAGAIN,
  ECONNREFUSED,
  ECONNRESET,
  FAILED,
  type FrameLink,
  HANGUP,
  type HostNetwork,
  PEER_CLOSED,
  READABLE,
  type ServedFiles,
  type UdpBatch,
  WRITABLE,
} from "../../src/engine/boundary.ts";
import { defaultEngineConfig, type EngineConfig, type OperatorTarget } from "../../src/engine/config.ts";
import { createEngineCore } from "../../src/engine/engine.ts";
import { Arena } from "../../src/engine/memory/arena.ts";
import { CHECKSUM_PARTIAL, type FrameBatch } from "../../src/engine/memory/frame-batch.ts";
import type { TransmitQueue } from "../../src/engine/memory/transmit-queue.ts";
import type { Admit } from "../../src/engine/network/admission.ts";
import { REASSEMBLY_REGION_OCTETS } from "../../src/engine/network/reassembly.ts";
import { PolicyLayers } from "../../src/engine/policy-layers.ts";
import { JavaScriptChecksum } from "../../src/engine/wire/checksum.ts";
import { HostQuicKeys } from "../../src/host/quic-keys.ts";

/** A host TCP socket: what the engine sent to it, and what the test lets it give. */
export class HeldSocket {
  readonly received: Uint8Array[] = [];
  private toGive: Uint8Array[] = [];
  /** Octets the kernel would still take. */
  room = Number.POSITIVE_INFINITY;
  ended = false;
  shutDown = false;
  private failed = false;
  /** "open", "closed", or "reset". */
  state = "open";

  constructor(
    readonly token: number,
    readonly port: number,
    /** Where it goes: four words. */
    readonly to: readonly number[],
    private readonly wake: (token: number, events: number) => void,
  ) {}

  /** The peer behind the socket sends. */
  give(octets: Uint8Array): void {
    this.toGive.push(octets);
    this.wake(this.token, READABLE);
  }

  /** The peer resets the connection. */
  fail(): void {
    this.failed = true;
    this.wake(this.token, READABLE | FAILED | HANGUP);
  }

  /** The peer reads: the kernel takes so many octets more. */
  drain(octets: number): void {
    this.room += octets;
    this.wake(this.token, WRITABLE);
  }

  /** The peer sends FIN. */
  end(): void {
    this.ended = true;
    this.wake(this.token, READABLE | PEER_CLOSED);
  }

  /** As recv(2): as much as there is, up to `length`. */
  read(octets: Uint8Array, at: number, length: number): number {
    if (this.failed) return ECONNRESET;
    let taken = 0;
    while (taken < length && this.toGive.length > 0) {
      const piece = this.toGive[0].subarray(0, length - taken);
      octets.set(piece, at + taken);
      taken += piece.length;
      if (piece.length === this.toGive[0].length) this.toGive.shift();
      else this.toGive[0] = this.toGive[0].subarray(piece.length);
    }
    if (taken > 0) return taken;
    return this.ended ? 0 : EAGAIN;
  }

  get octets(): Uint8Array {
    return new Uint8Array(Buffer.concat(this.received));
  }
}

export interface SentDatagram {
  readonly handle: number;
  /** The last word of the address, and all four. */
  readonly address: number;
  readonly words: readonly number[];
  readonly port: number;
  readonly octets: Uint8Array;
  /** The address of the host it was told to leave from, if it was. */
  from?: number;
}

interface ArrivingDatagram {
  readonly handle: number;
  readonly words: readonly number[];
  readonly port: number;
  readonly octets: Uint8Array;
  readonly local: number;
}

export class HeldNetwork implements HostNetwork {
  readonly sockets: HeldSocket[] = [];
  readonly datagrams: SentDatagram[] = [];
  /** Result of a connection attempt to a port: 0, or -errno. */
  connectTo: (port: number) => number = () => 0;
  /** What has become of a connection to a port: 0 once it stands, EINPROGRESS, or -errno. */
  connected: (port: number) => number = () => 0;
  wake: (token: number, events: number) => void = () => {};
  /** Of each UDP socket. */
  readonly families = new Map<number, 4 | 6>();
  private readonly udpTokens = new Map<number, number>();
  private readonly failing = new Set<number>();
  /** What sockets were told of groups, in order. */
  readonly groupTtls: { readonly handle: number; readonly ttl: number }[] = [];
  private arrivedOn = 0;
  private readonly calling: { readonly words: readonly number[]; readonly port: number }[] = [];
  private readonly arriving: ArrivingDatagram[] = [];

  constructor(private readonly arena: Arena) {}

  tcpConnect(token: number, to: AddressWords): number {
    const result = this.connectTo(to[4]);
    if (result < 0) return result;
    this.sockets.push(new HeldSocket(token, to[4], [...to.slice(0, 4)], (t, events) => this.wake(t, events)));
    return this.sockets.length - 1;
  }
  tcpConnectService(token: number, index: number): number {
    this.sockets.push(new HeldSocket(token, index, [], (t, events) => this.wake(t, events)));
    return this.sockets.length - 1;
  }
  /** A socket to the operator's own has the target's address, or none for a path. */
  tcpConnectOperator(token: number, target: OperatorTarget): number {
    const [words, port] = target.kind === "tcp" ? [target.words, target.port] : [[], 0];
    const result = this.connectTo(port);
    if (result < 0) return result;
    this.sockets.push(new HeldSocket(token, port, [...words], (t, events) => this.wake(t, events)));
    return this.sockets.length - 1;
  }
  connectResult(handle: number): number {
    return this.connected(this.sockets[handle].port);
  }
  /** Somebody connects to forward `index`, whose listener the engine has been given. */
  call(index: number, words: readonly number[], port: number): void {
    this.calling.push({ words, port });
    this.wake(TOKEN_FORWARD | index, READABLE);
  }
  tcpAccept(_listener: number, token: number, from: AddressWords): number {
    const caller = this.calling.shift();
    if (caller === undefined) return EAGAIN;
    from.set([...caller.words, caller.port]);
    this.sockets.push(
      new HeldSocket(token, caller.port, [...caller.words], (t, events) => this.wake(t, events)),
    );
    return this.sockets.length - 1;
  }
  tcpReceive(handle: number, scatter: Int32Array, count: number): number {
    let total = 0;
    for (let i = 0; i < count; i++) {
      const length = scatter[i * 2 + 1];
      const got = this.sockets[handle].read(this.arena.octets, scatter[i * 2], length);
      if (got <= 0) return total > 0 ? total : got;
      total += got;
      if (got < length) break;
    }
    return total;
  }
  tcpSend(handle: number, gather: Int32Array, count: number): number {
    const socket = this.sockets[handle];
    let taken = 0;
    for (let i = 0; i < count && socket.room > 0; i++) {
      const at = gather[i * 2];
      const octets = Math.min(gather[i * 2 + 1], socket.room);
      socket.received.push(this.arena.octets.slice(at, at + octets));
      socket.room -= octets;
      taken += octets;
    }
    return taken === 0 ? EAGAIN : taken;
  }
  tcpShutdown(handle: number): void {
    this.sockets[handle].shutDown = true;
  }
  tcpStatus(_handle: number, status: Int32Array): number {
    status.fill(0);
    return 0;
  }
  tcpProbe(): number {
    return 0;
  }
  tcpClose(handle: number, reset: boolean): void {
    this.sockets[handle].state = reset ? "reset" : "closed";
  }

  udpOpen(token: number, family: 4 | 6 = 4): number {
    const handle = 10_000 + this.udpTokens.size;
    this.families.set(handle, family);
    this.udpTokens.set(handle, token);
    return handle;
  }
  udpSend(handle: number, to: AddressWords, at: number, length: number): void {
    this.datagrams.push({
      handle,
      address: to[3],
      words: [...to.slice(0, 4)],
      port: to[4],
      octets: this.arena.octets.slice(at, at + length),
    });
  }
  udpSendFrom(handle: number, from: AddressWords, to: AddressWords, at: number, length: number): void {
    this.udpSend(handle, to, at, length);
    const sent = this.datagrams.at(-1);
    if (sent !== undefined) sent.from = from[3];
  }
  udpFlush(): number {
    return 0;
  }
  /** A datagram arrives at a host socket; `local` is the address of the host it was sent to. */
  arrive(handle: number, address: number, port: number, octets: Uint8Array, local = 0): void {
    this.arriveFrom(handle, [0, 0, 0xffff, address], port, octets, local);
  }
  /** The same from an address in four words. */
  arriveFrom(handle: number, words: readonly number[], port: number, octets: Uint8Array, local = 0): void {
    this.arriving.push({ handle, words, port, octets, local });
    this.wake(this.udpTokens.get(handle) ?? 0, READABLE);
  }
  /** A bound socket of forward `index`. */
  udpForward(index: number): number {
    return this.udpOpen(TOKEN_FORWARD | index);
  }
  /** The next read of a host socket fails, as after an ICMP error. */
  failNextReceive(handle: number): void {
    this.failing.add(handle);
    this.wake(this.udpTokens.get(handle) ?? 0, READABLE);
  }
  udpReceive(handle: number, batch: UdpBatch): number {
    if (this.failing.delete(handle)) return ECONNREFUSED;
    const i = this.arriving.findIndex((datagram) => datagram.handle === handle);
    if (i < 0) return 0;
    const [datagram] = this.arriving.splice(i, 1);
    this.arena.octets.set(datagram.octets, this.arena.udpSlotsAt);
    batch.at[0] = this.arena.udpSlotsAt;
    batch.length[0] = datagram.octets.length;
    batch.segment[0] = 0;
    batch.words.set([...datagram.words, datagram.port]);
    batch.local.fill(0);
    this.arrivedOn = datagram.local;
    batch.drained = !this.arriving.some((other) => other.handle === handle);
    return 1;
  }
  udpReceiveLocal(handle: number, batch: UdpBatch): number {
    const count = this.udpReceive(handle, batch);
    if (count > 0 && this.arrivedOn !== 0) batch.local.set([0, 0, 0xffff, this.arrivedOn, 0]);
    return count;
  }
  udpConnect(): number {
    return 0;
  }
  udpToGroups(handle: number, ttl: number): void {
    this.groupTtls.push({ handle, ttl });
  }
  udpClose(): void {}
}

export class HeldLink implements FrameLink {
  readonly name = "held";
  readonly queueFrames = 0;
  readonly out: Uint8Array[] = [];
  /** What the engine said of the last frame of `out`. */
  readonly last = { flags: 0, segmentSize: 0, transportOffset: 0 };
  private readonly waiting: { octets: Uint8Array; partial: boolean; segmentSize: number }[] = [];

  constructor(
    private readonly arena: Arena,
    readonly mtu: number,
    readonly tcpOffload: boolean,
    readonly udpOffload: boolean,
  ) {}

  put(octets: Uint8Array, partial: boolean, segmentSize = 0): void {
    this.waiting.push({ octets, partial, segmentSize });
  }
  receive(batch: FrameBatch): number {
    batch.reset();
    const next = this.waiting.shift();
    if (next === undefined) return 0;
    const at = this.arena.rxWindowAt + 2;
    this.arena.octets.set(next.octets, at);
    batch.push(at, next.octets.length, next.partial ? CHECKSUM_PARTIAL : 0, next.segmentSize);
    return 1;
  }
  transmit(queue: TransmitQueue): number {
    const count = queue.length;
    for (let n = 0; n < count; n++) {
      const i = (queue.first + n) & (queue.capacity - 1);
      const header = this.arena.octets.slice(queue.headerAt[i], queue.headerAt[i] + queue.headerLength[i]);
      const payload = this.arena.octets.slice(
        queue.payloadAt[i],
        queue.payloadAt[i] + queue.payloadLength[i],
      );
      this.out.push(new Uint8Array(Buffer.concat([header, payload])));
      this.last.flags = queue.flags[i];
      this.last.segmentSize = queue.segmentSize[i];
      this.last.transportOffset = queue.transportOffset[i];
    }
    queue.taken(count);
    return count;
  }
  close(): void {}
}

const arena = new Arena(REASSEMBLY_REGION_OCTETS);

/** A core with everything around it. `now` starts at 0 and moves by `exchange` and `pass`. */
export class FrameExchange {
  readonly arena = arena;
  readonly network = new HeldNetwork(arena);
  readonly link: HeldLink;
  readonly core: EngineCore;
  /** What the engine had to say. */
  readonly warnings: string[] = [];
  now = 0;

  /** `filesIn` makes what TFTP serves, given the arena's octets; `questionOver`: a program decides before people do. */
  constructor(
    config: Partial<EngineConfig> = {},
    offload = false,
    filesIn?: (octets: Uint8Array) => ServedFiles,
    admit?: Admit,
    questionOver?: EnginePorts["questionOver"],
  ) {
    const whole = { ...defaultEngineConfig(), ...config };
    this.link = new HeldLink(arena, whole.mtu, offload, offload);
    let state = 12345;
    const ports = {
      arena,
      network: this.network,
      warn: (message: string) => void this.warnings.push(message),
      entropy: { int32: () => (state = (Math.imul(state, 1664525) + 1013904223) | 0) },
      checksum: new JavaScriptChecksum(arena.view),
      ...(admit === undefined ? {} : { admit }),
      ...(questionOver === undefined ? {} : { questionOver }),
      ...(filesIn === undefined ? {} : { files: filesIn(arena.octets) }),
    };
    this.core = createEngineCore(
      whole,
      ports,
      this.now,
      (parts) => new PolicyLayers(parts, new HostQuicKeys()),
    );
    this.network.wake = (token, events) => this.core.handleEvent(token, events | WRITABLE, this.now);
    this.core.attach(this.link, this.now);
  }

  /** The guest sends a frame, of several segments or datagrams where these have a size; returns what it gets back at once. */
  exchange(frame: Uint8Array, partial = false, segmentSize = 0): Uint8Array[] {
    this.link.put(frame, partial, segmentSize);
    this.core.handleEvent(TOKEN_LINK, READABLE, this.now);
    return this.settle();
  }

  /** Turns until nothing is left to do now; returns the frames that came out. */
  settle(): Uint8Array[] {
    for (let turns = 0; this.core.turn(this.now); turns++) {
      if (turns > 10_000) throw new Error("the engine never comes to rest");
    }
    return this.link.out.splice(0);
  }

  /** Lets time pass in steps of at most 50 ms. */
  pass(ms: number): Uint8Array[] {
    const out: Uint8Array[] = [];
    for (let left = ms; left > 0; left -= 50) {
      this.now = (this.now + Math.min(left, 50)) | 0;
      out.push(...this.settle());
    }
    return out;
  }
}
