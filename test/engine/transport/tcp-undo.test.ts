/** What is measured of a link's reordering, and when a recovery is undone, number by number (reordering.ts). */
import { describe, expect, it } from "vitest";
import {
  RECOVERY_FAST,
  RECOVERY_NONE,
  RECOVERY_TIMEOUT,
  type TcpConnection,
} from "../../../src/engine/transport/tcp/connection.ts";
import {
  dsackDue,
  noteDsack,
  noteDuplicateOctets,
  noteLate,
  noteOvertaken,
  rememberForUndo,
} from "../../../src/engine/transport/tcp/reordering.ts";
import { Segment } from "../../../src/engine/transport/tcp/segment.ts";
import { WINDOW_MAX } from "../../../src/engine/transport/tcp/window.ts";
import { TcpLayer } from "./tcp-layer.ts";

const UNA = 0x7fffe000;
const NOW = 5000;
/** Ours are this far ahead of the clock. */
const STAMPS = 0x7fffff00;

/** A connection to which 20,000 octets are under way, 10,000 of which the guest has behind a hole of 2000. */
function reordered(over: Partial<TcpConnection> = {}): { layer: TcpLayer; c: TcpConnection } {
  const layer = new TcpLayer();
  layer.ctx.now = NOW;
  const c = layer.opened();
  c.sndUna = UNA;
  c.sndNxt = (UNA + 20_000) | 0;
  c.sackEdges = Int32Array.of(UNA + 2000, UNA + 3000, UNA + 4000, UNA + 12_000, 0, 0);
  c.sackCount = 2;
  c.retransmitNext = UNA;
  c.tsOffset = STAMPS;
  Object.assign(c, over);
  return { layer, c };
}

const undone = (layer: TcpLayer): number => layer.counters.value("tcp-recoveries-undone");

describe("how far octets were overtaken", () => {
  it.each<[string, Partial<TcpConnection>, number, number]>([
    ["is counted in segments up to the highest range", {}, 0, 12],
    ["from where they begin, rounded up", {}, 1500, 11],
    ["is no less than before", { reordering: 12 }, 0, 12],
    ["is more than before by an octet at least", { mss: 3999 }, 0, 4],
    ["not by less", { mss: 4000 }, 0, 3],
    ["is three hundred segments at most", { mss: 10 }, 0, 300],
    ["says nothing without ranges", { sackCount: 0 }, 0, 3],
    ["says nothing where the guest never reported any", { sackEdges: null }, 0, 3],
    ["says nothing after a timeout", { recovery: RECOVERY_TIMEOUT }, 0, 3],
    ["is measured in fast recovery, too", { recovery: RECOVERY_FAST }, 0, 12],
    ["says nothing of what was sent again", { retransmitNext: (UNA + 501) | 0 }, 500, 3],
    ["says so of what was not", { retransmitNext: (UNA + 500) | 0 }, 500, 12],
  ])("%s", (_, over, from, reordering) => {
    const { c } = reordered(over);
    noteOvertaken(c, (UNA + from) | 0);
    expect(c.reordering).toBe(reordering);
  });
});

describe("a recovery that begins", () => {
  it("notes what to go back to", () => {
    const { layer, c } = reordered({ cwnd: 7000, ssthresh: 8000, undoOctets: 5 });
    rememberForUndo(layer.ctx, c);
    expect(c).toMatchObject({
      undoFrom: UNA,
      undoCwnd: 7000,
      undoSsthresh: 8000,
      undoStamp: (NOW + STAMPS) | 0,
      undoOctets: 0,
    });
  });
});

/** In recovery that began at NOW; the window has shrunk since. */
const RECOVERING = {
  recovery: RECOVERY_FAST,
  timestamps: true,
  undoCwnd: 9000,
  undoSsthresh: 8000,
  undoFrom: UNA,
  undoStamp: (NOW + STAMPS) | 0,
  cwnd: 3000,
  ssthresh: 3500,
  recover: (UNA + 20_000) | 0,
  lossUntil: (UNA + 4000) | 0,
  retransmitNext: (UNA + 2000) | 0,
};

