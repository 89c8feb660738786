/** The way out: what stands in the queue, what is counted, and who is told that a frame did not leave. */
import { describe, expect, it } from "vitest";
import type { FrameLink, FrameTap } from "../../../src/engine/boundary.ts";
import { TX_QUEUE_MAX } from "../../../src/engine/limits.ts";
import { Egress } from "../../../src/engine/link/egress.ts";
import { Neighbours } from "../../../src/engine/link/neighbours.ts";
import { Neighbours6 } from "../../../src/engine/link/neighbours6.ts";
import { Arena } from "../../../src/engine/memory/arena.ts";
import type { ChunkPool } from "../../../src/engine/memory/chunk-pool.ts";
import type { TransmitQueue } from "../../../src/engine/memory/transmit-queue.ts";
import { Counters } from "../../../src/engine/metrics/counters.ts";
import { ip } from "../../support/frames.ts";
import { GUEST6, ip6 } from "../../support/frames6.ts";
import { GATEWAY_MAC } from "../../support/way-out.ts";

const GUEST = ip("10.0.2.15");
const EBADF = -9;
/** Frames kept back for what must not wait. */
const RESERVED = 64;
const arena = new Arena();

/** A link that takes so many frames of each offer, or breaks. */
class TestLink implements FrameLink {
  readonly name = "test";
  readonly mtu = 1500;
  readonly tcpOffload: boolean = false;
  readonly udpOffload: boolean = false;
  readonly queueFrames: number = 0;
  readonly canPeek: boolean = false;
  takes = Number.POSITIVE_INFINITY;
  broken = 0;
  offers = 0;
  readonly frames: string[] = [];

  constructor(fields: Partial<FrameLink> = {}) {
    Object.assign(this, fields);
  }

  receive(): number {
    return 0;
  }

  transmit(queue: TransmitQueue): number {
    this.offers++;
    const count = Math.min(queue.length, this.takes);
    for (let n = 0; n < count; n++) {
      const i = (queue.first + n) & (queue.capacity - 1);
      const [header, payload] = [queue.headerAt[i], queue.payloadAt[i]];
      this.frames.push(
        Buffer.concat([
          arena.octets.slice(header, header + queue.headerLength[i]),
          arena.octets.slice(payload, payload + queue.payloadLength[i]),
        ]).toString("hex"),
      );
    }
    queue.taken(count);
    return this.broken === 0 ? count : this.broken;
  }

  close(): void {}
}

function setUp(link: TestLink | null = new TestLink()) {
  const counters = new Counters();
  const neighbours = new Neighbours();
  const egress = new Egress(arena, neighbours, GATEWAY_MAC, counters);
  if (link !== null) egress.attach(link);
  const lost: number[] = [];
  egress.queue.lost = (headerAt) => lost.push(headerAt);
  let reclaims = 0;
  const pool = { reclaim: () => reclaims++ } as unknown as ChunkPool;
  /** Queues so many frames of 60 octets, a third of them payload. */
  const fill = (frames: number): void => {
    for (let i = 0; i < frames; i++) egress.queue.push(40, arena.scratchAt, 20, 0, 0, 0);
  };
  const counted = () => [counters.value("link-frames-to-guest"), counters.value("link-octets-to-guest")];
  return { egress, neighbours, counters, lost, pool, fill, counted, reclaims: () => reclaims };
}

