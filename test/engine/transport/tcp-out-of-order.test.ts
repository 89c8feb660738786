/** Octets ahead of a hole, chunk by chunk: what is kept, in which order, how much, and what is reported of it. */
import { describe, expect, it } from "vitest";
import { PAYLOAD_OCTETS_MAX, SMALL_CHUNK_OCTETS } from "../../../src/engine/limits.ts";
import { NO_CHUNK, USE_BACKLOG, USE_OUT_OF_ORDER } from "../../../src/engine/memory/chunk-pool.ts";
import type { TcpConnection } from "../../../src/engine/transport/tcp/connection.ts";
import {
  sackBlocksFor,
  storeOutOfOrder,
  takeInOrder,
  writeSackBlocks,
} from "../../../src/engine/transport/tcp/out-of-order.ts";
import { type LayerOptions, TcpLayer } from "./tcp-layer.ts";

/** The next octet in order; what is stored counts from here. */
const NEXT = 0x7ffffff0;
const CHUNKS_MAX = 128;
type Range = readonly [left: number, right: number];

class Store extends TcpLayer {
  readonly c: TcpConnection;

  constructor(options: LayerOptions = {}) {
    super(options);
    this.c = this.opened();
    Object.assign(this.c, { rcvNxt: NEXT, rcvTaken: NEXT, sack: true });
  }

  /** The octet of the stream at `offset`. */
  static octet(offset: number): number {
    return (offset * 7 + (offset >> 8)) & 0xff;
  }

  put(left: number, right: number): boolean {
    const at = this.arena.rxWindowAt + 77;
    for (let i = left; i < right; i++) this.arena.octets[at + i - left] = Store.octet(i);
    return storeOutOfOrder(this.ctx, this.c, (NEXT + left) | 0, at, right - left);
  }

  /** The chunks of a list, by what they hold; their octets have been looked at. */
  list(head: number): Range[] {
    const { pool } = this.ctx;
    const ranges: Range[] = [];
    for (let chunk = head; chunk !== NO_CHUNK; chunk = pool.next[chunk]) {
      const left = (pool.sequence[chunk] - NEXT) | 0;
      ranges.push([left, left + pool.filled[chunk]]);
    }
    return ranges;
  }

  get stored(): Range[] {
    const ranges = this.list(this.c.outOfOrderHead);
    expect(this.c.outOfOrderOctets).toBe(ranges.reduce((sum, [left, right]) => sum + right - left, 0));
    this.check(this.c.outOfOrderHead);
    return ranges;
  }

  /** Every octet is the stream's. A chunk that was cut in front begins later than it says. */
  check(head: number, at = 0): void {
    const { pool } = this.ctx;
    for (let chunk = head; chunk !== NO_CHUNK; chunk = pool.next[chunk]) {
      const from = at === 0 ? (pool.sequence[chunk] - NEXT) | 0 : at;
      const octets = this.arena.octets.subarray(pool.at(chunk), pool.at(chunk) + pool.filled[chunk]);
      expect([...octets]).toEqual([...octets].map((_, i) => Store.octet(from + i)));
      if (at !== 0) at += octets.length;
    }
  }

  get duplicate(): Range {
    return [(this.c.dsackLeft - NEXT) | 0, (this.c.dsackRight - NEXT) | 0];
  }

  blocks(): Range[] {
    const count = sackBlocksFor(this.ctx, this.c);
    const at = this.arena.scratchAt;
    this.ctx.view.setInt32(at + count * 8, 0x55555555);
    if (count > 0) writeSackBlocks(this.ctx, this.c, at, count);
    expect(this.ctx.view.getInt32(at + count * 8)).toBe(0x55555555);
    return Array.from({ length: count }, (_, i) => [
      (this.ctx.view.getInt32(at + 8 * i) - NEXT) | 0,
      (this.ctx.view.getInt32(at + 8 * i + 4) - NEXT) | 0,
    ]);
  }
}

/** Before the piece in question: two ranges with holes around them. */
const TWO: Range[] = [
  [1000, 2000],
  [3000, 4000],
];

