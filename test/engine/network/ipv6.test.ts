import { describe, expect, it } from "vitest";
import { Neighbours6 } from "../../../src/engine/link/neighbours6.ts";
import { Packet } from "../../../src/engine/memory/packet.ts";
import { Counters } from "../../../src/engine/metrics/counters.ts";
import { DROP_REASONS, HANDLED } from "../../../src/engine/metrics/drop-reasons.ts";
import { Ipv6 } from "../../../src/engine/network/ipv6.ts";
import { REASSEMBLY_REGION_OCTETS, Reassembly } from "../../../src/engine/network/reassembly.ts";
import { formatIpv6 } from "../../../src/engine/wire/address-text.ts";
import { GUEST6, type Ip6Packet, ip6, packet6, ROUTER6 } from "../../support/frames6.ts";

const RX_AT = 2048;
const REGION_AT = 80_000;
const LINK_LOCAL = "fe80::5054:ff:fe12:3456";
const REMOTE = "2001:db8::1";
const TCP = [...new Array<number>(12).fill(0), 0x50, ...new Array<number>(7).fill(0)];
const udp = (port: number, payload: readonly number[] = []): number[] => [
  ...[0x12, 0x34, port >>> 8, port & 255, 0, 8 + payload.length, 1, 1],
  ...payload,
];

function setUp() {
  const octets = new Uint8Array(REGION_AT + REASSEMBLY_REGION_OCTETS);
  const view = new DataView(octets.buffer);
  const counters = new Counters();
  const neighbours = new Neighbours6();
  const handed: { protocol: string; from: string; to: string; octets: number[]; reassembled: boolean }[] = [];
  const upper = (protocol: string) => ({
    packet: (packet: Packet): number => {
      const { transportAt, transportOctets, reassembled, pair } = packet;
      handed.push({
        protocol,
        from: formatIpv6(pair),
        to: formatIpv6(pair, 4),
        octets: [...octets.slice(transportAt, transportAt + transportOctets)],
        reassembled,
      });
      return HANDLED;
    },
  });
  const own = ["fe80::2", ROUTER6, "fd71:1ae0:d44d:2::3"].map((text) => ip6(text).join());
  const ipv6 = new Ipv6({
    view,
    reassembly: new Reassembly(octets, view, REGION_AT, counters),
    counters,
    neighbours,
    prefix: Int32Array.from(ip6("fd71:1ae0:d44d:2::")),
    own: { isOwn: (words, index) => own.includes([...words.slice(index, index + 4)].join()) },
    tcp: upper("tcp"),
    udp: upper("udp"),
    icmpv6: upper("icmpv6"),
  });
  const packet = new Packet();
  packet.sourceHigh = 0x5254;
  packet.sourceLow = 0x123456;
  const send = (from: Ip6Packet | Uint8Array, now = 0): string => {
    const input = from instanceof Uint8Array ? from : packet6(from);
    octets.set(input, RX_AT);
    packet.networkAt = RX_AT;
    packet.networkOctets = input.length;
    packet.nowMs = now;
    packet.verify = false;
    return DROP_REASONS[ipv6.packet(packet)];
  };
  return { send, handed, counters, neighbours, packet };
}

/** A fragment: its header and a piece of payload. */
function fragment(
  offset: number,
  more: boolean,
  payload: readonly number[],
  { next = 17, id = 7, ...rest }: Partial<Ip6Packet> & { next?: number; id?: number } = {},
): Ip6Packet {
  const header = [next, 0, offset >>> 8, (offset & 0xf8) | (more ? 1 : 0), 0, 0, 0, id];
  return { ...rest, next: 44, payload: [...header, ...payload] };
}
const pattern = (length: number): number[] => Array.from({ length }, (_, i) => (i * 31 + 5) & 255);

