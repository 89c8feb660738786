/**
 * Host to guest: octets are read from the host socket straight into a chunk and leave from there; the chunk stays
 * until the guest has acknowledged its last octet, so a retransmission is another frame over the same octets.
 *
 * Nothing is read that cannot be sent at once: the host's socket buffer is the queue, and a guest that does not read
 * fills that, not us. `pump` is called whenever one of its conditions may have changed: the host became readable, an
 * ACK opened a window, the link took frames, a timer asks for a retransmission.
 */

import { EAGAIN, ENOBUFS } from "../../boundary.ts";
import { LARGE_CHUNK_OCTETS, SMALL_CHUNK_OCTETS } from "../../limits.ts";
import { NO_CHUNK, USE_SEND } from "../../memory/chunk-pool.ts";
import { counter } from "../../metrics/counters.ts";
import { flowEndBy } from "../../metrics/flow-end.ts";
import { ACK, before, beforeOrAt, FIN, PSH, TCP_HEADER_OCTETS } from "../../wire/tcp.ts";
import { TIMESTAMP_OPTION_OCTETS } from "../../wire/tcp-options.ts";
import {
  CLOSE_WAIT,
  ESTABLISHED,
  FIN_WAIT_1,
  LAST_ACK,
  RECOVERY_NONE,
  type TcpConnection,
  TIMER_NONE,
  TIMER_PERSIST,
} from "./connection.ts";
import { READ_CHUNKS_MAX, type TcpContext } from "./context.ts";
import { startPersistTimer, startRetransmitTimer } from "./deadline.ts";
import { sendBare, sendPayload } from "./output.ts";
import {
  appendChunk,
  discardAcknowledged,
  mayPeek,
  mustStopPeeking,
  peek,
  releaseFrames,
  stopPeeking,
} from "./peek.ts";
import { lostEnd, nextLost, pipeOctets } from "./recovery.ts";
import { abortBoth, closeHostIfDone } from "./teardown.ts";

const OCTETS_TO_GUEST = counter("tcp-octets-to-guest");
const OCTETS_PEEKED = counter("tcp-octets-peeked");
const RETRANSMITS = counter("tcp-retransmits");
const HOST_RESET = flowEndBy("host-reset", "host");

const IP_TOTAL_MAX = 65_535;
/** A tail chunk with less room than this is not worth another read. */
const LARGE_TAIL_ROOM = 8192;
const SMALL_TAIL_ROOM = 256;

/** The most payload one frame to this guest may carry: whole segments, so that no super-frame ends in a runt. */
function framePayloadMax(ctx: TcpContext, c: TcpConnection): number {
  if (!ctx.egress.tcpOffload) return c.mss;
  const headers = c.ipOctets + TCP_HEADER_OCTETS + (c.timestamps ? TIMESTAMP_OPTION_OCTETS : 0);
  const room = IP_TOTAL_MAX - headers;
  return room - (room % c.mss);
}

/** Sends what may be sent now: lost octets first, then stored ones, then what the host has, then FIN. */
export function pump(ctx: TcpContext, c: TcpConnection): void {
  if (c.state !== ESTABLISHED && c.state !== CLOSE_WAIT && !c.finSent) return;
  if (c.peeking && mustStopPeeking(ctx, c) && !stopPeeking(ctx, c)) return;
  if (c.recovery !== RECOVERY_NONE && !retransmitLost(ctx, c)) return;
  if (c.finSent) return;
  if (!sendStored(ctx, c)) return;
  if (c.hostReadable && !c.hostEof) {
    const usable = usableWindow(c);
    if (!worthSending(c, usable)) {
      if (c.sndUna === c.sndNxt) startPersistTimer(ctx, c);
      return;
    }
    if (ctx.egress.payloadRoom() === 0) {
      ctx.makeReady(c);
      return;
    }
    const read = mayPeek(ctx, c) ? peekHost(ctx, c, usable) : readHost(ctx, c, usable);
    if (!read) return;
    if (!sendStored(ctx, c)) return;
    // One read, and others get their turn: what it gave leaves while it is still in the cache.
    if (c.hostReadable && !c.hostEof) ctx.makeReady(c);
  }
  if (c.hostEof && c.sndNxt === c.sndEnd) sendFin(ctx, c);
}

