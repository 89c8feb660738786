/** What `npm run test:nodes` is asked for, and what came of it. */
import { parseArgs } from "node:util";

/** The lines of Node that sluice is for. The first is package.json's `engines`. */
export const LINES = [20, 22, 24, 26] as const;

/**
 * The end-to-end tests that reach Node's every corner that sluice uses: how it is started and confined, what it inherits,
 * its sockets, streams, workers and signals, the C part, the package.
 */
export const CORE: readonly string[] = [
  "background",
  "confinement",
  "control",
  "exec-command",
  "fault-descriptors",
  "fault-process",
  "fault-start",
  "flow-log",
  "inherited-state",
  "ipv6-guest",
  "namespace-addresses",
  "namespace-ports",
  "namespace-services",
  "namespace-tcp",
  "namespace-udp",
  "package",
  "policy",
  "prebuilt",
  "qemu-command",
  "qemu-guest",
  "qemu-links",
  "replay-command",
  "run-command",
  "service",
  "ui-command",
  "vhost-user",
].map((name) => `test/e2e/${name}.test.ts`);

export const USAGE = `Usage: npm run test:nodes -- [--line N]... [--unit] [--e2e] [FILE...]

Runs the unit tests and the core of the end-to-end tests on each line of Node, one after the other. The
Nodes are npm's (nodejs.org's programs), fetched once into a directory of this user's under /var/tmp.

  --line N   only Node N: ${LINES.join(", ")}. Repeatable
  --unit     only the unit tests
  --e2e      only the end-to-end tests
  FILE       only these files of tests
`;

export interface NodesPlan {
  readonly lines: readonly number[];
  /** Arguments of vitest, by what the table calls them. */
  readonly suites: Readonly<Record<string, readonly string[]>>;
}

/** Throws with a sentence for what cannot be run. */
export function planOf(argv: readonly string[]): NodesPlan | "help" {
  const { values, positionals } = parseArgs({
    args: [...argv],
    options: {
      line: { type: "string", multiple: true, default: [] },
      unit: { type: "boolean", default: false },
      e2e: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
    allowPositionals: true,
  });
  if (values.help) return "help";
  const unknown = values.line.filter((text) => !LINES.some((line) => String(line) === text));
  if (unknown.length > 0)
    throw new Error(`--line: found ${unknown.join(", ")}; allowed: ${LINES.join(", ")}`);
  const both = values.unit === values.e2e;
  const e2e = positionals.length > 0 ? positionals : CORE;
  return {
    lines: LINES.filter((line) => values.line.length === 0 || values.line.includes(String(line))),
    suites: {
      ...(both || values.unit ? { unit: ["--project", "unit", ...positionals] } : {}),
      ...(both || values.e2e ? { e2e: ["--project", "e2e", ...e2e] } : {}),
    },
  };
}

/** What is read of vitest's report (`--reporter=json`). */
export interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages?: readonly string[] | null;
    }[];
  }[];
}

export interface Outcome {
  readonly version: string;
  readonly suite: string;
  readonly passed: number;
  /** Files that could not be run are one failure each. */
  readonly failures: readonly string[];
  readonly skipped: number;
  readonly seconds: number;
}

/** A line for each failed test, and for each file that could not be run. */
export function failuresOf({ testResults }: Report): string[] {
  return testResults.flatMap(({ name, status, message, assertionResults }) => {
    const file = name.slice(name.indexOf("/test/") + 1);
    const failed = assertionResults.filter((test) => test.status === "failed");
    if (failed.length === 0) return status === "failed" ? [`${file}: ${message.split("\n")[0]}`] : [];
    return failed.map((test) => `${file}: ${test.fullName}: ${test.failureMessages?.[0]?.split("\n")[0]}`);
  });
}

/** The figures, for people and for a commit's message. */
export function tableOf(outcomes: readonly Outcome[]): string {
  const rows = outcomes.map(({ version, suite, passed, failures, skipped, seconds }) => [
    version,
    suite,
    passed,
    failures.length,
    skipped,
    `${Math.round(seconds)} s`,
  ]);
  const all = [["Node", "tests", "passed", "failed", "skipped", "took"], ...rows].map((row) =>
    row.map(String),
  );
  const widths = all[0].map((_, column) => Math.max(...all.map((row) => row[column].length)));
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