describe("IPv6 from the guest", () => {
  it("hands TCP and UDP up with their addresses, and learns the sender", () => {
    const { send, handed, neighbours } = setUp();
    expect(send({ next: 6, payload: TCP })).toBe("handled");
    expect(send({ next: 17, payload: udp(53), destination: "fd71:1ae0:d44d:2::3" })).toBe("handled");
    expect(handed).toEqual([
      { protocol: "tcp", from: GUEST6, to: REMOTE, octets: TCP, reassembled: false },
      { protocol: "udp", from: GUEST6, to: "fd71:1ae0:d44d:2::3", octets: udp(53), reassembled: false },
    ]);
    expect(neighbours.macLow[neighbours.find(Int32Array.from(ip6(GUEST6)), 0)]).toBe(0x123456);
  });

  it("N24 leaves padding behind, N26 and headers that say nothing in front", () => {
    const { send, handed } = setUp();
    const options = [6, 0, 1, 4, 0, 0, 0, 0];
    expect(send(Uint8Array.of(...packet6({ next: 60, payload: [...options, ...TCP] }), 1, 2, 3))).toBe(
      "handled",
    );
    expect(handed[0]).toMatchObject({ protocol: "tcp", octets: TCP });
  });

  it.each<[string, Ip6Packet, string]>([
    [
      "N26 a routing header with a segment left",
      { next: 43, payload: [6, 0, 0, 1, 0, 0, 0, 0, ...TCP] },
      "ipv6-routing-header",
    ],
    [
      "N27 an option that forbids it",
      { next: 0, payload: [6, 0, 0xc2, 4, 0, 0, 0, 0, ...TCP] },
      "ipv6-option",
    ],
    ["N24 no payload", { payload: [] }, "ipv6-malformed"],
    ["N29 no next header", { next: 59, payload: TCP }, "ipv6-unknown-protocol"],
    ["N29 ESP", { next: 50, payload: TCP }, "ipv6-unknown-protocol"],
    ["N29 SCTP", { next: 132, payload: TCP }, "ipv6-unknown-protocol"],
    ["N39 a mapped source", { source: "::ffff:127.0.0.1", payload: udp(7) }, "ipv6-mapped-address"],
    ["N39 a mapped destination", { destination: "::ffff:127.0.0.1", payload: udp(7) }, "ipv6-mapped-address"],
    [
      "N39 a mapped destination in fragments",
      fragment(0, true, pattern(8), { destination: "::ffff:127.0.0.1" }),
      "ipv6-mapped-address",
    ],
  ])("drops %s", (_name, packet, reason) => {
    const { send, handed } = setUp();
    expect([send(packet), handed]).toEqual([reason, []]);
  });

  const transports: [string, Partial<Ip6Packet> & { payload: number[] }][] = [
    ["TCP", { next: 6, payload: TCP }],
    ["UDP", { next: 17, payload: udp(80) }],
  ];
  for (const [name, packet] of transports) {
    it.each([
      "::",
      "::1",
      "fe80::2",
      ROUTER6,
      "fd71:1ae0:d44d:2::3",
      "fd71:1ae0:d44d:2::",
      "fd71:1ae0:d44d:3::15",
      "2001:db8::9",
      "ff02::1",
      "fec0::1",
      LINK_LOCAL,
    ])(`N38 drops ${name} from %s as spoofed`, (source) => {
      const { send, handed, neighbours } = setUp();
      expect(send({ ...packet, source })).toBe("ipv6-spoofed-source");
      expect([handed, neighbours.size]).toEqual([[], 0]);
    });
  }

  it("N38 takes discovery from link-local addresses and ::, and from ours what claims them", () => {
    const { send, handed, neighbours } = setUp();
    for (const source of [LINK_LOCAL, "::", GUEST6, ROUTER6]) {
      expect(send({ source, destination: "ff02::1", next: 58, payload: [135, 0, 0, 0, 0, 0, 0, 0] })).toBe(
        "handled",
      );
    }
    expect(send({ source: "2001:db8::9", next: 58, payload: [135, 0, 0, 0] })).toBe("ipv6-spoofed-source");
    expect(handed.map(({ protocol }) => protocol)).toEqual(new Array(4).fill("icmpv6"));
    expect(neighbours.size).toBe(0);
  });

  it("N38 takes DHCPv6 from link-local addresses, and nothing else", () => {
    const { send, handed, neighbours } = setUp();
    const dhcp = { source: LINK_LOCAL, destination: "ff02::1:2", hopLimit: 1 };
    expect(send({ ...dhcp, payload: udp(547, [1]) })).toBe("handled");
    expect(handed).toMatchObject([{ protocol: "udp", from: LINK_LOCAL, to: "ff02::1:2" }]);
    expect(send({ ...dhcp, payload: udp(547).slice(0, 7) })).toBe("destination-refused");
    expect(send({ ...dhcp, destination: "ff02::fb", payload: udp(5353) })).toBe("destination-refused");
    expect(send({ ...dhcp, destination: ROUTER6, payload: udp(53) })).toBe("ipv6-spoofed-source");
    expect([handed.length, neighbours.size]).toEqual([1, 0]);
  });

  it("N25 drops hop limits 0 and 1 to anyone but us and groups on the link", () => {
    const { send } = setUp();
    for (const hopLimit of [0, 1]) {
      expect(send({ hopLimit, payload: udp(80) })).toBe("ipv6-hop-limit");
      expect(send({ hopLimit, payload: udp(53), destination: ROUTER6 })).toBe("handled");
      expect(send({ hopLimit, payload: udp(547), destination: "ff02::1:2" })).toBe("handled");
    }
    expect(send({ hopLimit: 2, payload: udp(80) })).toBe("handled");
  });
});

