/** The lists that connections stand in between turns, and the chunks that one gives back (context.ts, holdings.ts). */
import { describe, expect, it } from "vitest";
import { PAYLOAD_OCTETS_MAX } from "../../../src/engine/limits.ts";
import { NO_CHUNK, USE_BACKLOG, USE_OUT_OF_ORDER, USE_SEND } from "../../../src/engine/memory/chunk-pool.ts";
import { CLOSED, type TcpConnection } from "../../../src/engine/transport/tcp/connection.ts";
import {
  releaseBacklog,
  releaseOutOfOrder,
  releaseSent,
} from "../../../src/engine/transport/tcp/holdings.ts";
import { TcpLayer } from "./tcp-layer.ts";

function connections(layer: TcpLayer, count: number): TcpConnection[] {
  return Array.from({ length: count }, (_, i) => layer.opened(40_000 + i));
}

describe("connections with work", () => {
  it("are served in the order in which they came, once each, round after round", () => {
    // Five flows: the ring has room for eight, and wraps.
    const layer = new TcpLayer({ flows: 5 });
    const { ctx } = layer;
    const all = connections(layer, 5);
    for (let round = 0; round < 7; round++) {
      for (const c of [...all, all[1], all[0]]) ctx.makeReady(c);
      expect(ctx.readyCount).toBe(5);
      expect(all.every((c) => c.ready)).toBe(true);
      const served = Array.from({ length: 5 }, () => ctx.nextReady()?.id);
      expect(served).toEqual(all.map((c) => c.id));
      expect(ctx.readyCount).toBe(0);
      expect(all.some((c) => c.ready)).toBe(false);
    }
  });

  it("may be gone", () => {
    const layer = new TcpLayer();
    const { ctx } = layer;
    const [c] = connections(layer, 1);
    ctx.makeReady(c);
    ctx.connections[c.id] = null;
    expect(ctx.nextReady()).toBeNull();
    expect(ctx.readyCount).toBe(0);
  });
});

describe("connections that a batch touched", () => {
  it("stand in a list once each", () => {
    const layer = new TcpLayer();
    const { ctx } = layer;
    const all = connections(layer, 3);
    for (const c of [...all, all[2]]) ctx.touch(c);
    expect([...ctx.touched.subarray(0, ctx.touchedCount)]).toEqual(all.map((c) => c.id));
    expect(all.every((c) => c.touched)).toBe(true);
  });
});

describe("ACKs that wait", () => {
  it("do so since the first of them did, and once each", () => {
    const layer = new TcpLayer();
    const { ctx } = layer;
    const [a, b, gone] = connections(layer, 3);
    ctx.now = 100;
    ctx.delayAck(a);
    ctx.now = 200;
    ctx.delayAck(b);
    ctx.delayAck(gone);
    ctx.delayAck(a);
    expect([ctx.delayedAcks, ctx.delayedSinceMs]).toEqual([3, 100]);
    expect([a, b].every((c) => c.ackDelayed)).toBe(true);
    ctx.connections[gone.id] = null;
    expect(ctx.nextDelayedAck()).toBe(b);
    expect(ctx.nextDelayedAck()).toBe(a);
    expect(ctx.nextDelayedAck()).toBeNull();
    expect(ctx.delayedAcks).toBe(0);
    expect([a, b].some((c) => c.ackDelayed)).toBe(false);
    ctx.delayAck(a);
    expect(ctx.delayedSinceMs).toBe(200);
  });
});

describe("connections that wait for memory", () => {
  it("are woken in the order in which they came, so many at a time, round after round", () => {
    const layer = new TcpLayer({ flows: 5 });
    const { ctx } = layer;
    const all = connections(layer, 5);
    for (let round = 0; round < 5; round++) {
      for (const c of [...all, all[0]]) ctx.waitForMemory(c);
      expect(ctx.starvedCount).toBe(5);
      ctx.wakeStarved(2);
      expect(ctx.starvedCount).toBe(3);
      expect(all.map((c) => c.starved)).toEqual([false, false, true, true, true]);
      ctx.wakeStarved(10);
      expect(ctx.starvedCount).toBe(0);
      const served = Array.from({ length: ctx.readyCount }, () => ctx.nextReady()?.id);
      expect(served).toEqual(all.map((c) => c.id));
    }
    ctx.wakeStarved(10);
    expect(ctx.starvedCount).toBe(0);
  });

  it("are not woken before there is any", () => {
    const layer = new TcpLayer({ payloadOctets: PAYLOAD_OCTETS_MAX / 256 });
    const { ctx } = layer;
    const [c] = connections(layer, 1);
    const taken: number[] = [];
    for (let chunk = ctx.pool.take(USE_SEND, true); chunk !== NO_CHUNK; chunk = ctx.pool.take(USE_SEND, true))
      taken.push(chunk);
    ctx.waitForMemory(c);
    ctx.wakeStarved(10);
    expect([ctx.starvedCount, c.starved, ctx.readyCount]).toEqual([1, true, 0]);
    ctx.pool.release(taken[0]);
    ctx.wakeStarved(10);
    expect([ctx.starvedCount, c.starved, ctx.readyCount]).toEqual([0, false, 1]);
  });

  it("may have ended, or be gone: those are not served", () => {
    const layer = new TcpLayer();
    const { ctx } = layer;
    const [gone, ended, last] = connections(layer, 3);
    for (const c of [gone, ended, last]) ctx.waitForMemory(c);
    ctx.connections[gone.id] = null;
    ended.state = CLOSED;
    ctx.wakeStarved(10);
    expect([ctx.starvedCount, ended.starved]).toEqual([0, false]);
    expect(ctx.readyCount).toBe(1);
    expect(ctx.nextReady()).toBe(last);
  });
});

