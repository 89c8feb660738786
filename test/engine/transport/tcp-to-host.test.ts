/** Octets of the guest on their way to the host: gathered, sent and kept back, each by the octet. */
import { describe, expect, it } from "vitest";
import { EAGAIN, ECONNRESET, ENOBUFS } from "../../../src/engine/boundary.ts";
import { PAYLOAD_OCTETS_MAX, SMALL_CHUNK_OCTETS } from "../../../src/engine/limits.ts";
import { NO_CHUNK, USE_BACKLOG } from "../../../src/engine/memory/chunk-pool.ts";
import { CLOSE_WAIT, CLOSED, ESTABLISHED } from "../../../src/engine/transport/tcp/connection.ts";
import { GATHER_MAX, GATHER_SEND_MAX } from "../../../src/engine/transport/tcp/context.ts";
import {
  acceptFin,
  consumeBacklog,
  drainBacklog,
  gather,
} from "../../../src/engine/transport/tcp/to-host.ts";
import { ACK, RST } from "../../sim/guest-stack/codec.ts";
import { ToHost } from "./tcp-uploads.ts";

describe("octets in order", () => {
  it("go to the host in one call, and are acknowledged in one segment", () => {
    const to = new ToHost().gather(1000, 500, 1).flush();
    expect(to.calls).toEqual([3]);
    expect(to.taken).toBe(1501);
    expect(to.acks()).toEqual([1501]);
    expect(to.c).toMatchObject({ octetsFromGuest: 1501, gatherHead: -1, gatherTail: -1, gatherOctets: 0 });
    expect(to.c).toMatchObject({ rcvTaken: to.c.rcvNxt, unacknowledged: 0, touched: false });
    expect(to.counters.value("tcp-octets-from-guest")).toBe(1501);
    expect([to.ctx.gatherCount, to.ctx.touchedCount]).toEqual([0, 0]);
    to.flush();
    expect(to.calls).toEqual([3]);
  });

  it("are counted by the connection's window, and the connection among those that receive", () => {
    const to = new ToHost({ windowTarget: 1000 }).gather(1000).flush();
    expect(to.c.windowTarget).toBe(2000);
    const other = to.opened(2);
    to.ctx.noteReceiver(other);
    to.ctx.endReceiverInterval();
    expect(to.ctx.activeReceivers).toBe(2);
  });

  it("in more pieces than one call takes go in several", () => {
    const to = new ToHost();
    to.gather(...new Array<number>(GATHER_SEND_MAX + 3).fill(2)).flush();
    expect(to.calls).toEqual([GATHER_SEND_MAX, 3]);
    expect(to.taken).toBe(2 * (GATHER_SEND_MAX + 3));
  });

  it("in more pieces than a batch has are flushed on the way", () => {
    const to = new ToHost();
    to.gather(...new Array<number>(GATHER_MAX).fill(1));
    expect(to.calls).toEqual([]);
    to.gather(1);
    expect(to.taken).toBe(GATHER_MAX);
    to.flush();
    expect(to.taken).toBe(GATHER_MAX + 1);
  });

  it("of several connections are kept apart", () => {
    const to = new ToHost();
    const other = to.opened(2);
    to.gather(3);
    gather(to.ctx, other, to.arena.rxWindowAt, 5);
    to.gather(4).flush();
    expect(to.network.sockets.map(({ octets }) => octets.length)).toEqual([7, 5]);
  });
});

