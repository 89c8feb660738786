/** DNS over TCP: the guest's connection ends in the engine, which asks the host's resolvers one after the other. */
import * as packet from "dns-packet";
import { describe, expect, it } from "vitest";
import { ECONNREFUSED, EINPROGRESS, WRITABLE } from "../../../src/engine/boundary.ts";
import type { EngineConfig, ResolverAddress } from "../../../src/engine/config.ts";
import {
  DNS_STREAM_QUERIES_MAX,
  DNS_STREAM_QUEUE_OCTETS,
  DNS_STREAMS_MAX,
  DNS_TCP_QUERIES_MAX,
} from "../../../src/engine/limits.ts";
import { asUdp, udp } from "../../hostile/guest-packets.ts";
import { AccountedExchange } from "../../support/accounted-exchange.ts";
import type { HeldSocket } from "../../support/frame-exchange.ts";
import { ip } from "../../support/frames.ts";
import { TcpGuest } from "../../support/tcp-guest.ts";

const DNS = ip("10.0.2.3");
/** Resolvers are told apart by their ports. */
const FIRST = 5301;
const SECOND = 5302;
const resolver = (port: number): ResolverAddress => ({ words: [0, 0, 0xffff, 0x7f000001], port, scope: 0 });

function setUp(ports: readonly number[] = [FIRST, SECOND], config: Partial<EngineConfig> = {}) {
  const exchange = new AccountedExchange({ resolvers: ports.map(resolver), ...config });
  const open = (sourcePort = 40_000): TcpGuest => {
    const guest = new TcpGuest(exchange, { to: DNS, port: 53, sourcePort });
    expect(guest.open()).toBe(true);
    return guest;
  };
  return { exchange, network: exchange.network, core: exchange.core, open };
}

function framed(...messages: Uint8Array[]): Buffer {
  return Buffer.concat(messages.map((message) => packet.streamEncode(packet.decode(Buffer.from(message)))));
}

function query(id: number, over: Partial<packet.Packet> = {}): Uint8Array {
  const questions: packet.Question[] = [{ type: "A", name: `n${id}.test` }];
  return packet.encode({ type: "query", id, flags: packet.RECURSION_DESIRED, questions, ...over });
}

type Decoded = packet.DecodedPacket & { rcode: string };

/** The messages in a stream of them. */
function messagesOf(stream: Uint8Array): Decoded[] {
  const messages: Decoded[] = [];
  const octets = Buffer.from(stream);
  for (let at = 0; at + 2 <= octets.length; at += 2 + octets.readUInt16BE(at)) {
    messages.push(packet.decode(octets.subarray(at + 2, at + 2 + octets.readUInt16BE(at))) as Decoded);
  }
  return messages;
}

const RCODES = { NOERROR: 0, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 };

/** What a resolver says to the last query it got on this socket. */
function answerTo(socket: HeldSocket, rcode: keyof typeof RCODES = "NOERROR", data = "192.0.2.1"): Buffer {
  const asked = messagesOf(socket.octets).at(-1)!;
  const [question] = asked.questions!;
  const none = rcode !== "NOERROR" || question.type !== "A";
  return Buffer.from(
    packet.streamEncode({
      type: "response",
      id: asked.id!,
      flags: packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE | RCODES[rcode],
      questions: [question],
      answers: none ? [] : [{ type: "A", name: question.name, ttl: 60, data }],
    }),
  );
}

const idsOf = (guest: TcpGuest) => messagesOf(guest.received).map(({ id }) => id);

