/** Long headers and the frames of Initial packets, to the octet. */
import { describe, expect, it } from "vitest";
import {
  CRYPTO_FRAME,
  hasLongHeader,
  INITIAL,
  InitialFrames,
  LongHeader,
  NO_MORE_FRAMES,
  QUIC_2,
  QUIC_OTHER_VERSION,
  QUIC_READ,
} from "../../../src/engine/wire/quic.ts";

const MALFORMED = -1;
const AT = 3;

interface Fields {
  readonly first?: number;
  readonly version?: readonly number[];
  readonly id?: number;
  readonly sourceId?: number;
  /** What stands between the ids and the length. */
  readonly token?: readonly number[];
  readonly length?: readonly number[];
  readonly payload?: number;
}

const V1 = [0, 0, 0, 1];
const V2 = [0x6b, 0x33, 0x43, 0xcf];

function packet({
  first = 0xc0,
  version = V1,
  id = 8,
  sourceId = 5,
  token = [0],
  length = [20],
  payload = 20,
}: Fields): number[] {
  return [
    first,
    ...version,
    id,
    ...new Array<number>(id).fill(0x11),
    sourceId,
    ...new Array<number>(sourceId).fill(0x22),
    ...token,
    ...length,
    ...new Array<number>(payload).fill(0x33),
  ];
}

/** The packet in a datagram, of which `more` octets behind it belong to it too. */
function read(octets: readonly number[], more = 0, header = new LongHeader()): number {
  // Zeros behind the datagram would be lengths if they were read.
  const all = Uint8Array.of(...new Array<number>(AT).fill(0xff), ...octets, ...new Array<number>(40).fill(0));
  return header.read(all, AT, AT + octets.length + more);
}

