/**
 * `npm run bench:compare`: sluice beside the other network stacks of this machine.
 *
 * For each case, and in it for each round, every engine gets a run of its own: two fresh namespaces, a fresh process,
 * a warm-up, a measured window. So engines alternate (A B A B), and what drifts on the machine hits all alike. A run
 * that stalls or loses a connection is a failure with a reason, never a low figure. Results are written after each
 * case, so that an interrupted comparison leaves what it has.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { CASES } from "./cases.ts";
import { drawChart } from "./chart.ts";
import { type Absent, ENGINE_IDS, type FoundEngine, findEngines } from "./engines.ts";
import { allowedCongestionControl, Laboratory } from "./laboratory.ts";
import type { Case, Measurement, OwnGuestCase } from "./measurement.ts";
import { type CompareOptions, HELP, PROGRAM_OPTIONS, parseOptions } from "./options.ts";
import { RunFailure } from "./program.ts";
import { renderResults } from "./report.ts";
import { type CaseResult, describeEngines, describeMachine, emptyCase, type Results } from "./results.ts";
import { Session } from "./session.ts";
import { computeTargets, short, type Target } from "./targets.ts";
import { compileLoadPrograms, findProgram, type LoadPrograms } from "./toolchain.ts";

// This file runs as dist/bench/compare/compare.js.
const PROJECT_ROOT = join(dirname(fileURLToPath(import.meta.url)), "../../..");

const LOAD_WORTH_A_WARNING = 1;

/** Where a program or the results lie on this machine says nothing to others. */
function wordsToTell(words: readonly string[]): string[] {
  const places = [...PROGRAM_OPTIONS, "sluice", "out"].map((name) => `--${name}`);
  return words.map((word, i) => (i > 0 && places.includes(words[i - 1]) ? "PATH" : word));
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  if (options === "help") {
    process.stdout.write(HELP);
    return 0;
  }
  if (options.list) {
    process.stdout.write(`cases:\n  ${CASES.map((c) => `${c.id.padEnd(18)} ${c.title}`).join("\n  ")}\n`);
    process.stdout.write(`engines: ${ENGINE_IDS.join(", ")}\n`);
    return 0;
  }
  checkNames(options);
  checkMachine();
  const programs = compileLoadPrograms(
    join(PROJECT_ROOT, "bench/compare"),
    join(PROJECT_ROOT, "dist/bench-programs"),
  );
  const found = findEngines(options, PROJECT_ROOT);
  const engines = found.filter((engine): engine is FoundEngine => "version" in engine);
  const absent = found.filter((engine): engine is Absent => "sentence" in engine);
  for (const engine of engines) if (engine.version) say(`${engine.id}: ${engine.version}`);
  for (const engine of absent) say(`left out: ${engine.sentence}`);

  const congestion = await allowedCongestionControl(programs, options.congestion);
  if (congestion !== options.congestion) {
    say(
      `congestion control: this kernel does not allow ${options.congestion} to a new namespace; ${congestion}`,
    );
  }
  const results: Results = {
    started: new Date().toISOString(),
    finished: "",
    machine: describeMachine(),
    rounds: options.rounds,
    windowMs: options.windowMs,
    warmupMs: options.warmupMs,
    congestion,
    command: ["npm run bench:compare", ...wordsToTell(process.argv.slice(2))]
      .join(" ")
      .replace("compare ", "compare -- "),
    engines: describeEngines(engines),
    absent,
    cases: [],
  };
  if (results.machine.loadBefore > LOAD_WORTH_A_WARNING) {
    say(`the machine is busy (load ${results.machine.loadBefore.toFixed(1)}): the figures will be too low`);
  }
  const targets = await runAll(options, engines, programs, results);
  say(targetLines(targets));
  say(`written: ${outputDirectory(options)}`);
  return 0;
}

function checkNames(options: CompareOptions): void {
  const unknownCase = options.only.find((part) => !CASES.some(({ id }) => id.startsWith(part)));
  if (unknownCase) throw new Error(`--only: no case begins with "${unknownCase}"; --list shows them`);
  const unknownEngine = options.engines.find((id) => !ENGINE_IDS.some((known) => known === id));
  if (unknownEngine)
    throw new Error(`--engines: found "${unknownEngine}", allowed: ${ENGINE_IDS.join(", ")}`);
}

function checkMachine(): void {
  if (process.platform !== "linux") throw new Error("The comparison needs Linux network namespaces.");
  if (process.getuid?.() !== 0) {
    throw new Error(
      "The comparison makes network namespaces and TAPs: run it as root (sudo npm run bench:compare).",
    );
  }
  for (const [program, toGet] of [
    ["ip", "apt install iproute2"],
    ["ss", "apt install iproute2"],
    ["sysctl", "apt install procps"],
  ]) {
    if (!findProgram(program)) throw new Error(`${program} is not here: ${toGet}`);
  }
}

