/**
 * npm run sim -- [--seed N] [--runs M] [--minutes T] [--profile NAME] [--trace] [--keep-going]
 *
 * Runs worlds with the seeds N, N+1, … and prints how it goes. A failure prints its seed and what was broken; the
 * same seed with --trace shows every event of that world.
 */
import { parseArgs } from "node:util";
import { PROFILES, type ProfileName } from "./profile.ts";
import { simulate } from "./simulation.ts";
import { Violation } from "./world/world.ts";

const PROGRESS_MS = 5000;

function usage(problem: string): never {
  console.error(`sim: ${problem}`);
  console.error("usage: sim [--seed N] [--runs M] [--minutes T] [--profile NAME] [--trace] [--keep-going]");
  console.error(`profiles: ${PROFILES.join(", ")}`);
  process.exit(2);
}

interface Options {
  readonly seed: number;
  readonly runs: number;
  readonly minutes: number;
  readonly profile: ProfileName;
  readonly trace: boolean;
  readonly keepGoing: boolean;
}

function parse() {
  try {
    return parseArgs({
      options: {
        seed: { type: "string", default: "1" },
        runs: { type: "string" },
        minutes: { type: "string" },
        profile: { type: "string", default: "mixed" },
        trace: { type: "boolean", default: false },
        "keep-going": { type: "boolean", default: false },
      },
    }).values;
  } catch (error) {
    usage((error as Error).message);
  }
}

function options(): Options {
  const values = parse();
  const number = (name: "seed" | "runs" | "minutes", otherwise: number): number => {
    const text = values[name];
    if (text === undefined) return otherwise;
    const value = Number(text);
    if (!Number.isFinite(value) || value < 0) usage(`--${name} ${text} is not a number`);
    return value;
  };
  const profile = PROFILES.find((name) => name === values.profile);
  if (profile === undefined) usage(`--profile ${values.profile} is not known`);
  const minutes = number("minutes", 0);
  return {
    seed: number("seed", 1),
    runs: number("runs", values.trace ? 1 : minutes > 0 ? Number.POSITIVE_INFINITY : 1000),
    minutes,
    profile,
    trace: values.trace,
    keepGoing: values["keep-going"],
  };
}

function main(): number {
  const { seed, runs, minutes, profile, trace, keepGoing } = options();
  const startMs = Date.now();
  const endMs = minutes > 0 ? startMs + minutes * 60_000 : Number.POSITIVE_INFINITY;
  let printedMs = startMs;
  let done = 0;
  let failures = 0;
  let octets = 0;
  let virtualMs = 0;
  const report = (): void => {
    const seconds = Math.max(0.001, (Date.now() - startMs) / 1000);
    console.log(
      `${done} runs, ${failures} failed, ${(done / seconds).toFixed(1)} runs/s, seed ${seed + done - 1}, ` +
        `${(octets / 1e6).toFixed(0)} MB carried, ${(virtualMs / 3_600_000).toFixed(0)} virtual hours`,
    );
  };
  while (done < runs && Date.now() < endMs) {
    const current = seed + done;
    try {
      const result = simulate(current, profile, trace ? (line) => console.log(line) : null);
      octets += result.octets;
      virtualMs += result.virtualMs;
      if (trace) console.log(JSON.stringify(result, null, 1));
    } catch (error) {
      failures++;
      const what = error instanceof Violation ? error.message : (error as Error).stack;
      console.log(`FAILED seed ${current}: ${what}`);
      console.log(`  replay: npm run sim -- --seed ${current} --profile ${profile} --trace`);
      if (!keepGoing) return 1;
    }
    done++;
    if (Date.now() - printedMs > PROGRESS_MS) {
      printedMs = Date.now();
      report();
    }
  }
  report();
  return failures > 0 ? 1 : 0;
}

process.exitCode = main();