describe("a piece ahead of a hole", () => {
  it.each<[string, Range[], Range, Range[], Range | null]>([
    ["is the first", [], [1000, 2000], [[1000, 2000]], null],
    ["lies before the others", TWO, [100, 200], [[100, 200], ...TWO], null],
    ["touches the one behind it", TWO, [900, 1000], [[900, 1000], ...TWO], null],
    ["reaches into the one behind it", TWO, [900, 1300], [[900, 1000], ...TWO], [1000, 1300]],
    [
      "continues the one before it",
      TWO,
      [2000, 2500],
      [
        [1000, 2500],
        [3000, 4000],
      ],
      null,
    ],
    [
      "continues the last",
      TWO,
      [4000, 4500],
      [
        [1000, 2000],
        [3000, 4500],
      ],
      null,
    ],
    ["lies behind all", TWO, [4001, 4500], [...TWO, [4001, 4500]], null],
    [
      "reaches out of the one before it",
      TWO,
      [1500, 2500],
      [
        [1000, 2500],
        [3000, 4000],
      ],
      [1500, 2000],
    ],
    [
      "lies between two",
      TWO,
      [2100, 2900],
      [
        [1000, 2000],
        [2100, 2900],
        [3000, 4000],
      ],
      null,
    ],
    [
      "fills the hole",
      TWO,
      [2000, 3000],
      [
        [1000, 3000],
        [3000, 4000],
      ],
      null,
    ],
    [
      "reaches from one into the next",
      TWO,
      [1500, 3500],
      [
        [1000, 3000],
        [3000, 4000],
      ],
      [3000, 3500],
    ],
    [
      "holds one and more on both sides",
      [TWO[0]],
      [500, 2500],
      [
        [500, 1000],
        [1000, 2500],
      ],
      [1000, 2000],
    ],
    [
      "holds both and more",
      TWO,
      [500, 4500],
      [
        [500, 1000],
        [1000, 3000],
        [3000, 4500],
      ],
      [3000, 4000],
    ],
    ["is known", TWO, [1000, 2000], TWO, [1000, 2000]],
    ["is part of what is known", TWO, [3100, 3200], TWO, [3100, 3200]],
    ["ends where one that holds it ends", TWO, [3100, 4000], TWO, [3100, 4000]],
    [
      "is one octet",
      TWO,
      [2999, 3000],
      [
        [1000, 2000],
        [2999, 3000],
        [3000, 4000],
      ],
      null,
    ],
  ])("that %s", (_, before, [left, right], after, duplicate) => {
    const store = new Store();
    for (const range of before) expect(store.put(...range)).toBe(true);
    expect(store.put(left, right)).toBe(true);
    expect(store.stored).toEqual(after);
    expect((store.c.outOfOrderRecent - NEXT) | 0).toBe(left);
    if (duplicate === null) expect(store.c.dsackLeft).toBe(store.c.dsackRight);
    else expect(store.duplicate).toEqual(duplicate);
  });

  it("takes a large chunk from 2048 octets on, and fills every chunk before it takes another", () => {
    const store = new Store();
    const { pool } = store.ctx;
    expect(store.put(10_000, 12_047)).toBe(true);
    expect([pool.smallInUse, pool.largeInUse]).toEqual([1, 0]);
    expect(store.put(20_000, 22_048)).toBe(true);
    expect([pool.smallInUse, pool.largeInUse]).toEqual([1, 1]);
    // Two thousand octets are left in the first.
    expect(store.put(12_047, 12_047 + 3000)).toBe(true);
    expect(store.stored).toEqual([
      [10_000, 10_000 + SMALL_CHUNK_OCTETS],
      [10_000 + SMALL_CHUNK_OCTETS, 15_047],
      [20_000, 22_048],
    ]);
    expect([pool.smallInUse, pool.largeInUse]).toEqual([2, 1]);
    // One that is full is continued in another.
    expect(store.put(15_047, 15_047 + 3145)).toBe(true);
    expect(store.put(18_192, 18_193)).toBe(true);
    expect(store.stored.slice(1)).toEqual([
      [14_096, 18_192],
      [18_192, 18_193],
      [20_000, 22_048],
    ]);
  });

  it("is refused behind a hundred and twenty-eight others, which may grow, and taken in front of them", () => {
    const store = new Store();
    for (let i = 0; i < CHUNKS_MAX; i++) expect(store.put(100 + 2 * i, 101 + 2 * i)).toBe(true);
    const end = 100 + 2 * CHUNKS_MAX;
    expect(store.put(end, end + 1)).toBe(false);
    expect(store.stored.length).toBe(CHUNKS_MAX);
    expect(store.put(end - 1, end + 1)).toBe(true);
    expect(store.stored.at(-1)).toEqual([end - 2, end + 1]);
    expect(store.put(50, 51)).toBe(true);
    expect(store.stored.length).toBe(CHUNKS_MAX + 1);
    // Now the last is one further away; what it has is still known.
    expect(store.put(end + 5, end + 6)).toBe(false);
    expect(store.put(99, 100)).toBe(true);
    expect(store.stored.slice(0, 3)).toEqual([
      [50, 51],
      [99, 100],
      [100, 101],
    ]);
  });

  it("counts the chunks that it reaches over", () => {
    const store = new Store();
    for (let i = 0; i < CHUNKS_MAX; i++) store.put(100 + 2 * i, 101 + 2 * i);
    // Over all of them: each hole is filled where it lies, and what is behind the last continues it.
    expect(store.put(99, 100 + 2 * CHUNKS_MAX)).toBe(true);
    expect(store.stored.at(-1)?.[1]).toBe(100 + 2 * CHUNKS_MAX);
    expect(store.c.outOfOrderOctets).toBe(2 * CHUNKS_MAX + 1);
  });

  it("is refused behind the last of so many where that is full", () => {
    for (const before of [CHUNKS_MAX - 2, CHUNKS_MAX - 1]) {
      const store = new Store();
      for (let i = 0; i < before; i++) store.put(100 + 2 * i, 101 + 2 * i);
      for (const [left, right] of [
        [0, 2047],
        [2047, 4000],
        [4000, SMALL_CHUNK_OCTETS],
      ])
        store.put(10_000 + left, 10_000 + right);
      expect(store.stored.at(-1)).toEqual([10_000, 10_000 + SMALL_CHUNK_OCTETS]);
      const end = 10_000 + SMALL_CHUNK_OCTETS;
      expect(store.put(end, end + 1)).toBe(before < CHUNKS_MAX - 1);
    }
  });

  it("is kept in part where memory runs out", () => {
    // Eight large chunks and sixteen small ones: an eighth of each is for this.
    const store = new Store({ payloadOctets: PAYLOAD_OCTETS_MAX / 256 });
    const { pool } = store.ctx;
    expect([store.put(100, 200), store.put(300, 400), store.put(500, 600)]).toEqual([true, true, true]);
    expect([pool.smallInUse, pool.largeInUse]).toEqual([2, 1]);
    expect(store.put(700, 800)).toBe(false);
    expect(store.put(200, 300)).toBe(true);
    expect(store.put(550, 700)).toBe(true);
    expect(store.stored).toEqual([
      [100, 300],
      [300, 400],
      [500, 700],
    ]);
    expect(store.put(50, 450)).toBe(false);
    expect(store.stored).toEqual([
      [100, 300],
      [300, 400],
      [500, 700],
    ]);
  });
});

