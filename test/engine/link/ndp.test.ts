import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { NEIGHBOURS6_MAX } from "../../../src/engine/limits.ts";
import { NDP_FRAME_OCTETS, Ndp, NeighbourDiscovery } from "../../../src/engine/link/ndp.ts";
import { Neighbours6 } from "../../../src/engine/link/neighbours6.ts";
import { Packet } from "../../../src/engine/memory/packet.ts";
import { DROP_REASONS, HANDLED } from "../../../src/engine/metrics/drop-reasons.ts";
import { formatIpv6 } from "../../../src/engine/wire/address-text.ts";
import { JavaScriptChecksum } from "../../../src/engine/wire/checksum.ts";
import {
  GUEST6,
  groupOf,
  type Ip6Packet,
  icmp6,
  ip6,
  macOption,
  neighbourMessage,
  ROUTER6,
} from "../../support/frames6.ts";
import { needs } from "../../support/requirements.ts";
import { readWithTshark } from "../../support/tshark.ts";
import { wayOut } from "../../support/way-out.ts";

const RESOLVER = "fd71:1ae0:d44d:2::3";
const SERVICE = "fd71:1ae0:d44d:2::100";
const LINK_LOCAL = "fe80::5054:ff:fe12:3456";
const MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const OTHER_MAC = [0x52, 0x54, 0, 0, 0, 9];
const RS = [133, 0, 0, 0, 0, 0, 0, 0];
const REPLY_AT = 2048;

interface Sent {
  readonly destination: string;
  readonly source: string;
  readonly target: string;
  readonly flags: number;
  readonly type: number;
  readonly mac: readonly number[];
}

function setUp(shared = false, { capacity = NEIGHBOURS6_MAX } = {}) {
  const octets = new Uint8Array(4096);
  const view = new DataView(octets.buffer);
  const neighbours = new Neighbours6(capacity);
  const heard: string[] = [];
  const solicited: string[] = [];
  const discovery = new NeighbourDiscovery({
    view,
    checksum: new JavaScriptChecksum(view),
    neighbours,
    listener: {
      routerSolicited: (ipAt, high, low) => {
        solicited.push(`${textAt(ipAt + 8)} ${high.toString(16)} ${low.toString(16)}`);
        return HANDLED;
      },
      guestHeard: (words, index) => heard.push(formatIpv6(words, index)),
    },
    ownAddresses: Int32Array.from(["fe80::2", ROUTER6, RESOLVER, SERVICE].flatMap(ip6)),
    gatewayMac: Uint8Array.of(0x52, 0x55, 10, 0, 2, 2),
    prefix: Int32Array.from(ip6("fd71:1ae0:d44d:2::")),
    ...(shared && { shared }),
  });
  const textAt = (at: number): string =>
    formatIpv6(Array.from({ length: 4 }, (_, i) => view.getInt32(at + i * 4)));
  const frame = (length: number): Uint8Array => octets.slice(REPLY_AT, REPLY_AT + length);
  const handle = (
    packet: Uint8Array,
    { now = 0, verify = true, fragmented = false, mac = MAC } = {},
  ): number => {
    octets.set(packet, 64);
    const frame = new Packet();
    frame.networkAt = 64;
    frame.transportAt = 104;
    frame.transportOctets = packet.length - 40;
    frame.sourceHigh = (mac[0] << 8) | mac[1];
    frame.sourceLow = (mac[2] << 24) | (mac[3] << 16) | (mac[4] << 8) | mac[5];
    frame.verify = verify;
    frame.fragmented = fragmented;
    frame.nowMs = now;
    return discovery.handle(frame, REPLY_AT);
  };
  /** What came of a message: a reply, or a word. */
  const ask = (packet: Ip6Packet, options = {}): Sent | string => {
    const length = handle(icmp6(packet), options);
    if (length < 0) return DROP_REASONS[-length];
    return length === 0 ? "silence" : sent();
  };
  const sent = (): Sent => ({
    destination: textAt(REPLY_AT + 14 + 24),
    source: textAt(REPLY_AT + 14 + 8),
    target: textAt(REPLY_AT + 54 + 8),
    flags: octets[REPLY_AT + 54 + 4],
    type: octets[REPLY_AT + 54],
    mac: [...octets.slice(REPLY_AT, REPLY_AT + 6)],
  });
  const macOf = (address: string): number | undefined => {
    const i = neighbours.find(Int32Array.from(ip6(address)), 0);
    return i < 0 ? undefined : neighbours.macLow[i];
  };
  return { octets, view, neighbours, discovery, heard, solicited, handle, ask, sent, frame, macOf };
}

