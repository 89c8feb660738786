/** What recovery makes of the scoreboard (RFC 5681, 6582, 6675), number by number. */
import { describe, expect, it } from "vitest";
import {
  RECOVERY_FAST,
  RECOVERY_NONE,
  RECOVERY_TIMEOUT,
  type TcpConnection,
} from "../../../src/engine/transport/tcp/connection.ts";
import {
  enterRecovery,
  initialCwnd,
  noteAcknowledged,
  noteDuplicate,
  trimSacked,
} from "../../../src/engine/transport/tcp/recovery.ts";
import { type Board, board, type Range, UNA } from "./tcp-boards.ts";

describe("a duplicate acknowledgment", () => {
  it("without SACK says that a segment has arrived, all but one at most (RFC 6582)", () => {
    const { layer, c } = board({ flight: 3500 });
    c.sack = false;
    c.reordering = 10;
    const arrived = Array.from({ length: 4 }, () => {
      noteDuplicate(layer.ctx, c);
      return c.sackedOctets;
    });
    expect(arrived).toEqual([1000, 2000, 2500, 2500]);
    for (const [flight, octets] of [
      [1000, 0],
      [999, 0],
      [1001, 1],
      [2000, 1000],
    ]) {
      const other = board({ flight }).c;
      other.sack = false;
      other.reordering = 10;
      noteDuplicate(layer.ctx, other);
      expect(other.sackedOctets).toBe(octets);
    }
  });

  it("with SACK leaves that to the blocks", () => {
    const { layer, c } = board();
    noteDuplicate(layer.ctx, c);
    expect([c.sackedOctets, c.dupAcks, c.recovery]).toEqual([0, 1, RECOVERY_NONE]);
  });

  it.each<[string, Range[], number, boolean]>([
    ["the third", [], 2, true],
    ["not the second", [], 1, false],
    ["with two segments and an octet beyond the hole", [[1000, 3001]], 0, true],
    ["not with two segments", [[1000, 3000]], 0, false],
  ])("begins recovery: %s", (_, ranges, before, begins) => {
    const { layer, c } = board({ ranges });
    c.dupAcks = before;
    noteDuplicate(layer.ctx, c);
    expect(c.recovery).toBe(begins ? RECOVERY_FAST : RECOVERY_NONE);
    expect(layer.counters.value("tcp-fast-retransmits")).toBe(begins ? 1 : 0);
  });

  it("begins none without ranges, whatever is said to have arrived", () => {
    const { layer, c } = board();
    c.sackedOctets = 50_000;
    noteDuplicate(layer.ctx, c);
    expect(c.recovery).toBe(RECOVERY_NONE);
  });

  it("goes on with recovery, and leaves that after a timeout alone", () => {
    for (const [recovery, until] of [
      [RECOVERY_FAST, 5000],
      [RECOVERY_TIMEOUT, 1000],
    ]) {
      const { layer, c } = board({
        ranges: [
          [2000, 3000],
          [5000, 6000],
        ],
        lossUntil: 1000,
      });
      c.recovery = recovery;
      c.dupAcks = 7;
      noteDuplicate(layer.ctx, c);
      expect((c.lossUntil - UNA) | 0).toBe(until);
      expect(c.recovery).toBe(recovery);
      expect(layer.counters.value("tcp-fast-retransmits")).toBe(0);
    }
  });
});

describe("recovery", () => {
  it("takes the window to seven tenths, and two segments at least (RFC 9438 4.6)", () => {
    for (const [flight, threshold] of [
      [100_001, 70_000],
      [2858, 2000],
      [500, 2000],
    ]) {
      const { layer, c } = board({ flight });
      enterRecovery(layer.ctx, c, false);
      expect([c.cwnd, c.ssthresh]).toEqual([threshold, threshold]);
      expect((c.recover - UNA) | 0).toBe(flight);
      expect(c.retransmitNext).toBe(UNA);
    }
  });

  it.each<[string, Board, number, boolean, number]>([
    ["the first segment", {}, 3, false, 1000],
    ["no more than is under way", { flight: 700 }, 3, false, 700],
    [
      "all below the highest range",
      {
        ranges: [
          [2000, 3000],
          [5000, 6000],
        ],
      },
      3,
      false,
      5000,
    ],
    ["the first segment though a range begins within it", { ranges: [[400, 900]] }, 3, false, 1000],
    [
      "only what enough lies beyond, where the link reorders",
      {
        ranges: [
          [2000, 9000],
          [9500, 12_500],
        ],
      },
      4,
      false,
      2000,
    ],
    [
      "that is more than all but one",
      {
        ranges: [
          [2000, 9000],
          [9500, 12_501],
        ],
      },
      4,
      false,
      9500,
    ],
    [
      "counted over several ranges",
      {
        ranges: [
          [2000, 9000],
          [9500, 11_000],
          [11_500, 13_001],
        ],
      },
      4,
      false,
      9500,
    ],
    [
      "of ranges that are enough together only with the lowest, the lowest",
      {
        ranges: [
          [2000, 3000],
          [4000, 5000],
        ],
      },
      9,
      false,
      2000,
    ],
    [
      "all below the highest range after a wait",
      {
        ranges: [
          [2000, 9000],
          [9500, 9600],
        ],
      },
      9,
      true,
      9500,
    ],
  ])("believes lost: %s", (_, state, reordering, waited, until) => {
    const { layer, c } = board(state);
    c.reordering = reordering;
    enterRecovery(layer.ctx, c, waited);
    expect((c.lossUntil - UNA) | 0).toBe(until);
  });

  it("counts what lies beyond by the ranges that there are, not by one that is history", () => {
    const { layer, c } = board({
      ranges: [
        [100, 200],
        [2000, 9000],
        [9500, 12_500],
      ],
    });
    c.sndUna = (UNA + 200) | 0;
    trimSacked(c, 200);
    c.reordering = 4;
    enterRecovery(layer.ctx, c, false);
    expect((c.lossUntil - UNA) | 0).toBe(2000);
  });

  it("that goes on believes lost only what enough lies beyond, too", () => {
    const { layer, c } = board({
      ranges: [
        [2000, 9000],
        [9500, 12_500],
      ],
      lossUntil: 1000,
    });
    Object.assign(c, { recovery: RECOVERY_FAST, reordering: 4 });
    noteDuplicate(layer.ctx, c);
    expect((c.lossUntil - UNA) | 0).toBe(2000);
  });

  it("believes no less lost than before", () => {
    const { layer, c } = board({ ranges: [[2000, 3000]], lossUntil: 3500 });
    c.recovery = RECOVERY_FAST;
    noteDuplicate(layer.ctx, c);
    expect((c.lossUntil - UNA) | 0).toBe(3500);
  });
});

