/**
 * Payload storage of TCP flows: two sizes of chunk in the arena, each a LIFO of free ids. A chunk belongs to one
 * list (a flow's unacknowledged octets, its backlog, its out-of-order store), linked through `next`.
 *
 * A chunk may still be named by a frame waiting in the transmit queue when its flow lets go of it. Freeing then
 * waits: the chunk joins a FIFO stamped with the queue's tail, and comes free once the queue's head has passed the
 * stamp. With an empty queue it is free at once.
 *
 * Quotas keep one use from starving another: octets a hostile guest parks (backlogs, out-of-order stores) never
 * take the chunks that carry what hosts send.
 */
import {
  LARGE_CHUNK_OCTETS,
  LARGE_CHUNKS,
  PAYLOAD_OCTETS_MAX,
  SMALL_CHUNK_OCTETS,
  SMALL_CHUNKS,
} from "../limits.ts";
import type { Arena } from "./arena.ts";
import type { TransmitQueue } from "./transmit-queue.ts";

export const NO_CHUNK = -1;
const CHUNKS = SMALL_CHUNKS + LARGE_CHUNKS;

/** What a chunk is taken for; each use may hold at most its share of each size. */
export const USE_SEND = 0;
export const USE_BACKLOG = 1;
export const USE_OUT_OF_ORDER = 2;
/** Shares in eighths: sending 5/8, backlog 2/8, out-of-order 1/8. They add up to the whole. */
const SHARES = [5, 2, 1];
/** Chunks whose memory stays when all are free: half a megabyte of each size. */
const SMALL_KEPT = 128;
const LARGE_KEPT = 8;

/** How many chunks of each size `octets` are, in the proportion of the arena's. */
export function chunksOf(octets: number): { readonly small: number; readonly large: number } {
  const part = octets / PAYLOAD_OCTETS_MAX;
  return { small: Math.floor(SMALL_CHUNKS * part), large: Math.floor(LARGE_CHUNKS * part) };
}

export class ChunkPool {
  /** Next chunk of the same list, or NO_CHUNK. */
  readonly next = new Int32Array(CHUNKS).fill(NO_CHUNK);
  /** Octets filled, from the chunk's start. */
  readonly filled = new Int32Array(CHUNKS);
  /** Sequence number of the chunk's first octet. */
  readonly sequence = new Int32Array(CHUNKS);
  private readonly use = new Uint8Array(CHUNKS);
  private readonly freeSmall = new Int32Array(SMALL_CHUNKS);
  private readonly freeLarge = new Int32Array(LARGE_CHUNKS);
  /** Chunks of each size that may be used: the first of the arena's. */
  private readonly small: number;
  private readonly large: number;
  private freeSmallCount = 0;
  private freeLargeCount = 0;
  private readonly usedSmall = new Int32Array(SHARES.length);
  private readonly usedLarge = new Int32Array(SHARES.length);
  /** Chunks of each size, from the first on, whose memory may be in use. */
  private smallTouched = 0;
  private largeTouched = 0;
  private readonly waiting = new Int32Array(CHUNKS);
  private readonly waitingStamp = new Int32Array(CHUNKS);
  private waitingHead = 0;
  private waitingCount = 0;

  constructor(
    private readonly arena: Arena,
    private readonly queue: TransmitQueue,
    octets: number,
  ) {
    ({ small: this.small, large: this.large } = chunksOf(octets));
    this.fillSmall();
    this.fillLarge();
  }

  /** All are free, the first of them on top. */
  private fillSmall(): void {
    this.freeSmallCount = this.small;
    for (let i = 0; i < this.small; i++) this.freeSmall[i] = this.small - 1 - i;
  }

  private fillLarge(): void {
    this.freeLargeCount = this.large;
    for (let i = 0; i < this.large; i++) this.freeLarge[i] = SMALL_CHUNKS + this.large - 1 - i;
  }

  /** Chunks in use of each size, those that wait for the queue included. */
  get smallInUse(): number {
    return this.small - this.freeSmallCount;
  }
  get largeInUse(): number {
    return this.large - this.freeLargeCount;
  }

  at(id: number): number {
    return id < SMALL_CHUNKS
      ? this.arena.smallChunksAt + id * SMALL_CHUNK_OCTETS
      : this.arena.largeChunksAt + (id - SMALL_CHUNKS) * LARGE_CHUNK_OCTETS;
  }

  capacity(id: number): number {
    return id < SMALL_CHUNKS ? SMALL_CHUNK_OCTETS : LARGE_CHUNK_OCTETS;
  }

