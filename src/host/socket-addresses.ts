/** What an address in words is to the kernel. */
import { type AddressWords, V4_MAPPED } from "../engine/boundary.ts";

const LINK_LOCAL_MASK = 0xffc00000 | 0;
const LINK_LOCAL_PREFIX = 0xfe800000 | 0;
const LOOPBACK_NETWORK = 127;

/** fe80::/10, which needs a scope. */
export function isLinkLocal6(words: AddressWords): boolean {
  return (words[0] & LINK_LOCAL_MASK) === LINK_LOCAL_PREFIX;
}

/** Socket family for a destination: v4-mapped addresses go out as IPv4. */
export function familyOf(words: AddressWords): 4 | 6 {
  return words[0] === 0 && words[1] === 0 && words[2] === V4_MAPPED ? 4 : 6;
}

/** This host's own, which nothing else has a way to: 127/8 and ::1. */
export function isLoopback(words: AddressWords): boolean {
  if (familyOf(words) === 4) return words[3] >>> 24 === LOOPBACK_NETWORK;
  return (words[0] | words[1] | words[2]) === 0 && words[3] === 1;
}
