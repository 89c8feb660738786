/** The receive window, number by number: how large it may be, what is announced of it, and when it is worth a segment. */
import { describe, expect, it } from "vitest";
import type { TcpConnection } from "../../../src/engine/transport/tcp/connection.ts";
import {
  advertise,
  noteDelivered,
  WINDOW_INITIAL,
  WINDOW_MAX,
  WINDOW_SHIFT,
  windowUpdateDue,
} from "../../../src/engine/transport/tcp/window.ts";
import { type LayerOptions, TcpLayer } from "./tcp-layer.ts";

interface Window {
  readonly target?: number;
  readonly backlog?: number;
  readonly promised?: number;
  readonly shift?: number;
  readonly receivers?: number;
}

function withWindow(window: Window, options: LayerOptions = {}): { layer: TcpLayer; c: TcpConnection } {
  const layer = new TcpLayer(options);
  const c = layer.connection();
  c.rcvTaken = 0x7fffff00;
  c.rcvAdvertised = (c.rcvTaken + (window.promised ?? 0)) | 0;
  c.windowTarget = window.target ?? 2 * WINDOW_MAX;
  c.backlogOctets = window.backlog ?? 0;
  c.rcvShift = window.shift ?? WINDOW_SHIFT;
  layer.ctx.activeReceivers = window.receivers ?? 1;
  return { layer, c };
}

describe("the largest window", () => {
  const plain = { queueFrames: 1000 };
  it.each<[string, LayerOptions, Window, number]>([
    ["4 MiB on a link that pushes back", {}, {}, WINDOW_MAX],
    ["4 MiB on a link that pushes back, however many receive", {}, { receivers: 1000 }, WINDOW_MAX],
    ["three quarters of what a link of plain frames can queue", plain, {}, 1_125_000],
    ["shared among those that receive", plain, { receivers: 3 }, 375_000],
    ["and eight segments at least", plain, { receivers: 1000 }, 12_000],
    [
      "three quarters of the super-frames it can queue",
      { ...plain, offload: true },
      { receivers: 100 },
      491_520,
    ],
    ["4 MiB at most there, too", { ...plain, offload: true }, {}, WINDOW_MAX],
    ["what the connection has shown use for", {}, { target: 131_072 }, 131_072],
    ["less what waits for the host", {}, { target: 131_072, backlog: 31_072 }, 100_000],
    ["nothing where more waits than that", {}, { target: 131_072, backlog: 131_073 }, 0],
  ])("is %s", (_, options, window, octets) => {
    const { layer, c } = withWindow(window, options);
    expect(advertise(layer.ctx, c, false)).toBe(octets >> WINDOW_SHIFT);
    expect((c.rcvAdvertised - c.rcvTaken) | 0).toBe((octets >> WINDOW_SHIFT) << WINDOW_SHIFT);
  });
});

describe("what is announced", () => {
  it.each<[string, Window, number, number]>([
    ["no growth of less than a segment", { target: 11_499, promised: 10_000, shift: 0 }, 10_000, 10_000],
    ["a growth of a segment", { target: 11_500, promised: 10_000, shift: 0 }, 11_500, 11_500],
    ["no growth of less than half a small window", { target: 1000, promised: 501, shift: 0 }, 501, 501],
    ["a growth of half a small window", { target: 1000, promised: 500, shift: 0 }, 1000, 1000],
    ["what was promised, where less is free", { target: 5000, promised: 6000, shift: 0 }, 6000, 6000],
    ["no more than the field holds", { shift: 0 }, 65_535, 65_535],
    ["what was promised, rounded up", { target: 1000, promised: 897 }, 8, 1024],
    ["what was promised, where it needs no rounding", { target: 1000, promised: 896 }, 7, 896],
    ["new room, rounded down", { target: 10_111 }, 78, 9984],
  ])("is %s", (_, window, field, edge) => {
    const { layer, c } = withWindow(window);
    expect(advertise(layer.ctx, c, false)).toBe(field);
    expect((c.rcvAdvertised - c.rcvTaken) | 0).toBe(edge);
  });

  it("is not scaled in a SYN, and no more than the field holds", () => {
    const { layer, c } = withWindow({ target: 50_000 });
    expect(advertise(layer.ctx, c, true)).toBe(50_000);
    expect((c.rcvAdvertised - c.rcvTaken) | 0).toBe(50_000);
    c.windowTarget = 100_000;
    expect(advertise(layer.ctx, c, true)).toBe(65_535);
    expect((c.rcvAdvertised - c.rcvTaken) | 0).toBe(65_535);
  });

  it("never pulls the edge back, though rounding and the field would", () => {
    const { layer, c } = withWindow({ promised: 100_000, shift: 0, target: 100_000 });
    expect(advertise(layer.ctx, c, false)).toBe(65_535);
    expect((c.rcvAdvertised - c.rcvTaken) | 0).toBe(100_000);
  });
});

describe("the window a connection has shown use for", () => {
  it("doubles once it has been filled and emptied", () => {
    const { c } = withWindow({ target: WINDOW_INITIAL });
    noteDelivered(c, WINDOW_INITIAL - 1);
    expect(c.windowTarget).toBe(WINDOW_INITIAL);
    noteDelivered(c, 1);
    expect(c.windowTarget).toBe(2 * WINDOW_INITIAL);
    // Counted anew.
    noteDelivered(c, 2 * WINDOW_INITIAL - 1);
    expect(c.windowTarget).toBe(2 * WINDOW_INITIAL);
    noteDelivered(c, 1);
    expect(c.windowTarget).toBe(4 * WINDOW_INITIAL);
  });

  it("stays as it is while octets wait for the host", () => {
    const { c } = withWindow({ target: 1000, backlog: 1 });
    noteDelivered(c, 1000);
    expect(c.windowTarget).toBe(1000);
    c.backlogOctets = 0;
    noteDelivered(c, 999);
    expect(c.windowTarget).toBe(1000);
    noteDelivered(c, 1);
    expect(c.windowTarget).toBe(2000);
  });

  it("does not grow beyond the largest", () => {
    for (const [target, then] of [
      [WINDOW_MAX - 1, 2 * WINDOW_MAX - 2],
      [WINDOW_MAX, WINDOW_MAX],
    ]) {
      const { c } = withWindow({ target });
      noteDelivered(c, target);
      expect(c.windowTarget).toBe(then);
    }
  });
});

describe("a window update (RFC 9293 3.8.6.2.2)", () => {
  it.each<[string, Window, boolean]>([
    ["is due for two segments", { target: 13_000, promised: 10_000 }, true],
    ["is not for less", { target: 12_999, promised: 10_000 }, false],
    ["is due for half a small window", { target: 2000, promised: 1000 }, true],
    ["is not for less than that", { target: 2000, promised: 1001 }, false],
    ["is not for nothing, however small the window", { target: 1, promised: 1 }, false],
    ["is for the only octet of a window", { target: 1, promised: 0 }, true],
    ["counts what waits for the host", { target: 13_000, promised: 10_000, backlog: 1 }, false],
  ])("%s", (_, window, due) => {
    const { layer, c } = withWindow(window);
    expect(windowUpdateDue(layer.ctx, c)).toBe(due);
  });
});
