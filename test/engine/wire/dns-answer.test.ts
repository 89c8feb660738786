/** The addresses in an answer: those of the question's name and of what its CNAMEs lead to. */
import * as packet from "dns-packet";
import { describe, expect, it } from "vitest";
import { formatAddress } from "../../../src/engine/wire/address-text.ts";
import * as dns from "../../../src/engine/wire/dns.ts";
import { DnsAnswer } from "../../../src/engine/wire/dns-answer.ts";

const AT = 5;
const reader = new DnsAnswer();

/** Addresses with their TTLs. */
function read(message: Uint8Array, length = message.length): (string | number)[] {
  // Octets behind the message would be records if they were read; where nothing is behind it reading there throws.
  const octets = new Uint8Array(AT + message.length + 64).fill(1);
  octets.set(message, AT);
  const found = readView(new DataView(octets.buffer), length);
  expect(readView(new DataView(octets.buffer, 0, AT + length), length)).toEqual(found);
  return found;
}

function readView(view: DataView, length: number): (string | number)[] {
  reader.read(view, AT, length, dns.questionEnd(view, AT, length));
  const found: (string | number)[] = [];
  for (let i = 0; i < reader.count; i++) found.push(formatAddress(reader.words, i * 4), reader.ttl[i]);
  return found;
}

const NAME = "www.example.org";
type Answers = packet.Answer[];
const a = (name: string, data: string, ttl = 60): packet.Answer => ({ type: "A", name, data, ttl });
const aaaa = (name: string, data: string, ttl = 60): packet.Answer => ({ type: "AAAA", name, data, ttl });
const cname = (name: string, data: string, ttl = 60): packet.Answer => ({ type: "CNAME", name, data, ttl });

function response(answers: Answers, name = NAME): Uint8Array {
  return packet.encode({ type: "response", id: 1, questions: [{ type: "A", name }], answers });
}
const addresses = (answers: Answers, name = NAME) => read(response(answers, name));

/** A message put together by octets: a question for `name`, then records as they are. */
function raw(name: readonly number[], count: number, records: readonly number[]): Uint8Array {
  return Uint8Array.of(...[0, 1, 0x80, 0, 0, 1, 0, count, 0, 0, 0, 0], ...name, ...[0, 1, 0, 1], ...records);
}
const record = (
  name: readonly number[],
  type: number,
  data: readonly number[],
  { rrClass = 1, length = data.length, ttl = [0, 0, 0, 60] } = {},
): number[] => [...name, 0, type, 0, rrClass, ...ttl, length >> 8, length & 255, ...data];
const B = [1, 98, 0];
const ADDRESS = [192, 0, 2, 7];
const FOUND = ["192.0.2.7", 60];

