/**
 * The simulated universe: a clock that only moves from one scheduled event to the next, seeded chance, the trace,
 * and the list of rules found broken. Nothing in it knows the engine.
 *
 * Time is a plain number of milliseconds since the world began (fractions allowed); the engine sees it as the
 * wrapping int32 it has to live with, from an origin that a seed may put just before the wrap.
 */
import { EventQueue, type Scheduled } from "./event-queue.ts";
import { Random } from "./random.ts";
import { Trace } from "./trace.ts";

export class Violation extends Error {
  override name = "Violation";
}

export class World {
  readonly trace = new Trace();
  readonly random: Random;
  /** Milliseconds since the world began. */
  nowMs = 0;
  events = 0;
  private readonly queue = new EventQueue();
  private readonly originMs: number;

  /** `clock` is what the engine's clock shows when the world begins; drawn from the seed when not given. */
  constructor(seed: number, clock?: number) {
    this.random = new Random(seed);
    // One world in two crosses the int32 wrap within its first minutes.
    const nearWrap = this.random.chance(0.5);
    const before = this.random.between(0, 300_000);
    const anywhere = this.random.int32();
    this.originMs = clock ?? (nearWrap ? 0x7fffffff - before : anywhere);
  }

  /** The clock as the engine sees it. */
  get clock(): number {
    return (this.originMs + Math.floor(this.nowMs)) | 0;
  }

  after(delayMs: number, run: () => void): Scheduled {
    return this.queue.push(this.nowMs + Math.max(0, delayMs), run);
  }

  at(atMs: number, run: () => void): Scheduled {
    return this.queue.push(Math.max(this.nowMs, atMs), run);
  }

  cancel(event: Scheduled | null): null {
    if (event !== null) event.run = null;
    return null;
  }

  /** Time of the next event, or -1 when nothing will ever happen again. */
  get nextEventMs(): number {
    return this.queue.peek()?.atMs ?? -1;
  }

  /** Runs the next event. False when there is none, or none up to `untilMs`. */
  step(untilMs = Number.POSITIVE_INFINITY): boolean {
    const next = this.queue.peek();
    if (next === undefined || next.atMs > untilMs) return false;
    this.queue.pop();
    this.nowMs = next.atMs;
    this.events++;
    const run = next.run;
    next.run = null;
    run?.();
    return true;
  }

  note(kind: string, values: readonly number[], line: () => string): void {
    this.trace.note(this.nowMs, kind, values, line);
  }

  /** A rule was broken: the run ends here. */
  violation(rule: string): never {
    this.note("BROKEN", [], () => rule);
    throw new Violation(`${rule} (at ${(this.nowMs / 1000).toFixed(6)} s)`);
  }
}