/** Octets beyond sndNxt that the guest's window and the congestion window allow. */
function usableWindow(c: TcpConnection): number {
  const flight = (c.sndNxt - c.sndUna) | 0;
  const offered = c.sndWnd - flight;
  const uncongested = c.cwnd - (c.recovery === RECOVERY_NONE ? flight - c.sackedOctets : pipeOctets(c));
  const usable = Math.min(offered, uncongested);
  return Math.max(usable, 0);
}

/**
 * Sender's silly window avoidance (RFC 9293 section 3.8.6.2.1): a full segment, or half of the largest window, or
 * whatever fits once the override timeout has passed.
 */
function worthSending(c: TcpConnection, usable: number): boolean {
  if (usable >= c.mss) return true;
  return usable > 0 && (c.sendSmall || usable * 2 >= c.sndWndMax);
}

/** The override timeout passed: a guest whose window stays small still gets what it has room for. */
export function pumpSmall(ctx: TcpContext, c: TcpConnection): void {
  c.sendSmall = true;
  pump(ctx, c);
  c.sendSmall = false;
}

/** One read from the host straight into the guest's buffers, sent at once. False when nothing came. */
function peekHost(ctx: TcpContext, c: TcpConnection, usable: number): boolean {
  const each = framePayloadMax(ctx, c);
  const most = Math.min(usable, each * Math.min(READ_CHUNKS_MAX, ctx.egress.payloadRoom()));
  const asked = most > c.mss ? most - (most % c.mss) : most;
  const got = peek(ctx, c, each, asked);
  if (got === ENOBUFS) {
    ctx.makeReady(c);
    return false;
  }
  if (got <= 0) {
    if (got === 0 && !stopPeeking(ctx, c)) return false;
    hostEnded(ctx, c, got);
    return false;
  }
  c.lastRead = got === asked ? LARGE_CHUNK_OCTETS : Math.min(got, LARGE_CHUNK_OCTETS);
  c.octetsToGuest += got;
  ctx.counters.add(OCTETS_TO_GUEST, got);
  ctx.counters.add(OCTETS_PEEKED, got);
  c.sndEnd = (c.sndEnd + got) | 0;
  // Frames that are all full may be as many as the guest had buffers for: no edge tells of what was left in the socket.
  const isDrained = got < asked && got % each !== 0;
  if (isDrained && !c.hostHangup && !c.hostUrgent) c.hostReadable = false;
  const { receiveList } = ctx;
  let i = 0;
  for (; c.sndNxt !== c.sndEnd; i += 2) {
    const length = receiveList[i + 1];
    const last = ((c.sndNxt + length) | 0) === c.sndEnd;
    const flags = last && !c.hostReadable ? ACK | PSH : ACK;
    if (!sendPayload(ctx, c, c.sndNxt, flags, receiveList[i], length)) break;
    noteSent(ctx, c, length);
  }
  ctx.egress.flush();
  if (c.sndNxt === c.sndEnd) return true;
  // The guest is not known any more: what it has not got goes into chunks, and the timer brings it back.
  releaseFrames(ctx, i, (c.sndEnd - c.sndNxt) | 0);
  if (stopPeeking(ctx, c)) startRetransmitTimer(ctx, c);
  return false;
}

/** One read from the host into chunks. False when nothing came. */
function readHost(ctx: TcpContext, c: TcpConnection, usable: number): boolean {
  const intoTail = tailHasRoom(ctx, c);
  const count = offerRoom(ctx, c, usable, intoTail);
  if (count === 0) {
    ctx.waitForMemory(c);
    return false;
  }
  const got = ctx.network.tcpReceive(c.handle, ctx.receiveList, count);
  const asked = spread(ctx, c, count, got, intoTail);
  if (got <= 0) {
    hostEnded(ctx, c, got);
    return false;
  }
  c.lastRead = got === asked ? LARGE_CHUNK_OCTETS : Math.min(got, LARGE_CHUNK_OCTETS);
  c.octetsToGuest += got;
  ctx.counters.add(OCTETS_TO_GUEST, got);
  // A short read means drained, unless the peer's FIN or an urgent mark is waiting behind it.
  if (got < asked && !c.hostHangup && !c.hostUrgent) c.hostReadable = false;
  return true;
}

function tailHasRoom(ctx: TcpContext, c: TcpConnection): boolean {
  const tail = c.sendTail;
  if (tail === NO_CHUNK) return false;
  const capacity = ctx.pool.capacity(tail);
  const worth = capacity === SMALL_CHUNK_OCTETS ? SMALL_TAIL_ROOM : LARGE_TAIL_ROOM;
  return capacity - ctx.pool.filled[tail] >= worth;
}

