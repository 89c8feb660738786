/**
 * The sending half of a connection: what may be sent and when it is sent again (RFC 6298, 5681, 6582, 2018), with the
 * timers that belong to it. The state machine above it (tcp.ts) decides what a segment means.
 *
 * Stream contents are never stored: what is sent is regenerated from a pattern by position. A position is an offset in
 * the stream, sequence number minus (initial sequence number + 1); the FIN takes the one after the last octet.
 *
 *   0 ... una ... nxt ... max ... written     una: acknowledged; nxt: next to send, goes back on timeout;
 *                                             max: highest ever sent
 */
import type { Scheduled } from "../world/event-queue.ts";
import type { Pattern } from "../world/pattern.ts";
import type { World } from "../world/world.ts";
import { ACK, describeTcp, FIN, PSH, RST, SYN, type TcpOptions, type TcpSegment, URG } from "./codec.ts";
import { Ranges } from "./ranges.ts";
import { TcpReceiver } from "./tcp-receiver.ts";
import type { Ending, TcpAddress, TcpSettings } from "./tcp-settings.ts";

/** seq `a` lies before `b` on the circle. */
export const before = (a: number, b: number): boolean => ((a - b) | 0) < 0;

export abstract class TcpSender {
  /** Positions, see above. */
  protected una = 0;
  protected nxt = 0;
  protected max = 0;
  written = 0;
  protected finQueued = false;
  protected iss = 0;
  protected synAcked = false;
  protected sndWnd = 0;
  protected sndWndMax = 0;
  protected wl1 = 0;
  protected wl2 = 0;
  protected peerMss = 536;
  protected sndScale = 0;
  protected useTimestamps = false;
  protected useSack = false;
  protected cwnd = 0;
  protected ssthresh = Number.POSITIVE_INFINITY;
  protected duplicateAcks = 0;
  protected recoveryPoint = -1;
  protected highRetransmit = 0;
  protected readonly sacked = new Ranges();
  protected srtt = -1;
  protected rttvar = 0;
  protected rto = 1000;
  protected retries = 0;
  protected timedPosition = -1;
  protected timedAtMs = 0;
  protected readonly timestampOffset: number;
  protected tsRecent = 0;
  protected lastAckSent = 0;
  protected retransmitTimer: Scheduled | null = null;
  protected retransmitKind: "rto" | "persist" = "rto";
  protected ackTimer: Scheduled | null = null;
  protected ackPendingSegments = 0;
  protected urgentEnd = -1;
  retransmissions = 0;
  protected readonly receiver: TcpReceiver;

  constructor(
    readonly world: World,
    readonly address: TcpAddress,
    readonly settings: TcpSettings,
    private readonly outgoing: Pattern,
    incoming: Pattern,
    protected readonly emit: (segment: TcpSegment, segmentSize: number) => void,
  ) {
    this.receiver = new TcpReceiver(world, this.name, settings, incoming);
    // Timestamps wrap too, and change their sign.
    const edge = world.random.pick([0xffffffff, 0x7fffffff, world.random.int32() >>> 0]);
    this.timestampOffset = (edge - Math.floor(world.nowMs) - world.random.between(0, 3000)) >>> 0;
  }

  /** Readable name for traces and rules. */
  get name(): string {
    return `guest:${this.address.localPort}-${this.address.remotePort}`;
  }

  get acknowledgedOctets(): number {
    return Math.min(this.una, this.written);
  }

  /** Whether the state lets octets go. */
  protected abstract get maySend(): boolean;
  /** Whether a timer may still be set. */
  protected abstract get alive(): boolean;
  protected abstract get synchronized(): boolean;
  protected abstract sendSyn(): void;
  protected abstract finish(ending: Ending): void;

  // --- sending ---------------------------------------------------------------------------------------------------

  protected sequenceOf(position: number): number {
    return (this.iss + 1 + position) >>> 0;
  }

  protected get timestampNow(): number {
    return (Math.floor(this.world.nowMs) + this.timestampOffset) >>> 0;
  }

  protected commonOptions(): TcpOptions {
    const options: { timestamp?: readonly [number, number]; sack?: readonly (readonly [number, number])[] } =
      {};
    if (this.useTimestamps) options.timestamp = [this.timestampNow, this.tsRecent];
    if (this.useSack && this.receiver.holes > 0) options.sack = this.receiver.sackBlocks();
    return options;
  }

  protected segment(
    sequence: number,
    flags: number,
    options: TcpOptions,
    payload: Buffer,
    urgentPointer = 0,
  ): TcpSegment {
    const acknowledgment = flags & ACK ? this.receiver.acknowledgment : 0;
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
      window: this.receiver.advertise((flags & SYN) !== 0),
      urgentPointer,
      options,
      payload,
    };
  }

  /** Where a segment without octets stands: after what was sent, but never outside the peer's window. */
  protected get controlSequence(): number {
    return this.sequenceOf(Math.min(this.max, this.una + this.sndWnd));
  }

  sendAck(): void {
    this.emit(this.segment(this.controlSequence, ACK, this.commonOptions(), Buffer.alloc(0)), 0);
  }

  protected sendRst(): void {
    const segment = this.segment(this.controlSequence, RST | ACK, {}, Buffer.alloc(0));
    this.emit(segment, 0);
  }

  protected bareRst(sequence: number): TcpSegment {
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

  protected startTiming(position: number): void {
    this.timedPosition = position;
    this.timedAtMs = this.world.nowMs;
  }

  protected get streamEnd(): number {
    return this.written + (this.finQueued ? 1 : 0);
  }

  protected get inFlight(): number {
    return this.nxt - this.una - this.sacked.octets;
  }

  protected get optionOctets(): number {
    const blocks = this.useSack ? Math.min(this.receiver.holes, this.useTimestamps ? 3 : 4) : 0;
    return (this.useTimestamps ? 12 : 0) + (blocks > 0 ? 4 + 8 * blocks : 0);
  }

  /** Payload of one segment on the wire now. */
  protected get segmentPayload(): number {
    return Math.max(1, Math.min(this.peerMss, this.settings.mss) - this.optionOctets);
  }

  /** Sends what the windows allow. */
  protected output(): void {
    if (!this.maySend) return;
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

  protected lengthAt(position: number, usable: number): number {
    const limit = this.sacked.nextStart(position, this.written);
    const size = this.segmentPayload;
    const most = Math.max(size, Math.floor(this.settings.superPayload / size) * size);
    return Math.max(0, Math.min(usable, most, this.written - position, limit - position));
  }

  protected sendData(position: number, length: number, fin: boolean): void {
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

  protected get outstanding(): boolean {
    return !this.synAcked || this.una < this.max;
  }

  protected armRetransmit(restart = false): void {
    if (!this.alive) return;
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

  protected backOff(): void {
    this.rto = Math.min(this.rto * 2, this.settings.maxRtoMs);
  }

  protected probeWindow(): void {
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

  protected retransmitTimeout(): void {
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

  protected takeSack(segment: TcpSegment): void {
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

  protected advance(ack: number, segment: TcpSegment): void {
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

  protected duplicate(segment: TcpSegment, ack: number): void {
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
  protected retransmitHole(): void {
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

  protected takeWindow(segment: TcpSegment): void {
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

  protected measureRtt(segment: TcpSegment, ack: number): void {
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
}
