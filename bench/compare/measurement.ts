/** What a run gives, and what a case is. */
import type { Engine, EngineId } from "./engines.ts";
import type { Family, Laboratory } from "./laboratory.ts";
import type { CompareOptions } from "./options.ts";
import type { Session } from "./session.ts";

/** The figure of one run, with what was counted beside it. All values are numbers, so that medians can be taken. */
export interface Measurement {
  readonly value: number;
  readonly more: Readonly<Record<string, number>>;
  /** Facts that are not numbers, such as the congestion control in use. */
  readonly facts?: Readonly<Record<string, string>>;
}

/** What one run may need to know from those before it. */
export interface RunContext {
  readonly options: CompareOptions;
  readonly session: Session;
  readonly round: number;
  /** The value this engine reached in the round before, for searches. */
  readonly previous: number | undefined;
}

export interface Case {
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  readonly better: "higher" | "lower";
  readonly mtu: number;
  /** What the servers are reached over; IPv4 where it is not said. */
  readonly family?: Family;
  readonly engines: readonly EngineId[];
  readonly measure: (context: RunContext) => Promise<Measurement>;
}

/** A case that starts its engine and its guest by itself. */
export interface OwnGuestCase extends Omit<Case, "measure"> {
  readonly measureWithOwnGuest: (
    options: CompareOptions,
    laboratory: Laboratory,
    engine: Engine,
  ) => Promise<Measurement>;
}

export function median(values: readonly number[]): number {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
