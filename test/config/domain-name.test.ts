/** Names as DHCP and DNS take them. */
import { describe, expect, it } from "vitest";
import { parseDomainName } from "../../src/config/domain-name.ts";
import { Unacceptable } from "../../src/config/problem.ts";

const LABEL = "x".repeat(63);
/** Three labels of 63 octets and one of 61: 253 octets with the dots. */
const LONGEST = [LABEL, LABEL, LABEL, "x".repeat(61)].join(".");

describe("a domain name", () => {
  it.each(["a", "A-1", "example.org", "_srv._tcp.example.org", "1.2", "a--b", LABEL, LONGEST])(
    "may be %s, and end with a dot",
    (name) => {
      expect(parseDomainName(name)).toBe(name);
      expect(parseDomainName(`${name}.`)).toBe(name);
    },
  );

  it.each([
    "",
    ".",
    "..",
    "a..",
    ".a",
    "a..b",
    "-a",
    "a-",
    "a.-b",
    "a-.b",
    "a b",
    "é",
    "a/b",
    `${LABEL}x`,
    `${LONGEST}x`,
  ])("is not %j", (text) => {
    expect(() => parseDomainName(text)).toThrow(Unacceptable);
  });
});
