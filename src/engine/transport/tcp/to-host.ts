/**
 * Guest to host: octets that arrived in order go to the host socket, one `tcpSend` per connection and batch.
 *
 * During a batch payload is only noted (gathered) where the link left it. The flush after the batch sends the slices;
 * what the kernel does not take is copied to the backlog. Only then does `rcvTaken` move, and one ACK says so. If
 * even the backlog has no room the rest is forgotten, `rcvNxt` goes back, and the guest will send it again.
 */

import { EAGAIN, ENOBUFS } from "../../boundary.ts";
import { SMALL_CHUNK_OCTETS } from "../../limits.ts";
import { NO_CHUNK, USE_BACKLOG } from "../../memory/chunk-pool.ts";
import { counter } from "../../metrics/counters.ts";
import { dropReason } from "../../metrics/drop-reasons.ts";
import { flowEndBy } from "../../metrics/flow-end.ts";

import {
  CLOSE_WAIT,
  CLOSED,
  CLOSING,
  ESTABLISHED,
  FIN_WAIT_1,
  FIN_WAIT_2,
  type TcpConnection,
} from "./connection.ts";
import { GATHER_MAX, GATHER_SEND_MAX, type TcpContext } from "./context.ts";
import { arm, waitForGuest } from "./deadline.ts";
import { LOCAL, localArrived } from "./local-service.ts";
import { takeInOrder } from "./out-of-order.ts";
import { sendAck } from "./output.ts";
import { abortBoth, closeHostIfDone, enterTimeWait } from "./teardown.ts";
import { noteDelivered, windowUpdateDue } from "./window.ts";

/** How long the ACK of less than a segment may wait for something to carry it. */
export const ACK_DELAY_MS = 1;

const OCTETS_FROM_GUEST = counter("tcp-octets-from-guest");
const MEMORY_EXHAUSTED = dropReason("memory-exhausted");
const HOST_RESET = flowEndBy("host-reset", "host");

/** Notes `length` octets at `at` as the next in order. */
export function gather(ctx: TcpContext, c: TcpConnection, at: number, length: number): void {
  if (ctx.gatherCount === GATHER_MAX) flushTouched(ctx);
  const entry = ctx.gatherCount++;
  ctx.gatherAt[entry] = at;
  ctx.gatherLength[entry] = length;
  ctx.gatherNext[entry] = -1;
  if (c.gatherTail < 0) c.gatherHead = entry;
  else ctx.gatherNext[c.gatherTail] = entry;
  c.gatherTail = entry;
  c.gatherOctets += length;
  c.rcvNxt = (c.rcvNxt + length) | 0;
  c.unacknowledged += length;
  ctx.touch(c);
  if (c.outOfOrderHead !== NO_CHUNK) closeHole(ctx, c);
}

/** The octets just gathered may reach stored ones: deliver, then let those follow. */
function closeHole(ctx: TcpContext, c: TcpConnection): void {
  if (((ctx.pool.sequence[c.outOfOrderHead] - c.rcvNxt) | 0) > 0) return;
  deliver(ctx, c);
  if (c.state === CLOSED) return;
  const before = c.rcvNxt;
  takeInOrder(ctx, c);
  countOctets(ctx, c, (c.rcvNxt - before) | 0);
  if (c.finKnown && c.rcvNxt === c.finAt) acceptFin(ctx, c);
  drainBacklog(ctx, c);
  if (c.handle <= LOCAL) localArrived(ctx.local, c);
}

/** The guest's FIN is next in order. It counts once everything before it has a place. */
export function acceptFin(ctx: TcpContext, c: TcpConnection): void {
  c.finKnown = false;
  c.guestFin = true;
  c.rcvNxt = (c.rcvNxt + 1) | 0;
  c.unacknowledged++;
  ctx.touch(c);
}

/** Flushes every connection this batch touched. */
export function flushTouched(ctx: TcpContext): void {
  for (let i = 0; i < ctx.touchedCount; i++) {
    const c = ctx.connections[ctx.touched[i]];
    if (c === null || !c.touched) continue;
    c.touched = false;
    if (c.state !== CLOSED) flush(ctx, c);
  }
  ctx.touchedCount = 0;
  ctx.gatherCount = 0;
}

