/** Octets that were sent: again where they are lost, no more once they are acknowledged, and the FIN behind them. */
import { describe, expect, it } from "vitest";
import { ECONNRESET } from "../../../src/engine/boundary.ts";
import { NO_CHUNK } from "../../../src/engine/memory/chunk-pool.ts";
import {
  CLOSE_WAIT,
  CLOSED,
  ESTABLISHED,
  FIN_WAIT_1,
  LAST_ACK,
  RECOVERY_FAST,
  RECOVERY_TIMEOUT,
  type TcpConnection,
} from "../../../src/engine/transport/tcp/connection.ts";
import { full, ToGuest } from "./tcp-downloads.ts";
import type { LayerOptions } from "./tcp-layer.ts";

describe("the end of what the host sends", () => {
  it.each([
    [ESTABLISHED, FIN_WAIT_1],
    [CLOSE_WAIT, LAST_ACK],
  ])("is a FIN behind the last octet, from state %i to %i", (state, then) => {
    const to = new ToGuest({ state }).give(100).pump();
    to.segments();
    to.network.sockets[0].end();
    to.c.hostReadable = true;
    to.pump();
    expect(to.segments()).toEqual([[100, 0, "F"]]);
    expect(to.c).toMatchObject({ state: then, finSent: true, hostEof: true, hostReadable: false });
    expect((to.c.sndNxt - to.una) | 0).toBe(101);
    to.give(10).pump();
    expect(to.segments()).toEqual([]);
  });

  it("closes its socket where the guest has ended, too", () => {
    for (const [hostShutdown, state] of [
      [true, "closed"],
      [false, "open"],
    ] as const) {
      const to = new ToGuest({ state: CLOSE_WAIT, hostShutdown, hostReadable: true });
      to.network.sockets[0].end();
      to.pump();
      expect(to.network.sockets[0].state).toBe(state);
    }
  });

  it("waits for octets that are stored, and for room on the link", () => {
    const to = new ToGuest({ hostReadable: true });
    to.network.sockets[0].end();
    to.c.guestAddress++;
    to.pump();
    expect(to.c).toMatchObject({ finSent: false, hostEof: true, ready: true, state: ESTABLISHED });
    to.c.guestAddress--;
    to.pump();
    expect(to.segments()).toEqual([[0, 0, "F"]]);
  });

  it("may be an error: the guest is reset", () => {
    const to = new ToGuest().give(100);
    to.network.sockets[0].fail();
    to.pump();
    expect(to.segments()).toEqual([[0, 0, "R"]]);
    expect(to.told.ended).toEqual([[40_000, "host-reset by host", ECONNRESET]]);
    expect([to.c.state, to.ctx.pool.smallInUse]).toEqual([CLOSED, 0]);
  });
});

