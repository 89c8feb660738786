/** The prefix of a network's NAT64, as people write it (RFC 6052 section 2.2). */
import type { Nat64Config } from "../engine/config.ts";
import { formatIpv6 } from "../engine/wire/address-text.ts";
import { type Ipv6, parseIpv6, readIpv6, sharesPrefix } from "./address6.ts";
import { Unacceptable } from "./unacceptable.ts";

const LENGTHS: readonly number[] = [32, 40, 48, 56, 64, 96];
const EXAMPLE = "auto, off, or PREFIX/LENGTH such as 64:ff9b::/96";

/** Prefixes that no translator has, each with the reason. */
const NO_TRANSLATOR: readonly (readonly [text: string, length: number, why: string])[] = [
  ["fe80::", 10, "fe80::/10 is link-local"],
  ["ff00::", 8, "ff00::/8 is multicast"],
  ["2002::", 16, "2002::/16 is 6to4's"],
];
/** Of ::/8, which is reserved, translators have this (RFC 6052 section 2.1, RFC 8215). */
const TRANSLATORS_OWN = "64:ff9b::";

/** `auto`, `off`, or a prefix whose bits behind its length, and those from 64 to 71, are zero. */
export function parseNat64(text: string): Nat64Config | "auto" | "off" {
  if (text === "auto" || text === "off") return text;
  const match = /^([^/]+)\/(\d{1,3})$/.exec(text);
  const prefix = match && readIpv6(match[1] ?? "");
  if (!match || !prefix) throw new Unacceptable(EXAMPLE, text);
  const length = Number(match[2]);
  if (!LENGTHS.includes(length)) throw new Unacceptable(`a length of ${LENGTHS.join(", ")} bits`, text);
  const cut = cutTo(prefix, length);
  if (!cut.every((word, i) => word === prefix[i])) {
    throw new Unacceptable(`zeros behind the prefix: did you mean ${formatIpv6(cut)}/${length}?`, text);
  }
  if (prefix[2] >>> 24 !== 0) throw new Unacceptable("zeros in bits 64 to 71", text);
  const why = whyNot(prefix);
  if (why !== undefined) throw new Unacceptable(`the prefix of a translator; ${why}`, text);
  return { prefix, length };
}

function cutTo([a, b, c, d]: Ipv6, length: number): Ipv6 {
  const cut = (word: number, bits: number): number =>
    bits <= 0 ? 0 : word & (-1 << (32 - Math.min(bits, 32)));
  return [cut(a, length), cut(b, length - 32), cut(c, length - 64), cut(d, length - 96)];
}

function whyNot(prefix: Ipv6): string | undefined {
  const own = sharesPrefix(prefix, parseIpv6(TRANSLATORS_OWN), 32);
  if (prefix[0] >>> 24 === 0 && !own) return "::/8 is reserved";
  return NO_TRANSLATOR.find(([text, length]) => sharesPrefix(prefix, parseIpv6(text), length))?.[2];
}