describe("an answer's addresses", () => {
  it("are those of the question's name, of both families, with their TTLs", () => {
    expect(addresses([a(NAME, "192.0.2.7", 5), aaaa(NAME, "2001:db8:1:2:3:4:5:6", 6)])).toEqual([
      ...["192.0.2.7", 5],
      ...["2001:db8:1:2:3:4:5:6", 6],
    ]);
    // Nothing is left of the message before.
    expect(addresses([aaaa(NAME, "2001:db8::7"), a(NAME, "192.0.2.8")])).toEqual([
      ...["2001:db8::7", 60],
      ...["192.0.2.8", 60],
    ]);
    expect(addresses([])).toEqual([]);
  });

  it("are of the name in letters of either case, and of no other name", () => {
    expect(addresses([a("WWW.example.ORG", "192.0.2.7")])).toEqual(FOUND);
    expect(addresses([a("www.example.org", "192.0.2.7")], "wwW.EXAMPLE.org")).toEqual(FOUND);
    for (const other of [
      "www.example.net",
      "ww.example.org",
      "wwww.example.org",
      "example.org",
      "xww.example.org",
    ])
      expect(addresses([a(other, "192.0.2.7")])).toEqual([]);
    // They differ by the bit that letters differ by.
    for (const [one, other] of ["@`", "[{", "0\x10", "-\r"])
      expect(addresses([a(`a${one}b`, "192.0.2.7")], `a${other}b`)).toEqual([]);
    expect(addresses([a("azAZ", "192.0.2.7")], "AZaz")).toEqual(FOUND);
  });

  it("are found along CNAMEs, in whatever order they stand, with the least TTL on the way", () => {
    const chain = [cname(NAME, "b.example", 30), cname("b.example", "c.example", 20)];
    expect(addresses([...chain, a("c.example", "192.0.2.7", 60)])).toEqual(["192.0.2.7", 20]);
    expect(addresses([...chain.toReversed(), a("c.example", "192.0.2.7", 10)])).toEqual(["192.0.2.7", 10]);
    expect(addresses([a("c.example", "192.0.2.7", 60), ...chain])).toEqual(["192.0.2.7", 20]);
    expect(
      addresses([
        cname(NAME, "b.example", 20),
        cname("b.example", "c.example", 30),
        a("c.example", "192.0.2.7"),
      ]),
    ).toEqual(["192.0.2.7", 20]);
    expect(addresses([cname(NAME, "B.Example"), a("b.eXample", "192.0.2.7")])).toEqual(FOUND);
  });

  it("are those on the way too, with what the way was then", () => {
    const answers = [cname(NAME, "b.example", 30), a(NAME, "192.0.2.1", 99), a("b.example", "192.0.2.7", 60)];
    expect(addresses(answers)).toEqual(["192.0.2.1", 99, "192.0.2.7", 30]);
  });

  it("are sought behind the first of two CNAMEs", () => {
    const answers = [
      cname(NAME, "b.example", 30),
      cname(NAME, "c.example", 10),
      a("b.example", "192.0.2.7"),
      a("c.example", "192.0.2.9"),
    ];
    expect(addresses(answers)).toEqual(["192.0.2.7", 30]);
  });

  it("are not found behind a CNAME that leads nowhere, or in a circle more than 16 times", () => {
    expect(addresses([cname(NAME, "b.example"), a("c.example", "192.0.2.9")])).toEqual([]);
    const circle = addresses([cname(NAME, NAME), a(NAME, "192.0.2.7")]);
    expect(circle).toHaveLength(16 * 2);
  });

  it("are found behind 15 CNAMEs, and not behind 16", () => {
    const chain = (length: number) => [
      ...Array.from({ length }, (_, i) => cname(i === 0 ? NAME : `n${i}.example`, `n${i + 1}.example`)),
      a(`n${length}.example`, "192.0.2.7"),
    ];
    expect(addresses(chain(15))).toEqual(FOUND);
    expect(addresses(chain(16))).toEqual([]);
  });

  it("are 128 at most", () => {
    const many = (count: number) => Array.from({ length: count }, (_, i) => a(NAME, `192.0.2.${i}`));
    const found = Array.from({ length: 128 }, (_, i) => [`192.0.2.${i}`, 60]).flat();
    expect(addresses(many(128))).toEqual(found);
    expect(addresses(many(130))).toEqual(found);
  });

  it("are as old as they may be: a TTL with its top bit set is 0", () => {
    const message = (ttl: number[]) => raw(B, 1, record(B, 1, ADDRESS, { ttl }));
    expect(read(message([0x80, 0, 0, 1]))).toEqual(["192.0.2.7", 0]);
    expect(read(message([0xff, 0xff, 0xff, 0xff]))).toEqual(["192.0.2.7", 0]);
    expect(read(message([0x7f, 0xff, 0xff, 0xff]))).toEqual(["192.0.2.7", 0x7fffffff]);
  });

  it("are not looked for in a message without a question", () => {
    const message = Uint8Array.of(...[0, 1, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0], ...record([0], 1, ADDRESS));
    expect(read(message)).toEqual([]);
  });

  it.each([
    ["of another class", record(B, 1, ADDRESS, { rrClass: 3 })],
    ["A of 5 octets", record(B, 1, [...ADDRESS, 0])],
    ["A of 3 octets", record(B, 1, [192, 0, 2])],
    ["A of 16 octets", record(B, 1, new Array<number>(16).fill(1))],
    ["AAAA of 4 octets", record(B, 28, ADDRESS)],
    ["AAAA of 15 octets", record(B, 28, new Array<number>(15).fill(1))],
    ["AAAA of 17 octets", record(B, 28, new Array<number>(17).fill(1))],
    ["of another type", record(B, 2, ADDRESS)],
    ["CNAME of another class", record(B, 5, [1, 99, 0], { rrClass: 3 })],
  ])("are none in a record %s, and those behind it are", (_name, octets) => {
    const c = record([1, 99, 0], 1, [192, 0, 2, 9]);
    expect(read(raw(B, 3, [...octets, ...c, ...record(B, 1, ADDRESS)]))).toEqual(FOUND);
  });

  it("end where the message does, at whatever octet", () => {
    const first = record(B, 1, [192, 0, 2, 1]);
    const message = raw(B, 2, [...first, ...record(B, 1, ADDRESS)]);
    const records = message.length - 2 * first.length;
    for (let length = records; length <= message.length; length++) {
      const whole = Math.floor((length - records) / first.length);
      const expected = ["192.0.2.1", 60, ...FOUND].slice(0, whole * 2);
      expect([length, read(message, length)]).toEqual([length, expected]);
      expect([length, read(message.slice(0, length))]).toEqual([length, expected]);
    }
  });

  it("are as many as the header says", () => {
    expect(read(raw(B, 1, [...record(B, 1, ADDRESS), ...record(B, 1, [192, 0, 2, 8])]))).toEqual(FOUND);
  });
});