describe("DNS over TCP", () => {
  it("takes the connection without asking the host, and a question under an id of ours", () => {
    const { network, core, open, exchange } = setUp();
    const guest = open();
    expect(network.sockets).toEqual([]);
    expect(core.flows(0)).toMatchObject([
      { state: "ESTABLISHED", remote: "10.0.2.3:53", target: "10.0.2.3:53" },
    ]);
    guest.send(framed(query(7)));
    expect(network.sockets.map(({ port }) => port)).toEqual([FIRST]);
    const [asked] = messagesOf(network.sockets[0].octets);
    expect(asked).toMatchObject({ questions: [{ name: "n7.test" }], type: "query" });
    expect(asked.id).not.toBe(7);
    network.sockets[0].give(answerTo(network.sockets[0]));
    guest.settle();
    expect(messagesOf(guest.received)).toMatchObject([
      { id: 7, rcode: "NOERROR", answers: [{ data: "192.0.2.1" }] },
    ]);
    guest.close();
    expect(guest.ended).toBe(true);
    exchange.expectRest();
  });

  it("takes a query octet by octet, and ahead of a hole, and gives an answer that comes so", () => {
    const { network, open } = setUp();
    const guest = open();
    const first = framed(query(1));
    guest.send(first, 1);
    expect(network.sockets).toHaveLength(1);
    for (const octet of answerTo(network.sockets[0])) {
      network.sockets[0].give(Uint8Array.of(octet));
      guest.settle();
    }
    expect(idsOf(guest)).toEqual([1]);
    const second = framed(query(2));
    guest.sendSegment(second.subarray(10), 10);
    expect(network.sockets).toHaveLength(1);
    guest.sendSegment(second.subarray(0, 10));
    guest.skip(second.length - 10);
    expect(messagesOf(network.sockets[0].octets)).toHaveLength(2);
    network.sockets[0].give(answerTo(network.sockets[0]));
    guest.settle();
    expect(idsOf(guest)).toEqual([1, 2]);
  });

  it("answers pipelined questions in the order in which answers come", () => {
    const { network, open } = setUp();
    const guest = open();
    guest.send(framed(query(1), query(2), query(3)));
    const [one, two, three] = network.sockets;
    for (const socket of [three, one, two]) {
      socket.give(answerTo(socket));
      guest.settle();
    }
    expect(idsOf(guest)).toEqual([3, 1, 2]);
  });

  it("carries an answer of 60 KiB intact, and the longest there is", () => {
    const { network, open, exchange } = setUp();
    const guest = open();
    const text = Array.from({ length: 240 }, (_, i) => Buffer.alloc(250, 33 + (i % 90)));
    const questions: packet.Question[] = [{ type: "TXT", name: "big.test" }];
    guest.send(framed(query(1, { questions })));
    const [socket] = network.sockets;
    const asked = messagesOf(socket.octets)[0].id!;
    const long = packet.encode({
      type: "response",
      id: asked,
      flags: packet.RECURSION_AVAILABLE,
      questions,
      answers: [{ type: "TXT", name: "big.test", ttl: 1, data: text }],
    });
    expect(long.length).toBeGreaterThan(60_000);
    const head = Buffer.from([long.length >> 8, long.length & 255]);
    socket.give(head);
    for (let at = 0; at < long.length; at += 9000) socket.give(long.subarray(at, at + 9000));
    guest.pass(200);
    const [got] = messagesOf(guest.received);
    expect([got.id, got.answers]).toEqual([1, [expect.objectContaining({ data: text })]]);
    guest.received = Buffer.alloc(0);
    guest.send(framed(query(2, { questions })));
    const longest = Buffer.alloc(2 + 65_535, 0);
    longest.set(long, 2);
    longest.writeUInt16BE(65_535);
    longest.writeUInt16BE(messagesOf(socket.octets)[1].id!, 2);
    socket.give(longest);
    guest.pass(200);
    longest.writeUInt16BE(2, 2);
    expect(guest.received.equals(longest)).toBe(true);
    guest.close();
    exchange.expectRest();
  });

  it("sends an answer again that was lost", () => {
    const { network, open } = setUp();
    const guest = open();
    guest.send(framed(query(1)));
    guest.listens = false;
    network.sockets[0].give(answerTo(network.sockets[0]));
    guest.settle();
    guest.listens = true;
    guest.pass(1000);
    expect(idsOf(guest)).toEqual([1]);
  });

  it("asks once what is asked on several connections at a time", () => {
    const { network, open, core } = setUp();
    const questions: packet.Question[] = [{ type: "A", name: "same.test" }];
    const guests = [40_000, 40_001, 40_002].map(open);
    for (const [i, guest] of guests.entries()) guest.send(framed(query(i, { questions })));
    expect(network.sockets).toHaveLength(1);
    guests[1].reset();
    network.sockets[0].give(answerTo(network.sockets[0]));
    const frames = exchangeFrames(guests);
    expect(frames).toEqual([[0], [], [2]]);
    expect(core.counters.value("dns-merged")).toBe(2);
  });

  /** Each guest sees every frame: acknowledgments are its own affair. */
  function exchangeFrames(guests: readonly TcpGuest[]): (number | undefined)[][] {
    for (let i = 0; i < 20; i++) for (const guest of guests) guest.pass(50);
    return guests.map(idsOf);
  }
});

