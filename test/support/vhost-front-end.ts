/**
 * A front-end of vhost-user and the driver of its network card, written for tests: a memory file, two rings in it, their
 * eventfds, and the messages that share them.
 *
 *     const front = new VhostFrontEnd(socket);
 *     front.negotiate();
 *     front.shareMemory();
 *     front.startRings();
 *     front.transmit.post([{ octets: frame }]);
 *     front.receive.post([{ room: 2048 }]);
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as protocol from "../../src/host/link/vhost-protocol.ts";
import { native } from "../../src/host/native/native.ts";
import { nodeHeaders } from "./node-headers.ts";
import { DriverRing } from "./vhost-driver.ts";

interface Calls {
  memoryFile(octets: number, seal: number): number;
  eventDescriptor(initial: bigint | number): number;
  eventCount(fd: number): number;
  kick(fd: number): number;
  map(fd: number, octets: number): ArrayBuffer;
  send(socket: number, octets: Uint8Array, descriptors: readonly number[]): number;
  receive(socket: number, into: Uint8Array): number;
  fullPipe(): number;
  scribble(fd: number, at: number, octets: number, milliseconds: number, seed: number): number;
}

function compile(): Calls {
  const directory = mkdtempSync(join(tmpdir(), "sluice-test-vhost-"));
  try {
    const source = join(dirname(fileURLToPath(import.meta.url)), "vhost-front-end.c");
    const addon = join(directory, "front-end.node");
    const args = ["-O1", "-shared", "-fPIC", "-pthread", "-isystem", nodeHeaders(), "-o", addon, source];
    const compiled = spawnSync(process.env["CC"] ?? "cc", args, { encoding: "utf8" });
    if (compiled.status !== 0) throw new Error(`vhost-front-end.c does not compile: ${compiled.stderr}`);
    return createRequire(import.meta.url)(addon) as Calls;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

export const calls = compile();

/** Where the guest's memory lies for the guest, and for the front-end. */
export const GUEST_BASE = 0x1_0000_0000n;
export const USER_BASE = 0x7f12_0000_0000n;
export const MEMORY_OCTETS = 16 * 1024 * 1024;
/** Where rings and buffers lie in it. */
const RING_OCTETS = 1024 * 1024;
const BUFFERS_AT = 2 * RING_OCTETS;

/** How long another process may take for an answer; one in this process has given it already. */
const ANSWER_MS = 5000;
const NEVER = new Int32Array(new SharedArrayBuffer(4));

/** All that the driver of a Linux guest would take. */
export const ALL_FEATURES = protocol.deviceFeatures(true, false) & ~protocol.LOG_ALL;
export const PLAIN_FEATURES = protocol.VERSION_1 | protocol.PROTOCOL_FEATURES;

export interface Answer {
  readonly request: number;
  readonly flags: number;
  readonly payload: Uint8Array;
}

/** Little-endian numbers of 32 and 64 bits, one after the other. */
export function words(...values: (number | bigint)[]): Uint8Array {
  const octets = values.reduce<number>((sum, value) => sum + (typeof value === "bigint" ? 8 : 4), 0);
  const view = new DataView(new ArrayBuffer(octets));
  let at = 0;
  for (const value of values) {
    if (typeof value === "bigint") view.setBigUint64(at, value, true);
    else view.setUint32(at, value, true);
    at += typeof value === "bigint" ? 8 : 4;
  }
  return new Uint8Array(view.buffer);
}

export interface FrontEndOptions {
  /** Entries of each ring. */
  readonly entries?: number;
  /** Cut the memory into this many regions, of one file, next to each other for the guest. */
  readonly regions?: number;
  readonly sealed?: boolean;
}

export class VhostFrontEnd {
  readonly memoryFd: number;
  readonly memory: Uint8Array;
  /** Rings by their numbers: to the guest, from the guest. */
  readonly receive: DriverRing;
  readonly transmit: DriverRing;
  features = 0n;
  /** Called after each message, for a session without an event loop. */
  onSent: () => void = () => {};
  private readonly regions: number;
  private pending = new Uint8Array(0);
  private readonly owned: number[] = [];

  /** `socket` is a connected Unix stream socket; the front-end closes it. */
  constructor(
    readonly socket: number,
    { entries = 256, regions = 1, sealed = true }: FrontEndOptions = {},
  ) {
    this.regions = regions;
    this.memoryFd = calls.memoryFile(MEMORY_OCTETS, sealed ? 1 : 0);
    const buffer = calls.map(this.memoryFd, MEMORY_OCTETS);
    this.memory = new Uint8Array(buffer);
    const half = (MEMORY_OCTETS - BUFFERS_AT) / 2;
    const ring = (index: number, at: number): DriverRing => {
      const kick = calls.eventDescriptor(0);
      const call = calls.eventDescriptor(0);
      this.owned.push(kick, call);
      return new DriverRing(this.memory, {
        entries,
        at,
        guestBase: GUEST_BASE,
        buffersAt: BUFFERS_AT + index * half,
        buffersEnd: BUFFERS_AT + (index + 1) * half,
        kick,
        call,
      });
    };
    this.receive = ring(0, 0);
    this.transmit = ring(1, RING_OCTETS);
    this.owned.push(this.memoryFd, socket);
  }

