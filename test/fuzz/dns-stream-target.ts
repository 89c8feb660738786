/** DNS over TCP: what the guest writes on its connection, and what resolvers write on theirs. */
import assert from "node:assert/strict";
import { AccountedExchange } from "../support/accounted-exchange.ts";
import { TcpGuest } from "../support/tcp-guest.ts";
import { type FuzzTarget, join } from "./target.ts";

const DNS_ADDRESS = 0x0a000203;
const RESOLVERS = [5301, 5302].map((port) => ({
  words: [0, 0, 0xffff, 0x7f000001] as const,
  port,
  scope: 0,
}));
const CONNECTIONS_PER_ENGINE = 200;
/** Octets of a resolver's stream that stand for the id it was asked under. */
const ID_PLACE = Buffer.from([0xfe, 0xed]);
const HEADER_OCTETS = 12;

let exchange: AccountedExchange | null = null;
let connections = 0;

function renew(): AccountedExchange {
  exchange?.expectRest();
  exchange = new AccountedExchange({ resolvers: RESOLVERS });
  connections = 0;
  return exchange;
}

/** The ids of a stream of messages; throws when it is none. The last one may have been cut off. */
function idsOf(stream: Buffer): number[] {
  const ids: number[] = [];
  for (let at = 0; at + 2 <= stream.length; at += 2 + stream.readUInt16BE(at)) {
    const length = stream.readUInt16BE(at);
    assert.ok(length >= HEADER_OCTETS, `a message of ${length} octets`);
    if (at + 2 + HEADER_OCTETS <= stream.length) ids.push(stream.readUInt16BE(at + 2));
  }
  return ids;
}

/** The octets with the id in every place for one. */
function withId(octets: Uint8Array, id: Uint8Array): Uint8Array {
  const copy = Buffer.from(octets);
  for (let at = copy.indexOf(ID_PLACE); at >= 0; at = copy.indexOf(ID_PLACE, at + 2)) copy.set(id, at);
  return copy;
}

/** | octets of the guest, 2 octets | octets in a segment | what the guest sends | what each resolver that is asked says |. */
function runDnsStream(input: Uint8Array): void {
  const engine = exchange === null || connections >= CONNECTIONS_PER_ENGINE ? renew() : exchange;
  const { network } = engine;
  const length = ((input[0] ?? 0) << 8) | (input[1] ?? 0);
  const sent = Buffer.from(input.slice(3, 3 + length));
  const said = input.slice(3 + length);
  const first = network.sockets.length;
  const guest = new TcpGuest(engine, { to: DNS_ADDRESS, port: 53, sourcePort: 20_000 + connections++ });
  assert.ok(guest.open());
  guest.send(sent, Math.max(1, input[2] ?? 1));
  for (let i = first; i < network.sockets.length && i < first + 8; i++) {
    const socket = network.sockets[i];
    if (socket.state !== "open" || socket.octets.length < 4) continue;
    socket.give(withId(said, socket.octets.slice(2, 4)));
    if ((said[0] ?? 0) > 128) socket.end();
    guest.settle();
  }
  guest.pass(50);
  const asked: number[] = [];
  for (let at = 0; at + 4 <= sent.length; at += 2 + sent.readUInt16BE(at))
    asked.push(sent.readUInt16BE(at + 2));
  for (const id of idsOf(guest.received)) assert.ok(asked.includes(id), `id ${id} was not asked for`);
  if (!guest.wasReset) guest.reset();
  assert.equal(engine.core.usage().tcp, 0);
  assert.equal(engine.core.usage().dns, 0);
}

const QUESTION = [3, 119, 119, 119, 7, 101, 120, 97, 109, 112, 108, 101, 0, 0, 1, 0, 1];
const QUERY = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...QUESTION];
const TRANSFER = [0x12, 0x35, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...QUESTION.slice(0, -4), 0, 252, 0, 1];
const reply = (rcode: number) => [...ID_PLACE, 0x81, 0x80 | rcode, 0, 1, 0, 0, 0, 0, 0, 0, ...QUESTION];
const framed = (message: readonly number[]) => [message.length >> 8, message.length & 255, ...message];
const seed = (size: number, sent: readonly number[], said: readonly number[]) =>
  join([sent.length >> 8, sent.length & 255, size], sent, said);

export const dnsStreamTarget: FuzzTarget = {
  name: "dns-stream",
  seeds: () => [
    seed(200, framed(QUERY), framed(reply(0))),
    seed(3, [...framed(QUERY), ...framed([0x55, 0x55, ...QUERY.slice(2)])], framed(reply(2))),
    seed(255, framed(TRANSFER), [...framed([...reply(0).slice(0, -4), 0, 252, 0, 1]), ...framed(reply(0))]),
    seed(255, [...framed(QUERY), 0, 5], framed(reply(5)).slice(0, 9)),
  ],
  dictionary: [
    new Uint8Array(ID_PLACE),
    Uint8Array.of(0, 29),
    Uint8Array.of(0x81, 0x82),
    Uint8Array.of(0, 252, 0, 1),
    Uint8Array.of(0xff, 0xff),
  ],
  lengthMax: 2000,
  run: runDnsStream,
  reset: () => {
    exchange = null;
    renew();
  },
};
