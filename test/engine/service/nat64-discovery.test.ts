/** RFC 7050: what a network's resolver says of its NAT64. */
import { describe, expect, it } from "vitest";
import { IPV4ONLY_QUESTION, prefixOf, readPrefix } from "../../../src/engine/service/nat64-discovery.ts";
import { formatIpv6 } from "../../../src/engine/wire/address-text.ts";
import { ip6, octets6 } from "../../support/frames6.ts";

const QUESTION = [...IPV4ONLY_QUESTION.slice(12)];
const POINTER = [0xc0, 12];

interface Answer {
  readonly rcode?: number;
  readonly records: readonly (readonly number[])[];
}

function record(type: number, ttl: number, data: readonly number[]): number[] {
  return [...POINTER, 0, type, 0, 1, 0, 0, ttl >>> 8, ttl & 255, 0, data.length, ...data];
}
const aaaa = (address: string, ttl = 3600): number[] => record(28, ttl, octets6(address));

function read({ rcode = 0, records }: Answer, cut = 0) {
  const message = [
    0,
    7,
    0x81,
    0x80 | rcode,
    0,
    1,
    0,
    records.length,
    0,
    0,
    0,
    0,
    ...QUESTION,
    ...records.flat(),
  ];
  const octets = Uint8Array.from([9, 9, 9, ...message]);
  const answer = readPrefix(new DataView(octets.buffer), 3, message.length - cut);
  return answer && { ...answer, prefix: spell(answer.prefix) };
}

function spell(prefix: ReturnType<typeof prefixOf>): string | null {
  return prefix && `${formatIpv6(prefix.words)}/${prefix.length}`;
}

describe("ipv4only.arpa", () => {
  it("is asked for as a query for AAAA, with recursion and without CD", () => {
    expect([...IPV4ONLY_QUESTION]).toEqual([
      ...[0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0],
      ...[8, ...Buffer.from("ipv4only"), 4, ...Buffer.from("arpa"), 0, 0, 28, 0, 1],
    ]);
  });

  it.each([
    ["64:ff9b::c000:aa", "64:ff9b::/96"],
    ["64:ff9b::c000:ab", "64:ff9b::/96"],
    ["2001:db8:c000:aa::", "2001:db8::/32"],
    ["2001:db8:1c0:0:aa::", "2001:db8:100::/40"],
    ["2001:db8:122:c000:0:aa00::", "2001:db8:122::/48"],
    ["2001:db8:122:3c0:0:aa::", "2001:db8:122:300::/56"],
    ["2001:db8:122:344:c0:0:aa00:0", "2001:db8:122:344::/64"],
    ["2001:db8:122:344::192.0.0.171", "2001:db8:122:344::/96"],
  ])("%s is of %s (RFC 6052 section 2.4)", (address, prefix) => {
    expect(spell(prefixOf(Int32Array.from(ip6(address))))).toBe(prefix);
    expect(read({ records: [aaaa(address, 600)] })).toEqual({ prefix, ttlSeconds: 600 });
  });

  it.each([
    ["another address", "2001:db8::1"],
    ["another address that ends in zeros", "2001:db8::"],
    ["one of the two addresses in two places", "2001:db8:c000:aa::c000:ab"],
    ["octets behind it that are not zero", "2001:db8:122:344:c0:0:aa00:1"],
    ["bits 64 to 71 that are not zero", "2001:db8:122:344:1c0:0:aa00:0"],
  ])("says nothing by %s", (_name, address) => {
    expect(prefixOf(Int32Array.from(ip6(address)))).toBeNull();
    expect(read({ records: [aaaa(address)] })).toEqual({ prefix: null, ttlSeconds: 0 });
  });

  it("is found behind an alias and among others", () => {
    const records = [record(5, 60, [1, 0x61, ...POINTER]), aaaa("2001:db8::1"), aaaa("64:ff9b::c000:aa", 60)];
    expect(read({ records })).toEqual({ prefix: "64:ff9b::/96", ttlSeconds: 60 });
  });

  it("is not there where the name is not, or has no such address", () => {
    expect(read({ rcode: 3, records: [] })).toEqual({ prefix: null, ttlSeconds: 0 });
    expect(read({ records: [] })).toEqual({ prefix: null, ttlSeconds: 0 });
    expect(read({ records: [record(28, 60, [1, 2, 3, 4])] })).toEqual({ prefix: null, ttlSeconds: 0 });
    const text = record(16, 60, octets6("64:ff9b::c000:aa"));
    expect(read({ records: [text] })).toEqual({ prefix: null, ttlSeconds: 0 });
  });

  it("is left open by a failure and by a message that is cut off", () => {
    expect(read({ rcode: 2, records: [] })).toBeNull();
    expect(read({ rcode: 5, records: [] })).toBeNull();
    const twice = Uint8Array.from([0, 7, 0x81, 0x80, 0, 2, 0, 0, 0, 0, 0, 0, ...QUESTION, ...QUESTION]);
    expect(readPrefix(new DataView(twice.buffer), 0, twice.length)).toBeNull();
    for (let cut = 1; cut < 40; cut++) expect(read({ records: [aaaa("64:ff9b::c000:aa")] }, cut)).toBeNull();
  });
});
