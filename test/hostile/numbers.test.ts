/**
 * Sequence, acknowledgment and window numbers at their extremes, in every state a guest can put a connection in, and
 * the urgent pointer anywhere. A segment that is not exactly right changes nothing: afterwards the connection still
 * carries what it should.
 */
import { describe, expect, it } from "vitest";
import { AccountedExchange } from "../support/accounted-exchange.ts";
import { asTcp, OpenConnection, tcp } from "./guest-packets.ts";

const [FIN, SYN, RST, PSH, ACK, URG] = [1, 2, 4, 8, 16, 32];
const EXTREMES = [0, 1, 0x7fffffff, 0x80000000, 0x80000001, 0xfffffffe, 0xffffffff];
const WINDOWS = [0, 1, 0x8000, 0xffff];
const FLAGS = [
  0,
  ACK,
  SYN,
  RST,
  FIN,
  SYN | ACK,
  FIN | ACK,
  RST | ACK,
  SYN | FIN,
  SYN | RST,
  FIN | URG | PSH,
  0x3f,
  0xff,
];
/** Far from every extreme, so that none of them is by chance the right number. */
const ISN = 0x30000000;
const DATA = Buffer.from("octets in order");

/** Every combination of the extremes, to port 80 from 40000. */
function* barrage(payload: Buffer): Generator<Uint8Array> {
  for (const flags of FLAGS) {
    for (const sequence of EXTREMES) {
      for (const acknowledgment of EXTREMES) {
        for (const window of WINDOWS) yield tcp({ flags, sequence, acknowledgment, window, payload });
      }
    }
  }
}

/** Sends all of it; each frame is counted once, and answered by two segments at most. */
function bombard(exchange: AccountedExchange): void {
  for (const payload of [Buffer.alloc(0), Buffer.from("x")]) {
    for (const frame of barrage(payload)) expect(exchange.send(frame).replies.length).toBeLessThanOrEqual(2);
    // Challenge ACKs are counted per second (RFC 5961 section 7).
    exchange.pass(2000);
  }
}

