/** The TCP layer as the engine calls it, turn by turn: segments, events, deadlines, and what an operator asks for. */
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
import { Packet } from "../../../src/engine/memory/packet.ts";
import { DROP_REASONS, type DropReasonName, dropReason } from "../../../src/engine/metrics/drop-reasons.ts";
import { EXPLAIN, GO, HERE, refuse, wait } from "../../../src/engine/network/destinations.ts";
import type { TcpConnection } from "../../../src/engine/transport/tcp/connection.ts";
import {
  CLOSED,
  CONNECTING,
  ESTABLISHED,
  FIN_WAIT_2,
  STATE_NAMES,
  SYN_RECEIVED,
  SYN_SENT,
  TIME_WAIT,
} from "../../../src/engine/transport/tcp/connection.ts";
import type { TcpParts } from "../../../src/engine/transport/tcp/context.ts";
import { LOCAL } from "../../../src/engine/transport/tcp/local-service.ts";
import { newConnection } from "../../../src/engine/transport/tcp/open.ts";
import { Tcp } from "../../../src/engine/transport/tcp/tcp.ts";
import { enterTimeWait } from "../../../src/engine/transport/tcp/teardown.ts";
import { ACK, buildTcp, FIN, RST, SYN, type TcpSegment, URG } from "../../sim/guest-stack/codec.ts";
import { GUEST_IP, REMOTE_IP, REMOTE_PORT, TcpLayer } from "./tcp-layer.ts";

type Over = { -readonly [K in keyof TcpParts]?: unknown };
const PAIR = [0xfd711ae0 | 0, 1, 2, 0x15, 0x20010db8, 5, 6, 7];

class Turn extends TcpLayer {
  readonly tcp: Tcp;
  /** What is said of a destination. */
  verdict = GO;

  constructor(over: Over = {}) {
    super();
    const destinations = {
      tcp: (_packet: Packet, to: Int32Array): number => {
        to.set([0, 0, 0xffff, REMOTE_IP, REMOTE_PORT]);
        return this.verdict;
      },
    };
    const parts = { ...this.parts, destinations, destinations6: destinations, ...over } as TcpParts;
    this.tcp = new Tcp(parts, 0);
    this.ctx = this.tcp.ctx;
  }

  packet(
    segment: Partial<TcpSegment>,
    over: Partial<Packet> = {},
    spoil?: (octets: Buffer) => void,
  ): DropReasonName {
    const packet = new Packet();
    const isIpv6 = over.ipOctets === 40;
    const octets = buildTcp(
      {
        sourcePort: 40_000,
        destinationPort: REMOTE_PORT,
        sequence: 100,
        acknowledgment: 0,
        flags: ACK,
        window: 1000,
        urgentPointer: 0,
        options: {},
        payload: Buffer.alloc(0),
        ...segment,
      },
      isIpv6 ? [PAIR[0], PAIR[1], PAIR[2], PAIR[3]] : GUEST_IP,
      isIpv6 ? [PAIR[4], PAIR[5], PAIR[6], PAIR[7]] : REMOTE_IP,
      "full",
    );
    spoil?.(octets);
    Object.assign(packet, {
      verify: true,
      guestAddress: isIpv6 ? 0 : GUEST_IP,
      remoteAddress: isIpv6 ? 0 : REMOTE_IP,
      transportAt: this.arena.rxWindowAt + 54,
      transportOctets: octets.length,
      ...over,
    });
    if (isIpv6) {
      packet.pair.set(PAIR);
      this.ends(1, PAIR);
    }
    this.arena.octets.set(octets, packet.transportAt);
    return DROP_REASONS[isIpv6 ? this.tcp.packet6(packet) : this.tcp.packet(packet)];
  }

  answers(): { flags: number; sequence: number; acknowledgment: number }[] {
    return this.sent().map(({ flags, sequence, acknowledgment }) => ({ flags, sequence, acknowledgment }));
  }
}

