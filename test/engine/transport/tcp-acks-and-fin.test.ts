/** What follows from octets of the guest: those behind a hole, a service here, the FIN, and the ACK that may wait. */
import { describe, expect, it } from "vitest";
import { ECONNRESET } from "../../../src/engine/boundary.ts";
import {
  CLOSE_WAIT,
  CLOSED,
  CLOSING,
  ESTABLISHED,
  FIN_WAIT_1,
  FIN_WAIT_2,
  LAST_ACK,
  type TcpConnection,
  TIME_WAIT,
} from "../../../src/engine/transport/tcp/connection.ts";
import { LOCAL } from "../../../src/engine/transport/tcp/local-service.ts";
import { storeOutOfOrder } from "../../../src/engine/transport/tcp/out-of-order.ts";
import {
  acceptFin,
  drainBacklog,
  flushDelayedAcks,
  gather,
} from "../../../src/engine/transport/tcp/to-host.ts";
import { ACK, RST } from "../../sim/guest-stack/codec.ts";
import { ToHost } from "./tcp-uploads.ts";

describe("octets that close a hole", () => {
  function behindHole(left: number, right: number, over: Partial<TcpConnection> = {}): ToHost {
    const to = new ToHost(over);
    const at = to.arena.rxWindowAt + 300_000;
    for (let i = left; i < right; i++) to.arena.octets[at + i - left] = i % 251;
    storeOutOfOrder(to.ctx, to.c, (to.next + left) | 0, at, right - left);
    return to;
  }

  it("are followed to the host by those behind it", () => {
    const to = behindHole(100, 250).gather(100);
    expect((to.c.rcvNxt - to.next) | 0).toBe(250);
    expect(to.taken).toBe(250);
    expect(to.c.octetsFromGuest).toBe(250);
    to.flush();
    expect(to.acks()).toEqual([250]);
    expect(to.ctx.pool.smallInUse).toBe(0);
  });

  it("only when they reach it", () => {
    const to = behindHole(100, 250).gather(99);
    expect([to.calls.length, (to.c.rcvNxt - to.next) | 0]).toEqual([0, 99]);
  });

  it("wait together where the host takes none", () => {
    const to = behindHole(100, 250);
    to.room = 60;
    to.gather(100);
    expect([to.taken, to.c.backlogOctets]).toEqual([60, 190]);
    to.room = 1000;
    to.c.hostWritable = true;
    drainBacklog(to.ctx, to.c);
    expect(to.taken).toBe(250);
  });

  it("may be followed by a FIN that came before", () => {
    for (const [finAt, isFin] of [
      [250, true],
      [251, false],
      [249, false],
    ] as const) {
      const to = behindHole(100, 250, { finKnown: true });
      to.c.finAt = (to.next + finAt) | 0;
      to.gather(100);
      expect([to.c.guestFin, to.c.finKnown]).toEqual([isFin, !isFin]);
      expect((to.c.rcvNxt - to.next) | 0).toBe(isFin ? 251 : 250);
    }
    const unknown = behindHole(100, 250);
    unknown.c.finAt = (unknown.next + 250) | 0;
    unknown.gather(100);
    expect(unknown.c.guestFin).toBe(false);
  });

  it("end with a connection that the host ends", () => {
    const to = behindHole(100, 250);
    Object.assign(to, { room: 0, errno: ECONNRESET });
    to.gather(100);
    expect(to.c.state).toBe(CLOSED);
    to.flush();
    expect(to.sent().map(({ flags }) => flags)).toEqual([RST | ACK]);
    expect(to.ctx.pool.smallInUse).toBe(0);
  });

  it("are the service's where the connection ends here", () => {
    const to = behindHole(100, 250, { handle: LOCAL - 2, hostWritable: false });
    to.gather(100);
    // Of those in order, and of those behind them.
    expect(to.arrived).toEqual([2, 2]);
    expect(to.c.backlogOctets).toBe(250);
    const first = behindHole(100, 250, { handle: LOCAL, hostWritable: false }).gather(100);
    expect(first.arrived).toEqual([0, 0]);
    expect(behindHole(100, 250).gather(100).arrived).toEqual([]);
  });
});

describe("a service here", () => {
  it("is told of octets, and of the FIN; a host's connection tells nobody", () => {
    const to = new ToHost({ handle: LOCAL - 4, hostWritable: false }).gather(10).flush();
    expect(to.arrived).toEqual([4]);
    acceptFin(to.ctx, to.c);
    to.flush();
    expect(to.arrived).toEqual([4, 4]);
    const first = new ToHost({ handle: LOCAL, hostWritable: false }).gather(10).flush();
    acceptFin(first.ctx, first.c);
    expect(first.flush().arrived).toEqual([0, 0]);
    const host = new ToHost();
    host.room = 0;
    host.gather(10);
    acceptFin(host.ctx, host.c);
    host.flush();
    const gone = new ToHost({ handle: -1, hostWritable: false });
    acceptFin(gone.ctx, gone.c);
    gone.flush();
    expect([host.arrived, gone.arrived]).toEqual([[], []]);
  });
});

