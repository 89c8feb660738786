/** Who asks a question and is answered: over either family, over TCP, sluice itself; what a policy says of it; who is told. */
import * as packet from "dns-packet";
import { describe, expect, it } from "vitest";
import { ECONNREFUSED } from "../../../src/engine/boundary.ts";
import type { Ipv6Words, ResolverAddress } from "../../../src/engine/config.ts";
import { DNS_QUERY_OCTETS_MAX, DNS_REGION_OCTETS } from "../../../src/engine/limits.ts";
import { makeUdpBatch } from "../../../src/engine/memory/udp-batch.ts";
import { Counters } from "../../../src/engine/metrics/counters.ts";
import { DROP_REASONS, type DropReasonName, dropReason } from "../../../src/engine/metrics/drop-reasons.ts";
import {
  DENIED,
  LIMITED,
  NO_DATA,
  PASSES,
  type QuestionJudge,
  REFUSED,
  STANDS_IN,
} from "../../../src/engine/network/judge.ts";
import { DnsForwarder } from "../../../src/engine/service/dns/forwarder.ts";
import { FlowLedger } from "../../../src/engine/transport/flow-ledger.ts";
import { Path } from "../../../src/engine/transport/path.ts";
import type { DnsEnd, Recorder } from "../../../src/engine/transport/recorder.ts";
import { ip } from "../../support/frames.ts";
import { ip6 } from "../../support/frames6.ts";
import { UdpNetwork, udpOnly } from "../../support/udp-network.ts";

const GUEST = ip("10.0.2.15");
const DNS = ip("10.0.2.3");
const OTHER = ip("198.51.100.53");
const DNS6: Ipv6Words = ip6("fd71:1ae0:d44d:2::3");
const PAIR6 = [...ip6("fd71:1ae0:d44d:2::15"), ...ip6("2001:db8::53")];
const RX_AT = 4096;
const RECEIVE_AT = 65_536;
const REGION_AT = 4 * 65_536;
const TOKEN = 0x03000000;
const RESOLVER: ResolverAddress = { words: [0, 0, 0xffff, ip("192.0.2.1")], port: 53, scope: 0 };
const NAME = "www.example.org";
const STREAM = 5;
const STREAM6 = 9;

type Question = packet.Question;
const encode = (over: Partial<packet.Packet> = {}): Uint8Array =>
  new Uint8Array(
    packet.encode({
      type: "query",
      id: 0x1234,
      flags: packet.RECURSION_DESIRED,
      questions: [{ type: "A", name: NAME }],
      ...over,
    }),
  );
const opt = {
  type: "OPT",
  name: ".",
  udpPayloadSize: 1232,
  flags: 0,
  options: [],
} as unknown as packet.Answer;

/** A question told of, and its addresses. */
interface Told
  extends Pick<DnsEnd, "guestPort" | "overTcp" | "answeredBy" | "type" | "rcode" | "ttl" | "durationMs"> {
  readonly guest: readonly number[];
  readonly name: string;
  readonly nameOctets: number;
  readonly addresses: readonly number[];
}

interface Options {
  readonly restrict?: boolean;
  readonly policy?: QuestionJudge;
  readonly dnsAddress6?: Ipv6Words | null;
  readonly isHeard?: boolean;
}

