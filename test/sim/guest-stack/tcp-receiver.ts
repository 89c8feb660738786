/**
 * The receiving half of a connection: what has arrived, what the application took, the window that follows from it.
 * Octets are compared with their pattern as they come, in order or not, and never kept.
 *
 *   0 ... consumed ... rcv ... rightEdge      consumed: taken by the application; rcv: in order up to here
 */
import type { Pattern } from "../world/pattern.ts";
import type { World } from "../world/world.ts";
import { describeTcp, FIN, SYN, type TcpSegment } from "./codec.ts";
import { Ranges } from "./ranges.ts";
import type { TcpSettings } from "./tcp-settings.ts";

/** What a segment's octets and FIN did. */
export interface Arrival {
  /** The octets continued the stream, or moved its end. */
  readonly advanced: boolean;
  /** Nothing to wait for: a hole, a filled hole, a duplicate. The acknowledgment must not be delayed. */
  readonly urgent: boolean;
  /** The FIN is in order now. */
  readonly fin: boolean;
}

export class TcpReceiver {
  /** The peer's initial sequence number. */
  irs = 0;
  rcv = 0;
  consumed = 0;
  rightEdge: number;
  /** Shift of the windows we announce. */
  scale: number;
  /** Position of the peer's FIN, or -1. */
  private finAt = -1;
  finProcessed = false;
  private readonly outOfOrder = new Ranges();
  private recentRange = -1;

  constructor(
    private readonly world: World,
    private readonly name: string,
    private readonly settings: TcpSettings,
    private readonly incoming: Pattern,
  ) {
    this.scale = Math.max(0, settings.windowScale);
    this.rightEdge = Math.min(65_535, settings.receiveBuffer);
  }

  /** In-order octets the application has not read. */
  get readableOctets(): number {
    return this.rcv - this.consumed;
  }

  /** The peer's FIN arrived and everything before it has been read. */
  get atEnd(): boolean {
    return this.finProcessed && this.consumed === this.rcv;
  }

  /** Ranges held ahead of a hole. */
  get holes(): number {
    return this.outOfOrder.list.length;
  }

  sequenceOf(position: number): number {
    return (this.irs + 1 + position) >>> 0;
  }

  /** What the next acknowledgment number is: after the FIN once it was processed. */
  get acknowledgment(): number {
    return this.sequenceOf(this.rcv + (this.finProcessed ? 1 : 0));
  }

  /** Takes up to `octets` of what is readable; returns how many. */
  consume(octets: number): number {
    const taken = Math.min(octets, this.readableOctets);
    this.consumed += taken;
    return taken;
  }

  /** Whether the window has grown by so much that the peer should hear of it (RFC 9293 3.8.6.2.2). */
  get windowUpdateDue(): boolean {
    const { mss, receiveBuffer } = this.settings;
    const gain = receiveBuffer - this.readableOctets - (this.rightEdge - this.rcv);
    return gain >= Math.min(2 * mss, receiveBuffer / 2);
  }

  /** Moves the right edge as far as the buffer allows, never back; returns the header's window field. */
  advertise(syn: boolean): number {
    const free = this.settings.receiveBuffer - this.readableOctets;
    if (syn) return Math.min(0xffff, Math.max(0, this.rightEdge - this.rcv));
    const offered = Math.min(free >> this.scale, 0xffff) << this.scale;
    // A window that opens by less than a segment is not worth announcing (silly window).
    const gain = this.rcv + offered - this.rightEdge;
    if (
      gain > 0 &&
      (gain >= Math.min(this.settings.mss, this.settings.receiveBuffer / 2) || free === offered)
    ) {
      this.rightEdge = this.rcv + offered;
    }
    // Round up: an edge once announced is never taken back, unless this guest is one that does.
    const field = Math.min(0xffff, Math.ceil((this.rightEdge - this.rcv) / 2 ** this.scale));
    if (!this.settings.shrinks) this.rightEdge = Math.max(this.rightEdge, this.rcv + (field << this.scale));
    return field;
  }

  /** The most recently touched range first (RFC 2018 section 4), then the others. */
  sackBlocks(): (readonly [number, number])[] {
    const recent = this.outOfOrder.list.filter(
      (r) => r.start <= this.recentRange && this.recentRange < r.end,
    );
    const others = this.outOfOrder.list.filter((r) => !recent.includes(r));
    return [...recent, ...others].map((r) => [this.sequenceOf(r.start), this.sequenceOf(r.end)] as const);
  }

  /** The four cases of RFC 9293 table 6; `length` in sequence numbers. */
  acceptable(segment: TcpSegment, length: number): boolean {
    const start = (segment.sequence - this.acknowledgment) | 0;
    const end = start + length - 1;
    const window = this.rightEdge - this.rcv;
    if (length === 0) return window === 0 ? start === 0 : start >= 0 && start < window;
    if (window === 0) return false;
    return (start >= 0 && start < window) || (end >= 0 && end < window);
  }

  /** Takes octets and FIN of an acceptable segment. */
  take(segment: TcpSegment): Arrival {
    const { payload } = segment;
    const shift = segment.flags & SYN ? 1 : 0;
    const position = (segment.sequence + shift - this.sequenceOf(0)) | 0;
    this.compare(position, payload);
    if (segment.flags & FIN) this.noteFin(position + payload.length, segment);
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
    const fin = this.finAt === this.rcv && !this.finProcessed;
    if (fin) this.finProcessed = true;
    const filled = this.rcv > had + payload.length;
    return { advanced: this.rcv > had || fin, urgent: !inOrder || filled || fin || this.holes > 0, fin };
  }

  private compare(position: number, payload: Buffer): void {
    const from = Math.max(0, position);
    const wrong = this.incoming.mismatch(from, payload.subarray(from - position));
    if (wrong >= 0) this.world.violation(`${this.name}: wrong octet at stream position ${from + wrong}`);
  }

  private noteFin(at: number, segment: TcpSegment): void {
    if (this.finAt >= 0 && this.finAt !== at) {
      this.world.violation(`${this.name}: FIN moved from ${this.finAt}: ${describeTcp(segment)}`);
    }
    this.finAt = at;
  }

  /** Throws away what came out of order, which RFC 2018 section 8 allows although it was SACKed. */
  maybeRenege(): void {
    if (this.holes === 0 || !this.world.random.chance(this.settings.renege)) return;
    this.outOfOrder.clear();
    if (!this.finProcessed) this.finAt = -1;
  }
}
