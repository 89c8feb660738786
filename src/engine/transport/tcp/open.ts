/**
 * How a connection begins. The guest sees what the host saw:
 *
 *   guest SYN -> host connect() -> SYN-ACK once connected; refused -> RST; timed out -> silence, then RST
 *   client of a forward accepted -> SYN to the guest -> octets flow once it answers
 */

import {
  type AddressWords,
  EADDRNOTAVAIL,
  EAGAIN,
  EINPROGRESS,
  EMFILE,
  ENFILE,
  ENOBUFS,
  ENOMEM,
  ETIMEDOUT,
} from "../../boundary.ts";
import { counter } from "../../metrics/counters.ts";
import { dropReason, HANDLED } from "../../metrics/drop-reasons.ts";
import { flowEndBy } from "../../metrics/flow-end.ts";
import { isChecked, ticketOf } from "../../network/destinations.ts";
import { IPV4_HEADER_OCTETS, PROTOCOL_TCP } from "../../wire/ipv4.ts";
import { ACK, RST, SYN, TCP_HEADER_OCTETS } from "../../wire/tcp.ts";
import { TIMESTAMP_OPTION_OCTETS } from "../../wire/tcp-options.ts";
import { NO_FORWARD } from "../flow-ledger.ts";
import { flowLabelOf, hashEnds, NO_FLOW, placeAt } from "../flow-table.ts";
import { sumOfAddresses } from "../ip-header.ts";
import type { Ends, Path } from "../path.ts";
import { CLIENT_LOOK_MS } from "./client-keepalive.ts";
import { CONNECTING, ESTABLISHED, SYN_RECEIVED, SYN_SENT, TcpConnection } from "./connection.ts";
import type { TcpContext } from "./context.ts";
import { arm, HALF_OPEN_MAX_MS, startRetransmitTimer, waitForGuest } from "./deadline.ts";
import { LOCAL, localEstablished } from "./local-service.ts";
import { sendBare, sendStrayReset } from "./output.ts";
import { initialCwnd } from "./recovery.ts";
import type { Segment } from "./segment.ts";
import { evictHalfOpen, evictTimeWait, removeConnection } from "./teardown.ts";
import { Waiting } from "./waiting.ts";
import { PENDING, STRAIGHT } from "./ways.ts";
import { WINDOW_INITIAL, WINDOW_SHIFT } from "./window.ts";

const OPENED = counter("tcp-opened");
const ACCEPTED = counter("tcp-accepted");
const REFUSED = counter("tcp-refused");
const TABLE_FULL = dropReason("flow-table-full");
const NO_RESOURCES = flowEndBy("no-resources", "sluice");
const GUEST_REFUSED = flowEndBy("guest-reset", "guest");
const HOST_REFUSED = flowEndBy("refused", "host");
const DENIED = flowEndBy("denied", "sluice");
const HOST_SILENT = flowEndBy("timed-out", "host");

/** What a guest that sends no MSS option can take, over IPv4 and over IPv6 (RFC 9293 section 3.7.1). */
const MSS_DEFAULT = 536;
const MSS_DEFAULT_6 = 1220;
/** Smaller offers are a trap (a frame per octet); 48 is what Linux accepts at least. */
const MSS_MIN = 48;
/** A host that has not answered by the time the guest repeats its SYN (RFC 6298 section 2.1) is hardly going to. */
const HOPELESS_MS = 1000;
/** Ports tried when two clients of a forward look alike to the guest, and where to go on after 65535. */
const ALIAS_TRIES = 16;
const ALIAS_FIRST = 1024;
/** RFC 9293 section 3.4.1: the clock of initial sequence numbers ticks every 4 us. */
const ISS_TICKS_PER_MS = 250;

/**
 * A new connection in the table, or null when that is full of connections that are in use. `forward`: the one its client
 * came by.
 */
