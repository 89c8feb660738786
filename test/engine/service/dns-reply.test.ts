/** Answers of sluice's own, octet by octet, and answers cut to what the guest takes. */
import { describe, expect, it } from "vitest";
import {
  explain,
  OwnAnswer,
  payloadMax,
  REPLY_OCTETS,
  truncate,
  writeReply,
} from "../../../src/engine/service/dns/reply.ts";
import { RCODE_NXDOMAIN, RCODE_REFUSED } from "../../../src/engine/wire/dns.ts";

const FROM = 64;
const TO = 2048;
const A = 1;
const AAAA = 28;
const question = (type: number): number[] => [1, 0x61, 4, 0x74, 0x65, 0x73, 0x74, 0, 0, type, 0, 1];
/** Header of a query with recursion desired, checking disabled and one question; counts of answers and additional records. */
const header = (answers = 0, additionals = 0, flags: readonly [number, number] = [1, 0x10]): number[] => [
  ...[0x12, 0x34, ...flags, 0, 1, 0, answers, 0, 0, 0, additionals],
];
/** A root name, OPT, the size, DO in the flags, options. */
const opt = (size: number, isDnssecOk = false, options: readonly number[] = []): number[] => [
  ...[0, 0, 41, size >> 8, size & 255, 0, 0, isDnssecOk ? 0x80 : 0, 0, 0, options.length],
  ...options,
];

function setUp(query: readonly number[]) {
  const octets = new Uint8Array(4096).fill(0xee);
  octets.fill(0, 0, FROM);
  octets.set(query, FROM);
  const view = new DataView(octets.buffer);
  const own = new OwnAnswer();
  const write = (answer: OwnAnswer): number[] => {
    const length = writeReply(octets, view, FROM, query.length, TO, answer);
    return [...octets.slice(TO, TO + length)];
  };
  return { octets, view, own, write };
}