const MAC_LOW = 0x00123456;
const asks = (target: string, options: readonly number[] = macOption(1, MAC)) =>
  neighbourMessage(135, 0, target, options);

describe("neighbour solicitations", () => {
  it.each([
    ["the router's link-local address", "fe80::2", 0xe0],
    ["the router's address", ROUTER6, 0xe0],
    ["the resolver's", RESOLVER, 0x60],
    ["a guest forward's", SERVICE, 0x60],
  ])("N12 are answered for %s, unicast, with S and O, R for the router's alone", (_name, target, flags) => {
    for (const destination of [groupOf(target), target]) {
      const { ask } = setUp();
      expect(ask({ destination, payload: asks(target) })).toEqual({
        destination: GUEST6,
        source: target,
        target,
        flags,
        type: 136,
        mac: MAC,
      });
    }
  });

  it("N12 are answered to the frame's MAC when they carry none", () => {
    const { ask } = setUp();
    expect(ask({ destination: ROUTER6, payload: asks(ROUTER6, []) })).toMatchObject({ mac: MAC });
  });

  it("N12 are answered for the routers' anycast address, which any router may answer for, without O", () => {
    const { ask } = setUp();
    const anycast = "fd71:1ae0:d44d:2::";
    expect(ask({ destination: groupOf(anycast), payload: asks(anycast) })).toEqual({
      destination: GUEST6,
      source: ROUTER6,
      target: anycast,
      flags: 0xc0,
      type: 136,
      mac: MAC,
    });
    expect(ask({ source: "::", destination: groupOf(anycast), payload: asks(anycast, []) })).toBe("silence");
  });

  it("N13 are left alone for any other address, the guest's own above all", () => {
    const { ask } = setUp();
    for (const target of [GUEST6, LINK_LOCAL, "fd71:1ae0:d44d:2::77", "2001:db8::1", "fe80::3"]) {
      expect(ask({ source: "::", destination: groupOf(target), payload: asks(target, []) })).toBe("silence");
      expect(ask({ destination: groupOf(target), payload: asks(target) })).toBe("ndp-not-ours");
    }
  });

  it("are answered for the other machines of a shared prefix, without O, and for nobody that is at the link", () => {
    const { ask, neighbours } = setUp(true);
    const machine = "fd71:1ae0:d44d:2::77";
    const asked = { destination: groupOf(machine), payload: asks(machine) };
    expect(ask(asked)).toMatchObject({ source: ROUTER6, target: machine, flags: 0x40, mac: MAC });
    expect(ask({ source: "::", destination: groupOf(machine), payload: asks(machine, []) })).toBe("silence");
    neighbours.learn(Int32Array.from(ip6(machine)), 0, 0x5254, 9);
    expect(ask(asked)).toBe("ndp-not-ours");
    for (const target of [GUEST6, "2001:db8::1", "fe80::3"]) {
      expect(ask({ destination: groupOf(target), payload: asks(target) })).toBe("ndp-not-ours");
    }
  });

  it("N14 that probe for an address of ours are answered to all nodes, S clear", () => {
    const { ask, neighbours, heard } = setUp();
    expect(ask({ source: "::", destination: groupOf(ROUTER6), payload: asks(ROUTER6, []) })).toEqual({
      destination: "ff02::1",
      source: ROUTER6,
      target: ROUTER6,
      flags: 0xa0,
      type: 136,
      mac: [0x33, 0x33, 0, 0, 0, 1],
    });
    expect([neighbours.size, heard]).toEqual([0, []]);
  });

  it("N15 are dropped when they are broken, checksum included, and teach nothing", () => {
    const { ask, handle, neighbours } = setUp();
    expect(ask({ destination: ROUTER6, payload: asks(ROUTER6), hopLimit: 64 })).toBe("ndp-malformed");
    const packet = icmp6({ destination: ROUTER6, payload: asks(ROUTER6) });
    packet[70] ^= 1;
    expect(DROP_REASONS[-handle(packet)]).toBe("ndp-malformed");
    expect(neighbours.size).toBe(0);
    // A link that vouches for checksums is believed.
    expect(handle(packet, { verify: false })).toBeLessThanOrEqual(NDP_FRAME_OCTETS);
  });

  it("N15 are not looked at when they are sent to nobody here", () => {
    const { ask, neighbours } = setUp();
    for (const destination of ["2001:db8::1", GUEST6, "ff01::1", "ff00::1"]) {
      expect(ask({ destination, payload: asks(ROUTER6) })).toBe("ndp-not-ours");
    }
    expect(neighbours.size).toBe(0);
    expect(ask({ destination: "ff02::1", payload: asks(ROUTER6) })).toMatchObject({ target: ROUTER6 });
  });

  it("N16 are dropped in fragments, the atomic ones included", () => {
    const { ask, neighbours } = setUp();
    expect(ask({ destination: ROUTER6, payload: asks(ROUTER6) }, { fragmented: true })).toBe("ndp-malformed");
    expect(neighbours.size).toBe(0);
  });

  it("are not answered to an address that is not on the link", () => {
    const { ask, neighbours } = setUp();
    expect(ask({ source: "2001:db8::9", destination: ROUTER6, payload: asks(ROUTER6) })).toBe("ndp-not-ours");
    expect(neighbours.size).toBe(0);
  });
});

