/** Targets of rules to the letter: what each means, how it is written, and what is said of one that is none. */
import { describe, expect, it } from "vitest";
import { formatTarget, parseTarget, type Verdict } from "../../../src/config/policy/target.ts";
import { Unacceptable } from "../../../src/config/problem.ts";

const mapped = (address: number): readonly number[] => [0, 0, 0xffff, address | 0];
const EVERY = [[1, 65_535]];
const HTTPS = [[443, 443]];

describe("a target's ports and protocols", () => {
  const name = { kind: "name", name: "a.example" };
  const any = { kind: "every-address" };

  it.each<[string, Verdict, object]>([
    ["a.example", "allow", { host: name, ports: HTTPS, tcp: true, udp: false }],
    ["a.example", "ask", { host: name, ports: HTTPS, tcp: true, udp: false }],
    ["a.example", "deny", { host: name, ports: EVERY, tcp: true, udp: true }],
    ["a.example/tcp", "allow", { host: name, ports: HTTPS, tcp: true, udp: false }],
    ["a.example/tcp", "deny", { host: name, ports: EVERY, tcp: true, udp: false }],
    ["a.example/udp", "deny", { host: name, ports: EVERY, tcp: false, udp: true }],
    ["a.example:53", "allow", { host: name, ports: [[53, 53]], tcp: true, udp: false }],
    ["a.example:53", "deny", { host: name, ports: [[53, 53]], tcp: true, udp: false }],
    ["a.example:53/udp", "allow", { host: name, ports: [[53, 53]], tcp: false, udp: true }],
    ["a.example/quic", "allow", { host: name, ports: HTTPS, tcp: false, udp: true, quic: true }],
    ["a.example:1/quic", "ask", { host: name, ports: [[1, 1]], tcp: false, udp: true, quic: true }],
    ["@any", "allow", { host: any, ports: EVERY, tcp: true, udp: true }],
    ["@any/tcp", "allow", { host: any, ports: EVERY, tcp: true, udp: false }],
    ["@any/udp", "allow", { host: any, ports: EVERY, tcp: false, udp: true }],
    ["@any:1", "allow", { host: any, ports: [[1, 1]], tcp: true, udp: false }],
    ["*/quic", "allow", { host: { kind: "every-name" }, ports: HTTPS, tcp: false, udp: true, quic: true }],
    [
      "*.a.example/quic",
      "allow",
      { host: { kind: "names-under", name: "a.example" }, ports: HTTPS, tcp: false, udp: true, quic: true },
    ],
  ])("of %s, to %s", (text, verdict, target) => {
    expect(parseTarget(text, verdict)).toStrictEqual(target);
  });

  it.each([
    ["1", [[1, 1]]],
    ["65535", EVERY.map(([, last]) => [last, last])],
    ["1-65535", EVERY],
    ["5-5", [[5, 5]]],
    [
      "22,80",
      [
        [22, 22],
        [80, 80],
      ],
    ],
    [
      "80,22",
      [
        [22, 22],
        [80, 80],
      ],
    ],
    ["80,81", [[80, 81]]],
    ["80-90,85-95", [[80, 95]]],
    ["80-95,85-90", [[80, 95]]],
    ["80-90,91-95", [[80, 95]]],
    [
      "80-90,92",
      [
        [80, 90],
        [92, 92],
      ],
    ],
    ["80,80", [[80, 80]]],
  ])("%s are in order, those that touch joined", (text, ports) => {
    expect(parseTarget(`a.example:${text}`, "allow").ports).toEqual(ports);
  });

  it("are 64 at most, before they are joined", () => {
    const many = (count: number): string => Array.from({ length: count }, (_, i) => i * 2 + 1).join(",");
    expect(parseTarget(`a.example:${many(64)}`, "allow").ports).toHaveLength(64);
    expect(() => parseTarget(`a.example:${many(65)}`, "allow")).toThrow("at most 64 ports and ranges");
  });
});

