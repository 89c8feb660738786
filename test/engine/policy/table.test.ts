/** docs/policy.md says what holds: the tests it names are there, and every requirement is in the table or among the missing. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { DROP_REASONS } from "../../../src/engine/metrics/drop-reasons.ts";

const read = (path: string): string => readFileSync(new URL(`../../../${path}`, import.meta.url), "utf8");
const FILES: Readonly<Record<string, string>> = {
  flows: "test/engine/policy/flows.test.ts",
  replace: "test/engine/policy/replace.test.ts",
  questions: "test/engine/policy/questions.test.ts",
  agreement: "test/engine/policy/agreement.test.ts",
  language: "test/config/policy/language.test.ts",
  large: "test/config/policy/large-policy.test.ts",
  suggest: "test/config/policy/suggest.test.ts",
  saved: "test/config/policy/save-answer.test.ts",
  clients: "test/e2e/policy.test.ts",
  live: "test/e2e/policy-live.test.ts",
  quic: "test/engine/policy/quic.test.ts",
  ngtcp2: "test/e2e/policy-quic.test.ts",
  limits: "test/engine/policy/limits.test.ts",
  ways: "test/engine/policy/ways.test.ts",
  proxies: "test/e2e/policy-ways.test.ts",
  everyday: "test/e2e/policy-clients.test.ts",
  recipes: "test/e2e/recipes.test.ts",
  asked: "test/e2e/policy-asked.test.ts",
  decided: "test/engine/policy/decided.test.ts",
  program: "test/supervisor/decider.test.ts",
  library: "test/library-steering.test.ts",
  modules: "test/e2e/policy-decide.test.ts",
};
const document = read("docs/policy.md");
const rows = [...document.matchAll(/^\| ((?:P|C)\d+) \| .* \| ([^|]+) \|$/gm)].map(
  ([, requirement, tests]) => ({
    requirement,
    tests: [...tests.matchAll(/(\w+) "([^"]+)"/g)].map(([, file, title]) => ({ file, title })),
    // Nothing else stands there.
    rest: tests.replace(/\w+ "[^"]+"(; )?/g, ""),
  }),
);

/** What `it`, `test` and `describe` are called with, and the tables of `each`. */
function titlesOf(file: string): string[] {
  const calls = /(?:\b(?:it|test|describe)(?:\.\w+)*\(|^ *\]\)\()\s*(["`])((?:(?!\1).)+)\1/gm;
  return [...read(FILES[file] ?? "").matchAll(calls)].map(([, , title]) => title);
}

it.each(rows)("$requirement has the tests that docs/policy.md names", ({ requirement, tests, rest }) => {
  expect(rest).toBe("");
  expect(tests.length).toBeGreaterThan(0);
  for (const { file, title } of tests) {
    expect(Object.keys(FILES)).toContain(file);
    const named = titlesOf(file).filter((each) => each.includes(title));
    const numbers = named.flatMap((each) => /^(?:[PC]\d+ )+/.exec(each)?.[0].trim().split(" ") ?? []);
    expect(numbers, `a test of ${requirement} in ${file} called "${title}"`).toContain(requirement);
  }
});

it("has every requirement, in the table or among the missing", () => {
  const missing = /^Missing: ([\s\S]*?)\n\n|^Missing: ([\s\S]*)$/m.exec(document)?.[0] ?? "";
  const named = [...rows.map(({ requirement }) => requirement), ...(missing.match(/P\d+/g) ?? [])];
  const all = [...Array.from({ length: 28 }, (_, i) => `P${i + 1}`), "C9"];
  expect(named.sort()).toEqual(all.sort());
});

it("explains every reason of a policy", () => {
  const explained = [...document.matchAll(/^\| `((?:policy|proxy)-[a-z-]+)` \|/gm)].map(
    ([, reason]) => reason,
  );
  expect(explained.sort()).toEqual(DROP_REASONS.filter((reason) => /^(policy|proxy)-/.test(reason)).sort());
});
