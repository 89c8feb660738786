/** Octets of the host on their way to the guest: read, cut and sent, each by the octet. */
import { describe, expect, it } from "vitest";
import { EAGAIN } from "../../../src/engine/boundary.ts";
import { LARGE_CHUNK_OCTETS, PAYLOAD_OCTETS_MAX, SMALL_CHUNK_OCTETS } from "../../../src/engine/limits.ts";
import { NO_CHUNK, USE_SEND } from "../../../src/engine/memory/chunk-pool.ts";
import {
  CLOSE_WAIT,
  CLOSING,
  ESTABLISHED,
  FIN_WAIT_1,
  FIN_WAIT_2,
  LAST_ACK,
  RECOVERY_TIMEOUT,
  SYN_RECEIVED,
  type TcpConnection,
  TIME_WAIT,
  TIMER_NONE,
  TIMER_PERSIST,
  TIMER_REORDER,
  TIMER_RETRANSMIT,
} from "../../../src/engine/transport/tcp/connection.ts";
import { pumpSmall } from "../../../src/engine/transport/tcp/to-guest.ts";
import { full, ToGuest } from "./tcp-downloads.ts";
import type { LayerOptions } from "./tcp-layer.ts";

describe("octets of the host", () => {
  it.each([ESTABLISHED, CLOSE_WAIT])("are sent in segments in state %i, the last marked", (state) => {
    const to = new ToGuest({ state }).give(2500).pump();
    expect(to.segments()).toEqual([...full(0, 2), [2000, 500, "P"]]);
    expect(to.c).toMatchObject({ octetsToGuest: 2500, hostReadable: false, ready: false, lastRead: 2500 });
    expect((to.c.sndNxt - to.una) | 0).toBe(2500);
    expect(to.counters.value("tcp-octets-to-guest")).toBe(2500);
    expect(to.c).toMatchObject({ timerKind: TIMER_RETRANSMIT, timerAt: 1500, sendCursor: NO_CHUNK });
  });

  it.each([SYN_RECEIVED, FIN_WAIT_1, FIN_WAIT_2, CLOSING, LAST_ACK, TIME_WAIT])(
    "are not in state %i",
    (state) => {
      const to = new ToGuest({ state }).give(2500).pump();
      expect([to.segments(), to.offered]).toEqual([[], []]);
    },
  );

  it("are not read once the host's FIN has been, nor where there are none", () => {
    const ended = new ToGuest({ hostEof: true, finSent: true }).give(10).pump();
    expect(ended.offered).toEqual([]);
    const idle = new ToGuest().pump();
    expect([idle.offered, idle.segments()]).toEqual([[], []]);
  });

  it("are marked only where no more wait", () => {
    const to = new ToGuest().give(4096 + 100).pump();
    expect(to.offered).toEqual([[4000]]);
    expect(to.segments()).toEqual(full(0, 4));
    expect(to.c).toMatchObject({ hostReadable: true, ready: true, lastRead: LARGE_CHUNK_OCTETS });
    to.pump();
    expect(to.segments()).toEqual([[4000, 196, "P"]]);
  });

  it.each([
    ["hostHangup", true],
    ["hostUrgent", true],
    ["hostFailed", false],
  ] as const)("behind which %s lies are read on after a short read: %s", (flag, readsOn) => {
    const to = new ToGuest({ [flag]: true }).give(100).pump();
    expect([to.c.hostReadable, to.c.ready]).toEqual([readsOn, readsOn]);
    expect(to.segments()).toEqual([readsOn ? [0, 100] : [0, 100, "P"]]);
  });

  it("are read until there are none, then the host is waited for", () => {
    const to = new ToGuest({ hostReadable: true, hostUrgent: true }).pump();
    expect(to.c).toMatchObject({ hostReadable: false, hostUrgent: false, state: ESTABLISHED });
    expect(to.offered).toEqual([[4000]]);
    expect([to.chunks(), to.ctx.pool.smallInUse]).toEqual([[], 0]);
  });
});

