/**
 * Neighbour Discovery frame by frame, a rule of RFC 4861, 4862 or a later one each: what is asked from the whole engine,
 * and what comes back.
 */
import { describe, expect, it } from "vitest";
import {
  LINK_LOCAL,
  MAC,
  OTHER_MAC,
  outcome,
  PREFIX,
  REMOTE,
  rig6,
  SENT,
} from "../../support/conformance6.ts";
import {
  GUEST6,
  groupOf,
  icmp6,
  ip6,
  macOption,
  neighbourMessage,
  packet6,
  ROUTER6,
  udp6,
} from "../../support/frames6.ts";

const RS = [133, 0, 0, 0, 0, 0, 0, 0];
const ROUTER_LINK_LOCAL = "fe80::2";
const DNS6 = "fd71:1ae0:d44d:2::3";
const GUEST_MAC_HEX = Buffer.from(MAC).toString("hex");
const ALL_NODES_MAC = "333300000001";
const SLLA = macOption(1, MAC);
const TLLA = macOption(2, MAC);

interface Solicitation {
  readonly source?: string;
  readonly destination?: string;
  readonly target?: string;
  readonly hopLimit?: number;
  readonly options?: readonly number[];
  readonly reserved?: number;
}

function ns({
  source = GUEST6,
  target = ROUTER6,
  reserved = 0,
  options = SLLA,
  ...over
}: Solicitation = {}): Uint8Array {
  const { destination = groupOf(target), hopLimit = 255 } = over;
  return icmp6({ source, destination, hopLimit, payload: neighbourMessage(135, reserved, target, options) });
}

function na(
  flags: number,
  target: string,
  { source = GUEST6, destination = "ff02::1", ...over }: Solicitation = {},
) {
  const { hopLimit = 255, options = TLLA } = over;
  return icmp6({ source, destination, hopLimit, payload: neighbourMessage(136, flags, target, options) });
}

function rs({
  source = LINK_LOCAL,
  destination = "ff02::2",
  hopLimit = 255,
  options = [],
}: Solicitation = {}): Uint8Array {
  return icmp6({ source, destination, hopLimit, payload: [...RS, ...options] });
}

/** With an octet of the message changed, the checksum with it (or not). */
function changed(packet: Uint8Array, at: number, value: number): Uint8Array {
  const bent = packet.slice();
  bent[40 + at] = value;
  return bent;
}

const answer = (target: string, flags: string, to = GUEST6) =>
  `NA ${flags} ${target} ${target} > ${to} 255 ${GUEST_MAC_HEX}`;
const TO_ROUTER = answer(ROUTER6, "RSO");
const [MALFORMED, NOT_OURS] = ["ndp-malformed", "ndp-not-ours"];

describe("RFC 4861 section 7.2.4, solicitations for our addresses", () => {
  it.each<[string, Uint8Array, string]>([
    ["the router's address, to its solicited-node group", ns(), TO_ROUTER],
    ["the router's address, unicast (a probe, 7.3.3)", ns({ destination: ROUTER6 }), TO_ROUTER],
    [
      "unicast without an option: to the frame's MAC (7.2.4)",
      ns({ destination: ROUTER6, options: [] }),
      TO_ROUTER,
    ],
    ["the router's link-local address", ns({ target: ROUTER_LINK_LOCAL }), answer(ROUTER_LINK_LOCAL, "RSO")],
    ["the resolver's, which is no router's", ns({ target: DNS6 }), answer(DNS6, "SO")],
    ["from a link-local address", ns({ source: LINK_LOCAL }), answer(ROUTER6, "RSO", LINK_LOCAL)],
    ["to all nodes: the target is what counts", ns({ destination: "ff02::1" }), TO_ROUTER],
    ["with reserved bits set (4.3: ignored)", ns({ reserved: 0xff }), TO_ROUTER],
    [
      "with an option nobody knows (4.6: ignored)",
      ns({ options: [...SLLA, 200, 1, 0, 0, 0, 0, 0, 0] }),
      TO_ROUTER,
    ],
    ["with a nonce (RFC 7527)", ns({ options: [...SLLA, 14, 1, 1, 2, 3, 4, 5, 6] }), TO_ROUTER],
    ["with another message's option (4.6: ignored)", ns({ options: [...SLLA, ...TLLA] }), TO_ROUTER],
    [
      "with a link-layer address of another kind of link",
      ns({ options: [1, 2, ...new Array<number>(14).fill(7)] }),
      TO_ROUTER,
    ],
    [
      "the routers' anycast address, without O (RFC 4291 2.6.1, 7.2.7)",
      ns({ target: PREFIX }),
      `NA RS ${PREFIX} ${ROUTER6} > ${GUEST6} 255 ${GUEST_MAC_HEX}`,
    ],
  ])("%s: answered", (_rule, packet, expected) => {
    expect(outcome(packet)).toBe(expected);
  });

  it("goes to the MAC that the option names", () => {
    const hex = Buffer.from(OTHER_MAC).toString("hex");
    expect(outcome(ns({ options: macOption(1, OTHER_MAC) }))).toBe(
      `NA RSO ${ROUTER6} ${ROUTER6} > ${GUEST6} 255 ${hex}`,
    );
  });
});