describe("a link", () => {
  it.each([
    [{ tcpOffload: true, udpOffload: false, queueFrames: 0 }],
    [{ tcpOffload: false, udpOffload: true, queueFrames: 500 }],
  ])("is taken for what it says it can do: %o", (fields) => {
    const { egress } = setUp(new TestLink(fields));
    const { tcpOffload, udpOffload, queueFrames } = egress;
    expect({ tcpOffload, udpOffload, queueFrames }).toEqual(fields);
  });

  it("that is not there yet, or gone, can do nothing", () => {
    const gone = setUp(new TestLink({ tcpOffload: true, udpOffload: true, queueFrames: 7 })).egress;
    gone.attach(null);
    for (const egress of [setUp(null).egress, gone]) {
      const { link, tcpOffload, udpOffload, queueFrames, peeker, blocked, peekBlocked } = egress;
      expect({ link, tcpOffload, udpOffload, queueFrames, peeker, blocked, peekBlocked }).toEqual({
        link: null,
        tcpOffload: false,
        udpOffload: false,
        queueFrames: 0,
        peeker: null,
        blocked: false,
        peekBlocked: false,
      });
    }
  });

  it("is offered at once what waited for the last one, which was full", () => {
    const full = new TestLink();
    const { egress, fill, counted } = setUp(full);
    full.takes = 0;
    fill(3);
    egress.flush();
    egress.peekBlocked = true;
    expect(egress.blocked).toBe(true);
    const next = new TestLink();
    egress.attach(next);
    expect([egress.link, egress.blocked, egress.peekBlocked]).toEqual([next, false, false]);
    expect([next.frames.length, ...counted()]).toEqual([3, 3, 180]);
  });

  it.each([
    [{ canPeek: true, tcpOffload: true }, true],
    [{ canPeek: true, tcpOffload: false }, false],
    [{ canPeek: false, tcpOffload: true }, false],
  ])("may peek where it can and takes super-frames: %o", (fields, peeks) => {
    const link = new TestLink(fields);
    expect(setUp(link).egress.peeker).toBe(peeks ? link : null);
  });
});

describe("a tap", () => {
  function tapOf(): FrameTap & { readonly seen: number[] } {
    const seen: number[] = [];
    return { seen, arriving: () => {}, arrived: () => {}, sent: (_at, octets) => seen.push(octets) };
  }

  it("sees what leaves while it is there, and nothing that was queued before", () => {
    const link = new TestLink();
    const { egress, fill } = setUp(link);
    const tap = tapOf();
    fill(1);
    egress.setTap(tap);
    expect([tap.seen, link.frames.length]).toEqual([[], 1]);
    fill(2);
    egress.flush();
    expect([tap.seen, link.frames.length]).toEqual([[40, 40], 3]);
    fill(1);
    egress.setTap(null);
    expect([tap.seen.length, egress.link]).toEqual([3, link]);
    fill(1);
    egress.flush();
    expect([tap.seen.length, link.frames.length]).toEqual([3, 5]);
  });

  it("stays when the link is another, and none is there without a link", () => {
    const { egress, fill } = setUp();
    const tap = tapOf();
    egress.setTap(tap);
    egress.attach(null);
    expect(egress.link).toBe(null);
    egress.attach(new TestLink());
    fill(1);
    egress.flush();
    expect(tap.seen).toEqual([40]);
  });

  it("stops peeking, past which payload would go", () => {
    const link = new TestLink({ canPeek: true, tcpOffload: true });
    const { egress } = setUp(link);
    egress.setTap(tapOf());
    expect(egress.peeker).toBe(null);
    egress.setTap(null);
    expect(egress.peeker).toBe(link);
  });
});

describe("room", () => {
  it.each([
    [0, TX_QUEUE_MAX - RESERVED],
    [TX_QUEUE_MAX - RESERVED - 1, 1],
    [TX_QUEUE_MAX - RESERVED, 0],
    [TX_QUEUE_MAX - RESERVED + 1, 0],
    [TX_QUEUE_MAX, 0],
  ])("for payload where %i frames wait is %i, as some is kept back", (waiting, room) => {
    const link = new TestLink();
    const { egress, fill } = setUp(link);
    link.takes = 0;
    fill(waiting);
    expect(egress.payloadRoom()).toBe(room);
    expect(egress.hasRoom()).toBe(waiting < TX_QUEUE_MAX);
  });

  it("is asked of the link before payload is told there is none", () => {
    const link = new TestLink();
    const { egress, fill } = setUp(link);
    fill(TX_QUEUE_MAX - RESERVED - 1);
    expect([egress.payloadRoom(), link.offers]).toEqual([1, 0]);
    fill(1);
    expect([egress.payloadRoom(), link.offers]).toEqual([TX_QUEUE_MAX - RESERVED, 1]);
    link.takes = 10;
    fill(TX_QUEUE_MAX);
    expect([egress.payloadRoom(), link.offers]).toEqual([0, 2]);
  });

  it("is asked of the link before anything is told there is none", () => {
    const link = new TestLink();
    const { egress, fill } = setUp(link);
    fill(TX_QUEUE_MAX - 1);
    expect([egress.hasRoom(), link.offers]).toEqual([true, 0]);
    fill(1);
    expect([egress.hasRoom(), link.offers]).toEqual([true, 1]);
  });

  it("is not asked of a link that is full until that says otherwise", () => {
    const link = new TestLink();
    const { egress, fill } = setUp(link);
    link.takes = 0;
    fill(TX_QUEUE_MAX);
    expect([egress.hasRoom(), egress.hasRoom(), egress.payloadRoom()]).toEqual([false, false, 0]);
    expect(link.offers).toBe(1);
    link.takes = 1;
    egress.unblock();
    expect([egress.hasRoom(), link.offers]).toEqual([true, 2]);
  });
});

