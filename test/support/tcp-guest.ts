/** A TCP connection of the guest over a FrameExchange, opened by it: in order, one segment at a time, every octet kept. */
import { asTcp, tcp } from "../hostile/guest-packets.ts";
import { ACK, FIN, PSH, RST, SYN } from "../sim/guest-stack/codec.ts";
import type { FrameExchange } from "./frame-exchange.ts";

const MSS = 1400;
const FIRST_SEQUENCE = 1000;

export interface TcpGuestOptions {
  readonly to: number;
  readonly port: number;
  readonly sourcePort?: number;
}

export class TcpGuest {
  /** Octets that came, in order. */
  received = Buffer.alloc(0);
  /** The engine's FIN, or its reset, has come. */
  ended = false;
  wasReset = false;
  /** Acknowledges what comes; switched off, it looks as if all was lost. */
  listens = true;
  /** The SYN-ACK has come. */
  answered = false;
  private sequence = FIRST_SEQUENCE;
  private next = 0;

  constructor(
    private readonly exchange: FrameExchange,
    private readonly options: TcpGuestOptions,
  ) {}

  /** The three-way handshake; false when it was answered with a reset or with nothing. */
  open(): boolean {
    this.begin();
    return this.answered;
  }

  /** The SYN, and whatever comes of it by itself. */
  begin(): void {
    this.take(this.exchange.exchange(this.frame(SYN, Buffer.alloc(0), { mss: MSS })));
  }

  /** Takes what is there already; whether the handshake is over by now. */
  finish(): boolean {
    this.settle();
    return this.answered;
  }

  /** Sends octets in segments of at most `size`. */
  send(octets: Uint8Array, size = MSS): void {
    for (let from = 0; from < octets.length; from += size)
      this.sendSegment(octets.subarray(from, from + size));
  }

  /** One segment, `ahead` octets further on than is its turn; those in between are to follow. */
  sendSegment(octets: Uint8Array, ahead = 0): void {
    this.sequence += ahead;
    const frame = this.frame(ACK | PSH, octets);
    this.sequence += ahead === 0 ? octets.length : -ahead;
    this.take(this.exchange.exchange(frame));
  }

  /** What was sent ahead counts as sent. */
  skip(octets: number): void {
    this.sequence += octets;
  }

  close(): void {
    const frame = this.frame(ACK | FIN);
    this.sequence++;
    this.take(this.exchange.exchange(frame));
  }

  reset(): void {
    // The SYN takes a number too.
    if (!this.answered) this.sequence++;
    this.take(this.exchange.exchange(this.frame(RST)));
  }

  /** Lets time pass and takes what comes. */
  pass(ms: number): void {
    for (let left = ms; left > 0; left -= 50) this.take(this.exchange.pass(Math.min(50, left)));
  }

  /** Takes what is there already. */
  settle(): void {
    this.take(this.exchange.settle());
  }

  /** Frames that an acknowledgment brings come after those that are there already. */
  private take(frames: readonly Uint8Array[]): void {
    const waiting = [...frames];
    for (let frame = waiting.shift(); frame !== undefined; frame = waiting.shift()) {
      const segment = asTcp(frame);
      if (segment.destinationPort !== this.sourcePort) continue;
      if ((segment.flags & RST) !== 0) this.wasReset = true;
      if ((segment.flags & (SYN | RST)) === SYN && !this.answered) {
        this.answered = true;
        this.sequence++;
        this.next = (segment.sequence + 1) | 0;
        waiting.push(...this.exchange.exchange(this.frame(ACK)));
        continue;
      }
      if (!this.listens || segment.sequence !== this.next >>> 0) continue;
      const isFin = (segment.flags & FIN) !== 0;
      if (segment.payload.length === 0 && !isFin) continue;
      this.received = Buffer.concat([this.received, segment.payload]);
      this.next = (this.next + segment.payload.length + (isFin ? 1 : 0)) | 0;
      if (isFin) this.ended = true;
      waiting.push(...this.exchange.exchange(this.frame(ACK)));
    }
  }

  get sourcePort(): number {
    return this.options.sourcePort ?? 40_000;
  }

  private frame(flags: number, payload: Uint8Array = Buffer.alloc(0), options = {}): Buffer {
    return tcp({
      to: this.options.to,
      sourcePort: this.sourcePort,
      destinationPort: this.options.port,
      flags,
      sequence: this.sequence,
      acknowledgment: this.next,
      payload,
      options,
    });
  }
}
