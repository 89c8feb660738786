/** A question's way to an answer over either transport: who is asked next and when, what counts as an answer, zone transfers. */
import { describe, expect, it } from "vitest";
import { ECONNREFUSED, EMFILE, ENETUNREACH, ENFILE, type HostNetwork } from "../../../src/engine/boundary.ts";
import type { ResolverAddress } from "../../../src/engine/config.ts";
import { DNS_QUERIES_MAX, DNS_REGION_OCTETS, DNS_TCP_QUERIES_MAX } from "../../../src/engine/limits.ts";
import { makeUdpBatch } from "../../../src/engine/memory/udp-batch.ts";
import { Counters } from "../../../src/engine/metrics/counters.ts";
import { DROP_REASONS, type DropReasonName } from "../../../src/engine/metrics/drop-reasons.ts";
import { Query } from "../../../src/engine/service/dns/query.ts";
import { NO_QUESTION, QUESTIONS_MAX } from "../../../src/engine/service/dns/questions.ts";
import { type AnswerListener, Resolution } from "../../../src/engine/service/dns/resolution.ts";
import { OVER_TCP, OVER_UDP, Resolvers } from "../../../src/engine/service/dns/resolvers.ts";
import { makeQuestion, queryHash } from "../../../src/engine/wire/dns.ts";
import { ResolverConnections } from "../../support/resolver-connections.ts";
import { UdpNetwork } from "../../support/udp-network.ts";

const TOKEN = 0x100;
const QUERY_AT = 64;
const REGION_AT = 4096;
const RECEIVE_AT = REGION_AT + DNS_REGION_OCTETS;
const STREAM = 3;
const at = (last: number): ResolverAddress => ({ words: [0, 0, 0xffff, last], port: 53, scope: 0 });
const TWO = [at(1), at(2)];

interface Setting {
  readonly overTcp?: boolean;
  readonly resolvers?: readonly ResolverAddress[];
}

