/**
 * A segment from the guest, step by step as RFC 9293 section 3.10.7 has it, with RFC 7323 (PAWS), RFC 5961 (challenge
 * ACKs) and RFC 2018. Payload is only noted here; the flush after the batch carries it on (receive.ts).
 */
import { counter } from "../../metrics/counters.ts";
import { dropReason, HANDLED } from "../../metrics/drop-reasons.ts";
import { flowEndBy } from "../../metrics/flow-end.ts";
import { ACK, before, beforeOrAt, FIN, RST, SYN } from "../../wire/tcp.ts";
import {
  CLOSE_WAIT,
  CLOSED,
  CLOSING,
  CONNECTING,
  ESTABLISHED,
  FIN_WAIT_1,
  FIN_WAIT_2,
  LAST_ACK,
  RECOVERY_NONE,
  SYN_RECEIVED,
  SYN_SENT,
  type TcpConnection,
  TIME_WAIT,
  TIMER_PERSIST,
} from "./connection.ts";
import type { TcpContext } from "./context.ts";
import {
  arm,
  RTO_MAX_MS,
  RTO_MIN_MS,
  startReorderTimer,
  startRetransmitTimer,
  stopTimer,
} from "./deadline.ts";
import { guestForgot, isKeepalive, peerVouched } from "./liveness.ts";
import { established, openOverIpv4, sendSyn, takeSyn } from "./open.ts";
import { storeOutOfOrder } from "./out-of-order.ts";
import { sendAck, sendStrayReset } from "./output.ts";
import { noteAcknowledged, noteDuplicate, takeSackBlocks, trimSacked } from "./recovery.ts";
import { noteDuplicateOctets, noteLate } from "./reordering.ts";
import type { Segment } from "./segment.ts";
import { enterTimeWait, removeConnection, TIME_WAIT_MS } from "./teardown.ts";
import { freeAcknowledged } from "./to-guest.ts";
import { acceptFin, gather } from "./to-host.ts";

const OUT_OF_ORDER = counter("tcp-out-of-order");
const DUPLICATES = counter("tcp-duplicates");
const RESETS_FROM_GUEST = counter("tcp-resets-from-guest");
const CHALLENGES = counter("tcp-challenge-acks");
const UNACCEPTABLE = dropReason("tcp-unacceptable");
const PAWS = dropReason("tcp-paws");
const OUT_OF_ORDER_LIMIT = dropReason("tcp-out-of-order-limit");
const GUEST_RESET = flowEndBy("guest-reset", "guest");
const GUEST_CLOSED = flowEndBy("closed", "guest");

/** RFC 5961 section 7: challenge ACKs per connection and second. */
const CHALLENGES_PER_SECOND = 10;
/** RFC 7323 section 5.5: a timestamp older than 24 days says nothing. */
const TS_RECENT_MAX_AGE_MS = 24 * 24 * 3_600_000;
/** What sending an RTO estimate cannot see: the clock's tick (RFC 6298 G), milliseconds. */
const CLOCK_GRANULARITY_MS = 4;

/** A segment of a connection that exists. Returns HANDLED or a drop reason. */
export function segmentArrives(ctx: TcpContext, c: TcpConnection, s: Segment): number {
  c.packetsFromGuest = (c.packetsFromGuest + 1) | 0;
  if (c.state === SYN_SENT) return inSynSent(ctx, c, s);
  if (c.state === CONNECTING) return inConnecting(ctx, c, s);
  // First step: sequence number, with PAWS before it (RFC 7323 section 5.3).
  if (c.timestamps && (s.flags & RST) === 0) {
    const refused = checkTimestamp(ctx, c, s);
    if (refused !== HANDLED) return refused;
  }
  s.trimmed = false;
  if (!acceptable(c, s)) return unacceptable(ctx, c, s);
  c.lastHeardMs = ctx.now;
  c.keepaliveProbes = 0;
  if ((s.flags & (RST | SYN)) !== 0) return resetOrSyn(ctx, c, s);
  if ((s.flags & ACK) === 0) return UNACCEPTABLE;
  noteTimestamp(ctx, c, s);
  // Fifth step: the ACK field.
  const result = checkAcknowledgment(ctx, c, s);
  if (result !== HANDLED || c.state === CLOSED) return result;
  // Sixth step: the urgent pointer is left alone; urgent octets stay in line (RFC 6093).
  if (s.trimmed) {
    c.ackPending = true;
    ctx.touch(c);
  }
  return s.payloadLength > 0 || (s.flags & FIN) !== 0 ? text(ctx, c, s) : HANDLED;
}

