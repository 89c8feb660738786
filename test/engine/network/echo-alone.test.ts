/** Pings one layer alone: the octets of an answer, what is too long for one, and what there is no room for. */
import { describe, expect, it } from "vitest";
import { SCRATCH_OCTETS, TX_QUEUE_MAX } from "../../../src/engine/limits.ts";
import { Packet } from "../../../src/engine/memory/packet.ts";
import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";
import { Echo } from "../../../src/engine/network/echo.ts";
import { ip } from "../../support/frames.ts";
import { frame6, GUEST6, icmp6, ip6, packet6, ROUTER6 } from "../../support/frames6.ts";
import { GATEWAY_MAC, wayOut } from "../../support/way-out.ts";

const GUEST = ip("10.0.2.15");
const GATEWAY = ip("10.0.2.2");
const GUEST_MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const MTU = 1500;

/** RFC 1071, octet by octet. */
function checksum(octets: readonly number[]): [number, number] {
  let sum = 0;
  octets.forEach((octet, i) => {
    sum += i % 2 === 0 ? octet << 8 : octet;
  });
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return [(~sum & 0xffff) >>> 8, ~sum & 0xff];
}

/** An ICMP message with so many octets of data. */
function message(type: number, code: number, data: number): number[] {
  const octets = [
    type,
    code,
    0,
    0,
    0x12,
    0x34,
    0,
    7,
    ...Array.from({ length: data }, (_, i) => (i * 31) & 255),
  ];
  octets.splice(2, 2, ...checksum(octets));
  return octets;
}

/** The same of IPv6, its checksum yet to come. */
const message6 = (type: number, data: number): number[] => message(type, 0, data).with(2, 0).with(3, 0);

/** A header without options. */
function header(from: number[], to: number[], octets: number): number[] {
  const total = 20 + octets;
  const fields = [0x45, 0, total >>> 8, total & 255, 0xab, 0xcd, 0, 0, 64, 1, 0, 0, ...from, ...to];
  fields.splice(10, 2, ...checksum(fields));
  return fields;
}

function setUp() {
  const way = wayOut();
  const { arena, egress, scratch, counters, checksum: kernel } = way;
  const { octets, view, rxWindowAt: at } = arena;
  const echo = new Echo({ octets, view, checksum: kernel, counters, egress, scratch, mtu: MTU });
  const packet = new Packet();
  const place = (input: readonly number[], headerOctets: number): Packet => {
    octets.set(input, at);
    return Object.assign(packet, {
      networkAt: at,
      transportAt: at + headerOctets,
      transportOctets: input.length - headerOctets,
      sourceHigh: 0x5254,
      sourceLow: 0x00123456,
      guestAddress: GUEST,
      remoteAddress: GATEWAY,
    });
  };
  const own = { isOwn: (address: number) => address === GATEWAY };
  const take = (icmp: readonly number[], remote = GATEWAY): string => {
    place([...header([10, 0, 2, 15], [10, 0, 2, 2], icmp.length), ...icmp], 20).remoteAddress = remote;
    return DROP_REASONS[echo.packet(packet, own)];
  };
  const place6 = (input: Uint8Array): Packet => {
    place([...input], 40).pair.set([...ip6(GUEST6), ...ip6(ROUTER6)]);
    return packet;
  };
  const take6 = (data: number, bent = 0): string => {
    const input = icmp6({ destination: ROUTER6, payload: message6(128, data) });
    input[45] ^= bent;
    return DROP_REASONS[echo.packet6(place6(input))];
  };
  const isRequest6 = (payload: number[]): boolean =>
    echo.isRequest6(place6(packet6({ destination: ROUTER6, next: 58, payload })));
  const frames = (): Buffer[] => way.sent().map((frame) => Buffer.from(frame));
  return { ...way, take, take6, isRequest6, frames };
}

