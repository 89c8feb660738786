/** What a proxy says to the engine: read a second time here, in the plainest way, and both must agree. */
import assert from "node:assert/strict";
import { PolicyRig } from "../support/policy-rig.ts";
import { type FuzzTarget, join, words } from "./target.ts";

const CONNECTIONS_PER_ENGINE = 200;
const NAME = "far.example";
/** The longest head. */
const HEAD_MAX = 16_384;

let rig: PolicyRig | null = null;
let connections = 0;
let standIn = "";
const PORTS = { socks: 22, login: 23, http: 24 } as const;

function freshRig(): PolicyRig {
  if (rig === null || connections++ >= CONNECTIONS_PER_ENGINE) {
    const rules = [
      { allow: `${NAME}:${PORTS.socks}`, via: "socks5://127.0.0.1:1080" },
      { allow: `${NAME}:${PORTS.login}`, via: "socks5://me:secret@127.0.0.1:1080" },
      { allow: `${NAME}:${PORTS.http}`, via: "http://127.0.0.1:3128" },
    ];
    rig = new PolicyRig({ rules });
    connections = 0;
  }
  const [answer] = (rig.ask(NAME)?.answers ?? []) as { data: string }[];
  assert.ok(answer !== undefined, "no stand-in");
  standIn = answer.data;
  return rig;
}

/** What a client makes of it: how many octets the handshake has, null as long as more may come, or that it is none. */
type Handshake = number | null | "refused";

function plainSocks(said: Buffer, hasLogin: boolean): Handshake {
  if (said.length < 2) return null;
  const isLogin = said[1] === 2 && hasLogin;
  if (said[0] !== 5 || (said[1] !== 0 && !isLogin)) return "refused";
  let reply = said.subarray(2);
  if (isLogin) {
    if (reply.length < 2) return null;
    if (reply[0] !== 1 || reply[1] !== 0) return "refused";
    reply = reply.subarray(2);
  }
  if (reply.length < 5) return null;
  const length = { 1: 10, 3: 7 + (reply[4] ?? 0), 4: 22 }[reply[3] ?? 0];
  if (reply[0] !== 5 || length === undefined || reply[1] !== 0) return "refused";
  return reply.length < length ? null : said.length - reply.length + length;
}

function plainAnswer(said: Buffer): Handshake {
  const text = said.toString("latin1");
  const end = text.indexOf("\r\n\r\n");
  const head = end < 0 ? text : text.slice(0, end + 4);
  if (head.includes("\0") || /(^|[^\r])\n/.test(head) || head.length > HEAD_MAX) return "refused";
  const begins = "HTTP/1.".startsWith(head.slice(0, 7)) && /^\d*$/.test(head.slice(9, 12));
  if (!begins) return "refused";
  if (end < 0) return null;
  return head.length >= 12 && head[9] === "2" ? head.length : "refused";
}

export const proxyTarget: FuzzTarget = {
  name: "proxy",
  seeds: () => [
    join([0, 0], Buffer.of(5, 0, 5, 0, 0, 1, 1, 2, 3, 4, 0, 80), Buffer.from("SSH")),
    join([0, 7], Buffer.of(5, 0, 5, 0, 0, 3, 2, 65, 65, 0, 80)),
    join([1, 1], Buffer.of(5, 2, 1, 0, 5, 0, 0, 4), Buffer.alloc(18)),
    join([1, 0], Buffer.of(5, 0, 5, 5, 0, 1, 0, 0, 0, 0, 0, 0)),
    join([2, 0], Buffer.from("HTTP/1.1 200 Connection established\r\nProxy-Agent: x\r\n\r\nSSH")),
    join([2, 3], Buffer.from("HTTP/1.0 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")),
  ],
  dictionary: [
    ...words("HTTP/1.1 200 OK\r\n", "\r\n\r\n", "\n\n"),
    Uint8Array.of(5, 0),
    Uint8Array.of(5, 2),
    Uint8Array.of(1, 0),
    Uint8Array.of(5, 0, 0, 3, 255),
  ],
  lengthMax: 600,
  run: (input) => {
    const kind = (input[0] ?? 0) % 3;
    const cut = 1 + ((input[1] ?? 0) % 64);
    const said = Buffer.from(input.subarray(2));
    const policy = freshRig();
    const port = [PORTS.socks, PORTS.login, PORTS.http][kind] ?? 0;
    const guest = policy.begin(standIn, port);
    const { socket } = policy;
    for (let at = 0; at < said.length; at += cut) {
      socket.give(said.subarray(at, at + cut));
      guest.settle();
    }
    const handshake = kind === 2 ? plainAnswer(said) : plainSocks(said, kind === 1);
    assert.equal(guest.answered, typeof handshake === "number");
    assert.equal(guest.wasReset, handshake === "refused");
    if (typeof handshake === "number") assert.deepEqual(guest.received, said.subarray(handshake));
    if (handshake === "refused") assert.equal(socket.state, "reset");
    guest.reset();
    assert.notEqual(socket.state, "open");
  },
  reset: () => {
    rig = null;
  },
};