describe("DNS over TCP: resolvers that fail", () => {
  it.for(["SERVFAIL", "REFUSED", "NOTIMP"] as const)("asks the next one when one says %s", (rcode) => {
    const { network, open } = setUp();
    const guest = open();
    guest.send(framed(query(1)));
    network.sockets[0].give(answerTo(network.sockets[0], rcode));
    guest.settle();
    expect(guest.received).toHaveLength(0);
    expect(network.sockets.map(({ port }) => port)).toEqual([FIRST, SECOND]);
    network.sockets[1].give(answerTo(network.sockets[1]));
    guest.settle();
    expect(messagesOf(guest.received)).toMatchObject([{ id: 1, rcode: "NOERROR" }]);
    // What it says about a name is no reason to ask it last.
    guest.send(framed(query(2)));
    expect(network.sockets.map(({ port }) => port)).toEqual([FIRST, SECOND, FIRST]);
  });

  it("passes on what the last one says when all fail", () => {
    const { network, open } = setUp();
    const guest = open();
    guest.send(framed(query(1)));
    network.sockets[0].give(answerTo(network.sockets[0], "SERVFAIL"));
    guest.settle();
    network.sockets[1].give(answerTo(network.sockets[1], "REFUSED"));
    guest.settle();
    expect(messagesOf(guest.received)).toMatchObject([{ id: 1, rcode: "REFUSED" }]);
  });

  it("takes a name that does not exist for an answer", () => {
    const { network, open } = setUp();
    const guest = open();
    guest.send(framed(query(1)));
    network.sockets[0].give(answerTo(network.sockets[0], "NXDOMAIN"));
    guest.settle();
    expect(messagesOf(guest.received)).toMatchObject([{ id: 1, rcode: "NXDOMAIN" }]);
    expect(network.sockets).toHaveLength(1);
  });

  it("asks the next one when the connection is refused, at once or after a while, and then that one first", () => {
    const { network, open } = setUp();
    const guest = open();
    network.connectTo = (port) => (port === FIRST ? ECONNREFUSED : 0);
    guest.send(framed(query(1)));
    expect(network.sockets.map(({ port }) => port)).toEqual([SECOND]);
    network.sockets[0].give(answerTo(network.sockets[0]));
    guest.settle();
    guest.send(framed(query(2)));
    expect(messagesOf(network.sockets[0].octets)).toHaveLength(2);
    const later = setUp();
    const other = later.open();
    later.network.connected = (port) => (port === FIRST ? EINPROGRESS : 0);
    other.send(framed(query(1)));
    expect(later.network.sockets).toHaveLength(1);
    later.network.connected = (port) => (port === FIRST ? ECONNREFUSED : 0);
    later.network.wake(later.network.sockets[0].token, 8);
    other.settle();
    expect(later.network.sockets.map(({ port, state }) => [port, state])).toEqual([
      [FIRST, "closed"],
      [SECOND, "open"],
    ]);
  });

  it("asks the next one after 1.5 s of silence, connected or not", () => {
    for (const result of [EINPROGRESS, 0]) {
      const { network, open } = setUp();
      const guest = open();
      network.connected = (port) => (port === FIRST ? result : 0);
      guest.send(framed(query(1)));
      guest.pass(1450);
      expect(network.sockets).toHaveLength(1);
      guest.pass(100);
      expect(network.sockets.map(({ port }) => port)).toEqual([FIRST, SECOND]);
    }
  });

  it("asks the next one when one hangs up without an answer, or sends what is none", () => {
    const { network, open, core } = setUp();
    const guest = open();
    guest.send(framed(query(1)));
    network.sockets[0].end();
    guest.settle();
    expect(network.sockets.map(({ port }) => port)).toEqual([FIRST, SECOND]);
    const forged = answerTo(network.sockets[1]);
    forged.writeUInt16BE(forged.readUInt16BE(2) ^ 1, 2);
    network.sockets[1].give(forged);
    guest.settle();
    expect(core.counters.dropped("dns-malformed")).toBe(1);
    expect(guest.received).toHaveLength(0);
    network.sockets[1].give(Uint8Array.of(0, 3, 1, 2, 3));
    guest.settle();
    expect(messagesOf(guest.received)).toMatchObject([{ id: 1, rcode: "SERVFAIL" }]);
  });

  it("says SERVFAIL after 10 s of silence, and at once without a resolver", () => {
    const { network, open, exchange } = setUp();
    const guest = open();
    guest.send(framed(query(1)));
    guest.pass(9900);
    expect(guest.received).toHaveLength(0);
    guest.pass(200);
    expect(messagesOf(guest.received)).toMatchObject([{ id: 1, rcode: "SERVFAIL" }]);
    expect(network.sockets.every(({ state }) => state === "closed")).toBe(true);
    guest.close();
    exchange.expectRest();
    const none = setUp([]);
    const alone = none.open();
    alone.send(framed(query(1)));
    expect(messagesOf(alone.received)).toMatchObject([{ id: 1, rcode: "SERVFAIL" }]);
  });
});

