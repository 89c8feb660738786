/** Loss towards the guest: RFC 6298 timeouts, RFC 5681/6582/6675 recovery, RFC 2018 section 8. */
import { describe, expect, it } from "vitest";
import type { TcpSegment } from "../../sim/guest-stack/codec.ts";
import { TcpScript } from "./tcp-script.ts";

/** Opens, lets the congestion window grow, and has `count` full segments of 1000 octets under way from `seq`. */
function withFlight(sack: boolean, count: number): { s: TcpScript; seq: number; flight: TcpSegment[] } {
  const s = new TcpScript();
  s.open({ mss: 1000, sackPermitted: sack });
  let ack = 1;
  for (let round = 0; round < 6; round++) {
    s.peerWrites(4000);
    s.advance(2);
    for (const { sequence, payload } of s.drain()) ack = Math.max(ack, sequence + payload.length);
    s.inject(".", { seq: 1, ack });
  }
  s.drain();
  s.peerWrites(count * 1000);
  s.advance(2);
  const flight = s.drain();
  expect(flight.length).toBe(count);
  return { s, seq: ack, flight };
}

describe("timeouts (RFC 6298)", () => {
  it("sends the oldest octets again and doubles the time (5.4 to 5.6)", () => {
    const { s, seq } = withFlight(false, 3);
    const gaps: number[] = [];
    let last = s.world.nowMs;
    for (let i = 0; i < 5; i++) {
      s.expect(".", { seq, length: 1000 }, 30_000);
      gaps.push(s.world.nowMs - last);
      last = s.world.nowMs;
    }
    expect(gaps[0]).toBeGreaterThanOrEqual(150);
    expect(gaps[0]).toBeLessThanOrEqual(1000);
    for (let i = 1; i < gaps.length; i++) expect(gaps[i]).toBeGreaterThan(1.8 * gaps[i - 1]);
  });

  it("sends one segment after a timeout, then grows again (RFC 5681 3.1)", () => {
    const { s, seq } = withFlight(false, 8);
    s.expect(".", { seq, length: 1000 }, 2000);
    s.expectNothing(1);
    s.inject(".", { seq: 1, ack: seq + 1000 });
    s.advance(1);
    const next = s.drain().map((segment) => segment.sequence);
    expect(next).toEqual([seq + 1000, seq + 2000]);
  });

  it("gives up after a silence of R2 and resets both sides (RFC 9293 3.8.3)", () => {
    const { s } = withFlight(false, 2);
    // Not before 100 s, which the RFC asks for, and soon after 120 s, which is what was chosen.
    s.advance(119_000);
    expect(s.flowCount).toBe(1);
    s.advance(61_000);
    s.drain();
    expect(s.flowCount).toBe(0);
    expect(s.peer.sawReset).toBe(true);
    const usage = s.core.usage();
    expect(usage.smallChunks + usage.largeChunks).toBe(0);
  });

  it("does not take the wait for its timer for a round trip, though timestamps say so", () => {
    const s = new TcpScript();
    s.open({ mss: 1000, timestamp: [1000, 0] });
    s.peerWrites(1000);
    const first = s.expect(".", { seq: 1, length: 988 });
    s.drain();
    // The guest has it, but its acknowledgment is lost, and what it echoes stays the first transmission.
    for (let i = 0; i < 6; i++) s.expect(".", { seq: 1 }, 30_000);
    const echo = first.options.timestamp![0];
    s.inject(".", { seq: 1, ack: 989, timestamp: [1001, echo] });
    s.advance(1);
    s.drain();
    // The next loss is made good in seconds, not in a minute.
    s.expect(".", { seq: 989 }, 3000, 100);
  });

  it("forgets what was SACKed, for the guest may have forgotten it (RFC 2018 8)", () => {
    const { s, seq } = withFlight(true, 4);
    s.inject(".", { seq: 1, ack: seq, sack: [[seq + 1000, seq + 4000]] });
    s.drain();
    // Nothing more from the guest: after a timeout every octet is sent again in the end.
    const again = new Set<number>();
    let ack = seq;
    for (let i = 0; i < 20 && ack < seq + 4000; i++) {
      s.advance(3000);
      for (const segment of s.drain()) {
        again.add(segment.sequence);
        if (segment.sequence === ack) ack += segment.payload.length;
      }
      s.inject(".", { seq: 1, ack });
    }
    expect(ack).toBe(seq + 4000);
  });
});