/** Octets to ask for in `room`: whole super-frames, or many plain frames, of a fresh large chunk; else whole segments. */
function readLength(ctx: TcpContext, c: TcpConnection, room: number, usable: number): number {
  const length = Math.min(usable, room);
  const frame = framePayloadMax(ctx, c);
  if (length > frame && room === LARGE_CHUNK_OCTETS) return length - (length % frame);
  return length > c.mss ? length - (length % c.mss) : length;
}

/**
 * Lists where the octets may go: the room left in the last chunk, then fresh ones, several for a host that filled all it
 * was offered last. Returns how many; none without memory.
 */
function offerRoom(ctx: TcpContext, c: TcpConnection, usable: number, intoTail: boolean): number {
  const pool = ctx.pool;
  const most = c.lastRead === LARGE_CHUNK_OCTETS ? READ_CHUNKS_MAX : 1;
  let left = usable;
  let count = 0;
  while (count < most && (count === 0 || left >= LARGE_CHUNK_OCTETS)) {
    const tail = intoTail && count === 0;
    const chunk = tail ? c.sendTail : pool.take(USE_SEND, c.lastRead >= SMALL_CHUNK_OCTETS);
    if (chunk === NO_CHUNK) break;
    const filled = pool.filled[chunk];
    const length = readLength(ctx, c, pool.capacity(chunk) - filled, left);
    ctx.receiveChunks[count] = chunk;
    ctx.receiveList[2 * count] = pool.at(chunk) + filled;
    ctx.receiveList[2 * count + 1] = length;
    left -= length;
    count++;
  }
  return count;
}

/** Notes the octets that were read in their chunks and gives empty ones back. Returns the octets asked for. */
function spread(ctx: TcpContext, c: TcpConnection, count: number, got: number, intoTail: boolean): number {
  const pool = ctx.pool;
  let asked = 0;
  for (let i = 0; i < count; i++) {
    const chunk = ctx.receiveChunks[i];
    const fresh = i > 0 || !intoTail;
    const length = ctx.receiveList[2 * i + 1];
    const octets = Math.max(0, Math.min(got - asked, length));
    asked += length;
    if (octets > 0) {
      if (fresh) {
        pool.sequence[chunk] = c.sndEnd;
        appendChunk(ctx, c, chunk);
      }
      pool.filled[chunk] += octets;
      if (c.sendCursor === NO_CHUNK) c.sendCursor = chunk;
      c.sndEnd = (c.sndEnd + octets) | 0;
    } else if (fresh) {
      pool.release(chunk);
    }
  }
  return asked;
}

/** The host gave nothing: drained, FIN, or an error that the guest sees as a reset. */
function hostEnded(ctx: TcpContext, c: TcpConnection, result: number): void {
  c.hostReadable = false;
  if (result === EAGAIN) {
    c.hostUrgent = false;
    return;
  }
  if (result < 0) {
    abortBoth(ctx, c, HOST_RESET, result);
    return;
  }
  c.hostEof = true;
  closeHostIfDone(ctx, c);
  if (c.sndNxt === c.sndEnd) sendFin(ctx, c);
}

/** Sends stored octets that were never sent. False when some must stay. */
function sendStored(ctx: TcpContext, c: TcpConnection): boolean {
  const pool = ctx.pool;
  const most = framePayloadMax(ctx, c);
  while (c.sndNxt !== c.sndEnd) {
    if (ctx.egress.payloadRoom() === 0) {
      ctx.makeReady(c);
      return false;
    }
    const chunk = c.sendCursor;
    const offset = (c.sndNxt - pool.sequence[chunk]) | 0;
    const inChunk = pool.filled[chunk] - offset;
    const usable = usableWindow(c);
    let length = Math.min(inChunk, most);
    if (length > usable) {
      if (!worthSending(c, usable)) {
        if (c.sndUna === c.sndNxt) startPersistTimer(ctx, c);
        return false;
      }
      length = usable > c.mss ? usable - (usable % c.mss) : usable;
    }
    const last = ((c.sndNxt + length) | 0) === c.sndEnd;
    const flags = last && !c.hostReadable ? ACK | PSH : ACK;
    if (!sendPayload(ctx, c, c.sndNxt, flags, pool.at(chunk) + offset, length)) {
      // The guest is not known any more or the link is full: the retransmission timer brings it back.
      startRetransmitTimer(ctx, c);
      return false;
    }
    noteSent(ctx, c, length);
    if (length === inChunk) c.sendCursor = pool.next[chunk];
  }
  return true;
}

