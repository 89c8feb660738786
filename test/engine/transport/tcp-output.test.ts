/** Segments to the guest, field by field: what they carry, what is asked of the link with them, and what sending changes. */
import { describe, expect, it } from "vitest";
import { FIN_WAIT_1, SYN_SENT, type TcpConnection } from "../../../src/engine/transport/tcp/connection.ts";
import { sendSyn } from "../../../src/engine/transport/tcp/open.ts";
import { storeOutOfOrder } from "../../../src/engine/transport/tcp/out-of-order.ts";
import {
  probe,
  sendAck,
  sendBare,
  sendPayload,
  sendReset,
  sendStrayReset,
  sendUnconnected,
} from "../../../src/engine/transport/tcp/output.ts";
import { ACK, FIN, PSH, RST, SYN } from "../../sim/guest-stack/codec.ts";
import { GUEST_IP, GUEST_PORT, REMOTE_IP, REMOTE_PORT, TcpLayer } from "./tcp-layer.ts";

const NOW = 5000;
const STAMPS = 0x7fffff00;
/** A guest's and a remote's address of IPv6. */
const PAIR = [0xfd711ae0 | 0, 1, 2, 0x15, 0x20010db8, 5, 6, 7];
const [CHECKSUM_PARTIAL, TCP_SEGMENTS, IPV6] = [1, 2, 8];

function opened(over: Partial<TcpConnection> = {}, offload = false): { layer: TcpLayer; c: TcpConnection } {
  const layer = new TcpLayer({ offload });
  layer.ctx.now = NOW;
  const c = layer.opened();
  Object.assign(c, { tsOffset: STAMPS, tsRecent: 0x12345678, windowTarget: 60_000, ...over });
  return { layer, c };
}

/** Writes a recognisable payload. */
function payload(layer: TcpLayer, length: number): { at: number; octets: Buffer } {
  const at = layer.arena.scratchAt;
  const octets = Buffer.from(Uint8Array.from({ length }, (_, i) => (i * 7 + 1) & 0xff));
  layer.arena.octets.set(octets, at);
  return { at, octets };
}

describe("a SYN", () => {
  it.each<[string, Partial<TcpConnection>, Record<string, unknown>]>([
    ["the MSS only", {}, { mss: 1460 }],
    ["SACK", { sack: true }, { mss: 1460, sackPermitted: true }],
    ["timestamps", { timestamps: true }, { mss: 1460, timestamp: [(NOW + STAMPS) >>> 0, 0x12345678] }],
    ["a window scale", { rcvShift: 7 }, { mss: 1460, windowScale: 7 }],
    [
      "all",
      { sack: true, timestamps: true, rcvShift: 7 },
      { mss: 1460, sackPermitted: true, windowScale: 7, timestamp: [(NOW + STAMPS) >>> 0, 0x12345678] },
    ],
  ])("has %s", (_, over, options) => {
    const { layer, c } = opened({ state: SYN_SENT, ...over });
    sendSyn(layer.ctx, c);
    const [segment] = layer.sent();
    expect(segment.options).toEqual(options);
    expect(segment).toMatchObject({ flags: SYN, acknowledgment: 0, window: 60_000, sequence: c.iss });
    expect(segment.payload.length).toBe(0);
  });

  it("that acknowledges no other leaves what is to be acknowledged alone", () => {
    const { layer, c } = opened({ state: SYN_SENT, ackPending: true, unacknowledged: 5, dsackRight: 9 });
    sendSyn(layer.ctx, c);
    expect(c).toMatchObject({ ackPending: true, unacknowledged: 5, dsackRight: 9 });
  });

  it("over IPv6 has the MSS of its longer header, and the connection's flow label", () => {
    const layer = new TcpLayer();
    const c = layer.connection(GUEST_PORT, PAIR);
    sendSyn(layer.ctx, c);
    const [{ frame, packet, segment }] = layer.packets();
    expect(segment.options).toEqual({ mss: 1440 });
    expect(packet).toMatchObject({ source: PAIR.slice(4), destination: PAIR.slice(0, 4), protocol: 6 });
    expect(frame.octets.readUInt32BE(14) & 0xfffff).toBe(c.flowLabel);
    expect(c.flowLabel).toBeGreaterThan(0);
    expect(frame).toMatchObject({ flags: 0, segmentSize: 0, transportOffset: 54 });
  });
});

