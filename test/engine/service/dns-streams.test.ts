/** The guest's TCP connections to the DNS address: to the millisecond and the octet, when they end, wait and give way. */
import * as packet from "dns-packet";
import { describe, expect, it } from "vitest";
import type { EngineConfig, ResolverAddress } from "../../../src/engine/config.ts";
import {
  DNS_QUERY_OCTETS_MAX,
  DNS_REGION_OCTETS,
  DNS_SCRATCH_OCTETS,
  DNS_STREAM_QUERIES_MAX,
  DNS_STREAM_QUEUE_OCTETS,
  DNS_STREAMS_MAX,
  DNS_TCP_QUERIES_MAX,
} from "../../../src/engine/limits.ts";
import { AccountedExchange } from "../../support/accounted-exchange.ts";
import type { HeldSocket } from "../../support/frame-exchange.ts";
import { ip } from "../../support/frames.ts";
import { RecordTap } from "../../support/record-tap.ts";
import { TcpGuest } from "../../support/tcp-guest.ts";

const RESOLVER: ResolverAddress = { words: [0, 0, 0xffff, 0x7f000001], port: 5301, scope: 0 };
const HOST: packet.Question[] = [{ type: "A", name: "host.internal" }];
const ZONE: packet.Question[] = [{ type: "AXFR", name: "zone.test" }];

function setUp(config: Partial<EngineConfig> = {}) {
  const exchange = new AccountedExchange({
    resolvers: [RESOLVER],
    dnsHostNames: ["host.internal"],
    ...config,
  });
  exchange.settle();
  const { core, network } = exchange;
  const open = (sourcePort = 40_000): TcpGuest => {
    const guest = new TcpGuest(exchange, { to: ip("10.0.2.3"), port: 53, sourcePort });
    expect(guest.open()).toBe(true);
    return guest;
  };
  /** Time goes by at once. */
  const jump = (ms: number, ...guests: TcpGuest[]): void => {
    exchange.now += ms;
    for (const guest of guests) guest.settle();
    if (guests.length === 0) exchange.settle();
  };
  const dueMs = (): number => core.nextDeadlineMs(exchange.now);
  const states = (): string[] => core.flows(0).map(({ guest, state }) => `${guest.split(":")[1]} ${state}`);
  return { exchange, core, network, open, jump, dueMs, states };
}

function query(id: number, questions?: packet.Question[], over: Partial<packet.Packet> = {}): Buffer {
  const asked = questions ?? [{ type: "A", name: `n${id}.test` }];
  return packet.streamEncode({
    type: "query",
    id,
    flags: packet.RECURSION_DESIRED,
    questions: asked,
    ...over,
  });
}

function messagesOf(stream: Uint8Array): packet.DecodedPacket[] {
  const messages: packet.DecodedPacket[] = [];
  const octets = Buffer.from(stream);
  for (let at = 0; at + 2 <= octets.length; at += 2 + octets.readUInt16BE(at)) {
    messages.push(packet.decode(octets.subarray(at + 2, at + 2 + octets.readUInt16BE(at))));
  }
  return messages;
}
const idsOf = (guest: TcpGuest) => messagesOf(guest.received).map(({ id }) => id);

/** An answer to the last query on this socket, of so many octets with its length in front where that is said. */
function answerTo({ octets }: HeldSocket, length?: number): Buffer {
  const { id = 0, questions = [] } = messagesOf(octets).at(-1)!;
  const flags = packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE;
  const answer = packet.streamEncode({ type: "response", id, flags, questions, answers: [] });
  if (length === undefined) return answer;
  const long = Buffer.alloc(length);
  long.set(answer);
  long.writeUInt16BE(length - 2);
  return long;
}

