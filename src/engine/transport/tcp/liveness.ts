/**
 * Whether there is anybody left at either end of a connection on which nothing moves.
 *
 *   guest   asked after two hours, as any TCP does; after a minute when it has closed its half, since its kernel may have
 *           forgotten the connection by then and a RST says so
 *   peer    asked when the guest asks (its keepalive, RFC 9293 section 3.8.4): the host's kernel sends a probe of its own,
 *           and the guest gets its answer when the peer has answered
 *
 * Who never asks costs nothing: no segment, no call, no timer beyond the one that every connection has. The other way round,
 * a client of a forward that asks after the guest, is client-keepalive.ts.
 */
import { PEER_QUIET_MS, PEER_UNACKNOWLEDGED } from "../../boundary.ts";
import { counter } from "../../metrics/counters.ts";
import { flowEndBy } from "../../metrics/flow-end.ts";
import { ACK } from "../../wire/tcp.ts";
import { lookAtClient } from "./client-keepalive.ts";
import { CLOSE_WAIT, ESTABLISHED, FIN_WAIT_2, type TcpConnection } from "./connection.ts";
import type { TcpContext } from "./context.ts";
import { arm, idlePatience, KEEPALIVE_IDLE_MS, waitForGuest } from "./deadline.ts";
import { probe, sendAck } from "./output.ts";
import type { Segment } from "./segment.ts";
import { abortBoth, removeConnection } from "./teardown.ts";

const KEEPALIVES = counter("tcp-keepalives");
const RELAYED = counter("tcp-keepalives-relayed");
const GUEST_RESET = flowEndBy("guest-reset", "guest");
const GUEST_SILENT = flowEndBy("timed-out", "guest");

const KEEPALIVE_INTERVAL_MS = 75_000;
const KEEPALIVE_PROBES_MAX = 9;
/** The kernel counts the idle time of a connection in seconds, and so does every guest. */
const HEARD_LATELY_MS = 1000;
/** A peer that was asked is looked at after this, then each time as much later again, and no longer than that. */
const FIRST_LOOK_MS = 10;
const LOOKS_END_MS = 16_000;

// --- the guest -----------------------------------------------------------------------------------------------------

/** Nothing was heard from the guest for as long as was to be waited for it, or the peer was asked and is looked at. */
export function idleTooLong(ctx: TcpContext, c: TcpConnection): void {
  if (c.peerAsked) {
    lookForPeer(ctx, c);
    return;
  }
  const idle = (ctx.now - c.lastHeardMs) | 0;
  if (idle < idlePatience(c)) {
    waitForGuest(c);
    return;
  }
  if (idle < KEEPALIVE_IDLE_MS) {
    if (c.state === CLOSE_WAIT) askHalfClosed(ctx, c);
    else lookAtClient(ctx, c);
    return;
  }
  if (c.keepaliveProbes >= KEEPALIVE_PROBES_MAX) {
    abortBoth(ctx, c, GUEST_SILENT);
    return;
  }
  c.keepaliveProbes++;
  ctx.counters.add(KEEPALIVES, 1);
  probe(ctx, c);
  c.idleAt = (ctx.now + KEEPALIVE_INTERVAL_MS) | 0;
}

/** Silence proves nothing: a guest that does not answer is kept as long as any other. */
function askHalfClosed(ctx: TcpContext, c: TcpConnection): void {
  if (c.backlogOctets > 0) {
    // The answer might be a RST, and what the guest was told is taken has yet to reach the host.
    c.idleAt = (ctx.now + idlePatience(c)) | 0;
    return;
  }
  c.halfClosedProbes++;
  ctx.counters.add(KEEPALIVES, 1);
  probe(ctx, c);
  waitForGuest(c);
}

/**
 * The guest answered a probe with a RST that has no ACK (RFC 9293 section 3.10.7.1): it had closed, and has forgotten. Its
 * octets and its FIN are the kernel's to deliver; only a peer that has them all is reset, since nobody will read more.
 */
export function guestForgot(ctx: TcpContext, c: TcpConnection): void {
  const known = ctx.network.tcpStatus(c.handle, ctx.peerStatus);
  const delivered = known >= 0 && ctx.peerStatus[PEER_UNACKNOWLEDGED] === 0;
  ctx.network.tcpClose(c.handle, delivered);
  c.handle = -1;
  removeConnection(ctx, c, GUEST_RESET);
}

// --- the peer ------------------------------------------------------------------------------------------------------

/**
 * Whether a segment below the window is the guest's keepalive: at SND.UNA - 1, without an octet or with one, with no news,
 * on a connection on which nothing is under way. A guest that probes a window we closed gets its answer at once.
 */
export function isKeepalive(c: TcpConnection, s: Segment): boolean {
  return (
    ((s.sequence + 1) | 0) === c.rcvNxt &&
    s.payloadLength <= 1 &&
    s.flags === ACK &&
    s.acknowledgment === c.sndNxt &&
    c.sndUna === c.sndNxt &&
    (c.state === ESTABLISHED || c.state === CLOSE_WAIT || c.state === FIN_WAIT_2) &&
    c.handle >= 0 &&
    c.backlogOctets === 0 &&
    ((c.rcvAdvertised - c.rcvNxt) | 0) >= c.mss
  );
}

/** Whether the guest's keepalive may be answered now. If not, the peer has been asked. */
export function peerVouched(ctx: TcpContext, c: TcpConnection): boolean {
  const quietMs = peerQuietMs(ctx, c);
  if (quietMs < HEARD_LATELY_MS) return true;
  const waiting = c.peerAsked && ((ctx.now - c.peerAskedAtMs) | 0) < HEARD_LATELY_MS;
  if (waiting) return false;
  if (ctx.network.tcpProbe(c.handle) < 0) return true;
  ctx.counters.add(RELAYED, 1);
  c.peerAsked = true;
  c.peerAskedAtMs = ctx.now;
  c.idleAt = (ctx.now + FIRST_LOOK_MS) | 0;
  arm(ctx, c);
  return false;
}

/**
 * Milliseconds since the peer was heard. 0 where the kernel is waiting for an acknowledgment: it sends again, or probes a
 * closed window, and ends the connection itself. 0 also where there is no network in between.
 */
function peerQuietMs(ctx: TcpContext, c: TcpConnection): number {
  const { peerStatus } = ctx;
  if (ctx.network.tcpStatus(c.handle, peerStatus) < 0 || peerStatus[PEER_UNACKNOWLEDGED] !== 0) return 0;
  return peerStatus[PEER_QUIET_MS];
}

function lookForPeer(ctx: TcpContext, c: TcpConnection): void {
  const waited = (ctx.now - c.peerAskedAtMs) | 0;
  // A peer that has not answered was quiet for HEARD_LATELY_MS before it was asked. Clocks tick: half of that will do.
  const answered = c.handle < 0 || peerQuietMs(ctx, c) < waited + HEARD_LATELY_MS / 2;
  if (answered || waited >= LOOKS_END_MS) {
    c.peerAsked = false;
    waitForGuest(c);
    if (answered) sendAck(ctx, c);
    return;
  }
  c.idleAt = (ctx.now + Math.max(FIRST_LOOK_MS, waited)) | 0;
}
