/**
 * What is known of a flow besides what carrying it needs: its number, which never comes again, when and by which forward it
 * came. By flow id, apart from the flows, whose memory is for packets.
 */
import type { Recorder } from "./recorder.ts";

/** No forward: the guest began. */
export const NO_FORWARD = 0;

/** Upper ends of the classes that connects are counted in by how long they took, milliseconds; the last class has none. */
export const CONNECT_MS = [1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000] as const;

export class FlowLedger {
  /** Tells of flows to whoever asks; null while nobody does. */
  recorder: Recorder | null = null;
  /** Numbers flows from 1. */
  readonly serial: Float64Array;
  /** Uptime. */
  readonly startedMs: Float64Array;
  readonly forward: Int32Array;
  /** Milliseconds until the other side had answered, -1 before. */
  readonly connectMs: Int32Array;
  /** How many connects have taken up to each of CONNECT_MS and no less; then those that took longer. */
  readonly connects = new Float64Array(CONNECT_MS.length + 1);
  /** How long they have taken together, milliseconds. */
  connectedMs = 0;
  readonly retransmits: Uint32Array;
  /** Its end has been told: what is left of it is a wait. */
  readonly hasEnded: Uint8Array;
  private last = 0;

  /** `uptimeMs` does not wrap. */
  constructor(
    capacity: number,
    readonly uptimeMs: () => number,
  ) {
    this.serial = new Float64Array(capacity);
    this.startedMs = new Float64Array(capacity);
    this.forward = new Int32Array(capacity);
    this.connectMs = new Int32Array(capacity);
    this.retransmits = new Uint32Array(capacity);
    this.hasEnded = new Uint8Array(capacity);
  }

  /** A flow begins under this id. */
  open(id: number, forward: number): void {
    this.serial[id] = ++this.last;
    this.startedMs[id] = this.uptimeMs();
    this.forward[id] = forward;
    this.connectMs[id] = -1;
    this.retransmits[id] = 0;
    this.hasEnded[id] = 0;
  }

  /** The other side has answered. */
  connected(id: number): void {
    if (this.connectMs[id] >= 0) return;
    const took = (this.uptimeMs() - this.startedMs[id]) | 0;
    this.connectMs[id] = took;
    this.connectedMs += took;
    let place = 0;
    while (place < CONNECT_MS.length && took > CONNECT_MS[place]) place++;
    this.connects[place]++;
  }
}