export function newConnection(ctx: TcpContext, ends: Ends, forward = NO_FORWARD): TcpConnection | null {
  let id = ctx.flows.insertEnds(PROTOCOL_TCP, ends);
  if (id === NO_FLOW) {
    if (!evictTimeWait(ctx) && !evictHalfOpen(ctx)) return null;
    id = ctx.flows.insertEnds(PROTOCOL_TCP, ends);
  }
  let c = ctx.connections[id] ?? null;
  if (c === null) {
    c = new TcpConnection(id);
    placeAt(ctx.connections, id, c);
  }
  ctx.ledger.open(id, forward);
  const { secret0, secret1 } = ctx;
  c.setEnds(ends, ctx.flows.words, id);
  c.addressSum = sumOfAddresses(c);
  if (c.ipOctets !== IPV4_HEADER_OCTETS) c.flowLabel = flowLabelOf(secret0, secret1, c);
  const hash = hashEnds(secret0, secret1, PROTOCOL_TCP, c);
  c.iss = (hash + Math.imul(ctx.now, ISS_TICKS_PER_MS)) | 0;
  c.tsOffset = hashEnds(secret1, secret0, PROTOCOL_TCP, c);
  c.sndUna = c.iss;
  c.sndNxt = c.iss;
  c.sndEnd = (c.iss + 1) | 0;
  c.recover = c.iss;
  c.retransmitNext = c.iss;
  c.windowTarget = WINDOW_INITIAL;
  c.lastHeardMs = ctx.now;
  c.idleAt = (ctx.now + HALF_OPEN_MAX_MS) | 0;
  ctx.open++;
  ctx.halfOpen.append(id);
  if (ctx.halfOpen.length > ctx.maxHalfOpen) evictHalfOpen(ctx);
  arm(ctx, c);
  return c;
}

/**
 * The guest's SYN `s` between `ends`, for `to`. `service` is the guest-forward index, GO, CHECK or one to wait for. Returns
 * HANDLED or a drop reason.
 */
export function openOutbound(
  ctx: TcpContext,
  ends: Ends,
  s: Segment,
  to: AddressWords,
  service: number,
): number {
  const c = newConnection(ctx, ends);
  if (c === null) return TABLE_FULL;
  c.state = CONNECTING;
  c.outbound = true;
  takeSyn(ctx, c, s);
  c.setTarget(to);
  if (service < 0) {
    ctx.checks?.begin(c, isChecked(service));
    ctx.ways?.begin(c);
  }
  tellBegin(ctx, c);
  const ticket = ticketOf(service);
  if (ticket < 0) return connectOutbound(ctx, c, service);
  // Nothing is said to the guest, which repeats its SYN, until somebody has decided.
  ctx.waiting ??= new Waiting();
  if (!ctx.waiting.hold(ticket, c, ctx.connections)) refuseWaiting(ctx, c, NO_RESOURCES);
  return HANDLED;
}

/** Connects the host's side of `c`, whose target is known. Returns HANDLED or a drop reason. */
export function connectOutbound(ctx: TcpContext, c: TcpConnection, service: number): number {
  let handle = connectHost(ctx, c, service);
  if (handle === PENDING) return HANDLED;
  if ((handle === EMFILE || handle === ENFILE) && evictHopeless(ctx)) handle = connectHost(ctx, c, service);
  if (handle < 0) return failConnect(ctx, c, handle);
  c.handle = handle;
  ctx.counters.add(OPENED, 1);
  // On loopback and local networks the answer is often there already: saves a round through the event loop.
  finishConnect(ctx, c);
  return HANDLED;
}

function connectHost(ctx: TcpContext, c: TcpConnection, service: number): number {
  const token = ctx.token | c.id;
  if (service >= 0) return ctx.network.tcpConnectService(token, service);
  if (ctx.ways !== null) {
    const handle = ctx.ways.connect(token, c);
    if (handle !== STRAIGHT) return handle;
  }
  c.copyTarget(ctx.to);
  return ctx.network.tcpConnect(token, ctx.to);
}

/**
 * No descriptor is left: where the process may have fewer of them than --max-half-open, half-open connections fill that
 * bound first. Connections that are merely on their way are let finish.
 */
