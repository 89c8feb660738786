/** A link whose cable is pulled: what the guest sends is read and dropped, and nothing reaches it. */
import { ENOTCONN } from "../../engine/boundary.ts";
import type { FrameBatch } from "../../engine/memory/frame-batch.ts";
import type { TransmitQueue } from "../../engine/memory/transmit-queue.ts";
import type { Counters } from "../../engine/metrics/counters.ts";
import { dropReason } from "../../engine/metrics/drop-reasons.ts";
import type { HostLink } from "../engine-options.ts";

const LINK_DOWN = dropReason("link-down");

/** Batches dropped in one go; only a flood reaches it, and its rest waits for the plug. */
const BATCHES_MAX = 64;

export class PulledLink implements HostLink {
  readonly roomFd?: number;

  constructor(
    readonly inner: HostLink,
    private readonly counters: Counters,
  ) {
    if (inner.roomFd !== undefined) this.roomFd = inner.roomFd;
  }

  get name(): string {
    return this.inner.name;
  }
  get mtu(): number {
    return this.inner.mtu;
  }
  get tcpOffload(): boolean {
    return this.inner.tcpOffload;
  }
  get udpOffload(): boolean {
    return this.inner.udpOffload;
  }
  get queueFrames(): number {
    return this.inner.queueFrames;
  }
  get fd(): number {
    return this.inner.fd;
  }
  get wantsWritable(): boolean {
    return this.inner.wantsWritable;
  }
  get failure(): string {
    return this.inner.failure;
  }

  resume(): void {
    this.inner.resume();
  }

  receive(batch: FrameBatch): number {
    // A kick tells once: all that is there has to go.
    for (let batches = 0; batches < BATCHES_MAX; batches++) {
      const count = this.inner.receive(batch);
      if (count <= 0) return count;
      const { drained } = batch;
      for (let i = 0; i < count; i++) this.counters.drop(LINK_DOWN);
      batch.reset();
      batch.drained = drained;
      if (drained) return 0;
    }
    return 0;
  }

  transmit(_queue: TransmitQueue): number {
    return ENOTCONN;
  }

  close(): void {
    this.inner.close();
  }
}
