/** The TCP layer as the engine calls it, turn by turn: events, deadlines, and what an operator asks for. */
import { describe, expect, it } from "vitest";
import {
  ECONNREFUSED,
  ECONNRESET,
  EINPROGRESS,
  FAILED,
  HANGUP,
  PEER_CLOSED,
  READABLE,
  URGENT,
  WRITABLE,
} from "../../../src/engine/boundary.ts";
import { GO, wait } from "../../../src/engine/network/destinations.ts";
import type { TcpConnection } from "../../../src/engine/transport/tcp/connection.ts";
import {
  CLOSED,
  CONNECTING,
  ESTABLISHED,
  FIN_WAIT_2,
  STATE_NAMES,
  SYN_RECEIVED,
  SYN_SENT,
} from "../../../src/engine/transport/tcp/connection.ts";
import { newConnection } from "../../../src/engine/transport/tcp/open.ts";
import { ACK, FIN, RST, SYN } from "../../sim/guest-stack/codec.ts";
import { GUEST_IP } from "./tcp-layer.ts";
import { PAIR, Turn } from "./tcp-turns.ts";

describe("decisions", () => {
  it("are for all that wait under a ticket, and no others", () => {
    for (const isAllowed of [true, false]) {
      const turn = new Turn();
      turn.verdict = wait(3, GO);
      turn.packet({ flags: SYN, sourcePort: 1 });
      turn.packet({ flags: SYN, sourcePort: 2 });
      turn.packet({ flags: SYN, sourcePort: 3 });
      turn.verdict = wait(4, GO);
      turn.packet({ flags: SYN, sourcePort: 4 });
      expect([turn.tcp.waits(3), turn.tcp.waits(4), turn.tcp.waits(5)]).toEqual([true, true, false]);
      turn.tcp.kill(1);
      turn.frames();
      expect(turn.tcp.decide(3, isAllowed, 77)).toBe(2);
      expect(turn.tcp.waits(3)).toBe(false);
      expect(turn.ctx.now).toBe(77);
      expect(turn.network.sockets.length).toBe(isAllowed ? 2 : 0);
      expect(turn.answers().map(({ flags }) => flags)).toEqual(
        new Array(2).fill(isAllowed ? SYN | ACK : RST | ACK),
      );
      expect(turn.tcp.decide(3, isAllowed, 78)).toBe(0);
    }
  });

  it("are about nothing where nobody ever waited", () => {
    const turn = new Turn();
    expect([turn.tcp.decide(3, true, 1), turn.tcp.waits(3)]).toEqual([0, false]);
  });
});

describe("the next deadline", () => {
  it("is the timer's, or that of an ACK that waits", () => {
    const turn = new Turn();
    expect(turn.tcp.nextDeadlineMs(0)).toBe(-1);
    const c = turn.opened();
    turn.ctx.wheel.clear(c.id);
    turn.ctx.now = 100;
    turn.ctx.delayAck(c);
    expect([99, 100, 101, 500].map((now) => turn.tcp.nextDeadlineMs(now))).toEqual([2, 1, 0, 0]);
    turn.ctx.wheel.set(c.id, 100_000);
    expect(turn.tcp.nextDeadlineMs(100)).toBe(1);
    turn.ctx.wheel.nextMs = () => 0;
    expect(turn.tcp.nextDeadlineMs(100)).toBe(0);
    Reflect.deleteProperty(turn.ctx.wheel, "nextMs");
    turn.ctx.delayedAcks = 0;
    expect(turn.tcp.nextDeadlineMs(0)).toBeGreaterThan(100);
  });

  it("fires, and what waited is sent", () => {
    const turn = new Turn();
    const c = turn.opened();
    Object.assign(c, { unacknowledged: 1, lastHeardMs: 0, idleAt: 10 });
    turn.ctx.wheel.set(c.id, 10);
    turn.ctx.delayAck(c);
    turn.tcp.advance(20);
    expect(turn.ctx.now).toBe(20);
    expect(turn.answers().length).toBe(1);
    expect(c.idleAt).toBe(7_200_000);
    // A connection that has ended has none.
    turn.ctx.wheel.set(c.id, 30);
    c.state = CLOSED;
    expect(() => turn.tcp.advance(40)).not.toThrow();
    expect(turn.answers()).toEqual([]);
  });
});

