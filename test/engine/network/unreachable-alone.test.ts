/** Destination unreachable one layer alone: who is told, how often, and what there is no room for. */
import { describe, expect, it } from "vitest";
import { defaultEngineConfig, defaultIpv6Config } from "../../../src/engine/config.ts";
import { SCRATCH_OCTETS } from "../../../src/engine/limits.ts";
import { Packet } from "../../../src/engine/memory/packet.ts";
import { DROP_REASONS, type DropReasonName, dropReason } from "../../../src/engine/metrics/drop-reasons.ts";
import { Destinations } from "../../../src/engine/network/destinations.ts";
import { Unreachable } from "../../../src/engine/network/unreachable.ts";
import { ip } from "../../support/frames.ts";
import { frame6, GUEST6, icmp6, ip6, packet6, ROUTER6 } from "../../support/frames6.ts";
import { GATEWAY_MAC, wayOut } from "../../support/way-out.ts";

const GUEST = ip("10.0.2.15");
const REMOTE = ip("198.51.100.7");
const GUEST_MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const FAR6 = "2001:db8::1";
const REFUSED = dropReason("destination-refused");
const AT_ONCE = 50;

function setUp({ refuseWith = "unreachable" as "unreachable" | "prohibited", hasIpv6 = true } = {}) {
  const way = wayOut();
  const { arena, egress, scratch, counters, checksum } = way;
  const base = defaultEngineConfig();
  const config = { ...base, refuseWith, ipv6: hasIpv6 ? defaultIpv6Config(base.gatewayMac) : null };
  const destinations = new Destinations(config, null);
  const unreachable = new Unreachable({ arena, checksum, counters, egress, scratch, config, destinations });
  const packet = new Packet();
  const place = (input: readonly number[], header: number, to = GATEWAY_MAC): Packet => {
    arena.octets.set([...to, ...GUEST_MAC, 8, 0, ...input], arena.rxWindowAt);
    return Object.assign(packet, {
      frameAt: arena.rxWindowAt,
      networkAt: arena.rxWindowAt + 14,
      transportAt: arena.rxWindowAt + 14 + header,
      transportOctets: input.length - header,
      ipOctets: header,
      sourceHigh: 0x5254,
      sourceLow: 0x00123456,
      guestAddress: GUEST,
      remoteAddress: REMOTE,
      remotePort: 80,
    });
  };
  /** Tells of a packet of 28 octets; `fields` of it are otherwise. */
  const tell = (fields: Partial<Packet> = {}, reason = REFUSED, to = GATEWAY_MAC): boolean =>
    unreachable.tell(Object.assign(place(new Array<number>(28).fill(0x45), 20, to), fields), reason);
  const tell6 = (remote = FAR6, payload = [1, 2, 3, 4, 5, 6, 7, 8], nowMs = 0): boolean => {
    const input = packet6({ destination: remote, payload });
    place([...input], 40).pair.set([...ip6(GUEST6), ...ip6(remote)]);
    packet.nowMs = nowMs;
    return unreachable.tell(packet, REFUSED);
  };
  const frames = (): Buffer[] => way.sent().map((frame) => Buffer.from(frame));
  const counted = () => [counters.value("icmp-unreachable"), counters.value("icmp-unreachable-limited")];
  return { ...way, unreachable, place, packet, tell, tell6, frames, counted };
}

