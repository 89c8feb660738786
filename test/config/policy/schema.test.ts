/** What each member of a policy may be, at its bounds, and where what is wrong with one is told to stand. */
import { describe, expect, it } from "vitest";
import { readPolicy } from "../../../src/config/policy/read.ts";
import { isRuleName } from "../../../src/config/policy/schema.ts";
import { formatProblem, type Problem } from "../../../src/config/problem.ts";

/** What is wrong with a policy that a program made. */
function problems(value: unknown): string[] {
  const found: Problem[] = [];
  readPolicy({ flags: [], source: { label: "", value }, fallback: undefined, audit: false }, found);
  return found.map((problem) => formatProblem(problem).replace(/^: /, ""));
}

const inPolicy = (over: object): string[] => problems({ version: 1, ...over });
const inRule = (over: object): string[] => inPolicy({ rules: [{ allow: "a.example", ...over }] });

const RULE_NAME = "letters, digits, blanks and . _ - : * / @";
const TARGET = "a target such as packages.example.com, *.example.com:443,8443 or 10.20.0.0/16:5432";
const TARGETS = `${TARGET}, a list of them, or {file: PATH}`;
const PROXY = "a proxy such as socks5://127.0.0.1:1080 or http://127.0.0.1:3128";
const OCTETS = "octets such as 500MB or 2GiB";
const RATE = "octets a second such as 10MB/s or 512KiB/s";
const CONNECTIONS = "a number of TCP connections from 1 on";
const FLOWS = "flows a second, such as 20/s";
const QUESTIONS = "questions a second, such as 20/s";
const WITHIN = "a time up to 120s, such as 60s";
const GRACE = "a time such as 60s or 5m";