describe("octets that the host's kernel does not take", () => {
  it.each<[number, number, number[]]>([
    [0, 1, [3000]],
    [1, 2, [2999]],
    [1000, 2, [2000]],
    [1500, 2, [1500]],
    [2999, 2, [1]],
  ])("are kept: of 3000 it takes %i", (room, calls, backlog) => {
    const to = new ToHost();
    to.room = room;
    to.gather(1000, 1000, 1000).flush();
    expect(to.calls.length).toBeLessThanOrEqual(calls);
    expect(to.backlog()).toEqual(backlog);
    expect(to.c).toMatchObject({ backlogOctets: 3000 - room, hostWritable: false });
    // All the same they are taken, and the guest is told so at once.
    expect(to.acks()).toEqual([3000]);
    to.room = 10_000;
    to.c.hostWritable = true;
    drainBacklog(to.ctx, to.c);
    expect(to.taken).toBe(3000);
    expect(to.c).toMatchObject({
      backlogOctets: 0,
      backlogOffset: 0,
      backlogHead: NO_CHUNK,
      backlogTail: NO_CHUNK,
    });
    expect(to.ctx.pool.smallInUse).toBe(0);
  });

  it("are followed by all later ones, without a call", () => {
    const to = new ToHost();
    to.room = 0;
    to.gather(10).flush();
    to.room = 100;
    to.gather(20).flush();
    to.c.hostWritable = true;
    to.gather(30).flush();
    expect(to.calls.length).toBe(1);
    expect([to.backlog(), to.taken]).toEqual([[60], 0]);
  });

  it("fill chunks of either size, as many as are needed", () => {
    for (const [lengths, chunks] of [
      [[4096], [4096]],
      [[4097], [4097]],
      [
        [4000, 96, 1],
        [4096, 1],
      ],
      [
        [4000, 4192],
        [4096, 4096],
      ],
      [
        [4000, 4193],
        [4096, 4097],
      ],
    ]) {
      const to = new ToHost();
      to.room = 0;
      to.gather(...lengths).flush();
      expect(to.backlog()).toEqual(chunks);
      const large = chunks.filter((octets) => octets > SMALL_CHUNK_OCTETS).length;
      expect([to.ctx.pool.smallInUse, to.ctx.pool.largeInUse]).toEqual([chunks.length - large, large]);
      to.room = 20_000;
      to.c.hostWritable = true;
      drainBacklog(to.ctx, to.c);
      expect(to.taken).toBe(lengths.reduce((sum, length) => sum + length, 0));
    }
  });

  it("leave by the piece, and where one left off the next goes on", () => {
    const to = new ToHost();
    to.room = 0;
    to.gather(4096, 4096, 100).flush();
    to.sent();
    const left: number[][] = [];
    for (const room of [100, 3996, 4097, 99]) {
      to.room = room;
      to.c.hostWritable = true;
      drainBacklog(to.ctx, to.c);
      left.push([to.taken, to.c.backlogOctets, to.c.backlogOffset, to.ctx.pool.smallInUse]);
    }
    expect(left).toEqual([
      [100, 8192, 100, 3],
      [4096, 4196, 0, 2],
      [8193, 99, 1, 1],
      [8292, 0, 0, 0],
    ]);
    expect(to.c.hostWritable).toBe(true);
  });

  it("leave in several calls where there are many", () => {
    const to = new ToHost();
    const { pool } = to.ctx;
    for (let i = 0; i < GATHER_SEND_MAX + 2; i++) {
      const chunk = pool.take(USE_BACKLOG, false);
      pool.filled[chunk] = 1;
      to.arena.octets[pool.at(chunk)] = i % 251;
      if (i === 0) to.c.backlogHead = chunk;
      else pool.next[to.c.backlogTail] = chunk;
      to.c.backlogTail = chunk;
      to.c.backlogOctets++;
    }
    drainBacklog(to.ctx, to.c);
    expect(to.calls).toEqual([GATHER_SEND_MAX, 2]);
    expect(to.taken).toBe(GATHER_SEND_MAX + 2);
  });

  it("count for the window when they leave", () => {
    const to = new ToHost({ backlogOctets: 0 });
    to.room = 0;
    to.gather(100).flush();
    const { windowUsed } = to.c;
    consumeBacklog(to.ctx, to.c, 40);
    expect([to.c.windowUsed, to.c.backlogOctets, to.c.backlogOffset]).toEqual([windowUsed + 40, 60, 40]);
  });

  it.each([EAGAIN, ENOBUFS])("for the moment (%i) are no reason to end the connection", (errno) => {
    const to = new ToHost();
    Object.assign(to, { room: 0, errno });
    to.gather(10).flush();
    expect([to.c.state, to.backlog()]).toEqual([ESTABLISHED, [10]]);
    to.c.hostWritable = true;
    drainBacklog(to.ctx, to.c);
    expect([to.c.state, to.backlog(), to.c.hostWritable]).toEqual([ESTABLISHED, [10], false]);
    expect(to.c).toMatchObject({ backlogOctets: 10, backlogOffset: 0 });
  });

  it("though it takes none are no failure", () => {
    const to = new ToHost();
    Object.assign(to, { room: 0, errno: 0 });
    to.gather(10).flush();
    to.c.hostWritable = true;
    drainBacklog(to.ctx, to.c);
    expect([to.c.state, to.backlog(), to.c.hostWritable]).toEqual([ESTABLISHED, [10], false]);
  });

  it("are kept behind those that wait, where a part of these has left", () => {
    const to = new ToHost();
    to.room = 0;
    to.gather(4096, 4096).flush();
    to.room = 5000;
    to.c.hostWritable = true;
    drainBacklog(to.ctx, to.c);
    to.gather(300).flush();
    to.room = 10_000;
    to.c.hostWritable = true;
    drainBacklog(to.ctx, to.c);
    expect(to.taken).toBe(4096 + 4096 + 300);
  });

  it("for good end it, whether they came just now or waited", () => {
    for (const waited of [false, true]) {
      const to = new ToHost();
      to.room = 0;
      if (waited) {
        to.gather(10).flush();
        to.sent();
        Object.assign(to.c, { hostWritable: true, guestFinTaken: true });
      }
      to.errno = ECONNRESET;
      if (waited) drainBacklog(to.ctx, to.c);
      else to.gather(10).flush();
      expect(to.c.state).toBe(CLOSED);
      expect(to.told.ended).toEqual([[40_000, "host-reset by host", ECONNRESET]]);
      expect(to.sent().map(({ flags }) => flags)).toEqual([RST | ACK]);
      expect(to.ctx.pool.smallInUse).toBe(0);
      expect(to.network.sockets[0].shutDown).toBe(false);
    }
  });

  it("open the window again when they leave, where that is worth telling and the guest may send", () => {
    for (const [guestFin, promised, told] of [
      [false, 1000, true],
      [true, 1000, false],
      [false, 65_000, false],
    ] as const) {
      const to = new ToHost();
      to.room = 0;
      to.gather(100).flush();
      to.sent();
      Object.assign(to.c, { guestFin, hostWritable: true, rcvAdvertised: (to.c.rcvTaken + promised) | 0 });
      to.room = 100;
      drainBacklog(to.ctx, to.c);
      expect([to.c.ackPending, to.c.touched]).toEqual([told, told]);
    }
  });
});

