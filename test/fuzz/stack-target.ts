/** Frames into the whole stack: counted once each, answers well-formed, and everything given back in the end. */
import assert from "node:assert/strict";
import { golden } from "../hostile/golden-frames.ts";
import { asIpv4, tcp, udp } from "../hostile/guest-packets.ts";
import { onesSum, PROTOCOL_TCP, PROTOCOL_UDP, parseTcp, parseUdp } from "../sim/guest-stack/codec.ts";
import { AccountedExchange } from "../support/accounted-exchange.ts";
import { asFromGuest } from "../support/rewritten-frame.ts";
import {
  decodeScript,
  encodeScript,
  HOST_ENDS,
  HOST_GIVES,
  MEND_HEADERS,
  RELATIVE_ACK,
  VOUCH,
  WAIT,
} from "./frame-script.ts";
import type { FuzzTarget } from "./target.ts";

const MENDED = MEND_HEADERS | VOUCH;
const TALKING = MENDED | RELATIVE_ACK;
const [FIN, SYN, RST, PSH, ACK] = [1, 2, 4, 8, 16];
const PROTOCOL_ICMP = 1;
const ETHERNET_OCTETS = 14;
const TCP_AT = 34;
/** Scripts after which the engine is made anew, having been shown to come to rest. */
const SCRIPTS_PER_ENGINE = 300;
const LINK_MTU = 1500;

let exchange: AccountedExchange | null = null;
let scripts = 0;
/** Every other one tells by ICMP what it refuses. */
let engines = 0;

function renew(): AccountedExchange {
  exchange?.expectRest();
  exchange = new AccountedExchange({
    resolvers: [{ words: [0, 0, 0xffff, 0x08080808], port: 53, scope: 0 }],
    ...(engines++ % 2 === 0 ? { allowHostLoopback: true } : { refuseWith: "unreachable" }),
  });
  scripts = 0;
  return exchange;
}

/** Where the engine's numbers stand, by the guest's port. */
const engineNext = new Map<number, number>();

/** Destination unreachable, about a packet of whoever it is for, of at most 576 octets with its header. */
function checkUnreachable(message: Buffer, to: number): void {
  assert.deepEqual([...message.subarray(0, 2)], [3, 0]);
  assert.equal(onesSum(message), 0xffff);
  assert.ok(message.length >= 8 + 20 + 8 && message.length <= 556, `a message of ${message.length} octets`);
  assert.equal(message.readInt32BE(8 + 12), to);
}

/** An answer must be a frame a guest could take. */
function checkAnswer(frame: Uint8Array): void {
  assert.ok(frame.length <= LINK_MTU + ETHERNET_OCTETS, `an answer of ${frame.length} octets`);
  const type = (frame[12] << 8) | frame[13];
  if (type === 0x0806) {
    assert.equal(frame.length, 42);
    return;
  }
  const inner = asIpv4(frame);
  if (inner.moreFragments || inner.fragmentOffset > 0) return;
  if (inner.protocol === PROTOCOL_UDP) {
    const datagram = parseUdp(inner.payload, inner.source, inner.destination, false);
    assert.notEqual(typeof datagram, "string", String(datagram));
    return;
  }
  if (inner.protocol === PROTOCOL_ICMP) {
    checkUnreachable(inner.payload, inner.destination);
    return;
  }
  assert.equal(inner.protocol, PROTOCOL_TCP);
  const segment = parseTcp(inner.payload, inner.source, inner.destination, false);
  if (typeof segment === "string") throw new Error(segment);
  const length = segment.payload.length + (segment.flags & FIN) + ((segment.flags & SYN) >> 1);
  if ((segment.flags & RST) === 0) {
    engineNext.set(segment.destinationPort, (segment.sequence + length) | 0);
  }
}

/** The acknowledgment number made relative to what the engine has sent to that port. */
function relate(frame: Uint8Array): void {
  if (frame.length < TCP_AT + 20 || frame[23] !== PROTOCOL_TCP || frame[14] !== 0x45) return;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const next = engineNext.get(view.getUint16(TCP_AT)) ?? 0;
  view.setInt32(TCP_AT + 8, (view.getInt32(TCP_AT + 8) + next) | 0);
}