/** RFC 9293 section 3.10.7.3. */
function inSynSent(ctx: TcpContext, c: TcpConnection, s: Segment): number {
  const acked = (s.flags & ACK) !== 0;
  if (acked && s.acknowledgment !== ((c.iss + 1) | 0)) {
    if ((s.flags & RST) === 0) {
      sendStrayReset(ctx, c, s.acknowledgment, 0, RST);
    }
    return UNACCEPTABLE;
  }
  if ((s.flags & RST) !== 0) {
    if (!acked) return UNACCEPTABLE;
    ctx.counters.add(RESETS_FROM_GUEST, 1);
    if (!openOverIpv4(ctx, c)) {
      ctx.openPorts?.refused(c.guestPort);
      removeConnection(ctx, c, GUEST_RESET);
    }
    return HANDLED;
  }
  if ((s.flags & SYN) === 0) return UNACCEPTABLE;
  c.lastHeardMs = ctx.now;
  takeSyn(ctx, c, s);
  if (acked) {
    if (c.rttTiming) sampleRtt(c, (ctx.now - c.rttStartMs) | 0);
    c.rttTiming = false;
    established(ctx, c);
    c.sndWl2 = s.acknowledgment;
    c.ackPending = true;
    ctx.touch(c);
  } else {
    // Simultaneous open (RFC 9293 section 3.5, figure 7).
    c.state = SYN_RECEIVED;
    sendSyn(ctx, c);
    startRetransmitTimer(ctx, c);
  }
  return HANDLED;
}

/** The guest repeats its SYN, or gives up, while the host is still connecting. */
function inConnecting(ctx: TcpContext, c: TcpConnection, s: Segment): number {
  if ((s.flags & RST) !== 0 && s.sequence === c.rcvNxt) {
    ctx.counters.add(RESETS_FROM_GUEST, 1);
    removeConnection(ctx, c, GUEST_RESET);
    return HANDLED;
  }
  if ((s.flags & (SYN | ACK)) !== SYN) return UNACCEPTABLE;
  if (s.sequence !== c.irs) {
    // A new attempt from the same port: the guest has forgotten the old one.
    takeSyn(ctx, c, s);
    return HANDLED;
  }
  ctx.counters.add(DUPLICATES, 1);
  if (c.timestamps && s.options.hasTimestamps) c.tsRecent = s.options.timestampValue;
  return HANDLED;
}

/** What the next ACK echoes (RFC 7323 section 4.3); checkTimestamp has seen that it is not older. */
function noteTimestamp(ctx: TcpContext, c: TcpConnection, s: Segment): void {
  if (!c.timestamps || !s.options.hasTimestamps || !beforeOrAt(s.sequence, c.rcvTaken)) return;
  c.tsRecent = s.options.timestampValue;
  c.tsRecentAtMs = ctx.now;
}

function checkTimestamp(ctx: TcpContext, c: TcpConnection, s: Segment): number {
  const options = s.options;
  // RFC 7323 section 3.2: a segment without the agreed option SHOULD be dropped.
  if (!options.hasTimestamps) return UNACCEPTABLE;
  if (!before(options.timestampValue, c.tsRecent)) return HANDLED;
  if (((ctx.now - c.tsRecentAtMs) | 0) > TS_RECENT_MAX_AGE_MS) return HANDLED;
  if ((s.flags & SYN) !== 0) return HANDLED;
  sendAck(ctx, c);
  return PAWS;
}