describe("extreme numbers", () => {
  it("to no connection: resets, and only SYNs open anything", () => {
    const exchange = new AccountedExchange();
    for (const frame of barrage(Buffer.alloc(0))) {
      const segment = asTcp(frame);
      const { replies, verdict } = exchange.send(frame);
      expect(replies.length).toBeLessThanOrEqual(1);
      if ((segment.flags & RST) !== 0) expect([verdict, replies]).toEqual(["tcp-no-connection", []]);
      if ((segment.flags & (SYN | ACK | RST)) === SYN) {
        // RFC 9293 section 3.10.7.1: the number after the SYN, also past 2^32.
        expect(asTcp(replies[0])).toMatchObject({
          flags: SYN | ACK,
          acknowledgment: (segment.sequence + 1) >>> 0,
        });
        exchange.send(tcp({ flags: RST, sequence: segment.sequence + 1 }));
      }
      expect(exchange.core.usage().tcp).toBe(0);
    }
    exchange.expectRest();
  });

  it("to an established connection: it goes on as if nothing had been", () => {
    const exchange = new AccountedExchange();
    const connection = new OpenConnection(exchange, ISN);
    bombard(exchange);
    connection.send(ACK | PSH, DATA);
    expect(Buffer.from(exchange.network.sockets[0].octets)).toEqual(DATA);
    exchange.network.sockets[0].give(DATA);
    const [answer] = exchange.settle();
    expect(asTcp(answer)).toMatchObject({ sequence: connection.engine >>> 0, payload: DATA });
    expect(exchange.core.counters.value("tcp-challenge-acks")).toBeLessThanOrEqual(40);
    exchange.expectRest();
  });

  it("to a connection with timestamps: likewise", () => {
    const exchange = new AccountedExchange();
    const options = { mss: 1460, windowScale: 14, sackPermitted: true, timestamp: [5, 0] as const };
    const connection = new OpenConnection(exchange, ISN, {}, options);
    bombard(exchange);
    connection.send(ACK | PSH, DATA, { timestamp: [6, 0] });
    expect(Buffer.from(exchange.network.sockets[0].octets)).toEqual(DATA);
    exchange.expectRest();
  });

  it("to a half-open connection: it can still be completed, or has been reset", () => {
    const exchange = new AccountedExchange();
    const [synAck] = exchange.exchange(tcp({ flags: SYN, sequence: ISN, options: { mss: 1460 } }));
    const { sequence } = asTcp(synAck);
    for (const frame of barrage(Buffer.alloc(0))) exchange.send(frame);
    const acknowledgment = sequence + 1;
    exchange.send(tcp({ flags: ACK | PSH, sequence: ISN + 1, acknowledgment, payload: DATA }));
    exchange.pass(1000);
    expect(Buffer.from(exchange.network.sockets[0].octets)).toEqual(DATA);
    exchange.expectRest();
  });

  it("to a connection in FIN-WAIT, and one in CLOSE-WAIT: what is still owed arrives", () => {
    const closing = new AccountedExchange();
    const half = new OpenConnection(closing, ISN);
    closing.network.sockets[0].end();
    closing.settle();
    bombard(closing);
    half.engine = (half.engine + 1) | 0;
    half.send(ACK, DATA);
    expect(Buffer.from(closing.network.sockets[0].octets)).toEqual(DATA);
    closing.expectRest();

    const waiting = new AccountedExchange();
    const other = new OpenConnection(waiting, ISN);
    other.send(FIN | ACK);
    bombard(waiting);
    waiting.network.sockets[0].give(DATA);
    expect(asTcp(waiting.settle()[0]).payload).toEqual(DATA);
    waiting.expectRest();
  });

  it("initial sequence numbers at the extremes: octets cross the wrap in both directions", () => {
    for (const isn of EXTREMES) {
      const exchange = new AccountedExchange();
      const connection = new OpenConnection(exchange, isn);
      for (let i = 0; i < 5; i++) connection.send(ACK | PSH, DATA);
      connection.send(FIN | ACK);
      expect(Buffer.from(exchange.network.sockets[0].octets).toString()).toBe(DATA.toString().repeat(5));
      expect(exchange.network.sockets[0].shutDown).toBe(true);
      exchange.expectRest();
    }
  });

  it("a window of every extreme size never sends more than it, nor loses an octet", () => {
    for (const window of [0, 1, 2, 535, 536, 65_535]) {
      const exchange = new AccountedExchange();
      const connection = new OpenConnection(exchange, ISN);
      const announce = (sequence: number, size: number): Uint8Array[] =>
        exchange.exchange(
          tcp({ flags: ACK, sequence: connection.guest, acknowledgment: sequence, window: size }),
        );
      announce(connection.engine, window);
      exchange.network.sockets[0].give(new Uint8Array(3000).fill(9));
      let received = 0;
      const take = (frames: Uint8Array[]): void => {
        for (const frame of frames) {
          const { sequence, payload } = asTcp(frame);
          const end = (sequence + payload.length - connection.engine) | 0;
          if (payload.length > 0) expect(end - received).toBeLessThanOrEqual(Math.max(window, 1));
          if (end > received) received = end;
        }
      };
      take(exchange.settle());
      for (let rounds = 0; received < 3000 && rounds < 4000; rounds++) {
        take(exchange.pass(window < 2 ? 5000 : 300));
        take(announce((connection.engine + received) | 0, window));
        if (window === 0 && rounds > 20) break;
      }
      expect(received).toBe(window === 0 ? 0 : 3000);
      expect(exchange.core.usage().tcp).toBe(1);
    }
  });

  it("urgent pointer anywhere: the octets stay in line (RFC 6093 section 5)", () => {
    const payload = Buffer.from("0123456789");
    for (const pointer of [0, 1, 5, 9, 10, 11, 0x7fff, 0x8000, 0xffff]) {
      for (const flags of [ACK | URG, ACK, ACK | URG | FIN]) {
        const exchange = new AccountedExchange();
        const connection = new OpenConnection(exchange, ISN);
        const replies = [...connection.send(flags, payload, {}, pointer), ...exchange.pass(500)];
        expect(asTcp(replies[0])).toMatchObject({ acknowledgment: connection.guest >>> 0, urgentPointer: 0 });
        expect(Buffer.from(exchange.network.sockets[0].octets)).toEqual(payload);
        exchange.expectRest();
      }
    }
  });
});
