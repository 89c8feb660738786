/** The policy that options ask for: from which of them, in which order, and what is wrong with it together with the rest. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { OptionSet } from "../../src/config/option-set.ts";
import type { OptionName } from "../../src/config/option-table.ts";
import { checkStandIns, planPolicy } from "../../src/config/policy-plan.ts";
import { formatProblem } from "../../src/config/problem.ts";
import { policyOf } from "../support/policy-rig.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-plan-"));
afterAll(() => rmSync(directory, { recursive: true }));

type Given = readonly [OptionName, string?];

async function plan(...given: readonly Given[]) {
  const set = new OptionSet();
  for (const [name, text] of given) set.add(name, text);
  const policy = await planPolicy(set);
  return { policy, problems: set.problems.map(formatProblem) };
}

const ASK: Given = ["ask", "*"];

describe("a policy", () => {
  it("is none where nothing asks for one", async () => {
    expect(await plan()).toEqual({ policy: null, problems: [] });
    expect(await plan(["restrict"], ["mtu", "1400"])).toEqual({ policy: null, problems: [] });
    expect(await plan(["decide", "./d.js"])).toEqual({
      policy: null,
      problems: [
        "--decide: found \"./d.js\"; allowed: only with a policy whose rules ask, such as --ask '*'",
      ],
    });
    expect((await plan(["decide", "./d.js"], ASK)).problems).toEqual([]);
  });

  it.each<[Given, object]>([
    [["allow", "a.example"], { default: "deny", rules: [{ verdict: "allow" }] }],
    [["deny", "a.example"], { default: "allow", rules: [{ verdict: "deny" }] }],
    [ASK, { default: "deny", rules: [{ verdict: "ask" }] }],
    [["policy-default", "allow"], { default: "allow", rules: [] }],
    [["audit"], { default: "deny", audit: true, rules: [] }],
    [["via", "http://127.0.0.1:1"], { default: "allow", way: { kind: "http" } }],
  ])("is asked for by %j", async (given, policy) => {
    expect(await plan(given)).toMatchObject({ policy, problems: [] });
  });

  it("has its rules in the order of the command line, and then the file's", async () => {
    const file = join(directory, "p.yaml");
    writeFileSync(file, "version: 1\nrules:\n  - {name: last, allow: d.example}\n");
    const { policy } = await plan(
      ["policy", file],
      ["deny", "a.example"],
      ["allow", "b.example"],
      ["ask", "c.example"],
      ["deny", "e.example"],
    );
    expect(policy?.rules.map(({ name }) => name)).toEqual([
      "--deny a.example",
      "--allow b.example",
      "--ask c.example",
      "--deny e.example",
      "last",
    ]);
    expect(policy?.audit).toBe(false);
  });

  it("that is wrong is told, and is none", async () => {
    expect(await plan(["allow", "a..example"], ["allow", "b.example"], ["deny", "@all"])).toEqual({
      policy: null,
      problems: [
        expect.stringMatching(/^--allow: found "a\.\.example"; allowed: a host name/),
        '--deny: found "@all"; allowed: @public, @private or @any',
      ],
    });
    const nowhere = join(directory, "none.yaml");
    expect((await plan(["policy", nowhere], ["allow", "a.example"])).problems).toEqual([
      expect.stringMatching(/^--policy: found ".*"; allowed: a file that can be read \(ENOENT/),
    ]);
    expect(await plan(["via", "http://me:secret@proxy:1"])).toEqual({
      policy: expect.objectContaining({ default: "deny" }),
      problems: [
        expect.stringMatching(/^--via: found "http:\/\/me:\*\*\*@proxy:1"; allowed: socks5.*no name$/),
      ],
    });
  });
});

describe("stand-ins", () => {
  const net = (text: string, standIns?: string) => {
    const set = new OptionSet();
    set.add("net", text);
    const usual = { rules: [{ allow: "a.example", to: "127.0.0.1:1" }] };
    checkStandIns(policyOf(standIns === undefined ? usual : { ...usual, "stand-ins": standIns }), set);
    return set.problems.map(formatProblem);
  };

  it.each([
    ["198.19.0.0/16", undefined, "198.19.0.0/16"],
    ["198.19.7.0/24", undefined, "198.19.0.0/16"],
    ["198.18.0.0/15", undefined, "198.19.0.0/16"],
    ["10.0.2.0/24", "10.0.0.0/12", "10.0.0.0/12"],
    ["10.0.0.0/8", "10.64.0.0/20", "10.64.0.0/20"],
  ])("are apart from the guest's network: %s is not", (text, given, told) => {
    expect(net(text, given)).toEqual([
      `--policy: found "stand-ins: ${told}"; allowed: a network apart from the guest's (${text})`,
    ]);
  });

  it.each([
    ["10.0.2.0/24", undefined],
    ["198.18.0.0/16", undefined],
    ["198.20.0.0/24", undefined],
    ["10.0.2.0/24", "10.16.0.0/12"],
  ])("are apart from the guest's network: %s is", (text, given) => {
    expect(net(text, given)).toEqual([]);
  });

  it("matter where something goes by another way", async () => {
    const guest: Given = ["net", "198.19.0.0/16"];
    expect((await plan(guest, ["allow", "a.example"])).problems).toEqual([]);
    expect((await plan(guest, ["via", "http://127.0.0.1:1"])).problems).toHaveLength(1);
    const set = new OptionSet();
    set.add(...guest);
    checkStandIns(policyOf({ rules: [{ allow: "a.example" }] }), set);
    expect(set.problems).toEqual([]);
    const second = { rules: [{ allow: "a.example" }, { allow: "b.example", to: "127.0.0.1:1" }] };
    checkStandIns(policyOf(second), set);
    expect(set.problems).toHaveLength(1);
  });
});
