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