describe("connections that receive", () => {
  it("are counted once in an interval, and as one where there is none", () => {
    const layer = new TcpLayer();
    const { ctx } = layer;
    const [a, b] = connections(layer, 2);
    expect(ctx.activeReceivers).toBe(1);
    for (const c of [a, b, a, b, a]) ctx.noteReceiver(c);
    ctx.endReceiverInterval();
    expect(ctx.activeReceivers).toBe(2);
    for (const c of [a, b, a]) ctx.noteReceiver(c);
    ctx.endReceiverInterval();
    expect(ctx.activeReceivers).toBe(2);
    ctx.endReceiverInterval();
    expect(ctx.activeReceivers).toBe(1);
    ctx.noteReceiver(b);
    ctx.endReceiverInterval();
    expect(ctx.activeReceivers).toBe(1);
  });

  it("are counted in whatever interval they begin", () => {
    const layer = new TcpLayer({ flows: 64 });
    const { ctx } = layer;
    for (let interval = 1; interval < 5; interval++) {
      for (let i = 0; i < 3; i++) ctx.noteReceiver(layer.opened(10 * interval + i));
      ctx.endReceiverInterval();
      expect(ctx.activeReceivers).toBe(3);
    }
  });
});

describe("the oldest of a queue", () => {
  it("is the connection that joined first, and nobody where there is none", () => {
    const layer = new TcpLayer();
    const { ctx } = layer;
    expect(ctx.oldestOf(ctx.halfOpen)).toBeNull();
    const first = layer.connection(1);
    layer.connection(2);
    expect(ctx.oldestOf(ctx.halfOpen)).toBe(first);
    expect(ctx.oldestOf(ctx.timeWaits)).toBeNull();
  });
});

describe("chunks", () => {
  const chain = (layer: TcpLayer, use: number): number => {
    const { pool } = layer.ctx;
    const [first, second, third] = [true, false, true].map((large) => pool.take(use, large));
    pool.next[first] = second;
    pool.next[second] = third;
    return first;
  };
  const inUse = ({ ctx: { pool } }: TcpLayer): number => pool.smallInUse + pool.largeInUse;

  it("kept for retransmission are given back, and nothing else", () => {
    const layer = new TcpLayer();
    const c = layer.opened();
    c.sendHead = chain(layer, USE_SEND);
    c.sendTail = layer.ctx.pool.next[layer.ctx.pool.next[c.sendHead]];
    c.sendCursor = c.sendTail;
    releaseSent(layer.ctx, c);
    expect([c.sendHead, c.sendTail, c.sendCursor, inUse(layer)]).toEqual([NO_CHUNK, NO_CHUNK, NO_CHUNK, 0]);
    releaseSent(layer.ctx, c);
    expect(inUse(layer)).toBe(0);
  });

  it("that wait for the host, too", () => {
    const layer = new TcpLayer();
    const c = layer.opened();
    c.backlogHead = chain(layer, USE_BACKLOG);
    Object.assign(c, { backlogTail: 7, backlogOffset: 5, backlogOctets: 500 });
    releaseBacklog(layer.ctx, c);
    expect(c).toMatchObject({
      backlogHead: NO_CHUNK,
      backlogTail: NO_CHUNK,
      backlogOffset: 0,
      backlogOctets: 0,
    });
    expect(inUse(layer)).toBe(0);
  });

  it("and those ahead of a hole", () => {
    const layer = new TcpLayer();
    const c = layer.opened();
    c.outOfOrderHead = chain(layer, USE_OUT_OF_ORDER);
    c.outOfOrderOctets = 500;
    releaseOutOfOrder(layer.ctx, c);
    expect([c.outOfOrderHead, c.outOfOrderOctets, inUse(layer)]).toEqual([NO_CHUNK, 0, 0]);
  });
});
