/**
 * One connection under a guest that sends its segments in any order, size and overlap, acknowledges as it likes, and a
 * host that takes octets a few at a time. Both streams are patterns, so every octet tells its place: what the host gets
 * and what the guest is sent must be the pattern, in order, never beyond a window. In the end both sides behave, and
 * then everything must arrive.
 */
import assert from "node:assert/strict";
import { asTcp, tcp } from "../hostile/guest-packets.ts";
import type { TcpOptions } from "../sim/guest-stack/codec.ts";
import { FrameExchange, type HeldSocket } from "../support/frame-exchange.ts";
import { type FuzzTarget, join } from "./target.ts";

const [FIN, SYN, RST, ACK] = [1, 2, 4, 16];
const STEP_OCTETS = 8;
const STEPS_MAX = 60;
const ISN = 0x7ffffe00;
const SCRIPTS_PER_ENGINE = 200;
const BEHAVE_ROUNDS = 400;
/** The streams are no longer than this, so that one run stays short. */
const STREAM_MAX = 30_000;
/** The guest's windows: all but the first are ones the host's stream runs into. */
const WINDOWS = [65_535, 600, 1000, 1460, 3000, 5000, 9000, 17_000];

const fromGuest = (i: number): number => (i * 31 + (i >> 8) * 7 + 1) & 255;
const fromHost = (i: number): number => (i * 17 + (i >> 8) * 3 + 5) & 255;

function slice(pattern: (i: number) => number, from: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => pattern(from + i));
}

let exchange: FrameExchange | null = null;
let runs = 0;
let port = 1024;

class Conversation {
  /** Everything in offsets from the first octet of its stream. */
  private engineIss = 0;
  private readonly sent: [from: number, to: number][] = [];
  private rightEdge: number;
  private highest = 0;
  private acknowledgedByGuest = 0;
  private acknowledgedByEngine = 0;
  private given = 0;
  private checked = 0;
  private finAt = -1;
  private finArrived = false;
  private hostEnded = false;
  /** Offsets of what the guest has of the host's stream. */
  private has = 0;
  private socket: HeldSocket;
  over = false;

  constructor(
    private readonly engine: FrameExchange,
    private readonly port: number,
    private readonly modern: boolean,
    private readonly window: number,
  ) {
    this.rightEdge = window;
    const options: TcpOptions = modern ? { mss: 1460, sackPermitted: true } : { mss: 536 };
    this.take(engine.exchange(this.segment(SYN, -1, 0, window, options)));
    this.take(engine.exchange(this.segment(ACK, 0, 0, window)));
    const socket = engine.network.sockets.at(-1);
    if (socket === undefined) throw new Error("no socket");
    this.socket = socket;
  }

  private segment(
    flags: number,
    offset: number,
    length: number,
    window: number,
    options: TcpOptions = {},
    acknowledged = this.acknowledgedByGuest,
  ): Uint8Array {
    return tcp({
      sourcePort: this.port,
      flags,
      sequence: (ISN + 1 + offset) | 0,
      acknowledgment: (this.engineIss + 1 + acknowledged) | 0,
      window,
      payload: slice(fromGuest, offset, length),
      options,
    });
  }

  private get sentEnd(): number {
    return Math.max(0, ...this.sent.map(([, to]) => to));
  }

  /** Octets from the start that the guest has sent without a hole. */
  private get contiguous(): number {
    let end = 0;
    for (const [from, to] of [...this.sent].sort((a, b) => a[0] - b[0])) {
      if (from > end) break;
      end = Math.max(end, to);
    }
    return end;
  }

