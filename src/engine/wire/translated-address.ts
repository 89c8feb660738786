/**
 * IPv4 addresses in IPv6 ones, as translators write them (RFC 6052 section 2.2): behind a prefix of 32, 40, 48, 56, 64 or
 * 96 bits, the octet at bit 64 left zero.
 */

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
  words[index + 2] = 0;
  words[index + 3] = 0;
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