/**
 * The four cases of RFC 9293 table 6; trims what lies outside the window. Two liberties, both Linux's: an empty
 * segment exactly at the right edge is taken for its ACK field, and so is one whose octets all fall outside a closed
 * window (a window probe). A segment that is all old is not acceptable.
 */
function acceptable(c: TcpConnection, s: Segment): boolean {
  const window = (c.rcvAdvertised - c.rcvNxt) | 0;
  const offset = (s.sequence - c.rcvNxt) | 0;
  const length = s.payloadLength + (s.flags & FIN) + ((s.flags & SYN) >>> 1);
  if (offset > window || (offset === window && length > 0 && offset > 0)) return false;
  if (offset < 0) {
    noteDuplicateOctets(c, s.sequence, Math.min(-offset, s.payloadLength));
    if (offset + length <= 0) return false;
    trimFront(s, -offset);
  }
  const excess = ((s.sequence - c.rcvNxt) | 0) + s.payloadLength + (s.flags & FIN) - window;
  if (excess > 0) {
    if ((s.flags & FIN) !== 0) s.flags &= ~FIN;
    const beyond = ((s.sequence - c.rcvNxt) | 0) + s.payloadLength - window;
    if (beyond > 0) s.payloadLength -= beyond;
    s.trimmed = true;
  }
  return true;
}

function trimFront(s: Segment, octets: number): void {
  if (octets > s.payloadLength) octets = s.payloadLength;
  s.sequence = (s.sequence + octets) | 0;
  s.payloadAt += octets;
  s.payloadLength -= octets;
}

/** Answers with where we stand, unless it is a RST. A lost SYN-ACK is sent again. */
function unacceptable(ctx: TcpContext, c: TcpConnection, s: Segment): number {
  if ((s.flags & RST) !== 0) return UNACCEPTABLE;
  c.lastHeardMs = ctx.now;
  // Also for octets that are all old: the guest repeats what it lost our ACK of, and by the echo of its first try would
  // take the whole wait for a round trip.
  noteTimestamp(ctx, c, s);
  if (c.state === SYN_RECEIVED && (s.flags & SYN) !== 0 && s.sequence === c.irs) {
    if ((s.flags & ACK) !== 0) return completeCrossing(ctx, c, s);
    sendSyn(ctx, c);
    return HANDLED;
  }
  ctx.counters.add(DUPLICATES, 1);
  if (!isKeepalive(c, s) || peerVouched(ctx, c)) {
    c.ackPending = true;
    ctx.touch(c);
  }
  if (c.state === TIME_WAIT && (s.flags & FIN) !== 0) {
    // The guest did not hear our last ACK: the wait begins anew (RFC 9293 section 3.10.7.4).
    c.idleAt = (ctx.now + TIME_WAIT_MS) | 0;
    arm(ctx, c);
  }
  // Old octets may carry a new ACK: a guest that lost our ACK still acknowledges ours (RFC 9293 section 3.10.7.4).
  if ((s.flags & (ACK | SYN)) === ACK && c.state !== SYN_RECEIVED) return checkAcknowledgment(ctx, c, s);
  return UNACCEPTABLE;
}

/** Both sides had sent a SYN; the guest's SYN-ACK completes the opening (RFC 9293 section 3.5, figure 7). */
function completeCrossing(ctx: TcpContext, c: TcpConnection, s: Segment): number {
  // The window of a SYN is not scaled: the one its first SYN offered stays until the next segment.
  s.window = c.sndWnd >>> c.sndShift;
  c.ackPending = true;
  ctx.touch(c);
  return checkAcknowledgment(ctx, c, s);
}

/** Second and fourth step, hardened by RFC 5961 sections 3 and 4. */
function resetOrSyn(ctx: TcpContext, c: TcpConnection, s: Segment): number {
  if ((s.flags & RST) !== 0 && s.sequence === c.rcvNxt) {
    ctx.counters.add(RESETS_FROM_GUEST, 1);
    if (c.halfClosedProbes > 0 && c.handle >= 0 && (s.flags & ACK) === 0) {
      guestForgot(ctx, c);
      return HANDLED;
    }
    // Both directions had ended for the guest; what the host has yet to take was acknowledged and is owed to it.
    if (c.state !== TIME_WAIT || c.backlogOctets === 0) removeConnection(ctx, c, GUEST_RESET);
    return HANDLED;
  }
  challenge(ctx, c);
  return UNACCEPTABLE;
}