function noteSent(ctx: TcpContext, c: TcpConnection, length: number): void {
  if (!c.timestamps && !c.rttTiming) {
    c.rttTiming = true;
    c.rttSequence = (c.sndNxt + length) | 0;
    c.rttStartMs = ctx.now;
  }
  c.sndNxt = (c.sndNxt + length) | 0;
  if (c.timerKind === TIMER_NONE || c.timerKind === TIMER_PERSIST) {
    c.backoff = 0;
    startRetransmitTimer(ctx, c);
  }
}

function sendFin(ctx: TcpContext, c: TcpConnection): void {
  if (!sendBare(ctx, c, c.sndEnd, FIN | ACK)) {
    ctx.makeReady(c);
    return;
  }
  c.finSent = true;
  c.state = c.state === CLOSE_WAIT ? LAST_ACK : FIN_WAIT_1;
  noteSent(ctx, c, 1);
}

/** Sends again what counts as lost, as far as the congestion window allows. False when the link is full. */
function retransmitLost(ctx: TcpContext, c: TcpConnection): boolean {
  const most = framePayloadMax(ctx, c);
  let pipe = pipeOctets(c);
  for (let from = nextLost(c); from !== c.lossUntil; from = nextLost(c)) {
    const allowed = c.cwnd - pipe;
    if (allowed < c.mss && pipe > 0 && from !== c.sndUna) return true;
    if (ctx.egress.payloadRoom() === 0) {
      ctx.makeReady(c);
      return false;
    }
    let length = (lostEnd(c, from) - from) | 0;
    if (length > most) length = most;
    if (length > allowed) length = allowed > c.mss ? allowed - (allowed % c.mss) : Math.min(c.mss, length);
    const sent = sendAgain(ctx, c, from, length);
    if (sent === 0) return false;
    c.retransmitNext = (from + sent) | 0;
    pipe += sent;
  }
  return true;
}

/** One frame of octets already sent before; it may be shorter than asked. Returns its sequence length, 0 on failure. */
function sendAgain(ctx: TcpContext, c: TcpConnection, from: number, length: number): number {
  const pool = ctx.pool;
  if (from === c.sndEnd) {
    if (!c.finSent || !sendBare(ctx, c, c.sndEnd, FIN | ACK)) return 0;
    countRetransmit(ctx, c);
    return 1;
  }
  let chunk = c.sendHead;
  while (chunk !== NO_CHUNK && beforeOrAt((pool.sequence[chunk] + pool.filled[chunk]) | 0, from))
    chunk = pool.next[chunk];
  if (chunk === NO_CHUNK || before(from, pool.sequence[chunk])) return 0;
  const offset = (from - pool.sequence[chunk]) | 0;
  const inChunk = pool.filled[chunk] - offset;
  const octets = Math.min(length, inChunk);
  if (!sendPayload(ctx, c, from, ACK, pool.at(chunk) + offset, octets)) return 0;
  countRetransmit(ctx, c);
  c.undoOctets = (c.undoOctets + octets) | 0;
  c.rttTiming = false;
  return octets;
}

function countRetransmit(ctx: TcpContext, c: TcpConnection): void {
  ctx.counters.add(RETRANSMITS, 1);
  ctx.ledger.retransmits[c.id]++;
}

/** The guest has everything before sndUna: frees chunks that lie wholly before it. */
export function freeAcknowledged(ctx: TcpContext, c: TcpConnection): void {
  const pool = ctx.pool;
  if (c.peeking) discardAcknowledged(ctx, c);
  while (c.sendHead !== NO_CHUNK) {
    const chunk = c.sendHead;
    const end = (pool.sequence[chunk] + pool.filled[chunk]) | 0;
    if (before(c.sndUna, end)) return;
    // The chunk being filled stays while its octets are unsent or room in it may be used; with all acknowledged it goes.
    c.sendHead = pool.next[chunk];
    if (c.sendHead === NO_CHUNK) c.sendTail = NO_CHUNK;
    pool.release(chunk);
  }
}