function evictHopeless(ctx: TcpContext): boolean {
  const oldest = ctx.oldestOf(ctx.halfOpen);
  if (oldest === null) return false;
  const ageMs = (ctx.now - oldest.idleAt + HALF_OPEN_MAX_MS) | 0;
  return ageMs >= HOPELESS_MS && evictHalfOpen(ctx);
}

/** Notes what the guest's SYN or SYN-ACK says. Options we did not both agree on are off. */
export function takeSyn(ctx: TcpContext, c: TcpConnection, s: Segment): void {
  const { options, sequence, window } = s;
  c.irs = sequence;
  c.rcvNxt = (sequence + 1) | 0;
  c.rcvTaken = c.rcvNxt;
  c.rcvAdvertised = c.rcvNxt;
  c.timestamps = options.hasTimestamps;
  if (options.hasTimestamps) {
    c.tsRecent = options.timestampValue;
    c.tsRecentAtMs = ctx.now;
  }
  c.sack = options.sackPermitted;
  const scaled = options.windowShift >= 0;
  c.sndShift = scaled ? options.windowShift : 0;
  c.rcvShift = scaled ? WINDOW_SHIFT : 0;
  // The window of a SYN is never scaled (RFC 7323 section 2.2).
  c.sndWnd = window;
  c.sndWndMax = window;
  c.sndWl1 = sequence;
  const largest = ctx.mtu - c.ipOctets - TCP_HEADER_OCTETS;
  const least = c.ipOctets === IPV4_HEADER_OCTETS ? MSS_DEFAULT : MSS_DEFAULT_6;
  const offered = options.mss === 0 ? least : Math.max(options.mss, MSS_MIN);
  c.mss = Math.min(offered, largest) - (c.timestamps ? TIMESTAMP_OPTION_OCTETS : 0);
  c.cwnd = initialCwnd(c.mss);
}

/** The host socket reported something while connecting. */
export function finishConnect(ctx: TcpContext, c: TcpConnection): void {
  const result = ctx.network.connectResult(c.handle);
  if (result === EINPROGRESS) return;
  if (result < 0) {
    failConnect(ctx, c, result);
    return;
  }
  if (ctx.ways !== null && !ctx.ways.connected(c)) return;
  ctx.ledger.connected(c.id);
  c.state = SYN_RECEIVED;
  if (c.check !== 0) ctx.checks?.hold(c);
  sendSyn(ctx, c);
  startRetransmitTimer(ctx, c);
}

const HOST_SOCKET_FAILED = dropReason("host-socket-failed");

/**
 * The host's connect failed with `error`. What says something about the destination is passed on as a reset; a
 * shortage of ours (descriptors, ports, memory) is silence, and the guest's next SYN tries again.
 */
export function failConnect(ctx: TcpContext, c: TcpConnection, error: number): number {
  if (
    error === EMFILE ||
    error === ENFILE ||
    error === ENOBUFS ||
    error === ENOMEM ||
    error === EADDRNOTAVAIL ||
    error === EAGAIN
  ) {
    removeConnection(ctx, c, NO_RESOURCES, error);
    return HOST_SOCKET_FAILED;
  }
  refuse(ctx, c, error);
  return HANDLED;
}

/** The host would not connect: RST that acknowledges the SYN (RFC 9293 section 3.10.7.1), and the connection is gone. */
function refuse(ctx: TcpContext, c: TcpConnection, error: number): void {
  ctx.counters.add(REFUSED, 1);
  ctx.ways?.failed(c);
  // First, since the connection is what knows the ends.
  sendStrayReset(ctx, c, 0, c.rcvNxt, RST | ACK);
  removeConnection(ctx, c, error === ETIMEDOUT ? HOST_SILENT : HOST_REFUSED, error);
}

/** Whoever was asked about a connection that waits said no. */
export function denyWaiting(ctx: TcpContext, c: TcpConnection): void {
  refuseWaiting(ctx, c, DENIED);
}

function refuseWaiting(ctx: TcpContext, c: TcpConnection, end: number): void {
  sendStrayReset(ctx, c, 0, c.rcvNxt, RST | ACK);
  removeConnection(ctx, c, end);
}

