/**
 * What the guest told of losses, and what follows from it: the SACK scoreboard and recovery of RFC 6675, NewReno
 * (RFC 6582) for a guest without SACK, and slow start after a timeout (RFC 5681).
 *
 * One picture serves all three. Between sndUna and `lossUntil` every octet that is not in a SACK range counts as
 * lost; `retransmitNext` walks over them once; pipe is what is believed to be on the link:
 *
 *   sndUna ....... retransmitNext ....... lossUntil ....... sndNxt
 *     sent again          | lost, not yet sent again |  first flight
 *
 *   pipe = flight - sacked - lost and not yet sent again
 *
 * The oldest octet is sent again whatever pipe says, so that recovery begins and every partial ACK carries it on
 * (RFC 6675 section 5, step 4.3). What a link that reorders changes is in reordering.ts.
 */
import { counter } from "../../metrics/counters.ts";
import { before, beforeOrAt } from "../../wire/tcp.ts";
import type { TcpOptions } from "../../wire/tcp-options.ts";
import { RECOVERY_FAST, RECOVERY_NONE, SACK_RANGES_MAX, type TcpConnection } from "./connection.ts";
import type { TcpContext } from "./context.ts";
import { noteDsack, noteOvertaken, REORDERING_MIN, rememberForUndo } from "./reordering.ts";
import type { Segment } from "./segment.ts";

const FAST_RETRANSMITS = counter("tcp-fast-retransmits");
/** RFC 6928. */
const INITIAL_SEGMENTS = 10;
/** More than any window a guest can offer us in practice. */
const CWND_MAX = 16 * 1024 * 1024;

export function initialCwnd(mss: number): number {
  return INITIAL_SEGMENTS * mss;
}

/** The first octet from retransmitNext on that counts as lost, or lossUntil when there is none. */
export function nextLost(c: TcpConnection): number {
  const from = firstUnknown(c, before(c.retransmitNext, c.sndUna) ? c.sndUna : c.retransmitNext);
  return before(from, c.lossUntil) ? from : c.lossUntil;
}

/** The first octet at or after `from` that is not in a SACK range. */
function firstUnknown(c: TcpConnection, from: number): number {
  const edges = c.sackEdges;
  if (edges === null) return from;
  for (let i = 0; i < c.sackCount; i++) {
    if (beforeOrAt(edges[i * 2], from) && before(from, edges[i * 2 + 1])) return edges[i * 2 + 1];
  }
  return from;
}

/** Where the lost stretch that starts at `from` ends. */
export function lostEnd(c: TcpConnection, from: number): number {
  const edges = c.sackEdges;
  if (edges !== null) {
    for (let i = 0; i < c.sackCount; i++) {
      if (before(from, edges[i * 2])) return before(edges[i * 2], c.lossUntil) ? edges[i * 2] : c.lossUntil;
    }
  }
  return c.lossUntil;
}

/** Octets believed to be on the link. */
export function pipeOctets(c: TcpConnection): number {
  const flight = (c.sndNxt - c.sndUna) | 0;
  let lost = 0;
  const from = before(c.retransmitNext, c.sndUna) ? c.sndUna : c.retransmitNext;
  if (before(from, c.lossUntil)) {
    lost = (c.lossUntil - from) | 0;
    const edges = c.sackEdges;
    if (edges !== null) {
      for (let i = 0; i < c.sackCount; i++) {
        const left = before(edges[i * 2], from) ? from : edges[i * 2];
        const right = before(edges[i * 2 + 1], c.lossUntil) ? edges[i * 2 + 1] : c.lossUntil;
        if (before(left, right)) lost -= (right - left) | 0;
      }
    }
  }
  const pipe = flight - c.sackedOctets - c.sackOverflow - lost;
  return Math.max(pipe, 0);
}

