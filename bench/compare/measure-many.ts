/** Many engines on one host, none of which has anything to do. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { type Engine, socketOf } from "./engines.ts";
import type { Laboratory } from "./laboratory.ts";
import type { Measurement } from "./measurement.ts";
import { type Program, RunFailure } from "./program.ts";

const START_LIMIT_MS = 30_000;
/** So many start at once: each takes a core for a while. */
const STARTED_TOGETHER = 4;
/** What a start leaves behind has gone by then. */
const REST_MS = 20_000;
const WATCHED_MS = 20_000;
const KIB_PER_MIB = 1024;
const NANOSECONDS = 1e9;

/** Kilobytes of a process by /proc/PID/smaps_rollup; what several have is shared out among them. */
function proportionalKb(pid: number): number {
  return Number(/^Pss: +(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "latin1"))?.[1] ?? 0);
}

/** What a process has had of the processors so far, in nanoseconds; its ticks are too coarse for an idle one. */
function runNanoseconds(pid: number): number {
  const tasks = readdirSync(`/proc/${pid}/task`);
  return tasks.reduce(
    (sum, task) => sum + Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "latin1").split(" ")[0]),
    0,
  );
}

async function startOne(laboratory: Laboratory, engine: Engine, index: number): Promise<Program> {
  const common = socketOf(laboratory);
  const own = `${common}.${index}`;
  const program = laboratory.inHost(
    engine.command(laboratory, 1500).map((word) => word.replace(common, own)),
  );
  for (const started = performance.now(); !existsSync(own); await pause(20)) {
    if (!program.running || performance.now() - started > START_LIMIT_MS)
      throw new RunFailure(`number ${index} did not start: ${program.lastWords}`);
  }
  return program;
}

/**
 * Starts `count` engines, each with a socket of its own that nobody connects to. The value is the memory of one with all
 * its processes (PSS), MiB; beside it the share of one core that all of them take together, per cent.
 */
export async function measureMany(
  laboratory: Laboratory,
  engine: Engine,
  count: number,
): Promise<Measurement> {
  const programs: Program[] = [];
  while (programs.length < count) {
    const next = Math.min(STARTED_TOGETHER, count - programs.length);
    const starting = Array.from({ length: next }, (_, i) =>
      startOne(laboratory, engine, programs.length + i),
    );
    programs.push(...(await Promise.all(starting)));
  }
  await pause(REST_MS);
  const pids = programs.flatMap((program) => program.processes());
  const run = (): number => pids.reduce((sum, pid) => sum + runNanoseconds(pid), 0);
  const before = run();
  const started = performance.now();
  await pause(WATCHED_MS);
  const seconds = (performance.now() - started) / 1000;
  const cpuPercent = ((run() - before) / NANOSECONDS / seconds) * 100;
  const kb = pids.reduce((sum, pid) => sum + proportionalKb(pid), 0);
  return { value: kb / KIB_PER_MIB / count, more: { cpuPercent, processes: pids.length / count } };
}
