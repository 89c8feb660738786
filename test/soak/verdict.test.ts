import { describe, expect, it } from "vitest";
import type { Sample } from "./guests.ts";
import { type EngineRecord, median, problemsOf, quartersOf } from "./verdict.ts";

const MIB = 2 ** 20;

function sample(seconds: number, changes: Partial<Sample> = {}): Sample {
  const usual = { rssOctets: 90 * MIB, heapOctets: 8 * MIB, descriptors: 150, flows: 120, cpuSeconds: 0 };
  return { seconds, ...usual, counters: {}, drops: {}, ...changes };
}

/** Forty samples, ten seconds apart. */
function record(of: (seconds: number) => Partial<Sample>, after: Partial<Sample> = {}): EngineRecord {
  const samples = Array.from({ length: 40 }, (_, i) => sample(i * 10, of(i * 10)));
  const rest = { descriptors: 30, flows: 0 };
  return { guest: "tap", samples, before: sample(0, rest), after: sample(400, { ...rest, ...after }) };
}

describe("a median", () => {
  it.each([
    [[3], 3],
    [[9, 1, 5], 5],
    [[4, 1, 2, 100], 3],
  ])("of %j is %d", (values, expected) => {
    expect(median(values)).toBe(expected);
  });
});

describe("an engine that", () => {
  it("stays as it is has no problem, whatever it did while it warmed up", () => {
    const flat = record((seconds) => ({ rssOctets: (seconds < 60 ? 20 : 90) * MIB }));
    expect(problemsOf([flat], [], 60)).toEqual([]);
    const rss = quartersOf(flat.samples, 60, ({ rssOctets }) => rssOctets);
    expect(rss).toEqual({ first: 90 * MIB, last: 90 * MIB, most: 90 * MIB });
  });

  it("jumps for a moment has no problem", () => {
    const peak = record((seconds) =>
      seconds === 390 ? { rssOctets: 200 * MIB, descriptors: 700, flows: 690 } : {},
    );
    expect(problemsOf([peak], [], 60)).toEqual([]);
    expect(quartersOf(peak.samples, 60, ({ rssOctets }) => rssOctets).most).toBe(200 * MIB);
  });

  it.each([
    ["RSS", (seconds: number) => ({ rssOctets: 90 * MIB + seconds * 60_000 })],
    ["heap", (seconds: number) => ({ heapOctets: 8 * MIB + seconds * 20_000 })],
  ])("lets its %s grow fails", (what, of) => {
    expect(problemsOf([record(of)], [], 60)).toEqual([expect.stringMatching(`tap: ${what} grew from`)]);
  });

  it("has descriptors that no flow accounts for fails", () => {
    expect(problemsOf([record((seconds) => ({ descriptors: 150 + seconds }))], [], 60)).toEqual([
      "tap: 420 descriptors beside those of flows, 30 at first",
    ]);
  });

  it("keeps flows or descriptors at the end fails", () => {
    expect(problemsOf([record(() => ({}), { flows: 2, descriptors: 31 })], [], 60)).toEqual([
      "tap: 2 flows are left",
      "tap: 31 descriptors are open, 30 were at first",
    ]);
  });
});

it("an operation that failed is a problem", () => {
  const tally = { guest: "tap", work: "8 MB up", done: 9, failures: ["after 70 s: wrong answer"] };
  expect(problemsOf([], [tally], 60)).toEqual(["tap, 8 MB up: after 70 s: wrong answer"]);
});
