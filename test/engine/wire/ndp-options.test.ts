/** Neighbour Discovery's messages and options as they are written, to the octet. */
import { describe, expect, it } from "vitest";
import * as ndp from "../../../src/engine/wire/ndp.ts";
import { ip6, octets6 } from "../../support/frames6.ts";

const AT = 5;

/** What `write` makes of octets that are all 0xee; it returns where that ends. Nothing else may change. */
function written(write: (view: DataView) => number): number[] {
  const all = new Uint8Array(200).fill(0xee);
  const end = write(new DataView(all.buffer));
  expect(all.filter((octet, i) => octet !== 0xee && (i < AT || i >= end))).toHaveLength(0);
  return [...all.subarray(AT, end)];
}

const WORDS = Int32Array.of(9, ...ip6("2001:db8:1:2:3:4:5:6"));
const OCTETS = octets6("2001:db8:1:2:3:4:5:6");

describe("messages", () => {
  it("of neighbours have flags and a target", () => {
    const flags = ndp.FROM_ROUTER | ndp.SOLICITED | ndp.OVERRIDE;
    expect(written((view) => ndp.writeNeighbourMessage(view, AT, 136, flags, WORDS, 1))).toEqual([
      ...[136, 0, 0, 0, 0xe0, 0, 0, 0],
      ...OCTETS,
    ]);
    const view = new DataView(Uint8Array.of(9, 0, 0, 0, 0, 0xe0, 0, 0, 1).buffer);
    expect(ndp.flags(view, 1)).toBe(0xe0000001 | 0);
  });

  it("of routers have a hop limit, flags and a lifetime", () => {
    expect(written((view) => ndp.writeRouterAdvertisement(view, AT, 64, ndp.MANAGED, 0x0102))).toEqual([
      ...[134, 0, 0, 0, 64, 0x80, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0],
    ]);
  });
});

describe("options", () => {
  it.each<[string, (view: DataView) => number, number[]]>([
    [
      "a link-layer address",
      (view) => ndp.writeLinkLayer(view, AT, ndp.TARGET_LINK_LAYER, 0x5254, 0x81123456),
      [2, 1, 0x52, 0x54, 0x81, 0x12, 0x34, 0x56],
    ],
    ["an MTU", (view) => ndp.writeMtu(view, AT, 65_535), [5, 1, 0, 0, 0, 0, 0xff, 0xff]],
    [
      "a prefix of 64 bits, zero behind them",
      (view) =>
        ndp.writePrefix(view, AT, ndp.ON_LINK | ndp.AUTONOMOUS, 0xffffffff, 0x01020304, WORDS.subarray(1)),
      [
        ...[3, 4, 64, 0xc0, 255, 255, 255, 255, 1, 2, 3, 4, 0, 0, 0, 0],
        ...[...OCTETS.slice(0, 8), 0, 0, 0, 0, 0, 0, 0, 0],
      ],
    ],
    [
      "a resolver",
      (view) => ndp.writeRdnss(view, AT, 0xfffffffe, WORDS.subarray(1)),
      [25, 3, 0, 0, 255, 255, 255, 254, ...OCTETS],
    ],
  ])("%s", (_name, write, octets) => {
    expect(written(write)).toEqual(octets);
  });

  it.each([0, 1, 7, 8, 9, 15, 16, 17])("a search list of %i octets, padded with zeros", (length) => {
    const names = Uint8Array.from({ length }, (_, i) => i + 1);
    const padding = new Array<number>((8 - (length % 8)) % 8).fill(0);
    const octets = 8 + length + padding.length;
    expect(ndp.dnsslOctets(length)).toBe(octets);
    expect(written((view) => ndp.writeDnssl(view, AT, 0x81020304, names))).toEqual([
      ...[31, octets / 8, 0, 0, 0x81, 2, 3, 4],
      ...[...names, ...padding],
    ]);
  });

  it.each([
    [1800, 96, 225 << 3],
    [1801, 64, (226 << 3) | 1],
    [1, 56, (1 << 3) | 2],
    [0, 48, 3],
    [65_528, 40, (0x1fff << 3) | 4],
    [65_529, 32, (0x1fff << 3) | 5],
    [1_000_000, 96, 0x1fff << 3],
  ])("NAT64's prefix for %i s, of %i bits", (lifetime, length, scaled) => {
    expect(written((view) => ndp.writePref64(view, AT, lifetime, WORDS.subarray(1), length))).toEqual([
      ...[38, 2, scaled >> 8, scaled & 255],
      ...OCTETS.slice(0, 12),
    ]);
  });
});

describe("solicited-node addresses", () => {
  const text = "ff02::1:ff05:6";

  it("are made of the last three octets", () => {
    expect(ndp.solicitedNodeWord3(WORDS[4])).toBe(ip6(text)[3]);
    expect(ndp.solicitedNodeWord3(-1)).toBe(-1);
    expect(
      written((view) => {
        ndp.writeSolicitedNode(view, AT, WORDS, 1);
        return AT + 16;
      }),
    ).toEqual(octets6(text));
  });

  it("are known by their first thirteen octets", () => {
    const of = (octets: readonly number[]) =>
      ndp.isSolicitedNode(new DataView(Uint8Array.of(9, ...octets).buffer), 1);
    const octets = octets6(text);
    expect(of(octets)).toBe(true);
    for (let at = 0; at < 16; at++)
      expect([at, of(octets.with(at, octets[at] ^ 0x10))]).toEqual([at, at > 12]);
  });
});