describe("a guest's connection to the DNS address", () => {
  it("is closed 20 s after the last it asked or heard, and given up 10 s later", () => {
    const { open, jump, states, core } = setUp();
    const guest = open();
    jump(5000);
    guest.send(query(1, HOST));
    expect(idsOf(guest)).toEqual([1]);
    jump(19_999, guest);
    expect(guest.ended).toBe(false);
    jump(1, guest);
    expect([guest.ended, states()]).toEqual([true, ["40000 FIN-WAIT-2"]]);
    jump(9_999, guest);
    expect([guest.wasReset, core.usage().tcp]).toEqual([false, 1]);
    jump(1, guest);
    expect([guest.wasReset, core.usage().tcp]).toEqual([true, 0]);
  });

  it("counts from the answer that came late", () => {
    const { open, jump, network } = setUp();
    const guest = open();
    guest.send(query(1));
    jump(1000, guest);
    network.sockets[0].give(answerTo(network.sockets[0]));
    guest.settle();
    jump(19_999, guest);
    expect(guest.ended).toBe(false);
    jump(1, guest);
    expect(guest.ended).toBe(true);
  });

  it("that nobody has leaves nothing due", () => {
    const { open, dueMs, exchange } = setUp();
    const before = dueMs();
    open().reset();
    expect(dueMs()).toBe(before);
    exchange.expectRest();
  });

  it("that is closed takes no more questions, and keeps no octets", () => {
    const { open, jump, network, core } = setUp();
    const guest = open();
    jump(20_000, guest);
    expect(guest.ended).toBe(true);
    guest.send(query(1));
    expect([network.sockets, core.usage().smallChunks, guest.wasReset]).toEqual([[], 0, false]);
    guest.send(Buffer.from([0, 1]));
    expect(guest.wasReset).toBe(false);
    guest.close();
    expect(core.usage().smallChunks).toBe(0);
  });

  it("that is spoilt when its time is over is reset once", () => {
    const { open, exchange, core } = setUp();
    const guest = open();
    exchange.now += 20_000;
    guest.send(Buffer.from([0, 5]));
    expect([guest.wasReset, guest.ended, core.usage().tcp]).toEqual([true, false, 0]);
    exchange.expectRest();
  });

  it("stays while the guest has yet to read", () => {
    const { open, jump, network, states } = setUp();
    const guest = open();
    guest.send(query(1));
    guest.listens = false;
    network.sockets[0].give(answerTo(network.sockets[0]));
    guest.settle();
    for (let i = 0; i < 25; i++) jump(1000);
    expect(states()).toEqual(["40000 ESTABLISHED"]);
  });
});

