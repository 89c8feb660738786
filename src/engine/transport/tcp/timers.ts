/** What happens when a deadline of a connection has passed (deadline.ts files them). */

import { ETIMEDOUT } from "../../boundary.ts";
import { counter } from "../../metrics/counters.ts";
import { dropReason } from "../../metrics/drop-reasons.ts";
import { flowEndBy } from "../../metrics/flow-end.ts";
import {
  CLOSED,
  CONNECTING,
  RECOVERY_NONE,
  RECOVERY_TIMEOUT,
  SYN_RECEIVED,
  SYN_SENT,
  type TcpConnection,
  TIME_WAIT,
  TIMER_NONE,
  TIMER_PERSIST,
  TIMER_REORDER,
} from "./connection.ts";
import type { TcpContext } from "./context.ts";
import { arm, startPersistTimer, startRetransmitTimer, stopTimer } from "./deadline.ts";
import { idleTooLong } from "./liveness.ts";
import { failConnect, sendSyn } from "./open.ts";
import { probe } from "./output.ts";
import { enterRecovery } from "./recovery.ts";
import { REORDERING_MIN, rememberForUndo } from "./reordering.ts";
import { abortBoth, removeConnection, TIME_WAIT_MS } from "./teardown.ts";
import { pump, pumpSmall } from "./to-guest.ts";

const TIMEOUTS = counter("tcp-timeouts");
const PROBES = counter("tcp-zero-window-probes");
const MEMORY_EXHAUSTED = dropReason("memory-exhausted");
const GUEST_SILENT = flowEndBy("timed-out", "guest");
const NO_RESOURCES = flowEndBy("no-resources", "sluice");
const CLOSED_ALREADY = flowEndBy("closed", "guest");

/**
 * RFC 9293 section 3.8.3: R2 at least 100 s, and for a SYN 3 min. Given up only if nothing was heard that long, and
 * after so many tries: with the timer at its longest 120 s would be two.
 */
const SILENCE_MAX_MS = 120_000;
const SYN_SILENCE_MAX_MS = 180_000;
const TRIES_MIN = 6;
/**
 * While others wait for memory, octets a silent guest does not acknowledge are kept no longer than this: a guest that
 * opens thousands of connections and answers on none would otherwise starve all others for R2.
 */
const STARVED_TRIES = 3;
const STARVED_SILENCE_MS = 2000;

/** The hole is still there: a loss, however few octets beyond it were acknowledged. */
function reorderTimeout(ctx: TcpContext, c: TcpConnection): void {
  startRetransmitTimer(ctx, c);
  if (c.recovery !== RECOVERY_NONE || c.sackCount === 0) return;
  enterRecovery(ctx, c, true);
  pump(ctx, c);
}

/** The wheel says a deadline of `c` passed. */
export function onTimer(ctx: TcpContext, c: TcpConnection): void {
  if (c.timerKind !== TIMER_NONE && ((c.timerAt - ctx.now) | 0) <= 0) {
    if (c.timerKind === TIMER_REORDER) reorderTimeout(ctx, c);
    else if (c.timerKind === TIMER_PERSIST) persistTimeout(ctx, c);
    else retransmitTimeout(ctx, c);
    if (c.state === CLOSED) return;
  }
  if (((c.idleAt - ctx.now) | 0) <= 0) {
    idleTimeout(ctx, c);
    if (c.state === CLOSED) return;
  }
  arm(ctx, c);
}

function silentFor(ctx: TcpContext, c: TcpConnection, ms: number): boolean {
  return ((ctx.now - c.lastHeardMs) | 0) > ms;
}

function retransmitTimeout(ctx: TcpContext, c: TcpConnection): void {
  ctx.counters.add(TIMEOUTS, 1);
  if (c.state === SYN_SENT || c.state === SYN_RECEIVED) {
    if (silentFor(ctx, c, SYN_SILENCE_MAX_MS)) {
      abortBoth(ctx, c, GUEST_SILENT);
      return;
    }
    c.backoff++;
    c.rttTiming = false;
    sendSyn(ctx, c);
    startRetransmitTimer(ctx, c);
    return;
  }
  if (c.backoff >= TRIES_MIN && silentFor(ctx, c, SILENCE_MAX_MS)) {
    abortBoth(ctx, c, GUEST_SILENT);
    return;
  }
  if (ctx.starvedCount > 0 && c.backoff >= STARVED_TRIES && silentFor(ctx, c, STARVED_SILENCE_MS)) {
    ctx.counters.drop(MEMORY_EXHAUSTED);
    abortBoth(ctx, c, NO_RESOURCES);
    return;
  }
  if (c.sndUna === c.sndNxt) {
    stopTimer(c);
    return;
  }
  // RFC 5681 (4): on the first timeout of this data only; RFC 2018 section 8: SACK information is dropped.
  if (c.backoff === 0) {
    if (c.recovery === RECOVERY_NONE) rememberForUndo(ctx, c);
    else c.undoCwnd = 0;
    const flight = (c.sndNxt - c.sndUna) | 0;
    c.ssthresh = Math.max(flight >> 1, 2 * c.mss);
  }
  c.backoff++;
  c.rttTiming = false;
  c.cwnd = c.mss;
  c.dupAcks = 0;
  c.sackCount = 0;
  c.sackedOctets = 0;
  c.sackOverflow = 0;
  c.reordering = REORDERING_MIN;
  c.recovery = RECOVERY_TIMEOUT;
  c.recover = c.sndNxt;
  c.lossUntil = c.sndNxt;
  c.retransmitNext = c.sndUna;
  startRetransmitTimer(ctx, c);
  pump(ctx, c);
}

function persistTimeout(ctx: TcpContext, c: TcpConnection): void {
  if (c.backoff >= TRIES_MIN && silentFor(ctx, c, SILENCE_MAX_MS)) {
    abortBoth(ctx, c, GUEST_SILENT);
    return;
  }
  c.timerKind = TIMER_NONE;
  if (c.sndWnd > 0) {
    pumpSmall(ctx, c);
    return;
  }
  ctx.counters.add(PROBES, 1);
  c.backoff++;
  probe(ctx, c);
  startPersistTimer(ctx, c);
}

function idleTimeout(ctx: TcpContext, c: TcpConnection): void {
  if (c.state === TIME_WAIT) {
    if (c.backlogOctets > 0) c.idleAt = (ctx.now + TIME_WAIT_MS) | 0;
    else removeConnection(ctx, c, CLOSED_ALREADY);
    return;
  }
  if (c.state === CONNECTING) {
    // The host never answered: the guest's own SYN timer has most likely ended too; a RST settles it.
    failConnect(ctx, c, ETIMEDOUT);
    return;
  }
  if (c.state === SYN_SENT || c.state === SYN_RECEIVED) {
    abortBoth(ctx, c, GUEST_SILENT);
    return;
  }
  idleTooLong(ctx, c);
}
