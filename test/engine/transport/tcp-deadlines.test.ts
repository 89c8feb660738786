/** The deadlines of a connection as they are filed: which, when, and which of two. */
import { describe, expect, it } from "vitest";
import {
  CLOSE_WAIT,
  ESTABLISHED,
  FIN_WAIT_2,
  type TcpConnection,
  TIMER_NONE,
  TIMER_PERSIST,
  TIMER_REORDER,
  TIMER_RETRANSMIT,
} from "../../../src/engine/transport/tcp/connection.ts";
import {
  arm,
  HALF_OPEN_MAX_MS,
  idlePatience,
  KEEPALIVE_IDLE_MS,
  startPersistTimer,
  startReorderTimer,
  startRetransmitTimer,
  stopTimer,
  waitForGuest,
} from "../../../src/engine/transport/tcp/deadline.ts";
import { TcpLayer } from "./tcp-layer.ts";

const MINUTE_MS = 60_000;
/** Deadlines lie beyond the clock's wrap. */
const NOW = 0x7fffffff - 50;

function connection(over: Partial<TcpConnection> = {}): { layer: TcpLayer; c: TcpConnection } {
  const layer = new TcpLayer();
  layer.ctx.wheel.advance(NOW);
  layer.ctx.now = NOW;
  const c = layer.opened();
  c.idleAt = (NOW + KEEPALIVE_IDLE_MS) | 0;
  Object.assign(c, over);
  return { layer, c };
}

/** When the wheel tells of the connection's deadline, milliseconds from now, to its tick. */
function filed({ layer, c }: { layer: TcpLayer; c: TcpConnection }): number {
  for (let passed = 0; passed <= 3 * KEEPALIVE_IDLE_MS; ) {
    layer.ctx.wheel.advance((NOW + passed) | 0);
    if (layer.fired.includes(c.id)) return passed;
    passed += 2;
  }
  return Number.POSITIVE_INFINITY;
}

describe("how long a silent guest is left alone", () => {
  it.each<[string, Partial<TcpConnection>, number]>([
    ["two hours", {}, KEEPALIVE_IDLE_MS],
    ["as long as is right for a forward's client", { clientPaceMs: 5000 }, 5000],
    ["two hours once our half is closed", { state: FIN_WAIT_2, clientPaceMs: 5000 }, KEEPALIVE_IDLE_MS],
    ["65 s where it has closed its half", { state: CLOSE_WAIT }, 65_000],
    ["whoever its peer is", { state: CLOSE_WAIT, clientPaceMs: 5000 }, 65_000],
    ["then twice as long", { state: CLOSE_WAIT, halfClosedProbes: 1 }, 130_000],
    ["up to the seventh time", { state: CLOSE_WAIT, halfClosedProbes: 6 }, 64 * 65_000],
    ["then as long as any other", { state: CLOSE_WAIT, halfClosedProbes: 7 }, KEEPALIVE_IDLE_MS],
    ["which half-open connections are less", { state: ESTABLISHED, halfClosedProbes: 3 }, KEEPALIVE_IDLE_MS],
  ])("is %s", (_, over, ms) => {
    const { c } = connection({ lastHeardMs: NOW, ...over });
    expect(idlePatience(c)).toBe(ms);
    waitForGuest(c);
    expect((c.idleAt - NOW) | 0).toBe(ms);
  });

  it("is four minutes while it opens (RFC 5382 REQ-5)", () => {
    expect(HALF_OPEN_MAX_MS).toBe(4 * MINUTE_MS);
  });
});

describe("the earlier of two deadlines is filed", () => {
  it.each<[string, number, number, number, number]>([
    ["the timer's", TIMER_RETRANSMIT, 200, 400, 200],
    ["the slow one's", TIMER_RETRANSMIT, 400, 200, 200],
    ["the slow one's where no timer runs", TIMER_NONE, 200, 400, 400],
  ])("%s", (_, timerKind, timer, idle, at) => {
    const both = connection({ timerKind, timerAt: (NOW + timer) | 0, idleAt: (NOW + idle) | 0 });
    arm(both.layer.ctx, both.c);
    const ms = filed(both);
    expect(ms).toBeGreaterThanOrEqual(at);
    expect(ms).toBeLessThan(at + 8);
  });
});

