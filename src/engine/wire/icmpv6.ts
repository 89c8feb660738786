/**
 * ICMPv6 header (RFC 4443 section 2.1). Neighbour Discovery, the only ICMPv6 that is spoken here, is in `ndp.ts`.
 *
 *    0      1      2             4
 *   +------+------+-------------+---------
 *   | type | code |  checksum   | body       the checksum covers the IPv6 pseudo-header
 *   +------+------+-------------+---------
 */
import type { ChecksumKernel } from "../boundary.ts";
import { headerAddressSum6, NEXT_ICMPV6 } from "./ipv6.ts";

export const TYPE = 0;
export const CODE = 1;
const CHECKSUM = 2;
export const ICMPV6_HEADER_OCTETS = CHECKSUM + 2;

export const ROUTER_SOLICITATION = 133;
export const ROUTER_ADVERTISEMENT = 134;
export const NEIGHBOUR_SOLICITATION = 135;
export const NEIGHBOUR_ADVERTISEMENT = 136;
export const REDIRECT = 137;

const MLD_QUERY = 130;
const MLD_DONE = 132;
const MLD2_REPORT = 143;

export function type(view: DataView, at: number): number {
  return view.getUint8(at + TYPE);
}

/** Multicast Listener Discovery: query, report, done (RFC 2710) and the report of version 2 (RFC 3810). */
export function isMld(messageType: number): boolean {
  return (messageType >= MLD_QUERY && messageType <= MLD_DONE) || messageType === MLD2_REPORT;
}

/** Folded sum of the message of `octets` at `at` with the pseudo-header of `ipAt`: 0xffff when its checksum is right. */
export function icmpv6Sum(
  kernel: ChecksumKernel,
  view: DataView,
  ipAt: number,
  at: number,
  octets: number,
): number {
  return kernel.sum(at, octets, headerAddressSum6(view, ipAt) + NEXT_ICMPV6 + octets);
}

/** Computes the checksum of a message that is otherwise complete, and writes it. */
export function finishIcmpv6(
  kernel: ChecksumKernel,
  view: DataView,
  ipAt: number,
  at: number,
  octets: number,
): void {
  view.setUint16(at + CHECKSUM, 0);
  view.setUint16(at + CHECKSUM, ~icmpv6Sum(kernel, view, ipAt, at, octets) & 0xffff);
}
