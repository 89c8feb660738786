/** What happens when a deadline of a connection has passed, by the millisecond. */
import { describe, expect, it } from "vitest";
import {
  CLOSED,
  CONNECTING,
  ESTABLISHED,
  RECOVERY_FAST,
  RECOVERY_NONE,
  RECOVERY_TIMEOUT,
  STATE_NAMES,
  SYN_RECEIVED,
  SYN_SENT,
  type TcpConnection,
  TIME_WAIT,
  TIMER_NONE,
  TIMER_PERSIST,
  TIMER_REORDER,
  TIMER_RETRANSMIT,
} from "../../../src/engine/transport/tcp/connection.ts";
import { KEEPALIVE_IDLE_MS } from "../../../src/engine/transport/tcp/deadline.ts";
import { sendOctets } from "../../../src/engine/transport/tcp/local.ts";
import { onTimer } from "../../../src/engine/transport/tcp/timers.ts";
import { pump } from "../../../src/engine/transport/tcp/to-guest.ts";
import { ACK, RST, SYN } from "../../sim/guest-stack/codec.ts";
import { TcpLayer } from "./tcp-layer.ts";

const NOW = 0x7fffff00;
const MINUTE_MS = 60_000;

class Timers extends TcpLayer {
  readonly c: TcpConnection;

  constructor(over: Partial<TcpConnection> = {}) {
    super();
    this.ctx.wheel.advance(NOW);
    this.ctx.now = NOW;
    this.c = this.opened();
    Object.assign(this.c, { lastHeardMs: NOW, idleAt: (NOW + KEEPALIVE_IDLE_MS) | 0, ...over });
    if (this.c.state < ESTABLISHED) {
      this.ctx.halfOpen.append(this.c.id);
      this.c.sndUna = this.c.iss;
    }
  }

  /** So many octets are stored and sent. */
  flight(octets: number): this {
    sendOctets(this.ctx, this.c, this.arena.scratchAt, octets);
    pump(this.ctx, this.c);
    this.sent();
    return this;
  }

  /** A timer of this kind, due now. */
  due(timerKind: number, ms = 0): this {
    Object.assign(this.c, { timerKind, timerAt: (NOW + ms) | 0 });
    onTimer(this.ctx, this.c);
    return this;
  }

  /** Sequence numbers of what was sent, from the oldest octet, and flags. */
  answers(una: number): [seq: number, flags: number][] {
    return this.sent().map(({ sequence, flags }) => [(sequence - una) | 0, flags]);
  }

  get reasons(): string[] {
    return this.told.ended.map(([, end]) => end);
  }
}

describe("a deadline", () => {
  it.each([
    [0, 1],
    [-1, 1],
    [1, 0],
  ])("%i ms from now passes or does not", (ms, timeouts) => {
    const timers = new Timers().flight(500).due(TIMER_RETRANSMIT, ms);
    expect(timers.counters.value("tcp-timeouts")).toBe(timeouts);
    expect(timers.ctx.wheel.isSet(timers.c.id)).toBe(true);
  });

  it("of a timer that was stopped is none", () => {
    const timers = new Timers().flight(500).due(TIMER_NONE);
    expect(timers.counters.value("tcp-timeouts")).toBe(0);
    expect(timers.sent()).toEqual([]);
  });

  it.each([
    [0, 0],
    [-1, 0],
    [1, 1],
  ])("of a connection in TIME-WAIT %i ms from now", (ms, open) => {
    const timers = new Timers({ state: TIME_WAIT, idleAt: (NOW + ms) | 0 });
    timers.ctx.timeWaits.append(timers.c.id);
    onTimer(timers.ctx, timers.c);
    expect(timers.ctx.open).toBe(open);
  });

  it("is filed anew", () => {
    const timers = new Timers().flight(500);
    timers.c.rtoMs = 300;
    timers.ctx.wheel.clear(timers.c.id);
    timers.due(TIMER_RETRANSMIT);
    timers.ctx.wheel.advance((NOW + 590) | 0);
    expect(timers.fired).toEqual([]);
    timers.ctx.wheel.advance((NOW + 608) | 0);
    expect(timers.fired).toEqual([timers.c.id]);
    // Also where only the slow one is left.
    const idle = new Timers();
    idle.ctx.wheel.clear(idle.c.id);
    onTimer(idle.ctx, idle.c);
    expect(idle.ctx.wheel.isSet(idle.c.id)).toBe(true);
    // And where the timer has found nothing to do.
    idle.ctx.wheel.clear(idle.c.id);
    idle.due(TIMER_RETRANSMIT);
    expect(idle.ctx.wheel.isSet(idle.c.id)).toBe(true);
  });

  it("may be both at once", () => {
    const timers = new Timers({ lastHeardMs: (NOW - KEEPALIVE_IDLE_MS) | 0, idleAt: NOW }).due(
      TIMER_RETRANSMIT,
    );
    expect(timers.c.timerKind).toBe(TIMER_NONE);
    expect(timers.counters.value("tcp-keepalives")).toBe(1);
  });

  it("that ends the connection files nothing", () => {
    const timedOut = new Timers({ backoff: 6, lastHeardMs: (NOW - 130_000) | 0 }).flight(500);
    timedOut.c.backoff = 6;
    timedOut.due(TIMER_RETRANSMIT);
    expect([timedOut.c.state, timedOut.ctx.wheel.isSet(0)]).toEqual([CLOSED, false]);
    expect([timedOut.counters.value("tcp-keepalives"), timedOut.c.keepaliveProbes]).toEqual([0, 0]);
    const waited = new Timers({ state: TIME_WAIT, idleAt: NOW });
    waited.ctx.timeWaits.append(waited.c.id);
    onTimer(waited.ctx, waited.c);
    expect([waited.c.state, waited.ctx.wheel.isSet(0)]).toEqual([CLOSED, false]);
  });
});

