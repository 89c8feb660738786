/** A connection of the TCP layer that a test hands segments to, one at a time, in small numbers. */
import { DROP_REASONS, type DropReasonName } from "../../../src/engine/metrics/drop-reasons.ts";
import {
  STATE_NAMES,
  SYN_RECEIVED,
  SYN_SENT,
  type TcpConnection,
} from "../../../src/engine/transport/tcp/connection.ts";
import { segmentArrives } from "../../../src/engine/transport/tcp/input.ts";
import { Segment } from "../../../src/engine/transport/tcp/segment.ts";
import { flushTouched } from "../../../src/engine/transport/tcp/to-host.ts";
import { ACK } from "../../sim/guest-stack/codec.ts";
import { TcpLayer } from "./tcp-layer.ts";

export interface Fields {
  /** From the next octet expected. */
  readonly seq?: number;
  /** From the oldest octet that is not acknowledged. */
  readonly ack?: number;
  readonly length?: number;
  readonly flags?: number;
  readonly win?: number;
  readonly stamp?: readonly [value: number, echo: number];
  readonly sack?: readonly (readonly [number, number])[];
}

export class Input extends TcpLayer {
  readonly c: TcpConnection;
  /** What the fields of segments count from. */
  readonly next: number;
  readonly una: number;

  constructor(over: Partial<TcpConnection> = {}, window = 1000) {
    super();
    this.ctx.now = 10_000;
    this.c = this.opened();
    this.c.rcvAdvertised = (this.c.rcvNxt + window) | 0;
    this.c.windowTarget = 65_535;
    this.next = this.c.rcvNxt;
    this.una = this.c.sndUna;
    Object.assign(this.c, over);
    if (this.c.state === SYN_SENT || this.c.state === SYN_RECEIVED) {
      this.ctx.halfOpen.append(this.c.id);
      this.c.sndUna = this.c.iss;
    }
  }

  /** So many octets are under way to the guest. */
  flight(octets: number): this {
    this.c.sndNxt = (this.c.sndUna + octets) | 0;
    this.c.sndEnd = this.c.sndNxt;
    return this;
  }

  arrives({ seq = 0, ack = 0, length = 0, flags = ACK, win = 60_000, stamp, sack }: Fields): DropReasonName {
    const s = new Segment();
    s.sequence = (this.next + seq) | 0;
    s.acknowledgment = (this.una + ack) | 0;
    s.flags = flags;
    s.window = win;
    s.payloadAt = this.arena.rxWindowAt;
    s.payloadLength = length;
    if (stamp !== undefined) {
      s.options.hasTimestamps = true;
      s.options.timestampValue = stamp[0] | 0;
      s.options.timestampEcho = stamp[1] | 0;
    }
    s.options.sackBlocks = sack?.length ?? 0;
    s.options.sackEdges.set((sack ?? []).flat().map((edge) => (this.una + edge) | 0));
    for (let i = 0; i < length; i++) this.arena.octets[s.payloadAt + i] = (seq + i) & 0xff;
    return DROP_REASONS[segmentArrives(this.ctx, this.c, s)];
  }

  /** The batch ends. What the host has got of it, as numbers of octets in the guest's stream. */
  flush(): number[] {
    flushTouched(this.ctx);
    return this.network.sockets.flatMap(({ received }) =>
      received.splice(0).flatMap((octets) => [...octets]),
    );
  }

  /** Segments that left, in the numbers of the fields. */
  answers(): { seq: number; ack: number; flags: number }[] {
    return this.sent().map(({ sequence, acknowledgment, flags }) => ({
      seq: (sequence - this.una) | 0,
      ack: flags & ACK ? (acknowledgment - this.next) | 0 : acknowledgment,
      flags,
    }));
  }

  get state(): string {
    return STATE_NAMES[this.c.state];
  }
}

/** An ACK that says where we stand. */
export const bare = (ack = 0, seq = 0) => ({ seq, ack, flags: ACK });
