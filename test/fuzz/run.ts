/**
 * npm run fuzz -- [--target NAME] [--seconds N] [--seed N] [--out DIRECTORY]
 *
 * Fuzzes one target, or all in turn, for so many CPU seconds each. A failure is printed with the inputs that lead to it,
 * which are also written to DIRECTORY (by default that of temporary files); docs/fuzzing.md says what to do with them.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import fc from "fast-check";
import { Coverage } from "./coverage.ts";
import { fuzz } from "./fuzzer.ts";
import type { FuzzTarget } from "./target.ts";

const coverage = new Coverage((url) => url.includes("/dist/src/"));
const { GENERATORS } = await import("./generators.ts");
const { TARGETS } = await import("./targets.ts");

/** Generated inputs a run starts from. */
const GENERATED = 300;

function usage(problem: string): never {
  console.error(`fuzz: ${problem}`);
  console.error("usage: fuzz [--target NAME] [--seconds N] [--seed N] [--out DIRECTORY]");
  console.error(`targets: ${TARGETS.map(({ name }) => name).join(", ")}`);
  process.exit(2);
}

function parse() {
  try {
    return parseArgs({
      options: {
        target: { type: "string" },
        seconds: { type: "string", default: "60" },
        seed: { type: "string", default: String(Date.now() & 0x7fffffff) },
        out: { type: "string", default: tmpdir() },
      },
    }).values;
  } catch (error) {
    usage((error as Error).message);
  }
}

function whole(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) usage(`--${name} ${text} is not a whole number`);
  return value;
}

/** Returns whether the target held. */
function run(target: FuzzTarget, seconds: number, seed: number, out: string): boolean {
  const inputs = fc.sample(GENERATORS[target.name], { numRuns: GENERATED, seed });
  const result = fuzz(target, {
    seed,
    seconds,
    inputs,
    coverage,
    progress: (line) => console.log(`${target.name}: ${line}`),
  });
  console.log(
    `${target.name}: ${result.executions} inputs in ${result.seconds.toFixed(0)} s of CPU, ${result.functions} functions and ` +
      `${result.characters} characters of code reached, corpus of ${result.corpus}, seed ${seed}: ${result.failure === null ? "held" : "FAILED"}`,
  );
  if (result.failure === null) return true;
  const { error, inputs: culprits } = result.failure;
  console.log(error.stack);
  mkdirSync(out, { recursive: true });
  culprits.forEach((input, i) => {
    const file = join(out, `fuzz-${target.name}-${seed}-${i}.bin`);
    writeFileSync(file, input);
    if (culprits.length === 1) console.log(`${file}: ${Buffer.from(input).toString("hex")}`);
  });
  if (culprits.length > 1) console.log(`${culprits.length} inputs written to ${out}`);
  return false;
}

function main(): number {
  const values = parse();
  const targets = TARGETS.filter(({ name }) => values.target === undefined || name === values.target);
  if (targets.length === 0) usage(`--target ${values.target} is not known`);
  const seconds = whole("seconds", values.seconds);
  const seed = whole("seed", values.seed);
  const held = targets.map((target) => run(target, seconds, seed, values.out));
  return held.every(Boolean) ? 0 : 1;
}

process.exitCode = main();