describe("a query on a connection", () => {
  it("has 12 octets at least, which its length tells alone", () => {
    const { open, network } = setUp();
    const guest = open();
    guest.send(query(1, []));
    expect(messagesOf(network.sockets[0].octets)).toHaveLength(1);
    expect(guest.wasReset).toBe(false);
    const short = setUp();
    const other = short.open();
    other.send(Buffer.from([0]));
    expect(other.wasReset).toBe(false);
    other.send(Buffer.from([11]));
    expect([other.wasReset, short.core.counters.value("dns-tcp-malformed")]).toEqual([true, 1]);
  });

  it("without a question is asked once for all who ask it, and is no transfer", () => {
    // As many authorities as the type of a transfer has for its number.
    const records = Array.from({ length: 252 }, () => [0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]).flat();
    const many = [0, 7, 1, 0, 0, 0, 0, 0, 0, 252, 0, 0, ...records];
    for (const message of [query(7, []), Buffer.from([many.length >> 8, many.length & 255, ...many])]) {
      const { open, network } = setUp();
      for (const guest of [open(40_000), open(40_001)]) guest.send(message);
      expect(network.sockets).toHaveLength(1);
    }
  });

  it("is taken into the octets that DNS has", () => {
    const { open, exchange } = setUp();
    const { dnsAt, octets } = exchange.arena;
    const end = dnsAt + DNS_REGION_OCTETS;
    octets.fill(0, end - DNS_SCRATCH_OCTETS, end);
    const message = query(1, [{ type: "A", name: "only.here.test" }]);
    open().send(message);
    expect(Buffer.from(octets.slice(end - DNS_SCRATCH_OCTETS, end)).includes(message.subarray(14))).toBe(
      true,
    );
  });

  it("has 4,096 octets at most", () => {
    const sized = (length: number): Buffer => {
      const opt = {
        type: "OPT",
        name: ".",
        udpPayloadSize: 1232,
        flags: 0,
        options: [],
      } as unknown as packet.Answer;
      const plain = query(1, undefined, { additionals: [opt] });
      const message = Buffer.alloc(2 + length);
      message.set(plain);
      message.writeUInt16BE(length);
      message.writeUInt16BE(length - (plain.length - 2), plain.length - 2);
      return message;
    };
    const { open, network } = setUp();
    const guest = open();
    guest.send(sized(DNS_QUERY_OCTETS_MAX));
    expect(network.sockets[0].octets).toHaveLength(2 + DNS_QUERY_OCTETS_MAX);
    guest.send(sized(DNS_QUERY_OCTETS_MAX + 1).subarray(0, 2));
    expect(guest.wasReset).toBe(true);
  });

  it("is told of with the guest's port", () => {
    const { open, network, exchange, core } = setUp();
    const tap = new RecordTap(core, exchange.arena);
    const guest = open();
    guest.send(query(1, HOST));
    guest.send(query(2));
    network.sockets[0].give(answerTo(network.sockets[0]));
    guest.settle();
    expect(tap.read().filter(({ type }) => type === "dns")).toMatchObject([
      { transport: "tcp", answeredBy: "sluice", guest: { address: "10.0.2.15", port: 40_000 } },
      { transport: "tcp", answeredBy: "resolver", guest: { address: "10.0.2.15", port: 40_000 } },
    ]);
  });

  it("waits while 128 KiB of answers wait", () => {
    for (const isFull of [true, false]) {
      const { open, network } = setUp();
      const guest = open();
      guest.listens = false;
      const lengths = [DNS_STREAM_QUEUE_OCTETS / 2, DNS_STREAM_QUEUE_OCTETS / 2 - (isFull ? 0 : 1)];
      for (const length of lengths) {
        guest.send(query(1));
        network.sockets[0].give(answerTo(network.sockets[0], length));
        guest.settle();
      }
      guest.send(query(3));
      expect(messagesOf(network.sockets[0].octets)).toHaveLength(isFull ? 2 : 3);
    }
  });

  it("that finds no room is looked at again every 10 ms", () => {
    const { open, jump, network, dueMs } = setUp();
    const each = DNS_STREAM_QUERIES_MAX;
    const guests = Array.from({ length: DNS_TCP_QUERIES_MAX / each }, (_, i) => open(40_000 + i));
    for (const [g, guest] of guests.entries())
      guest.send(Buffer.concat(Array.from({ length: each }, (_, i) => query(g * each + i))));
    expect(network.sockets).toHaveLength(DNS_TCP_QUERIES_MAX);
    const late = open(41_000);
    late.send(query(999));
    expect([network.sockets.length, dueMs()]).toEqual([DNS_TCP_QUERIES_MAX, 10]);
    jump(10);
    expect([network.sockets.length, dueMs()]).toEqual([DNS_TCP_QUERIES_MAX, 10]);
    guests[0].reset();
    jump(9);
    expect(network.sockets).toHaveLength(DNS_TCP_QUERIES_MAX);
    jump(1);
    expect(network.sockets).toHaveLength(DNS_TCP_QUERIES_MAX + 1);
  });

  it("that finds no room for long does not leave its connection idle", () => {
    const { open, jump, network, states } = setUp();
    const each = DNS_STREAM_QUERIES_MAX;
    const guests = Array.from({ length: DNS_TCP_QUERIES_MAX / each }, (_, i) => open(40_000 + i));
    for (const guest of guests)
      guest.send(Buffer.concat(Array.from({ length: each }, (_, i) => query(i, ZONE))));
    expect(network.sockets).toHaveLength(DNS_TCP_QUERIES_MAX);
    const late = open(41_000);
    late.send(query(999));
    for (let s = 0; s < 24; s += 3) {
      jump(1000);
      for (const socket of network.sockets) socket.give(answerTo(socket));
      jump(0, ...guests);
      jump(1000);
      jump(1000);
    }
    expect(states()).toContain("41000 ESTABLISHED");
    guests[0].reset();
    jump(10);
    expect(network.sockets).toHaveLength(DNS_TCP_QUERIES_MAX + 1);
  });
});

