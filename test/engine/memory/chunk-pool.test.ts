import { describe, expect, it } from "vitest";
import {
  LARGE_CHUNK_OCTETS,
  LARGE_CHUNKS,
  PAYLOAD_OCTETS_MAX,
  PAYLOAD_OCTETS_MIN,
  SMALL_CHUNK_OCTETS,
  SMALL_CHUNKS,
} from "../../../src/engine/limits.ts";
import { Arena } from "../../../src/engine/memory/arena.ts";
import {
  ChunkPool,
  NO_CHUNK,
  USE_BACKLOG,
  USE_OUT_OF_ORDER,
  USE_SEND,
} from "../../../src/engine/memory/chunk-pool.ts";
import { TransmitQueue } from "../../../src/engine/memory/transmit-queue.ts";

function makePool(octets = PAYLOAD_OCTETS_MAX): { pool: ChunkPool; queue: TransmitQueue } {
  const arena = new Arena();
  const queue = new TransmitQueue(8, arena.txHeadersAt);
  return { pool: new ChunkPool(arena, queue, octets), queue };
}

function takeAll(pool: ChunkPool, use: number, large: boolean): number[] {
  const ids: number[] = [];
  for (let id = pool.take(use, large); id !== NO_CHUNK; id = pool.take(use, large)) ids.push(id);
  return ids;
}

describe("ChunkPool", () => {
  it("gives chunks of both sizes that do not overlap", () => {
    const { pool } = makePool();
    const ids = [
      ...takeAll(pool, USE_SEND, true),
      ...takeAll(pool, USE_BACKLOG, true),
      ...takeAll(pool, USE_OUT_OF_ORDER, true),
    ];
    expect(new Set(ids).size).toBe(SMALL_CHUNKS + LARGE_CHUNKS);
    const places = ids
      .map((id) => [pool.at(id), pool.at(id) + pool.capacity(id)])
      .sort((a, b) => a[0] - b[0]);
    for (let i = 1; i < places.length; i++) expect(places[i][0]).toBeGreaterThanOrEqual(places[i - 1][1]);
    expect(pool.smallInUse).toBe(SMALL_CHUNKS);
    expect(pool.largeInUse).toBe(LARGE_CHUNKS);
    for (const id of ids) pool.release(id);
    expect([pool.smallInUse, pool.largeInUse]).toEqual([0, 0]);
  });

  it.each([PAYLOAD_OCTETS_MIN, 8_388_608])(
    "K34 takes no more than its %i octets, and has them again",
    (octets) => {
      const { pool } = makePool(octets);
      const discard = (): void => {};
      for (let round = 0; round < 2; round++) {
        const ids = [USE_SEND, USE_BACKLOG, USE_OUT_OF_ORDER].flatMap((use) => takeAll(pool, use, true));
        const held = ids.reduce((sum, id) => sum + pool.capacity(id), 0);
        expect(held).toBeLessThanOrEqual(octets);
        expect(held).toBeGreaterThan(octets - 2 * LARGE_CHUNK_OCTETS);
        expect(new Set(ids).size).toBe(pool.smallInUse + pool.largeInUse);
        for (const id of ids) pool.release(id);
        expect([pool.smallInUse, pool.largeInUse]).toEqual([0, 0]);
        pool.shrink(discard);
      }
    },
  );

  it("takes the other size when the wanted one has run out", () => {
    const { pool } = makePool();
    const sizes = takeAll(pool, USE_SEND, false).map((id) => pool.capacity(id));
    expect(sizes[0]).toBe(SMALL_CHUNK_OCTETS);
    expect(sizes.at(-1)).toBe(LARGE_CHUNK_OCTETS);
  });

  it("keeps what guests park from taking the chunks that carry what hosts send", () => {
    const { pool } = makePool();
    takeAll(pool, USE_BACKLOG, true);
    takeAll(pool, USE_OUT_OF_ORDER, true);
    expect(pool.hasRoom(USE_BACKLOG)).toBe(false);
    expect(takeAll(pool, USE_SEND, true)).toHaveLength(((SMALL_CHUNKS + LARGE_CHUNKS) * 5) / 8);
  });

  it("accounts a chunk to its new use", () => {
    const { pool } = makePool();
    const ids = takeAll(pool, USE_OUT_OF_ORDER, true);
    pool.changeUse(ids[0], USE_BACKLOG);
    expect(pool.take(USE_OUT_OF_ORDER, true)).not.toBe(NO_CHUNK);
    expect(pool.take(USE_OUT_OF_ORDER, true)).toBe(NO_CHUNK);
  });

  it("gives memory back once everything is free, and knows where to start again", () => {
    const { pool } = makePool();
    const discarded: [number, number][] = [];
    const ids = takeAll(pool, USE_SEND, false);
    const lowest = pool.at(ids[0]);
    expect(pool.shrinkable).toBe(false);
    for (const id of ids.reverse()) pool.release(id);
    expect(pool.shrinkable).toBe(true);
    pool.shrink((at, length) => discarded.push([at, length]));
    expect(pool.shrinkable).toBe(false);
    expect(discarded).toHaveLength(2);
    const touched = ids.map((id) => [pool.at(id), pool.at(id) + pool.capacity(id)]);
    const kept = touched.filter(([from, to]) => !discarded.some(([at, n]) => at <= from && to <= at + n));
    expect(kept.length).toBe(128 + 8);
    expect(pool.at(pool.take(USE_SEND, false))).toBe(lowest);
  });

  it("frees a chunk only after the last queued frame that may name it has left", () => {
    const { pool, queue } = makePool();
    const first = pool.take(USE_SEND, false);
    queue.push(54, pool.at(first), 10, 0, 0, 0);
    queue.push(54, pool.at(first), 10, 0, 0, 0);
    pool.release(first);
    expect(pool.smallInUse).toBe(1);
    queue.taken(1);
    pool.reclaim();
    expect(pool.smallInUse).toBe(1);
    queue.taken(1);
    pool.reclaim();
    expect(pool.smallInUse).toBe(0);
  });
});
