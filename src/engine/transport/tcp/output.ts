/**
 * Segments to the guest. Headers are written right to left into the transmit queue's header slot; payload stays in
 * its chunk. With offload a segment may be a super-frame the guest's kernel takes whole.
 */
import { TX_CHECKSUM_PARTIAL, TX_IPV6, TX_TCP_SEGMENTS } from "../../memory/transmit-queue.ts";
import { counter } from "../../metrics/counters.ts";
import { dropReason } from "../../metrics/drop-reasons.ts";
import { ETHERNET_HEADER_OCTETS } from "../../wire/ethernet.ts";
import { DONT_FRAGMENT, IPV4_HEADER_OCTETS, PROTOCOL_TCP, pseudoSum, writeIpv4 } from "../../wire/ipv4.ts";
import { ACK, before, CHECKSUM, RST, SYN, TCP_HEADER_OCTETS, writeTcp } from "../../wire/tcp.ts";
import {
  TIMESTAMP_OPTION_OCTETS,
  writeMss,
  writeSackHead,
  writeSackPermitted,
  writeTimestamps,
  writeWindowScale,
} from "../../wire/tcp-options.ts";
import { flowLabelOf } from "../flow-table.ts";
import { sumOfAddresses, writeHeader6, writeLinkHeader } from "../ip-header.ts";
import type { Ends } from "../path.ts";
import type { TcpConnection } from "./connection.ts";
import type { TcpContext } from "./context.ts";
import { sackBlocksFor, writeSackBlocks } from "./out-of-order.ts";
import { advertise } from "./window.ts";

const RESETS_TO_GUEST = counter("tcp-resets-to-guest");
const LINK_FULL = dropReason("link-full");

/** `openFrame` found no room, or no guest. */
const NO_FRAME = -1;

/**
 * Queues a segment without octets: SYN, FIN, ACK, RST. Returns false when the link is full or the guest's MAC unknown:
 * nothing was sent.
 */
export function sendBare(ctx: TcpContext, c: TcpConnection, sequence: number, flagBits: number): boolean {
  const isSyn = (flagBits & SYN) !== 0;
  const blocks = !isSyn && c.sack ? sackBlocksFor(ctx, c) : 0;
  const optionOctets = isSyn
    ? synOptionOctets(c)
    : (c.timestamps ? TIMESTAMP_OPTION_OCTETS : 0) + (blocks > 0 ? 4 + blocks * 8 : 0);
  const headerOctets = TCP_HEADER_OCTETS + optionOctets;
  const tcpAt = openFrame(ctx, c, headerOctets);
  if (tcpAt === NO_FRAME) return false;
  if (isSyn) writeSynOptions(ctx, c, tcpAt + TCP_HEADER_OCTETS);
  else if (optionOctets > 0) writeOptions(ctx, c, tcpAt + TCP_HEADER_OCTETS, blocks);
  writeHeader(ctx, c, tcpAt, sequence, flagBits, headerOctets);
  closeFrame(ctx, c, tcpAt, headerOctets, 0, 0);
  return true;
}

/**
 * Queues a segment with `length` octets at `at`: a super-frame when they are more than one segment's. Returns false as
 * `sendBare` does.
 */
export function sendPayload(
  ctx: TcpContext,
  c: TcpConnection,
  sequence: number,
  flagBits: number,
  at: number,
  length: number,
): boolean {
  const headerOctets = TCP_HEADER_OCTETS + (c.timestamps ? TIMESTAMP_OPTION_OCTETS : 0);
  const tcpAt = openFrame(ctx, c, headerOctets);
  if (tcpAt === NO_FRAME) return false;
  if (c.timestamps) {
    writeTimestamps(ctx.view, tcpAt + TCP_HEADER_OCTETS, (ctx.now + c.tsOffset) | 0, c.tsRecent);
  }
  writeHeader(ctx, c, tcpAt, sequence, flagBits, headerOctets);
  closeFrame(ctx, c, tcpAt, headerOctets, at, length);
  return true;
}

/** Room for a frame to the guest of `ends`, with its Ethernet header. Returns where its TCP header goes, or NO_FRAME. */
function openFrame(ctx: TcpContext, ends: Ends, headerOctets: number): number {
  const { egress } = ctx;
  if (!egress.hasRoom()) {
    ctx.counters.drop(LINK_FULL);
    return NO_FRAME;
  }
  const tcpAt = egress.queue.nextHeaderEnd() - headerOctets;
  return writeLinkHeader(egress, tcpAt - ends.ipOctets, ends) ? tcpAt : NO_FRAME;
}