describe("an acknowledgment in recovery (RFC 3522, 4015)", () => {
  function late(over: Partial<TcpConnection>, echo: number): { layer: TcpLayer; c: TcpConnection } {
    const { layer, c } = reordered({ ...RECOVERING, ...over });
    const s = new Segment();
    s.options.timestampEcho = (NOW + STAMPS + echo) | 0;
    c.sndUna = (UNA + 1000) | 0;
    noteLate(layer.ctx, c, UNA, s);
    return { layer, c };
  }

  it("that echoes a time before it undoes it, and tells how far octets were overtaken", () => {
    const { layer, c } = late({}, -1);
    expect(c).toMatchObject({
      recovery: RECOVERY_NONE,
      cwnd: 9000,
      ssthresh: 8000,
      undoCwnd: 0,
      lossUntil: (UNA + 1000) | 0,
      reordering: 12,
    });
    expect(undone(layer)).toBe(1);
  });

  it("leaves a window that has grown beyond what it was", () => {
    expect(late({ cwnd: 9500, ssthresh: 8500 }, -1).c).toMatchObject({ cwnd: 9500, ssthresh: 8500 });
  });

  it("undoes one after a timeout, which forgot the ranges", () => {
    const { layer, c } = late({ recovery: RECOVERY_TIMEOUT, sackCount: 0 }, -1);
    expect(undone(layer)).toBe(1);
    expect(c).toMatchObject({ recovery: RECOVERY_NONE, reordering: 3 });
    expect(late({ sackEdges: null }, -1).c.reordering).toBe(3);
  });

  it.each<[string, Partial<TcpConnection>, number]>([
    ["echoes when it began", {}, 0],
    ["echoes a later time", {}, 1],
    ["comes without timestamps", { timestamps: false }, -1],
    ["comes when there is nothing to go back to", { undoCwnd: 0 }, -1],
    ["comes when there is no recovery", { recovery: RECOVERY_NONE }, -1],
  ])("that %s undoes nothing", (_, over, echo) => {
    const { layer, c } = late(over, echo);
    expect(undone(layer)).toBe(0);
    expect(c.cwnd).toBe(3000);
    expect(c.lossUntil).toBe((UNA + 4000) | 0);
    // What is acknowledged was sent again: neither copy tells.
    expect(c.reordering).toBe(3);
  });

  it("that undoes nothing still tells how far octets that were sent once were overtaken", () => {
    expect(late({ retransmitNext: UNA }, 0).c.reordering).toBe(12);
  });
});

describe("a report of octets that came twice (RFC 2883, 3708)", () => {
  function reported(over: Partial<TcpConnection>, ...ranges: readonly (readonly [number, number])[]) {
    const { layer, c } = reordered({ ...RECOVERING, undoOctets: 2000, ...over });
    for (const [left, right] of ranges) noteDsack(layer.ctx, c, (UNA + left) | 0, (UNA + right) | 0);
    return { layer, c };
  }

  it("undoes recovery when it is of all that was sent again", () => {
    const first = reported({}, [0, 1999]);
    expect([undone(first.layer), first.c.undoOctets, first.c.reordering]).toEqual([0, 1, 3]);
    const both = reported({}, [0, 1000], [1000, 2000]);
    expect(undone(both.layer)).toBe(1);
    expect(both.c).toMatchObject({ undoOctets: 0, reordering: 6, cwnd: 9000, recovery: RECOVERY_NONE });
    const more = reported({}, [0, 2500]);
    expect([undone(more.layer), more.c.undoOctets]).toEqual([1, 0]);
  });

  it("believes the link to reorder twice as far then, up to three hundred segments", () => {
    expect(reported({ reordering: 149 }, [0, 2000]).c.reordering).toBe(298);
    expect(reported({ reordering: 200 }, [0, 2000]).c.reordering).toBe(300);
  });

  it.each<[string, Partial<TcpConnection>, readonly [number, number]]>([
    ["there is nothing to go back to", { undoCwnd: 0 }, [0, 2000]],
    ["nothing was sent again", { undoOctets: 0 }, [0, 2000]],
    ["it was sent before recovery began", {}, [-1, 2000]],
    ["it was sent after recovery began", {}, [18_000, 20_001]],
  ])("undoes nothing where %s", (_, over, range) => {
    const { layer, c } = reported(over, range);
    expect(undone(layer)).toBe(0);
    expect(c.undoOctets).toBe(over.undoOctets ?? 2000);
  });

  it("counts up to the end of what recovery is for", () => {
    expect(undone(reported({}, [18_000, 20_000]).layer)).toBe(1);
  });
});