describe("DNS over TCP: connections to resolvers", () => {
  const answered = (ports?: readonly number[]) => {
    const set = setUp(ports);
    const guest = set.open();
    guest.send(framed(query(1)));
    set.network.sockets[0].give(answerTo(set.network.sockets[0]));
    guest.settle();
    return { ...set, guest };
  };

  it("serve one question after the other, and are closed after 2 s without one", () => {
    const { guest, network } = answered();
    guest.pass(1900);
    guest.send(framed(query(2)));
    network.sockets[0].give(answerTo(network.sockets[0]));
    guest.settle();
    expect(idsOf(guest)).toEqual([1, 2]);
    expect(network.sockets).toHaveLength(1);
    guest.pass(1900);
    expect(network.sockets[0].state).toBe("open");
    guest.pass(200);
    expect(network.sockets[0].state).toBe("closed");
  });

  it("are closed when the resolver does, or says what nobody asked for", () => {
    const { guest, network } = answered();
    network.sockets[0].end();
    guest.settle();
    expect(network.sockets[0].state).toBe("closed");
    const chatty = answered();
    chatty.network.sockets[0].give(answerTo(chatty.network.sockets[0]));
    chatty.guest.settle();
    expect(chatty.network.sockets[0].state).toBe("closed");
    expect(idsOf(chatty.guest)).toEqual([1]);
  });

  it("outlive an event that says no more than that they are writable", () => {
    const { guest, network } = answered();
    network.wake(network.sockets[0].token, WRITABLE);
    guest.settle();
    guest.send(framed(query(2)));
    expect(network.sockets).toHaveLength(1);
  });

  it("are opened anew when the resolver gave up one that is used again", () => {
    const { guest, network } = answered([FIRST]);
    guest.send(framed(query(2)));
    network.sockets[0].end();
    guest.settle();
    expect(network.sockets.map(({ port, state }) => [port, state])).toEqual([
      [FIRST, "closed"],
      [FIRST, "open"],
    ]);
    network.sockets[1].give(answerTo(network.sockets[1]));
    guest.settle();
    expect(idsOf(guest)).toEqual([1, 2]);
  });

  it("are given up when there are other resolvers", () => {
    const { guest, network, core } = answered();
    core.setResolvers([resolver(SECOND)]);
    expect(network.sockets[0].state).toBe("closed");
    guest.send(framed(query(2)));
    expect(network.sockets[1].port).toBe(SECOND);
  });
});

