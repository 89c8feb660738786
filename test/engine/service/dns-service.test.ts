/** DNS as the engine knows it: datagrams in, events of its sockets, what is due, answers out. */
import * as packet from "dns-packet";
import { describe, expect, it } from "vitest";
import {
  defaultEngineConfig,
  defaultIpv6Config,
  type EngineConfig,
  type ResolverAddress,
} from "../../../src/engine/config.ts";
import { DNS_QUERIES_MAX, DNS_REGION_OCTETS } from "../../../src/engine/limits.ts";
import type { Arena } from "../../../src/engine/memory/arena.ts";
import { Packet } from "../../../src/engine/memory/packet.ts";
import type { Scratch } from "../../../src/engine/memory/scratch.ts";
import { makeUdpBatch } from "../../../src/engine/memory/udp-batch.ts";
import { Counters } from "../../../src/engine/metrics/counters.ts";
import { DROP_REASONS, type DropReasonName, dropReason } from "../../../src/engine/metrics/drop-reasons.ts";
import type { Destinations } from "../../../src/engine/network/destinations.ts";
import type { Destinations6 } from "../../../src/engine/network/destinations6.ts";
import { Dns } from "../../../src/engine/service/dns/dns.ts";
import { QUESTIONS_MAX } from "../../../src/engine/service/dns/questions.ts";
import { DnsReplies } from "../../../src/engine/service/dns/replies.ts";
import { FlowLedger } from "../../../src/engine/transport/flow-ledger.ts";
import { Path } from "../../../src/engine/transport/path.ts";
import type { TcpConnection } from "../../../src/engine/transport/tcp/connection.ts";
import type { TcpContext } from "../../../src/engine/transport/tcp/context.ts";
import type { UdpOutput } from "../../../src/engine/transport/udp/output.ts";
import { ip } from "../../support/frames.ts";
import { ip6 } from "../../support/frames6.ts";
import { UdpNetwork, udpOnly } from "../../support/udp-network.ts";

const GUEST = ip("10.0.2.15");
const ELSEWHERE = ip("192.0.2.53");
const PAIR6 = [...ip6("fd71:1ae0:d44d:2::15"), ...ip6("2001:db8::53")];
const TOKEN = 0x100;
const DNS_AT = 4096;
const RECEIVE_AT = DNS_AT + DNS_REGION_OCTETS;
const RESOLVER: ResolverAddress = { words: [0, 0, 0xffff, 1], port: 53, scope: 0 };

const query = (id = 7, name = "a.test"): Uint8Array =>
  new Uint8Array(
    packet.encode({ type: "query", id, flags: packet.RECURSION_DESIRED, questions: [{ type: "A", name }] }),
  );

