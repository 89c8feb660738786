/** A link that reorders: how many overtake before a loss is believed, recoveries undone, duplicates reported. */
import { describe, expect, it } from "vitest";
import { RECOVERY_FAST, TcpConnection } from "../../../src/engine/transport/tcp/connection.ts";
import type { TcpContext } from "../../../src/engine/transport/tcp/context.ts";
import { noteDuplicate } from "../../../src/engine/transport/tcp/recovery.ts";
import type { TcpSegment } from "../../sim/guest-stack/codec.ts";
import { type SegmentFields, TcpScript } from "./tcp-script.ts";

const STAMP = 1000;
type Block = readonly [number, number];

/** A guest with SACK that has `count` segments of 1000 octets under way to it, from `seq` on. */
class Reordered {
  readonly s = new TcpScript();
  seq = 1;
  private stamp = STAMP;

  constructor(private readonly timestamps = false) {
    const stamps = timestamps ? { timestamp: [STAMP, 0] as const, mss: 1012 } : { mss: 1000 };
    this.s.open({ ...stamps, sackPermitted: true });
    for (let round = 0; round < 3; round++) {
      this.flight(10);
      this.ack(10);
    }
  }

  flight(count: number): TcpSegment[] {
    this.s.peerWrites(count * 1000);
    this.s.advance(2);
    const sent = this.s.drain();
    expect(sent.map(({ sequence }) => sequence - this.seq)).toEqual(
      Array.from({ length: count }, (_, i) => i * 1000),
    );
    this.echo = sent.at(-1)?.options.timestamp?.[0] ?? 0;
    return sent;
  }
  /** What the guest's next ACKs echo. */
  echo = 0;

  private inject(fields: SegmentFields): void {
    const stamps = this.timestamps ? { timestamp: [++this.stamp, this.echo] as const } : {};
    this.s.inject(".", { seq: 1, ack: this.seq, ...fields, ...stamps });
  }

  /** Blocks in segments from `seq`. */
  sack(...blocks: Block[]): void {
    this.inject({ sack: blocks.map(([l, r]) => [this.seq + l * 1000, this.seq + r * 1000] as const) });
  }

  /** Acknowledges `count` segments more; blocks count from the old `seq`. */
  ack(count: number, ...blocks: Block[]): void {
    const sack = blocks.map(([l, r]) => [this.seq + l * 1000, this.seq + r * 1000] as const);
    this.seq += count * 1000;
    this.inject(sack.length > 0 ? { sack } : {});
    this.s.drain();
  }

  /** Segments sent again, counted from `seq`. */
  again(): number[] {
    return this.s.drain().map(({ sequence }) => (sequence - this.seq) / 1000);
  }

  count(name: "tcp-fast-retransmits" | "tcp-recoveries-undone" | "tcp-timeouts"): number {
    return this.s.core.counters.value(name);
  }
}

/** Six segments overtake the first two without a retransmission: only one of them was told of. */
function overtake(r: Reordered): void {
  r.flight(8);
  r.sack([7, 8]);
  expect(r.again()).toEqual([]);
  r.ack(8);
}

describe("how many overtake before a loss is believed", () => {
  it("is three at first (RFC 5681 3.2)", () => {
    const r = new Reordered();
    r.flight(10);
    r.sack([1, 3]);
    expect(r.again()).toEqual([]);
    r.sack([1, 4]);
    expect(r.again()).toEqual([0]);
  });

  it("is as many as have done so without a loss", () => {
    const r = new Reordered();
    overtake(r);
    r.flight(12);
    r.sack([1, 8]);
    expect(r.again()).toEqual([]);
    r.sack([1, 9]);
    expect(r.again()).toEqual([0]);
  });

  it("is learnt from a hole that fills while an older one is open", () => {
    const r = new Reordered();
    r.flight(12);
    r.sack([8, 9]);
    r.sack([1, 2], [8, 9]);
    r.sack([1, 7], [8, 9]);
    expect(r.again()).toEqual([]);
    r.sack([1, 9]);
    expect(r.again()).toEqual([0]);
  });

  it("is not learnt from blocks that are news only because an ACK was lost, nor from what was sent again", () => {
    const r = new Reordered();
    r.flight(12);
    r.sack([5, 6], [2, 3]);
    r.sack([5, 7], [2, 3]);
    expect(r.again()).toContain(0);
    // Without timestamps either copy may have come.
    r.ack(12);
    r.flight(6);
    r.sack([1, 4]);
    expect(r.again()).toEqual([0]);
  });

  it("decides which holes behind the first are lost, too (RFC 6675 IsLost)", () => {
    const r = new Reordered();
    overtake(r);
    r.flight(16);
    r.sack([1, 6]);
    r.sack([7, 11], [1, 6]);
    // Behind segment 6 there are four: not yet.
    expect(r.again()).toEqual([0]);
    r.sack([7, 15], [1, 6]);
    expect(r.again()).toEqual([6]);
  });

  it("is three again after a timeout", () => {
    const r = new Reordered();
    overtake(r);
    r.flight(2);
    r.s.advance(1000);
    expect(r.count("tcp-timeouts")).toBeGreaterThan(0);
    r.s.drain();
    r.ack(2);
    for (const count of [1, 2, 3, 4, 5]) {
      r.flight(count);
      r.ack(count);
    }
    r.flight(5);
    r.sack([1, 4]);
    expect(r.again()).toEqual([0]);
  });

  it("counts for a round trip only: then the hole is a loss (RFC 8985 6.2)", () => {
    const r = new Reordered();
    r.flight(3);
    r.sack([1, 2]);
    expect(r.again()).toEqual([]);
    r.s.advance(20);
    expect(r.again()).toEqual([0]);
    expect(r.count("tcp-timeouts")).toBe(0);
  });

  it("is decided the same 2 GiB after the last loss", () => {
    const c = new TcpConnection(0);
    const ctx = { now: 0, counters: { add: () => {} } } as unknown as TcpContext;
    c.sack = true;
    c.sndUna = 0x7fffffff;
    c.sndNxt = (c.sndUna + 10 * c.mss) | 0;
    c.recover = -1;
    for (let i = 0; i < 3; i++) noteDuplicate(ctx, c);
    expect(c.recovery).toBe(RECOVERY_FAST);
  });
});