describe("RFC 4862 section 5.4, duplicate address detection", () => {
  const probe = (target: string, over: Solicitation = {}) =>
    ns({ source: "::", options: [], target, ...over });

  it.each<[string, Uint8Array, string]>([
    [
      "for the router's address: to all nodes, S clear (RFC 4861 7.2.4)",
      probe(ROUTER6),
      `NA RO ${ROUTER6} ${ROUTER6} > ff02::1 255 ${ALL_NODES_MAC}`,
    ],
    [
      "for its link-local one",
      probe(ROUTER_LINK_LOCAL),
      `NA RO ${ROUTER_LINK_LOCAL} ${ROUTER_LINK_LOCAL} > ff02::1 255 ${ALL_NODES_MAC}`,
    ],
    ["for the resolver's", probe(DNS6), `NA O ${DNS6} ${DNS6} > ff02::1 255 ${ALL_NODES_MAC}`],
    [
      "with a nonce (RFC 7527)",
      probe(DNS6, { options: [14, 1, 1, 2, 3, 4, 5, 6] }),
      `NA O ${DNS6} ${DNS6} > ff02::1 255 ${ALL_NODES_MAC}`,
    ],
    ["for the guest's own address", probe(GUEST6), "handled"],
    ["for its link-local one", probe(LINK_LOCAL), "handled"],
    ["for a temporary one", probe("fd71:1ae0:d44d:2:1234:5678:9abc:def0"), "handled"],
    ["for an address of another network", probe("2001:db8::5"), "handled"],
    ["for an anycast address, which has no duplicates", probe(PREFIX), "handled"],
    [
      "to all nodes (7.1.1: to a solicited-node group alone)",
      probe(ROUTER6, { destination: "ff02::1" }),
      MALFORMED,
    ],
    ["unicast (7.1.1)", probe(ROUTER6, { destination: ROUTER6 }), MALFORMED],
    ["with a source link-layer address (7.1.1)", probe(ROUTER6, { options: SLLA }), MALFORMED],
  ])("%s", (_rule, packet, expected) => {
    expect(outcome(packet)).toBe(expected);
  });
});

const ADDRESSES: [string, string][] = [
  ["the guest's own", GUEST6],
  ["another guest's", `${PREFIX}77`],
  ["one outside", REMOTE],
  ["a neighbour's link-local one", "fe80::77"],
  ["::", "::"],
  ["::1", "::1"],
];

describe("RFC 4861 section 7.2.3, solicitations for others", () => {
  it.each(ADDRESSES)("%s: silence", (_name, target) => {
    expect(outcome(ns({ target, destination: "ff02::1" }))).toBe(NOT_OURS);
  });
});

const TRUNCATED = [1, 8, 20, 23];
const BROKEN: [string, (packet: Uint8Array) => Uint8Array][] = [
  ["a wrong checksum", (packet) => changed(packet, 2, packet[42] ^ 0x55)],
  ["a checksum of zero", (packet) => changed(changed(packet, 2, 0), 3, 0)],
];

