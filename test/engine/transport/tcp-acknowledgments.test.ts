/** What an acknowledgment says: of octets and windows, of round trips, of losses, of our FIN. */
import { describe, expect, it } from "vitest";
import type { DropReasonName } from "../../../src/engine/metrics/drop-reasons.ts";
import {
  CLOSING,
  FIN_WAIT_1,
  FIN_WAIT_2,
  LAST_ACK,
  RECOVERY_FAST,
  STATE_NAMES,
  type TcpConnection,
  TIMER_NONE,
  TIMER_PERSIST,
  TIMER_REORDER,
  TIMER_RETRANSMIT,
} from "../../../src/engine/transport/tcp/connection.ts";
import { ACK, FIN } from "../../sim/guest-stack/codec.ts";
import { type Fields, Input } from "./tcp-segments.ts";

describe("the acknowledgment", () => {
  const WINDOW = 60_000;
  it.each<[number, DropReasonName, number]>([
    [0, "handled", 0],
    [1, "handled", 0],
    [500, "handled", 0],
    [501, "tcp-unacceptable", 1],
    [-WINDOW, "handled", 0],
    [-WINDOW - 1, "tcp-unacceptable", 1],
  ])("of %i octets of 500 under way", (ack, result, challenges) => {
    const input = new Input().flight(500);
    expect(input.arrives({ ack })).toBe(result);
    expect(input.counters.value("tcp-challenge-acks")).toBe(challenges);
    expect((input.c.sndUna - input.una) | 0).toBe(challenges === 0 ? Math.max(0, ack) : 0);
  });

  it("keeps the timer running while octets are under way, and stops it with the last", () => {
    const input = new Input({ rtoMs: 300, backoff: 3, timerKind: TIMER_RETRANSMIT, timerAt: 10_001 }).flight(
      500,
    );
    input.arrives({ ack: 499 });
    expect([input.c.timerKind, input.c.timerAt, input.c.backoff]).toEqual([TIMER_RETRANSMIT, 10_300, 0]);
    input.arrives({ ack: 500 });
    expect(input.c.timerKind).toBe(TIMER_NONE);
  });

  it("grows a congestion window that was half full", () => {
    for (const [flight, cwnd] of [
      [4999, 10_000],
      [5000, 11_000],
    ]) {
      const input = new Input({ cwnd: 10_000 }).flight(flight);
      input.arrives({ ack: 1000 });
      expect(input.c.cwnd).toBe(cwnd);
    }
  });

  it("wakes the connection where there is something to send, and else does not", () => {
    const idle = new Input();
    idle.arrives({});
    expect(idle.c.ready).toBe(false);
    const readable = new Input({ hostReadable: true });
    readable.arrives({});
    expect(readable.c.ready).toBe(true);
    const flying = new Input().flight(10);
    flying.arrives({ ack: 5 });
    expect(flying.c.ready).toBe(true);
    const stored = new Input();
    stored.c.sndEnd = (stored.c.sndNxt + 1) | 0;
    stored.arrives({});
    expect(stored.c.ready).toBe(true);
  });

  it("that opens a window ends its probing; one that leaves it shut does not", () => {
    for (const [win, timerKind, backoff] of [
      [0, TIMER_PERSIST, 4],
      [1, TIMER_NONE, 0],
    ]) {
      const input = new Input({ timerKind: TIMER_PERSIST, backoff: 4, sndWnd: 0 });
      input.arrives({ win });
      expect([input.c.timerKind, input.c.backoff]).toEqual([timerKind, backoff]);
    }
    const other = new Input({ timerKind: TIMER_RETRANSMIT, backoff: 4 }).flight(5);
    other.arrives({});
    expect([other.c.timerKind, other.c.backoff]).toEqual([TIMER_RETRANSMIT, 4]);
  });

  it("with a hole behind it starts its time to close, unless recovery has begun", () => {
    for (const [recovery, kind] of [
      [0, TIMER_REORDER],
      [RECOVERY_FAST, TIMER_RETRANSMIT],
    ]) {
      const input = new Input({
        sack: true,
        srtt8: 80,
        timerKind: TIMER_RETRANSMIT,
        timerAt: 10_300,
        recovery,
      }).flight(9000);
      input.c.recover = (input.una + 9000) | 0;
      input.arrives({ sack: [[1000, 2000]] });
      expect(input.c.timerKind).toBe(kind);
    }
    const whole = new Input({ sack: true, srtt8: 80, timerKind: TIMER_RETRANSMIT, timerAt: 10_300 }).flight(
      9000,
    );
    whole.arrives({});
    expect(whole.c.timerKind).toBe(TIMER_RETRANSMIT);
  });
});

