/** Connections that somebody has yet to decide about: their places, and who has one no more. */
import { describe, expect, it } from "vitest";
import { WAITING_SYNS_MAX } from "../../../src/engine/limits.ts";
import { CONNECTING, SYN_RECEIVED, TcpConnection } from "../../../src/engine/transport/tcp/connection.ts";
import { Waiting } from "../../../src/engine/transport/tcp/waiting.ts";

class Queue {
  readonly waiting = new Waiting();
  readonly connections: (TcpConnection | null)[] = [];

  /** Connection `id` waits under a ticket. */
  hold(ticket: number, id: number): boolean {
    const c = new TcpConnection(id);
    c.state = CONNECTING;
    c.iss = 1000 + id;
    this.connections[id] = c;
    return this.waiting.hold(ticket, c, this.connections);
  }

  at(id: number): TcpConnection {
    const c = this.connections[id];
    if (!c) throw new Error(`no connection ${id}`);
    return c;
  }

  /** Numbers of those under a ticket, null for one that has ended. */
  takeAll(ticket: number): (number | null)[] {
    const taken: (number | null)[] = [];
    while (this.waiting.holds(ticket)) taken.push(this.waiting.take(ticket, this.connections)?.id ?? null);
    return taken;
  }
}

describe("a ticket", () => {
  it("is for all that wait under it, once", () => {
    const queue = new Queue();
    queue.hold(7, 0);
    queue.hold(8, 1);
    queue.hold(7, 2);
    expect(queue.waiting.holds(9)).toBe(false);
    expect(queue.waiting.isWaitedFor(9, queue.connections)).toBe(false);
    expect(queue.waiting.isWaitedFor(7, queue.connections)).toBe(true);
    expect(queue.takeAll(7)).toEqual([0, 2]);
    expect(queue.waiting.isWaitedFor(7, queue.connections)).toBe(false);
    expect(queue.waiting.take(7, queue.connections)).toBeNull();
    expect(queue.takeAll(8)).toEqual([1]);
  });

  it("of number 0 is one as any other", () => {
    const queue = new Queue();
    expect(queue.waiting.holds(0)).toBe(false);
    queue.hold(0, 3);
    expect(queue.waiting.isWaitedFor(0, queue.connections)).toBe(true);
    expect(queue.takeAll(0)).toEqual([3]);
    expect(queue.waiting.holds(0)).toBe(false);
  });

  it.each<[string, (c: TcpConnection) => void]>([
    ["is connected already", (c) => (c.handle = 4)],
    ["is no longer connecting", (c) => (c.state = SYN_RECEIVED)],
    ["is another with the same number", (c) => c.iss++],
  ])("is of nobody where the connection %s", (_, change) => {
    const queue = new Queue();
    queue.hold(7, 0);
    change(queue.at(0));
    expect(queue.waiting.isWaitedFor(7, queue.connections)).toBe(false);
    expect(queue.takeAll(7)).toEqual([null]);
  });

  it("is of nobody where there is no connection", () => {
    const queue = new Queue();
    queue.hold(7, 0);
    queue.connections[0] = null;
    expect(queue.waiting.isWaitedFor(7, queue.connections)).toBe(false);
    expect(queue.takeAll(7)).toEqual([null]);
  });
});

describe("as many wait as there are places", () => {
  it("and one that has ended gives its place", () => {
    const queue = new Queue();
    for (let id = 0; id < WAITING_SYNS_MAX; id++) expect(queue.hold(id, id)).toBe(true);
    expect(queue.hold(9999, WAITING_SYNS_MAX)).toBe(false);
    expect(queue.waiting.holds(9999)).toBe(false);
    // The last, and the first.
    for (const id of [WAITING_SYNS_MAX - 1, 0]) {
      queue.at(id).iss++;
      expect(queue.hold(10_000 + id, WAITING_SYNS_MAX + 1 + id)).toBe(true);
      expect(queue.hold(9999, WAITING_SYNS_MAX)).toBe(false);
      expect(queue.waiting.holds(id)).toBe(false);
      expect(queue.takeAll(10_000 + id)).toEqual([WAITING_SYNS_MAX + 1 + id]);
      expect(queue.hold(id, id)).toBe(true);
    }
    expect(queue.waiting.isWaitedFor(WAITING_SYNS_MAX - 1, queue.connections)).toBe(true);
    expect(queue.takeAll(5)).toEqual([5]);
    expect(queue.hold(9999, WAITING_SYNS_MAX)).toBe(true);
  });
});
