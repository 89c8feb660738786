/** The tables DNS keeps: who waits for an answer, which questions are under way and when they are due, what resolvers are good for. */
import { describe, expect, it } from "vitest";
import type { ResolverAddress } from "../../../src/engine/config.ts";
import {
  DNS_ASKERS_MAX,
  DNS_QUERIES_MAX,
  DNS_STREAMS_MAX,
  DNS_TCP_QUERIES_MAX,
} from "../../../src/engine/limits.ts";
import { Askers, NO_ASKER } from "../../../src/engine/service/dns/askers.ts";
import { HostNames, NOT_OURS } from "../../../src/engine/service/dns/host-names.ts";
import { NO_STREAM, Query } from "../../../src/engine/service/dns/query.ts";
import {
  isOverTcp,
  NO_QUESTION,
  QUESTIONS_MAX,
  Questions,
} from "../../../src/engine/service/dns/questions.ts";
import { OVER_TCP, OVER_UDP, Resolvers } from "../../../src/engine/service/dns/resolvers.ts";
import { makeQuestion } from "../../../src/engine/wire/dns.ts";

const AT = 32;
const NAME = "ab.cd";
const QUERY_OCTETS = 12 + 7 + 4;

function queryOf(
  id: number,
  over: Partial<{ port: number; word: number; server: number; stream: number }> = {},
) {
  const { port = 4000, word = 0, server = 0, stream = NO_STREAM } = over;
  const view = new DataView(new ArrayBuffer(128));
  new Uint8Array(view.buffer).set(makeQuestion(id, new TextEncoder().encode(NAME), 1), AT);
  const query = new Query();
  query.guest.set([1, 2, 3, 4]);
  query.server.set([5, 6, 7, 8]);
  if (word > 0) query.guest[word - 1]++;
  if (server > 0) query.server[server - 1]++;
  query.guestPort = port;
  query.stream = stream;
  query.at = AT;
  query.length = QUERY_OCTETS;
  query.end = QUERY_OCTETS;
  return { view, query };
}

