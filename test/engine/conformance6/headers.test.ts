/**
 * IPv6 packets frame by frame, a rule of RFC 8200, 4291 or a later one each: what is asked from the whole engine, and what
 * leaves for the host. Where the RFC wants an ICMPv6 error the packet is dropped without: that is the engine's policy.
 */
import { describe, expect, it } from "vitest";
import {
  DNS6,
  GATEWAY_MAC,
  LINK_LOCAL,
  outcome,
  PREFIX,
  REMOTE,
  rig6,
  SENT,
  syn,
  udpBehind,
} from "../../support/conformance6.ts";
import { GUEST6, packet6, ROUTER6, udp6 } from "../../support/frames6.ts";

const UDP = 17;
const [HOP_BY_HOP, ROUTING, DESTINATION] = [0, 43, 60];
const plain = udp6({}, 5000, 6000, [1, 2]);
const MALFORMED = "ipv6-malformed";

function bent(packet: Uint8Array, at: number, value: number): Uint8Array {
  return packet.with(at, value);
}

describe("RFC 8200 section 3, the fixed header", () => {
  it.each<[string, Uint8Array, string]>([
    ["a whole datagram", plain, SENT],
    ["octets behind it are the link's padding", Uint8Array.of(...plain, 0, 0, 0, 0, 0, 0), SENT],
    ["any traffic class", bent(bent(plain, 0, 0x6f), 1, 0xf0), SENT],
    ["any flow label (RFC 6437)", bent(bent(bent(plain, 1, 0x0f), 2, 0xff), 3, 0xff), SENT],
    ["version 4", bent(plain, 0, 0x40), MALFORMED],
    ["version 0", bent(plain, 0, 0), MALFORMED],
    ["version 15", bent(plain, 0, 0xf0), MALFORMED],
    ["a payload longer than the frame", bent(plain, 5, plain.length - 40 + 1), MALFORMED],
    ["a payload longer by far", bent(plain, 4, 0xff), MALFORMED],
    ["39 octets", plain.slice(0, 39), MALFORMED],
    ["no octet", plain.slice(0, 0), MALFORMED],
    ["no payload", packet6({ next: UDP, payload: [] }), MALFORMED],
    ["a jumbogram (RFC 2675)", bent(udpBehind(HOP_BY_HOP, [UDP, 0, 0xc2, 4, 0, 1, 0, 0]), 5, 0), MALFORMED],
    ["a jumbo option beside a length", udpBehind(HOP_BY_HOP, [UDP, 0, 0xc2, 4, 0, 1, 0, 0]), "ipv6-option"],
    ["hop limit 255", bent(plain, 7, 255), SENT],
    ["hop limit 2", bent(plain, 7, 2), SENT],
    ["hop limit 1", bent(plain, 7, 1), "ipv6-hop-limit"],
    ["hop limit 0", bent(plain, 7, 0), "ipv6-hop-limit"],
    [
      "hop limit 1 to the router itself",
      bent(syn(ROUTER6), 7, 1),
      `destination-no-service; TCP RST-ACK ${ROUTER6} > ${GUEST6}`,
    ],
  ])("%s", (_rule, packet, expected) => {
    expect(outcome(packet)).toBe(expected);
  });
});

/** An options header of 8 octets around one option. */
const around = (...option: readonly number[]): number[] => {
  const room = 6 - option.length;
  return [
    UDP,
    0,
    ...option,
    ...(room === 1 ? [0] : room > 1 ? [1, room - 2, ...new Array<number>(room - 2).fill(0)] : []),
  ];
};
const OPTION = "ipv6-option";
const HEADER = "ipv6-extension-header";

