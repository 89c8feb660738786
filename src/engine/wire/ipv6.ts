/**
 * IPv6 header and extension headers (RFC 8200 sections 3 and 4).
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +-------+---------------+---------------------------------------+
 *   |version| traffic class |              flow label               |
 *   +-------+---------------+-------+---------------+---------------+
 *   |        payload length         |  next header  |   hop limit   |
 *   +-------------------------------+---------------+---------------+
 *   |                    source address, 16 octets                  |
 *   |                 destination address, 16 octets                |
 *   +---------------------------------------------------------------+
 *
 * The payload length does not count these 40 octets. An address is four words, int32 in host order; functions take
 * it by place: an array of words and the index of the first, or the offset of its header.
 */
import { EXTENSION_HEADERS_MAX, EXTENSION_OCTETS_MAX } from "../limits.ts";
import { dropReason, HANDLED } from "../metrics/drop-reasons.ts";

export const PAYLOAD_LENGTH = 4;
export const NEXT_HEADER = 6;
export const HOP_LIMIT = 7;
export const SOURCE = 8;
export const DESTINATION = 24;
export const IPV6_HEADER_OCTETS = DESTINATION + 16;

export const NEXT_HOP_BY_HOP = 0;
export const NEXT_ROUTING = 43;
export const NEXT_FRAGMENT = 44;
export const NEXT_ICMPV6 = 58;
export const NEXT_DESTINATION_OPTIONS = 60;

export const HOP_LIMIT_DEFAULT = 64;
/** What Neighbour Discovery is sent with and must arrive with: no router forwarded it. */
export const HOP_LIMIT_ON_LINK = 255;

/**
 * Fragment header (RFC 8200 section 4.5): next header, reserved, offset in octets (a multiple of 8) with two reserved
 * bits and M below it, identification.
 */
export const FRAGMENT_BITS = 2;
export const FRAGMENT_IDENTIFICATION = 4;
export const FRAGMENT_HEADER_OCTETS = 8;
export const FRAGMENT6_OFFSET_MASK = 0xfff8;
export const FRAGMENT6_MORE = 1;

const VERSION_6 = 0x60000000;
const VERSION_MASK = 0xf0000000 | 0;
const FLOW_LABEL_MASK = 0xfffff;
const MAPPED_WORD = 0xffff;
const MULTICAST = 0xff;
const LINK_LOCAL = 0xfe800000 | 0;
const LINK_LOCAL_MASK = 0xffc00000 | 0;

const MALFORMED = dropReason("ipv6-malformed");
const EXTENSION_HEADER = dropReason("ipv6-extension-header");
const ROUTING_HEADER = dropReason("ipv6-routing-header");
const OPTION = dropReason("ipv6-option");

export function payloadLength(view: DataView, at: number): number {
  return view.getUint16(at + PAYLOAD_LENGTH);
}
export function nextHeader(view: DataView, at: number): number {
  return view.getUint8(at + NEXT_HEADER);
}
export function hopLimit(view: DataView, at: number): number {
  return view.getUint8(at + HOP_LIMIT);
}
export function flowLabel(view: DataView, at: number): number {
  return view.getInt32(at) & FLOW_LABEL_MASK;
}
/** Word 0 to 3 of the source address. */
export function sourceWord(view: DataView, at: number, word: number): number {
  return view.getInt32(at + SOURCE + word * 4);
}
/** Word 0 to 3 of the destination address. */
export function destinationWord(view: DataView, at: number, word: number): number {
  return view.getInt32(at + DESTINATION + word * 4);
}