function flush(ctx: TcpContext, c: TcpConnection): void {
  if (c.gatherOctets > 0) deliver(ctx, c);
  if (c.state === CLOSED) return;
  c.rcvTaken = c.rcvNxt;
  if (c.guestFin && !c.guestFinTaken) {
    c.guestFinTaken = true;
    finTaken(ctx, c);
  }
  shutdownHostIfDrained(ctx, c);
  if (c.state === CLOSED) return;
  if (c.unacknowledged > 0 && !c.ackPending) {
    if (mayWait(ctx, c)) ctx.delayAck(c);
    else c.ackPending = true;
  }
  if (c.ackPending && !sendAck(ctx, c)) ctx.makeReady(c);
}

/**
 * Whether the ACK of what was taken may wait for the answer to carry it (RFC 9293 section 3.8.6.3): less than a
 * segment, nothing amiss. It waits until a turn in which nothing happens, ACK_DELAY_MS at most, so that a guest whose
 * Nagle algorithm waits for it loses no time that anyone sees.
 */
function mayWait(ctx: TcpContext, c: TcpConnection): boolean {
  return (
    c.unacknowledged < Math.min(c.mss, ctx.mtu >> 1) &&
    c.backlogOctets === 0 &&
    c.outOfOrderHead === NO_CHUNK &&
    c.state >= ESTABLISHED &&
    c.state <= CLOSE_WAIT
  );
}

/** Sends the ACKs that waited long enough. */
export function flushDelayedAcks(ctx: TcpContext): void {
  if (ctx.delayedAcks === 0 || ((ctx.now - ctx.delayedSinceMs) | 0) < ACK_DELAY_MS) return;
  for (let c = ctx.nextDelayedAck(); c !== null; c = ctx.nextDelayedAck()) {
    if (c.state !== CLOSED && c.unacknowledged > 0 && !sendAck(ctx, c)) ctx.makeReady(c);
  }
}

/** State changes of RFC 9293 section 3.10.7.4, eighth step. */
function finTaken(ctx: TcpContext, c: TcpConnection): void {
  if (c.state === ESTABLISHED) {
    c.state = CLOSE_WAIT;
    if (!c.peerAsked) waitForGuest(c);
    arm(ctx, c);
  } else if (c.state === FIN_WAIT_1) c.state = CLOSING;
  else if (c.state === FIN_WAIT_2) enterTimeWait(ctx, c);
  if (c.handle <= LOCAL) localArrived(ctx.local, c);
}

/** Hands the gathered octets to the host, or keeps them. */
function deliver(ctx: TcpContext, c: TcpConnection): void {
  let entry = c.gatherHead;
  let left = c.gatherOctets;
  c.gatherHead = -1;
  c.gatherTail = -1;
  c.gatherOctets = 0;
  if (left === 0) return;
  countOctets(ctx, c, left);
  ctx.noteReceiver(c);
  let skip = 0;
  while (left > 0 && c.backlogOctets === 0 && c.hostWritable) {
    let count = 0;
    let offered = 0;
    for (let e = entry; e >= 0 && count < GATHER_SEND_MAX; e = ctx.gatherNext[e]) {
      ctx.sendList[count * 2] = ctx.gatherAt[e];
      ctx.sendList[count * 2 + 1] = ctx.gatherLength[e];
      offered += ctx.gatherLength[e];
      count++;
    }
    let taken = ctx.network.tcpSend(c.handle, ctx.sendList, count);
    if (taken < 0) {
      if (taken !== EAGAIN && taken !== ENOBUFS) {
        abortBoth(ctx, c, HOST_RESET, taken);
        return;
      }
      taken = 0;
    }
    if (taken < offered) c.hostWritable = false;
    left -= taken;
    noteDelivered(c, taken);
    for (; entry >= 0 && taken >= ctx.gatherLength[entry]; entry = ctx.gatherNext[entry]) {
      taken -= ctx.gatherLength[entry];
    }
    // Of a slice, only where the host did not take all: then this was the last call.
    skip = taken;
  }
  for (; entry >= 0 && left > 0; entry = ctx.gatherNext[entry]) {
    const length = ctx.gatherLength[entry] - skip;
    const kept = appendBacklog(ctx, c, ctx.gatherAt[entry] + skip, length);
    left -= kept;
    skip = 0;
    if (kept < length) break;
  }
  if (left > 0) forget(ctx, c, left);
}

