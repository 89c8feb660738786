/** The two ways to a resolver, one entry at a time: what leaves on which socket, what comes back, and when a connection is kept. */
import { describe, expect, it } from "vitest";
import { ECONNREFUSED, EINPROGRESS, ENETUNREACH, type HostNetwork } from "../../../src/engine/boundary.ts";
import type { ResolverAddress } from "../../../src/engine/config.ts";
import { DNS_QUERIES_MAX, DNS_TCP_QUERIES_MAX, DNS_TCP_SLOT_OCTETS } from "../../../src/engine/limits.ts";
import { makeUdpBatch } from "../../../src/engine/memory/udp-batch.ts";
import { Counters } from "../../../src/engine/metrics/counters.ts";
import { Resolvers } from "../../../src/engine/service/dns/resolvers.ts";
import { TcpUpstream } from "../../../src/engine/service/dns/tcp-upstream.ts";
import { UdpUpstream } from "../../../src/engine/service/dns/udp-upstream.ts";
import type { UpstreamListener, UpstreamParts } from "../../../src/engine/service/dns/upstream.ts";
import { framed, ResolverConnections } from "../../support/resolver-connections.ts";
import { UdpNetwork, udpOnly } from "../../support/udp-network.ts";

const TOKEN = 0x100;
const REGION_AT = 1024;
const at = (last: number): ResolverAddress => ({ words: [0, 0, 0xffff, last], port: 50 + last, scope: 0 });

/** What a listener heard; it is content with messages whose octet 12 is 1. */
class Heard implements UpstreamListener {
  readonly messages: { readonly entry: number; readonly octets: readonly number[] }[] = [];
  readonly refusals: number[] = [];
  readonly rounds: number[] = [];
  /** Reads it allows in a row. */
  reads = 4;

  constructor(private readonly octets: Uint8Array) {}

  message(entry: number, from: number, length: number): boolean {
    this.messages.push({ entry, octets: [...this.octets.slice(from, from + length)] });
    return this.octets[from + 12] === 1;
  }
  refused(entry: number): void {
    this.refusals.push(entry);
  }
  mayRead(_entry: number, round: number): boolean {
    this.rounds.push(round);
    return round < this.reads;
  }
}

function setUpTcp() {
  const octets = new Uint8Array(REGION_AT + DNS_TCP_QUERIES_MAX * DNS_TCP_SLOT_OCTETS);
  const view = new DataView(octets.buffer);
  const network = new ResolverConnections(octets, (token) => {
    const slot = token - TOKEN - DNS_QUERIES_MAX;
    return REGION_AT + (slot + 1) * DNS_TCP_SLOT_OCTETS;
  });
  const { sockets, kernel } = network;
  const heard = new Heard(octets);
  let ids = 0x12340007;
  const parts: UpstreamParts = {
    octets,
    view,
    network: network as Partial<HostNetwork> as HostNetwork,
    batch: makeUdpBatch(1),
    counters: new Counters(),
    token: TOKEN,
    resolvers: new Resolvers([at(1), at(2)]),
    random: () => ids++,
  };
  const upstream = new TcpUpstream(parts, REGION_AT, heard);
  /** Asks a query of `length` octets, all of them `octet` but for the id. */
  const ask = (entry: number, resolver = 0, length = 20, octet = 9): number => {
    octets.fill(octet, upstream.queryAt(entry), upstream.queryAt(entry) + length);
    return upstream.ask(entry, resolver, length);
  };
  return { octets, view, sockets, kernel, heard, upstream, ask };
}