  // --- messages --------------------------------------------------------------------------------------------------

  send(
    request: number,
    payload: Uint8Array = new Uint8Array(0),
    descriptors: readonly number[] = [],
    flags: number = protocol.VERSION,
  ): number {
    const header = words(request, flags, payload.length);
    const sent = calls.send(this.socket, new Uint8Array(Buffer.concat([header, payload])), descriptors);
    this.onSent();
    return sent;
  }

  /** The next answer, or undefined while none is there. */
  answer(): Answer | undefined {
    const room = new Uint8Array(4096);
    const got = calls.receive(this.socket, room);
    if (got > 0) this.pending = new Uint8Array(Buffer.concat([this.pending, room.subarray(0, got)]));
    if (this.pending.length < protocol.HEADER_OCTETS) return undefined;
    const view = new DataView(this.pending.buffer, this.pending.byteOffset);
    const size = view.getUint32(8, true);
    const payload = this.pending.slice(protocol.HEADER_OCTETS, protocol.HEADER_OCTETS + size);
    this.pending = this.pending.slice(protocol.HEADER_OCTETS + size);
    return { request: view.getUint32(0, true), flags: view.getUint32(4, true), payload };
  }

  /** Whether the other side has closed the connection. */
  get isClosed(): boolean {
    const got = calls.receive(this.socket, new Uint8Array(1));
    return got === 0 || got === -104;
  }

  /** Sends a request that is answered, and gives the number of the answer. */
  ask(request: number, payload?: Uint8Array, descriptors?: readonly number[], flags?: number): bigint {
    this.send(request, payload, descriptors, flags);
    let answer = this.answer();
    for (let waited = 0; answer === undefined && waited < ANSWER_MS; waited++) {
      Atomics.wait(NEVER, 0, 0, 1);
      answer = this.answer();
    }
    if (answer === undefined) throw new Error(`no answer to request ${request}`);
    return new DataView(answer.payload.buffer).getBigUint64(0, true);
  }

  // --- what a front-end does -------------------------------------------------------------------------------------

  /** Agrees on features, of those the device offers. */
  negotiate(wanted: bigint = ALL_FEATURES): void {
    this.features = wanted & this.ask(protocol.GET_FEATURES);
    if ((this.features & protocol.PROTOCOL_FEATURES) !== 0n) {
      const offered = this.ask(protocol.GET_PROTOCOL_FEATURES);
      this.send(protocol.SET_PROTOCOL_FEATURES, words(offered));
    }
    this.send(protocol.SET_OWNER);
    this.setFeatures(this.features);
  }

  setFeatures(features: bigint): void {
    this.features = features;
    this.send(protocol.SET_FEATURES, words(features));
    for (const ring of [this.receive, this.transmit]) ring.features = features;
  }

  /** The regions as a message has them. */
  regionList(): (readonly [guest: bigint, size: bigint, user: bigint, offset: bigint])[] {
    const size = BigInt(MEMORY_OCTETS / this.regions);
    return Array.from({ length: this.regions }, (_, i) => {
      const offset = BigInt(i) * size;
      // Next to each other for the guest, apart for the front-end.
      return [GUEST_BASE + offset, size, USER_BASE + offset, offset] as const;
    });
  }

  shareMemory(flags?: number): void {
    const list = this.regionList();
    const descriptors = list.map(() => this.memoryFd);
    this.send(protocol.SET_MEM_TABLE, words(list.length, 0, ...list.flat()), descriptors, flags);
  }

  setAddresses(index: 0 | 1, flags = 0, logAt = 0n): void {
    const ring = index === 0 ? this.receive : this.transmit;
    const user = (at: number): bigint => USER_BASE + BigInt(at);
    this.send(
      protocol.SET_VRING_ADDR,
      words(index, flags, user(ring.tableAt), user(ring.usedAt), user(ring.availableAt), logAt),
    );
  }

  startRing(index: 0 | 1, base?: number): void {
    const ring = index === 0 ? this.receive : this.transmit;
    this.send(protocol.SET_VRING_NUM, words(index, ring.entries));
    this.send(protocol.SET_VRING_BASE, words(index, base ?? ring.availableIndex));
    this.setAddresses(index);
    this.send(protocol.SET_VRING_CALL, words(BigInt(index)), [ring.call]);
    this.send(protocol.SET_VRING_KICK, words(BigInt(index)), [ring.kick]);
    if ((this.features & protocol.PROTOCOL_FEATURES) !== 0n) this.enable(index, true);
  }

  enable(index: 0 | 1, on: boolean): void {
    this.send(protocol.SET_VRING_ENABLE, words(index, on ? 1 : 0));
  }

  startRings(): void {
    this.startRing(0);
    this.startRing(1);
  }

  /** All of it, up to the rings. */
  start(features?: bigint): void {
    this.negotiate(features);
    this.shareMemory();
    this.startRings();
  }

  /** Stops a ring; gives its index. */
  stopRing(index: 0 | 1): number {
    return Number(this.ask(protocol.GET_VRING_BASE, words(index, 0)) >> 32n);
  }

  close(): void {
    for (const fd of this.owned.splice(0)) native.close(fd);
  }
}
