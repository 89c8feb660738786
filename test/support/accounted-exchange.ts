/**
 * A FrameExchange that holds the engine to its promises on input nobody meant it to get: no frame makes it throw, every
 * frame is counted once, nothing behind a frame is read, and after a while everything has been given back.
 */
import assert from "node:assert/strict";
import type { EngineConfig } from "../../src/engine/config.ts";
import { DROP_REASONS, type DropReasonName } from "../../src/engine/metrics/drop-reasons.ts";
import { FrameExchange } from "./frame-exchange.ts";

/** Longer than every timer of a connection that hears nothing: 2 h idle, ten keepalives, the end. */
const LONG_MS = 8_400_000;
const STEP_MS = 1000;
/** Drops of datagrams whose frames were counted when they came. */
const LATER: readonly DropReasonName[] = [
  "ipv4-fragment-limit",
  "ipv4-fragment-timeout",
  "ipv6-fragment-limit",
  "ipv6-fragment-timeout",
];
const LATER_INDEXES = LATER.map((name) => DROP_REASONS.indexOf(name));
const REST = {
  tcp: 0,
  udp: 0,
  dns: 0,
  tftp: 0,
  smallChunks: 0,
  largeChunks: 0,
  queuedFrames: 0,
  reassembly: 0,
};

export interface Verdict {
  /** "handled" or the drop reason. */
  readonly verdict: DropReasonName;
  readonly replies: Uint8Array[];
}

export class AccountedExchange extends FrameExchange {
  private readonly before: Float64Array;
  private readonly poisoned: Uint8Array | null;

  /** With `poison` every frame lies in front of octets of that value. */
  constructor(config: Partial<EngineConfig> = {}, poison: number | null = null) {
    super(config);
    this.before = Float64Array.from(this.core.counters.drops);
    this.poisoned = poison === null ? null : new Uint8Array(65_500).fill(poison);
    // To a station that is not the gateway: dropped at the door, after it has filled the link's window.
    this.poisoned?.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
  }

  /** Sends a frame and asserts that it was counted exactly once. */
  send(frame: Uint8Array, vouched = false): Verdict {
    if (this.poisoned !== null) this.exchange(this.poisoned);
    const { drops } = this.core.counters;
    this.before.set(drops);
    const replies = this.exchange(frame, vouched);
    const counted: number[] = [];
    for (let i = 0; i < drops.length; i++) for (let n = this.before[i]; n < drops[i]; n++) counted.push(i);
    const first = counted.find((i) => !LATER_INDEXES.includes(i)) ?? counted[0];
    const more = counted.filter((i) => !LATER_INDEXES.includes(i)).length;
    if (counted.length === 0 || more > 1) {
      const names = counted.map((i) => DROP_REASONS[i]).join(", ") || "nothing";
      throw new Error(`counted as ${names}: ${Buffer.from(frame).toString("hex")}`);
    }
    return { verdict: DROP_REASONS[first], replies };
  }

  /** Time passes until no timer can be left; then nothing may be in use. */
  expectRest(): void {
    for (let passed = 0; passed < LONG_MS; passed += STEP_MS) {
      this.now = (this.now + STEP_MS) | 0;
      this.settle();
    }
    assert.deepEqual(this.core.usage(), REST);
  }
}