describe("a header", () => {
  const IP_AT = arena.scratchAt + 64;
  const headerAt = (): string => Buffer.from(arena.octets.slice(IP_AT - 15, IP_AT + 1)).toString("hex");
  const untouched = "ee".repeat(16);

  it("goes in front of IPv4 to a guest that is known", () => {
    const { egress, neighbours } = setUp();
    neighbours.learn(GUEST, 0x5254, 0x00123456);
    arena.octets.fill(0xee, IP_AT - 20, IP_AT + 20);
    expect(egress.writeHeader(IP_AT, GUEST)).toBe(true);
    expect(headerAt()).toBe("ee" + "525400123456" + "52550a000202" + "0800" + "ee");
    expect(egress.unresolved).toBe(0);
  });

  it("is not written to one that is not known, whose address is kept to be asked for", () => {
    const { egress } = setUp();
    arena.octets.fill(0xee, IP_AT - 20, IP_AT + 20);
    expect(egress.writeHeader(IP_AT, GUEST)).toBe(false);
    expect([egress.unresolved, headerAt()]).toEqual([GUEST, untouched]);
  });

  it("goes in front of IPv6 to a guest that is known", () => {
    const { egress } = setUp();
    const words = Int32Array.of(0, ...ip6(GUEST6));
    egress.neighbours6 = new Neighbours6(1);
    egress.neighbours6.learn(words, 1, 0x5254, 0x00123456);
    arena.octets.fill(0xee, IP_AT - 20, IP_AT + 20);
    expect(egress.writeHeader6(IP_AT, words, 1)).toBe(true);
    expect(headerAt()).toBe("ee" + "525400123456" + "52550a000202" + "86dd" + "ee");
    expect(egress.hasUnresolved6).toBe(false);
  });

  it("is not written over IPv6 to one that is not known, whose address is kept to be asked for", () => {
    const { egress } = setUp();
    const words = Int32Array.of(0, ...ip6(GUEST6));
    egress.neighbours6 = new Neighbours6();
    arena.octets.fill(0xee, IP_AT - 20, IP_AT + 20);
    expect(egress.writeHeader6(IP_AT, words, 1)).toBe(false);
    expect([egress.hasUnresolved6, ...egress.unresolved6, headerAt()]).toEqual([
      true,
      ...ip6(GUEST6),
      untouched,
    ]);
  });

  it("is not written over IPv6 where the link has none, and nobody is asked for", () => {
    const { egress } = setUp();
    expect(egress.writeHeader6(IP_AT, Int32Array.from(ip6(GUEST6)), 0)).toBe(false);
    expect(egress.hasUnresolved6).toBe(false);
  });
});

describe("a frame", () => {
  const AT = arena.scratchAt + 1024;
  const octets = Uint8Array.from({ length: 100 }, (_, i) => i + 1);
  const hex = (length: number): string => Buffer.from(octets.subarray(0, length)).toString("hex");

  it("that is small leaves as it is, whatever becomes of the place it was written at", () => {
    const link = new TestLink();
    const { egress, counted } = setUp(link);
    arena.octets.set(octets, AT);
    expect(egress.sendWhole(AT, 42)).toBe(true);
    arena.octets.fill(0xee, AT, AT + 100);
    egress.flush();
    expect(link.frames).toEqual([hex(42)]);
    expect(counted()).toEqual([1, 42]);
  });

  it("that is kept leaves as it is, header and rest", () => {
    const link = new TestLink();
    const { egress, counted } = setUp(link);
    arena.octets.set(octets, AT);
    expect(egress.sendKept(AT, 99)).toBe(true);
    egress.flush();
    expect(link.frames).toEqual([hex(99)]);
    expect(counted()).toEqual([1, 99]);
  });

  it.each(["sendWhole", "sendKept"] as const)("is refused by %s while the queue is full", (send) => {
    const link = new TestLink();
    const { egress, fill } = setUp(link);
    link.takes = 0;
    fill(TX_QUEUE_MAX - 1);
    expect([egress[send](AT, 42), egress.queue.room]).toEqual([true, 0]);
    expect([egress[send](AT, 42), egress.queue.room]).toEqual([false, 0]);
  });
});

