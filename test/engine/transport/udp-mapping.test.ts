/** What a mapping remembers of the remotes its guest sent to, and how much all of them together may. */
import { describe, expect, it } from "vitest";
import { UDP_PEERS_PER_MAPPING_MAX } from "../../../src/engine/limits.ts";
import { Path } from "../../../src/engine/transport/path.ts";
import { PeerRoom, UdpMapping } from "../../../src/engine/transport/udp/mapping.ts";
import { ip } from "../../support/frames.ts";
import { ip6 } from "../../support/frames6.ts";

/** Remembers the first `count` addresses; how many of them are known afterwards. */
function fill(mapping: UdpMapping, count: number): number {
  for (let address = 1; address <= count; address++) mapping.remember(address, 9);
  return Array.from({ length: count }, (_, i) => mapping.knows(i + 1, 9)).filter(Boolean).length;
}

describe("a mapping's remotes", () => {
  it("are remembered up to a bound, then the oldest gives way", () => {
    const mapping = new UdpMapping(1, new PeerRoom(1_000_000));
    expect(fill(mapping, UDP_PEERS_PER_MAPPING_MAX + 10)).toBe(UDP_PEERS_PER_MAPPING_MAX);
    expect(mapping.knows(10, 9)).toBe(false);
    expect(mapping.knows(11, 9)).toBe(true);
  });

  it("take no more room than all mappings together may, and give it back", () => {
    const room = new PeerRoom(100);
    const [one, two] = [new UdpMapping(1, room), new UdpMapping(2, room)];
    // 4 of its own, and 4 + 8 + 16 + 32 of the hundred: 64 more are not left.
    expect(fill(one, 1000)).toBe(64);
    expect(room.left).toBe(40);
    expect(fill(two, 1000)).toBe(32);
    expect(room.left).toBe(12);
    one.reset();
    expect(room.left).toBe(72);
    two.reset();
    expect(room.left).toBe(100);
    expect(fill(two, 1000)).toBe(64);
    expect(room.left).toBe(40);
  });
});

const ROOM = 1_000_000;
const ONE = ip("192.0.2.1");
const TWO = ip("192.0.2.2");
const ONE6 = Int32Array.of(9, ...ip6("2001:db8:1:2:3:4:5:6"));
const OTHER6 = Int32Array.of(9, ...ip6("2001:db8:9:9:9:9:9:9"));

/** Ends over IPv6; of IPv4 otherwise. */
function ends(isIpv6 = false): Path {
  const path = new Path();
  if (isIpv6) path.ipOctets = 40;
  path.guestAddress = ip("10.0.2.15");
  path.guestPort = 4000;
  path.remoteAddress = ONE;
  path.remotePort = 80;
  return path;
}

function begun(isIpv6 = false, room = new PeerRoom(ROOM)): UdpMapping {
  const mapping = new UdpMapping(3, room);
  mapping.begin(ends(isIpv6), new Int32Array(80));
  return mapping;
}

describe("a remote of IPv4", () => {
  it("is known by its address and port, or by its address alone", () => {
    const mapping = begun();
    expect([mapping.knows(0, 0), mapping.knows(0, -1), mapping.knows(ONE, -1)]).toEqual([
      false,
      false,
      false,
    ]);
    mapping.remember(ONE, 80);
    mapping.remember(TWO, 90);
    for (const [address, port, other] of [
      [ONE, 80, 90],
      [TWO, 90, 80],
    ] as const) {
      expect(mapping.knows(address, port)).toBe(true);
      expect(mapping.knows(address, -1)).toBe(true);
      expect(mapping.knows(address, other)).toBe(false);
      expect(mapping.knows(address, 0)).toBe(false);
    }
    expect(mapping.knows(ip("192.0.2.3"), -1)).toBe(false);
  });

  it("at port 0 counts as any other", () => {
    const mapping = begun();
    expect(mapping.remember(ONE, 0)).toBe(true);
    expect([mapping.knows(ONE, 0), mapping.knows(ONE, -1), mapping.knows(ONE, 1)]).toEqual([
      true,
      true,
      false,
    ]);
  });

  it("is new once, and takes one place", () => {
    const mapping = begun();
    const told = [ONE, ONE, TWO, ONE, TWO, TWO].map((address) => mapping.remember(address, 80));
    expect(told).toEqual([true, false, true, false, false, false]);
    expect([mapping.remember(TWO, 81), mapping.remember(TWO, 80)]).toEqual([true, false]);
    expect(mapping.retain(() => true)).toBe(3);
  });

  it("that the guest sent to last is told, and its name where it was asked for by one", () => {
    const mapping = begun();
    expect([mapping.recentAddress, mapping.recentPort, mapping.nameOf(ONE)]).toEqual([0, 0, 0]);
    mapping.remember(ONE, 80);
    mapping.remember(TWO, 90);
    mapping.askedAddress = ip("10.0.2.2");
    expect([mapping.recentAddress, mapping.recentPort]).toEqual([TWO, 90]);
    expect([mapping.nameOf(TWO), mapping.nameOf(ONE)]).toEqual([ip("10.0.2.2"), 0]);
    mapping.remember(ONE, 80);
    expect([mapping.recentAddress, mapping.recentPort]).toEqual([ONE, 80]);
  });
});

