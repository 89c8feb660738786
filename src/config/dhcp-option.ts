/**
 * `--dhcp-option CODE=VALUE`: any option of RFC 2132 by number.
 *
 * The form of VALUE may be said (`ip:`, `text:`, `hex:`, `u8:`, `u16:`, `u32:`); without that, a code of RFC 2132 has
 * the form its definition gives it, and any other code takes addresses if all of VALUE is addresses, else text.
 *
 * `--dhcp6-option` is the same for DHCPv6, where `ip:` are IPv6 addresses.
 */

import type { DhcpOption } from "../engine/config.ts";
import { encodeAddresses6, PROTOCOL_OPTIONS_6 } from "../engine/wire/dhcpv6.ts";
import { isIpv4, parseInteger, parseIpv4 } from "./address.ts";
import { parseIpv6, readIpv6 } from "./address6.ts";
import { Unacceptable } from "./problem.ts";

type Form = "ip" | "text" | "hex" | "u8" | "u16" | "u32";

const VALUE_OCTETS_MAX = 255;

/** Codes that are the protocol's own machinery: the server must set them itself. */
const MACHINERY = new Map<number, string>([
  [50, "the requested address"],
  [52, "option overload"],
  [53, "the message type"],
  [54, "the server identifier"],
  [55, "the parameter request list"],
  [57, "the maximum message size"],
  [61, "the client identifier"],
  [82, "relay agent information"],
]);

/** Native forms (RFC 2132 sections 3-9, RFC 3397 and 3442 are given in hex). */
const FORMS: readonly (readonly [Form, readonly number[]])[] = [
  [
    "ip",
    [
      1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 16, 21, 28, 32, 33, 41, 42, 44, 45, 48, 49, 65, 68, 69, 70, 71, 72, 73,
      74, 75, 76,
    ],
  ],
  ["text", [12, 14, 15, 17, 18, 40, 47, 56, 60, 62, 64, 66, 67, 100, 101, 114, 252]],
  ["u8", [19, 20, 23, 27, 29, 30, 31, 34, 36, 37, 39, 46, 116]],
  ["u16", [13, 22, 25, 26, 117]],
  ["u32", [2, 24, 35, 38, 51, 58, 59, 108]],
  ["hex", [43, 119, 121, 249]],
];

function nativeForm(code: number): Form | undefined {
  return FORMS.find(([, codes]) => codes.includes(code))?.[0];
}

/** Parses `CODE=VALUE` or `CODE=FORM:VALUE`. */
export function parseDhcpOption(text: string): DhcpOption {
  const at = text.indexOf("=");
  if (at < 0) throw new Unacceptable("CODE=VALUE, such as 42=10.0.2.2 or 224=hex:0102");
  const code = parseInteger(text.slice(0, at), 1, 254, "option code");
  const machinery = MACHINERY.get(code);
  if (machinery) throw new Unacceptable(`a code other than ${code}, which is ${machinery}`, text);
  const value = encodeValue(code, text.slice(at + 1));
  if (value.length > VALUE_OCTETS_MAX) {
    throw new Unacceptable(`a value of at most ${VALUE_OCTETS_MAX} octets (this one has ${value.length})`);
  }
  if (code === 51 && value.length !== 4) throw new Unacceptable("a lease time as u32, in seconds");
  return { code, value };
}

/** Parses `CODE=VALUE` or `CODE=FORM:VALUE` of DHCPv6. */
export function parseDhcp6Option(text: string): DhcpOption {
  const at = text.indexOf("=");
  if (at < 0) throw new Unacceptable("CODE=VALUE, such as 56=hex:0001 or 41=text:Europe/Zurich");
  const code = parseInteger(text.slice(0, at), 1, 0xffff, "option code");
  if (PROTOCOL_OPTIONS_6.has(code))
    throw new Unacceptable(`a code other than ${code}, which the protocol sets itself`, text);
  const rest = text.slice(at + 1);
  const [, said, value = rest] = /^(ip|text|hex|u8|u16|u32):(.*)$/s.exec(rest) ?? [];
  const form = said ?? (value.split(",").every((part) => readIpv6(part) !== null) ? "ip" : "text");
  const octets =
    form === "ip" ? encodeAddresses6(value.split(",").map(parseIpv6)) : encodeAs(form as Form, value);
  if (octets.length > VALUE_OCTETS_MAX) {
    throw new Unacceptable(`a value of at most ${VALUE_OCTETS_MAX} octets (this one has ${octets.length})`);
  }
  return { code, value: octets };
}

function encodeValue(code: number, text: string): Uint8Array {
  const [, said, rest = ""] = /^(ip|text|hex|u8|u16|u32):(.*)$/s.exec(text) ?? [];
  if (said !== undefined) return encodeAs(said as Form, rest);
  const native = nativeForm(code);
  if (native) return encodeAs(native, text);
  return encodeAs(text.split(",").every(isIpv4) ? "ip" : "text", text);
}

function encodeAs(form: Form, text: string): Uint8Array {
  switch (form) {
    case "ip":
      return integers(text.split(",").map(parseIpv4), 4);
    case "u8":
      return integers(numbers(text, 0xff), 1);
    case "u16":
      return integers(numbers(text, 0xffff), 2);
    case "u32":
      return integers(numbers(text, 0xffffffff), 4);
    case "hex":
      return hexOctets(text);
    case "text":
      if (text.length === 0) throw new Unacceptable("a value that is not empty");
      return new TextEncoder().encode(text);
  }
}

function numbers(text: string, max: number): number[] {
  return text.split(",").map((part) => parseInteger(part, 0, max));
}

function integers(values: readonly number[], octetsEach: number): Uint8Array {
  const out = new Uint8Array(values.length * octetsEach);
  values.forEach((value, i) => {
    for (let k = 0; k < octetsEach; k++) out[i * octetsEach + k] = value >>> (8 * (octetsEach - 1 - k));
  });
  return out;
}

function hexOctets(text: string): Uint8Array {
  const digits = text.replace(/^0x/i, "").replaceAll(":", "");
  if (!/^([0-9a-f]{2})+$/i.test(digits))
    throw new Unacceptable("pairs of hexadecimal digits, such as 0a00ff", text);
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
