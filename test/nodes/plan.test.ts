/** The command that tries every line of Node says what it runs, and what came of it. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { CORE, failuresOf, LINES, planOf, type Report, tableOf } from "./plan.ts";

describe("what is run", () => {
  it("is every line from the oldest allowed on, and files that there are", () => {
    const { engines } = JSON.parse(readFileSync(join(PROJECT_ROOT, "package.json"), "utf8")) as {
      engines: { node: string };
    };
    expect(engines.node).toBe(`>=${LINES[0]}`);
    expect(CORE.filter((file) => !existsSync(join(PROJECT_ROOT, file)))).toEqual([]);
    expect(planOf([])).toEqual({
      lines: [...LINES],
      suites: { unit: ["--project", "unit"], e2e: ["--project", "e2e", ...CORE] },
    });
  });

  it("can be less", () => {
    expect(planOf(["--line", "24", "--line", "20", "--e2e", "test/e2e/package.test.ts"])).toEqual({
      lines: [20, 24],
      suites: { e2e: ["--project", "e2e", "test/e2e/package.test.ts"] },
    });
    expect(planOf(["--unit"])).toMatchObject({ suites: { unit: ["--project", "unit"] } });
    expect(planOf(["--help"])).toBe("help");
  });

  it.each([
    [["--line", "18", "--line", "x"], "--line: found 18, x; allowed: 20, 22, 24, 26"],
    [["--lines"], "Unknown option '--lines'"],
  ])("not %j", (argv, message) => {
    expect(() => planOf(argv)).toThrow(message);
  });
});

describe("what came of it", () => {
  const report: Report = {
    numPassedTests: 3,
    numFailedTests: 1,
    numPendingTests: 2,
    testResults: [
      {
        name: "/somewhere/test/a.test.ts",
        status: "failed",
        message: "",
        assertionResults: [
          { status: "passed", fullName: "holds" },
          { status: "failed", fullName: "breaks", failureMessages: ["Error: 1 is not 2\n    at a.test.ts"] },
        ],
      },
      {
        name: "/somewhere/test/b.test.ts",
        status: "failed",
        message: "SyntaxError: no\n",
        assertionResults: [],
      },
      { name: "/somewhere/test/c.test.ts", status: "passed", message: "", assertionResults: [] },
    ],
  };

  it("names each failure, files that could not be run among them", () => {
    expect(failuresOf(report)).toEqual([
      "test/a.test.ts: breaks: Error: 1 is not 2",
      "test/b.test.ts: SyntaxError: no",
    ]);
  });

  it("is a table", () => {
    const outcome = { version: "v24.1.0", suite: "unit", passed: 3, skipped: 2, seconds: 61.4 };
    expect(tableOf([{ ...outcome, failures: failuresOf(report) }])).toBe(
      "Node     tests  passed  failed  skipped  took\nv24.1.0  unit   3       2       2        61 s",
    );
  });
});