describe("a remote of IPv6", () => {
  it("is known by all of its address and its port, or by its address alone", () => {
    const mapping = begun(true);
    expect([mapping.knows6(new Int32Array(4), 0, -1), mapping.knows6(ONE6, 1, -1)]).toEqual([false, false]);
    mapping.remember6(OTHER6, 1, 79);
    mapping.remember6(ONE6, 1, 80);
    mapping.remember6(OTHER6, 1, 79);
    expect([mapping.knows6(ONE6, 1, 80), mapping.knows6(ONE6, 1, -1)]).toEqual([true, true]);
    expect([mapping.knows6(ONE6, 1, 79), mapping.knows6(ONE6, 1, 0)]).toEqual([false, false]);
    for (let word = 1; word <= 4; word++) {
      const near = ONE6.slice();
      near[word] ^= 1;
      expect(mapping.knows6(near, 1, 80)).toBe(false);
      expect(mapping.knows6(near, 1, -1)).toBe(false);
    }
  });

  it("is new once, and takes one place", () => {
    const mapping = begun(true);
    const remember = (list: Int32Array, port = 80): boolean => mapping.remember6(list, 1, port);
    expect([remember(ONE6), remember(ONE6), remember(OTHER6), remember(ONE6), remember(OTHER6)]).toEqual([
      ...[true, false, true, false, false],
    ]);
    expect([remember(OTHER6, 81), remember(ONE6, 81)]).toEqual([true, true]);
    expect(mapping.retain(() => true)).toBe(4);
  });

  it("that the guest sent to last is told", () => {
    const mapping = begun(true);
    const recent = (): number[] => {
      const words = new Int32Array(5).fill(7);
      mapping.copyRecent6(words);
      return [...words, mapping.recentPort];
    };
    expect(recent()).toEqual([0, 0, 0, 0, 7, 0]);
    mapping.remember6(ONE6, 1, 80);
    expect(recent()).toEqual([...ONE6.subarray(1), 7, 80]);
    mapping.remember6(OTHER6, 1, 90);
    expect(recent()).toEqual([...OTHER6.subarray(1), 7, 90]);
    mapping.remember6(ONE6, 1, 80);
    expect(recent()).toEqual([...ONE6.subarray(1), 7, 80]);
  });

  it("is remembered with many others, each by its place", () => {
    const room = new PeerRoom(12);
    const mapping = begun(true, room);
    const list = (i: number): Int32Array => Int32Array.of(i, i + 1000, i + 2000, i + 3000);
    for (let i = 1; i <= 20; i++) expect(mapping.remember6(list(i), 0, i)).toBe(true);
    expect(room.left).toBe(0);
    const known = Array.from({ length: 20 }, (_, i) => i + 1).filter((i) => mapping.knows6(list(i), 0, i));
    // Four of its own and the twelve there are; of twenty the first four have given way.
    expect(known).toEqual(Array.from({ length: 16 }, (_, i) => i + 5));
    mapping.reset();
    expect(room.left).toBe(12);
  });
});

