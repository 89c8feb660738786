/** Who is asked for a sign of life, when, and what follows from the answer or none, by the millisecond. */
import { describe, expect, it } from "vitest";
import {
  ECONNRESET,
  PEER_QUIET_MS,
  PEER_SEGMENTS,
  PEER_UNACKNOWLEDGED,
} from "../../../src/engine/boundary.ts";
import { CLIENT_LOOK_MS } from "../../../src/engine/transport/tcp/client-keepalive.ts";
import {
  CLOSE_WAIT,
  CLOSED,
  ESTABLISHED,
  FIN_WAIT_1,
  FIN_WAIT_2,
  type TcpConnection,
} from "../../../src/engine/transport/tcp/connection.ts";
import { KEEPALIVE_IDLE_MS } from "../../../src/engine/transport/tcp/deadline.ts";
import {
  guestForgot,
  idleTooLong,
  isKeepalive,
  peerVouched,
} from "../../../src/engine/transport/tcp/liveness.ts";
import { Segment } from "../../../src/engine/transport/tcp/segment.ts";
import { ACK, FIN, RST } from "../../sim/guest-stack/codec.ts";
import { TcpLayer } from "./tcp-layer.ts";

const NOW = 0x7fffff00;

class Idle extends TcpLayer {
  readonly c: TcpConnection;
  /** What the host's kernel says of the connection, and to a call. */
  readonly peer = { quiet: 0, unacknowledged: 0, segments: 0, result: 0, probes: 0 };

  constructor(silentMs: number, over: Partial<TcpConnection> = {}) {
    super();
    this.ctx.now = NOW;
    this.network.tcpStatus = (_, status) => {
      status[PEER_QUIET_MS] = this.peer.quiet;
      status[PEER_UNACKNOWLEDGED] = this.peer.unacknowledged;
      status[PEER_SEGMENTS] = this.peer.segments;
      return this.peer.result;
    };
    this.network.tcpProbe = () => {
      this.peer.probes++;
      return this.peer.result;
    };
    this.c = this.opened();
    Object.assign(this.c, { lastHeardMs: (NOW - silentMs) | 0, ...over });
  }

  /** The slow deadline has passed. Gives the flags of what was sent. */
  tooLong(): number[] {
    idleTooLong(this.ctx, this.c);
    return this.sent().map(({ sequence, flags }) => {
      if (flags === ACK) expect(sequence).toBe((this.c.sndUna - 1) >>> 0);
      return flags;
    });
  }

  /** Until the slow deadline. */
  get leftMs(): number {
    return (this.c.idleAt - this.ctx.now) | 0;
  }
}

describe("a guest of whom nothing is heard", () => {
  it.each<[string, number, Partial<TcpConnection>, number]>([
    ["is waited for until two hours are over", KEEPALIVE_IDLE_MS - 1, {}, 1],
    ["is waited for where it was heard since", 1000, {}, KEEPALIVE_IDLE_MS - 1000],
    ["is waited for less long where it has closed its half", 64_999, { state: CLOSE_WAIT }, 1],
  ])("%s", (_, silentMs, over, leftMs) => {
    const idle = new Idle(silentMs, over);
    expect(idle.tooLong()).toEqual([]);
    expect(idle.leftMs).toBe(leftMs);
    expect(idle.counters.value("tcp-keepalives")).toBe(0);
  });

  it("is asked nine times, 75 s apart, and then given up", () => {
    const idle = new Idle(KEEPALIVE_IDLE_MS);
    for (let asked = 1; asked <= 9; asked++) {
      expect(idle.tooLong()).toEqual([ACK]);
      expect(idle.leftMs).toBe(75_000);
      expect([idle.c.keepaliveProbes, idle.counters.value("tcp-keepalives")]).toEqual([asked, asked]);
      idle.ctx.now = (idle.ctx.now + 75_000) | 0;
    }
    expect(idle.tooLong()).toEqual([RST | ACK]);
    expect(idle.told.ended).toEqual([[40_000, "timed-out by guest", 0]]);
    expect(idle.c.state).toBe(CLOSED);
  });

  it("and has closed its half is asked sooner, later each time, and never given up for that", () => {
    const idle = new Idle(65_000, { state: CLOSE_WAIT });
    expect(idle.tooLong()).toEqual([ACK]);
    expect(idle.c).toMatchObject({ halfClosedProbes: 1, keepaliveProbes: 0 });
    expect(idle.counters.value("tcp-keepalives")).toBe(1);
    expect(idle.leftMs).toBe(65_000);
  });

  it("is not asked while octets of it wait for the host", () => {
    const idle = new Idle(65_000, { state: CLOSE_WAIT, backlogOctets: 1, halfClosedProbes: 0 });
    expect(idle.tooLong()).toEqual([]);
    expect(idle.c.halfClosedProbes).toBe(0);
    expect(idle.leftMs).toBe(65_000);
  });
});

