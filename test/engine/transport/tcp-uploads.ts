/** A connection of the TCP layer whose guest has octets for the host, with calls to its kernel looked at one by one. */
import { expect } from "vitest";
import { EAGAIN } from "../../../src/engine/boundary.ts";
import { NO_CHUNK } from "../../../src/engine/memory/chunk-pool.ts";
import type { TcpConnection } from "../../../src/engine/transport/tcp/connection.ts";
import { flushTouched, gather } from "../../../src/engine/transport/tcp/to-host.ts";
import { type LayerOptions, TcpLayer } from "./tcp-layer.ts";

export class ToHost extends TcpLayer {
  readonly c: TcpConnection;
  readonly next: number;
  /** What the engine was told of its service, if it has one. */
  readonly arrived: number[] = [];
  /** The host's kernel takes so many octets of each call; an errno is answered instead. */
  room = Number.POSITIVE_INFINITY;
  errno = EAGAIN;
  readonly calls: number[] = [];
  private stream = 0;

  constructor(over: Partial<TcpConnection> = {}, options: LayerOptions = {}) {
    super(options);
    this.c = this.opened();
    this.c.windowTarget = 65_535;
    this.next = this.c.rcvNxt;
    Object.assign(this.c, over);
    this.ctx.local = { opened: () => 0, arrived: (n) => this.arrived.push(n), gone: () => {} };
    const send = this.network.tcpSend.bind(this.network);
    this.network.tcpSend = (handle, list, count) => {
      this.calls.push(count);
      if (this.room <= 0) return this.errno;
      this.network.sockets[handle].room = this.room;
      const taken = send(handle, list, count);
      this.room -= taken;
      return taken;
    };
  }

  /** The next octets of the guest's stream. */
  gather(...lengths: number[]): this {
    for (const length of lengths) {
      // Not in their order: nothing says that a link leaves them so.
      const at = this.arena.rxWindowAt + 500_000 - this.stream - length;
      for (let i = 0; i < length; i++) this.arena.octets[at + i] = (this.stream + i) % 251;
      gather(this.ctx, this.c, at, length);
      this.stream += length;
    }
    return this;
  }

  flush(): this {
    flushTouched(this.ctx);
    return this;
  }

  /** How many octets the host has; they are the stream's. */
  get taken(): number {
    const { octets } = this.network.sockets[0];
    expect(octets.every((octet, i) => octet === i % 251)).toBe(true);
    return octets.length;
  }

  /** Octets acknowledged by segments that left, in order. */
  acks(): number[] {
    return this.sent().map(({ acknowledgment }) => (acknowledgment - this.next) | 0);
  }

  backlog(): number[] {
    const { pool } = this.ctx;
    const chunks: number[] = [];
    for (let chunk = this.c.backlogHead; chunk !== NO_CHUNK; chunk = pool.next[chunk]) {
      chunks.push(pool.filled[chunk]);
      if (pool.next[chunk] === NO_CHUNK) expect(this.c.backlogTail).toBe(chunk);
    }
    return chunks;
  }
}
