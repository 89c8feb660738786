/** Captures whose lengths just fit, or just do not. */
import { describe, expect, it } from "vitest";
import { CaptureFormatError, readCapture } from "../../../src/engine/wire/pcap.ts";

const u16 = (value: number): number[] => [value & 255, value >> 8];
const u32 = (value: number): number[] => [...u16(value & 0xffff), ...u16(value >>> 16)];
const zeros = (count: number): number[] => new Array<number>(count).fill(0);

/** A block whose length says what it has, or something else. */
function block(type: number, body: readonly number[], length = body.length + 12): number[] {
  return [...u32(type), ...u32(length), ...body, ...u32(length)];
}
const SECTION = block(0x0a0d0d0a, [...u32(0x1a2b3c4d), 1, 0, 0, 0, ...u32(0xffffffff), ...u32(0xffffffff)]);
const iface = (linkType = 1, snaplen = 0, options: readonly number[] = []): number[] =>
  block(1, [...u16(linkType), 0, 0, ...u32(snaplen), ...options]);
const option = (code: number, length: number, octets: readonly number[]): number[] => [
  ...u16(code),
  ...u16(length),
  ...octets,
];
/** An enhanced packet at 1,000,000 ticks. */
const packet = (octets: readonly number[], captured = octets.length, index = 0): number[] =>
  block(6, [...u32(index), ...u32(0), ...u32(1_000_000), ...u32(captured), ...u32(99), ...octets]);
const A = [1, 2, 3, 4];
const B = [5, 6, 7, 8];

/** Time, link type, original length and octets of each packet. Octets around the file are not it. */
function read(...parts: readonly (readonly number[])[]) {
  const octets = parts.flat();
  const all = Uint8Array.of(7, 7, 7, ...octets, ...packet([9, 9, 9, 9]));
  return [...readCapture(all.subarray(3, 3 + octets.length))].map((found) => [
    found.time,
    found.linkType,
    found.originalLength,
    ...found.octets,
  ]);
}
const FOUND_A = [1, 1, 99, ...A];
const FOUND_B = [1, 1, 99, ...B];

describe("what is no capture", () => {
  it.each([0, 1, 3])("has %i octets", (octets) => {
    expect(() => read(zeros(octets))).toThrow(
      new CaptureFormatError(`a capture starts with a magic number; found ${octets} octets`),
    );
  });

  it.each([
    [[0, 0, 0, 1], "0x00000001"],
    [[0xa1, 0xb2, 0xc3, 0xd5], "0xa1b2c3d5"],
    [[0xd5, 0xc3, 0xb2, 0xa1], "0xd5c3b2a1"],
  ])("begins with %j", (octets, magic) => {
    expect(() => read([...octets, ...zeros(60)])).toThrow(`neither pcap nor pcapng: magic number ${magic}`);
  });

  it.each([4, 23])("is a file header of %i octets", (octets) => {
    expect(() => read([...u32(0xa1b2c3d4), ...zeros(20)].slice(0, octets))).toThrow(
      "pcap file header is cut short",
    );
  });

  it("is a section without a byte order, wherever it stands", () => {
    const broken = SECTION.with(8, 0);
    expect(() => read(broken)).toThrow("pcapng section at octet 0 has no byte order magic");
    expect(() => read(SECTION, broken)).toThrow(`pcapng section at octet ${SECTION.length} has no`);
  });
});

describe("classic pcap", () => {
  const HEAD = [...u32(0xa1b2c3d4), ...zeros(16), ...u32(0xabcd0101)];
  const one = (captured: number, octets: readonly number[]): number[] => [
    ...[...u32(2), ...u32(500_000), ...u32(captured), ...u32(60), ...octets],
  ];

  it("ends with its last whole packet, and with a head of one", () => {
    const found = [2.5, 0x0101, 60, ...A];
    expect(read(HEAD)).toEqual([]);
    expect(read(HEAD, one(4, A))).toEqual([found]);
    expect(read(HEAD, one(0, []))).toEqual([[2.5, 0x0101, 60]]);
    expect(read(HEAD, one(0, []), one(4, A))).toEqual([[2.5, 0x0101, 60], found]);
    expect(read(HEAD, one(4, A), one(5, A))).toEqual([found]);
    expect(read(HEAD, one(4, A), one(0, []).slice(0, 15))).toEqual([found]);
    expect(read(HEAD, one(0xffffffff, A))).toEqual([]);
  });
});

