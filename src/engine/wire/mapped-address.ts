/** IPv4 addresses in four words, as v4-mapped ones (RFC 4291 section 2.5.5.2). */
import { V4_MAPPED } from "../boundary.ts";

export function setMapped(words: Int32Array, at: number, address: number): void {
  words[at] = 0;
  words[at + 1] = 0;
  words[at + 2] = V4_MAPPED;
  words[at + 3] = address;
}

/** Whether the four words are such an address. */
export function isMapped(words: Int32Array, at: number): boolean {
  return (words[at] | words[at + 1]) === 0 && words[at + 2] === V4_MAPPED;
}