function challenge(ctx: TcpContext, c: TcpConnection): void {
  // Unsigned: the last challenge may be longer ago than an int32 of milliseconds tells.
  if (c.challenges === 0 || (ctx.now - c.challengeAtMs) >>> 0 >= 1000) {
    c.challengeAtMs = ctx.now;
    c.challenges = 0;
  }
  if (c.challenges >= CHALLENGES_PER_SECOND) return;
  c.challenges++;
  ctx.counters.add(CHALLENGES, 1);
  sendAck(ctx, c);
}

function checkAcknowledgment(ctx: TcpContext, c: TcpConnection, s: Segment): number {
  const ack = s.acknowledgment;
  if (c.state === SYN_RECEIVED) {
    if (ack !== ((c.iss + 1) | 0)) {
      sendStrayReset(ctx, c, ack, 0, RST);
      return UNACCEPTABLE;
    }
    if (c.rttTiming) sampleRtt(c, (ctx.now - c.rttStartMs) | 0);
    c.rttTiming = false;
    established(ctx, c);
    takeWindow(c, s);
    return HANDLED;
  }
  if (before(c.sndNxt, ack) || before(ack, (c.sndUna - c.sndWndMax) | 0)) {
    challenge(ctx, c);
    return UNACCEPTABLE;
  }
  const acknowledged = (ack - c.sndUna) | 0;
  const news = c.sack && s.options.sackBlocks > 0 && takeSackBlocks(ctx, c, s);
  const windowBefore = c.sndWnd;
  if (acknowledged >= 0) takeWindow(c, s);
  if (acknowledged > 0) {
    advanceUna(ctx, c, acknowledged, s);
    if (c.state === CLOSED) return HANDLED;
    if (news) noteDuplicate(ctx, c);
  } else if (
    c.sndUna !== c.sndNxt &&
    (news ||
      (!c.sack &&
        acknowledged === 0 &&
        s.payloadLength === 0 &&
        (s.flags & FIN) === 0 &&
        c.sndWnd === windowBefore))
  ) {
    noteDuplicate(ctx, c);
  }
  // An answer that keeps the window shut keeps the back-off too (RFC 9293 section 3.8.6.1).
  if (c.timerKind === TIMER_PERSIST && c.sndWnd > 0) {
    c.backoff = 0;
    stopTimer(c);
  }
  if (c.sackCount > 0 && c.recovery === RECOVERY_NONE) startReorderTimer(ctx, c);
  if (c.hostReadable || c.sndNxt !== c.sndEnd || c.sndUna !== c.sndNxt) ctx.makeReady(c);
  return HANDLED;
}

/**
 * The newer of two windows counts (RFC 9293 section 3.10.7.4). An ACK that is news is newer whatever its sequence
 * number: octets that came ahead of a hole have moved sndWl1 past the segment that fills it.
 */
function takeWindow(c: TcpConnection, s: Segment): void {
  if (
    before(c.sndUna, s.acknowledgment) ||
    before(c.sndWl1, s.sequence) ||
    (c.sndWl1 === s.sequence && beforeOrAt(c.sndWl2, s.acknowledgment))
  ) {
    c.sndWnd = s.window << c.sndShift;
    c.sndWl1 = s.sequence;
    c.sndWl2 = s.acknowledgment;
    if (c.sndWnd > c.sndWndMax) c.sndWndMax = c.sndWnd;
  }
}