describe("octets that the guest sends twice (RFC 2883 4)", () => {
  const RCV = 0x7ffffff0;
  function twice(...pieces: readonly (readonly [left: number, octets: number])[]): readonly [number, number] {
    const { c } = reordered({ rcvNxt: RCV, rcvTaken: RCV });
    for (const [left, octets] of pieces) noteDuplicateOctets(c, (RCV + left) | 0, octets);
    return c.dsackLeft === c.dsackRight ? [0, 0] : [(c.dsackLeft - RCV) | 0, (c.dsackRight - RCV) | 0];
  }

  it("are one range; what continues it joins it", () => {
    expect(twice([-3000, 1000])).toEqual([-3000, -2000]);
    expect(twice([-3000, 1000], [-2000, 500])).toEqual([-3000, -1500]);
    expect(twice([-3000, 1000], [-1999, 500])).toEqual([-1999, -1499]);
    expect(twice([-3000, 1000], [-3000, 1500])).toEqual([-3000, -1500]);
  });

  it("are none where there are none", () => {
    expect(twice([-3000, 0])).toEqual([0, 0]);
    for (const left of [-2000, -1500]) expect(twice([-3000, 1000], [left, 0])).toEqual([-3000, -2000]);
  });

  it("begin anew once they have been reported, though they go on where those ended", () => {
    const { c } = reordered({ rcvNxt: RCV });
    noteDuplicateOctets(c, RCV - 3000, 1000);
    c.dsackRight = c.dsackLeft;
    noteDuplicateOctets(c, RCV - 3000, 500);
    expect([c.dsackLeft, c.dsackRight]).toEqual([RCV - 3000, RCV - 2500]);
  });

  it("say nothing from further back than any window", () => {
    expect(twice([-WINDOW_MAX, 10])).toEqual([-WINDOW_MAX, 10 - WINDOW_MAX]);
    expect(twice([-WINDOW_MAX - 1, 10])).toEqual([0, 0]);
  });

  it("are reported once acknowledged, or as kept ahead of a hole", () => {
    const { layer, c } = reordered({ rcvNxt: RCV, rcvTaken: (RCV - 1000) | 0 });
    expect(dsackDue(layer.ctx, c)).toBe(false);
    noteDuplicateOctets(c, (RCV - 2000) | 0, 1000);
    expect(dsackDue(layer.ctx, c)).toBe(true);
    c.dsackRight = (c.dsackRight + 1) | 0;
    expect(dsackDue(layer.ctx, c)).toBe(false);
    for (const [stored, due] of [
      [-2000, true],
      [-1999, false],
    ] as const) {
      const chunk = layer.ctx.pool.take(2, false);
      layer.ctx.pool.sequence[chunk] = (RCV + stored) | 0;
      c.outOfOrderHead = chunk;
      expect(dsackDue(layer.ctx, c)).toBe(due);
    }
    // The first of all chunks counts as any other.
    layer.ctx.pool.sequence[0] = (RCV - 2000) | 0;
    c.outOfOrderHead = 0;
    expect(dsackDue(layer.ctx, c)).toBe(true);
  });
});
