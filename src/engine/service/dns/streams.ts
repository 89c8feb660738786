/**
 * The guest's TCP connections to the DNS address (RFC 1035 section 4.2.2, RFC 7766). Each carries any number of queries,
 * answered in the order in which answers come. Queries that find no room wait in the connection, whose window closes.
 *
 * A connection ends when the guest ends it, after a while without a query, or when another one needs its place.
 */
import {
  DNS_QUERY_OCTETS_MAX,
  DNS_STREAM_QUERIES_MAX,
  DNS_STREAM_QUEUE_OCTETS,
  DNS_STREAMS_MAX,
} from "../../limits.ts";
import { counter } from "../../metrics/counters.ts";
import { dropReason } from "../../metrics/drop-reasons.ts";
import { flowEndBy } from "../../metrics/flow-end.ts";
import type { Ends } from "../../transport/path.ts";
import type { TcpConnection } from "../../transport/tcp/connection.ts";
import type { TcpContext } from "../../transport/tcp/context.ts";
import { closeLocal, peekOctet, queuedOctets, sendOctets, takeOctets } from "../../transport/tcp/local.ts";
import type { LocalService } from "../../transport/tcp/local-service.ts";
import { abortBoth } from "../../transport/tcp/teardown.ts";
import { DNS_HEADER_OCTETS } from "../../wire/dns.ts";
import type { DnsForwarder } from "./forwarder.ts";
import { LENGTH_OCTETS } from "./tcp-upstream.ts";

/** RFC 7766 section 6.2.3 leaves it to the server: a few seconds and more. */
const STREAM_IDLE_MS = 20_000;
/** How long the guest has to close its side after ours. */
const LINGER_MS = 10_000;
/** When a connection that found no room is looked at again. */
const RETRY_MS = 10;

const FREE = 0;
const OPEN = 1;
/** Our FIN is sent, or follows the last answer. */
const CLOSING = 2;
/** To be reset: its stream is spoilt. */
const BROKEN = 3;

const MALFORMED_STREAM = counter("dns-tcp-malformed");
const MALFORMED = dropReason("dns-malformed");
const EVICTED = flowEndBy("evicted", "sluice");
const CLOSED_HERE = flowEndBy("closed", "sluice");

export class DnsStreams implements LocalService {
  /** Connections there are. */
  open = 0;
  private readonly connections = new Array<TcpConnection | null>(DNS_STREAMS_MAX).fill(null);
  private readonly state = new Uint8Array(DNS_STREAMS_MAX);
  /** There is something to look at. */
  private readonly pending = new Uint8Array(DNS_STREAMS_MAX);
  /** The last query or answer; of one that is closing, when it began to. */
  private readonly activeAt = new Int32Array(DNS_STREAMS_MAX);
  /** A query waits for room since `retryAt` was set. */
  private readonly blocked = new Uint8Array(DNS_STREAMS_MAX);
  private retryAt = 0;
  private now = 0;

  /** `scratchAt`: LENGTH_OCTETS and DNS_QUERY_OCTETS_MAX octets of the arena. */
  constructor(
    private readonly ctx: TcpContext,
    private readonly forwarder: DnsForwarder,
    private readonly scratchAt: number,
  ) {}

  /** The ends of that connection, or null when it is gone. */
  ends(stream: number): Ends | null {
    return this.connections[stream];
  }

  // --- the TCP layer's side ----------------------------------------------------------------------------------------

  opened(c: TcpConnection): number {
    let n = this.state.indexOf(FREE);
    if (n < 0) {
      n = this.leastMissed();
      const old = this.connections[n];
      if (old !== null) abortBoth(this.ctx, old, EVICTED);
    }
    this.connections[n] = c;
    this.state[n] = OPEN;
    this.pending[n] = 0;
    this.blocked[n] = 0;
    this.activeAt[n] = this.ctx.now;
    this.open++;
    return n;
  }

  /** The connection without a query under way that has been idle longest; if all have some, the idlest of them. */
  private leastMissed(): number {
    let found = 0;
    for (let n = 1; n < DNS_STREAMS_MAX; n++) {
      const waits = this.forwarder.waitingOnStream(n) > 0;
      const foundWaits = this.forwarder.waitingOnStream(found) > 0;
      const isIdler = ((this.activeAt[n] - this.activeAt[found]) | 0) < 0;
      if (waits === foundWaits ? isIdler : foundWaits) found = n;
    }
    return found;
  }

  arrived(n: number): void {
    this.pending[n] = 1;
  }

  gone(n: number): void {
    this.connections[n] = null;
    this.state[n] = FREE;
    this.open--;
    this.forwarder.streamGone(n);
  }

  // --- the forwarder's side ----------------------------------------------------------------------------------------

