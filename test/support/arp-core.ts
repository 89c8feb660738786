/**
 * A core of a few lines for tests of the host side: answers ARP for the gateway, keeps copies of all other frames,
 * remembers events, and has one timer. Its errors are the host's errors.
 */

import type { EngineCore, EnginePorts, FlowRow, LeaseRow } from "../../src/engine/api.ts";
import type { FrameLink } from "../../src/engine/boundary.ts";
import type { EngineConfig, ResolverAddress } from "../../src/engine/config.ts";
import { FrameBatch } from "../../src/engine/memory/frame-batch.ts";
import { TransmitQueue } from "../../src/engine/memory/transmit-queue.ts";
import { Counters } from "../../src/engine/metrics/counters.ts";
import { FlowLedger } from "../../src/engine/transport/flow-ledger.ts";
import { Recorder } from "../../src/engine/transport/recorder.ts";

const ARP_REPLY_OCTETS = 42;

export class ArpCore implements EngineCore {
  readonly counters = new Counters();
  readonly frames: Uint8Array[] = [];
  readonly events: { token: number; events: number }[] = [];
  readonly forwards: number[] = [];
  /** What it was told of the way out over IPv6. */
  readonly uplinks: boolean[] = [];
  readonly attached: (string | null)[] = [];
  resolvers: readonly ResolverAddress[];
  turns = 0;
  closed = 0;
  oversized = 0;
  link: FrameLink | null = null;
  readonly uptimeMs = 0;
  readonly closedForwards: number[] = [];
  private readonly recorder: Recorder;
  /** Absolute time of its timer, or undefined; `fired` counts expiries. */
  dueMs: number | undefined;
  fired = 0;
  /** How many more turns it wants at once. */
  busyTurns = 0;
  readonly queue: TransmitQueue;
  private readonly batch = new FrameBatch(64);

  constructor(
    readonly config: EngineConfig,
    readonly ports: EnginePorts,
  ) {
    this.resolvers = config.resolvers;
    this.queue = new TransmitQueue(512, ports.arena.txHeadersAt);
    this.recorder = new Recorder(ports.arena, new FlowLedger(1, () => 0));
  }

  attach(link: FrameLink | null): void {
    this.link = link;
    this.attached.push(link === null ? null : link.name);
  }

  openForward(index: number, handle: number): void {
    this.forwards[index] = handle;
  }

  decide(): void {}

  denials() {
    return [];
  }

  setPolicy(): void {}

  limitWaits() {
    return null;
  }

  policyCounts() {
    return null;
  }

  tcpTally() {
    return { states: [], connects: [], connectedMs: 0 };
  }

  pins() {
    return [];
  }

  questions() {
    return [];
  }

  answerQuestion(): "unknown" {
    return "unknown";
  }

  leaveQuestion(): boolean {
    return false;
  }

  setAttended(): void {}
  resetBudget(): boolean {
    return false;
  }

  setHostAddresses(): void {}

  closeForward(id: number): void {
    this.closedForwards.push(id);
  }

  record(): Recorder {
    return this.recorder;
  }

  setControlPorts(): void {}

  setTap(): void {}

  flowOf(): number {
    return 0;
  }

  recordRows(): void {}

  killFlows(): number {
    return 0;
  }

  leases(): LeaseRow[] {
    return [];
  }

  setUplinks(_hasIpv4: boolean, isUp: boolean): void {
    this.uplinks.push(isUp);
  }

  setResolvers(resolvers: readonly ResolverAddress[]): void {
    this.resolvers = resolvers;
  }

  handleEvent(token: number, events: number): void {
    this.events.push({ token, events });
  }

  turn(nowMs: number): boolean {
    this.turns++;
    if (this.dueMs !== undefined && ((nowMs - this.dueMs) | 0) >= 0) {
      this.dueMs = undefined;
      this.fired++;
    }
    while (this.link !== null && this.link.receive(this.batch) > 0) this.take();
    this.oversized += this.batch.oversized;
    this.link?.transmit(this.queue);
    if (this.busyTurns > 0) this.busyTurns--;
    return this.busyTurns > 0;
  }

  private take(): void {
    this.oversized += this.batch.oversized;
    for (let i = 0; i < this.batch.count; i++) {
      const at = this.batch.at[i];
      const frame = this.ports.arena.octets.slice(at, at + this.batch.length[i]);
      if (this.isOurArp(frame)) this.answer(frame);
      else this.frames.push(frame);
    }
  }

  private isOurArp(frame: Uint8Array): boolean {
    const target = new DataView(frame.buffer).getInt32(38);
    return frame[12] === 8 && frame[13] === 6 && frame[21] === 1 && target === this.config.gateway;
  }

  private answer(request: Uint8Array): void {
    if (this.queue.room === 0) return;
    const reply = new Uint8Array(ARP_REPLY_OCTETS);
    reply.set(request.subarray(6, 12), 0);
    reply.set(this.config.gatewayMac, 6);
    reply.set([8, 6, 0, 1, 8, 0, 6, 4, 0, 2], 12);
    reply.set(this.config.gatewayMac, 22);
    reply.set(request.subarray(38, 42), 28);
    reply.set(request.subarray(22, 32), 32);
    this.send(reply);
  }

  /** Queues a frame; it leaves with the next turn. */
  send(frame: Uint8Array): void {
    this.ports.arena.octets.set(frame, this.queue.nextHeaderEnd() - frame.length);
    this.queue.push(frame.length, 0, 0, 0, 0, 0);
  }

  nextDeadlineMs(nowMs: number): number {
    return this.dueMs === undefined ? -1 : Math.max(0, (this.dueMs - nowMs) | 0);
  }

  flows(): FlowRow[] {
    return [];
  }

  usage(): ReturnType<EngineCore["usage"]> {
    return {
      tcp: 0,
      udp: 0,
      dns: 0,
      tftp: 0,
      smallChunks: 0,
      largeChunks: 0,
      queuedFrames: 0,
      reassembly: 0,
    };
  }

  close(): void {
    this.closed++;
  }
}

/** An ARP request of a guest at 10.0.2.15 for the gateway's address 10.0.2.2. */
export function arpRequest(): Uint8Array {
  const guest = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
  return Uint8Array.of(
    ...[255, 255, 255, 255, 255, 255, ...guest, 8, 6],
    ...[0, 1, 8, 0, 6, 4, 0, 1, ...guest, 10, 0, 2, 15],
    ...[0, 0, 0, 0, 0, 0, 10, 0, 2, 2],
  );
}
