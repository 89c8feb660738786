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
    "10.0.2.2.1",
    "1000.0.2.2",
    "10.0.2.2x",
    "x10.0.2.2",
    "10.0.2.",
    "10.0..2",
    "10x0x2x2",
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

  it("are of one station, which may begin with a zero", () => {
    expect(parseMac("00:00:00:00:00:01")).toEqual(Uint8Array.of(0, 0, 0, 0, 0, 1));
    expect(parseMac("fe:ff:ff:ff:ff:ff")).toEqual(Uint8Array.of(254, 255, 255, 255, 255, 255));
  });

  const MAC = "a MAC address such as 52:54:00:12:34:56";
  const UNICAST = "a unicast MAC address (the first octet is even)";
  it.each([
    ["53:54:00:12:34:56", UNICAST],
    ["ff:ff:ff:ff:ff:ff", UNICAST],
    ["00:00:00:00:00:00", "a MAC address that is not all zero"],
    ["52:54:00:12:34", MAC],
    ["52:54:00:12:34:56:78", MAC],
    ["52-54-00-12-34", MAC],
    ["52-54-00-12-34-56-78", MAC],
    ["x52:54:00:12:34:56", MAC],
    ["52:54:00:12:34:56x", MAC],
    ["x52-54-00-12-34-56", MAC],
    ["52-54-00-12-34-56x", MAC],
    ["5254.0012.3456", MAC],
    ["52:54-00:12:34:56", MAC],
    ["2:54:00:12:34:56", MAC],
    ["52:54:00:12:34:g6", MAC],
    ["52-4-00-12-34-56", MAC],
    ["", MAC],
  ])("refuses %j", (text, allowed) => {
    expect(() => parseMac(text)).toThrow(expect.objectContaining({ allowed, found: text }));
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
    ["[2001:db8::1]", [0x20010db8, 0, 0, 1], 53, 0],
    ["[2001:db8::1]:1", [0x20010db8, 0, 0, 1], 1, 0],
    ["ff02::fb%2147483647", [0xff020000 | 0, 0, 0, 0xfb], 53, 0x7fffffff],
    ["2001:db8:8000:1:ffff:2:8000:3", [0x20010db8, 0x80000001 | 0, 0xffff0002 | 0, 0x80000003 | 0], 53, 0],
    ["0.0.0.1:65535", [0, 0, 0xffff, 1], 65535, 0],
  ])("take %s", (text, words, port, scope) => {
    expect(parseResolver(text)).toEqual({ words, port, scope });
  });

  const ALLOWED = "ADDRESS, IPV4:PORT or [IPV6]:PORT, such as 192.0.2.1:53 or [2001:db8::1]:53";
  const ZONE = "an interface number after % from 1 to 2147483647";
  it.each([
    ["", ALLOWED],
    ["example.org", ALLOWED],
    ["192.0.2.1:0", "a port from 1 to 65535"],
    ["192.0.2.1:65536", "a port from 1 to 65535"],
    ["192.0.2.1:", ALLOWED],
    ["192.0.2.1:x", ALLOWED],
    ["x192.0.2.1", ALLOWED],
    ["192.0.2.1x", ALLOWED],
    ["192.0.2:53", ALLOWED],
    ["[192.0.2.1]:53", ALLOWED],
    ["[2001:db8::1", ALLOWED],
    ["[2001:db8::1]53", ALLOWED],
    ["[2001:db8::1]:", ALLOWED],
    ["[2001:db8::1]:5x", ALLOWED],
    ["x[2001:db8::1]:5", ALLOWED],
    ["[]:53", ALLOWED],
    ["2001:db8::1/64", ALLOWED],
    ["0.0.0.0", "an address a packet can be sent to"],
    ["fe80::1%eth0", ZONE],
    ["fe80::1%0", ZONE],
    ["fe80::1%2147483648", ZONE],
    ["fe80::1%", ZONE],
  ])("refuses %j", (text, allowed) => {
    expect(() => parseResolver(text)).toThrow(expect.objectContaining({ allowed }));
  });
});
