/**
 * Neighbour Discovery messages and options (RFC 4861 section 4), with the options of RFC 8106 (resolvers, search
 * list) and RFC 8781 (NAT64 prefix).
 *
 *   solicitation of routers    | 133 | 0 | sum | reserved, 4 | options
 *   advertisement of a router  | 134 | 0 | sum | hop limit | M O | lifetime, 2 | reachable, 4 | retransmit, 4 | options
 *   solicitation, neighbours   | 135 | 0 | sum | reserved, 4 | target, 16 | options
 *   advertisement, neighbours  | 136 | 0 | sum | R S O, 4    | target, 16 | options
 *
 *   option                     | type | length in units of 8 octets | value
 *
 * Writers return the offset behind what they wrote. MAC addresses are two ints (`ethernet.ts`), IPv6 addresses four
 * words by place (`ipv6.ts`), lifetimes seconds.
 */
import { dropReason, HANDLED } from "../metrics/drop-reasons.ts";
import {
  CODE,
  NEIGHBOUR_ADVERTISEMENT,
  NEIGHBOUR_SOLICITATION,
  ROUTER_ADVERTISEMENT,
  ROUTER_SOLICITATION,
  TYPE,
} from "./icmpv6.ts";
import {
  DESTINATION,
  HOP_LIMIT_ON_LINK,
  hopLimit,
  isMulticast,
  isUnspecified,
  SOURCE,
  writeAddress,
} from "./ipv6.ts";

/** Flags and target of the neighbour messages. */
export const FLAGS = 4;
export const TARGET = 8;
export const ROUTER_SOLICITATION_OCTETS = 8;
export const ROUTER_ADVERTISEMENT_OCTETS = 16;
export const NEIGHBOUR_MESSAGE_OCTETS = TARGET + 16;

export const SOURCE_LINK_LAYER = 1;
export const TARGET_LINK_LAYER = 2;
export const PREFIX_INFORMATION = 3;
export const MTU = 5;
export const RECURSIVE_DNS = 25;
export const DNS_SEARCH_LIST = 31;
export const PREF64 = 38;

/** Flags of a neighbour advertisement: from a router, an answer, to replace what is known. */
export const FROM_ROUTER = 0x80000000 | 0;
export const SOLICITED = 0x40000000;
export const OVERRIDE = 0x20000000;
/** Flags of a router advertisement: addresses by DHCPv6, everything else by DHCPv6. */
export const MANAGED = 0x80;
export const OTHER = 0x40;
/** Flags of a prefix: on link, for addresses of one's own. */
export const ON_LINK = 0x80;
export const AUTONOMOUS = 0x40;

export const LINK_LAYER_OPTION_OCTETS = 8;
export const MTU_OPTION_OCTETS = 8;
export const PREFIX_OPTION_OCTETS = 32;
export const RDNSS_OPTION_OCTETS = 24;
export const PREF64_OPTION_OCTETS = 16;
/** RFC 8781 section 4: lifetimes count in units of 8 seconds, 13 bits of them. */
const PREF64_LIFETIME_UNIT = 8;
const PREF64_LIFETIME_MAX = 0x1fff;
/** Prefix length codes of RFC 8781 section 4, by place. */
const PREF64_LENGTHS: readonly number[] = [96, 64, 56, 48, 40, 32];

/** ff02::1:ff00:0/104 (RFC 4291 section 2.7.1). */
const SOLICITED_NODE_0 = 0xff020000 | 0;
const SOLICITED_NODE_2 = 1;
const SOLICITED_NODE_3 = 0xff000000 | 0;

const MALFORMED = dropReason("ndp-malformed");

export function flags(view: DataView, at: number): number {
  return view.getInt32(at + FLAGS);
}

/**
 * Whether the message of `octets` at `at`, whose checksum is right, in the packet at `ipAt` may be looked at: RFC 4861
 * sections 6.1.1, 6.1.2, 7.1.1 and 7.1.2, options included. Every accessor above and `linkLayerOption` are safe
 * after it. Returns HANDLED or a drop reason.
 */
