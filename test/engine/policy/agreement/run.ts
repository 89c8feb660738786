/**
 * npm run policy:agreement -- [--flows N] [--seed N]
 *
 * Judges random flows by random policies twice, by the classes that judge packets and by the plainest evaluation there is,
 * and prints how often each outcome came about. The first policy on which they differ is printed, made small.
 */
import { parseArgs } from "node:util";
import { agree, flowsOf, type Tally } from "./agree.ts";

/** Flows between two lines of progress. */
const PART = 50_000;

function usage(problem: string): never {
  console.error(`policy:agreement: ${problem}`);
  console.error("usage: policy:agreement [--flows N] [--seed N]");
  process.exit(2);
}

function parse() {
  try {
    return parseArgs({
      options: {
        flows: { type: "string", default: "1000000" },
        seed: { type: "string", default: String(Date.now() & 0x7fffffff) },
      },
    }).values;
  } catch (error) {
    usage((error as Error).message);
  }
}

function whole(name: string, text: string, least: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least || text.trim() === "") {
    usage(`--${name}: found ${JSON.stringify(text)}; allowed: a whole number from ${least}`);
  }
  return value;
}

function main(): void {
  const values = parse();
  const flows = whole("flows", values.flows, 1);
  const seed = whole("seed", values.seed, 0);
  const all: Tally = {};
  const began = process.cpuUsage();
  for (let done = 0, part = 0; done < flows; part++) {
    const tally = agree(Math.min(PART, flows - done), seed + part);
    for (const [what, count] of Object.entries(tally)) all[what] = (all[what] ?? 0) + count;
    done += flowsOf(tally);
    const { user, system } = process.cpuUsage(began);
    console.log(`${done} flows agree, ${((user + system) / 1e6).toFixed(0)} s of CPU, seed ${seed}`);
  }
  for (const [what, count] of Object.entries(all).sort(([, a], [, b]) => b - a)) {
    console.log(`${String(count).padStart(9)} ${what}`);
  }
}

main();