/** `acknowledged` octets are new: frees them, measures, moves the timers, and the state if it was our FIN. */
function advanceUna(ctx: TcpContext, c: TcpConnection, acknowledged: number, s: Segment): void {
  const flightBefore = (c.sndNxt - c.sndUna) | 0;
  const timedOut = c.backoff > 0;
  const from = c.sndUna;
  c.sndUna = (from + acknowledged) | 0;
  c.backoff = 0;
  noteLate(ctx, c, from, s);
  if (c.timestamps) {
    let sample = (ctx.now + c.tsOffset - s.options.timestampEcho) | 0;
    // A guest whose ACK was lost echoes the first transmission: our wait for the timer is no round trip. A round
    // trip that really grew is followed at twofold steps.
    if (timedOut && sample > 2 * c.rtoMs) sample = 2 * c.rtoMs;
    sampleRtt(c, sample);
  } else if (c.rttTiming && beforeOrAt(c.rttSequence, c.sndUna)) {
    c.rttTiming = false;
    sampleRtt(c, (ctx.now - c.rttStartMs) | 0);
  }
  freeAcknowledged(ctx, c);
  trimSacked(c, acknowledged);
  noteAcknowledged(c, acknowledged, flightBefore);
  if (c.sndUna !== c.sndNxt) startRetransmitTimer(ctx, c);
  else stopTimer(c);
  if (c.finSent && c.sndUna === c.sndNxt) finAcknowledged(ctx, c);
}

function finAcknowledged(ctx: TcpContext, c: TcpConnection): void {
  if (c.state === FIN_WAIT_1) c.state = FIN_WAIT_2;
  else if (c.state === CLOSING) enterTimeWait(ctx, c);
  else if (c.state === LAST_ACK) {
    // The guest is done; octets the host has yet to take keep the connection.
    if (c.backlogOctets > 0) enterTimeWait(ctx, c);
    else removeConnection(ctx, c, GUEST_CLOSED);
  }
}

/** RFC 6298 section 2, in integers as Jacobson (1988) has it. A sample beyond the largest RTO is a lie. */
function sampleRtt(c: TcpConnection, sampleMs: number): void {
  if (sampleMs < 0 || sampleMs > RTO_MAX_MS * 2) return;
  const sample = sampleMs === 0 ? 1 : sampleMs;
  if (c.srtt8 === 0) {
    c.srtt8 = sample << 3;
    c.rttvar4 = sample << 1;
  } else {
    const error = sample - (c.srtt8 >> 3);
    c.srtt8 += error;
    c.rttvar4 += (error < 0 ? -error : error) - (c.rttvar4 >> 2);
  }
  const spread = Math.max(c.rttvar4, CLOCK_GRANULARITY_MS);
  const rto = (c.srtt8 >> 3) + spread;
  c.rtoMs = rto < RTO_MIN_MS ? RTO_MIN_MS : Math.min(rto, RTO_MAX_MS);
}

/** Seventh and eighth step: octets and FIN. */
function text(ctx: TcpContext, c: TcpConnection, s: Segment): number {
  if (c.guestFin || (c.state !== ESTABLISHED && c.state !== FIN_WAIT_1 && c.state !== FIN_WAIT_2)) {
    return c.state === CLOSE_WAIT || c.state === CLOSING || c.state === LAST_ACK ? UNACCEPTABLE : HANDLED;
  }
  const fin = (s.flags & FIN) !== 0;
  if (s.sequence === c.rcvNxt) {
    const end = (s.sequence + s.payloadLength) | 0;
    if (s.payloadLength > 0) gather(ctx, c, s.payloadAt, s.payloadLength);
    // Gathering may have closed a hole, or ended the connection; then rcvNxt is elsewhere.
    if (fin && c.rcvNxt === end && !c.guestFin) acceptFin(ctx, c);
    return HANDLED;
  }
  ctx.counters.add(OUT_OF_ORDER, 1);
  if (fin) {
    c.finKnown = true;
    c.finAt = (s.sequence + s.payloadLength) | 0;
  }
  const stored = s.payloadLength === 0 || storeOutOfOrder(ctx, c, s.sequence, s.payloadAt, s.payloadLength);
  if (c.sack) {
    c.ackPending = true;
    ctx.touch(c);
  } else {
    // Each one a duplicate ACK of its own: the guest counts them (RFC 5681 section 3.2).
    sendAck(ctx, c);
  }
  return stored ? HANDLED : OUT_OF_ORDER_LIMIT;
}
