import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  formatMac,
  netmask,
  parseIpv4,
  parseMac,
  parseNetwork,
  parseResolver,
  prefixLengthOf,
} from "../../src/config/address.ts";
import { Unacceptable } from "../../src/config/problem.ts";
import { formatIpv4 } from "../../src/engine/wire/address-text.ts";

describe("IPv4 addresses", () => {
  it("are int32 in host order and print back as they were", () => {
    expect(parseIpv4("10.0.2.2")).toBe(0x0a000202);
    expect(parseIpv4("255.255.255.255")).toBe(-1);
    fc.assert(
      fc.property(fc.ipV4(), (text) => {
        expect(formatIpv4(parseIpv4(text))).toBe(text);
      }),
    );
  });

  it.each([
    "",
    "10.0.2",
    "10.0.2.256",
    "010.0.2.2",
    "10.0.2.2/24",
    " 10.0.2.2",
    "0x0a000202",
    "127.1",
    "::1",
  ])("refuses %j", (text) => {
    expect(() => parseIpv4(text)).toThrow(Unacceptable);
  });
});

describe("networks", () => {
  it("have a mask for each prefix length and back, and none for one with a hole", () => {
    for (let length = 0; length <= 32; length++) expect(prefixLengthOf(netmask(length))).toBe(length);
    const masks = new Set(Array.from({ length: 33 }, (_, length) => netmask(length)));
    fc.assert(fc.property(fc.integer(), (mask) => masks.has(mask) === (prefixLengthOf(mask) !== undefined)));
    for (const text of ["255.0.255.0", "0.0.0.1", "127.255.255.255"])
      expect(prefixLengthOf(parseIpv4(text))).toBeUndefined();
  });

  it("take an address and a prefix", () => {
    expect(parseNetwork("192.168.64.0/22")).toEqual({ network: 0xc0a84000 | 0, prefixLength: 22 });
  });

  it("offer the network address when the host part is not zero", () => {
    expect(() => parseNetwork("10.0.2.5/24")).toThrow("10.0.2.0/24");
  });

  it.each([
    "10.0.2.0",
    "10.0.2.1/31",
    "10.0.2.0/33",
    "10.0.2.0/3",
    "127.0.0.0/8",
    "224.0.0.0/8",
    "0.0.0.0/8",
    "x/24",
    "10.0.2.0/24/1",
  ])("refuses %j", (text) => {
    expect(() => parseNetwork(text)).toThrow(Unacceptable);
  });
});

describe("MAC addresses", () => {
  it("take colons or hyphens, either case", () => {
    expect(formatMac(parseMac("52:54:00:AB:cd:ef"))).toBe("52:54:00:ab:cd:ef");
    expect(formatMac(parseMac("52-54-00-12-34-56"))).toBe("52:54:00:12:34:56");
  });

  it.each([
    "53:54:00:12:34:56",
    "00:00:00:00:00:00",
    "ff:ff:ff:ff:ff:ff",
    "52:54:00:12:34",
    "5254.0012.3456",
    "52:54-00:12:34:56",
  ])("refuses %j", (text) => {
    expect(() => parseMac(text)).toThrow(Unacceptable);
  });
});

describe("resolvers", () => {
  it("take both families, ports and interface numbers", () => {
    expect(parseResolver("192.0.2.1")).toEqual({ words: [0, 0, 0xffff, 0xc0000201 | 0], port: 53, scope: 0 });
    expect(parseResolver("127.0.0.53:5353").port).toBe(5353);
    expect(parseResolver("2001:db8::1")).toEqual({ words: [0x20010db8, 0, 0, 1], port: 53, scope: 0 });
    expect(parseResolver("[fe80::1%3]:5300")).toEqual({
      words: [0xfe800000 | 0, 0, 0, 1],
      port: 5300,
      scope: 3,
    });
  });

  it.each([
    "",
    "example.org",
    "192.0.2.1:0",
    "192.0.2.1:65536",
    "[2001:db8::1",
    "2001:db8::1/64",
    "0.0.0.0",
    "fe80::1%eth0",
  ])("refuses %j", (text) => {
    expect(() => parseResolver(text)).toThrow(Unacceptable);
  });
});
