/** An answer that is kept in the policy's file. */
import { describe, expect, it } from "vitest";
import { withAnswer } from "../../../src/config/policy/save-answer.ts";
import { formatProblem, type Problem } from "../../../src/config/problem.ts";

type Target = Parameters<typeof withAnswer>[0]["target"];

function save(
  text: string,
  target: Partial<Target> = {},
  verdict: "allow" | "deny" = "allow",
): [text: string | undefined, problems: string[]] {
  const problems: Problem[] = [];
  const wanted = { host: "www.example", port: 443, protocol: "tcp", ...target } as const;
  return [
    withAnswer({ target: wanted, verdict, label: "policy.yaml", text }, problems),
    problems.map(formatProblem),
  ];
}

const POLICY = `version: 1
# What this is for.
default: deny
rules:
  - { name: first, allow: first.example } # as ever
  # People decide.
  - name: people
    ask: ["*.example", "*.example:53/udp", "*.example:443/quic", "2001:db8::/32"]
    private: true
    within: 30s
    message: ask somebody
    limit: { connections: 4 }
  - deny: "*"
`.replace('"2001:db8::/32"', '"[2001:db8::/32]:22"');

describe("an answer that is saved", () => {
  it("P22 is a rule in front of the one that asks, as that one is, and comments stay", () => {
    const [text, problems] = save(POLICY);
    expect(problems).toEqual([]);
    const rule = ["  - allow: www.example:443", "    private: true", "    limit:", "      connections: 4"];
    expect(text).toBe(POLICY.replace("  # People decide.\n", `${rule.join("\n")}\n  # People decide.\n`));
    // It is decided by then.
    expect(save(text ?? "")).toEqual([
      undefined,
      ['policy.yaml: found "www.example:443 allowed by rule rule-2"; allowed: a policy that asks about it'],
    ]);
  });

  it.each([
    [{ protocol: "udp", port: 53 }, "allow", "allow: www.example:53/udp"],
    [{ protocol: "udp" }, "allow", "allow: www.example:443/quic"],
    [{ host: "2001:db8::1", port: 22 }, "allow", 'allow: "[2001:db8::1]:22"'],
    [{}, "deny", "deny: www.example:443\n  "],
  ] as const)("P22 of %j says %s", (target, verdict, rule) => {
    const [text, problems] = save(POLICY, target, verdict);
    expect(problems).toEqual([]);
    expect(text).toContain(`as ever\n  - ${rule}`);
  });

  it("P22 stands at the end where the default asks, and alone where there are no rules", () => {
    expect(save("default: ask\nversion: 1\nrules:\n  - deny: a.example\n")).toEqual([
      "default: ask\nversion: 1\nrules:\n  - deny: a.example\n  - allow: www.example:443\n",
      [],
    ]);
    expect(save("version: 1\ndefault: ask\nrules: [deny: a.example] # one\n")).toEqual([
      "version: 1\ndefault: ask\nrules: [ { deny: a.example }, { allow: www.example:443 } ] # one\n",
      [],
    ]);
    expect(save("default: ask\nrules:\n- deny: a.example # last\n\nversion: 1")).toEqual([
      "default: ask\nrules:\n- deny: a.example # last\n- allow: www.example:443\n\nversion: 1",
      [],
    ]);
    expect(save("version: 1\ndefault: ask\nrules:\n- deny: a.example")).toEqual([
      "version: 1\ndefault: ask\nrules:\n- deny: a.example\n- allow: www.example:443\n",
      [],
    ]);
    expect(save("version: 1\ndefault: ask\n")).toEqual([
      "version: 1\ndefault: ask\nrules:\n  - allow: www.example:443\n",
      [],
    ]);
  });

  it("P22 in JSON is JSON", () => {
    const [text] = save(JSON.stringify({ version: 1, rules: [{ ask: "*" }] }));
    expect(JSON.parse(text ?? "")).toEqual({
      version: 1,
      rules: [{ allow: "www.example:443" }, { ask: "*" }],
    });
  });

  it("P22 is none where the file is no policy, does not ask, or its tests would fail", () => {
    expect(save("version: 1\nrules: 3\n")).toEqual([
      undefined,
      [expect.stringContaining("policy.yaml:2:8: rules: ")],
    ]);
    expect(save("version: 1\nrules: []\n")[1]).toEqual([
      'policy.yaml: found "www.example:443 denied by default"; allowed: a policy that asks about it',
    ]);
    const tested =
      'version: 1\nrules:\n  - ask: "*"\ntests:\n  - { flow: www.example, expect: allowed, rule: rule-1 }\n';
    expect(save(tested)).toEqual([undefined, [expect.stringContaining("tests[0]: ")]]);
    const asks = tested.replace("allowed, rule: rule-1", "asked");
    expect(save(asks)).toEqual([undefined, [expect.stringContaining("tests[0]: ")]]);
    expect(save(asks, { host: "other.example" })[1]).toEqual([]);
  });

  it.each<[string, string, string]>([
    [
      "in front of what is said above the rule that asks",
      'rules:\n  - deny: a.example\n\n  # One.\n  # Two.\n  - ask: "*"\nversion: 1\n',
      'rules:\n  - deny: a.example\n\n  - allow: www.example:443\n  # One.\n  # Two.\n  - ask: "*"\nversion: 1\n',
    ],
    [
      "behind a comment that a blank line is under",
      'rules:\n  # All.\n\n  - ask: "*"\nversion: 1\n',
      'rules:\n  # All.\n\n  - allow: www.example:443\n  - ask: "*"\nversion: 1\n',
    ],
    [
      "in front of the first rule",
      'version: 1\nrules:\n- ask: "*"\n- deny: a.example\n',
      'version: 1\nrules:\n- allow: www.example:443\n- ask: "*"\n- deny: a.example\n',
    ],
    [
      "as far in as the others",
      'version: 1\nrules:\n      - ask: "*"\n        private: true\n',
      'version: 1\nrules:\n      - allow: www.example:443\n        private: true\n      - ask: "*"\n        private: true\n',
    ],
    [
      "with blanks behind the hyphen as they were",
      'version: 1\nrules:\n-   ask: "*"\n',
      'version: 1\nrules:\n- allow: www.example:443\n-   ask: "*"\n',
    ],
    [
      "in the list where that is in one line",
      'version: 1\nrules: [ask: "*", deny: a.example]\n',
      'version: 1\nrules: [ { allow: www.example:443 }, { ask: "*" }, { deny: a.example } ]\n',
    ],
    [
      "in the list where a rule does not begin beside its hyphen",
      'version: 1\nrules:\n  -\n    ask: "*"\n',
      'version: 1\nrules:\n  - allow: www.example:443\n  - ask: "*"\n',
    ],
    [
      "in the list where a rule has a tag",
      'version: 1\nrules:\n  - !!map {ask: "*"}\n',
      'version: 1\nrules:\n  - allow: www.example:443\n  - !!map { ask: "*" }\n',
    ],
    [
      "as a list where there is an empty one",
      "version: 1\ndefault: ask\nrules: []\n",
      "version: 1\ndefault: ask\nrules: [ { allow: www.example:443 } ]\n",
    ],
  ])("P22 is %s", (_what, before, expected) => {
    expect(save(before)).toEqual([expected, []]);
  });

  it("P22 has of the rule that asks what one that allows says too, and one that denies nothing", () => {
    const rule = 'version: 1\nrules:\n  - {ask: "*:443", name: x, check: none, message: m, within: 5s}\n';
    expect(save(rule)[0]).toContain("rules:\n  - allow: www.example:443\n    check: none\n  - {ask:");
    expect(save(rule, {}, "deny")[0]).toContain("rules:\n  - deny: www.example:443\n  - {ask:");
  });

  it("P22 keeps a text that is JSON in two columns, and one that is not as YAML", () => {
    const value = { version: 1, default: "ask" };
    expect(save(JSON.stringify(value))).toEqual([
      `${JSON.stringify({ ...value, rules: [{ allow: "www.example:443" }] }, null, 2)}\n`,
      [],
    ]);
    expect(save("{version: 1, default: ask}\n")[0]).toBe(
      "{ version: 1, default: ask, rules: [ { allow: www.example:443 } ] }\n",
    );
    const long = "x ".repeat(60).trim();
    expect(save(`version: 1\nmessage: ${long}\ndefault: ask\n`)[0]).toContain(`message: ${long}\n`);
  });

  it("P22 of UDP is QUIC where that is asked about, and UDP where both are", () => {
    const ask = (text: string): string => `version: 1\nrules:\n  - ask: ${text}\n`;
    const udp = { protocol: "udp" } as const;
    expect(save(ask('"*:443/quic"'), udp)[0]).toContain("allow: www.example:443/quic\n");
    expect(save(ask('["*:443/quic", "*:443/udp"]'), udp)[0]).toContain("allow: www.example:443/udp\n");
    expect(save(ask('"*"'), udp)).toEqual([
      undefined,
      ['policy.yaml: found "www.example:443/udp denied by default"; allowed: a policy that asks about it'],
    ]);
  });
});
