/** When octets are read into the guest's own memory, when that ends, and what then becomes of them (peek.ts). */
import { describe, expect, it } from "vitest";
import { EAGAIN, ECONNRESET, ENOBUFS } from "../../../src/engine/boundary.ts";
import { LARGE_CHUNK_OCTETS, LARGE_CHUNKS, PAYLOAD_OCTETS_MAX } from "../../../src/engine/limits.ts";
import { NO_CHUNK, USE_SEND } from "../../../src/engine/memory/chunk-pool.ts";
import {
  CLOSED,
  ESTABLISHED,
  FIN_WAIT_1,
  RECOVERY_FAST,
  type TcpConnection,
  TIMER_NONE,
  TIMER_RETRANSMIT,
} from "../../../src/engine/transport/tcp/connection.ts";
import {
  discardAcknowledged,
  mayPeek,
  mustStopPeeking,
  releaseFrames,
  stopPeeking,
} from "../../../src/engine/transport/tcp/peek.ts";
import { freeAcknowledged, pump } from "../../../src/engine/transport/tcp/to-guest.ts";
import { FIN, PSH, RST } from "../../sim/guest-stack/codec.ts";
import { type LayerOptions, TcpLayer } from "./tcp-layer.ts";

interface Peek {
  readonly headers: number;
  readonly each: number;
  readonly octets: number;
}

/** A link that reads into chunks no test's pool comes to: the guest's buffers. */
class Peeking extends TcpLayer {
  readonly c: TcpConnection;
  readonly una: number;
  readonly peeks: Peek[] = [];
  readonly released: number[] = [];
  readonly calls: string[] = [];
  /** The guest has buffers for so many frames at each peek. */
  buffers = 4;
  /** What the kernel lets go of at each call. */
  discards = Number.POSITIVE_INFINITY;
  canStart = true;
  private readonly buffersAt = this.arena.largeChunksAt + (LARGE_CHUNKS - 4) * LARGE_CHUNK_OCTETS;
  /** The stream of the peer, as the kernel has it: what is discarded is gone. */
  private arrived = 0;
  private discarded = 0;
  private peeked = 0;
  ended = false;
  errno = 0;

  constructor(over: Partial<TcpConnection> = {}, options: LayerOptions = {}) {
    super({ offload: true, ...options });
    this.c = this.opened();
    this.una = this.c.sndUna;
    Object.assign(this.c, { sndWnd: 1_000_000, sndWndMax: 1_000_000, cwnd: 1_000_000 });
    Object.assign(this.c, { lastRead: LARGE_CHUNK_OCTETS, hostReadable: true, ...over });
    Object.assign(this.network, {
      tcpStartPeeking: () => {
        this.calls.push("start");
        return this.canStart;
      },
      tcpStopPeeking: () => {
        this.calls.push("stop");
        this.peeked = this.discarded;
      },
      tcpDiscard: (_handle: number, octets: number) => {
        this.calls.push(`discard ${octets}`);
        const got = Math.min(octets, this.discards);
        this.discarded += got;
        return got;
      },
      tcpReceive: (_handle: number, list: Int32Array, count: number) => {
        expect(count).toBe(1);
        this.calls.push(`read ${list[1]}`);
        const got = this.read(list[0], list[1]);
        if (got > 0) this.discarded += got;
        return got;
      },
    });
    this.egress.peeker = {
      peek: (_handle, headers, each, octets, frames) => {
        this.peeks.push({ headers, each, octets });
        let total = 0;
        for (let i = 0; i < this.buffers && total < octets; i++) {
          const at = this.buffersAt + i * LARGE_CHUNK_OCTETS;
          const got = this.read(at, Math.min(each, octets - total));
          if (got <= 0) return total > 0 ? total : got;
          frames.set([at, got], 2 * i);
          total += got;
        }
        return total === 0 ? ENOBUFS : total;
      },
      releasePeeked: (at) => void this.released.push((at - this.buffersAt) / LARGE_CHUNK_OCTETS),
    };
  }

  private read(at: number, length: number): number {
    if (this.errno !== 0) return this.errno;
    const got = Math.min(length, this.arrived - this.peeked);
    if (got === 0) return this.ended ? 0 : EAGAIN;
    for (let i = 0; i < got; i++) this.arena.octets[at + i] = (this.peeked + i) % 251;
    this.peeked += got;
    return got;
  }