describe("octets for which there is no room anywhere", () => {
  /** Two small chunks of sixteen and two large ones of eight are for backlogs: 4 + 2. */
  const scarce = { payloadOctets: PAYLOAD_OCTETS_MAX / 256 };
  const ROOM = 4 * SMALL_CHUNK_OCTETS + 2 * 65_536;

  it("are as if they had never come", () => {
    const to = new ToHost({}, scarce);
    to.room = 0;
    to.gather(65_000, 65_000, 17_000, 1000, 500).flush();
    expect(to.backlog().reduce((sum, octets) => sum + octets, 0)).toBe(ROOM);
    expect((to.c.rcvNxt - to.next) | 0).toBe(ROOM);
    expect(to.c.octetsFromGuest).toBe(ROOM);
    expect(to.counters.value("tcp-octets-from-guest")).toBe(ROOM);
    expect(to.counters.dropped("memory-exhausted")).toBe(1);
    expect(to.acks()).toEqual([ROOM]);
    to.room = ROOM;
    to.c.hostWritable = true;
    drainBacklog(to.ctx, to.c);
    expect(to.taken).toBe(ROOM);
  });

  it("take a FIN behind them with them", () => {
    for (const [octets, isFin] of [
      [ROOM, true],
      [ROOM + 1, false],
    ] as const) {
      const to = new ToHost({}, scarce);
      to.room = 0;
      to.gather(65_000, 65_000, octets - 130_000);
      acceptFin(to.ctx, to.c);
      to.flush();
      expect([to.c.guestFin, to.c.guestFinTaken]).toEqual([isFin, isFin]);
      expect((to.c.rcvNxt - to.next) | 0).toBe(ROOM + (isFin ? 1 : 0));
      expect(to.c.state).toBe(isFin ? CLOSE_WAIT : ESTABLISHED);
    }
  });

  it("do not take back a FIN that was taken", () => {
    const to = new ToHost({ guestFin: true, guestFinTaken: true }, scarce);
    to.room = 0;
    to.gather(65_000, 65_000, 20_000).flush();
    expect(to.c.guestFin).toBe(true);
    expect((to.c.rcvNxt - to.next) | 0).toBe(ROOM);
  });
});
