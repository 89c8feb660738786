/** Addresses and names as people read them. */
import { describe, expect, it } from "vitest";
import {
  formatAddress,
  formatEndpoint,
  formatIpv4,
  formatIpv6,
  formatMac,
  formatWordsEndpoint,
} from "../../../src/engine/wire/address-text.ts";
import { isMapped, setMapped } from "../../../src/engine/wire/mapped-address.ts";
import { nameText } from "../../../src/engine/wire/name-text.ts";

/** Four words of eight groups. */
function words(...groups: readonly number[]): number[] {
  return [0, 2, 4, 6].map((i) => (groups[i] << 16) | groups[i + 1]);
}

describe("IPv4", () => {
  it.each([
    [0, "0.0.0.0"],
    [0x0a00020f, "10.0.2.15"],
    [-1, "255.255.255.255"],
    [0x01020304, "1.2.3.4"],
    [0xc0000207 | 0, "192.0.2.7"],
  ])("%i is %s", (address, text) => {
    expect(formatIpv4(address)).toBe(text);
    expect(formatEndpoint(address, 80)).toBe(`${text}:80`);
  });
});

describe("IPv6 by RFC 5952", () => {
  it.each([
    ["no run", [0x2001, 0xdb8, 1, 2, 3, 4, 5, 0xffff], "2001:db8:1:2:3:4:5:ffff"],
    ["one zero group stays", [0x2001, 0xdb8, 0, 1, 1, 1, 1, 1], "2001:db8:0:1:1:1:1:1"],
    ["two are a run", [0x2001, 0xdb8, 0, 0, 1, 1, 1, 1], "2001:db8::1:1:1:1"],
    ["the longest of two runs", [0x2001, 0, 0, 1, 0, 0, 0, 1], "2001:0:0:1::1"],
    ["the first of equal ones", [0x2001, 0xdb8, 0, 0, 1, 0, 0, 1], "2001:db8::1:0:0:1"],
    ["at the beginning", [0, 0, 0, 0, 0, 0, 0, 1], "::1"],
    ["at the end", [0xfe80, 0, 0, 0, 0, 0, 0, 0], "fe80::"],
    ["all of it", [0, 0, 0, 0, 0, 0, 0, 0], "::"],
    ["IPv4-mapped", [0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0207], "::ffff:192.0.2.7"],
    ["nearly mapped, word 0", [0, 1, 0, 0, 0, 0xffff, 0xc000, 0x0207], "0:1::ffff:c000:207"],
    ["nearly mapped, word 1", [0, 0, 0, 1, 0, 0xffff, 0xc000, 0x0207], "::1:0:ffff:c000:207"],
    ["nearly mapped, word 2", [0, 0, 0, 0, 1, 0xffff, 0xc000, 0x0207], "::1:ffff:c000:207"],
    ["compatible", [0, 0, 0, 0, 0, 0, 0xc000, 0x0207], "::c000:207"],
  ])("%s", (_name, groups, text) => {
    expect(formatIpv6(words(...groups))).toBe(text);
    // From any place.
    expect(formatIpv6([7, ...words(...groups), 7], 1)).toBe(text);
  });

  it("is a dotted quad where either family may stand and it is IPv4", () => {
    expect(formatAddress([9, 0, 0, 0xffff, 0x0a000202], 1)).toBe("10.0.2.2");
    expect(formatAddress([9, 1, 0, 0xffff, 0x0a000202], 1)).toBe("0:1::ffff:a00:202");
    expect(formatWordsEndpoint(0, 0, 0xffff, 0x0a000202, 53)).toBe("10.0.2.2:53");
    expect(formatWordsEndpoint(...(words(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1) as [0, 0, 0, 0]), 53)).toBe(
      "[2001:db8::1]:53",
    );
  });
});

it("a MAC address is six pairs of digits", () => {
  expect(formatMac(Uint8Array.of(0x52, 0x55, 0x0a, 0, 2, 0xff))).toBe("52:55:0a:00:02:ff");
});

describe("v4-mapped words", () => {
  it("are written whole, and recognised by three words", () => {
    const all = new Int32Array(6).fill(7);
    setMapped(all, 1, 0x0a000202);
    expect([...all]).toEqual([7, 0, 0, 0xffff, 0x0a000202, 7]);
    expect(isMapped(all, 1)).toBe(true);
    for (const place of [1, 2, 3]) expect(isMapped(all.with(place, all[place] ^ 1), 1)).toBe(false);
    expect(isMapped(all.with(4, 0), 1)).toBe(true);
    expect(isMapped(all, 0)).toBe(false);
  });
});

describe("a DNS name as text", () => {
  const label = (text: string): number[] => [text.length, ...Buffer.from(text, "latin1")];

  it.each([
    ["nothing", [], ""],
    ["the root", [0], "."],
    ["labels", [...label("www"), ...label("example"), ...label("org"), 0], "www.example.org"],
    ["capital letters", [...label("WwW"), 0], "www"],
    ["what is plain besides letters", [...label("*_a-9z0"), 0], "*_a-9z0"],
    ["a dot and a blank in a label", [...label("a.b c"), 0], "a\\046b\\032c"],
    ["octets that are no letters", [...label("\0\n\x7f\x80\xc0\xff"), 0], "\\000\\010\\127\\128\\192\\255"],
    ["octets beside the alphabet", [...label("@[`{/:"), 0], "\\064\\091\\096\\123\\047\\058"],
    ["a label of 63 octets", [...label("a".repeat(63)), 0], "a".repeat(63)],
    ["a label of 64 octets", [...label("a".repeat(64)), 0], undefined],
    ["no end", label("www"), undefined],
    ["a label over the end", [3, 97, 97], undefined],
    ["a label that takes the last octet", [2, 97, 97], undefined],
    ["an octet behind the root", [0, 0], undefined],
    ["an octet behind the end", [1, 97, 0, 1], undefined],
  ])("%s", (_name, octets, text) => {
    expect(nameText(Uint8Array.from(octets))).toBe(text);
  });
});
