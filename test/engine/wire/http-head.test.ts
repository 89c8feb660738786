/** The host that a request names, read as the strictest server would. */
import { describe, expect, it } from "vitest";
import {
  HEAD_ENDED,
  HOST_FOUND,
  headProgress,
  mayBeginRequest,
  NO_HOST,
  RequestHead,
} from "../../../src/engine/wire/http-head.ts";

/** The host that is found, "" where the head names none, null where it is no head. */
function hostOf(text: string): string | null {
  const octets = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  // Behind the head stands what would end it if it were read.
  const longer = Uint8Array.of(...octets, ...Buffer.from("\r\n\r\n"));
  const head = new RequestHead();
  const result = head.read(longer, octets.length);
  const { hostAt, hostOctets } = head;
  // An octet that is not there at all is no reason to take anything for a head.
  expect(new RequestHead().read(octets, octets.length)).toBe(result);
  if (result === HOST_FOUND) return text.slice(hostAt, hostAt + hostOctets);
  return result === NO_HOST ? "" : null;
}

const get = (...fields: readonly string[]): string =>
  `GET / HTTP/1.1\r\n${fields.map((field) => `${field}\r\n`).join("")}\r\n`;
const line = (text: string): string => `${text}\r\nHost: a.example\r\n\r\n`;

describe("the Host field", () => {
  it.each([
    ["a name", "Host: a.example", "a.example"],
    ["a port", "Host: a.example:8080", "a.example"],
    ["a port of five digits", "Host: a.example:65535", "a.example"],
    ["an empty port", "Host: a.example:", "a.example"],
    ["digits that are no port", "Host: a.example1", "a.example1"],
    ["only digits", "Host: 12345", "12345"],
    ["an address", "Host: 192.0.2.7:80", "192.0.2.7"],
    ["letters of either case", "hOsT: A.Example", "A.Example"],
    ["no blank", "Host:a.example", "a.example"],
    ["no blank and nothing but digits", "Host:123", "123"],
    ["blanks on both sides", "Host: \t  a.example\t ", "a.example"],
    ["one character", "Host: a", "a"],
    ["one character and a port", "Host: a:1", "a"],
  ])("with %s", (_name, field, host) => {
    expect(hostOf(get(field))).toBe(host);
    expect(hostOf(get("Accept: */*", field, "X-Y: z"))).toBe(host);
  });

  it.each([
    ["is there twice", ["Host: a.example", "Host: a.example"]],
    ["is empty", ["Host:"]],
    ["is blank", ["Host: \t "]],
    ["has a port of six digits", ["Host: a.example:123456"]],
    ["has a port that is none", ["Host: a.example:8x"]],
    ["has two colons", ["Host: a.example:80:80"]],
    ["is a port alone", ["Host: :80"]],
    ["has a user", ["Host: u@a.example"]],
    ["is an IPv6 address", ["Host: [2001:db8::1]"]],
    ["has a blank in front of its colon", ["Host : a.example"]],
    ["has a NUL in it", ["Host: a.ex\0ample"]],
    ["has a line feed in it", ["Host: a.ex\nample"]],
    ["has a carriage return in it", ["Host: a.ex\rample"]],
    ["is folded", ["Host: a.example", " more"]],
    ["is folded with a tab", ["Host: a.example", "\tmore"]],
    ["stands by a field without a colon", ["Host: a.example", "Accept"]],
    ["stands by a field without a name", ["Host: a.example", ": x"]],
    ["stands by a field with a name of other characters", ["Host: a.example", "A\x80: x"]],
    ["stands by a field with a blank in its name", ["Host: a.example", "A B: x"]],
  ])("is nobody's when it %s", (_name, fields) => {
    expect(hostOf(get(...fields))).toBeNull();
  });

  it("may be missing", () => {
    expect(hostOf(get())).toBe("");
    expect(hostOf(get("Accept: */*"))).toBe("");
    // As long as `host`, and as it begins.
    expect(hostOf(get("Hosu: a", "Hos: b", "Hostt: c", "Xost: d"))).toBe("");
  });
});

