/** What is said to proxies of the operator's, and how their answers are read: SOCKS 5, CONNECT, the PROXY protocol. */
import { describe, expect, it } from "vitest";
import {
  ANSWER_ENDED,
  ANSWER_UNDER_WAY,
  ConnectAnswer,
  writeConnectRequest,
} from "../../../src/engine/wire/http-connect.ts";
import { writeProxyHeader } from "../../../src/engine/wire/proxy-protocol.ts";
import { RemoteEnd } from "../../../src/engine/wire/remote-end.ts";
import * as socks5 from "../../../src/engine/wire/socks5.ts";
import { ip6 } from "../../support/frames6.ts";

const AT = 3;
const V4 = [0, 0, 0xffff, 0xc0000207 | 0];
const V6 = ip6("2001:db8::7");

function end(words: ArrayLike<number>, port: number, name = ""): RemoteEnd {
  const to = new RemoteEnd();
  to.words.set(words);
  to.port = port;
  // What an earlier name has left behind.
  to.name.fill(0x78);
  to.name.set(Buffer.from(name));
  to.nameOctets = name.length;
  return to;
}

/** What `write` puts at AT; nothing beside it may change. */
function written(write: (octets: Uint8Array, view: DataView) => number): number[] {
  const octets = new Uint8Array(1200).fill(0xee);
  const length = write(octets, new DataView(octets.buffer));
  expect([...octets.subarray(0, AT), octets[AT + length]]).toEqual([0xee, 0xee, 0xee, 0xee]);
  return [...octets.subarray(AT, AT + length)];
}

describe("SOCKS 5 (RFC 1928, RFC 1929)", () => {
  it("offers no login, or one beside none", () => {
    const greeting = (hasLogin: boolean) => {
      const octets = new Uint8Array(10).fill(0xee);
      const length = socks5.writeGreeting(octets, AT, hasLogin);
      expect([...octets.subarray(0, AT)]).toEqual([0xee, 0xee, 0xee]);
      return [...octets.subarray(AT, AT + length)];
    };
    expect(greeting(false)).toEqual([5, 1, 0]);
    expect(greeting(true)).toEqual([5, 2, 0, 2]);
  });

  it("reads the method that was chosen", () => {
    expect(socks5.chosenMethod(Uint8Array.of(9, 5, 2), 1)).toBe(2);
    expect(socks5.chosenMethod(Uint8Array.of(9, 5, 0xff), 1)).toBe(0xff);
    expect(socks5.chosenMethod(Uint8Array.of(5, 4, 0), 1)).toBe(-1);
  });

  it("says user and password, and reads whether they are right", () => {
    const login = written((octets) =>
      socks5.writeLogin(octets, AT, Buffer.from("user"), Buffer.from("secret")),
    );
    expect(login).toEqual([1, 4, ...Buffer.from("user"), 6, ...Buffer.from("secret")]);
    expect(socks5.isLoggedIn(Uint8Array.of(9, 1, 0), 1)).toBe(true);
    expect(socks5.isLoggedIn(Uint8Array.of(9, 1, 1), 1)).toBe(false);
    expect(socks5.isLoggedIn(Uint8Array.of(1, 5, 0), 1)).toBe(false);
  });

  it.each([
    ["IPv4", end(V4, 443), [5, 1, 0, 1, 192, 0, 2, 7, 1, 187]],
    ["IPv6", end(V6, 443), [5, 1, 0, 4, 0x20, 1, 0xd, 0xb8, ...new Array<number>(11).fill(0), 7, 1, 187]],
    ["a name", end(V4, 0x1234, "b.example"), [5, 1, 0, 3, 9, ...Buffer.from("b.example"), 0x12, 0x34]],
    ["a name of one letter", end(V6, 1, "b"), [5, 1, 0, 3, 1, 98, 0, 1]],
    ["the longest name", end(V6, 1, "b".repeat(253)), [5, 1, 0, 3, 253, ...Buffer.alloc(253, "b"), 0, 1]],
  ])("asks for %s", (_name, to, octets) => {
    expect(written((all, view) => socks5.writeConnect(all, view, AT, to))).toEqual(octets);
  });

  it("knows how long a reply is, by the type of its address", () => {
    const reply = (...octets: readonly number[]) => socks5.replyOctets(Uint8Array.of(7, ...octets), 1);
    expect(reply(5, 0, 0, 1, 99)).toBe(10);
    expect(reply(5, 0, 0, 4, 99)).toBe(22);
    expect(reply(5, 0, 0, 3, 9)).toBe(5 + 9 + 2);
    expect(reply(5, 0, 0, 3, 255)).toBe(socks5.REPLY_OCTETS_MAX);
    for (const type of [0, 2, 5, 255]) expect(reply(5, 0, 0, type, 9)).toBe(socks5.NOT_A_REPLY);
    expect(reply(4, 0, 0, 1, 99)).toBe(-1);
    expect(socks5.replyCode(Uint8Array.of(7, 5, 4), 1)).toBe(4);
  });
});

