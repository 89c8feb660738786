/** How a connection ends: its host socket, TIME-WAIT, who gives way, and that nothing of it stays. */
import { describe, expect, it } from "vitest";
import { NO_CHUNK, USE_BACKLOG, USE_OUT_OF_ORDER, USE_SEND } from "../../../src/engine/memory/chunk-pool.ts";
import { flowEndBy } from "../../../src/engine/metrics/flow-end.ts";
import {
  CLOSE_WAIT,
  CLOSED,
  CLOSING,
  CONNECTING,
  ESTABLISHED,
  LAST_ACK,
  SYN_RECEIVED,
  SYN_SENT,
  TcpConnection,
  TIME_WAIT,
  TIMER_NONE,
  TIMER_RETRANSMIT,
} from "../../../src/engine/transport/tcp/connection.ts";
import { LOCAL } from "../../../src/engine/transport/tcp/local-service.ts";
import {
  abortBoth,
  closeHostIfDone,
  enterTimeWait,
  evictHalfOpen,
  evictTimeWait,
  removeConnection,
  TIME_WAIT_MS,
} from "../../../src/engine/transport/tcp/teardown.ts";
import { ACK, RST } from "../../sim/guest-stack/codec.ts";
import { TcpLayer } from "./tcp-layer.ts";

const KILLED = flowEndBy("killed", "sluice");

/** A connection with a chunk of every use. */
function laden(layer: TcpLayer): TcpConnection {
  const c = layer.opened();
  const { pool } = layer.ctx;
  c.sendHead = c.sendTail = c.sendCursor = pool.take(USE_SEND, false);
  c.backlogHead = c.backlogTail = pool.take(USE_BACKLOG, false);
  c.outOfOrderHead = pool.take(USE_OUT_OF_ORDER, false);
  return c;
}

describe("the host's socket", () => {
  it.each([
    [true, true, "closed"],
    [true, false, "open"],
    [false, true, "open"],
  ])("is closed once both directions are finished (host %s, guest %s)", (hostEof, hostShutdown, state) => {
    const layer = new TcpLayer();
    const c = layer.opened();
    Object.assign(c, { hostEof, hostShutdown });
    closeHostIfDone(layer.ctx, c);
    closeHostIfDone(layer.ctx, c);
    expect(layer.network.sockets[0].state).toBe(state);
    expect(c.handle).toBe(state === "open" ? 0 : -1);
  });

  it.each([
    [true, true, "closed"],
    [true, false, "reset"],
    [false, true, "reset"],
    [false, false, "reset"],
  ])("is reset with a connection that ends before (host %s, guest %s)", (hostEof, hostShutdown, state) => {
    const layer = new TcpLayer();
    const c = layer.opened();
    Object.assign(c, { hostEof, hostShutdown });
    removeConnection(layer.ctx, c, KILLED);
    expect(layer.network.sockets[0].state).toBe(state);
    expect(c.handle).toBe(-1);
  });

  it("of a connection that ends here is none: its service is told", () => {
    for (const [handle, gone] of [
      [-1, []],
      [LOCAL, [0]],
      [LOCAL - 5, [5]],
    ] as const) {
      const layer = new TcpLayer();
      const c = layer.opened();
      c.handle = handle;
      const told: number[] = [];
      layer.ctx.local = { opened: () => 0, arrived: () => {}, gone: (n) => told.push(n) };
      removeConnection(layer.ctx, c, KILLED);
      expect(told).toEqual(gone);
      expect(layer.network.sockets[0].state).toBe("open");
    }
  });
});

describe("a connection that is removed", () => {
  it("leaves nothing", () => {
    const layer = new TcpLayer();
    const c = laden(layer);
    const { ctx, counters } = layer;
    expect([ctx.open, ctx.wheel.isSet(c.id), ctx.flows.count]).toEqual([1, true, 1]);
    removeConnection(ctx, c, KILLED, -111);
    expect(ctx.pool.smallInUse).toBe(0);
    expect([ctx.open, ctx.wheel.isSet(c.id), ctx.flows.count]).toEqual([0, false, 0]);
    expect(counters.value("tcp-closed")).toBe(1);
    expect(layer.told.ended).toEqual([[40_000, "killed by sluice", -111]]);
    expect(layer.sent()).toEqual([]);
    expect(c.id).toBe(0);
    const { id: _, ...blank } = new TcpConnection(-1);
    expect(c).toMatchObject(blank);
  });

  it("stands in the rings that it stood in: it is met there once more", () => {
    for (const flag of ["ready", "starved", "ackDelayed"] as const) {
      for (const other of ["ready", "starved", "ackDelayed", "touched", "sack", "finSent"] as const) {
        const layer = new TcpLayer();
        const c = layer.opened();
        c[flag] = true;
        removeConnection(layer.ctx, c, KILLED);
        expect(c[other]).toBe(other === flag);
        expect(c.state).toBe(CLOSED);
      }
    }
  });

  it.each([CONNECTING, SYN_SENT, SYN_RECEIVED])("leaves the queue of the half-open in state %i", (state) => {
    const layer = new TcpLayer();
    const c = layer.connection();
    layer.connection(2);
    c.state = state;
    removeConnection(layer.ctx, c, KILLED);
    expect(layer.ctx.halfOpen.length).toBe(1);
    expect(layer.ctx.halfOpen.oldest).toBe(1);
  });

  it("leaves that of TIME-WAIT, and no queue that it does not stand in", () => {
    const layer = new TcpLayer();
    layer.connection(2);
    const open = layer.opened(3);
    const waits = layer.opened(4);
    enterTimeWait(layer.ctx, waits);
    removeConnection(layer.ctx, open, KILLED);
    expect([layer.ctx.halfOpen.length, layer.ctx.timeWaits.length]).toEqual([1, 1]);
    removeConnection(layer.ctx, waits, KILLED);
    expect([layer.ctx.halfOpen.length, layer.ctx.timeWaits.length]).toEqual([1, 0]);
  });

  it("may end with nobody to tell", () => {
    const layer = new TcpLayer();
    const c = layer.opened();
    layer.ctx.ledger.recorder = null;
    enterTimeWait(layer.ctx, c);
    removeConnection(layer.ctx, c, KILLED);
    expect(layer.ctx.open).toBe(0);
  });

  it("is reset where it is aborted, before it is forgotten", () => {
    const layer = new TcpLayer();
    const c = layer.opened();
    const { sndNxt, rcvTaken } = c;
    abortBoth(layer.ctx, c, KILLED, -7);
    expect(layer.sent()).toMatchObject([
      { flags: RST | ACK, sequence: sndNxt >>> 0, acknowledgment: rcvTaken >>> 0 },
    ]);
    expect(c.state).toBe(CLOSED);
    expect(layer.told.ended).toEqual([[40_000, "killed by sluice", -7]]);
    const silent = layer.opened(2);
    abortBoth(layer.ctx, silent, KILLED);
    expect(layer.told.ended.at(-1)).toEqual([2, "killed by sluice", 0]);
  });
});