describe("a long header", () => {
  it("is told from a short one by the first bit", () => {
    expect([0x80, 0xff].map(hasLongHeader)).toEqual([true, true]);
    expect([0, 0x7f].map(hasLongHeader)).toEqual([false, false]);
  });

  it("is read", () => {
    const header = new LongHeader();
    expect(read(packet({ token: [3, 1, 2, 3], length: [0x40, 20] }), 0, header)).toBe(QUIC_READ);
    const { version, type, idAt, idOctets, numberAt, end } = header;
    expect([version, type, idAt, idOctets]).toEqual([1, INITIAL, AT + 6, 8]);
    expect([numberAt, end]).toEqual([AT + 6 + 8 + 1 + 5 + 4 + 2, AT + 6 + 8 + 1 + 5 + 4 + 2 + 20]);
  });

  it("ends before what is behind it in the datagram", () => {
    const header = new LongHeader();
    expect(read(packet({}), 30, header)).toBe(QUIC_READ);
    expect([header.numberAt, header.end]).toEqual([AT + 22, AT + 42]);
  });

  it.each([
    [0xc0, V1, 0],
    [0xcf, V1, 0],
    [0xd0, V1, 1],
    [0xe0, V1, 2],
    [0xd0, V2, 0],
    [0xe0, V2, 1],
    [0xf0, V2, 2],
  ])("whose first octet is %i has its version's type", (first, version, type) => {
    const header = new LongHeader();
    // Only an Initial packet has a token.
    expect(read(packet({ first, version, token: type === INITIAL ? [0] : [] }), 0, header)).toBe(QUIC_READ);
    expect([header.type, header.end - header.numberAt]).toEqual([type, 20]);
    expect(header.version).toBe(version === V1 ? 1 : QUIC_2);
  });

  it("of a Retry is malformed in either version", () => {
    expect(read(packet({ first: 0xf0, token: [] }))).toBe(MALFORMED);
    expect(read(packet({ first: 0xc0, version: V2, token: [] }))).toBe(MALFORMED);
  });

  it("of another version is not looked into", () => {
    for (let octet = 0; octet < 4; octet++) {
      for (const version of [V1, V2])
        expect(read(packet({ version: version.with(octet, version[octet] ^ 0x10) }))).toBe(
          QUIC_OTHER_VERSION,
        );
    }
    expect([QUIC_READ, MALFORMED, QUIC_OTHER_VERSION]).toEqual([0, -1, -2]);
    expect(read([0xc0, 0xfa, 0, 0, 0, 0])).toBe(QUIC_OTHER_VERSION);
    expect(read([0xc0, 0xfa, 0, 0, 0])).toBe(MALFORMED);
  });

  it.each<[string, Fields, number]>([
    ["ids of 0 octets", { id: 0, sourceId: 0 }, QUIC_READ],
    ["ids of 20 octets", { id: 20, sourceId: 20 }, QUIC_READ],
    ["a destination's id of 21 octets", { id: 21 }, MALFORMED],
    ["a source's id of 21 octets", { sourceId: 21 }, MALFORMED],
    ["a token of 63 octets", { token: [63, ...new Array<number>(63).fill(0)] }, QUIC_READ],
    ["a token of 64 octets", { token: [0x40, 64, ...new Array<number>(64).fill(0)] }, QUIC_READ],
    ["a token longer than the datagram", { token: [0x7f, 0xff] }, MALFORMED],
    ["a length of all that is left", { length: [20] }, QUIC_READ],
    ["a length of one more than is left", { length: [21] }, MALFORMED],
    ["a length of 0", { length: [0] }, QUIC_READ],
    ["a length in two octets", { length: [0x41, 0], payload: 256 }, QUIC_READ],
    ["a length in two octets, one too many", { length: [0x41, 0], payload: 255 }, MALFORMED],
    ["a length in four octets", { length: [0x80, 0, 1, 0], payload: 256 }, QUIC_READ],
    ["a length in four octets, one too many", { length: [0x80, 0, 1, 1], payload: 256 }, MALFORMED],
    ["a length in eight octets", { length: [0xc0, 0, 0, 0, 0, 0, 1, 0], payload: 256 }, QUIC_READ],
    ["a length in eight octets, far too many", { length: [0xc0, 0, 0, 1, 0, 0, 0, 0] }, MALFORMED],
  ])("with %s", (_name, fields, result) => {
    expect(read(packet(fields))).toBe(result);
  });

  it("that is cut anywhere is malformed", () => {
    for (const fields of [{}, { id: 0 }, { sourceId: 0, token: [2, 9, 9] }, { length: [0x40, 20] }]) {
      const whole = packet(fields);
      for (let length = 0; length < whole.length; length++) {
        expect([length, read(whole.slice(0, length))]).toEqual([length, MALFORMED]);
        expect([length, read(whole, length - whole.length)]).toEqual([length, MALFORMED]);
      }
    }
  });
});