function setUp({ overTcp = false, resolvers = TWO }: Setting = {}) {
  const octets = new Uint8Array(RECEIVE_AT + 65_536);
  const view = new DataView(octets.buffer);
  const udp = new UdpNetwork(octets, RECEIVE_AT);
  const tcp = new ResolverConnections(octets, () => RECEIVE_AT);
  const network = new Proxy(udp, {
    get(_target, name): unknown {
      const from = name in udp ? udp : tcp;
      const value: unknown = Reflect.get(from, name);
      return typeof value === "function" ? value.bind(from) : value;
    },
  }) as unknown as HostNetwork;
  const counters = new Counters();
  const told: string[] = [];
  const guest = { hasRoom: true };
  const listener: AnswerListener = {
    answered: (entry, from, length, end) =>
      told.push(`answer ${entry} ${view.getUint16(from + 2) & 15} ${length} ${end}`),
    failed: (entry, rcode) => told.push(`failed ${entry} ${rcode}`),
    transferEnded: (entry) => told.push(`transfer ended ${entry}`),
    ended: (entry) => told.push(`ended ${entry}`),
    hasRoom: () => guest.hasRoom,
  };
  let ids = 0x7000;
  const resolution = new Resolution(
    {
      ...{ octets, view, network, counters, batch: makeUdpBatch(4), token: TOKEN, random: () => ids++ },
      resolvers: new Resolvers(resolvers),
    },
    REGION_AT,
    listener,
  );
  const query = new Query();
  /** A query for this name in hand. */
  const take = (name: string, nowMs: number, over = overTcp): Query => {
    const message = makeQuestion(1, new TextEncoder().encode(name), 1);
    octets.set(message, QUERY_AT);
    query.stream = over ? STREAM : -1;
    query.at = QUERY_AT;
    query.length = message.length;
    query.end = message.length;
    query.hash = queryHash(view, QUERY_AT, message.length, message.length);
    query.nowMs = nowMs;
    return query;
  };
  /** Asks for a name; its entry. */
  const ask = (name = "a.test", nowMs = 0, isTransfer = false, over = overTcp): number => {
    const entry = resolution.place(over, nowMs);
    resolution.start(entry, take(name, nowMs, over), isTransfer);
    return entry;
  };
  const asked = (): number[] =>
    overTcp ? tcp.sockets.map(({ to }) => to[0]) : udp.sockets.map(({ remote }) => remote[3]);
  /** What was sent last on this entry's socket. */
  const sentOn = (entry: number): number[] => {
    if (!overTcp) return [...udp.open.find(({ token }) => token === TOKEN + entry)!.sent.at(-1)!];
    return tcp.open.find(({ token }) => token === TOKEN + entry)!.sent.slice(-QUERY_OCTETS);
  };
  /** A resolver's answer to what was sent on the entry's socket; `change` it before it arrives. */
  const answer = (
    entry: number,
    nowMs: number,
    flags = 0x8180,
    change = (_message: number[]): void => {},
  ): void => {
    const message = [...sentOn(entry)];
    message[2] = flags >> 8;
    message[3] = flags & 255;
    change(message);
    arrive(entry, nowMs, message);
  };
  const arrive = (entry: number, nowMs: number, ...incoming: (readonly number[] | number)[]): void => {
    put(entry, ...incoming);
    resolution.handleEvent(entry, nowMs);
  };
  /** The same, and no event tells of it. */
  const put = (entry: number, ...incoming: (readonly number[] | number)[]): void => {
    for (const one of incoming) {
      if (overTcp) {
        const { toRead } = tcp.open.find(({ token }) => token === TOKEN + entry)!;
        toRead.push(typeof one === "number" ? one : [one.length >> 8, one.length & 255, ...one]);
      } else {
        const { incoming: queue } = udp.open.find(({ token }) => token === TOKEN + entry)!;
        queue.push(typeof one === "number" ? one : Uint8Array.from(one));
      }
    }
  };
  /** Time goes to where something is due, again and again; when that was, up to `untilMs`. */
  const due = (nowMs: number, untilMs: number): number[] => {
    const times = [];
    for (let now = nowMs; ; ) {
      const left = resolution.nextDeadlineMs(now);
      if (left < 0 || now + left > untilMs) return times;
      now += left;
      times.push(now);
      resolution.poll(now);
    }
  };
  return {
    octets,
    view,
    udp,
    tcp,
    counters,
    told,
    guest,
    resolution,
    take,
    ask,
    asked,
    sentOn,
    answer,
    arrive,
    put,
    due,
  };
}
const QUERY_OCTETS = 12 + 8 + 4;
const name = (reason: number): DropReasonName => DROP_REASONS[reason];

