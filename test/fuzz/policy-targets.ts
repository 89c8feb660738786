/**
 * What a policy reads of a guest and of resolvers: ClientHellos, request heads, the records of an answer. Each is read a
 * second time here, in the plainest way, and both must agree.
 */
import assert from "node:assert/strict";
import packet from "dns-packet";
import { ClientHello, NO_SERVER_NAME } from "../../src/engine/wire/client-hello.ts";
import { questionEnd } from "../../src/engine/wire/dns.ts";
import { DnsAnswer } from "../../src/engine/wire/dns-answer.ts";
import { ALERT_49, clientHello, inRecords, PolicyRig } from "../support/policy-rig.ts";
import type { TcpGuest } from "../support/tcp-guest.ts";
import { type FuzzTarget, join, words } from "./target.ts";

const GOOD = "good.example";
const ADDRESS = "203.0.113.10";
const CONNECTIONS_PER_ENGINE = 200;
const PATIENCE_MS = 10_100;

// --- connections that show a name ----------------------------------------------------------------------------------------

let rig: PolicyRig | null = null;
let connections = 0;

function freshRig(): PolicyRig {
  if (rig === null || connections++ >= CONNECTIONS_PER_ENGINE) {
    rig = new PolicyRig({ rules: [{ allow: [GOOD, `${GOOD}:80`] }] });
    connections = 0;
    rig.ask(GOOD, [{ type: "A", name: GOOD, ttl: 3600, data: ADDRESS }]);
  }
  return rig;
}

/** What a guest says on a connection, cut as the first octet says; the host gets all of it or nothing. */
function carried(policy: PolicyRig, port: number, cut: number, octets: Uint8Array): boolean {
  const guest = policy.connect(ADDRESS, port) as TcpGuest;
  const { socket } = policy;
  guest.send(octets, [1, 3, 40, 1400][cut & 3]);
  const got = Buffer.from(socket.octets);
  assert.ok(got.length === 0 || got.equals(octets), `the host got ${got.length} octets of ${octets.length}`);
  if (got.length === 0 && !guest.wasReset && !guest.ended) {
    if ((cut & 4) !== 0) guest.pass(PATIENCE_MS);
    else guest.close();
    assert.ok(guest.wasReset || guest.ended || octets.length === 0, "nobody told the guest");
    assert.equal(socket.octets.length, 0);
    assert.equal(socket.state, "reset");
  }
  if (guest.ended && port === 443) assert.deepEqual(guest.received, ALERT_49);
  guest.reset();
  return got.length > 0;
}