/** Copies the address at octet `at` into `words[index]` and the three behind it. */
export function readAddress(view: DataView, at: number, words: Int32Array, index: number): void {
  words[index] = view.getInt32(at);
  words[index + 1] = view.getInt32(at + 4);
  words[index + 2] = view.getInt32(at + 8);
  words[index + 3] = view.getInt32(at + 12);
}
/** Writes `words[index]` and the three behind it at octet `at`. */
export function writeAddress(view: DataView, at: number, words: Int32Array, index: number): void {
  view.setInt32(at, words[index]);
  view.setInt32(at + 4, words[index + 1]);
  view.setInt32(at + 8, words[index + 2]);
  view.setInt32(at + 12, words[index + 3]);
}
/** Whether the address at octet `at` is the one in `words`. */
export function isAddress(view: DataView, at: number, words: Int32Array, index: number): boolean {
  return (
    view.getInt32(at + 12) === words[index + 3] &&
    view.getInt32(at + 8) === words[index + 2] &&
    view.getInt32(at + 4) === words[index + 1] &&
    view.getInt32(at) === words[index]
  );
}
/** Whether the address at octet `at` is `::`. */
export function isUnspecified(view: DataView, at: number): boolean {
  return (view.getInt32(at) | view.getInt32(at + 4) | view.getInt32(at + 8) | view.getInt32(at + 12)) === 0;
}
/** ff00::/8 */
export function isMulticast(view: DataView, at: number): boolean {
  return view.getUint8(at) === MULTICAST;
}
/** How far a group reaches: 2 is the link (RFC 4291 section 2.7). */
export function multicastScope(view: DataView, at: number): number {
  return view.getUint8(at + 1) & 0xf;
}
/** fe80::/10 */
export function isLinkLocal(view: DataView, at: number): boolean {
  return (view.getInt32(at) & LINK_LOCAL_MASK) === LINK_LOCAL;
}
/** ::ffff:0:0/96, which is how host sockets write IPv4; it never comes from a packet (RFC 4291 section 2.5.5.2). */
export function isMapped(view: DataView, at: number): boolean {
  return (view.getInt32(at) | view.getInt32(at + 4)) === 0 && view.getInt32(at + 8) === MAPPED_WORD;
}

/**
 * The only length check of the fixed header: after it every accessor above is safe and the payload is there. Octets
 * behind it are Ethernet padding. No payload at all is nothing to carry, and says "jumbogram" (RFC 2675), which no
 * link of ours takes. Returns HANDLED or a drop reason.
 */
export function checkIpv6(view: DataView, at: number, available: number): number {
  if (available < IPV6_HEADER_OCTETS) return MALFORMED;
  if ((view.getInt32(at) & VERSION_MASK) !== VERSION_6) return MALFORMED;
  const octets = view.getUint16(at + PAYLOAD_LENGTH);
  return octets === 0 || octets > available - IPV6_HEADER_OCTETS ? MALFORMED : HANDLED;
}

/** Writes the first eight octets; the addresses follow by `writeAddress`. `label` is 20 bits. */
export function writeIpv6(
  view: DataView,
  at: number,
  payload: number,
  next: number,
  hops: number,
  label: number,
): void {
  view.setInt32(at, VERSION_6 | (label & FLOW_LABEL_MASK));
  view.setUint16(at + PAYLOAD_LENGTH, payload);
  view.setUint16(at + NEXT_HEADER, (next << 8) | hops);
}

/** Writes a fragment header; `bits` are offset and M as they stand in the header. */
export function writeFragmentHeader(
  view: DataView,
  at: number,
  next: number,
  bits: number,
  identification: number,
): void {
  view.setUint16(at, next << 8);
  view.setUint16(at + FRAGMENT_BITS, bits);
  view.setInt32(at + FRAGMENT_IDENTIFICATION, identification);
}

/** Folded sum of both addresses of the header at `at`: their part of the pseudo-header (RFC 8200 section 8.1). */
export function headerAddressSum6(view: DataView, at: number): number {
  let sum = 0;
  for (let i = SOURCE; i < IPV6_HEADER_OCTETS; i += 2) sum += view.getUint16(at + i);
  sum = (sum & 0xffff) + (sum >>> 16);
  return (sum & 0xffff) + (sum >>> 16);
}

