/** IPv4 from the guest, one packet at a time: what is checked in which order, and what each layer above is handed. */
import { describe, expect, it } from "vitest";
import { Neighbours } from "../../../src/engine/link/neighbours.ts";
import { Packet } from "../../../src/engine/memory/packet.ts";
import { Counters } from "../../../src/engine/metrics/counters.ts";
import { DROP_REASONS, HANDLED } from "../../../src/engine/metrics/drop-reasons.ts";
import type { Echo } from "../../../src/engine/network/echo.ts";
import { Ipv4 } from "../../../src/engine/network/ipv4.ts";
import { REASSEMBLY_REGION_OCTETS, Reassembly } from "../../../src/engine/network/reassembly.ts";
import { Sources } from "../../../src/engine/network/sources.ts";
import type { Strangers } from "../../../src/engine/network/strangers.ts";
import { ip } from "../../support/frames.ts";

const RX_AT = 2048;
const REGION_AT = 80_000;
const GUEST = ip("10.0.2.15");
const GATEWAY = ip("10.0.2.2");
const REMOTE = ip("198.51.100.7");
const BROADCAST = -1;
const [ICMP, IGMP, TCP, UDP] = [1, 2, 6, 17];

interface Fields {
  readonly from?: number;
  readonly to?: number;
  readonly protocol?: number;
  readonly ttl?: number;
  readonly id?: number;
  /** Flags and offset as in the header. */
  readonly bits?: number;
  readonly options?: readonly number[];
  readonly payload?: readonly number[];
  /** What the header says, where it lies. */
  readonly total?: number;
}

