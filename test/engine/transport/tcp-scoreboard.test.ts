/** The scoreboard of RFC 6675, number by number, at sequence numbers that wrap. */
import { describe, expect, it } from "vitest";
import { SACK_RANGES_MAX } from "../../../src/engine/transport/tcp/connection.ts";
import {
  lostEnd,
  nextLost,
  pipeOctets,
  takeSackBlocks,
  trimSacked,
} from "../../../src/engine/transport/tcp/recovery.ts";
import { Segment } from "../../../src/engine/transport/tcp/segment.ts";
import { type Board, board, MSS, many, type Range, rangesOf, tell, UNA } from "./tcp-boards.ts";

describe("a block that the guest reports", () => {
  const A: Range = [1000, 2000];
  const B: Range = [3000, 4000];
  const C: Range = [5000, 6000];
  it.each<[string, Range[], Range, Range[]]>([
    ["is the first", [], A, [A]],
    ["lies before the others", [A, B], [500, 999], [[500, 999], A, B]],
    ["touches the one behind it", [A, B], [500, 1000], [[500, 2000], B]],
    ["reaches into the one behind it", [A, B], [500, 1500], [[500, 2000], B]],
    ["touches the one before it", [A, B], [2000, 2500], [[1000, 2500], B]],
    ["reaches out of the one before it", [A, B], [1500, 2500], [[1000, 2500], B]],
    ["lies between two", [A, B], [2001, 2999], [A, [2001, 2999], B]],
    ["fills the hole between two", [A, B, C], [2000, 3000], [[1000, 4000], C]],
    ["reaches from one into the next", [A, B, C], [1500, 3500], [[1000, 4000], C]],
    ["joins the last two", [A, B, C], [4000, 5000], [A, [3000, 6000]]],
    ["joins all", [A, B, C], [1200, 5500], [[1000, 6000]]],
    ["holds all", [A, B, C], [500, 7000], [[500, 7000]]],
    ["holds two and touches neither end", [A, B, C], [900, 4100], [[900, 4100], C]],
    ["lies behind all", [A, B], [4001, 5000], [A, B, [4001, 5000]]],
    ["ends where what was sent ends", [A], [99_000, 100_000], [A, [99_000, 100_000]]],
    ["begins where nothing is acknowledged", [B], [0, 100], [[0, 100], B]],
  ])("%s", (_, known, block, then) => {
    const { layer, c } = board({ ranges: known });
    expect(tell(layer, c, [block])).toBe(true);
    expect(rangesOf(c)).toEqual(then);
    expect(c.sackedOctets).toBe(then.reduce((sum, [left, right]) => sum + right - left, 0));
  });

  it.each<[string, Range]>([
    ["is known", [1000, 2000]],
    ["is part of one that is known", [1001, 1999]],
    ["is empty", [2500, 2500]],
    ["ends before it begins", [2600, 2500]],
    ["ends behind what was sent", [2500, 100_001]],
    ["begins before what is acknowledged", [-1, 500]],
  ])("%s: that is no news", (_, block) => {
    const { layer, c } = board({ ranges: [[1000, 2000]] });
    expect(tell(layer, c, [block])).toBe(false);
    // The same in second place.
    expect(tell(layer, c, [[1000, 2000], block])).toBe(false);
    expect(rangesOf(c)).toEqual([[1000, 2000]]);
    expect(c.sackedOctets).toBe(1000);
  });

  it("is news in any place", () => {
    const { layer, c } = board();
    const blocks: Range[] = [
      [7000, 8000],
      [5000, 6000],
      [3000, 4000],
      [1000, 2000],
    ];
    expect(tell(layer, c, blocks)).toBe(true);
    expect(rangesOf(c)).toEqual(blocks.toReversed());
    expect(tell(layer, c, [...blocks.slice(0, 3), [9000, 9500]])).toBe(true);
    expect(c.sackedOctets).toBe(4500);
  });

  it("is a duplicate, and no range, where it lies within the second block or below the acknowledgment", () => {
    for (const [first, isRange] of [
      [[2000, 3000], false],
      [[2000, 2500], false],
      [[2500, 3000], false],
      [[1999, 2500], true],
      [[2500, 3001], true],
    ] as [Range, boolean][]) {
      const { layer, c } = board();
      tell(layer, c, [first, [2000, 3000]]);
      const low = Math.min(first[0], 2000);
      const high = Math.max(first[1], 3000);
      expect(rangesOf(c)).toEqual(isRange ? [[low, high]] : [[2000, 3000]]);
    }
    const { layer, c } = board();
    tell(layer, c, [[2000, 3000]], 2001);
    expect(rangesOf(c)).toEqual([]);
    tell(layer, c, [[2000, 3000]], 2000);
    expect(rangesOf(c)).toEqual([[2000, 3000]]);
  });
});

