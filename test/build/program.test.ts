import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { PROJECT_ROOT } from "../support/project-root.ts";

const PROGRAM = join(PROJECT_ROOT, "dist", "program");

it.each([
  ["zod", "ZodError"],
  ["the API's schemas", "openapi"],
  ["yaml", "YAMLParseError"],
  ["an XML parser", "XMLSerializer"],
  ["a policy's rules", "RuleSet = class"],
])("what every start loads has not %s, which some part of the program has", (_, word) => {
  const files = readdirSync(PROGRAM).filter((name) => name.endsWith(".js"));
  const having = files.filter((name) => readFileSync(join(PROGRAM, name), "utf8").includes(word));
  expect(having.length).toBeGreaterThan(0);
  expect(having.filter((name) => name.startsWith("supervisor-"))).toEqual([]);
});