describe("who waits for an answer", () => {
  const add = (askers: Askers, question: number, ...args: Parameters<typeof queryOf>): void => {
    const { view, query } = queryOf(...args);
    askers.add(question, view, query);
  };
  const find = (askers: Askers, ...args: Parameters<typeof queryOf>): number => {
    const { view, query } = queryOf(...args);
    return askers.find(view, query);
  };
  const waiting = (askers: Askers, question: number): number[] => {
    const found = [];
    for (let asker = askers.last(question); asker !== NO_ASKER; asker = askers.before(asker))
      found.push(asker);
    return found;
  };

  it("is known by id, both addresses, port and connection, and by nothing less", () => {
    const askers = new Askers();
    expect(find(askers, 7)).toBe(NO_ASKER);
    add(askers, 3, 6);
    add(askers, 3, 7);
    const asker = find(askers, 7);
    expect(asker).toBe(askers.last(3));
    expect([
      [...askers.guest.slice(asker * 4, asker * 4 + 4)],
      [...askers.server.slice(asker * 4, asker * 4 + 4)],
      askers.guestPort[asker],
      askers.stream[asker],
      askers.question[asker],
    ]).toEqual([[1, 2, 3, 4], [5, 6, 7, 8], 4000, NO_STREAM, 3]);
    expect(find(askers, 8)).toBe(NO_ASKER);
    expect(find(askers, 7, { port: 4001 })).toBe(NO_ASKER);
    expect(find(askers, 7, { stream: 0 })).toBe(NO_ASKER);
    for (let word = 1; word <= 4; word++) {
      expect(find(askers, 7, { word })).toBe(NO_ASKER);
      expect(find(askers, 7, { server: word })).toBe(NO_ASKER);
    }
    add(askers, 0, 9);
    expect(find(askers, 9)).toBe(askers.last(0));
    askers.remove(asker);
    expect(find(askers, 7)).toBe(NO_ASKER);
    expect(find(askers, 6)).not.toBe(NO_ASKER);
  });

  it("waits in a list of its question, whoever of it leaves", () => {
    for (const leaves of [0, 1, 2]) {
      const askers = new Askers();
      for (let id = 0; id < 3; id++) add(askers, 5, id);
      add(askers, 6, 9);
      const before = waiting(askers, 5);
      expect(before).toHaveLength(3);
      askers.remove(before[leaves]);
      expect(waiting(askers, 5)).toEqual(before.filter((_asker, i) => i !== leaves));
      expect(waiting(askers, 6)).toHaveLength(1);
      expect(waiting(askers, 7)).toEqual([]);
    }
  });

  it("has one place, of as many as there are, and leaves it to others", () => {
    const askers = new Askers();
    for (let id = 0; id < DNS_ASKERS_MAX; id++) {
      expect(askers.full).toBe(false);
      add(askers, id % 2, id);
    }
    expect(askers.full).toBe(true);
    const all = [...waiting(askers, 0), ...waiting(askers, 1)];
    expect(new Set(all).size).toBe(DNS_ASKERS_MAX);
    askers.remove(all[100]);
    askers.remove(all[600]);
    expect(askers.full).toBe(false);
    add(askers, 2, 7000);
    add(askers, 2, 7001);
    expect(waiting(askers, 2).sort()).toEqual([all[100], all[600]].sort());
    expect(askers.full).toBe(true);
  });

  it("is counted for its connection, and found by that", () => {
    const askers = new Askers();
    const last = DNS_STREAMS_MAX - 1;
    add(askers, 0, 1);
    expect([askers.ofStream(0), askers.onStream[0]]).toEqual([NO_ASKER, 0]);
    for (const stream of [0, last]) {
      add(askers, 0, 1, { stream });
      add(askers, 0, 2, { stream });
      expect(askers.onStream[stream]).toBe(2);
      const first = askers.ofStream(stream);
      expect(askers.stream[first]).toBe(stream);
      askers.remove(first);
      expect(askers.onStream[stream]).toBe(1);
      askers.remove(askers.ofStream(stream));
      expect([askers.ofStream(stream), askers.onStream[stream]]).toEqual([NO_ASKER, 0]);
    }
    const sum = askers.onStream.reduce((total, count) => total + count);
    expect([sum, waiting(askers, 0).length]).toEqual([0, 1]);
  });

  it("gets its own id and letters; letters only where there are some to restore", () => {
    const askers = new Askers();
    add(askers, 0, 0x1111);
    const { view, query } = queryOf(0x2222);
    view.setUint8(AT + 13, 0x41);
    askers.add(0, view, query);
    const [second, first] = waiting(askers, 0);
    const answer = queryOf(0x9999).view;
    const spelt = (): string => Buffer.from(answer.buffer, AT + 12, 7).toString("latin1");
    askers.address(second, answer, AT, QUERY_OCTETS);
    expect([answer.getUint16(AT), spelt()]).toEqual([0x2222, "\x02Ab\x02cd\x00"]);
    askers.address(first, answer, AT, 0);
    expect([answer.getUint16(AT), spelt()]).toEqual([0x1111, "\x02Ab\x02cd\x00"]);
    askers.address(first, answer, AT, QUERY_OCTETS);
    expect(spelt()).toBe("\x02ab\x02cd\x00");
  });
});

