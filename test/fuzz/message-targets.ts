/** The parsers of single messages: DHCP, DNS, TCP options, captures. */
import assert from "node:assert/strict";
import { defaultEngineConfig } from "../../src/engine/config.ts";
import { DROP_REASONS } from "../../src/engine/metrics/drop-reasons.ts";
import { DhcpServer } from "../../src/engine/service/dhcp.ts";
import { CaptureFormatError, readCapture } from "../../src/engine/wire/pcap.ts";
import { TcpOptions } from "../../src/engine/wire/tcp-options.ts";
import { asUdp, udp } from "../hostile/guest-packets.ts";
import { AccountedExchange } from "../support/accounted-exchange.ts";
import { clientMessage, isReply, plain } from "../support/dhcp-client.ts";
import { recordedUdpPayloads } from "../support/recorded-guest.ts";
import { type FuzzTarget, join, words } from "./target.ts";

const { dhcp } = defaultEngineConfig();
if (dhcp === null) throw new Error("the default configuration serves DHCP");

// --- DHCP ----------------------------------------------------------------------------------------------------------------

const DHCP_REPLY_MAX = 1472;
const FIRST_OF_RANGE = dhcp.rangeStart;
let server = new DhcpServer(dhcp);
let seconds = 0;

/** One message; the first octet is the time that has passed, in minutes. */
function runDhcp(input: Uint8Array): void {
  seconds += (input[0] ?? 0) * 60;
  const outcome = server.handle(input.subarray(1), seconds);
  if (!isReply(outcome)) {
    assert.ok(DROP_REASONS.includes(outcome.drop), outcome.drop);
    return;
  }
  assert.ok(outcome.reply.length <= DHCP_REPLY_MAX, `a reply of ${outcome.reply.length} octets`);
  const reply = plain(outcome);
  const offset = reply.yiaddr - FIRST_OF_RANGE;
  assert.ok(
    reply.yiaddr === 0 || reply.yiaddr === reply.ciaddr || (offset >= 0 && offset < 16),
    `${reply.yiaddr}`,
  );
}

export const dhcpTarget: FuzzTarget = {
  name: "dhcp",
  seeds: () => [
    ...recordedUdpPayloads(67).map((message) => join([0], message)),
    ...[1, 3, 4, 7, 8].map((type) =>
      join(
        [1],
        clientMessage({ type, requested: FIRST_OF_RANGE, serverId: 0x0a000202, options: { 55: [1, 3, 6] } }),
      ),
    ),
    join([0], clientMessage({})),
    join(
      [255],
      clientMessage({ type: 3, ciaddr: FIRST_OF_RANGE, options: { 61: [1, 2, 3], 57: [2, 64], 52: [3] } }),
    ),
  ],
  dictionary: [
    Uint8Array.of(53, 1, 3),
    Uint8Array.of(50, 4, 10, 0, 2, 15),
    Uint8Array.of(54, 4, 10, 0, 2, 2),
    Uint8Array.of(52, 1, 3),
    Uint8Array.of(57, 2, 2, 64),
    Uint8Array.of(61, 7, 1),
    Uint8Array.of(82, 2, 1, 0),
    Uint8Array.of(80, 0),
    Uint8Array.of(255),
  ],
  lengthMax: 1200,
  run: runDhcp,
  reset: () => {
    server = new DhcpServer(dhcp);
    seconds = 0;
  },
};

// --- DNS -----------------------------------------------------------------------------------------------------------------

const DNS_ADDRESS = 0x0a000203;
const RESOLVER = 0x08080808;
const EXCHANGES_PER_ENGINE = 500;
let forwarder: AccountedExchange | null = null;
let asked = 0;
/** Ids the guest has used with this engine: the same question under way is answered to all who asked it. */
const askedIds = new Set<number>();

function renewForwarder(): AccountedExchange {
  forwarder?.expectRest();
  forwarder = new AccountedExchange({
    resolvers: [{ words: [0, 0, 0xffff, RESOLVER], port: 53, scope: 0 }],
  });
  asked = 0;
  askedIds.clear();
  return forwarder;
}

/** A query and an answer to it: | length of the query, 2 octets | query | answer |. */
function runDns(input: Uint8Array): void {
  const exchange = forwarder === null || asked++ >= EXCHANGES_PER_ENGINE ? renewForwarder() : forwarder;
  const length = Math.min(((input[0] ?? 0) << 8) | (input[1] ?? 0), 1400);
  const query = input.slice(2, 2 + length);
  const answer = input.slice(2 + length);
  const { network } = exchange;
  const before = network.datagrams.length;
  askedIds.add((query[0] << 8) | query[1]);
  const { replies } = exchange.send(udp({ to: DNS_ADDRESS, destinationPort: 53, payload: query }));
  const [sent] = network.datagrams.slice(before);
  if (sent !== undefined) {
    // On the wire the question has an id of the engine's: an answer to the query's is one to that.
    if (answer[0] === query[0] && answer[1] === query[1]) answer.set(sent.octets.slice(0, 2));
    network.arrive(sent.handle, RESOLVER, 53, answer);
    replies.push(...exchange.settle());
  }
  for (const reply of replies) {
    if (((reply[20] << 8) | reply[21]) !== 0 && (reply[20] & 0x40) === 0) continue;
    const datagram = asUdp(reply);
    assert.equal(datagram.sourcePort, 53);
    assert.equal(datagram.source, DNS_ADDRESS);
    // The ID is a query's, and it is a response (RFC 1035 section 4.1.1).
    assert.ok(askedIds.has(datagram.payload.readUInt16BE(0)), "an id that nobody asked under");
    assert.ok((datagram.payload[2] & 0x80) !== 0);
  }
  exchange.pass(20);
}