describe("what a guest claims", () => {
  it("N17 of our addresses changes nothing and is answered once a second", () => {
    const { ask, neighbours, heard } = setUp();
    const claim: Ip6Packet = { source: ROUTER6, destination: groupOf(GUEST6), payload: asks(GUEST6) };
    const defence = { destination: "ff02::1", target: ROUTER6, flags: 0xa0, mac: [0x33, 0x33, 0, 0, 0, 1] };
    expect(ask(claim, { now: 5 })).toMatchObject(defence);
    const advertisement: Ip6Packet = {
      source: LINK_LOCAL,
      destination: "ff02::1",
      payload: neighbourMessage(136, 0x20, RESOLVER, macOption(2, MAC)),
    };
    expect(ask(advertisement, { now: 1004 })).toBe("ndp-not-ours");
    expect(ask(advertisement, { now: 1005 })).toMatchObject({ ...defence, target: RESOLVER, flags: 0x20 });
    expect([neighbours.size, heard]).toEqual([0, []]);
  });

  it("N17 is answered at once whatever the clock says first", () => {
    const { ask } = setUp();
    const claim: Ip6Packet = { source: ROUTER6, destination: groupOf(GUEST6), payload: asks(GUEST6) };
    expect(ask(claim, { now: -0x80000000 })).toMatchObject({ target: ROUTER6 });
  });
});

