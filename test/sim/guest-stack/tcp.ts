/**
 * One TCP connection of the simulated guest (RFC 9293, 7323, 2018, 6298, 5681).
 *
 * Stream contents are never stored: what is sent is regenerated from a Pattern by position, and what arrives is
 * compared with a Pattern at once, also out of order. So the connection keeps positions only: a position is an
 * offset in the stream, sequence number minus (initial sequence number + 1). The FIN takes the position after the
 * last octet.
 *
 *   sending    0 ... una ... nxt ... max ... written     una: acknowledged, nxt: next to send (goes back on
 *                                                         timeout), max: highest ever sent
 *   receiving  0 ... consumed ... rcv ... rightEdge       consumed: taken by the application, rcv: in order
 *
 * What the peer does against the RFCs is reported through `world.violation`.
 */

import type { Scheduled } from "../world/event-queue.ts";
import type { Pattern } from "../world/pattern.ts";
import type { World } from "../world/world.ts";
import { ACK, describeTcp, FIN, PSH, RST, SYN, type TcpOptions, type TcpSegment, URG } from "./codec.ts";
import { Ranges } from "./ranges.ts";

export interface TcpSettings {
  /** Largest payload of a segment we accept, announced as MSS. */
  readonly mss: number;
  /** Shift count, or -1: not offered. */
  readonly windowScale: number;
  readonly sack: boolean;
  readonly timestamps: boolean;
  /** Octets received but not read by the application that we hold at most. */
  readonly receiveBuffer: number;
  readonly delayedAckMs: number;
  readonly nagle: boolean;
  readonly minRtoMs: number;
  readonly maxRtoMs: number;
  readonly maxRetries: number;
  readonly timeWaitMs: number;
  /** Idle time before a keepalive; 0: none. */
  readonly keepaliveMs: number;
  /** How a zero window is probed: with the next octet, or with an old sequence number and none (Linux). */
  readonly probe: "octet" | "old";
  /** Congestion window at start, in segments. */
  readonly initialWindow: number;
  /** Largest payload given to the link in one piece; more than the MSS makes super-frames. */
  readonly superPayload: number;
  /** Probability that SACKed out-of-order data is thrown away again, as RFC 2018 section 8 allows. */
  readonly renege: number;
  /** Takes a part of an announced window back, which RFC 9293 3.8.6 discourages and asks senders to bear. */
  readonly shrinks: boolean;
  /** Answer a SYN with a SYN first, as if both sides had opened at once (RFC 9293 figure 7). */
  readonly crossSyn: boolean;
}

export type TcpState =
  | "SYN-SENT"
  | "SYN-RECEIVED"
  | "ESTABLISHED"
  | "FIN-WAIT-1"
  | "FIN-WAIT-2"
  | "CLOSE-WAIT"
  | "CLOSING"
  | "LAST-ACK"
  | "TIME-WAIT"
  | "CLOSED";

/** How a connection ended for the application. */
export type Ending = "closed" | "refused" | "reset" | "aborted" | "timeout";

/** What the application wants to hear. */
export interface TcpUser {
  connected(): void;
  /** More in-order octets, or the end of the stream. */
  readable(): void;
  /** Octets were acknowledged. */
  acknowledged(): void;
  ended(ending: Ending): void;
}

export interface TcpAddress {
  readonly localIp: number;
  readonly localPort: number;
  readonly remoteIp: number;
  readonly remotePort: number;
}

/** Largest payload a super-frame may carry: 65535 of IP less the longest headers. */
const KEEPALIVE_INTERVAL_MS = 10_000;
const KEEPALIVE_PROBES = 6;

/** seq `a` lies before `b` on the circle. */
const before = (a: number, b: number): boolean => ((a - b) | 0) < 0;

export class TcpConnection {
  state: TcpState = "CLOSED";
  user: TcpUser | null = null;
  /** Positions, see above. */
  private una = 0;
  private nxt = 0;
  private max = 0;
  written = 0;
  private finQueued = false;
  private iss = 0;
  private synAcked = false;
  private sndWnd = 0;
  private sndWndMax = 0;
  private wl1 = 0;
  private wl2 = 0;
  private peerMss = 536;
  private sndScale = 0;
  private rcvScale = 0;
  private useTimestamps = false;
  private useSack = false;

  private irs = 0;
  private rcv = 0;
  consumed = 0;
  private rightEdge = 0;
  /** Position of the peer's FIN, or -1. */
  private finAt = -1;
  private readonly outOfOrder = new Ranges();
  private recentRange = -1;

  private cwnd = 0;
  private ssthresh = Number.POSITIVE_INFINITY;
  private duplicateAcks = 0;
  private recoveryPoint = -1;
  private highRetransmit = 0;
  private readonly sacked = new Ranges();

  private srtt = -1;
  private rttvar = 0;
  private rto = 1000;
  private retries = 0;
  private timedPosition = -1;
  private timedAtMs = 0;
  private readonly timestampOffset: number;
  private tsRecent = 0;
  private lastAckSent = 0;