describe("what has come into order", () => {
  it.each<[string, number, Range[], Range[], number]>([
    ["nothing before the hole is filled", 999, [], TWO, 999],
    ["the first, once the hole is filled", 1000, [[1000, 2000]], [[3000, 4000]], 2000],
    ["the rest of one that came in part by another way", 1500, [[1500, 2000]], [[3000, 4000]], 2000],
    ["its last octet", 1999, [[1999, 2000]], [[3000, 4000]], 2000],
    ["none of one that came whole by another way", 2000, [], [[3000, 4000]], 2000],
    ["nor of one that lies far behind", 2500, [], [[3000, 4000]], 2500],
    ["the second where the first is history", 3000, [[3000, 4000]], [], 4000],
  ])("moves on: %s", (_, reached, backlog, left, next) => {
    const store = new Store();
    const { c } = store;
    const { pool } = store.ctx;
    for (const range of TWO) store.put(...range);
    c.rcvNxt = (NEXT + reached) | 0;
    takeInOrder(store.ctx, c);
    expect(store.stored).toEqual(left);
    expect((c.rcvNxt - NEXT) | 0).toBe(next);
    const octets = backlog.reduce((sum, [l, r]) => sum + r - l, 0);
    expect(c.backlogOctets).toBe(octets);
    expect(store.list(c.backlogHead).reduce((sum, [l, r]) => sum + r - l, 0)).toBe(octets);
    if (backlog.length > 0) store.check(c.backlogHead, backlog[0][0]);
    else expect([c.backlogHead, c.backlogTail]).toEqual([NO_CHUNK, NO_CHUNK]);
    expect(pool.smallInUse).toBe(backlog.length + left.length);
  });

  it("several that follow each other, behind what waits for the host", () => {
    const store = new Store();
    const { c } = store;
    const { pool } = store.ctx;
    const waiting = pool.take(USE_BACKLOG, false);
    pool.filled[waiting] = 10;
    Object.assign(c, { backlogHead: waiting, backlogTail: waiting, backlogOctets: 10 });
    store.put(2000, 3000);
    store.put(1000, 2000);
    store.put(5000, 6000);
    c.rcvNxt = (NEXT + 1000) | 0;
    takeInOrder(store.ctx, c);
    expect((c.rcvNxt - NEXT) | 0).toBe(3000);
    expect(c.backlogOctets).toBe(2010);
    expect(c.backlogHead).toBe(waiting);
    expect(store.list(pool.next[waiting])).toEqual([
      [1000, 2000],
      [2000, 3000],
    ]);
    expect(pool.next[c.backlogTail]).toBe(NO_CHUNK);
    expect(store.stored).toEqual([[5000, 6000]]);
  });

  it("is of the backlog's share then, and leaves room ahead of holes", () => {
    const store = new Store({ payloadOctets: PAYLOAD_OCTETS_MAX / 256 });
    const { c } = store;
    for (const left of [100, 300, 500]) store.put(left, left + 100);
    expect(store.ctx.pool.hasRoom(USE_OUT_OF_ORDER)).toBe(false);
    c.rcvNxt = (NEXT + 100) | 0;
    takeInOrder(store.ctx, c);
    expect(store.ctx.pool.hasRoom(USE_OUT_OF_ORDER)).toBe(true);
  });
});