describe("RFC 4861 section 7.1.1, invalid solicitations of neighbours", () => {
  it.each<[string, Uint8Array, string]>([
    ...[0, 1, 64, 254].map((hopLimit): [string, Uint8Array, string] => [
      `hop limit ${hopLimit}`,
      ns({ hopLimit, destination: ROUTER6 }),
      MALFORMED,
    ]),
    ...BROKEN.map(([name, bend]): [string, Uint8Array, string] => [name, bend(ns()), MALFORMED]),
    ...[1, 255].map((code): [string, Uint8Array, string] => {
      const payload = neighbourMessage(135, 0, ROUTER6, SLLA).with(1, code);
      return [`code ${code}`, icmp6({ destination: groupOf(ROUTER6), payload }), MALFORMED];
    }),
    ...TRUNCATED.slice(1).map((length): [string, Uint8Array, string] => {
      const payload = neighbourMessage(135, 0, ROUTER6).slice(0, length);
      return [`${length} octets`, icmp6({ destination: groupOf(ROUTER6), payload }), MALFORMED];
    }),
    ["an option of length 0", ns({ options: [1, 0, ...MAC] }), MALFORMED],
    ["an unknown option of length 0", ns({ options: [...SLLA, 99, 0, 0, 0, 0, 0, 0, 0] }), MALFORMED],
    ["an option beyond the end", ns({ options: [1, 2, ...MAC] }), MALFORMED],
    ["half an option", ns({ options: [1, 1, 0x52, 0x54] }), MALFORMED],
    ["an octet behind the options", ns({ options: [...SLLA, 0] }), MALFORMED],
    ["a multicast target", ns({ target: "ff02::1:ff00:2", destination: groupOf(ROUTER6) }), MALFORMED],
    ["a multicast source", ns({ source: "ff02::1" }), "ipv6-spoofed-source"],
    ["a source off the link", ns({ source: "2001:db8::9" }), "ipv6-spoofed-source"],
    ["the loopback address as source", ns({ source: "::1" }), "ipv6-spoofed-source"],
    ["to a station that is not us", ns({ destination: REMOTE }), NOT_OURS],
    ["to an interface's own scope (RFC 4291 2.7)", ns({ destination: "ff01::1" }), NOT_OURS],
    ["to the reserved scope 0 (RFC 4291 2.7)", ns({ destination: "ff00::1" }), NOT_OURS],
  ])("%s: dropped", (_rule, packet, expected) => {
    expect(outcome(packet)).toBe(expected);
  });

  it.each<[string, Uint8Array, readonly number[]]>([
    ["with a hop limit of 254 teaches nothing", ns({ hopLimit: 254, options: macOption(1, OTHER_MAC) }), MAC],
    ["that is whole teaches where the guest is now", ns({ options: macOption(1, OTHER_MAC) }), OTHER_MAC],
  ])("one %s", (_rule, solicitation, expected) => {
    const { send, exchange } = rig6();
    send(udp6({}, 5000, 6000, [1]));
    send(solicitation);
    const [{ handle }] = exchange.network.datagrams;
    exchange.network.arriveFrom(handle, ip6(REMOTE), 6000, Uint8Array.of(9));
    expect(exchange.settle().map((frame) => [...frame.slice(0, 6)])).toEqual([expected]);
  });
});

describe("RFC 4861 section 6.1.1, solicitations of routers", () => {
  const TO_GUEST = `RA fe80::2 > ${LINK_LOCAL} 255 ${GUEST_MAC_HEX}`;

  it.each<[string, Uint8Array, string]>([
    ["from a link-local address", rs(), TO_GUEST],
    ["with its link-layer address", rs({ options: SLLA }), TO_GUEST],
    ["to the router's own address", rs({ destination: ROUTER_LINK_LOCAL }), TO_GUEST],
    ["to all nodes", rs({ destination: "ff02::1" }), TO_GUEST],
    ["from an address of the prefix", rs({ source: GUEST6 }), `RA fe80::2 > ${GUEST6} 255 ${GUEST_MAC_HEX}`],
    ["with an unknown option", rs({ options: [200, 1, 0, 0, 0, 0, 0, 0] }), TO_GUEST],
    [
      "with reserved bits",
      icmp6({ source: LINK_LOCAL, payload: [133, 0, 0, 0, 255, 255, 255, 255] }),
      TO_GUEST,
    ],
    ["hop limit 254", rs({ hopLimit: 254 }), MALFORMED],
    ["hop limit 1", rs({ hopLimit: 1 }), MALFORMED],
    ["code 1", icmp6({ source: LINK_LOCAL, payload: RS.with(1, 1) }), MALFORMED],
    ...BROKEN.map(([name, bend]): [string, Uint8Array, string] => [name, bend(rs()), MALFORMED]),
    ["7 octets", icmp6({ source: LINK_LOCAL, payload: RS.slice(0, 7) }), MALFORMED],
    ["an option of length 0", rs({ options: [1, 0, ...MAC] }), MALFORMED],
    ["an option beyond the end", rs({ options: [1, 2, ...MAC] }), MALFORMED],
    ["from :: with a link-layer address", rs({ source: "::", options: SLLA }), MALFORMED],
    ["from off the link", rs({ source: REMOTE }), "ipv6-spoofed-source"],
    ["from the router's own address", rs({ source: ROUTER6 }), NOT_OURS],
    ["to a station that is not us", rs({ destination: "fe80::77" }), NOT_OURS],
  ])("%s", (_rule, packet, expected) => {
    expect(outcome(packet)).toBe(expected);
  });

  it("from ::, to all nodes, and not twice in three seconds (6.2.6)", () => {
    const { send, exchange } = rig6();
    exchange.pass(3000);
    const toAll = `RA fe80::2 > ff02::1 255 ${ALL_NODES_MAC}`;
    expect([send(rs({ source: "::" })), send(rs({ source: "::" }))]).toEqual([toAll, "handled"]);
    expect(exchange.pass(2900)).toEqual([]);
    expect(exchange.pass(200)).toHaveLength(1);
  });
});

