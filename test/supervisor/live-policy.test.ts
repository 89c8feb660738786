/** The policy as the supervisor changes it, with an engine that is played. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readPolicy } from "../../src/config/policy/read.ts";
import { policyRequestSchema } from "../../src/control/schema.ts";
import type { PolicyConfig } from "../../src/engine/config.ts";
import { type Call, EngineCalls } from "../../src/supervisor/calls.ts";
import { EnginePolicy } from "../../src/supervisor/live-policy.ts";

const asked: Call["name"][] = [];
let policy: EnginePolicy;

function policyOf(text: string): PolicyConfig {
  const source = { label: "policy", text };
  const read = readPolicy({ flags: [], source, fallback: undefined, audit: false }, []);
  if (read === undefined) throw new Error("no policy");
  return read.config;
}

function begin(config: PolicyConfig | null): EnginePolicy {
  const calls = new EngineCalls(
    (id, call) => {
      asked.push(call.name);
      setImmediate(() => calls.answered(id, call.name === "answer" ? { result: "unknown" } : {}, undefined));
    },
    { counters: 0, drops: 0 },
  );
  return new EnginePolicy({
    calls,
    controlPath: undefined,
    isConfined: true,
    policy: config,
    tell: () => {},
  });
}

beforeEach(() => {
  asked.length = 0;
  policy = begin(policyOf("version: 1\nrules:\n  - allow: a.example\n  - allow: b.example\n"));
});
afterEach(() => policy.close());

const deny = (target: string) => ({ verdict: "deny", target, private: false }) as const;
const text = (rules: string) => policyRequestSchema.parse({ text: `version: 1\nrules:\n${rules}` });

describe("a change of a policy", () => {
  it("that is about a generation is refused under another, also when it became another meanwhile", async () => {
    const { id } = await policy.addRule(deny("c.example"), 1);
    for (const late of [
      policy.addRule(deny("d.example"), 1),
      policy.removeRule(id, 1),
      policy.set(text("  - allow: a.example\n"), 1),
    ])
      await expect(late).rejects.toMatchObject({
        status: 412,
        message: expect.stringContaining("generation 2, not 1"),
      });
    expect(asked).toEqual(["policy-set"]);
    const outcomes = await Promise.allSettled([
      policy.removeRule(id, 2),
      policy.addRule(deny("d.example"), 2),
      policy.addRule(deny("e.example")),
      policy.removeRule(1, 4),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled", "fulfilled"]);
  });
});

it("an instance without a policy has no denials and no questions, and nothing to change", async () => {
  const none = begin(null);
  expect([await none.denials(), await none.questions()]).toEqual([[], []]);
  await expect(none.answer(1, { verdict: "allow", for: "once" })).rejects.toMatchObject({ status: 404 });
  for (const refused of [
    none.show(),
    none.check(text("  - allow: a.example\n")),
    none.set(text("  - allow: a.example\n")),
    none.addRule(deny("a.example")),
    none.removeRule(1),
    none.resetBudget(1),
  ])
    await expect(refused).rejects.toMatchObject({ status: 409 });
  expect(asked).toEqual(["answer"]);
});
