/** Addresses as the engine has them. */
import { parseIpv4 } from "../config/address.ts";
import { readIpv6 } from "../config/address6.ts";
import { V4_MAPPED } from "../engine/boundary.ts";

/** Four words, IPv4 as v4-mapped. */
export function addressWords(address: string): readonly number[] {
  return readIpv6(address) ?? [0, 0, V4_MAPPED, parseIpv4(address)];
}
