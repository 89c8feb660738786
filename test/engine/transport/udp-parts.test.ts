/** The small parts of UDP: sizes, groups, keys, the order of sockets, and what people are told of mappings. */
import { describe, expect, it } from "vitest";
import { ADDRESS_WORDS } from "../../../src/engine/boundary.ts";
import { defaultEngineConfig } from "../../../src/engine/config.ts";
import { Packet } from "../../../src/engine/memory/packet.ts";
import { makeUdpBatch } from "../../../src/engine/memory/udp-batch.ts";
import { Destinations } from "../../../src/engine/network/destinations.ts";
import type { Destinations6 } from "../../../src/engine/network/destinations6.ts";
import { FlowLedger } from "../../../src/engine/transport/flow-ledger.ts";
import { FlowTable, NO_FLOW, packPorts } from "../../../src/engine/transport/flow-table.ts";
import { type Ends, Path } from "../../../src/engine/transport/path.ts";
import type { Recorder } from "../../../src/engine/transport/recorder.ts";
import { datagramOctets } from "../../../src/engine/transport/udp/checks.ts";
import { awaitsAnswers, groupReach } from "../../../src/engine/transport/udp/groups.ts";
import { PeerRoom, UdpMapping } from "../../../src/engine/transport/udp/mapping.ts";
import { MappingKeys } from "../../../src/engine/transport/udp/mapping-keys.ts";
import { ReadyRing } from "../../../src/engine/transport/udp/ready-ring.ts";
import { recentEnds } from "../../../src/engine/transport/udp/recent-ends.ts";
import { UdpTeller } from "../../../src/engine/transport/udp/teller.ts";
import { ip } from "../../support/frames.ts";
import { ip6 } from "../../support/frames6.ts";

const GUEST = ip("10.0.2.15");
const REMOTE = ip("192.0.2.1");
const GUEST6 = ip6("2001:db8:1:2:3:4:5:6");
const REMOTE6 = ip6("2001:db8:a:b:c:d:e:f");
const PREFIX = { words: Int32Array.from(ip6("2001:db8:1:2:3:4::")), length: 96 };

describe("the datagrams of a super-frame", () => {
  it.each([
    [0, 0, 0],
    [0, 1472, 1472],
    [1000, 3000, 1000],
    [1000, 300, 1000],
    [1, 512, 1],
    [1, 513, 2],
    [126, 65_000, 127],
    [127, 65_000, 127],
    [128, 65_000, 128],
  ])(
    "of segments of %i in %i octets are of %i, and no more than the kernel takes",
    (segmentSize, payloadOctets, size) => {
      expect(datagramOctets(Object.assign(new Packet(), { segmentSize, payloadOctets }))).toBe(size);
    },
  );
});

describe("datagrams to groups", () => {
  it.each([
    ["224.0.0.0", 255, 255],
    ["224.0.0.255", 1, 1],
    ["224.0.1.0", 255, 4],
    ["223.255.255.255", 255, 4],
    ["239.255.255.250", 4, 4],
    ["239.255.255.250", 5, 4],
    ["239.255.255.250", 2, 2],
  ])("to %s with TTL %i go with %i", (group, wanted, ttl) => {
    expect(groupReach(ip(group), wanted)).toBe(ttl);
  });

  it.each([
    [0, 1000, 1000, false],
    [1, 1000, 1000, true],
    [1, 1000, 30_999, true],
    [1, 1000, 31_000, false],
    [4, 0x7fffff00, -0x7fffff00, true],
    [4, 0x7fffff00, -0x7fff0000, false],
  ])("of TTL %i, sent at %i, are waited for at %i: %s", (groupTtl, groupAtMs, nowMs, isAwaited) => {
    const mapping = Object.assign(new UdpMapping(1, new PeerRoom(0)), { groupTtl, groupAtMs });
    expect(awaitsAnswers(mapping, nowMs)).toBe(isAwaited);
  });
});

