/** A policy as large as one may be. */
import { expect, it } from "vitest";
import { parseFlow } from "../../../src/config/policy/flow.ts";
import { readPolicy } from "../../../src/config/policy/read.ts";
import { formatProblem, type Problem } from "../../../src/config/problem.ts";
import { OfflinePolicy } from "../../../src/engine/policy/offline.ts";
import { policyOf } from "../../support/policy-rig.ts";

it("P4 of 1,024 rules and 20,000 targets is compiled in no time that anyone sees", () => {
  const rules = Array.from({ length: 1024 }, (_, n) => ({
    allow: Array.from({ length: 20 }, (_each, i) => `h${n}-${i}.example.com:${1000 + (n % 50)}`),
  }));
  const config = policyOf({ rules });
  const policy = new OfflinePolicy(config);
  expect(policy.judge(parseFlow("h1023-19.example.com:1023")).rule).toBe(1023);
  expect(policy.judge(parseFlow("h1023-19.example.com:1024")).allowed).toBe(false);
  const value = { version: 1, rules: Array.from({ length: 1025 }, () => ({ allow: "a.example" })) };
  const problems: Problem[] = [];
  readPolicy({ flags: [], source: { label: "policy", value }, fallback: undefined, audit: false }, problems);
  expect(problems.map(formatProblem)).toEqual([expect.stringContaining("at most 1024 rules")]);
});
