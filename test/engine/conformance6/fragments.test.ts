/** Fragments frame by frame: RFC 8200 section 4.5, RFC 5722, 6946, 7112, 7739 and 8021. */
import { describe, expect, it } from "vitest";
import { LINK_LOCAL, outcome, REMOTE, rig6, SENT } from "../../support/conformance6.ts";
import { GUEST6, ip6, packet6, tcp6, udp6 } from "../../support/frames6.ts";

const UDP = 17;
const FRAGMENT = 44;
/** A datagram of 40 octets to REMOTE, its header included. */
const DATA = Array.from({ length: 32 }, (_, i) => i);
const WHOLE = [...udp6({}, 5000, 6000, DATA).slice(40)];
const WHOLE_SENT = `UDP to [${REMOTE}]:6000 ${Buffer.from(DATA).toString("hex")}`;
const [MALFORMED, OVERLAP, HELD] = ["ipv6-fragment-malformed", "ipv6-fragment-overlap", "handled"];

interface Piece {
  readonly from: number;
  readonly to: number;
  readonly more?: boolean;
  readonly id?: number;
  readonly next?: number;
  readonly source?: string;
  readonly destination?: string;
  readonly reserved?: number;
  /** Extension headers in front of the fragment header. */
  readonly before?: { readonly next: number; readonly octets: readonly number[] };
  readonly octets?: readonly number[];
}

function piece({
  from,
  to,
  more = to < WHOLE.length,
  id = 7,
  next = UDP,
  reserved = 0,
  ...over
}: Piece): Uint8Array {
  const { source, destination, before, octets = WHOLE } = over;
  const bits = from | (reserved & 6) | (more ? 1 : 0);
  const header = [next, reserved, bits >>> 8, bits & 255, 0, 0, id >>> 8, id & 255];
  return packet6({
    ...(source === undefined ? {} : { source }),
    ...(destination === undefined ? {} : { destination }),
    next: before?.next ?? FRAGMENT,
    payload: [...(before?.octets ?? []), ...header, ...octets.slice(from, to)],
  });
}

const FIRST = piece({ from: 0, to: 16 });
const SECOND = piece({ from: 16, to: 32 });
const LAST = piece({ from: 32, to: 40 });

describe("RFC 8200 section 4.5, reassembly", () => {
  it.each<[string, Uint8Array[]]>([
    ["in order", [FIRST, SECOND, LAST]],
    ["last first", [LAST, SECOND, FIRST]],
    ["in any order", [SECOND, LAST, FIRST]],
    ["with the first twice", [FIRST, FIRST, SECOND, LAST]],
    ["with the last twice", [LAST, FIRST, LAST, SECOND]],
    ["with another next header in later ones", [FIRST, piece({ from: 16, to: 32, next: 6 }), LAST]],
    ["with reserved bits (ignored)", [piece({ from: 0, to: 16, reserved: 0xff }), SECOND, LAST]],
    [
      "of a length that is no multiple of 8, the last one",
      [piece({ from: 0, to: 32, more: true }), piece({ from: 32, to: 40 })],
    ],
    [
      "behind destination options",
      [16, 32, 40].map((to, i) =>
        piece({ from: i * 16, to, before: { next: 60, octets: [FRAGMENT, 0, 1, 4, 0, 0, 0, 0] } }),
      ),
    ],
    [
      "behind hop-by-hop options, the first one alone (only its headers count)",
      [
        piece({ from: 0, to: 16, before: { next: 0, octets: [FRAGMENT, 0, 1, 4, 0, 0, 0, 0] } }),
        SECOND,
        LAST,
      ],
    ],
  ])("%s", (_rule, packets) => {
    expect(outcome(packets)).toBe(WHOLE_SENT);
  });

  it("of a datagram with options of its own inside", () => {
    const octets = [UDP, 0, 1, 4, 0, 0, 0, 0, ...WHOLE];
    const packets = [
      piece({ from: 0, to: 24, next: 60, octets, more: true }),
      piece({ from: 24, to: 48, next: 60, octets, more: false }),
    ];
    expect(outcome(packets)).toBe(WHOLE_SENT);
  });

  it("keeps datagrams apart by source, destination and identification", () => {
    const others: Partial<Piece>[] = [
      { id: 8 },
      { source: "fd71:1ae0:d44d:2::16" },
      { destination: "2001:db8::2" },
    ];
    for (const other of others) {
      const { sendAll } = rig6();
      const mixed = sendAll(FIRST, piece({ from: 16, to: 32, ...other }), LAST);
      expect(mixed).toEqual([HELD, HELD, HELD]);
      expect(sendAll(SECOND)).toEqual([WHOLE_SENT]);
    }
  });

  it("gives up after 60 seconds, and not before", () => {
    const { sendAll, exchange } = rig6();
    sendAll(FIRST, SECOND);
    exchange.pass(59_900);
    expect(sendAll(LAST)).toEqual([WHOLE_SENT]);
    sendAll(FIRST, SECOND);
    exchange.pass(60_100);
    expect(sendAll(LAST)).toEqual([HELD]);
    expect(exchange.core.counters.snapshot().drops).toMatchObject({ "ipv6-fragment-timeout": 1 });
  });

  it("takes the same identification again when its datagram is whole", () => {
    const { sendAll } = rig6();
    expect(sendAll(FIRST, SECOND, LAST, FIRST, SECOND, LAST)).toEqual([
      HELD,
      HELD,
      WHOLE_SENT,
      HELD,
      HELD,
      WHOLE_SENT,
    ]);
  });
});