describe("octets that are sent again", () => {
  /** Ten segments in three chunks are under way; those up to `lost` count as lost. */
  function recovering(lost: number, over: Partial<TcpConnection> = {}, options: LayerOptions = {}): ToGuest {
    const to = new ToGuest({}, options);
    to.giveInThree();
    expect(to.chunks()).toEqual([4000, 4000, 2000]);
    Object.assign(to.c, {
      recovery: RECOVERY_FAST,
      recover: to.c.sndNxt,
      retransmitNext: to.una,
      lossUntil: (to.una + lost) | 0,
      ...over,
    });
    return to;
  }

  it("are the lost ones, chunk by chunk", () => {
    const to = recovering(5500).pump();
    expect(to.segments()).toEqual([...full(0, 5), [5000, 500]]);
    expect((to.c.retransmitNext - to.una) | 0).toBe(5500);
    expect(to.c).toMatchObject({ undoOctets: 5500, rttTiming: false });
    expect(to.counters.value("tcp-retransmits")).toBe(6);
    expect(to.ctx.ledger.retransmits[to.c.id]).toBe(6);
    to.pump();
    expect(to.segments()).toEqual([]);
  });

  it("in super-frames, none over the end of a chunk", () => {
    const to = recovering(9000, {}, { offload: true }).pump();
    expect(to.segments()).toEqual([
      [0, 4000],
      [4000, 4000],
      [8000, 1000],
    ]);
    const within = recovering(9000, {}, { offload: true });
    within.c.retransmitNext = (within.una + 1000) | 0;
    expect(within.pump().segments()[0]).toEqual([1000, 3000]);
  });

  it.each<[string, Partial<TcpConnection>, [number, number][]]>([
    // Ten thousand under way, of which five thousand count as lost.
    ["the oldest whatever the window", { cwnd: 1000 }, [[0, 1000]]],
    ["not the second, where the window has no room", { cwnd: 6999 }, [[0, 1000]]],
    ["the second where it has", { cwnd: 7000 }, full(0, 2)],
    ["and so on", { cwnd: 8500 }, full(0, 3)],
  ])("are %s", (_, over, sent) => {
    expect(recovering(5000, over).pump().segments()).toEqual(sent);
  });

  it("are whole segments of what the window allows, one at least", () => {
    for (const [cwnd, length] of [
      [8999, 3000],
      [7000, 2000],
      [6500, 1000],
      [5000, 1000],
      [1, 1000],
    ]) {
      const to = recovering(5000, { cwnd }, { offload: true });
      to.pump();
      expect(to.segments()[0]).toEqual([0, length]);
    }
  });

  it("are all of them where the window has room for just these", () => {
    const to = recovering(1500, { cwnd: 10_000 }, { offload: true }).pump();
    expect(to.segments()).toEqual([[0, 1500]]);
  });

  it("are no more than are lost", () => {
    const to = recovering(300, { cwnd: 1 }).pump();
    expect(to.segments()).toEqual([[0, 300]]);
  });

  it("leave out what the guest has", () => {
    const to = recovering(9000, { sackCount: 1, sackedOctets: 3000 });
    to.c.sackEdges = Int32Array.of(to.una + 1000, to.una + 4000);
    to.pump();
    expect(to.segments()).toEqual([[0, 1000], ...full(4000, 5)]);
  });

  it("leave when nothing is believed to be on the way, though the window is smaller than a segment", () => {
    const to = recovering(10_000, { cwnd: 500 });
    to.c.retransmitNext = (to.una + 2000) | 0;
    to.c.sackedOctets = 2000;
    to.pump();
    expect(to.segments()).toEqual([[2000, 1000]]);
  });

  it("wait for room on the link", () => {
    const to = recovering(5000, { ready: false });
    to.link.room = 0;
    while (to.egress.payloadRoom() > 1) to.egress.queue.push(20, 0, 0, 0, 0, 0);
    to.pump();
    expect((to.c.retransmitNext - to.una) | 0).toBe(1000);
    expect(to.c.ready).toBe(true);
  });

  it("come before a FIN that waits where the link is full, not where the window is: a FIN needs none", () => {
    const clogged = recovering(5000, { hostEof: true });
    clogged.link.room = 0;
    while (clogged.egress.payloadRoom() > 0) clogged.egress.queue.push(20, 0, 0, 0, 0, 0);
    clogged.pump();
    expect(clogged.c.finSent).toBe(false);
    const shut = recovering(5000, { hostEof: true, cwnd: 6999 }).pump();
    expect(shut.segments()).toEqual([
      [0, 1000],
      [10_000, 0, "F"],
    ]);
  });

  it("stay lost where they cannot leave", () => {
    const to = recovering(5000);
    to.c.guestAddress++;
    to.give(10).pump();
    expect(to.c.retransmitNext).toBe(to.una);
    expect(to.counters.value("tcp-retransmits")).toBe(0);
    // And nothing else leaves before them.
    expect(to.offered.length).toBe(3);
  });

  it("are followed by new ones, where the window allows", () => {
    const to = recovering(1000).give(700).pump();
    expect(to.segments()).toEqual([
      [0, 1000],
      [10_000, 700, "P"],
    ]);
  });

  it("may be the FIN", () => {
    const to = new ToGuest().give(100).pump();
    to.network.sockets[0].end();
    to.c.hostReadable = true;
    to.pump();
    to.segments();
    Object.assign(to.c, {
      recovery: RECOVERY_TIMEOUT,
      recover: to.c.sndNxt,
      lossUntil: to.c.sndNxt,
      retransmitNext: to.una,
    });
    to.pump();
    expect(to.segments()).toEqual([
      [0, 100],
      [100, 0, "F"],
    ]);
    expect(to.counters.value("tcp-retransmits")).toBe(2);
    expect(to.c.undoOctets).toBe(100);
    to.acknowledge(100);
    to.c.retransmitNext = to.c.sndUna;
    to.c.guestAddress++;
    to.pump();
    expect(to.counters.value("tcp-retransmits")).toBe(2);
    to.c.guestAddress--;
    to.pump();
    expect(to.segments()).toEqual([[100, 0, "F"]]);
  });
});

describe("an acknowledgment frees", () => {
  it.each([
    [0, [4000, 4000, 2000]],
    [3999, [4000, 4000, 2000]],
    [4000, [4000, 2000]],
    [9999, [2000]],
    [10_000, []],
  ])("the chunks that lie wholly before %i octets", (octets, left) => {
    const to = new ToGuest();
    to.giveInThree().acknowledge(octets);
    expect(to.chunks()).toEqual(left);
    expect(to.ctx.pool.smallInUse).toBe(left.length);
    if (left.length === 0) expect([to.c.sendHead, to.c.sendTail]).toEqual([NO_CHUNK, NO_CHUNK]);
    to.give(10).pump();
    expect(to.segments()).toEqual([[10_000, 10, "P"]]);
  });
});