describe("neighbours are learned", () => {
  it("N18 from solicitations of neighbours and routers, by option or by frame", () => {
    const { ask, macOf, heard, solicited } = setUp();
    ask({ destination: ROUTER6, payload: asks(ROUTER6, macOption(1, OTHER_MAC)) });
    expect(macOf(GUEST6)).toBe(9);
    ask({ destination: ROUTER6, payload: asks(ROUTER6, []) });
    expect(macOf(GUEST6)).toBe(MAC_LOW);
    expect(ask({ source: LINK_LOCAL, payload: RS })).toBe("silence");
    expect(macOf(LINK_LOCAL)).toBe(MAC_LOW);
    expect(ask({ source: LINK_LOCAL, payload: [...RS, ...macOption(1, OTHER_MAC)] })).toBe("silence");
    expect(macOf(LINK_LOCAL)).toBe(9);
    expect(heard).toEqual([GUEST6, GUEST6, LINK_LOCAL, LINK_LOCAL]);
    expect(solicited).toEqual([`${LINK_LOCAL} 5254 123456`, `${LINK_LOCAL} 5254 9`]);
  });

  it("N18 from advertisements, asked for or not (RFC 9131)", () => {
    const { ask, macOf, heard } = setUp();
    const payload = (flags: number, mac: readonly number[]) =>
      neighbourMessage(136, flags, GUEST6, macOption(2, mac));
    expect(ask({ source: LINK_LOCAL, destination: "ff02::2", payload: payload(0x20, MAC) })).toBe("silence");
    expect(macOf(GUEST6)).toBe(MAC_LOW);
    // Without the override flag nothing that is known is replaced.
    ask({ source: LINK_LOCAL, destination: "ff02::1", payload: payload(0, OTHER_MAC) });
    expect(macOf(GUEST6)).toBe(MAC_LOW);
    ask({ source: LINK_LOCAL, destination: "fe80::2", payload: payload(0x60, OTHER_MAC) });
    expect(macOf(GUEST6)).toBe(9);
    expect(heard).toEqual([GUEST6, GUEST6]);
  });

  it("N18 never with group or zero MACs, nor from ::", () => {
    const { ask, neighbours, solicited } = setUp();
    for (const mac of [
      [0x33, 0x33, 0, 0, 0, 1],
      [0, 0, 0, 0, 0, 0],
    ]) {
      ask({ destination: ROUTER6, payload: asks(ROUTER6, macOption(1, mac)) });
    }
    ask({ source: "::", payload: RS });
    expect(neighbours.size).toBe(0);
    expect(solicited).toEqual([":: 5254 123456"]);
  });

  it("never outside the link", () => {
    const { ask, neighbours, solicited } = setUp();
    const payload = neighbourMessage(136, 0x20, "2001:db8::5", macOption(2, MAC));
    expect(ask({ source: LINK_LOCAL, destination: "ff02::1", payload })).toBe("ndp-not-ours");
    expect(ask({ source: "2001:db8::5", payload: RS })).toBe("ndp-not-ours");
    expect(ask({ source: ROUTER6, payload: RS })).toBe("ndp-not-ours");
    expect([neighbours.size, solicited]).toEqual([0, []]);
  });
});

describe("the first of our addresses", () => {
  const claims: readonly (readonly [string, Ip6Packet, string | object])[] = [
    ["as the source of a router solicitation", { source: "fe80::2", payload: RS }, "ndp-not-ours"],
    [
      "probed for",
      { source: "::", destination: groupOf("fe80::2"), payload: asks("fe80::2", []) },
      { destination: "ff02::1", target: "fe80::2", source: "fe80::2" },
    ],
    [
      "as the source of a solicitation",
      { source: "fe80::2", destination: groupOf(GUEST6), payload: asks(GUEST6) },
      { destination: "ff02::1", target: "fe80::2" },
    ],
    [
      "advertised",
      {
        source: LINK_LOCAL,
        destination: "ff02::1",
        payload: neighbourMessage(136, 0x20, "fe80::2", macOption(2, MAC)),
      },
      { destination: "ff02::1", target: "fe80::2" },
    ],
  ];
  it.each(claims)("is defended: %s", (_name, packet, answer) => {
    const { ask, neighbours, heard, solicited } = setUp();
    const said = ask(packet);
    if (typeof answer === "string") expect(said).toBe(answer);
    else expect(said).toMatchObject(answer);
    expect([neighbours.size, heard, solicited]).toEqual([0, [], []]);
  });
});