  private retransmitTimer: Scheduled | null = null;
  private retransmitKind: "rto" | "persist" = "rto";
  private ackTimer: Scheduled | null = null;
  private ackPendingSegments = 0;
  private keepaliveTimer: Scheduled | null = null;
  private keepaliveProbes = 0;
  private timeWaitTimer: Scheduled | null = null;
  private ended: Ending | null = null;
  private urgentEnd = -1;
  retransmissions = 0;

  constructor(
    readonly world: World,
    readonly address: TcpAddress,
    readonly settings: TcpSettings,
    private readonly outgoing: Pattern,
    private readonly incoming: Pattern,
    private readonly emit: (segment: TcpSegment, segmentSize: number) => void,
    private readonly forget: () => void,
  ) {
    // Timestamps wrap too, and change their sign.
    const edge = world.random.pick([0xffffffff, 0x7fffffff, world.random.int32() >>> 0]);
    this.timestampOffset = (edge - Math.floor(world.nowMs) - world.random.between(0, 3000)) >>> 0;
    this.rcvScale = Math.max(0, settings.windowScale);
  }

  /** Readable name for traces and rules. */
  get name(): string {
    return `guest:${this.address.localPort}-${this.address.remotePort}`;
  }

  get ending(): Ending | null {
    return this.ended;
  }

  /** In-order octets the application has not read. */
  get readableOctets(): number {
    return this.rcv - this.consumed;
  }

  get receivedOctets(): number {
    return this.rcv;
  }

  get acknowledgedOctets(): number {
    return Math.min(this.una, this.written);
  }

  /** The peer's FIN arrived and everything before it has been read. */
  get atEnd(): boolean {
    return this.finArrived && this.consumed === this.rcv;
  }

  get finArrived(): boolean {
    return this.finAt >= 0 && this.rcv === this.finAt && this.finProcessed;
  }
  private finProcessed = false;

  // --- the application's calls -----------------------------------------------------------------------------------

  connect(): void {
    this.start();
    this.state = "SYN-SENT";
    this.sendSyn();
    this.armRetransmit();
  }

  /** A SYN came for a listening port. */
  accept(syn: TcpSegment): void {
    this.start();
    if (this.settings.crossSyn) {
      this.state = "SYN-SENT";
      this.sendSyn();
      this.armRetransmit();
      this.segmentArrives(syn);
      return;
    }
    this.takeSyn(syn);
    this.state = "SYN-RECEIVED";
    this.sendSyn();
    this.armRetransmit();
  }

  /** Appends octets of the outgoing pattern. */
  write(octets: number): void {
    if (this.finQueued) throw new Error("write after shutdown");
    this.written += octets;
    this.output();
  }

  /** Marks the octet before `position` as urgent. */
  markUrgent(position: number): void {
    this.urgentEnd = position;
  }

  /** No more octets: FIN after the last one. */
  shutdown(): void {
    if (this.finQueued || this.ended !== null) return;
    this.finQueued = true;
    if (this.state === "ESTABLISHED") this.state = "FIN-WAIT-1";
    else if (this.state === "CLOSE-WAIT") this.state = "LAST-ACK";
    this.output();
  }

  /** Takes up to `octets` of what is readable; returns how many. */
  read(octets: number): number {
    const taken = Math.min(octets, this.readableOctets);
    this.consumed += taken;
    const free = this.settings.receiveBuffer - this.readableOctets;
    const open = this.rightEdge - this.rcv;
    // Receiver-side silly window avoidance (RFC 9293 3.8.6.2.2).
    if (taken > 0 && free - open >= Math.min(2 * this.settings.mss, this.settings.receiveBuffer / 2)) {
      if (this.synchronized && this.state !== "TIME-WAIT") this.sendAck();
    }
    return taken;
  }

  abort(): void {
    if (this.ended !== null) return;
    if (this.synchronized && this.state !== "TIME-WAIT") this.sendRst();
    this.finish("aborted");
  }

  // --- setup and end ---------------------------------------------------------------------------------------------

  private get synchronized(): boolean {
    return this.state !== "CLOSED" && this.state !== "SYN-SENT" && this.state !== "SYN-RECEIVED";
  }

  private start(): void {
    const random = this.world.random;
    // Many connections start close below the wrap, or where a signed number changes its sign.
    const edge = random.pick([0xffffffff, 0x7fffffff, random.int32() >>> 0]);
    this.iss = (edge - random.between(0, 40_000)) >>> 0;
    this.rightEdge = Math.min(65_535, this.settings.receiveBuffer);
  }

  private finish(ending: Ending): void {
    if (this.ended !== null) return;
    this.ended = ending;
    this.world.note("guest", [this.address.localPort], () => `${this.name} ended: ${ending}`);
    this.dropTimers();
    this.state = "CLOSED";
    this.forget();
    this.user?.ended(ending);
  }

