/** What is legal in a policy and yet not what it seems: each warning where it belongs, and nowhere else. */
import { describe, expect, it } from "vitest";
import { policyWarnings } from "../../../src/config/policy/warnings.ts";
import { policyOf } from "../../support/policy-rig.ts";

type Document = Exclude<Parameters<typeof policyOf>[0], string>;

/** Warnings, with the rule and target they are about in front. */
function warnings(...rules: NonNullable<Document["rules"]>): string[] {
  return ofPolicy({ rules });
}

function ofPolicy(document: Document): string[] {
  const lines = policyWarnings(policyOf(document), (rule, target) => `${rule}/${target ?? "-"}`);
  return lines.map((line) => line.replace(": warning: ", " "));
}

const COVERED = /never decides/;
/** Whether the second of two rules never decides. */
function covers(first: string | string[], second: string | string[]): boolean {
  return warnings({ deny: first }, { deny: second }).some((line) => COVERED.test(line));
}

describe("a rule that never decides", () => {
  it.each<[string | string[], string | string[]]>([
    ["a.example", "a.example"],
    ["*.example", "a.example"],
    ["*.example", "a.b.example"],
    ["*.example", "*.b.example"],
    ["*.example", "*.example"],
    ["*", "a.example"],
    ["*", "*.example"],
    ["*", "*"],
    ["@any", "10.0.0.1"],
    ["@any", "[2001:db8::/32]"],
    ["@any", "@public"],
    ["@any", "@any"],
    ["@public", "@public"],
    ["@private", "@private"],
    ["10.0.0.0/8", "10.1.0.0/16"],
    ["10.0.0.0/8", "10.0.0.0/8"],
    ["10.0.0.1", "10.0.0.1"],
    ["[2001:db8::/32]", "[2001:db8:1::/48]"],
    ["[2001:db8::/32]", "[2001:db8:ffff::1]"],
    ["[2001:db8:8000::/33]", "[2001:db8:ffff::1]"],
    ["[::/0]", "10.0.0.1"],
    ["0.0.0.0/0", "192.0.2.1"],
    ["a.example:1-100", "a.example:50"],
    ["a.example:1-100", "a.example:1-100"],
    ["a.example:1-100,200", "a.example:1,100,200"],
    ["a.example", "a.example:443"],
    ["a.example", "a.example/udp"],
    [["a.example", "b.example"], ["b.example"]],
    [
      ["a.example", "*.x", "10.0.0.0/8"],
      ["10.0.0.1", "y.x"],
    ],
  ])("%j covers %j", (first, second) => {
    expect(covers(first, second)).toBe(true);
  });

  it.each<[string | string[], string | string[]]>([
    ["a.example", "b.example"],
    ["a.example", "*.example"],
    ["a.example", "x.a.example"],
    ["*.example", "example"],
    ["*.example", "aexample"],
    ["*.b.example", "*.example"],
    ["*.b.example", "xb.example"],
    ["*.example", "*"],
    ["*", "10.0.0.1"],
    ["*", "@any"],
    ["@any", "a.example"],
    ["@any", "*"],
    ["@public", "@any"],
    ["@public", "@private"],
    ["@private", "@public"],
    ["@private", "10.0.0.1"],
    ["10.0.0.1", "@private"],
    ["10.1.0.0/16", "10.0.0.0/8"],
    ["10.0.0.0/9", "10.128.0.0/9"],
    ["10.0.0.0/9", "10.0.0.0/8"],
    ["10.0.0.0/9", "11.0.0.0/16"],
    ["[2001:db8:100::/40]", "[2001:db9:100::/48]"],
    ["a.example:1-100", "a.example:50,200"],
    ["10.0.0.1", "10.0.0.2"],
    ["11.0.0.0/8", "10.0.0.1"],
    ["[2001:db8::/32]", "[2001:db9::/48]"],
    ["[2001:db8::/33]", "[2001:db8:8000::/33]"],
    ["[2001:db8::1]", "[2001:db8::1:0:0:1]"],
    ["0.0.0.0/0", "[2001:db8::1]"],
    ["a.example:1-100", "a.example:101"],
    ["a.example:2-100", "a.example:1-50"],
    ["a.example:1-100", "a.example:50-101"],
    ["a.example:443", "a.example"],
    ["a.example/tcp", "a.example/udp"],
    ["a.example/udp", "a.example/tcp"],
    ["a.example/tcp", "a.example"],
    ["a.example/udp", "a.example"],
    [["a.example"], ["a.example", "b.example"]],
    [["b.example"], ["a.example", "b.example"]],
  ])("%j does not cover %j", (first, second) => {
    expect(covers(first, second)).toBe(false);
  });

  it("is told with the first that covers it, and the target of that which shows it", () => {
    const rules = [
      { deny: "x.example" },
      { deny: ["a.example:1-100", "*.b.example"] },
      { deny: "*" },
      { deny: ["c.b.example:1", "a.example:7"] },
    ];
    expect(ofPolicy({ default: "deny", rules })).toEqual([
      "3/- never decides: rules[1] (*.b.example) covers it",
    ]);
    // As a rule of that verdict has it written.
    expect(warnings({ allow: "a.example:443" }, { deny: "a.example:443" })).toEqual([
      "1/- never decides: rules[0] (a.example) covers it",
    ]);
    expect(warnings({ deny: "a.example:443" }, { allow: "a.example" })).toEqual([
      "1/- never decides: rules[0] (a.example:443) covers it",
    ]);
  });

  it("is none without targets, nor one that decides about private addresses", () => {
    const { rules, ...policy } = policyOf({ rules: [{ allow: "a.example" }] });
    const empty = rules.map((rule) => ({ ...rule, targets: [] }));
    expect(policyWarnings({ ...policy, rules: [...rules, ...empty] }, () => "")).toEqual([]);
    const names = (first: boolean, second: boolean): boolean =>
      warnings({ allow: "a.example", private: first }, { allow: "a.example", private: second }).some((line) =>
        COVERED.test(line),
      );
    expect([names(false, true), names(true, true), names(true, false), names(false, false)]).toEqual([
      false,
      true,
      true,
      true,
    ]);
    const behind = (verdict: "deny" | "ask"): boolean =>
      warnings({ [verdict]: "a.example" }, { allow: "a.example", private: true }).some((line) =>
        COVERED.test(line),
      );
    expect([behind("deny"), behind("ask")]).toEqual([true, true]);
    expect(
      warnings({ allow: "a.example" }, { ask: "a.example", private: true }).some((line) =>
        COVERED.test(line),
      ),
    ).toBe(true);
  });

  it("of QUIC is not covered by a rule that QUIC has to show nothing for, nor covers one", () => {
    const allowed = (first: string, second: string): boolean =>
      warnings({ allow: first }, { allow: second }).some((line) => COVERED.test(line));
    expect(allowed("a.example/quic", "a.example/quic")).toBe(true);
    expect(allowed("a.example/quic", "a.example:443/udp")).toBe(false);
    expect(allowed("a.example:443/udp", "a.example/quic")).toBe(true);
  });

  it("is looked for among 2000 targets at most", () => {
    const rules = (count: number) => [
      { deny: Array.from({ length: count - 1 }, (_, i) => `10.0.${i >> 8}.${i & 255}`) },
      { deny: "10.0.0.0" },
    ];
    expect(warnings(...rules(2000))).toEqual(["1/- never decides: rules[0] (10.0.0.0) covers it"]);
    expect(warnings(...rules(2001))).toEqual([]);
  });
});