describe("what is reported of it (RFC 2018)", () => {
  const five: Range[] = [
    [1000, 1100],
    [2000, 2100],
    [3000, 3100],
    [4000, 4100],
    [5000, 5100],
  ];

  it("the newest first, then the others in order, four at most and three beside timestamps", () => {
    const store = new Store();
    expect(store.blocks()).toEqual([]);
    const seen: Range[][] = [];
    for (const range of five) {
      store.put(...range);
      seen.push(store.blocks());
    }
    expect(seen).toEqual([
      [five[0]],
      [five[1], five[0]],
      [five[2], five[0], five[1]],
      [five[3], five[0], five[1], five[2]],
      [five[4], five[0], five[1], five[2]],
    ]);
    store.c.timestamps = true;
    expect(store.blocks()).toEqual([five[4], five[0], five[1]]);
    store.put(2100, 2200);
    expect(store.blocks()).toEqual([[2000, 2200], five[0], five[2]]);
  });

  it("as one range what lies in several chunks", () => {
    const store = new Store();
    store.put(2000, 3000);
    store.put(1000, 2000);
    store.put(3000, 3500);
    store.put(9000, 9100);
    expect(store.stored.length).toBe(3);
    expect(store.blocks()).toEqual([
      [9000, 9100],
      [1000, 3500],
    ]);
    // The newest lies within the range.
    store.put(3500, 3600);
    expect(store.blocks()).toEqual([
      [1000, 3600],
      [9000, 9100],
    ]);
  });

  it("the first range where the newest has come into order since", () => {
    const store = new Store();
    store.put(2000, 2100);
    store.put(3000, 3100);
    store.c.outOfOrderRecent = (NEXT + 500) | 0;
    expect(store.blocks()).toEqual([
      [2000, 2100],
      [3000, 3100],
    ]);
  });

  it("before all a duplicate, which takes the place of a range (RFC 2883 4)", () => {
    const store = new Store();
    store.c.dsackLeft = (NEXT - 500) | 0;
    store.c.dsackRight = (NEXT - 400) | 0;
    const twice: Range = [-500, -400];
    expect(store.blocks()).toEqual([twice]);
    for (const range of five) store.put(...range);
    expect(store.blocks()).toEqual([twice, five[4], five[0], five[1]]);
    store.c.timestamps = true;
    expect(store.blocks()).toEqual([twice, five[4], five[0]]);
  });
});