function setUp(config: Partial<EngineConfig> = {}, { hasIpv6 = true } = {}) {
  const octets = new Uint8Array(RECEIVE_AT + 65_536);
  const arena = { octets, view: new DataView(octets.buffer), dnsAt: DNS_AT } as Arena;
  const network = new UdpNetwork(octets, RECEIVE_AT);
  const counters = new Counters();
  const replies: { readonly from: readonly number[]; readonly octets: Buffer }[] = [];
  const isRefused = (reason: number): boolean => reason === dropReason("destination-refused");
  const destinations = {
    isDenied: (remote: unknown, reason: number) => remote === ELSEWHERE && isRefused(reason),
  };
  const destinations6 = {
    isDenied: ({ pair }: Packet, reason: number) => pair.length === 8 && isRefused(reason),
  };
  const tcp = { ledger: new FlowLedger(1, () => 0), now: 0, counters, arena, view: arena.view, local: null };
  const context = tcp as unknown as TcpContext;
  const dns = new Dns({
    arena,
    config: { ...defaultEngineConfig(), resolvers: [RESOLVER], dnsHostNames: ["host.internal"], ...config },
    destinations: destinations as unknown as Destinations,
    destinations6: hasIpv6 ? (destinations6 as unknown as Destinations6) : null,
    network: udpOnly(network),
    batch: makeUdpBatch(4),
    counters,
    tcp: context,
    token: TOKEN,
    random: () => 0x7001,
    reply: ({ ipOctets, remoteAddress, pair, pairAt }, at, length) => {
      const from = ipOctets === 20 ? [remoteAddress] : [...pair.slice(pairAt + 4, pairAt + 8)];
      replies.push({ from, octets: Buffer.from(octets.slice(at, at + length)) });
    },
    policy: null,
  });
  const datagram = (
    payload: Uint8Array,
    { remote = ip("10.0.2.3"), isIpv6 = false, nowMs = 0 } = {},
  ): Packet => {
    octets.set(payload, 100);
    const one = new Packet();
    one.nowMs = nowMs;
    one.ipOctets = isIpv6 ? 40 : 20;
    one.guestAddress = GUEST;
    one.guestPort = 4000;
    one.remoteAddress = isIpv6 ? 0 : remote;
    one.remotePort = 53;
    one.pair.set(PAIR6);
    one.payloadAt = 100;
    one.payloadOctets = payload.length;
    return one;
  };
  const send = (...args: Parameters<typeof datagram>): DropReasonName =>
    DROP_REASONS[dns.datagram(datagram(...args))];
  const dropped = (reason: DropReasonName, ...args: Parameters<typeof datagram>): DropReasonName =>
    DROP_REASONS[dns.dropped(datagram(...args), dropReason(reason as never))];
  /** The resolver answers what was sent on socket `n`; the event is yet to be told of. */
  const answer = (n = 0): void => {
    const { sent, incoming } = network.sockets[n];
    const message = sent[0].slice();
    message[2] = 0x81;
    message[3] = 0x80;
    incoming.push(message);
  };
  const rcodes = (): (string | undefined)[] =>
    replies.map(({ octets: one }) => (packet.decode(one) as { rcode?: string }).rcode);
  return { dns, network, counters, replies, context, send, dropped, answer, rcodes };
}

describe("an event of a socket", () => {
  it("is looked at in the next step of the turn, once, however often it is told", () => {
    const { dns, send, answer, replies } = setUp();
    send(query(1, "a.test"));
    send(query(2, "b.test"));
    expect(dns.inUse).toBe(2);
    answer(1);
    answer(0);
    for (let i = 0; i < 2 * QUESTIONS_MAX; i++) dns.hostEvent(1);
    dns.hostEvent(0);
    dns.hostEvent(QUESTIONS_MAX);
    dns.hostEvent(0xffffff);
    expect(replies).toEqual([]);
    dns.work(10);
    expect(replies.map(({ octets }) => octets.readUInt16BE(0))).toEqual([2, 1]);
    expect(dns.inUse).toBe(0);
  });

  it("is looked at again when it is told again", () => {
    const { dns, send, answer, replies, network } = setUp();
    for (let i = 0; i < 3; i++) {
      send(query(i), { nowMs: i });
      answer(i);
      dns.work(i);
      expect(replies).toHaveLength(i);
      dns.hostEvent(0);
      dns.work(i);
      expect(replies).toHaveLength(i + 1);
    }
    expect(network.open).toEqual([]);
  });

  it("of the last place is heard too", () => {
    const { dns, send, answer, replies } = setUp();
    for (let i = 0; i < DNS_QUERIES_MAX; i++) send(query(i, `n${i}.test`));
    answer(DNS_QUERIES_MAX - 1);
    dns.hostEvent(DNS_QUERIES_MAX - 1);
    dns.hostEvent(QUESTIONS_MAX - 1);
    dns.work(1);
    expect(replies).toHaveLength(1);
    dns.close();
    expect(dns.inUse).toBe(0);
  });
});