async function runAll(
  options: CompareOptions,
  engines: readonly FoundEngine[],
  programs: LoadPrograms,
  results: Results,
): Promise<Target[]> {
  const cases = CASES.filter(
    (c) => options.only.length === 0 || options.only.some((p) => c.id.startsWith(p)),
  );
  const plan = cases.map((c) => ({ c, engines: engines.filter(({ id }) => c.engines.includes(id)) }));
  const total = plan.reduce((sum, entry) => sum + entry.engines.length * options.rounds, 0);
  const started = performance.now();
  let done = 0;
  for (const { c, engines: competitors } of plan) {
    const result = emptyCase(c);
    results.cases.push(result);
    for (const { id } of competitors) result.engines.push({ engine: id, runs: [], failures: [] });
    for (let round = 1; round <= options.rounds; round++) {
      for (const engine of competitors) {
        const line = await runOnce(options, programs, results.congestion, c, engine, round, result);
        done++;
        const leftMinutes = (((performance.now() - started) / done) * (total - done)) / 60_000;
        const place = `[${String(done).padStart(String(total).length)}/${total}, ${leftMinutes.toFixed(0)} min left]`;
        say(`${place} ${c.id} ${round}/${options.rounds} ${engine.id.padEnd(13)} ${line}`);
      }
    }
    results.finished = new Date().toISOString();
    write(options, results, computeTargets(results));
  }
  return computeTargets(results);
}

/** One run. Puts its measurement or its failure into `result` and returns it as a line. */
async function runOnce(
  options: CompareOptions,
  programs: LoadPrograms,
  congestion: string,
  c: Case | OwnGuestCase,
  engine: FoundEngine,
  round: number,
  result: CaseResult,
): Promise<string> {
  const own = result.engines.find((entry) => entry.engine === engine.id);
  if (!own) throw new Error(`${engine.id} has no place in ${c.id}`);
  const laboratory = await Laboratory.open(programs, congestion, c.family);
  try {
    const previous = own.runs.at(-1)?.value;
    const measurement = await measure(options, laboratory, c, engine, round, previous);
    own.runs.push(measurement);
    return describe(measurement, c.unit);
  } catch (error) {
    if (!(error instanceof RunFailure)) throw error;
    own.failures.push(error.message);
    return `FAILED: ${error.message}`;
  } finally {
    await laboratory.close();
  }
}

async function measure(
  options: CompareOptions,
  laboratory: Laboratory,
  c: Case | OwnGuestCase,
  engine: FoundEngine,
  round: number,
  previous: number | undefined,
): Promise<Measurement> {
  if ("measureWithOwnGuest" in c) return c.measureWithOwnGuest(options, laboratory, engine);
  const session = await Session.start(laboratory, engine, c.mtu);
  laboratory.checkTimeWait();
  return c.measure({ options, session, round, previous });
}

const SHOWN = [
  "cpuSecondsPerGb",
  "p99Us",
  "tapDropsUp",
  "guestResent",
  "guestOutOfOrder",
  "loss",
  "idleRssKb",
  "cpuPercent",
  "ratio",
];

function describe({ value, more }: Measurement, unit: string): string {
  const parts = SHOWN.filter((key) => more[key]).map((key) => `${key} ${short(more[key])}`);
  return [`${short(value)} ${unit}`.padEnd(22), ...parts].join("  ");
}

function outputDirectory(options: CompareOptions): string {
  const full = !options.quick && options.only.length === 0 && options.engines.length === 0;
  return options.out ?? join(PROJECT_ROOT, full ? "docs/performance" : "dist/bench-results");
}

function write(options: CompareOptions, results: Results, targets: readonly Target[]): void {
  const directory = outputDirectory(options);
  mkdirSync(directory, { recursive: true });
  writeFileSync(
    join(directory, "results.json"),
    `${JSON.stringify({ ...results, targets }, undefined, 1)}\n`,
  );
  writeFileSync(join(directory, "results.svg"), drawChart(results));
  writeFileSync(join(directory, "results.md"), renderResults(results, targets, "results.svg"));
}

function targetLines(targets: readonly Target[]): string {
  return targets
    .filter(({ met }) => met !== undefined)
    .map((t) => `${t.met ? "met   " : "MISSED"}  ${t.work}: ${t.wanted}; ${t.found}`)
    .join("\n");
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
}