describe("how much is read", () => {
  it.each<[string, Partial<TcpConnection>, number[]]>([
    ["whole segments of a small chunk", {}, [4000]],
    ["less than a segment where the guest takes no more", { sndWnd: 900, sndWndMax: 1000 }, [900]],
    ["a segment", { sndWnd: 1000 }, [1000]],
    ["whole segments of what the guest takes", { sndWnd: 3999 }, [3000]],
    ["of a large chunk where the last read filled a small one", { lastRead: 4096 }, [65_000]],
    ["of a small one where it did not", { lastRead: 4095 }, [4000]],
    [
      "of several large ones where the last read filled all",
      { lastRead: LARGE_CHUNK_OCTETS },
      [65_000, 65_000, 65_000, 65_000],
    ],
    ["of as many as the guest takes", { lastRead: LARGE_CHUNK_OCTETS, sndWnd: 130_536 }, [65_000, 65_000]],
    ["not of one that would not be filled", { lastRead: LARGE_CHUNK_OCTETS, sndWnd: 130_535 }, [65_000]],
    ["what the congestion window allows", { cwnd: 2500 }, [2000]],
  ])("is %s", (_, over, offered) => {
    const to = new ToGuest(over).give(300_000).pump();
    expect(to.offered).toEqual([offered]);
    const octets = offered.reduce((sum, length) => sum + length, 0);
    expect(to.segments().reduce((sum, [, length]) => sum + length, 0)).toBe(octets);
  });

  it("is whole super-frames where the link takes them", () => {
    for (const [over, frame] of [
      [{ mss: 1000 }, 65_000],
      // Twenty octets of IP and TCP each, and twelve of timestamps.
      [{ mss: 13_099 }, 65_495],
      [{ mss: 13_099, timestamps: true }, 52_396],
    ] as const) {
      const to = new ToGuest({ lastRead: 5000, ...over }, { offload: true }).give(300_000).pump();
      expect(to.offered).toEqual([[frame]]);
      expect(to.segments()).toEqual([[0, frame]]);
    }
    const long = new ToGuest({ lastRead: 5000, mss: 400, sndWnd: 70_000 }, { offload: true })
      .give(300_000)
      .pump();
    expect(long.offered).toEqual([[65_200]]);
  });

  it("is whole segments of a chunk that holds others, though they are more than a super-frame", () => {
    const to = new ToGuest({ lastRead: 5000, mss: 1310 }, { offload: true }).give(10).pump();
    to.segments();
    to.c.lastRead = 5000;
    to.give(100_000).pump();
    expect(to.offered[1]).toEqual([50 * 1310]);
    expect(to.segments()).toEqual([
      [10, 49 * 1310],
      [10 + 49 * 1310, 1310],
    ]);
  });

  it("is what the last chunk has room for, where that is worth it", () => {
    for (const [first, second] of [
      [3840, 256],
      [3841, 4000],
    ]) {
      const to = new ToGuest().give(first).pump();
      to.give(5000).pump();
      expect(to.offered[1]).toEqual([second]);
      expect(to.chunks()).toEqual(second === 256 ? [4096] : [first, 4000]);
      to.segments();
    }
    for (const [first, second] of [
      [LARGE_CHUNK_OCTETS - 8192, 8000],
      [LARGE_CHUNK_OCTETS - 8191, 65_000],
    ]) {
      const to = new ToGuest({ lastRead: 5000 }).give(first).pump();
      to.give(70_000).pump();
      expect(to.offered[1]).toEqual([second]);
    }
  });

  it("is the rest of a chunk and then fresh ones, and where the first is not filled they are given back", () => {
    const to = new ToGuest({ lastRead: 5000 }).give(20_000).pump();
    to.segments();
    to.c.lastRead = LARGE_CHUNK_OCTETS;
    to.give(45_000 + 100).pump();
    expect(to.offered[1]).toEqual([45_000, 65_000, 65_000, 65_000]);
    expect(to.chunks()).toEqual([65_000, 100]);
    expect(to.segments().reduce((sum, [, length]) => sum + length, 0)).toBe(45_100);
    expect(to.ctx.pool.largeInUse).toBe(2);
    to.c.lastRead = LARGE_CHUNK_OCTETS;
    to.give(10).pump();
    expect(to.chunks()).toEqual([65_000, 110]);
    expect(to.segments()).toEqual([[65_100, 10, "P"]]);
  });

  it("remembers how much came", () => {
    for (const [octets, sndWnd, lastRead] of [
      [2999, 3000, 2999],
      [3000, 3000, LARGE_CHUNK_OCTETS],
      [10, 3000, 10],
    ]) {
      const to = new ToGuest({ sndWnd }).give(octets).pump();
      expect(to.c.lastRead).toBe(lastRead);
      expect(to.c.hostReadable).toBe(lastRead === LARGE_CHUNK_OCTETS);
    }
    const large = new ToGuest({ lastRead: LARGE_CHUNK_OCTETS }).give(200_000).pump();
    expect(large.c.lastRead).toBe(LARGE_CHUNK_OCTETS);
  });

  it("is nothing without memory: the connection waits for it", () => {
    const to = new ToGuest({}, { payloadOctets: PAYLOAD_OCTETS_MAX / 256 });
    const { pool } = to.ctx;
    while (pool.take(USE_SEND, true) !== NO_CHUNK);
    to.give(100).pump();
    expect([to.offered, to.c.starved, to.ctx.starvedCount]).toEqual([[], true, 1]);
    expect([to.c.hostReadable, to.c.ready]).toEqual([true, false]);
  });

  it("is what the guest takes, where that is less than a super-frame", () => {
    const to = new ToGuest({ lastRead: 5000, sndWnd: 10_000 }, { offload: true }).give(100_000).pump();
    expect(to.offered).toEqual([[10_000]]);
  });

  it("may be nothing, and what the last chunk holds stays", () => {
    const to = new ToGuest().give(100).pump();
    to.segments();
    to.c.hostReadable = true;
    to.pump();
    expect([to.chunks(), to.ctx.pool.smallInUse]).toEqual([[100], 1]);
  });
});

