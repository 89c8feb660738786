/** docs/control.md says what the verbs and the API are, and names tests that there are. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { POLICY_VERBS, VERBS } from "../../src/cli/verb-descriptions.ts";
import { ROUTES } from "../../src/control/routes.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";

const text = readFileSync(join(PROJECT_ROOT, "docs/control.md"), "utf8");
const rows = (pattern: RegExp): string[] => Array.from(text.matchAll(pattern), ([row]) => row);
const cell = (part: string): string => part.replaceAll("|", "\\|");

describe("docs/control.md", () => {
  it("has every verb with its usage", () => {
    const expected = [...Object.values(VERBS), ...Object.values(POLICY_VERBS)].map(
      ({ usage, summary }) => `| \`${cell(usage)}\` | ${summary} |`,
    );
    expect(rows(/^\| `sluice [^\n]*$/gm)).toEqual(expected);
  });

  it("has every request with its verb", () => {
    const expected = ROUTES.map(
      ({ method, path, summary, verb }) => `| \`${method} ${path}\` | ${summary} | \`${cell(verb)}\` |`,
    );
    const found = rows(/^\| `(?:GET|POST|PUT|DELETE) [^\n]*$/gm).filter((row) => !row.includes("/v1/events"));
    expect(found).toEqual(expected);
  });

  it("names tests that there are", () => {
    const named = [...text.matchAll(/`(test\/[\w/.-]+)` "([^"]+)"/g)];
    expect(named.length).toBeGreaterThan(8);
    const missing = named.filter(
      ([, file = "", title = ""]) => !readFileSync(join(PROJECT_ROOT, file), "utf8").includes(title),
    );
    expect(missing.map(([found]) => found)).toEqual([]);
  });
});