describe("what a guest has", () => {
  it("is heard of by its probe, where it is of the prefix, without its being learned", () => {
    const { ask, heard, neighbours } = setUp();
    const probed = [GUEST6, LINK_LOCAL, "fd71:1ae0:d44d:3::15", "fd71:1ae1:d44d:2::15"];
    for (const target of probed)
      expect(ask({ source: "::", destination: groupOf(target), payload: asks(target, []) })).toBe("silence");
    expect([heard, neighbours.size]).toEqual([[GUEST6], 0]);
  });

  it("may be link-local, as source and as what is advertised", () => {
    const { ask, macOf } = setUp();
    expect(ask({ source: LINK_LOCAL, destination: ROUTER6, payload: asks(ROUTER6, []) })).toMatchObject({
      destination: LINK_LOCAL,
      target: ROUTER6,
    });
    for (const target of ["fe80::9", "febf::9"]) {
      const payload = neighbourMessage(136, 0x20, target, macOption(2, OTHER_MAC));
      expect(ask({ source: LINK_LOCAL, destination: "ff02::1", payload })).toBe("silence");
      expect([target, macOf(target)]).toEqual([target, 9]);
    }
    const payload = neighbourMessage(136, 0x20, "fec0::9", macOption(2, OTHER_MAC));
    expect(ask({ source: LINK_LOCAL, destination: "ff02::1", payload })).toBe("ndp-not-ours");
  });

  it.each(["fd71:1ae0:d44d:3::15", "fd71:1ae1:d44d:2::15"])(
    "is not %s, of which half is the prefix's",
    (text) => {
      const { ask, neighbours } = setUp();
      expect(ask({ source: text, destination: ROUTER6, payload: asks(ROUTER6) })).toBe("ndp-not-ours");
      const payload = neighbourMessage(136, 0x20, text, macOption(2, MAC));
      expect(ask({ source: LINK_LOCAL, destination: "ff02::1", payload })).toBe("ndp-not-ours");
      expect(neighbours.size).toBe(0);
    },
  );

  it("is learned without the override flag where nothing is known, and heard of where that says the same", () => {
    const { ask, macOf, heard } = setUp(false, { capacity: 1 });
    const advertise = (mac: readonly number[]) =>
      ask({
        source: LINK_LOCAL,
        destination: "ff02::1",
        payload: neighbourMessage(136, 0, GUEST6, macOption(2, mac)),
      });
    expect([advertise(MAC), macOf(GUEST6), heard.length]).toEqual(["silence", MAC_LOW, 1]);
    expect([advertise(MAC), heard.length]).toEqual(["silence", 2]);
    for (const other of [MAC.with(0, 0x56), MAC.with(5, 0x57)])
      expect([advertise(other), macOf(GUEST6), heard.length]).toEqual(["silence", MAC_LOW, 2]);
  });

  it("is not answered for where the prefix is shared, be it the only thing known", () => {
    const { ask, neighbours } = setUp(true, { capacity: 1 });
    neighbours.lease(Int32Array.from(ip6(GUEST6)), 0, 0x5254, 9);
    const asked = { source: LINK_LOCAL, destination: groupOf(GUEST6), payload: asks(GUEST6) };
    expect(ask(asked)).toBe("ndp-not-ours");
  });
});

describe("other ICMPv6", () => {
  it.each([
    ["N9 router advertisements", 134, "ndp-router"],
    ["N9 redirects", 137, "ndp-router"],
    ["N23 MLD queries", 130, "mld"],
    ["N23 MLD reports", 131, "mld"],
    ["N23 MLDv2 reports", 143, "mld"],
    ["echo requests", 128, "icmpv6"],
    ["N65 packet too big", 2, "icmpv6"],
    ["what nobody knows", 200, "icmpv6"],
  ])("%s change nothing and are counted", (_name, type, reason) => {
    const { ask, neighbours } = setUp();
    const payload = [type, 0, 0, 0, ...new Array<number>(20).fill(0)];
    for (const destination of ["ff02::1", ROUTER6, "2001:db8::1"]) {
      expect(ask({ destination, payload })).toBe(reason);
    }
    expect(neighbours.size).toBe(0);
  });

  it("is dropped when there is next to nothing of it", () => {
    const { handle } = setUp();
    expect(DROP_REASONS[-handle(icmp6({ payload: [135, 0, 0, 0] }).slice(0, 43))]).toBe("icmpv6");
    expect(DROP_REASONS[-handle(icmp6({ payload: [135, 0, 0, 0] }))]).toBe("ndp-malformed");
  });
});