describe("the retransmission timer (RFC 6298)", () => {
  it.each<[number, number, number]>([
    [200, 0, 200],
    [200, 1, 400],
    [200, 3, 1600],
    [1000, 5, 32_000],
    [1000, 6, MINUTE_MS],
    [1000, 50, MINUTE_MS],
    [7500, 3, MINUTE_MS],
    [7499, 3, 59_992],
    [MINUTE_MS, 0, MINUTE_MS],
    [MINUTE_MS, 1, MINUTE_MS],
  ])("of %i ms, doubled %i times, is %i ms", (rtoMs, backoff, ms) => {
    const { layer, c } = connection({ rtoMs, backoff });
    startRetransmitTimer(layer.ctx, c);
    expect([c.timerKind, (c.timerAt - NOW) | 0, c.backoff]).toEqual([TIMER_RETRANSMIT, ms, backoff]);
  });

  it("is filed, and is none once it is stopped", () => {
    const running = connection({ rtoMs: 300 });
    startRetransmitTimer(running.layer.ctx, running.c);
    expect(Math.abs(filed(running) - 304)).toBeLessThan(5);
    const stopped = connection({ rtoMs: 300 });
    startRetransmitTimer(stopped.layer.ctx, stopped.c);
    stopTimer(stopped.c);
    expect(stopped.c.timerKind).toBe(TIMER_NONE);
  });
});

describe("the persist timer", () => {
  it("waits as long as a retransmission would, and is not put off", () => {
    const { layer, c } = connection({ rtoMs: 300, backoff: 1 });
    startPersistTimer(layer.ctx, c);
    expect([c.timerKind, (c.timerAt - NOW) | 0]).toEqual([TIMER_PERSIST, 600]);
    layer.ctx.now = (NOW + 100) | 0;
    startPersistTimer(layer.ctx, c);
    expect((c.timerAt - NOW) | 0).toBe(600);
  });

  it("takes the place of another", () => {
    const { layer, c } = connection({ rtoMs: 300, timerKind: TIMER_RETRANSMIT, timerAt: (NOW + 5) | 0 });
    startPersistTimer(layer.ctx, c);
    expect([c.timerKind, (c.timerAt - NOW) | 0]).toEqual([TIMER_PERSIST, 300]);
  });
});

describe("the time a hole has to close by itself (RFC 8985 6.2)", () => {
  const running = { timerKind: TIMER_RETRANSMIT, timerAt: (NOW + 300) | 0, srtt8: 80 };
  it.each<[string, Partial<TcpConnection>, number, number]>([
    ["is a round trip", {}, TIMER_REORDER, 10],
    ["two milliseconds at least", { srtt8: 15 }, TIMER_REORDER, 2],
    ["of whole milliseconds", { srtt8: 31 }, TIMER_REORDER, 3],
    ["nothing where no round trip is known", { srtt8: 0 }, TIMER_RETRANSMIT, 300],
    ["nothing where the retransmission comes first", { srtt8: 2400 }, TIMER_RETRANSMIT, 300],
    ["but where it does not", { srtt8: 2399 }, TIMER_REORDER, 299],
    ["nothing while a closed window is probed", { timerKind: TIMER_PERSIST }, TIMER_PERSIST, 300],
    ["nothing more while it runs", { timerKind: TIMER_REORDER }, TIMER_REORDER, 300],
    ["nothing without a timer", { timerKind: TIMER_NONE }, TIMER_NONE, 300],
  ])("%s", (_, over, kind, ms) => {
    const { layer, c } = connection({ ...running, ...over });
    startReorderTimer(layer.ctx, c);
    expect([c.timerKind, (c.timerAt - NOW) | 0]).toEqual([kind, ms]);
  });

  it("is filed", () => {
    const waiting = connection(running);
    startReorderTimer(waiting.layer.ctx, waiting.c);
    expect(filed(waiting)).toBeLessThan(20);
  });
});