describe("a report of octets that came twice (RFC 2883 4)", () => {
  it.each<[string, Range[], number, boolean]>([
    ["lies below the acknowledgment", [[500, 1500]], 501, true],
    ["does not", [[500, 1500]], 500, false],
    [
      "is the second block",
      [
        [2000, 3000],
        [2000, 3000],
      ],
      0,
      true,
    ],
    [
      "lies within it",
      [
        [2100, 2900],
        [2000, 3000],
      ],
      0,
      true,
    ],
    [
      "begins before it",
      [
        [1999, 2900],
        [2000, 3000],
      ],
      0,
      false,
    ],
    [
      "ends behind it",
      [
        [2100, 3001],
        [2000, 3000],
      ],
      0,
      false,
    ],
    ["is the only block", [[2000, 3000]], 0, false],
    [
      "is not the first",
      [
        [5000, 6000],
        [2000, 3000],
        [2000, 3000],
      ],
      0,
      false,
    ],
  ])("is one that %s", (_, blocks, ack, isOne) => {
    const { layer, c } = board();
    Object.assign(c, { undoCwnd: 1, undoOctets: 5000, undoFrom: UNA, recover: c.sndNxt });
    tell(layer, c, blocks, ack);
    expect(c.undoOctets < 5000).toBe(isOne);
  });
});

it("blocks are no more than a segment has, whatever an earlier one left behind", () => {
  const { layer, c } = board();
  const s = new Segment();
  s.acknowledgment = UNA;
  s.options.sackBlocks = 1;
  s.options.sackEdges.set([1000, 2000, 3000, 4000].map((edge) => (UNA + edge) | 0));
  takeSackBlocks(layer.ctx, c, s);
  expect(rangesOf(c)).toEqual([[1000, 2000]]);
});

describe("more holes than are remembered", () => {
  it("are counted by the segment, up to what is under way, and forgotten as they are filled", () => {
    const { layer, c } = board({ flight: 20_000, ranges: many(SACK_RANGES_MAX) });
    expect(c.sackCount).toBe(SACK_RANGES_MAX);
    expect(tell(layer, c, [[19_000, 19_100]])).toBe(true);
    expect([c.sackCount, c.sackOverflow]).toEqual([SACK_RANGES_MAX, MSS]);
    // What is known is no news, whole or in part; nor is what comes behind the newest block.
    expect(tell(layer, c, [[1000, 1100]])).toBe(false);
    expect(tell(layer, c, [[1010, 1090]])).toBe(false);
    expect(
      tell(layer, c, [
        [1000, 1100],
        [19_300, 19_400],
      ]),
    ).toBe(false);
    expect(c.sackOverflow).toBe(MSS);
    for (let i = 0; i < 30; i++) tell(layer, c, [[19_500, 19_600]]);
    expect(c.sackOverflow).toBe(20_000);
    trimSacked(c, 300);
    expect(c.sackOverflow).toBe(19_700);
    trimSacked(c, 19_700);
    expect(c.sackOverflow).toBe(0);
    trimSacked(c, 1);
    expect(c.sackOverflow).toBe(0);
  });

  it("do not keep the ranges that are known from growing together", () => {
    const { layer, c } = board({ flight: 20_000, ranges: many(SACK_RANGES_MAX) });
    expect(tell(layer, c, [[1100, 1200]])).toBe(true);
    expect(c.sackCount).toBe(SACK_RANGES_MAX - 1);
    expect(rangesOf(c)[0]).toEqual([1000, 1300]);
    expect(rangesOf(c).slice(1)).toEqual(many(SACK_RANGES_MAX).slice(2));
    expect(tell(layer, c, [[500, 600]])).toBe(true);
    expect(c.sackCount).toBe(SACK_RANGES_MAX);
    expect(c.sackOverflow).toBe(0);
  });

  it("are told from what is known, also between two ranges", () => {
    const { layer, c } = board({ flight: 20_000, ranges: many(SACK_RANGES_MAX) });
    expect(tell(layer, c, [[1120, 1180]])).toBe(true);
    expect(c.sackOverflow).toBe(MSS);
  });

  it("hide how far octets were overtaken", () => {
    for (const [overflow, reordering] of [
      [0, 13],
      [1, 3],
    ]) {
      const { layer, c } = board({ flight: 20_000, ranges: many(SACK_RANGES_MAX) });
      Object.assign(c, { sackOverflow: overflow, reordering: 3 });
      expect(tell(layer, c, [[1000, 1150]])).toBe(true);
      expect(c.reordering).toBe(reordering);
    }
  });

  it("are news in the newest block only", () => {
    const { layer, c } = board({ flight: 20_000, ranges: many(SACK_RANGES_MAX) });
    expect(
      tell(layer, c, [
        [19_000, 19_100],
        [19_300, 19_400],
      ]),
    ).toBe(true);
    expect(c.sackOverflow).toBe(MSS);
  });
});

