import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { EAGAIN, EINVAL, EPIPE } from "../../../src/engine/boundary.ts";
import { native } from "../../../src/host/native/native.ts";

const EBADF = -9;
const EMSGSIZE = -90;
const arena = new ArrayBuffer(1 << 20);
const octets = new Uint8Array(arena);
const ints = new Int32Array(arena);
const END = arena.byteLength;
const DESCRIPTORS = 4096;
const LENGTHS = 65_536;
const OUT = 131_072;
const IN = 524_288;
const open: number[] = [];

function pair(type: "stream" | "dgram" | "seqpacket"): [number, number] {
  const fds = native.socketPair(type);
  open.push(...fds);
  return fds;
}

/** Writes descriptors (a, aLength, b, bLength) to DESCRIPTORS. */
function describeFrames(...frames: [number, number, number, number][]): number {
  ints.set(frames.flat(), DESCRIPTORS / 4);
  return frames.length;
}

function text(at: number, length: number): string {
  return Buffer.from(arena, at, length).toString("latin1");
}

beforeAll(() => {
  native.registerArena(arena);
});

afterEach(() => {
  for (const fd of open.splice(0)) native.close(fd);
});

describe("frames over a packet-preserving socket", () => {
  it("writes header and payload as one frame and reads frames into slots", () => {
    const [a, b] = pair("seqpacket");
    octets.set(Buffer.from("headpayload"), OUT);
    const count = describeFrames([OUT, 4, OUT + 4, 7], [OUT + 4, 3, 0, 0]);
    expect(native.writeFrames(a, DESCRIPTORS, count)).toBe(2);
    expect(native.readFrames(b, IN, 2048, 1500, 8, LENGTHS)).toBe(2);
    expect([ints[LENGTHS / 4], ints[LENGTHS / 4 + 1]]).toEqual([11, 3]);
    expect(text(IN, 11)).toBe("headpayload");
    expect(text(IN + 2048, 3)).toBe("pay");
    expect(native.readFrames(b, IN, 2048, 1500, 8, LENGTHS)).toBe(0);
  });

  it("reads no more frames than asked for", () => {
    const [a, b] = pair("seqpacket");
    native.writeFrames(a, DESCRIPTORS, describeFrames([OUT, 1, 0, 0], [OUT, 2, 0, 0], [OUT, 3, 0, 0]));
    expect(native.readFrames(b, IN, 64, 64, 2, LENGTHS)).toBe(2);
    expect(native.readFrames(b, IN, 64, 64, 2, LENGTHS)).toBe(1);
    expect(ints[LENGTHS / 4]).toBe(3);
  });

  it("tells the end of the peer from an empty queue, after the frames before it", () => {
    const [a, b] = pair("seqpacket");
    native.writeFrames(a, DESCRIPTORS, describeFrames([OUT, 5, 0, 0]));
    native.shutdownWrite(a);
    expect(native.readFrames(b, IN, 64, 64, 4, LENGTHS)).toBe(1);
    expect(native.readFrames(b, IN, 64, 64, 4, LENGTHS)).toBe(EPIPE);
  });

  it("stops at a full queue and says how many went", () => {
    const [a] = pair("seqpacket");
    const frames = Array.from({ length: 2000 }, (): [number, number, number, number] => [OUT, 1400, 0, 0]);
    const taken = native.writeFrames(a, DESCRIPTORS, describeFrames(...frames));
    expect(taken).toBeGreaterThan(0);
    expect(taken).toBeLessThan(2000);
    expect(native.writeFrames(a, DESCRIPTORS, 1)).toBe(0);
  });

  it("gives the error of the first frame, and of a later one with the next call", () => {
    expect(native.writeFrames(-1, DESCRIPTORS, describeFrames([OUT, 4, 0, 0]))).toBe(EBADF);
    expect(native.readFrames(-1, IN, 64, 64, 1, LENGTHS)).toBe(EBADF);
    const [a] = pair("seqpacket");
    const count = describeFrames([OUT, 4, 0, 0], [OUT, 900_000, 0, 0]);
    expect(native.writeFrames(a, DESCRIPTORS, count)).toBe(1);
    expect(native.writeFrames(a, DESCRIPTORS + 16, 1)).toBe(EMSGSIZE);
  });
});

describe("frames over a datagram socket", () => {
  it("sends and receives many in one call", () => {
    const [a, b] = pair("dgram");
    octets.set(Buffer.from("abcdefgh"), OUT);
    const count = describeFrames([OUT, 1, OUT + 4, 2], [OUT + 2, 2, 0, 0], [OUT, 0, 0, 0]);
    expect(native.sendFrames(a, DESCRIPTORS, count)).toBe(3);
    expect(native.receiveFrames(b, IN, 256, 256, 64, LENGTHS)).toBe(3);
    expect(Array.from(ints.subarray(LENGTHS / 4, LENGTHS / 4 + 3))).toEqual([3, 2, 0]);
    expect(text(IN, 3)).toBe("aef");
    expect(text(IN + 256, 2)).toBe("cd");
    expect(native.receiveFrames(b, IN, 256, 256, 64, LENGTHS)).toBe(0);
  });

  it("shows the true length of a frame it had to cut", () => {
    const [a, b] = pair("dgram");
    octets.fill(7, IN, IN + 2000);
    native.sendFrames(a, DESCRIPTORS, describeFrames([OUT, 1000, 0, 0]));
    expect(native.receiveFrames(b, IN, 256, 100, 4, LENGTHS)).toBe(1);
    expect(ints[LENGTHS / 4]).toBe(1000);
    expect(octets[IN + 100]).toBe(7);
  });

  it("sends more than one kernel batch", () => {
    const [a, b] = pair("dgram");
    let received = 0;
    const frames = Array.from({ length: 300 }, (): [number, number, number, number] => [OUT, 10, 0, 0]);
    const sent = native.sendFrames(a, DESCRIPTORS, describeFrames(...frames));
    expect(sent).toBeGreaterThan(0);
    for (let n = -1; n !== 0; received += n) n = native.receiveFrames(b, IN, 64, 64, 1000, LENGTHS);
    expect(received).toBe(sent);
  });

  it("tells the end of a sequenced peer from an empty datagram", () => {
    const [a, b] = pair("seqpacket");
    native.sendFrames(a, DESCRIPTORS, describeFrames([OUT, 3, 0, 0]));
    native.shutdownWrite(a);
    expect(native.receiveFrames(b, IN, 64, 64, 8, LENGTHS)).toBe(1);
    expect(native.receiveFrames(b, IN, 64, 64, 8, LENGTHS)).toBe(EPIPE);
  });

  it("reports a peer that is gone", () => {
    const [a, b] = native.socketPair("dgram");
    open.push(a);
    native.close(b);
    expect(native.sendFrames(a, DESCRIPTORS, describeFrames([OUT, 4, 0, 0]))).toBe(-111);
  });
});