function setUp({ restrict = false, policy, dnsAddress6 = DNS6, isHeard = false }: Options = {}) {
  const octets = new Uint8Array(REGION_AT + DNS_REGION_OCTETS + 4096);
  const counters = new Counters();
  const network = new UdpNetwork(octets, RECEIVE_AT);
  const replies: { ends: object; octets: Uint8Array }[] = [];
  const streamed: { stream: number; octets: Uint8Array }[] = [];
  const own: Uint8Array[] = [];
  const told: Told[] = [];
  const streamEnds = new Path(new Int32Array(8));
  streamEnds.guestAddress = GUEST;
  streamEnds.guestPort = 40_999;
  const ledger = new FlowLedger(1, () => 0);
  const recorder: Pick<Recorder, "wantsDns" | "dns"> = {
    wantsDns: isHeard,
    dns(end, addresses) {
      const { guestPort, overTcp, answeredBy, type, rcode, ttl, durationMs } = end;
      told.push({
        ...{ guestPort, overTcp, answeredBy, type, rcode, ttl, durationMs },
        guest: [...end.guest],
        nameOctets: end.nameOctets,
        name: Buffer.from(octets.slice(end.nameAt, end.nameAt + end.nameOctets)).toString("latin1"),
        addresses: [...addresses.slice(0, end.addressCount * 4)],
      });
    },
  };
  ledger.recorder = recorder as Recorder;
  const forwarder = new DnsForwarder({
    octets,
    view: new DataView(octets.buffer),
    regionAt: REGION_AT,
    network: udpOnly(network),
    batch: makeUdpBatch(8),
    counters,
    token: TOKEN,
    random: () => 0x7001,
    resolvers: [RESOLVER],
    hostNames: ["host.internal"],
    hostAddress: ip("10.0.2.2"),
    dnsAddress: DNS,
    dnsAddress6,
    restrict,
    ...(policy === undefined ? {} : { policy }),
    reply: ({ ipOctets, guestAddress, guestPort, remoteAddress, remotePort, pair, pairAt }, at, length) => {
      const addresses = ipOctets === 20 ? [guestAddress, remoteAddress] : [...pair.slice(pairAt, pairAt + 8)];
      replies.push({
        ends: { ipOctets, guestPort, remotePort, addresses },
        octets: octets.slice(at, at + length),
      });
    },
    replyStream: (stream, at, length) => streamed.push({ stream, octets: octets.slice(at, at + length) }),
    streamHasRoom: () => expect.unreachable(),
    endStream: () => expect.unreachable(),
    streamEnds: (stream) => (stream === STREAM ? streamEnds : stream === STREAM6 ? over6() : null),
    ledger,
  });
  forwarder.ownAnswer = (at, length) => own.push(octets.slice(at, at + length));
  const put = (message: Uint8Array): [at: number, length: number] => {
    octets.set(message, RX_AT);
    return [RX_AT, message.length];
  };
  const over4 = (port = 40_001): Path => {
    const ends = new Path();
    ends.guestAddress = GUEST;
    ends.guestPort = port;
    ends.remoteAddress = OTHER;
    ends.remotePort = 53;
    return ends;
  };
  const over6 = (): Path => {
    const ends = new Path(Int32Array.from([9, 9, ...PAIR6]));
    ends.pairAt = 2;
    ends.ipOctets = 40;
    ends.guestPort = 40_001;
    ends.remotePort = 53;
    return ends;
  };
  const nameOf = (reason: number): DropReasonName => DROP_REASONS[reason];
  const query = (message: Uint8Array, ends = over4(), nowMs = 0): DropReasonName =>
    nameOf(forwarder.query(ends, ...put(message), nowMs));
  const inStead = (message: Uint8Array, ends = over4()): DropReasonName =>
    nameOf(forwarder.queryInStead(ends, ...put(message), 0));
  const onStream = (message: Uint8Array, stream = STREAM): DropReasonName =>
    nameOf(forwarder.queryStream(stream, ...put(message), 0));
  const refuse = (message: Uint8Array, ends = over4()): void => forwarder.refuse(ends, ...put(message));
  /** The resolver answers the last question that left with these records. */
  const answer = (nowMs: number, answers: packet.Answer[] = [], flags = 0x180): void => {
    const socket = network.open.at(-1)!;
    const asked = packet.decode(Buffer.from(socket.sent.at(-1)!));
    const { id = 0, questions = [] } = asked;
    socket.incoming.push(new Uint8Array(packet.encode({ type: "response", id, flags, questions, answers })));
    forwarder.handleEvent(socket.token - TOKEN, nowMs);
  };
  const count = (name: Parameters<Counters["value"]>[0]): number => counters.value(name);
  return {
    ...{
      octets,
      counters,
      network,
      replies,
      streamed,
      own,
      told,
      forwarder,
      query,
      inStead,
      onStream,
      refuse,
    },
    ...{ answer, count, over4, over6 },
  };
}

const decode = (octets: Uint8Array) =>
  packet.decode(Buffer.from(octets)) as packet.DecodedPacket & { rcode: string };