describe("what an acknowledgment leaves of the scoreboard", () => {
  it.each<[number, Range[]]>([
    [
      999,
      [
        [1000, 2000],
        [3000, 4000],
      ],
    ],
    [
      1000,
      [
        [1000, 2000],
        [3000, 4000],
      ],
    ],
    [
      1001,
      [
        [1001, 2000],
        [3000, 4000],
      ],
    ],
    [
      1999,
      [
        [1999, 2000],
        [3000, 4000],
      ],
    ],
    [2000, [[3000, 4000]]],
    [3500, [[3500, 4000]]],
    [4000, []],
    [5000, []],
  ])("of %i octets", (acknowledged, left) => {
    const { c } = board({
      ranges: [
        [1000, 2000],
        [3000, 4000],
      ],
    });
    c.sndUna = (UNA + acknowledged) | 0;
    trimSacked(c, acknowledged);
    expect(rangesOf(c)).toEqual(left);
    expect(c.sackedOctets).toBe(left.reduce((sum, [l, r]) => sum + r - l, 0));
  });

  it("without SACK: what duplicates said has arrived, less that", () => {
    const { c } = board();
    c.sack = false;
    c.sackedOctets = 3000;
    trimSacked(c, 1000);
    expect(c.sackedOctets).toBe(2000);
    trimSacked(c, 2000);
    expect(c.sackedOctets).toBe(0);
    trimSacked(c, 1);
    expect(c.sackedOctets).toBe(0);
  });
});

describe("what counts as lost", () => {
  const ranges: Range[] = [
    [1000, 2000],
    [3000, 5000],
  ];
  it.each<[string, Board, number, number]>([
    ["from the oldest octet on", { ranges, lossUntil: 5000 }, 0, 1000],
    ["from where recovery is", { ranges, lossUntil: 5000, retransmitNext: 600 }, 600, 1000],
    ["not what the guest has", { ranges, lossUntil: 5000, retransmitNext: 1000 }, 2000, 3000],
    ["not the last octet that the guest has", { ranges, lossUntil: 5000, retransmitNext: 1999 }, 2000, 3000],
    ["behind it", { ranges, lossUntil: 5000, retransmitNext: 2000 }, 2000, 3000],
    ["as far as the bound", { ranges, lossUntil: 2500, retransmitNext: 2000 }, 2000, 2500],
    ["not beyond it", { ranges, lossUntil: 2000, retransmitNext: 1500 }, 2000, 2000],
    ["nothing where the guest has all", { ranges, lossUntil: 5000, retransmitNext: 3000 }, 5000, 5000],
    ["what is acknowledged is history", { ranges, lossUntil: 5000, retransmitNext: -500 }, 0, 1000],
    ["all up to the bound without ranges", { lossUntil: 4000 }, 0, 4000],
    ["behind the second range", { ranges, lossUntil: 8000, retransmitNext: 3000 }, 5000, 8000],
    ["nothing", {}, 0, 0],
  ])("%s", (_, state, from, end) => {
    const { c } = board(state);
    expect((nextLost(c) - UNA) | 0).toBe(from);
    expect((lostEnd(c, (UNA + from) | 0) - UNA) | 0).toBe(end);
  });
});

describe("octets on the link", () => {
  const ranges: Range[] = [
    [1000, 2000],
    [3000, 5000],
  ];
  it.each<[string, Board, number]>([
    ["all that was sent", {}, 100_000],
    ["less what has arrived", { ranges }, 97_000],
    ["less what is lost", { ranges, lossUntil: 3000 }, 95_000],
    ["a range that reaches over the bound counts once", { ranges, lossUntil: 4000 }, 95_000],
    ["a range behind the bound, too", { ranges, lossUntil: 2500 }, 95_500],
    ["what was sent again is back", { ranges, lossUntil: 3000, retransmitNext: 1000 }, 96_000],
    ["also where that ends in a range", { ranges, lossUntil: 3000, retransmitNext: 1500 }, 96_000],
    ["or behind it", { ranges, lossUntil: 3000, retransmitNext: 2400 }, 96_400],
    ["what is acknowledged is history", { ranges, lossUntil: 3000, retransmitNext: -700 }, 95_000],
    ["nothing is lost where all was sent again", { ranges, lossUntil: 3000, retransmitNext: 3000 }, 97_000],
    ["all is lost", { lossUntil: 100_000 }, 0],
    ["a range counts from where recovery is", { ranges, lossUntil: 6000, retransmitNext: 4000 }, 96_000],
    ["nothing is lost behind the bound", { ranges, lossUntil: 1000, retransmitNext: 2500 }, 97_000],
  ])("%s", (_, state, octets) => {
    expect(pipeOctets(board(state).c)).toBe(octets);
  });

  it("and what is lost of them is not told by ranges that a timeout forgot", () => {
    const { c } = board({ ranges, lossUntil: 6000 });
    Object.assign(c, { sackCount: 0, sackedOctets: 0 });
    expect([pipeOctets(c), (nextLost(c) - UNA) | 0, (lostEnd(c, UNA) - UNA) | 0]).toEqual([94_000, 0, 6000]);
  });

  it("are less by what found no place in the scoreboard, and never less than none", () => {
    const { c } = board({ ranges });
    c.sackOverflow = 7000;
    expect(pipeOctets(c)).toBe(90_000);
    c.sackOverflow = 97_001;
    expect(pipeOctets(c)).toBe(0);
  });
});