describe("a retransmission timeout", () => {
  it("takes the window to one segment, and all that was under way for lost (RFC 5681 3.1)", () => {
    const timers = new Timers({ cwnd: 10_000, reordering: 9, dupAcks: 2, rttTiming: true }).flight(8000);
    const una = timers.c.sndUna;
    Object.assign(timers.c, {
      sackCount: 1,
      sackedOctets: 5,
      sackOverflow: 6,
      sackEdges: new Int32Array(128),
    });
    timers.due(TIMER_RETRANSMIT);
    expect(timers.answers(una)).toEqual([[0, ACK]]);
    const { c } = timers;
    expect(c).toMatchObject({
      backoff: 1,
      cwnd: 1000,
      ssthresh: 4000,
      dupAcks: 0,
      sackCount: 0,
      sackedOctets: 0,
      sackOverflow: 0,
      reordering: 3,
      recovery: RECOVERY_TIMEOUT,
      recover: c.sndNxt,
      lossUntil: c.sndNxt,
      retransmitNext: (una + 1000) | 0,
      rttTiming: false,
      timerKind: TIMER_RETRANSMIT,
      timerAt: (NOW + 2000) | 0,
      undoCwnd: 10_000,
    });
    expect(timers.counters.value("tcp-retransmits")).toBe(1);
    expect(timers.ctx.ledger.retransmits[c.id]).toBe(1);
    // The second changes neither the threshold nor what there is to go back to.
    timers.ctx.now = (NOW + 2000) | 0;
    c.cwnd = 3000;
    onTimer(timers.ctx, c);
    expect(c).toMatchObject({ backoff: 2, cwnd: 1000, ssthresh: 4000, undoCwnd: 10_000 });
    expect(timers.counters.value("tcp-timeouts")).toBe(2);
  });

  it("is no round trip, also where nothing can be sent again", () => {
    const timers = new Timers().flight(500);
    timers.c.rttTiming = true;
    timers.c.guestAddress++;
    timers.due(TIMER_RETRANSMIT);
    expect(timers.c.rttTiming).toBe(false);
  });

  it("remembers two segments at least, and nothing to go back to where recovery had begun", () => {
    const timers = new Timers({ cwnd: 10_000, undoCwnd: 5 }).flight(3000);
    timers.c.recovery = RECOVERY_FAST;
    timers.due(TIMER_RETRANSMIT);
    expect(timers.c).toMatchObject({ ssthresh: 2000, undoCwnd: 0 });
  });

  it("with nothing under way stops the timer", () => {
    const timers = new Timers().due(TIMER_RETRANSMIT);
    expect(timers.c).toMatchObject({ timerKind: TIMER_NONE, backoff: 0, recovery: RECOVERY_NONE });
    expect(timers.sent()).toEqual([]);
  });

  it.each([
    [6, 120_001, true],
    [6, 120_000, false],
    [5, 120_001, false],
    [7, 500_000, true],
  ])(
    "the %ith after a silence of %i ms gives the guest up: %s (RFC 9293 3.8.3)",
    (backoff, silentMs, isGivenUp) => {
      const timers = new Timers({ lastHeardMs: (NOW - silentMs) | 0 }).flight(500);
      const una = timers.c.sndUna;
      timers.c.backoff = backoff;
      timers.due(TIMER_RETRANSMIT);
      expect(timers.reasons).toEqual(isGivenUp ? ["timed-out by guest"] : []);
      const flags = timers.answers(una).map(([, bits]) => bits);
      expect(flags).toEqual(isGivenUp ? [RST | ACK] : [ACK]);
      if (isGivenUp) expect(timers.network.sockets[0].state).toBe("reset");
    },
  );

  it.each([
    [1, 3, 2001, true],
    [1, 3, 2000, false],
    [1, 2, 2001, false],
    [0, 3, 2001, false],
    [1, 4, 5000, true],
  ])(
    "with %i others that wait for memory, the %ith after %i ms: %s",
    (starved, backoff, silentMs, isGivenUp) => {
      const timers = new Timers({ lastHeardMs: (NOW - silentMs) | 0 }).flight(500);
      timers.c.backoff = backoff;
      timers.ctx.starvedCount = starved;
      timers.due(TIMER_RETRANSMIT);
      expect(timers.reasons).toEqual(isGivenUp ? ["no-resources by sluice"] : []);
      expect(timers.counters.dropped("memory-exhausted")).toBe(isGivenUp ? 1 : 0);
    },
  );
});