describe("the windows", () => {
  it.each<[string, Partial<TcpConnection>, number, number]>([
    ["the guest's bounds what is under way", { sndWnd: 2000 }, 0, 2000],
    ["less what is under way", { sndWnd: 5000 }, 3000, 2000],
    ["so does the congestion window", { cwnd: 2000 }, 0, 2000],
    ["less what is under way there", { cwnd: 5000 }, 3000, 2000],
    ["but what has arrived is not", { cwnd: 5000, sackedOctets: 1000 }, 3000, 3000],
    ["in recovery what is lost is not, either", { cwnd: 5000, recovery: RECOVERY_TIMEOUT }, 3000, 2000],
    [
      "nor what arrived beyond a full list",
      { cwnd: 5000, recovery: RECOVERY_TIMEOUT, sackOverflow: 1000 },
      3000,
      3000,
    ],
    ["out of it that is", { cwnd: 5000, sackOverflow: 1000 }, 3000, 2000],
    ["nothing is left", { sndWnd: 3000 }, 3000, 0],
    ["nor less than that", { sndWnd: 1000 }, 3000, 0],
  ])("%s", (_, over, flight, sent) => {
    const to = new ToGuest();
    if (flight > 0) to.give(flight).pump();
    expect(to.segments().reduce((sum, [, length]) => sum + length, 0)).toBe(flight);
    Object.assign(to.c, over);
    to.c.recover = to.c.sndNxt;
    to.c.lossUntil = to.c.retransmitNext = to.c.sndUna;
    to.give(100_000).pump();
    to.pump();
    expect(to.segments().reduce((sum, [, length]) => sum + length, 0)).toBe(sent);
  });

  it("hold out of recovery wherever the last one ended, as where that was 2 GiB ago and seems ahead", () => {
    const to = new ToGuest({ lastRead: 5000, cwnd: 5000 }).give(3000).pump();
    to.segments();
    to.c.retransmitNext = to.una;
    to.c.lossUntil = (to.una - 0x80000001) | 0;
    to.give(100_000).pump();
    expect(to.segments()).toEqual(full(3000, 2));
  });

  it.each<[string, Partial<TcpConnection>, number]>([
    ["a segment is worth sending", { sndWnd: 1000, sndWndMax: 60_000 }, 1000],
    ["less is not", { sndWnd: 999, sndWndMax: 60_000 }, 0],
    ["half of the largest window is", { sndWnd: 500, sndWndMax: 1000 }, 500],
    ["less than that is not", { sndWnd: 499, sndWndMax: 1000 }, 0],
    ["nothing is not, whatever the window was", { sndWnd: 0, sndWndMax: 0 }, 0],
  ])("%s (RFC 9293 3.8.6.2.1)", (_, over, sent) => {
    const to = new ToGuest(over).give(5000).pump();
    expect(to.segments().reduce((sum, [, length]) => sum + length, 0)).toBe(sent);
    expect(to.c.timerKind).toBe(sent > 0 ? TIMER_RETRANSMIT : TIMER_PERSIST);
    // Nor is it read.
    expect(to.offered.length).toBe(sent > 0 ? 1 : 0);
    const small = new ToGuest(over).give(5000);
    pumpSmall(small.ctx, small.c);
    expect(small.segments().reduce((sum, [, length]) => sum + length, 0)).toBe(over.sndWnd);
    expect(small.c.sendSmall).toBe(false);
  });

  it("that are shut while octets are under way need no probe: their acknowledgment tells", () => {
    for (const stored of [false, true]) {
      const to = new ToGuest().give(1000).pump();
      to.c.sndWnd = stored ? 1500 : 1000;
      if (stored) {
        // Octets that are stored and do not fit.
        to.c.sndWnd = 5000;
        to.c.cwnd = 1000;
        to.c.sndWndMax = 60_000;
      }
      to.give(1000).pump();
      expect(to.c.timerKind).toBe(TIMER_RETRANSMIT);
    }
  });
});

