import { describe, expect, it } from "vitest";
import { parseDhcpOption } from "../../src/config/dhcp-option.ts";
import { Unacceptable } from "../../src/config/problem.ts";

const hex = (text: string): string => Buffer.from(parseDhcpOption(text).value).toString("hex");

describe("--dhcp-option", () => {
  it.each([
    ["42=10.0.2.2", "0a000202"],
    ["42=10.0.2.2,10.0.2.3", "0a0002020a000203"],
    ["26=1400", "0578"],
    ["51=3600", "00000e10"],
    ["23=64", "40"],
    ["66=boot.example", "626f6f742e6578616d706c65"],
    ["67=10.0.2.2", "31302e302e322e32"],
    ["25=68,1500", "004405dc"],
    ["224=10.0.2.2", "0a000202"],
    ["224=10.0.2.2 ", "31302e302e322e3220"],
    ["224=hello", "68656c6c6f"],
    ["224=text:10.0.2.2", "31302e302e322e32"],
    ["224=hex:00:ff:10", "00ff10"],
    ["224=hex:0x00ff", "00ff"],
    ["224=u8:1,2,255", "0102ff"],
    ["224=u32:4294967295", "ffffffff"],
    ["121=hex:180a0003000a000202", "180a0003000a000202"],
  ])("%s gives %s", (text, octets) => {
    expect(hex(text)).toBe(octets);
  });

  it.each([
    "",
    "42",
    "0=1",
    "255=1",
    "53=u8:1",
    "54=10.0.2.2",
    "42=example.org",
    "26=70000",
    "224=",
    "224=hex:abc",
    "224=hex:",
    "224=u8:256",
    "51=hex:00",
    `224=${"x".repeat(256)}`,
  ])("refuses %j", (text) => {
    expect(() => parseDhcpOption(text)).toThrow(Unacceptable);
  });
});
