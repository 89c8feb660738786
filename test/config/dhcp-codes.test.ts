/** `--dhcp-option` and `--dhcp6-option`: which form each code has, which there are not, and how a value is told wrong. */
import { describe, expect, it } from "vitest";
import { parseDhcp6Option, parseDhcpOption } from "../../src/config/dhcp-option.ts";
import { refusal } from "../support/refusal.ts";

const hex = ({ value }: { readonly value: Uint8Array }): string => Buffer.from(value).toString("hex");
const codes = Array.from({ length: 256 }, (_, code) => code);

/** The form that a code's value has by itself: known by what becomes of a value that is good for one form alone. */
function formOf(code: number): string {
  const becomes = (value: string): string => {
    try {
      return hex(parseDhcpOption(`${code}=${value}`));
    } catch {
      return "";
    }
  };
  if (becomes("10.0.0.1") === "0a000001" && becomes("a") === "") return "ip";
  if (becomes("7") === "07") return "u8";
  if (becomes("7") === "0007") return "u16";
  if (becomes("7") === "00000007") return "u32";
  if (becomes("0a") === "0a") return "hex";
  if (becomes("10.0.0.1") === "31302e302e302e31") return "text";
  return becomes("10.0.0.1") === "0a000001" && becomes("a") === "61" ? "either" : "none";
}

/** RFC 2132, and later ones for the codes above 76. */
const ADDRESSES = [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 16, 21, 28, 32, 33, 41, 42, 44, 45, 48, 49, 65];
const SERVERS = [68, 69, 70, 71, 72, 73, 74, 75, 76];
const TEXT = [12, 14, 15, 17, 18, 40, 47, 56, 60, 62, 64, 66, 67, 100, 101, 114, 252];
const OCTET = [19, 20, 23, 27, 29, 30, 31, 34, 36, 37, 39, 46, 116];
const MACHINERY: readonly (readonly [number, string])[] = [
  [50, "the requested address"],
  [52, "option overload"],
  [53, "the message type"],
  [54, "the server identifier"],
  [55, "the parameter request list"],
  [57, "the maximum message size"],
  [61, "the client identifier"],
  [82, "relay agent information"],
];

describe("a code's own form", () => {
  it.each([
    ["ip", [...ADDRESSES, ...SERVERS]],
    ["text", TEXT],
    ["u8", OCTET],
    ["u16", [13, 22, 25, 26, 117]],
    ["u32", [2, 24, 35, 38, 51, 58, 59, 108]],
    ["hex", [43, 119, 121, 249]],
    ["none", [0, ...MACHINERY.map(([code]) => code), 255]],
  ])("is %s for those that the RFCs define so", (form, expected) => {
    expect(codes.filter((code) => formOf(code) === form)).toEqual(expected);
  });

  it("is addresses for any other where all is addresses, else text", () => {
    const others = codes.filter((code) => formOf(code) === "either");
    expect(others).toHaveLength(256 - 31 - 17 - 13 - 5 - 8 - 4 - 10);
    expect(hex(parseDhcpOption("224=10.0.0.1,10.0.0.2"))).toBe("0a0000010a000002");
    expect(hex(parseDhcpOption("224=10.0.0.1,x"))).toBe(Buffer.from("10.0.0.1,x").toString("hex"));
  });
});

