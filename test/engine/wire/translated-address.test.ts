/** IPv4 addresses in IPv6 ones: the table of RFC 6052 section 2.4, both ways. */
import { describe, expect, it } from "vitest";
import {
  embedIpv4,
  extractIpv4,
  isOfPrefix,
  isTranslated,
  PREFIX_LENGTHS,
  untranslated,
} from "../../../src/engine/wire/translated-address.ts";
import { ip6 } from "../../support/frames6.ts";

const PREFIXES = new Map([
  [32, "2001:db8::"],
  [40, "2001:db8:100::"],
  [48, "2001:db8:122::"],
  [56, "2001:db8:122:300::"],
  [64, "2001:db8:122:344::"],
  [96, "2001:db8:122:344::"],
]);
const prefixOf = (length: number): Int32Array => Int32Array.from(ip6(PREFIXES.get(length)!));

const TABLE = [
  [32, "2001:db8:c000:221::"],
  [40, "2001:db8:1c0:2:21::"],
  [48, "2001:db8:122:c000:2:2100::"],
  [56, "2001:db8:122:3c0:0:221::"],
  [64, "2001:db8:122:344:c0:2:2100::"],
  [96, "2001:db8:122:344::c000:221"],
] as const;
/** 192.0.2.33, and addresses whose octets are all different or all ones. */
const ADDRESSES = [0xc0000221 | 0, 0x01020304, 0x81828384 | 0, -1, 0];

describe.each(TABLE)("behind %i bits", (length, text) => {
  const prefix = prefixOf(length);

  it("stands where RFC 6052 has it, and is found there", () => {
    const words = new Int32Array(6).fill(7);
    embedIpv4(prefix, length, ADDRESSES[0], words, 1);
    expect([...words]).toEqual([7, ...ip6(text), 7]);
    expect(extractIpv4(words, 1, length)).toBe(ADDRESSES[0]);
  });

  it.each(ADDRESSES)("is found again: %i", (address) => {
    const words = new Int32Array(6).fill(-1);
    // What stands behind the prefix in its own words is not taken over.
    const dirty = Int32Array.from(prefix, (word, i) => {
      const kept = Math.min(32, Math.max(0, length - 32 * i));
      return kept === 32 ? word : word | (-1 >>> kept);
    });
    embedIpv4(dirty, length, address, words, 1);
    const clean = new Int32Array(6).fill(-1);
    embedIpv4(prefix, length, address, clean, 1);
    expect(words).toEqual(clean);
    expect(extractIpv4(words, 1, length)).toBe(address);
    expect(isTranslated(words, 1, length)).toBe(true);
    expect(isOfPrefix(words, 1, { words: prefix, length })).toBe(true);
    expect(untranslated(words, 1, { words: prefix, length })).toBe(address);
  });

  it("is of the prefix as far as its bits agree", () => {
    for (let bit = 0; bit < 128; bit++) {
      const words = Int32Array.of(9, ...prefix);
      words[1 + (bit >> 5)] ^= 1 << (31 - (bit & 31));
      expect([bit, isOfPrefix(words, 1, { words: prefix, length })]).toEqual([bit, bit >= length]);
    }
  });

  it("leaves the octet at bit 64 and what is behind it zero", () => {
    // Behind 32 bits the address ends before bit 64; else 40 bits behind its prefix.
    const suffixAt = length === 96 ? 128 : Math.max(72, length + 40);
    for (let bit = 64; bit < 128; bit++) {
      const words = new Int32Array(5);
      embedIpv4(prefix, length, -1, words, 1);
      const mask = 1 << (31 - (bit & 31));
      // Where a bit of the address stands it may be either.
      words[1 + (bit >> 5)] ^= mask;
      const isReserved = length !== 96 && (bit < 72 || bit >= suffixAt);
      expect([bit, isTranslated(words, 1, length)]).toEqual([bit, !isReserved]);
    }
  });
});

it("all of a prefix of 96 bits stands in front of the address", () => {
  const words = new Int32Array(6).fill(7);
  embedIpv4(Int32Array.from(ip6("2001:db8:1:2:3:4::")), 96, 0x01020304, words, 1);
  expect([...words]).toEqual([7, ...ip6("2001:db8:1:2:3:4:102:304"), 7]);
});

it("no address is found under another prefix, or under none", () => {
  const prefix = { words: prefixOf(96), length: 96 };
  expect(untranslated(Int32Array.from(ip6("2001:db8:122:345::c000:221")), 0, prefix)).toBe(0);
  expect(untranslated(Int32Array.from(ip6("2001:db8:122:344::c000:221")), 0, null)).toBe(0);
  expect(PREFIX_LENGTHS).toEqual([96, 64, 56, 48, 40, 32]);
});