describe("a rule's member", () => {
  it.each<[string, unknown[], [unknown, string][]]>([
    [
      "name",
      ["a", "x".repeat(64), "A9 ._-:*/@"],
      [
        ["", RULE_NAME],
        ["é", RULE_NAME],
        ["a\n", RULE_NAME],
        ["(a", RULE_NAME],
        ["a)", RULE_NAME],
        ["x".repeat(65), "at most 64 characters"],
        [1, "a name for the rule"],
      ],
    ],
    ["private", [true, false], [["yes", "true or false"]]],
    ["check", ["tls", "http", "none"], [["ssl", "tls, http or none"]]],
    [
      "message",
      ["", "x".repeat(200), "é ~"],
      [
        ["x".repeat(201), "at most 200 characters"],
        ["a\nb", "text in one line"],
        ["\u0000", "text in one line"],
        ["a\u001f", "text in one line"],
        ["\u007fa", "text in one line"],
        [1, "text of at most 200 characters in one line"],
      ],
    ],
    ["to", ["127.0.0.1:1", "unix:/run/x"], [[1, "ADDRESS:PORT or unix:PATH"]]],
    ["via", ["http://127.0.0.1:1"], [[1, PROXY]]],
    ["limit", [{}], [[1, "rate, bytes, connections or new"]]],
  ])("%s", (key, right, wrong) => {
    for (const value of right) expect([value, inRule({ [key]: value })]).toEqual([value, []]);
    for (const [value, allowed] of wrong)
      expect(inRule({ [key]: value })).toEqual([expect.stringContaining(`allowed: ${allowed}`)]);
  });

  it.each<[string, unknown[], [unknown, string][]]>([
    [
      "rate",
      ["1B/s", "999999999B/s", "1kB/s", "1MB/s", "1GB/s", "1KiB/s", "1MiB/s", "1GiB/s"],
      ["1MB", "0MB/s", "01MB/s", "1000000000B/s", "1mB/s", "x1MB/s", "1MB/sx", "MB/s", "1/s", 1].map(
        (value) => [value, RATE],
      ),
    ],
    [
      "bytes",
      ["1B", "999999999B", "1kB", "1MB", "1GB", "1KiB", "1MiB", "1GiB"],
      ["1MB/s", "0MB", "01MB", "1000000000B", "1mB", "x1MB", "1MBx", "MB", "1", 1].map((value) => [
        value,
        OCTETS,
      ]),
    ],
    ["connections", [1, 1_000_000], [0, -1, 1.5, "1"].map((value) => [value, CONNECTIONS])],
    [
      "new",
      ["1/s", "20/s", "9999999/s"],
      ["0/s", "01/s", "10000000/s", "1", "/s", "x1/s", "1/sx", 1].map((value) => [value, FLOWS]),
    ],
  ])("limit.%s", (key, right, wrong) => {
    for (const value of right) expect([value, inRule({ limit: { [key]: value } })]).toEqual([value, []]);
    for (const [value, allowed] of wrong) {
      const found = typeof value === "string" ? value : JSON.stringify(value);
      expect(inRule({ limit: { [key]: value } })).toEqual([
        `rules[0].limit.${key}: found "${found}"; allowed: ${allowed}`,
      ]);
    }
  });

  it("within", () => {
    const inAsk = (within: unknown): string[] => inPolicy({ rules: [{ ask: "a.example", within }] });
    for (const within of ["1s", "1000ms", "2m", "120s", "120000ms"]) expect(inAsk(within)).toEqual([]);
    for (const within of ["999ms", "0s", "121s", "120001ms", "3m"])
      expect(inAsk(within)).toEqual([`rules[0].within: found "${within}"; allowed: a time from 1s to 120s`]);
    for (const within of ["60", "1w", "x1s", "1sx"])
      expect(inAsk(within)).toEqual([`rules[0].within: found "${within}"; allowed: ${WITHIN}`]);
    expect(inAsk(60)).toEqual([`rules[0].within: found "60"; allowed: ${WITHIN}`]);
    expect(inRule({ within: "60s" })).toEqual(["rules[0].within: allowed: within only with ask"]);
    expect(inRule({ within: "121s" })).toEqual([
      "rules[0].within: allowed: within only with ask",
      'rules[0].within: found "121s"; allowed: a time from 1s to 120s',
    ]);
  });

  it("allow, deny and ask", () => {
    const inVerdict = (verdict: string, said: unknown): string[] =>
      inPolicy({ rules: [{ [verdict]: said }] });
    for (const verdict of ["allow", "deny", "ask"]) {
      expect(inVerdict(verdict, "a.example")).toEqual([]);
      expect(inVerdict(verdict, ["a.example", "b.example"])).toEqual([]);
      expect(inVerdict(verdict, [])).toEqual([
        `rules[0].${verdict}: found "[]"; allowed: at least one target`,
      ]);
      expect(inVerdict(verdict, 1)).toEqual([`rules[0].${verdict}: found "1"; allowed: ${TARGETS}`]);
      expect(inVerdict(verdict, ["a.example", 1])).toEqual([
        `rules[0].${verdict}: found ${JSON.stringify('["a.example",1]')}; allowed: ${TARGETS}`,
      ]);
      expect(inVerdict(verdict, { file: 1 })).toEqual([
        `rules[0].${verdict}: found ${JSON.stringify('{"file":1}')}; allowed: ${TARGETS}`,
      ]);
      expect(inVerdict(verdict, { fill: "x" })).toEqual([
        expect.stringMatching(new RegExp(`^rules\\[0\\]\\.${verdict}`)),
      ]);
    }
    expect(inPolicy({ rules: [{ name: "x" }] })).toEqual(["rules[0]: allowed: one of allow, deny and ask"]);
    expect(inPolicy({ rules: [{ allow: "a.example", ask: "b.example" }] })).toEqual([
      "rules[0]: allowed: one of allow, deny and ask",
    ]);
    expect(inPolicy({ rules: [1] })).toEqual([
      expect.stringContaining('rules[0]: found "1"; allowed: a rule: allow, deny or ask, and what it is for'),
      "rules[0]: allowed: one of allow, deny and ask",
    ]);
  });

  it("of no use with deny is refused there", () => {
    const denied = (over: object): string[] => inPolicy({ rules: [{ deny: "a.example", ...over }] });
    expect(denied({ private: false })).toEqual([
      "rules[0].private: allowed: private only with allow and ask",
    ]);
    expect(denied({ check: "none" })).toEqual(["rules[0].check: allowed: check only with allow and ask"]);
    expect(denied({ limit: {} })).toEqual(["rules[0].limit: allowed: limit only with allow"]);
    expect(denied({ within: "60s" })).toEqual(["rules[0].within: allowed: within only with ask"]);
    expect(denied({ to: "127.0.0.1:1" })).toEqual(["rules[0].to: allowed: to only with allow"]);
    expect(denied({ via: "http://127.0.0.1:1" })).toEqual(["rules[0].via: allowed: via only with allow"]);
    expect(denied({ message: "no", name: "x" })).toEqual([]);
    expect(inPolicy({ rules: [{ ask: "a.example", private: true, check: "tls", limit: {} }] })).toEqual([]);
    expect(inPolicy({ rules: [{ ask: "a.example", to: "127.0.0.1:1" }] })).toHaveLength(1);
  });
});