describe("an acknowledgment of new octets", () => {
  /** `acknowledged` of a flight of `flight`, with recovery up to `recover`. */
  function acknowledge(
    acknowledged: number,
    over: Partial<TcpConnection> & {
      readonly recoverAt?: number;
      readonly next?: number;
      readonly lost?: number;
    },
    flight = 100_000,
  ): TcpConnection {
    const { recoverAt = -1, next = 0, lost = 0, ...fields } = over;
    const { c } = board({ flight, retransmitNext: next, lossUntil: lost });
    Object.assign(c, { cwnd: 10_000, ssthresh: 20_000, dupAcks: 2, ...fields });
    c.recover = (UNA + recoverAt) | 0;
    c.sndUna = (UNA + acknowledged) | 0;
    noteAcknowledged(c, acknowledged, flight);
    expect(c.dupAcks).toBe(0);
    return c;
  }

  it("doubles the window in a round trip of slow start (RFC 5681 3.1)", () => {
    expect(acknowledge(1500, {}).cwnd).toBe(11_500);
    expect(acknowledge(1500, { cwnd: 19_999 }).cwnd).toBe(21_499);
  });

  it("adds a segment in a round trip beyond that, and an octet at least", () => {
    expect(acknowledge(1500, { cwnd: 20_000 }).cwnd).toBe(20_075);
    expect(acknowledge(1, { cwnd: 20_000 }).cwnd).toBe(20_001);
  });

  it("grows no window that is not being used (RFC 7661)", () => {
    expect(acknowledge(1000, {}, 5000).cwnd).toBe(11_000);
    expect(acknowledge(1000, {}, 4999).cwnd).toBe(10_000);
  });

  it("grows none beyond 16 MiB", () => {
    const most = 16 * 1024 * 1024;
    expect(acknowledge(5000, { cwnd: most - 5000, ssthresh: 0x7fffffff }, most).cwnd).toBe(most);
    expect(acknowledge(5001, { cwnd: most - 5000, ssthresh: 0x7fffffff }, most).cwnd).toBe(most);
  });

  it("keeps the place of recovery from falling behind", () => {
    expect((acknowledge(1000, { next: 500 }).retransmitNext - UNA) | 0).toBe(1000);
    expect((acknowledge(1000, { next: 1500 }).retransmitNext - UNA) | 0).toBe(1500);
  });

  it("ends recovery once all is acknowledged that was under way then", () => {
    const fast = { recovery: RECOVERY_FAST, recoverAt: 5000, ssthresh: 7000, lost: 4000 };
    const ended = acknowledge(5000, fast);
    expect([ended.recovery, ended.cwnd, (ended.lossUntil - UNA) | 0]).toEqual([RECOVERY_NONE, 7000, 5000]);
    const goesOn = acknowledge(4999, fast);
    expect([goesOn.recovery, goesOn.cwnd]).toEqual([RECOVERY_FAST, 10_000]);
    // After a timeout the window has grown from one segment: it stays.
    const slow = acknowledge(5000, { ...fast, recovery: RECOVERY_TIMEOUT, cwnd: 3000 });
    expect([slow.recovery, slow.cwnd]).toEqual([RECOVERY_NONE, 3000]);
  });

  it("believes lost in recovery all that was sent before what was sent again (RFC 8985 6.2)", () => {
    const fast = { recovery: RECOVERY_FAST, recoverAt: 50_000, sack: true };
    expect((acknowledge(1000, { ...fast, lost: 2000 }).lossUntil - UNA) | 0).toBe(50_000);
    expect((acknowledge(1000, { ...fast, lost: 60_000 }).lossUntil - UNA) | 0).toBe(60_000);
    const c = acknowledge(1000, { ...fast, next: 3000 });
    expect((c.retransmitNext - UNA) | 0).toBe(3000);
  });

  it("knows without SACK of the next hole only (RFC 6582 3.2)", () => {
    const c = acknowledge(1000, {
      recovery: RECOVERY_FAST,
      recoverAt: 50_000,
      sack: false,
      next: 3000,
      lost: 1000,
    });
    expect((c.lossUntil - UNA) | 0).toBe(2000);
    expect((c.retransmitNext - UNA) | 0).toBe(1000);
  });

  it("grows the window again after a timeout, while what counted as lost is being sent", () => {
    const c = acknowledge(1000, { recovery: RECOVERY_TIMEOUT, recoverAt: 50_000, cwnd: 1000, lost: 50_000 });
    expect([c.recovery, c.cwnd, (c.lossUntil - UNA) | 0]).toEqual([RECOVERY_TIMEOUT, 2000, 50_000]);
  });
});

it("begins with a window of ten segments (RFC 6928)", () => {
  expect(initialCwnd(1460)).toBe(14_600);
});
