/** The server's name in a ClientHello, and every length that does not fit. */
import { describe, expect, it } from "vitest";
import {
  ClientHello,
  isHandshakeRecord,
  NO_SERVER_NAME,
  NOT_A_CLIENT_HELLO,
} from "../../../src/engine/wire/client-hello.ts";

const u16 = (value: number): number[] => [value >> 8, value & 255];
const extension = (type: number, data: readonly number[]): number[] => [
  ...u16(type),
  ...u16(data.length),
  ...data,
];
const serverName = (name: string, type = 0): number[] => {
  const entry = [type, ...u16(name.length), ...Buffer.from(name)];
  return [...u16(entry.length), ...entry];
};
const sni = (name: string): number[] => extension(0, serverName(name));

interface Fields {
  readonly session?: number;
  readonly suites?: number;
  readonly compressions?: number;
  readonly extensions?: readonly number[] | null;
}

/** A message with its header, of random octets that would be found if they were read as anything else. */
function hello({ session = 32, suites = 4, compressions = 1, extensions = [] }: Fields = {}): Uint8Array {
  const body = [
    ...[3, 3],
    ...new Array<number>(32).fill(0xaa),
    ...[session, ...new Array<number>(session).fill(0xbb)],
    ...[...u16(suites), ...new Array<number>(suites).fill(0x13)],
    ...[compressions, ...new Array<number>(compressions).fill(0)],
    ...(extensions === null ? [] : [...u16(extensions.length), ...extensions]),
  ];
  return Uint8Array.from([1, 0, ...u16(body.length), ...body]);
}

function read(octets: Uint8Array, length = octets.length): string | number {
  const message = new ClientHello();
  const result = message.read(octets, length);
  if (result !== 0) return result;
  return Buffer.from(octets.subarray(message.nameAt, message.nameAt + message.nameOctets)).toString();
}

it("a record of a handshake has its type, TLS's major version and a length that a record may have", () => {
  expect(isHandshakeRecord(22, 3, 1)).toBe(true);
  expect(isHandshakeRecord(22, 3, 16_384)).toBe(true);
  expect(isHandshakeRecord(22, 3, 16_385)).toBe(false);
  expect(isHandshakeRecord(22, 3, 0)).toBe(false);
  expect(isHandshakeRecord(21, 3, 1)).toBe(false);
  expect(isHandshakeRecord(23, 3, 1)).toBe(false);
  expect(isHandshakeRecord(22, 2, 1)).toBe(false);
});