  /** Sends a message; the two octets in front of it are overwritten with its length. */
  reply(n: number, at: number, length: number): void {
    const c = this.connections[n];
    if (c === null || this.state[n] !== OPEN) return;
    this.ctx.view.setUint16(at - LENGTH_OCTETS, length);
    if (!sendOctets(this.ctx, c, at - LENGTH_OCTETS, LENGTH_OCTETS + length)) this.state[n] = BROKEN;
    this.activeAt[n] = this.now;
    this.pending[n] = 1;
  }

  hasRoom(n: number): boolean {
    const c = this.connections[n];
    return c !== null && queuedOctets(c) < DNS_STREAM_QUEUE_OCTETS;
  }

  /** Nothing more comes for a question that has had answers: the guest sees the end, as it would of the resolver's. */
  end(n: number): void {
    const c = this.connections[n];
    if (c !== null && this.state[n] === OPEN) this.close(n, c);
  }

  // --- a step of the turn ------------------------------------------------------------------------------------------

  /** Takes queries from connections that have some; ends those that are due. */
  work(nowMs: number): void {
    if (this.open === 0) return;
    this.now = nowMs;
    const retry = ((nowMs - this.retryAt) | 0) >= 0;
    for (let n = 0; n < DNS_STREAMS_MAX; n++) {
      const c = this.connections[n];
      if (c === null) continue;
      if (this.pending[n] !== 0 || (retry && this.blocked[n] !== 0)) this.serve(n, c);
      if (this.connections[n] === c && this.leftMs(n, c) <= 0) this.expire(n, c);
    }
  }

  private serve(n: number, c: TcpConnection): void {
    this.pending[n] = 0;
    this.blocked[n] = 0;
    if (this.state[n] === OPEN) this.takeQueries(n, c);
    else if (this.state[n] === CLOSING) closeLocal(this.ctx, c);
    if (this.state[n] === BROKEN) abortBoth(this.ctx, c, CLOSED_HERE);
  }

  private takeQueries(n: number, c: TcpConnection): void {
    const { ctx, forwarder, scratchAt } = this;
    while (c.backlogOctets >= LENGTH_OCTETS) {
      const length = (peekOctet(ctx, c, 0) << 8) | peekOctet(ctx, c, 1);
      if (length < DNS_HEADER_OCTETS || length > DNS_QUERY_OCTETS_MAX) {
        this.spoil(n);
        return;
      }
      if (c.backlogOctets < LENGTH_OCTETS + length) break;
      if (forwarder.waitingOnStream(n) >= DNS_STREAM_QUERIES_MAX) return;
      if (!forwarder.hasRoomForStream || !this.hasRoom(n)) {
        this.blocked[n] = 1;
        this.retryAt = (this.now + RETRY_MS) | 0;
        return;
      }
      takeOctets(ctx, c, scratchAt, LENGTH_OCTETS + length);
      this.activeAt[n] = this.now;
      if (forwarder.queryStream(n, scratchAt + LENGTH_OCTETS, length, this.now) === MALFORMED) {
        this.spoil(n);
        return;
      }
      if (this.state[n] !== OPEN) return;
    }
    if (c.guestFinTaken && forwarder.waitingOnStream(n) === 0) this.close(n, c);
  }

  private spoil(n: number): void {
    this.ctx.counters.add(MALFORMED_STREAM, 1);
    this.state[n] = BROKEN;
  }

  private close(n: number, c: TcpConnection): void {
    this.state[n] = CLOSING;
    this.activeAt[n] = this.now;
    closeLocal(this.ctx, c);
  }

  /** Milliseconds until the connection is to be closed, or given up. */
  private leftMs(n: number, c: TcpConnection): number {
    if (this.state[n] === CLOSING) return (this.activeAt[n] + LINGER_MS - this.now) | 0;
    // While a question is under way, or the guest has yet to read an answer, it is not idle.
    const isBusy = this.forwarder.waitingOnStream(n) > 0 || this.blocked[n] !== 0 || queuedOctets(c) > 0;
    return isBusy ? STREAM_IDLE_MS : (this.activeAt[n] + STREAM_IDLE_MS - this.now) | 0;
  }

  private expire(n: number, c: TcpConnection): void {
    if (this.state[n] === OPEN) this.close(n, c);
    else abortBoth(this.ctx, c, CLOSED_HERE);
  }

  /** Milliseconds until `work` has something to do by itself, or -1. */
  nextDeadlineMs(nowMs: number): number {
    if (this.open === 0) return -1;
    this.now = nowMs;
    let soonest = STREAM_IDLE_MS;
    for (let n = 0; n < DNS_STREAMS_MAX; n++) {
      const c = this.connections[n];
      if (c === null) continue;
      if (this.pending[n] !== 0) return 0;
      const left = this.blocked[n] !== 0 ? (this.retryAt - nowMs) | 0 : this.leftMs(n, c);
      soonest = Math.min(soonest, left);
    }
    return Math.max(0, soonest);
  }
}