const IPV4_ENDS = { ipOctets: 20, guestPort: 40_001, remotePort: 53, addresses: [GUEST, DNS] };

describe("an answer over UDP", () => {
  it("comes from the DNS address, over the family in which was asked", () => {
    const set = setUp();
    set.query(encode());
    set.answer(1);
    set.query(encode(), set.over6());
    set.answer(2);
    expect(set.replies.map(({ ends }) => ends)).toEqual([
      IPV4_ENDS,
      { ...IPV4_ENDS, ipOctets: 40, addresses: [...PAIR6.slice(0, 4), ...DNS6] },
    ]);
  });

  it("comes from the address that was asked, where that was another resolver's", () => {
    const set = setUp();
    set.inStead(encode());
    set.answer(1);
    set.inStead(encode(), set.over6());
    set.answer(2);
    expect(set.replies.map(({ ends }) => ends)).toEqual([
      { ...IPV4_ENDS, addresses: [GUEST, OTHER] },
      { ...IPV4_ENDS, ipOctets: 40, addresses: PAIR6 },
    ]);
  });

  it("is one for each address that was asked, though the question leaves once", () => {
    const set = setUp();
    set.query(encode());
    set.inStead(encode());
    set.query(encode(), set.over6());
    expect(set.network.sockets).toHaveLength(1);
    set.answer(1);
    expect(set.replies).toHaveLength(3);
  });

  it("of a network that has no DNS address over IPv6 comes from none", () => {
    const set = setUp({ dnsAddress6: null });
    set.query(encode(), set.over6());
    set.answer(1);
    expect(set.replies[0].ends).toMatchObject({ addresses: [...PAIR6.slice(0, 4), 0, 0, 0, 0] });
  });
});

describe("a query that is refused in the stead of who was asked", () => {
  it.each([20, 40] as const)("is answered REFUSED between its ends, IP header of %i octets", (ipOctets) => {
    const set = setUp();
    set.refuse(encode({ additionals: [opt] }), ipOctets === 20 ? set.over4() : set.over6());
    expect(set.replies.map(({ ends }) => ends)).toEqual([
      { ...IPV4_ENDS, ipOctets, addresses: ipOctets === 20 ? [GUEST, OTHER] : PAIR6 },
    ]);
    expect(decode(set.replies[0].octets)).toMatchObject({
      id: 0x1234,
      rcode: "REFUSED",
      questions: [{ name: NAME }],
      additionals: [{ type: "OPT" }],
    });
    expect([set.count("dns-queries"), set.network.sockets]).toEqual([0, []]);
  });

  it("gets no answer where it is none", () => {
    const set = setUp();
    set.refuse(new Uint8Array(30).fill(255));
    set.refuse(encode({ type: "response" }));
    set.refuse(new Uint8Array(11));
    expect(set.replies).toEqual([]);
  });
});

describe("a question of sluice's own", () => {
  it("is asked whatever the policy says, and its answer goes nowhere else", () => {
    const set = setUp({ policy: judge(DENIED) });
    set.forwarder.ask(encode(), 0);
    expect(set.network.open).toHaveLength(1);
    set.answer(1, [{ type: "A", name: NAME, ttl: 60, data: "192.0.2.80" }]);
    expect([set.replies, set.streamed]).toEqual([[], []]);
    expect(set.own.map((octets) => decode(octets))).toMatchObject([
      { id: 0x1234, answers: [{ data: "192.0.2.80" }] },
    ]);
  });

  it("fails as those of a guest do", () => {
    const set = setUp();
    set.forwarder.ask(encode(), 0);
    set.network.open[0].incoming.push(ECONNREFUSED);
    set.forwarder.handleEvent(0, 1);
    expect(set.own.map((octets) => decode(octets).rcode)).toEqual(["SERVFAIL"]);
  });

  it("is told to nobody who does not listen", () => {
    const set = setUp();
    set.forwarder.ownAnswer = () => {};
    set.forwarder.ask(encode(), 0);
    set.answer(1);
    expect([set.replies, set.forwarder.inUse]).toEqual([[], 0]);
  });
});

