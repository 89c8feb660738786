/**
 * The header of HAProxy's PROXY protocol, version 2 (proxy-protocol.txt section 2.2): whose connection this is, and where it
 * was to go.
 *
 *   | signature (12) | 0x21: version 2, PROXY | family and transport | length (2) | addresses (8 or 32) | ports (4) | TLVs |
 *   TLV  | type | length (2) | value |
 */
import { isMapped } from "./mapped-address.ts";
import type { RemoteEnd } from "./remote-end.ts";

const SIGNATURE = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a);
const VERSION_AND_COMMAND = 0x21;
const TCP_OVER_IPV4 = 0x11;
const TCP_OVER_IPV6 = 0x21;
const TYPE_AUTHORITY = 0x02;
const HEADER_OCTETS = 16;

/**
 * Writes the header of a connection from `source` (four words, IPv4 as v4-mapped, of the family of `end`) and `sourcePort` to `end`, whose name is told if it has one. Returns its octets.
 */
export function writeProxyHeader(
  octets: Uint8Array,
  view: DataView,
  at: number,
  source: Int32Array,
  sourcePort: number,
  end: RemoteEnd,
): number {
  octets.set(SIGNATURE, at);
  octets[at + 12] = VERSION_AND_COMMAND;
  const isV4 = isMapped(source, 0) && isMapped(end.words, 0);
  octets[at + 13] = isV4 ? TCP_OVER_IPV4 : TCP_OVER_IPV6;
  let to = at + HEADER_OCTETS;
  const first = isV4 ? 3 : 0;
  for (let word = first; word < 4; word++, to += 4) view.setInt32(to, source[word]);
  for (let word = first; word < 4; word++, to += 4) view.setInt32(to, end.words[word]);
  view.setUint16(to, sourcePort);
  view.setUint16(to + 2, end.port);
  to += 4;
  if (end.nameOctets > 0) {
    octets[to] = TYPE_AUTHORITY;
    view.setUint16(to + 1, end.nameOctets);
    to += 3;
    for (let i = 0; i < end.nameOctets; i++) octets[to++] = end.name[i];
  }
  view.setUint16(at + 14, to - at - HEADER_OCTETS);
  return to - at;
}
