/** Octets in order and out of it, acknowledgments, SACK, PAWS, urgent data and windows, as the guest sees them. */
import { describe, expect, it } from "vitest";
import { READ_CHUNKS_MAX } from "../../../src/engine/transport/tcp/context.ts";
import { Pattern } from "../../sim/world/pattern.ts";
import { TcpScript } from "./tcp-script.ts";

describe("receiving from the guest", () => {
  it("acknowledges what the host's kernel took", () => {
    const s = new TcpScript();
    s.open();
    s.inject("P.", { seq: 1, ack: 1, length: 1000 });
    s.expect(".", { ack: 1001 }, 500);
    expect(s.peer.available).toBe(1000);
  });

  it("acknowledges at once what was sent twice (RFC 9293 3.10.7.4)", () => {
    const s = new TcpScript();
    s.open();
    s.inject("P.", { seq: 1, ack: 1, length: 1000 });
    s.expect(".", { ack: 1001 }, 500);
    s.inject("P.", { seq: 1, ack: 1, length: 1000 });
    s.expect(".", { ack: 1001 });
    expect(s.peer.available).toBe(1000);
  });

  it("takes only the new part of an overlapping segment", () => {
    const s = new TcpScript();
    s.open();
    s.inject("P.", { seq: 1, ack: 1, length: 1000 });
    s.inject("P.", { seq: 501, ack: 1, length: 1000 });
    s.advance(500);
    expect(s.drain().at(-1)?.acknowledgment).toBe(1501);
    expect(s.peer.available).toBe(1500);
  });

  it("keeps what comes out of order and says so at once, newest block first (RFC 2018 4)", () => {
    const s = new TcpScript();
    s.open({ mss: 1460, sackPermitted: true });
    s.inject(".", { seq: 1001, ack: 1, length: 500 });
    s.expect(".", { ack: 1, sack: [[1001, 1501]] });
    s.inject(".", { seq: 3001, ack: 1, length: 500 });
    s.expect(".", {
      ack: 1,
      sack: [
        [3001, 3501],
        [1001, 1501],
      ],
    });
    s.inject(".", { seq: 1, ack: 1, length: 1000 });
    s.expect(".", { ack: 1501, sack: [[3001, 3501]] });
    s.inject(".", { seq: 1501, ack: 1, length: 1500 });
    s.expect(".", { ack: 3501 });
    expect(s.peer.available).toBe(3500);
    expect(s.core.counters.value("tcp-octets-from-guest")).toBe(3500);
    expect(s.core.usage().smallChunks + s.core.usage().largeChunks).toBe(0);
  });

  it("sends no SACK blocks that were not permitted", () => {
    const s = new TcpScript();
    s.open();
    s.inject(".", { seq: 1001, ack: 1, length: 500 });
    const { options } = s.expect(".", { ack: 1 });
    expect(options.sack).toBeUndefined();
  });

  it("drops a segment with an older timestamp and acknowledges (PAWS, RFC 7323 5.3)", () => {
    const s = new TcpScript();
    s.open({ mss: 1460, timestamp: [100_000, 0] });
    s.inject("P.", { seq: 1, ack: 1, length: 100, timestamp: [100_010, 0] });
    s.expect(".", { ack: 101 }, 500);
    s.inject("P.", { seq: 101, ack: 1, length: 100, timestamp: [99_000, 0] });
    s.expect(".", { ack: 101 });
    expect(s.peer.available).toBe(100);
    s.inject("P.", { seq: 101, ack: 1, length: 100, timestamp: [100_020, 0] });
    s.expect(".", { ack: 201 }, 500);
  });

  it("echoes the timestamp of the segment it acknowledges (RFC 7323 4.3)", () => {
    const s = new TcpScript();
    s.open({ mss: 1460, timestamp: [5000, 0] });
    s.inject("P.", { seq: 1, ack: 1, length: 100, timestamp: [5555, 0] });
    expect(s.expect(".", { ack: 101 }, 500).options.timestamp?.[1]).toBe(5555);
    // Out of order: the echo stays that of the last segment in order.
    s.inject("P.", { seq: 201, ack: 1, length: 100, timestamp: [6000, 0] });
    expect(s.expect(".", { ack: 101 }).options.timestamp?.[1]).toBe(5555);
    // Repeated, because our ACK was lost: the echo is the repetition's, or its whole wait counts as a round trip.
    s.inject("P.", { seq: 1, ack: 1, length: 100, timestamp: [9000, 0] });
    expect(s.expect(".", { ack: 101 }).options.timestamp?.[1]).toBe(9000);
  });

  it("passes urgent octets on in line and ignores the pointer", () => {
    const s = new TcpScript();
    s.open();
    s.inject("PU.", { seq: 1, ack: 1, length: 100, urgent: 50 });
    s.expect(".", { ack: 101 }, 500);
    s.inject("PU.", { seq: 101, ack: 1, length: 100, urgent: 65_535 });
    s.expect(".", { ack: 201 }, 500);
    s.inject("U.", { seq: 201, ack: 1, urgent: 0 });
    s.advance(100);
    expect(s.peer.available).toBe(200);
    expect(s.state).toBe("ESTABLISHED");
  });

  it("delivers the octets on both sides of the host's urgent mark", () => {
    const s = new TcpScript();
    s.open();
    s.hostSleeps(5);
    s.peerWrites(300, true);
    s.peerWrites(300);
    s.advance(500);
    const got = s.drain().reduce((end, { sequence, payload }) => Math.max(end, sequence + payload.length), 0);
    expect(got).toBe(601);
  });
});