/** RFC 1071, octet by octet. */
function checksum(octets: Uint8Array): number {
  let sum = 0;
  octets.forEach((octet, i) => {
    sum += i % 2 === 0 ? octet << 8 : octet;
  });
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function packetOf({
  from = GUEST,
  to = REMOTE,
  protocol = UDP,
  ttl = 64,
  id = 7,
  bits = 0,
  options = [],
  payload = [1, 2, 3, 4, 5, 6, 7, 8],
  total,
}: Fields): Uint8Array {
  const header = 20 + options.length;
  const octets = Uint8Array.of(...new Array<number>(20).fill(0), ...options, ...payload);
  const view = new DataView(octets.buffer);
  view.setUint8(0, 0x40 | (header / 4));
  view.setUint16(2, total ?? octets.length);
  view.setUint16(4, id);
  view.setUint16(6, bits);
  view.setUint8(8, ttl);
  view.setUint8(9, protocol);
  view.setInt32(12, from);
  view.setInt32(16, to);
  view.setUint16(10, checksum(octets.subarray(0, header)));
  return octets;
}

const toPort = (port: number): number[] => [0, 68, port >>> 8, port & 255, 0, 8, 0, 0];

function setUp({ answersPing = false } = {}) {
  const octets = new Uint8Array(REGION_AT + REASSEMBLY_REGION_OCTETS);
  const view = new DataView(octets.buffer);
  const counters = new Counters();
  const neighbours = new Neighbours();
  const strangers: number[] = [];
  const handed: string[] = [];
  const packet = new Packet();
  const upper = (name: string) => ({
    packet: ({ transportAt, transportOctets, reassembled, verify, guestAddress, remoteAddress }: Packet) => {
      const payload = Buffer.from(octets.subarray(transportAt, transportAt + transportOctets)).toString(
        "hex",
      );
      const ends = guestAddress === GUEST && remoteAddress === REMOTE ? "" : " other ends";
      handed.push(
        `${name} ${payload}${ends}${reassembled ? " reassembled" : ""}${verify ? " to be verified" : ""}`,
      );
      return HANDLED;
    },
  });
  const own = { isOwn: (address: number) => address === GATEWAY };
  const echo = {
    packet: (taken: Packet, mine: typeof own) => {
      handed.push(`echo, ours: ${mine.isOwn(taken.remoteAddress)}`);
      return HANDLED;
    },
  };
  const ipv4 = new Ipv4({
    view,
    reassembly: new Reassembly(octets, view, REGION_AT, counters),
    counters,
    sources: new Sources(GUEST, 0),
    strangers: { note: (address: number) => strangers.push(address) } as unknown as Strangers,
    neighbours,
    own,
    tcp: upper("tcp"),
    udp: upper("udp"),
    echo: answersPing ? (echo as unknown as Echo) : null,
  });
  const sendOctets = (input: Uint8Array, now = 0): string => {
    octets.fill(0xee, RX_AT, RX_AT + 4096);
    octets.set(input, RX_AT);
    Object.assign(packet, {
      networkAt: RX_AT,
      networkOctets: input.length,
      ipOctets: 0,
      verify: false,
      reassembled: true,
      nowMs: now,
      sourceHigh: 0x5254,
      sourceLow: 9,
    });
    return DROP_REASONS[ipv4.packet(packet)];
  };
  const send = (fields: Fields, now = 0): string => sendOctets(packetOf(fields), now);
  return { send, sendOctets, handed, strangers, neighbours, counters, packet };
}

describe("IPv4 from the guest", () => {
  it.each([
    ["TCP", TCP, "tcp 0102030405060708"],
    ["UDP", UDP, "udp 0102030405060708"],
  ])("hands %s up, and learns where the sender is", (_name, protocol, seen) => {
    const { send, handed, neighbours, strangers, packet } = setUp();
    expect(send({ protocol })).toBe("handled");
    expect([handed, strangers, packet.ipOctets]).toEqual([[seen], [], 20]);
    const i = neighbours.find(GUEST);
    expect([neighbours.macHigh[i], neighbours.macLow[i]]).toEqual([0x5254, 9]);
  });

  it.each([
    ["ICMP", ICMP, "icmp"],
    ["IGMP", IGMP, "igmp"],
    ["what is next to nothing", 0, "ipv4-unknown-protocol"],
    ["SCTP", 132, "ipv4-unknown-protocol"],
  ])("drops %s", (_name, protocol, reason) => {
    const { send, handed } = setUp();
    expect([send({ protocol }), handed]).toEqual([reason, []]);
  });

  it("hands ICMP up where pings are answered, and says which addresses are ours", () => {
    const { send, handed } = setUp({ answersPing: true });
    expect(send({ protocol: ICMP })).toBe("handled");
    expect(send({ protocol: ICMP, to: GATEWAY })).toBe("handled");
    expect(handed).toEqual(["echo, ours: false", "echo, ours: true"]);
  });

  it("leaves padding and options behind", () => {
    const { send, sendOctets, handed } = setUp();
    expect(sendOctets(Uint8Array.of(...packetOf({}), 0xaa, 0xaa))).toBe("handled");
    expect(send({ options: [1, 1, 1, 0] })).toBe("handled");
    expect(handed).toEqual(["udp 0102030405060708", "udp 0102030405060708"]);
  });

  it("takes a packet that is nothing but a header", () => {
    const { send, handed } = setUp();
    expect([send({ payload: [] }), handed]).toEqual(["handled", ["udp "]]);
  });

  it("drops what is malformed, or whose header's checksum is wrong, options included", () => {
    const { send, sendOctets, neighbours } = setUp();
    expect(sendOctets(packetOf({}).subarray(0, 19))).toBe("ipv4-malformed");
    expect(send({ total: 29 })).toBe("ipv4-malformed");
    for (let at = 1; at < 24; at++) {
      const octets = packetOf({ options: [1, 1, 1, 1] });
      octets[at] ^= at === 2 || at === 3 ? 0 : 1;
      expect([at, sendOctets(octets)]).toEqual([at, at === 2 || at === 3 ? "handled" : "ipv4-bad-checksum"]);
    }
    expect(neighbours.size).toBe(1);
  });

  it.each([
    ["to somebody", REMOTE, ["ipv4-ttl-expired", "ipv4-ttl-expired", "handled"]],
    ["to us", GATEWAY, ["handled", "handled", "handled"]],
    ["to everybody", BROADCAST, ["handled", "handled", "handled"]],
  ])("counts a TTL of 0 and 1 for expired, where it is forwarded: %s", (_name, to, results) => {
    const { send } = setUp();
    expect([0, 1, 2].map((ttl) => send({ to, ttl }))).toEqual(results);
  });
});

describe("options", () => {
  const [END, NOP, LSRR, SSRR, RECORD, STRANGE] = [0, 1, 131, 137, 7, 30];
  it.each<[string, number[], boolean]>([
    ["a loose source route", [LSRR, 3, 4, END], true],
    ["a strict source route", [SSRR, 3, 4, END], true],
    ["one behind padding", [NOP, NOP, NOP, LSRR, 3, 4, END, END], true],
    ["one behind other options", [RECORD, 4, 4, 0, STRANGE, 2, SSRR, 2], true],
    ["one in the last octet", [NOP, NOP, NOP, SSRR], true],
    ["one behind an option that is as short as can be", [STRANGE, 2, LSRR, 2], true],
    ["none", [NOP, NOP, NOP, NOP], false],
    ["one behind the list's end", [END, LSRR, 3, 4], false],
    ["one two octets behind the list's end", [END, 2, LSRR, 2], false],
    ["one inside of another option", [STRANGE, 4, LSRR, SSRR], false],
    ["one behind an option of no length", [STRANGE, 0, LSRR, 2], false],
    ["one behind an option of one octet", [STRANGE, 1, LSRR, 2], false],
    ["an option that reaches beyond the header", [STRANGE, 40, NOP, NOP], false],
    ["an option without its length", [NOP, NOP, NOP, STRANGE], false],
  ])("with %s", (_name, options, isDropped) => {
    const { send, handed } = setUp();
    // The first octets of the payload are no options: a source route there means nothing.
    const payload = [LSRR, 2, LSRR, 2, LSRR, 2, LSRR, 2];
    expect(send({ options, payload })).toBe(isDropped ? "ipv4-options-source-route" : "handled");
    expect(handed.length).toBe(isDropped ? 0 : 1);
  });
});

describe("a source", () => {
  it("that is not the guest's is dropped, told of, and not learned", () => {
    const { send, strangers, neighbours, handed } = setUp();
    for (const from of [REMOTE, GATEWAY, BROADCAST]) expect(send({ from })).toBe("ipv4-spoofed-source");
    expect([strangers, neighbours.size, handed]).toEqual([[REMOTE, GATEWAY, BROADCAST], 0, []]);
  });

  const dhcp: Fields = { from: 0, to: BROADCAST, payload: toPort(67) };
  it.each<[string, Fields, boolean]>([
    ["to the DHCP server", dhcp, true],
    ["to the DHCP server, with options", { ...dhcp, options: [1, 1, 1, 0] }, true],
    ["to another port", { ...dhcp, payload: toPort(68) }, false],
    ["to the DHCP server's port of TCP", { ...dhcp, protocol: TCP }, false],
    ["to the DHCP server, in a first fragment", { ...dhcp, bits: 0x2000 }, false],
    ["to the DHCP server, in a last fragment", { ...dhcp, bits: 1 }, false],
    [
      "to the DHCP server, and no longer than seven octets",
      { ...dhcp, payload: toPort(67).slice(0, 7) },
      false,
    ],
    [
      "with options, and no longer than seven octets behind them",
      { ...dhcp, options: [1, 1, 1, 0], payload: toPort(67).slice(0, 7) },
      false,
    ],
    ["that is an address", { ...dhcp, from: REMOTE }, false],
  ])("of a client without an address %s", (_name, fields, isTaken) => {
    const { send, strangers, neighbours, handed } = setUp();
    expect(send(fields)).toBe(isTaken ? "handled" : "ipv4-spoofed-source");
    expect([handed.length, strangers.length, neighbours.size]).toEqual(isTaken ? [1, 0, 0] : [0, 1, 0]);
  });
});

describe("fragments", () => {
  const whole = Array.from({ length: 20 }, (_, i) => i + 1);
  const hex = Buffer.from(whole).toString("hex");

  it("are counted, and handed up as one datagram to be verified", () => {
    const { send, handed, counters, packet } = setUp();
    expect(send({ bits: 0x2000, payload: whole.slice(0, 16) })).toBe("handled");
    expect([handed, packet.reassembled]).toEqual([[], false]);
    expect(send({ bits: 2, payload: whole.slice(16) })).toBe("handled");
    expect(handed).toEqual([`udp ${hex} reassembled to be verified`]);
    expect([counters.value("fragments-from-guest"), counters.value("datagrams-reassembled")]).toEqual([2, 1]);
    expect([packet.networkAt > REGION_AT, packet.verify, packet.reassembled]).toEqual([true, true, true]);
  });

  it("are handed up with the header of the first, options and all", () => {
    const { send, handed } = setUp();
    send({ bits: 2, payload: whole.slice(16) });
    send({ bits: 0x2000, options: [1, 1, 1, 0], payload: whole.slice(0, 16) });
    expect(handed).toEqual([`udp ${hex} reassembled to be verified`]);
  });

  it("that are none are counted for none, whatever they say of fragmenting", () => {
    const { send, handed, counters } = setUp();
    expect(send({ bits: 0x4000 })).toBe("handled");
    expect([handed, counters.value("fragments-from-guest")]).toEqual([["udp 0102030405060708"], 0]);
  });

  it("that are malformed say so", () => {
    const { send, counters } = setUp();
    expect(send({ bits: 0x2000, payload: whole.slice(0, 7) })).toBe("ipv4-fragment-malformed");
    expect(counters.value("datagrams-reassembled")).toBe(0);
  });

  it("wait for the others no longer than they may", () => {
    const { send, handed } = setUp();
    send({ bits: 0x2000, payload: whole.slice(0, 16) }, 5);
    send({ bits: 2, payload: whole.slice(16) }, 6);
    expect(handed.length).toBe(1);
  });
});
