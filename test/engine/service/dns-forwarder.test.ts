import * as packet from "dns-packet";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ECONNREFUSED, EMFILE, ENETUNREACH } from "../../../src/engine/boundary.ts";
import type { ResolverAddress } from "../../../src/engine/config.ts";
import { DNS_ASKERS_MAX, DNS_QUERIES_MAX, DNS_REGION_OCTETS } from "../../../src/engine/limits.ts";
import { makeUdpBatch } from "../../../src/engine/memory/udp-batch.ts";
import { Counters } from "../../../src/engine/metrics/counters.ts";
import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";
import { DnsForwarder } from "../../../src/engine/service/dns/forwarder.ts";
import { OVER_UDP } from "../../../src/engine/service/dns/resolvers.ts";
import { FlowLedger } from "../../../src/engine/transport/flow-ledger.ts";
import { Path } from "../../../src/engine/transport/path.ts";
import { ip, udpFrame } from "../../support/frames.ts";
import { needs } from "../../support/requirements.ts";
import { readWithTshark } from "../../support/tshark.ts";
import { type FakeSocket, UdpNetwork, udpOnly } from "../../support/udp-network.ts";

const GUEST = ip("10.0.2.15");
const GATEWAY = ip("10.0.2.2");
const DNS = ip("10.0.2.3");
const PORT = 40_001;
/** Ids of questions on the wire, in order. */
const FIRST_ID = 0x7001;
const RX_AT = 4096;
const RECEIVE_AT = 65_536;
const REGION_AT = 4 * 65_536;
const TOKEN = 0x03000000;
const ONE: ResolverAddress = { words: [0, 0, 0xffff, ip("192.0.2.1")], port: 53, scope: 0 };
const TWO: ResolverAddress = { words: [0, 0, 0xffff, ip("192.0.2.2")], port: 5353, scope: 0 };
const SIX: ResolverAddress = { words: [0x20010db8, 0, 0, 1], port: 53, scope: 0 };

const QUESTION: packet.Question = { type: "A", name: "www.example.org" };

function encode(over: Partial<packet.Packet> = {}): Uint8Array {
  return new Uint8Array(
    packet.encode({
      type: "query",
      id: 0x1234,
      flags: packet.RECURSION_DESIRED,
      questions: [QUESTION],
      ...over,
    }),
  );
}

function opt(udpPayloadSize: number, flags = 0): packet.Answer {
  return { type: "OPT", name: ".", udpPayloadSize, flags, options: [] } as unknown as packet.Answer;
}

/** An answer with `count` addresses of 16 octets each. */
function answer(count = 1, over: Partial<packet.Packet> = {}): Uint8Array {
  const one = { type: "A", name: QUESTION.name, data: "192.0.2.80", ttl: 60 } as const;
  return encode({
    type: "response",
    flags: packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE,
    answers: Array.from({ length: count }, () => one),
    ...over,
  });
}

const idOf = (message: Uint8Array) => (message[0] << 8) | message[1];

function withId(message: Uint8Array, id: number): Uint8Array {
  const copy = message.slice();
  if (copy.length > 1) copy.set([id >> 8, id & 255]);
  return copy;
}

/** The guest's id in the tests' messages becomes the one that the question on this socket has. */
function translate(message: Uint8Array, socket: FakeSocket): Uint8Array {
  return withId(message, idOf(message) ^ 0x1234 ^ idOf(socket.sent[0]));
}

