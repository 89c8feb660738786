/**
 * TCP between the guest and the host's sockets. Theory of operation:
 *
 *   1. A batch of frames: `packet` for each. Payload is gathered, ACKs free chunks, SYNs start host connections.
 *   2. `endOfBatch`: one send to the host and one ACK per connection that was touched.
 *   3. `work`: connections the host or an ACK made ready read from the host and send to the guest.
 *   4. `advance`: timers.
 *
 * Between turns nothing moves. Everything a connection owns is released in one place (teardown.ts).
 */
import type { FlowRow } from "../../api.ts";
import { ADDRESS_WORDS, FAILED, HANGUP, PEER_CLOSED, READABLE, URGENT, WRITABLE } from "../../boundary.ts";
import type { Packet } from "../../memory/packet.ts";
import { dropReason, HANDLED } from "../../metrics/drop-reasons.ts";
import { flowEndBy } from "../../metrics/flow-end.ts";
import { isUnicast6 } from "../../network/addresses.ts";
import { CHECK, type Destinations, EXPLAIN, GO, HERE, reasonOf } from "../../network/destinations.ts";
import type { Destinations6 } from "../../network/destinations6.ts";
import type { Unreachable } from "../../network/unreachable.ts";
import { addressSum, IPV4_HEADER_OCTETS, PROTOCOL_TCP, pseudoSum } from "../../wire/ipv4.ts";
import { addressSum6 } from "../../wire/ipv6.ts";
import {
  ACK,
  acknowledgment,
  before,
  checkTcp,
  destinationPort,
  FIN,
  flags,
  headerLength,
  RST,
  SYN,
  sequence,
  sourcePort,
  TCP_HEADER_OCTETS,
  window,
} from "../../wire/tcp.ts";
import { tcpRows } from "../flow-rows.ts";
import { NO_FLOW, packPorts } from "../flow-table.ts";
import type { Path } from "../path.ts";
import { CLOSED, CONNECTING, STATE_NAMES, SYN_SENT, type TcpConnection, TIME_WAIT } from "./connection.ts";
import { TcpContext, type TcpParts } from "./context.ts";
import { startRetransmitTimer } from "./deadline.ts";
import { segmentArrives } from "./input.ts";
import { openLocal } from "./local.ts";
import { connectOutbound, denyWaiting, finishConnect, openClient, openOutbound, sendSyn } from "./open.ts";
import { sendStrayReset, sendUnconnected } from "./output.ts";
import { Segment } from "./segment.ts";
import { abortBoth, removeConnection } from "./teardown.ts";
import { onTimer } from "./timers.ts";
import { pump } from "./to-guest.ts";
import { ACK_DELAY_MS, drainBacklog, flushDelayedAcks, flushTouched } from "./to-host.ts";

const BAD_CHECKSUM = dropReason("tcp-bad-checksum");
const PORT_ZERO = dropReason("tcp-port-zero");
const REFUSED = dropReason("destination-refused");
const SILENT = dropReason("destination-silent");
const NO_CONNECTION = dropReason("tcp-no-connection");
const EVICTED = flowEndBy("evicted", "sluice");
const HOST_RESET = flowEndBy("host-reset", "host");
const KILLED = flowEndBy("killed", "sluice");
const STOPPED = flowEndBy("stopped", "sluice");

/** Connections served per turn before the link is looked at again. */
const READY_PER_TURN = 64;
/** How long a window of receivers is remembered. */
const RECEIVERS_INTERVAL_MS = 64;

export class Tcp {
  readonly ctx: TcpContext;
  private readonly segmentInHand = new Segment();
  private readonly to = new Int32Array(ADDRESS_WORDS);
  private receiversSinceMs: number;
  private readonly row = { octetsFromGuest: 0, octetsToGuest: 0, idleMs: 0 };

  private readonly destinations: Destinations;
  private readonly destinations6: Destinations6 | null;
  private readonly unreachable: Unreachable | null;

  constructor(parts: TcpParts, nowMs: number) {
    this.destinations = parts.destinations;
    this.destinations6 = parts.destinations6;
    this.unreachable = parts.unreachable;
    this.receiversSinceMs = nowMs;
    this.ctx = new TcpContext(parts, nowMs, (id) => {
      const c = this.ctx.connections[id];
      if (c !== null && c.state !== CLOSED) onTimer(this.ctx, c);
    });
  }