describe("questions under way", () => {
  const begin = (questions: Questions, entry: number, nowMs = 0, first = 0): void => {
    const { query } = queryOf(1);
    query.nowMs = nowMs;
    query.hash = 77;
    questions.begin(entry, query, first);
  };
  const FIRST_TCP = DNS_QUERIES_MAX;

  it("are asked over UDP up to the 512th, the others over TCP", () => {
    expect([DNS_QUERIES_MAX - 1, FIRST_TCP].map(isOverTcp)).toEqual([false, true]);
    expect(QUESTIONS_MAX).toBe(DNS_QUERIES_MAX + DNS_TCP_QUERIES_MAX);
  });

  it("are counted, those over TCP apart too", () => {
    const questions = new Questions();
    const counts = (): number[] => [questions.inUse, questions.tcpInUse];
    begin(questions, 0);
    begin(questions, FIRST_TCP);
    expect(counts()).toEqual([2, 1]);
    questions.remove(0);
    expect(counts()).toEqual([1, 1]);
    questions.remove(FIRST_TCP);
    expect(counts()).toEqual([0, 0]);
    expect([questions.used[0], questions.used[FIRST_TCP]]).toEqual([0, 0]);
  });

  it("begin with nothing of the one before", () => {
    const questions = new Questions();
    for (const list of [
      questions.attempts,
      questions.refusals,
      questions.failure,
      questions.transfer,
      questions.passed,
      questions.held,
      questions.resolver,
    ])
      list.fill(9);
    begin(questions, 4, -5, 2);
    const { length, hash, end, resolver, first, attempts, refusals, failure, startedAt } = questions;
    const { transfer, passed, held } = questions;
    const lists = [length, hash, end, resolver, first, attempts, refusals, failure, startedAt];
    expect(lists.map((list) => list[4])).toEqual([QUERY_OCTETS, 77, QUERY_OCTETS, -1, 2, 0, 0, 2, -5]);
    expect([transfer, passed, held].map((list) => list[4])).toEqual([0, 0, 0]);
  });

  it("find a free entry of their transport, or none", () => {
    const questions = new Questions();
    expect([questions.free(false), questions.free(true)]).toEqual([0, FIRST_TCP]);
    for (let entry = 0; entry < DNS_QUERIES_MAX; entry++) begin(questions, entry);
    expect([questions.free(false), questions.free(true)]).toEqual([NO_QUESTION, FIRST_TCP]);
    for (let entry = FIRST_TCP; entry < QUESTIONS_MAX; entry++) begin(questions, entry);
    expect([questions.free(false), questions.free(true)]).toEqual([NO_QUESTION, NO_QUESTION]);
    questions.remove(DNS_QUERIES_MAX - 1);
    expect([questions.free(false), questions.free(true)]).toEqual([DNS_QUERIES_MAX - 1, NO_QUESTION]);
    begin(questions, DNS_QUERIES_MAX - 1);
    questions.remove(QUESTIONS_MAX - 1);
    expect([questions.free(false), questions.free(true)]).toEqual([NO_QUESTION, QUESTIONS_MAX - 1]);
  });

  it("are as old as they are, across the wrap of the clock, the first of equals being the oldest", () => {
    const questions = new Questions();
    expect(questions.oldest(0, QUESTIONS_MAX, NO_QUESTION)).toBe(NO_QUESTION);
    begin(questions, 2, 0x7ffffff0);
    begin(questions, 1, -0x7ffffff0);
    begin(questions, 3, 0x7ffffff0);
    begin(questions, 9, 0x7fffffef);
    expect(questions.oldest(0, 9, NO_QUESTION)).toBe(2);
    expect(questions.oldest(0, 10, NO_QUESTION)).toBe(9);
    expect(questions.oldest(0, 9, 2)).toBe(3);
    expect(questions.oldest(3, 9, NO_QUESTION)).toBe(3);
    expect(questions.oldest(0, 2, NO_QUESTION)).toBe(1);
    expect(questions.oldest(0, 2, 1)).toBe(NO_QUESTION);
    questions.remove(2);
    expect(questions.oldest(0, 9, NO_QUESTION)).toBe(3);
    begin(questions, 0, 0x7fffff00);
    expect(questions.oldest(0, 9, NO_QUESTION)).toBe(0);
  });

  it("begin anew with other resolvers", () => {
    const questions = new Questions();
    begin(questions, 0, 0, 3);
    questions.attempts[0] = 4;
    questions.refusals[0] = 5;
    questions.resolver[0] = 1;
    questions.restart();
    const { first, attempts, refusals, resolver } = questions;
    expect([first[0], attempts[0], refusals[0], resolver[0]]).toEqual([0, 0, 0, -1]);
  });

  it("are due at their time, the earliest of all first", () => {
    const questions = new Questions();
    expect([questions.nextDeadlineMs(0), questions.anyDue(0)]).toEqual([-1, false]);
    begin(questions, 0);
    questions.schedule(0, 100);
    begin(questions, 5);
    questions.schedule(5, 50);
    begin(questions, 6);
    questions.schedule(6, 70);
    expect([questions.anyDue(49), questions.anyDue(50)]).toEqual([false, true]);
    expect([questions.nextDeadlineMs(20), questions.nextDeadlineMs(60)]).toEqual([30, 0]);
    expect([questions.isDue(5, 49), questions.isDue(5, 50), questions.isDue(0, 50)]).toEqual([
      false,
      true,
      false,
    ]);
    questions.remove(5);
    expect(questions.isDue(5, 50)).toBe(false);
    questions.findEarliest();
    expect(questions.nextDeadlineMs(20)).toBe(50);
    begin(questions, 7);
    questions.schedule(7, 90);
    questions.findEarliest();
    expect(questions.nextDeadlineMs(20)).toBe(50);
    questions.remove(7);
    questions.remove(6);
    questions.findEarliest();
    expect([questions.nextDeadlineMs(20), questions.anyDue(99), questions.anyDue(100)]).toEqual([
      80,
      false,
      true,
    ]);
  });

  it("that begin alone are due when they say, however early those were that have ended", () => {
    const questions = new Questions();
    begin(questions, 0);
    questions.schedule(0, 10);
    questions.remove(0);
    expect([questions.nextDeadlineMs(20), questions.anyDue(20)]).toEqual([-1, false]);
    begin(questions, 1);
    questions.schedule(1, 500);
    expect(questions.nextDeadlineMs(20)).toBe(480);
  });

  it("are due across the wrap of the clock", () => {
    const questions = new Questions();
    begin(questions, 0);
    questions.schedule(0, -0x7fffffff);
    begin(questions, 1);
    questions.schedule(1, 0x7fffffff);
    expect(questions.nextDeadlineMs(0x7ffffffe)).toBe(1);
    expect([questions.anyDue(0x7ffffffe), questions.isDue(0, 0x7fffffff)]).toEqual([false, false]);
    expect(questions.isDue(0, -0x7fffffff)).toBe(true);
    questions.findEarliest();
    expect(questions.nextDeadlineMs(0x7ffffffe)).toBe(1);
  });
});

