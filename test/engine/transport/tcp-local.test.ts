/** Connections that end in the engine: octets looked at, taken and sent, across the ends of chunks (local.ts). */
import { describe, expect, it } from "vitest";
import { PAYLOAD_OCTETS_MAX, SMALL_CHUNK_OCTETS } from "../../../src/engine/limits.ts";
import { NO_CHUNK, USE_BACKLOG } from "../../../src/engine/memory/chunk-pool.ts";
import { dropReason, HANDLED } from "../../../src/engine/metrics/drop-reasons.ts";
import { SYN_RECEIVED, type TcpConnection } from "../../../src/engine/transport/tcp/connection.ts";
import {
  closeLocal,
  openLocal,
  peekOctet,
  peekOctets,
  queuedOctets,
  sendOctets,
  takeOctets,
} from "../../../src/engine/transport/tcp/local.ts";
import {
  LOCAL,
  type LocalService,
  localArrived,
  localEstablished,
  localGone,
} from "../../../src/engine/transport/tcp/local-service.ts";
import { Segment } from "../../../src/engine/transport/tcp/segment.ts";
import { ACK, SYN } from "../../sim/guest-stack/codec.ts";
import { REMOTE_IP, REMOTE_PORT, TcpLayer } from "./tcp-layer.ts";

/** Octets 0, 1, 2 and so on, in chunks of these lengths; the host has taken `offset` before them. */
function waiting(lengths: readonly number[], offset = 0): { layer: TcpLayer; c: TcpConnection } {
  const layer = new TcpLayer();
  const { pool } = layer.ctx;
  const c = layer.opened();
  c.handle = LOCAL - 3;
  let octet = -offset;
  for (const [i, length] of lengths.entries()) {
    const chunk = pool.take(USE_BACKLOG, false);
    const filled = length + (i === 0 ? offset : 0);
    for (let at = 0; at < filled; at++) layer.arena.octets[pool.at(chunk) + at] = octet++ & 0xff;
    pool.filled[chunk] = filled;
    if (c.backlogTail === NO_CHUNK) c.backlogHead = chunk;
    else pool.next[c.backlogTail] = chunk;
    c.backlogTail = chunk;
    c.backlogOctets += length;
  }
  c.backlogOffset = offset;
  return { layer, c };
}

describe("a connection that ends here", () => {
  it("is answered at once, and is the guest's", () => {
    const layer = new TcpLayer();
    const s = new Segment();
    s.options.mss = 1400;
    expect(openLocal(layer.ctx, layer.ends(), s, null)).toBe(HANDLED);
    const c = layer.ctx.connections[0];
    expect(c).toMatchObject({
      state: SYN_RECEIVED,
      outbound: true,
      handle: LOCAL,
      hostWritable: false,
      mss: 1400,
    });
    expect(c).toMatchObject({ target3: REMOTE_IP, targetPort: REMOTE_PORT, timerKind: 1, timerAt: 1000 });
    expect(layer.sent()).toMatchObject([{ flags: SYN | ACK, acknowledgment: 1 }]);
    expect([layer.counters.value("tcp-opened"), layer.told.opened]).toEqual([1, [40_000]]);
    expect(layer.ctx.ledger.connectMs[0]).toBe(0);
  });

  it("is none where the table is full", () => {
    const layer = new TcpLayer({ flows: 1 });
    layer.opened();
    expect(openLocal(layer.ctx, layer.ends(7), new Segment(), null)).toBe(dropReason("flow-table-full"));
    expect(layer.sent()).toEqual([]);
  });
});

describe("octets that wait for a service", () => {
  it("are looked at one by one", () => {
    for (const offset of [0, 5]) {
      const { layer, c } = waiting([3, 1, 4], offset);
      const seen = Array.from({ length: 8 }, (_, i) => peekOctet(layer.ctx, c, i));
      expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
      expect(c.backlogOctets).toBe(8);
    }
  });

  it("are copied from anywhere, as many as are wanted", () => {
    for (const offset of [0, 5]) {
      const { layer, c } = waiting([3, 1, 4], offset);
      for (let from = 0; from < 8; from++) {
        for (let length = 0; from + length <= 8; length++) {
          const to = new Uint8Array(10).fill(99);
          peekOctets(layer.ctx, c, from, length, to);
          const copied = Array.from({ length: 10 }, (_, i) => (i < length ? from + i : 99));
          expect([...to]).toEqual(copied);
        }
      }
    }
  });

  it("are taken off, across chunks", () => {
    for (const offset of [0, 5]) {
      for (let first = 0; first <= 8; first++) {
        const { layer, c } = waiting([3, 1, 4], offset);
        const to = layer.arena.scratchAt;
        layer.arena.octets.fill(99, to, to + 20);
        takeOctets(layer.ctx, c, to, first);
        expect(layer.arena.octets.subarray(to + first, to + 20).every((octet) => octet === 99)).toBe(true);
        takeOctets(layer.ctx, c, to + first, 8 - first);
        expect([...layer.arena.octets.subarray(to, to + 10)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 99, 99]);
        expect(c).toMatchObject({
          backlogHead: NO_CHUNK,
          backlogTail: NO_CHUNK,
          backlogOctets: 0,
          backlogOffset: 0,
        });
        expect(layer.ctx.pool.smallInUse).toBe(0);
      }
    }
  });

  it("once taken open the window again, where that is worth telling and the guest may send", () => {
    for (const [guestFin, promised, told] of [
      [false, 1000, true],
      [true, 1000, false],
      [false, 65_000, false],
    ] as const) {
      const { layer, c } = waiting([3000]);
      c.guestFin = guestFin;
      c.rcvAdvertised = (c.rcvTaken + promised) | 0;
      takeOctets(layer.ctx, c, layer.arena.scratchAt, 3000);
      expect([c.ackPending, c.touched]).toEqual([told, told]);
    }
  });
});