export function checkNdp(view: DataView, ipAt: number, at: number, octets: number): number {
  if (octets < ROUTER_SOLICITATION_OCTETS) return MALFORMED;
  const type = view.getUint8(at + TYPE);
  const fixed = fixedOctets(type);
  if (fixed === 0 || octets < fixed) return MALFORMED;
  if (hopLimit(view, ipAt) !== HOP_LIMIT_ON_LINK || view.getUint8(at + CODE) !== 0) return MALFORMED;
  if (!areOptionsWhole(view, at + fixed, at + octets)) return MALFORMED;
  const unspecified = isUnspecified(view, ipAt + SOURCE);
  if (unspecified && findOption(view, at + fixed, at + octets, SOURCE_LINK_LAYER) !== 0) return MALFORMED;
  if (type === NEIGHBOUR_SOLICITATION) {
    if (isMulticast(view, at + TARGET)) return MALFORMED;
    if (unspecified && !isSolicitedNode(view, ipAt + DESTINATION)) return MALFORMED;
  } else if (type === NEIGHBOUR_ADVERTISEMENT) {
    if (isMulticast(view, at + TARGET) || unspecified) return MALFORMED;
    if (isMulticast(view, ipAt + DESTINATION) && (flags(view, at) & SOLICITED) !== 0) return MALFORMED;
  }
  return HANDLED;
}

/** Octets in front of the options, 0 for what is none of the four messages. */
function fixedOctets(type: number): number {
  switch (type) {
    case ROUTER_SOLICITATION:
      return ROUTER_SOLICITATION_OCTETS;
    case ROUTER_ADVERTISEMENT:
      return ROUTER_ADVERTISEMENT_OCTETS;
    case NEIGHBOUR_SOLICITATION:
    case NEIGHBOUR_ADVERTISEMENT:
      return NEIGHBOUR_MESSAGE_OCTETS;
    default:
      return 0;
  }
}

function areOptionsWhole(view: DataView, at: number, end: number): boolean {
  while (at < end) {
    if (end - at < 2) return false;
    const octets = view.getUint8(at + 1) << 3;
    if (octets === 0 || octets > end - at) return false;
    at += octets;
  }
  return true;
}

/** The first option of this type between `at` and `end`, or 0. Options are whole. */
function findOption(view: DataView, at: number, end: number, type: number): number {
  while (at < end) {
    if (view.getUint8(at) === type) return at;
    at += view.getUint8(at + 1) << 3;
  }
  return 0;
}

/**
 * Where the MAC in the link-layer address option of this type is, in a message that passed `checkNdp`; 0 when there
 * is none, or one that is no Ethernet address.
 */
export function linkLayerOption(view: DataView, at: number, octets: number, type: number): number {
  const option = findOption(view, at + fixedOctets(view.getUint8(at + TYPE)), at + octets, type);
  return option !== 0 && view.getUint8(option + 1) === 1 ? option + 2 : 0;
}

/** Whether the address at octet `at` is a solicited-node multicast address. */
export function isSolicitedNode(view: DataView, at: number): boolean {
  return (
    view.getInt32(at) === SOLICITED_NODE_0 &&
    view.getInt32(at + 4) === 0 &&
    view.getInt32(at + 8) === SOLICITED_NODE_2 &&
    view.getUint8(at + 12) === 0xff
  );
}

/** The last word of the solicited-node address of an address, whose last word is `word3`. */
export function solicitedNodeWord3(word3: number): number {
  return SOLICITED_NODE_3 | (word3 & 0xffffff);
}

/** Writes the solicited-node address of `words` at octet `at`. */
export function writeSolicitedNode(view: DataView, at: number, words: Int32Array, index: number): void {
  view.setInt32(at, SOLICITED_NODE_0);
  view.setInt32(at + 4, 0);
  view.setInt32(at + 8, SOLICITED_NODE_2);
  view.setInt32(at + 12, solicitedNodeWord3(words[index + 3]));
}

/** A neighbour solicitation (flags 0) or advertisement, without options and checksum. */
export function writeNeighbourMessage(
  view: DataView,
  at: number,
  type: number,
  messageFlags: number,
  words: Int32Array,
  index: number,
): number {
  view.setInt32(at, type << 24);
  view.setInt32(at + FLAGS, messageFlags);
  writeAddress(view, at + TARGET, words, index);
  return at + NEIGHBOUR_MESSAGE_OCTETS;
}