  /** A segment of the guest over IPv4. Returns HANDLED or a drop reason. */
  packet(packet: Packet): number {
    const { guestAddress, remoteAddress } = packet;
    const read = this.read(packet, packet.verify ? addressSum(guestAddress, remoteAddress) : 0);
    if (read !== HANDLED) return read;
    const ports = packPorts(packet.guestPort, packet.remotePort);
    return this.arrives(packet, this.ctx.flows.find(PROTOCOL_TCP, guestAddress, remoteAddress, ports));
  }

  /** The same over IPv6. */
  packet6(packet: Packet): number {
    const { pair } = packet;
    const read = this.read(packet, packet.verify ? addressSum6(pair, 0) : 0);
    if (read !== HANDLED) return read;
    const ports = packPorts(packet.guestPort, packet.remotePort);
    return this.arrives(packet, this.ctx.flows.find6(PROTOCOL_TCP, pair, ports));
  }

  /** Checks the segment and takes it in hand. `addresses` is the sum of both. Returns HANDLED or a drop reason. */
  private read(packet: Packet, addresses: number): number {
    const { view, checksum } = this.ctx;
    const { transportAt: at, transportOctets: octets } = packet;
    const checked = checkTcp(view, at, octets);
    if (checked !== HANDLED) return checked;
    if (packet.verify) {
      const pseudo = pseudoSum(addresses, PROTOCOL_TCP, octets);
      if (checksum.sum(at, octets, pseudo) !== 0xffff) return BAD_CHECKSUM;
    }
    const guestPort = sourcePort(view, at);
    const remotePort = destinationPort(view, at);
    packet.guestPort = guestPort;
    packet.remotePort = remotePort;
    if (guestPort === 0 || remotePort === 0) return PORT_ZERO;
    const s = this.segmentInHand;
    const header = headerLength(view, at);
    s.sequence = sequence(view, at);
    s.acknowledgment = acknowledgment(view, at);
    s.flags = flags(view, at) & (FIN | SYN | RST | ACK);
    s.window = window(view, at);
    s.payloadAt = at + header;
    s.payloadLength = octets - header;
    s.options.parse(view, at + TCP_HEADER_OCTETS, at + header);
    return HANDLED;
  }

  /** The segment in hand is one of flow `id`, or of none. */
  private arrives(packet: Packet, id: number): number {
    const { ctx, segmentInHand: s } = this;
    if (id !== NO_FLOW) {
      const c = ctx.connections[id];
      if (c !== null && !(c.state === TIME_WAIT && this.reopens(c, s))) return segmentArrives(ctx, c, s);
      if (c !== null) removeConnection(ctx, c, EVICTED);
    }
    return this.withoutConnection(packet, s);
  }

  /** A SYN that may take over a connection in TIME-WAIT (RFC 6191, RFC 9293 section 3.6.1). */
  private reopens(c: TcpConnection, s: Segment): boolean {
    if ((s.flags & (SYN | ACK | RST)) !== SYN) return false;
    const { options } = s;
    if (c.timestamps && options.hasTimestamps && options.timestampValue !== c.tsRecent) {
      return before(c.tsRecent, options.timestampValue);
    }
    return before(c.rcvNxt, s.sequence);
  }