describe("a segment", () => {
  it.each<[string, Partial<TcpSegment>, Partial<Packet>, (octets: Buffer) => void, DropReasonName]>([
    ["whose checksum is wrong is dropped", {}, {}, (octets) => octets[17]++, "tcp-bad-checksum"],
    [
      "whose checksum the link vouches for is not",
      { flags: RST },
      { verify: false },
      (octets) => octets[17]++,
      "tcp-no-connection",
    ],
    ["whose header is longer than itself is", {}, {}, (octets) => (octets[12] = 0xf0), "tcp-malformed"],
    ["from port 0 is", { sourcePort: 0 }, {}, () => {}, "tcp-port-zero"],
    ["to port 0 is", { destinationPort: 0 }, {}, () => {}, "tcp-port-zero"],
    ["of no connection is", { flags: RST }, {}, () => {}, "tcp-no-connection"],
  ])("%s", (_, segment, packet, spoil, reason) => {
    const turn = new Turn();
    expect(turn.packet(segment, packet, spoil)).toBe(reason);
    expect(turn.answers()).toEqual([]);
    expect(new Turn().packet(segment, { ...packet, ipOctets: 40 }, spoil)).toBe(reason);
  });

  it("is taken in hand as it is", () => {
    for (const ipOctets of [20, 40]) {
      const turn = new Turn();
      const options = { mss: 1300, windowScale: 3, sackPermitted: true, timestamp: [77, 0] as const };
      const syn = { flags: SYN | URG | 8, sequence: 0x8000_0001, window: 4321, options };
      expect(turn.packet(syn, { ipOctets })).toBe("handled");
      const c = turn.ctx.connections[0];
      expect(c).toMatchObject({
        irs: 0x8000_0001 | 0,
        sndWnd: 4321,
        sndShift: 3,
        sack: true,
        tsRecent: 77,
        ipOctets,
      });
      expect(c).toMatchObject({ guestPort: 40_000, remotePort: REMOTE_PORT, mss: 1288 });
    }
  });

  it("of a connection reaches it, with its octets", () => {
    const turn = new Turn();
    turn.packet({ flags: SYN, options: { mss: 1400 } });
    const [{ sequence }] = turn.answers();
    const acknowledgment = (sequence + 1) >>> 0;
    turn.packet({ sequence: 101, acknowledgment, payload: Buffer.from("hello"), options: {} });
    turn.tcp.endOfBatch();
    expect(Buffer.from(turn.network.sockets[0].octets).toString()).toBe("hello");
    // Another port is another connection.
    expect(turn.packet({ sourcePort: 40_001, sequence: 106, acknowledgment })).toBe("tcp-no-connection");
  });
});