describe("a guest that has forgotten", () => {
  it.each([
    [0, 0, "reset"],
    [1, 0, "closed"],
    [0, ECONNRESET, "closed"],
  ])(
    "with %i octets that the peer has not acknowledged (%i): the socket is %s",
    (unacknowledged, result, state) => {
      const idle = new Idle(0, { state: CLOSE_WAIT });
      Object.assign(idle.peer, { unacknowledged, result });
      guestForgot(idle.ctx, idle.c);
      expect(idle.network.sockets[0].state).toBe(state);
      expect(idle.told.ended).toEqual([[40_000, "guest-reset by guest", 0]]);
    },
  );
});

describe("a keepalive of the guest's", () => {
  const keepalive = (c: TcpConnection, over: Partial<Segment> = {}): Segment =>
    Object.assign(new Segment(), {
      sequence: (c.rcvNxt - 1) | 0,
      flags: ACK,
      acknowledgment: c.sndNxt,
      payloadLength: 0,
      ...over,
    });
  const peerOf = (over: Partial<TcpConnection>): TcpConnection => new Idle(0, over).c;

  it("stands just below the window, with an octet or none", () => {
    const c = peerOf({});
    for (const payloadLength of [0, 1]) expect(isKeepalive(c, keepalive(c, { payloadLength }))).toBe(true);
    expect(isKeepalive(c, keepalive(c, { payloadLength: 2 }))).toBe(false);
    for (const ahead of [-2, 0, 1])
      expect(isKeepalive(c, keepalive(c, { sequence: (c.rcvNxt + ahead) | 0 }))).toBe(false);
  });

  it("says nothing new", () => {
    const c = peerOf({});
    for (const flags of [ACK | FIN, ACK | RST, 0])
      expect(isKeepalive(c, keepalive(c, { flags }))).toBe(false);
    for (const ahead of [-1, 1])
      expect(isKeepalive(c, keepalive(c, { acknowledgment: (c.sndNxt + ahead) | 0 }))).toBe(false);
  });

  it.each<[string, Partial<TcpConnection>, boolean]>([
    ["open", { state: ESTABLISHED }, true],
    ["closed by the guest", { state: CLOSE_WAIT }, true],
    ["closed by the host", { state: FIN_WAIT_2 }, true],
    ["being closed by the host", { state: FIN_WAIT_1 }, false],
    ["without a host socket", { handle: -1 }, false],
    ["with the first host socket there is", { handle: 0 }, true],
    ["with octets that wait for the host", { backlogOctets: 1 }, false],
  ])("is of a connection that is %s", (_, over, is) => {
    const c = peerOf(over);
    expect(isKeepalive(c, keepalive(c))).toBe(is);
  });

  it("is of a connection on which nothing is under way, and no probe of a window that we closed", () => {
    const flying = peerOf({});
    flying.sndNxt = (flying.sndNxt + 1) | 0;
    expect(isKeepalive(flying, keepalive(flying))).toBe(false);
    for (const [octets, is] of [
      [1000, true],
      [999, false],
    ] as const) {
      const c = peerOf({});
      c.rcvAdvertised = (c.rcvNxt + octets) | 0;
      expect(isKeepalive(c, keepalive(c))).toBe(is);
    }
  });
});