describe("IPv6 fragments", () => {
  const datagram = udp(80, pattern(40));

  it("N31 in any order make a datagram, duplicates and all", () => {
    for (const order of [
      [0, 1, 2],
      [2, 1, 0],
      [1, 1, 0, 2],
      [2, 0, 0, 2, 1],
    ]) {
      const { send, handed, counters, packet } = setUp();
      const cuts = [0, 16, 32, 48];
      const results = order.map((n) => send(fragment(cuts[n], n < 2, datagram.slice(cuts[n], cuts[n + 1]))));
      expect(results.every((result) => result === "handled")).toBe(true);
      expect(handed).toEqual([
        { protocol: "udp", from: GUEST6, to: REMOTE, octets: datagram, reassembled: true },
      ]);
      expect(counters.value("datagrams-reassembled")).toBe(1);
      expect(packet.verify).toBe(true);
    }
  });

  it("N31 that overlap condemn their datagram for its time", () => {
    const { send, handed } = setUp();
    send(fragment(0, true, datagram.slice(0, 16)));
    expect(send(fragment(8, true, pattern(16)))).toBe("ipv6-fragment-overlap");
    expect(send(fragment(16, false, datagram.slice(16)), 59_999)).toBe("ipv6-fragment-overlap");
    expect(handed).toEqual([]);
  });

  it("N32 an atomic one is a whole datagram, apart from any queue with its identification", () => {
    const { send, handed } = setUp();
    send(fragment(0, true, datagram.slice(0, 16)));
    expect(send(fragment(0, false, udp(9)))).toBe("handled");
    expect(handed).toMatchObject([{ octets: udp(9), reassembled: false }]);
    send(fragment(16, false, datagram.slice(16)));
    expect(handed).toMatchObject([{ octets: udp(9) }, { octets: datagram, reassembled: true }]);
  });

  it("N33 are told apart by source, destination and identification, not by next header", () => {
    const { send, handed } = setUp();
    send(fragment(0, true, datagram.slice(0, 16)));
    for (const other of [{ id: 8 }, { source: "fd71:1ae0:d44d:2::16" }, { destination: "2001:db8::2" }]) {
      send(fragment(16, false, datagram.slice(16), other));
    }
    expect(handed).toEqual([]);
    send(fragment(16, false, datagram.slice(16), { next: 250 }));
    expect(handed).toMatchObject([{ protocol: "udp", octets: datagram }]);
  });

  it.each<[string, Ip6Packet]>([
    ["an empty first one", fragment(0, true, [])],
    ["a first one without all of its TCP header", fragment(0, true, TCP.slice(0, 16), { next: 6 })],
    [
      "a first one without its TCP options",
      fragment(0, true, [...TCP.with(12, 0xf0), 0, 0, 0, 0], { next: 6 }),
    ],
    ["a first one whose header chain goes on", fragment(0, true, [6, 1, 1, 4, 0, 0, 0, 0], { next: 60 })],
    ["a middle one of 12 octets", fragment(8, true, pattern(12))],
    ["an end beyond 65535", fragment(0xfff8, false, pattern(8))],
    ["an empty last one", fragment(8, false, [])],
  ])("N34 drops %s", (_name, packet) => {
    const { send, handed } = setUp();
    expect([send(packet), handed]).toEqual(["ipv6-fragment-malformed", []]);
  });

  it("N34 takes a first one with its header chain and transport header", () => {
    const { send, handed } = setUp();
    const options = [6, 0, 1, 4, 0, 0, 0, 0];
    const whole = [...options, ...TCP, ...pattern(12)];
    send(fragment(0, true, whole.slice(0, 32), { next: 60 }));
    send(fragment(32, false, whole.slice(32), { next: 60 }));
    expect(handed).toMatchObject([{ protocol: "tcp", octets: whole.slice(8) }]);
  });

  it("drops what is a fragment again inside", () => {
    const { send, handed } = setUp();
    const inner = [17, 0, 0, 0, 0, 0, 0, 9, ...udp(80)];
    expect(send(fragment(0, false, inner, { next: 44 }))).toBe("ipv6-extension-header");
    expect(send(fragment(0, true, inner, { next: 44 }))).toBe("ipv6-extension-header");
    expect(handed).toEqual([]);
  });

  it("N38 drops them from anywhere but the prefix", () => {
    const { send } = setUp();
    for (const source of [LINK_LOCAL, "::", ROUTER6, "2001:db8::9"]) {
      expect(send(fragment(0, true, datagram.slice(0, 16), { source }))).toBe("ipv6-spoofed-source");
      expect(send(fragment(16, false, datagram.slice(16), { source }))).toBe("ipv6-spoofed-source");
    }
  });

  it("N16 tells discovery that it came with a fragment header", () => {
    const { send, packet } = setUp();
    const solicitation = [133, 0, 0, 0, 0, 0, 0, 0];
    send(fragment(0, false, solicitation, { next: 58, source: LINK_LOCAL }));
    expect(packet.fragmented).toBe(true);
    send({ next: 58, source: LINK_LOCAL, payload: solicitation });
    expect(packet.fragmented).toBe(false);
  });

  it("carry the largest datagram there is", () => {
    const { send, handed } = setUp();
    const whole = udp(80, pattern(65_527));
    for (let at = 0; at < whole.length; at += 1232) {
      expect(send(fragment(at, at + 1232 < whole.length, whole.slice(at, at + 1232)))).toBe("handled");
    }
    expect(handed[0].octets.length).toBe(65_535);
  });

  it("are counted, and what comes of them says that it came in fragments", () => {
    const { send, handed, counters, packet } = setUp();
    send(fragment(0, true, datagram.slice(0, 8)));
    expect([packet.reassembled, packet.fragmented, packet.ipOctets]).toEqual([false, true, 40]);
    send(fragment(8, false, datagram.slice(8)));
    expect([packet.reassembled, packet.fragmented, packet.verify]).toEqual([true, true, true]);
    send({ payload: datagram });
    expect([packet.reassembled, packet.fragmented, packet.verify]).toEqual([false, false, false]);
    expect(handed.map(({ octets, reassembled }) => [octets.length, reassembled])).toEqual([
      [48, true],
      [48, false],
    ]);
    expect(counters.value("fragments-from-guest")).toBe(2);
    expect(counters.value("datagrams-reassembled")).toBe(1);
  });

  it.each<[string, number, number[], number]>([
    ["UDP", 17, udp(80, pattern(8)), 8],
    ["ICMPv6", 58, [128, 0, 0, 0, 1, 2, 3, 4, ...pattern(8)], 8],
    ["TCP with four octets of options", 6, [...TCP.with(12, 0x60), ...pattern(12)], 24],
    ["TCP without options", 6, [...TCP, ...pattern(12)], 24],
  ])("N34 take a first one that ends with the header of %s", (_name, next, whole, first) => {
    const { send, handed } = setUp();
    expect(send(fragment(0, true, whole.slice(0, first), { next }))).toBe("handled");
    expect(send(fragment(first, false, whole.slice(first), { next }))).toBe("handled");
    expect(handed).toMatchObject([{ octets: whole, reassembled: true }]);
  });

  it("N34 drop a first one that ends one word before its TCP options do", () => {
    const { send } = setUp();
    const whole = [...TCP.with(12, 0x70), 0, 0, 0, 0];
    expect(send(fragment(0, true, whole, { next: 6 }))).toBe("ipv6-fragment-malformed");
  });

  it("N34 drop a first one with nothing behind its chain, whatever it is of", () => {
    const options = [0, 0, 1, 4, 0, 0, 0, 0];
    for (const [next, result] of [
      [17, "ipv6-fragment-malformed"],
      [58, "ipv6-fragment-malformed"],
      [6, "ipv6-fragment-malformed"],
      [132, "handled"],
    ] as const) {
      const { send } = setUp();
      expect([next, send(fragment(0, true, options.with(0, next), { next: 60 }))]).toEqual([next, result]);
    }
  });

  it("of a protocol nobody knows are dropped once they are whole", () => {
    const { send, counters } = setUp();
    expect(send(fragment(0, true, pattern(8), { next: 132 }))).toBe("handled");
    expect(send(fragment(8, false, pattern(8), { next: 132 }))).toBe("ipv6-unknown-protocol");
    expect(counters.value("datagrams-reassembled")).toBe(1);
  });

  it.each<[string, boolean, number[], number, string]>([
    ["an atomic one whose chain goes on", false, [17, 1, 1, 4, 0, 0, 0, 0], 60, "ipv6-malformed"],
    ["an atomic one with a route to take", false, [17, 0, 0, 1, 0, 0, 0, 0], 43, "ipv6-routing-header"],
    ["a first one with a route to take", true, [17, 0, 0, 1, 0, 0, 0, 0], 43, "ipv6-routing-header"],
    ["a first one with an option that forbids it", true, [17, 0, 0xc2, 4, 0, 0, 0, 0], 60, "ipv6-option"],
  ])("are dropped for what is in their chain: %s", (_name, more, payload, next, reason) => {
    const { send, handed } = setUp();
    expect([send(fragment(0, more, payload, { next })), handed]).toEqual([reason, []]);
  });

  it("N38 are dropped for their source before their length is looked at", () => {
    const { send } = setUp();
    expect(send(fragment(0, true, TCP, { next: 6, source: LINK_LOCAL }))).toBe("ipv6-spoofed-source");
    expect(send(fragment(0, true, TCP, { next: 6 }))).toBe("ipv6-fragment-malformed");
  });

  it("N38 take an atomic one of discovery from anywhere on the link, and of DHCPv6", () => {
    const { send, handed } = setUp();
    const solicitation = [133, 0, 0, 0, 0, 0, 0, 0];
    expect(send(fragment(0, false, solicitation, { next: 58, source: "::" }))).toBe("handled");
    expect(send(fragment(0, false, udp(547), { source: LINK_LOCAL, destination: "ff02::1:2" }))).toBe(
      "handled",
    );
    expect(send(fragment(0, false, udp(80), { source: ROUTER6 }))).toBe("ipv6-spoofed-source");
    expect(handed.map(({ protocol }) => protocol)).toEqual(["icmpv6", "udp"]);
  });
});

