/**
 * Connections of the guest that end in the engine, without a host socket: a service takes the octets the guest sends and
 * sends octets of its own.
 *
 *   guest's SYN -> SYN-ACK at once -> established: the service is told, and gives the connection a number
 *   octets of the guest -> backlog -> `arrived(n)`; the service takes them with `takeOctets`, in its own step of the turn
 *   `sendOctets` -> send chunks -> guest, retransmitted like any other
 *
 * Nothing on the packet path knows of it: such a connection is one whose host is never readable and never writable. Its
 * `handle` tells it from others (local-service.ts).
 */
import { SMALL_CHUNK_OCTETS } from "../../limits.ts";
import { NO_CHUNK, USE_SEND } from "../../memory/chunk-pool.ts";
import { counter } from "../../metrics/counters.ts";
import { dropReason, HANDLED } from "../../metrics/drop-reasons.ts";
import type { Ends } from "../path.ts";
import { SYN_RECEIVED, type TcpConnection } from "./connection.ts";
import type { TcpContext } from "./context.ts";
import { startRetransmitTimer } from "./deadline.ts";
import { releaseBacklog } from "./holdings.ts";
import { LOCAL, type NameChecks } from "./local-service.ts";
import { newConnection, sendSyn, takeSyn, tellBegin } from "./open.ts";
import { appendChunk } from "./peek.ts";
import type { Segment } from "./segment.ts";
import { consumeBacklog } from "./to-host.ts";
import { windowUpdateDue } from "./window.ts";

const OPENED = counter("tcp-opened");
const OCTETS_TO_GUEST = counter("tcp-octets-to-guest");
const TABLE_FULL = dropReason("flow-table-full");

/**
 * The guest's SYN `s` between `ends`: answered at once. `refuser`: who says no to it, once it has shown a name; null: a service's.
 * Returns HANDLED or a drop reason.
 */
export function openLocal(ctx: TcpContext, ends: Ends, s: Segment, refuser: NameChecks | null): number {
  const c = newConnection(ctx, ends);
  if (c === null) return TABLE_FULL;
  c.state = SYN_RECEIVED;
  c.outbound = true;
  c.handle = LOCAL;
  c.hostWritable = false;
  takeSyn(ctx, c, s);
  c.setTargetRemote(ends);
  ctx.ledger.connected(c.id);
  tellBegin(ctx, c);
  refuser?.explain(c);
  ctx.counters.add(OPENED, 1);
  sendSyn(ctx, c);
  startRetransmitTimer(ctx, c);
  return HANDLED;
}

/** Octets on their way to the guest: stored, and not yet acknowledged. */
export function queuedOctets(c: TcpConnection): number {
  return (c.sndEnd - c.sndUna) | 0;
}

/** The octet `offset` octets into what waits; the caller knows from `backlogOctets` that there is one. */
export function peekOctet(ctx: TcpContext, c: TcpConnection, offset: number): number {
  const { pool } = ctx;
  let chunk = c.backlogHead;
  let at = c.backlogOffset + offset;
  while (at >= pool.filled[chunk]) {
    at -= pool.filled[chunk];
    chunk = pool.next[chunk];
  }
  return ctx.view.getUint8(pool.at(chunk) + at);
}

/** Copies `length` of the waiting octets, those from `offset` on (there are so many), to the start of `to`. */
export function peekOctets(
  ctx: TcpContext,
  c: TcpConnection,
  offset: number,
  length: number,
  to: Uint8Array,
): void {
  const { pool } = ctx;
  let chunk = c.backlogHead;
  let from = c.backlogOffset + offset;
  for (let done = 0; done < length; ) {
    const filled = pool.filled[chunk];
    const at = pool.at(chunk);
    for (; from < filled && done < length; from++) to[done++] = ctx.arena.octets[at + from];
    from -= filled;
    chunk = pool.next[chunk];
  }
}

/** Copies the first `length` of the waiting octets (there are so many) to `to` and takes them off. */
export function takeOctets(ctx: TcpContext, c: TcpConnection, to: number, length: number): void {
  const { pool } = ctx;
  let chunk = c.backlogHead;
  let offset = c.backlogOffset;
  for (let left = length; left > 0; chunk = pool.next[chunk]) {
    const piece = Math.min(left, pool.filled[chunk] - offset);
    const at = pool.at(chunk) + offset;
    ctx.arena.octets.copyWithin(to, at, at + piece);
    to += piece;
    left -= piece;
    offset = 0;
  }
  consumeBacklog(ctx, c, length);
  if (!c.guestFin && windowUpdateDue(ctx, c)) {
    c.ackPending = true;
    ctx.touch(c);
  }
}

/** Sends octets; they are copied. False when memory has run out, with a part of them sent: the stream is spoilt. */
export function sendOctets(ctx: TcpContext, c: TcpConnection, at: number, length: number): boolean {
  const { pool } = ctx;
  ctx.counters.add(OCTETS_TO_GUEST, length);
  c.octetsToGuest += length;
  while (length > 0) {
    let chunk = c.sendTail;
    if (chunk === NO_CHUNK || pool.filled[chunk] === pool.capacity(chunk)) {
      chunk = pool.take(USE_SEND, length > SMALL_CHUNK_OCTETS);
      if (chunk === NO_CHUNK) return false;
      pool.sequence[chunk] = c.sndEnd;
      appendChunk(ctx, c, chunk);
    }
    const piece = Math.min(length, pool.capacity(chunk) - pool.filled[chunk]);
    ctx.arena.octets.copyWithin(pool.at(chunk) + pool.filled[chunk], at, at + piece);
    pool.filled[chunk] += piece;
    if (c.sendCursor === NO_CHUNK) c.sendCursor = chunk;
    c.sndEnd = (c.sndEnd + piece) | 0;
    at += piece;
    length -= piece;
  }
  ctx.makeReady(c);
  return true;
}

/** No more octets from us: a FIN follows the last. What the guest still sends is not looked at. */
export function closeLocal(ctx: TcpContext, c: TcpConnection): void {
  c.hostEof = true;
  releaseBacklog(ctx, c);
  ctx.makeReady(c);
}