  /** RFC 9293 section 3.10.7.1 and .2: no connection, so a SYN opens one and all else is reset. */
  private withoutConnection(packet: Packet, s: Segment): number {
    const isAnswer = (s.flags & ACK) !== 0 && (s.flags & (SYN | RST)) !== 0;
    if (isAnswer && this.ctx.openPorts?.answered(packet, (s.flags & RST) === 0, s.acknowledgment) === true) {
      // Its program hears of no connection that is not finished.
      if ((s.flags & RST) === 0) sendUnconnected(this.ctx, packet, s.acknowledgment, 0, RST);
      return HANDLED;
    }
    if ((s.flags & RST) !== 0) return NO_CONNECTION;
    // Groups and addresses of no station: nobody may answer in their name (RFC 9293 section 3.9.2.3, RFC 4291 section 2.5).
    if (packet.ipOctets !== IPV4_HEADER_OCTETS && !isUnicast6(packet.pair, 4)) return REFUSED;
    const ctx = this.ctx;
    let reason = NO_CONNECTION;
    if ((s.flags & (SYN | ACK)) === SYN) {
      const verdict =
        packet.ipOctets === IPV4_HEADER_OCTETS
          ? this.destinations.tcp(packet, this.to)
          : (this.destinations6?.tcp(packet, this.to) ?? GO);
      if (verdict >= GO || verdict <= CHECK) return openOutbound(ctx, packet, s, this.to, verdict);
      if (verdict === HERE) return openLocal(ctx, packet, s, null);
      if (verdict === EXPLAIN) return openLocal(ctx, packet, s, ctx.checks);
      reason = reasonOf(verdict);
      if (reason === SILENT || this.unreachable?.tell(packet, reason) === true) return reason;
    }
    if ((s.flags & ACK) !== 0) {
      sendStrayReset(ctx, packet, s.acknowledgment, 0, RST);
    } else {
      const length = s.payloadLength + ((s.flags & SYN) >>> 1) + (s.flags & FIN);
      sendStrayReset(ctx, packet, 0, (s.sequence + length) | 0, RST | ACK);
    }
    return reason;
  }

  /** Somebody has decided about the connections that wait under this ticket. Returns how many they were. */
  decide(ticket: number, isAllowed: boolean, nowMs: number): number {
    const { ctx } = this;
    const { waiting } = ctx;
    ctx.now = nowMs;
    let decided = 0;
    while (waiting?.holds(ticket)) {
      const c = waiting.take(ticket, ctx.connections);
      if (c === null) continue;
      decided++;
      if (isAllowed) connectOutbound(ctx, c, GO);
      else denyWaiting(ctx, c);
    }
    return decided;
  }

  /** Whether a connection waits under this ticket. */
  waits(ticket: number): boolean {
    const { waiting, connections } = this.ctx;
    return waiting?.isWaitedFor(ticket, connections) === true;
  }

  endOfBatch(): void {
    flushTouched(this.ctx);
  }

  /** Milliseconds until a timer or a delayed ACK is due, or -1. */
  nextDeadlineMs(nowMs: number): number {
    const timer = this.ctx.wheel.nextMs(nowMs);
    if (this.ctx.delayedAcks === 0) return timer;
    const delay = Math.max(0, (this.ctx.delayedSinceMs + ACK_DELAY_MS - nowMs) | 0);
    return timer < 0 || delay < timer ? delay : timer;
  }

  /** Serves connections with host work. True when some are left. */
  work(): boolean {
    const ctx = this.ctx;
    if (ctx.heldResets.due) this.releaseResets();
    const most = Math.min(ctx.readyCount, READY_PER_TURN);
    for (let i = 0; i < most && !ctx.egress.blocked; i++) {
      const c = ctx.nextReady();
      if (c === null || c.state === CLOSED) continue;
      this.serve(c);
    }
    flushTouched(ctx);
    if (ctx.starvedCount > 0) ctx.wakeStarved(READY_PER_TURN);
    return ctx.readyCount > 0 && !ctx.egress.blocked;
  }

  private serve(c: TcpConnection): void {
    const ctx = this.ctx;
    if (c.state === CONNECTING) {
      if (c.handle >= 0) finishConnect(ctx, c);
      return;
    }
    if (c.backlogOctets > 0 && c.hostWritable) drainBacklog(ctx, c);
    if (c.state === CLOSED) return;
    if (c.hostFailed && c.hostEof && c.handle >= 0 && this.resetAfterFin(c)) return;
    pump(ctx, c);
    if (c.state !== CLOSED && c.ackPending) ctx.touch(c);
  }

  /** The host's FIN has been read and nothing is written: only asking tells whether its RST came after it. */
  private resetAfterFin(c: TcpConnection): boolean {
    c.hostFailed = false;
    const result = this.ctx.network.connectResult(c.handle);
    if (result === 0) return false;
    abortBoth(this.ctx, c, HOST_RESET, result);
    return true;
  }