function run(input: Uint8Array): void {
  const engine = exchange === null || scripts++ >= SCRIPTS_PER_ENGINE ? renew() : exchange;
  const { network } = engine;
  for (const { bits, octets } of decodeScript(input)) {
    if ((bits & WAIT) !== 0) engine.pass(1000).forEach(checkAnswer);
    const newest = network.sockets.at(-1);
    if (newest?.state === "open") {
      if ((bits & HOST_GIVES) !== 0) newest.give(new Uint8Array(500).fill(bits));
      if ((bits & HOST_ENDS) !== 0) newest.end();
      engine.settle().forEach(checkAnswer);
    }
    const frame = (bits & MEND_HEADERS) !== 0 ? asFromGuest(octets) : octets;
    if ((bits & RELATIVE_ACK) !== 0) relate(frame);
    engine.send(frame, (bits & VOUCH) !== 0).replies.forEach(checkAnswer);
  }
}

function seeds(): Uint8Array[] {
  const single = golden.map(({ octets }) => encodeScript([{ bits: MENDED, octets }]));
  const at = (bits: number, fields: Parameters<typeof tcp>[0]) => ({
    bits,
    octets: new Uint8Array(tcp(fields)),
  });
  const options = { mss: 1460, windowScale: 7, sackPermitted: true, timestamp: [9, 0] as const };
  const stamped = { timestamp: [10, 0] as const };
  const data = Buffer.from("octets");
  const conversation = encodeScript([
    at(TALKING, { flags: SYN, sequence: 100, options: { mss: 1460 } }),
    at(TALKING, { flags: ACK, sequence: 101 }),
    at(TALKING | HOST_GIVES, { flags: ACK | PSH, sequence: 101, payload: data }),
    at(TALKING, { flags: ACK | PSH, sequence: 113, payload: data }),
    at(TALKING | WAIT, { flags: ACK | PSH, sequence: 107, payload: data }),
    at(TALKING | HOST_ENDS, { flags: ACK | FIN, sequence: 119 }),
    at(TALKING, { flags: ACK, sequence: 120 }),
  ]);
  const modern = encodeScript([
    at(TALKING, { flags: SYN, sequence: 500, sourcePort: 41_000, options }),
    at(TALKING, { flags: ACK, sequence: 501, sourcePort: 41_000, options: stamped }),
    at(TALKING | HOST_GIVES, { flags: ACK, sequence: 501, sourcePort: 41_000, options: stamped }),
    at(TALKING, {
      flags: ACK,
      sequence: 501,
      sourcePort: 41_000,
      acknowledgment: -500,
      options: { ...stamped, sack: [[100, 200]] },
    }),
    at(TALKING | WAIT, { flags: RST, sequence: 501, sourcePort: 41_000 }),
  ]);
  const dns = Buffer.from([0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 97, 0, 0, 1, 0, 1]);
  const query = encodeScript([
    { bits: MENDED, octets: new Uint8Array(udp({ to: 0x0a000203, destinationPort: 53, payload: dns })) },
  ]);
  return [...single, conversation, modern, query];
}

export const stackTarget: FuzzTarget = {
  name: "stack",
  seeds,
  dictionary: [
    Uint8Array.of(8, 0),
    Uint8Array.of(8, 6),
    Uint8Array.of(0x45, 0),
    Uint8Array.of(0xff, 0xff),
    Uint8Array.of(0x7f, 0xff, 0xff, 0xff),
    Uint8Array.of(0x80, 0, 0, 0),
    Uint8Array.of(0x20, 0),
    Uint8Array.of(1, 1, 8, 10),
    Uint8Array.of(1, 1, 5, 10),
  ],
  lengthMax: 4000,
  run,
  reset: () => {
    exchange = null;
    engines = 0;
    engineNext.clear();
    renew();
  },
};
