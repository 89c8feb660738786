/**
 * npm run test:nodes -- [--line N]... [--unit] [--e2e] [FILE...]
 *
 * The unit tests and the core of the end-to-end tests on every line of Node that npm has, one after the other. The code
 * caches are made anew for each, as `npm install` does.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { npmNode } from "../support/other-nodes.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { failuresOf, type NodesPlan, type Outcome, planOf, type Report, tableOf, USAGE } from "./plan.ts";

/** Runs one suite by `node`; what it says goes to this terminal. */
function runSuite(node: string, suite: string, args: readonly string[]): Omit<Outcome, "version"> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-nodes-"));
  const file = join(directory, "report.json");
  const vitest = join(PROJECT_ROOT, "node_modules", "vitest", "vitest.mjs");
  // What the tests start by name is this Node, too.
  const env = { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env["PATH"] ?? ""}` };
  const startedAt = performance.now();
  try {
    spawnSync(
      node,
      [vitest, "run", ...args, "--reporter=default", "--reporter=json", `--outputFile.json=${file}`],
      { cwd: PROJECT_ROOT, env, stdio: ["ignore", "inherit", "inherit"] },
    );
    const seconds = (performance.now() - startedAt) / 1000;
    if (!existsSync(file))
      return { suite, passed: 0, skipped: 0, seconds, failures: ["it ended without a report"] };
    const report = JSON.parse(readFileSync(file, "utf8")) as Report;
    const failures = failuresOf(report);
    return { suite, passed: report.numPassedTests, skipped: report.numPendingTests, seconds, failures };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function makeCaches(node: string): void {
  spawnSync(node, [join(PROJECT_ROOT, "src", "build", "bootstrap.mjs"), "install"], {
    cwd: PROJECT_ROOT,
    stdio: "inherit",
  });
}

function runAll({ lines, suites }: NodesPlan): Outcome[] {
  const outcomes: Outcome[] = [];
  for (const line of lines) {
    const node = npmNode(line);
    const version = spawnSync(node, ["--version"], { encoding: "utf8" }).stdout.trim();
    makeCaches(node);
    for (const [suite, args] of Object.entries(suites)) {
      process.stderr.write(`\n--- Node ${version}: ${suite}\n`);
      outcomes.push({ version, ...runSuite(node, suite, args) });
      process.stdout.write(`\n${tableOf(outcomes)}\n`);
    }
  }
  return outcomes;
}

function main(): number {
  let plan: NodesPlan | "help";
  try {
    plan = planOf(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`test:nodes: ${(error as Error).message}\n${USAGE}`);
    return 2;
  }
  if (plan === "help") {
    process.stdout.write(USAGE);
    return 0;
  }
  const failures = runAll(plan).flatMap((outcome) =>
    outcome.failures.map((failure) => `Node ${outcome.version}: ${failure}`),
  );
  if (failures.length > 0) process.stderr.write(`\n${failures.join("\n")}\n`);
  return failures.length === 0 ? 0 : 1;
}

process.exitCode = main();