describe("a recovery that was for nothing is undone", () => {
  it("when the guest echoes a time before the retransmission (RFC 3522, 4015)", () => {
    const r = new Reordered(true);
    r.flight(10);
    r.s.advance(5);
    r.sack([1, 4]);
    expect(r.again()).toEqual([0]);
    r.ack(4);
    expect(r.count("tcp-recoveries-undone")).toBe(1);
    // The congestion window is what it was, and the link is known to reorder.
    r.ack(6);
    r.flight(10);
    r.sack([1, 4]);
    expect(r.again()).toEqual([]);
  });

  it("not when it echoes the retransmission", () => {
    const r = new Reordered(true);
    r.flight(10);
    r.s.advance(5);
    r.sack([1, 4]);
    const [again] = r.s.drain();
    r.echo = again.options.timestamp![0];
    r.ack(4);
    expect(r.count("tcp-recoveries-undone")).toBe(0);
  });

  it("after a timeout, too: what was under way is not sent again", () => {
    const r = new Reordered(true);
    r.flight(6);
    r.s.advance(400);
    expect(r.again()[0]).toBe(0);
    r.ack(1);
    expect(r.count("tcp-recoveries-undone")).toBe(1);
    r.s.expectNothing(100);
  });

  it("when all that was sent again is reported as come twice (RFC 2883, 3708)", () => {
    const r = new Reordered();
    r.flight(10);
    r.sack([5, 8], [1, 4]);
    expect(r.again()).toEqual([0, 4]);
    r.ack(10);
    r.ack(0, [-10, -9]);
    expect(r.count("tcp-recoveries-undone")).toBe(0);
    r.ack(0, [-6, -5]);
    expect(r.count("tcp-recoveries-undone")).toBe(1);
    // Once only.
    r.ack(0, [-6, -5]);
    expect(r.count("tcp-recoveries-undone")).toBe(1);
  });

  it("not by reports of what was not sent again", () => {
    const r = new Reordered();
    r.flight(10);
    r.ack(2, [0, 1]);
    r.ack(8, [0, 1]);
    r.flight(6);
    r.sack([1, 4]);
    r.again();
    r.ack(6);
    for (let i = 0; i < 5; i++) r.ack(0, [-16, -15]);
    r.ack(0, [4, 5]);
    expect(r.count("tcp-recoveries-undone")).toBe(0);
  });
});

describe("the guest is told what it sent twice (RFC 2883)", () => {
  function opened(sackPermitted = true): TcpScript {
    const s = new TcpScript();
    s.open({ mss: 1000, sackPermitted });
    s.inject(".", { seq: 1, ack: 1, length: 1000 });
    s.expect(".", { ack: 1001 }, 5);
    return s;
  }

  it("below the acknowledgment", () => {
    const s = opened();
    s.inject(".", { seq: 1, ack: 1, length: 1000 });
    expect(s.expect(".", { ack: 1001 }).options.sack).toEqual([[1, 1001]]);
    // Once only.
    s.inject(".", { seq: 1001, ack: 1, length: 1000 });
    expect(s.expect(".", { ack: 2001 }, 5).options.sack).toBeUndefined();
  });

  it("the part that was old, when a segment is old in part", () => {
    const s = opened();
    s.inject(".", { seq: 501, ack: 1, length: 1000 });
    expect(s.expect(".", { ack: 1501 }, 5).options.sack).toEqual([[501, 1001]]);
  });

  it("beyond a hole: first the duplicate, then the block around it", () => {
    const s = opened();
    s.inject(".", { seq: 2001, ack: 1, length: 1000 });
    s.inject(".", { seq: 3001, ack: 1, length: 1000 });
    s.drain();
    s.inject(".", { seq: 2001, ack: 1, length: 1000 });
    expect(s.expect(".", { ack: 1001 }).options.sack).toEqual([
      [2001, 3001],
      [2001, 4001],
    ]);
  });

  it("not without its permission, and not of octets no window ever held", () => {
    const plain = opened(false);
    plain.inject(".", { seq: 1, ack: 1, length: 1000 });
    expect(plain.expect(".", { ack: 1001 }).options.sack).toBeUndefined();
    const s = opened();
    s.inject(".", { seq: 1 - 0x40000000, ack: 1, length: 10 });
    expect(s.expect(".", { ack: 1001 }).options.sack).toBeUndefined();
  });
});