  private dropTimers(): void {
    this.retransmitTimer = this.world.cancel(this.retransmitTimer);
    this.ackTimer = this.world.cancel(this.ackTimer);
    this.keepaliveTimer = this.world.cancel(this.keepaliveTimer);
    this.timeWaitTimer = this.world.cancel(this.timeWaitTimer);
  }

  /** The application hears "closed" when TIME-WAIT begins; the connection lingers. */
  private enterTimeWait(): void {
    this.state = "TIME-WAIT";
    this.retransmitTimer = this.world.cancel(this.retransmitTimer);
    this.keepaliveTimer = this.world.cancel(this.keepaliveTimer);
    this.restartTimeWait();
    if (this.ended === null) {
      this.ended = "closed";
      this.world.note("guest", [this.address.localPort], () => `${this.name} ended: closed (TIME-WAIT)`);
      this.user?.ended("closed");
    }
  }

  private restartTimeWait(): void {
    this.timeWaitTimer = this.world.cancel(this.timeWaitTimer);
    this.timeWaitTimer = this.world.after(this.settings.timeWaitMs, () => {
      this.dropTimers();
      this.state = "CLOSED";
      this.forget();
    });
  }

  /** The host throws away a TIME-WAIT connection for a new one on the same ports. */
  discard(): void {
    this.dropTimers();
    this.state = "CLOSED";
    this.forget();
  }

  /** In TIME-WAIT, a SYN that RFC 9293 3.6.1 / RFC 6191 lets reopen the connection. */
  mayReopen(syn: TcpSegment): boolean {
    if (this.state !== "TIME-WAIT") return false;
    if (this.useTimestamps && syn.options.timestamp !== undefined) {
      return before(this.tsRecent, syn.options.timestamp[0]);
    }
    return before(this.sequenceOfRcv(this.rcv), syn.sequence);
  }

  // --- sending ---------------------------------------------------------------------------------------------------

  private sequenceOf(position: number): number {
    return (this.iss + 1 + position) >>> 0;
  }

  private sequenceOfRcv(position: number): number {
    return (this.irs + 1 + position) >>> 0;
  }

  /** What the next acknowledgment number is: after the FIN once it was processed. */
  private get acknowledgment(): number {
    return this.sequenceOfRcv(this.rcv + (this.finProcessed ? 1 : 0));
  }

  private get timestampNow(): number {
    return (Math.floor(this.world.nowMs) + this.timestampOffset) >>> 0;
  }

  /** Moves the right edge as far as the buffer allows, never back; returns the header's window field. */
  private advertise(syn: boolean): number {
    const free = this.settings.receiveBuffer - this.readableOctets;
    if (syn) return Math.min(0xffff, Math.max(0, this.rightEdge - this.rcv));
    const offered = Math.min(free >> this.rcvScale, 0xffff) << this.rcvScale;
    // A window that opens by less than a segment is not worth announcing (silly window).
    const gain = this.rcv + offered - this.rightEdge;
    if (
      gain > 0 &&
      (gain >= Math.min(this.settings.mss, this.settings.receiveBuffer / 2) || free === offered)
    ) {
      this.rightEdge = this.rcv + offered;
    }
    // Round up: an edge once announced is never taken back, unless this guest is one that does.
    const field = Math.min(0xffff, Math.ceil((this.rightEdge - this.rcv) / 2 ** this.rcvScale));
    if (!this.settings.shrinks)
      this.rightEdge = Math.max(this.rightEdge, this.rcv + (field << this.rcvScale));
    return field;
  }

  private commonOptions(): TcpOptions {
    const options: { timestamp?: readonly [number, number]; sack?: readonly (readonly [number, number])[] } =
      {};
    if (this.useTimestamps) options.timestamp = [this.timestampNow, this.tsRecent];
    if (this.useSack && this.outOfOrder.list.length > 0) options.sack = this.sackBlocks();
    return options;
  }

  /** The most recently touched range first (RFC 2018 section 4), then the others. */
  private sackBlocks(): (readonly [number, number])[] {
    const recent = this.outOfOrder.list.filter(
      (r) => r.start <= this.recentRange && this.recentRange < r.end,
    );
    const others = this.outOfOrder.list.filter((r) => !recent.includes(r));
    return [...recent, ...others].map(
      (r) => [this.sequenceOfRcv(r.start), this.sequenceOfRcv(r.end)] as const,
    );
  }

  private segment(
    sequence: number,
    flags: number,
    options: TcpOptions,
    payload: Buffer,
    urgentPointer = 0,
  ): TcpSegment {
    const acknowledgment = flags & ACK ? this.acknowledgment : 0;
    if (flags & ACK) {
      this.lastAckSent = acknowledgment;
      this.ackPendingSegments = 0;
      this.ackTimer = this.world.cancel(this.ackTimer);
    }
    return {
      sourcePort: this.address.localPort,
      destinationPort: this.address.remotePort,
      sequence,
      acknowledgment,
      flags,
      window: this.advertise((flags & SYN) !== 0),
      urgentPointer,
      options,
      payload,
    };
  }