describe("a policy's member", () => {
  it.each<[string, unknown[], [unknown, string][]]>([
    [
      "version",
      [1],
      [
        [2, "1"],
        ["1", "1"],
      ],
    ],
    ["$schema", ["x"], [[1, "the schema's address"]]],
    ["default", ["deny", "allow", "ask"], [["drop", "deny, allow or ask"]]],
    ["mode", ["enforce", "audit"], [["test", "enforce or audit"]]],
    ["rules", [[]], [[{}, "a list of rules"]]],
    ["answers", ["nxdomain", "refused", "explain"], [["drop", "nxdomain, refused or explain"]]],
    ["ech", ["allow", "refuse"], [["deny", "allow or refuse"]]],
    ["unattended", ["wait", "deny"], [["allow", "wait or deny"]]],
    [
      "pin-grace",
      ["0s", "5m", "999999d"],
      [
        [60, GRACE],
        ["60", GRACE],
        ["x1s", GRACE],
        ["1sx", GRACE],
        ["1000000s", GRACE],
      ],
    ],
    ["message", ["ask me"], [["a\nb", "text in one line"]]],
    ["via", ["http://127.0.0.1:1"], [[1, PROXY]]],
    ["stand-ins", ["198.19.0.0/16"], [[1, "an IPv4 network such as 198.19.0.0/16"]]],
    [
      "limit",
      [{}, { new: "1/s" }, { dns: "1/s", new: "2/s" }],
      [
        [{ new: "0/s" }, FLOWS],
        [{ dns: "0/s" }, QUESTIONS],
        [{ dns: 1 }, QUESTIONS],
        [1, "new or dns"],
      ],
    ],
    [
      "tests",
      [[]],
      [
        [{}, "a list of tests"],
        [[1], "a test: flow and expect"],
        [
          [{ flow: 1, expect: "denied" }],
          "a flow such as packages.example.com, 203.0.113.9:443 or ntp.example.net:123/udp",
        ],
        [[{ flow: "a.example", expect: "no" }], "allowed, denied or asked"],
        [[{ flow: "a.example", expect: "denied", rule: 1 }], "the name of a rule"],
      ],
    ],
  ])("%s", (key, right, wrong) => {
    for (const value of right) expect([value, inPolicy({ [key]: value })]).toEqual([value, []]);
    for (const [value, allowed] of wrong) {
      const [first = "", ...more] = inPolicy({ [key]: value });
      expect(first.endsWith(`allowed: ${allowed}`), first).toBe(true);
      expect(more).toEqual([]);
    }
  });

  it("rules, 1024 at most", () => {
    const rules = Array.from({ length: 1025 }, () => ({ deny: "a.example" }));
    expect(inPolicy({ rules: rules.slice(1) })).toEqual([]);
    const [first = "", ...more] = inPolicy({ rules });
    expect([first.slice(0, 13), first.slice(-33)]).toEqual([
      "rules: found ",
      '..."; allowed: at most 1024 rules',
    ]);
    expect(more).toEqual([]);
  });

  it("is missing where there must be one", () => {
    expect(problems({})).toEqual(["version: allowed: 1"]);
    expect(inPolicy({ tests: [{}] })).toEqual([
      "tests[0].flow: allowed: a flow such as packages.example.com, 203.0.113.9:443 or ntp.example.net:123/udp",
      "tests[0].expect: allowed: allowed, denied or asked",
    ]);
    expect(problems(1)).toEqual([
      'found "1"; allowed: a policy: version, rules and what else there is to say',
    ]);
    expect(problems(null)).toEqual([
      'found "null"; allowed: a policy: version, rules and what else there is to say',
    ]);
  });
});

describe("a member that there is not", () => {
  const POLICY =
    "version, default, mode, rules, answers, ech, pin-grace, unattended, message, via, stand-ins, limit or tests";
  const RULE = "allow, deny, ask, name, private, check, message, within, to, proxy-protocol, via or limit";

  it.each<[object, string]>([
    [{ defualt: "deny" }, `found "defualt"; allowed: ${POLICY}; did you mean default?`],
    [{ zzzzzzzz: 1 }, `found "zzzzzzzz"; allowed: ${POLICY}`],
    [{ limit: { nwe: "1/s" } }, 'limit: found "nwe"; allowed: new or dns; did you mean new?'],
    [{ limit: { something: "1/s" } }, 'limit: found "something"; allowed: new or dns'],
    [
      { rules: [{ allow: "a.example", limit: { byte: "1MB" } }] },
      'rules[0].limit: found "byte"; allowed: rate, bytes, connections or new; did you mean bytes?',
    ],
    [
      { rules: [{ allow: "a.example", mesage: "x" }] },
      `rules[0]: found "mesage"; allowed: ${RULE}; did you mean message?`,
    ],
    [
      { rules: [{ allow: "a.example" }, { deny: "a.example", somewhat: "x" }] },
      `rules[1]: found "somewhat"; allowed: ${RULE}`,
    ],
    [
      { tests: [{ flow: "a.example", expect: "denied", rul: "x" }] },
      'tests[0]: found "rul"; allowed: flow, expect or rule; did you mean rule?',
    ],
    [
      { tests: [{ flow: "a.example", expect: "denied", whatever: "x" }] },
      'tests[0]: found "whatever"; allowed: flow, expect or rule',
    ],
    [
      { rules: [{ allow: { file: "/dev/null", fiel: "x" } }] },
      'rules[0].allow: found "fiel"; allowed: file; did you mean file?',
    ],
  ])("%j", (over, problem) => {
    expect(inPolicy(over)).toEqual([problem]);
  });

  it("is told for each", () => {
    expect(inPolicy({ zzzzzzzz: 1, yyyyyyyy: 2 }).map((line) => line.slice(0, 16))).toEqual([
      'found "zzzzzzzz"',
      'found "yyyyyyyy"',
    ]);
  });
});

it("a rule's name is one that a file can say", () => {
  expect(["a", "x".repeat(64), "a b: c/d@e.*_-"].map(isRuleName)).toEqual([true, true, true]);
  expect(["", "x".repeat(65), "--allow [::1]", "é"].map(isRuleName)).toEqual([false, false, false, false]);
});