/** `resolvers` are asked; `over` is what else of the options is not as usual. */
function setUp(resolvers: readonly ResolverAddress[] = [ONE, TWO], over: { restrict?: boolean } = {}) {
  let ids = FIRST_ID - 1;
  const octets = new Uint8Array(REGION_AT + DNS_REGION_OCTETS + 4096);
  const counters = new Counters();
  const network = new UdpNetwork(octets, RECEIVE_AT);
  const replies: { guest: number; port: number; server: number; octets: Uint8Array }[] = [];
  const forwarder = new DnsForwarder({
    octets,
    view: new DataView(octets.buffer),
    regionAt: REGION_AT,
    network: udpOnly(network),
    batch: makeUdpBatch(8),
    counters,
    token: TOKEN,
    random: () => ++ids,
    resolvers,
    hostNames: ["host.internal", "gateway"],
    hostAddress: GATEWAY,
    dnsAddress: DNS,
    dnsAddress6: null,
    restrict: false,
    ...over,
    reply: ({ guestAddress, guestPort, remoteAddress }, at, length) => {
      const [guest, port, server] = [guestAddress, guestPort, remoteAddress];
      replies.push({ guest, port, server, octets: octets.slice(at, at + length) });
    },
    replyStream: () => expect.unreachable(),
    streamHasRoom: () => expect.unreachable(),
    endStream: () => expect.unreachable(),
    streamEnds: () => expect.unreachable(),
    ledger: new FlowLedger(1, () => 0),
  });
  const query = (message: Uint8Array, nowMs = 0, port = PORT): string => {
    octets.set(message, RX_AT);
    const ends = new Path();
    ends.guestAddress = GUEST;
    ends.guestPort = port;
    return DROP_REASONS[forwarder.query(ends, RX_AT, message.length, nowMs)];
  };
  /**
   * Puts datagrams or an error into the newest open socket and reports it readable. Datagrams have the guest's ids: those
   * on the wire differ from them as the query's does.
   */
  const arrive = (nowMs: number, ...incoming: (Uint8Array | number)[]): void => {
    const socket = network.open.at(-1);
    if (!socket) throw new Error("no socket is open");
    socket.incoming.push(...incoming.map((one) => (typeof one === "number" ? one : translate(one, socket))));
    forwarder.handleEvent(socket.token - TOKEN, nowMs);
  };
  const last = () => network.open.at(-1)?.remote.slice(3);
  const decoded = () =>
    replies.map(
      (reply) => packet.decode(Buffer.from(reply.octets)) as packet.DecodedPacket & { rcode: string },
    );
  return { octets, counters, network, replies, forwarder, query, arrive, last, decoded };
}