  private sendSyn(): void {
    const answering = this.state === "SYN-RECEIVED";
    const { settings } = this;
    const options: { -readonly [K in keyof TcpOptions]: TcpOptions[K] } = { mss: settings.mss };
    // An answer carries only what the SYN offered.
    if (settings.sack && (!answering || this.useSack)) options.sackPermitted = true;
    if (settings.timestamps && (!answering || this.useTimestamps)) {
      options.timestamp = [this.timestampNow, answering ? this.tsRecent : 0];
    }
    if (settings.windowScale >= 0 && (!answering || this.scaled)) options.windowScale = settings.windowScale;
    if (this.retries === 0) this.startTiming(-1);
    this.emit(this.segment(this.iss, answering ? SYN | ACK : SYN, options, Buffer.alloc(0)), 0);
  }
  private scaled = false;

  /** Where a segment without octets stands: after what was sent, but never outside the peer's window. */
  private get controlSequence(): number {
    return this.sequenceOf(Math.min(this.max, this.una + this.sndWnd));
  }

  sendAck(): void {
    this.emit(this.segment(this.controlSequence, ACK, this.commonOptions(), Buffer.alloc(0)), 0);
  }

  private sendRst(): void {
    const segment = this.segment(this.controlSequence, RST | ACK, {}, Buffer.alloc(0));
    this.emit(segment, 0);
  }

  private startTiming(position: number): void {
    this.timedPosition = position;
    this.timedAtMs = this.world.nowMs;
  }

  private get streamEnd(): number {
    return this.written + (this.finQueued ? 1 : 0);
  }

  private get inFlight(): number {
    return this.nxt - this.una - this.sacked.octets;
  }

  private get optionOctets(): number {
    const blocks = this.useSack ? Math.min(this.outOfOrder.list.length, this.useTimestamps ? 3 : 4) : 0;
    return (this.useTimestamps ? 12 : 0) + (blocks > 0 ? 4 + 8 * blocks : 0);
  }

  /** Payload of one segment on the wire now. */
  private get segmentPayload(): number {
    return Math.max(1, Math.min(this.peerMss, this.settings.mss) - this.optionOctets);
  }

  /** Sends what the windows allow. */
  private output(): void {
    if (!this.synAcked || this.ended !== null || this.state === "SYN-RECEIVED") return;
    while (this.nxt < this.streamEnd) {
      // After a timeout, what the peer already holds is skipped.
      const skip = this.sacked.endAround(this.nxt);
      if (skip > this.nxt) {
        this.nxt = Math.min(skip, this.streamEnd);
        continue;
      }
      const usable = Math.min(this.una + this.sndWnd - this.nxt, this.cwnd - this.inFlight);
      const length = this.lengthAt(this.nxt, usable);
      const finHere = this.finQueued && this.nxt + length === this.written && usable > length;
      if (length <= 0 && !finHere) break;
      const idle = this.nxt === this.una;
      const whole = length >= this.segmentPayload || this.nxt + length === this.written;
      // Sender-side silly window avoidance and Nagle (RFC 9293 3.8.6.2.1).
      if (!whole && !idle && length < this.sndWndMax / 2) break;
      if (this.settings.nagle && !idle && length < this.segmentPayload && !this.finQueued) break;
      this.sendData(this.nxt, length, finHere);
    }
    this.armRetransmit();
  }

  private lengthAt(position: number, usable: number): number {
    const limit = this.sacked.nextStart(position, this.written);
    const size = this.segmentPayload;
    const most = Math.max(size, Math.floor(this.settings.superPayload / size) * size);
    return Math.max(0, Math.min(usable, most, this.written - position, limit - position));
  }

  private sendData(position: number, length: number, fin: boolean): void {
    const again = position < this.max;
    if (again) this.retransmissions++;
    let flags = ACK;
    let urgentPointer = 0;
    if (fin) flags |= FIN;
    if (length > 0 && position + length === this.written) flags |= PSH;
    if (this.urgentEnd > position && this.urgentEnd - position < 0x10000) {
      flags |= URG;
      urgentPointer = this.urgentEnd - position;
    }
    const size = this.segmentPayload;
    const payload = this.outgoing.slice(position, length);
    const end = position + length + (fin ? 1 : 0);
    if (!again && this.timedPosition < 0) this.startTiming(end);
    if (again) this.timedPosition = -1;
    this.nxt = Math.max(this.nxt, end);
    this.max = Math.max(this.max, end);
    const segment = this.segment(
      this.sequenceOf(position),
      flags,
      this.commonOptions(),
      payload,
      urgentPointer,
    );
    this.emit(segment, length > size ? size : 0);
  }

  private get outstanding(): boolean {
    return !this.synAcked || this.una < this.max;
  }