/** Tells who asked that a connection begins, once its ends and its target are known. */
export function tellBegin(ctx: TcpContext, c: TcpConnection): void {
  ctx.ledger.recorder?.flowOpened(c.id, PROTOCOL_TCP, c);
}

/** Sends, or sends again, our SYN (active) or SYN-ACK (passive). */
export function sendSyn(ctx: TcpContext, c: TcpConnection): void {
  if (!c.rttTiming && c.backoff === 0) {
    c.rttTiming = true;
    c.rttSequence = (c.iss + 1) | 0;
    c.rttStartMs = ctx.now;
  }
  c.sndNxt = (c.iss + 1) | 0;
  sendBare(ctx, c, c.iss, c.state === SYN_SENT ? SYN : SYN | ACK);
}

/**
 * A client of a forward was accepted as `handle`: opens towards the guest, from the client as `path` says it looks to it.
 * `forward` is the one it came by. Null when there is no room.
 */
function openInbound(ctx: TcpContext, path: Path, handle: number, forward: number): TcpConnection | null {
  const c = newConnection(ctx, path, forward);
  if (c === null) return null;
  c.state = SYN_SENT;
  c.outbound = false;
  c.handle = handle;
  c.setTargetOf(path);
  // Offered in our SYN; takeSyn turns off what the guest does not answer.
  c.timestamps = true;
  c.sack = true;
  c.rcvShift = WINDOW_SHIFT;
  c.mss = ctx.mtu - c.ipOctets - TCP_HEADER_OCTETS - TIMESTAMP_OPTION_OCTETS;
  ctx.counters.add(ACCEPTED, 1);
  tellBegin(ctx, c);
  return c;
}

/**
 * A client of `forward` is there as `handle`; the guest sees it as the remote of `path`, or with another port if that pair
 * is taken. Sends the SYN.
 */
export function openClient(ctx: TcpContext, path: Path, handle: number, forward: number): void {
  for (let i = 0; i < ALIAS_TRIES; i++) {
    const { remotePort } = path;
    if (remotePort !== 0 && ctx.flows.findEnds(PROTOCOL_TCP, path) === NO_FLOW) {
      const c = openInbound(ctx, path, handle, forward);
      if (c === null) break;
      sendSyn(ctx, c);
      startRetransmitTimer(ctx, c);
      return;
    }
    path.remotePort = remotePort < 0xffff ? remotePort + 1 : ALIAS_FIRST;
  }
  ctx.network.tcpClose(handle, true);
}

/**
 * The guest refuses a client over IPv6. Where nothing but the forward chose that family, its IPv4 address is asked too: a
 * service that listens there alone is no reason to turn the client away. False when there is no such address.
 */
export function openOverIpv4(ctx: TcpContext, c: TcpConnection): boolean {
  if (c.ipOctets === IPV4_HEADER_OCTETS || c.guestAddress === 0) return false;
  const { handle } = c;
  const path = ctx.overIpv4;
  path.guestAddress = c.guestAddress;
  path.guestPort = c.guestPort;
  path.remoteAddress = c.remoteAddress;
  path.setTargetOf(c);
  path.remotePort = path.targetPort;
  // The id that is free then is the one the socket's events carry.
  c.handle = -1;
  const forward = ctx.ledger.forward[c.id];
  removeConnection(ctx, c, GUEST_REFUSED);
  openClient(ctx, path, handle, forward);
  return true;
}

/** The guest acknowledged our SYN: octets may flow. */
export function established(ctx: TcpContext, c: TcpConnection): void {
  ctx.ledger.connected(c.id);
  c.state = ESTABLISHED;
  ctx.halfOpen.remove(c.id);
  c.sndUna = (c.iss + 1) | 0;
  c.backoff = 0;
  c.timerKind = 0;
  if (!c.outbound) c.clientPaceMs = CLIENT_LOOK_MS;
  waitForGuest(c);
  if (c.handle <= LOCAL) {
    localEstablished(ctx.local, c);
    return;
  }
  // What the host sent meanwhile raised its event long ago.
  c.hostReadable = true;
  ctx.makeReady(c);
}
