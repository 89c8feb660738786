/** What sluice keeps of QUIC: flows and their names, a handshake put together from its octets, packets that are opened. */
import { describe, expect, it } from "vitest";
import { QUIC_KEYS_OCTETS, type QuicKeys } from "../../../src/engine/boundary.ts";
import {
  QUIC_CRYPTO_OCTETS,
  QUIC_FLOWS_MAX,
  QUIC_HELD_MAX,
  QUIC_HELD_OCTETS,
} from "../../../src/engine/limits.ts";
import { Packet } from "../../../src/engine/memory/packet.ts";
import { Name } from "../../../src/engine/policy/name.ts";
import { QuicFlows } from "../../../src/engine/service/names/quic-flows.ts";
import {
  NO_QUIC_FLOW,
  NOT_A_HELLO,
  QuicHandshake,
} from "../../../src/engine/service/names/quic-handshake.ts";
import { QuicOpener } from "../../../src/engine/service/names/quic-opener.ts";
import { LongHeader, QUIC_READ } from "../../../src/engine/wire/quic.ts";
import { HostQuicKeys } from "../../../src/host/quic-keys.ts";
import { ip } from "../../support/frames.ts";
import { CLIENT_ID, crypto, longPacket, QUIC_1, QUIC_2 } from "../../support/quic-client.ts";

const GUEST = ip("10.0.2.15");
const REMOTE = ip("203.0.113.10");

interface Datagram {
  readonly guestPort?: number;
  readonly remotePort?: number;
  readonly guest?: number;
  readonly remote?: number;
  /** Eight words: over IPv6. */
  readonly pair?: readonly number[];
}

function datagram({
  guestPort = 4000,
  remotePort = 443,
  guest = GUEST,
  remote = REMOTE,
  pair,
}: Datagram = {}): Packet {
  const packet = new Packet();
  packet.guestPort = guestPort;
  packet.remotePort = remotePort;
  packet.guestAddress = guest;
  packet.remoteAddress = remote;
  if (pair !== undefined) {
    packet.ipOctets = 40;
    packet.pair.set(pair);
  }
  return packet;
}

function nameOf(text: string): Name {
  const name = new Name();
  expect(name.setText(text)).toBe(true);
  return name;
}

/** The flow of a datagram, which gets a place if it has none. */
function flowOf(flows: QuicFlows, fields: Datagram, nowMs = 0): number {
  const found = flows.find(datagram(fields), nowMs);
  if (found !== NO_QUIC_FLOW) return found;
  const place = flows.placeForOne();
  flows.take(place, nowMs);
  return place;
}

/** Guest's ports whose flows share the places of the first one. */
function neighbours(flows: QuicFlows, count: number, pair: readonly number[]): number[] {
  flows.find(datagram({ guestPort: 1, pair }), 0);
  const set = flows.placeForOne() >> 2;
  const ports = [1];
  for (let guestPort = 2; ports.length < count; guestPort++) {
    flows.find(datagram({ guestPort, pair }), 0);
    if (flows.placeForOne() >> 2 === set) ports.push(guestPort);
  }
  return ports;
}

