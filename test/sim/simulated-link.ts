/**
 * The FrameLink between engine and guest: a pipe each way, and the two ways a real link has of being full. A TAP
 * takes everything and drops what its queue cannot hold; a stream takes less than offered and says so later.
 */

import { type FrameLink, LINK_CLOSED } from "../../src/engine/boundary.ts";
import { RX_WINDOW_OCTETS } from "../../src/engine/limits.ts";
import type { Arena } from "../../src/engine/memory/arena.ts";
import { CHECKSUM_PARTIAL, type FrameBatch } from "../../src/engine/memory/frame-batch.ts";
import {
  type TransmitQueue,
  TX_CHECKSUM_PARTIAL,
  TX_IPV6,
  TX_TCP_SEGMENTS,
  TX_UDP_SEGMENTS,
} from "../../src/engine/memory/transmit-queue.ts";
import type { SimFrame } from "./guest-stack/guest.ts";
import { type Impairment, Pipe } from "./pipe.ts";
import type { World } from "./world/world.ts";

export interface LinkSettings {
  readonly mtu: number;
  readonly offload: boolean;
  /** Plain frames a TAP queues before it drops; 0: a stream that pushes back. */
  readonly queueFrames: number;
  /** Octets a stream holds before it is full. */
  readonly streamOctets: number;
  /** Where a frame starts in the receive window, modulo 4; -1: anywhere, as in a stream. */
  readonly alignment: number;
  readonly toGuest: Impairment;
  readonly toEngine: Impairment;
}

/** -EIO: what a broken device answers. */
const EIO = -5;

export interface LinkObserver {
  /** A frame the engine sent, before anything happens to it. */
  sent(frame: SimFrame): void;
  /** A frame the engine is being handed, after everything happened to it. */
  handed(frame: SimFrame): void;
}

export class SimulatedLink implements FrameLink {
  readonly name = "simulated";
  readonly mtu: number;
  readonly tcpOffload: boolean;
  readonly udpOffload = false;
  readonly queueFrames: number;
  private readonly waiting: SimFrame[] = [];
  private readonly down: Pipe;
  private readonly up: Pipe;
  /** Octets taken from the engine that have not reached the guest (streams only). */
  private held = 0;
  private wasFull = false;
  broken = false;
  /** Frames to the guest are lost, and the engine is told so. */
  refusing = false;
  closed = false;
  framesHanded = 0;
  framesSent = 0;
  /** Something waits for the event loop. */
  onReady: () => void = () => {};
  writablePending = false;

  constructor(
    private readonly world: World,
    private readonly arena: Arena,
    readonly settings: LinkSettings,
    private readonly observer: LinkObserver,
    toGuest: (frame: SimFrame) => void,
  ) {
    this.mtu = settings.mtu;
    this.tcpOffload = settings.offload;
    this.queueFrames = settings.queueFrames;
    this.down = new Pipe(world, "to guest", settings.toGuest, (frame, octets) => {
      if (!this.broken) toGuest(frame);
      this.release(octets);
    });
    this.up = new Pipe(world, "to engine", settings.toEngine, (frame) => {
      if (this.broken) return;
      this.waiting.push(frame);
      this.onReady();
    });
  }

  get readable(): boolean {
    return this.waiting.length > 0 || (this.broken && !this.closed);
  }

  get damaged(): number {
    return this.up.damaged + this.down.damaged;
  }

  fromGuest(frame: SimFrame): void {
    if (!this.broken) this.up.send(frame);
  }

  /** The far end is gone: QEMU was killed, the device removed. */
  break(): void {
    this.broken = true;
    this.waiting.length = 0;
    this.onReady();
  }

  receive(batch: FrameBatch): number {
    batch.reset();
    if (this.closed) this.world.violation("the engine reads a link it has closed");
    if (this.broken) return LINK_CLOSED;
    const { alignment } = this.settings;
    let at = this.arena.rxWindowAt;
    const end = at + RX_WINDOW_OCTETS;
    while (batch.count < batch.capacity && this.waiting.length > 0) {
      const frame = this.waiting[0];
      const start = alignment < 0 ? at : at + ((alignment - at) & 3);
      if (start + frame.octets.length > end) break;
      this.waiting.shift();
      this.arena.octets.set(frame.octets, start);
      at = start + frame.octets.length;
      batch.push(start, frame.octets.length, frame.partialChecksum ? CHECKSUM_PARTIAL : 0, frame.segmentSize);
      this.framesHanded++;
      this.observer.handed(frame);
    }
    return batch.count;
  }

  transmit(queue: TransmitQueue): number {
    if (this.closed) this.world.violation("the engine writes to a link it has closed");
    if (this.broken) return EIO;
    if (this.refusing) return this.refuse(queue);
    let taken = 0;
    while (queue.length > taken) {
      const i = (queue.first + taken) & (queue.capacity - 1);
      const frame = this.copy(queue, i);
      if (this.full(frame.octets.length)) {
        this.wasFull = true;
        break;
      }
      this.framesSent++;
      this.observer.sent(frame);
      this.held += frame.octets.length * this.down.send(frame);
      taken++;
    }
    queue.taken(taken);
    return taken;
  }

  /** As a TAP that is set down: every frame is taken and lost. */
  private refuse(queue: TransmitQueue): number {
    const count = queue.length;
    for (let i = 0; i < count; i++) queue.lose(i);
    queue.taken(count);
    return count;
  }

  private full(octets: number): boolean {
    if (this.settings.queueFrames > 0) return false;
    return this.held > 0 && this.held + octets > this.settings.streamOctets;
  }

  private release(octets: number): void {
    this.held = Math.max(0, this.held - octets);
    if (this.wasFull && this.held <= this.settings.streamOctets / 2) {
      this.wasFull = false;
      this.writablePending = true;
      this.onReady();
    }
  }

  private copy(queue: TransmitQueue, i: number): SimFrame {
    const headerAt = queue.headerAt[i];
    const headerLength = queue.headerLength[i];
    const payloadAt = queue.payloadAt[i];
    const flags = queue.flags[i];
    const octets = Buffer.allocUnsafe(headerLength + queue.payloadLength[i]);
    octets.set(this.arena.octets.subarray(headerAt, headerAt + headerLength), 0);
    octets.set(this.arena.octets.subarray(payloadAt, payloadAt + queue.payloadLength[i]), headerLength);
    const partial = (flags & TX_CHECKSUM_PARTIAL) !== 0;
    if (flags !== 0 && !this.tcpOffload) {
      this.world.violation(`a frame with flags ${flags} for a link without offload`);
    }
    if (flags & TX_UDP_SEGMENTS) this.world.violation("a UDP super-frame for a link that takes none");
    if (partial && queue.transportOffset[i] !== (flags & TX_IPV6 ? 54 : 34)) {
      this.world.violation(`transport header of a partial checksum at ${queue.transportOffset[i]}`);
    }
    const segmentSize = flags & TX_TCP_SEGMENTS ? queue.segmentSize[i] : 0;
    if (segmentSize !== queue.segmentSize[i]) this.world.violation("a segment size without its flag");
    return { octets, partialChecksum: partial, segmentSize };
  }

  close(): void {
    this.closed = true;
  }
}
