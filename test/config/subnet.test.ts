/** What a subnet's addresses are, and which of them a host may have. */
import { describe, expect, it } from "vitest";
import {
  formatNetwork,
  hostAddressProblem,
  inNetwork,
  netmask,
  parseGuestAddresses,
  parseInteger,
  parseNetwork,
  parsePort,
  parseReservation,
  subnetAddresses,
} from "../../src/config/address.ts";
import { formatIpv4 } from "../../src/engine/wire/address-text.ts";
import { ip } from "../support/frames.ts";
import { ip6 } from "../support/frames6.ts";
import { refusal } from "../support/refusal.ts";

it.each([
  [0, "0.0.0.0"],
  [1, "128.0.0.0"],
  [8, "255.0.0.0"],
  [24, "255.255.255.0"],
  [31, "255.255.255.254"],
  [32, "255.255.255.255"],
])("the netmask of /%i is %s, as int32", (length, mask) => {
  expect(netmask(length)).toBe(ip(mask) | 0);
  expect(formatIpv4(netmask(length))).toBe(mask);
});

describe("the addresses that a subnet gets by itself", () => {
  it.each([
    ["10.0.0.0/8", "10.0.2.2", "10.0.2.3", "10.0.2.15"],
    ["172.16.0.0/16", "172.16.2.2", "172.16.2.3", "172.16.2.15"],
    ["172.16.128.0/17", "172.16.128.2", "172.16.128.3", "172.16.128.15"],
    ["10.0.2.0/24", "10.0.2.2", "10.0.2.3", "10.0.2.15"],
    ["10.0.2.32/27", "10.0.2.34", "10.0.2.35", "10.0.2.47"],
    ["10.0.2.32/28", "10.0.2.34", "10.0.2.35", "10.0.2.36"],
    ["10.0.2.32/29", "10.0.2.34", "10.0.2.35", "10.0.2.36"],
    ["10.0.2.32/30", "10.0.2.33", "10.0.2.35", "10.0.2.34"],
    ["10.0.2.32/31", "10.0.2.33", "10.0.2.33", "10.0.2.32"],
    ["10.0.2.32/32", "10.0.2.32", "10.0.2.32", "10.0.2.32"],
  ])("%s: gateway %s, DNS %s, first lease %s", (text, gateway, dns, start) => {
    const found = subnetAddresses(parseNetwork(text));
    expect([found.gateway, found.dns, found.start].map((address) => formatIpv4(address))).toEqual([
      gateway,
      dns,
      start,
    ]);
  });
});

describe("a guest's subnet", () => {
  const ALLOWED = "ADDRESS/PREFIX with a prefix of 4 to 32, such as 10.0.2.0/24";
  const UNICAST = "a unicast network; 0/8, 127/8 and 224/3 are reserved";

  it.each(["16.0.0.0/4", "1.0.0.0/8", "126.0.0.0/8", "128.0.0.0/8", "223.0.0.0/8", "10.0.2.15/32"])(
    "may be %s",
    (text) => {
      expect(formatNetwork(parseNetwork(text))).toBe(text);
    },
  );

  it.each([
    ["10.0.2.0", ALLOWED],
    ["/24", ALLOWED],
    ["10.0.2.0/", ALLOWED],
    ["10.0.2.0/x", ALLOWED],
    ["10.0.2.0/024", ALLOWED],
    ["10.0.2.0/24 ", ALLOWED],
    ["x10.0.2.0/24", ALLOWED],
    ["1/10.0.2.0/24", ALLOWED],
    ["0.0.0.0/3", ALLOWED],
    ["10.0.2.0/33", ALLOWED],
    ["10.0.2.1/24", "a network address, whose host part is zero: did you mean 10.0.2.0/24?"],
    ["0.0.0.0/8", UNICAST],
    ["0.1.0.0/16", UNICAST],
    ["127.0.0.0/8", UNICAST],
    ["127.1.0.0/16", UNICAST],
    ["224.0.0.0/8", UNICAST],
    ["240.0.0.0/4", UNICAST],
  ])("is not %j", (text, allowed) => {
    expect(refusal(() => parseNetwork(text))).toEqual([allowed, undefined]);
  });

  it("has the addresses up to its last", () => {
    const net = parseNetwork("10.0.2.0/24");
    const outside = ["10.0.1.255", "10.0.3.0", "11.0.2.0"];
    for (const text of ["10.0.2.0", "10.0.2.255"]) expect(inNetwork(ip(text), net)).toBe(true);
    for (const text of outside) expect(inNetwork(ip(text), net)).toBe(false);
  });
});