it("sockets with datagrams come in the order they got them, as many as there are flows", () => {
  const ring = new ReadyRing(3);
  let next = 0;
  let first = 0;
  for (const [pushes, shifts] of [
    [3, 1],
    [2, 3],
    [3, 2],
    [2, 4],
  ]) {
    for (let i = 0; i < (pushes ?? 0); i++) ring.push(100 + next++);
    expect(ring.count).toBe(next - first);
    for (let i = 0; i < (shifts ?? 0); i++) expect(ring.shift()).toBe(100 + first++);
    expect(ring.count).toBe(next - first);
  }
  expect(ring.count).toBe(0);
});

describe("the key of a mapping", () => {
  const PAIR = Int32Array.of(...GUEST6, ...REMOTE6);
  const ANY = Int32Array.of(...GUEST6, 0, 0, 0, 0);

  it.each([
    ["endpoint-independent", 77, 0, ANY],
    ["address-dependent", REMOTE, 0, PAIR],
    ["address-and-port-dependent", REMOTE, 80, PAIR],
  ] as const)("is %s, of either family", (udpMapping, address, port, pair) => {
    const flows = new FlowTable({ int32: () => 7 });
    const keys = new MappingKeys(flows, { ...defaultEngineConfig(), udpMapping });
    const { path } = keys;
    expect(keys.find6(PAIR, 4000, 80)).toBe(NO_FLOW);
    expect([path.ipOctets, path.guestPort, path.remotePort, [...path.pair]]).toEqual([
      40,
      4000,
      port,
      [...pair],
    ]);
    const id6 = flows.insertEnds(17, path);
    expect(keys.find(GUEST, REMOTE, 4000, 80, 77)).toBe(NO_FLOW);
    expect([path.ipOctets, path.guestAddress, path.guestPort, path.remoteAddress, path.remotePort]).toEqual([
      ...[20, GUEST, 4000, address, port],
    ]);
    const id = flows.insertEnds(17, path);
    expect(id).toBe(flows.find(17, GUEST, address, packPorts(4000, port)));
    expect([keys.find(GUEST, REMOTE, 4000, 80, 77), keys.find6(PAIR, 4000, 80)]).toEqual([id, id6]);
    expect([keys.find(GUEST, REMOTE, 4001, 80, 77), keys.find6(PAIR, 4001, 80)]).toEqual([NO_FLOW, NO_FLOW]);
  });
});

/** Seen by the guest, remotes over IPv6 have one bit more. */
const destinations6 = {
  seenByGuest(words: Int32Array, from: number, to: Int32Array, at: number): void {
    for (let word = 0; word < 4; word++) to[at + word] = (words[from + word] ?? 0) ^ 0x100;
  },
} as unknown as Destinations6;
const SEEN6 = REMOTE6.map((word) => word ^ 0x100);
const destinations = new Destinations(defaultEngineConfig(), null);
const sides = { destinations, destinations6 };

const endsOf = (ends: Ends): unknown[] => [
  ends.ipOctets,
  ends.ipOctets === 20 ? ends.guestAddress : [...ends.pair.subarray(ends.pairAt, ends.pairAt + 4)],
  ends.guestPort,
  ends.ipOctets === 20 ? ends.remoteAddress : [...ends.pair.subarray(ends.pairAt + 4, ends.pairAt + 8)],
  ends.remotePort,
];
const targetOf = (path: Path): number[] => {
  const words = new Int32Array(5).fill(9);
  path.copyTarget(words);
  return [...words];
};

function mapping4(): UdpMapping {
  const mapping = new UdpMapping(2, new PeerRoom(0));
  const ends = new Path();
  ends.guestAddress = GUEST;
  ends.guestPort = 4000;
  mapping.begin(ends, new Int32Array(80));
  return mapping;
}