  /** What the engine sent, held against the pattern, the window and what the guest has sent. */
  private take(frames: readonly Uint8Array[]): void {
    for (const frame of frames) {
      const { flags, sequence, acknowledgment, payload, destinationPort } = asTcp(frame);
      if (destinationPort !== this.port) continue;
      if ((flags & RST) !== 0) {
        this.over = true;
        return;
      }
      if ((flags & SYN) !== 0) this.engineIss = sequence;
      const offset = (sequence - this.engineIss - 1) | 0;
      const acknowledged = (acknowledgment - ISN - 1) | 0;
      if ((flags & ACK) !== 0) {
        const fin = this.finAt >= 0 && this.finAt === this.contiguous ? 1 : 0;
        assert.ok(
          acknowledged <= this.contiguous + fin,
          `${acknowledged} acknowledged, ${this.contiguous} sent`,
        );
        this.acknowledgedByEngine = Math.max(this.acknowledgedByEngine, acknowledged);
      }
      for (let i = 0; i < payload.length; i++) {
        assert.equal(payload[i], fromHost(offset + i), `octet ${offset + i} to the guest`);
      }
      if (payload.length > 0) {
        assert.ok(offset + payload.length <= this.rightEdge, "beyond the guest's window");
        assert.ok(offset + payload.length <= this.given, "more than the host gave");
      }
      if (offset <= this.has) this.has = Math.max(this.has, offset + payload.length);
      this.highest = Math.max(this.highest, offset + payload.length);
      if ((flags & FIN) !== 0 && offset + payload.length === this.given && this.has === this.given) {
        this.finArrived = true;
      }
    }
    const { octets } = this.socket ?? { octets: new Uint8Array() };
    for (; this.checked < octets.length; this.checked++) {
      assert.equal(octets[this.checked], fromGuest(this.checked), `octet ${this.checked} to the host`);
    }
  }

  private exchange(frame: Uint8Array): void {
    this.take(this.engine.exchange(frame));
  }

  private announce(window: number, acknowledged: number): void {
    this.acknowledgedByGuest = Math.max(this.acknowledgedByGuest, acknowledged);
    this.rightEdge = Math.max(this.rightEdge, acknowledged + window);
  }

  step([kind, a, b, c, d, e, f]: Uint8Array): void {
    const word = (a << 8) | b;
    const other = (c << 8) | d;
    switch (kind & 7) {
      case 0:
      case 1:
      case 2: {
        const near = kind & 8 ? this.contiguous : this.acknowledgedByEngine;
        const offset = Math.min(
          Math.max(0, near + ((word << 16) >> 16) / (kind & 16 ? 8 : 1)) | 0,
          STREAM_MAX,
        );
        const length = Math.min(other % 1461, this.finAt < 0 ? STREAM_MAX : Math.max(0, this.finAt - offset));
        if (this.finAt >= 0 && offset > this.finAt) return;
        this.sent.push([offset, offset + length]);
        const window = kind & 32 ? Math.min(f << 5, this.window) : this.window;
        this.announce(window, this.acknowledgedByGuest);
        this.exchange(this.segment(ACK, offset, length, window));
        return;
      }
      case 3: {
        const acknowledged = Math.min(this.acknowledgedByGuest + (word % 3000), this.has);
        const window = Math.min(other, this.window);
        this.announce(window, acknowledged);
        const left = this.acknowledgedByGuest + e * 16;
        const edges = [left, left + 1 + f * 16].map((edge) => (this.engineIss + 1 + edge) >>> 0);
        const options = this.modern && kind & 8 ? { sack: [[edges[0], edges[1]] as const] } : {};
        this.exchange(this.segment(ACK, this.contiguous, 0, window, options, acknowledged));
        return;
      }
      case 4: {
        const length = Math.min(word % 5000, STREAM_MAX - this.given);
        if (this.hostEnded || length <= 0) return;
        this.socket.give(slice(fromHost, this.given, length));
        this.given += length;
        this.take(this.engine.settle());
        return;
      }
      case 5:
        this.take(this.engine.pass(word % 2000));
        return;
      case 6:
        if (this.socket.room === Number.POSITIVE_INFINITY) this.socket.room = 0;
        this.socket.drain(word % 4000);
        this.take(this.engine.settle());
        return;
      default:
        if (e === 7 && !this.hostEnded) {
          this.hostEnded = true;
          this.socket.end();
          this.take(this.engine.settle());
        } else if (e === 9 && this.finAt < 0) {
          this.finAt = this.sentEnd;
          this.announce(this.window, this.acknowledgedByGuest);
          this.exchange(this.segment(ACK | FIN, this.finAt, 0, this.window));
        }
    }
  }