describe("reading from the host", () => {
  /** A guest that takes all; returns how many places each read of the engine offered. */
  function download(octets: number): { offered: number[]; s: TcpScript } {
    const s = new TcpScript({ offload: true, receiveBuffer: 4_000_000 });
    const offered: number[] = [];
    const receive = s.host.tcpReceive.bind(s.host);
    s.host.tcpReceive = (handle, scatter, count) => {
      offered.push(count);
      return receive(handle, scatter, count);
    };
    s.open({ mss: 1460, windowScale: 10 });
    s.peerWrites(octets);
    const pattern = new Pattern(654_321);
    let end = 0;
    for (let round = 0; round < 1000 && end < octets; round++) {
      for (const { sequence, payload } of s.drain()) {
        expect(sequence).toBe(end + 1);
        expect(Buffer.compare(payload, pattern.slice(end, payload.length))).toBe(0);
        end += payload.length;
      }
      s.inject(".", { seq: 1, ack: end + 1, win: 4000 });
    }
    expect(end).toBe(octets);
    return { offered, s };
  }

  it("offers a busy host several chunks at once, and keeps the octets in order", () => {
    const { offered, s } = download(3_000_000);
    expect(offered[0]).toBe(1);
    expect(Math.max(...offered)).toBe(READ_CHUNKS_MAX);
    expect(s.core.usage().smallChunks + s.core.usage().largeChunks).toBe(0);
  });

  it("offers a host with little to say one", () => {
    expect(Math.max(...download(3000).offered)).toBe(1);
  });
});