it("a connection takes the first place that is free, and nobody else's", () => {
  const { open, jump, states } = setUp();
  const first = open(40_000);
  open(40_001);
  jump(100, first);
  first.send(query(1, HOST));
  first.reset();
  open(40_002);
  expect(states()).toEqual(["40002 ESTABLISHED", "40001 ESTABLISHED"]);
});

describe("where there are too many connections", () => {
  it("the one that was idle longest gives way, the first of those", () => {
    const { open, jump, states } = setUp();
    const guests = Array.from({ length: DNS_STREAMS_MAX }, (_, i) => open(40_000 + i));
    open(50_000);
    expect([states().length, states().some((state) => state.startsWith("40000 "))]).toEqual([
      DNS_STREAMS_MAX,
      false,
    ]);
    jump(100);
    for (const [i, guest] of guests.entries()) if (i > 0 && i !== 5 && i !== 9) guest.send(query(i, HOST));
    const gone = (): number[] =>
      [...guests.keys()].filter((i) => !states().some((state) => state.startsWith(`${40_000 + i} `)));
    open(50_001);
    expect([gone(), states().some((state) => state.startsWith("50000 "))]).toEqual([[0], false]);
    open(50_002);
    expect(gone()).toEqual([0, 5]);
    open(50_003);
    expect(gone()).toEqual([0, 5, 9]);
  });

  it("one that waits for an answer stays before one that does not, and all that wait give way in turn", () => {
    const { open, jump, states, network } = setUp();
    const guests = Array.from({ length: DNS_STREAMS_MAX }, (_, i) => open(40_000 + i));
    for (const [i, guest] of guests.entries()) if (i !== 63) guest.send(query(i));
    jump(100);
    guests[63].send(query(1000, HOST));
    open(50_000);
    expect(states().filter((state) => state.startsWith("40063 "))).toEqual([]);
    const last = open(50_001);
    expect(states().filter((state) => state.startsWith("50000 "))).toEqual([]);
    last.send(query(1001));
    expect(network.sockets).toHaveLength(DNS_STREAMS_MAX);
    open(50_002);
    expect(states().filter((state) => state.startsWith("40000 "))).toEqual([]);
    expect([states().length, network.sockets[0].state]).toEqual([DNS_STREAMS_MAX, "closed"]);
  });
});

describe("a zone transfer that has ended", () => {
  it("closes its connection, on which no other answer follows", () => {
    const { open, network, jump, core } = setUp();
    const guest = open();
    guest.send(Buffer.concat([query(1, ZONE), query(2)]));
    const [zone, other] = network.sockets;
    zone.give(answerTo(zone));
    guest.settle();
    zone.end();
    guest.settle();
    expect([idsOf(guest), guest.ended]).toEqual([[1], true]);
    const sent = core.counters.value("tcp-octets-to-guest");
    other.give(answerTo(other));
    guest.settle();
    jump(100, guest);
    expect([idsOf(guest), guest.wasReset]).toEqual([[1], false]);
    expect(core.counters.value("tcp-octets-to-guest")).toBe(sent);
    guest.close();
    expect(core.usage().dns).toBe(0);
  });

  it("beside another one closes it once, which is given up 10 s later", () => {
    const { open, network, jump, core } = setUp();
    const guest = open();
    guest.send(Buffer.concat([query(1, ZONE), query(2, [{ type: "IXFR" as "AXFR", name: "zone.test" }])]));
    expect(network.sockets).toHaveLength(2);
    for (const socket of network.sockets) socket.give(answerTo(socket));
    guest.settle();
    expect(idsOf(guest)).toEqual([1, 2]);
    network.sockets[1].give(answerTo(network.sockets[1]));
    guest.settle();
    expect(idsOf(guest)).toEqual([1, 2, 2]);
    network.sockets[0].end();
    guest.settle();
    expect(guest.ended).toBe(true);
    jump(5000, guest);
    network.sockets[1].end();
    guest.settle();
    jump(4999, guest);
    expect(core.usage().tcp).toBe(1);
    jump(1, guest);
    expect([core.usage().tcp, guest.wasReset]).toEqual([0, true]);
  });
});