describe("DNS forwarder", () => {
  it("sends a query under an id of ours from a socket of its own, and the answer back under the guest's", () => {
    const { network, replies, forwarder, query, arrive, counters } = setUp();
    const message = encode({ additionals: [opt(1232)] });
    expect(query(message)).toBe("handled");
    expect(network.open).toHaveLength(1);
    expect(network.open[0]).toMatchObject({
      token: TOKEN,
      family: 4,
      remote: [...ONE.words, 53],
      sent: [withId(message, FIRST_ID)],
    });
    expect(forwarder.inUse).toBe(1);
    const reply = answer(3);
    arrive(20, reply);
    expect(replies).toEqual([{ guest: GUEST, port: PORT, server: DNS, octets: reply }]);
    expect(forwarder.inUse).toBe(0);
    expect(network.open).toEqual([]);
    expect([counters.value("dns-queries"), counters.value("dns-answers")]).toEqual([1, 1]);
    expect(counters.value("dns-resolver-noerror")).toBe(1);
    expect(forwarder.nextDeadlineMs(20)).toBe(-1);
  });

  it("counts questions by who answered them and how", () => {
    const { query, arrive, counters, forwarder } = setUp([ONE]);
    const replyFlags = packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE;
    for (const rcode of [0, 3, 3, 1, 9]) {
      query(encode());
      arrive(20, answer(0, { flags: replyFlags | rcode }));
    }
    query(encode());
    forwarder.poll(30_000);
    expect(forwarder.inUse).toBe(0);
    const restricted = setUp([ONE], { restrict: true });
    restricted.query(encode());
    const counted = (from: typeof counters): object =>
      Object.fromEntries(
        Object.entries(from.snapshot().counters).filter(([name]) => /^dns-(res|sl|nob)/.test(name)),
      );
    expect(counted(counters)).toEqual({
      "dns-resolver-noerror": 1,
      "dns-resolver-nxdomain": 2,
      "dns-resolver-other": 2,
      "dns-nobody-none": 1,
    });
    expect(counted(restricted.counters)).toEqual({ "dns-sluice-refused": 1 });
  });

  it("uses an IPv6 socket for an IPv6 resolver", () => {
    const { network, query } = setUp([SIX]);
    query(encode());
    expect(network.open[0]).toMatchObject({ family: 6, remote: [...SIX.words, 53] });
  });

  it("takes only an answer with the query's id and question", () => {
    const { replies, query, arrive, counters } = setUp();
    query(encode());
    arrive(
      1,
      answer(1, { id: 0x1235 }),
      answer(1, { questions: [{ type: "A", name: "www.example.net" }] }),
      answer(1, { questions: [{ type: "AAAA", name: QUESTION.name }] }),
      encode(),
      new Uint8Array(0),
      new Uint8Array(11).fill(0x12),
      new Uint8Array(600).fill(0xff),
      answer(1).fill(63, 12, 13),
    );
    expect(replies).toEqual([]);
    expect(counters.dropped("dns-malformed")).toBe(8);
    const right = answer(1, { questions: [{ type: "A", name: "WWW.Example.ORG" }] });
    arrive(2, right);
    expect(replies[0].octets).toEqual(right);
  });

  it("takes an error without a question, which is all a server can say to what it cannot read", () => {
    const { decoded, query, arrive } = setUp();
    query(encode());
    arrive(1, Uint8Array.of(0x12, 0x34, 0x81, 0x00, 0, 0, 0, 0, 0, 0, 0, 0));
    expect(decoded()).toEqual([]);
    arrive(1, Uint8Array.of(0x12, 0x34, 0x81, 0x01, 0, 0, 0, 0, 0, 0, 0, 0));
    expect(decoded()[0].rcode).toBe("FORMERR");
  });

  it("finds the answer among datagrams the kernel has joined", () => {
    const { network, replies, query, arrive } = setUp();
    network.segments = 4;
    query(encode());
    arrive(1, answer(1, { id: 1 }), answer(1, { id: 2 }), answer(1));
    expect(replies[0].octets).toEqual(answer(1));
  });

  it("sends a repeated query again from the same socket", () => {
    const { network, query, replies, arrive, forwarder } = setUp();
    const message = encode();
    query(message);
    query(message, 500);
    expect(network.sockets).toHaveLength(1);
    expect(network.sockets[0].sent).toEqual([withId(message, FIRST_ID), withId(message, FIRST_ID)]);
    arrive(600, answer(), answer());
    expect(replies).toHaveLength(1);
    expect(forwarder.inUse).toBe(0);
  });

  it("takes another question under the same id and port for a new query", () => {
    const { network, query, forwarder } = setUp();
    query(encode());
    query(encode({ questions: [{ type: "AAAA", name: QUESTION.name }] }));
    expect(forwarder.inUse).toBe(1);
    expect(network.open).toHaveLength(1);
    expect(network.sockets).toHaveLength(2);
  });

  it("asks once what is asked several times at a time, and answers each under its own id (RFC 5452 section 5)", () => {
    const { network, query, arrive, replies, counters, forwarder } = setUp();
    query(encode());
    query(encode({ id: 1 }));
    query(encode(), 0, PORT + 1);
    expect(forwarder.inUse).toBe(1);
    expect(network.sockets.map(({ sent }) => sent.length)).toEqual([1]);
    arrive(1, answer());
    expect(replies.map(({ port, octets }) => [port, idOf(octets)]).sort()).toEqual([
      [PORT, 1],
      [PORT, 0x1234],
      [PORT + 1, 0x1234],
    ]);
    for (const { octets } of replies) expect(withId(octets, 0x1234)).toEqual(answer());
    expect(counters.value("dns-merged")).toBe(2);
    expect([forwarder.inUse, network.open.length]).toEqual([0, 0]);
    query(encode(), 2);
    expect(network.sockets).toHaveLength(2);
  });

  it("answers each in the letters it used", () => {
    const { network, query, arrive, decoded } = setUp();
    const spelt = ["www.example.org", "WWW.example.ORG", "wWw.ExAmPlE.oRg"];
    spelt.forEach((name, i) => void query(encode({ id: i, questions: [{ type: "A", name }] })));
    expect(network.sockets).toHaveLength(1);
    arrive(1, answer());
    const got = decoded().map(({ id, questions, answers }) => [id, questions?.[0].name, answers?.length]);
    expect(got.sort()).toEqual(spelt.map((name, i) => [i, name, 1]));
  });

  it("leaves letters alone that the resolver changed: a guest may go by them", () => {
    const { query, arrive, decoded } = setUp();
    query(encode({ questions: [{ type: "A", name: "wWw.eXample.org" }] }));
    arrive(1, answer());
    expect(decoded()[0].questions).toMatchObject([{ name: "www.example.org" }]);
  });

  it.for([
    ["another type", { questions: [{ type: "AAAA", name: QUESTION.name }] }],
    ["another name of the same length", { questions: [{ type: "A", name: "www.example.orh" }] }],
    ["other flags", { flags: packet.RECURSION_DESIRED | packet.CHECKING_DISABLED }],
    ["EDNS", { additionals: [opt(1232)] }],
  ] as [string, Partial<packet.Packet>][])("asks separately for %s", ([, over]) => {
    const { query, network, forwarder } = setUp();
    query(encode({ id: 1 }));
    query(encode({ id: 2, ...over }));
    expect(forwarder.inUse).toBe(2);
    expect(network.open).toHaveLength(2);
  });

  it("asks under another id from another socket each time, whatever id the guest chose", () => {
    const { query, network, arrive } = setUp([ONE]);
    for (let i = 0; i < 4; i++) {
      query(encode({ id: 7 }), i);
      arrive(i, answer());
    }
    expect(network.sockets.map(({ sent }) => idOf(sent[0]))).toEqual([0, 1, 2, 3].map((i) => FIRST_ID + i));
  });
});