describe("a segment without octets", () => {
  it("says what has been taken, the window, and no more options than agreed", () => {
    const { layer, c } = opened({ ackPending: true, unacknowledged: 5, rcvShift: 4 });
    c.rcvNxt = (c.rcvTaken + 77) | 0;
    expect(sendAck(layer.ctx, c)).toBe(true);
    const [{ frame, packet, segment }] = layer.packets();
    expect(segment).toMatchObject({
      sourcePort: REMOTE_PORT,
      destinationPort: GUEST_PORT,
      sequence: c.sndNxt >>> 0,
      acknowledgment: c.rcvTaken >>> 0,
      flags: ACK,
      window: 60_000 >> 4,
      options: {},
    });
    expect(packet).toMatchObject({
      source: REMOTE_IP,
      destination: GUEST_IP,
      dontFragment: true,
      protocol: 6,
    });
    expect(frame.octets.length).toBe(54);
    expect(frame).toMatchObject({ flags: 0, segmentSize: 0, transportOffset: 34 });
    expect(c).toMatchObject({ ackPending: false, unacknowledged: 0, packetsToGuest: 1 });
  });

  it("has timestamps, and the blocks of holes behind them", () => {
    for (const [timestamps, sack] of [
      [true, false],
      [false, true],
      [true, true],
    ]) {
      const { layer, c } = opened({ timestamps, sack });
      const { at } = payload(layer, 10);
      storeOutOfOrder(layer.ctx, c, (c.rcvNxt + 100) | 0, at, 10);
      sendAck(layer.ctx, c);
      const [{ options }] = layer.sent();
      const block = [(c.rcvNxt + 100) >>> 0, (c.rcvNxt + 110) >>> 0];
      expect(options).toEqual({
        ...(timestamps ? { timestamp: [(NOW + STAMPS) >>> 0, 0x12345678] } : {}),
        ...(sack ? { sack: [block] } : {}),
      });
    }
  });

  it("reports a duplicate once", () => {
    const { layer, c } = opened({ sack: true });
    c.dsackLeft = (c.rcvTaken - 50) | 0;
    c.dsackRight = (c.rcvTaken - 20) | 0;
    sendAck(layer.ctx, c);
    sendAck(layer.ctx, c);
    const [first, second] = layer.sent();
    expect(first.options.sack).toEqual([[c.dsackLeft >>> 0, (c.dsackLeft + 30) >>> 0]]);
    expect(second.options.sack).toBeUndefined();
  });

  it("stands inside the window, where the guest took a part of it back", () => {
    for (const [sndWnd, offset] of [
      [499, 499],
      [500, 500],
      [501, 500],
    ]) {
      const { layer, c } = opened({ sndWnd });
      c.sndNxt = (c.sndUna + 500) | 0;
      sendAck(layer.ctx, c);
      expect(layer.sent()[0].sequence).toBe((c.sndUna + offset) >>> 0);
    }
  });

  it("that asks the guest for a sign of life stands just below the window", () => {
    const { layer, c } = opened();
    probe(layer.ctx, c);
    expect(layer.sent()[0]).toMatchObject({ sequence: (c.sndUna - 1) >>> 0, flags: ACK });
  });
});

describe("a segment with octets", () => {
  it("carries them, with or without timestamps", () => {
    for (const timestamps of [false, true]) {
      for (const length of [1, 999, 1000]) {
        const { layer, c } = opened({ timestamps, ackPending: true });
        const { at, octets } = payload(layer, length);
        expect(sendPayload(layer.ctx, c, c.sndNxt, ACK | PSH, at, length)).toBe(true);
        const [{ frame, segment }] = layer.packets();
        expect(segment.payload.equals(octets)).toBe(true);
        expect(segment.options).toEqual(timestamps ? { timestamp: [(NOW + STAMPS) >>> 0, 0x12345678] } : {});
        expect(segment).toMatchObject({ flags: ACK | PSH, sequence: c.sndNxt >>> 0 });
        expect(frame).toMatchObject({ flags: 0, segmentSize: 0 });
        expect(c.ackPending).toBe(false);
      }
    }
  });

  it("over a link that finishes checksums leaves it to it, and is cut by it where it is long", () => {
    for (const [length, flags, segmentSize] of [
      [1000, CHECKSUM_PARTIAL, 0],
      [1001, CHECKSUM_PARTIAL | TCP_SEGMENTS, 1000],
      [5000, CHECKSUM_PARTIAL | TCP_SEGMENTS, 1000],
    ]) {
      const { layer, c } = opened({}, true);
      const { at, octets } = payload(layer, length);
      sendPayload(layer.ctx, c, c.sndNxt, ACK, at, length);
      const [{ frame, segment }] = layer.packets();
      expect(frame).toMatchObject({ flags, segmentSize, transportOffset: 34 });
      expect(segment.payload.equals(octets)).toBe(true);
    }
  });

  it("over IPv6 says so to the link", () => {
    const layer = new TcpLayer({ offload: true });
    const c = layer.connection(GUEST_PORT, PAIR);
    c.mss = 1000;
    const { at } = payload(layer, 3000);
    sendPayload(layer.ctx, c, c.sndNxt, ACK, at, 3000);
    sendBare(layer.ctx, c, c.sndNxt, ACK);
    expect(layer.packets().map(({ frame }) => frame)).toMatchObject([
      { flags: CHECKSUM_PARTIAL | TCP_SEGMENTS | IPV6, segmentSize: 1000, transportOffset: 54 },
      { flags: CHECKSUM_PARTIAL | IPV6, segmentSize: 0, transportOffset: 54 },
    ]);
  });
});

