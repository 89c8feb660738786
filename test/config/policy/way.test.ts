/** Ways out as people write them, and as they are shown: without passwords. */
import { describe, expect, it } from "vitest";
import {
  parseStandIns,
  parseVia,
  passwordsOf,
  wayDocument,
  wayOfRule,
  withoutPasswords,
} from "../../../src/config/policy/way.ts";
import type { PolicyConfig } from "../../../src/engine/config.ts";
import { policyOf } from "../../support/policy-rig.ts";
import { refusal } from "../../support/refusal.ts";

const base64 = (text: string): string => Buffer.from(text).toString("base64");
const loopback = (port: number) => ({ kind: "tcp", words: [0, 0, 0xffff, 0x7f000001], port });

describe("a proxy", () => {
  it.each([
    ["socks5://127.0.0.1:1080", { kind: "socks5", target: loopback(1080) }],
    ["socks5://127.0.0.1:1080/", { kind: "socks5", target: loopback(1080) }],
    ["http://localhost:1", { kind: "http", target: loopback(1) }],
    [
      "http://[2001:db8::1]:65535",
      { kind: "http", target: { kind: "tcp", words: [0x20010db8, 0, 0, 1], port: 65_535 } },
    ],
    [
      "socks5://me:secret@127.0.0.1:1",
      { kind: "socks5", target: loopback(1), login: { user: "me", password: "secret" } },
    ],
    [
      "socks5://m%3Ae:a:b@c@127.0.0.1:1",
      { kind: "socks5", target: loopback(1), login: { user: "m:e", password: "a:b@c" } },
    ],
    ["http://me:a:b@127.0.0.1:1", { kind: "http", target: loopback(1), credentials: base64("me:a:b") }],
  ])("%s", (text, way) => {
    expect(parseVia(text)).toStrictEqual(way);
  });

  const VIA = "socks5://[USER:PASSWORD@]ADDRESS:PORT or http://[USER:PASSWORD@]ADDRESS:PORT";
  const LOGIN = "a user and a password of 1 to 255 octets each";
  it.each([
    ["", VIA],
    ["127.0.0.1:1", VIA],
    ["https://127.0.0.1:1", VIA],
    ["xsocks5://127.0.0.1:1", VIA],
    ["socks5://127.0.0.1:1/x", VIA],
    ["socks5://127.0.0.1:1//", VIA],
    ["socks5://127.0.0.1", VIA],
    ["socks5://127.0.0.1:", VIA],
    ["socks5://127.0.0.1:x", VIA],
    ["socks5://127.0.0.1:100000", VIA],
    ["socks5://127.0.0.1:1x", VIA],
    ["socks5://x[::1]:1", VIA],
    ["socks5://::1:1", VIA],
    ["socks5://proxy.example:1", `${VIA}, with an address and no name`],
    ["socks5://:1", `${VIA}, with an address and no name`],
    ["socks5://[]:1", "an IPv6 address such as 2001:db8::1"],
    ["socks5://127.0.0.1:0", "a port from 1 to 65535"],
    ["socks5://127.0.0.1:65536", "a port from 1 to 65535"],
    ["socks5://me@127.0.0.1:1", "USER:PASSWORD before the @"],
    ["socks5://@127.0.0.1:1", "USER:PASSWORD before the @"],
    ["socks5://:secret@127.0.0.1:1", LOGIN],
    ["socks5://me:@127.0.0.1:1", LOGIN],
    [`socks5://${"x".repeat(256)}:y@127.0.0.1:1`, LOGIN],
    [`socks5://x:${"%C3%A9".repeat(128)}@127.0.0.1:1`, LOGIN],
    ["http://m%3Ae:secret@127.0.0.1:1", "a user without a colon"],
    ["http://me:%@127.0.0.1:1", "a user and a password in which % begins two hexadecimal digits (%25 is %)"],
    ["http://%zz:x@127.0.0.1:1", "a user and a password in which % begins two hexadecimal digits (%25 is %)"],
  ])("is not %s", (text, allowed) => {
    expect(refusal(() => parseVia(text))[0]).toBe(allowed);
  });

  it("has a user and a password of 255 octets at most", () => {
    const [user, password] = ["u".repeat(255), "p".repeat(255)];
    expect(parseVia(`socks5://${user}:${password}@127.0.0.1:1`)).toMatchObject({ login: { user, password } });
  });
});