describe("a flow of QUIC", () => {
  it("is between two addresses and two ports, all of which count", () => {
    const flows = new QuicFlows();
    const pair = [1, 2, 3, 4, 5, 6, 7, 8];
    const cases: Datagram[] = [
      {},
      { guestPort: 4001 },
      { remotePort: 444 },
      { guest: GUEST + 1 },
      { remote: REMOTE + 1 },
      { pair },
      ...pair.map((_word, i) => ({ pair: pair.map((word, j) => (i === j ? word + 64 : word)) })),
    ];
    const places = cases.map((fields) => flowOf(flows, fields));
    expect(new Set(places).size).toBe(cases.length);
    expect(places.every((flow) => flow >= 0 && flow < QUIC_FLOWS_MAX)).toBe(true);
    expect(NO_QUIC_FLOW).toBeLessThan(0);
    expect(cases.map((fields) => flows.find(datagram(fields), 0))).toEqual(places);
    flows.find(datagram({ pair }), 0);
    expect([...flows.pair]).toEqual(pair);
    flows.find(datagram(), 0);
    expect([...flows.pair]).toEqual([0, 0, 0xffff, GUEST, 0, 0, 0xffff, REMOTE]);
  });

  it("is not the same as one whose ports are and whose addresses share a place with its own", () => {
    // Places are few: of so many remotes some come to lie beside the others.
    const flows = new QuicFlows();
    for (let i = 0; i < 4 * QUIC_FLOWS_MAX; i++) {
      const fields = { remote: REMOTE + i };
      const before = flows.find(datagram(fields), i);
      expect(before).toBe(NO_QUIC_FLOW);
      flows.take(flows.placeForOne(), i);
    }
  });

  it("spreads over all places there are", () => {
    const flows = new QuicFlows();
    const used = new Set<number>();
    for (let guestPort = 1; guestPort < 20_000; guestPort++) {
      flows.find(datagram({ guestPort }), 0);
      used.add(flows.placeForOne());
    }
    expect([...used].sort((a, b) => a - b)).toEqual(
      Array.from({ length: QUIC_FLOWS_MAX / 4 }, (_, i) => i * 4),
    );
  });

  it("takes one of four places, and the place of the least recently used when there is none", () => {
    const flows = new QuicFlows();
    const pair = [1, 2, 3, 4, 5, 6, 7, 8];
    const ports = neighbours(flows, 6, pair);
    const places = ports.slice(0, 4).map((guestPort, i) => flowOf(flows, { guestPort, pair }, i));
    const [first] = places;
    expect(places).toEqual([first, first + 1, first + 2, first + 3]);
    flows.find(datagram({ guestPort: ports[0], pair }), 10);
    flows.find(datagram({ guestPort: ports[2], pair }), 11);
    expect(flowOf(flows, { guestPort: ports[4], pair }, 12)).toBe(places[1]);
    expect(flows.find(datagram({ guestPort: ports[1], pair }), 13)).toBe(NO_QUIC_FLOW);
    expect(flowOf(flows, { guestPort: ports[5], pair }, 14)).toBe(places[3]);
    expect(ports.map((guestPort) => flows.find(datagram({ guestPort, pair }), 15))).toEqual([
      ...[places[0], NO_QUIC_FLOW, places[2], NO_QUIC_FLOW, places[1], places[3]],
    ]);
  });

  it("is open from the name that was shown until that is forgotten, or its place is taken", () => {
    const flows = new QuicFlows();
    const flow = flowOf(flows, {});
    expect(flows.isOpen(flow)).toBe(false);
    flows.setName(flow, nameOf("good.example"));
    flows.setName(flow, nameOf("fine.example"));
    const name = new Name();
    flows.readName(flow, name);
    expect([flows.isOpen(flow), name.text]).toEqual([true, "fine.example"]);
    flows.forgetName(flow);
    expect(flows.isOpen(flow)).toBe(false);
    flows.setName(flow, nameOf("good.example"));
    flows.find(datagram(), 0);
    flows.take(flow, 1);
    expect(flows.isOpen(flow)).toBe(false);
  });

  it("is open beside others, each by its own name", () => {
    const flows = new QuicFlows();
    const name = new Name();
    const open = [4000, 4001, 4002].map((guestPort) => flowOf(flows, { guestPort }));
    for (const flow of open) flows.setName(flow, nameOf(`n${flow}.example`));
    for (const flow of open) {
      flows.readName(flow, name);
      expect([flows.isOpen(flow), name.text]).toEqual([true, `n${flow}.example`]);
    }
    flows.forgetName(open[1]);
    expect(open.map((flow) => flows.isOpen(flow))).toEqual([true, false, true]);
  });

  it("leaves no names behind, however often one is shown", () => {
    const flows = new QuicFlows();
    const flow = flowOf(flows, {});
    const name = new Name();
    for (let i = 0; i < 2 * QUIC_FLOWS_MAX; i++) flows.setName(flow, nameOf(`n${i}.example`));
    for (let i = 0; i < 2 * QUIC_FLOWS_MAX; i++) {
      flows.setName(flow, nameOf(`m${i}.example`));
      flows.forgetName(flow);
    }
    flows.setName(flow, nameOf("last.example"));
    flows.readName(flow, name);
    expect(name.text).toBe("last.example");
  });

  it("is told by its remote", () => {
    const flows = new QuicFlows();
    const words = new Int32Array(4);
    const flow = flowOf(flows, { remotePort: 0xfffe, guestPort: 0xffff });
    expect([flows.remoteOf(flow, words), [...words]]).toEqual([0xfffe, [0, 0, 0xffff, REMOTE]]);
    const six = flowOf(flows, { pair: [1, 2, 3, 4, 5, 6, 7, 8] });
    expect([flows.remoteOf(six, words), [...words]]).toEqual([443, [5, 6, 7, 8]]);
    const leadsTo = (port: number, ...to: number[]): boolean => flows.someLeadsTo(Int32Array.from(to), port);
    expect(leadsTo(443, 5, 6, 7, 8)).toBe(false);
    flows.setName(six, nameOf("good.example"));
    expect(leadsTo(443, 5, 6, 7, 8)).toBe(true);
    expect([leadsTo(444, 5, 6, 7, 8), leadsTo(443, 5, 6, 7, 9), leadsTo(443, 4, 6, 7, 8)]).toEqual([
      ...[false, false, false],
    ]);
    expect(leadsTo(0xfffe, 0, 0, 0xffff, REMOTE)).toBe(false);
  });

  it("in the last place leads there too", () => {
    const flows = new QuicFlows();
    for (let guestPort = 1; ; guestPort++) {
      if (flowOf(flows, { guestPort, remotePort: guestPort }) !== QUIC_FLOWS_MAX - 1) continue;
      flows.setName(QUIC_FLOWS_MAX - 1, nameOf("good.example"));
      expect(flows.find(datagram({ guestPort, remotePort: guestPort }), 0)).toBe(QUIC_FLOWS_MAX - 1);
      expect(flows.someLeadsTo(Int32Array.of(0, 0, 0xffff, REMOTE), guestPort)).toBe(true);
      return;
    }
  });
});

