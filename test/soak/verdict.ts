/** Whether a soak's engine stayed as it was: what is compared, and with which bounds. */
import type { Sample } from "./guests.ts";
import type { Tally } from "./load.ts";

const MIB = 2 ** 20;
/** What may come on top between the first and the last quarter after the warm-up. */
const RSS_GROWTH_OCTETS = 12 * MIB;
const HEAP_GROWTH_OCTETS = 4 * MIB;
/** Flows come and go with the load; descriptors follow them. */
const DESCRIPTOR_GROWTH = 64;

export interface EngineRecord {
  readonly guest: string;
  readonly samples: readonly Sample[];
  /** Before the load, and after everything was given back. */
  readonly before: Sample;
  readonly after: Sample;
}

export interface Growth {
  readonly what: "RSS" | "heap" | "descriptors";
  /** Medians of the first and the last quarter. */
  readonly first: number;
  readonly last: number;
  readonly most: number;
  readonly bound: number;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** What each figure did after the warm-up. */
export function growthOf(samples: readonly Sample[], warmUpSeconds: number): Growth[] {
  const counted = samples.filter(({ seconds }) => seconds >= warmUpSeconds);
  const quarter = Math.max(1, counted.length >> 2);
  const growth = (what: Growth["what"], bound: number, of: (sample: Sample) => number): Growth => {
    const values = counted.map(of);
    return {
      what,
      first: median(values.slice(0, quarter)),
      last: median(values.slice(-quarter)),
      most: Math.max(...values),
      bound,
    };
  };
  return [
    growth("RSS", RSS_GROWTH_OCTETS, ({ rssOctets }) => rssOctets),
    growth("heap", HEAP_GROWTH_OCTETS, ({ heapOctets }) => heapOctets),
    growth("descriptors", DESCRIPTOR_GROWTH, ({ descriptors }) => descriptors),
  ];
}

/** Everything that is wrong, in sentences; empty when the soak has passed. */
export function problemsOf(
  records: readonly EngineRecord[],
  tallies: readonly Tally[],
  warmUpSeconds: number,
): string[] {
  const problems: string[] = [];
  for (const { guest, samples, before, after } of records) {
    for (const { what, first, last, bound } of growthOf(samples, warmUpSeconds)) {
      if (last - first > bound) problems.push(`${guest}: ${what} grew from ${first} to ${last}`);
    }
    if (after.flows > 0) problems.push(`${guest}: ${after.flows} flows are left`);
    if (after.descriptors > before.descriptors) {
      problems.push(
        `${guest}: ${after.descriptors} descriptors are open, ${before.descriptors} were at first`,
      );
    }
  }
  for (const { guest, work, failures } of tallies) {
    for (const failure of failures) problems.push(`${guest}, ${work}: ${failure}`);
  }
  return problems;
}
