/** The results of a comparison: what is written as JSON and what the tables and the chart are made of. */
import { readFileSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";
import type { Absent, EngineId, FoundEngine } from "./engines.ts";
import type { Case, Measurement } from "./measurement.ts";
import { median } from "./measurement.ts";

export interface EngineResult {
  readonly engine: EngineId;
  readonly runs: Measurement[];
  /** Reasons of the runs that gave no figure. */
  readonly failures: string[];
}

export interface CaseResult {
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  readonly better: "higher" | "lower";
  readonly engines: EngineResult[];
}

export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryGib: number;
  readonly kernel: string;
  readonly node: string;
  /** The one-minute load average before the first run: what else the machine was doing. */
  readonly loadBefore: number;
}

export interface Results {
  readonly started: string;
  finished: string;
  readonly machine: Machine;
  readonly rounds: number;
  readonly windowMs: number;
  readonly warmupMs: number;
  readonly congestion: string;
  readonly command: string;
  readonly engines: { id: EngineId; title: string; version: string }[];
  readonly absent: Absent[];
  readonly cases: CaseResult[];
}

export function describeMachine(): Machine {
  const all = cpus();
  return {
    processor: all[0]?.model ?? "unknown",
    cores: all.length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    kernel: `Linux ${release()} ${osName()}`,
    node: process.version,
    loadBefore: loadavg()[0],
  };
}

function osName(): string {
  const match = /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync("/etc/os-release", "utf8"));
  return match ? `(${match[1]})` : "";
}

export function describeEngines(found: readonly FoundEngine[]): Results["engines"] {
  return found.map(({ id, title, version }) => ({ id, title, version }));
}

export function emptyCase({
  id,
  title,
  unit,
  better,
}: Pick<Case, "id" | "title" | "unit" | "better">): CaseResult {
  return { id, title, unit, better, engines: [] };
}

/** The median of an engine's figure in a case, or of something counted beside it; NaN when there is none. */
export function figure(results: Results, caseId: string, engine: EngineId, key?: string): number {
  const runs = runsOf(results, caseId, engine)?.runs ?? [];
  const values = runs.map((run) => (key === undefined ? run.value : run.more[key]));
  return median(values.filter((value) => Number.isFinite(value)));
}

/** An engine's runs in a case; undefined when it was not measured there. */
export function runsOf(results: Results, caseId: string, engine: EngineId): EngineResult | undefined {
  const found = results.cases.find(({ id }) => id === caseId);
  return found?.engines.find((result) => result.engine === engine);
}
