/** As many targets as a policy may have, in a list. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { readPolicy } from "../../../src/config/policy/read.ts";
import { formatProblem, type Problem } from "../../../src/config/problem.ts";

it("a policy has 65536 targets at most, those of flags and lists among them", () => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-policy-"));
  try {
    const file = join(directory, "many");
    writeFileSync(file, "x\n".repeat(65_535));
    // What is wrong besides keeps it from being compiled, which takes seconds.
    const value = { version: 1, rules: [{ deny: { file } }, { deny: "a.example" }, { deny: "a..example" }] };
    const wrong = expect.stringContaining("a..example");
    const problems = (label: string, ...texts: string[]): string[] => {
      const found: Problem[] = [];
      const flags = texts.map((text) => ({ verdict: "deny", text, place: "--deny" }) as const);
      readPolicy({ flags, source: { label, value }, fallback: undefined, audit: false }, found);
      return found.map(formatProblem);
    };
    expect(problems("p")).toEqual([wrong]);
    // What is none is not counted.
    expect(problems("p", "b..example")).toEqual([expect.stringContaining("b..example"), wrong]);
    expect(problems("p", "b.example")).toEqual([
      wrong,
      'p: found "65537 targets"; allowed: at most 65536 in all',
    ]);
    expect(problems("", "b.example")).toEqual([
      wrong,
      'policy: found "65537 targets"; allowed: at most 65536 in all',
    ]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
