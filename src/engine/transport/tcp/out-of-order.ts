/**
 * Octets that arrived ahead of a hole (RFC 9293 section 3.10.7.4, RFC 2018). A sorted list of chunks; each holds one
 * contiguous range that starts at `pool.sequence`, and ranges never overlap. Bounded by the window, by
 * CHUNKS_PER_CONNECTION and by the pool's share.
 */
import { NO_CHUNK, USE_BACKLOG, USE_OUT_OF_ORDER } from "../../memory/chunk-pool.ts";
import { before, beforeOrAt } from "../../wire/tcp.ts";
import type { TcpConnection } from "./connection.ts";
import type { TcpContext } from "./context.ts";
import { dsackDue, noteDuplicateOctets } from "./reordering.ts";

/** Alternate one-octet segments would otherwise take a chunk each and make the walk long. */
const CHUNKS_PER_CONNECTION = 128;
const SMALL_PIECE = 2048;

/** Stores what is new of `length` octets at `sequence`. False when there was no room for all of it. */
export function storeOutOfOrder(
  ctx: TcpContext,
  c: TcpConnection,
  sequence: number,
  at: number,
  length: number,
): boolean {
  const pool = ctx.pool;
  c.outOfOrderRecent = sequence;
  let previous = NO_CHUNK;
  let chunk = c.outOfOrderHead;
  let walked = 0;
  while (chunk !== NO_CHUNK && before(endOf(ctx, chunk), sequence)) {
    previous = chunk;
    chunk = pool.next[chunk];
    walked++;
  }
  while (length > 0) {
    if (chunk !== NO_CHUNK && beforeOrAt(pool.sequence[chunk], sequence)) {
      const known = (endOf(ctx, chunk) - sequence) | 0;
      previous = chunk;
      chunk = pool.next[chunk];
      walked++;
      if (known <= 0) continue;
      noteDuplicateOctets(c, sequence, Math.min(known, length));
      if (known >= length) return true;
      sequence = (sequence + known) | 0;
      at += known;
      length -= known;
      continue;
    }
    let piece = length;
    if (chunk !== NO_CHUNK) {
      const gap = (pool.sequence[chunk] - sequence) | 0;
      if (gap < piece) piece = gap;
    }
    const target = roomAfter(ctx, c, previous, chunk, sequence, piece, walked);
    if (target === NO_CHUNK) return false;
    const room = pool.capacity(target) - pool.filled[target];
    if (piece > room) piece = room;
    const to = pool.at(target) + pool.filled[target];
    ctx.arena.octets.copyWithin(to, at, at + piece);
    pool.filled[target] += piece;
    c.outOfOrderOctets += piece;
    sequence = (sequence + piece) | 0;
    at += piece;
    length -= piece;
    previous = target;
  }
  return true;
}

function endOf(ctx: TcpContext, chunk: number): number {
  return (ctx.pool.sequence[chunk] + ctx.pool.filled[chunk]) | 0;
}

/** The chunk before, if the piece continues it and it has room; else a new one between `previous` and `chunk`. */
function roomAfter(
  ctx: TcpContext,
  c: TcpConnection,
  previous: number,
  chunk: number,
  sequence: number,
  piece: number,
  walked: number,
): number {
  const pool = ctx.pool;
  if (
    previous !== NO_CHUNK &&
    endOf(ctx, previous) === sequence &&
    pool.filled[previous] < pool.capacity(previous)
  ) {
    return previous;
  }
  if (walked >= CHUNKS_PER_CONNECTION) return NO_CHUNK;
  const fresh = pool.take(USE_OUT_OF_ORDER, piece >= SMALL_PIECE);
  if (fresh === NO_CHUNK) return NO_CHUNK;
  pool.sequence[fresh] = sequence;
  pool.next[fresh] = chunk;
  if (previous === NO_CHUNK) c.outOfOrderHead = fresh;
  else pool.next[previous] = fresh;
  return fresh;
}