/** Takes the SACK blocks of a segment into the scoreboard. True when they told something new. */
export function takeSackBlocks(ctx: TcpContext, c: TcpConnection, s: Segment): boolean {
  const { options, acknowledgment: ack } = s;
  let news = false;
  for (let i = 0; i < options.sackBlocks; i++) {
    const left = options.sackEdges[i * 2];
    const right = options.sackEdges[i * 2 + 1];
    // Beyond sndNxt they are lies; the first may report a duplicate (RFC 2883 section 4).
    if (!before(left, right) || before(c.sndNxt, right)) continue;
    if (i === 0 && (before(left, ack) || insideSecond(options, left, right))) {
      noteDsack(ctx, c, left, right);
      continue;
    }
    if (before(left, c.sndUna)) continue;
    if (c.sackEdges === null) c.sackEdges = new Int32Array(SACK_RANGES_MAX * 2);
    // The first block is what came just now, the others may be new only because an ACK was lost.
    const fresh = firstUnknown(c, left);
    const late = i === 0 && c.sackCount > 0 && before(fresh, c.sackEdges[c.sackCount * 2 - 1]);
    if (addRange(c, c.sackEdges, left, right)) {
      news = true;
      if (late && c.sackOverflow === 0) noteOvertaken(c, fresh);
    } else if (i === 0 && c.sackCount === SACK_RANGES_MAX && noteOverflow(c, c.sackEdges, left, right))
      news = true;
  }
  return news;
}

/** Whether the first block lies within the second: octets beyond a hole that came twice. */
function insideSecond(options: TcpOptions, left: number, right: number): boolean {
  if (options.sackBlocks < 2) return false;
  return !before(left, options.sackEdges[2]) && beforeOrAt(right, options.sackEdges[3]);
}

/**
 * The list is full and the newest arrival beyond it: which octets is forgotten (the guest tells again once there is
 * room), that a segment has left the link is not. False when the list knows the range.
 */
function noteOverflow(c: TcpConnection, edges: Int32Array, left: number, right: number): boolean {
  for (let i = 0; i < c.sackCount; i++) {
    if (beforeOrAt(edges[i * 2], left) && beforeOrAt(right, edges[i * 2 + 1])) return false;
  }
  c.sackOverflow = Math.min(c.sackOverflow + c.mss, (c.sndNxt - c.sndUna) | 0);
  return true;
}

/** Merges a range into the sorted list. When the list is full the range is left out. */
function addRange(c: TcpConnection, edges: Int32Array, left: number, right: number): boolean {
  let first = 0;
  while (first < c.sackCount && before(edges[first * 2 + 1], left)) first++;
  let last = first;
  let newLeft = left;
  let newRight = right;
  let known = 0;
  while (last < c.sackCount && beforeOrAt(edges[last * 2], right)) {
    if (before(edges[last * 2], newLeft)) newLeft = edges[last * 2];
    if (before(newRight, edges[last * 2 + 1])) newRight = edges[last * 2 + 1];
    known += (edges[last * 2 + 1] - edges[last * 2]) | 0;
    last++;
  }
  const gained = ((newRight - newLeft) | 0) - known;
  if (gained === 0) return false;
  const merged = last - first;
  if (merged === 0) {
    if (c.sackCount === SACK_RANGES_MAX) return false;
    edges.copyWithin((first + 1) * 2, first * 2, c.sackCount * 2);
    c.sackCount++;
  } else if (merged > 1) {
    edges.copyWithin((first + 1) * 2, last * 2, c.sackCount * 2);
    c.sackCount -= merged - 1;
  }
  edges[first * 2] = newLeft;
  edges[first * 2 + 1] = newRight;
  c.sackedOctets += gained;
  return true;
}

/** sndUna moved: ranges before it are history. */
export function trimSacked(c: TcpConnection, acknowledged: number): void {
  const edges = c.sackEdges;
  c.sackOverflow = c.sackOverflow > acknowledged ? c.sackOverflow - acknowledged : 0;
  if (c.sackCount === 0 || edges === null) {
    // Without SACK, sackedOctets stands for segments that duplicate ACKs said have arrived.
    c.sackedOctets = c.sackedOctets > acknowledged ? c.sackedOctets - acknowledged : 0;
    return;
  }
  let gone = 0;
  while (gone < c.sackCount && beforeOrAt(edges[gone * 2 + 1], c.sndUna)) {
    c.sackedOctets -= (edges[gone * 2 + 1] - edges[gone * 2]) | 0;
    gone++;
  }
  if (gone > 0) {
    edges.copyWithin(0, gone * 2, c.sackCount * 2);
    c.sackCount -= gone;
  }
  if (c.sackCount > 0 && before(edges[0], c.sndUna)) {
    c.sackedOctets -= (c.sndUna - edges[0]) | 0;
    edges[0] = c.sndUna;
  }
}