describe("a hidden password", () => {
  const config = (...ways: string[]): PolicyConfig =>
    policyOf({ rules: ways.map((via) => ({ allow: "a.example", via })) });
  const HTTP = "http://me:s3cret@127.0.0.1:1";
  const SOCKS = "socks5://me:pass@[::1]:2";

  it("is that of the same user at the same proxy, of rules and of all", () => {
    const known = passwordsOf({ ...config(SOCKS), way: parseVia(HTTP) });
    expect(parseVia("http://me:***@127.0.0.1:1", known)).toEqual(parseVia(HTTP));
    expect(parseVia("socks5://me:***@[::1]:2", known)).toEqual(parseVia(SOCKS));
    for (const other of [
      "http://you:***@127.0.0.1:1",
      "http://me:***@127.0.0.1:2",
      "http://me:***@[::1]:1",
      "socks5://me:***@127.0.0.1:1",
    ])
      expect(refusal(() => parseVia(other, known))[0]).toMatch(/^the password: \*\*\* stands for/);
  });

  it("is asked for by what the proxy was shown as", () => {
    const asked: string[] = [];
    parseVia("socks5://m%40e:***@127.0.0.1:1", (proxy) => {
      asked.push(proxy);
      return "x";
    });
    expect(asked).toEqual(["socks5://m%40e:***@127.0.0.1:1"]);
  });

  it("is not asked for where another is given, or none", () => {
    const never = (): string => {
      throw new Error("asked");
    };
    for (const text of [
      "socks5://127.0.0.1:1",
      "socks5://me:x@127.0.0.1:1",
      "socks5://me:%2A%2A%2A@127.0.0.1:1",
      "socks5://me:*****@127.0.0.1:1",
      "socks5://me:x:***@127.0.0.1:1",
    ])
      expect(() => parseVia(text, never)).not.toThrow();
  });

  it("of no way that has none is known", () => {
    const known = passwordsOf(config("http://127.0.0.1:1", HTTP));
    expect(known("http://127.0.0.1:1")).toBeUndefined();
    expect(known("http://me:***@127.0.0.1:1")).toBe("s3cret");
    const straight = policyOf({ rules: [{ allow: "a.example" }, { allow: "b.example", to: "unix:/run/x" }] });
    expect(passwordsOf(straight)("unix:/run/x")).toBeUndefined();
  });

  it("takes the place of each in a policy that is shown, and nothing else changes", () => {
    const shown = withoutPasswords({ ...config(SOCKS, "http://127.0.0.1:1"), way: parseVia(HTTP) });
    expect(shown).toEqual({
      ...config(SOCKS, "http://127.0.0.1:1"),
      way: { kind: "http", target: loopback(1), credentials: base64("me:***") },
      rules: [
        {
          ...config(SOCKS).rules[0],
          way: {
            kind: "socks5",
            target: { kind: "tcp", words: [0, 0, 0, 1], port: 2 },
            login: { user: "me", password: "***" },
          },
        },
        { ...config("http://127.0.0.1:1").rules[0], name: "rule-2" },
      ],
    });
    const plain = policyOf({ rules: [{ allow: "a.example" }, { allow: "b.example", to: "unix:/run/x" }] });
    expect(withoutPasswords(plain)).toEqual(plain);
  });
});

describe("a way as a file says it", () => {
  const said = (rule: object) => {
    const [way] = policyOf({ rules: [{ allow: "a.example", ...rule }] }).rules.map((each) => each.way);
    if (way === undefined) throw new Error("no way");
    return wayDocument(way);
  };

  it.each([
    [{ to: "127.0.0.1:1" }],
    [{ to: "[2001:db8::1]:2" }],
    [{ to: "unix:/run/x" }],
    [{ to: "127.0.0.1:1", "proxy-protocol": "v2" }],
    [{ via: "socks5://127.0.0.1:1" }],
    [{ via: "http://[::1]:1" }],
  ])("%j", (rule) => {
    expect(said(rule)).toStrictEqual(rule);
  });

  it.each([
    ["http://m%40e:x:y@127.0.0.1:1", "http://m%40e:***@127.0.0.1:1"],
    ["socks5://m%3Ae:x@127.0.0.1:1", "socks5://m%3Ae:***@127.0.0.1:1"],
  ])("%s is %s", (via, shown) => {
    expect(said({ via })).toEqual({ via: shown });
  });
});