function writeHeader(
  ctx: TcpContext,
  c: TcpConnection,
  tcpAt: number,
  sequence: number,
  flagBits: number,
  headerOctets: number,
): void {
  const windowField = advertise(ctx, c, (flagBits & SYN) !== 0);
  const acknowledges = (flagBits & ACK) !== 0;
  const { remotePort, guestPort } = c;
  const acknowledgment = acknowledges ? c.rcvTaken : 0;
  writeTcp(
    ctx.view,
    tcpAt,
    remotePort,
    guestPort,
    sequence,
    acknowledgment,
    headerOctets,
    flagBits,
    windowField,
  );
  if (acknowledges) {
    c.ackPending = false;
    c.unacknowledged = 0;
    c.dsackRight = c.dsackLeft;
  }
}

/** The IP header and the checksums; the frame is then queued. */
function closeFrame(
  ctx: TcpContext,
  c: TcpConnection,
  tcpAt: number,
  headerOctets: number,
  payloadAt: number,
  payloadLength: number,
): void {
  c.packetsToGuest = (c.packetsToGuest + 1) | 0;
  const segmentPayload = payloadLength > c.mss ? c.mss : 0;
  const tcpOctets = headerOctets + payloadLength;
  const { ipOctets, addressSum: addresses } = c;
  const ipAt = tcpAt - ipOctets;
  let family = 0;
  if (ipOctets === IPV4_HEADER_OCTETS) {
    const id = ctx.identification;
    ctx.identification = (id + 1 + (segmentPayload > 0 ? (payloadLength / segmentPayload) | 0 : 0)) & 0xffff;
    const total = IPV4_HEADER_OCTETS + tcpOctets;
    const { remoteAddress, guestAddress } = c;
    writeIpv4(ctx.view, ipAt, total, id, DONT_FRAGMENT, PROTOCOL_TCP, remoteAddress, guestAddress, addresses);
  } else {
    writeHeader6(ctx.view, ipAt, tcpOctets, PROTOCOL_TCP, c.flowLabel, c);
    family = TX_IPV6;
  }
  const pseudo = pseudoSum(addresses, PROTOCOL_TCP, tcpOctets);
  const { egress } = ctx;
  const headers = ETHERNET_HEADER_OCTETS + ipOctets;
  let queueFlags = 0;
  if (egress.tcpOffload) {
    ctx.view.setUint16(tcpAt + CHECKSUM, pseudo);
    queueFlags = family | (segmentPayload > 0 ? TX_CHECKSUM_PARTIAL | TX_TCP_SEGMENTS : TX_CHECKSUM_PARTIAL);
  } else {
    finishChecksum(ctx, tcpAt, headerOctets, payloadAt, payloadLength, pseudo);
  }
  egress.queue.push(headers + headerOctets, payloadAt, payloadLength, queueFlags, segmentPayload, headers);
}

function finishChecksum(
  ctx: TcpContext,
  tcpAt: number,
  headerOctets: number,
  payloadAt: number,
  payloadLength: number,
  pseudo: number,
): void {
  let sum = payloadLength > 0 ? ctx.checksum.sum(payloadAt, payloadLength, pseudo) : pseudo;
  const view = ctx.view;
  for (let i = 0; i < headerOctets; i += 2) sum += view.getUint16(tcpAt + i);
  sum = (sum & 0xffff) + (sum >>> 16);
  sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(tcpAt + CHECKSUM, ~sum & 0xffff);
}

function synOptionOctets(c: TcpConnection): number {
  return 4 + (c.sack ? 4 : 0) + (c.timestamps ? TIMESTAMP_OPTION_OCTETS : 0) + (c.rcvShift > 0 ? 4 : 0);
}

/** MSS always; the rest as offered (active open) or as agreed (passive). */
function writeSynOptions(ctx: TcpContext, c: TcpConnection, at: number): void {
  const view = ctx.view;
  writeMss(view, at, ctx.mtu - c.ipOctets - TCP_HEADER_OCTETS);
  at += 4;
  if (c.sack) {
    writeSackPermitted(view, at);
    at += 4;
  }
  if (c.timestamps) {
    writeTimestamps(view, at, (ctx.now + c.tsOffset) | 0, c.tsRecent);
    at += TIMESTAMP_OPTION_OCTETS;
  }
  if (c.rcvShift > 0) writeWindowScale(view, at, c.rcvShift);
}

