/**
 * What an address is, whoever asks: the special ranges of both families, the IPv4 addresses that hide in IPv6 ones,
 * and the addresses by which clouds hand out secrets.
 *
 * IPv4 is int32 in host order, IPv6 four words by place (`words`, index of the first).
 */
import { extractIpv4, isTranslated } from "../wire/translated-address.ts";

const LINK_LOCAL_4 = 0xa9fe;
/** Metadata services that are not link-local. They hand out what 169.254.169.254 does. */
const METADATA_ALIBABA = (100 << 24) | (100 << 16) | (100 << 8) | 200;
const METADATA_AZURE = (168 << 24) | (63 << 16) | (129 << 8) | 16;
const METADATA_ORACLE_CLASSIC = (192 << 24) | 192;

/** An IPv4 address anybody may be at: not 0/8, loopback, multicast, class E or broadcast. */
function isUnicast4(address: number): boolean {
  const first = address >>> 24;
  return first !== 0 && first !== 127 && first < 224;
}

/**
 * Whether this address means the same everywhere, so that a translator elsewhere can be asked for it (RFC 6052 section
 * 3.1): it is not private (RFC 1918), shared (RFC 6598), link-local or loopback.
 */
export function isGlobal4(address: number): boolean {
  const high = address >>> 16;
  const first = high >>> 8;
  if (first === 10 || first === 127 || high === 0xc0a8 || high === LINK_LOCAL_4) return false;
  return high >>> 4 !== 0xac1 && high >>> 6 !== 0x191;
}

/**
 * Whether the guest may send to this IPv4 address. `allowLinkLocal` opens 169.254/16 and the metadata services
 * outside it.
 */
export function isLegitimate4(address: number, allowLinkLocal: boolean): boolean {
  if (!isUnicast4(address)) return false;
  if (allowLinkLocal) return true;
  // Every datagram comes by here: comparing is 20 ns less than asking a typed array whether it includes it.
  return (
    address >>> 16 !== LINK_LOCAL_4 &&
    address !== METADATA_ALIBABA &&
    address !== METADATA_AZURE &&
    address !== METADATA_ORACLE_CLASSIC
  );
}

/** Networks of private use, address and mask: RFC 1918, 6598, 3927, and those that never leave a host. */
const PRIVATE_4 = Int32Array.of(
  ...[10 << 24, 0xff000000],
  ...[(172 << 24) | (16 << 16), 0xfff00000],
  ...[(192 << 24) | (168 << 16), 0xffff0000],
  ...[(100 << 24) | (64 << 16), 0xffc00000],
  ...[(169 << 24) | (254 << 16), 0xffff0000],
  ...[127 << 24, 0xff000000],
  ...[0, 0xff000000],
);

/** Whether an IPv4 address is one of a private network. */
export function isPrivate4(address: number): boolean {
  for (let i = 0; i < PRIVATE_4.length; i += 2)
    if ((address & PRIVATE_4[i + 1]) === PRIVATE_4[i]) return true;
  return false;
}

/** Whether an IPv6 address is one of a private network: fc00::/7, fe80::/10, ::/64, where ::1 is, and one inside by ISATAP. */
export function isPrivate6(words: Int32Array, index: number): boolean {
  const top = words[index];
  if (top >>> 25 === 0x7e || (top & LINK_LOCAL_6_MASK) === LINK_LOCAL_6 || (top | words[index + 1]) === 0)
    return true;
  return isIsatap(words, index) && isPrivate4(words[index + 3]);
}

/** An ISATAP identifier (RFC 5214): whose prefix it is decides where a packet goes, and whether the IPv4 address inside is meant. */
export function isIsatap(words: Int32Array, index: number): boolean {
  return (words[index + 2] & ISATAP_MASK) === ISATAP;
}

/** Metadata services: four words of an address, four of a mask (AWS has a whole /32 of services). */
const METADATA_6 = Int32Array.of(
  // fd00:ec2::/32, AWS
  ...[0xfd000ec2, 0, 0, 0, -1, 0, 0, 0],
  // fd20:ce::254, GCP
  ...[0xfd2000ce, 0, 0, 0x254, -1, -1, -1, -1],
  // fd00:c1::a9fe:a9fe, Oracle
  ...[0xfd0000c1, 0, 0, 0xa9fea9fe, -1, -1, -1, -1],
  // fd00:42::42, Scaleway
  ...[0xfd000042, 0, 0, 0x42, -1, -1, -1, -1],
  // fd00:a9fe:a9fe::1, Linode
  ...[0xfd00a9fe, 0xa9fe0000, 0, 1, -1, -1, -1, -1],
  // fd00:100::100:200, Alibaba
  ...[0xfd000100, 0, 0, 0x01000200, -1, -1, -1, -1],
);

/** Never a destination outside: four words of a prefix, four of a mask (RFC 4291 section 2.5, RFC 6890). */
const RESERVED_6 = Int32Array.of(
  // ::/96: unspecified, loopback and the IPv4-compatible addresses
  ...[0, 0, 0, 0, -1, -1, -1, 0],
  // ::ffff:0:0/96, IPv4-mapped
  ...[0, 0, 0xffff, 0, -1, -1, -1, 0],
  // ff00::/8, multicast
  ...[0xff000000, 0, 0, 0, 0xff000000, 0, 0, 0],
  // 100::/64, discard-only (RFC 6666)
  ...[0x01000000, 0, 0, 0, -1, -1, 0, 0],
  // 5f00::/16, segment identifiers (RFC 9602)
  ...[0x5f000000, 0, 0, 0, 0xffff0000, 0, 0, 0],
);
const RESERVED_WORDS = 8;
const LINK_LOCAL_6 = 0xfe800000 | 0;
const LINK_LOCAL_6_MASK = 0xffc00000 | 0;