describe("work", () => {
  it("is done for 64 connections in a turn, while the link takes frames", () => {
    const turn = new Turn();
    expect(turn.tcp.work()).toBe(false);
    const all = Array.from({ length: 16 }, (_, i) => turn.opened(1 + i));
    for (const c of all) {
      c.hostReadable = true;
      turn.network.sockets[c.handle].give(new Uint8Array(10));
      turn.ctx.makeReady(c);
    }
    turn.egress.blocked = true;
    expect([turn.tcp.work(), turn.ctx.readyCount]).toEqual([false, 16]);
    turn.egress.blocked = false;
    turn.tcp.kill(all[3].id);
    expect([turn.tcp.work(), turn.ctx.readyCount]).toEqual([false, 0]);
    expect(turn.sent().filter(({ payload }) => payload.length === 10).length).toBe(15);
    // One that has more to do has another turn.
    all[0].hostUrgent = true;
    turn.network.sockets[all[0].handle].give(new Uint8Array(10));
    all[0].hostReadable = true;
    turn.ctx.makeReady(all[0]);
    expect(turn.tcp.work()).toBe(true);
  });

  it("wakes those that wait for memory, and sends resets that were held", () => {
    const turn = new Turn();
    const c = turn.opened();
    turn.ctx.waitForMemory(c);
    turn.ctx.heldResets.hold(turn.ends(9), 5, 6);
    expect(turn.tcp.work()).toBe(true);
    expect([turn.ctx.starvedCount, turn.ctx.readyCount]).toEqual([0, 1]);
    expect(turn.sent()).toMatchObject([
      { flags: RST | ACK, sequence: 5, acknowledgment: 6, destinationPort: 9 },
    ]);
  });

  /** A connection like this is served once. */
  function served(over: Partial<TcpConnection>): { turn: Turn; c: TcpConnection } {
    const turn = new Turn();
    const c = turn.opened();
    Object.assign(c, over);
    turn.ctx.makeReady(c);
    return { turn, c };
  }

  it("on a connection that is connecting asks how that stands", () => {
    for (const [result, state] of [
      [0, SYN_RECEIVED],
      [EINPROGRESS, CONNECTING],
      [ECONNREFUSED, CLOSED],
    ]) {
      const { turn, c } = served({ state: CONNECTING, hostReadable: true });
      turn.ctx.halfOpen.append(c.id);
      turn.network.connected = () => result;
      turn.tcp.work();
      expect(c.state).toBe(state);
    }
    const waiting = served({ state: CONNECTING, handle: -1 });
    waiting.turn.network.connected = () => expect.unreachable();
    waiting.turn.tcp.work();
    expect(waiting.c.state).toBe(CONNECTING);
  });

  it("sends what waits for the host, where that takes it, and an ACK that is due", () => {
    for (const [hostWritable, octets] of [
      [true, 5],
      [false, 0],
    ] as const) {
      const { turn, c } = served({ hostWritable, ackPending: true });
      const chunk = turn.ctx.pool.take(1, false);
      turn.ctx.pool.filled[chunk] = 5;
      Object.assign(c, { backlogHead: chunk, backlogTail: chunk, backlogOctets: 5 });
      turn.tcp.work();
      expect(turn.network.sockets[0].octets.length).toBe(octets);
      expect(turn.answers().map(({ flags }) => flags)).toEqual([ACK]);
      expect(c.ackPending).toBe(false);
    }
    const { turn, c } = served({ ackPending: false });
    turn.tcp.work();
    expect([turn.answers(), c.touched]).toEqual([[], false]);
  });

  it("asks a host that failed after its FIN, once", () => {
    for (const [over, result, state, calls] of [
      [{ hostFailed: true, hostEof: true }, ECONNRESET, CLOSED, 1],
      [{ hostFailed: true, hostEof: true }, 0, ESTABLISHED, 1],
      [{ hostFailed: true }, ECONNRESET, ESTABLISHED, 0],
      [{ hostEof: true }, ECONNRESET, ESTABLISHED, 0],
      [{ hostFailed: true, hostEof: true, handle: -1 }, ECONNRESET, ESTABLISHED, 0],
    ] as const) {
      const { turn, c } = served({ finSent: true, ...over });
      let asked = 0;
      turn.network.connected = () => {
        asked++;
        return result;
      };
      turn.tcp.work();
      expect([c.state, asked]).toEqual([state, calls]);
      if (calls === 1) expect(c.hostFailed).toBe(false);
      if (state === CLOSED) expect(turn.told.ended).toEqual([[40_000, "host-reset by host", ECONNRESET]]);
    }
  });
});

