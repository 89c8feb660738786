/** A connection of the TCP layer whose host has octets for the guest, with reads and segments looked at one by one. */
import { expect } from "vitest";
import { NO_CHUNK } from "../../../src/engine/memory/chunk-pool.ts";
import type { TcpConnection } from "../../../src/engine/transport/tcp/connection.ts";
import { freeAcknowledged, pump } from "../../../src/engine/transport/tcp/to-guest.ts";
import { FIN, PSH, RST } from "../../sim/guest-stack/codec.ts";
import { type LayerOptions, TcpLayer } from "./tcp-layer.ts";

export class ToGuest extends TcpLayer {
  readonly c: TcpConnection;
  readonly una: number;
  /** Octets that each place of each read had room for. */
  readonly offered: number[][] = [];
  private given = 0;

  constructor(over: Partial<TcpConnection> = {}, options: LayerOptions = {}) {
    super(options);
    this.ctx.now = 500;
    this.c = this.opened();
    this.una = this.c.sndUna;
    Object.assign(this.c, { sndWnd: 1_000_000, sndWndMax: 1_000_000, cwnd: 1_000_000, ...over });
    const receive = this.network.tcpReceive.bind(this.network);
    this.network.tcpReceive = (handle, list, count) => {
      this.offered.push(Array.from({ length: count }, (_, i) => list[2 * i + 1]));
      return receive(handle, list, count);
    };
  }

  /** The peer sends the next octets of its stream. */
  give(octets: number): this {
    this.network.sockets[0].give(Uint8Array.from({ length: octets }, (_, i) => (this.given + i) % 251));
    this.given += octets;
    this.c.hostReadable = true;
    return this;
  }

  /** Ten segments in three small chunks are under way. */
  giveInThree(): this {
    for (const octets of [4000, 4000, 2000]) {
      this.c.lastRead = 0;
      this.give(octets).pump();
    }
    this.segments();
    return this;
  }

  pump(): this {
    pump(this.ctx, this.c);
    return this;
  }

  /** Segments that left: where, how long, and PSH or FIN. Their octets are the stream's. */
  segments(): [from: number, length: number, flags?: string][] {
    return this.sent().map(({ sequence, payload, flags }) => {
      const from = (sequence - this.una) | 0;
      expect(payload.every((octet, i) => octet === (from + i) % 251)).toBe(true);
      const marks = `${flags & PSH ? "P" : ""}${flags & FIN ? "F" : ""}${flags & RST ? "R" : ""}`;
      return marks === "" ? [from, payload.length] : [from, payload.length, marks];
    });
  }

  acknowledge(octets: number): void {
    this.c.sndUna = (this.una + octets) | 0;
    freeAcknowledged(this.ctx, this.c);
  }

  chunks(): number[] {
    const { pool } = this.ctx;
    const filled: number[] = [];
    for (let chunk = this.c.sendHead; chunk !== NO_CHUNK; chunk = pool.next[chunk]) {
      filled.push(pool.filled[chunk]);
      if (pool.next[chunk] === NO_CHUNK) expect(this.c.sendTail).toBe(chunk);
    }
    return filled;
  }
}

/** So many full segments from here on. */
export const full = (from: number, count: number): [number, number][] =>
  Array.from({ length: count }, (_, i) => [from + 1000 * i, 1000]);