describe("what is due", () => {
  /** As much of a connection as one that waits needs. */
  const connection = () => ({ sndEnd: 0, sndUna: 0, backlogOctets: 0 }) as TcpConnection;

  it("is the next of questions and connections of the guest", () => {
    const { dns, send, context } = setUp();
    expect(dns.nextDeadlineMs(0)).toBe(-1);
    send(query());
    expect(dns.nextDeadlineMs(0)).toBe(1500);
    context.now = 0;
    context.local?.opened(connection());
    expect(dns.nextDeadlineMs(0)).toBe(1500);
    expect([dns.nextDeadlineMs(1500), dns.nextDeadlineMs(2000)]).toEqual([0, 0]);
    context.local?.arrived(0);
    expect(dns.nextDeadlineMs(0)).toBe(0);
    dns.work(1500);
    dns.work(4500);
    expect(dns.nextDeadlineMs(4500)).toBe(5500);
    dns.work(10_000);
    expect([dns.inUse, dns.nextDeadlineMs(10_000)]).toEqual([0, 10_000]);
    send(query(8), { nowMs: 19_000 });
    expect(dns.nextDeadlineMs(19_000)).toBe(1000);
    expect(dns.nextDeadlineMs(18_000)).toBe(2000);
  });

  it("is a connection of the guest, at once where it has something to look at, until it is gone", () => {
    const { dns, context } = setUp();
    const connections = [connection(), connection()];
    context.now = 100;
    for (const [n, c] of connections.entries()) expect(context.local?.opened(c)).toBe(n);
    context.now = 5000;
    const late = context.local?.opened(connection()) ?? 0;
    expect([dns.nextDeadlineMs(5000), dns.nextDeadlineMs(50_000)]).toEqual([15_100, 0]);
    context.local?.arrived(1);
    expect(dns.nextDeadlineMs(5000)).toBe(0);
    dns.work(5000);
    expect(dns.nextDeadlineMs(5000)).toBe(15_100);
    context.local?.gone(0);
    context.local?.gone(1);
    expect(dns.nextDeadlineMs(6000)).toBe(19_000);
    context.local?.gone(late);
    expect(dns.nextDeadlineMs(6000)).toBe(-1);
  });

  it("is a connection that has yet to be read in 20 s, whenever it was used last", () => {
    const { dns, context } = setUp();
    const c = connection();
    context.local?.opened(c);
    c.sndEnd = 5;
    dns.work(30_000);
    expect(dns.nextDeadlineMs(30_000)).toBe(20_000);
  });

  it("fails a question in time", () => {
    const { dns, send, rcodes } = setUp();
    send(query());
    for (const nowMs of [1500, 4500, 10_000]) dns.work(nowMs);
    expect(rcodes()).toEqual(["SERVFAIL"]);
  });

  it("goes to the resolvers there are then", () => {
    const { dns, send, network } = setUp();
    dns.setResolvers([{ ...RESOLVER, words: [0, 0, 0xffff, 9] }]);
    send(query());
    expect(network.sockets[0].remote[3]).toBe(9);
  });
});