  give(octets: number): this {
    this.arrived += octets;
    this.c.hostReadable = true;
    return this;
  }

  pump(): this {
    pump(this.ctx, this.c);
    return this;
  }

  acknowledge(octets: number): this {
    this.c.sndUna = (this.una + octets) | 0;
    freeAcknowledged(this.ctx, this.c);
    return this;
  }

  /** Segments that left: where, how long, and PSH, FIN or RST. Their octets are the stream's. */
  segments(): [from: number, length: number, flags?: string][] {
    return this.sent().map(({ sequence, payload, flags }) => {
      const from = (sequence - this.una) | 0;
      expect(payload.every((octet, i) => octet === (from + i) % 251)).toBe(true);
      const marks = `${flags & PSH ? "P" : ""}${flags & FIN ? "F" : ""}${flags & RST ? "R" : ""}`;
      return marks === "" ? [from, payload.length] : [from, payload.length, marks];
    });
  }

  get chunks(): number[] {
    const { pool } = this.ctx;
    const filled: number[] = [];
    for (let chunk = this.c.sendHead; chunk !== NO_CHUNK; chunk = pool.next[chunk])
      filled.push(pool.filled[chunk]);
    return filled;
  }
}

describe("the kernel is peeked at", () => {
  it("once its host filled all it was offered, and begins where the stream is", () => {
    const at = new Peeking();
    expect(mayPeek(at.ctx, at.c)).toBe(true);
    expect(at.c).toMatchObject({ peeking: true, peekBase: at.c.sndEnd });
    expect(mayPeek(at.ctx, at.c)).toBe(true);
    expect(at.calls).toEqual(["start"]);
    // From then on, whatever came last.
    at.c.lastRead = 3;
    expect(mayPeek(at.ctx, at.c)).toBe(true);
  });

  it.each<[string, Partial<TcpConnection>, string[]]>([
    ["little came last", { lastRead: LARGE_CHUNK_OCTETS - 1 }, []],
    ["it cannot be", { noPeeking: true }, []],
    ["the connection ends here", { handle: -2 }, []],
  ])("not where %s", (_, over, calls) => {
    const at = new Peeking(over);
    expect(mayPeek(at.ctx, at.c)).toBe(false);
    expect([at.c.peeking, at.calls]).toEqual([false, calls]);
  });

  it("not where the link cannot, nor again where the kernel would not", () => {
    const plain = new Peeking();
    plain.egress.peeker = null;
    expect([mayPeek(plain.ctx, plain.c), plain.c.noPeeking]).toEqual([false, false]);
    const old = new Peeking();
    old.canStart = false;
    expect([mayPeek(old.ctx, old.c), old.c.noPeeking, old.c.peeking]).toEqual([false, true, false]);
    mayPeek(old.ctx, old.c);
    expect(old.calls).toEqual(["start"]);
    const without = new Peeking();
    Object.assign(without.network, { tcpStartPeeking: undefined });
    expect([mayPeek(without.ctx, without.c), without.c.noPeeking]).toEqual([false, true]);
  });
});