describe("a SYN that is not answered", () => {
  it.each([
    [SYN_SENT, SYN],
    [SYN_RECEIVED, SYN | ACK],
  ])("is sent again in state %i, later each time", (state, flags) => {
    const timers = new Timers({ state, rtoMs: 1000, backoff: 1, rttTiming: true });
    timers.due(TIMER_RETRANSMIT);
    expect(timers.answers(timers.c.iss)).toEqual([[0, flags]]);
    expect(timers.c).toMatchObject({ backoff: 2, rttTiming: false, timerAt: (NOW + 4000) | 0 });
    expect(timers.counters.value("tcp-timeouts")).toBe(1);
  });

  it.each([
    [SYN_SENT, 180_001, true],
    [SYN_RECEIVED, 180_001, true],
    [SYN_SENT, 180_000, false],
  ])("in state %i for %i ms gives the guest up: %s", (state, silentMs, isGivenUp) => {
    const timers = new Timers({ state, lastHeardMs: (NOW - silentMs) | 0 }).due(TIMER_RETRANSMIT);
    expect(timers.reasons).toEqual(isGivenUp ? ["timed-out by guest"] : []);
  });
});

describe("a hole that does not close", () => {
  it("after its time is a loss", () => {
    const timers = new Timers().flight(5000);
    const una = timers.c.sndUna;
    Object.assign(timers.c, { sack: true, sackCount: 1, sackedOctets: 1000, rtoMs: 300 });
    timers.c.sackEdges = Int32Array.of(una + 1000, una + 2000);
    timers.due(TIMER_REORDER);
    expect(timers.answers(una)).toEqual([[0, ACK]]);
    expect(timers.c).toMatchObject({
      recovery: RECOVERY_FAST,
      timerKind: TIMER_RETRANSMIT,
      timerAt: (NOW + 300) | 0,
    });
    expect(timers.counters.value("tcp-timeouts")).toBe(0);
  });

  it("is one with all holes below the highest range, however far the link reorders", () => {
    const timers = new Timers().flight(5000);
    const una = timers.c.sndUna;
    Object.assign(timers.c, { sack: true, sackCount: 2, sackedOctets: 2000, reordering: 9 });
    timers.c.sackEdges = Int32Array.of(una + 1000, una + 2000, una + 3000, una + 4000);
    timers.due(TIMER_REORDER);
    expect(timers.answers(una).map(([seq]) => seq)).toEqual([0, 2000]);
  });

  it.each<[string, Partial<TcpConnection>]>([
    ["was filled", { sackCount: 0 }],
    ["is being filled", { recovery: RECOVERY_FAST }],
  ])("that %s is none", (_, over) => {
    const timers = new Timers().flight(5000);
    Object.assign(timers.c, { sackCount: 1, sackEdges: new Int32Array(128), ...over });
    timers.due(TIMER_REORDER);
    expect(timers.counters.value("tcp-fast-retransmits")).toBe(0);
    expect(timers.c.timerKind).toBe(TIMER_RETRANSMIT);
  });
});

