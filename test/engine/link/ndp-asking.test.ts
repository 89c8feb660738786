/** Neighbour Discovery on the link: what is answered and asked for, and what is not when there is no room. */
import { describe, expect, it } from "vitest";
import { SCRATCH_OCTETS } from "../../../src/engine/limits.ts";
import { NDP_FRAME_OCTETS, Ndp, NeighbourDiscovery } from "../../../src/engine/link/ndp.ts";
import { Neighbours6 } from "../../../src/engine/link/neighbours6.ts";
import { Packet } from "../../../src/engine/memory/packet.ts";
import { DROP_REASONS, dropReason, HANDLED } from "../../../src/engine/metrics/drop-reasons.ts";
import {
  frame6,
  GUEST6,
  groupOf,
  icmp6,
  ip6,
  macOption,
  neighbourMessage,
  ROUTER6,
} from "../../support/frames6.ts";
import { GATEWAY_MAC, wayOut } from "../../support/way-out.ts";

const MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const RS = [133, 0, 0, 0, 0, 0, 0, 0];
const GUEST_WORDS = Int32Array.of(0, ...ip6(GUEST6));
const SOLICITATION = icmp6({
  destination: ROUTER6,
  payload: neighbourMessage(135, 0, ROUTER6, macOption(1, MAC)),
});

function setUp({ nowMs = 0, solicitedResult = HANDLED } = {}) {
  const way = wayOut();
  const { arena, egress, scratch, counters, checksum } = way;
  const discovery = new NeighbourDiscovery({
    view: arena.view,
    checksum,
    neighbours: new Neighbours6(),
    listener: { routerSolicited: () => solicitedResult, guestHeard: () => {} },
    ownAddresses: Int32Array.from(["fe80::2", ROUTER6].flatMap(ip6)),
    gatewayMac: GATEWAY_MAC,
    prefix: Int32Array.from(ip6("fd71:1ae0:d44d:2::")),
  });
  const ndp = new Ndp(discovery, egress, scratch, counters, nowMs);
  const packet = new Packet();
  const take = (octets: Uint8Array): string => {
    arena.octets.set(octets, arena.rxWindowAt);
    Object.assign(packet, {
      networkAt: arena.rxWindowAt,
      transportAt: arena.rxWindowAt + 40,
      transportOctets: octets.length - 40,
      verify: true,
      sourceHigh: 0x5254,
      sourceLow: 0x00123456,
    });
    return DROP_REASONS[ndp.packet(packet)];
  };
  return { ...way, ndp, take };
}

describe("a question", () => {
  it("is a solicitation from the router's link-local address to the address's group", () => {
    const { ndp, link, counters } = setUp();
    expect(ndp.ask(GUEST_WORDS, 1, 0)).toBe(true);
    const asked = icmp6({
      source: "fe80::2",
      destination: groupOf(GUEST6),
      payload: neighbourMessage(135, 0, GUEST6, macOption(1, [...GATEWAY_MAC])),
    });
    expect(link.frames.map(Buffer.from)).toEqual([
      Buffer.from(frame6(asked, [0x33, 0x33, 0xff, 0, 0, 0x15], [...GATEWAY_MAC])),
    ]);
    expect(counters.value("ndp-requests")).toBe(1);
  });

  it("goes at once, and then once a second at most, whatever the clock says", () => {
    for (const start of [0, 5000, 0x7fffffff, -0x80000000]) {
      const { ndp } = setUp({ nowMs: start });
      const asks = [0, 1, 999, 1000, 1999, 2000].map((passed) =>
        ndp.ask(GUEST_WORDS, 1, (start + passed) | 0),
      );
      expect(asks).toEqual([true, false, false, true, false, true]);
    }
  });

  it("is not asked while there is no link", () => {
    const { ndp, egress, counters } = setUp();
    egress.attach(null);
    expect([ndp.ask(GUEST_WORDS, 1, 0), counters.dropped("link-down")]).toEqual([false, 0]);
    expect(counters.value("ndp-requests")).toBe(0);
  });

  it("is not asked while there is no room to write in, and asked once there is", () => {
    const { ndp, egress, scratch, link } = setUp();
    link.full = true;
    egress.queue.push(14, 0, 0, 0, 0, 0);
    scratch.keep(SCRATCH_OCTETS - NDP_FRAME_OCTETS + 1);
    expect([ndp.ask(GUEST_WORDS, 1, 0), egress.queue.length]).toEqual([false, 1]);
    link.full = false;
    egress.flush();
    expect(ndp.ask(GUEST_WORDS, 1, 0)).toBe(true);
  });
});

describe("a message", () => {
  it("is answered on the link, and counted", () => {
    const { take, sent, counters } = setUp();
    expect(take(SOLICITATION)).toBe("handled");
    const answer = icmp6({
      source: ROUTER6,
      destination: GUEST6,
      payload: neighbourMessage(136, 0xe0, ROUTER6, macOption(2, [...GATEWAY_MAC])),
    });
    expect(sent().map(Buffer.from)).toEqual([Buffer.from(frame6(answer, MAC, [...GATEWAY_MAC]))]);
    expect(counters.value("ndp-replies")).toBe(1);
  });

  it("that is not of discovery is dropped", () => {
    const { take, sent } = setUp();
    expect([take(icmp6({ destination: ROUTER6, payload: [128, 0, 0, 0, 0, 0, 0, 0] })), sent()]).toEqual([
      "icmpv6",
      [],
    ]);
  });

  it("that wants no answer has none", () => {
    const { take, sent, counters } = setUp();
    expect([take(icmp6({ payload: RS })), sent(), counters.value("ndp-replies")]).toEqual(["handled", [], 0]);
  });

  it("that asks for a router meets the word of who advertises", () => {
    const { take } = setUp({ solicitedResult: dropReason("link-full") });
    expect(take(icmp6({ payload: RS }))).toBe("link-full");
  });

  it("is dropped while there is no room to write an answer in", () => {
    const { take, egress, scratch, link, counters } = setUp();
    link.full = true;
    egress.queue.push(14, 0, 0, 0, 0, 0);
    scratch.keep(SCRATCH_OCTETS - NDP_FRAME_OCTETS);
    expect([take(SOLICITATION), take(SOLICITATION)]).toEqual(["link-full", "link-full"]);
    expect([counters.value("ndp-replies"), egress.queue.length]).toEqual([0, 1]);
  });

  it("is dropped while the link takes no more", () => {
    const { take, egress, link, counters } = setUp();
    link.full = true;
    while (egress.hasRoom()) egress.queue.push(14, 0, 0, 0, 0, 0);
    expect([take(SOLICITATION), counters.value("ndp-replies")]).toEqual(["link-full", 0]);
  });
});

describe("our addresses", () => {
  it.each([
    ["fe80::2", true],
    [ROUTER6, true],
    [GUEST6, false],
    ["fe80::3", false],
    ["fe80::1:0:2", false],
    ["fe80::1:0:0:2", false],
    ["fe80:0:0:1::2", false],
    ["fe81::2", false],
    ["fd71:1ae0:d44d:2::", false],
  ])("%s is one: %s", (address, isOwn) => {
    expect(setUp().ndp.isOwn(Int32Array.of(7, 7, ...ip6(address)), 2)).toBe(isOwn);
  });
});