/**
 * Moves the chunks that are in order now to the end of the backlog and advances rcvNxt over them. The caller has
 * flushed what was gathered, so that order holds.
 */
export function takeInOrder(ctx: TcpContext, c: TcpConnection): void {
  const pool = ctx.pool;
  while (c.outOfOrderHead !== NO_CHUNK && beforeOrAt(pool.sequence[c.outOfOrderHead], c.rcvNxt)) {
    const chunk = c.outOfOrderHead;
    c.outOfOrderHead = pool.next[chunk];
    c.outOfOrderOctets -= pool.filled[chunk];
    const known = (c.rcvNxt - pool.sequence[chunk]) | 0;
    const fresh = pool.filled[chunk] - known;
    if (fresh <= 0) {
      pool.release(chunk);
      continue;
    }
    if (known > 0) {
      const at = pool.at(chunk);
      ctx.arena.octets.copyWithin(at, at + known, at + known + fresh);
      pool.filled[chunk] = fresh;
    }
    pool.changeUse(chunk, USE_BACKLOG);
    pool.next[chunk] = NO_CHUNK;
    if (c.backlogTail === NO_CHUNK) c.backlogHead = chunk;
    else pool.next[c.backlogTail] = chunk;
    c.backlogTail = chunk;
    c.backlogOctets += fresh;
    c.rcvNxt = (c.rcvNxt + fresh) | 0;
  }
}

/** How many SACK blocks fit and exist: at most 4, 3 beside timestamps (RFC 2018 section 3). */
export function sackBlocksFor(ctx: TcpContext, c: TcpConnection): number {
  const most = c.timestamps ? 3 : 4;
  let blocks = dsackDue(ctx, c) ? 1 : 0;
  let chunk = c.outOfOrderHead;
  while (chunk !== NO_CHUNK && blocks < most) {
    blocks++;
    chunk = afterRange(ctx, chunk);
  }
  return blocks;
}

/** Writes the duplicate to be reported, then the block of the newest arrival, then the others in order. */
export function writeSackBlocks(ctx: TcpContext, c: TcpConnection, at: number, blocks: number): void {
  const pool = ctx.pool;
  const view = ctx.view;
  if (dsackDue(ctx, c)) {
    view.setInt32(at, c.dsackLeft);
    view.setInt32(at + 4, c.dsackRight);
    at += 8;
    blocks--;
    if (blocks === 0) return;
  }
  let recent = NO_CHUNK;
  for (let chunk = c.outOfOrderHead; chunk !== NO_CHUNK; chunk = afterRange(ctx, chunk)) {
    if (beforeOrAt(pool.sequence[chunk], c.outOfOrderRecent)) recent = chunk;
  }
  if (recent === NO_CHUNK) recent = c.outOfOrderHead;
  view.setInt32(at, pool.sequence[recent]);
  view.setInt32(at + 4, rangeEnd(ctx, recent));
  let written = 1;
  for (let chunk = c.outOfOrderHead; written < blocks; chunk = afterRange(ctx, chunk)) {
    if (chunk === recent) continue;
    view.setInt32(at + written * 8, pool.sequence[chunk]);
    view.setInt32(at + written * 8 + 4, rangeEnd(ctx, chunk));
    written++;
  }
}

/** End of the contiguous stretch of chunks that starts at `chunk`. */
function rangeEnd(ctx: TcpContext, chunk: number): number {
  let end = endOf(ctx, chunk);
  let next = ctx.pool.next[chunk];
  while (next !== NO_CHUNK && ctx.pool.sequence[next] === end) {
    end = endOf(ctx, next);
    next = ctx.pool.next[next];
  }
  return end;
}

/** First chunk after the contiguous stretch that starts at `chunk`, or NO_CHUNK. */
function afterRange(ctx: TcpContext, chunk: number): number {
  let end = endOf(ctx, chunk);
  let next = ctx.pool.next[chunk];
  while (next !== NO_CHUNK && ctx.pool.sequence[next] === end) {
    end = endOf(ctx, next);
    next = ctx.pool.next[next];
  }
  return next;
}
