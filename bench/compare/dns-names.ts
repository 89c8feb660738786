/**
 * Names for engines that keep a policy. `dns-names.js serve ADDRESS SERVER-NAME` answers on port 53: the server's name with
 * that address, any name `N.ZONE` with 198.20.0.0 and N more. `dns-names.js ask RESOLVER NAMES`
 * asks for all of them, comma-separated, `0-99.ZONE` standing for a hundred, and says how many were answered.
 */
import { createSocket } from "node:dgram";

const PORT = 53;
const HEADER_OCTETS = 12;
const TYPE_A = 1;
const TTL_SECONDS = 3600;
/** 198.20.0.0: the documentation's networks are too small for them. */
const FIRST_ADDRESS = 0xc6140000;
/** Questions under way at a time. */
const AT_A_TIME = 32;
const AGAIN_MS = 1000;

function say(event: string, more: object = {}): void {
  process.stdout.write(`${JSON.stringify({ event, ...more })}\n`);
}

function queryFor(id: number, name: string): Buffer {
  const header = Buffer.alloc(HEADER_OCTETS);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(0x0100, 2);
  header.writeUInt16BE(1, 4);
  const labels = name.split(".").map((label) => Buffer.from([label.length, ...Buffer.from(label)]));
  return Buffer.concat([header, ...labels, Buffer.from([0, 0, TYPE_A, 0, 1])]);
}

/** The name of a query, and where its question ends. */
function questionOf(query: Buffer): { name: string; end: number } {
  const labels: string[] = [];
  let at = HEADER_OCTETS;
  for (; query[at] !== 0; at += query[at] + 1)
    labels.push(query.toString("latin1", at + 1, at + 1 + query[at]));
  return { name: labels.join(".").toLowerCase(), end: at + 5 };
}

function serve(address: string, serverName: string): void {
  const own = address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
  const socket = createSocket("udp4");
  socket.on("message", (query, { port, address: from }) => {
    const { name, end } = questionOf(query);
    const reply = Buffer.alloc(end + 16);
    query.copy(reply, 0, 0, end);
    reply.writeUInt16BE(0x8180, 2);
    // The answers' count, and none of an OPT record.
    reply.writeUInt16BE(1, 6);
    reply.writeUInt16BE(0, 10);
    reply.writeUInt16BE(0xc000 | HEADER_OCTETS, end);
    reply.writeUInt16BE(TYPE_A, end + 2);
    reply.writeUInt16BE(1, end + 4);
    reply.writeUInt32BE(TTL_SECONDS, end + 6);
    reply.writeUInt16BE(4, end + 10);
    reply.writeUInt32BE(name === serverName ? own : FIRST_ADDRESS + Number.parseInt(name, 10), end + 12);
    socket.send(reply, port, from);
  });
  socket.bind(PORT, address, () => say("ready"));
}

function askAll(resolver: string, names: readonly string[]): void {
  const socket = createSocket("udp4");
  const waiting = new Set<number>();
  let next = 0;
  let answered = 0;
  const ask = (n: number): void => socket.send(queryFor(n, names[n]), PORT, resolver);
  const fill = (): void => {
    for (; waiting.size < AT_A_TIME && next < names.length; next++) {
      waiting.add(next);
      ask(next);
    }
  };
  socket.on("message", (reply) => {
    const id = reply.readUInt16BE(0);
    if (!waiting.delete(id)) return;
    if (reply.readUInt16BE(6) > 0) answered++;
    fill();
    if (waiting.size > 0) return;
    say("result", { answered });
    process.exit(0);
  });
  setInterval(() => {
    for (const n of waiting) ask(n);
  }, AGAIN_MS);
  fill();
}

/** `0-99.example` for `0.example` to `99.example`. */
function expanded(name: string): string[] {
  const [, first = "", last = "", zone = ""] = /^(\d+)-(\d+)\.(.+)$/.exec(name) ?? [];
  if (zone === "") return [name];
  return Array.from({ length: Number(last) - Number(first) + 1 }, (_, i) => `${Number(first) + i}.${zone}`);
}

const [role, where = "", names = ""] = process.argv.slice(2);
if (role === "serve") serve(where, names);
else askAll(where, names.split(",").flatMap(expanded));