  /** Readiness of a host socket. */
  hostEvent(id: number, events: number): void {
    const c = this.ctx.connections[id];
    if (c === null || c.handle < 0) return;
    if ((events & (READABLE | HANGUP | FAILED | PEER_CLOSED)) !== 0) c.hostReadable = true;
    if ((events & (HANGUP | FAILED | PEER_CLOSED)) !== 0) c.hostHangup = true;
    if ((events & (HANGUP | FAILED)) !== 0) c.hostFailed = true;
    if ((events & URGENT) !== 0) c.hostUrgent = true;
    if ((events & WRITABLE) !== 0) c.hostWritable = true;
    this.ctx.makeReady(c);
  }

  /** The id the next accepted connection will have, or NO_FLOW when there is no room for one. */
  nextInboundId(): number {
    return this.ctx.flows.nextId();
  }

  /** A client of `forward` was accepted as `handle`, registered with the id just told. */
  acceptInbound(path: Path, handle: number, forward: number): void {
    openClient(this.ctx, path, handle, forward);
  }

  /** A guest has shown itself: SYNs that could not be sent go out now. */
  guestAppeared(guestAddress: number): void {
    this.sendSyns((c) => c.ipOctets === IPV4_HEADER_OCTETS && c.guestAddress === guestAddress);
  }

  /** The same of an IPv6 address. */
  guestAppeared6(words: Int32Array, index: number): void {
    this.sendSyns((c) => c.isGuest6(words, index));
  }

  private sendSyns(isWanted: (c: TcpConnection) => boolean): void {
    const ctx = this.ctx;
    if (ctx.halfOpen.length === 0) return;
    for (const c of ctx.connections) {
      if (c === null || c.state !== SYN_SENT || !isWanted(c)) continue;
      c.backoff = 0;
      sendSyn(ctx, c);
      startRetransmitTimer(ctx, c);
    }
  }

  /** The guest sent a frame, or has another link. */
  guestHeard(): void {
    this.ctx.heldResets.guestHeard();
  }

  private releaseResets(): void {
    this.ctx.heldResets.release((ends, at, acknowledged) =>
      sendStrayReset(this.ctx, ends, at, acknowledged, RST | ACK),
    );
  }

  /** How many connections filled windows lately: they share what the link can queue. */
  countReceivers(nowMs: number): void {
    if (((nowMs - this.receiversSinceMs) | 0) < RECEIVERS_INTERVAL_MS) return;
    this.receiversSinceMs = nowMs;
    this.ctx.endReceiverInterval();
  }

  advance(nowMs: number): void {
    this.ctx.now = nowMs;
    this.ctx.wheel.advance(nowMs);
    // Also while the link is full: their deadline would stay in the past.
    flushDelayedAcks(this.ctx);
    flushTouched(this.ctx);
  }

  /** Resets a connection on both sides, for an operator. */
  kill(id: number): void {
    const c = this.ctx.connections[id];
    if (c !== null && c.state !== CLOSED) abortBoth(this.ctx, c, KILLED);
  }

  /** Resets every connection: the engine ends. */
  close(): void {
    for (const c of this.ctx.connections)
      if (c !== null && c.state !== CLOSED) abortBoth(this.ctx, c, STOPPED);
  }

  /** Writes the row of connection `id` for call `call`. */
  tellRow(call: number, id: number, nowMs: number): void {
    const c = this.ctx.connections[id];
    if (c === null || c.state === CLOSED) return;
    this.row.octetsFromGuest = c.octetsFromGuest;
    this.row.octetsToGuest = c.octetsToGuest;
    this.row.idleMs = (nowMs - c.lastHeardMs) | 0;
    this.ctx.ledger.recorder?.row(call, id, PROTOCOL_TCP, c.state, c, this.row);
  }

  /** Resets what came by this forward. */
  cutForward(forward: number): void {
    const { connections, ledger } = this.ctx;
    for (const c of connections) {
      if (c !== null && c.state !== CLOSED && ledger.forward[c.id] === forward)
        abortBoth(this.ctx, c, KILLED);
    }
  }

  /** How many connections are in each state, by its number (STATE_NAMES). */
  states(): number[] {
    const counts = STATE_NAMES.map(() => 0);
    for (const c of this.ctx.connections) if (c !== null && c.state !== CLOSED) counts[c.state]++;
    return counts;
  }

  rows(nowMs: number): FlowRow[] {
    return tcpRows(this.ctx, nowMs);
  }
}