describe("windows", () => {
  it("closes the window by what the host does not take, and opens it again", () => {
    const s = new TcpScript({ sendBuffer: 20_000 });
    s.open();
    let seq = 1;
    let edge = 65_535 + 1;
    for (let i = 0; i < 200; i++) {
      const length = Math.min(1460, edge - seq);
      if (length <= 0) break;
      s.inject("P.", { seq, ack: 1, length });
      seq += length;
      const last = s.drain().at(-1);
      if (last !== undefined) edge = Math.max(edge, last.acknowledgment + last.window);
    }
    s.advance(500);
    s.drain();
    expect(seq).toBe(edge);
    expect(seq).toBeGreaterThan(20_000);
    expect(seq).toBeLessThan(1_000_000);
    s.peerReads(20_000);
    s.advance(500);
    const update = s.drain().at(-1);
    expect(update?.acknowledgment).toBe(seq);
    expect(update?.window).toBeGreaterThan(1460);
  });

  it("answers a probe of its closed window (RFC 9293 3.8.6.1)", () => {
    const s = new TcpScript({ sendBuffer: 1000 });
    s.open();
    let seq = 1;
    for (let i = 0; i < 200; i++) {
      s.inject("P.", { seq, ack: 1, length: 1000 });
      seq += 1000;
      const last = s.drain().at(-1);
      if (last !== undefined && last.window < 1000) break;
    }
    s.advance(500);
    s.drain();
    s.inject(".", { seq, ack: 1, length: 1 });
    expect(s.drain().length).toBeGreaterThan(0);
    expect(s.state).toBe("ESTABLISHED");
  });

  it("sends no octet into a closed window but keeps probing it, for ever (RFC 9293 3.8.6.1)", () => {
    const s = new TcpScript();
    s.open({ mss: 1460 }, 0);
    s.peerWrites(5000);
    s.expectNothing(100);
    let probes = 0;
    for (let minute = 0; minute < 60; minute++) {
      s.advance(60_000);
      for (const segment of s.drain()) {
        expect(segment.payload.length).toBeLessThanOrEqual(1);
        probes++;
        s.inject(".", { seq: 1, ack: 1, win: 0 });
      }
    }
    expect(probes).toBeGreaterThan(50);
    s.inject(".", { seq: 1, ack: 1, win: 20_000 });
    s.advance(100);
    expect(s.drain().reduce((sum, segment) => sum + segment.payload.length, 0)).toBe(5000);
  });

  it("backs its probes off (RFC 9293 3.8.6.1)", () => {
    const s = new TcpScript();
    s.open({ mss: 1460 }, 0);
    s.peerWrites(5000);
    const gaps: number[] = [];
    let last = s.world.nowMs;
    for (let i = 0; i < 5; i++) {
      s.expect(".", {}, 70_000);
      gaps.push(s.world.nowMs - last);
      last = s.world.nowMs;
      s.inject(".", { seq: 1, ack: 1, win: 0 });
    }
    for (let i = 1; i < gaps.length; i++) expect(gaps[i]).toBeGreaterThan(1.8 * gaps[i - 1]);
  });

  it("fills a window that stays small after a while (RFC 9293 3.8.6.2.1)", () => {
    const s = new TcpScript();
    s.open({ mss: 1460 }, 65_535);
    s.inject(".", { seq: 1, ack: 1, win: 300 });
    s.peerWrites(1000);
    s.expectNothing(50);
    s.expect(".", { seq: 1, length: 300 }, 1000);
    s.inject(".", { seq: 1, ack: 301, win: 300 });
    s.expect(".", { seq: 301, length: 300 }, 1000);
  });

  it("sends octets that fit a small window whole", () => {
    const s = new TcpScript();
    s.open({ mss: 1460 }, 65_535);
    s.inject(".", { seq: 1, ack: 1, win: 300 });
    s.peerWrites(200);
    s.expect(".", { seq: 1, length: 200 }, 1000);
  });

  it("keeps its acknowledgments inside a window the guest took back (RFC 9293 3.8.6)", () => {
    const s = new TcpScript();
    s.open({ mss: 1460 }, 5000);
    s.peerWrites(4000);
    s.advance(5);
    s.drain();
    s.inject(".", { seq: 1, ack: 1001, win: 0 });
    s.inject("P.", { seq: 1, ack: 1001, win: 0, length: 100 });
    s.expect(".", { seq: 1001, ack: 101 }, 500);
  });

  it("gives up a guest that no longer answers probes", () => {
    const s = new TcpScript();
    s.open({ mss: 1460 }, 0);
    s.peerWrites(5000);
    s.advance(10 * 60_000);
    s.drain();
    expect(s.flowCount).toBe(0);
    expect(s.peer.sawReset).toBe(true);
  });

  it("never sends beyond the guest's window", () => {
    const s = new TcpScript();
    s.open({ mss: 1460 }, 3000);
    s.peerWrites(50_000);
    s.advance(50);
    expect(
      s.drain().reduce((end, segment) => Math.max(end, segment.sequence + segment.payload.length), 0),
    ).toBeLessThanOrEqual(3001);
  });
});

describe("keepalive (RFC 9293 3.8.4)", () => {
  it("is silent for two hours, then probes, and keeps a guest that answers", () => {
    const s = new TcpScript();
    s.open();
    s.expectNothing(7_190_000);
    s.expect(".", { seq: 0, length: 0 }, 20_000);
    s.inject(".", { seq: 1, ack: 1 });
    s.expectNothing(7_190_000);
    expect(s.state).toBe("ESTABLISHED");
  });

  it("gives up a guest that is gone, not before 2 h 4 min (RFC 5382 REQ-5)", () => {
    const s = new TcpScript();
    s.open();
    s.advance(2 * 3_600_000 + 4 * 60_000);
    expect(s.flowCount).toBe(1);
    s.advance(15 * 60_000);
    s.drain();
    expect(s.flowCount).toBe(0);
    expect(s.peer.sawReset).toBe(true);
  });

  it("answers the guest's keepalive, with and without an octet", () => {
    const s = new TcpScript();
    s.open();
    s.inject(".", { seq: 0, ack: 1 });
    s.expect(".", { seq: 1, ack: 1 });
    s.inject(".", { seq: 0, ack: 1, length: 1 });
    s.expect(".", { seq: 1, ack: 1 });
  });
});