describe("a target's host", () => {
  it.each([
    ["10.20.0.0/16", mapped(0x0a140000), 112],
    ["10.20.0.1", mapped(0x0a140001), 128],
    ["10.20.0.1/32", mapped(0x0a140001), 128],
    ["0.0.0.0/0", mapped(0), 96],
    ["[2001:db8::1]", [0x20010db8, 0, 0, 1], 128],
    ["[2001:db8::1/128]", [0x20010db8, 0, 0, 1], 128],
    ["[2001:db8::/32]", [0x20010db8, 0, 0, 0], 32],
    ["[2001:db8:8000::/33]", [0x20010db8, 0x80000000 | 0, 0, 0], 33],
    ["[2001:db8:0:1::/64]", [0x20010db8, 1, 0, 0], 64],
    ["[2001:db8:0:0:1::/80]", [0x20010db8, 0, 0x00010000, 0], 80],
    ["[fe80::/10]", [0xfe800000 | 0, 0, 0, 0], 10],
    ["[::/0]", [0, 0, 0, 0], 0],
    // Larger than what carries IPv4, or beside it.
    ["[2000::/3]", [0x20000000, 0, 0, 0], 3],
    ["[2002::/15]", [0x20020000, 0, 0, 0], 15],
    ["[2003::/16]", [0x20030000, 0, 0, 0], 16],
    ["[64:ff9b::/95]", [0x0064ff9b, 0, 0, 0], 95],
    ["[64:ff9b:2::/48]", [0x0064ff9b, 0x00020000, 0, 0], 48],
    ["[2001:1::/32]", [0x20010001, 0, 0, 0], 32],
    ["[::1:0:ffff:0:1]", [0, 1, 0xffff, 1], 128],
    ["[1::ffff:0:1]", [0x00010000, 0, 0xffff, 1], 128],
    ["[0:0:1::ffff:0:1]", [0, 0x00010000, 0xffff, 1], 128],
  ])("is the network %s", (text, words, prefixLength) => {
    expect(parseTarget(text, "allow").host).toEqual({ kind: "network", words, prefixLength });
  });

  it.each([
    ["A.Example", "a.example"],
    ["a.example.", "a.example"],
    ["_a.example", "_a.example"],
    ["1a", "1a"],
    // No group, though every object has one.
    ["toString", "tostring"],
    ["a-b.x", "a-b.x"],
    ["1.2.3.4x", "1.2.3.4x"],
    ["0x.example", "0x.example"],
    ["a.x0", "a.x0"],
    ["a.0xg", "a.0xg"],
    ["a.b0x1f", "a.b0x1f"],
    ["a.1b", "a.1b"],
    ["bücher.example", "xn--bcher-kva.example"],
    ["x".repeat(63), "x".repeat(63)],
  ])("is a name: %s is %s", (text, name) => {
    expect(parseTarget(text, "allow").host).toEqual({ kind: "name", name });
    expect(parseTarget(`*.${text}`, "allow").host).toEqual({ kind: "names-under", name });
  });

  it("is a name of 253 octets at most, a dot at its end aside", () => {
    const label = "x".repeat(63);
    const longest = [label, label, label, "x".repeat(61)].join(".");
    expect(parseTarget(longest, "allow").host).toEqual({ kind: "name", name: longest });
    expect(parseTarget(`${longest}.`, "allow").host).toEqual({ kind: "name", name: longest });
    expect(() => parseTarget(`${longest}x`, "allow")).toThrow("a host name");
    expect(() => parseTarget(`${label}x`, "allow")).toThrow("a host name");
  });

  it("is a group of addresses or of names", () => {
    const kinds = ["@public", "@private", "@any", "*"].map((text) => parseTarget(text, "allow").host);
    expect(kinds).toEqual([
      { kind: "public" },
      { kind: "private" },
      { kind: "every-address" },
      { kind: "every-name" },
    ]);
  });
});