describe.each([
  ["UDP", false, 0],
  ["TCP", true, DNS_QUERIES_MAX],
] as const)("a question over %s", (_transport, overTcp, FIRST) => {
  const begin = (setting: Setting = {}) => setUp({ overTcp, ...setting });

  it("goes to the first resolver, and its answer ends it", () => {
    const { ask, asked, answer, told, resolution, sentOn, counters } = begin();
    expect([ask(), asked(), resolution.questions.inUse]).toEqual([FIRST, [1], 1]);
    expect(sentOn(FIRST).slice(2)).toEqual([
      ...makeQuestion(1, new TextEncoder().encode("a.test"), 1).slice(2),
    ]);
    answer(FIRST, 20);
    expect(told).toEqual([`answer ${FIRST} 0 ${QUERY_OCTETS} ${QUERY_OCTETS}`, `ended ${FIRST}`]);
    expect([resolution.questions.inUse, counters.value("dns-next-resolver")]).toEqual([0, 0]);
  });

  it("goes to the other resolver after 1.5 s, in rounds of twice the patience, and fails after 10 s", () => {
    const { ask, due, told, counters, asked, sentOn } = begin();
    ask("a.test", 100);
    const first = sentOn(FIRST);
    expect(due(100, 50_000)).toEqual([1600, 3100, 6100, 9100, 10_100]);
    expect(told).toEqual([`failed ${FIRST} 2`, `ended ${FIRST}`]);
    expect(counters.value("dns-next-resolver")).toBe(4);
    expect(asked()).toEqual([1, 2, 1, 2, 1]);
    expect(first.slice(2)).toEqual([...makeQuestion(1, new TextEncoder().encode("a.test"), 1).slice(2)]);
  });

  it("of one resolver goes there again, which counts for no other", () => {
    const { ask, due, told, counters } = begin({ resolvers: [at(1)] });
    ask();
    expect(due(0, 50_000)).toEqual([1500, 4500, 10_000]);
    expect([counters.value("dns-next-resolver"), told.length]).toEqual([0, 2]);
  });

  it("of three resolvers goes to each before the first again", () => {
    const { ask, due, asked } = begin({ resolvers: [at(1), at(2), at(3)] });
    ask();
    expect(due(0, 50_000)).toEqual([1500, 3000, 4500, 7500, 10_000]);
    expect(asked()).toEqual([1, 2, 3, 1, 2]);
  });

  it("fails at once without a resolver, and where none can be reached", () => {
    const none = begin({ resolvers: [] });
    const entry = none.resolution.place(overTcp, 0);
    expect(name(none.resolution.start(entry, none.take("a.test", 0), false))).toBe("dns-no-resolver");
    expect(none.told).toEqual([`failed ${FIRST} 2`, `ended ${FIRST}`]);
    const unreachable = begin();
    unreachable.udp.connectError = ENETUNREACH;
    unreachable.tcp.kernel.connectError = ENETUNREACH;
    expect(name(unreachable.resolution.start(FIRST, unreachable.take("a.test", 0), false))).toBe("handled");
    expect(unreachable.told).toEqual([`failed ${FIRST} 2`, `ended ${FIRST}`]);
    expect(unreachable.counters.value("dns-next-resolver")).toBe(1);
    for (const transport of [OVER_UDP, OVER_TCP]) {
      unreachable.resolution.resolvers.answered(0, overTcp ? OVER_TCP : OVER_UDP);
      expect(unreachable.resolution.resolvers.first(transport, 1)).toBe(0);
    }
  });

  it.each([EMFILE, ENFILE])("fails at once and is counted where there are no sockets: %i", (error) => {
    const { ask, told, counters, udp, tcp, resolution } = begin();
    udp.openError = error;
    tcp.kernel.connectError = error;
    ask();
    expect(told).toEqual([`failed ${FIRST} 2`, `ended ${FIRST}`]);
    expect([counters.dropped("host-socket-failed"), resolution.questions.inUse]).toEqual([1, 0]);
    expect(resolution.resolvers.first(overTcp ? OVER_TCP : OVER_UDP, 1)).toBe(0);
  });

  it("goes to the next resolver at once where one refuses, which is not asked first for a while", () => {
    const { ask, arrive, asked, told, resolution, answer } = begin();
    ask();
    arrive(FIRST, 10, ECONNREFUSED);
    expect(asked()).toEqual([1, 2]);
    expect(resolution.nextDeadlineMs(10)).toBe(1500);
    answer(FIRST, 20);
    expect(told.length).toBe(2);
    ask("b.test", 30);
    const transports = [OVER_UDP, OVER_TCP].map((transport) => resolution.resolvers.first(transport, 40));
    expect(transports).toEqual(overTcp ? [0, 1] : [1, 0]);
  });

  it("fails where all refuse, with the code of the last that said something", () => {
    const { ask, arrive, told } = begin();
    ask();
    arrive(FIRST, 10, ECONNREFUSED);
    arrive(FIRST, 11, ECONNREFUSED);
    expect(told).toEqual([`failed ${FIRST} 2`, `ended ${FIRST}`]);
  });

  it("goes to the next where one fails, and ends with what the last one said", () => {
    const { ask, answer, told, asked } = begin();
    ask();
    answer(FIRST, 10, 0x8182);
    expect([asked(), told]).toEqual([[1, 2], []]);
    answer(FIRST, 11, 0x8185);
    expect(told).toEqual([`answer ${FIRST} 5 ${QUERY_OCTETS} ${QUERY_OCTETS}`, `ended ${FIRST}`]);
  });

  it("remembers what a resolver said that failed, should the other one be silent to the end", () => {
    const { ask, answer, due, told } = begin();
    ask();
    due(0, 1500);
    answer(FIRST, 2000, 0x8185);
    due(2000, 50_000);
    expect(told).toEqual([`failed ${FIRST} 2`, `ended ${FIRST}`]);
    const lame = begin();
    lame.ask();
    lame.answer(FIRST, 10, 0x8100);
    lame.arrive(FIRST, 20, ECONNREFUSED);
    expect(lame.told).toEqual([`failed ${FIRST} 2`, `ended ${FIRST}`]);
  });

  it("ends with what the last resolver said where there is no socket for the next", () => {
    for (const [flags, rcode] of [
      [0x8185, 5],
      [0x8182, 2],
      [0x8100, 2],
    ]) {
      const { ask, answer, told, udp, tcp } = begin();
      ask();
      udp.openError = EMFILE;
      tcp.kernel.connectError = EMFILE;
      answer(FIRST, 10, flags);
      expect(told).toEqual([`failed ${FIRST} ${rcode}`, `ended ${FIRST}`]);
    }
  });

  it("is read whether or not the guest has room for more", () => {
    const { ask, answer, told, guest } = begin();
    guest.hasRoom = false;
    ask();
    answer(FIRST, 10);
    expect(told).toHaveLength(2);
  });

  it("takes a failure for the answer when its time is over", () => {
    const { ask, answer, told, asked } = begin();
    ask();
    answer(FIRST, 9_999, 0x8182);
    expect([told.length, asked()]).toEqual([0, [1, 2]]);
    const over = begin();
    over.ask();
    over.answer(FIRST, 10_000, 0x8182);
    expect(over.told).toEqual([`answer ${FIRST} 2 ${QUERY_OCTETS} ${QUERY_OCTETS}`, `ended ${FIRST}`]);
  });

  it("is answered by what has its id, its question and the response bit, and by an error without a question", () => {
    const flip = (octet: number) => (message: number[]) => {
      message[octet] ^= 1;
    };
    const cut = (from: number) => (message: number[]) => {
      message.length = from;
      message[5] = from > 12 ? 1 : 0;
    };
    const wrong: [flags: number, change: (message: number[]) => void][] = [
      [0x8180, flip(0)],
      [0x8180, flip(1)],
      [0x0180, () => {}],
      [0x8180, flip(13)],
      [0x8181, flip(13)],
      [0x8180, flip(QUERY_OCTETS - 3)],
      [0x8180, flip(QUERY_OCTETS - 1)],
      [0x8180, cut(12)],
      [0x8180, cut(QUERY_OCTETS - 1)],
      // The root's name.
      [0x8180, (message) => message.splice(12, 8, 0)],
    ];
    const { ask, answer, told, counters } = begin();
    ask();
    for (const [i, [flags, change]] of wrong.entries()) {
      answer(FIRST, 10, flags, change);
      expect([i, told, counters.dropped("dns-malformed")]).toEqual([i, [], i + 1]);
    }
    answer(FIRST, 10, 0x8181, cut(12));
    expect(told).toEqual([`answer ${FIRST} 1 12 12`, `ended ${FIRST}`]);
  });

  it("is answered by what lies there unread when its patience ends", () => {
    const { ask, sentOn, put, due, told, asked } = begin();
    ask();
    const message = sentOn(FIRST);
    message[2] = 0x81;
    message[3] = 0x80;
    put(FIRST, message);
    due(0, 1500);
    expect([told.length, asked()]).toEqual([2, [1]]);
  });

  it("is the same as one under way that has its octets, but for the id and the letters of its name", () => {
    const { ask, take, resolution } = begin();
    const first = ask("a.test");
    const second = ask("b.test");
    expect(resolution.find(take("b.test", 0))).toBe(second);
    expect(resolution.find(take("A.TEST", 0))).toBe(first);
    expect(resolution.find(take("c.test", 0))).toBe(NO_QUESTION);
    expect(resolution.find(take("aa.test", 0))).toBe(NO_QUESTION);
    expect(resolution.find(take("b.test", 0, !overTcp))).toBe(NO_QUESTION);
    expect([
      resolution.isSame(first, take("a.test", 0)),
      resolution.isSame(second, take("a.test", 0)),
    ]).toEqual([...[true, false]]);
    resolution.end(second);
    expect(resolution.find(take("b.test", 0))).toBe(NO_QUESTION);
  });

  it("takes the place of the oldest where there is none, and that one ends without a word", () => {
    const { resolution, take, told, counters, udp, tcp } = begin();
    const count = overTcp ? DNS_TCP_QUERIES_MAX : DNS_QUERIES_MAX;
    for (let i = 0; i < count; i++) {
      const entry = resolution.place(overTcp, i);
      expect(entry).toBe(FIRST + i);
      // The second one is older than the first.
      resolution.start(entry, take(`n${i}.test`, i === 1 ? -5 : i), false);
    }
    expect([told, counters.dropped("flow-table-full")]).toEqual([[], 0]);
    expect(resolution.place(!overTcp, 0)).toBe(overTcp ? 0 : DNS_QUERIES_MAX);
    expect(resolution.place(overTcp, 999)).toBe(FIRST + 1);
    expect([told, counters.dropped("flow-table-full")]).toEqual([[`ended ${FIRST + 1}`], 1]);
    expect(overTcp ? tcp.open.length : udp.open.length).toBe(count - 1);
    resolution.close();
    expect([told.length, resolution.questions.inUse, udp.open, tcp.open]).toEqual([count, 0, [], []]);
  });

  it("waits for its resolver when there are others, and begins with those from the start", () => {
    const { ask, resolution, due, asked, told, answer } = begin();
    ask();
    resolution.setResolvers([at(7), at(8)]);
    expect(asked()).toEqual([1]);
    expect(due(0, 4500)).toEqual([1500, 3000, 4500]);
    expect(asked()).toEqual([1, 7, 8, 7]);
    answer(FIRST, 4600);
    expect(told.length).toBe(2);
  });

  it("knows how long it has been under way", () => {
    const { ask, resolution, answer } = begin();
    const entry = ask("a.test", 1000);
    expect(resolution.ageMs(entry)).toBe(0);
    resolution.poll(1300);
    expect(resolution.ageMs(entry)).toBe(300);
    answer(entry, 1450);
    expect(resolution.ageMs(entry)).toBe(450);
  });

  it("is due across the wrap of the clock", () => {
    const { ask, resolution, asked } = begin();
    ask("a.test", 0x7fffffff);
    expect(resolution.nextDeadlineMs(0x7fffffff)).toBe(1500);
    resolution.poll((0x7fffffff + 1499) | 0);
    expect(asked()).toEqual([1]);
    resolution.poll((0x7fffffff + 1500) | 0);
    expect(asked()).toEqual([1, 2]);
  });
});