describe("the way of a rule", () => {
  function way(rule: Parameters<typeof wayOfRule>[0]) {
    const rejected: (string | undefined)[][] = [];
    const found = wayOfRule(rule, (...complaint) => rejected.push(complaint));
    return { found, rejected };
  }

  it("is straight where nothing is said", () => {
    expect(way({ allow: "a.example" })).toEqual({ found: undefined, rejected: [] });
    expect(way({ deny: "a.example" })).toEqual({ found: undefined, rejected: [] });
  });

  it("is wrong in what it says, each part told with what stands there", () => {
    const ends = "ADDRESS:PORT or unix:PATH";
    expect(way({ allow: "x", to: "a.example:1" }).rejected).toEqual([
      ["to", `${ends}, with an address and no name`, "a.example:1"],
    ]);
    expect(way({ allow: "x", to: "127.0.0.1" }).rejected).toEqual([["to", ends, "127.0.0.1"]]);
    expect(way({ allow: "x", to: "127.0.0.1:0" }).rejected).toEqual([["to", "a port from 1 to 65535", "0"]]);
    expect(way({ allow: "x", to: "xunix:/run/x" }).rejected).toEqual([["to", ends, "xunix:/run/x"]]);
    expect(way({ allow: "x", to: "unix:" }).rejected).toEqual([
      ["to", "a socket path of 1 to 107 octets", ""],
    ]);
    expect(way({ allow: "x", via: "http://me:secret@x:1" }).rejected).toEqual([
      ["via", expect.stringContaining("with an address and no name"), "http://me:***@x:1"],
    ]);
    expect(way({ allow: "x", via: "http://127.0.0.1:0" }).rejected).toEqual([
      ["via", "a port from 1 to 65535", "http://127.0.0.1:0"],
    ]);
  });

  it("lets what is no complaint through", () => {
    const via = "http://me:***@127.0.0.1:1";
    const fails = (): never => {
      throw new TypeError("not a function");
    };
    expect(() => wayOfRule({ allow: "x", via }, () => {}, fails)).toThrow(new TypeError("not a function"));
  });

  it("is one, of a rule that allows", () => {
    const both = { to: "127.0.0.1:1", via: "http://127.0.0.1:2" };
    expect(way({ allow: "x", ...both })).toEqual({
      found: { kind: "to", target: loopback(1), proxyHeader: false },
      rejected: [["via", "either to or via"]],
    });
    expect(way({ deny: "x", ...both }).rejected).toEqual([
      ["to", "to only with allow"],
      ["via", "via only with allow"],
      ["via", "either to or via"],
    ]);
    expect(way({ ask: "x", via: both.via }).rejected).toEqual([["via", "via only with allow"]]);
    expect(way({ allow: "x", "proxy-protocol": "v2" }).rejected).toEqual([
      ["proxy-protocol", "proxy-protocol only with to: a proxy of via is told by its own protocol"],
    ]);
    expect(way({ allow: "x", to: both.to, "proxy-protocol": "v2" })).toEqual({
      found: { kind: "to", target: loopback(1), proxyHeader: true },
      rejected: [],
    });
  });
});

it("stand-ins are a network with a prefix of 10 to 20 bits", () => {
  expect(parseStandIns("198.19.0.0/20")).toEqual({ address: 0xc6130000 | 0, prefixLength: 20 });
  expect(parseStandIns("100.64.0.0/10")).toEqual({ address: 0x64400000, prefixLength: 10 });
  for (const text of ["198.19.0.0/21", "100.0.0.0/9"])
    expect(refusal(() => parseStandIns(text))).toEqual([
      "a network with a prefix of 10 to 20 bits",
      undefined,
    ]);
  expect(refusal(() => parseStandIns("x"))[0]).toContain("ADDRESS/PREFIX");
});