const HELLO_OCTETS = 4 + 20;
/** A handshake message: ClientHello, its length, its body. */
const message = (octets = HELLO_OCTETS, type = 1): number[] => [
  ...[type, (octets - 4) >> 16, ((octets - 4) >> 8) & 255, (octets - 4) & 255],
  ...new Array<number>(octets - 4).fill(7),
];

function begun(): QuicHandshake {
  const handshake = new QuicHandshake();
  handshake.begin(3, CLIENT_ID, 50);
  return handshake;
}
const take = (handshake: QuicHandshake, offset: number, octets: readonly number[]): boolean =>
  handshake.take(offset, Uint8Array.from([9, 9, ...octets, 9]), 2, octets.length);

describe("a handshake of QUIC", () => {
  it("is of its flow and connection id", () => {
    const handshake = begun();
    expect(handshake.isOf(3, CLIENT_ID)).toBe(true);
    expect(handshake.isOf(4, CLIENT_ID)).toBe(false);
    expect(handshake.isOf(3, CLIENT_ID.subarray(0, 7))).toBe(false);
    expect(handshake.isOf(3, Buffer.concat([CLIENT_ID, Buffer.of(0)]))).toBe(false);
    for (const at of [0, CLIENT_ID.length - 1]) {
      const other = Buffer.from(CLIENT_ID);
      other[at]++;
      expect(handshake.isOf(3, other)).toBe(false);
    }
    handshake.begin(3, Buffer.alloc(0), 0);
    expect([handshake.isOf(3, Buffer.alloc(0)), handshake.isOf(3, CLIENT_ID)]).toEqual([true, false]);
    expect(new QuicHandshake().flow).toBe(NO_QUIC_FLOW);
  });

  it("is put together from octets in any order, up to the first gap", () => {
    const handshake = begun();
    const octets = message();
    expect([handshake.isWaiting, handshake.messageOctets()]).toEqual([true, 0]);
    expect(take(handshake, 10, octets.slice(10))).toBe(true);
    expect([handshake.isWaiting, handshake.messageOctets()]).toEqual([true, 0]);
    expect(take(handshake, 0, octets.slice(0, 9))).toBe(true);
    expect(handshake.messageOctets()).toBe(0);
    expect(take(handshake, 8, octets.slice(8, 11))).toBe(true);
    expect(handshake.messageOctets()).toBe(HELLO_OCTETS);
    expect([...handshake.stream.slice(0, HELLO_OCTETS)]).toEqual(octets);
    handshake.judged = HELLO_OCTETS;
    expect([handshake.isWaiting, handshake.messageOctets()]).toEqual([false, 0]);
  });

  it("waits again once more is said, and for the whole of that", () => {
    const handshake = begun();
    take(handshake, 0, message());
    handshake.judged = HELLO_OCTETS;
    const octets = message(30);
    for (let i = 0; i < 29; i++) {
      expect(take(handshake, HELLO_OCTETS + i, octets.slice(i, i + 1))).toBe(true);
      expect([handshake.isWaiting, handshake.messageOctets()]).toEqual([true, 0]);
    }
    take(handshake, HELLO_OCTETS + 29, octets.slice(29));
    expect(handshake.messageOctets()).toBe(30);
  });

  it("says nothing otherwise that it has said", () => {
    const handshake = begun();
    const octets = message();
    take(handshake, 0, octets);
    expect(take(handshake, 0, octets)).toBe(true);
    expect(take(handshake, 5, [7, 7, 8])).toBe(false);
    expect(take(handshake, HELLO_OCTETS, [])).toBe(true);
    expect([handshake.isWaiting, handshake.messageOctets()]).toEqual([true, HELLO_OCTETS]);
    handshake.judged = HELLO_OCTETS;
    expect(take(handshake, 100, [])).toBe(true);
    expect(handshake.isWaiting).toBe(false);
  });

  it("is no longer than its bound", () => {
    const handshake = begun();
    expect(take(handshake, QUIC_CRYPTO_OCTETS - 2, [1, 2])).toBe(true);
    expect(take(handshake, QUIC_CRYPTO_OCTETS - 2, [1, 2, 3])).toBe(false);
    expect(take(handshake, QUIC_CRYPTO_OCTETS + 1, [])).toBe(false);
    for (const [octets, found] of [
      [QUIC_CRYPTO_OCTETS, 0],
      [QUIC_CRYPTO_OCTETS + 1, NOT_A_HELLO],
      [0x010004, NOT_A_HELLO],
    ] as const) {
      const long = begun();
      take(long, 0, message(octets).slice(0, 4));
      expect(long.messageOctets()).toBe(found);
    }
    const second = begun();
    take(second, 0, message());
    second.judged = HELLO_OCTETS;
    take(second, HELLO_OCTETS, message(QUIC_CRYPTO_OCTETS - HELLO_OCTETS + 1).slice(0, 4));
    expect(second.messageOctets()).toBe(NOT_A_HELLO);
  });

  it("may be as long as its bound", () => {
    const handshake = begun();
    expect(take(handshake, 0, message(QUIC_CRYPTO_OCTETS))).toBe(true);
    expect(handshake.messageOctets()).toBe(QUIC_CRYPTO_OCTETS);
  });

  it("says nothing of its length before that has come, whatever the one before said", () => {
    const handshake = begun();
    take(handshake, 0, message(0x010004).slice(0, 4));
    handshake.begin(3, CLIENT_ID, 60);
    for (const [at, octet] of [1, 0, 0].entries()) {
      take(handshake, at, [octet]);
      expect(handshake.messageOctets()).toBe(0);
    }
  });

  it("begins with a ClientHello and nothing else", () => {
    const other = begun();
    take(other, 0, message(HELLO_OCTETS, 2).slice(0, 1));
    expect(other.messageOctets()).toBe(NOT_A_HELLO);
    const sized = begun();
    take(sized, 0, [1, 0, 1, 0]);
    expect(sized.messageOctets()).toBe(0);
    take(sized, 4, new Array<number>(256).fill(3));
    expect(sized.messageOctets()).toBe(260);
  });

  it("begins anew with nothing of the one before", () => {
    const handshake = begun();
    take(handshake, 0, message());
    handshake.judged = HELLO_OCTETS;
    handshake.largest = 7;
    handshake.hold(Uint8Array.of(1, 2, 3), 0, 3);
    handshake.begin(4, CLIENT_ID, 60);
    const { flow, since, judged, largest, heldOctets, heldCount } = handshake;
    expect([flow, since, judged, largest, heldOctets, heldCount]).toEqual([4, 60, 0, -1, 0, 0]);
    expect([handshake.isWaiting, handshake.messageOctets()]).toEqual([true, 0]);
    expect(take(handshake, 0, [9, 9, 9, 9])).toBe(true);
  });

  it("keeps so many datagrams and octets of them, in order", () => {
    const handshake = begun();
    const octets = Uint8Array.from({ length: QUIC_HELD_OCTETS + 2 }, (_, i) => i);
    for (let i = 0; i < QUIC_HELD_MAX; i++) expect(handshake.hold(octets, i, 10 + i)).toBe(true);
    expect(handshake.hold(octets, 0, 1)).toBe(false);
    expect([...handshake.heldLengths]).toEqual([10, 11, 12, 13]);
    expect([...handshake.held.slice(0, 22)]).toEqual([...octets.slice(0, 10), ...octets.slice(1, 12), 2]);
    handshake.forgetHeld();
    expect([handshake.heldOctets, handshake.heldCount]).toEqual([0, 0]);
    expect(handshake.hold(octets, 0, QUIC_HELD_OCTETS + 1)).toBe(false);
    expect(handshake.hold(octets, 1, QUIC_HELD_OCTETS - 5)).toBe(true);
    expect([handshake.hold(octets, 0, 6), handshake.hold(octets, 0, 5)]).toEqual([false, true]);
    expect(handshake.held[QUIC_HELD_OCTETS - 1]).toBe(4);
  });

  it("has keys for either version, which are derived once, of its own connection id", () => {
    const derived: (readonly [number, number])[] = [];
    const opener = {
      derive(version: number, id: Uint8Array, keys: Uint8Array): void {
        derived.push([version, id.length]);
        keys[0] = version & 255;
      },
    } as QuicOpener;
    const handshake = begun();
    for (const version of [QUIC_1, QUIC_2, QUIC_1, QUIC_2]) {
      expect(handshake.keysOf(version, opener)[0]).toBe(version & 255);
    }
    expect(derived).toEqual([
      [QUIC_1, 8],
      [QUIC_2, 8],
    ]);
    handshake.begin(3, CLIENT_ID.subarray(0, 5), 0);
    handshake.keysOf(QUIC_2, opener);
    handshake.keysOf(QUIC_1, opener);
    expect(derived.slice(2)).toEqual([
      [QUIC_2, 5],
      [QUIC_1, 5],
    ]);
  });
});