it("questions over either transport keep apart what was asked", () => {
  const { ask, resolution, view } = setUp();
  ask("a.test");
  ask("b.test", 0, false, true);
  const kept = [0, DNS_QUERIES_MAX].map((entry) => view.getUint16(resolution.queryAt(entry)));
  expect(kept).toEqual([0x7000, 0x7001]);
});

describe("a question that the guest repeats", () => {
  it("goes again over UDP, and over TCP does not have to", () => {
    const over = setUp();
    const entry = over.ask();
    expect(name(over.resolution.repeat(entry, 500))).toBe("handled");
    expect(over.udp.sockets.map(({ sent }) => sent.length)).toEqual([2]);
    over.udp.refuseSends = true;
    expect(name(over.resolution.repeat(entry, 600))).toBe("handled");
    expect(over.told).toEqual([`failed ${entry} 2`, `ended ${entry}`]);
    const tcp = setUp({ overTcp: true });
    const other = tcp.ask();
    const { length } = tcp.tcp.sockets[0].sent;
    expect(name(tcp.resolution.repeat(other, 500))).toBe("handled");
    expect(tcp.tcp.sockets[0].sent).toHaveLength(length);
  });
});

describe("a connection to a resolver that waits", () => {
  it("is the place of the next question to that resolver, and is due to be closed", () => {
    const { ask, answer, resolution, tcp } = setUp({ overTcp: true });
    ask("a.test");
    const second = ask("b.test");
    const third = ask("c.test");
    answer(third, 100);
    resolution.end(second);
    expect(resolution.nextDeadlineMs(100)).toBe(1400);
    expect([resolution.place(true, 200), resolution.place(false, 200)]).toEqual([third, 0]);
    answer(DNS_QUERIES_MAX, 300);
    expect([resolution.place(true, 300), resolution.nextDeadlineMs(300)]).toEqual([DNS_QUERIES_MAX, 1800]);
    resolution.poll(2100);
    expect(tcp.sockets.map(({ isOpen }) => isOpen)).toEqual([true, false, false]);
    resolution.poll(2300);
    expect([tcp.open, resolution.nextDeadlineMs(2300)]).toEqual([[], -1]);
  });

  it("is due beside questions that are", () => {
    const { ask, answer, resolution } = setUp({ overTcp: true });
    const transfer = ask("a.test", 0, true);
    const other = ask("b.test");
    answer(transfer, 0);
    answer(other, 0);
    resolution.poll(1500);
    expect([resolution.nextDeadlineMs(1500), resolution.nextDeadlineMs(2000)]).toEqual([500, 0]);
    const late = setUp({ overTcp: true });
    late.answer(late.ask("a.test"), 1400);
    late.ask("b.test", 0, false, false);
    expect(late.resolution.nextDeadlineMs(1500)).toBe(0);
  });

  it("is closed with all the rest, and when the resolvers are others", () => {
    for (const closes of [true, false]) {
      const { ask, answer, resolution, tcp } = setUp({ overTcp: true });
      answer(ask(), 10);
      expect(tcp.open).toHaveLength(1);
      if (closes) resolution.close();
      else resolution.setResolvers([at(9)]);
      expect(tcp.open).toEqual([]);
      expect(resolution.place(true, 20)).toBe(DNS_QUERIES_MAX);
    }
  });

  it("is no place without resolvers", () => {
    const { resolution } = setUp({ overTcp: true, resolvers: [] });
    expect(resolution.place(true, 0)).toBe(DNS_QUERIES_MAX);
  });
});

