/** TCP's options as they are written and read, to the octet. */
import { describe, expect, it } from "vitest";
import * as options from "../../../src/engine/wire/tcp-options.ts";

const AT = 5;

/** What `write` changes, from AT on. Nothing in front may change, nor behind. */
function written(write: (view: DataView) => unknown, octets: number): number[] {
  const all = new Uint8Array(AT + octets + 5).fill(0xee);
  write(new DataView(all.buffer));
  expect([...all.subarray(0, AT), ...all.subarray(AT + octets)]).toEqual(
    new Array<number>(AT + 5).fill(0xee),
  );
  return [...all.subarray(AT, AT + octets)];
}

describe("TCP options", () => {
  it("are written by place", () => {
    expect(written((to) => options.writeTimestamps(to, AT, 0x01020304, 0x05060708), 12)).toEqual([
      ...[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8],
    ]);
    expect(written((to) => options.writeMss(to, AT, 0x05b4), 4)).toEqual([2, 4, 0x05, 0xb4]);
    expect(written((to) => options.writeWindowScale(to, AT, 7), 4)).toEqual([1, 3, 3, 7]);
    expect(written((to) => options.writeSackPermitted(to, AT), 4)).toEqual([1, 1, 4, 2]);
    expect(written((to) => options.writeSackHead(to, AT, 3), 4)).toEqual([1, 1, 5, 26]);
  });

  const parse = (octets: readonly number[], end = octets.length) => {
    // What would be an option stands behind the end.
    const all = Uint8Array.of(...new Array<number>(AT).fill(9), ...octets, 4, 2, 4, 2, 4, 2, 4, 2);
    const found = new options.TcpOptions();
    found.parse(new DataView(all.buffer), AT, AT + end);
    return found;
  };
  const NONE = {
    mss: 0,
    windowShift: -1,
    sackPermitted: false,
    hasTimestamps: false,
    timestampValue: 0,
    timestampEcho: 0,
    sackBlocks: 0,
  };
  /** Of edges whose octets count from 1 on. */
  const word = (at: number): number => ((at + 1) << 24) | ((at + 2) << 16) | ((at + 3) << 8) | (at + 4);
  const edges = (count: number): number[] => Array.from({ length: 8 * count }, (_, i) => i + 1);

  it.each<[string, number[], object]>([
    ["nothing", [], {}],
    ["NOPs", [1, 1, 1, 1], {}],
    ["MSS", [2, 4, 5, 0xb4], { mss: 1460 }],
    ["MSS of another length", [2, 3, 5, 4, 2], { sackPermitted: true }],
    ["a window shift", [3, 3, 7], { windowShift: 7 }],
    ["a window shift of 14", [3, 3, 14], { windowShift: 14 }],
    ["a window shift of 15", [3, 3, 15], { windowShift: 14 }],
    ["a window shift of another length", [3, 4, 7, 7], {}],
    ["SACK permitted", [4, 2], { sackPermitted: true }],
    ["SACK permitted of another length", [4, 3, 0], {}],
    [
      "timestamps",
      [8, 10, 1, 2, 3, 4, 5, 6, 7, 8],
      { hasTimestamps: true, timestampValue: 0x01020304, timestampEcho: 0x05060708 },
    ],
    [
      "timestamps the short way",
      [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8],
      { hasTimestamps: true, timestampValue: 0x01020304, timestampEcho: 0x05060708 },
    ],
    ["timestamps of another length", [8, 9, 1, 2, 3, 4, 5, 6, 7], {}],
    ["SACK without a block", [5, 2], {}],
    ["SACK of half a block", [5, 6, 1, 2, 3, 4], {}],
    ["options behind the end of options", [4, 2, 0, 2, 4, 5, 0xb4], { sackPermitted: true }],
    ["options behind one nobody knows", [200, 4, 4, 2, 4, 2], { sackPermitted: true }],
    ["options behind what would be an option without the end", [0, 2, 4, 2], {}],
    [
      "twelve octets that are no timestamps",
      [2, 4, 5, 0xb4, 1, 1, 1, 1, 1, 1, 4, 2],
      { mss: 1460, sackPermitted: true },
    ],
    ["what is as long as SACK", [200, 10, ...edges(1)], {}],
    ["SACK of a block and a bit", [5, 12, ...edges(1), 0, 0], {}],
    ["an option of length 0", [4, 2, 2, 0, 5, 0xb4], { sackPermitted: true }],
    ["an option of length 1", [200, 1, 4, 2], {}],
    ["an option over the end", [2, 4, 5], {}],
    ["an option that is its kind alone", [4, 2, 4], { sackPermitted: true }],
  ])("are read: %s", (_name, octets, found) => {
    expect(parse(octets)).toMatchObject({ ...NONE, ...found });
  });

  it("are read up to four SACK blocks", () => {
    for (let count = 1; count <= 4; count++) {
      const { sackBlocks, sackEdges } = parse([5, 2 + 8 * count, ...edges(count)]);
      const expected = Array.from({ length: 2 * count }, (_, i) => word(4 * i));
      expect([sackBlocks, ...sackEdges]).toEqual([count, ...expected, ...new Array(8 - 2 * count).fill(0)]);
    }
    expect(parse([5, 2 + 8 * 5, ...edges(5)]).sackBlocks).toBe(4);
  });

  it("are read up to their end, at whatever place", () => {
    const found = new options.TcpOptions();
    for (let at = 0; at < 8; at++) {
      const view = new DataView(new ArrayBuffer(24));
      options.writeTimestamps(view, at, 1, 2);
      for (let octets = 0; octets < 12; octets++) {
        found.parse(view, at, at + octets);
        expect([at, octets, found.hasTimestamps]).toEqual([at, octets, false]);
      }
      found.parse(view, at, at + 12);
      expect(found.hasTimestamps).toBe(true);
    }
  });

  it("are forgotten with the next segment", () => {
    const found = new options.TcpOptions();
    const view = (...octets: number[]) => new DataView(Uint8Array.from(octets).buffer);
    found.parse(view(2, 4, 5, 0xb4, 3, 3, 7, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0), 0, 19);
    found.parse(view(5, 10, ...edges(1)), 0, 10);
    expect(found).toMatchObject({ ...NONE, sackBlocks: 1 });
    found.parse(view(1), 0, 1);
    expect(found).toMatchObject(NONE);
  });
});