describe("a source", () => {
  it.each(["fd71:1ae1:d44d:2::15", "fd71:1ae0:d44d:3::15"])(
    "N38 is not of the prefix at %s, half of which is",
    (source) => {
      const { send, neighbours } = setUp();
      expect([send({ source, payload: udp(80) }), neighbours.size]).toEqual(["ipv6-spoofed-source", 0]);
    },
  );

  it.each(["fd71:1ae0:d44d:2:1::", "fd71:1ae0:d44d:2::1"])(
    "N38 is of the prefix at %s, which is no router's",
    (source) => {
      expect(setUp().send({ source, payload: udp(80) })).toBe("handled");
    },
  );

  it("is learned with both halves of its MAC, from what nobody carries too", () => {
    const { send, neighbours } = setUp();
    expect(send({ next: 132, payload: udp(80) })).toBe("ipv6-unknown-protocol");
    const i = neighbours.find(Int32Array.from(ip6(GUEST6)), 0);
    expect([neighbours.macHigh[i], neighbours.macLow[i]]).toEqual([0x5254, 0x123456]);
  });

  it.each<[string, Partial<Ip6Packet>, number[], string]>([
    ["to the DHCPv6 port, and as long as a header", {}, udp(547), "handled"],
    ["to the DHCPv6 port of one of ours", { destination: ROUTER6 }, udp(547), "handled"],
    ["from ::, which is not", { source: "::" }, udp(547), "ipv6-spoofed-source"],
    ["from one of ours, which is not", { source: "fe80::2" }, udp(547), "ipv6-spoofed-source"],
    ["to another port", {}, udp(546), "destination-refused"],
    ["to the DHCPv6 port of TCP", { next: 6 }, udp(547), "ipv6-spoofed-source"],
    ["to the DHCPv6 port, cut short", { destination: ROUTER6 }, udp(547).slice(0, 7), "ipv6-spoofed-source"],
  ])("N38 that is link-local may speak DHCPv6: %s", (_name, fields, payload, result) => {
    const { send } = setUp();
    expect(send({ source: LINK_LOCAL, destination: "ff02::1:2", next: 17, ...fields, payload })).toBe(result);
  });
});