describe("octets that are stored and were not sent", () => {
  /** So many are stored; the windows allow this. */
  function stored(octets: number, over: Partial<TcpConnection> = {}, options: LayerOptions = {}): ToGuest {
    const to = new ToGuest({ lastRead: 5000 }, options).give(octets);
    // Nobody knows the guest: it is read, and cannot leave.
    to.c.guestAddress++;
    to.pump();
    to.c.guestAddress--;
    expect([to.segments(), to.c.timerKind]).toEqual([[], TIMER_RETRANSMIT]);
    expect([(to.c.sndNxt - to.una) | 0, (to.c.sndEnd - to.una) | 0]).toEqual([0, octets]);
    Object.assign(to.c, over);
    return to;
  }

  it("leave as the windows allow, in whole segments where there are several", () => {
    for (const [sndWnd, sent] of [
      [
        2999,
        [
          [0, 1000],
          [1000, 1000],
        ],
      ],
      [1000, [[0, 1000]]],
      [3500, [...full(0, 3), [3000, 500, "P"]]],
      [4000, [...full(0, 3), [3000, 500, "P"]]],
    ] as const) {
      const to = stored(3500, { sndWnd }).pump();
      expect(to.segments()).toEqual(sent);
    }
  });

  it("leave in one frame, its last segment short, where the window ends with them", () => {
    const to = stored(1500, { sndWnd: 1500 }, { offload: true }).pump();
    expect(to.segments()).toEqual([[0, 1500, "P"]]);
  });

  it("keep octets of the host from being read while nobody knows the guest", () => {
    const to = stored(3500);
    to.c.guestAddress++;
    to.give(10).pump();
    expect(to.offered.length).toBe(1);
  });

  it("are probed for where the window is shut and none is under way", () => {
    for (const [before, timerKind] of [
      [0, TIMER_PERSIST],
      [1, TIMER_NONE],
    ]) {
      const to = stored(10, { sndWnd: 0, timerKind: TIMER_NONE });
      to.c.sndUna = (to.una - before) | 0;
      to.pump();
      expect(to.c.timerKind).toBe(timerKind);
    }
  });

  it("leave in super-frames of whole segments", () => {
    const to = stored(5500, { sndWnd: 2999 }, { offload: true }).pump();
    expect(to.segments()).toEqual([[0, 2000]]);
    to.c.sndWnd = 1_000_000;
    to.pump();
    expect(to.segments()).toEqual([[2000, 3500, "P"]]);
    expect(to.c.sendCursor).toBe(NO_CHUNK);
  });

  it("wait for room on the link, and the connection with them", () => {
    const to = stored(3000);
    to.link.room = 0;
    const { queue } = to.egress;
    while (to.egress.payloadRoom() > 0) queue.push(20, 0, 0, 0, 0, 0);
    to.c.ready = false;
    to.pump();
    expect([to.c.ready, (to.c.sndNxt - to.una) | 0]).toEqual([true, 0]);
    // With a shut window, too: it is probed for once the link takes frames.
    Object.assign(to.c, { sndWnd: 0, timerKind: TIMER_NONE });
    to.give(10).pump();
    expect(to.c.timerKind).toBe(TIMER_NONE);
    to.link.room = Number.POSITIVE_INFINITY;
    to.egress.unblock();
    to.pump();
    expect(to.c.timerKind).toBe(TIMER_PERSIST);
  });

  it("keep octets of the host from being read", () => {
    const to = stored(3500, { sndWnd: 1000 }).give(10).pump();
    expect(to.offered.length).toBe(1);
  });
});