describe("a value with its form", () => {
  it.each([
    ["224=ip:10.0.2.2", "0a000202"],
    ["224=u8:0,255", "00ff"],
    ["224=u16:0,258,65535", "00000102ffff"],
    ["224=u32:16909060,0", "0102030400000000"],
    ["224=hex:0A:fF", "0aff"],
    ["224=hex:0X0aff", "0aff"],
    ["224=text:a,b", "612c62"],
    ["224=text:a=b\nc", "613d620a63"],
    // What only looks like a form is text.
    ["224=u64:1", "7536343a31"],
    ["224=xip:1", "7869703a31"],
    // A form that is said counts before the code's own.
    ["42=text:a", "61"],
    ["12=u8:7", "07"],
  ])("%j gives %s", (text, octets) => {
    expect(hex(parseDhcpOption(text))).toBe(octets);
  });

  it("may have 255 octets", () => {
    expect(parseDhcpOption(`224=${"x".repeat(255)}`).value).toHaveLength(255);
    expect(parseDhcp6Option(`41=${"x".repeat(255)}`).value).toHaveLength(255);
  });

  it.each([
    ["224", "CODE=VALUE, such as 42=10.0.2.2 or 224=hex:0102", undefined],
    ["0=1", "an option code from 1 to 254", "0"],
    ["255=1", "an option code from 1 to 254", "255"],
    ["=1", "an option code from 1 to 254", ""],
    [`224=${"x".repeat(256)}`, "a value of at most 255 octets (this one has 256)", undefined],
    [`224=${"é".repeat(128)}`, "a value of at most 255 octets (this one has 256)", undefined],
    ["51=u16:1", "a lease time as u32, in seconds", undefined],
    ["51=1,2", "a lease time as u32, in seconds", undefined],
    ["224=", "a value that is not empty", undefined],
    ["224=text:", "a value that is not empty", undefined],
    ["224=ip:", "an IPv4 address such as 10.0.2.2", ""],
    ["224=ip:10.0.2.2,", "an IPv4 address such as 10.0.2.2", ""],
    ["224=u8:256", "a whole number from 0 to 255", "256"],
    ["224=u16:65536", "a whole number from 0 to 65535", "65536"],
    ["224=u32:4294967296", "a whole number from 0 to 4294967295", "4294967296"],
    ["224=hex:", "pairs of hexadecimal digits, such as 0a00ff", ""],
    ["224=hex:0", "pairs of hexadecimal digits, such as 0a00ff", "0"],
    ["224=hex:0ag0", "pairs of hexadecimal digits, such as 0a00ff", "0ag0"],
    ["224=hex:x0a", "pairs of hexadecimal digits, such as 0a00ff", "x0a"],
    ["224=hex:0ax", "pairs of hexadecimal digits, such as 0a00ff", "0ax"],
    ["224=hex:0a0x0b", "pairs of hexadecimal digits, such as 0a00ff", "0a0x0b"],
  ])("is wrong as %j", (text, allowed, found) => {
    expect(refusal(() => parseDhcpOption(text))).toEqual([allowed, found]);
  });

  it.each(MACHINERY)("cannot be %i, which is %s", (code, what) => {
    expect(refusal(() => parseDhcpOption(`${code}=1`))).toEqual([
      `a code other than ${code}, which is ${what}`,
      `${code}=1`,
    ]);
  });
});

describe("a value of DHCPv6", () => {
  const ONE = "20010db8000000000000000000000001";

  it.each([
    ["31=2001:db8::1", ONE],
    ["31=2001:db8::1,2001:db8::1", `${ONE}${ONE}`],
    ["31=ip:2001:db8::1", ONE],
    // Not all of it is addresses.
    ["31=2001:db8::1,x", Buffer.from("2001:db8::1,x").toString("hex")],
    ["41=a b", "612062"],
    ["41=text:2001:db8::1", Buffer.from("2001:db8::1").toString("hex")],
    ["41=text:a\nb", "610a62"],
    ["41=xtext:a", "78746578743a61"],
    ["56=hex:0001", "0001"],
    ["65535=u16:1", "0001"],
    ["32=u32:600", "00000258"],
  ])("%j gives %s", (text, octets) => {
    expect(hex(parseDhcp6Option(text))).toBe(octets);
  });

  it.each([
    ["31", "CODE=VALUE, such as 56=hex:0001 or 41=text:Europe/Zurich", undefined],
    ["0=x", "an option code from 1 to 65535", "0"],
    ["65536=x", "an option code from 1 to 65535", "65536"],
    ["=x", "an option code from 1 to 65535", ""],
    ["1=hex:00", "a code other than 1, which the protocol sets itself", "1=hex:00"],
    ["41=", "a value that is not empty", undefined],
    ["31=ip:10.0.0.1", "an IPv6 address such as 2001:db8::1", "10.0.0.1"],
    [`41=${"x".repeat(256)}`, "a value of at most 255 octets (this one has 256)", undefined],
  ])("is wrong as %j", (text, allowed, found) => {
    expect(refusal(() => parseDhcp6Option(text))).toEqual([allowed, found]);
  });
});