describe("names in an answer", () => {
  const pointer = (to: number): number[] => [0xc0 | (to >> 8), to & 255];
  /** A CNAME from the question's name to these octets, then an address of `b`. */
  const through = (target: readonly number[], question: readonly number[] = [1, 97, 0]) =>
    read(raw(question, 2, [...record([0xc0, 12], 5, target), ...record(B, 1, ADDRESS)]));

  it("may point back into the message", () => {
    // The question is a.b: its second label, and all of it.
    const question = [1, 97, ...B];
    expect(through([0xc0, 14], question)).toEqual(FOUND);
    expect(read(raw(question, 1, record([0xc0, 12], 1, ADDRESS)))).toEqual(FOUND);
    expect(read(raw(question, 1, record([1, 97, 0xc0, 14], 1, ADDRESS)))).toEqual(FOUND);
    expect(read(raw(question, 1, record([1, 99, 0xc0, 14], 1, ADDRESS)))).toEqual([]);
  });

  it("may not point forward, or to themselves", () => {
    const at = 12 + 3 + 4 + 2 + 10;
    expect(through([0xc0, at])).toEqual([]);
    expect(through([0xc0, at + 2])).toEqual([]);
  });

  it("lead to nothing where their labels are of a kind that nobody uses, or run past the message", () => {
    expect(through([0x40, 98, 0])).toEqual([]);
    expect(through([0x80, 98, 0])).toEqual([]);
    expect(through([1])).toEqual([]);
  });

  it("lead to nothing, and not to the root, where they are none", () => {
    const at = 12 + 3 + 4 + 15 + 12;
    for (const target of [[], [0xc0], pointer(at + 2), [5, 98], [2, 98], [1, 98]]) {
      const root = record([0], 1, ADDRESS);
      // A reader of its own: nothing is left of another target.
      const fresh = new DnsAnswer();
      const message = raw(B, 2, [...root, ...record([0xc0, 12], 5, target)]);
      const view = new DataView(message.buffer);
      fresh.read(view, 0, message.length, dns.questionEnd(view, 0, message.length));
      expect([target, fresh.count]).toEqual([target, 0]);
    }
  });

  it("are no names, and of no chain, where they point forward or their labels are too long", () => {
    const targetAt = 12 + 3 + 4 + 12;
    const long = (octets: number) => [octets, ...new Array<number>(octets).fill(98), 0];
    for (const [octets, found] of [
      [63, FOUND],
      [64, []],
    ] as const) {
      const records = [...record([0xc0, 12], 5, long(octets)), ...record(pointer(targetAt), 1, ADDRESS)];
      expect(read(raw(B, 2, records))).toEqual(found);
    }
    // The chain leads nowhere, as the second record's own name does.
    const nowhere = [...record([0xc0, 12], 5, [1]), ...record([0xff, 0xff], 1, ADDRESS)];
    expect(read(raw(B, 2, nowhere))).toEqual([]);
  });

  it("may end with the message", () => {
    const records = [...record([1, 97, 0], 1, ADDRESS), ...record([0xc0, 12], 5, pointer(12 + 3 + 4))];
    expect(read(raw(B, 2, records))).toEqual(FOUND);
  });

  it("may pass 64 pointers, and not 65", () => {
    /** Records of another name, whose data are pointers, each to the one before it; the first to the question's name. */
    const pointing = (pointers: number) => {
      const chain: number[] = [];
      const chainAt = 12 + 3 + 4 + 12;
      for (let i = 0; i < pointers - 1; i++) {
        const to = i === 0 ? 12 : chainAt + 2 * (i - 1);
        chain.push(...pointer(to));
      }
      const last = chainAt + chain.length - 2;
      return read(raw(B, 2, [...record([0xc0, 12], 16, chain), ...record(pointer(last), 1, ADDRESS)]));
    };
    expect(pointing(64)).toEqual(FOUND);
    expect(pointing(65)).toEqual([]);
  });

  it("may point further than 255 octets", () => {
    const filler = record(B, 16, new Array<number>(600).fill(0));
    const nameAt = 12 + 3 + 4 + filler.length;
    expect(
      read(raw(B, 3, [...filler, ...record(B, 16, []), ...record(pointer(nameAt), 1, ADDRESS)])),
    ).toEqual(FOUND);
  });

  it("have 63 octets a label and 255 altogether at most", () => {
    const labels = (...lengths: readonly number[]) => [
      ...lengths.flatMap((length) => [length, ...new Array<number>(length).fill(98)]),
      0,
    ];
    const own = (name: readonly number[]) => read(raw(name, 1, record([0xc0, 12], 1, ADDRESS)));
    expect(own(labels(63))).toEqual(FOUND);
    expect(own(labels(63, 63, 63, 61))).toEqual(FOUND);
    // As long as can be only by a pointer: what is written out is 255 octets at most.
    const question = labels(63, 63, 63, 40);
    const longer = (octets: number) => [octets, ...new Array<number>(octets).fill(98), 0xc0, 12];
    const via = (octets: number) =>
      read(
        raw(question, 2, [
          ...record([0xc0, 12], 5, longer(octets)),
          ...record(pointer(question.length + 12 + 4 + 12), 1, ADDRESS),
        ]),
      );
    expect(question.length + 1 + 20).toBe(255);
    expect(via(20)).toEqual(FOUND);
    expect(via(21)).toEqual([]);
  });
});
