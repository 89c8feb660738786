import { describe, expect, it } from "vitest";
import { encodeDomainList, encodeFqdn, encodeSearchList } from "../../../src/engine/wire/domain-list.ts";

describe("search list of DHCP", () => {
  it("compresses a search list as RFC 3397 section 3 shows it", () => {
    const text = (word: string): number[] => [word.length, ...new TextEncoder().encode(word)];
    expect([...encodeSearchList(["eng.apple.com", "marketing.apple.com"])]).toEqual([
      ...[...text("eng"), ...text("apple"), ...text("com"), 0],
      ...[...text("marketing"), 0xc0, 0x04],
    ]);
  });

  it("points a repeated name to its first occurrence whatever its case, and takes a trailing dot", () => {
    expect([...encodeSearchList(["a.b.", "A.B"])]).toEqual([1, 97, 1, 98, 0, 0xc0, 0]);
    expect([...encodeSearchList([])]).toEqual([]);
  });

  it("points no further than a pointer can", () => {
    const names = Array.from({ length: 400 }, (_, i) => `${"x".repeat(60)}.${"y".repeat(50)}${i}`);
    const octets = encodeSearchList([...names, names[399]]);
    expect(octets.length).toBeGreaterThan(0x4000);
    expect([...octets.slice(-1)]).toEqual([0]);
  });

  it("refuses a label no name may have", () => {
    expect(() => encodeSearchList([`${"x".repeat(64)}.org`])).toThrow(/63 octets/);
  });
});

describe("domain names", () => {
  it("N8 stand one after another and are never shortened (RFC 8106 section 5.2)", () => {
    expect([...encodeDomainList(["a.bc.", "bc"])]).toEqual([1, 97, 2, 98, 99, 0, 2, 98, 99, 0]);
    expect([...encodeDomainList([])]).toEqual([]);
    expect(() => encodeDomainList([`${"x".repeat(64)}.org`])).toThrow(/63 octets/);
  });

  it("N54 end in a zero only where they are fully qualified (RFC 4704 section 4.2)", () => {
    expect([...encodeFqdn("vm")]).toEqual([2, 118, 109]);
    expect([...encodeFqdn("vm.a")]).toEqual([2, 118, 109, 1, 97, 0]);
  });
});
