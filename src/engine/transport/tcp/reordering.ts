/**
 * Octets that come late but do come, and octets that came twice: what a link that reorders does to loss recovery.
 *
 *  - How far the way to the guest reorders is measured: octets that were sent once and acknowledged after others behind
 *    them. A loss is believed only beyond that (RFC 4653's aim, Linux's measure), or after a round trip of waiting, as
 *    in RFC 8985; a timeout forgets it.
 *  - A recovery that was for nothing is undone: the guest's acknowledgment echoes a time before the retransmission
 *    (Eifel, RFC 3522 and 4015), or it reports all that was sent again as duplicates (RFC 2883, 3708).
 *  - Duplicates from the guest are reported to it in the same way.
 */
import { counter } from "../../metrics/counters.ts";
import { before, beforeOrAt } from "../../wire/tcp.ts";
import { RECOVERY_NONE, RECOVERY_TIMEOUT, type TcpConnection } from "./connection.ts";
import type { TcpContext } from "./context.ts";
import type { Segment } from "./segment.ts";
import { WINDOW_MAX } from "./window.ts";

const UNDONE = counter("tcp-recoveries-undone");

/** Segments that may overtake one before it counts as lost: RFC 5681's three, and at most Linux's three hundred. */
export const REORDERING_MIN = 3;
const REORDERING_MAX = 300;

/** Recovery is about to begin: what to go back to if it is for nothing. */
export function rememberForUndo(ctx: TcpContext, c: TcpConnection): void {
  c.undoFrom = c.sndUna;
  c.undoCwnd = c.cwnd;
  c.undoSsthresh = c.ssthresh;
  c.undoStamp = (ctx.now + c.tsOffset) | 0;
  c.undoOctets = 0;
}

/** As if recovery had not begun. */
function undo(ctx: TcpContext, c: TcpConnection): void {
  c.cwnd = Math.max(c.cwnd, c.undoCwnd);
  c.ssthresh = Math.max(c.ssthresh, c.undoSsthresh);
  c.undoCwnd = 0;
  c.recovery = RECOVERY_NONE;
  c.lossUntil = c.sndUna;
  ctx.counters.add(UNDONE, 1);
}

/** Octets were overtaken by this many. */
function noteDistance(c: TcpConnection, octets: number): void {
  if (octets <= c.reordering * c.mss) return;
  c.reordering = Math.min(Math.ceil(octets / c.mss), REORDERING_MAX);
}

/**
 * Octets from `from` on have arrived after others. What was sent again says nothing: either copy may have come. Neither
 * does what is new after a timeout, which forgot the scoreboard.
 */
export function noteOvertaken(c: TcpConnection, from: number): void {
  if (c.sackCount === 0 || c.sackEdges === null) return;
  if (c.recovery === RECOVERY_TIMEOUT || before(from, c.retransmitNext)) return;
  noteDistance(c, (c.sackEdges[c.sackCount * 2 - 1] - from) | 0);
}

/** The acknowledgment `s` has moved sndUna from `from`; the scoreboard is still as it was. */
export function noteLate(ctx: TcpContext, c: TcpConnection, from: number, s: Segment): void {
  if (
    c.recovery !== RECOVERY_NONE &&
    c.undoCwnd > 0 &&
    c.timestamps &&
    before(s.options.timestampEcho, c.undoStamp)
  ) {
    if (c.sackCount > 0 && c.sackEdges !== null) {
      noteDistance(c, (c.sackEdges[c.sackCount * 2 - 1] - from) | 0);
    }
    undo(ctx, c);
  } else {
    noteOvertaken(c, from);
  }
}

/** The guest reports that it got these octets twice (RFC 2883). */
export function noteDsack(ctx: TcpContext, c: TcpConnection, left: number, right: number): void {
  if (c.undoCwnd === 0 || c.undoOctets === 0 || before(left, c.undoFrom) || before(c.recover, right)) return;
  c.undoOctets -= (right - left) | 0;
  if (c.undoOctets > 0) return;
  c.undoOctets = 0;
  // How far they were overtaken can no longer be told.
  c.reordering = Math.min(c.reordering * 2, REORDERING_MAX);
  undo(ctx, c);
}

/**
 * Octets the guest has sent twice, to be reported with the next ACK: one range; what continues it joins it. Octets from
 * further back than any window say nothing about this link.
 */
export function noteDuplicateOctets(c: TcpConnection, left: number, octets: number): void {
  if (octets <= 0 || ((c.rcvNxt - left) | 0) > WINDOW_MAX) return;
  if (c.dsackLeft === c.dsackRight || left !== c.dsackRight) c.dsackLeft = left;
  c.dsackRight = (left + octets) | 0;
}

/** Whether there is a duplicate to report: one that is acknowledged, or kept ahead of a hole (RFC 2883 section 4). */
export function dsackDue(ctx: TcpContext, c: TcpConnection): boolean {
  if (c.dsackLeft === c.dsackRight) return false;
  if (beforeOrAt(c.dsackRight, c.rcvTaken)) return true;
  return c.outOfOrderHead >= 0 && beforeOrAt(ctx.pool.sequence[c.outOfOrderHead], c.dsackLeft);
}