describe("RFC 5722, overlaps", () => {
  const other = WHOLE.map((octet) => octet ^ 0xff);

  it.each<[string, Uint8Array[]]>([
    ["by the middle of two", [FIRST, piece({ from: 8, to: 24 }), SECOND, LAST]],
    ["by one unit of eight", [FIRST, piece({ from: 8, to: 16, more: true }), SECOND, LAST]],
    ["that spans others", [FIRST, SECOND, piece({ from: 0, to: 32 }), LAST]],
    ["inside another", [piece({ from: 0, to: 32 }), piece({ from: 8, to: 16, more: true }), LAST]],
    [
      "in the same place with other octets",
      [FIRST, SECOND, piece({ from: 16, to: 32, octets: other }), LAST],
    ],
    [
      "of the first with other octets (an evaded filter)",
      [FIRST, piece({ from: 0, to: 16, octets: other.with(4, WHOLE[4]) }), SECOND, LAST],
    ],
    ["a second end", [LAST, piece({ from: 16, to: 32, more: false }), FIRST, SECOND]],
    [
      "octets beyond the end",
      [LAST, piece({ from: 40, to: 48, octets: [...WHOLE, ...WHOLE], more: true }), FIRST, SECOND],
    ],
    ["the last again, as if more came", [LAST, piece({ from: 32, to: 40, more: true }), FIRST, SECOND]],
  ])("%s: the datagram is condemned", (_rule, packets) => {
    const { sendAll, exchange } = rig6();
    const lines = sendAll(...packets);
    expect(lines).toContain(OVERLAP);
    expect(exchange.network.datagrams).toEqual([]);
    // For all of its time.
    expect(sendAll(FIRST, SECOND, LAST)).toEqual([OVERLAP, OVERLAP, OVERLAP]);
    exchange.pass(61_000);
    expect(sendAll(FIRST, SECOND, LAST)).toEqual([HELD, HELD, WHOLE_SENT]);
  });
});

describe("RFC 6946, atomic fragments", () => {
  const atomic = (over: Partial<Piece> = {}) => piece({ from: 0, to: 40, ...over });

  it("are whole datagrams", () => {
    expect(outcome(atomic())).toBe(WHOLE_SENT);
    expect(outcome(atomic({ reserved: 0xff }))).toBe(WHOLE_SENT);
  });

  it("meet no other fragment of their identification", () => {
    const { sendAll } = rig6();
    expect(sendAll(FIRST, atomic(), SECOND, LAST)).toEqual([HELD, WHOLE_SENT, HELD, WHOLE_SENT]);
  });

  it("of TCP are segments", () => {
    const segment = [...tcp6({}, { from: 40_000, to: 80, sequence: 1, flags: 2 }).slice(40)];
    const packet = packet6({ next: FRAGMENT, payload: [6, 0, 0, 0, 0, 0, 0, 9, ...segment] });
    expect(outcome(packet)).toBe(`TCP to [${REMOTE}]:80; TCP SYN-ACK ${REMOTE} > ${GUEST6}`);
  });
});

