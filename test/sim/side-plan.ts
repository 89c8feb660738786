/** What one side of a TCP connection does, whichever side it is. */
import type { Random } from "./world/random.ts";

export interface SidePlan {
  /** Octets of its pattern this side sends. */
  readonly octets: number;
  /** Written at a time, with a pause between two writes. */
  readonly chunk: number;
  readonly pauseMs: number;
  /** Read at a time; with `readPauseMs` 0 everything is read at once. */
  readonly readSize: number;
  readonly readPauseMs: number;
  /** Does not read at all before this many milliseconds have passed (closes the window for long). */
  readonly readDelayMs: number;
  /** FIN after the last octet, or only after the other side's FIN. */
  readonly closing: "after-send" | "after-eof";
  /** Resets the connection once this many octets were sent and received together; -1: never. */
  readonly abortAt: number;
  /** Marks an octet as urgent now and then. */
  readonly urgent: boolean;
}

/** Two plans that end: not both sides may wait for the other's FIN. */
export function randomSides(random: Random, octetsMax: number, aborts: number): [SidePlan, SidePlan] {
  const side = (mayWait: boolean): SidePlan => {
    const octets = random.chance(0.1) ? 0 : random.magnitude(1, octetsMax);
    const slowReader = random.chance(0.25);
    const readSize = random.magnitude(100, 60_000) + Math.ceil(octetsMax / 300);
    return {
      octets,
      chunk: random.magnitude(1, 50_000) + Math.ceil(octets / 200),
      pauseMs: random.chance(0.5) ? 0 : random.magnitude(0, 300),
      readSize,
      readPauseMs: slowReader ? random.magnitude(1, 200) : 0,
      readDelayMs: random.chance(0.08) ? random.magnitude(10, 90_000) : 0,
      closing: mayWait && random.chance(0.4) ? "after-eof" : "after-send",
      abortAt: random.chance(aborts) ? random.magnitude(0, octetsMax) : -1,
      urgent: random.chance(0.05),
    };
  };
  const first = random.chance(0.5);
  return [side(first), side(!first)];
}