describe("DNS forwarder: resolvers that fail", () => {
  it("asks the next one after 1.5 s, and each round with twice the patience", () => {
    const { last, forwarder, query } = setUp();
    const asked = [];
    query(encode(), 1000);
    for (let now = 1000; forwarder.inUse > 0; now += forwarder.nextDeadlineMs(now)) {
      forwarder.poll(now);
      asked.push([now - 1000, last()]);
    }
    const [one, two] = [ONE, TWO].map((resolver) => [resolver.words[3], resolver.port]);
    expect(asked.slice(0, 5)).toEqual([
      [0, one],
      [1500, two],
      [3000, one],
      [6000, two],
      [9000, one],
    ]);
  });

  it("tells the guest SERVFAIL after 10 s, and not before", () => {
    const { replies, decoded, forwarder, query, network } = setUp([ONE]);
    query(encode({ additionals: [opt(4096, 0x8000)] }), -3000);
    let now = -3000;
    while (forwarder.inUse > 0) {
      now += forwarder.nextDeadlineMs(now);
      forwarder.poll(now);
    }
    expect(now).toBe(7000);
    expect(replies[0]).toMatchObject({ guest: GUEST, port: PORT });
    expect(decoded()[0]).toMatchObject({
      id: 0x1234,
      type: "response",
      rcode: "SERVFAIL",
      questions: [{ type: "A", name: QUESTION.name }],
      answers: [],
      flag_rd: true,
      flag_ra: true,
      additionals: [{ type: "OPT", udpPayloadSize: 1232, flag_do: true }],
    });
    expect(network.sockets).toHaveLength(1);
    expect(network.sockets[0].sent).toHaveLength(3);
    expect(network.open).toEqual([]);
  });

  it("asks the next one at once when a port is closed, and says SERVFAIL when all are", () => {
    const { last, query, arrive, decoded, forwarder } = setUp();
    query(encode());
    arrive(1, ECONNREFUSED);
    expect(last()?.[0]).toBe(TWO.words[3]);
    arrive(2, ECONNREFUSED);
    expect(decoded()[0]).toMatchObject({ rcode: "SERVFAIL", additionals: [] });
    expect(forwarder.inUse).toBe(0);
  });

  it("goes on with the next one when an address family is missing", () => {
    const { network, query, decoded } = setUp([SIX]);
    network.connectError = ENETUNREACH;
    query(encode());
    expect(decoded()[0].rcode).toBe("SERVFAIL");
    expect(network.open).toEqual([]);
  });

  it("says SERVFAIL when the kernel refuses to send", () => {
    const { network, query, decoded } = setUp();
    network.refuseSends = true;
    query(encode());
    expect(network.sockets).toHaveLength(2);
    expect(decoded()[0].rcode).toBe("SERVFAIL");
  });

  it("says SERVFAIL and counts when there are no sockets left", () => {
    const { network, query, decoded, counters, forwarder } = setUp();
    network.openError = EMFILE;
    query(encode());
    expect(decoded()[0].rcode).toBe("SERVFAIL");
    expect(counters.dropped("host-socket-failed")).toBe(1);
    expect(forwarder.inUse).toBe(0);
  });

  it("says SERVFAIL when no resolver is known", () => {
    const { query, decoded, forwarder } = setUp([]);
    expect(query(encode())).toBe("dns-no-resolver");
    expect(decoded()[0].rcode).toBe("SERVFAIL");
    expect(forwarder.resolvers.firstAddress(OVER_UDP, 0)).toBeNull();
  });

  it("asks a resolver that failed last, for 30 s or until it answers", () => {
    const { query, arrive, last, forwarder } = setUp();
    query(encode());
    arrive(0, ECONNREFUSED);
    arrive(0, answer());
    expect(forwarder.resolvers.firstAddress(OVER_UDP, 29_999)).toBe(TWO);
    expect(forwarder.resolvers.firstAddress(OVER_UDP, 30_000)).toBe(ONE);
    query(encode(), 100);
    expect(last()?.[0]).toBe(TWO.words[3]);
    arrive(100, ECONNREFUSED);
    expect(forwarder.resolvers.firstAddress(OVER_UDP, 101)).toBe(ONE);
    arrive(100, answer());
    expect(forwarder.resolvers.firstAddress(OVER_UDP, 102)).toBe(ONE);
  });

  it("gives a silent resolver its time although the other one refuses in every round", () => {
    const { query, arrive, forwarder, decoded, last } = setUp();
    let now = 0;
    query(encode(), now);
    while (forwarder.inUse > 0) {
      now += forwarder.nextDeadlineMs(now);
      forwarder.poll(now);
      if (forwarder.inUse > 0 && last()?.[0] === TWO.words[3]) arrive(now, ECONNREFUSED);
    }
    expect(now).toBe(10_000);
    expect(decoded()[0].rcode).toBe("SERVFAIL");
  });

  it("trusts a resolver again once it answers", () => {
    const { query, arrive, forwarder } = setUp();
    query(encode());
    arrive(0, ECONNREFUSED);
    arrive(0, ECONNREFUSED);
    expect(forwarder.resolvers.firstAddress(OVER_UDP, 1)).toBe(ONE);
    query(encode(), 10);
    arrive(10, ECONNREFUSED);
    arrive(10, answer());
    expect(forwarder.resolvers.firstAddress(OVER_UDP, 11)).toBe(TWO);
  });

  it("takes a late answer that is there when patience ends", () => {
    const { network, forwarder, query, replies } = setUp();
    query(encode());
    network.open[0].incoming.push(translate(answer(), network.open[0]));
    forwarder.poll(1500);
    expect(replies).toHaveLength(1);
    expect(network.sockets).toHaveLength(1);
  });

  it("moves queries in flight to new resolvers, and starts new ones there", () => {
    const { query, last, forwarder, arrive, replies } = setUp();
    query(encode());
    forwarder.setResolvers([TWO]);
    expect(last()?.[0]).toBe(ONE.words[3]);
    query(encode(), 10);
    expect(last()?.[0]).toBe(TWO.words[3]);
    const questions: packet.Question[] = [{ type: "AAAA", name: QUESTION.name }];
    query(encode({ questions }), 20);
    expect(last()?.[0]).toBe(TWO.words[3]);
    arrive(30, answer(1, { questions }));
    expect(replies).toHaveLength(1);
    const stays = setUp();
    stays.query(encode());
    stays.forwarder.setResolvers([]);
    stays.arrive(1, answer());
    expect(stays.replies).toHaveLength(1);
    stays.query(encode(), 2);
    stays.forwarder.poll(1502);
    expect(stays.decoded()[1].rcode).toBe("SERVFAIL");
  });
});

