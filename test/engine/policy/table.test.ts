/** docs/policy.md says what holds: the tests it names are there, and every requirement is in the table or among the missing. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";

const read = (path: string): string => readFileSync(new URL(`../../../${path}`, import.meta.url), "utf8");
const FILES: Readonly<Record<string, string>> = {
  flows: "test/engine/policy/flows.test.ts",
  agreement: "test/engine/policy/agreement.test.ts",
  language: "test/config/policy/language.test.ts",
  clients: "test/e2e/policy.test.ts",
};
const document = read("docs/policy.md");
const rows = [...document.matchAll(/^\| (P\d+) \| .* \| ([^|]+) \|$/gm)].map(([, requirement, tests]) => ({
  requirement,
  tests: tests.split(";").map((each) => each.trim()),
}));

it.each(rows)("$requirement has the tests that docs/policy.md names", ({ requirement, tests }) => {
  for (const name of tests) {
    expect(Object.keys(FILES)).toContain(name);
    const titles = read(FILES[name] ?? "").match(/\b(it|test)(\.\w+)?\([\s\S]*?["`]((?:P\d+ )+)/g) ?? [];
    const numbers = read(FILES[name] ?? "").match(/["`](?:P\d+ )+/g) ?? [];
    expect(titles.length).toBeGreaterThan(0);
    expect(
      numbers.some((title) => title.includes(`${requirement} `)),
      `${requirement} in ${name}`,
    ).toBe(true);
  }
});

it("has every requirement, in the table or among the missing", () => {
  const missing = /^Missing: ([\s\S]*?)\n\n|^Missing: ([\s\S]*)$/m.exec(document)?.[0] ?? "";
  const named = [...rows.map(({ requirement }) => requirement), ...(missing.match(/P\d+/g) ?? [])];
  const all = Array.from({ length: 28 }, (_, i) => `P${i + 1}`);
  expect(named.sort()).toEqual(all.sort());
});

it("explains every reason of a policy", () => {
  const explained = [...document.matchAll(/^\| `(policy-[a-z-]+)` \|/gm)].map(([, reason]) => reason);
  expect(explained.sort()).toEqual(DROP_REASONS.filter((reason) => reason.startsWith("policy-")).sort());
});