describe("octets of a service", () => {
  function send(layer: TcpLayer, c: TcpConnection, from: number, length: number): boolean {
    const at = layer.arena.scratchAt;
    for (let i = 0; i < length; i++) layer.arena.octets[at + i] = (from + i) % 251;
    return sendOctets(layer.ctx, c, at, length);
  }

  function stored(
    { arena, ctx: { pool } }: TcpLayer,
    c: TcpConnection,
  ): { chunks: number[]; octets: number[] } {
    const chunks: number[] = [];
    const octets: number[] = [];
    for (let chunk = c.sendHead; chunk !== NO_CHUNK; chunk = pool.next[chunk]) {
      expect(pool.sequence[chunk]).toBe((c.sndUna + octets.length) | 0);
      octets.push(...arena.octets.subarray(pool.at(chunk), pool.at(chunk) + pool.filled[chunk]));
      chunks.push(pool.filled[chunk]);
    }
    return { chunks, octets };
  }

  it.each<[string, number[], number[]]>([
    ["fill a chunk before the next", [4000, 200], [4096, 104]],
    ["begin another where one is full", [4096, 1], [4096, 1]],
    ["take a large chunk where they are many", [4097], [4097]],
    ["go on in the same", [10, 20, 30], [60]],
    ["take a small one for what is left", [4000, 4192], [4096, 4096]],
    ["and a large one where more is left", [4000, 4193], [4096, 4097]],
  ])("%s", (_, lengths, chunks) => {
    const layer = new TcpLayer();
    const c = layer.opened();
    c.handle = LOCAL;
    let sent = 0;
    for (const length of lengths) {
      expect(send(layer, c, sent, length)).toBe(true);
      sent += length;
    }
    const { pool } = layer.ctx;
    const kept = stored(layer, c);
    expect(kept.chunks).toEqual(chunks);
    expect(kept.octets).toEqual(Array.from({ length: sent }, (_, i) => i % 251));
    expect(pool.largeInUse).toBe(chunks.filter((octets) => octets > SMALL_CHUNK_OCTETS).length);
    expect(queuedOctets(c)).toBe(sent);
    expect(c.octetsToGuest).toBe(sent);
    expect(layer.counters.value("tcp-octets-to-guest")).toBe(sent);
    expect(c.sendCursor).toBe(c.sendHead);
    expect(c.ready).toBe(true);
  });

  it("are sent on from where the last ones ended, though those have left", () => {
    const layer = new TcpLayer();
    const c = layer.opened();
    send(layer, c, 0, 100);
    c.sndNxt = c.sndEnd;
    c.sendCursor = NO_CHUNK;
    send(layer, c, 100, 50);
    expect(c.sendCursor).toBe(c.sendTail);
    expect(stored(layer, c).chunks).toEqual([150]);
  });

  it("fail where memory runs out", () => {
    const layer = new TcpLayer({ payloadOctets: PAYLOAD_OCTETS_MAX / 256 });
    const c = layer.opened();
    let sends = 0;
    while (sends < 100 && send(layer, c, 0, 65_536)) sends++;
    // Five large chunks of eight and ten small ones of sixteen.
    expect(sends).toBe(5);
    expect(queuedOctets(c)).toBe(5 * 65_536 + 10 * SMALL_CHUNK_OCTETS);
  });

  it("end with a FIN, and what the guest still says is not kept", () => {
    const { layer, c } = waiting([3, 4]);
    closeLocal(layer.ctx, c);
    expect([c.hostEof, c.ready, c.backlogOctets]).toEqual([true, true, 0]);
    expect(layer.ctx.pool.smallInUse).toBe(0);
  });
});

describe("the service of a connection", () => {
  function service(): { calls: string[]; local: LocalService } {
    const calls: string[] = [];
    return {
      calls,
      local: {
        opened: () => 4,
        arrived: (n) => void calls.push(`arrived ${n}`),
        gone: (n) => void calls.push(`gone ${n}`),
      },
    };
  }

  it("gives it a number, and is told by that of what comes and of the end", () => {
    const { local, calls } = service();
    const c = new TcpLayer().opened();
    c.handle = LOCAL;
    localEstablished(local, c);
    expect(c.handle).toBe(LOCAL - 4);
    localArrived(local, c);
    localGone(local, c);
    expect(calls).toEqual(["arrived 4", "gone 4"]);
    expect(c.handle).toBe(-1);
  });

  it("never hears of one that was not open yet, but of one that was and is number 0", () => {
    for (const [state, handle, told] of [
      [SYN_RECEIVED, LOCAL, []],
      [SYN_RECEIVED, LOCAL - 1, ["gone 1"]],
      [SYN_RECEIVED + 1, LOCAL, ["gone 0"]],
    ] as const) {
      const { local, calls } = service();
      const c = new TcpLayer().opened();
      Object.assign(c, { state, handle });
      localGone(local, c);
      expect(calls).toEqual(told);
      expect(c.handle).toBe(-1);
    }
  });

  it("may be none", () => {
    const c = new TcpLayer().opened();
    c.handle = LOCAL - 9;
    localEstablished(null, c);
    expect(c.handle).toBe(LOCAL);
    localArrived(null, c);
    localGone(null, c);
    expect(c.handle).toBe(-1);
  });
});
