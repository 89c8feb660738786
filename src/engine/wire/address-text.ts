/** Addresses and endpoints as people read them. Never on the packet path: each call makes a string. */

import { V4_MAPPED } from "../boundary.ts";

/** The dotted quad of an int32 in host order. */
export function formatIpv4(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

/** `10.0.2.15:80`. */
export function formatEndpoint(address: number, port: number): string {
  return `${formatIpv4(address)}:${port}`;
}

/** An address of the host side, four words, and a port: `192.0.2.1:53` when v4-mapped, else `[2001:db8:...]:53`. */
export function formatWordsEndpoint(a: number, b: number, c: number, d: number, port: number): string {
  if (a === 0 && b === 0 && c === V4_MAPPED) return formatEndpoint(d, port);
  const groups: string[] = [];
  for (const word of [a, b, c, d]) groups.push((word >>> 16).toString(16), (word & 0xffff).toString(16));
  return `[${groups.join(":")}]:${port}`;
}