describe("a ClientHello's server name", () => {
  it.each<[string, Fields]>([
    ["alone", { extensions: sni("www.example.org") }],
    ["of one character", { extensions: sni("w") }],
    [
      "behind other extensions",
      { extensions: [...extension(43, [1, 2, 3]), ...extension(5, []), ...sni("b")] },
    ],
    ["in front of others", { extensions: [...sni("b"), ...extension(43, [1, 2, 3]), ...extension(5, [])] }],
    ["without a session", { session: 0, extensions: sni("b") }],
    ["with two suites' octets", { suites: 2, extensions: sni("b") }],
    ["with 200 suites", { suites: 400, extensions: sni("b") }],
    ["with many compressions", { compressions: 200, extensions: sni("b") }],
    [
      "behind 40,000 octets",
      { extensions: [...extension(21, new Array<number>(40_000).fill(0)), ...sni("b")] },
    ],
  ])("%s", (_name, fields) => {
    const octets = hello(fields);
    expect(read(octets)).toMatch(/^(www\.example\.org|w|b)$/);
  });

  it("is found at its place, whatever stands behind the message", () => {
    const octets = hello({ extensions: sni("www.example.org") });
    const message = new ClientHello();
    expect(message.read(Uint8Array.of(...octets, 1, 2, 3), octets.length)).toBe(0);
    expect([message.nameAt, message.nameOctets, message.hasEncrypted]).toEqual([
      octets.length - 15,
      15,
      false,
    ]);
  });

  it("is none where no extension names one, or there are no extensions", () => {
    // Beside what is found, which is 0.
    expect([NO_SERVER_NAME, NOT_A_CLIENT_HELLO]).toEqual([-1, -2]);
    expect(read(hello())).toBe(NO_SERVER_NAME);
    expect(read(hello({ extensions: null }))).toBe(NO_SERVER_NAME);
    expect(read(hello({ extensions: extension(43, [1]) }))).toBe(NO_SERVER_NAME);
    expect(read(hello({ extensions: extension(0xfe0d, [1]) }))).toBe(NO_SERVER_NAME);
  });

  it("is said to be beside an encrypted one, and only then", () => {
    const message = new ClientHello();
    const both = hello({ extensions: [...extension(0xfe0d, [1]), ...sni("b")] });
    expect([message.read(both, both.length), message.hasEncrypted]).toEqual([0, true]);
    const plain = hello({ extensions: sni("b") });
    expect([message.read(plain, plain.length), message.hasEncrypted, message.nameOctets]).toEqual([
      0,
      false,
      1,
    ]);
    const none = hello();
    expect([message.read(none, none.length), message.nameOctets]).toEqual([NO_SERVER_NAME, 0]);
  });

  it.each<[string, Uint8Array]>([
    ["another message", hello().with(0, 2)],
    ["a length one too long", lengthened(1)],
    ["a length one too short", lengthened(-1)],
    ["a length 65,536 too long", hello({ extensions: sni("b") }).with(1, 1)],
    ["another major version", hello().with(4, 2)],
    ["a session of 33 octets", hello({ session: 33, extensions: sni("b") })],
    ["no suites", hello({ suites: 0, extensions: sni("b") })],
    ["half a suite", hello({ suites: 3, extensions: sni("b") })],
    ["no compression", hello({ compressions: 0, extensions: sni("b") })],
    ["two names", hello({ extensions: [...sni("a"), ...sni("a")] })],
    ["an empty name", hello({ extensions: sni("") })],
    ["a name of another type", hello({ extensions: extension(0, serverName("b", 1)) })],
    ["an empty list", hello({ extensions: extension(0, [0, 0]) })],
    ["an extension without a list", hello({ extensions: extension(0, []) })],
    ["four octets of a list", hello({ extensions: extension(0, [0, 2, 0, 0]) })],
    ["a list longer than its extension", hello({ extensions: extension(0, serverName("b").with(1, 5)) })],
    ["a list shorter than its extension", hello({ extensions: extension(0, serverName("b").with(1, 3)) })],
    ["a name longer than its list", hello({ extensions: extension(0, serverName("bb").with(4, 3)) })],
    ["a name shorter than its list", hello({ extensions: extension(0, serverName("bb").with(4, 1)) })],
    ["a second entry", hello({ extensions: extension(0, [0, 8, 0, 0, 1, 98, 0, 0, 1, 99]) })],
    ["an extension over the end", hello({ extensions: extension(43, [1, 2]).with(3, 3) })],
    ["half an extension's header", hello({ extensions: [...sni("b"), 0, 43, 0] })],
    ["an octet behind the extensions", cut(hello({ extensions: sni("b") }), -1)],
    ["extensions longer than the message", hello({ extensions: [] }).with(hello().length - 1, 1)],
  ])("is not looked for with %s", (_name, octets) => {
    expect(read(octets)).toBe(NOT_A_CLIENT_HELLO);
  });

  it("is not looked for in a message that is cut anywhere, whether its header says so or not", () => {
    const whole = hello({ extensions: sni("www.example.org") });
    const withoutExtensions = hello({ extensions: null }).length;
    for (let octets = 0; octets < whole.length; octets++) {
      expect(read(whole, octets)).toBe(NOT_A_CLIENT_HELLO);
      if (octets < 4) continue;
      // What stands behind it must not be read either.
      const saying = cut(whole, whole.length - octets);
      const expected = octets === withoutExtensions ? NO_SERVER_NAME : NOT_A_CLIENT_HELLO;
      expect([octets, read(saying.slice(0, octets))]).toEqual([octets, expected]);
      expect([octets, read(saying, octets)]).toEqual([octets, expected]);
    }
  });
});

/** A message whose header says so many octets more than there are. */
function lengthened(by: number): Uint8Array {
  const octets = hello({ extensions: sni("b") });
  return octets.with(3, octets[3] + by);
}

/** The message with so many octets cut off (or added) in what its header says; the octets themselves stay. */
function cut(octets: Uint8Array, by: number): Uint8Array {
  const body = octets.length - 4 - by;
  const longer = new Uint8Array(Math.max(octets.length, body + 4));
  longer.set(octets);
  return longer.with(2, body >> 8).with(3, body & 255);
}
