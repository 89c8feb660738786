/**
 * One TCP connection of the simulated guest (RFC 9293, 7323, 2018, 6298, 5681): the state machine and the calls of the
 * application. Sending and receiving are in tcp-sender.ts and tcp-receiver.ts. What the peer does against the RFCs is
 * reported through `world.violation`.
 */
import type { Scheduled } from "../world/event-queue.ts";
import type { Pattern } from "../world/pattern.ts";
import type { World } from "../world/world.ts";
import { ACK, describeTcp, FIN, RST, SYN, type TcpOptions, type TcpSegment } from "./codec.ts";
import { before, TcpSender } from "./tcp-sender.ts";
import type { Ending, TcpAddress, TcpSettings, TcpState, TcpUser } from "./tcp-settings.ts";

const KEEPALIVE_INTERVAL_MS = 10_000;
const KEEPALIVE_PROBES = 6;

export class TcpConnection extends TcpSender {
  state: TcpState = "CLOSED";
  user: TcpUser | null = null;
  private ended: Ending | null = null;
  /** Both sides scale their windows. */
  private scaled = false;
  private keepaliveTimer: Scheduled | null = null;
  private keepaliveProbes = 0;
  private timeWaitTimer: Scheduled | null = null;

  constructor(
    world: World,
    address: TcpAddress,
    settings: TcpSettings,
    outgoing: Pattern,
    incoming: Pattern,
    emit: (segment: TcpSegment, segmentSize: number) => void,
    private readonly forget: () => void,
  ) {
    super(world, address, settings, outgoing, incoming, emit);
  }

  get ending(): Ending | null {
    return this.ended;
  }

  /** In-order octets the application has not read. */
  get readableOctets(): number {
    return this.receiver.readableOctets;
  }

  /** The peer's FIN arrived and everything before it has been read. */
  get atEnd(): boolean {
    return this.receiver.atEnd;
  }

  protected get maySend(): boolean {
    return this.synAcked && this.ended === null && this.state !== "SYN-RECEIVED";
  }

  protected get alive(): boolean {
    return this.ended === null || this.state === "TIME-WAIT";
  }

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
    const taken = this.receiver.consume(octets);
    const hears = this.synchronized && this.state !== "TIME-WAIT";
    if (taken > 0 && hears && this.receiver.windowUpdateDue) this.sendAck();
    return taken;
  }

  abort(): void {
    if (this.ended !== null) return;
    if (this.synchronized && this.state !== "TIME-WAIT") this.sendRst();
    this.finish("aborted");
  }

  // --- setup and end ---------------------------------------------------------------------------------------------

  protected get synchronized(): boolean {
    return this.state !== "CLOSED" && this.state !== "SYN-SENT" && this.state !== "SYN-RECEIVED";
  }

  private start(): void {
    const random = this.world.random;
    // Many connections start close below the wrap, or where a signed number changes its sign.
    const edge = random.pick([0xffffffff, 0x7fffffff, random.int32() >>> 0]);
    this.iss = (edge - random.between(0, 40_000)) >>> 0;
  }

  protected finish(ending: Ending): void {
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
    return before(this.receiver.sequenceOf(this.receiver.rcv), syn.sequence);
  }

  protected sendSyn(): void {
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

  // --- receiving (RFC 9293 3.10.7) ---------------------------------------------------------------------------------

  segmentArrives(segment: TcpSegment): void {
    if (this.state === "CLOSED") return;
    this.keepaliveProbes = 0;
    this.armKeepalive();
    if (this.state === "SYN-SENT") {
      this.arrivesInSynSent(segment);
      return;
    }
    if (this.state === "SYN-RECEIVED" && segment.flags & SYN && segment.sequence === this.receiver.irs) {
      this.synAgain(segment);
      return;
    }
    const length = segment.payload.length + (segment.flags & (SYN | FIN) ? 1 : 0);
    if (this.useTimestamps && !this.passesPaws(segment)) {
      this.sendAck();
      return;
    }
    if (!this.receiver.acceptable(segment, length)) {
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

  private takeSyn(syn: TcpSegment): void {
    const { settings } = this;
    const { options } = syn;
    this.receiver.irs = syn.sequence;
    this.peerMss = options.mss ?? 536;
    this.useSack = settings.sack && options.sackPermitted === true;
    this.useTimestamps = settings.timestamps && options.timestamp !== undefined;
    if (this.useTimestamps) this.tsRecent = options.timestamp![0];
    this.scaled = settings.windowScale >= 0 && options.windowScale !== undefined;
    this.sndScale = this.scaled ? Math.min(14, options.windowScale!) : 0;
    if (!this.scaled) this.receiver.scale = 0;
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

  private rstArrives(segment: TcpSegment): void {
    if (this.state === "TIME-WAIT") {
      this.discard();
      return;
    }
    // RFC 5961 section 3.2: exactly the next octet, or it is challenged.
    if (segment.sequence !== this.receiver.acknowledgment) {
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

  private takePayload(segment: TcpSegment): void {
    if (this.state === "CLOSED") return;
    const { advanced, urgent, fin } = this.receiver.take(segment);
    if (fin) this.processFin();
    this.acknowledgeOctets(segment, urgent);
    if (advanced) this.user?.readable();
    this.receiver.maybeRenege();
  }

  private acknowledgeOctets(segment: TcpSegment, urgent: boolean): void {
    const { payload, flags } = segment;
    if ((payload.length === 0 && !(flags & (FIN | SYN))) || this.state === "CLOSED") return;
    this.ackPendingSegments += Math.max(1, Math.ceil(payload.length / this.segmentPayload));
    const late = this.settings.delayedAckMs;
    if (urgent || late === 0 || this.ackPendingSegments >= 2) {
      this.sendAck();
      return;
    }
    this.ackTimer ??= this.world.after(late, () => {
      this.ackTimer = null;
      this.sendAck();
    });
  }

  private processFin(): void {
    if (this.state === "ESTABLISHED") this.state = "CLOSE-WAIT";
    else if (this.state === "FIN-WAIT-1") this.state = "CLOSING";
    else if (this.state === "FIN-WAIT-2") {
      this.sendAck();
      this.enterTimeWait();
    } else if (this.state === "TIME-WAIT") this.restartTimeWait();
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