describe("an answer", () => {
  it.each([0, 1, 56, MTU - 28])("to a ping with %i octets is its mirror, identification and all", (data) => {
    const { take, frames, counters } = setUp();
    expect(take(message(8, 0, data))).toBe("handled");
    const answer = message(0, 0, data);
    expect(frames()).toEqual([
      Buffer.from([
        ...[...GUEST_MAC, ...GATEWAY_MAC, 8, 0],
        ...header([10, 0, 2, 2], [10, 0, 2, 15], answer.length),
        ...answer,
      ]),
    ]);
    expect(counters.value("echo-replies")).toBe(1);
  });

  it.each([0, 1, 56, MTU - 48])("over IPv6 to one with %i octets likewise", (data) => {
    const { take6, frames, counters } = setUp();
    expect(take6(data)).toBe("handled");
    const answer = icmp6({
      source: ROUTER6,
      destination: GUEST6,
      hopLimit: 64,
      payload: message6(129, data),
    });
    expect(frames()).toEqual([Buffer.from(frame6(answer, GUEST_MAC, [...GATEWAY_MAC]))]);
    expect(counters.value("echo-replies")).toBe(1);
  });

  it("is not given to what is too long for one packet", () => {
    const { take, take6, frames } = setUp();
    expect([take(message(8, 0, MTU - 27)), take6(MTU - 47), frames()]).toEqual(["icmp", "icmpv6", []]);
  });

  it("is not given to what is no request, nor to who is not ours", () => {
    const { take, frames } = setUp();
    for (const icmp of [message(0, 0, 8), message(8, 1, 8), message(13, 0, 8), message(8, 0, 0).slice(0, 7)])
      expect(take(icmp)).toBe("icmp");
    expect([take(message(8, 0, 8), GATEWAY + 1), frames()]).toEqual(["icmp", []]);
    expect(take(message(8, 0, 8).with(9, 99))).toBe("icmp-bad-checksum");
  });
});

describe("a request over IPv6", () => {
  it.each([
    ["with a whole header", message(128, 0, 0), true],
    ["with seven octets", message(128, 0, 0).slice(0, 7), false],
    ["with a code", message(128, 1, 0), false],
    ["that is an answer", message(129, 0, 0), false],
  ])("is one %s: %s", (_name, payload, isOne) => {
    expect(setUp().isRequest6(payload)).toBe(isOne);
  });

  it("is dropped with a wrong checksum", () => {
    const { take6, frames } = setUp();
    expect([take6(8, 1), frames()]).toEqual(["icmp-bad-checksum", []]);
  });
});

describe("without room", () => {
  it("to write in, nothing is answered", () => {
    const { take, take6, egress, scratch, link, counters } = setUp();
    link.full = true;
    egress.queue.push(14, 0, 0, 0, 0, 0);
    scratch.keep(SCRATCH_OCTETS);
    expect([take(message(8, 0, 8)), take6(8), egress.queue.length]).toEqual(["link-full", "link-full", 1]);
    expect(counters.value("echo-replies")).toBe(0);
  });

  it("for a whole answer, nothing is answered, and for one octet less it is", () => {
    // Ethernet's header, IP's, ICMP's and the data: a multiple of four, as room is given.
    for (const [left, verdict] of [
      [60, "handled"],
      [56, "link-full"],
    ] as const) {
      const { take, egress, scratch, link } = setUp();
      link.full = true;
      egress.queue.push(14, 0, 0, 0, 0, 0);
      scratch.keep(SCRATCH_OCTETS - left);
      expect([left, take(message(8, 0, 60 - 42))]).toEqual([left, verdict]);
    }
    for (const [left, verdict] of [
      [64, "handled"],
      [60, "link-full"],
    ] as const) {
      const { take6, egress, scratch, link } = setUp();
      link.full = true;
      egress.queue.push(14, 0, 0, 0, 0, 0);
      scratch.keep(SCRATCH_OCTETS - left);
      expect([left, take6(64 - 62)]).toEqual([left, verdict]);
    }
  });

  it("on the link, nothing is answered", () => {
    const { take, take6, egress, link, counters } = setUp();
    link.full = true;
    while (egress.hasRoom()) egress.queue.push(14, 0, 0, 0, 0, 0);
    expect([take(message(8, 0, 8)), take6(8)]).toEqual(["link-full", "link-full"]);
    expect([egress.queue.length, counters.value("echo-replies")]).toEqual([TX_QUEUE_MAX, 0]);
  });
});