const ENTRY = DNS_QUERIES_MAX + 3;
const LAST = DNS_QUERIES_MAX + DNS_TCP_QUERIES_MAX - 1;
describe("a question to a resolver over TCP", () => {
  it("goes with its length in front under an id of ours, on a socket of its own", () => {
    const { sockets, upstream, ask, octets } = setUpTcp();
    for (const entry of [DNS_QUERIES_MAX, ENTRY, LAST]) {
      expect(ask(entry, 1, 300)).toBe(0);
      const { token, to, sent } = sockets.at(-1)!;
      const id = upstream.askedId(entry);
      expect([token, to]).toEqual([TOKEN + entry, [2, 52]]);
      expect(sent.slice(0, 5)).toEqual([1, 44, 0, id & 255, 9]);
      expect(sent).toHaveLength(302);
    }
    expect(sockets.map(({ sent }) => sent[3])).toEqual([7, 8, 9]);
    expect(octets.slice(0, REGION_AT).every((octet) => octet === 0)).toBe(true);
    expect(upstream.repeat()).toBe(true);
  });

  it("says why no connection can be made, and keeps none", () => {
    const { sockets, kernel, ask, upstream } = setUpTcp();
    kernel.connectError = ENETUNREACH;
    expect(ask(ENTRY)).toBe(ENETUNREACH);
    expect(upstream.receive(ENTRY)).toBe(false);
    kernel.connectError = 0;
    kernel.connected = ECONNREFUSED;
    expect(ask(ENTRY)).toBe(ECONNREFUSED);
    kernel.connected = 0;
    kernel.room = 0;
    kernel.sendError = -32;
    expect(ask(ENTRY)).toBe(-32);
    upstream.close(ENTRY);
    expect(sockets.map(({ isOpen }) => isOpen)).toEqual([false, false]);
  });

  it("leaves once the connection stands, as fast as the kernel takes it", () => {
    const { sockets, kernel, heard, upstream, ask } = setUpTcp();
    kernel.connected = EINPROGRESS;
    expect(ask(ENTRY)).toBe(0);
    expect(upstream.receive(ENTRY)).toBe(false);
    const [{ sent, toRead }] = sockets;
    expect([sent, heard.rounds]).toEqual([[], []]);
    kernel.connected = 0;
    kernel.room = 5;
    expect(upstream.receive(ENTRY)).toBe(false);
    expect(sent).toHaveLength(5);
    kernel.room = 100;
    expect(upstream.receive(ENTRY)).toBe(false);
    expect(sent).toEqual([0, 20, 0, 7, ...new Array(18).fill(9)]);
    toRead.push(framed(20, 1));
    expect(upstream.receive(ENTRY)).toBe(true);
    expect(heard.messages).toEqual([{ entry: ENTRY, octets: framed(20, 1).slice(2) }]);
    expect(sent).toHaveLength(22);
  });

  it("is refused when the connection fails before it has left", () => {
    for (const fails of ["connect", "send"] as const) {
      const { sockets, kernel, heard, upstream, ask } = setUpTcp();
      if (fails === "connect") kernel.connected = EINPROGRESS;
      kernel.room = 0;
      expect(ask(ENTRY)).toBe(0);
      kernel.connected = fails === "connect" ? ECONNREFUSED : 0;
      kernel.sendError = -32;
      expect([upstream.receive(ENTRY), heard.refusals]).toEqual([true, [ENTRY]]);
      upstream.close(ENTRY);
      upstream.close(ENTRY);
      expect(sockets.map(({ isOpen }) => isOpen)).toEqual([false]);
    }
  });

  it.each([
    ["the end", [0]],
    ["the end within a message", [framed(20, 1).slice(0, 9), 0]],
    ["an error", [-104]],
    ["a length of 11 octets", [[0, 11]]],
  ])("is refused at %s", (_what, reads) => {
    const { sockets, heard, upstream, ask } = setUpTcp();
    ask(ENTRY);
    sockets[0].toRead.push(...reads);
    expect(upstream.receive(ENTRY)).toBe(true);
    expect([heard.refusals, heard.messages]).toEqual([[ENTRY], []]);
  });

  it("takes messages of 12 octets and more, however they come", () => {
    const { sockets, heard, upstream, ask } = setUpTcp();
    ask(ENTRY);
    heard.reads = 100;
    const stream = [...[0, 12, ...new Array<number>(12).fill(5)], ...framed(300, 0), ...framed(13, 1)];
    for (let from = 0; from < stream.length - 3; from += 7)
      sockets[0].toRead.push(stream.slice(from, Math.min(from + 7, stream.length - 3)));
    expect(upstream.receive(ENTRY)).toBe(false);
    expect(heard.messages.map(({ octets }) => octets.length)).toEqual([12, 300]);
    sockets[0].toRead.push(stream.slice(-3));
    expect(upstream.receive(ENTRY)).toBe(true);
    expect(heard.messages.map(({ octets }) => octets)).toEqual([
      new Array<number>(12).fill(5),
      framed(300, 0).slice(2),
      framed(13, 1).slice(2),
    ]);
    expect(heard.rounds).toEqual([...Array.from({ length: 48 }, (_, i) => i), 0]);
  });

  it("takes several messages from one read, up to the one that settles it", () => {
    const { sockets, heard, upstream, ask } = setUpTcp();
    ask(ENTRY);
    sockets[0].toRead.push([...framed(20, 0), ...framed(21, 1), ...framed(22, 0)]);
    expect(upstream.receive(ENTRY)).toBe(true);
    expect(heard.messages.map(({ octets }) => octets.length)).toEqual([20, 21]);
  });

  it("takes the longest message there is", () => {
    const { sockets, heard, upstream, ask, octets } = setUpTcp();
    ask(ENTRY);
    ask(ENTRY + 1);
    const next = octets.slice(upstream.queryAt(ENTRY + 1), upstream.queryAt(ENTRY + 1) + 20);
    const longest = framed(65_535, 1);
    sockets[0].toRead.push(longest.slice(0, 60_000), longest.slice(60_000));
    expect(upstream.receive(ENTRY)).toBe(true);
    expect(heard.messages[0].octets).toEqual(longest.slice(2));
    expect(octets.slice(upstream.queryAt(ENTRY + 1), upstream.queryAt(ENTRY + 1) + 20)).toEqual(next);
  });

  it("of the longest query goes to the next resolver as it was, whatever the first one said", () => {
    const { sockets, upstream, ask } = setUpTcp();
    ask(ENTRY, 0, 4096);
    sockets[0].toRead.push(framed(300, 0).slice(0, 200));
    expect(upstream.receive(ENTRY)).toBe(false);
    expect(upstream.ask(ENTRY, 1, 4096)).toBe(0);
    expect(sockets[1].sent).toEqual([16, 0, 0, 8, ...new Array(4094).fill(9)]);
  });

  it("is read as long as its listener wants", () => {
    const { sockets, heard, upstream, ask } = setUpTcp();
    ask(ENTRY);
    heard.reads = 2;
    for (let i = 0; i < 3; i++) sockets[0].toRead.push(framed(13, 0));
    expect(upstream.receive(ENTRY)).toBe(false);
    expect([heard.messages.length, heard.rounds]).toEqual([2, [0, 1, 2]]);
  });

  it("of an entry that has no socket hears nothing", () => {
    const { upstream, heard } = setUpTcp();
    expect([upstream.receive(ENTRY), heard.rounds]).toEqual([false, []]);
  });
});