describe("RFC 4861 section 7.1.2, advertisements of neighbours", () => {
  it.each<[string, Uint8Array, string]>([
    ["unsolicited, to all nodes", na(0x20, GUEST6), "handled"],
    ["unsolicited, to all routers (RFC 9131)", na(0x20, GUEST6, { destination: "ff02::2" }), "handled"],
    ["solicited, unicast", na(0x60, GUEST6, { destination: ROUTER_LINK_LOCAL }), "handled"],
    ["without an option", na(0x60, GUEST6, { destination: ROUTER_LINK_LOCAL, options: [] }), "handled"],
    [
      "from a link-local address",
      na(0x60, GUEST6, { source: LINK_LOCAL, destination: ROUTER_LINK_LOCAL }),
      "handled",
    ],
    ["solicited, to a group", na(0x60, GUEST6), MALFORMED],
    ["hop limit 254", na(0x20, GUEST6, { hopLimit: 254 }), MALFORMED],
    [
      "code 1",
      icmp6({ destination: "ff02::1", payload: neighbourMessage(136, 0x20, GUEST6, TLLA).with(1, 1) }),
      MALFORMED,
    ],
    ...BROKEN.map(([name, bend]): [string, Uint8Array, string] => [name, bend(na(0x20, GUEST6)), MALFORMED]),
    [
      "23 octets",
      icmp6({ destination: "ff02::1", payload: neighbourMessage(136, 0, GUEST6).slice(0, 23) }),
      MALFORMED,
    ],
    ["a multicast target", na(0x20, "ff02::1"), MALFORMED],
    ["an option of length 0", na(0x20, GUEST6, { options: [2, 0, ...MAC] }), MALFORMED],
    ["an option beyond the end", na(0x20, GUEST6, { options: [2, 2, ...MAC] }), MALFORMED],
    ["from ::", na(0x20, GUEST6, { source: "::" }), MALFORMED],
    ["for an address outside", na(0x20, REMOTE), NOT_OURS],
    ["to a station that is not us", na(0x60, GUEST6, { destination: REMOTE }), NOT_OURS],
    [
      "for the router's address: contradicted (RFC 4862 5.4.4)",
      na(0x20, ROUTER6, { source: LINK_LOCAL }),
      `NA RO ${ROUTER6} ${ROUTER6} > ff02::1 255 ${ALL_NODES_MAC}`,
    ],
  ])("%s", (_rule, packet, expected) => {
    expect(outcome(packet)).toBe(expected);
  });

  /** Which MAC an answer goes to after these advertisements. */
  function macAfter(...advertisements: readonly Uint8Array[]): number[] {
    const { send, exchange } = rig6();
    send(udp6({}, 5000, 6000, [1]));
    const [{ handle }] = exchange.network.datagrams;
    for (const each of advertisements) send(each);
    exchange.network.arriveFrom(handle, ip6(REMOTE), 6000, Uint8Array.of(9));
    return [...(exchange.settle()[0]?.slice(0, 6) ?? [])];
  }
  const moved = { options: macOption(2, OTHER_MAC) };

  it("7.2.5: O replaces what is known, no O does not", () => {
    expect(macAfter(na(0x20, GUEST6, moved))).toEqual(OTHER_MAC);
    expect(macAfter(na(0, GUEST6, moved))).toEqual(MAC);
    expect(macAfter(na(0x40, GUEST6, { ...moved, destination: ROUTER_LINK_LOCAL }))).toEqual(MAC);
  });
});

