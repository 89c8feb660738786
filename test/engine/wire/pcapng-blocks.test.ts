/** The blocks of pcapng as they are written (draft-ietf-opsawg-pcapng), to the octet. */
import { describe, expect, it } from "vitest";
import * as pcap from "../../../src/engine/wire/pcap.ts";
import * as pcapng from "../../../src/engine/wire/pcapng.ts";
import { ip6 } from "../../support/frames6.ts";

const AT = 4;

/** What `write` makes of octets that are all 0xee; nothing in front of AT or behind what is expected may change. */
function written(octets: number, write: (view: DataView) => unknown): number[] {
  const all = new Uint8Array(AT + octets + 4).fill(0xee);
  const returned = write(new DataView(all.buffer));
  if (returned !== undefined) expect(returned).toBe(octets);
  expect([...all.subarray(0, AT), ...all.subarray(AT + octets)]).toEqual(new Array<number>(8).fill(0xee));
  return [...all.subarray(AT, AT + octets)];
}

const u16 = (value: number): number[] => [value & 255, value >> 8];
const u32 = (value: number): number[] => [...u16(value & 0xffff), ...u16(value >>> 16)];
const text = (value: string): number[] => [
  ...Buffer.from(value),
  ...new Array<number>((4 - (value.length % 4)) % 4).fill(0),
];
const option = (code: number, value: string): number[] => [
  ...u16(code),
  ...u16(value.length),
  ...text(value),
];
const END = [0, 0, 0, 0];
function block(type: number, body: readonly number[]): number[] {
  const octets = u32(body.length + 12);
  return [...u32(type), ...octets, ...body, ...octets];
}

describe("a file's head", () => {
  it.each([
    ["sluice", "tap tap0"],
    ["s", ""],
    ["slui", "abc"],
  ])("is a section and an interface (%s, %s)", (application, link) => {
    const expected = [
      ...block(0x0a0d0d0a, [
        ...[...u32(0x1a2b3c4d), 1, 0, 0, 0, ...u32(0xffffffff), ...u32(0xffffffff)],
        ...[...option(4, application), ...END],
      ]),
      ...block(1, [1, 0, 0, 0, ...u32(0x12345678), ...option(2, link), ...END]),
    ];
    expect(
      written(expected.length, (view) => pcapng.writeFileHead(view, AT, application, link, 0x12345678)),
    ).toEqual(expected);
  });
});

describe("a packet's block", () => {
  // 2^32 microseconds and a few.
  const TIME = 5 * 2 ** 32 + 0x01020304;

  it.each([
    [0, ""],
    [1, "c"],
    [2, "cc"],
    [3, "ccc"],
    [4, "cccc"],
    [5, "ccccc"],
  ])("of %i octets, with the comment %j", (captured, comment) => {
    const octets = new Array<number>(captured).fill(0xee);
    const padding = new Array<number>((4 - (captured % 4)) % 4).fill(0);
    const expected = block(6, [
      ...[...u32(0), ...u32(5), ...u32(0x01020304), ...u32(captured), ...u32(1514)],
      ...[...octets, ...padding],
      ...[...u16(2), ...u16(4), ...u32(pcapng.TO_GUEST)],
      ...(comment === "" ? [] : option(1, comment)),
      ...END,
    ]);
    expect(pcapng.packetBlockOctets(captured, comment.length)).toBe(expected.length);
    expect(
      written(expected.length, (view) =>
        pcapng.writePacketBlock(view, AT, TIME, captured, 1514, pcapng.TO_GUEST, comment),
      ),
    ).toEqual(expected);
    expect(pcapng.PACKET_OCTETS_AT).toBe(28);
  });

  it("has ASCII alone in its comment", () => {
    const octets = written(pcapng.packetBlockOctets(0, 2), (view) =>
      pcapng.writePacketBlock(view, AT, 0, 0, 0, pcapng.FROM_GUEST, "\u00e1\u00ff"),
    );
    expect(octets.slice(40, 44)).toEqual([0x61, 0x7f, 0, 0]);
  });
});

describe("a name's block", () => {
  it.each(["", "n", "nn", "nnn", "nnnn", "www.example.org"])("is of either family: %j", (name) => {
    const end = [...Buffer.from(name), 0];
    for (const [isIpv4, words, address] of [
      [true, [0, 0, 0xffff, 0x0a00020f], [10, 0, 2, 15]],
      [false, ip6("2001:db8::7"), [0x20, 1, 0xd, 0xb8, ...new Array<number>(11).fill(0), 7]],
    ] as const) {
      const value = [...address, ...end];
      const padding = new Array<number>((4 - (value.length % 4)) % 4).fill(0);
      const expected = block(4, [...u16(isIpv4 ? 1 : 2), ...u16(value.length), ...value, ...padding, ...END]);
      expect(written(expected.length, (view) => pcapng.writeName(view, AT, words, isIpv4, name))).toEqual(
        expected,
      );
    }
  });

  it("has ASCII alone", () => {
    const octets = written(28, (view) =>
      pcapng.writeName(view, AT, [0, 0, 0xffff, 1], true, "\u00e1\u00ff\u0080"),
    );
    expect(octets.slice(16, 20)).toEqual([0x61, 0x7f, 0, 0]);
  });
});

it("a file's end says how many packets there were, and how many are not in it", () => {
  const u64 = (value: number): number[] => [...u32(value % 2 ** 32), ...u32(Math.floor(value / 2 ** 32))];
  const expected = block(5, [
    ...[...u32(0), ...u32(3), ...u32(7)],
    ...[...u16(4), ...u16(8), ...u64(2 ** 33 + 5)],
    ...[...u16(5), ...u16(8), ...u64(9)],
    ...END,
  ]);
  expect(pcapng.STATISTICS_OCTETS).toBe(expected.length);
  expect(
    written(expected.length, (view) => pcapng.writeStatistics(view, AT, 3 * 2 ** 32 + 7, 2 ** 33 + 5, 9)),
  ).toEqual(expected);
});

describe("classic pcap", () => {
  it("is written little-endian, with microseconds", () => {
    expect(written(24, (view) => pcap.writePcapFileHeader(view, AT))).toEqual([
      ...u32(0xa1b2c3d4),
      ...[...u16(2), ...u16(4), ...u32(0), ...u32(0), ...u32(262_144), ...u32(1)],
    ]);
    const header = written(16, (view) => pcap.writePcapPacketHeader(view, AT, 0x81020304, 999_999, 1514));
    expect(header).toEqual([...u32(0x81020304), ...u32(999_999), ...u32(1514), ...u32(1514)]);
    expect(pcap.pcapPacketLength(new DataView(Uint8Array.of(9, ...header).buffer), 1)).toBe(1514);
  });
});