  private armRetransmit(restart = false): void {
    if (this.ended !== null && this.state !== "TIME-WAIT") return;
    const persist = this.synAcked && this.una === this.max && this.sndWnd === 0 && this.una < this.streamEnd;
    const kind = persist ? "persist" : "rto";
    if (!this.outstanding && !persist) {
      this.retransmitTimer = this.world.cancel(this.retransmitTimer);
      return;
    }
    if (this.retransmitTimer !== null && !restart && kind === this.retransmitKind) return;
    this.world.cancel(this.retransmitTimer);
    this.retransmitKind = kind;
    this.retransmitTimer = this.world.after(this.rto, () => {
      this.retransmitTimer = null;
      if (this.retransmitKind === "persist") this.probeWindow();
      else this.retransmitTimeout();
    });
  }

  private backOff(): void {
    this.rto = Math.min(this.rto * 2, this.settings.maxRtoMs);
  }

  private probeWindow(): void {
    // A peer that answers keeps the connection (RFC 9293 3.8.6.1): no retry limit while acknowledgments come.
    this.retries++;
    if (this.retries > this.settings.maxRetries) {
      this.finish("timeout");
      return;
    }
    this.backOff();
    if (this.settings.probe === "octet" && this.una < this.written) {
      this.sendData(this.una, 1, false);
      this.nxt = this.una;
      this.max = Math.max(this.max, this.una + 1);
    } else {
      const old = this.segment(this.sequenceOf(this.una - 1), ACK, this.commonOptions(), Buffer.alloc(0));
      this.emit(old, 0);
    }
    this.world.cancel(this.retransmitTimer);
    this.retransmitKind = "persist";
    this.retransmitTimer = this.world.after(this.rto, () => {
      this.retransmitTimer = null;
      if (this.sndWnd === 0) this.probeWindow();
      else this.retransmitTimeout();
    });
  }

  private retransmitTimeout(): void {
    this.retries++;
    if (this.retries > this.settings.maxRetries) {
      if (this.synchronized) this.sendRst();
      this.finish("timeout");
      return;
    }
    this.backOff();
    this.timedPosition = -1;
    this.retransmissions++;
    if (!this.synAcked) {
      this.sendSyn();
    } else {
      this.ssthresh = Math.max(this.inFlight / 2, 2 * this.segmentPayload);
      this.cwnd = this.segmentPayload;
      this.recoveryPoint = -1;
      this.duplicateAcks = 0;
      this.sacked.clear();
      this.nxt = this.una;
      if (this.sndWnd === 0) {
        // The window closed over data in flight: one octet keeps asking.
        const finOnly = this.una >= this.written;
        this.sendData(this.una, finOnly ? 0 : 1, finOnly);
      } else {
        this.output();
      }
    }
    this.armRetransmit(true);
  }

  // --- receiving (RFC 9293 3.10.7) ---------------------------------------------------------------------------------

  segmentArrives(segment: TcpSegment): void {
    if (this.state === "CLOSED") return;
    this.keepaliveProbes = 0;
    this.armKeepalive();
    if (this.state === "SYN-SENT") {
      this.arrivesInSynSent(segment);
      return;
    }
    if (this.state === "SYN-RECEIVED" && segment.flags & SYN && segment.sequence === this.irs) {
      this.synAgain(segment);
      return;
    }
    const length = segment.payload.length + (segment.flags & (SYN | FIN) ? 1 : 0);
    if (this.useTimestamps && !this.passesPaws(segment)) {
      this.sendAck();
      return;
    }
    if (!this.acceptable(segment, length)) {
      if (!(segment.flags & RST)) this.sendAck();
      if (this.state === "TIME-WAIT") this.restartTimeWait();
      return;
    }
    if (segment.flags & RST) {
      this.rstArrives(segment);
      return;
    }
    if (segment.flags & SYN) {
      this.sendAck(); // RFC 5961 section 4
      return;
    }
    if (!(segment.flags & ACK)) return;
    this.noteTimestamp(segment);
    if (!this.takeAck(segment)) return;
    this.takePayload(segment);
    this.user?.acknowledged();
    this.output();
  }

  private arrivesInSynSent(segment: TcpSegment): void {
    const acksSyn = (segment.flags & ACK) !== 0 && segment.acknowledgment === (this.iss + 1) >>> 0;
    if (segment.flags & ACK && !acksSyn) {
      if (!(segment.flags & RST)) this.emit(this.bareRst(segment.acknowledgment), 0);
      return;
    }
    if (segment.flags & RST) {
      if (acksSyn) this.finish("refused");
      return;
    }
    if (!(segment.flags & SYN)) return;
    this.takeSyn(segment);
    if (acksSyn) {
      this.synAcknowledged(segment);
      this.state = "ESTABLISHED";
      this.sendAck();
      this.established();
    } else {
      this.state = "SYN-RECEIVED";
      this.retries = 1;
      this.sendSyn();
      this.armRetransmit(true);
    }
  }

