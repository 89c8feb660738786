import * as packet from "dns-packet";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";
import * as dns from "../../../src/engine/wire/dns.ts";

const AT = 5;

/** The message somewhere inside a larger buffer whose other octets would be read as records if read. */
function place(message: Uint8Array): DataView {
  const octets = new Uint8Array(AT + message.length + 64).fill(1);
  octets.set(message, AT);
  return new DataView(octets.buffer);
}

function query(over: Partial<packet.Packet> = {}): Uint8Array {
  return packet.encode({
    type: "query",
    id: 0x1234,
    flags: packet.RECURSION_DESIRED,
    questions: [{ type: "A", name: "www.example.org" }],
    ...over,
  });
}

function opt(udpPayloadSize: number, more: object = {}): packet.Answer {
  return {
    type: "OPT",
    name: ".",
    udpPayloadSize,
    flags: 0,
    options: [],
    ...more,
  } as unknown as packet.Answer;
}

function check(message: Uint8Array, length = message.length): string {
  return DROP_REASONS[dns.checkQuery(place(message), AT, length)];
}

describe("DNS codec", () => {
  it("reads a query", () => {
    const message = query({ additionals: [opt(4096)] });
    const view = place(message);
    expect(check(message)).toBe("handled");
    expect(dns.id(view, AT)).toBe(0x1234);
    expect(dns.flags(view, AT)).toBe(dns.FLAG_RECURSION_DESIRED);
    expect([
      dns.questions(view, AT),
      dns.answers(view, AT),
      dns.authorities(view, AT),
      dns.additionals(view, AT),
    ]).toEqual([1, 0, 0, 1]);
    expect(dns.questionEnd(view, AT, message.length)).toBe(12 + 17 + 4);
    const optAt = dns.findOpt(view, AT, message.length);
    expect(optAt).toBe(AT + 12 + 17 + 4);
    expect(dns.optPayloadOctets(view, optAt)).toBe(4096);
    expect(dns.optOctets(view, optAt)).toBe(11);
  });

  it("takes an announced size under 512 for 512 (RFC 6891)", () => {
    const message = query({ additionals: [opt(100)] });
    const view = place(message);
    expect(dns.optPayloadOctets(view, dns.findOpt(view, AT, message.length))).toBe(512);
  });

  it("finds an OPT record behind other records and compressed names, and none where there is none", () => {
    const a = { type: "A", name: "www.example.org", data: "192.0.2.1", ttl: 60 } as const;
    const answer = query({
      type: "response",
      answers: [a, a],
      authorities: [a],
      additionals: [a, opt(1232), a],
    });
    const view = place(answer);
    const optAt = dns.findOpt(view, AT, answer.length);
    expect(view.getUint16(optAt + 1)).toBe(41);
    const without = query({ type: "response", answers: [a], additionals: [a] });
    expect(dns.findOpt(place(without), AT, without.length)).toBe(0);
  });

  it("does not take an OPT among the answers, or one with a name, for EDNS", () => {
    const message = query({ additionals: [opt(1232)] });
    const view = place(message);
    view.setUint16(AT + dns.ANSWERS, 1);
    view.setUint16(AT + dns.ADDITIONALS, 0);
    expect(dns.findOpt(view, AT, message.length)).toBe(0);
    const a = { type: "A", name: "x", data: "192.0.2.1", ttl: 60 } as const;
    const named = query({ additionals: [a] });
    const namedView = place(named);
    namedView.setUint16(AT + 12 + 17 + 4 + 3, 41);
    expect(dns.findOpt(namedView, AT, named.length)).toBe(0);
  });

  it("refuses a query cut at any octet", () => {
    const message = query({ additionals: [opt(4096, { options: [{ code: 10, data: Buffer.alloc(8) }] })] });
    for (let length = 0; length < message.length; length++)
      expect(check(message, length)).toBe("dns-malformed");
    expect(check(message)).toBe("handled");
  });

  it("takes a message without a question (RFC 7873 section 5.4), and refuses two (RFC 9619)", () => {
    expect(check(query({ questions: [], additionals: [opt(512)] }))).toBe("handled");
    const question = { type: "A", name: "a" } as const;
    expect(check(query({ questions: [question, question] }))).toBe("dns-malformed");
  });

  it.each([
    ["an answer", (m: Uint8Array) => m.fill(0x80, 2, 3)],
    ["a compressed question", (m: Uint8Array) => m.set([0xc0, 0x0c], 12)],
    ["a label type nobody uses", (m: Uint8Array) => m.fill(0x40, 12, 13)],
    ["a label over the end", (m: Uint8Array) => m.fill(63, 12, 13)],
    ["more records than there are", (m: Uint8Array) => m.fill(0xff, 10, 12)],
    ["65535 questions", (m: Uint8Array) => m.fill(0xff, 4, 6)],
  ])("refuses %s", (_name, change) => {
    const message = query();
    change(message);
    expect(check(message)).toBe("dns-malformed");
  });

  it("refuses a name over 255 octets", () => {
    const labels = (count: number): Uint8Array => {
      const octets = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
      for (let i = 0; i < count; i++) octets.push(1, 97);
      return Uint8Array.from([...octets, 0, 0, 1, 0, 1]);
    };
    expect(check(labels(127))).toBe("handled");
    expect(check(labels(128))).toBe("dns-malformed");
  });

  it("compares questions without regard to the case of letters, and to nothing else", () => {
    const same = (a: string, b: string, type: "A" | "AAAA" = "A"): boolean => {
      const one = query({ questions: [{ type: "A", name: a }] });
      const two = query({ questions: [{ type, name: b }] });
      const octets = new Uint8Array(1000);
      octets.set(one, 0);
      octets.set(two, 500);
      return dns.isSameQuestion(new DataView(octets.buffer), 0, 500, one.length);
    };
    expect(same("www.Example.ORG", "WWW.example.org")).toBe(true);
    expect(same("www.example.org", "www.example.net")).toBe(false);
    expect(same("a-b.org", "a\rb.org")).toBe(false);
    expect(same("www.example.org", "www.example.org", "AAAA")).toBe(false);
  });

  it("never throws or reads past a message, whatever it is", () => {
    const nearly = fc.tuple(fc.nat(80), fc.nat(255), fc.nat(80)).map(([at, octet, cut]) => {
      const message = query({ additionals: [opt(4096)] });
      if (at < message.length) message[at] = octet;
      return message.subarray(0, message.length - (cut > 70 ? cut - 70 : 0));
    });
    fc.assert(
      fc.property(fc.oneof(nearly, fc.uint8Array({ maxLength: 100 })), (message) => {
        const exact = new DataView(message.slice().buffer);
        const end = dns.questionEnd(exact, 0, message.length);
        expect(end).toBeLessThanOrEqual(message.length);
        expect(dns.findOpt(exact, 0, message.length)).toBeLessThan(Math.max(1, message.length));
        dns.checkQuery(exact, 0, message.length);
      }),
      { numRuns: 5000 },
    );
  });
});

