/** Segments as the layer gets them: malformed ones, those of no connection, and SYNs for one in TIME-WAIT. */
import { describe, expect, it } from "vitest";
import { Packet } from "../../../src/engine/memory/packet.ts";
import { DROP_REASONS, type DropReasonName, dropReason } from "../../../src/engine/metrics/drop-reasons.ts";
import { CHECK, EXPLAIN, GO, HERE, refuse, wait } from "../../../src/engine/network/destinations.ts";
import type { TcpConnection } from "../../../src/engine/transport/tcp/connection.ts";
import { ESTABLISHED, STATE_NAMES, TIME_WAIT } from "../../../src/engine/transport/tcp/connection.ts";
import { LOCAL } from "../../../src/engine/transport/tcp/local-service.ts";
import { enterTimeWait } from "../../../src/engine/transport/tcp/teardown.ts";
import { ACK, buildTcp, FIN, RST, SYN, type TcpSegment, URG } from "../../sim/guest-stack/codec.ts";
import { REMOTE_PORT } from "./tcp-layer.ts";
import { PAIR, Turn } from "./tcp-turns.ts";

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
      [CHECK, 1, 0],
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

  it("is judged by what holds for its family", () => {
    const turn = new Turn({ destinations6: { tcp: () => refuse(dropReason("destination-refused")) } });
    expect(turn.packet({ flags: SYN })).toBe("handled");
    expect(turn.packet({ flags: SYN }, { ipOctets: 40 })).toBe("destination-refused");
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

it("a connection in TIME-WAIT that is taken over gives its place in the queue", () => {
  const turn = new Turn();
  const c = turn.opened();
  enterTimeWait(turn.ctx, c);
  Object.assign(c, { rcvNxt: 100, rcvTaken: 100, rcvAdvertised: 5000 });
  expect(c.state).toBe(TIME_WAIT);
  turn.packet({ flags: SYN, sequence: 200 });
  expect([turn.ctx.timeWaits.length, turn.ctx.halfOpen.length, turn.ctx.open]).toEqual([0, 1, 1]);
});
