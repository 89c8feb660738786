/** Policies that are written by a program: of what was denied, and of one that holds. */
import { describe, expect, it } from "vitest";
import { readPolicy } from "../../../src/config/policy/read.ts";
import { Revisions } from "../../../src/config/policy/revision.ts";
import { suggest, suggestionText, type Wanted } from "../../../src/config/policy/suggest.ts";
import { policyText } from "../../../src/config/policy/text.ts";
import { deniedInFlowLog } from "../../../src/control/flow-log/denied.ts";
import type { PolicyConfig } from "../../../src/engine/config.ts";
import { policyOf } from "../../support/policy-rig.ts";

function denied(target: string, count: number, over: Partial<Wanted> = {}): Wanted {
  const [, host = "", port = "0", protocol] = /^(.*?)(?::(\d+))?(?:\/(udp|dns))?$/.exec(target) ?? [];
  const usual = protocol ?? "tcp";
  return {
    host,
    port: Number(port),
    protocol: usual as Wanted["protocol"],
    reason: "policy-no-rule",
    rule: null,
    count,
    isPrivate: false,
    ...over,
  };
}

function read(text: string): PolicyConfig | undefined {
  const source = { label: "policy.yaml", text };
  return readPolicy({ flags: [], source, fallback: undefined, audit: false }, [])?.config;
}

