/** Octets of the guest on their way to the host: gathered, sent, kept back, acknowledged, each by the octet. */
import { describe, expect, it } from "vitest";
import { EAGAIN, ECONNRESET, ENOBUFS } from "../../../src/engine/boundary.ts";
import { PAYLOAD_OCTETS_MAX, SMALL_CHUNK_OCTETS } from "../../../src/engine/limits.ts";
import { NO_CHUNK, USE_BACKLOG } from "../../../src/engine/memory/chunk-pool.ts";
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
import { GATHER_MAX, GATHER_SEND_MAX } from "../../../src/engine/transport/tcp/context.ts";
import { LOCAL } from "../../../src/engine/transport/tcp/local-service.ts";
import { storeOutOfOrder } from "../../../src/engine/transport/tcp/out-of-order.ts";
import {
  acceptFin,
  consumeBacklog,
  drainBacklog,
  flushDelayedAcks,
  flushTouched,
  gather,
} from "../../../src/engine/transport/tcp/to-host.ts";
import { ACK, RST } from "../../sim/guest-stack/codec.ts";
import { type LayerOptions, TcpLayer } from "./tcp-layer.ts";

class ToHost extends TcpLayer {
  readonly c: TcpConnection;
  readonly next: number;
  /** What the engine was told of its service, if it has one. */
  readonly arrived: number[] = [];
  /** The host's kernel takes so many octets of each call; an errno is answered instead. */
  room = Number.POSITIVE_INFINITY;
  errno = EAGAIN;
  readonly calls: number[] = [];
  private stream = 0;

  constructor(over: Partial<TcpConnection> = {}, options: LayerOptions = {}) {
    super(options);
    this.c = this.opened();
    this.c.windowTarget = 65_535;
    this.next = this.c.rcvNxt;
    Object.assign(this.c, over);
    this.ctx.local = { opened: () => 0, arrived: (n) => this.arrived.push(n), gone: () => {} };
    const send = this.network.tcpSend.bind(this.network);
    this.network.tcpSend = (handle, list, count) => {
      this.calls.push(count);
      if (this.room <= 0) return this.errno;
      this.network.sockets[handle].room = this.room;
      const taken = send(handle, list, count);
      this.room -= taken;
      return taken;
    };
  }

  /** The next octets of the guest's stream. */
  gather(...lengths: number[]): this {
    for (const length of lengths) {
      // Not in their order: nothing says that a link leaves them so.
      const at = this.arena.rxWindowAt + 500_000 - this.stream - length;
      for (let i = 0; i < length; i++) this.arena.octets[at + i] = (this.stream + i) % 251;
      gather(this.ctx, this.c, at, length);
      this.stream += length;
    }
    return this;
  }

  flush(): this {
    flushTouched(this.ctx);
    return this;
  }

  /** How many octets the host has; they are the stream's. */
  get taken(): number {
    const { octets } = this.network.sockets[0];
    expect(octets.every((octet, i) => octet === i % 251)).toBe(true);
    return octets.length;
  }

  /** Octets acknowledged by segments that left, in order. */
  acks(): number[] {
    return this.sent().map(({ acknowledgment }) => (acknowledgment - this.next) | 0);
  }

  backlog(): number[] {
    const { pool } = this.ctx;
    const chunks: number[] = [];
    for (let chunk = this.c.backlogHead; chunk !== NO_CHUNK; chunk = pool.next[chunk]) {
      chunks.push(pool.filled[chunk]);
      if (pool.next[chunk] === NO_CHUNK) expect(this.c.backlogTail).toBe(chunk);
    }
    return chunks;
  }
}

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
