/**
 * Host to guest without chunks, on a link into the guest's own memory: the kernel copies a socket's octets into the
 * guest's receive buffers and keeps them in its own queue until the guest has acknowledged them.
 *
 *            peekBase = what the kernel's queue begins with          sndEnd = sndNxt = where the next peek goes on
 *   ---------|==================================================|----
 *    discarded at each ACK          in the guest's memory
 *
 * It is for bulk: a connection whose host filled all it was offered. Anything out of the ordinary (a loss, the peer's FIN,
 * another kind of link) moves what the kernel keeps into chunks, and all goes on as for any connection (to-guest.ts).
 */
import { ENOBUFS } from "../../boundary.ts";
import { LARGE_CHUNK_OCTETS, SMALL_CHUNK_OCTETS } from "../../limits.ts";
import { NO_CHUNK, USE_SEND } from "../../memory/chunk-pool.ts";
import { flowEndBy } from "../../metrics/flow-end.ts";
import { ETHERNET_HEADER_OCTETS } from "../../wire/ethernet.ts";
import { before, TCP_HEADER_OCTETS } from "../../wire/tcp.ts";
import { TIMESTAMP_OPTION_OCTETS } from "../../wire/tcp-options.ts";
import { RECOVERY_NONE, type TcpConnection } from "./connection.ts";
import type { TcpContext } from "./context.ts";
import { abortBoth } from "./teardown.ts";

const HOST_RESET = flowEndBy("host-reset", "host");

/** Whether the next read may be a peek; makes the socket ready for it. */
export function mayPeek(ctx: TcpContext, c: TcpConnection): boolean {
  if (c.peeking) return true;
  if (ctx.egress.peeker === null || c.noPeeking || c.lastRead !== LARGE_CHUNK_OCTETS) return false;
  if (c.handle < 0 || ctx.network.tcpStartPeeking?.(c.handle) !== true) {
    c.noPeeking = true;
    return false;
  }
  c.peeking = true;
  c.peekBase = c.sndEnd;
  return true;
}

/** Reads at most `octets` into frames of at most `each`, listed in `ctx.receiveList`. As FrameLink.peek. */
export function peek(ctx: TcpContext, c: TcpConnection, each: number, octets: number): number {
  const options = c.timestamps ? TIMESTAMP_OPTION_OCTETS : 0;
  const headers = ETHERNET_HEADER_OCTETS + c.ipOctets + TCP_HEADER_OCTETS + options;
  const { egress } = ctx;
  if (egress.peeker === null) return 0;
  // A frame in front that still needs buffers would wait for those that are taken here, and these for it.
  if (!egress.blocked) egress.flush();
  const got =
    egress.queue.length > 0 ? ENOBUFS : egress.peeker.peek(c.handle, headers, each, octets, ctx.receiveList);
  if (got === ENOBUFS) egress.blocked = egress.peekBlocked = true;
  return got;
}

/** Frames of the list from `index` on, `octets` in all, will not be sent. */
export function releaseFrames(ctx: TcpContext, index: number, octets: number): void {
  for (let i = index; octets > 0; i += 2) {
    ctx.egress.peeker?.releasePeeked(ctx.receiveList[i]);
    octets -= ctx.receiveList[i + 1];
  }
}

export function mustStopPeeking(ctx: TcpContext, c: TcpConnection): boolean {
  return c.peekEnds || c.recovery !== RECOVERY_NONE || ctx.egress.peeker === null;
}

/**
 * Moves what the kernel keeps into chunks. False when the connection is gone, or while there is no memory: called again
 * then, before anything else is sent.
 */
export function stopPeeking(ctx: TcpContext, c: TcpConnection): boolean {
  const { pool, network, receiveList } = ctx;
  if (!c.peekEnds) network.tcpStopPeeking?.(c.handle);
  c.peekEnds = true;
  for (let left = (c.sndEnd - c.peekBase) | 0; left > 0; left = (c.sndEnd - c.peekBase) | 0) {
    const chunk = pool.take(USE_SEND, left > SMALL_CHUNK_OCTETS);
    if (chunk === NO_CHUNK) {
      ctx.waitForMemory(c);
      return false;
    }
    receiveList[0] = pool.at(chunk);
    receiveList[1] = Math.min(left, pool.capacity(chunk));
    const got = network.tcpReceive(c.handle, receiveList, 1);
    if (got <= 0) {
      pool.release(chunk);
      abortBoth(ctx, c, HOST_RESET, got);
      return false;
    }
    pool.sequence[chunk] = c.peekBase;
    pool.filled[chunk] = got;
    appendChunk(ctx, c, chunk);
    c.peekBase = (c.peekBase + got) | 0;
    if (c.sendCursor === NO_CHUNK && before(c.sndNxt, c.peekBase)) c.sendCursor = chunk;
  }
  c.peeking = false;
  c.peekEnds = false;
  c.lastRead = 0;
  return true;
}

/** The guest has everything before sndUna: the kernel need not keep it. */
export function discardAcknowledged(ctx: TcpContext, c: TcpConnection): void {
  for (let left = (c.sndUna - c.peekBase) | 0; left > 0; ) {
    const got = ctx.network.tcpDiscard?.(c.handle, left) ?? 0;
    if (got <= 0) return;
    c.peekBase = (c.peekBase + got) | 0;
    left -= got;
  }
}

export function appendChunk(ctx: TcpContext, c: TcpConnection, chunk: number): void {
  if (c.sendTail === NO_CHUNK) c.sendHead = chunk;
  else ctx.pool.next[c.sendTail] = chunk;
  c.sendTail = chunk;
}