function mapping6(): UdpMapping {
  const mapping = new UdpMapping(2, new PeerRoom(0));
  const ends = new Path();
  ends.ipOctets = 40;
  ends.guestPort = 4000;
  const words = new Int32Array(80);
  words.set(GUEST6, 16);
  mapping.begin(ends, words);
  mapping.hostFamily = 6;
  return mapping;
}

describe("the ends of a mapping for people", () => {
  const told = (mapping: UdpMapping, parts: Parameters<typeof recentEnds>[1] = sides): Path => {
    const path = new Path(new Int32Array(8).fill(9));
    recentEnds(mapping, parts, path);
    return path;
  };

  it("are the remote that the guest sent to last, under the guest's name for it", () => {
    const mapping = mapping4();
    const nobody = told(mapping);
    expect([endsOf(nobody), targetOf(nobody)]).toEqual([
      [20, GUEST, 4000, 0, 0],
      [0, 0, 0xffff, 0, 0],
    ]);
    mapping.remember(REMOTE, 80);
    mapping.askedAddress = ip("10.0.2.2");
    const path = told(mapping);
    expect([endsOf(path), targetOf(path)]).toEqual([
      [20, GUEST, 4000, ip("10.0.2.2"), 80],
      [0, 0, 0xffff, REMOTE, 80],
    ]);
  });

  it("have a target behind the translator where its socket is of IPv6", () => {
    const mapping = mapping4();
    mapping.remember(REMOTE, 80);
    mapping.askedAddress = REMOTE;
    const behind = new Destinations(defaultEngineConfig(), null);
    behind.translate(PREFIX);
    expect(targetOf(told(mapping, { destinations: behind, destinations6 }))).toEqual([
      0,
      0,
      0xffff,
      REMOTE,
      80,
    ]);
    mapping.hostFamily = 6;
    const path = told(mapping, { destinations: behind, destinations6 });
    expect([endsOf(path), targetOf(path)]).toEqual([
      [20, GUEST, 4000, REMOTE, 80],
      [...ip6("2001:db8:1:2:3:4:192.0.2.1"), 80],
    ]);
    // The prefix is gone: the mapping will be.
    expect(targetOf(told(mapping))).toEqual([0, 0, 0, 0, 80]);
  });

  it("are over IPv6 as the guest sees them, and the target as the host does", () => {
    const mapping = mapping6();
    mapping.remember6(Int32Array.from(REMOTE6), 0, 80);
    const path = told(mapping);
    expect([endsOf(path), targetOf(path)]).toEqual([
      [40, [...GUEST6], 4000, SEEN6, 80],
      [...REMOTE6, 80],
    ]);
    expect(endsOf(told(mapping, { destinations, destinations6: null }))).toEqual([
      ...[40, [...GUEST6], 4000, [...REMOTE6], 80],
    ]);
  });

  it("are its own and its client's where it came by a forward", () => {
    const mapping = mapping4();
    Object.assign(mapping, { inbound: true, remoteAddress: REMOTE, remotePort: 7000 });
    mapping.setTarget(Int32Array.of(...REMOTE6, 7001));
    mapping.remember(ip("192.0.2.99"), 99);
    const path = told(mapping);
    expect([endsOf(path), targetOf(path)]).toEqual([
      [20, GUEST, 4000, REMOTE, 7000],
      [...REMOTE6, 7001],
    ]);
  });
});

