/**
 * A forward's client that uses keepalive is answered by the host's kernel, which tells nobody: a guest that is gone would
 * stay alive for it. The kernel counts the segments that came, though. On a connection on which nothing moves they are the
 * client's questions, and then the guest is asked, too.
 *
 * The count of an idle connection is looked at after 65 s, and each time after twice as long again when nothing came:
 * seven calls in the first two hours and no segment, which is all that a client costs that never asks.
 */
import { PEER_SEGMENTS } from "../../boundary.ts";
import { counter } from "../../metrics/counters.ts";
import { flowEndBy } from "../../metrics/flow-end.ts";
import type { TcpConnection } from "./connection.ts";
import type { TcpContext } from "./context.ts";
import { KEEPALIVE_IDLE_MS } from "./deadline.ts";
import { probe } from "./output.ts";
import { abortBoth } from "./teardown.ts";

const KEEPALIVES = counter("tcp-keepalives");
const GUEST_SILENT = flowEndBy("timed-out", "guest");

export const CLIENT_LOOK_MS = 65_000;
/** The guest is asked with every second question of the client's, so that each look sees one for sure. */
const QUESTIONS_PER_LOOK = 2;
const CLIENT_LOOK_MIN_MS = 2000;
/** Questions the guest may leave unanswered while the client goes on asking. */
const UNANSWERED_MAX = 3;

/** The guest of a forward's client has been silent for as long as the client is left alone. */
export function lookAtClient(ctx: TcpContext, c: TcpConnection): void {
  const { peerStatus } = ctx;
  // What is under way has timers of its own.
  if (c.sndUna !== c.sndNxt || c.handle < 0 || ctx.network.tcpStatus(c.handle, peerStatus) < 0) {
    c.idleAt = (ctx.now + c.clientPaceMs) | 0;
    return;
  }
  const isFirst = c.clientSegments < 0;
  const segments = peerStatus[PEER_SEGMENTS] & 0x3fffffff;
  const questions = (segments - c.clientSegments) & 0x3fffffff;
  const elapsedMs = (ctx.now - c.clientLookedAtMs) | 0;
  c.clientSegments = segments;
  c.clientLookedAtMs = ctx.now;
  if (isFirst || questions === 0) {
    c.keepaliveProbes = 0;
    if (!isFirst) c.clientPaceMs = Math.min(c.clientPaceMs * 2, KEEPALIVE_IDLE_MS);
  } else if (c.keepaliveProbes >= UNANSWERED_MAX) {
    abortBoth(ctx, c, GUEST_SILENT);
    return;
  } else {
    c.keepaliveProbes++;
    ctx.counters.add(KEEPALIVES, 1);
    const paceMs = ((elapsedMs * QUESTIONS_PER_LOOK) / questions) | 0;
    c.clientPaceMs = Math.min(Math.max(paceMs, CLIENT_LOOK_MIN_MS), KEEPALIVE_IDLE_MS);
    probe(ctx, c);
  }
  c.idleAt = (ctx.now + c.clientPaceMs) | 0;
}
