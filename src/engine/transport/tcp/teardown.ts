/** How a connection ends: host socket, TIME-WAIT, and giving everything back. */
import { counter } from "../../metrics/counters.ts";
import { flowEndBy } from "../../metrics/flow-end.ts";
import { PROTOCOL_TCP } from "../../wire/ipv4.ts";
import type { FlowQueue } from "../flow-queue.ts";
import {
  CONNECTING,
  LAST_ACK,
  resetConnection,
  SYN_RECEIVED,
  SYN_SENT,
  type TcpConnection,
  TIME_WAIT,
  TIMER_NONE,
} from "./connection.ts";
import type { TcpContext } from "./context.ts";
import { arm } from "./deadline.ts";
import { releaseBacklog, releaseOutOfOrder, releaseSent } from "./holdings.ts";
import { LOCAL, localGone } from "./local-service.ts";
import { sendReset } from "./output.ts";

const ENDED = counter("tcp-closed");
const HALF_OPEN_EVICTED = counter("tcp-half-open-evicted");
const TIME_WAIT_EVICTED = counter("tcp-time-wait-evicted");
const EVICTED = flowEndBy("evicted", "sluice");
const GUEST_CLOSED = flowEndBy("closed", "guest");
const HOST_CLOSED = flowEndBy("closed", "host");

/**
 * RFC 9293 asks for two maximum segment lifetimes of two minutes, which is about routed networks. Nothing on a
 * virtual link outlives its queue; one minute is Linux's choice and leaves room for a guest that retransmits late.
 */
export const TIME_WAIT_MS = 60_000;
/** One flow in so many may be in TIME-WAIT; beyond it the oldest ends early, so that short connections never fill the table. */
const TIME_WAIT_SHARE = 4;

function isHalfOpen(state: number): boolean {
  return state === CONNECTING || state === SYN_SENT || state === SYN_RECEIVED;
}

/** Both directions of the host socket are finished: it is closed while the guest's side winds down. */
export function closeHostIfDone(ctx: TcpContext, c: TcpConnection): void {
  if (c.hostEof && c.hostShutdown && c.handle >= 0) {
    ctx.network.tcpClose(c.handle, false);
    c.handle = -1;
  }
}

/** Tells that `c` has ended, once: with TIME-WAIT, which is a wait of our own, unless octets still wait for the host. */
function tellEnd(ctx: TcpContext, c: TcpConnection, end: number, errno: number): void {
  const { recorder, hasEnded } = ctx.ledger;
  if (recorder === null || hasEnded[c.id] !== 0) return;
  hasEnded[c.id] = 1;
  recorder.flowEnded(c.id, PROTOCOL_TCP, c, c, end, errno);
}

export function enterTimeWait(ctx: TcpContext, c: TcpConnection): void {
  if (c.backlogOctets === 0) tellEnd(ctx, c, c.state === LAST_ACK ? GUEST_CLOSED : HOST_CLOSED, 0);
  c.state = TIME_WAIT;
  c.timerKind = TIMER_NONE;
  releaseSent(ctx, c);
  c.idleAt = (ctx.now + TIME_WAIT_MS) | 0;
  arm(ctx, c);
  ctx.timeWaits.append(c.id);
  if (ctx.timeWaits.length * TIME_WAIT_SHARE > ctx.flows.capacity) evictTimeWait(ctx);
}

/** The connection that has stood in `queue` longest gives way. False when there is none. */
function evictOldest(ctx: TcpContext, queue: FlowQueue, evicted: number): boolean {
  const oldest = ctx.oldestOf(queue);
  if (oldest === null) return false;
  ctx.counters.add(evicted, 1);
  removeConnection(ctx, oldest, EVICTED);
  return true;
}

/** Ends the oldest TIME-WAIT early. False when there is none. */
export function evictTimeWait(ctx: TcpContext): boolean {
  return evictOldest(ctx, ctx.timeWaits, TIME_WAIT_EVICTED);
}

/**
 * Gives up the half-open connection that has been waiting longest (RFC 4987 section 3.4): under a flood, most likely one
 * that nobody will ever finish. False when there is none.
 *
 * The guest is not told. If the connection was honest its next SYN starts over, a RST would end it for good; what it
 * sends for a connection it believes open is answered with a RST like any stray segment. To a flood a RST each would be
 * as many frames again. A forward's client is reset: nothing it sends could start over.
 */
export function evictHalfOpen(ctx: TcpContext): boolean {
  return evictOldest(ctx, ctx.halfOpen, HALF_OPEN_EVICTED);
}

/**
 * Forgets a connection: its memory, timer, table entry and host socket. Says nothing to the guest. `end` says why
 * (metrics/flow-end.ts), `errno` what the host's socket said.
 */
export function removeConnection(ctx: TcpContext, c: TcpConnection, end: number, errno = 0): void {
  tellEnd(ctx, c, end, errno);
  if (c.handle >= 0) {
    ctx.network.tcpClose(c.handle, !(c.hostEof && c.hostShutdown));
    c.handle = -1;
  } else if (c.handle <= LOCAL) {
    localGone(ctx.local, c);
  }
  releaseSent(ctx, c);
  releaseBacklog(ctx, c);
  releaseOutOfOrder(ctx, c);
  ctx.wheel.clear(c.id);
  if (isHalfOpen(c.state)) ctx.halfOpen.remove(c.id);
  if (c.state === TIME_WAIT) ctx.timeWaits.remove(c.id);
  ctx.flows.remove(c.id);
  ctx.open--;
  ctx.counters.add(ENDED, 1);
  const { ready, starved, ackDelayed } = c;
  resetConnection(c);
  // It may still stand in a ring; its entry then finds nothing to do, or the id's next connection to look at.
  c.ready = ready;
  c.starved = starved;
  c.ackDelayed = ackDelayed;
}

/** The host side failed or vanished, or it is ended here: the guest hears a reset. */
export function abortBoth(ctx: TcpContext, c: TcpConnection, end: number, errno = 0): void {
  sendReset(ctx, c);
  removeConnection(ctx, c, end, errno);
}