describe("what is no target", () => {
  const NAME =
    "a host name (labels of 1 to 63 letters, digits and hyphens), an address, @public, @private, @any or *";
  const NUMBER = "a name that does not end in a number, or an address of four numbers";
  const WILDCARD = 'one leading "*." that stands for one or more labels, such as *.example.com';
  const PORTS = "ports from 1 to 65535, such as 443 or 22,8000-8010";
  const BRACKETS = "IPv6 addresses in brackets, such as [2001:db8::1]:443 or [2001:db8::/32]";
  const IPV4 = "an IPv4 address such as 203.0.113.9 or 203.0.113.0/24";
  const carried = (text: string): string =>
    `the IPv4 addresses themselves: one of ${text} is judged as what it carries`;

  it.each<[string, string, string?]>([
    ["http://a.example", "a host without scheme and path, such as api.example.com:443"],
    ["a.example/sctp", "/tcp, /udp or /quic at the end", "/sctp"],
    ["a.example/TCP", "/tcp, /udp or /quic at the end", "/TCP"],
    ["a.example/1", NAME],
    ["a\nb.example:1/udp", NAME],
    ["a.example:1/udp1", PORTS, "1/udp1"],
    ["a.example/udp", "ports before /udp, such as time.example.net:123/udp"],
    ["@any/quic", "a name in front of /quic, or /udp: QUIC shows names and no addresses"],
    ["a:1:2", BRACKETS],
    ["[::1", BRACKETS],
    ["[::1]x", BRACKETS],
    ["x[::1]", BRACKETS],
    ["[]", "an IPv6 address such as 2001:db8::1", ""],
    ["[10.0.0.1]", "an IPv6 address such as 2001:db8::1", "10.0.0.1"],
    ["@everybody", "@public, @private or @any", "@everybody"],
    ["@", "@public, @private or @any", "@"],
    ["a.*", WILDCARD],
    ["*.*.a", WILDCARD],
    ["**", WILDCARD],
    ["*a", WILDCARD],
    ["a..b", NAME],
    ["-a", NAME],
    ["a-", NAME],
    ["a b", NAME],
    ["a.example..", NAME],
    ["", NAME],
    [".", IPV4, "."],
    ["ü..example", NAME],
    ["a.1", NUMBER],
    ["a.0x", NUMBER],
    ["a.0x1f", NUMBER],
    ["x.01", NUMBER],
    ["127.1", IPV4, "127.1"],
    ["1", IPV4, "1"],
    ["10.0.0.0/8x", "a prefix length from 0 to 32", "8x"],
    ["10.0.0.0/33", "a prefix length from 0 to 32", "33"],
    ["10.0.0.0/8/9", "one prefix length", "10.0.0.0/8/9"],
    ["10.0.0.1/8", "a network whose host part is zero: did you mean 10.0.0.0/8?", "10.0.0.1/8"],
    ["[2001:db8::/129]", "a prefix length from 0 to 128", "129"],
    ["[2001:db8::/32/1]", "one prefix length", "2001:db8::/32/1"],
    [
      "[2001:db8::1/32]",
      "a network whose host part is zero: did you mean [2001:db8::/32]?",
      "2001:db8::1/32",
    ],
    [
      "[2001:db8:1::/32]",
      "a network whose host part is zero: did you mean [2001:db8::/32]?",
      "2001:db8:1::/32",
    ],
    ["[1::/0]", "a network whose host part is zero: did you mean [::/0]?", "1::/0"],
    ["[::ffff:10.0.0.1]", "the IPv4 address itself, without ::ffff:", "::ffff:10.0.0.1"],
    ["[64:ff9b::1]", carried("64:ff9b::/96"), "64:ff9b::1"],
    ["[64:ff9b::/96]", carried("64:ff9b::/96"), "64:ff9b::/96"],
    ["[64:ff9b:1::/48]", carried("64:ff9b:1::/48"), "64:ff9b:1::/48"],
    ["[2002:a00:1::/48]", carried("2002::/16"), "2002:a00:1::/48"],
    ["[2001::1]", carried("2001::/32"), "2001::1"],
    ["a.example:", PORTS, ""],
    ["a.example:x", PORTS, "x"],
    ["a.example:80,", PORTS, ""],
    ["a.example:x80", PORTS, "x80"],
    ["a.example:80x", PORTS, "80x"],
    ["a.example:100000", PORTS, "100000"],
    ["a.example:1-100000", PORTS, "1-100000"],
    ["a.example:1-", PORTS, "1-"],
    ["a.example:0", "a port from 1 to 65535", "0"],
    ["a.example:65536", "a port from 1 to 65535", "65536"],
    ["a.example:1-65536", "a port from 1 to 65535", "65536"],
    ["a.example:5-4", "a range that begins with its lower port", "5-4"],
  ])("%j", (text, allowed, found) => {
    try {
      expect(parseTarget(text, "allow")).toEqual(expect.anything());
      expect(allowed).toBe("nothing");
    } catch (error) {
      if (!(error instanceof Unacceptable)) throw error;
      expect([error.allowed, error.found]).toEqual([allowed, found]);
    }
  });

  it("is QUIC to be denied", () => {
    expect(() => parseTarget("a.example/quic", "deny")).toThrow(
      expect.objectContaining({ allowed: "/udp at the end, which denies QUIC too", found: "/quic" }),
    );
  });
});