const RECURSIVE = packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE;

describe("DNS forwarder: resolvers that say no", () => {
  it.for([
    ["SERVFAIL", 2],
    ["NOTIMP", 4],
    ["REFUSED", 5],
  ] as const)("asks the next one when one says %s, as the C library does", ([, rcode]) => {
    const { query, arrive, replies, last, counters } = setUp();
    query(encode());
    arrive(1, answer(0, { flags: RECURSIVE | rcode }));
    expect(replies).toEqual([]);
    expect(last()?.[0]).toBe(TWO.words[3]);
    arrive(2, answer());
    expect(replies[0].octets).toEqual(answer());
    expect(counters.value("dns-next-resolver")).toBe(1);
  });

  it("asks the next one when one knows nothing and asks nobody (a lame one)", () => {
    const { query, arrive, last } = setUp();
    query(encode());
    arrive(1, answer(0, { flags: packet.RECURSION_DESIRED }));
    expect(last()?.[0]).toBe(TWO.words[3]);
  });

  it.for([
    ["a name that does not exist", RECURSIVE | 3],
    ["no data", RECURSIVE],
    ["no data, of one that has authority", packet.RECURSION_DESIRED | packet.AUTHORITATIVE_ANSWER],
    ["a query it cannot read", RECURSIVE | 1],
  ] as const)("takes %s for an answer", ([, bits]) => {
    const { query, arrive, replies, network } = setUp();
    query(encode());
    const no = answer(0, { flags: bits });
    arrive(1, no);
    expect(replies[0].octets).toEqual(no);
    expect(network.sockets).toHaveLength(1);
  });

  it("passes on what the last one said, as it said it, when all fail", () => {
    const { query, arrive, replies, forwarder } = setUp();
    query(encode({ additionals: [opt(1232)] }));
    arrive(1, answer(0, { flags: RECURSIVE | 2 }));
    // RFC 8914: why, in an option that is not ours to lose.
    const reason = { code: 15, data: Buffer.from([0, 18]) };
    const refusal = answer(0, {
      flags: RECURSIVE | 5,
      additionals: [{ ...opt(1232), options: [reason] } as unknown as packet.Answer],
    });
    arrive(2, refusal);
    expect(replies.map(({ octets }) => octets)).toEqual([refusal]);
    expect(forwarder.inUse).toBe(0);
  });

  it.for([
    ["a closed port", (set: ReturnType<typeof setUp>) => set.arrive(2, ECONNREFUSED), "SERVFAIL"],
    [
      "another code",
      (set: ReturnType<typeof setUp>) => set.arrive(2, answer(0, { flags: RECURSIVE | 4 })),
      "NOTIMP",
    ],
  ] as const)("tells the code of the last one that failed: REFUSED, then %s", ([, then, rcode]) => {
    const set = setUp();
    set.query(encode());
    set.arrive(1, answer(0, { flags: RECURSIVE | 5 }));
    then(set);
    expect(set.decoded()).toMatchObject([{ rcode }]);
  });

  it("does not ask a resolver last because of what it said about a name", () => {
    const { query, arrive, forwarder } = setUp();
    query(encode());
    arrive(1, answer(0, { flags: RECURSIVE | 2 }));
    arrive(2, answer());
    expect(forwarder.resolvers.firstAddress(OVER_UDP, 3)).toBe(ONE);
  });

  it("tells all who wait", () => {
    const { query, arrive, decoded } = setUp([ONE]);
    for (const id of [1, 2, 3]) query(encode({ id }));
    arrive(1, ECONNREFUSED);
    expect(decoded().map(({ id, rcode }) => [id, rcode])).toEqual([3, 2, 1].map((id) => [id, "SERVFAIL"]));
  });
});