/** Octets are counted once, when they are next in order. */
function countOctets(ctx: TcpContext, c: TcpConnection, octets: number): void {
  c.octetsFromGuest += octets;
  ctx.counters.add(OCTETS_FROM_GUEST, octets);
}

/** The last `octets` found no room anywhere: as if they had never come. */
function forget(ctx: TcpContext, c: TcpConnection, octets: number): void {
  countOctets(ctx, c, -octets);
  if (c.guestFin && !c.guestFinTaken) {
    c.guestFin = false;
    octets++;
  }
  c.rcvNxt = (c.rcvNxt - octets) | 0;
  ctx.counters.drop(MEMORY_EXHAUSTED);
}

/** Copies octets to the end of the backlog. Returns how many found room. */
function appendBacklog(ctx: TcpContext, c: TcpConnection, at: number, length: number): number {
  const pool = ctx.pool;
  let kept = 0;
  while (kept < length) {
    let chunk = c.backlogTail;
    if (chunk === NO_CHUNK || pool.filled[chunk] === pool.capacity(chunk)) {
      const fresh = pool.take(USE_BACKLOG, length - kept > SMALL_CHUNK_OCTETS);
      if (fresh === NO_CHUNK) break;
      if (chunk === NO_CHUNK) c.backlogHead = fresh;
      else pool.next[chunk] = fresh;
      c.backlogTail = fresh;
      chunk = fresh;
    }
    const room = pool.capacity(chunk) - pool.filled[chunk];
    const piece = Math.min(length - kept, room);
    const to = pool.at(chunk) + pool.filled[chunk];
    ctx.arena.octets.copyWithin(to, at + kept, at + kept + piece);
    pool.filled[chunk] += piece;
    kept += piece;
  }
  c.backlogOctets += kept;
  if (c.handle <= LOCAL) localArrived(ctx.local, c);
  return kept;
}

/** The host socket is writable: sends what waits; a window that opened is told to the guest. */
export function drainBacklog(ctx: TcpContext, c: TcpConnection): void {
  const pool = ctx.pool;
  while (c.backlogOctets > 0 && c.hostWritable) {
    let count = 0;
    let offered = 0;
    let offset = c.backlogOffset;
    for (let chunk = c.backlogHead; chunk !== NO_CHUNK && count < GATHER_SEND_MAX; chunk = pool.next[chunk]) {
      const octets = pool.filled[chunk] - offset;
      ctx.sendList[count * 2] = pool.at(chunk) + offset;
      ctx.sendList[count * 2 + 1] = octets;
      offered += octets;
      count++;
      offset = 0;
    }
    const taken = ctx.network.tcpSend(c.handle, ctx.sendList, count);
    if (taken < 0 && taken !== EAGAIN && taken !== ENOBUFS) {
      abortBoth(ctx, c, HOST_RESET, taken);
      return;
    }
    if (taken < offered) c.hostWritable = false;
    if (taken > 0) consumeBacklog(ctx, c, taken);
  }
  shutdownHostIfDrained(ctx, c);
  // After its FIN the guest has no use for a window, and may no longer know the connection.
  if (c.state !== CLOSED && !c.guestFin && windowUpdateDue(ctx, c)) {
    c.ackPending = true;
    ctx.touch(c);
  }
}

export function consumeBacklog(ctx: TcpContext, c: TcpConnection, taken: number): void {
  const pool = ctx.pool;
  c.backlogOctets -= taken;
  c.windowUsed += taken;
  taken += c.backlogOffset;
  while (c.backlogHead !== NO_CHUNK && taken >= pool.filled[c.backlogHead]) {
    const chunk = c.backlogHead;
    taken -= pool.filled[chunk];
    c.backlogHead = pool.next[chunk];
    pool.release(chunk);
  }
  if (c.backlogHead === NO_CHUNK) c.backlogTail = NO_CHUNK;
  c.backlogOffset = taken;
}

/** The guest's FIN follows its last octet: the host hears of it once the backlog is empty. */
function shutdownHostIfDrained(ctx: TcpContext, c: TcpConnection): void {
  if (!c.guestFinTaken || c.hostShutdown || c.backlogOctets > 0 || c.handle < 0) return;
  c.hostShutdown = true;
  ctx.network.tcpShutdown(c.handle);
  closeHostIfDone(ctx, c);
}