describe("a target as it is written", () => {
  it.each<[string, Verdict, string?]>([
    ["a.example", "allow"],
    ["a.example:443", "allow", "a.example"],
    ["a.example:443", "deny"],
    ["a.example", "deny"],
    ["a.example/tcp", "deny", "a.example:1-65535"],
    ["a.example/udp", "deny", "a.example:1-65535/udp"],
    ["a.example:443/udp", "allow"],
    ["a.example:1-65535", "allow"],
    ["a.example:2-65535", "deny"],
    ["a.example:1-65534", "deny"],
    ["a.example:443-444", "allow"],
    ["a.example:443,8443", "allow"],
    ["*:443/quic", "allow"],
    ["*", "ask"],
    ["*.a.example", "allow"],
    ["@any", "allow"],
    ["@any", "deny"],
    ["@any/tcp", "allow", "@any:1-65535"],
    ["@any:443", "allow"],
    ["@private:1,3", "deny"],
    ["@public", "ask"],
    ["10.0.0.0/8", "allow"],
    ["10.0.0.1/32", "allow", "10.0.0.1"],
    ["0.0.0.0/0", "allow"],
    ["[2001:db8::/32]", "allow"],
    ["[2001:db8::1/128]", "allow", "[2001:db8::1]"],
    ["[::/0]:80", "allow"],
  ])("%s, to %s", (text, verdict, written = text) => {
    const target = parseTarget(text, verdict);
    expect(formatTarget(target, verdict)).toBe(written);
    expect(parseTarget(written, verdict)).toEqual(target);
  });

  it("is an IPv6 network where it is larger than all of IPv4, or looks like a part of that", () => {
    const text = (words: readonly [number, number, number, number], prefixLength: number): string =>
      formatTarget(
        {
          host: { kind: "network", words, prefixLength },
          ports: [[1, 65_535]],
          tcp: true,
          udp: true,
        },
        "allow",
      );
    expect(text([0, 0, 0xffff, 0], 95)).toBe("[::ffff:0.0.0.0/95]");
    expect(text([0, 0, 0xffff, 0], 96)).toBe("0.0.0.0/0");
    expect(text([1, 0, 0xffff, 1], 128)).toBe("[0:1::ffff:0:1]");
    expect(text([0, 1, 0xffff, 1], 128)).toBe("[::1:0:ffff:0:1]");
    expect(text([0, 0, 0xfffe, 1], 128)).toBe("[::fffe:0:1]");
  });
});