describe("C9 a suggestion", () => {
  it("has a rule a host, its ports together, the narrowest first, with its count", () => {
    const wanted = [
      denied("a.files.example:443", 5),
      denied("b.files.example:443", 4),
      denied("c.files.example:443", 1),
      denied("git.example.net:443", 1),
      denied("git.example.net:22", 13),
      denied("time.example.net:123/udp", 2),
      denied("video.example.net:443/udp", 2, { reason: "policy-name-mismatch" }),
      denied("203.0.113.9:5432", 3),
      denied("", 1, { host: "2001:db8::1", port: 443 }),
      denied("asked.example/dns", 7),
      denied("git.example.net/dns", 1),
      denied("db.corp.example:5432", 1, { reason: "policy-name-private", isPrivate: true }),
    ];
    expect(suggestionText(suggest(wanted), null)).toBe(`version: 1
default: deny
rules:
  - allow: git.example.net:22,443 # 15 times
  - allow: asked.example # 7 times; asked for only: port 443 is a guess
  - allow: 203.0.113.9:5432 # 3 times
  - allow: time.example.net:123/udp # 2 times
  - allow: video.example.net:443/quic # 2 times
  - allow: "[2001:db8::1]:443" # once
  - allow: db.corp.example:5432 # once
    private: true
  - allow: "*.files.example" # 10 times; 3 names: a.files.example, b.files.example, c.files.example
`);
  });

  it("has no wildcard for two names, for names wanted on other ports, or over a suffix where anybody can have a name", () => {
    const two = ["a.x.example:443", "b.x.example:443"];
    const apart = ["a.y.example:443", "b.y.example:22", "c.y.example:80"];
    const hosted = ["a.github.io:443", "b.github.io:443", "c.github.io:443"];
    const country = ["a.co.uk:443", "b.co.uk:443", "c.co.uk:443"];
    const top = ["a.example:443", "b.example:443", "c.example:443"];
    const { rules } = suggest(
      [...two, ...apart, ...hosted, ...country, ...top].map((each) => denied(each, 1)),
    );
    expect(rules.flatMap(({ allow }) => allow).filter((target) => target.startsWith("*"))).toEqual([]);
    expect(rules.length).toBe(14);
  });

  it("tells of what a rule denies, and of what none could allow, and suggests nothing for it", () => {
    const { rules, others } = suggest([
      denied("ads.example:443", 3, { reason: "policy-denied", rule: "no ads" }),
      denied("169.254.169.254:80", 1, { reason: "destination-refused" }),
      denied("ech.example:443", 1, { reason: "policy-ech" }),
      denied("/dns", 1, { reason: "policy-name-malformed" }),
    ]);
    expect(rules).toEqual([]);
    expect(others).toEqual([
      "ads.example:443: rule no ads denies it",
      "169.254.169.254:80: no rule can allow it (destination-refused)",
      "ech.example:443: ech: allow would let it through",
      ": it had no name that could be read",
    ]);
    const text = suggestionText({ rules, others }, null);
    expect(read(text)?.rules).toEqual([]);
  });

  it("stands in front of the rules there are, and is a policy that enforces", () => {
    const policy = policyOf({
      mode: "audit",
      message: "ask",
      rules: [{ name: "packages", allow: "packages.example" }, { deny: "ads.example" }],
    });
    const text = suggestionText(suggest([denied("new.example:443", 1)]), policy);
    const config = read(text);
    expect(config?.audit).toBe(false);
    expect(config?.rules.map(({ name, verdict }) => `${verdict} ${name}`)).toEqual([
      "allow rule-1",
      "allow packages",
      "deny rule-2",
    ]);
    expect(text).toContain("# What the policy has already:\n");
  });

  it("has of each protocol a target, with its ports in order", () => {
    const of = (...wanted: Wanted[]) => suggest(wanted).rules.map(({ allow }) => allow);
    const tcp = (target: string) => denied(target, 1);
    expect(of(tcp("a.example:443"))).toEqual([["a.example"]]);
    expect(of(tcp("a.example:80"))).toEqual([["a.example:80"]]);
    expect(of(tcp("a.example:443"), tcp("a.example:80"), tcp("a.example:9"))).toEqual([
      ["a.example:9,80,443"],
    ]);
    expect(of(tcp("a.example:443"), tcp("a.example:443/udp"), tcp("a.example:53/udp"))).toEqual([
      ["a.example", "a.example:53/udp", "a.example:443/quic"],
    ]);
    const mismatch = { reason: "policy-name-mismatch" };
    expect(of(denied("a.example:8443/udp", 1, mismatch), denied("a.example:9443/udp", 1, mismatch))).toEqual([
      ["a.example:8443,9443/quic"],
    ]);
    expect(of(denied("a.example:8443", 1, mismatch))).toEqual([["a.example:8443"]]);
    expect(of(tcp("a.example:443"), tcp("a.example:443/udp"))).toEqual([["a.example", "a.example:443/quic"]]);
    expect(of(tcp("a.example:22"), tcp("a.example:53/udp"))).toEqual([["a.example:22", "a.example:53/udp"]]);
    expect(of(tcp("srv.site9:443"))).toEqual([["srv.site9"]]);
    // Addresses show no names.
    expect(of(tcp("203.0.113.9:443"))).toEqual([["203.0.113.9:443"]]);
    expect(of(tcp("203.0.113.9:443/udp"))).toEqual([["203.0.113.9:443/udp"]]);
    expect(of(denied("", 1, { host: "2001:db8::1", port: 443, protocol: "udp" }))).toEqual([
      ["[2001:db8::1]:443/udp"],
    ]);
    expect(of(tcp("203.0.113.9.example:443/udp"))).toEqual([["203.0.113.9.example:443/quic"]]);
    expect(of(tcp("a.example/dns"), tcp("a.example:53/udp"))).toEqual([["a.example:53/udp"]]);
    expect(of(tcp("a.example/dns"), tcp("a.example:443/udp"))).toEqual([["a.example:443/quic"]]);
  });

  it("says what else there is to say, and counts", () => {
    const [asked] = suggest([denied("a.example/dns", 2), denied("a.example/dns", 3)]).rules;
    expect(asked).toEqual({
      allow: ["a.example"],
      private: false,
      count: 5,
      note: "asked for only: port 443 is a guess",
    });
    for (const reason of ["policy-name-missing", "policy-name-malformed"])
      expect(suggest([denied("203.0.113.9:443", 1, { reason }), denied("203.0.113.9:443", 1)]).rules).toEqual(
        [
          {
            allow: ["203.0.113.9:443"],
            private: false,
            count: 2,
            note: "it showed no name: whoever is at this address",
          },
        ],
      );
    const both = [denied("a.example:22", 1), denied("a.example:53/udp", 1)];
    expect(suggest(both).rules).toStrictEqual([
      { allow: ["a.example:22", "a.example:53/udp"], private: false, count: 2 },
    ]);
    const shown = [denied("a.example:443", 1), denied("a.example:443/udp", 1)];
    expect(suggest(shown).rules).toStrictEqual([
      { allow: ["a.example", "a.example:443/quic"], private: false, count: 2 },
    ]);
    const isPrivate = { reason: "policy-name-private", isPrivate: true };
    expect(suggest([denied("a.example:443", 1), denied("a.example:443", 1, isPrivate)]).rules).toEqual([
      { allow: ["a.example"], private: true, count: 2 },
    ]);
  });

  it("tells why none is made, of each reason", () => {
    const others = (over: Partial<Wanted>, port = 443): readonly string[] =>
      suggest([{ ...denied("a.example", 1), port, ...over }]).others;
    expect(others({ reason: "policy-denied" })).toEqual(["a.example:443: a rule denies it"]);
    expect(others({ reason: "policy-denied", rule: "r" }, 0)).toEqual(["a.example: rule r denies it"]);
    expect(others({ reason: "policy-resolver" }, 53)).toEqual(["a.example:53: it was no question"]);
    expect(others({ reason: "policy-peek-full" })).toEqual([
      "a.example:443: too many connections waited to show a name",
    ]);
    expect(others({ reason: "policy-quic-version" })).toEqual([
      "a.example:443: it was QUIC of a version whose names cannot be seen",
    ]);
    expect(others({ reason: "x-policy-no-rule" })).toEqual([
      "a.example:443: no rule can allow it (x-policy-no-rule)",
    ]);
    expect(others({ reason: "policy-no-rule" })).toEqual([]);
  });

  it("has a wildcard for three names of one parent that were wanted alike", () => {
    const wide = (...targets: (string | Wanted)[]) =>
      suggest(targets.map((each) => (typeof each === "string" ? denied(each, 1) : each)))
        .rules.map(({ allow }) => allow.join(" "))
        .filter((text) => text.startsWith("*"));
    const three = ["a.x.example", "b.x.example", "c.x.example"];
    expect(wide(...three.map((name) => `${name}:443`))).toEqual(["*.x.example"]);
    expect(wide(...three.map((name) => `${name}:22`))).toEqual(["*.x.example:22"]);
    expect(wide(...three.map((name) => `${name}:443/udp`))).toEqual(["*.x.example:443/quic"]);
    expect(wide(...three.map((name) => `${name}/dns`))).toEqual(["*.x.example"]);
    expect(wide(...three.slice(1).map((name) => `${name}:443`))).toEqual([]);
    expect(wide("a.y.x.example:443", "a.z.x.example:443", "b.x.example:443")).toEqual([]);
    expect(wide("203.0.113.1:443", "203.0.113.2:443", "203.0.113.3:443")).toEqual([]);
    expect(wide("1.0.113.9:443", "2.0.113.9:443", "3.0.113.9:443")).toEqual([]);
    const six = ["1", "2", "3"].map((last) => denied("", 1, { host: `2001:db8::${last}`, port: 443 }));
    expect(wide(...six)).toEqual([]);
    expect(wide("a:443", "b:443", "c:443")).toEqual([]);
    const apart = three.map((name, i) => denied(`${name}:443`, 1, { isPrivate: i === 0 }));
    expect(wide(...apart)).toEqual([]);
    const within = three.map((name) => denied(`${name}:443`, 1, { isPrivate: true }));
    expect(suggest(within).rules).toEqual([
      {
        allow: ["*.x.example"],
        private: true,
        count: 3,
        note: "3 names: a.x.example, b.x.example, c.x.example",
      },
    ]);
  });

  it("has no wildcard over a suffix of two short labels, and has one over longer ones", () => {
    const wide = (parent: string): boolean =>
      suggest(["a", "b", "c"].map((label) => denied(`${label}.${parent}:443`, 1))).rules.some(({ allow }) =>
        allow[0]?.startsWith("*"),
      );
    expect(["co.uk", "com.au", "github.io", "x.github.io"].map(wide)).toEqual([false, false, false, false]);
    expect(["org.example", "corp.uk", "x.co.uk", "com.example", "a.uk", "c0.uk"].map(wide)).toEqual([
      ...[true, true, true, true, true, true],
    ]);
  });

  it("stands by how often it was wanted, wildcards at the end", () => {
    const { rules } = suggest([
      ...["a", "b", "c"].map((label) => denied(`${label}.x.example:443`, 9)),
      ...["a", "b", "c"].map((label) => denied(`${label}.y.example:443`, 10)),
      denied("few.example:443", 1),
      denied("many.example:443", 3),
      denied("some.example:443", 2),
    ]);
    expect(rules.map(({ allow, count }) => `${allow} ${count}`)).toEqual([
      "many.example 3",
      "some.example 2",
      "few.example 1",
      "*.y.example 30",
      "*.x.example 27",
    ]);
  });

  it("as text has its targets, its notes and what no rule is made of", () => {
    const policy = policyOf({ rules: [{ name: "web", allow: "old.example" }] });
    const suggestions = {
      rules: [
        { allow: ["a.example", "a.example:53/udp"], private: true, count: 2, note: "x" },
        { allow: ["*.b.example"], private: false, count: 1 },
      ],
      others: ["c.example:443: why", "d.example: why not"],
    };
    const rules = `rules:
  - allow: [a.example, a.example:53/udp] # 2 times; x
    private: true
  - allow: "*.b.example" # once
`;
    const others = "# not suggested: c.example:443: why\n# not suggested: d.example: why not\n";
    const head = "version: 1\ndefault: deny\n";
    const had = "  # What the policy has already:\n  - name: web\n    allow: old.example\n";
    expect(suggestionText(suggestions, null)).toBe(`${head}${rules}${others}`);
    expect(suggestionText(suggestions, policy)).toBe(`${head}${rules}${had}${others}`);
    expect(suggestionText(suggestions, { ...policy, rules: [], default: "allow" })).toBe(
      `version: 1\ndefault: allow\n${rules}${others}`,
    );
    const nothing = { rules: [], others: [] };
    expect(suggestionText(nothing, null)).toBe(`${head}rules: []\n`);
    expect(suggestionText(nothing, policy)).toBe(`${head}rules:\n${had}`);
    expect(suggestionText(nothing, { ...policy, rules: [], audit: true })).toBe(`${head}rules: []\n`);
  });

  it("is made of a flow log, too: flows that were denied, and questions", () => {
    const base = { "@timestamp": "2026-11-28T08:00:00.000Z", ecs: { version: "9.0.0" } };
    const event = { kind: "event", category: ["network"], outcome: "failure" };
    const flow = {
      ...base,
      event: { ...event, type: ["connection", "denied"], action: "flow-denied", reason: "policy-no-rule" },
      network: { transport: "tcp", type: "ipv4", iana_number: "6", direction: "egress" },
      source: { ip: "10.0.2.15", port: 4000 },
      destination: { ip: "203.0.113.9", port: 443, domain: "named.example" },
      sluice: { instance: "x", times: 3 },
    };
    const question = {
      ...base,
      event: { ...event, type: ["protocol", "info"], action: "dns", duration: 1 },
      network: { transport: "udp", type: "ipv4", iana_number: "17", protocol: "dns" },
      source: { ip: "10.0.2.15", port: 4000 },
      dns: {
        type: "answer",
        question: { name: "evil.example", type: "A" },
        response_code: "NXDOMAIN",
        resolved_ip: [],
      },
      sluice: { instance: "x", answered_by: "sluice", ttl_s: 0 },
    };
    const answered = { ...question, sluice: { ...question.sluice, answered_by: "resolver" } };
    const text = [flow, flow, question, answered].map((line) => JSON.stringify(line)).join("\n");
    expect(deniedInFlowLog(`${text}\nnonsense\n`)).toMatchObject([
      { host: "named.example", port: 443, protocol: "tcp", count: 6 },
      { host: "evil.example", port: 0, protocol: "dns", count: 1 },
    ]);
  });
});