describe("what only routers say (RFC 4861 sections 6.1.2, 8.1; RFC 6105)", () => {
  const advertisement = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
  const redirect = [137, 0, 0, 0, 0, 0, 0, 0, ...new Array<number>(32).fill(0)];

  it.each([
    [
      "an advertisement to all nodes",
      icmp6({ source: LINK_LOCAL, destination: "ff02::1", payload: advertisement }),
    ],
    [
      "an advertisement to us",
      icmp6({ source: LINK_LOCAL, destination: ROUTER_LINK_LOCAL, payload: advertisement }),
    ],
    ["a redirect", icmp6({ source: LINK_LOCAL, destination: ROUTER6, payload: redirect })],
  ])("%s changes nothing", (_name, packet) => {
    const { send } = rig6();
    expect([send(packet), send(udp6({}, 5000, 6000, [1, 2]))]).toEqual(["ndp-router", SENT]);
  });
});

describe("RFC 6980, discovery in fragments", () => {
  const message = [...ns().slice(40)];
  const fragment = (payload: readonly number[], offset: number, more: boolean) =>
    packet6({
      destination: groupOf(ROUTER6),
      next: 44,
      hopLimit: 255,
      payload: [58, 0, offset >>> 8, offset | (more ? 1 : 0), 0, 0, 0, 9, ...payload],
    });

  it("is dropped, behind an atomic fragment header as well", () => {
    expect(outcome(fragment(message, 0, false))).toBe(MALFORMED);
    expect(outcome([fragment(message.slice(0, 24), 0, true), fragment(message.slice(24), 24, false)])).toBe(
      MALFORMED,
    );
  });

  it("is taken behind headers that are skipped (RFC 8200 section 4.1)", () => {
    const options = [58, 0, 1, 4, 0, 0, 0, 0];
    const behind = (next: number) =>
      packet6({ destination: groupOf(ROUTER6), next, hopLimit: 255, payload: [...options, ...message] });
    expect([outcome(behind(0)), outcome(behind(60))]).toEqual([TO_ROUTER, TO_ROUTER]);
  });
});

describe("other ICMPv6 of the link", () => {
  it.each<[string, number, string, string]>([
    ["MLD query", 130, "ff02::1", "mld"],
    ["MLDv1 report", 131, "ff02::1:ff00:15", "mld"],
    ["MLDv1 done", 132, "ff02::2", "mld"],
    ["MLDv2 report", 143, "ff02::16", "mld"],
    ["destination unreachable", 1, ROUTER6, "icmpv6"],
    ["packet too big", 2, ROUTER6, "icmpv6"],
    ["time exceeded", 3, REMOTE, "icmpv6"],
    ["parameter problem", 4, REMOTE, "icmpv6"],
    ["echo request to the router", 128, ROUTER6, "icmpv6"],
    ["echo request to a group", 128, "ff02::1", "icmpv6"],
    ["echo reply", 129, REMOTE, "icmpv6"],
    ["inverse discovery", 141, "ff02::1", "icmpv6"],
    ["node information query", 139, ROUTER6, "icmpv6"],
    ["a private experiment's", 201, ROUTER6, "icmpv6"],
  ])("%s: taken in silence, with a reason", (_name, type, destination, expected) => {
    expect(outcome(icmp6({ destination, payload: [type, 0, 0, 0, ...new Array<number>(20).fill(0)] }))).toBe(
      expected,
    );
  });

  it("MLD comes behind a router alert (RFC 2711), and from ::", () => {
    const report = icmp6({
      source: "::",
      destination: "ff02::16",
      payload: [143, 0, 0, 0, 0, 0, 0, 0],
    }).slice(40);
    const payload = [58, 0, 5, 2, 0, 0, 1, 0, ...report];
    expect(outcome(packet6({ source: "::", destination: "ff02::16", next: 0, hopLimit: 1, payload }))).toBe(
      "mld",
    );
  });
});