describe("a datagram to port 53 of another address", () => {
  it.each([false, true])("that is denied is refused in its stead; IPv6: %s", (isIpv6) => {
    const { dropped, replies, rcodes, dns } = setUp();
    expect(dropped("destination-refused", query(), { remote: ELSEWHERE, isIpv6 })).toBe(
      "destination-refused",
    );
    expect([replies[0].from, rcodes()]).toEqual([isIpv6 ? PAIR6.slice(4) : [ELSEWHERE], ["REFUSED"]]);
    expect(dns.inUse).toBe(0);
  });

  it.each([false, true])("that is dropped for another reason is left alone; IPv6: %s", (isIpv6) => {
    const { dropped, replies } = setUp();
    expect(dropped("destination-no-service", query(), { remote: ELSEWHERE, isIpv6 })).toBe(
      "destination-no-service",
    );
    expect(replies).toEqual([]);
  });

  it("over IPv4 that is denied is refused where the guest has no IPv6, too", () => {
    const { dropped, rcodes } = setUp({}, { hasIpv6: false });
    dropped("destination-refused", query(), { remote: ELSEWHERE });
    expect(rcodes()).toEqual(["REFUSED"]);
  });

  it("over IPv6 that the guest does not have is left alone", () => {
    const { dropped, replies } = setUp({}, { hasIpv6: false });
    expect(dropped("destination-refused", query(), { isIpv6: true })).toBe("destination-refused");
    expect(replies).toEqual([]);
  });

  it.each([false, true])("where all of DNS is sluice's is answered in its stead; IPv6: %s", (isIpv6) => {
    const { dropped, answer, dns, replies, counters } = setUp();
    expect(dropped("policy-resolver", query(), { remote: ELSEWHERE, isIpv6 })).toBe("handled");
    answer();
    dns.hostEvent(0);
    dns.work(1);
    expect(replies.map(({ from }) => from)).toEqual([isIpv6 ? PAIR6.slice(4) : [ELSEWHERE]]);
    expect(counters.value("dns-queries")).toBe(1);
  });

  it("that is no query is dropped as that", () => {
    const { dropped } = setUp();
    expect(dropped("policy-resolver", new Uint8Array(20).fill(255))).toBe("dns-malformed");
  });
});

describe("a datagram to the DNS address", () => {
  it.each([false, true])("is answered from there; IPv6: %s", (isIpv6) => {
    const ipv6 = defaultIpv6Config(Uint8Array.of(0x52, 0x55, 10, 0, 2, 2));
    const { send, replies } = setUp({ ipv6 });
    expect(send(query(1, "host.internal"), { isIpv6 })).toBe("handled");
    expect(replies[0].from).toEqual(isIpv6 ? [...(ipv6.dns ?? [])] : [ip("10.0.2.3")]);
  });
});

describe("a question of sluice's own", () => {
  it("is answered to who asked it", () => {
    const { dns, answer, replies } = setUp();
    const heard: number[] = [];
    dns.ownAnswer = (_at, length) => heard.push(length);
    dns.ask(query(), 0);
    answer();
    dns.hostEvent(0);
    dns.work(1);
    expect([heard, replies]).toEqual([[query().length], []]);
  });
});

describe("an answer on its way to the guest", () => {
  function replying({ kept = 5000, result = 0 } = {}) {
    const octets = Uint8Array.from({ length: 6000 }, (_, i) => i);
    const counters = new Counters();
    const sent: { readonly at: number; readonly octets: readonly number[]; readonly more: number }[] = [];
    const asked: number[] = [];
    const keep = (length: number): number => {
      asked.push(length);
      return kept;
    };
    const send = (_ends: Path, at: number, length: number, more: number): number => {
      sent.push({ at, octets: [...octets.slice(at, at + length)], more });
      return result;
    };
    const parts = [
      { octets } as Arena,
      { keep } as Scratch,
      { send } as unknown as UdpOutput,
      counters,
    ] as const;
    new DnsReplies(...parts).reply(new Path(), 300, 4);
    expect(counters.drops[0]).toBe(0);
    return { sent, asked, drops: counters.snapshot().drops };
  }

  it("is copied to where it stays until it has left", () => {
    const { sent, asked, drops } = replying();
    expect(sent).toEqual([{ at: 5000, octets: [44, 45, 46, 47], more: 0 }]);
    expect([asked, drops]).toEqual([[4], {}]);
  });

  it("is dropped and counted where there is no room, or no way", () => {
    const full = replying({ kept: 0 });
    expect([full.sent, full.drops]).toEqual([[], { "link-full": 1 }]);
    const noGuest = replying({ result: dropReason("inbound-no-guest") });
    expect([noGuest.sent.length, noGuest.drops]).toEqual([1, { "inbound-no-guest": 1 }]);
  });
});