/** The same for two addresses that stand one behind the other in `words`. */
export function addressSum6(words: Int32Array, index: number): number {
  let sum = 0;
  for (let i = index; i < index + 8; i++) sum += (words[i] >>> 16) + (words[i] & 0xffff);
  sum = (sum & 0xffff) + (sum >>> 16);
  return (sum & 0xffff) + (sum >>> 16);
}

/**
 * What follows the fixed header. One walk over the chain; the results are fields, so that nothing is allocated.
 *
 * Skipped: hop-by-hop options in the first place, destination options, routing headers that have nothing left to do.
 * A packet is dropped for anything else that is odd in a chain: hop-by-hop options elsewhere, a route still to be
 * taken (RFC 5095 and beyond: nothing here is a router on it), an option that says so of itself when it is not known,
 * more headers or octets than any sender has, a header or option that does not fit. The walk ends at a fragment
 * header, and `behindFragment` takes it up again; and at whatever is not an extension header.
 */
export class ExtensionHeaders {
  /** The header the chain leads to: a transport, or anything that is none of the above. */
  protocol = 0;
  /** Where it is. */
  protocolAt = 0;
  /** Where the fragment header is, 0 when there is none. */
  fragmentAt = 0;
  private headers = 0;
  private octets = 0;

  /** Walks the chain of the checked packet at `at`, which ends at `end`. Returns HANDLED or a drop reason. */
  walk(view: DataView, at: number, end: number): number {
    this.fragmentAt = 0;
    this.headers = 0;
    this.octets = 0;
    return this.chain(view, view.getUint8(at + NEXT_HEADER), at + IPV6_HEADER_OCTETS, end, true);
  }

  /** Walks on behind the fragment header that ended `walk`. A second fragment header is not carried. */
  behindFragment(view: DataView, end: number): number {
    const at = this.fragmentAt;
    const result = this.chain(view, view.getUint8(at), at + FRAGMENT_HEADER_OCTETS, end, false);
    if (result !== HANDLED) return result;
    return this.fragmentAt === at ? HANDLED : EXTENSION_HEADER;
  }

  private chain(view: DataView, next: number, at: number, end: number, first: boolean): number {
    for (;;) {
      if (
        next !== NEXT_HOP_BY_HOP &&
        next !== NEXT_DESTINATION_OPTIONS &&
        next !== NEXT_ROUTING &&
        next !== NEXT_FRAGMENT
      ) {
        this.protocol = next;
        this.protocolAt = at;
        return HANDLED;
      }
      if (end - at < 8) return MALFORMED;
      const octets = next === NEXT_FRAGMENT ? FRAGMENT_HEADER_OCTETS : (view.getUint8(at + 1) + 1) << 3;
      this.octets += octets;
      if (++this.headers > EXTENSION_HEADERS_MAX || this.octets > EXTENSION_OCTETS_MAX)
        return EXTENSION_HEADER;
      if (octets > end - at) return MALFORMED;
      if (next === NEXT_FRAGMENT) {
        this.fragmentAt = at;
        this.protocol = NEXT_FRAGMENT;
        this.protocolAt = at;
        return HANDLED;
      }
      if (next === NEXT_ROUTING) {
        if (view.getUint8(at + 3) !== 0) return ROUTING_HEADER;
      } else {
        if (next === NEXT_HOP_BY_HOP && !first) return EXTENSION_HEADER;
        const checked = checkOptions(view, at + 2, at + octets);
        if (checked !== HANDLED) return checked;
      }
      next = view.getUint8(at);
      at += octets;
      first = false;
    }
  }
}

/**
 * Options of a hop-by-hop or destination options header (RFC 8200 section 4.2). None is acted upon; those whose two
 * top bits are not 00 forbid a packet to whom they are unknown.
 */
function checkOptions(view: DataView, at: number, end: number): number {
  while (at < end) {
    const type = view.getUint8(at);
    if (type === 0) {
      at++;
      continue;
    }
    if (at + 1 >= end) return MALFORMED;
    if (type >>> 6 !== 0) return OPTION;
    at += 2 + view.getUint8(at + 1);
    if (at > end) return MALFORMED;
  }
  return HANDLED;
}