describe("who asks is told of", () => {
  /** What a recorder was told: of paths, how they stood then. */
  function rig() {
    const calls: unknown[][] = [];
    const recorder = new Proxy({} as Recorder, {
      get:
        (_target, name) =>
        (...args: unknown[]) =>
          calls.push([
            name,
            ...args.map((arg) =>
              arg instanceof Path
                ? { ends: endsOf(arg), target: targetOf(arg) }
                : typeof arg === "object"
                  ? { ...arg }
                  : arg,
            ),
          ]),
    });
    const ledger = new FlowLedger(8, () => 0);
    const batch = makeUdpBatch(4);
    batch.length.set([11, 22, 33, 44]);
    const teller = new UdpTeller(ledger, sides, batch);
    return { calls, recorder, ledger, batch, teller };
  }

  it("nothing while nobody does", () => {
    const { calls, teller } = rig();
    teller.opened(1, mapping4(), new Int32Array(5));
    teller.openedByClient(mapping4());
    teller.droppedOf(mapping4(), 3, 0);
    teller.dropped(mapping4(), 3, 0, null);
    teller.row(9, mapping4(), 0);
    expect(calls).toEqual([]);
  });

  it("mappings as they begin, with where the first datagram goes", () => {
    const { calls, teller, ledger, recorder } = rig();
    ledger.recorder = recorder;
    const packet = Object.assign(new Packet(), {
      ...{ guestAddress: GUEST, guestPort: 4000, remoteAddress: REMOTE, remotePort: 80 },
    });
    teller.opened(1, packet, Int32Array.of(...REMOTE6, 81));
    expect(calls).toEqual([
      ["flowOpened", 1, 17, { ends: [20, GUEST, 4000, REMOTE, 80], target: [...REMOTE6, 81] }],
    ]);
    const client = mapping4();
    client.setTarget(Int32Array.of(...REMOTE6, 7001));
    teller.openedByClient(client);
    expect(calls[1]).toEqual([
      ...["flowOpened", 2, 17, { ends: [20, GUEST, 4000, 0, 0], target: [...REMOTE6, 7001] }],
    ]);
  });

  it("datagrams that did not reach the guest, with who sent them", () => {
    const { calls, teller, ledger, recorder, batch } = rig();
    ledger.recorder = recorder;
    batch.words.set([0, 0, 0xffff, REMOTE, 80], ADDRESS_WORDS);
    batch.words.set([...REMOTE6, 81], 2 * ADDRESS_WORDS);
    batch.words.set([...ip6("2001:db8:1:2:3:4:192.0.2.1"), 82], 3 * ADDRESS_WORDS);
    const behind = mapping4();
    behind.hostFamily = 6;
    teller.droppedOf(mapping4(), 5, 1);
    teller.dropped(mapping4(), 3, 1, PREFIX);
    teller.dropped(mapping6(), 3, 2, PREFIX);
    teller.dropped(behind, 3, 3, PREFIX);
    teller.dropped(behind, 3, 2, PREFIX);
    const told = calls.map(([name, reason, protocol, path, octets]) => [
      ...[name, reason, protocol, (path as { ends: unknown }).ends, octets],
    ]);
    expect(told).toEqual([
      ["droppedToGuest", 5, 17, [20, GUEST, 4000, 0, 0], 22],
      ["droppedToGuest", 3, 17, [20, GUEST, 4000, REMOTE, 80], 22],
      ["droppedToGuest", 3, 17, [40, [...GUEST6], 4000, [...REMOTE6], 81], 33],
      ["droppedToGuest", 3, 17, [20, GUEST, 4000, REMOTE, 82], 44],
      ["droppedToGuest", 3, 17, [20, GUEST, 4000, 0, 81], 33],
    ]);
  });

  it("rows, with counts and for how long nobody used them, over the clock's end as well", () => {
    const { calls, teller, ledger, recorder } = rig();
    ledger.recorder = recorder;
    const mapping = mapping4();
    mapping.remember(REMOTE, 80);
    mapping.askedAddress = REMOTE;
    Object.assign(mapping, { octetsFromGuest: 12, octetsToGuest: 34, refreshedMs: 0x7fffffff });
    teller.row(9, mapping, (0x7fffffff + 56) | 0);
    expect(calls).toEqual([
      [
        ...["row", 9, 2, 17, 0],
        { ends: [20, GUEST, 4000, REMOTE, 80], target: [0, 0, 0xffff, REMOTE, 80] },
        { octetsFromGuest: 12, octetsToGuest: 34, idleMs: 56 },
      ],
    ]);
  });
});