describe("a duplicate acknowledgment (RFC 5681 2)", () => {
  it.each<[string, Partial<TcpConnection>, Fields, number]>([
    ["is one", {}, {}, 1],
    ["is none with octets", {}, { length: 1 }, 0],
    ["is none with a FIN", {}, { flags: ACK | FIN }, 0],
    ["is none with another window", {}, { win: 50_000 }, 0],
    ["is none of what is long acknowledged", {}, { ack: -1 }, 0],
    ["is none of new octets", {}, { ack: 1000 }, 0],
    ["is none with SACK where no block comes", { sack: true }, {}, 0],
    ["is one with SACK where a block is news", { sack: true }, { sack: [[2000, 3000]] }, 1],
    [
      "is one with octets, too, where a block is news",
      { sack: true },
      { length: 1, sack: [[2000, 3000]] },
      1,
    ],
    ["is none where blocks were not agreed on, and octets come", {}, { length: 1, sack: [[2000, 3000]] }, 0],
    ["counts with new octets where a block is news", { sack: true }, { ack: 1000, sack: [[2000, 3000]] }, 1],
  ])("%s", (_, over, fields, duplicates) => {
    const input = new Input(over).flight(9000);
    input.arrives(fields);
    expect(input.c.dupAcks).toBe(duplicates);
  });

  it("is none where nothing is under way", () => {
    const input = new Input();
    input.arrives({});
    expect(input.c.dupAcks).toBe(0);
  });
});

describe("the newer of two windows counts", () => {
  it.each<[string, Fields, number]>([
    ["the same segment again", { seq: 5, win: 7 }, 7],
    ["a later segment", { seq: 6, win: 7 }, 7],
    ["an earlier one", { seq: 4, win: 7 }, 60_000],
    ["an earlier one with news", { seq: 4, ack: 1, win: 7 }, 7],
    ["the same with an older acknowledgment", { seq: 5, ack: -1, win: 7 }, 60_000],
    ["a later segment with an older acknowledgment", { seq: 6, ack: -1, win: 7 }, 60_000],
  ])("of %s", (_, fields, window) => {
    const input = new Input().flight(500);
    input.c.sndWl1 = (input.next + 5) | 0;
    input.c.sndWl2 = input.una;
    input.arrives(fields);
    expect(input.c.sndWnd).toBe(window);
    expect((input.c.sndWl1 - input.next) | 0).toBe(window === 7 ? fields.seq : 5);
    expect((input.c.sndWl2 - input.una) | 0).toBe(window === 7 ? (fields.ack ?? 0) : 0);
  });

  it("is scaled, and the largest is remembered", () => {
    const input = new Input({ sndShift: 4, sndWndMax: 1000 });
    input.c.sndWl1 = input.next;
    input.c.sndWl2 = input.una;
    input.arrives({ win: 100 });
    expect([input.c.sndWnd, input.c.sndWndMax]).toEqual([1600, 1600]);
    input.arrives({ win: 99 });
    expect([input.c.sndWnd, input.c.sndWndMax]).toEqual([1584, 1600]);
  });

  it("does not count with the same segment and an older acknowledgment than the last", () => {
    const input = new Input().flight(500);
    input.c.sndWl1 = input.next;
    input.c.sndWl2 = (input.una + 1) | 0;
    input.arrives({ win: 7 });
    expect(input.c.sndWnd).toBe(60_000);
  });
});

