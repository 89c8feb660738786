/** The language of policies: what targets are, and how everything that is wrong is told. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { OptionSet } from "../../../src/config/option-set.ts";
import { parseFlow } from "../../../src/config/policy/flow.ts";
import { readPolicy } from "../../../src/config/policy/read.ts";
import { policyJsonSchema } from "../../../src/config/policy/schema.ts";
import { formatTarget, parseTarget } from "../../../src/config/policy/target.ts";
import { policyText } from "../../../src/config/policy/text.ts";
import { type HiddenPassword, passwordsOf, withoutPasswords } from "../../../src/config/policy/way.ts";
import { formatProblem, type Problem, type Unacceptable } from "../../../src/config/problem.ts";
import { OfflinePolicy } from "../../../src/engine/policy/offline.ts";
import { policyOf } from "../../support/policy-rig.ts";

function wrong(text: string): string[] {
  const problems: Problem[] = [];
  const source = { label: "policy.yaml", text };
  expect(readPolicy({ flags: [], source, fallback: undefined, audit: false }, problems)).toBeUndefined();
  return problems.map(formatProblem);
}

function warnings(text: string): readonly string[] {
  const source = { label: "policy.yaml", text };
  return readPolicy({ flags: [], source, fallback: undefined, audit: false }, [])?.warnings ?? [];
}

describe("P1 a target", () => {
  it.each([
    // Target, as it is printed, flows that match, flows that do not.
    [
      "good.example",
      "good.example",
      ["good.example", "good.example:443"],
      ["good.example:80", "good.example:443/udp", "a.good.example"],
    ],
    ["GOOD.Example.", "good.example", ["good.example"], ["good.example.evil.example"]],
    [
      "*.good.example",
      "*.good.example",
      ["a.good.example", "a.b.good.example"],
      ["good.example", "xgood.example"],
    ],
    ["*", "*", ["a.example", "x"], ["203.0.113.9:443"]],
    [
      "bücher.example",
      "xn--bcher-kva.example",
      ["xn--bcher-kva.example", "BÜCHER.example"],
      ["bucher.example"],
    ],
    ["_dmarc.good.example", "_dmarc.good.example", ["_dmarc.good.example"], ["dmarc.good.example"]],
    ["good.example:443,22", "good.example:22,443", ["good.example:22", "good.example"], ["good.example:23"]],
    ["good.example:8000-8010,8011", "good.example:8000-8011", ["good.example:8011"], ["good.example:8012"]],
    [
      "time.example:123/udp",
      "time.example:123/udp",
      ["time.example:123/udp"],
      ["time.example:123", "time.example:123/tcp"],
    ],
    [
      "good.example/quic",
      "good.example:443/quic",
      ["good.example/quic", "good.example:443/quic"],
      ["good.example", "good.example:443/udp", "good.example:444/quic"],
    ],
    [
      "*.good.example:8443/quic",
      "*.good.example:8443/quic",
      ["a.good.example:8443/quic"],
      ["good.example/quic"],
    ],
    ["good.example:443/udp", "good.example:443/udp", ["good.example/quic"], ["good.example"]],
    ["good.example:443/tcp", "good.example", ["good.example:443/tcp"], ["good.example:443/udp"]],
    ["203.0.113.9", "203.0.113.9", ["203.0.113.9:1", "203.0.113.9:65535/udp"], ["203.0.113.10:1"]],
    [
      "203.0.113.0/24:5432",
      "203.0.113.0/24:5432",
      ["203.0.113.255:5432"],
      ["203.0.114.0:5432", "203.0.113.1:5432/udp"],
    ],
    ["203.0.113.0/24/udp", "203.0.113.0/24:1-65535/udp", ["203.0.113.1:9/udp"], ["203.0.113.1:9"]],
    [
      "[2001:db8::1]:443",
      "[2001:db8::1]:443",
      ["[2001:db8::1]:443"],
      ["[2001:db8::2]:443", "[2001:db8::1]:80"],
    ],
    ["[2001:db8::/32]", "[2001:db8::/32]", ["[2001:db8:ffff::1]:1"], ["[2001:db9::1]:1"]],
    ["0.0.0.0/0:80", "0.0.0.0/0:80", ["203.0.113.9:80", "10.1.1.1:80"], ["[2001:db8::1]:80"]],
    ["[::/0]:80", "[::/0]:80", ["[2001:db8::1]:80"], ["203.0.113.9:80"]],
    [
      "@public:80",
      "@public:80",
      ["203.0.113.9:80", "[2001:db8::1]:80"],
      ["10.1.1.1:80", "[fd00::1]:80", "100.64.0.1:80"],
    ],
    [
      "@private",
      "@private",
      ["10.1.1.1:80", "172.16.0.1:9/udp", "192.168.0.1:80", "[fd00::1]:80"],
      ["172.32.0.1:80"],
    ],
    ["@any:80", "@any:80", ["10.1.1.1:80", "203.0.113.9:80"], ["203.0.113.9:81"]],
  ] as const)("%s is %s and has its flows", (text, printed, matching, others) => {
    expect(formatTarget(parseTarget(text, "allow"), "allow")).toBe(printed);
    const policy = new OfflinePolicy(policyOf({ rules: [{ allow: text }] }));
    for (const flow of matching) expect(policy.judge(parseFlow(flow)).allowed, flow).toBe(true);
    for (const flow of others) expect(policy.judge(parseFlow(flow)).allowed, flow).toBe(false);
  });

  it("that is denied without ports is denied on all of them", () => {
    const policy = new OfflinePolicy(policyOf({ default: "allow", rules: [{ deny: "bad.example" }] }));
    for (const flow of ["bad.example", "bad.example:80", "bad.example:9/udp", "bad.example/quic"]) {
      expect(policy.judge(parseFlow(flow)), flow).toMatchObject({ allowed: false, reason: "policy-denied" });
    }
  });

  it.each([
    ["https://api.example.com/v1", "a host without scheme and path, such as api.example.com:443"],
    ["*.*.example.com", 'one leading "*." that stands for one or more labels, such as *.example.com'],
    ["a*.example.com", 'one leading "*." that stands for one or more labels, such as *.example.com'],
    ["2001:db8::1", "IPv6 addresses in brackets, such as [2001:db8::1]:443 or [2001:db8::/32]"],
    ["[::ffff:10.0.0.1]", "the IPv4 address itself, without ::ffff:"],
    ["10.0.0.1/8", "a network whose host part is zero: did you mean 10.0.0.0/8?"],
    ["good.example:0", "a port from 1 to 65535"],
    ["good.example:5-3", "a range that begins with its lower port"],
    ["good.example/sctp", "/tcp, /udp or /quic at the end"],
    ["203.0.113.9:443/quic", "a name in front of /quic, or /udp: QUIC shows names and no addresses"],
    ["time.example/udp", "ports before /udp, such as time.example.net:123/udp"],
    ["@all", "@public, @private or @any"],
    ["127.1", "an IPv4 address such as 203.0.113.9 or 203.0.113.0/24"],
    ["0x7f.0x1", "a name that does not end in a number, or an address of four numbers"],
    [
      "good..example",
      "a host name (labels of 1 to 63 letters, digits and hyphens), an address, @public, @private, @any or *",
    ],
    [
      "",
      "a host name (labels of 1 to 63 letters, digits and hyphens), an address, @public, @private, @any or *",
    ],
  ])("%j is none", (text, allowed) => {
    try {
      expect.unreachable(JSON.stringify(parseTarget(text, "allow")));
    } catch (error) {
      expect((error as Unacceptable).allowed).toBe(allowed);
    }
  });
});

describe("P2 what is wrong", () => {
  it("is told all at once, each with its place", () => {
    const found = wrong(`version: 1
rules:
  - deny: [telemetry.example.com]
  - name: packages
    allow: ["*.*.example.com", ok.example]
  - alow: x.example.com
  - allow: "https://api.example.com/v1"
  - allow: a.example
    deny: b.example
  - deny: b.example
    private: 1
  - allow: { file: /nonexistent/list }
    check: foo
tests:
  - { flow: "packages.example.com", expect: deny }
mode: enforced
`);
    expect(found).toEqual([
      'policy.yaml:5:13: rules[1].allow[0]: found "*.*.example.com"; allowed: one leading "*." that stands for one or more labels, such as *.example.com',
      'policy.yaml:6:5: rules[2]: found "alow"; allowed: allow, deny, ask, name, private, check, message, within, to, proxy-protocol, via or limit; did you mean allow?',
      'policy.yaml:7:12: rules[3].allow: found "https://api.example.com/v1"; allowed: a host without scheme and path, such as api.example.com:443',
      "policy.yaml:8:5: rules[4]: allowed: one of allow, deny and ask",
      'policy.yaml:11:14: rules[5].private: found "1"; allowed: true or false',
      'policy.yaml:13:12: rules[6].check: found "foo"; allowed: tls, http or none',
      'policy.yaml:15:45: tests[0].expect: found "deny"; allowed: allowed, denied or asked',
      'policy.yaml:16:7: mode: found "enforced"; allowed: enforce or audit',
    ]);
  });

  it.each([
    ["rules: []", "policy.yaml:1:1: version: allowed: 1"],
    ["version: 2", 'policy.yaml:1:10: version: found "2"; allowed: 1'],
    ["[1]", 'policy.yaml:1:1: found "[1]"; allowed: a policy: version, rules and what else there is to say'],
    ["version: 1\nrules: x", 'policy.yaml:2:8: rules: found "x"; allowed: a list of rules'],
    [
      "version: 1\nrule: []",
      'policy.yaml:2:1: found "rule"; allowed: version, default, mode, rules, answers, ech, pin-grace, unattended, message, via, stand-ins, limit or tests; did you mean rules?',
    ],
    [
      "version: 1\npin-grace: 60",
      'policy.yaml:2:12: pin-grace: found "60"; allowed: a time such as 60s or 5m',
    ],
    [
      "version: 1\nrules:\n  - allow: []",
      'policy.yaml:3:12: rules[0].allow: found "[]"; allowed: at least one target',
    ],
    [
      "version: 1\nrules:\n  - allow: a.example\n    too: 127.0.0.1:1",
      'policy.yaml:4:5: rules[0]: found "too"; allowed: allow, deny, ask, name, private, check, message, within, to, proxy-protocol, via or limit; did you mean to?',
    ],
    [
      "version: 1\nrules:\n  - allow: a.example\n    to: 127.0.0.1",
      'policy.yaml:4:9: rules[0].to: found "127.0.0.1"; allowed: ADDRESS:PORT or unix:PATH',
    ],
    [
      "version: 1\nrules:\n  - allow: a.example\n    to: proxy.example:80",
      'found "proxy.example:80"; allowed: ADDRESS:PORT or unix:PATH, with an address and no name',
    ],
    [
      "version: 1\nrules:\n  - deny: a.example\n    to: 127.0.0.1:80",
      "policy.yaml:4:9: rules[0].to: allowed: to only with allow",
    ],
    [
      "version: 1\nrules:\n  - {allow: a.example, to: '127.0.0.1:80', via: 'http://127.0.0.1:80'}",
      "rules[0].via: allowed: either to or via",
    ],
    [
      "version: 1\nrules:\n  - {allow: a.example, via: 'http://127.0.0.1:80', proxy-protocol: v2}",
      "rules[0].proxy-protocol: allowed: proxy-protocol only with to: a proxy of via is told by its own protocol",
    ],
    [
      "version: 1\nrules:\n  - {allow: a.example, to: '127.0.0.1:80', proxy-protocol: v1}",
      'rules[0].proxy-protocol: found "v1"; allowed: v2',
    ],
    [
      "version: 1\nrules:\n  - {allow: a.example, via: 'https://127.0.0.1:80'}",
      'found "https://127.0.0.1:80"; allowed: socks5://[USER:PASSWORD@]ADDRESS:PORT or http://[USER:PASSWORD@]ADDRESS:PORT',
    ],
    [
      "version: 1\nrules:\n  - {allow: a.example, via: 'socks5://me@127.0.0.1:80'}",
      "allowed: USER:PASSWORD before the @",
    ],
    [
      "version: 1\nrules:\n  - {allow: 'a.example:53/udp', via: 'socks5://127.0.0.1:80'}",
      "policy.yaml:3:13: rules[0].allow: allowed: TCP: to and via carry no UDP",
    ],
    [
      "version: 1\nrules:\n  - {allow: a.example, limit: {rate: 10}}",
      'rules[0].limit.rate: found "10"; allowed: octets a second such as 10MB/s or 512KiB/s',
    ],
    [
      "version: 1\nrules:\n  - {allow: a.example, limit: {rates: 1MB/s}}",
      'rules[0].limit: found "rates"; allowed: rate, bytes, connections or new; did you mean rate?',
    ],
    ["version: 1\nrules:\n  - {deny: a.example, limit: {new: 1/s}}", "allowed: limit only with allow"],
    ["version: 1\nlimit: {new: 5}", 'limit.new: found "5"; allowed: flows a second, such as 20/s'],
    ["version: 1\nvia: localhost:1080", 'policy.yaml:2:6: via: found "localhost:1080"; allowed: socks5://'],
    [
      "version: 1\nstand-ins: 198.19.0.0/24",
      'policy.yaml:2:12: stand-ins: found "198.19.0.0/24"; allowed: a network with a prefix of 10 to 20 bits',
    ],
    [
      "version: 1\nrules:\n  - deny: a.example\n    check: tls",
      "policy.yaml:4:12: rules[0].check: allowed: check only with allow",
    ],
    [
      "version: 1\nrules:\n  - allow: {file: /nonexistent}",
      'policy.yaml:3:19: rules[0].allow.file: found "/nonexistent"; allowed: a file that can be read',
    ],
    [
      "version: 1\ntests:\n  - {flow: 'a b', expect: denied}",
      'policy.yaml:3:12: tests[0].flow: found "a b"; allowed: a host name',
    ],
    [
      "version: 1\ntests:\n  - {flow: '10.0.0.0/8:1', expect: denied}",
      'policy.yaml:3:12: tests[0].flow: found "10.0.0.0/8:1"; allowed: one name or address and one port',
    ],
    ["version: 1\nrules: [", "policy.yaml:2:9: allowed: YAML or JSON"],
    ["version: 1\nversion: 1", "policy.yaml:2:1: allowed: YAML or JSON (Map keys must be unique"],
    ['version: 1\nmessage: "a\\nb"', 'policy.yaml:2:10: message: found "a\\nb"; allowed: text in one line'],
  ])("%j", (text, line) => {
    const [first, ...more] = wrong(text);
    expect(first).toContain(line);
    expect(more).toEqual([]);
  });

  it("P6 is a test that fails, which refuses the policy", () => {
    const text =
      "version: 1\nrules:\n  - {name: packages, allow: a.example}\ntests:\n  - {flow: a.example, expect: denied}\n  - {flow: b.example, expect: denied}\n";
    expect(wrong(text)).toEqual([
      'policy.yaml:5:5: tests[0]: found "allowed by rule packages"; allowed: denied, as it expects',
    ]);
    expect(wrong(text.replace("expect: denied", "expect: allowed, rule: other"))).toEqual([
      'policy.yaml:5:5: tests[0]: found "allowed by rule packages"; allowed: allowed by rule other, as it expects',
    ]);
  });

  it("is not what is merely useless: that is warned about", () => {
    expect(
      warnings(`version: 1
rules:
  - allow: "*.example.com"
  - allow: api.example.com
  - allow: "*.github.io"
  - allow: git.example.net:22
  - allow: web.example.net:80
  - allow: 192.0.2.53:53/udp
`),
    ).toEqual([
      "policy.yaml:3:12: rules[0].allow: warning: the name servers of example.com see every name that is asked for under it",
      "policy.yaml:4:5: rules[1]: warning: never decides: rules[0] (*.example.com) covers it",
      "policy.yaml:5:12: rules[2].allow: warning: anybody can have a name under github.io",
      "policy.yaml:6:12: rules[3].allow: warning: git.example.net:22 is known by address only: others behind the same address can be reached",
      "policy.yaml:7:12: rules[4].allow: warning: of a plain HTTP connection only the first request is looked at",
      "policy.yaml:8:12: rules[5].allow: warning: opens port 53: names asked for there are not seen, and no rule by name comes of them",
    ]);
    expect(warnings("version: 1\nrules:\n  - deny: '*.ads.example'\n")).toEqual([
      "policy.yaml:3:11: rules[0].deny: warning: *.ads.example is advice, not a wall: an address typed by hand is not stopped",
    ]);
  });
});

describe("P26 P27 a way out", () => {
  const wayOf = (rule: object) => policyOf({ rules: [{ allow: "a.example", ...rule }] }).rules[0]?.way;

  it("is another target, or a proxy", () => {
    const loopback = [0, 0, 0xffff, 0x7f000001];
    expect(wayOf({ to: "127.0.0.1:8899" })).toEqual({
      kind: "to",
      target: { kind: "tcp", words: loopback, port: 8899 },
      proxyHeader: false,
    });
    expect(wayOf({ to: "unix:/run/x.sock", "proxy-protocol": "v2" })).toEqual({
      kind: "to",
      target: { kind: "unix", path: "/run/x.sock" },
      proxyHeader: true,
    });
    expect(wayOf({ via: "socks5://localhost:1080" })).toEqual({
      kind: "socks5",
      target: { kind: "tcp", words: loopback, port: 1080 },
    });
    expect(wayOf({ via: "http://m%40e:p:w@[::1]:3128/" })).toEqual({
      kind: "http",
      target: { kind: "tcp", words: [0, 0, 0, 1], port: 3128 },
      credentials: Buffer.from("m@e:p:w").toString("base64"),
    });
    expect(wayOf({ via: "socks5://me:p%40ss@127.0.0.1:1080" })).toMatchObject({
      login: { user: "me", password: "p@ss" },
    });
  });

  it.each(["0s", "999999ms", "1500ms", "90s", "60s", "1h", "2d"])(
    "is written with a pin-grace of %s",
    (time) => {
      const config = policyOf({ "pin-grace": time, rules: [{ ask: "a.example", within: "2m" }] });
      expect(policyOf(policyText(config))).toEqual(config);
      expect(policyText(config)).toContain("within: 2m");
      if (time !== "60s") expect(policyText(config)).toContain(`pin-grace: ${time}\n`);
    },
  );

  it("is written with what a default of ask comes to", () => {
    const config = policyOf({ default: "ask", rules: [{ deny: ["*", "a.example:1-65535/udp"] }] });
    expect(policyOf(policyText(config))).toEqual(config);
  });

  it("is written as it is read", () => {
    const document = {
      via: "http://me:p%40ss%3A@[::1]:3128",
      "stand-ins": "100.96.0.0/12",
      limit: { new: "500/s", dns: "100/s" },
      rules: [
        { allow: "d.example", limit: { rate: "1500kB/s", bytes: "2GiB", connections: 9, new: "20/s" } },
        { allow: "a.example", to: "unix:/run/x.sock", "proxy-protocol": "v2" as const },
        { allow: "b.example", to: "127.0.0.1:8899" },
        { allow: "c.example", via: "socks5://me:p%40ss@127.0.0.1:1080" },
      ],
    };
    const config = policyOf(document);
    const source = { label: "policy", text: policyText(config) };
    const input = { flags: [], source, fallback: undefined, audit: false, hidden: passwordsOf(config) };
    expect(readPolicy(input, [])?.config).toEqual({ ...config, default: "deny" });
    expect(policyText(config)).toContain("via: http://me:***@[::1]:3128\n");
    expect(policyText(config)).toContain("limit:\n  new: 500/s\n  dns: 100/s\nstand-ins: 100.96.0.0/12\n");
    expect(policyText(config)).toContain("rate: 1500kB/s");
  });

  it("P27 is shown without its password, which is known again for the same user at the same proxy alone", () => {
    const proxy = (login: string, at = "127.0.0.1:1080") => ({
      rules: [{ allow: "a.example", via: `socks5://${login}@${at}` }],
    });
    const config = policyOf({ ...proxy("me:s3cret"), via: "http://all:s3cret@[::1]:3128" });
    for (const shown of [policyText(config), JSON.stringify(withoutPasswords(config))]) {
      expect(shown).not.toContain("s3cret");
      expect(shown).not.toContain(Buffer.from("all:s3cret").toString("base64"));
      expect(shown).toContain("***");
    }
    const read = (value: object, hidden: HiddenPassword | undefined) => {
      const problems: Problem[] = [];
      const source = { label: "policy", value: { version: 1, ...value } };
      const input = { flags: [], source, fallback: undefined, audit: false };
      const policy = readPolicy(hidden === undefined ? input : { ...input, hidden }, problems);
      return policy?.config.rules[0]?.way ?? problems.map(formatProblem);
    };
    const known = passwordsOf(config);
    expect(read(proxy("me:***"), known)).toMatchObject({ login: { user: "me", password: "s3cret" } });
    const sentence = (found: string) => [
      `policy: rules[0].via: found "${found}"; allowed: the password: *** stands for that of a policy which was shown, ` +
        "for the same user at the same proxy (a password of three asterisks is %2A%2A%2A)",
    ];
    expect(read(proxy("me:***"), undefined)).toEqual(sentence("socks5://me:***@127.0.0.1:1080"));
    expect(read(proxy("you:***"), known)).toEqual(sentence("socks5://you:***@127.0.0.1:1080"));
    expect(read(proxy("me:***", "127.0.0.1:1081"), known)).toEqual(
      sentence("socks5://me:***@127.0.0.1:1081"),
    );
    expect(read(proxy("me:%2A%2A%2A"), undefined)).toMatchObject({ login: { password: "***" } });
  });

  it.each([
    ["socks5://me:s3cret@proxy.example:1080", "socks5://me:***@proxy.example:1080"],
    ["socks5://s3cret@127.0.0.1:1080", "socks5://***@127.0.0.1:1080"],
    ["me:s3@cret@127.0.0.1", "me:***@127.0.0.1"],
  ])("P27 that is wrong, %s, is told without its password", (via, shown) => {
    const rule = `version: 1\nrules:\n  - {allow: a.example, via: '${via}'}\n`;
    expect(wrong(rule)[0]).toContain(`found "${shown}"`);
    expect(wrong(`version: 1\nvia: '${via}'\n`)[0]).toContain(`found "${shown}"`);
    const set = new OptionSet();
    set.add("via", "socks5://127.0.0.1:1080");
    set.add("via", via);
    set.reject("via", "x");
    expect(set.problems.map(({ found }) => found)).toEqual([shown, "socks5://127.0.0.1:1080"]);
  });

  it("for all leaves open what no rule denies", () => {
    const via = "socks5://127.0.0.1:1080";
    expect(policyOf({ via }).default).toBe("allow");
    expect(policyOf({ via, rules: [{ deny: "a.example" }] }).default).toBe("allow");
    expect(policyOf({ via, rules: [{ allow: "a.example" }] }).default).toBe("deny");
  });

  it("of addresses without ports is warned about: their UDP is refused", () => {
    expect(warnings("version: 1\nrules:\n  - {allow: 10.0.0.0/8, to: '127.0.0.1:1'}\n")).toEqual([
      "policy.yaml:3:13: rules[0].allow: warning: UDP to 10.0.0.0/8 is refused: to and via carry TCP alone",
    ]);
  });
});

describe("a policy", () => {
  it("has a default that follows from its rules, and takes lists from files", () => {
    expect(policyOf({ rules: [] }).default).toBe("deny");
    expect(policyOf({ rules: [{ deny: "a.example" }] }).default).toBe("allow");
    expect(policyOf({ rules: [{ deny: "a.example" }, { allow: "b.example" }] }).default).toBe("deny");
    const directory = mkdtempSync(join(tmpdir(), "sluice-list-"));
    try {
      const path = join(directory, "hosts");
      writeFileSync(path, "# hosts\na.example\n\nb.example:80 # plain\n");
      const { rules } = policyOf({ rules: [{ allow: { file: path } }] });
      expect(rules[0]?.targets.map((target) => formatTarget(target, "allow"))).toEqual([
        "a.example",
        "b.example:80",
      ]);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it("has a JSON Schema, which docs/policy.schema.json is", async () => {
    const path = new URL("../../../docs/policy.schema.json", import.meta.url).pathname;
    await expect(`${JSON.stringify(policyJsonSchema(), null, 2)}\n`).toMatchFileSnapshot(path);
    const { default: Ajv } = await import("ajv/dist/2020.js");
    const validate = new Ajv.default({ strict: false }).compile(policyJsonSchema());
    expect(validate({ version: 1, rules: [{ allow: ["a.example"], private: true }] })).toBe(true);
    expect(validate({ version: 1, rules: [{ alow: "a.example" }] })).toBe(false);
  });
});
