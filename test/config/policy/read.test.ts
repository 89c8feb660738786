/** A policy from flags and a file together: what comes first, what holds, and where each complaint and warning stands. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  describeVerdict,
  type FlagRule,
  type PolicyInput,
  readPolicy,
} from "../../../src/config/policy/read.ts";
import { formatTarget } from "../../../src/config/policy/target.ts";
import { parseVia } from "../../../src/config/policy/way.ts";
import { formatProblem, type Problem } from "../../../src/config/problem.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-policy-"));
afterAll(() => rmSync(directory, { recursive: true }));

const flag = (verdict: FlagRule["verdict"], text: string): FlagRule => ({
  verdict,
  text,
  place: `--${verdict}`,
});

function read(input: Partial<PolicyInput>) {
  const problems: Problem[] = [];
  const policy = readPolicy(
    { flags: [], source: undefined, fallback: undefined, audit: false, ...input },
    problems,
  );
  return { policy, config: policy?.config, problems: problems.map(formatProblem) };
}

const ofText = (text: string, over: Partial<PolicyInput> = {}) =>
  read({ source: { label: "p.yaml", text }, ...over });
const ofValue = (value: object, over: Partial<PolicyInput> = {}) =>
  read({ source: { label: "policy", value: { version: 1, ...value } }, ...over });

describe("flags", () => {
  it("come before the file's rules, in their order, and are called by what they say", () => {
    const { config, problems } = ofValue(
      { rules: [{ allow: "c.example" }, { name: "last", deny: "d.example", message: "no" }] },
      { flags: [flag("deny", "a.example"), flag("allow", "b.example:80")] },
    );
    expect(problems).toEqual([]);
    expect(config?.rules).toEqual([
      {
        verdict: "deny",
        name: "--deny a.example",
        targets: [{ host: { kind: "name", name: "a.example" }, ports: [[1, 65_535]], tcp: true, udp: true }],
        private: false,
      },
      {
        verdict: "allow",
        name: "--allow b.example:80",
        targets: [{ host: { kind: "name", name: "b.example" }, ports: [[80, 80]], tcp: true, udp: false }],
        private: false,
      },
      {
        verdict: "allow",
        name: "rule-1",
        targets: [{ host: { kind: "name", name: "c.example" }, ports: [[443, 443]], tcp: true, udp: false }],
        private: false,
      },
      {
        verdict: "deny",
        name: "last",
        targets: [{ host: { kind: "name", name: "d.example" }, ports: [[1, 65_535]], tcp: true, udp: true }],
        private: false,
        message: "no",
      },
    ]);
  });

  it("are a policy alone, with warnings at their places", () => {
    const { policy, config } = read({ flags: [flag("allow", "a.example:22"), flag("deny", "a.example:22")] });
    expect(config).toEqual({
      default: "deny",
      audit: false,
      rules: [expect.anything(), expect.anything()],
      answers: "nxdomain",
      refuseEch: false,
      pinGraceMs: 60_000,
      standIns: { address: 0xc6130000 | 0, prefixLength: 16 },
    });
    expect(policy?.tests).toBe(0);
    expect(policy?.warnings).toEqual([
      "--allow: warning: a.example:22 is known by address only: others behind the same address can be reached",
      "--deny: warning: never decides: rules[0] (a.example:22) covers it",
    ]);
  });

  it("that are wrong are told in front of what the file says wrong", () => {
    const { config, problems } = ofText("version: 1\nrules:\n  - allow: a..example\n", {
      flags: [flag("allow", "b..example"), flag("deny", "@all")],
    });
    expect(config).toBeUndefined();
    expect(problems.map((line) => line.slice(0, line.indexOf(";")))).toEqual([
      '--allow: found "b..example"',
      '--deny: found "@all"',
      'p.yaml:3:12: rules[0].allow: found "a..example"',
    ]);
  });
});

describe("what holds where no rule matches", () => {
  const allow = flag("allow", "a.example");
  const deny = flag("deny", "a.example");
  const ask = flag("ask", "a.example");

  it.each<[string, Partial<PolicyInput>, string]>([
    ["nothing at all", {}, "deny"],
    ["a rule that allows", { flags: [allow] }, "deny"],
    ["a rule that denies", { flags: [deny] }, "allow"],
    ["rules of both kinds", { flags: [deny, allow] }, "deny"],
    ["a rule that asks", { flags: [ask] }, "deny"],
    ["a proxy", { via: parseVia("http://127.0.0.1:1") }, "allow"],
    ["a proxy and a rule that allows", { via: parseVia("http://127.0.0.1:1"), flags: [allow] }, "deny"],
    ["a word", { flags: [allow], fallback: "allow" }, "allow"],
    ["another word", { flags: [deny], fallback: "deny" }, "deny"],
  ])("with %s: %s", (_what, input, usual) => {
    expect(read(input).config?.default).toBe(usual);
  });

  it("is what the file says, unless the command line says another", () => {
    expect(ofValue({ default: "allow", rules: [{ allow: "a.example" }] }).config?.default).toBe("allow");
    expect(ofValue({ default: "allow" }, { fallback: "deny" }).config?.default).toBe("deny");
  });

  it("asks by rules at the end", () => {
    const { config } = ofValue({ default: "ask", rules: [{ deny: "a.example" }] });
    expect(config?.default).toBe("deny");
    expect(
      config?.rules.map(({ verdict, name, targets, private: isPrivate }) => [
        verdict,
        name,
        targets.map((target) => formatTarget(target, verdict)),
        isPrivate,
      ]),
    ).toEqual([
      ["deny", "rule-1", ["a.example"], false],
      ["ask", "default", ["*:1-65535", "*:1-65535/udp"], false],
      ["ask", "default", ["@any"], false],
    ]);
    expect(read({ fallback: "ask" }).config?.rules).toHaveLength(2);
  });
});

describe("what a file says besides", () => {
  it("is in the policy, or left out of it", () => {
    const via = "http://127.0.0.1:1";
    const said = {
      mode: "audit",
      answers: "explain",
      ech: "refuse",
      "pin-grace": "5s",
      message: "ask me",
      via,
      limit: { new: "5/s", dns: "7/s" },
      "stand-ins": "100.96.0.0/12",
      unattended: "deny",
    };
    expect(ofValue(said).config).toStrictEqual({
      default: "allow",
      audit: true,
      rules: [],
      answers: "explain",
      refuseEch: true,
      pinGraceMs: 5000,
      standIns: { address: 0x64600000, prefixLength: 12 },
      way: parseVia(via),
      limit: { newFlows: 5, questions: 7 },
      message: "ask me",
      refuseUnattended: true,
    });
    const usual = { mode: "enforce", answers: "nxdomain", ech: "allow", unattended: "wait" };
    expect(ofValue(usual).config).toStrictEqual(ofValue({}).config);
    expect(Object.keys(ofValue({}).config ?? {}).sort()).toEqual(
      ["answers", "audit", "default", "pinGraceMs", "refuseEch", "rules", "standIns"].sort(),
    );
  });

  it("is an audit where either says so", () => {
    expect(ofValue({}, { audit: true }).config?.audit).toBe(true);
    expect(ofValue({ mode: "enforce" }, { audit: true }).config?.audit).toBe(true);
    expect(ofValue({ mode: "audit" }).config?.audit).toBe(true);
    expect(ofValue({}).config?.audit).toBe(false);
  });

  it("of a proxy gives way to the command line's", () => {
    const via = parseVia("socks5://127.0.0.1:2");
    expect(ofValue({ via: "http://127.0.0.1:1" }, { via }).config?.way).toEqual(via);
    expect(ofValue({}, { via }).config?.way).toEqual(via);
  });

  it("that is wrong is told with its place, once the rules are right", () => {
    expect(ofText("version: 1\nvia: x\nstand-ins: 10.0.0.0/21\n").problems).toEqual([
      expect.stringMatching(/^p\.yaml:2:6: via: found "x"; allowed: socks5:/),
      'p.yaml:3:12: stand-ins: found "10.0.0.0/21"; allowed: a network with a prefix of 10 to 20 bits',
    ]);
    expect(ofText("version: 1\nvia: x\nrules:\n  - allow: a..b\n").problems).toHaveLength(1);
    // Tests are for a policy that there is.
    expect(ofText("version: 1\nvia: x\ntests:\n  - {flow: a.b, expect: asked}\n").problems).toHaveLength(1);
    const prefixes = ["10.0.0.0/20", "10.0.0.0/10"].map((net) => ofValue({ "stand-ins": net }).problems);
    expect(prefixes).toEqual([[], []]);
    expect(ofValue({ "stand-ins": "10.0.0.0/9" }).problems).toHaveLength(1);
  });

  it("lets what is no complaint through", () => {
    const hidden = (): never => {
      throw new TypeError("not a function");
    };
    expect(() => ofValue({ via: "http://me:***@127.0.0.1:1" }, { hidden })).toThrow(
      new TypeError("not a function"),
    );
  });

  it("of a rule is in the rule, or left out of it", () => {
    const rule = {
      allow: "a.example",
      private: true,
      check: "tls",
      message: "x",
      to: "127.0.0.1:1",
      limit: { connections: 1 },
    };
    expect(ofValue({ rules: [rule, { ask: "a.example", within: "5s" }] }).config?.rules).toStrictEqual([
      {
        verdict: "allow",
        name: "rule-1",
        targets: [{ host: { kind: "name", name: "a.example" }, ports: [[443, 443]], tcp: true, udp: false }],
        private: true,
        check: "tls",
        message: "x",
        way: {
          kind: "to",
          target: { kind: "tcp", words: [0, 0, 0xffff, 0x7f000001], port: 1 },
          proxyHeader: false,
        },
        limit: { connections: 1 },
      },
      {
        verdict: "ask",
        name: "rule-2",
        targets: [{ host: { kind: "name", name: "a.example" }, ports: [[443, 443]], tcp: true, udp: false }],
        private: false,
        withinMs: 5000,
      },
    ]);
  });

  it("of a way out is for TCP: a target of UDP alone is told, each at its place", () => {
    const rule = { allow: ["a.example", "b.example:1/udp", "c.example/quic"], to: "127.0.0.1:1" };
    expect(ofValue({ rules: [rule] }).problems).toEqual([
      "policy: rules[0].allow[1]: allowed: TCP: to and via carry no UDP",
      "policy: rules[0].allow[2]: allowed: TCP: to and via carry no UDP",
    ]);
  });
});

it("what has nothing that was found says so by having no such member", () => {
  const problems: Problem[] = [];
  const source = {
    label: "policy",
    value: { version: 1, rules: [{ deny: "a.example", to: "127.0.0.1:1" }] },
  };
  readPolicy({ flags: [], source, fallback: undefined, audit: false }, problems);
  expect(problems).toStrictEqual([{ place: "policy: rules[0].to", allowed: "to only with allow" }]);
});

describe("a list of targets in a file", () => {
  const list = join(directory, "hosts");
  const rules = (file: string) => ({ rules: [{ allow: { file } }] });
  const hosts = (input: ReturnType<typeof read>): string[] =>
    (input.config?.rules[0]?.targets ?? []).map((target) => formatTarget(target, "allow"));

  it("lies beside the policy's file, or where it is said to", () => {
    writeFileSync(list, "# all\n a.example \n\n#b.example\nb.example:80 # plain\r\nc.example");
    const all = ["a.example", "b.example:80", "c.example"];
    const text = JSON.stringify({ version: 1, ...rules("hosts") });
    expect(hosts(read({ source: { label: join(directory, "policy.yaml"), text } }))).toEqual(all);
    expect(hosts(read({ source: { label: "elsewhere/p.yaml", text, directory } }))).toEqual(all);
    expect(hosts(read({ source: { label: "p.yaml", text: text.replace("hosts", list) } }))).toEqual(all);
    const away = read({ source: { label: "p.yaml", text, directory: null } });
    expect(away.problems).toEqual([
      'p.yaml:1:40: rules[0].allow.file: found "hosts"; allowed: the targets themselves, or the directory of their files',
    ]);
  });

  it("has each wrong line told at the rule", () => {
    writeFileSync(list, "a..example\nb.example\nc..example\n");
    const { problems } = read({ source: { label: "policy", value: { version: 1, ...rules(list) } } });
    expect(problems.map((line) => line.slice(0, line.indexOf(";")))).toEqual([
      'policy: rules[0].allow: found "a..example"',
      'policy: rules[0].allow: found "c..example"',
    ]);
  });

  it("has its warnings told at the rule", () => {
    writeFileSync(list, "a.example\nb.example:22\n");
    const { policy } = read({ source: { label: "policy", value: { version: 1, ...rules(list) } } });
    expect(policy?.warnings).toEqual([
      expect.stringMatching(/^policy: rules\[0\]\.allow: warning: b\.example/),
    ]);
  });

  it("is read up to four MiB", () => {
    writeFileSync(list, "");
    truncateSync(list, 4_194_305);
    expect(ofValue(rules(list)).problems).toEqual([
      `policy: rules[0].allow.file: found "${list.slice(0, 80)}"; allowed: a file that can be read (${list} has more than 4194304 octets)`,
    ]);
    writeFileSync(list, `#${" ".repeat(4_194_302)}\n`);
    expect(ofValue(rules(list)).problems).toEqual([]);
  });
});

describe("problems", () => {
  it("come in the order of the file's lines", () => {
    const text = `version: 1
tests: x
zzzzzzzz: 1
rules:
  - { allow: a..example, name: ( }




  - allow: [b.example, c..example, "d..example"]
mode: x
yyyyyyyy: 1
`;
    const { problems } = ofText(text, { flags: [flag("allow", "a..b")] });
    expect(problems.map((line) => line.slice(0, line.indexOf(": found")))).toEqual([
      "--allow",
      "p.yaml:2:8: tests",
      "p.yaml:3:1",
      "p.yaml:5:14: rules[0].allow",
      "p.yaml:5:32: rules[0].name",
      "p.yaml:10:24: rules[1].allow[1]",
      "p.yaml:10:36: rules[1].allow[2]",
      "p.yaml:11:7: mode",
      "p.yaml:12:1",
    ]);
  });

  it("of a file whose form is wrong are those of its targets too, where it has any", () => {
    const targets = (value: unknown): string[] =>
      read({ source: { label: "policy", value } })
        .problems.map((line) => (line.split(": ")[1] ?? "").split(": ")[0])
        .filter((place) => place.startsWith("rules"));
    expect(targets({ rules: [{ allow: "a..b" }, { deny: ["x", "c..d"] }, { ask: ["e..f", 1] }] })).toEqual([
      "rules[2].ask",
      "rules[0].allow",
      "rules[1].deny[1]",
      "rules[2].ask[0]",
    ]);
    expect(targets({ rules: [null] })).toEqual(["rules[0]", "rules[0]"]);
    expect(targets({ rules: [{ allow: "a", deny: "b" }, {}, { alow: "a" }] })).toEqual([
      "rules[2]",
      "rules[0]",
      "rules[1]",
    ]);
    expect(targets({ rules: 3 })).toEqual(["rules"]);
    expect(targets({ rules: { 0: { allow: "a..b" } } })).toEqual(["rules"]);
    expect(targets(null)).toEqual([]);
    expect(targets(undefined)).toEqual([]);
  });
});

describe("tests of a policy", () => {
  const rules = [
    { name: "web", allow: "a.example" },
    { name: "people", ask: "b.example" },
    { deny: "c.example" },
  ];
  const run = (flow: string, expected: string, rule?: string) =>
    ofValue({ rules, tests: [{ flow, expect: expected, ...(rule === undefined ? {} : { rule }) }] });

  it.each([
    ["a.example", "allowed", "web"],
    ["b.example", "asked", "people"],
    ["c.example", "denied", "rule-3"],
    ["d.example", "denied", "default"],
    ["10.0.0.1:80", "denied", "default"],
    ["169.254.169.254:80", "denied", "default"],
  ])("hold: %s is %s by %s", (flow, expected, rule) => {
    expect(run(flow, expected).policy?.tests).toBe(1);
    expect(run(flow, expected, rule).problems).toEqual([]);
  });

  it.each([
    ["a.example", "denied", undefined, '"allowed by rule web"; allowed: denied, as it expects'],
    ["b.example", "allowed", undefined, '"asked about by rule people"; allowed: allowed, as it expects'],
    ["c.example", "asked", undefined, '"denied by rule rule-3"; allowed: asked, as it expects'],
    ["d.example", "allowed", undefined, '"denied by default"; allowed: allowed, as it expects'],
    ["127.0.0.1:80", "allowed", undefined, '"denied always"; allowed: allowed, as it expects'],
    ["a.example", "allowed", "x", '"allowed by rule web"; allowed: allowed by rule x, as it expects'],
    ["d.example", "denied", "web", '"denied by default"; allowed: denied by rule web, as it expects'],
    ["a.example", "denied", "web", '"allowed by rule web"; allowed: denied by rule web, as it expects'],
  ])("fail: %s is not %s by %s", (flow, expected, rule, said) => {
    expect(run(flow, expected, rule).problems).toEqual([`policy: tests[0]: found ${said}`]);
  });

  it("are told each", () => {
    const tests = ["a.example", "b..example", "c.example", "d.example:1,2"].map((flow) => ({
      flow,
      expect: "asked",
    }));
    const { policy, problems } = ofValue({ rules, tests });
    expect(policy).toBeUndefined();
    expect(problems.map((line) => line.slice(0, line.indexOf(": found")))).toEqual([
      "policy: tests[0]",
      "policy: tests[1].flow",
      "policy: tests[2]",
      "policy: tests[3].flow",
    ]);
  });

  it("are told as verdicts are", () => {
    const { config } = ofValue({ rules });
    if (config === undefined) throw new Error("no policy");
    const verdict = { allowed: false, asks: false, rule: -1, reason: null };
    expect(describeVerdict(config, { ...verdict, allowed: true })).toBe("allowed by default");
    expect(describeVerdict(config, { ...verdict, rule: 0, allowed: true })).toBe("allowed by rule web");
    expect(describeVerdict(config, { ...verdict, reason: "destination-refused" })).toBe("denied always");
  });
});