describe("the guest is told", () => {
  it("of refusals, and of no other reason", () => {
    const told = DROP_REASONS.filter((_, reason) => setUp().tell({}, reason));
    const refusals: DropReasonName[] = [
      "destination-refused",
      "destination-restricted",
      "destination-no-service",
      "control-refused",
      "policy-no-rule",
      "policy-denied",
      "policy-address-unnamed",
      "policy-question-refused",
    ];
    expect(told).toEqual(refusals);
  });

  it.each([
    ["unreachable", 0],
    ["prohibited", 13],
  ] as const)("%s, octet for octet", (refuseWith, code) => {
    const { tell, frames, counted } = setUp({ refuseWith });
    expect(tell()).toBe(true);
    const [frame] = frames();
    expect(frame.subarray(0, 14)).toEqual(Buffer.from([...GUEST_MAC, ...GATEWAY_MAC, 8, 0]));
    expect(frame.subarray(14, 24).toString("hex")).toBe("45c00038" + "00004000" + "4001");
    expect(frame.subarray(26, 34)).toEqual(Buffer.from([10, 0, 2, 2, 10, 0, 2, 15]));
    expect([...frame.subarray(34, 36), ...frame.subarray(38, 42)]).toEqual([3, code, 0, 0, 0, 0]);
    expect(frame.subarray(42)).toEqual(Buffer.alloc(28, 0x45));
    expect([sum(frame.subarray(14, 34)), sum(frame.subarray(34)), ...counted()]).toEqual([
      0xffff, 0xffff, 1, 0,
    ]);
  });

  it.each([
    ["unreachable", 0, FAR6, ROUTER6],
    ["prohibited", 1, FAR6, ROUTER6],
    ["unreachable", 0, "fe80::2", "fe80::2"],
  ] as const)("over IPv6 %s, code %i, of %s from %s, octet for octet", (refuseWith, code, to, from) => {
    const { tell6, frames, unreachable } = setUp({ refuseWith });
    unreachable.own6 = { isOwn: (words, index) => words[index] === ip6("fe80::2")[0] && index === 4 };
    expect(tell6(to)).toBe(true);
    const quoted = [...packet6({ destination: to, payload: [1, 2, 3, 4, 5, 6, 7, 8] })];
    const message = icmp6({
      source: from,
      destination: GUEST6,
      hopLimit: 64,
      payload: [1, code, 0, 0, 0, 0, 0, 0, ...quoted],
    });
    expect(frames()).toEqual([Buffer.from(frame6(message, GUEST_MAC, [...GATEWAY_MAC]))]);
  });

  it.each([
    [547, 576],
    [548, 576],
    [549, 576],
  ])("of a packet of %i octets by a message of at most %i", (octets, most) => {
    const { place, unreachable, frames } = setUp();
    unreachable.tell(place(new Array<number>(octets).fill(0x45), 20), REFUSED);
    expect(frames().map((frame) => frame.length)).toEqual([14 + Math.min(28 + octets, most)]);
  });

  it.each([
    [1231, 1280],
    [1232, 1280],
    [1233, 1280],
  ])("over IPv6 of a packet of %i octets by a message of at most %i", (octets, most) => {
    const { tell6, frames } = setUp();
    tell6(FAR6, new Array<number>(octets - 40).fill(7));
    expect(frames().map((frame) => frame.length)).toEqual([14 + Math.min(48 + octets, most)]);
  });
});