describe("round trips (RFC 6298 2)", () => {
  /** Timed octets, so long ago, acknowledged with what was known. */
  function timed(ms: number, over: Partial<TcpConnection> = {}): TcpConnection {
    const input = new Input({ rttTiming: true, rttStartMs: (10_000 - ms) | 0, rtoMs: 777, ...over }).flight(
      500,
    );
    input.c.rttSequence = (input.una + 100) | 0;
    input.arrives({ ack: 100 });
    return input.c;
  }

  it.each<[number, number, number, number]>([
    [100, 800, 200, 300],
    [0, 8, 2, 200],
    [1, 8, 2, 200],
    [66, 528, 132, 200],
    [67, 536, 134, 201],
    [20_000, 160_000, 40_000, 60_000],
    [20_001, 160_008, 40_002, 60_000],
    [120_000, 960_000, 240_000, 60_000],
  ])("the first of %i ms", (ms, srtt8, rttvar4, rtoMs) => {
    expect(timed(ms)).toMatchObject({ srtt8, rttvar4, rtoMs, rttTiming: false });
  });

  it.each<[number, number, number, number]>([
    [100, 800, 150, 250],
    [150, 850, 200, 306],
    [60, 760, 190, 285],
    [500, 1200, 550, 700],
  ])("one of %i ms after others of 100 ms", (ms, srtt8, rttvar4, rtoMs) => {
    expect(timed(ms, { srtt8: 800, rttvar4: 200 })).toMatchObject({ srtt8, rttvar4, rtoMs });
  });

  it("that shrink to nothing are some", () => {
    expect(timed(0, { srtt8: 7, rttvar4: 0 })).toMatchObject({ srtt8: 8 });
    expect(timed(1, { srtt8: 1, rttvar4: 3 })).toMatchObject({ srtt8: 2 });
    expect(timed(1, { srtt8: 1_000_000, rttvar4: 0 }).srtt8).toBe(875_001);
  });

  it("the clock's tick is the least they vary", () => {
    expect(timed(1000, { srtt8: 8000, rttvar4: 0 }).rtoMs).toBe(1004);
    expect(timed(1000, { srtt8: 8000, rttvar4: 8 }).rtoMs).toBe(1006);
  });

  it.each([-1, 120_001])("one of %i ms is a lie", (ms) => {
    expect(timed(ms)).toMatchObject({ srtt8: 0, rtoMs: 777 });
  });

  it("are not measured by what was not timed, or is not acknowledged yet", () => {
    expect(timed(100, { rttTiming: false }).srtt8).toBe(0);
    const input = new Input({ rttTiming: true, rttStartMs: 9900 }).flight(500);
    input.c.rttSequence = (input.una + 101) | 0;
    input.arrives({ ack: 100 });
    expect([input.c.srtt8, input.c.rttTiming]).toEqual([0, true]);
  });

  it("are measured by what the guest echoes, where that was agreed on", () => {
    for (const [echo, backoff, rtoMs, srtt8] of [
      [9900, 0, 300, 800],
      [9000, 0, 300, 8000],
      // After a timeout: twice the timeout at most.
      [9900, 1, 300, 800],
      [9400, 1, 300, 4800],
      [9399, 1, 300, 4800],
      [1000, 1, 300, 4800],
    ]) {
      const input = new Input({ timestamps: true, tsOffset: 0x7fffff00, backoff, rtoMs }).flight(500);
      input.arrives({ ack: 500, stamp: [1, (echo + 0x7fffff00) | 0] });
      expect(input.c.srtt8).toBe(srtt8);
    }
  });
});

describe("the guest's acknowledgment of our FIN", () => {
  it.each<[number, Partial<TcpConnection>, string]>([
    [FIN_WAIT_1, {}, "FIN-WAIT-2"],
    [CLOSING, {}, "TIME-WAIT"],
    [LAST_ACK, {}, "CLOSED"],
    [LAST_ACK, { backlogOctets: 1 }, "TIME-WAIT"],
    [FIN_WAIT_2, {}, "FIN-WAIT-2"],
  ])("in state %i", (state, over, then) => {
    const input = new Input({ state, finSent: true, ...over }).flight(10);
    input.c.sndEnd = (input.c.sndNxt - 1) | 0;
    expect(input.arrives({ ack: 9 })).toBe("handled");
    expect(input.state).toBe(STATE_NAMES[state]);
    expect(input.arrives({ ack: 10 })).toBe("handled");
    expect(input.state).toBe(then);
    if (then === "CLOSED") expect(input.told.ended).toEqual([[40_000, "closed by guest", 0]]);
  });

  it("leaves nothing behind in the connection's place, whatever else the segment says", () => {
    const input = new Input({ state: LAST_ACK, finSent: true, sack: true }).flight(10);
    input.arrives({
      ack: 10,
      length: 2000,
      sack: [
        [-5, -4],
        [2, 4],
      ],
    });
    expect(input.state).toBe("CLOSED");
    expect(input.c).toMatchObject({ ackPending: false, touched: false, dupAcks: 0 });
  });

  it("is none before there was one", () => {
    const input = new Input({ state: FIN_WAIT_1 }).flight(10);
    input.arrives({ ack: 10 });
    expect(input.state).toBe("FIN-WAIT-1");
  });
});