describe("a query that is repeated", () => {
  it("under the same id with another question leaves the first one to the others who wait for it", () => {
    const set = setUp();
    set.query(encode());
    set.query(encode(), set.over4(40_002));
    set.query(encode({ questions: [{ type: "AAAA", name: NAME }] }));
    expect([set.forwarder.inUse, set.network.open.length]).toEqual([2, 2]);
    set.answer(1);
    expect(set.replies.map(({ ends }) => ends)).toEqual([IPV4_ENDS]);
    set.query(encode(), set.over4(40_002));
    set.answer(2);
    expect(set.replies[1].ends).toEqual({ ...IPV4_ENDS, guestPort: 40_002 });
  });
});

describe("a query", () => {
  it("is answered within the octets that DNS has", () => {
    const set = setUp({ restrict: true });
    set.query(encode());
    set.refuse(encode());
    expect(set.octets.slice(REGION_AT + DNS_REGION_OCTETS).every((octet) => octet === 0)).toBe(true);
    expect(set.octets.slice(0, RX_AT).every((octet) => octet === 0)).toBe(true);
  });

  it("has at most 4,096 octets", () => {
    const filled = (length: number): Uint8Array => {
      const query = new Uint8Array(length);
      query.set(encode({ additionals: [opt] }));
      // An option fills the OPT record.
      const optAt = encode().length;
      new DataView(query.buffer).setUint16(optAt + 9, length - optAt - 11);
      return query;
    };
    const set = setUp();
    expect(set.query(filled(DNS_QUERY_OCTETS_MAX))).toBe("handled");
    expect(set.network.sockets[0].sent[0]).toHaveLength(DNS_QUERY_OCTETS_MAX);
    expect(set.query(filled(DNS_QUERY_OCTETS_MAX + 1))).toBe("dns-malformed");
    expect([set.count("dns-queries"), set.network.sockets.length]).toEqual([1, 1]);
  });

  it("without a question leaves, and is answered with none", () => {
    const set = setUp();
    expect(set.query(encode({ questions: [] }))).toBe("handled");
    expect(set.network.sockets[0].sent[0]).toHaveLength(12);
    set.answer(1, [], 0x181);
    expect(decode(set.replies[0].octets)).toMatchObject({ rcode: "FORMERR", questions: [] });
  });
});

function judge(verdict: number, over: Partial<QuestionJudge> = {}) {
  const heard: { readonly what: string; readonly octets: readonly number[] }[] = [];
  const policy: QuestionJudge & { heard: typeof heard } = {
    heard,
    reason: dropReason("policy-denied"),
    refuses: false,
    standIn: ip("198.19.0.1"),
    question: () => verdict,
    explain: () => "no rule",
    answered: (view, queryAt, end, at, length) => {
      const octets = new Uint8Array(view.buffer);
      heard.push({ what: "answered", octets: [...octets.slice(queryAt + 2, queryAt + end)] });
      heard.push({ what: "by", octets: [...octets.slice(at, at + length)] });
    },
    answeredHere: (view, at, end, address) => {
      const octets = new Uint8Array(view.buffer);
      heard.push({ what: "here", octets: [...octets.slice(at + 12, at + end), address] });
    },
    ...over,
  };
  return policy;
}