describe("a zone transfer", () => {
  const ENTRY = DNS_QUERIES_MAX;
  const MESSAGE = `answer ${ENTRY} 0 ${QUERY_OCTETS} ${QUERY_OCTETS}`;
  const begin = () => {
    const set = setUp({ overTcp: true });
    expect(set.ask("z.test", 0, true)).toBe(ENTRY);
    return set;
  };

  it("is answered by any number of messages, the later ones with or without its question, until it ends", () => {
    const { answer, told, arrive, resolution } = begin();
    answer(ENTRY, 10);
    answer(ENTRY, 11);
    answer(ENTRY, 12, 0x8180, (message) => {
      message.length = 12;
      message[5] = 0;
    });
    expect(told).toEqual([MESSAGE, MESSAGE, `answer ${ENTRY} 0 12 12`]);
    arrive(ENTRY, 13, 0);
    expect(told.slice(3)).toEqual([`transfer ended ${ENTRY}`, `ended ${ENTRY}`]);
    expect(resolution.questions.inUse).toBe(0);
  });

  it("that began with a message ends with one that has a code, though there are other resolvers", () => {
    const { answer, told, asked } = begin();
    answer(ENTRY, 10);
    answer(ENTRY, 11, 0x8185);
    expect(told).toEqual([MESSAGE, `answer ${ENTRY} 5 ${QUERY_OCTETS} ${QUERY_OCTETS}`, `ended ${ENTRY}`]);
    expect(asked()).toEqual([1]);
  });

  it("is nobody else's question", () => {
    const { resolution, take } = begin();
    expect(resolution.find(take("z.test", 0))).toBe(NO_QUESTION);
  });

  it("ends with a code, whichever message has it, and before the first another resolver is asked", () => {
    const { answer, told, asked } = begin();
    answer(ENTRY, 10, 0x8185);
    expect([told, asked()]).toEqual([[], [1, 2]]);
    answer(ENTRY, 11);
    answer(ENTRY, 12, 0x8185);
    expect(told).toEqual([MESSAGE, `answer ${ENTRY} 5 ${QUERY_OCTETS} ${QUERY_OCTETS}`, `ended ${ENTRY}`]);
  });

  it("has 10 s from each message to the next, however long it lasts", () => {
    const { answer, told, resolution, due } = begin();
    for (let now = 1000; now < 50_000; now += 9000) {
      answer(ENTRY, now);
      expect(resolution.nextDeadlineMs(now)).toBe(10_000);
      resolution.poll(now + 8999);
    }
    const { length } = told;
    expect(due(46_000, 100_000)).toEqual([56_000]);
    expect(told.slice(length)).toEqual([`transfer ended ${ENTRY}`, `ended ${ENTRY}`]);
  });

  it("that has had no message is asked of the next resolver in time", () => {
    const { due, asked } = begin();
    expect(due(0, 1500)).toEqual([1500]);
    expect(asked()).toEqual([1, 2]);
  });

  it("is read four times in a row, and again 10 ms later", () => {
    const { sentOn, put, told, resolution } = begin();
    const message = sentOn(ENTRY);
    message[2] = 0x81;
    message[3] = 0x80;
    for (let i = 0; i < 6; i++) put(ENTRY, message);
    resolution.handleEvent(ENTRY, 100);
    expect([told.length, resolution.nextDeadlineMs(100)]).toEqual([4, 10]);
    resolution.poll(109);
    expect(told.length).toBe(4);
    resolution.poll(110);
    expect([told.length, resolution.nextDeadlineMs(110)]).toEqual([6, 10_000]);
    resolution.poll(10_110);
    expect(told.slice(6)).toEqual([`transfer ended ${ENTRY}`, `ended ${ENTRY}`]);
  });

  it("waits for the guest to have room, and is looked at every 10 ms", () => {
    const { answer, told, resolution, guest } = begin();
    answer(ENTRY, 100);
    guest.hasRoom = false;
    answer(ENTRY, 200);
    for (let now = 210; now < 30_000; now += 10) {
      expect(resolution.nextDeadlineMs(now - 10)).toBe(10);
      resolution.poll(now);
    }
    expect(told).toEqual([MESSAGE]);
    guest.hasRoom = true;
    resolution.poll(30_000);
    expect([told, resolution.nextDeadlineMs(30_000)]).toEqual([[MESSAGE, MESSAGE], 10_000]);
  });
});

