/** The two ends of a flow, taken from packets and lists of addresses, compared and handed on. */
import { describe, expect, it } from "vitest";
import { copyGuest, copyRemote, Path } from "../../../src/engine/transport/path.ts";
import { ip } from "../../support/frames.ts";
import { ip6 } from "../../support/frames6.ts";

const GUEST = ip6("2001:db8:1:2:3:4:5:6");
const REMOTE = ip6("2001:db8:a:b:c:d:e:f");
const OTHER = ip6("fd00:1:2:3:4:5:6:7");
const PORT = 50_002;

/** Ends over IPv6, whose words are not the first ones of their list. */
function ends6(): Path {
  const path = new Path(Int32Array.of(9, 9, 9, 9, ...GUEST, ...REMOTE, 8));
  path.pairAt = 4;
  path.ipOctets = 40;
  path.guestAddress = ip("10.0.2.15");
  path.guestPort = 40_001;
  path.remoteAddress = ip("192.0.2.1");
  path.remotePort = PORT;
  return path;
}

function ends4(): Path {
  const path = new Path();
  path.guestAddress = ip("10.0.2.15");
  path.guestPort = 40_001;
  path.remoteAddress = ip("192.0.2.1");
  path.remotePort = PORT;
  return path;
}

const targetOf = (path: Path): number[] => {
  const words = new Int32Array(5).fill(9);
  path.copyTarget(words);
  return [...words];
};

const numbersOf = ({ ipOctets, guestAddress, guestPort, remoteAddress, remotePort }: Path): number[] => [
  ...[ipOctets, guestAddress, guestPort, remoteAddress, remotePort],
];

describe("the ends of a path", () => {
  it("are none over IPv4 at first", () => {
    const path = new Path();
    expect([...numbersOf(path), path.pairAt, path.flowLabel]).toEqual([20, 0, 0, 0, 0, 0, 0]);
    expect([path.pair.length, targetOf(path)]).toEqual([8, [0, 0, 0, 0, 0]]);
  });

  it("are copied with their addresses of IPv6, or name those that the flow table keeps", () => {
    const [from, copy, kept] = [ends6(), new Path(new Int32Array(8)), new Path()];
    copy.copyEnds(from);
    expect([numbersOf(copy), copy.pairAt]).toEqual([numbersOf(from), 0]);
    expect([...copy.pair]).toEqual([...GUEST, ...REMOTE]);
    const list = new Path(new Int32Array(9));
    list.copyEnds(from);
    expect([...list.pair]).toEqual([...GUEST, ...REMOTE, 0]);
    const words = new Int32Array(80);
    kept.setEnds(from, words, 7);
    expect([numbersOf(kept), kept.pairAt, kept.pair]).toEqual([numbersOf(from), 56, words]);
  });

  it.each([0, 1, 2, 3])("are another guest's over IPv6 when word %i differs", (word) => {
    const list = Int32Array.of(9, 9, ...GUEST);
    expect(ends6().isGuest6(list, 2)).toBe(true);
    list[2 + word] ^= 1;
    expect(ends6().isGuest6(list, 2)).toBe(false);
  });

  it("over IPv4 are no guest's of IPv6", () => {
    const path = ends6();
    path.ipOctets = 20;
    expect(path.isGuest6(Int32Array.from(GUEST), 0)).toBe(false);
  });

  it("are put into four words, IPv4 as v4-mapped, and no more", () => {
    const words = new Int32Array(5).fill(9);
    copyGuest(ends6(), words);
    expect([...words]).toEqual([...GUEST, 9]);
    copyRemote(ends6(), words);
    expect([...words]).toEqual([...REMOTE, 9]);
    copyGuest(ends4(), words);
    expect([...words]).toEqual([0, 0, 0xffff, ip("10.0.2.15"), 9]);
    words.fill(9);
    copyRemote(ends4(), words);
    expect([...words]).toEqual([0, 0, 0xffff, ip("192.0.2.1"), 9]);
  });
});

describe("the target of a path", () => {
  it("is taken from a list of addresses, and from another path", () => {
    const path = new Path();
    const list = Int32Array.of(...GUEST, 1, ...REMOTE, 2, ...OTHER, 3);
    path.setTarget(list);
    expect(targetOf(path)).toEqual([...GUEST, 1]);
    path.setTarget(list, 2);
    expect(targetOf(path)).toEqual([...OTHER, 3]);
    const other = new Path();
    other.setTargetOf(path);
    expect(targetOf(other)).toEqual([...OTHER, 3]);
  });

  it("is the remote as the guest sees it, of either family", () => {
    const path = new Path();
    path.setTargetRemote(ends6());
    expect(targetOf(path)).toEqual([...REMOTE, PORT]);
    path.setTargetRemote(ends4());
    expect(targetOf(path)).toEqual([0, 0, 0xffff, ip("192.0.2.1"), PORT]);
  });

  it.each([0, 1, 2, 3, 4])("is another one when word %i differs, of which the last is the port", (word) => {
    const [one, two] = [new Path(), new Path()];
    const list = Int32Array.of(...OTHER, 3);
    one.setTarget(list);
    two.setTarget(list);
    expect(one.isSameTarget(two)).toBe(true);
    list[word] ^= 1;
    two.setTarget(list);
    expect(one.isSameTarget(two)).toBe(false);
  });
});