describe("pcapng: blocks", () => {
  it("are read up to one that does not fit, or whose length no block has", () => {
    expect(read(SECTION, iface(), packet(A), packet(B))).toEqual([FOUND_A, FOUND_B]);
    // Of no use, but blocks: one without a body, and one of a type nobody knows.
    expect(read(SECTION, iface(), block(77, zeros(24)), packet(B))).toEqual([FOUND_B]);
    expect(read(SECTION, iface(), block(77, []), packet(A), block(0, [1, 2, 3, 4]), packet(B))).toEqual([
      FOUND_A,
      FOUND_B,
    ]);
    for (const length of [0, 4, 8, 11, 13, 14, 15])
      expect(read(SECTION, iface(), packet(A), block(77, zeros(8), length), packet(B))).toEqual([FOUND_A]);
    expect(read(SECTION, iface(), packet(A), block(77, zeros(8), 24))).toEqual([FOUND_A]);
    // As long as it says, which is no multiple of 4.
    expect(read(SECTION, iface(), packet(A), block(77, [9]), packet(B))).toEqual([FOUND_A]);
    expect(read(SECTION, iface(), packet(A), packet(B).slice(0, -1))).toEqual([FOUND_A]);
    expect(read(SECTION, iface(), packet(A), zeros(11))).toEqual([FOUND_A]);
  });

  it("of a packet hold what they say", () => {
    expect(read(SECTION, iface(), packet(A, 3), packet(B))).toEqual([[1, 1, 99, 1, 2, 3], FOUND_B]);
    expect(read(SECTION, iface(), packet([], 0), packet(B))).toEqual([[1, 1, 99], FOUND_B]);
    expect(read(SECTION, iface(), packet(A, 5), packet(B))).toEqual([FOUND_B]);
    expect(read(SECTION, iface(), block(6, zeros(16)), packet(B))).toEqual([FOUND_B]);
    expect(read(SECTION, iface(), packet(A), block(6, []))).toEqual([FOUND_A]);
    expect(read(SECTION, packet(A), iface(), packet(A, 4, 1), packet(B))).toEqual([FOUND_B]);
  });

  it("of a packet as they were once have an interface of two octets", () => {
    const old = block(2, [...u16(1), 7, 7, ...u32(0), ...u32(3_000_000), ...u32(4), ...u32(50), ...A]);
    expect(read(SECTION, iface(), iface(113), old, packet(B))).toEqual([[3, 113, 50, ...A], FOUND_B]);
    expect(read(SECTION, iface(), old, packet(B))).toEqual([FOUND_B]);
  });

  it("of a simple packet end with the block, the interface's limit or the packet", () => {
    const simple = (original: number, octets: readonly number[]) => block(3, [...u32(original), ...octets]);
    expect(read(SECTION, iface(113, 0), simple(3, A), packet(B))[0]).toEqual([0, 113, 3, 1, 2, 3]);
    expect(read(SECTION, iface(113, 0), simple(9, A), packet(B))[0]).toEqual([0, 113, 9, ...A]);
    expect(read(SECTION, iface(113, 2), simple(9, A), packet(B))[0]).toEqual([0, 113, 9, 1, 2]);
    expect(read(SECTION, iface(), simple(0, []), packet(B))).toEqual([[0, 1, 0], FOUND_B]);
    expect(read(SECTION, iface(), block(3, []), packet(B))).toEqual([FOUND_B]);
    expect(read(SECTION, simple(4, A), iface(), packet(B))).toEqual([FOUND_B]);
  });

  it("of an interface that are too short end the file", () => {
    expect(read(SECTION, block(1, zeros(4)), iface(), packet(B), packet(B, 4, 1))).toEqual([]);
    expect(read(SECTION, block(1, [1, 0, 0, 0, 0, 0, 0, 0]), packet(B))).toEqual([FOUND_B]);
  });
});

describe("pcapng: the clock of an interface", () => {
  const time = (...options: readonly (readonly number[])[]) =>
    read(SECTION, iface(1, 0, options.flat()), packet(A))[0]?.[0];
  const MILLISECONDS = option(9, 1, [3, 0, 0, 0]);

  it.each<[string, number[][], number]>([
    ["is microseconds where nothing is said", [], 1],
    ["is a power of ten", [MILLISECONDS], 1000],
    ["is a power of two", [option(9, 1, [0x80 | 4, 0, 0, 0])], 62_500],
    ["is a whole second", [option(9, 1, [0, 0, 0, 0])], 1_000_000],
    ["is in the first octet of a longer option", [option(9, 4, [3, 9, 9, 9])], 1000],
    ["stands behind other options", [option(2, 3, [65, 65, 65, 0]), option(2, 4, A), MILLISECONDS], 1000],
    ["stands behind an empty option", [option(2, 0, []), MILLISECONDS], 1000],
    ["does not stand behind the end of options", [option(0, 0, []), MILLISECONDS], 1],
    ["does not stand behind an option over the end", [option(2, 99, A), MILLISECONDS], 1],
    ["does not stand in an option without octets", [option(9, 0, []), option(2, 0, [])], 1],
    ["is of the last of two", [MILLISECONDS, option(9, 1, [0, 0, 0, 0])], 1_000_000],
    [
      "is of an option of which the block holds no padding",
      [option(2, 4, A), [9, 0, 1, 0], [0, 0, 0, 0]],
      1_000_000,
    ],
    ["is not of half an option", [[9, 0, 1, 0]], 1],
  ])("%s", (_name, options, seconds) => {
    expect(time(...options)).toBe(seconds);
  });
});