describe("asking", () => {
  it("N19 goes from fe80::2 to the solicited-node group with option 1, as tshark reads it", (context) => {
    needs(context, { commands: ["tshark"] });
    const { discovery, frame, handle } = setUp();
    const request = frame(discovery.request(REPLY_AT, Int32Array.from(ip6(GUEST6)), 0));
    const answer = frame(handle(icmp6({ destination: ROUTER6, payload: asks(ROUTER6) })));
    const fields = ["eth.dst", "ipv6.src", "ipv6.dst", "ipv6.hlim", "icmpv6.type", "icmpv6.opt.linkaddr"];
    const [asked, answered] = readWithTshark([request, answer], fields);
    expect(asked).toEqual({
      fields: {
        "eth.dst": ["33:33:ff:00:00:15"],
        "ipv6.src": ["fe80::2"],
        "ipv6.dst": ["ff02::1:ff00:15"],
        "ipv6.hlim": ["255"],
        "icmpv6.type": ["135"],
        "icmpv6.opt.linkaddr": ["52:55:0a:00:02:02"],
      },
      complaints: [],
    });
    expect(answered.complaints).toEqual([]);
    expect(answered.fields["eth.dst"]).toEqual(["52:54:00:12:34:56"]);
  });

  it("takes any octets without throwing, and writes nothing but whole replies", () => {
    const { octets, handle, neighbours } = setUp();
    const packet = fc
      .tuple(
        fc.constantFrom(133, 135, 136),
        fc.constantFrom("::", GUEST6, ROUTER6, LINK_LOCAL),
        fc.constantFrom("ff02::1", groupOf(ROUTER6), ROUTER6),
        fc.constantFrom(ROUTER6, GUEST6, RESOLVER),
        fc.array(fc.nat(255), { maxLength: 24 }),
      )
      .map(([type, source, destination, target, rest]) =>
        icmp6({ source, destination, payload: [...neighbourMessage(135, 0, target), ...rest].with(0, type) }),
      );
    fc.assert(
      fc.property(packet, fc.boolean(), (input, verify) => {
        octets.fill(0xee, REPLY_AT);
        const result = handle(input, { verify });
        expect(result <= 0 || result === NDP_FRAME_OCTETS).toBe(true);
        expect(octets.subarray(REPLY_AT + Math.max(0, result)).every((octet) => octet === 0xee)).toBe(true);
        expect(neighbours.size).toBeLessThanOrEqual(neighbours.capacity);
      }),
      { numRuns: 2000 },
    );
  });

  it("N19 goes once a second at most, to whatever address", () => {
    const { egress, scratch, counters, arena, checksum, sent, link } = wayOut();
    const discovery = new NeighbourDiscovery({
      view: arena.view,
      checksum,
      neighbours: new Neighbours6(),
      listener: { routerSolicited: () => HANDLED, guestHeard: () => {} },
      ownAddresses: Int32Array.from(["fe80::2", ROUTER6].flatMap(ip6)),
      gatewayMac: Uint8Array.of(0x52, 0x55, 10, 0, 2, 2),
      prefix: Int32Array.from(ip6("fd71:1ae0:d44d:2::")),
    });
    const ndp = new Ndp(discovery, egress, scratch, counters, 0);
    const guests = Int32Array.from([...ip6(GUEST6), ...ip6("fd71:1ae0:d44d:2::16")]);
    expect([0, 1, 999, 1000].map((now) => ndp.ask(guests, now < 1000 ? 0 : 4, now))).toEqual([
      true,
      false,
      false,
      true,
    ]);
    expect(sent().map((frame) => frame.at(-9))).toEqual([0x15, 0x16]);
    expect(counters.value("ndp-requests")).toBe(2);
    link.full = true;
    while (egress.hasRoom()) egress.queue.push(14, 0, 0, 0, 0, 0);
    expect(ndp.ask(guests, 0, 5000)).toBe(false);
    link.full = false;
    egress.blocked = false;
    expect(ndp.ask(guests, 0, 5000)).toBe(true);
  });
});