describe("a segment of no connection (RFC 9293 3.10.7.1)", () => {
  it.each<[string, Partial<TcpSegment>, [flags: number, sequence: number, acknowledgment: number][]]>([
    ["an ACK", { flags: ACK, acknowledgment: 5 }, [[RST, 5, 0]]],
    ["a FIN and ACK", { flags: FIN | ACK, acknowledgment: 5 }, [[RST, 5, 0]]],
    ["a SYN and ACK", { flags: SYN | ACK, acknowledgment: 5 }, [[RST, 5, 0]]],
    ["octets", { flags: 0, payload: Buffer.alloc(7) }, [[RST | ACK, 0, 107]]],
    ["octets and a FIN", { flags: FIN, payload: Buffer.alloc(7) }, [[RST | ACK, 0, 108]]],
    ["a RST", { flags: RST }, []],
    ["a RST and ACK", { flags: RST | ACK }, []],
    ["a RST and SYN", { flags: RST | SYN }, []],
  ])("%s", (_, segment, answers) => {
    const turn = new Turn();
    expect(turn.packet(segment)).toBe("tcp-no-connection");
    expect(
      turn.answers().map(({ flags, sequence, acknowledgment }) => [flags, sequence, acknowledgment]),
    ).toEqual(answers);
    expect(turn.ctx.open).toBe(0);
  });

  it.each<[string, number, DropReasonName, boolean]>([
    ["is refused with a reset", refuse(dropReason("destination-refused")), "destination-refused", true],
    ["is refused in silence", refuse(dropReason("destination-silent")), "destination-silent", false],
  ])("a SYN to where the guest may not go %s", (_, verdict, reason, isReset) => {
    const turn = new Turn();
    turn.verdict = verdict;
    expect(turn.packet({ flags: SYN, payload: Buffer.alloc(3) })).toBe(reason);
    expect(turn.answers()).toEqual(isReset ? [{ flags: RST | ACK, sequence: 0, acknowledgment: 104 }] : []);
  });

  it("a SYN to where the guest may not go may be told otherwise", () => {
    for (const isTold of [true, false]) {
      const told: number[] = [];
      const unreachable = { tell: (_: Packet, reason: number) => told.push(reason) > 0 && isTold };
      const turn = new Turn({ unreachable });
      turn.verdict = refuse(dropReason("destination-refused"));
      expect(turn.packet({ flags: SYN })).toBe("destination-refused");
      expect(told).toEqual([dropReason("destination-refused")]);
      expect(turn.answers().length).toBe(isTold ? 0 : 1);
    }
  });

  it("a SYN opens, here or at the host", () => {
    for (const [verdict, sockets, explained] of [
      [GO, 1, 0],
      [0, 1, 0],
      [5, 1, 0],
      [HERE, 0, 0],
      [EXPLAIN, 0, 1],
      [wait(3, GO), 0, 0],
    ]) {
      const turn = new Turn();
      let refused = 0;
      turn.ctx.checks = { begin: () => {}, hold: () => {}, explain: () => refused++ };
      turn.verdict = verdict;
      expect(turn.packet({ flags: SYN })).toBe("handled");
      expect([turn.network.sockets.length, refused, turn.ctx.open]).toEqual([sockets, explained, 1]);
      expect(turn.ctx.connections[0]?.handle).toBe(sockets === 1 ? 0 : verdict === wait(3, GO) ? -1 : LOCAL);
    }
  });

  it("over IPv6 from no station is not answered", () => {
    const turn = new Turn();
    const pair = [...PAIR];
    pair[4] = 0xff020000 | 0;
    const packet = new Packet();
    packet.pair.set(pair);
    Object.assign(packet, {
      ipOctets: 40,
      transportAt: turn.arena.rxWindowAt,
      transportOctets: 20,
      verify: false,
    });
    const octets = buildTcp(
      {
        sourcePort: 1,
        destinationPort: 2,
        sequence: 1,
        acknowledgment: 2,
        flags: ACK,
        window: 0,
        urgentPointer: 0,
        options: {},
        payload: Buffer.alloc(0),
      },
      [PAIR[0], PAIR[1], PAIR[2], PAIR[3]],
      [PAIR[4], PAIR[5], PAIR[6], PAIR[7]],
      "full",
    );
    turn.arena.octets.set(octets, packet.transportAt);
    turn.ends(1, pair);
    expect(DROP_REASONS[turn.tcp.packet6(packet)]).toBe("destination-refused");
    expect(turn.answers()).toEqual([]);
    expect(turn.packet({ flags: ACK, acknowledgment: 9 }, { ipOctets: 40 })).toBe("tcp-no-connection");
    expect(turn.answers().length).toBe(1);
  });

  it("that answers a question about the guest's ports is no stray, and an open port is reset", () => {
    const asked: [boolean, number][] = [];
    for (const [flags, isAnswer, answers] of [
      [SYN | ACK, true, 1],
      [RST | ACK, true, 0],
      [SYN | ACK, false, 1],
      [RST | ACK, false, 0],
    ] as const) {
      const turn = new Turn();
      turn.ctx.openPorts = {
        answered: (_ends, isOpen, acknowledgment) => asked.push([isOpen, acknowledgment]) > 0 && isAnswer,
        refused: () => {},
      };
      expect(turn.packet({ flags, acknowledgment: 9 })).toBe(isAnswer ? "handled" : "tcp-no-connection");
      expect(turn.answers()).toEqual(answers === 1 ? [{ flags: RST, sequence: 9, acknowledgment: 0 }] : []);
      expect(turn.counters.value("tcp-resets-to-guest")).toBe(isAnswer ? 0 : answers);
      for (const none of [ACK, SYN, RST, FIN | ACK]) turn.packet({ flags: none, sourcePort: 9 });
    }
    expect(asked).toEqual([
      [true, 9],
      [false, 9],
      [true, 9],
      [false, 9],
    ]);
  });
});