describe("DNS: queries that ask the same", () => {
  const named = (name: string, over: Partial<packet.Packet> = {}) =>
    query({ questions: [{ type: "A", name }], ...over });
  const same = (a: Uint8Array, b: Uint8Array): boolean => {
    const octets = new Uint8Array(a.length + b.length);
    octets.set(a);
    octets.set(b, a.length);
    const view = new DataView(octets.buffer);
    const end = dns.questionEnd(view, 0, a.length);
    const equal = a.length === b.length && dns.isSameQuery(view, 0, a.length, a.length, end);
    const hashes = [
      dns.queryHash(view, 0, a.length, end),
      dns.queryHash(view, a.length, b.length, dns.questionEnd(view, a.length, b.length)),
    ];
    if (equal) expect(hashes[0]).toBe(hashes[1]);
    return equal;
  };

  it("may differ in their id and the letters of the name", () => {
    expect(same(named("www.example.org"), named("WWW.eXample.ORG", { id: 77 }))).toBe(true);
  });

  it.for([
    ["the name", named("www.example.orh")],
    ["the type", query({ questions: [{ type: "AAAA", name: "www.example.org" }] })],
    ["a flag", named("www.example.org", { flags: 0 })],
    ["EDNS", named("www.example.org", { additionals: [opt(1232)] })],
  ] as const)("do not differ in %s", ([, other]) => {
    expect(same(named("www.example.org"), other)).toBe(false);
  });

  it("do not differ in the case of octets that are no letters of the name", () => {
    const edns = (size: number) => named("www.example.org", { additionals: [opt(size)] });
    // 0x0441 and 0x0461: a payload size is no letter.
    expect(same(edns(0x0441), edns(0x0461))).toBe(false);
    // Neither are octets that differ by the same bit beside the alphabet.
    expect(same(named("a@b"), named("a`b"))).toBe(false);
  });

  it("get their own letters back, whatever those are", () => {
    const letter = fc.constantFrom(..."abcXYZ019-_");
    const label = fc.string({ unit: letter, minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(fc.array(label, { minLength: 1, maxLength: 6 }), (labels) => {
        const asked = named(labels.join("."));
        const answer = place(named(labels.join(".").toLowerCase()));
        const end = dns.questionEnd(answer, AT, asked.length);
        const bits = new Uint8Array(3 * dns.CASE_OCTETS).fill(255);
        dns.noteCase(place(asked), AT, end, bits, dns.CASE_OCTETS);
        expect([bits[0], bits[2 * dns.CASE_OCTETS]]).toEqual([255, 255]);
        dns.restoreCase(answer, AT, end, bits, dns.CASE_OCTETS);
        expect(new Uint8Array(answer.buffer).slice(AT, AT + asked.length)).toEqual(new Uint8Array(asked));
      }),
    );
  });
});

describe("DNS: answers that are none", () => {
  const RECURSIVE = packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE;
  const failure = (flags: number, over: Partial<packet.Packet> = {}): boolean =>
    dns.isFailure(place(query({ type: "response", flags, ...over })), AT);

  it("are SERVFAIL, NOTIMP and REFUSED, and no other code", () => {
    const codes = Array.from({ length: 16 }, (_, rcode) => rcode);
    expect(codes.filter((rcode) => failure(RECURSIVE | rcode))).toEqual([2, 4, 5]);
  });

  it("are empty ones of a server that neither knows nor asks", () => {
    const answers: packet.Answer[] = [{ type: "A", name: "www.example.org", data: "192.0.2.1" }];
    expect(failure(packet.RECURSION_DESIRED)).toBe(true);
    expect(failure(packet.RECURSION_DESIRED, { answers })).toBe(false);
    expect(failure(packet.RECURSION_DESIRED, { additionals: [opt(1232)] })).toBe(false);
    expect(failure(packet.RECURSION_DESIRED | packet.AUTHORITATIVE_ANSWER)).toBe(false);
    expect(failure(packet.RECURSION_DESIRED | packet.TRUNCATED_RESPONSE)).toBe(false);
    expect(failure(RECURSIVE)).toBe(false);
    // Who did not ask for recursion wants to know what this server has.
    expect(failure(0)).toBe(false);
  });
});