describe("a mapping's remotes, where there are too many", () => {
  it("give way one after the other, the oldest first, for good", () => {
    const room = new PeerRoom(3);
    const mapping = begun(false, room);
    const known = (): number[] =>
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].filter((address) => mapping.knows(address, 9));
    for (let address = 1; address <= 5; address++) mapping.remember(address, 9);
    expect([known(), room.left]).toEqual([[2, 3, 4, 5], 3]);
    // Room that is there by now comes too late.
    room.left = 100;
    for (let address = 6; address <= 9; address++) mapping.remember(address, 9);
    expect([known(), room.left]).toEqual([[6, 7, 8, 9], 100]);
    mapping.remember(10, 9);
    expect(known()).toEqual([7, 8, 9, 10]);
  });

  it("take the last of the room there is", () => {
    const room = new PeerRoom(4);
    expect(fill(begun(false, room), 9)).toBe(8);
    expect(room.left).toBe(0);
  });

  it("have their share of room counted by family", () => {
    const room = new PeerRoom(ROOM);
    const mapping = begun(false, room);
    fill(mapping, 33);
    expect(room.left).toBe(ROOM - 60);
    mapping.reset();
    expect(room.left).toBe(ROOM);
    mapping.begin(ends(true), new Int32Array(80));
    for (let i = 0; i < 5; i++) mapping.remember6(Int32Array.of(i, 0, 0, 0), 0, 9);
    expect(room.left).toBe(ROOM - 4);
    mapping.reset();
    mapping.begin(ends(), new Int32Array(80));
    expect([fill(mapping, 4), room.left]).toEqual([4, ROOM]);
  });
});

describe("remotes that somebody says no of", () => {
  it("are forgotten, and others are not", () => {
    const mapping = begun();
    for (const [address, port] of [
      [ONE, 80],
      [TWO, 81],
      [ONE, 82],
      [TWO, 83],
    ])
      mapping.remember(address, port);
    const asked: (readonly number[])[] = [];
    const left = mapping.retain((words, port) => {
      asked.push([...words, port]);
      return port % 2 === 0;
    });
    expect(asked).toEqual([
      [0, 0, 0xffff, ONE, 80],
      [0, 0, 0xffff, TWO, 81],
      [0, 0, 0xffff, ONE, 82],
      [0, 0, 0xffff, TWO, 83],
    ]);
    expect(left).toBe(2);
    const known = [80, 81, 82, 83].map((port) => mapping.knows(port % 2 === 0 ? ONE : TWO, port));
    expect(known).toEqual([true, false, true, false]);
    // The one sent to last is gone as well, also for who asks for any port.
    expect([mapping.knows(TWO, -1), mapping.recentPort]).toEqual([false, 0]);
    // The place of those that went is taken first.
    expect([mapping.remember(TWO, 84), mapping.remember(TWO, 85), mapping.retain(() => true)]).toEqual([
      ...[true, true, 4],
    ]);
  });

  it("are asked for by the name that the guest gave them", () => {
    const mapping = begun();
    mapping.remember(ONE, 80);
    mapping.remember(TWO, 81);
    mapping.askedAddress = ip("10.0.2.2");
    const asked: number[] = [];
    expect(
      mapping.retain((words) => {
        asked.push(words[3] ?? 0);
        return false;
      }),
    ).toBe(0);
    expect(asked).toEqual([ONE, ip("10.0.2.2")]);
    expect([mapping.knows(ONE, 80), mapping.knows(TWO, 81)]).toEqual([false, false]);
  });

  it("are forgotten over IPv6, and the rest closes up", () => {
    const mapping = begun(true);
    const list = (i: number): Int32Array => Int32Array.of(i, i + 1000, i + 2000, i + 3000);
    for (let i = 1; i <= 4; i++) mapping.remember6(list(i), 0, 80 + i);
    const asked: (readonly number[])[] = [];
    const left = mapping.retain((words, port) => {
      asked.push([...words, port]);
      return port > 82;
    });
    expect(asked).toEqual([1, 2, 3, 4].map((i) => [...list(i), 80 + i]));
    expect(left).toBe(2);
    expect([1, 2, 3, 4].map((i) => mapping.knows6(list(i), 0, 80 + i))).toEqual([false, false, true, true]);
    const recent = new Int32Array(4).fill(7);
    mapping.copyRecent6(recent);
    expect([...recent]).toEqual([0, 0, 0, 0]);
  });

  it("leave room for as many, of which the oldest gives way again", () => {
    const mapping = begun(false, new PeerRoom(0));
    for (let address = 1; address <= 6; address++) mapping.remember(address, 9);
    expect(mapping.retain((words) => words[3] !== 5)).toBe(3);
    const known = (): number[] => [1, 2, 3, 4, 5, 6, 7, 8, 9].filter((address) => mapping.knows(address, 9));
    expect(known()).toEqual([3, 4, 6]);
    mapping.remember(7, 9);
    expect(known()).toEqual([3, 4, 6, 7]);
    mapping.remember(8, 9);
    expect(known()).toHaveLength(4);
    expect(known()).toContain(8);
  });
});