/** RFC 1071, octet by octet. */
function sum(octets: Uint8Array): number {
  let total = 0;
  octets.forEach((octet, i) => {
    total += i % 2 === 0 ? octet << 8 : octet;
  });
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

describe("a message", () => {
  it("is written where there is no IPv6 as well", () => {
    const { tell, frames } = setUp({ hasIpv6: false });
    expect([tell(), frames().length]).toEqual([true, 1]);
  });

  it("is written over nothing behind it", () => {
    const { place, unreachable, arena, frames } = setUp();
    const end = arena.scratchAt + 14 + 28 + 100;
    arena.octets.fill(0xee, arena.scratchAt, end + 100);
    // The packet is followed by others in the link's window.
    const packet = place(new Array<number>(100).fill(0x45), 20);
    arena.octets.fill(0x77, packet.networkAt + 100, packet.networkAt + 200);
    expect(unreachable.tell(packet, REFUSED)).toBe(true);
    expect(arena.octets.slice(end, end + 100)).toEqual(new Uint8Array(100).fill(0xee));
    expect(frames()[0]?.subarray(42)).toEqual(Buffer.alloc(100, 0x45));
  });
});

describe("nobody is told", () => {
  it.each<[string, Partial<Packet>]>([
    ["without an address", { guestAddress: 0 }],
    ["of a group", { remoteAddress: ip("224.0.0.1") }],
    ["of the subnet's broadcast address", { remoteAddress: ip("10.0.2.255") }],
    ["of 0.0.0.0", { remoteAddress: 0 }],
  ])("%s", (_name, fields) => {
    const { tell, frames, counted } = setUp();
    expect([tell(fields), frames(), counted()]).toEqual([false, [], [0, 0]]);
  });

  it("of what was for many on the link, or in a group of IPv6", () => {
    const { tell, tell6, frames } = setUp();
    expect([tell({}, REFUSED, Uint8Array.of(1, 0, 0x5e, 0, 0, 1)), tell6("ff02::fb"), tell6("::1")]).toEqual([
      false,
      false,
      false,
    ]);
    expect(frames()).toEqual([]);
  });

  it("while there is no room to write in, or none on the link", () => {
    const { tell, tell6, egress, scratch, link, counted } = setUp();
    link.full = true;
    egress.queue.push(14, 0, 0, 0, 0, 0);
    scratch.keep(SCRATCH_OCTETS);
    expect([tell(), tell6(), egress.queue.length]).toEqual([false, false, 1]);
    const full = setUp();
    full.link.full = true;
    while (full.egress.hasRoom()) full.egress.queue.push(14, 0, 0, 0, 0, 0);
    expect([full.tell(), full.tell6()]).toEqual([false, false]);
    expect([...counted(), ...full.counted()]).toEqual([0, 0, 0, 0]);
  });

  it("but to the octet: a message that fits is written", () => {
    for (const [left, isTold] of [
      [72, true],
      [68, false],
    ] as const) {
      const { tell, egress, scratch, link } = setUp();
      link.full = true;
      egress.queue.push(14, 0, 0, 0, 0, 0);
      scratch.keep(SCRATCH_OCTETS - left);
      expect([left, tell()]).toEqual([left, isTold]);
    }
  });
});

describe("so many messages", () => {
  it("leave at once, and one more each millisecond up to as many", () => {
    const { tell, tell6, counted } = setUp();
    const many = (nowMs: number): number =>
      Array.from({ length: 200 }, (_, i) =>
        i % 2 === 0 ? tell({ nowMs }) : tell6(FAR6, undefined, nowMs),
      ).filter((isTold) => isTold).length;
    expect([many(0), many(0), many(1), many(4), many(4 + AT_ONCE - 1)]).toEqual([
      AT_ONCE,
      0,
      1,
      3,
      AT_ONCE - 1,
    ]);
    expect([many(5000), many(5000 + 2 * AT_ONCE)]).toEqual([AT_ONCE, AT_ONCE]);
    expect(counted()[0] + counted()[1]).toBe(7 * 200);
  });

  it("leave across the wrap of the clock, and when it has gone half its way round", () => {
    const { tell } = setUp();
    const many = (nowMs: number): number =>
      Array.from({ length: 60 }, () => tell({ nowMs })).filter((isTold) => isTold).length;
    expect([many(0), many(0x7fffffff), many(-0x80000000), many(-0x7ffffffe)]).toEqual([
      AT_ONCE,
      AT_ONCE,
      1,
      2,
    ]);
    expect(many(1000)).toBe(AT_ONCE);
  });

  it("are not used up by what nobody is told of", () => {
    const { tell } = setUp();
    for (let i = 0; i < 200; i++) tell({}, dropReason("destination-silent"));
    for (let i = 0; i < 200; i++) tell({ guestAddress: 0 });
    expect(tell()).toBe(true);
  });
});

describe("a transport", () => {
  function telling(reason: number, remotePort = 9) {
    const world = setUp();
    const transport = world.unreachable.telling({ packet: () => reason });
    const packet = Object.assign(world.place(new Array<number>(28).fill(0x45), 20), { remotePort });
    const result = transport.packet(packet);
    return [result, world.frames().length];
  }

  it("has the guest told of what it refuses, and its word stands", () => {
    expect(telling(REFUSED)).toEqual([REFUSED, 1]);
    expect(telling(0)).toEqual([0, 0]);
    expect(telling(dropReason("udp-malformed"))).toEqual([dropReason("udp-malformed"), 0]);
  });

  it("says itself what becomes of questions to DNS", () => {
    expect(telling(REFUSED, 53)).toEqual([REFUSED, 0]);
  });
});