describe("identifications (RFC 6864)", () => {
  it("count frames, and the segments that a link cuts one into", () => {
    const { layer, c } = opened({}, true);
    layer.ctx.identification = 0xfffc;
    const { at } = payload(layer, 3500);
    for (const length of [1000, 3000, 3500, 500]) sendPayload(layer.ctx, c, c.sndNxt, ACK, at, length);
    sendUnconnected(layer.ctx, c, 1, 2, RST);
    sendAck(layer.ctx, c);
    const ids = layer.packets().map(({ packet }) => ("id" in packet ? packet.id : -1));
    expect(ids).toEqual([0xfffc, 0xfffd, 1, 5, 6, 7]);
  });

  it("come round", () => {
    const { layer, c } = opened();
    layer.ctx.identification = 0xffff;
    for (let i = 0; i < 2; i++) sendUnconnected(layer.ctx, c, 1, 2, RST);
    expect(layer.packets().map(({ packet }) => ("id" in packet ? packet.id : -1))).toEqual([0xffff, 0]);
  });
});

describe("a segment that cannot leave", () => {
  /** Fills the queue of a link that takes nothing. */
  function full(): { layer: TcpLayer; c: TcpConnection } {
    const { layer, c } = opened({ timestamps: true });
    layer.link.room = 0;
    while (layer.egress.queue.room > 0) sendAck(layer.ctx, c);
    Object.assign(c, { ackPending: true, unacknowledged: 3, packetsToGuest: 0 });
    return { layer, c };
  }

  it("for a link that is full is counted, and changes nothing", () => {
    const { layer, c } = full();
    expect(sendAck(layer.ctx, c)).toBe(false);
    expect(sendPayload(layer.ctx, c, c.sndNxt, ACK, layer.arena.scratchAt, 10)).toBe(false);
    expect(layer.counters.dropped("link-full")).toBe(2);
    expect(c).toMatchObject({ ackPending: true, unacknowledged: 3, packetsToGuest: 0 });
    expect(sendUnconnected(layer.ctx, c, 1, 2, RST)).toBe(false);
    expect(layer.egress.queue.room).toBe(0);
  });

  it("for a guest whose address is not known is not counted", () => {
    const { layer, c } = opened();
    c.guestAddress = GUEST_IP + 1;
    expect(sendAck(layer.ctx, c)).toBe(false);
    expect(sendPayload(layer.ctx, c, c.sndNxt, ACK, layer.arena.scratchAt, 10)).toBe(false);
    expect(sendUnconnected(layer.ctx, c, 1, 2, RST)).toBe(false);
    expect(layer.egress.unresolved).toBe(GUEST_IP + 1);
    expect(layer.counters.dropped("link-full")).toBe(0);
    expect(layer.egress.queue.length).toBe(0);
  });

  it("if it is a reset waits, as it would have been", () => {
    const { layer, c } = full();
    sendReset(layer.ctx, c);
    expect(layer.counters.value("tcp-resets-to-guest")).toBe(0);
    // The connection is gone when it leaves.
    layer.ctx.flows.remove(c.id);
    layer.link.room = Number.POSITIVE_INFINITY;
    layer.frames();
    layer.egress.unblock();
    const held: unknown[] = [];
    layer.ctx.heldResets.release((ends, seq, ack) => held.push([ends.guestPort, seq, ack]));
    expect(held).toEqual([[GUEST_PORT, c.sndNxt, c.rcvTaken]]);
  });
});