describe("DNS forwarder: names for the host", () => {
  const ask = (name: string, type: packet.Question["type"], over: Partial<packet.Packet> = {}) => {
    const set = setUp();
    expect(set.query(encode({ questions: [{ type, name }], ...over }))).toBe("handled");
    expect(set.network.sockets).toEqual([]);
    return set.decoded()[0];
  };

  it("have the gateway's address, in any letters", () => {
    for (const name of ["host.internal", "Host.INTERNAL", "gateway"]) {
      expect(ask(name, "A")).toMatchObject({
        id: 0x1234,
        rcode: "NOERROR",
        flag_aa: true,
        questions: [{ name, type: "A" }],
        answers: [{ name, type: "A", data: "10.0.2.2", ttl: 60 }],
        additionals: [],
      });
    }
  });

  it("have no data of other types", () => {
    for (const type of ["AAAA", "TXT", "SRV"] as const) {
      expect(ask("host.internal", type)).toMatchObject({ rcode: "NOERROR", answers: [] });
    }
    expect(ask("host.internal", "ANY" as "A").answers).toMatchObject([{ data: "10.0.2.2" }]);
  });

  it("are answered with EDNS to who speaks it", () => {
    expect(ask("host.internal", "A", { additionals: [opt(4096, 0x8000)] })).toMatchObject({
      answers: [{ data: "10.0.2.2" }],
      additionals: [{ type: "OPT", udpPayloadSize: 1232, flag_do: true }],
    });
  });

  it.for(["internal", "x.host.internal", "host.internal.x", "host.internalx", "host"])(
    "leaves %s to the resolvers",
    (name) => {
      const { query, network, replies } = setUp();
      query(encode({ questions: [{ type: "A", name }] }));
      expect([network.open.length, replies.length]).toEqual([1, 0]);
    },
  );

  it("are known under restrict too, where all others are refused", () => {
    const { query, decoded, network } = setUp([ONE], { restrict: true });
    expect(query(encode({ questions: [{ type: "A", name: "host.internal" }] }))).toBe("handled");
    expect(query(encode({ additionals: [opt(1232)] }))).toBe("destination-restricted");
    expect(decoded()).toMatchObject([
      { rcode: "NOERROR", answers: [{ data: "10.0.2.2" }] },
      { rcode: "REFUSED", answers: [], additionals: [{ type: "OPT" }] },
    ]);
    expect(network.sockets).toEqual([]);
  });
});