  /** In SYN-RECEIVED the peer's SYN came once more: with an ACK it completes a crossing open. */
  private synAgain(segment: TcpSegment): void {
    if (!(segment.flags & ACK)) {
      this.sendSyn();
      return;
    }
    if (segment.flags & RST || segment.acknowledgment !== this.sequenceOf(0)) return;
    this.synAcknowledged(segment);
    this.state = "ESTABLISHED";
    this.sndWnd = segment.window;
    this.sendAck();
    this.established();
  }

  private bareRst(sequence: number): TcpSegment {
    const { localPort, remotePort } = this.address;
    return {
      sourcePort: localPort,
      destinationPort: remotePort,
      sequence,
      acknowledgment: 0,
      flags: RST,
      window: 0,
      urgentPointer: 0,
      options: {},
      payload: Buffer.alloc(0),
    };
  }

  private takeSyn(syn: TcpSegment): void {
    const { settings } = this;
    const { options } = syn;
    this.irs = syn.sequence;
    this.peerMss = options.mss ?? 536;
    this.useSack = settings.sack && options.sackPermitted === true;
    this.useTimestamps = settings.timestamps && options.timestamp !== undefined;
    if (this.useTimestamps) this.tsRecent = options.timestamp![0];
    this.scaled = settings.windowScale >= 0 && options.windowScale !== undefined;
    this.sndScale = this.scaled ? Math.min(14, options.windowScale!) : 0;
    if (!this.scaled) this.rcvScale = 0;
    this.sndWnd = syn.window;
    this.sndWndMax = syn.window;
    this.wl1 = syn.sequence;
    this.lastAckSent = (syn.sequence + 1) >>> 0;
    if (this.peerMss < 1) this.world.violation(`${this.name}: peer announced an MSS of ${this.peerMss}`);
    if ((options.windowScale ?? 0) > 14)
      this.world.violation(`${this.name}: peer announced window scale > 14`);
  }

  private synAcknowledged(segment: TcpSegment): void {
    this.synAcked = true;
    this.retries = 0;
    this.wl2 = segment.acknowledgment;
    this.cwnd = this.settings.initialWindow * this.segmentPayload;
    this.measureRtt(segment, 0);
    this.retransmitTimer = this.world.cancel(this.retransmitTimer);
  }

  private established(): void {
    if (this.finQueued) this.state = "FIN-WAIT-1";
    this.armKeepalive();
    this.user?.connected();
    this.output();
  }

  private passesPaws(segment: TcpSegment): boolean {
    const stamp = segment.options.timestamp;
    if (segment.flags & RST) return true;
    if (stamp === undefined) {
      this.world.violation(
        `${this.name}: timestamps are in use, yet this segment has none: ${describeTcp(segment)}`,
      );
    }
    const age = (this.timestampNow - stamp[1]) | 0;
    if (segment.flags & ACK && age < 0) {
      this.world.violation(`${this.name}: timestamp echo from the future: ${describeTcp(segment)}`);
    }
    return !before(stamp[0], this.tsRecent);
  }

  private acceptable(segment: TcpSegment, length: number): boolean {
    const start = (segment.sequence - this.acknowledgment) | 0;
    const end = start + length - 1;
    const window = this.rightEdge - this.rcv;
    if (length === 0) return window === 0 ? start === 0 : start >= 0 && start < window;
    if (window === 0) return false;
    return (start >= 0 && start < window) || (end >= 0 && end < window);
  }

  private rstArrives(segment: TcpSegment): void {
    if (this.state === "TIME-WAIT") {
      this.discard();
      return;
    }
    // RFC 5961 section 3.2: exactly the next octet, or it is challenged.
    if (segment.sequence !== this.acknowledgment) {
      this.sendAck();
      return;
    }
    this.finish(this.state === "SYN-RECEIVED" ? "refused" : "reset");
  }

  private noteTimestamp(segment: TcpSegment): void {
    const stamp = segment.options.timestamp;
    if (!this.useTimestamps || stamp === undefined) return;
    // RFC 7323 section 4.3: only from a segment that covers the last acknowledgment sent.
    if (!before(stamp[0], this.tsRecent) && !before(this.lastAckSent, segment.sequence))
      this.tsRecent = stamp[0];
  }

  /** Processes the acknowledgment; false when the segment is to be dropped. */
  private takeAck(segment: TcpSegment): boolean {
    const ack = (segment.acknowledgment - this.sequenceOf(0)) | 0;
    if (this.state === "SYN-RECEIVED") {
      if (ack < 0 || ack > this.max) {
        this.emit(this.bareRst(segment.acknowledgment), 0);
        return false;
      }
      this.synAcknowledged(segment);
      this.state = "ESTABLISHED";
      this.sndWnd = segment.window << this.sndScale;
      this.wl1 = segment.sequence;
      this.established();
    }
    if (ack > this.max) {
      this.world.violation(`${this.name}: acknowledges what was never sent: ${describeTcp(segment)}`);
    }
    if (ack < this.una) return this.state !== "CLOSED";
    this.takeSack(segment);
    const advanced = ack > this.una;
    if (advanced) this.advance(ack, segment);
    else this.duplicate(segment, ack);
    this.takeWindow(segment);
    return this.afterAck();
  }