describe("a policy as text", () => {
  it("is read as what it was", () => {
    const config = policyOf({
      default: "allow",
      mode: "audit",
      answers: "refused",
      ech: "refuse",
      "pin-grace": "5s",
      message: "ask: your operator # really",
      rules: [
        {
          name: "a: b/c",
          allow: ["*.example", "x.example:22,80-90", "[2001:db8::/32]:443/udp"],
          private: true,
        },
        { deny: "@private", message: "no" },
        { allow: "y.example:25", check: "tls" },
        { allow: ["*", "@any", "10.0.0.0/8"] },
      ],
    });
    expect(read(policyText(config))).toEqual(config);
    const none = { ...config, rules: [] };
    expect(read(policyText(none))).toEqual(none);
  });

  it("has what is not usual, and nothing else", () => {
    const config = policyOf({ rules: [{ allow: "a.example" }] });
    const [rule] = config.rules;
    if (rule === undefined) throw new Error("no rule");
    const usual = "version: 1\ndefault: deny\nrules:\n  - name: rule-1\n    allow: a.example\n";
    expect(policyText(config)).toBe(usual);
    expect(policyText({ ...config, rules: [] })).toBe("version: 1\ndefault: deny\nrules: []\n");
    const head = (over: Partial<PolicyConfig>): string =>
      policyText({ ...config, ...over }).replace(/rules:[\s\S]*/, "");
    const start = "version: 1\ndefault: deny\n";
    expect(head({ audit: true })).toBe(`${start}mode: audit\n`);
    expect(head({ answers: "explain" })).toBe(`${start}answers: explain\n`);
    expect(head({ refuseEch: true })).toBe(`${start}ech: refuse\n`);
    expect(head({ refuseUnattended: true })).toBe(`${start}unattended: deny\n`);
    expect(head({ pinGraceMs: 1 })).toBe(`${start}pin-grace: 1ms\n`);
    expect(head({ message: "x" })).toBe(`${start}message: x\n`);
    const { standIns } = config;
    expect(head({ standIns: { ...standIns, prefixLength: 17 } })).toBe(`${start}stand-ins: 198.19.0.0/17\n`);
    expect(head({ standIns: { ...standIns, address: 0x0a000000 } })).toBe(`${start}stand-ins: 10.0.0.0/16\n`);
    const one = (over: Partial<typeof rule>): string =>
      policyText({ ...config, rules: [{ ...rule, ...over }] }).replace(/[\s\S]*rules:\n/, "");
    const first = "  - name: rule-1\n    allow: a.example\n";
    expect(one({ private: true })).toBe(`${first}    private: true\n`);
    expect(one({ check: "none" })).toBe(`${first}    check: none\n`);
    expect(one({ message: "x" })).toBe(`${first}    message: x\n`);
    expect(one({ verdict: "ask", withinMs: 5000 })).toBe(
      "  - name: rule-1\n    ask: a.example\n    within: 5s\n",
    );
    const long = `${"x ".repeat(60)}x`;
    expect(one({ message: long })).toBe(`${first}    message: ${long}\n`);
  });

  it("leaves out names of the command line's rules that no file could have", () => {
    const config = policyOf({ rules: [{ allow: "a.example" }] });
    const [rule] = config.rules;
    if (rule === undefined) throw new Error("no rule");
    const named = { ...config, rules: [{ ...rule, name: "--allow [2001:db8::1]:443,22" }] };
    expect(read(policyText(named))?.rules[0]?.name).toBe("rule-1");
  });
});

describe("revisions", () => {
  const config = (...targets: string[]): PolicyConfig =>
    policyOf({ rules: targets.map((target) => ({ name: target, allow: target })) });

  it("keep the numbers of rules that say the same, wherever they stand, and give none twice", () => {
    const revisions = new Revisions(config("a.example", "b.example", "b.example"));
    expect(revisions.current).toMatchObject({ generation: 1, ids: [1, 2, 3] });
    const change = revisions.next(config("c.example", "b.example", "a.example", "b.example"));
    expect(change).toMatchObject({ before: [-1, 1, 0, 2], added: ["c.example"], removed: [], kept: 3 });
    expect(revisions.current.generation).toBe(1);
    revisions.take(change);
    expect(revisions.current).toMatchObject({ generation: 2, ids: [4, 2, 1, 3] });
    const less = revisions.next(config("b.example"));
    expect(less).toMatchObject({ before: [1], added: [], removed: ["c.example", "a.example", "b.example"] });
    revisions.take(less);
    const again = revisions.next(config("b.example", "c.example"));
    expect(again.revision.ids).toEqual([2, 5]);
  });
});