describe("DNS forwarder: long answers", () => {
  const fits = (questions: number, over: Partial<packet.Packet>, asked: Uint8Array) => {
    const set = setUp();
    set.query(asked);
    const reply = answer(questions, over);
    set.arrive(1, reply);
    return { reply, got: set.replies[0].octets, decoded: set.decoded()[0], counters: set.counters };
  };

  it("passes up to 512 octets to a guest that announces nothing, and cuts one more", () => {
    const filler = (length: number) => ({
      answers: [{ type: "TXT", name: "x", data: Buffer.alloc(length, 97) }] as packet.Answer[],
    });
    const overhead = answer(0, filler(200)).length - 200;
    // A TXT string is at most 255 octets, so the rest comes from a second record.
    const two = (total: number) => ({
      answers: [...filler(200).answers, ...filler(total - 200 - overhead - (overhead - 33)).answers],
    });
    const exact = fits(0, two(512), encode());
    expect(exact.reply).toHaveLength(512);
    expect(exact.got).toEqual(exact.reply);
    const longer = fits(0, two(513), encode());
    expect(longer.reply).toHaveLength(513);
    expect(longer.decoded).toMatchObject({ flag_tc: true, answers: [], authorities: [], additionals: [] });
    expect(longer.decoded.questions).toMatchObject([{ type: "A", name: QUESTION.name }]);
    expect(longer.got).toHaveLength(12 + 17 + 4);
    expect(longer.counters.value("dns-truncated")).toBe(1);
  });

  it("goes by the size the guest announces, and keeps the answer's OPT", () => {
    const asked = encode({ additionals: [opt(1232)] });
    const over = { additionals: [opt(4096)] };
    expect(fits(35, over, asked).decoded.answers).toHaveLength(35);
    const cut = fits(80, over, asked);
    expect(cut.decoded).toMatchObject({
      flag_tc: true,
      answers: [],
      additionals: [{ type: "OPT", udpPayloadSize: 4096 }],
    });
  });

  it("passes on what the resolver has cut itself", () => {
    const flags = packet.TRUNCATED_RESPONSE | packet.RECURSION_DESIRED;
    const { got, reply, counters } = fits(2, { flags }, encode());
    expect(got).toEqual(reply);
    expect(counters.value("dns-truncated")).toBe(0);
  });

  it("cuts a long answer whose records are damaged to its question", () => {
    const set = setUp();
    set.query(encode());
    set.arrive(1, answer(80).fill(0xff, 33));
    expect(set.replies[0].octets).toHaveLength(33);
  });
});