describe("RFC 8200 section 4.2, options", () => {
  const options: [string, number[], string][] = [
    ["PadN", [UDP, 0, 1, 4, 0, 0, 0, 0], SENT],
    ["Pad1 alone", [UDP, 0, 0, 0, 0, 0, 0, 0], SENT],
    ["PadN of no octets", [UDP, 0, 1, 0, 1, 2, 0, 0], SENT],
    ["PadN with octets that are not zero", [UDP, 0, 1, 4, 1, 2, 3, 4], SENT],
    ["a router alert (RFC 2711)", around(5, 2, 0, 0), SENT],
    ["a tunnel encapsulation limit (RFC 2473)", around(4, 1, 4), SENT],
    ["an unknown one, 00: skipped", around(0x1e, 2, 7, 7), SENT],
    ["an unknown one, 00, that may change on its way", around(0x3e, 2, 7, 7), SENT],
    ["an unknown one, 01: dropped", around(0x5e, 2, 7, 7), OPTION],
    ["an unknown one, 10: dropped", around(0x9e, 2, 7, 7), OPTION],
    ["an unknown one, 11: dropped", around(0xde, 2, 7, 7), OPTION],
    ["a home address (RFC 6275)", [UDP, 2, 0xc9, 16, ...new Array<number>(16).fill(0), 1, 2, 0, 0], OPTION],
    ["a known one, then one that forbids", [UDP, 0, 5, 2, 0, 0, 0xde, 0], OPTION],
    ["an option longer than its header", [UDP, 0, 0x1e, 5, 0, 0, 0, 0], MALFORMED],
    ["PadN longer than its header", [UDP, 0, 1, 200, 0, 0, 0, 0], MALFORMED],
    ["an option without its length", [UDP, 0, 0, 0, 0, 0, 0, 0x1e], MALFORMED],
    ["a header of 16 octets", [UDP, 1, 1, 12, ...new Array<number>(12).fill(0)], SENT],
  ];
  for (const [kind, next] of [
    ["hop-by-hop", HOP_BY_HOP],
    ["destination", DESTINATION],
  ] as const) {
    it.each(options)(`${kind}: %s`, (_rule, header, expected) => {
      expect(outcome(udpBehind(next, header))).toBe(expected);
    });
  }
});

const pad = (next: number): number[] => [next, 0, 1, 4, 0, 0, 0, 0];
const routing = (type: number, left: number, next = UDP): number[] => [next, 0, type, left, 0, 0, 0, 0];