/** A duplicate ACK, or one with news in its SACK blocks: maybe something is lost. */
export function noteDuplicate(ctx: TcpContext, c: TcpConnection): void {
  c.dupAcks++;
  if (!c.sack) {
    const flight = (c.sndNxt - c.sndUna) | 0;
    const arrived = c.dupAcks * c.mss;
    c.sackedOctets = arrived < flight - c.mss ? arrived : flight > c.mss ? flight - c.mss : 0;
  }
  if (c.recovery === RECOVERY_NONE) {
    const sackedEnough = c.sackCount > 0 && c.sackedOctets > (c.reordering - 1) * c.mss;
    if (c.dupAcks >= c.reordering || sackedEnough) enterRecovery(ctx, c, false);
  } else if (c.recovery === RECOVERY_FAST) {
    extendLoss(c, false);
  }
}

/**
 * The octets at sndUna count as lost: fast retransmit. `waited`: not because of what was acknowledged beyond them, but
 * because they have been missing for a round trip.
 */
export function enterRecovery(ctx: TcpContext, c: TcpConnection, waited: boolean): void {
  rememberForUndo(ctx, c);
  const flight = (c.sndNxt - c.sndUna) | 0;
  // 0.7 as CUBIC (RFC 9438 section 4.6): a virtual link's loss is a queue that overflowed for a moment.
  c.ssthresh = Math.max((flight * 0.7) | 0, 2 * c.mss);
  c.cwnd = c.ssthresh;
  c.recovery = RECOVERY_FAST;
  c.recover = c.sndNxt;
  c.retransmitNext = c.sndUna;
  c.lossUntil = c.sndUna;
  extendLoss(c, waited);
  ctx.counters.add(FAST_RETRANSMITS, 1);
}

/**
 * What lies below the highest range is lost, the first segment in any case. Where the link is known to reorder, and
 * nothing was waited for, only what lies below enough of them (RFC 6675 IsLost).
 */
function extendLoss(c: TcpConnection, waited: boolean): void {
  const flight = (c.sndNxt - c.sndUna) | 0;
  let until = (c.sndUna + Math.min(c.mss, flight)) | 0;
  if (c.sackCount > 0 && c.sackEdges !== null) {
    const highest = waited || c.reordering === REORDERING_MIN;
    const below = c.sackEdges[(highest ? c.sackCount - 1 : lowestOfEnough(c, c.sackEdges)) * 2];
    if (before(until, below)) until = below;
  }
  if (before(c.lossUntil, until)) c.lossUntil = until;
}

/** The highest range such that it and those above it hold as many octets as may overtake others; or the lowest. */
function lowestOfEnough(c: TcpConnection, edges: Int32Array): number {
  const enough = (c.reordering - 1) * c.mss;
  let above = 0;
  for (let i = c.sackCount - 1; i > 0; i--) {
    above += (edges[i * 2 + 1] - edges[i * 2]) | 0;
    if (above > enough) return i;
  }
  return 0;
}

/** `acknowledged` octets are new: grow the window, and leave recovery or take its next step. */
export function noteAcknowledged(c: TcpConnection, acknowledged: number, flightBefore: number): void {
  c.dupAcks = 0;
  // It must not fall so far behind that it seems ahead.
  if (before(c.retransmitNext, c.sndUna)) c.retransmitNext = c.sndUna;
  if (c.recovery !== RECOVERY_NONE) {
    if (!before(c.sndUna, c.recover)) {
      if (c.recovery === RECOVERY_FAST) c.cwnd = c.ssthresh;
      c.recovery = RECOVERY_NONE;
      c.lossUntil = c.sndUna;
      return;
    }
    if (c.recovery === RECOVERY_FAST) {
      // What was sent again has arrived, and with it all that was sent before: the rest is lost, also where nothing
      // beyond it was acknowledged (RFC 8985 section 6.2). Without SACK only the next hole is known (RFC 6582 (5)).
      if (c.sack) {
        if (before(c.lossUntil, c.recover)) c.lossUntil = c.recover;
      } else {
        c.retransmitNext = c.sndUna;
        extendLoss(c, false);
      }
      return;
    }
  }
  // A window that is not being used must not grow (RFC 5681 section 4.1, RFC 7661).
  if (flightBefore * 2 < c.cwnd) return;
  if (c.cwnd < c.ssthresh) c.cwnd += acknowledged;
  else c.cwnd += Math.max(1, Math.floor((c.mss * acknowledged) / c.cwnd));
  if (c.cwnd > CWND_MAX) c.cwnd = CWND_MAX;
}