describe("a connection to a resolver", () => {
  /** One that has had its answer at time 0. */
  function answered(answer = framed(20, 1)) {
    const set = setUpTcp();
    set.ask(ENTRY);
    set.sockets[0].toRead.push(answer);
    expect(set.upstream.receive(ENTRY)).toBe(true);
    set.upstream.done(ENTRY, 0);
    return set;
  }

  it("waits 2 s for another question to the same resolver, whichever place it has", () => {
    const { upstream, sockets, ask } = answered();
    expect([upstream.idleTo(0), upstream.idleTo(1)]).toEqual([ENTRY, -1]);
    expect([
      upstream.nextDeadlineMs(0),
      upstream.nextDeadlineMs(1500),
      upstream.nextDeadlineMs(3000),
    ]).toEqual([2000, 500, 0]);
    upstream.poll(1999);
    expect(sockets[0].isOpen).toBe(true);
    expect(ask(ENTRY, 0, 20, 8)).toBe(0);
    expect([sockets.length, sockets[0].sent.slice(22)]).toEqual([1, [0, 20, 0, 8, ...new Array(18).fill(8)]]);
    expect([upstream.idleTo(0), upstream.nextDeadlineMs(0)]).toEqual([-1, -1]);
    upstream.poll(9999);
    expect(sockets[0].isOpen).toBe(true);
    const late = answered();
    late.upstream.poll(2000);
    expect([late.sockets[0].isOpen, late.upstream.idleTo(0), late.upstream.nextDeadlineMs(2000)]).toEqual([
      false,
      -1,
      -1,
    ]);
  });

  it("is found in the last place, and closed there in time", () => {
    const { upstream, sockets, ask } = setUpTcp();
    ask(LAST);
    sockets[0].toRead.push(framed(20, 1));
    upstream.receive(LAST);
    upstream.done(LAST, 500);
    expect([upstream.idleTo(0), upstream.nextDeadlineMs(500)]).toEqual([LAST, 2000]);
    upstream.poll(2500);
    expect(sockets[0].isOpen).toBe(false);
  });

  it("is closed in its own time where several wait, the soonest being told", () => {
    const { upstream, sockets, ask } = setUpTcp();
    for (const [i, entry] of [ENTRY, DNS_QUERIES_MAX, LAST].entries()) {
      ask(entry);
      sockets[i].toRead.push(framed(20, 1));
      upstream.receive(entry);
      upstream.done(entry, [50, 100, 200][i]);
    }
    // One that is used, and waits for nothing.
    ask(ENTRY + 1);
    expect([upstream.nextDeadlineMs(0), upstream.nextDeadlineMs(2150)]).toEqual([2050, 0]);
    upstream.poll(2100);
    expect(sockets.map(({ isOpen }) => isOpen)).toEqual([false, false, true, true]);
    expect(upstream.nextDeadlineMs(2100)).toBe(100);
    upstream.closeIdle();
    expect([sockets[2].isOpen, upstream.nextDeadlineMs(2100)]).toEqual([false, -1]);
  });

  it("waits across the wrap of the clock", () => {
    const { upstream, sockets, ask } = setUpTcp();
    ask(ENTRY);
    sockets[0].toRead.push(framed(20, 1));
    upstream.receive(ENTRY);
    upstream.done(ENTRY, 0x7fffffff);
    expect(upstream.nextDeadlineMs(0x7fffffff)).toBe(2000);
    upstream.poll(0x7fffffff);
    expect(sockets[0].isOpen).toBe(true);
    upstream.poll((0x7fffffff + 2000) | 0);
    expect(sockets[0].isOpen).toBe(false);
  });

  it("is not kept when more came than the answer", () => {
    const { upstream, sockets } = answered([...framed(20, 1), 0]);
    expect([sockets[0].isOpen, upstream.idleTo(0), upstream.nextDeadlineMs(0)]).toEqual([false, -1, -1]);
  });

  it("is not kept for resolvers that are others by now", () => {
    const { upstream, sockets, ask } = answered();
    upstream.forgetResolvers();
    expect(sockets[0].isOpen).toBe(false);
    ask(ENTRY);
    upstream.forgetResolvers();
    expect(sockets[1].isOpen).toBe(true);
    sockets[1].toRead.push(framed(20, 1));
    expect(upstream.receive(ENTRY)).toBe(true);
    upstream.done(ENTRY, 0);
    expect([sockets[1].isOpen, upstream.nextDeadlineMs(0)]).toEqual([false, -1]);
  });

  it("is done with once where it was closed before", () => {
    const { upstream, sockets, ask } = setUpTcp();
    ask(ENTRY);
    sockets[0].toRead.push(framed(20, 1));
    upstream.receive(ENTRY);
    upstream.close(ENTRY);
    upstream.done(ENTRY, 0);
    expect(upstream.nextDeadlineMs(0)).toBe(-1);
  });

  it.each([
    ["the end", 0],
    ["octets that nobody asked for", [1]],
    ["an error", -104],
  ])("that waits is closed at %s", (_what, read) => {
    const { upstream, sockets, heard } = answered();
    expect(upstream.receive(ENTRY)).toBe(false);
    expect(sockets[0].isOpen).toBe(true);
    sockets[0].toRead.push(read);
    expect(upstream.receive(ENTRY)).toBe(false);
    expect([sockets[0].isOpen, heard.refusals, heard.messages.length]).toEqual([false, [], 1]);
  });

  it("of another resolver is closed, and a new one made", () => {
    const { sockets, upstream, ask } = answered();
    ask(ENTRY, 1);
    expect(sockets.map(({ to, isOpen }) => [to[0], isOpen])).toEqual([
      [1, false],
      [2, true],
    ]);
    expect(upstream.nextDeadlineMs(0)).toBe(-1);
  });

  it("that was used before and breaks is made anew, once, and the question goes again", () => {
    const { sockets, heard, upstream, ask } = answered();
    ask(ENTRY, 0, 20, 8);
    sockets[0].toRead.push(0);
    expect([upstream.receive(ENTRY), heard.refusals]).toEqual([false, []]);
    expect(sockets.map(({ isOpen }) => isOpen)).toEqual([false, true]);
    expect(sockets[1].sent).toEqual(sockets[0].sent.slice(22));
    sockets[1].toRead.push(0);
    expect([upstream.receive(ENTRY), heard.refusals]).toEqual([true, [ENTRY]]);
  });

  it("that was used before and takes nothing any more is made anew at once", () => {
    const { sockets, kernel, ask } = answered();
    kernel.room = 0;
    kernel.sendError = -32;
    expect(ask(ENTRY)).toBe(-32);
    expect(sockets.map(({ isOpen }) => isOpen)).toEqual([false, true]);
  });

  it("is not made anew once part of an answer has come, nor for a resolver that is gone", () => {
    const part = answered();
    part.ask(ENTRY);
    part.sockets[0].toRead.push([0], 0);
    expect([part.upstream.receive(ENTRY), part.heard.refusals, part.sockets.length]).toEqual([
      true,
      [ENTRY],
      1,
    ]);
    const gone = answered();
    gone.ask(ENTRY);
    gone.upstream.forgetResolvers();
    gone.sockets[0].toRead.push(0);
    expect([gone.upstream.receive(ENTRY), gone.heard.refusals, gone.sockets.length]).toEqual([
      true,
      [ENTRY],
      1,
    ]);
    const refused = answered();
    refused.ask(ENTRY);
    refused.kernel.connectError = ECONNREFUSED;
    refused.sockets[0].toRead.push(0);
    expect([refused.upstream.receive(ENTRY), refused.heard.refusals]).toEqual([true, [ENTRY]]);
  });
});