/** Opens a packet that lies at an offset; what was opened, with its number, or how often it opens. */
function open(packet: Uint8Array, largest = -1, version = QUIC_1, keys: QuicKeys = new HostQuicKeys()) {
  const octets = Uint8Array.from([1, 2, 3, ...packet, 4, 5]);
  const header = new LongHeader();
  expect(header.read(octets, 3, 3 + packet.length)).toBe(QUIC_READ);
  const opener = new QuicOpener(keys);
  const derived = new Uint8Array(QUIC_KEYS_OCTETS);
  opener.derive(version, CLIENT_ID, derived);
  const ways = opener.open(derived, octets, 3, header, largest);
  return { ways, number: opener.number, plain: [...opener.plain.slice(0, opener.length)] };
}

describe("an Initial packet", () => {
  const frame = [...crypto(0, Buffer.from("hello"))];

  it.each([
    [QUIC_1, 1, 0],
    [QUIC_1, 1, 255],
    [QUIC_1, 2, 0x1234],
    [QUIC_1, 3, 0x123456],
    [QUIC_1, 4, 0x12345678],
    [QUIC_1, 4, 0xfffffffe],
    [QUIC_2, 2, 0xfedc],
  ] as const)("of version %i with a number of %i octets, %i, opens once", (version, numberOctets, number) => {
    const packet = longPacket(Buffer.from(frame), { version, numberOctets, number });
    expect(open(packet, -1, version)).toEqual({ ways: 1, number, plain: frame });
  });

  it("opens with the beginning of its number that was not sent, as far as that can be known", () => {
    for (const number of [256, 300, 511, 1020]) {
      const packet = longPacket(Buffer.from(frame), { number: number & 0xff, numberOctets: 1 });
      expect(open(packet, number - 1)).toMatchObject({ ways: 1, number: number & 0xff });
      const later = longPacket(Buffer.from(frame), { number, numberOctets: 1 });
      expect(open(later, number - 1), `${number}`).toEqual({ ways: 1, number, plain: frame });
    }
    const next = longPacket(Buffer.from(frame), { number: 256 + 99, numberOctets: 1 });
    expect([open(next, 98).ways, open(next, 99).ways]).toEqual([0, 1]);
    const far = longPacket(Buffer.from(frame), { number: 1023, numberOctets: 1 });
    expect([open(far, 1023).ways, open(far, 1024).ways]).toEqual([1, 0]);
    const wide = longPacket(Buffer.from(frame), { number: 1024, numberOctets: 2 });
    expect(open(wide, 1024).ways).toBe(1);
  });

  it("that opens with two numbers is told as that", () => {
    class Two extends HostQuicKeys {
      override open(
        keys: Uint8Array,
        nonce: Uint8Array,
        header: Uint8Array,
        sealed: Uint8Array,
        opened: Uint8Array,
      ): boolean {
        return nonce[10] !== keys[16 + 10] || super.open(keys, nonce, header, sealed, opened);
      }
    }
    const packet = longPacket(Buffer.from(frame), { number: 7, numberOctets: 1 });
    expect(open(packet, 250, QUIC_1, new Two()).ways).toBe(2);
    expect(open(packet, 250 + 256, QUIC_1, new Two()).ways).toBe(3);
  });

  it("that is changed in any octet opens not at all", () => {
    const packet = longPacket(Buffer.from(frame), { numberOctets: 2, fill: 30 });
    // What the header is read by, apart.
    for (let at = packet.length - 48; at < packet.length; at++) {
      const changed = Buffer.from(packet);
      changed[at] ^= 1;
      expect(open(changed).ways, `octet ${at}`).toBe(0);
    }
    const first = Buffer.from(packet);
    first[0] ^= 4;
    expect(open(first).ways).toBe(0);
    expect(open(packet, -1, QUIC_2).ways).toBe(0);
  });

  it("needs octets for the sample, and a tag", () => {
    // Behind the number's first octet there are 3 before the sample, of 16.
    const header = Buffer.from([0xc0, 0, 0, 0, 1, 8, ...CLIENT_ID, 0, 0]);
    const sized = (octets: number): Buffer =>
      Buffer.concat([header, Buffer.of(0x40, octets), Buffer.alloc(octets, 5)]);
    const asked: number[] = [];
    class Counting extends HostQuicKeys {
      override headerMask(_keys: Uint8Array, _sample: Uint8Array, mask: Uint8Array): void {
        // A number of four octets.
        mask.fill(0).set([3]);
        asked.push(1);
      }
      override open(_keys: Uint8Array, _nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array): boolean {
        asked.push(aad.length, sealed.length);
        return false;
      }
    }
    open(sized(19), -1, QUIC_1, new Counting());
    expect(asked).toEqual([]);
    open(sized(20), -1, QUIC_1, new Counting());
    expect(asked).toEqual([1, header.length + 2 + 4, 16]);
    const empty = longPacket(Buffer.alloc(0), { numberOctets: 4 });
    expect(open(empty)).toMatchObject({ ways: 1, plain: [] });
  });
});