describe("a SYN for a connection in TIME-WAIT (RFC 6191)", () => {
  const REOPENED = "SYN-RECEIVED";
  it.each<[string, Partial<TcpSegment>, Partial<TcpConnection>, string]>([
    ["with a later number takes it over", { sequence: 101 }, {}, REOPENED],
    ["with the number expected does not", { sequence: 100 }, {}, "TIME-WAIT"],
    ["with an earlier one does not", { sequence: 99 }, {}, "TIME-WAIT"],
    [
      "with a later timestamp does",
      { sequence: 99, options: { timestamp: [51, 0] } },
      { timestamps: true },
      REOPENED,
    ],
    [
      "with an earlier one does not",
      { sequence: 101, options: { timestamp: [49, 0] } },
      { timestamps: true },
      "TIME-WAIT",
    ],
    [
      "with the same goes by its number",
      { sequence: 101, options: { timestamp: [50, 0] } },
      { timestamps: true },
      REOPENED,
    ],
    ["with none where they were agreed on, too", { sequence: 101 }, { timestamps: true }, REOPENED],
    ["with one where none was, too", { sequence: 101, options: { timestamp: [49, 0] } }, {}, REOPENED],
    ["that has an ACK does not", { sequence: 101, flags: SYN | ACK }, {}, "TIME-WAIT"],
    ["that has a RST does not", { sequence: 101, flags: SYN | RST }, {}, "TIME-WAIT"],
    ["is more than an ACK", { sequence: 101, flags: ACK }, {}, "TIME-WAIT"],
  ])("%s", (_, segment, over, then) => {
    const turn = new Turn();
    const c = turn.opened();
    enterTimeWait(turn.ctx, c);
    Object.assign(c, { rcvNxt: 100, rcvTaken: 100, rcvAdvertised: 5000, tsRecent: 50, ...over });
    turn.packet({ flags: SYN, ...segment });
    expect(STATE_NAMES[turn.ctx.connections[c.id]?.state ?? 0]).toBe(then);
    if (then === REOPENED) expect(turn.told.ended.map(([, end]) => end)).toEqual(["closed by host"]);
  });

  it("for one that is open does not", () => {
    const turn = new Turn();
    const c = turn.opened();
    Object.assign(c, { rcvNxt: 100, rcvTaken: 100, rcvAdvertised: 5000 });
    turn.packet({ flags: SYN, sequence: 101 });
    expect(c.state).toBe(ESTABLISHED);
  });
});

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

it("a connection in TIME-WAIT that is taken over gives its place in the queue", () => {
  const turn = new Turn();
  const c = turn.opened();
  enterTimeWait(turn.ctx, c);
  Object.assign(c, { rcvNxt: 100, rcvTaken: 100, rcvAdvertised: 5000 });
  expect(c.state).toBe(TIME_WAIT);
  turn.packet({ flags: SYN, sequence: 200 });
  expect([turn.ctx.timeWaits.length, turn.ctx.halfOpen.length, turn.ctx.open]).toEqual([0, 1, 1]);
});
