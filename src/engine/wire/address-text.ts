/** Addresses and endpoints as people read them. Never on the packet path: each call makes a string. */

const V4_MAPPED = 0xffff;
const GROUPS = 8;

/** The dotted quad of an int32 in host order. */
export function formatIpv4(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

/** `10.0.2.15:80`. */
export function formatEndpoint(address: number, port: number): string {
  return `${formatIpv4(address)}:${port}`;
}

/**
 * The IPv6 address in four words by RFC 5952: lower case, no leading zeros, the longest run of two zero groups or more
 * (the first of equal ones) as `::`. IPv4-mapped addresses end in a dotted quad (section 5).
 */
export function formatIpv6(words: ArrayLike<number>, index = 0): string {
  if (isMapped(words, index)) return `::ffff:${formatIpv4(words[index + 3])}`;
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

/** The address in four words, of either family: IPv4 is ::ffff:0:0/96 there, and a dotted quad here. */
export function formatAddress(words: ArrayLike<number>, index = 0): string {
  return isMapped(words, index) ? formatIpv4(words[index + 3]) : formatIpv6(words, index);
}

/** An address of the host side, four words, and a port: `192.0.2.1:53` when v4-mapped, else `[2001:db8::1]:53`. */
export function formatWordsEndpoint(a: number, b: number, c: number, d: number, port: number): string {
  const words = [a, b, c, d];
  return isMapped(words, 0) ? formatEndpoint(d, port) : `[${formatIpv6(words)}]:${port}`;
}

/** `52:55:0a:00:02:02`. */
export function formatMac(mac: Uint8Array): string {
  return Array.from(mac, (octet) => octet.toString(16).padStart(2, "0")).join(":");
}

function isMapped(words: ArrayLike<number>, index: number): boolean {
  return words[index] === 0 && words[index + 1] === 0 && words[index + 2] === V4_MAPPED;
}