const NAT64 = 0x0064ff9b;
const TEREDO = 0x20010000;
const SIX_TO_FOUR = 0x2002;
const SIIT_WORD = 0xffff0000 | 0;
/** ISATAP interface identifiers (RFC 5214 section 6.1): the universal bit may be set. */
const ISATAP = 0x00005efe;
const ISATAP_MASK = 0xfdffffff | 0;

function isIn(table: Int32Array, words: Int32Array, index: number): boolean {
  for (let i = 0; i < table.length; i += RESERVED_WORDS) {
    if (
      (words[index] & table[i + 4]) === table[i] &&
      (words[index + 1] & table[i + 5]) === table[i + 1] &&
      (words[index + 2] & table[i + 6]) === table[i + 2] &&
      (words[index + 3] & table[i + 7]) === table[i + 3]
    ) {
      return true;
    }
  }
  return false;
}

/** Whether a network interface may have this address: neither `::`, nor ::1, nor multicast, nor an IPv4 address. */
export function isUnicast6(words: Int32Array, index: number): boolean {
  return !isIn(RESERVED_6, words, index);
}

/** fe80::/10 */
export function isLinkLocal6(words: Int32Array, index: number): boolean {
  return (words[index] & LINK_LOCAL_6_MASK) === LINK_LOCAL_6;
}

/**
 * Whether the guest may send to this IPv6 address, its own network not considered. An IPv4 address inside is held to
 * the IPv4 rules: 64:ff9b::127.0.0.1 is somebody's loopback. `allowLinkLocal` opens fe80::/10 no more than the guest
 * could name an interface of the host, which is never; it opens the metadata services and, inside of translated
 * addresses, 169.254/16.
 */
export function isLegitimate6(words: Int32Array, index: number, allowLinkLocal: boolean): boolean {
  // No entry of either table is in 2000::/3, where nearly everybody is.
  if (words[index] >>> 29 !== 1) {
    if (!isUnicast6(words, index) || isLinkLocal6(words, index)) return false;
    if (!allowLinkLocal && isIn(METADATA_6, words, index)) return false;
  }
  for (let i = embeddedIpv4(words, index, EMBEDDED) - 1; i >= 0; i--) {
    if (!isLegitimate4(EMBEDDED[i], allowLinkLocal)) return false;
  }
  return true;
}

/** Most addresses `embeddedIpv4` finds in one. */
export const EMBEDDED_MAX = 4;
const EMBEDDED = new Int32Array(EMBEDDED_MAX);

/**
 * The IPv4 addresses in an IPv6 address, put into `found`; returns how many. Known are
 *
 *   64:ff9b::/96       NAT64 (RFC 6052)
 *   64:ff9b:1::/48     NAT64 of a network's own, any prefix length in it (RFC 8215)
 *   ::ffff:0:0:0/96    SIIT (RFC 2765)
 *   2002::/16          6to4 (RFC 3056)
 *   2001::/32          Teredo, server and client, the client's inverted (RFC 4380)
 *   …:[02]00:5efe:…    ISATAP (RFC 5214)
 *
 * The prefix length inside 64:ff9b:1::/48 is the translator's secret. A form counts where the octets it says are zero
 * (RFC 6052 section 2.2) are zero; of several, one in 0/8 is nobody's address and cannot be the form that is meant.
 */
export function embeddedIpv4(words: Int32Array, index: number, found: Int32Array): number {
  const w0 = words[index];
  const w1 = words[index + 1];
  const w2 = words[index + 2];
  const w3 = words[index + 3];
  if (w0 === NAT64 && w1 >>> 16 === 1) return embeddedInLocalNat64(words, index, found);
  let count = 0;
  if ((w0 === NAT64 && w1 === 0 && w2 === 0) || (w0 === 0 && w1 === 0 && w2 === SIIT_WORD)) {
    found[count++] = w3;
  } else if (w0 >>> 16 === SIX_TO_FOUR) {
    found[count++] = (w0 << 16) | (w1 >>> 16);
  } else if (w0 === TEREDO) {
    found[count++] = w1;
    found[count++] = ~w3;
  }
  if (isIsatap(words, index)) found[count++] = w3;
  return count;
}

const LOCAL_NAT64_LENGTHS: readonly number[] = [48, 56, 64, 96];

function embeddedInLocalNat64(words: Int32Array, index: number, found: Int32Array): number {
  let count = 0;
  for (let i = 0; i < LOCAL_NAT64_LENGTHS.length; i++) {
    const prefixLength = LOCAL_NAT64_LENGTHS[i];
    if (!isTranslated(words, index, prefixLength)) continue;
    const address = extractIpv4(words, index, prefixLength);
    if (address >>> 24 !== 0) found[count++] = address;
  }
  if (count === 0) found[count++] = 0;
  return count;
}