describe("a question that the policy", () => {
  const verdicts: readonly (readonly [
    what: string,
    verdict: number,
    over: Partial<QuestionJudge>,
    rcode: string,
    reason: string,
    counted: "dns-sluice-noerror" | "dns-sluice-nxdomain" | "dns-sluice-refused",
  ])[] = [
    ["denies does not exist", DENIED, {}, "NXDOMAIN", "policy-denied", "dns-sluice-nxdomain"],
    [
      "denies and refuses is refused",
      DENIED,
      { refuses: true },
      "REFUSED",
      "policy-denied",
      "dns-sluice-refused",
    ],
    ["has too many of is refused", LIMITED, {}, "REFUSED", "policy-denied", "dns-sluice-refused"],
    ["has no data for has none", NO_DATA, {}, "NOERROR", "handled", "dns-sluice-noerror"],
    ["refuses is refused", REFUSED, {}, "REFUSED", "handled", "dns-sluice-refused"],
    ["has a stand-in for has that", STANDS_IN, {}, "NOERROR", "handled", "dns-sluice-noerror"],
    [
      "has no stand-in left for is refused",
      STANDS_IN,
      { standIn: 0 },
      "REFUSED",
      "handled",
      "dns-sluice-refused",
    ],
  ];
  for (const [what, verdict, over, rcode, reason, counted] of verdicts) {
    it(`${what}, at once`, () => {
      const set = setUp({ policy: judge(verdict, over), isHeard: true });
      expect(set.query(encode({ additionals: [opt] }))).toBe(reason);
      const [{ ends, octets }] = set.replies;
      const isStandIn = verdict === STANDS_IN && rcode === "NOERROR";
      expect(ends).toEqual(IPV4_ENDS);
      expect(decode(octets)).toMatchObject({
        id: 0x1234,
        rcode,
        flag_aa: false,
        answers: isStandIn ? [{ data: "198.19.0.1", ttl: 5 }] : [],
        additionals: [
          { options: verdict === DENIED ? [{ code: 15, data: Buffer.from("\0\x0fno rule") }] : [] },
        ],
      });
      const counts = (["dns-sluice-noerror", "dns-sluice-nxdomain", "dns-sluice-refused"] as const).map(
        (name) => [name, set.count(name)],
      );
      expect(counts.filter(([, times]) => times !== 0)).toEqual([[counted, 1]]);
      expect([set.count("dns-queries"), set.count("dns-answers")]).toEqual([1, 1]);
      expect([set.network.sockets, set.forwarder.inUse]).toEqual([[], 0]);
      expect(set.told).toMatchObject([
        {
          answeredBy: 1,
          rcode: { NOERROR: 0, NXDOMAIN: 3, REFUSED: 5 }[rcode],
          addresses: isStandIn ? [0, 0, 0xffff, ip("198.19.0.1")] : [],
        },
      ]);
    });
  }

  it("lets pass leaves, and the policy hears of its answer beside the question", () => {
    const policy = judge(PASSES);
    const set = setUp({ policy });
    set.query(encode({ questions: [{ type: "A", name: "WWW.example.org" }] }));
    set.answer(1);
    const asked = encode({ questions: [{ type: "A", name: "WWW.example.org" }] });
    expect(policy.heard[0]).toEqual({ what: "answered", octets: [...asked.slice(2)] });
    expect(policy.heard[1].octets.slice(2)).toEqual([...set.replies[0].octets.slice(2)]);
    expect(set.count("dns-sluice-noerror")).toBe(0);
  });

  it("does not see is one for the host, of which it hears where that has an address", () => {
    const policy = judge(DENIED);
    const set = setUp({ policy });
    const host = (type: "A" | "AAAA"): Question[] => [{ type, name: "host.internal" }];
    expect(set.query(encode({ questions: host("AAAA") }))).toBe("handled");
    expect(policy.heard).toEqual([]);
    expect(set.query(encode({ questions: host("A") }))).toBe("handled");
    const asked = [...encode({ questions: host("A") }).slice(12)];
    expect(policy.heard).toEqual([{ what: "here", octets: [...asked, ip("10.0.2.2")] }]);
    expect([set.count("dns-sluice-noerror"), set.count("dns-answers")]).toEqual([2, 2]);
    const restricted = judge(DENIED);
    expect(setUp({ policy: restricted, restrict: true }).query(encode())).toBe("destination-restricted");
    expect(restricted.heard).toEqual([]);
  });
});

describe("a query over TCP that is answered here", () => {
  it.each([
    ["for the host", {}, "host.internal", "NOERROR"],
    ["under restrict", { restrict: true }, NAME, "REFUSED"],
    ["that the policy denies", { policy: judge(DENIED) }, NAME, "NXDOMAIN"],
  ] as const)("%s gets its answer on its connection", (_what, options, name, rcode) => {
    const set = setUp({ ...options, isHeard: true });
    set.onStream(encode({ questions: [{ type: "A", name }] }));
    expect(set.streamed.map(({ stream, octets }) => [stream, decode(octets).rcode])).toEqual([
      [STREAM, rcode],
    ]);
    expect([set.replies, set.forwarder.inUse]).toEqual([[], 0]);
    expect(set.told).toMatchObject([
      { overTcp: true, guest: [0, 0, 0xffff, GUEST], guestPort: 40_999, answeredBy: 1 },
    ]);
  });
});

