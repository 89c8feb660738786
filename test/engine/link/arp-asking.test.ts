/** ARP on the link: what is answered and asked for, and what is not when there is no room. */
import { describe, expect, it } from "vitest";
import { SCRATCH_OCTETS } from "../../../src/engine/limits.ts";
import { ARP_FRAME_OCTETS, Arp, ArpResponder } from "../../../src/engine/link/arp.ts";
import { Neighbours } from "../../../src/engine/link/neighbours.ts";
import { Packet } from "../../../src/engine/memory/packet.ts";
import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";
import { ip } from "../../support/frames.ts";
import { GATEWAY_MAC, wayOut } from "../../support/way-out.ts";

const GATEWAY = ip("10.0.2.2");
const DNS = ip("10.0.2.3");
const GUEST = ip("10.0.2.15");
const MACHINE = ip("10.0.2.77");
const GUEST_MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const NOBODY_MAC = [0, 0, 0, 0, 0, 0];
const BROADCAST = [255, 255, 255, 255, 255, 255];
const [REQUEST, REPLY] = [1, 2];

/** The octets of an address, most significant first. */
const quad = (address: number): number[] => [24, 16, 8, 0].map((shift) => (address >>> shift) & 255);

interface Message {
  readonly from?: readonly number[];
  readonly sender?: number;
  readonly target: number;
  readonly to?: readonly number[];
  readonly operation?: number;
}

function message({
  from = GUEST_MAC,
  sender = GUEST,
  target,
  to = NOBODY_MAC,
  operation = REQUEST,
}: Message) {
  return [0, 1, 8, 0, 6, 4, 0, operation, ...from, ...quad(sender), ...to, ...quad(target)];
}

const asked = (target: number) => [
  ...[...BROADCAST, ...GATEWAY_MAC, 8, 6],
  ...message({ from: [...GATEWAY_MAC], sender: GATEWAY, target }),
];

const answered = (address: number, to = GUEST) => [
  ...[...GUEST_MAC, ...GATEWAY_MAC, 8, 6],
  ...message({ from: [...GATEWAY_MAC], sender: address, to: GUEST_MAC, target: to, operation: REPLY }),
];

function setUp({ nowMs = 0, guests = null as readonly number[] | null } = {}) {
  const way = wayOut();
  const { arena, egress, scratch, counters } = way;
  const neighbours = new Neighbours();
  const responder = new ArpResponder({
    view: arena.view,
    neighbours,
    ownAddresses: [GATEWAY, DNS],
    gatewayMac: GATEWAY_MAC,
    network: ip("10.0.2.0"),
    netmask: ip("255.255.255.0"),
    ...(guests && { sharedWith: { isGuest: (address: number) => guests.includes(address) } }),
  });
  const arp = new Arp(responder, egress, scratch, counters, nowMs);
  const packet = new Packet();
  const take = (octets: readonly number[]): string => {
    arena.octets.set(octets, arena.rxWindowAt);
    Object.assign(packet, { networkAt: arena.rxWindowAt, networkOctets: octets.length });
    return DROP_REASONS[arp.packet(packet)];
  };
  /** Asks as in a turn; whether a request left. */
  const ask = (guest: number, now: number): boolean => {
    egress.unresolved = guest;
    arp.ask(now);
    return way.link.frames.splice(0).length > 0;
  };
  const sent = (): number[][] => way.sent().map((frame) => [...frame]);
  return { ...way, neighbours, arp, take, ask, sent };
}

describe("a guest that is wanted and not known", () => {
  it("is asked for by a request from the gateway to all, once", () => {
    const { arp, egress, link } = setUp();
    egress.unresolved = GUEST;
    arp.ask(0);
    expect(link.frames.map((frame) => [...frame])).toEqual([asked(GUEST)]);
    expect(egress.unresolved).toBe(0);
    arp.ask(10_000);
    expect(link.frames.length).toBe(1);
  });

  it("is asked for at once, and then once a second at most, whoever it is", () => {
    for (const start of [0, 5000, 0x7fffffff, -0x80000000]) {
      const { ask } = setUp({ nowMs: start });
      const at = (passed: number): number => (start + passed) | 0;
      expect(ask(GUEST, at(0))).toBe(true);
      expect(ask(GUEST, at(1))).toBe(false);
      expect(ask(GUEST + 1, at(999))).toBe(false);
      expect(ask(GUEST + 1, at(1000))).toBe(true);
      expect(ask(GUEST, at(1999))).toBe(false);
      expect(ask(GUEST, at(2000))).toBe(true);
    }
  });

  it("is remembered while it may not be asked for yet", () => {
    const { ask, egress } = setUp();
    ask(GUEST, 0);
    ask(GUEST, 500);
    expect(egress.unresolved).toBe(GUEST);
  });

  it("is not asked for while there is no link, and when there is one again", () => {
    const { ask, egress, link, counters } = setUp();
    egress.attach(null);
    expect(ask(GUEST, 0)).toBe(false);
    expect([egress.unresolved, counters.dropped("link-down")]).toEqual([GUEST, 0]);
    egress.attach(link);
    expect(ask(GUEST, 1)).toBe(true);
  });

  it("is not asked for while there is no room to write in", () => {
    const { ask, link, scratch, egress } = setUp();
    link.full = true;
    egress.queue.push(14, 0, 0, 0, 0, 0);
    scratch.keep(SCRATCH_OCTETS - ARP_FRAME_OCTETS + 1);
    expect(ask(GUEST, 0)).toBe(false);
    expect(egress.queue.length).toBe(1);
  });
});

