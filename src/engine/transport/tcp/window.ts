/**
 * The receive window: how much the guest may have under way.
 *
 * It starts small and doubles whenever the guest fills it and the host keeps up (as receive-buffer autotuning does),
 * bounded by what the link can queue, shared among the connections that receive, and by WINDOW_MAX. Octets in the
 * backlog take from it. The right edge once told never moves left (RFC 9293 section 3.8.6.2.2).
 */
import type { TcpConnection } from "./connection.ts";
import type { TcpContext } from "./context.ts";

/** First window: 64 KiB, what a SYN can announce without scaling. */
export const WINDOW_INITIAL = 65_535;
/** Eight batches of super-frames. */
export const WINDOW_MAX = 4 * 1024 * 1024;
/** Our shift count: 64 KiB << 7 = 8 MiB holds WINDOW_MAX; 128 octets of granularity. */
export const WINDOW_SHIFT = 7;
/** Segments every connection may have under way, however many share the link. */
const FLOOR_SEGMENTS = 8;

/** The largest window one connection may have on this link now, octets. */
function windowCeiling(ctx: TcpContext): number {
  const { queueFrames, tcpOffload } = ctx.egress;
  if (queueFrames === 0) return WINDOW_MAX;
  const budget = queueFrames * (tcpOffload ? 65_536 : ctx.mtu);
  const share = (budget * 0.75) / ctx.activeReceivers;
  const floor = FLOOR_SEGMENTS * ctx.mtu;
  return share > WINDOW_MAX ? WINDOW_MAX : share < floor ? floor : share | 0;
}

/** Octets we would take beyond rcvTaken now, were nothing promised. */
function freeWindow(ctx: TcpContext, c: TcpConnection): number {
  const ceiling = windowCeiling(ctx);
  const target = Math.min(c.windowTarget, ceiling);
  const free = target - c.backlogOctets;
  return Math.max(free, 0);
}

/** The window field for a segment that leaves now; notes the edge it announces. */
export function advertise(ctx: TcpContext, c: TcpConnection, isSyn: boolean): number {
  const promised = (c.rcvAdvertised - c.rcvTaken) | 0;
  let window = freeWindow(ctx, c);
  // Growing by less than a segment is silly; staying where it is keeps the promise.
  if (window < promised || window - promised < Math.min(ctx.mtu, c.windowTarget >> 1)) window = promised;
  if (isSyn) {
    const field = Math.min(window, 65_535);
    c.rcvAdvertised = (c.rcvTaken + field) | 0;
    return field;
  }
  let field = window >>> c.rcvShift;
  // Rounding down must not pull the promised edge back.
  if (field << c.rcvShift < promised) field++;
  if (field > 65_535) field = 65_535;
  const edge = (c.rcvTaken + (field << c.rcvShift)) | 0;
  if (((edge - c.rcvAdvertised) | 0) > 0) c.rcvAdvertised = edge;
  return field;
}

/** The host took `octets`; a window filled and emptied without a backlog doubles. */
export function noteDelivered(c: TcpConnection, octets: number): void {
  c.windowUsed += octets;
  if (c.windowUsed >= c.windowTarget) {
    c.windowUsed = 0;
    if (c.backlogOctets === 0 && c.windowTarget < WINDOW_MAX) c.windowTarget *= 2;
  }
}

/** Whether the window that can be offered now is worth telling the guest of (RFC 9293 section 3.8.6.2.2). */
export function windowUpdateDue(ctx: TcpContext, c: TcpConnection): boolean {
  const promised = (c.rcvAdvertised - c.rcvTaken) | 0;
  const gain = freeWindow(ctx, c) - promised;
  return gain >= Math.min(2 * ctx.mtu, c.windowTarget >> 1) && gain > 0;
}
