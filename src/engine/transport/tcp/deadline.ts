/**
 * The deadlines of a connection, as they are filed: retransmission or persist (one at a time), and one slow deadline
 * (half-open bound, keepalive, end of TIME-WAIT). The wheel holds the earlier of the two; what happens when one has
 * passed is in timers.ts.
 */
import {
  CLOSE_WAIT,
  ESTABLISHED,
  type TcpConnection,
  TIMER_NONE,
  TIMER_PERSIST,
  TIMER_REORDER,
  TIMER_RETRANSMIT,
} from "./connection.ts";
import type { TcpContext } from "./context.ts";

/** RFC 6298 (2.4) says 1 s; every stack in use takes less. Linux's figure. */
export const RTO_MIN_MS = 200;
export const RTO_MAX_MS = 60_000;
/** Round trips of a virtual link are shorter than the clock tells. */
const REORDER_WAIT_MIN_MS = 2;
/** RFC 5382 REQ-5: transitory connections are kept 4 min. */
export const HALF_OPEN_MAX_MS = 240_000;
/** RFC 9293 section 3.8.4: 2 h by default; then every 75 s, nine times, which passes RFC 5382's 2 h 4 min. */
export const KEEPALIVE_IDLE_MS = 7_200_000;
/**
 * A guest that has closed its half is asked whether it still knows of the connection. A kernel whose program is gone keeps
 * FIN-WAIT-2 for 60 s (Linux's tcp_fin_timeout, BSD's finwait2_timeout; Windows 120 s), so the first question comes a
 * little later. Each comes as long again after the last, up to KEEPALIVE_IDLE_MS: seven segments in the first two hours
 * and a half, and a guest that forgets later than that is found in as much time as it had waited.
 */
const HALF_CLOSED_PROBE_MS = 65_000;
const HALF_CLOSED_DOUBLINGS = 7;

/** How long the guest of an established connection may be silent before it is asked. */
export function idlePatience(c: TcpConnection): number {
  if (c.state === ESTABLISHED && c.clientPaceMs > 0) return c.clientPaceMs;
  if (c.state !== CLOSE_WAIT || c.halfClosedProbes >= HALF_CLOSED_DOUBLINGS) return KEEPALIVE_IDLE_MS;
  return HALF_CLOSED_PROBE_MS << c.halfClosedProbes;
}

/** Sets the slow deadline of an established connection by when the guest was last heard. */
export function waitForGuest(c: TcpConnection): void {
  c.idleAt = (c.lastHeardMs + idlePatience(c)) | 0;
}

/** Files the earlier of the connection's deadlines. */
export function arm(ctx: TcpContext, c: TcpConnection): void {
  const at = c.timerKind !== TIMER_NONE && ((c.timerAt - c.idleAt) | 0) < 0 ? c.timerAt : c.idleAt;
  ctx.wheel.set(c.id, at);
}

export function startRetransmitTimer(ctx: TcpContext, c: TcpConnection): void {
  let rto = c.rtoMs;
  for (let i = c.backoff; i > 0 && rto < RTO_MAX_MS; i--) rto *= 2;
  if (rto > RTO_MAX_MS) rto = RTO_MAX_MS;
  c.timerKind = TIMER_RETRANSMIT;
  c.timerAt = (ctx.now + rto) | 0;
  arm(ctx, c);
}

export function stopTimer(c: TcpConnection): void {
  // The wheel entry stays and finds nothing to do: cheaper than unlinking it per ACK.
  c.timerKind = TIMER_NONE;
}

/** Zero window with octets waiting: probe with the retransmission back-off (RFC 9293 section 3.8.6.1). */
export function startPersistTimer(ctx: TcpContext, c: TcpConnection): void {
  if (c.timerKind === TIMER_PERSIST) return;
  startRetransmitTimer(ctx, c);
  c.timerKind = TIMER_PERSIST;
}

/** A hole is left a round trip to close by itself (RFC 8985 section 6.2, its widest window). */
export function startReorderTimer(ctx: TcpContext, c: TcpConnection): void {
  if (c.timerKind !== TIMER_RETRANSMIT || c.srtt8 === 0) return;
  const at = (ctx.now + Math.max(c.srtt8 >> 3, REORDER_WAIT_MIN_MS)) | 0;
  if (((at - c.timerAt) | 0) >= 0) return;
  c.timerKind = TIMER_REORDER;
  c.timerAt = at;
  arm(ctx, c);
}