describe("what is peeked at", () => {
  it("is asked for in frames with room for the headers, and leaves at once", () => {
    for (const [timestamps, headers] of [
      [false, 54],
      [true, 66],
    ] as const) {
      const at = new Peeking({ timestamps }).give(200_000).pump();
      expect(at.peeks).toEqual([{ headers, each: 65_000, octets: 260_000 }]);
      expect(at.link.frames.length).toBe(4);
      expect(at.segments()).toEqual([
        [0, 65_000],
        [65_000, 65_000],
        [130_000, 65_000],
        [195_000, 5000, "P"],
      ]);
      expect(at.c).toMatchObject({
        octetsToGuest: 200_000,
        hostReadable: false,
        lastRead: LARGE_CHUNK_OCTETS,
      });
      expect(at.counters.value("tcp-octets-to-guest")).toBe(200_000);
      expect(at.counters.value("tcp-octets-peeked")).toBe(200_000);
      expect([at.chunks, at.c.timerKind]).toEqual([[], TIMER_RETRANSMIT]);
    }
  });

  it.each<[string, Partial<TcpConnection>, number]>([
    ["whole segments of what the guest takes", { sndWnd: 3999 }, 3000],
    ["less than one where it takes no more", { sndWnd: 900, sndWndMax: 1000 }, 900],
    ["one", { sndWnd: 1000 }, 1000],
  ])("is %s", (_, over, octets) => {
    expect(new Peeking(over).give(200_000).pump().peeks[0].octets).toBe(octets);
  });

  it("is as many frames as the link has room for", () => {
    const at = new Peeking().give(300_000);
    at.link.room = 0;
    while (at.egress.payloadRoom() > 2) at.egress.queue.push(20, 0, 0, 0, 0, 0);
    // What is queued leaves first, so that it need not wait for buffers that are taken here.
    at.egress.unblock();
    at.link.room = Number.POSITIVE_INFINITY;
    at.egress.payloadRoom = () => 2;
    at.pump();
    expect(at.peeks).toEqual([{ headers: 54, each: 65_000, octets: 130_000 }]);
  });

  it.each<[number, Partial<TcpConnection>, boolean, number]>([
    // Octets that there are, and whether more are expected.
    [5000, {}, false, 5000],
    [65_000, {}, true, 65_000],
    [130_000, {}, true, LARGE_CHUNK_OCTETS],
    [5000, { hostHangup: true }, true, 5000],
    [5000, { hostUrgent: true }, true, 5000],
    [5000, { sndWnd: 5000 }, true, LARGE_CHUNK_OCTETS],
  ])("of %i octets is read on or not, by what may be left", (octets, over, readsOn, lastRead) => {
    const at = new Peeking(over).give(octets).pump();
    expect([at.c.hostReadable, at.c.lastRead]).toEqual([readsOn, lastRead]);
    expect([at.c.ready, at.egress.peekBlocked]).toEqual([readsOn, false]);
    expect(at.segments().at(-1)?.[2]).toBe(readsOn ? undefined : "P");
  });

  it("waits for buffers of the guest's", () => {
    const at = new Peeking().give(5000);
    at.buffers = 0;
    at.c.ready = false;
    at.pump();
    expect([at.c.ready, at.egress.blocked, at.egress.peekBlocked, at.segments()]).toEqual([
      true,
      true,
      true,
      [],
    ]);
    expect(at.c).toMatchObject({ hostReadable: true, peeking: true, octetsToGuest: 0 });
  });

  it("waits for frames in front of it that wait for buffers themselves", () => {
    const at = new Peeking().give(5000);
    at.link.room = 0;
    at.egress.queue.push(20, 0, 0, 0, 0, 0);
    at.pump();
    expect([at.peeks, at.c.ready, at.egress.peekBlocked]).toEqual([[], true, true]);
  });

  it("waits for a link that takes nothing to say that it does again", () => {
    const at = new Peeking().give(5000);
    at.egress.queue.push(20, 0, 0, 0, 0, 0);
    at.egress.blocked = true;
    at.pump();
    expect([at.link.frames, at.peeks]).toEqual([[], []]);
    at.egress.unblock();
    at.pump();
    expect([at.link.frames.length, at.peeks.length]).toEqual([2, 1]);
  });

  it("may be nothing for now, or an end", () => {
    const nothing = new Peeking().pump();
    expect(nothing.c).toMatchObject({ hostReadable: false, state: ESTABLISHED, peeking: true });
    expect(nothing.segments()).toEqual([]);
    const ended = new Peeking();
    ended.ended = true;
    ended.pump();
    expect(ended.segments()).toEqual([[0, 0, "F"]]);
    expect(ended.c).toMatchObject({ state: FIN_WAIT_1, peeking: false, hostEof: true });
    const failed = new Peeking();
    failed.errno = ECONNRESET;
    failed.pump();
    expect(failed.told.ended).toEqual([[40_000, "host-reset by host", ECONNRESET]]);
    expect(failed.calls).toEqual(["start"]);
  });

  it("goes into chunks where the peer's FIN comes while the guest has yet to acknowledge", () => {
    const at = new Peeking().give(5000).pump();
    at.ended = true;
    at.c.hostReadable = true;
    at.pump();
    expect(at.segments().at(-1)).toEqual([5000, 0, "F"]);
    expect(at.chunks).toEqual([5000]);
    expect(at.c.sendCursor).toBe(NO_CHUNK);
  });

  it("goes into chunks where the guest is not known any more, and its buffers are given back", () => {
    const at = new Peeking().give(130_100);
    at.c.guestAddress++;
    at.pump();
    expect(at.released).toEqual([0, 1, 2]);
    expect(at.c).toMatchObject({ peeking: false, timerKind: TIMER_RETRANSMIT });
    expect(at.chunks.reduce((sum, octets) => sum + octets, 0)).toBe(130_100);
    expect(at.c.sendCursor).toBe(at.c.sendHead);
    at.c.guestAddress--;
    at.pump();
    expect(at.segments().reduce((sum, [, length]) => sum + length, 0)).toBe(130_100);
  });
});