const QUESTION = [3, 119, 119, 119, 7, 101, 120, 97, 109, 112, 108, 101, 0, 0, 1, 0, 1];
const QUERY = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...QUESTION];
const EDNS_QUERY = [
  0x12,
  0x34,
  1,
  0,
  0,
  1,
  0,
  0,
  0,
  0,
  0,
  1,
  ...QUESTION,
  0,
  0,
  41,
  4,
  208,
  0,
  0,
  0,
  0,
  0,
  0,
];
const RECORD = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 1, 2, 3, 4];
const ANSWER = [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, ...QUESTION, ...RECORD];

export const dnsTarget: FuzzTarget = {
  name: "dns",
  seeds: () => [
    join([0, QUERY.length], QUERY, ANSWER),
    join([0, EDNS_QUERY.length], EDNS_QUERY, ANSWER),
    join([0, QUERY.length], QUERY, ANSWER, ...Array.from({ length: 60 }, () => RECORD)),
    join([0, 12], QUERY.slice(0, 12), []),
  ],
  dictionary: [
    Uint8Array.of(0xc0, 12),
    Uint8Array.of(0, 0, 41),
    Uint8Array.of(63),
    Uint8Array.of(0x81, 0x80),
    Uint8Array.of(0x83, 0x80),
  ],
  lengthMax: 2000,
  run: runDns,
  reset: () => {
    forwarder = null;
    renewForwarder();
  },
};

// --- TCP options ---------------------------------------------------------------------------------------------------------

/** The list read again, plainly (RFC 9293 section 3.1): the last of each kind that is whole and of its length. */
function plainOptions(octets: Uint8Array) {
  const found = { mss: 0, windowShift: -1, sackPermitted: false, timestamp: "", sack: "" };
  for (let at = 0; at < octets.length; ) {
    const kind = octets[at];
    if (kind === 0) break;
    if (kind === 1) {
      at++;
      continue;
    }
    const length = octets[at + 1];
    if (length === undefined || length < 2 || at + length > octets.length) break;
    const value = Buffer.from(octets.subarray(at + 2, at + length));
    if (kind === 2 && length === 4) found.mss = value.readUInt16BE(0);
    if (kind === 3 && length === 3) found.windowShift = Math.min(value[0], 14);
    if (kind === 4 && length === 2) found.sackPermitted = true;
    if (kind === 8 && length === 10) found.timestamp = value.toString("hex");
    if (kind === 5 && length % 8 === 2) found.sack = value.subarray(0, 32).toString("hex");
    at += length;
  }
  return found;
}

const optionsAt = 8;
const optionsView = new DataView(new ArrayBuffer(64));
const parsed = new TcpOptions();

function runOptions(input: Uint8Array): void {
  const list = input.subarray(0, 40);
  new Uint8Array(optionsView.buffer).fill(input[40] ?? 0xff);
  new Uint8Array(optionsView.buffer).set(list, optionsAt);
  parsed.parse(optionsView, optionsAt, optionsAt + list.length);
  const hex = (count: number, int: (i: number) => number): string =>
    Array.from({ length: count }, (_, i) => (int(i) >>> 0).toString(16).padStart(8, "0")).join("");
  const stamps = [parsed.timestampValue, parsed.timestampEcho];
  assert.deepEqual(
    {
      mss: parsed.mss,
      windowShift: parsed.windowShift,
      sackPermitted: parsed.sackPermitted,
      timestamp: parsed.hasTimestamps ? hex(2, (i) => stamps[i]) : "",
      sack: hex(parsed.sackBlocks * 2, (i) => parsed.sackEdges[i]),
    },
    plainOptions(list),
  );
}

export const tcpOptionsTarget: FuzzTarget = {
  name: "tcp-options",
  seeds: () => [
    join([2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7]),
    join([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]),
    join([1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]),
  ],
  dictionary: [
    Uint8Array.of(1, 1, 8, 10),
    Uint8Array.of(5, 34),
    Uint8Array.of(3, 3, 15),
    Uint8Array.of(2, 4),
  ],
  lengthMax: 41,
  run: runOptions,
  reset: () => {},
};

// --- captures ------------------------------------------------------------------------------------------------------------

function runCapture(input: Uint8Array): void {
  try {
    let octets = 0;
    for (const packet of readCapture(input)) octets += packet.octets.length;
    assert.ok(octets <= input.length, "more octets than the file has");
  } catch (error) {
    if (!(error instanceof CaptureFormatError)) throw error;
  }
}

const PCAP_HEADER = [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
const SECTION = [10, 13, 13, 10, 28, 0, 0, 0, 77, 60, 43, 26, 1, 0, 0, 0, ...Array(8).fill(255), 28, 0, 0, 0];
const INTERFACE = [1, 0, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 4, 0, 20, 0, 0, 0];
const ENHANCED = [
  6,
  0,
  0,
  0,
  36,
  0,
  0,
  0,
  ...Array(12).fill(0),
  4,
  0,
  0,
  0,
  4,
  0,
  0,
  0,
  1,
  2,
  3,
  4,
  36,
  0,
  0,
  0,
];

export const captureTarget: FuzzTarget = {
  name: "capture",
  seeds: () => [
    join(PCAP_HEADER, [1, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 9, 9, 9, 9]),
    join(SECTION, INTERFACE, ENHANCED),
  ],
  dictionary: [
    ...words("\xa1\xb2\xc3\xd4"),
    Uint8Array.of(0xff, 0xff, 0xff, 0xff),
    Uint8Array.of(0, 0, 0, 0),
  ],
  lengthMax: 600,
  run: runCapture,
  reset: () => {},
};
