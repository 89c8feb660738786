/** Gives back to the host what a burst left in the chunk pool, once nothing has used it for a while. */
import type { ChunkPool } from "./chunk-pool.ts";

/** Memory that nothing uses is kept this long for the next burst. */
const KEEP_MS = 500;

export class IdleMemory {
  private waiting = false;
  private sinceMs = 0;

  /** Without `discard` nothing is ever given back. */
  constructor(
    private readonly pool: ChunkPool,
    private readonly discard: ((at: number, length: number) => void) | undefined,
  ) {}

  /** Looks at the pool and does what is due. */
  tend(nowMs: number): void {
    if (this.discard === undefined || !this.pool.shrinkable) {
      this.waiting = false;
    } else if (!this.waiting) {
      this.waiting = true;
      this.sinceMs = nowMs;
    } else if (this.nextDeadlineMs(nowMs) === 0) {
      this.pool.shrink(this.discard);
      this.waiting = false;
    }
  }

  /** Milliseconds until `tend` has something to do, or -1. */
  nextDeadlineMs(nowMs: number): number {
    return this.waiting ? Math.max(0, (this.sinceMs + KEEP_MS - nowMs) | 0) : -1;
  }
}
