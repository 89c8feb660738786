/** The chunks a connection holds, given back: octets kept for retransmission, for the host, and ahead of a hole. */
import { NO_CHUNK } from "../../memory/chunk-pool.ts";
import type { TcpConnection } from "./connection.ts";
import type { TcpContext } from "./context.ts";

/** Frees the octets kept for retransmission. */
export function releaseSent(ctx: TcpContext, c: TcpConnection): void {
  while (c.sendHead !== NO_CHUNK) {
    const chunk = c.sendHead;
    c.sendHead = ctx.pool.next[chunk];
    ctx.pool.release(chunk);
  }
  c.sendTail = NO_CHUNK;
  c.sendCursor = NO_CHUNK;
}

/** Forgets what the host has not taken. */
export function releaseBacklog(ctx: TcpContext, c: TcpConnection): void {
  while (c.backlogHead !== NO_CHUNK) {
    const chunk = c.backlogHead;
    c.backlogHead = ctx.pool.next[chunk];
    ctx.pool.release(chunk);
  }
  c.backlogTail = NO_CHUNK;
  c.backlogOffset = 0;
  c.backlogOctets = 0;
}

export function releaseOutOfOrder(ctx: TcpContext, c: TcpConnection): void {
  while (c.outOfOrderHead !== NO_CHUNK) {
    const chunk = c.outOfOrderHead;
    c.outOfOrderHead = ctx.pool.next[chunk];
    ctx.pool.release(chunk);
  }
  c.outOfOrderOctets = 0;
}