describe("RFC 8200 section 4.5 and RFC 7112, fragments that are none", () => {
  it.each<[string, Uint8Array[], string]>([
    [
      "a middle one of a length that is no multiple of 8",
      [piece({ from: 16, to: 27, more: true })],
      MALFORMED,
    ],
    ["a first one without payload", [piece({ from: 0, to: 0, more: true })], MALFORMED],
    ["one without payload", [piece({ from: 16, to: 16, more: true })], MALFORMED],
    [
      "an end beyond 65535 octets",
      [piece({ from: 65_528, to: 65_536, octets: new Array<number>(65_536).fill(0), more: false })],
      MALFORMED,
    ],
    [
      "a first one without the whole TCP header",
      [piece({ from: 0, to: 16, next: 6, more: true })],
      MALFORMED,
    ],
    [
      "a first one whose headers go on in the next",
      [piece({ from: 0, to: 8, next: 60, octets: [UDP, 1, 1, 4, 0, 0, 0, 0], more: true })],
      MALFORMED,
    ],
    ["a fragment header cut off", [packet6({ next: FRAGMENT, payload: [UDP, 0, 0, 0] })], "ipv6-malformed"],
    [
      "a fragment header behind a fragment header",
      [piece({ from: 0, to: 16, next: FRAGMENT, octets: [UDP, 0, 0, 1, 0, 0, 0, 9, ...WHOLE], more: true })],
      "ipv6-extension-header",
    ],
    [
      "an atomic one around a fragment",
      [piece({ from: 0, to: 24, next: FRAGMENT, octets: [UDP, 0, 0, 1, 0, 0, 0, 9, ...WHOLE], more: false })],
      "ipv6-extension-header",
    ],
    [
      "one from a link-local address",
      [piece({ from: 0, to: 16, source: LINK_LOCAL })],
      "ipv6-spoofed-source",
    ],
    ["one from off the link", [piece({ from: 0, to: 16, source: "2001:db8::9" })], "ipv6-spoofed-source"],
  ])("%s", (_rule, packets, expected) => {
    expect(outcome(packets)).toBe(expected);
  });

  it("a fragment in what fragments made: dropped", () => {
    const octets = [UDP, 0, 0, 1, 0, 0, 0, 9, ...WHOLE];
    const packets = [
      piece({ from: 0, to: 24, next: 60, octets: [FRAGMENT, 0, 1, 4, 0, 0, 0, 0, ...octets], more: true }),
      piece({ from: 24, to: 56, next: 60, octets: [FRAGMENT, 0, 1, 4, 0, 0, 0, 0, ...octets], more: false }),
    ];
    expect(rig6().sendAll(...packets)).toContain("ipv6-extension-header");
  });

  it("sixteen datagrams at once, the oldest gives way", () => {
    const { send, sendAll, exchange } = rig6();
    for (let id = 1; id <= 17; id++) {
      expect(send(piece({ from: 0, to: 16, id }))).toBe(HELD);
      exchange.pass(50);
    }
    expect(sendAll(piece({ from: 16, to: 32, id: 2 }), piece({ from: 32, to: 40, id: 2 }))).toEqual([
      HELD,
      WHOLE_SENT,
    ]);
    expect(sendAll(piece({ from: 16, to: 32, id: 1 }), piece({ from: 32, to: 40, id: 1 }))).not.toContain(
      WHOLE_SENT,
    );
  });
});

describe("RFC 8200 section 5 and RFC 8021, to the guest", () => {
  it("what is too long comes in fragments of the MTU, never in one alone, each datagram under its own identification", () => {
    const { send, exchange } = rig6();
    expect(send(udp6({}, 5000, 6000, [1, 2]))).toBe(SENT);
    const [{ handle }] = exchange.network.datagrams;
    const arrive = (octets: number): Uint8Array[] => {
      exchange.network.arriveFrom(handle, ip6(REMOTE), 6000, new Uint8Array(octets));
      return exchange.settle();
    };
    expect(arrive(1452).map((frame) => frame[20])).toEqual([UDP]);
    const identifications = [1453, 1453].map((octets) => {
      const frames = arrive(octets);
      expect(frames.map((frame) => [frame[20], frame.length - 14])).toEqual([
        [FRAGMENT, 1496],
        [FRAGMENT, 61],
      ]);
      expect(frames.map((frame) => [frame[56], frame[57]])).toEqual([
        [0, 1],
        [1448 >>> 8, 1448 & 255],
      ]);
      return Buffer.from(frames[0].slice(58, 62)).toString("hex");
    });
    expect(new Set(identifications).size).toBe(2);
  });
});