describe("RFC 8200 sections 4.1, 4.4 to 4.7, chains of headers", () => {
  it.each<[string, number, number[], string]>([
    ["hop-by-hop, destination", HOP_BY_HOP, [...pad(DESTINATION), ...pad(UDP)], SENT],
    [
      "hop-by-hop, destination, routing, destination",
      HOP_BY_HOP,
      [...pad(DESTINATION), ...pad(ROUTING), ...routing(0, 0, DESTINATION), ...pad(UDP)],
      SENT,
    ],
    ["destination twice", DESTINATION, [...pad(DESTINATION), ...pad(UDP)], SENT],
    [
      "hop-by-hop behind destination options: not first",
      DESTINATION,
      [...pad(HOP_BY_HOP), ...pad(UDP)],
      HEADER,
    ],
    ["hop-by-hop twice", HOP_BY_HOP, [...pad(HOP_BY_HOP), ...pad(UDP)], HEADER],
    [
      "eight headers",
      HOP_BY_HOP,
      [...new Array<number>(7).fill(0).flatMap(() => pad(DESTINATION)), ...pad(UDP)],
      SENT,
    ],
    [
      "nine headers",
      HOP_BY_HOP,
      [...new Array<number>(8).fill(0).flatMap(() => pad(DESTINATION)), ...pad(UDP)],
      HEADER,
    ],
    ["routing type 0, nothing left", ROUTING, routing(0, 0), SENT],
    ["routing of any type, nothing left (4.4)", ROUTING, routing(253, 0), SENT],
    ["routing type 0, one left (RFC 5095)", ROUTING, routing(0, 1), "ipv6-routing-header"],
    ["routing type 2, one left (RFC 6275)", ROUTING, routing(2, 1), "ipv6-routing-header"],
    ["segment routing, one left (RFC 8754)", ROUTING, routing(4, 1), "ipv6-routing-header"],
    ["an unknown routing type, 255 left", ROUTING, routing(99, 255), "ipv6-routing-header"],
    ["a header cut off", DESTINATION, [UDP, 200, 1, 4, 0, 0, 0, 0], HEADER],
    ["a header longer than the packet", DESTINATION, [UDP, 20, 1, 4, 0, 0, 0, 0], MALFORMED],
    ["no next header (4.7): silence", DESTINATION, pad(59), "ipv6-unknown-protocol"],
    ["ESP", DESTINATION, pad(50), "ipv6-unknown-protocol"],
    ["AH", DESTINATION, pad(51), "ipv6-unknown-protocol"],
    ["mobility", DESTINATION, pad(135), "ipv6-unknown-protocol"],
    ["HIP", DESTINATION, pad(139), "ipv6-unknown-protocol"],
    ["shim6", DESTINATION, pad(140), "ipv6-unknown-protocol"],
    ["an experiment's", DESTINATION, pad(253), "ipv6-unknown-protocol"],
  ])("%s", (_rule, next, headers, expected) => {
    expect(outcome(udpBehind(next, headers))).toBe(expected);
  });

  it.each([
    ["no next header", 59],
    ["IPv4 in IPv6", 4],
    ["IPv6 in IPv6", 41],
    ["ICMP of IPv4", 1],
    ["SCTP", 132],
    ["UDP-Lite", 136],
    ["reserved", 255],
  ])("%s: silence", (_name, next) => {
    expect(outcome(packet6({ next, payload: new Array<number>(64).fill(0) }))).toBe("ipv6-unknown-protocol");
  });

  it.each([
    [DESTINATION, 1],
    [DESTINATION, 7],
    [HOP_BY_HOP, 7],
    [ROUTING, 7],
  ])("header %i of %i octets: dropped", (next, octets) => {
    expect(outcome(packet6({ next, payload: pad(UDP).slice(0, octets) }))).toBe(MALFORMED);
  });
});

const SPOOFED = "ipv6-spoofed-source";

describe("RFC 4291 and BCP 38, sources", () => {
  it.each<[string, string, string]>([
    ["of the prefix", GUEST6, "sent"],
    ["another of the prefix (RFC 8981)", "fd71:1ae0:d44d:2:1234:5678:9abc:def0", "sent"],
    ["the routers' anycast address (2.6.1)", PREFIX, SPOOFED],
    ["the router's", ROUTER6, SPOOFED],
    ["the resolver's", DNS6, SPOOFED],
    ["the router's link-local one", "fe80::2", SPOOFED],
    ["the guest's link-local one (2.5.6)", LINK_LOCAL, SPOOFED],
    ["::", "::", SPOOFED],
    ["::1", "::1", SPOOFED],
    ["multicast (2.7)", "ff02::1", SPOOFED],
    ["multicast, global", "ff0e::1", SPOOFED],
    ["of another network", "2001:db8::5", SPOOFED],
    ["of another ULA", "fd71:1ae0:d44d:3::15", SPOOFED],
    ["site-local", "fec0::15", SPOOFED],
    ["IPv4-mapped (2.5.5.2)", "::ffff:10.0.2.15", "ipv6-mapped-address"],
    ["IPv4-compatible", "::10.0.2.15", SPOOFED],
  ])("%s", (_rule, source, expected) => {
    const results = [outcome(udp6({ source }, 5000, 6000, [1, 2])), outcome(syn(REMOTE, source))];
    const sent = [SENT, `TCP to [${REMOTE}]:80; TCP SYN-ACK ${REMOTE} > ${source}`];
    expect(results).toEqual(expected === "sent" ? sent : [expected, expected]);
  });
});

const [REFUSED, NO_SERVICE, GO] = ["destination-refused", "destination-no-service", "sent"];

