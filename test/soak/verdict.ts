/** Whether a soak's engine stayed as it was: what is compared, and with which bounds. */
import type { Sample } from "./guests.ts";
import type { Tally } from "./load.ts";

const MIB = 2 ** 20;
/** What may come on top between the first and the last quarter after the warm-up. */
const RSS_GROWTH_OCTETS = 12 * MIB;
const HEAP_GROWTH_OCTETS = 4 * MIB;
/** A flow has one descriptor at most; DNS queries under way have one that no flow shows. */
const DESCRIPTORS_BESIDE_FLOWS = 32;

export interface EngineRecord {
  readonly guest: string;
  readonly samples: readonly Sample[];
  /** Before the load, and after everything was given back. */
  readonly before: Sample;
  readonly after: Sample;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Descriptors that no flow accounts for. The two are not read at the same moment. */
function descriptorsBeside({ descriptors, flows }: Sample): number {
  return descriptors - flows;
}

/** Medians of the first and the last quarter after the warm-up, and the largest value. */
export function quartersOf(
  samples: readonly Sample[],
  warmUpSeconds: number,
  of: (sample: Sample) => number,
): { first: number; last: number; most: number } {
  const values = samples.filter(({ seconds }) => seconds >= warmUpSeconds).map(of);
  const quarter = Math.max(1, values.length >> 2);
  return {
    first: median(values.slice(0, quarter)),
    last: median(values.slice(-quarter)),
    most: Math.max(...values),
  };
}

/** What may not grow. */
const FLAT: readonly { what: string; bound: number; of: (sample: Sample) => number }[] = [
  { what: "RSS", bound: RSS_GROWTH_OCTETS, of: ({ rssOctets }) => rssOctets },
  { what: "heap", bound: HEAP_GROWTH_OCTETS, of: ({ heapOctets }) => heapOctets },
];

/** Everything that is wrong, in sentences; empty when the soak has passed. */
export function problemsOf(
  records: readonly EngineRecord[],
  tallies: readonly Tally[],
  warmUpSeconds: number,
): string[] {
  const problems: string[] = [];
  for (const { guest, samples, before, after } of records) {
    for (const { what, bound, of } of FLAT) {
      const { first, last } = quartersOf(samples, warmUpSeconds, of);
      if (last - first > bound) problems.push(`${guest}: ${what} grew from ${first} to ${last}`);
    }
    const beside = Math.max(...samples.map(descriptorsBeside));
    if (beside > before.descriptors + DESCRIPTORS_BESIDE_FLOWS) {
      problems.push(`${guest}: ${beside} descriptors beside those of flows, ${before.descriptors} at first`);
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