describe("the guest's FIN", () => {
  it.each([
    [ESTABLISHED, CLOSE_WAIT],
    [FIN_WAIT_1, CLOSING],
    [FIN_WAIT_2, TIME_WAIT],
    [LAST_ACK, LAST_ACK],
  ])("takes state %i to %i, and the host hears of it", (state, then) => {
    const to = new ToHost({ state, finKnown: true });
    acceptFin(to.ctx, to.c);
    expect(to.c).toMatchObject({ guestFin: true, finKnown: false, unacknowledged: 1, touched: true });
    to.flush();
    expect(to.c).toMatchObject({ state: then, guestFinTaken: true, hostShutdown: true });
    expect(to.network.sockets[0].shutDown).toBe(true);
    expect((to.c.rcvTaken - to.next) | 0).toBe(1);
  });

  it("closes the host's socket where the host has ended, too", () => {
    const to = new ToHost({ state: FIN_WAIT_2, hostEof: true });
    acceptFin(to.ctx, to.c);
    to.flush();
    expect(to.network.sockets[0].state).toBe("closed");
  });

  it("is told to the host once, after all octets, and not to one that is gone", () => {
    let shutdowns = 0;
    const to = new ToHost();
    to.network.tcpShutdown = () => void shutdowns++;
    to.room = 5;
    to.gather(10);
    acceptFin(to.ctx, to.c);
    to.flush();
    expect(shutdowns).toBe(0);
    to.room = 5;
    to.c.hostWritable = true;
    drainBacklog(to.ctx, to.c);
    expect(shutdowns).toBe(1);
    drainBacklog(to.ctx, to.c);
    expect(shutdowns).toBe(1);
    const gone = new ToHost({ handle: -1 });
    gone.network.tcpShutdown = () => expect.unreachable();
    acceptFin(gone.ctx, gone.c);
    gone.flush();
    expect(gone.c.hostShutdown).toBe(false);
  });

  it("has the guest asked after 65 s, unless the peer is being asked", () => {
    for (const peerAsked of [false, true]) {
      const to = new ToHost({ peerAsked, idleAt: 10 });
      to.ctx.wheel.clear(to.c.id);
      acceptFin(to.ctx, to.c);
      to.flush();
      expect(to.c.idleAt).toBe(peerAsked ? 10 : 65_000);
      expect(to.ctx.wheel.isSet(to.c.id)).toBe(true);
    }
  });
});

describe("an ACK", () => {
  it.each<[string, Partial<TcpConnection>, number, number]>([
    ["of less than a segment waits", {}, 749, 0],
    ["of half an MTU does not", {}, 750, 1],
    ["of a segment of a small MSS does not", { mss: 500 }, 500, 1],
    ["of less than that waits", { mss: 500 }, 499, 0],
    ["waits in every state in which the guest may be answered", { state: CLOSE_WAIT }, 10, 0],
    ["does not wait in another", { state: CLOSING }, 10, 1],
    ["does not wait where one is due anyway", { ackPending: true }, 10, 1],
  ])("%s", (_, over, octets, acks) => {
    const to = new ToHost(over).gather(octets).flush();
    expect(to.acks().length).toBe(acks);
    expect(to.c.ackDelayed).toBe(acks === 0);
    expect(to.ctx.delayedAcks).toBe(acks === 0 ? 1 : 0);
  });

  it("does not wait with octets for the host, or ahead of a hole", () => {
    const full = new ToHost();
    full.room = 0;
    expect(full.gather(10).flush().acks()).toEqual([10]);
    const holed = new ToHost();
    storeOutOfOrder(holed.ctx, holed.c, (holed.next + 100) | 0, holed.arena.rxWindowAt, 10);
    expect(holed.gather(10).flush().acks()).toEqual([10]);
  });

  it("that waited leaves after a millisecond, once, if nothing has carried it", () => {
    const to = new ToHost().gather(10).flush();
    flushDelayedAcks(to.ctx);
    expect(to.acks()).toEqual([]);
    to.ctx.now = 1;
    flushDelayedAcks(to.ctx);
    expect(to.acks()).toEqual([10]);
    flushDelayedAcks(to.ctx);
    expect(to.acks()).toEqual([]);
    to.gather(10).flush();
    to.c.unacknowledged = 0;
    to.ctx.now = 9;
    flushDelayedAcks(to.ctx);
    expect([to.acks(), to.ctx.delayedAcks]).toEqual([[], 0]);
    to.gather(10).flush();
    to.c.state = CLOSED;
    to.ctx.now = 20;
    flushDelayedAcks(to.ctx);
    expect(to.acks()).toEqual([]);
  });

  it("that cannot leave has the connection looked at again", () => {
    for (const delayed of [false, true]) {
      const to = new ToHost();
      to.gather(delayed ? 10 : 1000);
      if (delayed) to.flush();
      to.neighbours.learn = () => false;
      to.c.guestAddress++;
      if (delayed) {
        to.ctx.now = 1;
        flushDelayedAcks(to.ctx);
      } else to.flush();
      expect(to.c.ready).toBe(true);
    }
  });

  it("is none where nothing came", () => {
    const to = new ToHost();
    to.ctx.touch(to.c);
    to.flush();
    expect([to.acks(), to.c.ackDelayed, to.c.ready]).toEqual([[], false, false]);
  });

  it("of a connection that is gone is none", () => {
    const to = new ToHost().gather(1000);
    const other = to.opened(2);
    gather(to.ctx, other, to.arena.rxWindowAt, 1000);
    to.ctx.connections[to.c.id] = null;
    to.flush();
    expect(to.sent().map(({ destinationPort }) => destinationPort)).toEqual([2]);
  });
});