  private takeSack(segment: TcpSegment): void {
    const blocks = segment.options.sack ?? [];
    if (blocks.length > 0 && !this.useSack) {
      this.world.violation(`${this.name}: SACK blocks without SACK-permitted: ${describeTcp(segment)}`);
    }
    for (const [left, right] of blocks) {
      const start = (left - this.sequenceOf(0)) | 0;
      const end = (right - this.sequenceOf(0)) | 0;
      if (end <= start || end > this.max) {
        this.world.violation(`${this.name}: SACK block for what was never sent: ${describeTcp(segment)}`);
      }
      // Below una it is a duplicate report (RFC 2883), otherwise news.
      if (start >= this.una) this.sacked.add(start, end);
    }
  }

  private advance(ack: number, segment: TcpSegment): void {
    const acked = ack - this.una;
    this.una = ack;
    this.nxt = Math.max(this.nxt, ack);
    this.sacked.dropBelow(ack);
    this.retries = 0;
    this.measureRtt(segment, ack);
    const size = this.segmentPayload;
    if (this.recoveryPoint >= 0) {
      if (ack >= this.recoveryPoint) {
        this.recoveryPoint = -1;
        this.cwnd = this.ssthresh;
        this.duplicateAcks = 0;
      } else {
        this.highRetransmit = Math.max(this.highRetransmit, ack);
        this.retransmitHole();
      }
    } else {
      this.duplicateAcks = 0;
      if (this.cwnd < this.ssthresh) this.cwnd += Math.min(acked, 2 * size);
      else this.cwnd += Math.max(1, Math.floor((size * size) / this.cwnd));
    }
    this.armRetransmit(true);
  }

  private duplicate(segment: TcpSegment, ack: number): void {
    const sameWindow = segment.window << this.sndScale === this.sndWnd;
    const counts = segment.payload.length === 0 && ack === this.una && this.una < this.max && sameWindow;
    if (this.sndWnd === 0 && ack === this.una) this.retries = 0; // a live peer with a closed window
    if (!counts || segment.flags & (SYN | FIN)) return;
    this.duplicateAcks++;
    if (this.recoveryPoint >= 0) {
      this.retransmitHole();
    } else if (this.duplicateAcks === 3) {
      this.ssthresh = Math.max(this.inFlight / 2, 2 * this.segmentPayload);
      this.cwnd = this.ssthresh;
      this.recoveryPoint = this.max;
      this.highRetransmit = this.una;
      this.retransmitHole();
    }
  }

  /** Sends the first octets not SACKed and not yet sent again in this recovery. */
  private retransmitHole(): void {
    let from = Math.max(this.una, this.highRetransmit);
    from = this.sacked.endAround(from);
    const known = this.useSack ? this.sacked.highest : this.una + 1;
    if (from >= Math.max(known, this.una + 1) || from >= this.max) return;
    const length = this.lengthAt(from, Math.min(this.max - from, this.una + this.sndWnd - from));
    const fin = this.finQueued && from + length === this.written && this.max > this.written;
    if (length <= 0 && !fin) return;
    const nxt = this.nxt;
    this.sendData(from, length, fin);
    this.nxt = Math.max(nxt, this.nxt);
    this.highRetransmit = from + length + (fin ? 1 : 0);
  }

  private takeWindow(segment: TcpSegment): void {
    const { sequence, acknowledgment } = segment;
    if (before(sequence, this.wl1) || (sequence === this.wl1 && before(acknowledgment, this.wl2))) return;
    const window = segment.flags & SYN ? segment.window : segment.window << this.sndScale;
    const wasZero = this.sndWnd === 0;
    this.sndWnd = window;
    this.sndWndMax = Math.max(this.sndWndMax, window);
    this.wl1 = sequence;
    this.wl2 = acknowledgment;
    if (wasZero && window > 0) {
      this.retries = 0;
      if (this.max > this.una) this.nxt = this.una; // a probe's octet may have been refused
      this.armRetransmit(true);
    }
  }

  /** Moves the state on once our FIN is acknowledged. */
  private afterAck(): boolean {
    const finAcked = this.finQueued && this.una === this.streamEnd && this.max === this.streamEnd;
    if (!finAcked) return true;
    if (this.state === "FIN-WAIT-1") this.state = "FIN-WAIT-2";
    else if (this.state === "CLOSING") this.enterTimeWait();
    else if (this.state === "LAST-ACK") {
      this.finish("closed");
      return false;
    }
    return true;
  }