describe("frames that will not be sent", () => {
  it("are given back from one on", () => {
    const at = new Peeking();
    const base = at.arena.largeChunksAt + (LARGE_CHUNKS - 4) * LARGE_CHUNK_OCTETS;
    for (let i = 0; i < 4; i++) at.ctx.receiveList.set([base + i * LARGE_CHUNK_OCTETS, 100 + i], 2 * i);
    releaseFrames(at.ctx, 2, 101 + 102);
    expect(at.released).toEqual([1, 2]);
    releaseFrames(at.ctx, 0, 0);
    expect(at.released).toEqual([1, 2]);
    at.egress.peeker = null;
    expect(() => releaseFrames(at.ctx, 0, 100)).not.toThrow();
  });
});

describe("peeking ends", () => {
  it("with a loss, with another link, and once it has begun to end", () => {
    const at = new Peeking();
    expect(mustStopPeeking(at.ctx, at.c)).toBe(false);
    expect(mustStopPeeking(at.ctx, Object.assign(new Peeking().c, { recovery: RECOVERY_FAST }))).toBe(true);
    at.c.peekEnds = true;
    expect(mustStopPeeking(at.ctx, at.c)).toBe(true);
    at.c.peekEnds = false;
    at.egress.peeker = null;
    expect(mustStopPeeking(at.ctx, at.c)).toBe(true);
  });

  it("with what the kernel keeps in chunks, as many as are needed, and the guest is sent them again from there", () => {
    const at = new Peeking().give(70_000).pump();
    at.segments();
    at.acknowledge(1000);
    const una = at.c.sndUna;
    Object.assign(at.c, {
      recovery: RECOVERY_FAST,
      recover: at.c.sndNxt,
      retransmitNext: una,
      lossUntil: (una + 1000) | 0,
    });
    at.calls.length = 0;
    at.pump();
    expect(at.calls).toEqual(["stop", "read 65536", "read 3464"]);
    expect(at.chunks).toEqual([65_536, 3464]);
    expect([at.ctx.pool.largeInUse, at.ctx.pool.smallInUse]).toEqual([1, 1]);
    expect(at.segments()).toEqual([[1000, 1000]]);
    expect(at.c).toMatchObject({ peeking: false, peekEnds: false, lastRead: 0, sendCursor: NO_CHUNK });
    at.acknowledge(70_000);
    expect(at.chunks).toEqual([]);
  });

  it("behind what is in chunks already", () => {
    const at = new Peeking({ lastRead: 0 }).give(100).pump();
    expect(at.chunks).toEqual([100]);
    at.c.lastRead = LARGE_CHUNK_OCTETS;
    at.give(5000).pump();
    expect(stopPeeking(at.ctx, at.c)).toBe(true);
    expect(at.chunks).toEqual([100, 5000]);
  });

  /** One without a chunk left; `free` gives them back. */
  function withoutMemory(octets: number): { at: Peeking; free: () => void } {
    const at = new Peeking({}, { payloadOctets: PAYLOAD_OCTETS_MAX / 256 }).give(octets);
    const { pool } = at.ctx;
    const taken: number[] = [];
    for (let chunk = pool.take(USE_SEND, true); chunk !== NO_CHUNK; chunk = pool.take(USE_SEND, true))
      taken.push(chunk);
    return { at, free: () => taken.splice(0).forEach((chunk) => void pool.release(chunk)) };
  }

  it("later where there is no memory, and nothing is read or sent before", () => {
    const { at, free } = withoutMemory(70_000);
    at.pump();
    at.segments();
    at.c.recovery = RECOVERY_FAST;
    at.calls.length = 0;
    at.give(10).pump();
    expect([at.calls, at.c.starved, at.c.peeking, at.c.peekEnds]).toEqual([["stop"], true, true, true]);
    expect([at.segments(), at.peeks.length]).toEqual([[], 1]);
    free();
    at.c.recovery = 0;
    at.give(10);
    at.pump();
    // The kernel is told once.
    expect(at.calls.filter((call) => call === "stop").length).toBe(1);
    expect([at.c.peeking, at.c.peekEnds]).toEqual([false, false]);
  });

  it("later with the peer's FIN, too: memory is waited for, nothing else", () => {
    const { at, free } = withoutMemory(5000);
    at.pump();
    at.segments();
    Object.assign(at.c, { hostReadable: true, ready: false });
    at.ended = true;
    at.pump();
    expect([at.c.starved, at.c.ready, at.segments()]).toEqual([true, false, []]);
    free();
    at.pump();
    expect(at.segments()).toEqual([[5000, 0, "F"]]);
  });

  it("later for a guest that is not known any more, whose timer starts once its octets are in chunks", () => {
    const { at, free } = withoutMemory(5000);
    at.c.guestAddress++;
    at.pump();
    expect([at.c.starved, at.c.timerKind, at.released]).toEqual([true, TIMER_NONE, [0]]);
    free();
    at.pump();
    expect([at.c.timerKind, at.chunks]).toEqual([TIMER_RETRANSMIT, [5000]]);
  });

  it("with the connection where the kernel has lost them", () => {
    for (const [errno, end] of [
      [ECONNRESET, ECONNRESET],
      [0, 0],
    ]) {
      const at = new Peeking().give(5000).pump();
      at.segments();
      Object.assign(at, { errno, ended: true });
      if (errno === 0) Object.assign(at.network, { tcpReceive: () => 0 });
      expect(stopPeeking(at.ctx, at.c)).toBe(false);
      expect(at.c.state).toBe(CLOSED);
      expect(at.told.ended).toEqual([[40_000, "host-reset by host", end]]);
      expect(at.segments()).toEqual([[5000, 0, "R"]]);
      expect(at.ctx.pool.smallInUse + at.ctx.pool.largeInUse).toBe(0);
    }
  });

  it("with a part that was never sent", () => {
    const at = new Peeking().give(5000).pump();
    at.segments();
    at.c.sndNxt = (at.una + 2000) | 0;
    expect(stopPeeking(at.ctx, at.c)).toBe(true);
    expect(at.c.sendCursor).toBe(at.c.sendHead);
    const all = new Peeking().give(5000).pump();
    expect(stopPeeking(all.ctx, all.c)).toBe(true);
    expect(all.c.sendCursor).toBe(NO_CHUNK);
  });

  it("where the kernel knows nothing of it, too", () => {
    const at = new Peeking().give(5000).pump();
    Object.assign(at.network, { tcpStopPeeking: undefined });
    expect(() => stopPeeking(at.ctx, at.c)).not.toThrow();
  });
});