/** The name in a stream of TLS records, or null. Slices as it goes, and throws where something is missing. */
export function plainServerName(stream: Buffer): string | null {
  try {
    let records = stream;
    let handshake = Buffer.alloc(0);
    const cut = (from: Buffer, length: number): [Buffer, Buffer] => {
      if (length > from.length) throw new RangeError("short");
      return [from.subarray(0, length), from.subarray(length)];
    };
    const sized = (from: Buffer, width: number): [Buffer, Buffer] => {
      const [head, rest] = cut(from, width);
      return cut(rest, head.readUIntBE(0, width));
    };
    while (handshake.length < 4 || handshake.length < 4 + handshake.readUIntBE(1, 3)) {
      const [header, rest] = cut(records, 5);
      const length = header.readUInt16BE(3);
      if (header[0] !== 22 || header[1] !== 3 || length === 0 || length > 16_384) return null;
      const [piece, more] = cut(rest, length);
      handshake = Buffer.concat([handshake, piece]);
      records = more;
      if (stream.length - records.length > 16_384) return null;
    }
    if (handshake[0] !== 1 || handshake.length !== 4 + handshake.readUIntBE(1, 3)) return null;
    const [fixed, afterFixed] = cut(handshake.subarray(4), 34);
    const [session, afterSession] = sized(afterFixed, 1);
    const [suites, afterSuites] = sized(afterSession, 2);
    const [compressions, afterCompressions] = sized(afterSuites, 1);
    if (fixed[0] !== 3 || session.length > 32 || suites.length === 0 || suites.length % 2 !== 0) return null;
    if (compressions.length === 0) return null;
    let [extensions, behind] = sized(afterCompressions, 2);
    if (behind.length > 0) return null;
    const names: Buffer[] = [];
    while (extensions.length > 0) {
      const [type, rest] = cut(extensions, 2);
      const [data, more] = sized(rest, 2);
      if (type.readUInt16BE() === 0) names.push(data);
      extensions = more;
    }
    if (names.length !== 1) return null;
    const [list, behindList] = sized(names[0], 2);
    if (behindList.length > 0 || list[0] !== 0) return null;
    const [name, behindName] = sized(list.subarray(1), 2);
    return behindName.length > 0 ? null : name.toString("latin1");
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

export const isGood = (name: string | null): boolean => name !== null && /^good\.example\.?$/i.test(name);

export const helloTarget: FuzzTarget = {
  name: "client-hello",
  seeds: () => [
    ...[0, 1, 2, 3].map((cut) => join([cut], inRecords(clientHello(GOOD), cut === 0 ? 1 : 300))),
    join([3], inRecords(clientHello("evil.example"))),
    join([3], inRecords(clientHello(null))),
    join([3], inRecords(clientHello(GOOD)), inRecords(clientHello("evil.example"))),
    join([2], Buffer.from("SSH-2.0-x\r\n")),
  ],
  dictionary: [
    ...words(GOOD, "evil.example"),
    Uint8Array.of(22, 3, 1),
    Uint8Array.of(0, 0),
    Uint8Array.of(0xfe, 0x0d),
    Uint8Array.of(1, 0, 0),
  ],
  lengthMax: 1500,
  run: (input) => {
    const octets = Buffer.from(input.subarray(1));
    const isCarried = carried(freshRig(), 443, input[0] ?? 0, octets);
    assert.equal(isCarried, isGood(plainServerName(octets)));
    // The parser by itself, of anything.
    const hello = new ClientHello();
    const result = hello.read(input, input.length);
    assert.ok(result <= 0 && result >= -2);
    if (result === 0) assert.ok(hello.nameAt + hello.nameOctets <= input.length);
    if (result === NO_SERVER_NAME) assert.equal(hello.nameOctets, 0);
  },
  reset: () => {
    rig = null;
  },
};

/** The host that a request names, or null where servers could read different ones. */
function plainHost(stream: Buffer): string | null {
  const end = stream.indexOf("\r\n\r\n");
  if (end < 0 || end + 4 > 16_384) return null;
  const [first = "", ...fields] = stream.toString("latin1", 0, end).split("\r\n");
  const token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
  const [, method, target] = new RegExp(`^(${token}) ([\\x21-\\x7e]+) HTTP/1\\.[0-9]$`).exec(first) ?? [];
  if (method === undefined || target === undefined) return null;
  const hostOf = (authority: string): string | null =>
    /^([^:@]+)(:[0-9]{0,5})?$/.exec(authority)?.[1] ?? null;
  const hosts: (string | null)[] = [];
  if (method === "CONNECT") hosts.push(hostOf(target));
  else if (!target.startsWith("/") && target !== "*") {
    const [, authority] = /^http:\/\/([^/?#]*)/i.exec(target) ?? [];
    hosts.push(authority === undefined ? null : hostOf(authority));
  }
  let count = 0;
  for (const field of fields) {
    const [, name, value] = new RegExp(`^(${token}):[ \\t]*([^\\r\\n\\0]*?)[ \\t]*$`).exec(field) ?? [];
    if (name === undefined || value === undefined) return null;
    if (name.toLowerCase() !== "host") continue;
    if (++count > 1) return null;
    if (value !== "" || hosts.length === 0) hosts.push(value === "" ? null : hostOf(value));
  }
  const [host = null] = hosts;
  return hosts.every((each) => each !== null && each.toLowerCase() === host?.toLowerCase()) ? host : null;
}

export const headTarget: FuzzTarget = {
  name: "http-head",
  seeds: () =>
    [
      `GET / HTTP/1.1\r\nHost: ${GOOD}\r\n\r\n`,
      `GET http://${GOOD}/ HTTP/1.1\r\nHost: ${GOOD}:80\r\n\r\n`,
      `CONNECT ${GOOD}:443 HTTP/1.1\r\n\r\n`,
      `OPTIONS * HTTP/1.0\r\nhost:\t${GOOD}.\r\nA: b\r\n\r\nbody`,
      `GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n`,
      `GET / HTTP/1.1\r\nHost: ${GOOD}\r\nHost: evil.example\r\n\r\n`,
      `GET / HTTP/1.1\nHost: ${GOOD}\n\r\n\r\n`,
    ].map((text, cut) => join([cut], Buffer.from(text))),
  dictionary: words(
    GOOD,
    "evil.example",
    "\r\n",
    "\n",
    "\r",
    "Host:",
    " Host: ",
    "http://",
    "@",
    ":80",
    "CONNECT ",
    " HTTP/1.1",
    "\0",
    "\t",
    "*",
  ),
  lengthMax: 600,
  run: (input) => {
    const octets = Buffer.from(input.subarray(1));
    assert.equal(carried(freshRig(), 80, input[0] ?? 0, octets), isGood(plainHost(octets)));
  },
  reset: () => {
    rig = null;
  },
};

// --- answers -------------------------------------------------------------------------------------------------------------

const answer = new DnsAnswer();

/** The addresses on the chain of the question's name, as dns-packet reads the message. */
function plainAddresses(message: Buffer): Set<string> | null {
  let decoded: packet.DecodedPacket;
  try {
    decoded = packet.decode(message);
  } catch {
    return null;
  }
  const same = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();
  const records = (decoded.answers ?? []) as { type: string; name: string; data: string; class?: string }[];
  let names = (decoded.questions ?? []).map(({ name }) => name);
  const found = new Set<string>();
  for (let hops = 0; hops < 20; hops++) {
    for (const { type, name, data } of records) {
      if ((type === "A" || type === "AAAA") && names.some((each) => same(each, name))) found.add(data);
    }
    const next = records.filter(
      ({ type, name }) => type === "CNAME" && names.some((each) => same(each, name)),
    );
    names = [...names, ...next.map(({ data }) => data)];
  }
  return found;
}

function sampleAnswer(answers: packet.Answer[]): Uint8Array {
  return packet.encode({ type: "response", id: 1, questions: [{ type: "A", name: GOOD }], answers });
}

export const answerTarget: FuzzTarget = {
  name: "dns-answer",
  seeds: () => [
    sampleAnswer([{ type: "A", name: GOOD, ttl: 60, data: ADDRESS }]),
    sampleAnswer([
      { type: "CNAME", name: GOOD, ttl: 60, data: "web.example" },
      { type: "CNAME", name: "web.example", ttl: 5, data: "a.cdn.example" },
      { type: "AAAA", name: "a.cdn.example", ttl: 9, data: "2001:db8::1" },
      { type: "A", name: "other.example", ttl: 9, data: "192.0.2.9" },
    ]),
    sampleAnswer([{ type: "CNAME", name: GOOD, ttl: 60, data: GOOD }]),
  ],
  dictionary: [
    Uint8Array.of(0xc0, 12),
    Uint8Array.of(0xc0, 0),
    Uint8Array.of(0, 5, 0, 1),
    Uint8Array.of(0, 1, 0, 1),
    Uint8Array.of(0, 0, 0, 60, 0, 4),
  ],
  lengthMax: 600,
  run: (input) => {
    const message = Buffer.from(input);
    const view = new DataView(message.buffer, message.byteOffset, message.length);
    const end = questionEnd(view, 0, message.length);
    if (end < 0) return;
    answer.read(view, 0, message.length, end);
    assert.ok(answer.count <= 128);
    const plain = plainAddresses(message);
    for (let i = 0; i < answer.count; i++) assert.ok(answer.ttl[i] >= 0, `a TTL of ${answer.ttl[i]}`);
    if (plain === null || message.readUInt16BE(4) !== 1) return;
    for (let i = 0; i < answer.count; i++) {
      const [a, b, c, d] = answer.words.slice(i * 4, i * 4 + 4);
      if (a !== 0 || b !== 0 || c !== 0xffff) continue;
      const text = [d >>> 24, (d >>> 16) & 255, (d >>> 8) & 255, d & 255].join(".");
      assert.ok(plain.has(text), `${text} is not on the chain`);
    }
  },
  reset: () => {},
};