function setUpUdp() {
  const octets = new Uint8Array(REGION_AT + DNS_QUERIES_MAX * 4096 + 65_536);
  const network = new UdpNetwork(octets, REGION_AT + DNS_QUERIES_MAX * 4096);
  const heard = new Heard(octets);
  const counters = new Counters();
  let ids = 0x12340007;
  const batch = makeUdpBatch(2);
  const parts: UpstreamParts = {
    octets,
    view: new DataView(octets.buffer),
    network: udpOnly(network),
    batch,
    counters,
    token: TOKEN,
    resolvers: new Resolvers([at(1), at(2)]),
    random: () => ids++,
  };
  const upstream = new UdpUpstream(parts, REGION_AT, heard);
  const ask = (entry: number, resolver = 0): number => {
    octets.fill(9, upstream.queryAt(entry), upstream.queryAt(entry) + 20);
    return upstream.ask(entry, resolver, 20);
  };
  return { octets, network, heard, counters, batch, upstream, ask };
}

describe("a question to a resolver over UDP", () => {
  const message = (octet: number, length = 20): Uint8Array => Uint8Array.from(framed(length, octet).slice(2));

  it("goes from a socket of its own that hears that resolver alone, under an id of ours", () => {
    const { network, upstream, ask } = setUpUdp();
    for (const entry of [0, 5, DNS_QUERIES_MAX - 1]) {
      expect(ask(entry, 1)).toBe(0);
      const { token, family, remote, sent } = network.open.at(-1)!;
      expect([token, family, remote.slice(3, 5)]).toEqual([TOKEN + entry, 4, [2, 52]]);
      const id = upstream.askedId(entry);
      expect([...sent[0]]).toEqual([0, id, ...new Array(18).fill(9)]);
    }
    expect(network.sockets.map(({ sent }) => sent[0][1])).toEqual([7, 8, 9]);
    expect([0, 5, DNS_QUERIES_MAX - 1].map((entry) => upstream.askedId(entry))).toEqual([7, 8, 9]);
  });

  it("goes again from the same socket under the same id, and to another resolver from a fresh one", () => {
    const { network, upstream, ask } = setUpUdp();
    ask(5);
    expect(upstream.repeat(5, 20)).toBe(true);
    expect(upstream.ask(5, 0, 20)).toBe(0);
    expect(network.sockets.map(({ sent }) => sent.map((octets) => octets[1]))).toEqual([[7, 7, 7]]);
    expect(upstream.ask(5, 1, 20)).toBe(0);
    expect(network.sockets.map(({ open, sent }) => [open, sent.at(-1)?.[1]])).toEqual([
      [false, 7],
      [true, 8],
    ]);
  });

  it("says why there is no socket, leaves none behind, and is not repeated", () => {
    const { network, upstream, ask, heard } = setUpUdp();
    network.openError = ENETUNREACH;
    expect([ask(5), upstream.repeat(5, 20), upstream.receive(5)]).toEqual([ENETUNREACH, false, false]);
    network.openError = 0;
    network.connectError = ECONNREFUSED;
    expect(ask(5)).toBe(ECONNREFUSED);
    expect([network.open, upstream.repeat(5, 20), heard.refusals]).toEqual([[], false, []]);
    network.connectError = 0;
    network.refuseSends = true;
    expect(ask(5)).toBe(-1);
    network.refuseSends = false;
    expect([upstream.repeat(5, 20), network.open.length]).toEqual([true, 1]);
  });

  it("has others' datagrams go first, and counts those that are refused", () => {
    const { network, upstream, ask, counters, octets } = setUpUdp();
    ask(5);
    const other = network.udpOpen(1, 4, 0);
    octets.fill(3, 0, 40);
    network.udpSend(other, Int32Array.of(0, 0, 0xffff, 1, 99, 0), 0, 40);
    network.refuseSends = true;
    expect(upstream.repeat(5, 20)).toBe(false);
    expect(counters.dropped("host-send-refused")).toBe(1);
  });

  it("of resolvers that are gone may be answered, and is not repeated", () => {
    const { network, upstream, ask, heard } = setUpUdp();
    ask(5);
    upstream.forgetResolvers();
    expect(upstream.repeat(5, 20)).toBe(false);
    network.sockets[0].incoming.push(message(1));
    expect([upstream.receive(5), heard.messages.length]).toEqual([true, 1]);
    expect(upstream.ask(5, 0, 20)).toBe(0);
    expect(network.sockets.map(({ open }) => open)).toEqual([false, true]);
  });

  it("is refused where the port is closed", () => {
    const { network, upstream, ask, heard } = setUpUdp();
    ask(5);
    network.sockets[0].incoming.push(message(0), message(0), ECONNREFUSED);
    expect([upstream.receive(5), heard.refusals, heard.messages.length]).toEqual([true, [5], 2]);
  });

  it("reads four batches at a time, up to what settles it", () => {
    const { network, upstream, ask, heard } = setUpUdp();
    ask(5);
    const { incoming } = network.sockets[0];
    for (let i = 0; i < 9; i++) incoming.push(message(0));
    expect([upstream.receive(5), heard.messages.length, incoming.length]).toEqual([false, 8, 1]);
    incoming.push(message(1), message(0), message(0));
    expect([upstream.receive(5), heard.messages.length, incoming.length]).toEqual([true, 10, 2]);
    expect(heard.messages.at(-1)).toEqual({ entry: 5, octets: [...message(1)] });
    expect([upstream.receive(5), upstream.receive(5), heard.messages.length]).toEqual([false, false, 12]);
  });

  it("reads what the kernel has joined message by message, the last being shorter", () => {
    const { network, upstream, ask, heard } = setUpUdp();
    ask(5);
    network.segments = 3;
    network.sockets[0].incoming.push(message(0), message(0), message(0, 14));
    expect(upstream.receive(5)).toBe(false);
    expect(heard.messages.map(({ octets }) => octets.length)).toEqual([20, 20, 14]);
    network.sockets[0].incoming.push(message(0), message(1), message(0));
    expect([upstream.receive(5), heard.messages.length]).toEqual([true, 5]);
  });

  it("hears of an empty datagram as of any other", () => {
    const { network, upstream, ask, heard } = setUpUdp();
    ask(5);
    network.sockets[0].incoming.push(new Uint8Array(0));
    expect([upstream.receive(5), heard.messages]).toEqual([false, [{ entry: 5, octets: [] }]]);
  });

  it("is done with, and its socket closed, once", () => {
    const { network, upstream, ask, heard } = setUpUdp();
    ask(5);
    upstream.done(5);
    upstream.close(5);
    expect([network.open, upstream.receive(5), heard.messages]).toEqual([[], false, []]);
  });
});
