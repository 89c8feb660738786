/**
 * The yes-or-no state of a connection, one bit each: as fields of their own they would be a fifth of what an idle
 * connection costs.
 */
import { Path } from "../path.ts";

const OUTBOUND = 1 << 0;
const FIN_SENT = 1 << 1;
const SEND_SMALL = 1 << 2;
const FIN_KNOWN = 1 << 3;
const GUEST_FIN = 1 << 4;
const GUEST_FIN_TAKEN = 1 << 5;
const HOST_SHUTDOWN = 1 << 6;
const TIMESTAMPS = 1 << 7;
const SACK = 1 << 8;
const RTT_TIMING = 1 << 9;
const HOST_READABLE = 1 << 10;
const HOST_HANGUP = 1 << 11;
const HOST_URGENT = 1 << 12;
const HOST_WRITABLE = 1 << 13;
const HOST_EOF = 1 << 14;
const ACK_PENDING = 1 << 15;
const TOUCHED = 1 << 16;
const ACK_DELAYED = 1 << 17;
const STARVED = 1 << 18;
const READY = 1 << 19;
const HOST_FAILED = 1 << 20;
const PEER_ASKED = 1 << 21;
/** Three bits. */
const CHECK_SHIFT = 22;
const CHECK_MASK = 7 << CHECK_SHIFT;
const PEEKING = 1 << 25;
const PEEK_ENDS = 1 << 26;
const NO_PEEKING = 1 << 27;

const INITIAL = OUTBOUND | HOST_WRITABLE;

export class ConnectionFlags extends Path {
  /** All of them; a recycled connection starts over with the initial ones. */
  bits = INITIAL;

  /** Opened by the guest (false: by a client of a forward). */
  get outbound(): boolean {
    return (this.bits & OUTBOUND) !== 0;
  }
  set outbound(on: boolean) {
    this.bits = on ? this.bits | OUTBOUND : this.bits & ~OUTBOUND;
  }

  get finSent(): boolean {
    return (this.bits & FIN_SENT) !== 0;
  }
  set finSent(on: boolean) {
    this.bits = on ? this.bits | FIN_SENT : this.bits & ~FIN_SENT;
  }

  /** A window smaller than a segment will do for once (RFC 9293 section 3.8.6.2.1, override timeout). */
  get sendSmall(): boolean {
    return (this.bits & SEND_SMALL) !== 0;
  }
  set sendSmall(on: boolean) {
    this.bits = on ? this.bits | SEND_SMALL : this.bits & ~SEND_SMALL;
  }

  get finKnown(): boolean {
    return (this.bits & FIN_KNOWN) !== 0;
  }
  set finKnown(on: boolean) {
    this.bits = on ? this.bits | FIN_KNOWN : this.bits & ~FIN_KNOWN;
  }

  /** The guest's FIN is in order, behind the gathered octets; taken at the flush. */
  get guestFin(): boolean {
    return (this.bits & GUEST_FIN) !== 0;
  }
  set guestFin(on: boolean) {
    this.bits = on ? this.bits | GUEST_FIN : this.bits & ~GUEST_FIN;
  }

  get guestFinTaken(): boolean {
    return (this.bits & GUEST_FIN_TAKEN) !== 0;
  }
  set guestFinTaken(on: boolean) {
    this.bits = on ? this.bits | GUEST_FIN_TAKEN : this.bits & ~GUEST_FIN_TAKEN;
  }

  /** The host socket has been told (shutdown). */
  get hostShutdown(): boolean {
    return (this.bits & HOST_SHUTDOWN) !== 0;
  }
  set hostShutdown(on: boolean) {
    this.bits = on ? this.bits | HOST_SHUTDOWN : this.bits & ~HOST_SHUTDOWN;
  }

  get timestamps(): boolean {
    return (this.bits & TIMESTAMPS) !== 0;
  }
  set timestamps(on: boolean) {
    this.bits = on ? this.bits | TIMESTAMPS : this.bits & ~TIMESTAMPS;
  }

  get sack(): boolean {
    return (this.bits & SACK) !== 0;
  }
  set sack(on: boolean) {
    this.bits = on ? this.bits | SACK : this.bits & ~SACK;
  }

  get rttTiming(): boolean {
    return (this.bits & RTT_TIMING) !== 0;
  }
  set rttTiming(on: boolean) {
    this.bits = on ? this.bits | RTT_TIMING : this.bits & ~RTT_TIMING;
  }

  get hostReadable(): boolean {
    return (this.bits & HOST_READABLE) !== 0;
  }
  set hostReadable(on: boolean) {
    this.bits = on ? this.bits | HOST_READABLE : this.bits & ~HOST_READABLE;
  }