describe("TIME-WAIT", () => {
  it("keeps no octets for the guest, and lasts a minute", () => {
    const layer = new TcpLayer();
    layer.ctx.now = 1000;
    const c = laden(layer);
    Object.assign(c, { timerKind: TIMER_RETRANSMIT, timerAt: 1200, state: CLOSING });
    enterTimeWait(layer.ctx, c);
    expect(c).toMatchObject({ state: TIME_WAIT, timerKind: TIMER_NONE, idleAt: 1000 + TIME_WAIT_MS });
    expect(c.sendHead).toBe(NO_CHUNK);
    expect(layer.ctx.pool.smallInUse).toBe(2);
    expect(layer.ctx.timeWaits.oldest).toBe(c.id);
    layer.ctx.wheel.advance(1000 + TIME_WAIT_MS - 8);
    expect(layer.fired).toEqual([]);
    layer.ctx.wheel.advance(1000 + TIME_WAIT_MS + 4);
    expect(layer.fired).toEqual([c.id]);
  });

  it.each<[number, number, string[]]>([
    [CLOSING, 0, ["closed by host"]],
    [ESTABLISHED, 0, ["closed by host"]],
    [LAST_ACK, 0, ["closed by guest"]],
    [LAST_ACK, 1, []],
    [CLOSING, 1, []],
  ])(
    "is the end of the connection, from state %i with %i octets that wait for the host",
    (state, backlogOctets, ends) => {
      const layer = new TcpLayer();
      const c = layer.opened();
      Object.assign(c, { state, backlogOctets });
      enterTimeWait(layer.ctx, c);
      expect(layer.told.ended.map(([, end]) => end)).toEqual(ends);
      removeConnection(layer.ctx, c, KILLED);
      // Told once.
      expect(layer.told.ended.map(([, end]) => end)).toEqual(ends.length > 0 ? ends : ["killed by sluice"]);
    },
  );

  it("is of a quarter of all flows at most: then the oldest ends", () => {
    const layer = new TcpLayer({ flows: 16 });
    const { ctx } = layer;
    const all = Array.from({ length: 5 }, (_, i) => layer.opened(i + 1));
    for (const c of all.slice(0, 4)) enterTimeWait(ctx, c);
    expect(ctx.timeWaits.length).toBe(4);
    expect(layer.counters.value("tcp-time-wait-evicted")).toBe(0);
    enterTimeWait(ctx, all[4]);
    expect(ctx.timeWaits.length).toBe(4);
    expect(layer.counters.value("tcp-time-wait-evicted")).toBe(1);
    expect(all.map((c) => c.state)).toEqual([CLOSED, TIME_WAIT, TIME_WAIT, TIME_WAIT, TIME_WAIT]);
  });
});

describe("who gives way", () => {
  it("is the oldest, in silence towards the guest; where there is none, nobody", () => {
    const layer = new TcpLayer();
    const { ctx } = layer;
    expect([evictHalfOpen(ctx), evictTimeWait(ctx)]).toEqual([false, false]);
    const first = layer.connection(1);
    const second = layer.connection(2);
    first.state = second.state = CONNECTING;
    const third = layer.opened(3);
    third.state = CLOSE_WAIT;
    enterTimeWait(ctx, third);
    layer.told.ended.length = 0;
    expect(evictHalfOpen(ctx)).toBe(true);
    expect([first.state, second.state]).toEqual([CLOSED, CONNECTING]);
    expect(layer.told.ended).toEqual([[1, "evicted by sluice", 0]]);
    expect(layer.counters.value("tcp-half-open-evicted")).toBe(1);
    expect(layer.counters.value("tcp-time-wait-evicted")).toBe(0);
    expect(evictTimeWait(ctx)).toBe(true);
    expect(third.state).toBe(CLOSED);
    expect(layer.counters.value("tcp-time-wait-evicted")).toBe(1);
    expect(layer.sent()).toEqual([]);
  });
});