function writeOptions(ctx: TcpContext, c: TcpConnection, at: number, blocks: number): void {
  if (c.timestamps) {
    writeTimestamps(ctx.view, at, (ctx.now + c.tsOffset) | 0, c.tsRecent);
    at += TIMESTAMP_OPTION_OCTETS;
  }
  if (blocks > 0) {
    writeSackHead(ctx.view, at, blocks);
    writeSackBlocks(ctx, c, at + 4, blocks);
  }
}

/**
 * Where a segment without octets stands: at sndNxt, but inside the window. A guest that took a part of its window back
 * would find it unacceptable further on, and never see what it acknowledges.
 */
function bareSequence(c: TcpConnection): number {
  const edge = (c.sndUna + c.sndWnd) | 0;
  return before(edge, c.sndNxt) ? edge : c.sndNxt;
}

/** A bare ACK with what has been taken and the window as it is. Returns false when it could not be queued. */
export function sendAck(ctx: TcpContext, c: TcpConnection): boolean {
  return sendBare(ctx, c, bareSequence(c), ACK);
}

/** A segment just below the window makes a live guest answer with its window; it carries no octet. */
export function probe(ctx: TcpContext, c: TcpConnection): void {
  sendBare(ctx, c, (c.sndUna - 1) | 0, ACK);
}

/** RST for a connection that exists: exactly at what the guest expects next (RFC 5961 section 3). */
export function sendReset(ctx: TcpContext, c: TcpConnection): void {
  const at = bareSequence(c);
  if (sendBare(ctx, c, at, RST | ACK)) ctx.counters.add(RESETS_TO_GUEST, 1);
  else ctx.heldResets.hold(c, at, c.rcvTaken);
}

/** RST in answer to a segment without a connection (RFC 9293 section 3.10.7.1), between the ends the segment names. */
export function sendStrayReset(
  ctx: TcpContext,
  ends: Ends,
  sequence: number,
  acknowledgment: number,
  flagBits: number,
): void {
  if (sendUnconnected(ctx, ends, sequence, acknowledgment, flagBits)) ctx.counters.add(RESETS_TO_GUEST, 1);
}

/** A segment without options or octets that is of no connection. False when the link is full or the guest's MAC unknown. */
export function sendUnconnected(
  ctx: TcpContext,
  ends: Ends,
  sequence: number,
  acknowledgment: number,
  flagBits: number,
): boolean {
  const { egress, view } = ctx;
  if (!egress.hasRoom()) return false;
  const tcpAt = egress.queue.nextHeaderEnd() - TCP_HEADER_OCTETS;
  const { ipOctets, guestAddress, guestPort, remoteAddress, remotePort } = ends;
  const ipAt = tcpAt - ipOctets;
  if (!writeLinkHeader(egress, ipAt, ends)) return false;
  writeTcp(view, tcpAt, remotePort, guestPort, sequence, acknowledgment, TCP_HEADER_OCTETS, flagBits, 0);
  const addresses = sumOfAddresses(ends);
  if (ipOctets === IPV4_HEADER_OCTETS) {
    const id = ctx.identification;
    ctx.identification = (id + 1) & 0xffff;
    const total = IPV4_HEADER_OCTETS + TCP_HEADER_OCTETS;
    writeIpv4(view, ipAt, total, id, DONT_FRAGMENT, PROTOCOL_TCP, remoteAddress, guestAddress, addresses);
  } else {
    const label = flowLabelOf(ctx.secret0, ctx.secret1, ends);
    writeHeader6(view, ipAt, TCP_HEADER_OCTETS, PROTOCOL_TCP, label, ends);
  }
  const pseudo = pseudoSum(addresses, PROTOCOL_TCP, TCP_HEADER_OCTETS);
  finishChecksum(ctx, tcpAt, TCP_HEADER_OCTETS, 0, 0, pseudo);
  egress.queue.push(ETHERNET_HEADER_OCTETS + ipOctets + TCP_HEADER_OCTETS, 0, 0, 0, 0, 0);
  return true;
}