describe("the peer, when the guest asks", () => {
  it.each<[string, Partial<Idle["peer"]>]>([
    ["was heard within a second", { quiet: 999 }],
    ["is being waited for by the kernel", { quiet: 5000, unacknowledged: 1 }],
    ["is no peer over a network", { quiet: 5000, result: ECONNRESET }],
  ])("is vouched for where it %s", (_, peer) => {
    const idle = new Idle(0);
    Object.assign(idle.peer, peer);
    expect(peerVouched(idle.ctx, idle.c)).toBe(true);
    expect([idle.peer.probes, idle.c.peerAsked]).toEqual([0, false]);
  });

  it("is asked else, and looked at after 10 ms", () => {
    const idle = new Idle(0);
    idle.ctx.wheel.advance(NOW);
    idle.peer.quiet = 1000;
    expect(peerVouched(idle.ctx, idle.c)).toBe(false);
    expect(idle.c).toMatchObject({ peerAsked: true, peerAskedAtMs: NOW });
    expect([idle.peer.probes, idle.leftMs, idle.counters.value("tcp-keepalives-relayed")]).toEqual([
      1, 10, 1,
    ]);
    idle.ctx.wheel.advance((NOW + 16) | 0);
    expect(idle.fired).toEqual([idle.c.id]);
  });

  it("is asked once a second at most", () => {
    const idle = new Idle(0);
    idle.peer.quiet = 5000;
    for (const [ms, probes] of [
      [0, 1],
      [999, 1],
      [1000, 2],
    ]) {
      idle.ctx.now = (NOW + ms) | 0;
      expect(peerVouched(idle.ctx, idle.c)).toBe(false);
      expect(idle.peer.probes).toBe(probes);
    }
    idle.c.peerAsked = false;
    peerVouched(idle.ctx, idle.c);
    expect(idle.peer.probes).toBe(3);
  });

  it("is vouched for where it cannot be asked", () => {
    const idle = new Idle(0);
    idle.peer.quiet = 5000;
    idle.network.tcpProbe = () => ECONNRESET;
    expect(peerVouched(idle.ctx, idle.c)).toBe(true);
    expect(idle.c.peerAsked).toBe(false);
  });

  /** The peer was asked so long ago and is looked at. */
  function look(
    waitedMs: number,
    quiet: number,
    over: Partial<TcpConnection> = {},
  ): { idle: Idle; sent: number } {
    const idle = new Idle(0, { peerAsked: true, peerAskedAtMs: (NOW - waitedMs) | 0, ...over });
    idle.peer.quiet = quiet;
    idleTooLong(idle.ctx, idle.c);
    return { idle, sent: idle.sent().length };
  }

  it.each<[number, number, boolean]>([
    [10, 509, true],
    [10, 510, false],
    [3000, 3499, true],
    [3000, 3500, false],
  ])(
    "%i ms after it was asked and %i ms after it was heard has answered: %s",
    (waited, quiet, hasAnswered) => {
      const { idle, sent } = look(waited, quiet);
      expect([sent, idle.c.peerAsked]).toEqual([hasAnswered ? 1 : 0, !hasAnswered]);
      expect(idle.leftMs).toBe(hasAnswered ? KEEPALIVE_IDLE_MS : waited);
    },
  );

  it("is looked at each time as much later again, for 16 s", () => {
    expect(look(0, 5000).idle.leftMs).toBe(10);
    expect(look(11, 5000).idle.leftMs).toBe(11);
    expect(look(15_999, 90_000).idle.leftMs).toBe(15_999);
    const { idle, sent } = look(16_000, 90_000);
    expect([sent, idle.c.peerAsked, idle.leftMs]).toEqual([0, false, KEEPALIVE_IDLE_MS]);
  });

  it("is vouched for where its socket has been closed meanwhile", () => {
    const { idle, sent } = look(10, 90_000, { handle: -1 });
    expect([sent, idle.c.peerAsked]).toEqual([1, false]);
  });
});

