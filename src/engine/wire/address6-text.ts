/** IPv6 addresses as people read them (RFC 5952). Never on the packet path: each call makes a string. */

const V4_MAPPED = 0xffff;
const GROUPS = 8;

/**
 * The IPv6 address in `words`: lower case, no leading zeros, the longest run of two zero groups or more (the first of
 * equal ones) as `::`. IPv4-mapped addresses end in a dotted quad (section 5).
 */
export function formatIpv6(words: ArrayLike<number>, index = 0): string {
  if (isMapped(words, index)) return `::ffff:${dottedQuad(words[index + 3])}`;
  const groups: number[] = [];
  for (let i = index; i < index + 4; i++) groups.push(words[i] >>> 16, words[i] & 0xffff);
  let runAt = GROUPS;
  let runLength = 1;
  for (let at = 0; at < GROUPS; at++) {
    let end = at;
    while (end < GROUPS && groups[end] === 0) end++;
    if (end - at > runLength) {
      runAt = at;
      runLength = end - at;
    }
  }
  const text = (from: number, to: number): string =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(":");
  if (runAt === GROUPS) return text(0, GROUPS);
  return `${text(0, runAt)}::${text(runAt + runLength, GROUPS)}`;
}

/** The address in `words`, of either family: IPv4 is ::ffff:0:0/96 there, and a dotted quad here. */
export function formatAddress(words: ArrayLike<number>, index = 0): string {
  return isMapped(words, index) ? dottedQuad(words[index + 3]) : formatIpv6(words, index);
}

function isMapped(words: ArrayLike<number>, index: number): boolean {
  return words[index] === 0 && words[index + 1] === 0 && words[index + 2] === V4_MAPPED;
}

function dottedQuad(address: number): string {
  return [address >>> 24, (address >>> 16) & 255, (address >>> 8) & 255, address & 255].join(".");
}