describe("DNS over TCP: the guest's connections", () => {
  it("have so many questions under way, and the others wait", () => {
    const { network, open } = setUp();
    const guest = open();
    const ids = Array.from({ length: DNS_STREAM_QUERIES_MAX + 5 }, (_, i) => i);
    guest.send(framed(...ids.map((id) => query(id))));
    expect(network.sockets).toHaveLength(DNS_STREAM_QUERIES_MAX);
    for (const socket of network.sockets) {
      socket.give(answerTo(socket));
      guest.settle();
    }
    for (const socket of network.sockets) {
      if (messagesOf(socket.octets).length > 1) socket.give(answerTo(socket));
      guest.settle();
    }
    expect(idsOf(guest).sort((a, b) => a! - b!)).toEqual(ids);
  });

  it("wait for each other when all places are taken", () => {
    const { network, open } = setUp();
    const each = DNS_STREAM_QUERIES_MAX;
    const guests = Array.from({ length: DNS_TCP_QUERIES_MAX / each + 1 }, (_, i) => open(40_000 + i));
    guests.forEach((guest, g) => {
      guest.send(framed(...Array.from({ length: each }, (_, i) => query(g * each + i))));
    });
    expect(network.sockets).toHaveLength(DNS_TCP_QUERIES_MAX);
    guests[0].reset();
    expect(network.sockets.slice(0, each).every(({ state }) => state === "closed")).toBe(true);
    guests.at(-1)!.pass(50);
    expect(network.sockets).toHaveLength(DNS_TCP_QUERIES_MAX + each);
  });

  it("get no more answers than the guest takes", () => {
    const { network, open } = setUp([FIRST]);
    const guest = open();
    guest.listens = false;
    const questions: packet.Question[] = [{ type: "TXT", name: "big.test" }];
    for (let id = 0; id < 10; id++) {
      guest.send(framed(query(id, { questions })));
      const socket = network.sockets.at(-1)!;
      if (messagesOf(socket.octets).length <= id) break;
      const answer = Buffer.alloc(2 + 60_000);
      answer.set(answerTo(socket));
      answer.writeUInt16BE(60_000);
      socket.give(answer);
      guest.settle();
    }
    expect(messagesOf(network.sockets[0].octets)).toHaveLength(Math.ceil(DNS_STREAM_QUEUE_OCTETS / 60_002));
    guest.listens = true;
    guest.pass(5000);
    expect(messagesOf(network.sockets[0].octets).length).toBeGreaterThan(3);
  });

  it("end when the guest ends them, after the answers it waits for", () => {
    const { network, open, exchange } = setUp();
    const guest = open();
    guest.send(framed(query(1)));
    guest.close();
    expect(guest.ended).toBe(false);
    network.sockets[0].give(answerTo(network.sockets[0]));
    guest.settle();
    expect(idsOf(guest)).toEqual([1]);
    expect(guest.ended).toBe(true);
    expect(exchange.core.usage().tcp).toBe(0);
  });

  it("are ended after 20 s without a question, and given up 10 s later", () => {
    const { open, core } = setUp();
    const guest = open();
    guest.pass(19_900);
    expect(guest.ended).toBe(false);
    guest.pass(200);
    expect(guest.ended).toBe(true);
    guest.pass(9_800);
    expect(core.usage().tcp).toBe(1);
    guest.pass(300);
    expect([core.usage().tcp, guest.wasReset]).toEqual([0, true]);
  });

  it("stay open while the guest waits for an answer", () => {
    const { network, open } = setUp([FIRST]);
    const guest = open();
    for (let i = 0; i < 5; i++) {
      guest.pass(15_000);
      guest.send(framed(query(i)));
      const socket = network.sockets.at(-1)!;
      socket.give(answerTo(socket));
      guest.settle();
    }
    expect(idsOf(guest)).toEqual([0, 1, 2, 3, 4]);
    expect(guest.ended).toBe(false);
  });

  it("give way, the idlest first, when there are too many", () => {
    const { open, core } = setUp();
    const guests = Array.from({ length: DNS_STREAMS_MAX }, (_, i) => {
      const guest = open(40_000 + i);
      guest.pass(1);
      return guest;
    });
    guests[0].send(framed(query(1)));
    open(50_000);
    for (const guest of guests) guest.settle();
    expect(core.usage().tcp).toBe(DNS_STREAMS_MAX);
    expect(core.flows(0).some(({ guest }) => guest.endsWith(":40001"))).toBe(false);
    expect(core.flows(0).some(({ guest }) => guest.endsWith(":40000"))).toBe(true);
  });

  it.for([
    ["a length too short for a message", Buffer.from([0, 5, 1, 2, 3, 4, 5])],
    ["a length beyond what is kept", Buffer.from([0x10, 0x01, 0, 0])],
    ["what is no query", Buffer.concat([Buffer.from([0, 12]), Buffer.alloc(12, 255)])],
  ] as const)("are reset at %s", ([, octets]) => {
    const { open, core, exchange } = setUp();
    const guest = open();
    guest.send(octets);
    guest.settle();
    expect(guest.wasReset).toBe(true);
    expect(core.counters.value("dns-tcp-malformed")).toBe(1);
    expect(core.usage().tcp).toBe(0);
    exchange.expectRest();
  });

  it("take their questions with them", () => {
    const { network, open, core } = setUp();
    const guest = open();
    guest.send(framed(query(1), query(2)));
    expect(core.usage().dns).toBe(2);
    guest.reset();
    expect(core.usage().dns).toBe(0);
    expect(network.sockets.map(({ state }) => state)).toEqual(["closed", "closed"]);
  });
});