describe("a host's address", () => {
  const ENDS = (net: string) => `of a host in ${net}, neither its first nor its last address`;

  it.each([
    ["10.0.2.0/24", "10.0.2.1", undefined],
    ["10.0.2.0/24", "10.0.2.254", undefined],
    ["10.0.2.0/24", "10.0.2.0", ENDS("10.0.2.0/24")],
    ["10.0.2.0/24", "10.0.2.255", ENDS("10.0.2.0/24")],
    ["10.0.2.0/24", "10.0.3.1", "inside 10.0.2.0/24"],
    ["10.0.2.0/30", "10.0.2.0", ENDS("10.0.2.0/30")],
    ["10.0.2.0/30", "10.0.2.3", ENDS("10.0.2.0/30")],
    ["10.0.2.0/30", "10.0.2.2", undefined],
    // RFC 3021: a link of two has neither.
    ["10.0.2.0/31", "10.0.2.0", undefined],
    ["10.0.2.0/31", "10.0.2.1", undefined],
    ["10.0.2.0/31", "10.0.2.2", "inside 10.0.2.0/31"],
    ["10.0.2.9/32", "10.0.2.9", undefined],
    ["10.0.2.9/32", "10.0.2.8", "inside 10.0.2.9/32"],
  ])("in %s: %s", (net, address, problem) => {
    expect(hostAddressProblem(ip(address), parseNetwork(net))).toBe(problem);
  });
});

describe("a guest's addresses", () => {
  const many = (count: number): string[] => Array.from({ length: count }, (_, i) => `10.0.2.${i + 1}`);

  it.each([
    ["10.0.2.15", ["10.0.2.15"], false],
    ["10.0.2.15,10.0.2.9", ["10.0.2.15", "10.0.2.9"], false],
    ["any", [], true],
    ["10.0.2.15,any", ["10.0.2.15"], true],
    ["any,10.0.2.15", ["10.0.2.15"], true],
    [many(16).join(","), many(16), false],
  ])("%s", (text, addresses, any) => {
    expect(parseGuestAddresses(text)).toEqual({ addresses: addresses.map((each) => ip(each)), any });
  });

  it.each([
    ["", "IPv4 addresses with commas between them, such as 10.0.2.15,10.0.2.100, or any"],
    ["10.0.2.15,", "IPv4 addresses with commas between them, such as 10.0.2.15,10.0.2.100, or any"],
    ["10.0.2.15, any", "IPv4 addresses with commas between them, such as 10.0.2.15,10.0.2.100, or any"],
    ["any,any", "each address once, and any once"],
    ["10.0.2.15,any,any", "each address once, and any once"],
    ["10.0.2.15,10.0.2.16,10.0.2.15", "each address once, and any once"],
    [many(17).join(","), "at most 16 addresses, or any"],
  ])("are not %j", (text, allowed) => {
    expect(refusal(() => parseGuestAddresses(text))[0]).toBe(allowed);
  });
});

describe("a reservation", () => {
  it("is a MAC and an address of either family", () => {
    const mac = Uint8Array.of(0x52, 0x54, 0, 0, 0, 1);
    expect(parseReservation("52:54:00:00:00:01=10.0.2.20")).toEqual({ mac, address: ip("10.0.2.20") });
    expect(parseReservation("52-54-00-00-00-01=fd71::20")).toEqual({ mac, address: ip6("fd71::20") });
  });

  it.each([
    ["52:54:00:00:00:01", "MAC=ADDRESS, such as 52:54:00:12:34:56=10.0.2.20"],
    ["", "MAC=ADDRESS, such as 52:54:00:12:34:56=10.0.2.20"],
    ["=10.0.2.20", "a MAC address such as 52:54:00:12:34:56"],
    ["52:54:00:00:00:01=", "an IPv4 address such as 10.0.2.2"],
    ["52:54:00:00:00:01=x", "an IPv4 address such as 10.0.2.2"],
  ])("is not %j", (text, allowed) => {
    expect(refusal(() => parseReservation(text))[0]).toBe(allowed);
  });
});

describe("a whole number", () => {
  it("is of its range, both ends included, in ten digits at most", () => {
    expect([parseInteger("3", 3, 9), parseInteger("0000000009", 3, 9)]).toEqual([3, 9]);
    expect(parseInteger("4294967295", 0, 0xffffffff)).toBe(0xffffffff);
    for (const text of ["2", "10", "", "x", "3x", "x3", "3.0", "-3", " 3", "00000000009"])
      expect(refusal(() => parseInteger(text, 3, 9))).toEqual(["a whole number from 3 to 9", text]);
  });

  it("is called what it is", () => {
    expect(refusal(() => parseInteger("x", 3, 9, "PID"))).toEqual(["a PID from 3 to 9", "x"]);
    expect(refusal(() => parsePort("0"))).toEqual(["a port from 1 to 65535", "0"]);
    expect(refusal(() => parsePort("65536", 0))).toEqual(["a port from 0 to 65535", "65536"]);
    expect([parsePort("0", 0), parsePort("1"), parsePort("65535")]).toEqual([0, 1, 65535]);
  });
});