  private measureRtt(segment: TcpSegment, ack: number): void {
    let rtt = -1;
    if (this.useTimestamps && segment.options.timestamp !== undefined) {
      rtt = (this.timestampNow - segment.options.timestamp[1]) | 0;
    } else if (this.timedPosition >= 0 ? ack >= this.timedPosition : this.timedAtMs > 0 && ack === 0) {
      rtt = this.world.nowMs - this.timedAtMs;
      this.timedPosition = -1;
    }
    if (rtt >= 0 && rtt < 600_000) {
      if (this.srtt < 0) {
        this.srtt = rtt;
        this.rttvar = rtt / 2;
      } else {
        this.rttvar = 0.75 * this.rttvar + 0.25 * Math.abs(this.srtt - rtt);
        this.srtt = 0.875 * this.srtt + 0.125 * rtt;
      }
    }
    if (this.srtt >= 0) {
      const { minRtoMs, maxRtoMs } = this.settings;
      this.rto = Math.min(maxRtoMs, Math.max(minRtoMs, this.srtt + Math.max(10, 4 * this.rttvar)));
    }
  }

  private takePayload(segment: TcpSegment): void {
    if (this.state === "CLOSED") return;
    const shift = segment.flags & SYN ? 1 : 0;
    const position = ((segment.sequence + shift - this.sequenceOfRcv(0)) | 0) >> 0;
    const { payload } = segment;
    const wrong = this.incoming.mismatch(
      Math.max(0, position),
      position < 0 ? payload.subarray(-position) : payload,
    );
    if (wrong >= 0) {
      this.world.violation(`${this.name}: wrong octet at stream position ${Math.max(0, position) + wrong}`);
    }
    if (segment.flags & FIN) this.takeFinPosition(position + payload.length, segment);
    const start = Math.max(position, this.rcv);
    const end = Math.min(position + payload.length, this.rightEdge);
    const inOrder = start === this.rcv && end > start;
    if (end > start) {
      if (this.finAt >= 0 && end > this.finAt) this.world.violation(`${this.name}: octets after the FIN`);
      this.outOfOrder.add(start, end);
      this.recentRange = start;
    }
    const had = this.rcv;
    this.rcv = this.outOfOrder.endAround(this.rcv);
    this.outOfOrder.dropBelow(this.rcv);
    const finNow = this.finAt === this.rcv && !this.finProcessed;
    if (finNow) this.processFin();
    this.acknowledgeData(segment, inOrder, had, finNow);
    if (this.rcv > had || finNow) this.user?.readable();
    this.maybeRenege();
  }

  private takeFinPosition(at: number, segment: TcpSegment): void {
    if (this.finAt >= 0 && this.finAt !== at) {
      this.world.violation(`${this.name}: FIN moved from ${this.finAt}: ${describeTcp(segment)}`);
    }
    this.finAt = at;
  }

  private processFin(): void {
    this.finProcessed = true;
    if (this.state === "ESTABLISHED") this.state = "CLOSE-WAIT";
    else if (this.state === "FIN-WAIT-1") this.state = "CLOSING";
    else if (this.state === "FIN-WAIT-2") {
      this.sendAck();
      this.enterTimeWait();
    } else if (this.state === "TIME-WAIT") this.restartTimeWait();
  }

  private acknowledgeData(segment: TcpSegment, inOrder: boolean, had: number, finNow: boolean): void {
    const occupies = segment.payload.length > 0 || segment.flags & (FIN | SYN);
    if (!occupies || this.state === "CLOSED") return;
    const hole = this.outOfOrder.list.length > 0;
    const filled = this.rcv > had + segment.payload.length;
    this.ackPendingSegments += Math.max(
      1,
      Math.ceil(segment.payload.length / Math.max(1, this.segmentPayload)),
    );
    const late = this.settings.delayedAckMs;
    if (!inOrder || hole || filled || finNow || late === 0 || this.ackPendingSegments >= 2) {
      this.sendAck();
      return;
    }
    this.ackTimer ??= this.world.after(late, () => {
      this.ackTimer = null;
      this.sendAck();
    });
  }

  private maybeRenege(): void {
    if (this.outOfOrder.list.length > 0 && this.world.random.chance(this.settings.renege)) {
      this.outOfOrder.clear();
      if (this.finAt >= 0 && !this.finProcessed) this.finAt = -1;
    }
  }

  // --- keepalive (RFC 9293 3.8.4) -----------------------------------------------------------------------------------

  private armKeepalive(): void {
    this.keepaliveTimer = this.world.cancel(this.keepaliveTimer);
    if (this.settings.keepaliveMs === 0 || !this.synchronized || this.state === "TIME-WAIT") return;
    const delay = this.keepaliveProbes === 0 ? this.settings.keepaliveMs : KEEPALIVE_INTERVAL_MS;
    this.keepaliveTimer = this.world.after(delay, () => {
      this.keepaliveTimer = null;
      if (this.keepaliveProbes >= KEEPALIVE_PROBES) {
        this.sendRst();
        this.finish("timeout");
        return;
      }
      this.keepaliveProbes++;
      const sequence = this.sequenceOf(this.una - 1);
      this.emit(this.segment(sequence, ACK, this.commonOptions(), Buffer.alloc(0)), 0);
      this.armKeepalive();
    });
  }
}
