/** What is written into DNS messages, and the records that are read from them, to the octet. */
import { describe, expect, it } from "vitest";
import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";
import * as dns from "../../../src/engine/wire/dns.ts";

const AT = 5;
/** Root, OPT, 4096 octets, extended code and version, DO, no options. */
const OPT = [0, 0, 41, 0x10, 0, 1, 2, 0x80, 0, 0, 0];
const NAME = [1, 98, 0];
const ADDRESS = [192, 0, 2, 7];
const ADDRESS6 = [0x20, 1, 0xd, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

/** Octets at AT. Those behind them would be read as records if they were; behind `length` of them there is nothing at all. */
function place(octets: readonly number[], length?: number): DataView {
  const filling = (count: number) => new Array<number>(count).fill(1);
  const { buffer } = Uint8Array.of(...filling(AT), ...octets, ...filling(64));
  return new DataView(buffer, 0, length === undefined ? buffer.byteLength : AT + length);
}

/** What `write` changes of 40 octets; nothing else may change. */
function written(write: (view: DataView) => unknown, from: number, to: number): number[] {
  const octets = new Uint8Array(40).fill(0xee);
  write(new DataView(octets.buffer));
  expect(octets.filter((octet, i) => octet !== 0xee && (i < from || i >= to))).toHaveLength(0);
  return [...octets.subarray(from, to)];
}

const record = (type: number, data: readonly number[], name = NAME, ttl = 60): number[] => [
  ...name,
  ...[0, type, 0, 1, ttl >>> 24, (ttl >>> 16) & 255, (ttl >>> 8) & 255, ttl & 255],
  ...[data.length >> 8, data.length & 255, ...data],
];
const message = (counts: readonly number[], ...records: readonly (readonly number[])[]): number[] => [
  ...[0, 1, 0x80, 0, 0, 1],
  ...counts.flatMap((count) => [count >> 8, count & 255]),
  ...[...NAME, 0, 1, 0, 1],
  ...records.flat(),
];
/** Where the first record of `message` is. */
const FIRST = 12 + NAME.length + 4;

describe("what is written", () => {
  it("has its number, flags and counts by place", () => {
    expect(written((view) => dns.setId(view, AT, 0x0102), AT, AT + 2)).toEqual([1, 2]);
    expect(written((view) => dns.setFlags(view, AT, 0x0304), AT + 2, AT + 4)).toEqual([3, 4]);
    expect(written((view) => dns.setRecordCounts(view, AT, 0x0102, 0x0304), AT + 6, AT + 12)).toEqual([
      1, 2, 0, 0, 3, 4,
    ]);
    const view = place([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    expect([dns.id(view, AT), dns.flags(view, AT), dns.questions(view, AT)]).toEqual([
      0x0102, 0x0304, 0x0506,
    ]);
    expect([dns.answers(view, AT), dns.authorities(view, AT), dns.additionals(view, AT)]).toEqual([
      0x0708, 0x090a, 0x0b0c,
    ]);
  });

  it("asks for a name with recursion", () => {
    const ask = (name: string) => [...dns.makeQuestion(0x1234, Buffer.from(name), dns.TYPE_AAAA)];
    const head = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    expect(ask("ab.c.def")).toEqual([...head, 2, 97, 98, 1, 99, 3, 100, 101, 102, 0, 0, 28, 0, 1]);
    expect(ask("a")).toEqual([...head, 1, 97, 0, 0, 28, 0, 1]);
  });

  it("says in an OPT record how much is taken, and whether DNSSEC was asked for", () => {
    for (const [bits, expected] of [
      [0x80, 0x80],
      [0x7f, 0],
    ]) {
      const query = [...OPT.slice(0, 7), bits, 0xff, 0, 0];
      const octets = written(
        (view) => {
          for (let i = 0; i < query.length; i++) view.setUint8(28 + i, query[i]);
          dns.writeOpt(view, AT, 28);
          for (let i = 28; i < 40; i++) view.setUint8(i, 0xee);
        },
        AT,
        AT + 11,
      );
      expect(octets).toEqual([0, 0, 41, 0x04, 0xd0, 0, 0, expected, 0, 0, 0]);
    }
  });

  it("says what an error is about", () => {
    let added = 0;
    const octets = written(
      (view) => {
        added = dns.writeExtendedError(view, AT, dns.ERROR_BLOCKED, 5);
      },
      AT + 9,
      AT + 17,
    );
    expect([added, ...octets]).toEqual([11, 0, 11, 0, 15, 0, 7, 0, 15]);
  });
});

describe("a question", () => {
  const question = (octets: readonly number[], length = octets.length) =>
    dns.questionEnd(place(octets), AT, length);

  it("has a type and a class at its end", () => {
    const octets = [...message([0, 0, 0]).slice(0, -4), 1, 2, 3, 4];
    const end = question(octets);
    expect(end).toBe(FIRST);
    expect([dns.questionType(place(octets), AT, end), dns.questionClass(place(octets), AT, end)]).toEqual([
      0x0102, 0x0304,
    ]);
  });

  it("ends inside the message, wherever that is cut", () => {
    const octets = message([0, 0, 0]);
    for (let length = 0; length < octets.length; length++)
      expect([length, question(octets, length)]).toEqual([length, -1]);
    expect(question(octets)).toBe(octets.length);
    expect(question([...octets, 9])).toBe(octets.length);
    // None at all needs the header and no more.
    expect(question(octets.with(5, 0), 12)).toBe(12);
    expect(question(octets.with(5, 0), 11)).toBe(-1);
    expect(question(octets.with(5, 2))).toBe(-1);
    expect(question(octets.with(4, 1).with(5, 0))).toBe(-1);
  });

  it("is refused in an answer, or when it is two", () => {
    const check = (octets: readonly number[], length = octets.length) =>
      DROP_REASONS[dns.checkQuery(place(octets), AT, length)];
    const query = message([0, 0, 0]).with(2, 0);
    expect(check(query)).toBe("handled");
    expect(check(query, 11)).toBe("dns-malformed");
    expect(check(query.with(5, 0), 12)).toBe("handled");
    expect(check(query.with(2, 0x80))).toBe("dns-malformed");
    expect(check(query.with(5, 2))).toBe("dns-malformed");
    expect(DROP_REASONS[dns.checkQuery(new DataView(new ArrayBuffer(AT)), AT, 0)]).toBe("dns-malformed");
    // Flags that are no answer's.
    expect(check(query.with(2, 0x7f).with(3, 0xff))).toBe("handled");
  });
});

describe("a name", () => {
  const skip = (octets: readonly number[], mayPoint = true, length = octets.length) => {
    const behind = dns.skipName(place(octets), AT, AT + length, mayPoint);
    return behind < 0 ? behind : behind - AT;
  };
  const labels = (...lengths: readonly number[]): number[] => [
    ...lengths.flatMap((length) => [length, ...new Array<number>(length).fill(97)]),
    0,
  ];

  it.each<[string, number[], number]>([
    ["the root", [0, 9], 1],
    ["a label", [1, 97, 0, 9], 3],
    ["a pointer", [0xc0, 12, 9], 2],
    ["a pointer at the end", [0xc0, 12], 2],
    ["a pointer behind a label", [1, 97, 0xff, 0xff, 9], 4],
    ["a label of 63 octets", labels(63), 65],
    ["a label of 64 octets", labels(64), -1],
    ["a label of a kind that nobody uses", [0x80, 97, 0], -1],
    ["a name of 255 octets", labels(63, 63, 63, 61), 255],
    ["a name of 256 octets", labels(63, 63, 63, 62), -1],
    ["a label without an end", [1, 97], -1],
    ["half a pointer", [1, 97, 0xc0], -1],
    ["a label over the end", [2, 97], -1],
    ["nothing", [], -1],
  ])("%s is skipped", (_name, octets, behind) => {
    expect(skip(octets)).toBe(behind);
    const points = octets.some((octet, i) => octet >= 0xc0 && i <= 2);
    expect(skip(octets, false)).toBe(points ? -1 : behind);
  });
});

describe("a record", () => {
  it("is found whole", () => {
    const octets = record(16, [1, 2, 3], NAME, 0x81020304);
    const view = place(octets);
    const fixedAt = dns.recordAt(view, AT, AT + octets.length);
    expect(fixedAt).toBe(AT + 3);
    expect(dns.recordTtl(view, fixedAt)).toBe(0x81020304);
    expect([dns.recordData(fixedAt), dns.recordEnd(view, fixedAt)]).toEqual([AT + 13, AT + 16]);
    for (let length = 0; length < octets.length; length++)
      for (const view of [place(octets), place(octets, length)])
        expect([length, dns.recordAt(view, AT, AT + length)]).toEqual([length, -1]);
    // Without data it ends with its length.
    const empty = record(16, []);
    expect(dns.recordAt(place(empty), AT, AT + empty.length)).toBe(AT + 3);
    expect(dns.recordAt(place(record(16, [], [0xc0, 12])), AT, AT + 12)).toBe(AT + 2);
  });
});

describe("an OPT record", () => {
  const find = (octets: readonly number[], length = octets.length) => {
    const found = dns.findOpt(place(octets), AT, length);
    return found <= 0 ? found : found - AT;
  };
  const a = record(1, ADDRESS);

  it("says how much is taken, and how long it is", () => {
    const optAt = AT + 2;
    const sizes = [511, 512, 513, 4096].map((size) => [
      ...OPT.slice(0, 3),
      size >> 8,
      size & 255,
      ...OPT.slice(5),
    ]);
    expect(sizes.map((opt) => dns.optPayloadOctets(place([9, 9, ...opt]), optAt))).toEqual([
      512, 512, 513, 4096,
    ]);
    expect(dns.optOctets(place([9, 9, ...OPT]), optAt)).toBe(11);
    expect(dns.optOctets(place([9, 9, ...OPT.with(9, 1).with(10, 2)]), optAt)).toBe(11 + 258);
  });

  it("is sought among the additional records, the first of two", () => {
    expect(find(message([0, 0, 0]))).toBe(0);
    expect(find(message([0, 0, 1], OPT))).toBe(FIRST);
    expect(find(message([1, 1, 2], a, a, a, OPT))).toBe(FIRST + 3 * a.length);
    expect(find(message([0, 0, 2], OPT, OPT))).toBe(FIRST);
    expect(find(message([0, 1, 0], OPT))).toBe(0);
    expect(find(message([1, 0, 0], OPT))).toBe(0);
    expect(find(message([0, 1, 1], OPT, OPT))).toBe(FIRST + OPT.length);
    expect(find(message([1, 0, 1], OPT, OPT))).toBe(FIRST + OPT.length);
    expect(find(message([0, 0, 1], record(41, [])))).toBe(0);
    expect(find(message([0, 0, 1], record(41, [], [0xc0, 12])))).toBe(0);
    expect(find(message([0, 0, 1], [0, 0, 42, ...OPT.slice(3)]))).toBe(0);
  });

  it("is not sought in a message that is cut, or shorter than it says", () => {
    const whole = message([1, 0, 1], a, [...OPT.slice(0, 10), 3, 1, 2, 3]);
    expect(find(whole)).toBe(FIRST + a.length);
    for (let length = 0; length < whole.length; length++)
      expect([length, find(whole, length)]).toEqual([length, -1]);
    for (const counts of [
      [2, 0, 1],
      [1, 1, 1],
      [1, 0, 2],
    ])
      expect(find(message(counts, a, OPT))).toBe(-1);
    expect(find([...whole, 9])).toBe(FIRST + a.length);
  });
});

describe("addresses of a message's answers", () => {
  function take(octets: readonly number[], room = 4, length = octets.length, ttl = 1000) {
    const to = new Int32Array(room * 4 + 1).fill(9);
    const least = Uint32Array.of(ttl);
    const count = dns.takeAddresses(place(octets), AT, length, FIRST, to.subarray(0, room * 4), least);
    expect(to[count * 4]).toBe(9);
    return [count, least[0], ...to.subarray(0, count * 4)];
  }
  const V4 = [0, 0, 0xffff, 0xc0000207 | 0];
  const V6 = [0x20010db8, 0x01020304, 0x05060708, 0x090a0b0c];
  const a = record(1, ADDRESS);
  const aaaa = record(28, ADDRESS6, [0xc0, 12], 30);

  it("are taken with the least TTL, those of other types left out", () => {
    expect(take(message([0, 0, 0]))).toEqual([0, 1000]);
    expect(take(message([2, 0, 0], a, aaaa))).toEqual([2, 30, ...V4, ...V6]);
    expect(take(message([2, 0, 0], aaaa, a))).toEqual([2, 30, ...V6, ...V4]);
    expect(take(message([1, 0, 0], a), 4, undefined, 5)).toEqual([1, 5, ...V4]);
    expect(take(message([3, 0, 0], record(5, [1, 99, 0], NAME, 1), record(16, [1]), a))).toEqual([
      1,
      60,
      ...V4,
    ]);
    expect(take(message([1, 0, 0], record(1, ADDRESS, NAME, 0x80000000)), 4, undefined, 0xffffffff)).toEqual([
      1,
      0x80000000,
      ...V4,
    ]);
  });

  it.each([
    ["A of 3 octets", record(1, [1, 2, 3])],
    ["A of 16 octets", record(1, ADDRESS6)],
    ["AAAA of 4 octets", record(28, ADDRESS)],
    ["AAAA of 17 octets", record(28, [...ADDRESS6, 1])],
    ["TXT of 4 octets", record(16, ADDRESS)],
    ["TXT of 16 octets", record(16, ADDRESS6)],
  ])("are none in %s", (_name, octets) => {
    expect(take(message([2, 0, 0], octets, a))).toEqual([1, 60, ...V4]);
  });

  it("are as many as there is room for", () => {
    expect(take(message([3, 0, 0], a, a, aaaa), 2)).toEqual([2, 60, ...V4, ...V4]);
    expect(take(message([2, 0, 0], a, aaaa), 0)).toEqual([0, 1000]);
    expect(take(message([1, 0, 0], a, aaaa), 2)).toEqual([1, 60, ...V4]);
    // Room for one and a half.
    const to = new Int32Array(6);
    expect(dns.takeAddresses(place(message([2, 0, 0], a, a)), AT, 100, FIRST, to, Uint32Array.of(9))).toBe(1);
  });

  it("end where the message does, at whatever octet", () => {
    const octets = message([2, 0, 0], a, a);
    for (let length = FIRST; length <= octets.length; length++) {
      const whole = Math.floor((length - FIRST) / a.length);
      const found = dns.takeAddresses(
        ...([place(octets, length), AT, length, FIRST, new Int32Array(8), Uint32Array.of(9)] as const),
      );
      expect([length, take(octets, 4, length)[0], found]).toEqual([length, whole, whole]);
    }
    // Flags of zeros, which are where a length would be of a record that is in front of everything.
    const broken = message([1, 0, 0], [0x40, ...a]).with(2, 0);
    expect(take(broken)).toEqual([0, 1000]);
  });
});

describe("the case of letters", () => {
  const query = (name: string, more: readonly number[] = []) => [
    ...message([0, 0, 0]).slice(0, 12),
    name.length,
    ...Buffer.from(name),
    0,
    0,
    1,
    0,
    1,
    ...more,
  ];

  it("does not count where questions are compared, but in the name only", () => {
    const same = (a: readonly number[], b: readonly number[]) => {
      const octets = Uint8Array.of(9, 9, ...a, ...b);
      return dns.isSameQuestion(new DataView(octets.buffer), 2, 2 + a.length, a.length);
    };
    expect(same(query("azAZ09"), query("AZaz09"))).toBe(true);
    expect(same(query("azAZ09"), query("bzAZ09"))).toBe(false);
    // They differ by the bit that letters differ by.
    for (const [one, other] of ["@`", "[{", "0\x10", "-\r"]) {
      expect(same(query(`a${one}`), query(`a${other}`))).toBe(false);
      expect(same(query(`a${other}`), query(`a${one}`))).toBe(false);
    }
    const end = query("a").length;
    // The type's and the class's octets are no letters, nor is what is in front of the question.
    for (const at of [end - 4, end - 3, end - 2, end - 1])
      expect([at, same(query("a").with(at, 0x41), query("a").with(at, 0x61))]).toEqual([at, false]);
    expect(same(query("a").with(0, 7), query("a"))).toBe(true);
  });

  it("does not count where whole queries are compared, but in the name only", () => {
    const same = (a: readonly number[], b: readonly number[]) => {
      const view = new DataView(Uint8Array.of(9, 9, ...a, ...b).buffer);
      const end = query("ab").length;
      const hashes = [2, 2 + a.length].map((at) => dns.queryHash(view, at, a.length, end));
      const equal = dns.isSameQuery(view, 2, 2 + a.length, a.length, end);
      expect(hashes[0] === hashes[1]).toBe(equal);
      return equal;
    };
    const whole = query("ab", [0x41]);
    expect(same(whole, query("AB", [0x41]))).toBe(true);
    expect(same(whole.with(0, 7), whole.with(1, 8))).toBe(true);
    for (let at = 2; at < whole.length; at++) {
      const isName = at >= 12 && at < 12 + 4;
      expect([at, same(whole.with(at, 0x41), whole.with(at, 0x61))]).toEqual([at, isName]);
    }
  });

  it("is of letters alone, whatever was noted", () => {
    const octets = query("@[`{-_09");
    for (const noted of [0, 255]) {
      const view = place(octets);
      dns.restoreCase(view, AT, octets.length, new Uint8Array(32).fill(noted), 0);
      expect([...new Uint8Array(view.buffer).subarray(AT, AT + octets.length)]).toEqual(octets);
    }
  });

  it("counts where names are compared to the letter, and nothing else does", () => {
    const same = (a: readonly number[], b: readonly number[]) => {
      const view = new DataView(Uint8Array.of(9, 9, ...a, ...b).buffer);
      return dns.isSameName(view, 2, 2 + a.length, a.length);
    };
    const whole = query("ab");
    for (let at = 0; at < whole.length; at++)
      expect([at, same(whole, whole.with(at, whole[at] ^ 0x20))]).toEqual([at, at < 12 || at >= 16]);
  });

  it("is noted and given back, letter by letter", () => {
    const names = ["abcdefghABCDEFGHaAbB", "zZ@[`{azAZ", "A"];
    for (const name of names) {
      const view = place(query(name.toUpperCase()));
      const end = query(name).length;
      const bits = new Uint8Array(34).fill(0xaa);
      dns.noteCase(place(query(name)), AT, end, bits, 1);
      expect([bits[0], bits[33]]).toEqual([0xaa, 0xaa]);
      // The length in front of the name, and the zero behind it, are of the name.
      const expected = new Uint8Array(32);
      [...query(name).slice(12, -4)].forEach((octet, i) => {
        if (octet & 0x20) expected[i >> 3] |= 1 << (i & 7);
      });
      expect(bits.subarray(1, 33)).toEqual(expected);
      dns.restoreCase(view, AT, end, bits, 1);
      const restored = new Uint8Array(view.buffer).subarray(AT, AT + end);
      expect([...restored]).toEqual(query(name));
    }
  });
});

describe("an answer that is none", () => {
  const isFailure = (flags: number, counts = [0, 0, 0]) => {
    const octets = message(counts);
    return dns.isFailure(place(octets.with(2, flags >> 8).with(3, flags & 255)), AT);
  };

  it.each([
    [0x8180, false],
    [0x8182, true],
    [0x8183, false],
    [0x8184, true],
    [0x8185, true],
    [0x8181, false],
    [0x8186, false],
    [0x8100, true],
    [0x8500, false],
    [0x8300, false],
    [0x8000, false],
    [0x8170, true],
  ])("by flags %i: %s", (flags, expected) => {
    expect(isFailure(flags)).toBe(expected);
  });

  it("has neither answers nor additional records", () => {
    expect(isFailure(0x8100, [1, 0, 0])).toBe(false);
    expect(isFailure(0x8100, [0, 0, 1])).toBe(false);
    expect(isFailure(0x8100, [0, 1, 0])).toBe(true);
  });
});