describe("the PROXY protocol, version 2", () => {
  const SIGNATURE = [...Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1")];
  const written6 = (words: readonly number[]): number[] =>
    words.flatMap((word) => [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255]);
  const header = (source: ArrayLike<number>, to: RemoteEnd): number[] =>
    written((octets, view) => writeProxyHeader(octets, view, AT, Int32Array.from(source), 0x1234, to));

  it("says IPv4 addresses and ports", () => {
    expect(header([0, 0, 0xffff, 0x0a00020f], end(V4, 443))).toEqual([
      ...SIGNATURE,
      ...[0x21, 0x11, 0, 12],
      ...[10, 0, 2, 15, 192, 0, 2, 7, 0x12, 0x34, 1, 187],
    ]);
  });

  it("says IPv6 addresses where one of them is one", () => {
    const guest = ip6("fd00::15");
    for (const [source, to] of [
      [guest, V6],
      [guest, V4],
      [V4, V6],
    ] as const) {
      expect(header(source, end(to, 443))).toEqual([
        ...SIGNATURE,
        ...[0x21, 0x21, 0, 36],
        ...written6([...source, ...to]),
        ...[0x12, 0x34, 1, 187],
      ]);
    }
  });

  it("says the name that was asked for", () => {
    for (const name of ["b.example", "b"]) {
      expect(header(V4, end(V4, 443, name))).toEqual([
        ...SIGNATURE,
        ...[0x21, 0x11, 0, 12 + 3 + name.length],
        ...[192, 0, 2, 7, 192, 0, 2, 7, 0x12, 0x34, 1, 187],
        ...[2, 0, name.length, ...Buffer.from(name)],
      ]);
    }
  });
});

describe("CONNECT", () => {
  const request = (to: RemoteEnd, login: string | null): string =>
    Buffer.from(written((octets) => writeConnectRequest(octets, AT, to, login))).toString();

  it("asks for a name or an address", () => {
    const of = (authority: string, more = "") =>
      `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${more}\r\n`;
    expect(request(end(V4, 443), null)).toBe(of("192.0.2.7:443"));
    expect(request(end(V6, 443), null)).toBe(of("[2001:db8::7]:443"));
    expect(request(end(V6, 80, "b.example"), null)).toBe(of("b.example:80"));
    expect(request(end(V6, 80, "b"), null)).toBe(of("b:80"));
    expect(request(end(V4, 443), "dTpw")).toBe(of("192.0.2.7:443", "Proxy-Authorization: Basic dTpw\r\n"));
  });

  /** Takes as much as is expected each time. */
  function take(text: string, answer = new ConnectAnswer()): [result: number, status: number, taken: number] {
    const octets = Uint8Array.of(7, ...Uint8Array.from(text, (letter) => letter.charCodeAt(0)));
    answer.begin();
    let at = 1;
    let result = ANSWER_UNDER_WAY;
    while (at < octets.length && result === ANSWER_UNDER_WAY) {
      const length = Math.min(answer.expected, octets.length - at);
      result = answer.take(octets, at, length);
      at += length;
    }
    return [result, answer.status, at - 1];
  }

  it("reads an answer up to its empty line and no further", () => {
    const head = "HTTP/1.1 200 Connection established\r\nProxy-Agent: x\r\n\r\n";
    expect(take(`${head}octets of the other end`)).toEqual([ANSWER_ENDED, 200, head.length]);
    expect(take("HTTP/1.0 407 x\r\n\r\n")).toEqual([ANSWER_ENDED, 407, 18]);
    expect(take("HTTP/1.1 100\r\n\r\n")).toEqual([ANSWER_ENDED, 100, 16]);
    expect(take("HTTP/1.1 999\r\n\r\n")).toEqual([ANSWER_ENDED, 999, 16]);
    for (let cut = 0; cut < head.length; cut++) expect(take(head.slice(0, cut))[0]).toBe(ANSWER_UNDER_WAY);
  });

  it("reads the next answer as it read the first", () => {
    const answer = new ConnectAnswer();
    expect(answer.expected).toBe(4);
    for (const status of [407, 200]) {
      expect(take(`HTTP/1.1 ${status} x\r\n\r\n`, answer)).toEqual([ANSWER_ENDED, status, 18]);
      expect(answer.expected).toBe(0);
    }
    take("HTTP/1.1 200 x\r\n", answer);
    expect(answer.expected).toBe(2);
    answer.begin();
    expect([answer.expected, answer.status]).toEqual([4, 0]);
  });

  it.each([
    ["of HTTP/2", "HTTP/2.0 200 x\r\n\r\n"],
    ["of something else", "220 mail.example ESMTP\r\n\r\n"],
    ["with a code of two digits", "HTTP/1.1 20\r\n\r\n"],
    ["with a letter in its code", "HTTP/1.1 2x0 x\r\n\r\n"],
    ["with an octet below the digits in its code", "HTTP/1.1 2/0 x\r\n\r\n"],
    ["with an octet above the digits in its code", "HTTP/1.1 20: x\r\n\r\n"],
    ["with a code below 100", "HTTP/1.1 099 x\r\n\r\n"],
    ["with a NUL", "HTTP/1.1 200 x\0\r\n\r\n"],
    ["with a bare line feed", "HTTP/1.1 200 x\n\r\n\r\n"],
    ["with a bare line feed as its empty line", "HTTP/1.1 200 x\r\n\n"],
    ["that ends before its code", "HTTP/1.\r\n\r\n"],
    ["that has no first line", "\r\n\r\n"],
  ])("takes nothing for an answer %s", (_name, text) => {
    const [result] = take(text);
    expect([ANSWER_ENDED, ANSWER_UNDER_WAY]).not.toContain(result);
  });

  it("takes an answer of 16,384 octets, and none that is longer", () => {
    const long = (octets: number) => `HTTP/1.1 200 ${"x".repeat(octets - 17)}\r\n\r\n`;
    expect(take(long(16_384))).toEqual([ANSWER_ENDED, 200, 16_384]);
    const [result] = take(long(16_385));
    expect([ANSWER_ENDED, ANSWER_UNDER_WAY]).not.toContain(result);
  });
});