describe("byte streams", () => {
  it("writes all descriptors as one stream, over IOV_MAX", () => {
    const [a, b] = pair("stream");
    octets.set(Buffer.from("0123456789"), OUT);
    const frames = Array.from({ length: 1500 }, (_, i): [number, number, number, number] => [
      OUT + (i % 10),
      1,
      OUT,
      2,
    ]);
    expect(native.writeStream(a, DESCRIPTORS, describeFrames(...frames))).toBe(4500);
    expect(native.receive(b, IN, 10_000)).toBe(4500);
    expect(text(IN, 4500)).toBe(frames.map((_, i) => `${i % 10}01`).join(""));
    expect(native.receive(b, IN, 10_000)).toBe(EAGAIN);
  });

  it("tells how much a full stream took, then EAGAIN", () => {
    const [a] = pair("stream");
    native.setOption(a, 1, 7, 4608);
    const count = describeFrames([OUT, 200_000, OUT, 200_000]);
    const taken = native.writeStream(a, DESCRIPTORS, count);
    expect(taken).toBeGreaterThan(0);
    expect(taken).toBeLessThan(400_000);
    expect(native.writeStream(a, DESCRIPTORS, count)).toBe(EAGAIN);
  });

  it("reads the end of the stream as 0 and a dead peer as EPIPE", () => {
    const [a, b] = native.socketPair("stream");
    open.push(a);
    native.close(b);
    expect(native.receive(a, IN, 10)).toBe(0);
    expect(native.writeStream(a, DESCRIPTORS, describeFrames([OUT, 1, 0, 0]))).toBe(EPIPE);
  });
});

describe("the arena's bounds", () => {
  it("are kept by every call that names octets", () => {
    const [a, b] = pair("dgram");
    const bad: [number, number][] = [
      [END - 10, 11],
      [-4, 4],
      [0, -1],
      [0x7ffffffc, 0x7fffffff],
    ];
    for (const [at, length] of bad) {
      expect(native.receive(b, at, length)).toBe(EINVAL);
      for (const frame of [
        [at, length, 0, 0],
        [OUT, 4, at, length],
      ] as [number, number, number, number][]) {
        const count = describeFrames(frame);
        expect(native.writeFrames(a, DESCRIPTORS, count)).toBe(EINVAL);
        expect(native.sendFrames(a, DESCRIPTORS, count)).toBe(EINVAL);
        expect(native.writeStream(a, DESCRIPTORS, count)).toBe(EINVAL);
      }
    }
    expect(native.receive(b, IN, 100)).toBe(EAGAIN);
  });

  it("are kept for slots, lengths and descriptor lists", () => {
    const [a, b] = pair("dgram");
    for (const call of [native.readFrames, native.receiveFrames]) {
      expect(call(b, END - 1000, 500, 500, 3, LENGTHS)).toBe(EINVAL);
      expect(call(b, IN, -64, 64, 2, LENGTHS)).toBe(EINVAL);
      expect(call(b, IN, 0x7fffffff, 64, 200, LENGTHS)).toBe(EINVAL);
      expect(call(b, IN, 64, 64, 4, END - 12)).toBe(EINVAL);
      expect(call(b, IN, 64, 64, 4, LENGTHS + 1)).toBe(EINVAL);
      expect(call(b, IN, 64, 64, -1, LENGTHS)).toBe(EINVAL);
    }
    for (const call of [native.writeFrames, native.sendFrames, native.writeStream]) {
      expect(call(a, END - 16, 2)).toBe(EINVAL);
      expect(call(a, DESCRIPTORS + 2, 1)).toBe(EINVAL);
      expect(call(a, -16, 1)).toBe(EINVAL);
      expect(call(a, DESCRIPTORS, -1)).toBe(EINVAL);
    }
  });

  it("need numbers", () => {
    const call = native.receive as (...values: unknown[]) => number;
    expect(call(1)).toBe(EINVAL);
    expect(call("1", 0, 0)).toBe(EINVAL);
  });

  it("refuse what is not an ArrayBuffer, or too large for int32", () => {
    const register = native.registerArena as (value: unknown) => void;
    expect(() => register(new Uint8Array(8))).toThrow(TypeError);
    expect(() => register(undefined)).toThrow(TypeError);
    expect(() => register(new ArrayBuffer(2 ** 31))).toThrow(RangeError);
  });
});