describe("names for the host", () => {
  const names = new HostNames(["gateway", "a-z.Test", "a{b"], 77);
  /** What the question of this name, type and class gets. */
  const answer = (name: string, type = 1, inClass = 1): number => {
    const question = makeQuestion(1, new TextEncoder().encode(name), type);
    const view = new DataView(Uint8Array.from([9, ...question]).buffer);
    view.setUint16(1 + question.length - 2, inClass);
    return names.answer(view, 1, question.length);
  };

  it("have an address for A and ANY of the Internet's class, and no data of other types", () => {
    expect([answer("gateway"), answer("gateway", 255), answer("gateway", 28)]).toEqual([77, 77, 0]);
    expect([answer("gateway", 1, 3), answer("gateway", 28, 255)]).toEqual([NOT_OURS, NOT_OURS]);
  });

  it("are known in letters of either case, and in nothing else that differs by that bit", () => {
    for (const name of ["gateway", "GATEWAY", "gAtEwAy", "a-z.test", "A-Z.TEST"])
      expect(answer(name), name).toBe(77);
    for (const name of [
      "a\rz.test",
      "a[b",
      "gatewa",
      "gatewayy",
      "fateway",
      "gatewax",
      "A-Y.TEST",
      "@-Z.TEST",
    ])
      expect(answer(name), name).toBe(NOT_OURS);
  });

  it("are none where there is no question", () => {
    const view = new DataView(Uint8Array.from([9, ...new Array(11).fill(0), 1]).buffer);
    expect(names.answer(view, 1, 12)).toBe(NOT_OURS);
  });
});

describe("resolvers", () => {
  const at = (last: number): ResolverAddress => ({ words: [0, 0, 0xffff, last], port: 50 + last, scope: 0 });
  const SIX: ResolverAddress = { words: [0xfe800000 | 0, 0, 0, 1], port: 53, scope: 4 };

  it("are asked in order, at their address", () => {
    const resolvers = new Resolvers([at(1), SIX]);
    expect(resolvers.count).toBe(2);
    expect([...resolvers.words(0)].slice(0, 5)).toEqual([0, 0, 0xffff, 1, 51]);
    expect([...resolvers.words(1)].slice(0, 5)).toEqual([0xfe800000 | 0, 0, 0, 1, 53]);
    expect([resolvers.family(0), resolvers.family(1)]).toEqual([4, 6]);
    expect(resolvers.firstAddress(OVER_UDP, 0)).toEqual(at(1));
    resolvers.set([]);
    expect([resolvers.count, resolvers.first(OVER_UDP, 0)]).toEqual([0, 0]);
    expect(resolvers.firstAddress(OVER_UDP, 0)).toBeNull();
  });

  it("that failed over one transport are good for the other, and again after 30 s or an answer", () => {
    for (const [one, other] of [
      [OVER_UDP, OVER_TCP],
      [OVER_TCP, OVER_UDP],
    ]) {
      const resolvers = new Resolvers([at(1), at(2)]);
      resolvers.failed(0, one, 1000);
      expect([resolvers.first(one, 30_999), resolvers.first(other, 1000)]).toEqual([1, 0]);
      expect(resolvers.first(one, 31_000)).toBe(0);
      resolvers.answered(0, other);
      expect(resolvers.first(one, 2000)).toBe(1);
      resolvers.answered(1, one);
      expect(resolvers.first(one, 2000)).toBe(1);
      resolvers.answered(0, one);
      expect(resolvers.first(one, 2000)).toBe(0);
    }
  });

  it("that have all failed are asked from the first", () => {
    const resolvers = new Resolvers([at(1), at(2)]);
    resolvers.failed(0, OVER_UDP, 0x7fffffff);
    resolvers.failed(1, OVER_UDP, 0x7fffffff);
    expect(resolvers.first(OVER_UDP, -0x7fffffff)).toBe(0);
    resolvers.failed(-1, OVER_UDP, 0);
    resolvers.answered(-1, OVER_UDP);
    expect(resolvers.first(OVER_UDP, -0x7fffffff)).toBe(0);
  });
});
