/** How every micro-benchmark here runs and prints: nanoseconds per call, one line each. */
import Benchmark from "benchmark";

/** A name and the code to time. Its result must depend on what it did: see `keep`. */
export type Entry = readonly [name: string, code: () => void];

let kept = 0;

/** Uses a result, so that nothing is optimised away. */
export function keep(value: number): void {
  kept = (kept + value) | 0;
}

/** Times the entries one after the other and prints a line for each. */
export function runSuite(entries: readonly Entry[]): void {
  const suite = new Benchmark.Suite();
  for (const [name, code] of entries) suite.add(name, code);
  suite
    .on("cycle", ({ target }: { target: Benchmark }) => {
      const { name, hz, stats } = target;
      console.log(`${name?.padEnd(60)}${(1e9 / hz).toFixed(1).padStart(10)} ns  ±${stats.rme.toFixed(1)} %`);
    })
    .on("complete", () => keep(kept))
    .run();
}