describe("a reset", () => {
  it("of a connection is exactly at what the guest expects next, and counted", () => {
    const { layer, c } = opened({ state: FIN_WAIT_1, sndWnd: 10 });
    c.sndNxt = (c.sndUna + 20) | 0;
    sendReset(layer.ctx, c);
    expect(layer.sent()).toMatchObject([
      { flags: RST | ACK, sequence: (c.sndUna + 10) >>> 0, acknowledgment: c.rcvTaken >>> 0 },
    ]);
    expect(layer.counters.value("tcp-resets-to-guest")).toBe(1);
    layer.ctx.heldResets.release(() => expect.unreachable());
  });

  it("of no connection is between the ends of what it answers, and counted where it leaves", () => {
    for (const pair of [undefined, PAIR]) {
      const layer = new TcpLayer();
      const ends = layer.ends(1234, pair);
      sendStrayReset(layer.ctx, ends, 0x8000_0001, 77, RST | ACK);
      const [{ frame, packet, segment }] = layer.packets();
      expect(segment).toMatchObject({
        sourcePort: REMOTE_PORT,
        destinationPort: 1234,
        sequence: 0x8000_0001,
        acknowledgment: 77,
        flags: RST | ACK,
        window: 0,
        options: {},
      });
      expect(segment.payload.length).toBe(0);
      expect(frame).toMatchObject({ flags: 0, segmentSize: 0, transportOffset: 0 });
      if (pair === undefined)
        expect(packet).toMatchObject({ dontFragment: true, ttl: 64, source: REMOTE_IP });
      else {
        expect(packet).toMatchObject({ source: PAIR.slice(4), destination: PAIR.slice(0, 4), hopLimit: 64 });
        expect(frame.octets.readUInt32BE(14) & 0xfffff).toBe(layer.connection(1234, pair).flowLabel);
      }
      expect(layer.counters.value("tcp-resets-to-guest")).toBe(1);
      ends.guestAddress = GUEST_IP + 1;
      ends.pair[3]++;
      sendStrayReset(layer.ctx, ends, 1, 2, RST);
      expect(layer.frames()).toEqual([]);
      expect(layer.counters.value("tcp-resets-to-guest")).toBe(1);
    }
  });
});

describe("a header", () => {
  it("is written within its place", () => {
    for (const over of [{}, { timestamps: true }, { sack: true }, { timestamps: true, sack: true }]) {
      for (const kind of ["syn", "ack", "payload", "reset"]) {
        const { layer, c } = opened(over);
        const end = layer.egress.queue.nextHeaderEnd();
        layer.arena.octets.fill(0x55, end, end + 64);
        if (kind === "syn") sendBare(layer.ctx, c, c.iss, SYN);
        else if (kind === "ack") sendAck(layer.ctx, c);
        else if (kind === "payload") sendPayload(layer.ctx, c, c.sndNxt, ACK, layer.arena.scratchAt, 10);
        else sendStrayReset(layer.ctx, c, 1, 2, RST);
        expect(layer.arena.octets.subarray(end, end + 64).every((octet) => octet === 0x55)).toBe(true);
        expect(layer.sent().length).toBe(1);
      }
    }
  });
});

describe("checksums", () => {
  it("hold where the sum of the carries carries once more", () => {
    const checksum = (tsRecent: number): number => {
      const { layer, c } = opened({ timestamps: true, tsRecent });
      sendAck(layer.ctx, c);
      // Taken apart, it has been looked at.
      return layer.packets()[0].packet.payload.readUInt16BE(16);
    };
    const sum = ~checksum(0) & 0xffff;
    // One of these makes 0xffff of the sum's low half: how many carries are in it is not known here.
    for (let carries = 0; carries < 16; carries++) checksum((0xffff - sum + carries) & 0xffff);
  });

  it("hold whatever the octets, also where carries carry", () => {
    for (const fill of [0, 0xff, 0x80, 0x7f]) {
      for (const length of [1, 2, 535, 1460]) {
        const { layer, c } = opened({ timestamps: true, tsRecent: fill === 0xff ? -1 : 0 });
        layer.arena.octets.fill(fill, layer.arena.scratchAt, layer.arena.scratchAt + length);
        sendPayload(layer.ctx, c, fill === 0xff ? -1 : c.sndNxt, ACK | FIN, layer.arena.scratchAt, length);
        expect(layer.sent().length).toBe(1);
      }
    }
  });
});