describe("DNS over TCP: zone transfers", () => {
  const questions: packet.Question[] = [{ type: "AXFR", name: "zone.test" }];

  it("pass on every message until the resolver ends", () => {
    const { network, open } = setUp();
    const guest = open();
    guest.send(framed(query(1, { questions })));
    const [socket] = network.sockets;
    for (let i = 0; i < 40; i++) socket.give(answerTo(socket));
    guest.pass(100);
    expect(idsOf(guest)).toEqual(Array.from({ length: 40 }, () => 1));
    socket.end();
    guest.settle();
    expect(guest.ended).toBe(true);
  });

  it("go no faster than the guest takes them", () => {
    const { network, open, core } = setUp();
    const guest = open();
    guest.listens = false;
    guest.send(framed(query(1, { questions })));
    const [socket] = network.sockets;
    const message = Buffer.alloc(2 + 30_000);
    message.set(answerTo(socket));
    message.writeUInt16BE(30_000);
    for (let i = 0; i < 30; i++) socket.give(message);
    guest.pass(500);
    expect(core.usage().largeChunks * 65_536).toBeLessThan(2 * DNS_STREAM_QUEUE_OCTETS + 65_536);
    guest.listens = true;
    guest.pass(20_000);
    expect(idsOf(guest)).toHaveLength(30);
  });
});

describe("DNS that is denied", () => {
  const message = query(5);

  it("is refused at once under restrict, over UDP and TCP, and nothing goes out", () => {
    const { exchange, network, open, core } = setUp([FIRST], { restrict: true });
    const { replies, verdict } = exchange.send(udp({ to: DNS, destinationPort: 53, payload: message }));
    expect(verdict).toBe("destination-restricted");
    const datagram = asUdp(replies.at(-1)!);
    expect([datagram.source, datagram.sourcePort, datagram.destinationPort]).toEqual([DNS, 53, 40_000]);
    expect(packet.decode(datagram.payload)).toMatchObject({ id: 5, rcode: "REFUSED", type: "response" });
    const guest = open();
    guest.send(framed(query(6)));
    expect(messagesOf(guest.received)).toMatchObject([{ id: 6, rcode: "REFUSED" }]);
    expect([network.sockets, network.datagrams]).toEqual([[], []]);
    expect(core.usage().dns).toBe(0);
  });

  it.for([
    ["any address under restrict", "198.51.100.53", { restrict: true }],
    ["the gateway", "10.0.2.2", {}],
    ["a link-local address", "169.254.169.253", {}],
  ] as const)("is refused in the stead of %s", ([, address, config]) => {
    const { exchange } = setUp([FIRST], config);
    const { replies, verdict } = exchange.send(
      udp({ to: ip(address), destinationPort: 53, payload: message }),
    );
    expect(verdict).toMatch(/^destination-/);
    const datagram = asUdp(replies.at(-1)!);
    expect([datagram.source, datagram.sourcePort]).toEqual([ip(address), 53]);
    expect(packet.decode(datagram.payload)).toMatchObject({ id: 5, rcode: "REFUSED" });
  });

  it.for([
    ["another port", { to: ip("198.51.100.53"), destinationPort: 54, payload: message }],
    [
      "what is no query",
      { to: ip("198.51.100.53"), destinationPort: 53, payload: new Uint8Array(30).fill(255) },
    ],
    ["a multicast address", { to: ip("224.0.0.251"), destinationPort: 53, payload: message }],
    ["the broadcast address", { to: ip("10.0.2.255"), destinationPort: 53, payload: message }],
  ] as const)("is silence for %s", ([, fields]) => {
    const { exchange } = setUp([FIRST], { restrict: true });
    expect(exchange.send(udp(fields)).replies).toEqual([]);
  });
});
