/**
 * IPv4 addresses in IPv6 ones, as translators write them (RFC 6052 section 2.2): behind a prefix of 32, 40, 48, 56, 64 or
 * 96 bits, the octet at bit 64 left zero.
 */

/** A translator's prefix: four words, zero behind `length` bits of them. */
export interface Nat64Prefix {
  readonly words: Int32Array;
  readonly length: number;
}

/** The lengths there are, in the order in which RFC 7050 section 3 looks for them. */
export const PREFIX_LENGTHS: readonly number[] = [96, 64, 56, 48, 40, 32];

/** Whether the address is of this prefix. */
export function isOfPrefix(
  words: Int32Array,
  index: number,
  { words: prefix, length }: Nat64Prefix,
): boolean {
  for (let word = 0, bits = length; bits > 0; word++, bits -= 32) {
    const mask = bits >= 32 ? -1 : -1 << (32 - bits);
    if (((words[index + word] ^ prefix[word]) & mask) !== 0) return false;
  }
  return true;
}

/** Whether the octets that RFC 6052 section 2.2 reserves in addresses of this prefix length are zero. */
export function isTranslated(words: Int32Array, index: number, prefixLength: number): boolean {
  if (prefixLength === 96) return true;
  if (words[index + 2] >>> 24 !== 0) return false;
  // The address ends 40 bits behind its prefix, the octet at 64 left out.
  const suffix = prefixLength - 24;
  const low = suffix < 32 ? words[index + 2] << suffix : 0;
  const last = suffix <= 32 ? words[index + 3] : words[index + 3] << (suffix - 32);
  return low === 0 && last === 0;
}

/** The IPv4 address in an address translated with a prefix of 32, 40, 48, 56, 64 or 96 bits (RFC 6052 section 2.2). */
export function extractIpv4(words: Int32Array, index: number, prefixLength: number): number {
  if (prefixLength === 96) return words[index + 3];
  if (prefixLength === 32) return words[index + 1];
  const before = 64 - prefixLength;
  const high = before === 0 ? 0 : words[index + 1] << (32 - before);
  // Behind the octet at 64, 24 bits are in this word and what is left in the next.
  const low24 = words[index + 2] & 0xffffff;
  const wanted = 32 - before;
  const low = wanted <= 24 ? low24 >>> (24 - wanted) : (low24 << 8) | (words[index + 3] >>> 24);
  return high | low;
}

/** Writes the IPv4 address translated with this prefix at `words[index]`; the other way round of `extractIpv4`. */
export function embedIpv4(
  prefix: Int32Array,
  prefixLength: number,
  address: number,
  words: Int32Array,
  index: number,
): void {
  words[index] = prefix[0];
  words[index + 1] = prefix[1];
  if (prefixLength === 96) {
    words[index + 2] = prefix[2];
    words[index + 3] = address;
    return;
  }
  const before = 64 - prefixLength;
  const mask = before === 32 ? 0 : -1 << before;
  words[index + 1] = (prefix[1] & mask) | (before === 0 ? 0 : address >>> (32 - before));
  const rest = before === 32 ? 0 : address << before;
  words[index + 2] = rest >>> 8;
  words[index + 3] = rest << 24;
}

/** The IPv4 address in the address of IPv6 at `from`, or 0 where it is none under the prefix. */
export function untranslated(words: Int32Array, from: number, prefix: Nat64Prefix | null): number {
  return prefix !== null && isOfPrefix(words, from, prefix) ? extractIpv4(words, from, prefix.length) : 0;
}