describe("the request line", () => {
  it.each([
    ["GET / HTTP/1.1", "a.example"],
    ["GET / HTTP/1.0", "a.example"],
    ["GET / HTTP/1.9", "a.example"],
    ["GET /index.html?x=http://b.example/ HTTP/1.1", "a.example"],
    ["!#$%&'*+-.^_`|~09azAZ /x HTTP/1.1", "a.example"],
    ["OPTIONS * HTTP/1.1", "a.example"],
    ["GET http://a.example/ HTTP/1.1", "a.example"],
    ["GET HTTP://A.EXAMPLE HTTP/1.1", "a.example"],
    ["GET http://a.example:80/ HTTP/1.1", "a.example"],
    ["GET http://a.example?x=/ HTTP/1.1", "a.example"],
    ["GET http://a.example#x/ HTTP/1.1", "a.example"],
    ["CONNECT a.example:443 HTTP/1.1", "a.example"],
    ["CONNECT a.example HTTP/1.1", "a.example"],
    ["GET / HTTP/1.", null],
    ["GET / HTTP/1.x", null],
    ["GET / HTTP/1./", null],
    ["GET / HTTP/1.:", null],
    ["GET / HTTP/1.12", null],
    ["GET / HTTP/2.0", null],
    ["GET / http/1.1", null],
    ["GET / HTTP/1.1 ", null],
    ["GET /  HTTP/1.1", null],
    ["GET  / HTTP/1.1", null],
    ["GET  HTTP/1.1", null],
    ["GET /\x7f HTTP/1.1", null],
    ["GET /\x7fHTTP/1.1", null],
    ["GET /\tHTTP/1.1", null],
    ["GET /\t HTTP/1.1", null],
    ["GET /\0 HTTP/1.1", null],
    ["GET /", null],
    ["GET", null],
    [" / HTTP/1.1", null],
    ["", null],
    ["G(T / HTTP/1.1", null],
    ["G\x80T / HTTP/1.1", null],
    ["GET\t/ HTTP/1.1", null],
    ["GET x HTTP/1.1", null],
    ["GET ** HTTP/1.1", null],
    ["GET a.example HTTP/1.1", null],
    ["GET https://a.example/ HTTP/1.1", null],
    ["GET https:/a.example/ HTTP/1.1", null],
    ["GET http:/a.example/ HTTP/1.1", null],
    ["GET http:// HTTP/1.1", null],
    ["GET http:/// HTTP/1.1", null],
    ["GET http://b.example/ HTTP/1.1", null],
    ["GET http://a.exampl/ HTTP/1.1", null],
    ["GET http://u@a.example/ HTTP/1.1", null],
    ["CONNECT b.example:443 HTTP/1.1", null],
    ["CONNECT / HTTP/1.1", null],
    ["connect a.example:443 HTTP/1.1", null],
    ["CONNECTS a.example:443 HTTP/1.1", null],
    ["CONNEC a.example:443 HTTP/1.1", null],
    ["CONNECU a.example:443 HTTP/1.1", null],
  ])("%j with a Host field", (text, host) => {
    expect(hostOf(line(text))).toBe(host);
  });

  it("names the host without a Host field, or with an empty one", () => {
    expect(hostOf("GET http://a.example/ HTTP/1.1\r\n\r\n")).toBe("a.example");
    expect(hostOf("CONNECT a.example:443 HTTP/1.1\r\n\r\n")).toBe("a.example");
    expect(hostOf("CONNECT a.example:443 HTTP/1.1\r\nHost:\r\n\r\n")).toBe("a.example");
    expect(hostOf("CONNECT a.example:443 HTTP/1.1\r\nHost: A.EXAMPLE:444\r\n\r\n")).toBe("A.EXAMPLE");
    expect(hostOf("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n")).toBeNull();
  });

  it("has the same host in letters of either case, and in no other octets", () => {
    const connect = (one: string, other: string) =>
      hostOf(`CONNECT a${one}z HTTP/1.1\r\nHost: a${other}z\r\n\r\n`);
    for (const [one, other] of ["aA", "zZ", "Aa", "Zz"]) expect(connect(one, other)).toBe(`a${other}z`);
    for (const [one, other] of ["[{", "{[", ".\x0e", "`@"]) expect(connect(one, other)).toBeNull();
  });

  it("names nobody where its authority is empty", () => {
    for (const text of [
      "GET http:/// HTTP/1.1",
      "GET http://?a.example HTTP/1.1",
      "CONNECT  HTTP/1.1",
      "CONNECT :80 HTTP/1.1",
    ])
      for (const fields of ["", "Host:\r\n", "Host: a.example\r\n"])
        expect([text, hostOf(`${text}\r\n${fields}\r\n`)]).toEqual([text, null]);
    // What is not an empty field, but blank, says as little.
    expect(hostOf("CONNECT a.example:443 HTTP/1.1\r\nHost: \t \r\n\r\n")).toBe("a.example");
  });

  it("that is none is none where another's fields began", () => {
    const octets = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text));
    const head = new RequestHead();
    const good = octets("GET / HTTP/1.1\r\n\r\n");
    for (const bad of [
      ":234567890123456",
      "GET /ab\x7fHTTP/1.1",
      "GET /a HTTP/2.10",
      "GET /abc HTTP/1.",
      "GET abc HTTP/1.1",
    ]) {
      expect(bad).toHaveLength(16);
      expect(head.read(good, 18)).toBe(NO_HOST);
      expect([bad, head.read(octets(`${bad}\r\n`), 18)]).toEqual([bad, 2]);
    }
    expect(hostOf("Host: a.example\r\n\r\n")).toBeNull();
  });

  it("is forgotten with the next request", () => {
    const octets = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text));
    const head = new RequestHead();
    const connect = octets("CONNECT a.example:443 HTTP/1.1\r\n\r\n");
    expect(head.read(connect, connect.length)).toBe(HOST_FOUND);
    const plain = octets("GET / HTTP/1.1\r\n\r\n");
    expect([head.read(plain, plain.length), head.hostOctets]).toEqual([NO_HOST, 0]);
    // Not compared with what the request before it said.
    const other = octets("GET / HTTP/1.1\r\nHost: b.example\r\n\r\n");
    head.read(connect, connect.length);
    expect(head.read(other, other.length)).toBe(HOST_FOUND);
    const empty = octets("GET / HTTP/1.1\r\nHost:\r\n\r\n");
    head.read(connect, connect.length);
    expect([HOST_FOUND, NO_HOST]).not.toContain(head.read(empty, empty.length));
  });
});