describe("a target", () => {
  const servers = (name: string): string =>
    `0/0 the name servers of ${name} see every name that is asked for under it`;
  const known = (text: string, at = "0/0"): string =>
    `${at} ${text} is known by address only: others behind the same address can be reached`;
  const first = "0/0 of a plain HTTP connection only the first request is looked at";
  const resolver = (port: number): string =>
    `0/0 opens port ${port}: names asked for there are not seen, and no rule by name comes of them`;

  it("that is denied by name is no wall where all else is open", () => {
    const advice = (text: string): string =>
      `0/0 ${text} is advice, not a wall: an address typed by hand is not stopped`;
    expect(ofPolicy({ rules: [{ deny: ["a.example"] }] })).toEqual([advice("a.example")]);
    expect(ofPolicy({ rules: [{ deny: "*.example" }] })).toEqual([advice("*.example")]);
    expect(ofPolicy({ rules: [{ deny: "*:80" }] })).toEqual([advice("*:80")]);
    expect(ofPolicy({ default: "deny", rules: [{ deny: "a.example" }] })).toEqual([]);
    expect(ofPolicy({ default: "allow", rules: [{ deny: ["10.0.0.0/8", "@any", "@private:53"] }] })).toEqual(
      [],
    );
  });

  it("that is allowed by name and shows it has nothing said of it", () => {
    for (const allow of ["a.example", "*", "a.example:443,8443", "a.example/quic", "a.example:9/quic"])
      expect(warnings({ allow })).toEqual([]);
    for (const check of ["tls", "http"] as const)
      expect(warnings({ allow: "a.example:22", check })).toEqual(check === "tls" ? [] : [first]);
    expect(warnings({ allow: "a.example:80", check: "tls" })).toEqual([]);
  });

  it("that shows no name is known by its address only", () => {
    expect(warnings({ allow: "a.example:22" })).toEqual([known("a.example:22")]);
    expect(warnings({ allow: "a.example:443-444" })).toEqual([known("a.example:443-444")]);
    expect(warnings({ allow: "a.example:442,443" })).toEqual([known("a.example:442-443")]);
    expect(warnings({ allow: "a.example:443/udp" })).toEqual([known("a.example:443/udp")]);
    expect(warnings({ allow: "a.example", check: "none" })).toEqual([known("a.example")]);
    expect(warnings({ allow: "a.example:80", check: "none" })).toEqual([known("a.example:80")]);
    expect(warnings({ allow: "a.example:443/udp", check: "tls" })).toEqual([known("a.example:443/udp")]);
    expect(warnings({ ask: ["b.example", "a.example:22"] })).toEqual([known("a.example:22", "0/1")]);
  });

  it("of plain HTTP is looked at by the first request alone", () => {
    expect(warnings({ allow: "a.example:80" })).toEqual([first]);
    expect(warnings({ allow: "a.example:8080" })).toEqual([first]);
    expect(warnings({ allow: "a.example:80,443" })).toEqual([first]);
    expect(warnings({ allow: "a.example:80,22" })).toEqual([known("a.example:22,80"), first]);
    expect(warnings({ allow: "a.example:79-81" })).toEqual([known("a.example:79-81"), first]);
    expect(warnings({ allow: "a.example:80/udp" })).toEqual([known("a.example:80/udp")]);
    expect(warnings({ allow: "a.example:81-8079" })).toEqual([known("a.example:81-8079")]);
    expect(warnings({ allow: "a.example:22", check: "http" })).toEqual([first]);
  });

  it("that is any name under another is seen by name servers, or anybody's", () => {
    expect(warnings({ allow: "*.a.example" })).toEqual([servers("a.example")]);
    expect(warnings({ allow: "*.a.example:22" })).toEqual([servers("a.example"), known("*.a.example:22")]);
    expect(warnings({ allow: "*.github.io" })).toEqual(["0/0 anybody can have a name under github.io"]);
    expect(warnings({ allow: "me.github.io" })).toEqual([]);
  });

  it("that is an address opens a resolver's port", () => {
    expect(warnings({ allow: "10.0.0.1:53" })).toEqual([resolver(53)]);
    expect(warnings({ allow: "10.0.0.1:853/udp" })).toEqual([resolver(853)]);
    expect(warnings({ allow: "@public:50-53" })).toEqual([resolver(53)]);
    expect(warnings({ allow: "10.0.0.1:443" })).toEqual([]);
    // Who opens more than that, or all, knows it.
    expect(warnings({ allow: "10.0.0.1:53-54" })).toEqual([]);
    expect(warnings({ allow: "@any" })).toEqual([]);
    expect(warnings({ allow: "a.example:53" })).toEqual([known("a.example:53")]);
  });

  it("by a way out is no longer known by its address, and its UDP is refused", () => {
    const to = "127.0.0.1:1";
    const udp = (text: string): string => `0/0 UDP to ${text} is refused: to and via carry TCP alone`;
    expect(warnings({ allow: "10.0.0.0/8", to })).toEqual([udp("10.0.0.0/8")]);
    expect(warnings({ allow: "10.0.0.0/8:80", to })).toEqual([]);
    expect(warnings({ allow: "a.example:22", to })).toEqual([]);
    expect(warnings({ allow: "*.a.example", to })).toEqual([]);
    expect(warnings({ allow: "*.github.io", to })).toEqual(["0/0 anybody can have a name under github.io"]);
    expect(warnings({ allow: "a.example:80", to })).toEqual([first]);
    const via = "socks5://127.0.0.1:1";
    expect(ofPolicy({ via, rules: [{ allow: ["*.a.example", "a.example:22", "10.0.0.0/8"] }] })).toEqual([]);
  });
});