describe("an acknowledgment", () => {
  it("lets the kernel forget, in as many calls as it takes", () => {
    const at = new Peeking().give(5000).pump();
    at.calls.length = 0;
    at.discards = 1500;
    at.acknowledge(4000);
    expect(at.calls).toEqual(["discard 4000", "discard 2500", "discard 1000"]);
    expect((at.c.peekBase - at.una) | 0).toBe(4000);
    at.acknowledge(4000);
    expect(at.calls.length).toBe(3);
  });

  it("goes on with the next where the kernel would not", () => {
    const at = new Peeking().give(5000).pump();
    at.discards = 0;
    at.acknowledge(4000);
    expect((at.c.peekBase - at.una) | 0).toBe(0);
    at.discards = 10_000;
    at.acknowledge(4500);
    expect((at.c.peekBase - at.una) | 0).toBe(4500);
    Object.assign(at.network, { tcpDiscard: undefined });
    at.c.sndUna = (at.c.sndUna + 1) | 0;
    discardAcknowledged(at.ctx, at.c);
    expect((at.c.peekBase - at.una) | 0).toBe(4500);
  });

  it("is the kernel's only where it is peeked at", () => {
    const at = new Peeking({ lastRead: 0 }).give(100).pump();
    at.acknowledge(100);
    expect(at.calls.filter((call) => call.startsWith("discard"))).toEqual([]);
  });
});