  /** The host peer has sent FIN or worse: read on until it shows. */
  get hostHangup(): boolean {
    return (this.bits & HOST_HANGUP) !== 0;
  }
  set hostHangup(on: boolean) {
    this.bits = on ? this.bits | HOST_HANGUP : this.bits & ~HOST_HANGUP;
  }

  /** An urgent mark may lie ahead in the host's octets: a short read says nothing. */
  get hostUrgent(): boolean {
    return (this.bits & HOST_URGENT) !== 0;
  }
  set hostUrgent(on: boolean) {
    this.bits = on ? this.bits | HOST_URGENT : this.bits & ~HOST_URGENT;
  }

  /** An event spoke of failure; looked into where no read or write would find it. */
  get hostFailed(): boolean {
    return (this.bits & HOST_FAILED) !== 0;
  }
  set hostFailed(on: boolean) {
    this.bits = on ? this.bits | HOST_FAILED : this.bits & ~HOST_FAILED;
  }

  /** The guest's keepalive waits for the peer to show itself. */
  get peerAsked(): boolean {
    return (this.bits & PEER_ASKED) !== 0;
  }
  set peerAsked(on: boolean) {
    this.bits = on ? this.bits | PEER_ASKED : this.bits & ~PEER_ASKED;
  }

  get hostWritable(): boolean {
    return (this.bits & HOST_WRITABLE) !== 0;
  }
  set hostWritable(on: boolean) {
    this.bits = on ? this.bits | HOST_WRITABLE : this.bits & ~HOST_WRITABLE;
  }

  /** The host sent FIN; sndEnd is then the sequence number of our FIN. */
  get hostEof(): boolean {
    return (this.bits & HOST_EOF) !== 0;
  }
  set hostEof(on: boolean) {
    this.bits = on ? this.bits | HOST_EOF : this.bits & ~HOST_EOF;
  }

  /** An ACK is due with the next flush. */
  get ackPending(): boolean {
    return (this.bits & ACK_PENDING) !== 0;
  }
  set ackPending(on: boolean) {
    this.bits = on ? this.bits | ACK_PENDING : this.bits & ~ACK_PENDING;
  }

  /** In the list of connections this batch touched. */
  get touched(): boolean {
    return (this.bits & TOUCHED) !== 0;
  }
  set touched(on: boolean) {
    this.bits = on ? this.bits | TOUCHED : this.bits & ~TOUCHED;
  }

  /** In the list of connections whose ACK waits. */
  get ackDelayed(): boolean {
    return (this.bits & ACK_DELAYED) !== 0;
  }
  set ackDelayed(on: boolean) {
    this.bits = on ? this.bits | ACK_DELAYED : this.bits & ~ACK_DELAYED;
  }

  /** In the ring of connections that wait for a chunk. */
  get starved(): boolean {
    return (this.bits & STARVED) !== 0;
  }
  set starved(on: boolean) {
    this.bits = on ? this.bits | STARVED : this.bits & ~STARVED;
  }

  /** In the ring of connections with work. */
  get ready(): boolean {
    return (this.bits & READY) !== 0;
  }
  set ready(on: boolean) {
    this.bits = on ? this.bits | READY : this.bits & ~READY;
  }

  /** What its guest must show before octets flow, in the numbers of whoever checks it; 0: nothing. */
  get check(): number {
    return (this.bits & CHECK_MASK) >>> CHECK_SHIFT;
  }
  set check(what: number) {
    this.bits = (this.bits & ~CHECK_MASK) | (what << CHECK_SHIFT);
  }

  /** Octets from peekBase on are in the host socket's queue, and in the guest's memory, and not in chunks (peek.ts). */
  get peeking(): boolean {
    return (this.bits & PEEKING) !== 0;
  }
  set peeking(on: boolean) {
    this.bits = on ? this.bits | PEEKING : this.bits & ~PEEKING;
  }

  /** They are on their way into chunks. */
  get peekEnds(): boolean {
    return (this.bits & PEEK_ENDS) !== 0;
  }
  set peekEnds(on: boolean) {
    this.bits = on ? this.bits | PEEK_ENDS : this.bits & ~PEEK_ENDS;
  }

  /** The host socket cannot be peeked at. */
  get noPeeking(): boolean {
    return (this.bits & NO_PEEKING) !== 0;
  }
  set noPeeking(on: boolean) {
    this.bits = on ? this.bits | NO_PEEKING : this.bits & ~NO_PEEKING;
  }
}