describe("what leaves", () => {
  it("is counted, and lets chunks go", () => {
    const { egress, fill, counted, pool, reclaims } = setUp();
    egress.pool = pool;
    fill(2);
    egress.flush();
    expect([...counted(), reclaims(), egress.blocked]).toEqual([2, 120, 1, false]);
  });

  it("is nothing where nothing waits: the link is not called", () => {
    const link = new TestLink();
    const { egress, pool, reclaims } = setUp(link);
    egress.pool = pool;
    egress.flush();
    expect([link.offers, reclaims()]).toEqual([0, 0]);
  });

  it("is counted as far as the link took it, which is full then", () => {
    const link = new TestLink();
    const { egress, fill, counted, counters, lost } = setUp(link);
    link.takes = 2;
    fill(5);
    egress.flush();
    expect([...counted(), egress.queue.length, egress.blocked]).toEqual([2, 120, 3, true]);
    egress.flush();
    egress.flush();
    expect([...counted(), egress.queue.length, egress.blocked]).toEqual([5, 300, 0, false]);
    expect([counters.dropped("link-down"), lost]).toEqual([0, []]);
  });

  it("leaves the link full where there was no room to peek into", () => {
    const { egress, fill } = setUp();
    egress.peekBlocked = true;
    fill(1);
    egress.flush();
    expect([egress.blocked, egress.peekBlocked]).toEqual([true, true]);
    egress.unblock();
    expect([egress.blocked, egress.peekBlocked]).toEqual([false, false]);
  });

  it("is counted across the ring's end and where the sequence wraps", () => {
    const link = new TestLink();
    const { egress, counted, lost } = setUp(link);
    const { queue } = egress;
    queue.headSequence = queue.tailSequence = 0x7ffffffe;
    for (const payload of [1, 2, 3, 4]) queue.push(14, arena.scratchAt, payload, 0, 0, 0);
    egress.flush();
    expect([...counted(), queue.length, link.frames.map((frame) => frame.length / 2)]).toEqual([
      4,
      66,
      0,
      [15, 16, 17, 18],
    ]);
    expect(lost).toEqual([]);
  });
});

describe("what does not leave", () => {
  it("is dropped and told of, frame by frame, where the link breaks", () => {
    const link = new TestLink();
    const { egress, fill, counted, counters, lost, pool, reclaims } = setUp(link);
    egress.pool = pool;
    Object.assign(link, { takes: 1, broken: EBADF });
    fill(3);
    const slots = [1, 2].map((i) => egress.queue.headerAt[i]);
    egress.flush();
    expect([...counted(), counters.dropped("link-down"), egress.queue.length]).toEqual([1, 60, 2, 0]);
    expect([lost, reclaims(), egress.blocked]).toEqual([slots, 1, false]);
  });

  it("is dropped and told of where there is no link", () => {
    const { egress, fill, counted, counters, lost, pool, reclaims } = setUp(null);
    egress.pool = pool;
    fill(2);
    egress.flush();
    expect([...counted(), counters.dropped("link-down"), egress.queue.length]).toEqual([0, 0, 2, 0]);
    expect([lost.length, reclaims()]).toEqual([2, 1]);
  });

  it("is dropped before there are chunks to let go", () => {
    const { egress, fill } = setUp(null);
    fill(1);
    egress.flush();
    expect(egress.queue.length).toBe(0);
  });

  it("is dropped when the link goes", () => {
    const link = new TestLink();
    const { egress, fill, counters } = setUp(link);
    link.takes = 0;
    fill(2);
    egress.attach(null);
    expect([counters.dropped("link-down"), egress.queue.length]).toEqual([2, 0]);
  });
});