  /** From here on both sides do as they should: everything must arrive, in so many rounds. */
  behave(): void {
    // A guest that has sent octets ahead of a hole fills the hole.
    const last = this.finAt >= 0 ? this.finAt : this.sentEnd;
    this.socket.drain(Number.POSITIVE_INFINITY);
    if (!this.hostEnded) this.socket.end();
    this.take(this.engine.settle());
    for (let round = 0; round < BEHAVE_ROUNDS && !this.over; round++) {
      if (this.checked >= last && this.has >= this.given && this.finArrived) break;
      this.announce(65_535, this.has + (this.finArrived ? 1 : 0));
      const from = Math.min(this.acknowledgedByEngine, last);
      const length = Math.min(last - from, 500);
      this.sent.push([from, from + length]);
      const fin = this.finAt >= 0 && from + length === last ? FIN : 0;
      this.exchange(this.segment(ACK | fin, from, length, 65_535));
      this.take(this.engine.pass(round < 20 ? 50 : 1000));
    }
    if (!this.over) {
      assert.ok(this.checked >= last, `the host has ${this.checked} of ${last} octets`);
      assert.ok(this.has >= this.given, `the guest has ${this.has} of ${this.given} octets`);
      assert.ok(this.finArrived, "the guest never heard the end");
    }
    this.engine.exchange(this.segment(RST, this.acknowledgedByEngine, 0, 0));
  }
}

function renew(): FrameExchange {
  if (exchange !== null) {
    exchange.pass(600_000);
    const { smallChunks, largeChunks, queuedFrames } = exchange.core.usage();
    assert.deepEqual(
      { smallChunks, largeChunks, queuedFrames },
      { smallChunks: 0, largeChunks: 0, queuedFrames: 0 },
    );
  }
  exchange = new FrameExchange();
  runs = 0;
  return exchange;
}

/** The first octet chooses the options and the window of the connection; steps of eight octets follow. */
function run(input: Uint8Array): void {
  const engine = exchange === null || runs++ >= SCRIPTS_PER_ENGINE ? renew() : exchange;
  port = port < 60_000 ? port + 1 : 1024;
  const first = input[0] ?? 0;
  const conversation = new Conversation(engine, port, (first & 1) === 1, WINDOWS[(first >> 1) & 7]);
  for (let at = 1, n = 0; at + STEP_OCTETS <= input.length && n < STEPS_MAX && !conversation.over; n++) {
    conversation.step(input.subarray(at, at + STEP_OCTETS));
    at += STEP_OCTETS;
  }
  if (!conversation.over) conversation.behave();
}

const step = (kind: number, word: number, other = 0, e = 0, f = 0): number[] => [
  kind,
  (word >> 8) & 255,
  word & 255,
  other >> 8,
  other,
  e,
  f,
  0,
];

export const tcpStreamTarget: FuzzTarget = {
  name: "tcp-stream",
  seeds: () => [
    join(
      [0],
      step(0, 0, 500),
      step(0, 0, 500),
      step(4, 4000),
      step(3, 3000, 8000),
      step(7, 0, 0, 9),
      step(7, 0, 0, 7),
    ),
    join(
      [1],
      step(0, 1000, 500),
      step(0, 0, 1000),
      step(4, 4999),
      step(11, 0, 9000, 40, 20),
      step(3, 2999, 100),
    ),
    join(
      [1],
      step(6, 0),
      ...Array.from({ length: 12 }, (_, i) => step(0, i * 700, 900)),
      step(6, 2000),
      step(5, 900),
    ),
    join(
      [5],
      step(4, 4999),
      step(3, 500, 1000),
      step(5, 900),
      step(3, 0, 70),
      step(5, 1999),
      step(3, 900, 900),
    ),
    join([0], step(4, 4999), step(3, 0, 0), step(4, 4999), step(5, 1999), step(3, 500, 2), step(5, 1999)),
    join(
      [1],
      ...Array.from({ length: 10 }, (_, i) => step(8, i * 150 - 400, 90)),
      step(7, 0, 0, 9),
      step(0, 0, 1400),
    ),
  ],
  dictionary: [
    Uint8Array.from(step(0, 0, 1460)),
    Uint8Array.from(step(3, 2999, 65_535)),
    Uint8Array.from(step(5, 1999)),
    Uint8Array.from(step(6, 100)),
    Uint8Array.from(step(4, 4000)),
    Uint8Array.from(step(7, 0, 0, 9)),
  ],
  lengthMax: 1 + STEPS_MAX * STEP_OCTETS,
  run,
  reset: () => {
    exchange = null;
    port = 1024;
    renew();
  },
};