describe("a head", () => {
  it.each([
    ["a bare line feed behind the request line", "GET / HTTP/1.1\nHost: a.example\r\n\r\n"],
    [
      "another octet for a carriage return behind the request line",
      "GET / HTTP/1.1X\nHost: a.example\r\n\r\n",
    ],
    ["a bare carriage return behind the request line", "GET / HTTP/1.1\rXHost: a.example\r\n\r\n"],
    ["a bare line feed behind a field", "GET / HTTP/1.1\r\nHost: a.example\n\r\n"],
    ["two line feeds behind a field", "GET / HTTP/1.1\r\nHost: a.example\n\n\r\n"],
    ["a NUL and a line feed behind a field", "GET / HTTP/1.1\r\nHost: a.example\0\n\r\n"],
    ["a bare carriage return behind a field", "GET / HTTP/1.1\r\nHost: a.example\rX\r\n"],
    ["something else in its empty line", "GET / HTTP/1.1\r\nHost: a.example\r\n\rX"],
    ["an octet behind its end", "GET / HTTP/1.1\r\nHost: a.example\r\n\r\nX"],
    ["a second end", "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n\r\n"],
  ])("is none with %s", (_name, text) => {
    expect(hostOf(text)).toBeNull();
  });

  it("is none where it is cut anywhere", () => {
    for (const whole of [
      "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
      "CONNECT a.example:443 HTTP/1.1\r\nAccept: *\r\n\r\n",
    ]) {
      for (let length = 0; length < whole.length; length++) {
        const octets = Uint8Array.from(Buffer.from(whole.slice(0, length)));
        expect([HOST_FOUND, NO_HOST]).not.toContain(new RequestHead().read(octets, length));
      }
    }
  });

  it("begins with a character of a method", () => {
    const those = Array.from({ length: 256 }, (_, octet) => octet).filter(mayBeginRequest);
    expect(String.fromCharCode(...those)).toBe(
      "!#$%&'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz|~",
    );
  });

  it.each([
    ["\r", 1],
    ["\r\n", 2],
    ["\r\n\r", 3],
    ["\r\n\r\n", 4],
    ["\n", 0],
    ["x", 0],
    ["\r\r", 1],
    ["\r\r\n", 2],
    ["\rx", 0],
    ["\r\n\n", 0],
    ["\r\nx", 0],
    ["\r\n\r\r", 1],
    ["\r\n\rx", 0],
    ["x\r\n\r\n", 4],
  ])("has shown %j of its end", (text, seen) => {
    expect([...text].reduce((before, letter) => headProgress(before, letter.charCodeAt(0)), 0)).toBe(seen);
    expect(HEAD_ENDED).toBe(4);
  });
});