describe("the link", () => {
  it("that is full is not read for", () => {
    const to = new ToGuest().give(100);
    to.link.room = 0;
    while (to.egress.payloadRoom() > 0) to.egress.queue.push(20, 0, 0, 0, 0, 0);
    to.pump();
    expect([to.offered, to.c.ready]).toEqual([[], true]);
  });

  it("that fills up on the way leaves the rest for later", () => {
    const to = new ToGuest({ lastRead: 5000 }).give(10_000);
    to.link.room = 0;
    while (to.egress.payloadRoom() > 3) to.egress.queue.push(20, 0, 0, 0, 0, 0);
    to.pump();
    expect((to.c.sndNxt - to.una) | 0).toBe(3000);
    expect(to.c.ready).toBe(true);
    expect((to.c.sndEnd - to.una) | 0).toBe(10_000);
  });
});

describe("what is timed", () => {
  it("is one segment at a time, where there are no timestamps", () => {
    const to = new ToGuest().give(2500).pump();
    expect(to.c).toMatchObject({ rttTiming: true, rttStartMs: 500, rttSequence: (to.una + 1000) | 0 });
    const stamped = new ToGuest({ timestamps: true }).give(2500).pump();
    expect(stamped.c.rttTiming).toBe(false);
  });

  it.each([
    [TIMER_NONE, 0, 1500],
    [TIMER_PERSIST, 0, 1500],
    [TIMER_RETRANSMIT, 3, 777],
    [TIMER_REORDER, 3, 777],
  ])("starts the timer where none of kind %i runs for other octets", (timerKind, backoff, timerAt) => {
    const to = new ToGuest({ timerKind, backoff: 3, timerAt: 777 }).give(100).pump();
    expect(to.c).toMatchObject({ backoff, timerAt });
    expect(to.c.timerKind).toBe(backoff === 0 ? TIMER_RETRANSMIT : timerKind);
  });
});

describe("a chunk", () => {
  it("is small for a host of which little is known", () => {
    const to = new ToGuest().give(10).pump();
    expect([to.ctx.pool.smallInUse, to.ctx.pool.largeInUse]).toEqual([1, 0]);
    expect(to.ctx.pool.capacity(to.c.sendHead)).toBe(SMALL_CHUNK_OCTETS);
    expect(to.network.tcpReceive(0, Int32Array.of(to.arena.scratchAt, 1), 1)).toBe(EAGAIN);
  });
});