it("a host that failed after its FIN, and is well, still has its FIN passed on", () => {
  const turn = new Turn();
  const c = turn.opened();
  Object.assign(c, { hostFailed: true, hostEof: true });
  turn.ctx.makeReady(c);
  turn.tcp.work();
  expect(turn.answers().map(({ flags }) => flags)).toEqual([FIN | ACK]);
});

describe("an event of the host", () => {
  const FLAGS = ["hostReadable", "hostHangup", "hostFailed", "hostUrgent", "hostWritable"] as const;
  it.each<[string, number, string[]]>([
    ["readable", READABLE, ["hostReadable"]],
    ["writable", WRITABLE, ["hostWritable"]],
    ["urgent", URGENT, ["hostUrgent"]],
    ["the peer's FIN", PEER_CLOSED, ["hostReadable", "hostHangup"]],
    ["hang-up", HANGUP, ["hostReadable", "hostHangup", "hostFailed"]],
    ["failure", FAILED, ["hostReadable", "hostHangup", "hostFailed"]],
  ])("%s", (_, events, flags) => {
    const turn = new Turn();
    const c = turn.opened();
    c.hostWritable = false;
    turn.tcp.hostEvent(c.id, events);
    expect(FLAGS.filter((flag) => c[flag])).toEqual(flags);
    expect(c.ready).toBe(true);
  });

  it("for a connection without a socket, or none, is nothing", () => {
    const turn = new Turn();
    const c = turn.opened();
    c.handle = -1;
    turn.tcp.hostEvent(c.id, READABLE);
    expect([c.hostReadable, c.ready]).toEqual([false, false]);
    turn.ctx.connections[c.id] = null;
    expect(() => turn.tcp.hostEvent(c.id, READABLE)).not.toThrow();
  });
});

describe("a guest that appears", () => {
  it("is sent the SYNs that wait for it, at once", () => {
    const turn = new Turn();
    const add = (port: number, state: number, pair?: readonly number[]): TcpConnection => {
      const c = newConnection(turn.ctx, turn.ends(port, pair));
      if (c === null) throw new Error("the table is full");
      return Object.assign(c, { state, backoff: 3, rtoMs: 1000 });
    };
    const [plain, over6] = [add(1, SYN_SENT), add(2, SYN_SENT, PAIR)];
    add(3, SYN_RECEIVED);
    // A place that a flow of UDP has.
    turn.ctx.connections.push(null);
    // As where its client might be taken to IPv4.
    over6.guestAddress = GUEST_IP;
    turn.ctx.now = 50;
    turn.tcp.guestAppeared(GUEST_IP + 1);
    expect(turn.sent()).toEqual([]);
    turn.tcp.guestAppeared(GUEST_IP);
    expect(turn.sent()).toMatchObject([{ flags: SYN, destinationPort: 1 }]);
    expect(plain).toMatchObject({ backoff: 0, timerKind: 1, timerAt: 1050 });
    turn.tcp.guestAppeared6(Int32Array.of(9, ...PAIR.slice(0, 3), 0x16), 1);
    expect(turn.sent()).toEqual([]);
    turn.tcp.guestAppeared6(Int32Array.of(9, ...PAIR.slice(0, 4)), 1);
    expect(turn.sent()).toMatchObject([{ flags: SYN, destinationPort: 2 }]);
    expect(over6.backoff).toBe(0);
  });

  it("has the resets that it missed", () => {
    const turn = new Turn();
    turn.egress.queue.lost(turn.arena.scratchAt);
    turn.ctx.heldResets.hold(turn.ends(9), 5, 6);
    turn.tcp.work();
    expect(turn.answers()).toEqual([]);
    turn.tcp.guestHeard();
    turn.tcp.work();
    expect(turn.answers().length).toBe(1);
  });
});

describe("receivers", () => {
  it("are counted every 64 ms", () => {
    const turn = new Turn();
    const c = turn.opened();
    for (const other of [c, turn.opened(2), turn.opened(3)]) turn.ctx.noteReceiver(other);
    turn.tcp.countReceivers(63);
    expect(turn.ctx.activeReceivers).toBe(1);
    turn.tcp.countReceivers(64);
    expect(turn.ctx.activeReceivers).toBe(3);
    turn.tcp.countReceivers(127);
    expect(turn.ctx.activeReceivers).toBe(3);
    turn.tcp.countReceivers(128);
    expect(turn.ctx.activeReceivers).toBe(1);
  });
});