describe("a flood of what is no answer", () => {
  const T = 20_000;

  it("over TCP is read in pieces, and the question fails all the same when its time is over", () => {
    const { sentOn, put, told, resolution, ask } = setUp({ overTcp: true, resolvers: [at(1)] });
    const entry = ask("a.test", T);
    const message = sentOn(entry);
    message[0] ^= 1;
    message[2] = 0x81;
    const flood = (): void => {
      for (let i = 0; i < 8; i++) put(entry, message);
    };
    flood();
    resolution.handleEvent(entry, T + 100);
    expect(resolution.nextDeadlineMs(T + 100)).toBe(10);
    resolution.poll(T + 110);
    expect(resolution.nextDeadlineMs(T + 110)).toBe(10);
    resolution.poll(T + 120);
    // It is read to its end, and its resolver has its time again.
    expect(resolution.nextDeadlineMs(T + 120)).toBe(1500);
    flood();
    resolution.poll(T + 1620);
    expect([resolution.nextDeadlineMs(T + 1620), told]).toEqual([10, []]);
    for (let now = T + 1630; now < T + 10_000; now += 10) {
      flood();
      resolution.poll(now);
    }
    expect(told).toEqual([]);
    flood();
    resolution.poll(T + 10_000);
    expect(told).toEqual([`failed ${entry} 2`, `ended ${entry}`]);
  });
});

it("an event of a place that there is not says nothing", () => {
  const { resolution, told } = setUp();
  resolution.handleEvent(QUESTIONS_MAX, 0);
  resolution.handleEvent(QUESTIONS_MAX - 1, 0);
  resolution.handleEvent(0, 0);
  expect(told).toEqual([]);
});