describe("a window that stays shut", () => {
  it("is probed just below it, later each time (RFC 9293 3.8.6.1)", () => {
    const timers = new Timers({ sndWnd: 0, rtoMs: 300 });
    timers.due(TIMER_PERSIST);
    expect(timers.answers(timers.c.sndUna)).toEqual([[-1, ACK]]);
    expect(timers.c).toMatchObject({ timerKind: TIMER_PERSIST, backoff: 1, timerAt: (NOW + 600) | 0 });
    expect(timers.counters.value("tcp-zero-window-probes")).toBe(1);
  });

  it("or small gets what it has room for, for once", () => {
    const timers = new Timers({ sndWnd: 300, sndWndMax: 60_000 });
    sendOctets(timers.ctx, timers.c, timers.arena.scratchAt, 1000);
    timers.due(TIMER_PERSIST);
    expect(timers.sent().map(({ payload }) => payload.length)).toEqual([300]);
    expect(timers.c.sendSmall).toBe(false);
    expect(timers.c.timerKind).toBe(TIMER_RETRANSMIT);
    expect(timers.counters.value("tcp-zero-window-probes")).toBe(0);
  });

  it.each([
    [6, 120_001, true],
    [6, 120_000, false],
    [5, 120_001, false],
  ])("the %ith probe after a silence of %i ms gives the guest up: %s", (backoff, silentMs, isGivenUp) => {
    const timers = new Timers({ sndWnd: 0, backoff, lastHeardMs: (NOW - silentMs) | 0 }).due(TIMER_PERSIST);
    expect(timers.reasons).toEqual(isGivenUp ? ["timed-out by guest"] : []);
  });
});

describe("the slow deadline", () => {
  it("of TIME-WAIT ends the connection, and is put off while octets wait for the host", () => {
    const timers = new Timers({ state: TIME_WAIT, idleAt: NOW });
    timers.ctx.timeWaits.append(timers.c.id);
    timers.c.backlogOctets = 1;
    onTimer(timers.ctx, timers.c);
    expect((timers.c.idleAt - NOW) | 0).toBe(MINUTE_MS);
    timers.c.backlogOctets = 0;
    timers.ctx.now = (NOW + MINUTE_MS) | 0;
    onTimer(timers.ctx, timers.c);
    expect(timers.reasons).toEqual(["closed by guest"]);
    expect(timers.sent()).toEqual([]);
  });

  it("of a host that never answered refuses the guest", () => {
    const timers = new Timers({ state: CONNECTING, idleAt: NOW });
    onTimer(timers.ctx, timers.c);
    expect(timers.reasons).toEqual(["timed-out by host"]);
    expect(timers.sent()).toMatchObject([{ flags: RST | ACK }]);
    expect(timers.counters.value("tcp-refused")).toBe(1);
  });

  it.each([SYN_SENT, SYN_RECEIVED])(
    "of a guest that never answered in state %i resets both sides",
    (state) => {
      const timers = new Timers({ state, idleAt: NOW });
      onTimer(timers.ctx, timers.c);
      expect(timers.reasons).toEqual(["timed-out by guest"]);
      expect(timers.sent()).toMatchObject([{ flags: RST | ACK }]);
      expect(STATE_NAMES[timers.c.state]).toBe("CLOSED");
    },
  );

  it("of a connection on which nothing moves asks the guest", () => {
    const timers = new Timers({ idleAt: NOW, lastHeardMs: (NOW - KEEPALIVE_IDLE_MS) | 0 });
    onTimer(timers.ctx, timers.c);
    expect(timers.answers(timers.c.sndUna)).toEqual([[-1, ACK]]);
    expect(timers.counters.value("tcp-keepalives")).toBe(1);
  });
});
