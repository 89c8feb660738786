/**
 * Room for what the engine itself says: ARP, and replies of its services. A reply must stay in place until its frame has
 * left, so the region is used front to back and starts over whenever the transmit queue is empty.
 */
import { SCRATCH_OCTETS } from "../limits.ts";
import type { TransmitQueue } from "./transmit-queue.ts";

export class Scratch {
  private used = 0;

  /** `regionAt` is an arena offset with SCRATCH_OCTETS octets. */
  constructor(
    private readonly regionAt: number,
    private readonly queue: TransmitQueue,
  ) {}

  /** Offset of `octets` octets that stay until the queue has drained, or 0 when there is no room left. */
  keep(octets: number): number {
    if (this.queue.length === 0) this.used = 0;
    if (this.used + octets > SCRATCH_OCTETS) return 0;
    const at = this.regionAt + this.used;
    this.used += (octets + 3) & ~3;
    return at;
  }
}
