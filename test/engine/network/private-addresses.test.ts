/** Which addresses are private and which mean the same everywhere, at the edges of each range. */
import { describe, expect, it } from "vitest";
import {
  EMBEDDED_MAX,
  embeddedIpv4,
  isGlobal4,
  isIsatap,
  isLegitimate4,
  isLegitimate6,
  isLinkLocal6,
  isPrivate4,
  isPrivate6,
  isUnicast6,
} from "../../../src/engine/network/addresses.ts";
import { ip } from "../../support/frames.ts";
import { ip6 } from "../../support/frames6.ts";

const words = (text: string): Int32Array => Int32Array.from([9, ...ip6(text), 9]);

/** First and last address of each range, and whether it is private and global. */
const RANGES: readonly (readonly [first: string, last: string, isPrivate: boolean, isGlobal: boolean])[] = [
  ["1.0.0.0", "9.255.255.255", false, true],
  ["10.0.0.0", "10.255.255.255", true, false],
  ["11.0.0.0", "100.63.255.255", false, true],
  ["100.64.0.0", "100.127.255.255", true, false],
  ["100.128.0.0", "126.255.255.255", false, true],
  ["127.0.0.0", "127.255.255.255", true, false],
  ["128.0.0.0", "169.253.255.255", false, true],
  ["169.254.0.0", "169.254.255.255", true, false],
  ["169.255.0.0", "172.15.255.255", false, true],
  ["172.16.0.0", "172.31.255.255", true, false],
  ["172.32.0.0", "192.167.255.255", false, true],
  ["192.168.0.0", "192.168.255.255", true, false],
  ["192.169.0.0", "223.255.255.255", false, true],
];

describe("IPv4 addresses", () => {
  it.each(RANGES)("from %s to %s: private %s, global %s", (first, last, isPrivate, isGlobal) => {
    for (const text of [first, last])
      expect([text, isPrivate4(ip(text)), isGlobal4(ip(text))]).toEqual([text, isPrivate, isGlobal]);
  });

  it("of the block that means the host itself are private", () => {
    for (const text of ["0.0.0.0", "0.255.255.255"])
      expect([text, isPrivate4(ip(text))]).toEqual([text, true]);
  });

  it.each([
    ["0.255.255.255", false, false],
    ["1.0.0.0", true, true],
    ["126.255.255.255", true, true],
    ["127.0.0.0", false, false],
    ["127.255.255.255", false, false],
    ["128.0.0.0", true, true],
    ["169.253.255.255", true, true],
    ["169.254.0.0", false, true],
    ["169.254.255.255", false, true],
    ["169.255.0.0", true, true],
    ["223.255.255.255", true, true],
    ["224.0.0.0", false, false],
    ["255.255.255.255", false, false],
  ])("%s may be sent to: %s, with link-local ones allowed %s", (text, always, withLinkLocal) => {
    expect([isLegitimate4(ip(text), false), isLegitimate4(ip(text), true)]).toEqual([always, withLinkLocal]);
  });
});

describe("IPv6 addresses", () => {
  it.each([
    ["::", true],
    ["::1", true],
    ["::1:0:0:0", true],
    ["0:0:0:1::", false],
    ["0:1::", false],
    ["1::", false],
    ["fbff:ffff::1", false],
    ["fc00::", true],
    ["fdff:ffff::1", true],
    ["fe00::1", false],
    ["fe7f::1", false],
    ["fe80::1", true],
    ["febf:ffff::1", true],
    ["fec0::1", false],
    ["2001:db8::1", false],
    ["2001:db8::5efe:10.0.0.1", true],
    ["2001:db8::200:5efe:192.168.1.1", true],
    ["2001:db8::5efe:8.8.8.8", false],
    ["2001:db8::5eff:10.0.0.1", false],
  ])("%s is private: %s", (text, isPrivate) => {
    expect(isPrivate6(words(text), 1)).toBe(isPrivate);
  });

  it.each([
    ["2001:db8::5efe:1.2.3.4", true],
    ["2001:db8::200:5efe:1.2.3.4", true],
    ["2001:db8::100:5efe:1.2.3.4", false],
    ["2001:db8::5efd:1.2.3.4", false],
  ])("%s has an ISATAP identifier: %s", (text, isOne) => {
    expect(isIsatap(words(text), 1)).toBe(isOne);
  });

  it.each([
    ["fe7f:ffff::1", false],
    ["fe80::", true],
    ["febf:ffff::1", true],
    ["fec0::", false],
  ])("%s is link-local: %s", (text, isOne) => {
    expect(isLinkLocal6(words(text), 1)).toBe(isOne);
  });

  /** Each differs from a reserved one in one word, of those that count. */
  it.each([
    ["::ffff:ffff", false],
    ["::1:0:0", true],
    ["0:0:0:1::", true],
    ["0:1::", true],
    ["0:0:0:2::", true],
    ["0:2::ffff:1.2.3.4", true],
    ["100:0:0:2::", true],
    ["::fffe:0:0", true],
    ["::ffff:1.2.3.4", false],
    ["0:0:1::ffff:1.2.3.4", true],
    ["0:1::ffff:1.2.3.4", true],
    ["feff:ffff::", true],
    ["ff00::", false],
    ["ffff:ffff::1", false],
    ["ff:ffff::", true],
    ["100::", false],
    ["100::ffff:ffff:ffff:ffff", false],
    ["100:0:0:1::", true],
    ["100:1::", true],
    ["101::", true],
    ["5eff:ffff::", true],
    ["5f00::", false],
    ["5f00:ffff:ffff:ffff::1", false],
    ["5f01::", true],
  ])("%s may be an interface's: %s", (text, isOne) => {
    expect(isUnicast6(words(text), 1)).toBe(isOne);
  });

  it.each([
    "fd20:ce:0:2::254",
    "fd20:ce::2:0:254",
    "fd00:c1:0:2::a9fe:a9fe",
    "fd00:c1::2:a9fe:a9fe",
    "fd00:42:0:2::42",
    "fd00:42::2:0:42",
    "fd00:a9fe:a9fe:2::1",
    "fd00:a9fe:a9fe::2:0:1",
    "fd00:a9fe:a9fe::3",
    "fd00:100:0:2::100:200",
    "fd00:100::2:100:200",
  ])("%s differs from a cloud's metadata service in one word, and may be sent to", (text) => {
    expect(isLegitimate6(words(text), 1, false)).toBe(true);
  });

  it("may be sent to where IPv4 addresses with prefixes of 56 and 64 bits are in it, and both may", () => {
    const found = new Int32Array(EMBEDDED_MAX);
    const address = words("64:ff9b:1:10:a8:3f81::");
    expect([...found.subarray(0, embeddedIpv4(address, 1, found))]).toEqual([
      ip("16.168.63.129"),
      ip("168.63.129.0"),
    ]);
    expect(isLegitimate6(address, 1, false)).toBe(true);
  });

  it.each([
    "64:ff9b::1:7f00:1",
    "64:ff9b:0:1::7f00:1",
    "::fffe:0:7f00:1",
    "0:1::ffff:0:7f00:1",
    "0:0:0:1:ffff:0:7f00:1",
    "2003:7f00:1::1",
    "2001:1:7f00:1::1",
  ])("%s has no IPv4 address in it", (text) => {
    expect(embeddedIpv4(words(text), 1, new Int32Array(EMBEDDED_MAX))).toBe(0);
  });
});
