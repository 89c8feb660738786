/** What a link needs around it in a test: the registered arena, a transmit queue, counters and a log that is kept. */

import type { FrameLink, Logger } from "../../src/engine/boundary.ts";
import { TX_QUEUE_MAX } from "../../src/engine/limits.ts";
import { Arena } from "../../src/engine/memory/arena.ts";
import { FrameBatch } from "../../src/engine/memory/frame-batch.ts";
import { TransmitQueue } from "../../src/engine/memory/transmit-queue.ts";
import { Counters } from "../../src/engine/metrics/counters.ts";
import { native } from "../../src/host/native/native.ts";
import { type Descriptors, partitionDescriptors } from "../../src/host/native/shim-tables.ts";

/** A logger that keeps its lines, `level: message`. */
export class KeptLog implements Logger {
  readonly lines: string[] = [];
  error = (message: string): number => this.lines.push(`error: ${message}`);
  warn = (message: string): number => this.lines.push(`warn: ${message}`);
  info = (message: string): number => this.lines.push(`info: ${message}`);
  debug = (message: string): number => this.lines.push(`debug: ${message}`);
}

export class LinkRig {
  readonly arena = new Arena();
  readonly descriptors: Descriptors = partitionDescriptors(this.arena);
  readonly counters = new Counters();
  readonly log = new KeptLog();
  readonly queue = new TransmitQueue(TX_QUEUE_MAX, this.arena.txHeadersAt);
  readonly batch: FrameBatch;
  readonly mtu: number;
  readonly offload: boolean;
  private payloadAt = this.arena.largeChunksAt;

  constructor(options: { mtu?: number; offload?: boolean; batch?: number } = {}) {
    this.mtu = options.mtu ?? 1500;
    this.offload = options.offload ?? false;
    this.batch = new FrameBatch(options.batch ?? 256);
    native.registerArena(this.arena.buffer);
  }

  /** Queues a frame: the first `headerLength` octets as its header, the rest as a payload slice of its own. */
  queueFrame(frame: Uint8Array, headerLength: number, flags = 0, segmentSize = 0, transportOffset = 0): void {
    const end = this.queue.nextHeaderEnd();
    this.arena.octets.set(frame.subarray(0, headerLength), end - headerLength);
    const payload = frame.subarray(headerLength);
    this.arena.octets.set(payload, this.payloadAt);
    this.queue.push(headerLength, this.payloadAt, payload.length, flags, segmentSize, transportOffset);
    this.payloadAt += payload.length;
  }

  /** Copies of the frames of the last batch. */
  frames(): Uint8Array[] {
    return Array.from({ length: this.batch.count }, (_, i) =>
      this.arena.octets.slice(this.batch.at[i], this.batch.at[i] + this.batch.length[i]),
    );
  }

  /** Reads the link until it has nothing more; returns all frames and the result that ended it (0 or negative). */
  readAll(link: FrameLink): { frames: Uint8Array[]; oversized: number; result: number } {
    const frames: Uint8Array[] = [];
    let oversized = 0;
    for (;;) {
      const result = link.receive(this.batch);
      frames.push(...this.frames());
      oversized += this.batch.oversized;
      if (result <= 0) return { frames, oversized, result };
    }
  }
}

/** An Ethernet frame of `length` octets from the guest, its octets told by `seed`. */
export function sampleFrame(length: number, seed: number): Uint8Array {
  const frame = new Uint8Array(length);
  for (let i = 0; i < length; i++) frame[i] = (seed * 31 + i * 7) & 255;
  frame.set([0x52, 0x55, 0x0a, 0, 2, 2, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0x08, 0x00].slice(0, length));
  return frame;
}

/** Waits until `condition` holds; throws after `ms`. */
export async function until(condition: () => boolean, what: string, ms = 10_000): Promise<void> {
  const end = performance.now() + ms;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited ${ms} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