describe("the frames of an Initial packet", () => {
  /** CRYPTO frames as offset, place and length, and the last result. */
  function frames(octets: readonly number[]): (number | number[])[] {
    // Behind the payload frames that none may have, and small numbers.
    const all = Uint8Array.of(...octets, ...new Array<number>(80).fill(8));
    const reader = new InitialFrames();
    reader.begin(all, octets.length);
    const found: (number | number[])[] = [];
    for (let left = 10; left > 0; left--) {
      const result = reader.next();
      if (result !== CRYPTO_FRAME) return [...found, result];
      found.push([reader.offset, reader.dataAt, reader.length]);
    }
    return found;
  }
  const CRYPTO = [6, 0, 1, 0x77];

  it.each<[string, number[], (number | number[])[]]>([
    ["none", [], [NO_MORE_FRAMES]],
    ["PADDING and PING", [0, 0, 1, 0], [NO_MORE_FRAMES]],
    ["CRYPTO", [6, 0x44, 0, 2, 7, 7], [[1024, 4, 2], NO_MORE_FRAMES]],
    ["CRYPTO without octets", [6, 5, 0], [[5, 3, 0], NO_MORE_FRAMES]],
    ["CRYPTO at an offset of four octets", [6, 0x81, 2, 3, 4, 1, 7], [[0x1020304, 6, 1], NO_MORE_FRAMES]],
    ["CRYPTO between PADDING", [0, ...CRYPTO, 1, ...CRYPTO, 0], [[0, 4, 1], [0, 9, 1], NO_MORE_FRAMES]],
    ["ACK", [2, 9, 0x40, 8, 0, 3, ...CRYPTO], [[0, 9, 1], NO_MORE_FRAMES]],
    ["ACK whose first range is 0", [2, 9, 8, 0, 0, ...CRYPTO], [[0, 8, 1], NO_MORE_FRAMES]],
    ["ACK whose ranges are 0", [2, 9, 8, 1, 0, 0, 0, ...CRYPTO], [[0, 10, 1], NO_MORE_FRAMES]],
    ["ACK at the end", [2, 9, 8, 0, 3], [NO_MORE_FRAMES]],
    ["ACK with two ranges", [2, 9, 8, 2, 3, 1, 1, 1, 1, ...CRYPTO], [[0, 12, 1], NO_MORE_FRAMES]],
    ["ACK with ECN", [3, 9, 8, 0, 3, 1, 1, 1, ...CRYPTO], [[0, 11, 1], NO_MORE_FRAMES]],
    ["ACK with a range and ECN", [3, 9, 8, 1, 3, 1, 1, 1, 1, 1, ...CRYPTO], [[0, 13, 1], NO_MORE_FRAMES]],
    ["CONNECTION_CLOSE", [0x1c, 0x41, 0, 6, 3, 9, 9, 9, ...CRYPTO], [[0, 11, 1], NO_MORE_FRAMES]],
    ["CONNECTION_CLOSE for PADDING", [0x1c, 1, 0, 0, ...CRYPTO], [[0, 7, 1], NO_MORE_FRAMES]],
    ["CONNECTION_CLOSE without words", [0x1c, 1, 6, 0, ...CRYPTO], [[0, 7, 1], NO_MORE_FRAMES]],
  ])("are read: %s", (_name, octets, expected) => {
    expect(frames(octets)).toEqual(expected);
  });

  it.each<[string, number[]]>([
    ["CRYPTO that is cut in its offset", [6, 0x40]],
    ["CRYPTO without a length", [6, 0]],
    ["CRYPTO that is cut in its length", [6, 0, 0x40]],
    ["CRYPTO longer than the payload", [6, 0, 2, 7]],
    ["CRYPTO far longer than the payload", [6, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]],
    ["ACK alone", [2]],
    ["ACK without its delay", [2, 9]],
    ["ACK without its count", [2, 9, 8]],
    ["ACK without its first range", [2, 9, 8, 0]],
    ["ACK without its gap", [2, 9, 8, 1, 3]],
    ["ACK without its range", [2, 9, 8, 1, 3, 1]],
    ["ACK of more ranges than octets", [2, 9, 8, 0x7f, 0xff, 3, 1, 1, 1, 1]],
    ["ACK without its ECN", [3, 9, 8, 0, 3]],
    ["ACK without all of its ECN", [3, 9, 8, 0, 3, 1, 1]],
    ["ACK that is cut in the last of its ECN", [3, 9, 8, 0, 3, 1, 1, 0x40]],
    ["CONNECTION_CLOSE alone", [0x1c]],
    ["CONNECTION_CLOSE without a type", [0x1c, 1]],
    ["CONNECTION_CLOSE without a length", [0x1c, 1, 6]],
    ["CONNECTION_CLOSE longer than the payload", [0x1c, 1, 6, 2, 9]],
    ["CONNECTION_CLOSE of an application", [0x1d, 1, 0]],
    ["a stream", [8, 0, 1]],
    ["a new token", [7, 1, 1]],
    ["a reset", [4, 0, 0, 0]],
    ["HANDSHAKE_DONE", [0x1e]],
  ])("are malformed: %s", (_name, octets) => {
    expect(frames(octets)).toEqual([MALFORMED]);
    expect(frames([...CRYPTO, ...octets])).toEqual([[0, 3, 1], MALFORMED]);
  });
});