describe("an answer of sluice's own", () => {
  it("has the question, the code, recursion as it was desired and no records", () => {
    const { own, write, octets } = setUp([...header(), ...question(A)]);
    expect(write(own.be(RCODE_REFUSED))).toEqual([
      ...[0x12, 0x34, 0x81, 0x85, 0, 1, 0, 0, 0, 0, 0, 0],
      ...question(A),
    ]);
    expect([...octets.slice(TO + 24, TO + 40)]).toEqual(new Array(16).fill(0xee));
  });

  it("desires no recursion where the query did not, and keeps its opcode", () => {
    const { own, write } = setUp([...header(0, 0, [0x28, 0]), ...question(A)]);
    expect(write(own.be(RCODE_NXDOMAIN)).slice(2, 4)).toEqual([0xa8, 0x83]);
  });

  it("has an A record that points to the question's name, for 60 s where nothing else is said", () => {
    const { own, write, octets } = setUp([...header(), ...question(A)]);
    const answer = write(own.be(0x0400, 0x0a000202));
    expect(answer.slice(0, 12)).toEqual([0x12, 0x34, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    expect(answer.slice(24)).toEqual([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 2, 2]);
    expect([...octets.slice(TO + 40, TO + 56)]).toEqual(new Array(16).fill(0xee));
  });

  it("has an AAAA record in 64:ff9b::/96 where that was asked for, for as long as is said", () => {
    const { own, write } = setUp([...header(), ...question(AAAA)]);
    const answer = write(own.be(0, 0xc6130001 | 0, 5));
    expect(answer.slice(24)).toEqual([
      ...[0xc0, 12, 0, 28, 0, 1, 0, 0, 0, 5, 0, 16],
      ...[0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 198, 19, 0, 1],
    ]);
  });

  it("says none of what was said before it", () => {
    const { own, write } = setUp([...header(), ...question(A)]);
    write(own.be(0x0400, 0x0a000202, 7));
    expect(write(own.be(RCODE_REFUSED)).slice(6, 8)).toEqual([0, 0]);
    expect(write(own.be(0, 0x0a000202)).slice(30, 34)).toEqual([0, 0, 0, 60]);
  });

  it.each([false, true])(
    "has an OPT record behind the others where the query has one, DO: %s",
    (isDnssecOk) => {
      const query = [...header(0, 1), ...question(A), ...opt(4096, isDnssecOk, [0, 10, 0, 1, 7])];
      const { own, write } = setUp(query);
      const plain = write(own.be(RCODE_REFUSED));
      expect(plain.slice(6, 12)).toEqual([0, 0, 0, 0, 0, 1]);
      expect(plain.slice(24)).toEqual(opt(1232, isDnssecOk));
      const withRecord = write(own.be(0, 0x0a000202));
      expect(withRecord.slice(6, 12)).toEqual([0, 1, 0, 0, 0, 1]);
      expect(withRecord.slice(40)).toEqual(opt(1232, isDnssecOk));
    },
  );

  it("has none for a record of another kind in the query, nor for an OPT that is no additional record", () => {
    const other = [0, 0, 16, 0, 1, 0, 0, 0, 0, 0, 1, 0];
    const counts = setUp([...header(0, 1), ...question(A), ...other]);
    expect(counts.write(counts.own.be(0)).slice(10)).toEqual([0, 0, ...question(A)]);
    const answered = setUp([...header(1, 0), ...question(A), ...opt(4096)]);
    expect(answered.write(answered.own.be(0)).slice(6)).toEqual([0, 0, 0, 0, 0, 0, ...question(A)]);
  });
});

describe("why a name is denied", () => {
  /** An answer with an OPT record, explained; its length and the octets behind the OPT's fixed part. */
  function explained(
    text: string,
    query: readonly number[] = [...header(0, 1), ...question(A), ...opt(1232)],
  ) {
    const { octets, view, own, write } = setUp(query);
    const before = write(own.be(RCODE_NXDOMAIN)).length;
    const length = explain(octets, view, TO, before, text);
    return { before, length, octets: [...octets.slice(TO, TO + length)], behind: octets[TO + length] };
  }

  it("is an extended error, Blocked, in the OPT record (RFC 8914)", () => {
    const { before, octets, length, behind } = explained("no rule");
    expect(length).toBe(before + 6 + 7);
    expect(octets.slice(before - 2)).toEqual([0, 13, 0, 15, 0, 9, 0, 15, ...Buffer.from("no rule")]);
    expect(behind).toBe(0xee);
  });

  it("is not told to who speaks no EDNS", () => {
    const { before, length, octets } = explained("no rule", [...header(), ...question(A)]);
    expect(length).toBe(before);
    expect(octets).toHaveLength(24);
  });

  it("is cut to the room there is, without half a character", () => {
    // Header 12, question 12, OPT 11, option 6.
    const room = REPLY_OCTETS - 12 - 12 - 11 - 6;
    const shown = (text: string): string => Buffer.from(explained(text).octets.slice(41)).toString();
    expect(shown("x".repeat(room))).toBe("x".repeat(room));
    expect(explained("x".repeat(room + 1))).toMatchObject({ length: REPLY_OCTETS, behind: 0xee });
    expect(shown("x".repeat(room + 1))).toBe("x".repeat(room));
    expect(shown(`${"x".repeat(room - 1)}é`)).toBe("x".repeat(room - 1));
    expect(shown(`${"x".repeat(room - 2)}é`)).toBe(`${"x".repeat(room - 2)}é`);
    expect(shown(`${"x".repeat(room - 2)}éy`)).toBe(`${"x".repeat(room - 2)}é`);
    expect(shown(`${"x".repeat(room - 3)}😀`)).toBe("x".repeat(room - 3));
    expect(shown("")).toBe("");
  });
});

describe("the longest answer that a guest takes", () => {
  it.each([
    ["nothing", [...header(), ...question(A)], 512],
    ["less than 512 octets", [...header(0, 1), ...question(A), ...opt(511)], 512],
    ["513 octets", [...header(0, 1), ...question(A), ...opt(513)], 513],
    ["65,535 octets", [...header(0, 1), ...question(A), ...opt(65_535)], 65_535],
  ] as const)("that announces %s", (_what, query, most) => {
    const { view } = setUp(query);
    expect(payloadMax(view, FROM, query.length)).toBe(most);
  });
});

describe("an answer that is too long", () => {
  const record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1];
  const cut = (message: readonly number[], most: number): number[] => {
    const { octets, view } = setUp(message);
    const length = truncate(view, FROM, message.length, 24, most);
    return [...octets.slice(FROM, FROM + length)];
  };

  it("is cut to its question, with TC and its other flags", () => {
    const message = [...header(2, 0, [0x81, 0x80]), ...question(A), ...record, ...record];
    expect(cut(message, 512)).toEqual([...[0x12, 0x34, 0x83, 0x80, 0, 1, 0, 0, 0, 0, 0, 0], ...question(A)]);
  });

  it("keeps its OPT record with all its options, if there is room for it", () => {
    const option = [0, 15, 0, 2, 0, 18];
    const message = [...header(1, 1, [0x81, 0x80]), ...question(A), ...record, ...opt(4096, true, option)];
    const whole = [
      ...[0x12, 0x34, 0x83, 0x80, 0, 1, 0, 0, 0, 0, 0, 1],
      ...question(A),
      ...opt(4096, true, option),
    ];
    expect(cut(message, 24 + 17)).toEqual(whole);
    expect(cut(message, 24 + 16)).toEqual([
      ...[0x12, 0x34, 0x83, 0x80, 0, 1, 0, 0, 0, 0, 0, 0],
      ...question(A),
    ]);
  });

  it("loses what cannot be read", () => {
    const message = [...header(1, 1, [0x81, 0x80]), ...question(A), ...record.slice(0, 8)];
    expect(cut(message, 512)).toHaveLength(24);
  });
});
