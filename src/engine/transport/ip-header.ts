/** The headers in front of the transport's, of either family, for what goes from the remote to the guest of its ends. */
import type { Egress } from "../link/egress.ts";
import { addressSum, IPV4_HEADER_OCTETS } from "../wire/ipv4.ts";
import {
  addressSum6,
  DESTINATION,
  HOP_LIMIT_DEFAULT,
  SOURCE,
  writeAddress,
  writeIpv6,
} from "../wire/ipv6.ts";
import type { Ends } from "./path.ts";

/** Writes the Ethernet header in front of the IP header at `ipAt`. False when the guest's MAC is not known. */
export function writeLinkHeader(egress: Egress, ipAt: number, ends: Ends): boolean {
  return ends.ipOctets === IPV4_HEADER_OCTETS
    ? egress.writeHeader(ipAt, ends.guestAddress)
    : egress.writeHeader6(ipAt, ends.pair, ends.pairAt);
}

/** Folded sum of both addresses, for checksums. */
export function sumOfAddresses(ends: Ends): number {
  return ends.ipOctets === IPV4_HEADER_OCTETS
    ? addressSum(ends.remoteAddress, ends.guestAddress)
    : addressSum6(ends.pair, ends.pairAt);
}

/** Writes an IPv6 header with `payload` octets behind it, the first of which are a `next` header. */
export function writeHeader6(
  view: DataView,
  ipAt: number,
  payload: number,
  next: number,
  label: number,
  ends: Ends,
): void {
  writeIpv6(view, ipAt, payload, next, HOP_LIMIT_DEFAULT, label);
  writeAddress(view, ipAt + SOURCE, ends.pair, ends.pairAt + 4);
  writeAddress(view, ipAt + DESTINATION, ends.pair, ends.pairAt);
}