  /** An empty chunk, of the other size when the wanted one has run out, or NO_CHUNK. */
  take(use: number, large: boolean): number {
    const id = large ? this.takeLarge(use) : this.takeSmall(use);
    if (id !== NO_CHUNK) return id;
    return large ? this.takeSmall(use) : this.takeLarge(use);
  }

  private takeSmall(use: number): number {
    if (this.freeSmallCount === 0) this.reclaim();
    if (this.freeSmallCount === 0 || this.usedSmall[use] * 8 >= SHARES[use] * this.small) return NO_CHUNK;
    this.usedSmall[use]++;
    return this.prepare(this.freeSmall[--this.freeSmallCount], use);
  }

  private takeLarge(use: number): number {
    if (this.freeLargeCount === 0) this.reclaim();
    if (this.freeLargeCount === 0 || this.usedLarge[use] * 8 >= SHARES[use] * this.large) return NO_CHUNK;
    this.usedLarge[use]++;
    return this.prepare(this.freeLarge[--this.freeLargeCount], use);
  }

  private prepare(id: number, use: number): number {
    if (id < SMALL_CHUNKS) {
      if (id >= this.smallTouched) this.smallTouched = id + 1;
    } else if (id - SMALL_CHUNKS >= this.largeTouched) {
      this.largeTouched = id - SMALL_CHUNKS + 1;
    }
    this.use[id] = use;
    this.filled[id] = 0;
    this.next[id] = NO_CHUNK;
    return id;
  }

  /** Whether `take` would give a chunk for this use. */
  hasRoom(use: number): boolean {
    if (this.waitingCount > 0) this.reclaim();
    return (
      (this.freeSmallCount > 0 && this.usedSmall[use] * 8 < SHARES[use] * this.small) ||
      (this.freeLargeCount > 0 && this.usedLarge[use] * 8 < SHARES[use] * this.large)
    );
  }

  /** Whether `shrink` would give memory back: all chunks are free, and more than a few have been used. */
  get shrinkable(): boolean {
    return (
      (this.smallTouched > SMALL_KEPT && this.freeSmallCount === this.small) ||
      (this.largeTouched > LARGE_KEPT && this.freeLargeCount === this.large)
    );
  }

  /** Gives the memory of chunks that were used once and are all free now back, but for the first few. */
  shrink(discard: (at: number, length: number) => void): void {
    if (this.freeSmallCount === this.small && this.smallTouched > SMALL_KEPT) {
      const at = this.arena.smallChunksAt + SMALL_KEPT * SMALL_CHUNK_OCTETS;
      discard(at, (this.smallTouched - SMALL_KEPT) * SMALL_CHUNK_OCTETS);
      this.smallTouched = SMALL_KEPT;
      this.fillSmall();
    }
    if (this.freeLargeCount === this.large && this.largeTouched > LARGE_KEPT) {
      const at = this.arena.largeChunksAt + LARGE_KEPT * LARGE_CHUNK_OCTETS;
      discard(at, (this.largeTouched - LARGE_KEPT) * LARGE_CHUNK_OCTETS);
      this.largeTouched = LARGE_KEPT;
      this.fillLarge();
    }
  }

  /** Accounts a chunk to another use, whatever that use's share. */
  changeUse(id: number, use: number): void {
    const used = id < SMALL_CHUNKS ? this.usedSmall : this.usedLarge;
    used[this.use[id]]--;
    used[use]++;
    this.use[id] = use;
  }

  /** Gives a chunk back as soon as no queued frame can name it. */
  release(id: number): void {
    if (this.queue.length === 0 && this.waitingCount === 0) {
      this.free(id);
      return;
    }
    const slot = (this.waitingHead + this.waitingCount) % CHUNKS;
    this.waiting[slot] = id;
    this.waitingStamp[slot] = this.queue.tailSequence;
    this.waitingCount++;
  }

  /** Frees the chunks whose last frame has left. Called after the link took frames. */
  reclaim(): void {
    const head = this.queue.headSequence;
    while (this.waitingCount > 0 && ((head - this.waitingStamp[this.waitingHead]) | 0) >= 0) {
      this.free(this.waiting[this.waitingHead]);
      this.waitingHead = (this.waitingHead + 1) % CHUNKS;
      this.waitingCount--;
    }
  }

  private free(id: number): void {
    if (id < SMALL_CHUNKS) {
      this.usedSmall[this.use[id]]--;
      this.freeSmall[this.freeSmallCount++] = id;
    } else {
      this.usedLarge[this.use[id]]--;
      this.freeLarge[this.freeLargeCount++] = id;
    }
  }
}