describe("DNS forwarder: limits", () => {
  it("lets the oldest give way when all entries are in use", () => {
    const { network, query, forwarder, counters, replies } = setUp();
    const named = (i: number): packet.Question[] => [{ type: "A", name: `n${i}.test` }];
    for (let i = 0; i < DNS_QUERIES_MAX + 3; i++) query(encode({ id: i, questions: named(i) }), i);
    expect(forwarder.inUse).toBe(DNS_QUERIES_MAX);
    expect(network.open).toHaveLength(DNS_QUERIES_MAX);
    expect(network.sockets.slice(0, 4).map((socket) => socket.open)).toEqual([false, false, false, true]);
    expect(counters.dropped("flow-table-full")).toBe(3);
    expect(replies).toEqual([]);
    forwarder.close();
    expect([forwarder.inUse, network.open.length]).toEqual([0, 0]);
  });

  it("lets the oldest question give way when too many wait, and takes no more when all wait for one", () => {
    const { query, forwarder, arrive, replies, counters } = setUp();
    query(encode({ questions: [{ type: "A", name: "old.test" }] }), 0);
    for (let i = 1; i < DNS_ASKERS_MAX; i++) query(encode(), i, i);
    expect(forwarder.inUse).toBe(2);
    expect(query(encode(), 5000, 5000)).toBe("handled");
    expect(forwarder.inUse).toBe(1);
    expect(counters.dropped("flow-table-full")).toBe(1);
    expect(query(encode(), 5001, 5001)).toBe("flow-table-full");
    arrive(5002, answer());
    expect(replies).toHaveLength(DNS_ASKERS_MAX);
  });

  it("drops what is no query, or longer than it keeps", () => {
    const { query, forwarder } = setUp();
    expect(query(answer())).toBe("dns-malformed");
    expect(query(new Uint8Array(11))).toBe("dns-malformed");
    const data = { type: "TXT", name: "x", data: Array.from({ length: 17 }, () => "y".repeat(250)) };
    expect(query(encode({ additionals: [data as packet.Answer] }))).toBe("dns-malformed");
    expect(forwarder.inUse).toBe(0);
  });

  it("ignores events of sockets it no longer has", () => {
    const { query, arrive, forwarder, replies } = setUp();
    query(encode());
    arrive(1, answer());
    forwarder.handleEvent(0, 2);
    forwarder.handleEvent(DNS_QUERIES_MAX, 2);
    forwarder.handleEvent(0xffffff, 2);
    expect(replies).toHaveLength(1);
  });

  it("ends every query, whatever the guest and the resolvers do", () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("query" as const), id: fc.nat(5), port: fc.nat(2), name: fc.nat(2) }),
      fc.record({ kind: fc.constant("garbage" as const), octets: fc.uint8Array({ maxLength: 80 }) }),
      fc.record({
        kind: fc.constant("answer" as const),
        id: fc.nat(1),
        rcode: fc.nat(5),
        socket: fc.nat(20),
      }),
      fc.record({ kind: fc.constant("error" as const), socket: fc.nat(20) }),
      fc.record({
        kind: fc.constant("noise" as const),
        socket: fc.nat(20),
        octets: fc.uint8Array({ maxLength: 80 }),
      }),
      fc.record({ kind: fc.constant("wait" as const), ms: fc.nat(4000) }),
      fc.record({ kind: fc.constant("resolvers" as const), count: fc.nat(3) }),
    );
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 40 }),
        fc.constantFrom(0, 0x7fffffff - 5000),
        (steps, start) => {
          const { network, query, forwarder } = setUp();
          let now = start;
          const deliver = (index: number, incoming: Uint8Array | number): void => {
            const socket = network.open[index % Math.max(1, network.open.length)];
            if (!socket) return;
            const fits = typeof incoming !== "number" && incoming.length > 12;
            socket.incoming.push(fits ? withId(incoming, idOf(incoming) ^ idOf(socket.sent[0])) : incoming);
            forwarder.handleEvent(socket.token - TOKEN, now);
          };
          for (const one of steps) {
            const questions: packet.Question[] = [
              { type: "A", name: `n${one.kind === "query" ? one.name : 0}.test` },
            ];
            if (one.kind === "query") query(encode({ id: one.id, questions }), now, PORT + one.port);
            if (one.kind === "garbage") query(one.octets, now);
            if (one.kind === "answer") deliver(one.socket, answer(1, { id: one.id, flags: one.rcode }));
            if (one.kind === "error") deliver(one.socket, ECONNREFUSED);
            if (one.kind === "noise") deliver(one.socket, one.octets);
            if (one.kind === "resolvers") forwarder.setResolvers([ONE, TWO, SIX].slice(0, one.count));
            if (one.kind === "wait") now = (now + one.ms) | 0;
            forwarder.poll(now);
            expect(network.open.length).toBe(forwarder.inUse);
          }
          forwarder.poll((now + 10_000) | 0);
          forwarder.poll((now + 10_000) | 0);
          expect([forwarder.inUse, network.open.length, forwarder.nextDeadlineMs(now)]).toEqual([0, 0, -1]);
        },
      ),
      { numRuns: 300 },
    );
  });

  it("emits what tshark reads without a complaint", (context) => {
    needs(context, { commands: ["tshark"] });
    const asked = encode({ additionals: [opt(600)] });
    const failing = setUp([]);
    failing.query(asked);
    const cutting = setUp();
    cutting.query(asked);
    cutting.arrive(1, answer(80, { additionals: [opt(4096)] }));
    const frames = [failing, cutting].map(({ replies: [{ octets: payload }] }) =>
      udpFrame({
        source: ip("10.0.2.3"),
        sourcePort: 53,
        destination: GUEST,
        destinationPort: PORT,
        payload,
      }),
    );
    const readings = readWithTshark(frames, [
      "dns.flags.rcode",
      "dns.flags.truncated",
      "dns.qry.name",
      "dns.resp.type",
    ]);
    expect(readings.map(({ fields }) => fields)).toEqual([
      {
        "dns.flags.rcode": ["2"],
        "dns.flags.truncated": ["0"],
        "dns.qry.name": ["www.example.org"],
        "dns.resp.type": ["41"],
      },
      {
        "dns.flags.rcode": ["0"],
        "dns.flags.truncated": ["1"],
        "dns.qry.name": ["www.example.org"],
        "dns.resp.type": ["41"],
      },
    ]);
    expect(
      readings.flatMap(({ complaints }) => complaints).filter((text) => !/retransmi|response/i.test(text)),
    ).toEqual([]);
  });
});