describe("fast retransmit", () => {
  it("comes with the third duplicate acknowledgment, not before (RFC 5681 3.2)", () => {
    const { s, seq } = withFlight(false, 6);
    s.inject(".", { seq: 1, ack: seq });
    s.inject(".", { seq: 1, ack: seq });
    s.expectNothing();
    s.inject(".", { seq: 1, ack: seq });
    s.expect(".", { seq, length: 1000 });
  });

  it("goes on with partial acknowledgments (RFC 6582 3.2)", () => {
    const { s, seq } = withFlight(false, 8);
    for (let i = 0; i < 3; i++) s.inject(".", { seq: 1, ack: seq });
    s.expect(".", { seq, length: 1000 });
    s.drain();
    s.inject(".", { seq: 1, ack: seq + 3000 });
    expect(s.drain().map((segment) => segment.sequence)).toContain(seq + 3000);
  });

  it("fills each hole once and nothing the guest has (RFC 6675 5)", () => {
    const { s, seq } = withFlight(true, 10);
    // Lost: segments 0 and 4.
    s.inject(".", { seq: 1, ack: seq, sack: [[seq + 1000, seq + 2000]] });
    s.inject(".", { seq: 1, ack: seq, sack: [[seq + 1000, seq + 3000]] });
    s.inject(".", { seq: 1, ack: seq, sack: [[seq + 1000, seq + 4000]] });
    const blocks = (end: number): readonly (readonly [number, number])[] => [
      [seq + 5000, end],
      [seq + 1000, seq + 4000],
    ];
    for (let end = seq + 6000; end <= seq + 10_000; end += 1000) {
      s.inject(".", { seq: 1, ack: seq, sack: blocks(end) });
    }
    const again = s.drain().map((segment) => segment.sequence);
    expect(again.filter((sequence) => sequence === seq).length).toBe(1);
    expect(again.filter((sequence) => sequence === seq + 4000).length).toBe(1);
    expect(again.every((sequence) => sequence === seq || sequence === seq + 4000)).toBe(true);
    s.inject(".", { seq: 1, ack: seq + 10_000 });
    s.expectNothing(5000);
  });

  it("takes no duplicate acknowledgment that carries octets or a new window for loss (RFC 5681 2)", () => {
    const { s, seq } = withFlight(false, 6);
    for (let i = 0; i < 5; i++) s.inject(".", { seq: 1, ack: seq, win: 60_000 - i * 100 });
    for (let i = 0; i < 5; i++) s.inject("P.", { seq: 1 + i * 10, ack: seq, win: 50_000, length: 10 });
    s.advance(1);
    expect(s.drain().every((segment) => segment.payload.length === 0)).toBe(true);
  });

  it("is not fooled by SACK blocks that cannot be (RFC 2018 5)", () => {
    const { s, seq } = withFlight(true, 4);
    const absurd: (readonly [number, number])[][] = [
      [[seq + 3000, seq + 1000]],
      [[seq + 2000, seq + 2_000_000]],
      [[seq - 900_000, seq + 4000]],
      [[0x7fffffff, -0x80000000]],
    ];
    for (const sack of absurd) s.inject(".", { seq: 1, ack: seq, sack });
    s.expectNothing();
    s.inject(".", { seq: 1, ack: seq + 4000 });
    s.peerWrites(1000);
    s.expect(".", { seq: seq + 4000, length: 1000 });
  });
});

describe("what an acknowledgment frees", () => {
  it("returns every chunk", () => {
    const { s, seq } = withFlight(true, 10);
    expect(s.core.usage().smallChunks + s.core.usage().largeChunks).toBeGreaterThan(0);
    s.inject(".", { seq: 1, ack: seq + 10_000 });
    expect(s.core.usage().smallChunks + s.core.usage().largeChunks).toBe(0);
  });
});

describe("sequence numbers that wrap", () => {
  /** A clock at which the engine's initial sequence number (RFC 9293 3.4.1: 250 a millisecond) is near `target`. */
  const clockFor = (target: number): number => {
    const probe = new TcpScript({ clock: 0 });
    probe.open();
    return Math.floor(((target - probe.initialSequence) >>> 0) / 250);
  };

  it.each([0xffffffff, 0x7fffffff])("carries octets over %i, with losses on both sides of it", (edge) => {
    const s = new TcpScript({ clock: clockFor(edge - 20_000) });
    s.open({ mss: 1000, sackPermitted: true });
    expect(Math.abs((edge - s.initialSequence) | 0)).toBeLessThan(25_000);
    s.peerWrites(60_000);
    let ack = 1;
    let lost = 0;
    for (let round = 0; round < 400 && ack < 60_001; round++) {
      s.advance(1);
      const arrived: (readonly [number, number])[] = [];
      for (const { sequence, payload } of s.drain()) {
        // Every ninth segment is lost the first time.
        if (payload.length === 0 || lost++ % 9 === 4) continue;
        if (sequence <= ack) ack = Math.max(ack, sequence + payload.length);
        else arrived.push([sequence, sequence + payload.length]);
      }
      const sack = arrived.filter(([left]) => left > ack).slice(0, 3);
      s.inject(".", { seq: 1, ack, ...(sack.length > 0 ? { sack } : {}) });
      if (round % 20 === 19) s.advance(500);
    }
    expect(ack).toBe(60_001);
  });
});