/** A router advertisement without options and checksum. Reachable and retransmit times stay the guest's own. */
export function writeRouterAdvertisement(
  view: DataView,
  at: number,
  hops: number,
  routerFlags: number,
  lifetime: number,
): number {
  view.setInt32(at, ROUTER_ADVERTISEMENT << 24);
  view.setUint8(at + 4, hops);
  view.setUint8(at + 5, routerFlags);
  view.setUint16(at + 6, lifetime);
  view.setInt32(at + 8, 0);
  view.setInt32(at + 12, 0);
  return at + ROUTER_ADVERTISEMENT_OCTETS;
}

/** SOURCE_LINK_LAYER or TARGET_LINK_LAYER. */
export function writeLinkLayer(
  view: DataView,
  at: number,
  type: number,
  macHigh: number,
  macLow: number,
): number {
  view.setUint16(at, (type << 8) | 1);
  view.setUint16(at + 2, macHigh);
  view.setInt32(at + 4, macLow);
  return at + LINK_LAYER_OPTION_OCTETS;
}

export function writeMtu(view: DataView, at: number, mtu: number): number {
  view.setInt32(at, (MTU << 24) | (1 << 16));
  view.setInt32(at + 4, mtu);
  return at + MTU_OPTION_OCTETS;
}

/** A /64 of which the first two words of `words` are sent; the bits behind it are zero (RFC 4861 section 4.6.2). */
export function writePrefix(
  view: DataView,
  at: number,
  prefixFlags: number,
  valid: number,
  preferred: number,
  words: Int32Array,
): number {
  view.setUint16(at, (PREFIX_INFORMATION << 8) | 4);
  view.setUint8(at + 2, 64);
  view.setUint8(at + 3, prefixFlags);
  view.setUint32(at + 4, valid);
  view.setUint32(at + 8, preferred);
  view.setInt32(at + 12, 0);
  view.setInt32(at + 16, words[0]);
  view.setInt32(at + 20, words[1]);
  view.setInt32(at + 24, 0);
  view.setInt32(at + 28, 0);
  return at + PREFIX_OPTION_OCTETS;
}

/** One resolver (RFC 8106 section 5.1). */
export function writeRdnss(view: DataView, at: number, lifetime: number, words: Int32Array): number {
  view.setInt32(at, (RECURSIVE_DNS << 24) | (3 << 16));
  view.setUint32(at + 4, lifetime);
  writeAddress(view, at + 8, words, 0);
  return at + RDNSS_OPTION_OCTETS;
}

/** A search list as `encodeDomainList` makes it, padded with zeros to a multiple of 8 (RFC 8106 section 5.2). */
export function writeDnssl(view: DataView, at: number, lifetime: number, names: Uint8Array): number {
  const octets = dnsslOctets(names.length);
  view.setInt32(at, (DNS_SEARCH_LIST << 24) | ((octets >>> 3) << 16));
  view.setUint32(at + 4, lifetime);
  for (let i = 0; i < octets - 8; i++) view.setUint8(at + 8 + i, i < names.length ? names[i] : 0);
  return at + octets;
}

/** Octets of the search list option with names of so many; at most 2032 fit into one. */
export function dnsslOctets(names: number): number {
  return (8 + names + 7) & ~7;
}

/** The prefix of the network's NAT64, 32 to 96 bits (RFC 8781). Lifetimes are rounded up to 8 seconds. */
export function writePref64(
  view: DataView,
  at: number,
  lifetime: number,
  words: Int32Array,
  prefixLength: number,
): number {
  const scaled = Math.min(Math.ceil(lifetime / PREF64_LIFETIME_UNIT), PREF64_LIFETIME_MAX);
  view.setUint16(at, (PREF64 << 8) | 2);
  view.setUint16(at + 2, (scaled << 3) | PREF64_LENGTHS.indexOf(prefixLength));
  view.setInt32(at + 4, words[0]);
  view.setInt32(at + 8, words[1]);
  view.setInt32(at + 12, words[2]);
  return at + PREF64_OPTION_OCTETS;
}