describe("an operator", () => {
  function three(): { turn: Turn; all: TcpConnection[] } {
    const turn = new Turn();
    const all = [1, 2, 3].map((port) => turn.opened(port));
    all[2].state = FIN_WAIT_2;
    // One has ended, and one place was never used.
    turn.tcp.kill(turn.opened(4).id);
    turn.ctx.connections.push(null);
    turn.sent();
    turn.told.ended.length = 0;
    return { turn, all };
  }

  it("ends one connection", () => {
    const { turn, all } = three();
    turn.tcp.kill(all[1].id);
    expect(turn.told.ended).toEqual([[2, "killed by sluice", 0]]);
    expect(turn.sent()).toMatchObject([{ flags: RST | ACK, destinationPort: 2 }]);
    // Again, and one that never was.
    turn.tcp.kill(all[1].id);
    turn.tcp.kill(4);
    expect([turn.sent(), turn.told.ended.length]).toEqual([[], 1]);
  });

  it("ends those that came by a forward", () => {
    const { turn, all } = three();
    turn.ctx.ledger.forward[all[0].id] = 7;
    turn.ctx.ledger.forward[all[2].id] = 7;
    turn.ctx.ledger.forward[3] = 7;
    turn.tcp.cutForward(7);
    expect(turn.told.ended).toEqual([
      [1, "killed by sluice", 0],
      [3, "killed by sluice", 0],
    ]);
  });

  it("ends all with the engine", () => {
    const { turn } = three();
    turn.tcp.close();
    expect(turn.told.ended.map(([port, end]) => [port, end])).toEqual(
      [1, 2, 3].map((port) => [port, "stopped by sluice"]),
    );
    expect([turn.ctx.open, turn.sent().length]).toEqual([0, 3]);
  });

  it("sees how many are in each state", () => {
    const { turn } = three();
    const states = turn.tcp.states();
    expect(states.length).toBe(STATE_NAMES.length);
    expect(states.map((count, state) => [count, state]).filter(([count]) => count > 0)).toEqual([
      [2, ESTABLISHED],
      [1, FIN_WAIT_2],
    ]);
  });

  it("sees those that are there", () => {
    const { turn, all } = three();
    Object.assign(all[0], { octetsFromGuest: 5, octetsToGuest: 6, lastHeardMs: 100 });
    const rows = turn.tcp.rows(350);
    expect(rows.map(({ guest, state }) => [guest, state])).toEqual([
      ["10.0.2.15:1", "ESTABLISHED"],
      ["10.0.2.15:2", "ESTABLISHED"],
      ["10.0.2.15:3", "FIN-WAIT-2"],
    ]);
    expect(rows[0]).toMatchObject({
      protocol: "tcp",
      remote: "198.51.100.7:80",
      octetsFromGuest: 5,
      octetsToGuest: 6,
      idleMs: 250,
    });
  });

  it("is told of a connection that is there", () => {
    const { turn, all } = three();
    Object.assign(all[0], { octetsFromGuest: 5, octetsToGuest: 6, lastHeardMs: 100 });
    const rows: unknown[] = [];
    turn.ctx.ledger.recorder = {
      ...turn.ctx.ledger.recorder,
      row: (call: number, id: number, protocol: number, state: number, _path: unknown, row: object) =>
        rows.push({ call, id, protocol, state, ...row }),
    } as unknown as typeof turn.ctx.ledger.recorder;
    for (const id of [all[0].id, 3, 4]) turn.tcp.tellRow(9, id, 350);
    expect(rows).toEqual([
      {
        call: 9,
        id: all[0].id,
        protocol: 6,
        state: ESTABLISHED,
        octetsFromGuest: 5,
        octetsToGuest: 6,
        idleMs: 250,
      },
    ]);
    turn.ctx.ledger.recorder = null;
    expect(() => turn.tcp.tellRow(9, all[0].id, 350)).not.toThrow();
  });
});

describe("the id of the next client", () => {
  it("is the one that it gets", () => {
    const turn = new Turn();
    const path = turn.ends(8080);
    path.remotePort = 50_000;
    const id = turn.tcp.nextInboundId();
    turn.tcp.acceptInbound(path, turn.network.tcpConnect(0, Int32Array.of(0, 0, 0, 0, 1)), 4);
    expect(turn.ctx.connections[id]).toMatchObject({ state: SYN_SENT, guestPort: 8080, handle: 0 });
    expect(turn.ctx.ledger.forward[id]).toBe(4);
    expect(turn.sent()).toMatchObject([{ flags: SYN, destinationPort: 8080, sourcePort: 50_000 }]);
  });
});