describe("RFC 4291 and 6890, destinations", () => {
  /** Who may say no for the address: a group or nobody's address never (RFC 9293 section 3.9.2.3, RFC 4291 section 2.5). */
  const [SILENCE, RESET] = [false, true];

  it.each<[string, string, string, boolean]>([
    ["global unicast", "2001:db8::77", GO, SILENCE],
    ["a ULA of another network", "fd00::1", GO, SILENCE],
    ["::", "::", REFUSED, SILENCE],
    ["::1", "::1", REFUSED, SILENCE],
    ["IPv4-compatible", "::127.0.0.1", REFUSED, SILENCE],
    ["all nodes", "ff02::1", REFUSED, SILENCE],
    ["a group of the site", "ff05::1:3", REFUSED, SILENCE],
    ["a global group", "ff0e::101", REFUSED, SILENCE],
    ["a group of scope 0", "ff00::1", REFUSED, SILENCE],
    ["discard-only (RFC 6666)", "100::1", REFUSED, SILENCE],
    ["segment identifiers (RFC 9602)", "5f00::1", REFUSED, SILENCE],
    ["a neighbour's link-local address", "fe80::77", REFUSED, RESET],
    ["the router's link-local address", "fe80::2", REFUSED, RESET],
    ["another guest", "fd71:1ae0:d44d:2::77", NO_SERVICE, RESET],
    ["the guest itself", GUEST6, NO_SERVICE, RESET],
    ["the router", ROUTER6, NO_SERVICE, RESET],
    ["the routers' anycast address", PREFIX, NO_SERVICE, RESET],
    ["NAT64 of 127.0.0.1 (RFC 6052 3.1)", "64:ff9b::7f00:1", REFUSED, RESET],
    ["NAT64 of a public address", "64:ff9b::808:808", GO, SILENCE],
    ["6to4 of 127.0.0.1 (RFC 3056)", "2002:7f00:1::1", REFUSED, RESET],
    ["Teredo by a server at 127.0.0.1 (RFC 4380)", "2001:0:7f00:1::1", REFUSED, RESET],
    ["ISATAP of 127.0.0.1 (RFC 5214)", "2001:db8::5efe:7f00:1", REFUSED, RESET],
    ["AWS's metadata", "fd00:ec2::254", REFUSED, RESET],
    ["GCP's metadata", "fd20:ce::254", REFUSED, RESET],
  ])("%s", (_rule, destination, verdict, answers) => {
    const udp = outcome(udp6({ destination }, 5000, 6000, [1, 2]));
    const tcp = outcome(syn(destination));
    if (verdict === GO) {
      expect(udp).toBe(`UDP to [${destination}]:6000 0102`);
      expect(tcp).toBe(`TCP to [${destination}]:80; TCP SYN-ACK ${destination} > ${GUEST6}`);
      return;
    }
    expect(udp).toBe(verdict);
    expect(tcp).toBe(answers ? `${verdict}; TCP RST-ACK ${destination} > ${GUEST6}` : verdict);
  });

  it("IPv4-mapped: dropped before anything else looks at it", () => {
    for (const destination of ["::ffff:127.0.0.1", "::ffff:8.8.8.8"]) {
      expect([outcome(udp6({ destination }, 1, 2, [1])), outcome(syn(destination))]).toEqual([
        "ipv6-mapped-address",
        "ipv6-mapped-address",
      ]);
    }
  });
});

describe("the frame around it (RFC 2464)", () => {
  it.each<[string, readonly number[], string]>([
    ["the router's MAC", GATEWAY_MAC, SENT],
    ["another station's MAC", [0x52, 0x54, 0, 0, 0, 1], "ethernet-not-for-us"],
  ])("to %s", (_name, to, expected) => {
    expect(rig6().send(plain, undefined, to)).toBe(expected);
  });

  it.each([
    ["a group's", [0x33, 0x33, 0, 0, 0, 1]],
    ["broadcast", [255, 255, 255, 255, 255, 255]],
  ])("from %s MAC: dropped", (_name, from) => {
    expect(rig6().send(plain, from)).toBe("ethernet-bad-source");
  });
});