describe("a forward's client", () => {
  const client = (over: Partial<TcpConnection> = {}): Idle =>
    new Idle(CLIENT_LOOK_MS, { outbound: false, clientPaceMs: CLIENT_LOOK_MS, ...over });

  /** So much later, after so many segments of the client's more. */
  function look(idle: Idle, ms: number, segments: number): number[] {
    idle.ctx.now = (idle.ctx.now + ms) | 0;
    idle.peer.segments += segments;
    return idle.tooLong();
  }

  it("that never asks is looked at half as often each time, up to two hours", () => {
    const idle = client();
    idle.peer.segments = 7;
    const gaps: number[] = [];
    for (let i = 0; i < 8; i++) {
      expect(look(idle, i === 0 ? 0 : idle.leftMs, 0)).toEqual([]);
      gaps.push(idle.leftMs);
      // The guest answers nothing, and is not asked: it is heard by something else.
      idle.c.lastHeardMs = (idle.ctx.now - idle.c.clientPaceMs) | 0;
      if (idle.leftMs === KEEPALIVE_IDLE_MS) break;
      idle.c.lastHeardMs = idle.ctx.now;
    }
    expect(gaps).toEqual([
      65_000,
      130_000,
      260_000,
      520_000,
      1_040_000,
      2_080_000,
      4_160_000,
      KEEPALIVE_IDLE_MS,
    ]);
    expect(idle.counters.value("tcp-keepalives")).toBe(0);
  });

  it.each<[number, number, number]>([
    [65_000, 1, 130_000],
    [65_000, 13, 10_000],
    [65_000, 7, 18_571],
    [10_000, 9, 2222],
    [10_000, 10, 2000],
    [10_000, 11, 2000],
    [4_000_000, 1, KEEPALIVE_IDLE_MS],
  ])(
    "that within %i ms asks %i times has the guest asked with every second question",
    (ms, questions, paceMs) => {
      const idle = client();
      look(idle, 0, 5);
      idle.c.lastHeardMs = (idle.ctx.now + ms - CLIENT_LOOK_MS) | 0;
      expect(look(idle, ms, questions)).toEqual([ACK]);
      expect(idle.c).toMatchObject({
        clientPaceMs: paceMs,
        keepaliveProbes: 1,
        clientSegments: 5 + questions,
      });
      expect(idle.leftMs).toBe(paceMs);
      expect(idle.counters.value("tcp-keepalives")).toBe(1);
    },
  );

  it("that goes on asking while three questions are not answered is reset", () => {
    const idle = client();
    look(idle, 0, 0);
    for (let i = 0; i < 3; i++) expect(look(idle, CLIENT_LOOK_MS, 13)).toEqual([ACK]);
    expect(look(idle, 10_000, 2)).toEqual([RST | ACK]);
    expect(idle.told.ended).toEqual([[40_000, "timed-out by guest", 0]]);
    // One that has stopped asking is not.
    const quiet = client();
    look(quiet, 0, 0);
    for (let i = 0; i < 3; i++) look(quiet, CLIENT_LOOK_MS, 13);
    expect(look(quiet, 10_000, 0)).toEqual([]);
    expect(quiet.c).toMatchObject({ state: ESTABLISHED, keepaliveProbes: 0 });
  });

  it("has its segments counted though their number comes round", () => {
    const idle = client();
    idle.peer.segments = 0x3fff_ffff;
    look(idle, 0, 0);
    idle.c.lastHeardMs = idle.ctx.now;
    expect(look(idle, CLIENT_LOOK_MS, 13)).toEqual([ACK]);
    expect(idle.c.clientPaceMs).toBe(10_000);
  });

  it.each<[string, Partial<TcpConnection>, number]>([
    ["octets are under way", { sndUna: 5 }, 0],
    ["there is no socket", { handle: -1 }, 0],
    ["the kernel tells nothing", {}, ECONNRESET],
  ])("is not looked at while %s", (_, over, result) => {
    const idle = client(over);
    idle.peer.result = result;
    expect(look(idle, 0, 3)).toEqual([]);
    expect(idle.c.clientSegments).toBe(-1);
    expect(idle.leftMs).toBe(CLIENT_LOOK_MS);
    const first = client({ handle: 0 });
    look(first, 0, 3);
    expect(first.c).toMatchObject({ clientSegments: 3, clientLookedAtMs: NOW });
  });
});