describe("who listens to questions", () => {
  const A80 = { type: "A", name: NAME, ttl: 60, data: "192.0.2.80" } as const;

  it("is told who asked, what, and what the resolver said, once for each who asked", () => {
    const set = setUp({ isHeard: true });
    set.query(encode(), set.over4(), 1000);
    set.query(encode(), set.over6(), 1100);
    set.answer(1250, [A80, { ...A80, ttl: 30, data: "192.0.2.81" }]);
    const one = {
      guestPort: 40_001,
      overTcp: false,
      answeredBy: 0,
      type: 1,
      rcode: 0,
      ttl: 30,
      durationMs: 250,
      name: "\x03www\x07example\x03org\x00",
      nameOctets: 17,
      addresses: [0, 0, 0xffff, ip("192.0.2.80"), 0, 0, 0xffff, ip("192.0.2.81")],
    };
    expect(set.told).toEqual([
      { ...one, guest: PAIR6.slice(0, 4) },
      { ...one, guest: [0, 0, 0xffff, GUEST] },
    ]);
  });

  it("is told of what the resolver denies, of failures, and of a question without a name", () => {
    const set = setUp({ isHeard: true });
    set.query(encode());
    set.answer(5, [], 0x183);
    expect(set.told).toMatchObject([{ answeredBy: 0, rcode: 3, ttl: 0, addresses: [] }]);
    set.query(encode(), set.over4(), 10);
    set.network.open[0].incoming.push(ECONNREFUSED);
    set.forwarder.handleEvent(0, 13);
    expect(set.told[1]).toMatchObject({
      answeredBy: 2,
      rcode: -1,
      ttl: 0,
      durationMs: 3,
      addresses: [],
      type: 1,
    });
    expect(set.count("dns-nobody-none")).toBe(1);
    set.query(encode({ questions: [], authorities: [{ type: "A", name: NAME, ttl: 1, data: "192.0.2.1" }] }));
    set.answer(1, [], 0x181);
    expect(set.told[2]).toMatchObject({ type: 0, name: "", nameOctets: 0, rcode: 1 });
  });

  it("is told of names for the host and of what is refused under restrict", () => {
    const set = setUp({ isHeard: true, restrict: true });
    set.query(encode({ questions: [{ type: "A", name: "host.internal" }] }), set.over6());
    set.query(encode());
    expect(set.told).toMatchObject([
      {
        answeredBy: 1,
        rcode: 0,
        durationMs: 0,
        addresses: [0, 0, 0xffff, ip("10.0.2.2")],
        guest: PAIR6.slice(0, 4),
      },
      { answeredBy: 1, rcode: 5, addresses: [], guest: [0, 0, 0xffff, GUEST], guestPort: 40_001 },
    ]);
  });

  it("is told of a connection that is gone as of nobody's", () => {
    const set = setUp({ isHeard: true, restrict: true });
    set.onStream(encode(), STREAM);
    set.onStream(encode(), STREAM + 1);
    expect(set.told[1]).toMatchObject({ overTcp: true, guest: [0, 0, 0, 0], guestPort: 0 });
  });

  it("is told of a connection over IPv6 by that address", () => {
    const set = setUp({ isHeard: true, restrict: true });
    set.onStream(encode(), STREAM6);
    expect(set.told).toMatchObject([{ overTcp: true, guest: PAIR6.slice(0, 4), guestPort: 40_001 }]);
  });

  it("hears nothing when nobody does", () => {
    const set = setUp();
    set.query(encode());
    set.answer(1);
    set.query(encode({ questions: [{ type: "A", name: "host.internal" }] }));
    set.query(encode());
    set.forwarder.poll(20_000);
    expect([set.told, set.forwarder.inUse]).toEqual([[], 0]);
    const denied = setUp({ policy: judge(DENIED) });
    denied.query(encode());
    expect([denied.replies.length, denied.told]).toEqual([1, []]);
  });
});