describe("the address of the host that a client asked", () => {
  const ASKED = Int32Array.of(9, 9, 9, 9, 9, ...ip6("fe80::1:2:3"), 4);

  it.each([0, 1, 2, 3, 4])(
    "is another one when word %i differs, of which the last is the interface",
    (word) => {
      const mapping = begun();
      mapping.setLocal(ASKED, 1);
      expect(mapping.asked(ASKED, 1)).toBe(true);
      const other = ASKED.slice();
      other[5 + word] ^= 1;
      expect(mapping.asked(other, 1)).toBe(false);
    },
  );

  it.each([
    [[0, 0, 0, 0, 0], false],
    [[0, 0, 0, 0, 3], false],
    [[1, 0, 0, 0, 0], true],
    [[0, 1, 0, 0, 0], true],
    [[0, 0, 0xffff, 0, 0], true],
    [[0, 0, 0, 1, 0], true],
  ])("%j is one to answer from: %s", (words, isOne) => {
    const mapping = begun();
    mapping.setLocal(Int32Array.from(words), 0);
    const to = new Int32Array(5).fill(9);
    expect(mapping.copyLocal(to)).toBe(isOne);
    expect([...to]).toEqual(words);
  });
});

describe("a mapping that is used again", () => {
  it.each([false, true])("has nothing of the one before; over IPv6: %s", (isIpv6) => {
    const mapping = begun(isIpv6);
    Object.assign(mapping, {
      ...{ live: true, inbound: true, handle: 7, flowLabel: 9, groupTtl: 4, askedAddress: TWO },
      ...{ octetsFromGuest: 1, octetsToGuest: 2, packetsFromGuest: 3, packetsToGuest: 4 },
    });
    if (isIpv6) mapping.remember6(ONE6, 1, 80);
    else mapping.remember(ONE, 80);
    mapping.reset();
    const { live, inbound, handle, ipOctets, flowLabel, remoteAddress, remotePort, groupTtl } = mapping;
    expect({ live, inbound, handle, ipOctets, flowLabel, remoteAddress, remotePort, groupTtl }).toEqual({
      ...{ live: false, inbound: false, handle: -1, ipOctets: 20, flowLabel: 0 },
      ...{ remoteAddress: 0, remotePort: 0, groupTtl: 0 },
    });
    const { octetsFromGuest, octetsToGuest, packetsFromGuest, packetsToGuest } = mapping;
    expect([octetsFromGuest, octetsToGuest, packetsFromGuest, packetsToGuest]).toEqual([0, 0, 0, 0]);
    expect([mapping.recentAddress, mapping.recentPort, mapping.askedAddress]).toEqual([0, 0, 0]);
    expect([mapping.knows(ONE, 80), mapping.knows(ONE, -1), mapping.knows6(ONE6, 1, 80)]).toEqual([
      ...[false, false, false],
    ]);
    const recent = new Int32Array(4).fill(7);
    mapping.copyRecent6(recent);
    expect([...recent]).toEqual([0, 0, 0, 0]);
    expect(mapping.retain(() => true)).toBe(0);
  });

  it("takes the place of those that its predecessor remembered", () => {
    const room = new PeerRoom(0);
    const mapping = begun(false, room);
    for (let address = 1; address <= 6; address++) mapping.remember(address, 9);
    mapping.reset();
    mapping.begin(ends(), new Int32Array(80));
    for (let address = 11; address <= 14; address++) mapping.remember(address, 9);
    expect([11, 12, 13, 14].every((address) => mapping.knows(address, 9))).toBe(true);
    expect([1, 5, 6].some((address) => mapping.knows(address, 9))).toBe(false);
  });

  it("names the flow table's addresses", () => {
    const words = new Int32Array(80);
    const mapping = new UdpMapping(3, new PeerRoom(0));
    mapping.begin(ends(true), words);
    expect([mapping.pair, mapping.pairAt, mapping.ipOctets, mapping.guestPort]).toEqual([
      words,
      24,
      40,
      4000,
    ]);
  });
});