describe("a request", () => {
  it.each([
    ["the gateway", GATEWAY],
    ["DNS", DNS],
  ])("for %s is answered, and counted", (_name, target) => {
    const { take, sent, counters, arp } = setUp();
    expect(take(message({ target }))).toBe("handled");
    expect(sent()).toEqual([answered(target)]);
    expect(counters.value("arp-replies")).toBe(1);
    expect([arp.isOwn(target), arp.isOwn(GUEST)]).toEqual([true, false]);
  });

  it("for somebody else is dropped, and a reply is taken in silence", () => {
    const { take, sent, counters } = setUp();
    expect(take(message({ target: MACHINE }))).toBe("arp-not-ours");
    expect(take(message({ target: GATEWAY, operation: REPLY }))).toBe("handled");
    expect([sent(), counters.value("arp-replies")]).toEqual([[], 0]);
  });

  it("is dropped when it is too short, and taken with padding", () => {
    const { take, sent } = setUp();
    const octets = message({ target: GATEWAY });
    expect(take(octets.slice(0, 27))).toBe("arp-malformed");
    expect(sent()).toEqual([]);
    expect(take([...octets, ...new Array<number>(18).fill(0xee)])).toBe("handled");
    expect(sent()).toEqual([answered(GATEWAY)]);
  });

  it("is dropped while there is no room to write an answer in", () => {
    const { take, scratch, egress, counters } = setUp();
    egress.queue.push(14, 0, 0, 0, 0, 0);
    scratch.keep(SCRATCH_OCTETS - 2 * ARP_FRAME_OCTETS);
    expect(take(message({ target: GATEWAY }))).toBe("handled");
    expect(take(message({ target: GATEWAY }))).toBe("link-full");
    expect(counters.value("arp-replies")).toBe(1);
  });

  it("is dropped while the link takes no more", () => {
    const { take, link, egress, counters } = setUp();
    link.full = true;
    while (egress.hasRoom()) egress.queue.push(14, 0, 0, 0, 0, 0);
    expect(take(message({ target: GATEWAY }))).toBe("link-full");
    expect(counters.value("arp-replies")).toBe(0);
  });
});

describe("who is learned", () => {
  it.each([
    ["in the subnet", GUEST, GUEST_MAC, true],
    ["at its first address", ip("10.0.2.0"), GUEST_MAC, true],
    ["at its last address", ip("10.0.2.255"), GUEST_MAC, true],
    ["below it", ip("10.0.1.255"), GUEST_MAC, false],
    ["above it", ip("10.0.3.0"), GUEST_MAC, false],
    ["at our address", DNS, GUEST_MAC, false],
    ["at none", 0, GUEST_MAC, false],
    ["whose MAC starts with zeros", GUEST, [0, 0, 0, 0, 0, 9], true],
    ["whose MAC ends with zeros", GUEST, [0x52, 0x54, 0, 0, 0, 0], true],
  ])("a sender %s", (_name, sender, from, isLearned) => {
    const { take, neighbours } = setUp();
    expect(take(message({ sender, from, target: GATEWAY }))).toBe("handled");
    expect(neighbours.size).toBe(isLearned ? 1 : 0);
    const i = neighbours.find(sender);
    expect(i >= 0).toBe(isLearned);
    if (i < 0) return;
    const mac = [...quad(neighbours.macHigh[i]).slice(2), ...quad(neighbours.macLow[i])];
    expect([neighbours.address[i], mac]).toEqual([sender, [...from]]);
  });
});

describe("where other machines have addresses of the subnet", () => {
  const shared = { guests: [GUEST, GUEST + 1] };

  it.each([
    ["another machine's", MACHINE],
    ["the first of the subnet", ip("10.0.2.0")],
    ["the last of the subnet", ip("10.0.2.255")],
  ])("%s address is answered for", (_name, target) => {
    const { take, sent } = setUp(shared);
    expect(take(message({ target }))).toBe("handled");
    expect(sent()).toEqual([answered(target)]);
  });

  it.each([
    ["a guest's", { target: GUEST + 1 }, "arp-not-ours"],
    ["one outside of the subnet", { target: ip("10.0.3.1") }, "arp-not-ours"],
    ["one that is probed for", { sender: 0, target: MACHINE }, "arp-not-ours"],
    ["one that is announced", { sender: MACHINE, target: MACHINE }, "handled"],
  ])("%s is not", (_name, fields, verdict) => {
    const { take, sent } = setUp(shared);
    expect(take(message(fields))).toBe(verdict);
    expect(sent()).toEqual([]);
  });

  it("ours are answered for as ever, to probes and to who claims them", () => {
    const { take, sent } = setUp(shared);
    expect(take(message({ sender: 0, target: DNS }))).toBe("handled");
    expect(take(message({ sender: DNS, target: DNS }))).toBe("handled");
    expect(sent()).toEqual([answered(DNS, 0), answered(DNS, DNS)]);
  });
});
