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
