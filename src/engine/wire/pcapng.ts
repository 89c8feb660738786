/**
 * pcapng as it is written (draft-ietf-opsawg-pcapng): little-endian, one interface of Ethernet frames, times in microseconds.
 * Reading it: pcap.ts.
 *
 *   | type | length | body ... | options ... | length |    blocks, padded to 4 octets
 *
 *   section header, interface description, then name resolution and enhanced packet blocks, interface statistics last
 *
 * An option is a code, a length and octets, padded; code 0 ends them.
 */
import { LINKTYPE_ETHERNET } from "./pcap.ts";

const BLOCK_SECTION_HEADER = 0x0a0d0d0a;
const BLOCK_INTERFACE = 1;
const BLOCK_NAME_RESOLUTION = 4;
const BLOCK_STATISTICS = 5;
const BLOCK_ENHANCED_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const SECTION_LENGTH_UNKNOWN = 0xffffffff;

const OPTION_END = 0;
const OPTION_COMMENT = 1;
const OPTION_APPLICATION = 4;
const OPTION_INTERFACE_NAME = 2;
const OPTION_PACKET_FLAGS = 2;
const OPTION_RECEIVED = 4;
const OPTION_DROPPED = 5;
const NAME_RECORD_END = 0;
const NAME_RECORD_IPV4 = 1;
const NAME_RECORD_IPV6 = 2;

/** Of `OPTION_PACKET_FLAGS`, as the link's host end sees it: the guest sent it, or gets it. */
export const FROM_GUEST = 1;
export const TO_GUEST = 2;

const BLOCK_HEAD = 8;
const BLOCK_TAIL = 4;
const OPTION_HEAD = 4;
const PACKET_FIELDS = 20;
const FLAGS_OCTETS = OPTION_HEAD + 4;
/** Where a packet's octets begin in its block. */
export const PACKET_OCTETS_AT = BLOCK_HEAD + PACKET_FIELDS;

const padded = (octets: number): number => (octets + 3) & ~3;

/** Octets of the block of a packet with so many, and with a comment of so many characters. */
export function packetBlockOctets(captured: number, comment: number): number {
  const options = FLAGS_OCTETS + (comment === 0 ? 0 : OPTION_HEAD + padded(comment)) + OPTION_HEAD;
  return PACKET_OCTETS_AT + padded(captured) + options + BLOCK_TAIL;
}

/** A block's ends. Returns where its body begins. */
function writeEnds(view: DataView, at: number, type: number, octets: number): number {
  view.setUint32(at, type, true);
  view.setUint32(at + 4, octets, true);
  view.setUint32(at + octets - BLOCK_TAIL, octets, true);
  return at + BLOCK_HEAD;
}

/** Printable ASCII, zeros up to the next multiple of 4. Returns where it ends. */
function writeText(view: DataView, at: number, text: string): number {
  for (let i = 0; i < padded(text.length); i++)
    view.setUint8(at + i, i < text.length ? text.charCodeAt(i) & 0x7f : 0);
  return at + padded(text.length);
}

function writeTextOption(view: DataView, at: number, code: number, text: string): number {
  view.setUint16(at, code, true);
  view.setUint16(at + 2, text.length, true);
  return writeText(view, at + OPTION_HEAD, text);
}

/** What a file begins with: `application` wrote it, of a link called `link`; both printable ASCII. Returns its octets. */
export function writeFileHead(
  view: DataView,
  at: number,
  application: string,
  link: string,
  snaplen: number,
): number {
  const section = BLOCK_HEAD + 16 + OPTION_HEAD + padded(application.length) + OPTION_HEAD + BLOCK_TAIL;
  const body = writeEnds(view, at, BLOCK_SECTION_HEADER, section);
  view.setUint32(body, BYTE_ORDER_MAGIC, true);
  view.setUint16(body + 4, 1, true);
  view.setUint16(body + 6, 0, true);
  view.setUint32(body + 8, SECTION_LENGTH_UNKNOWN, true);
  view.setUint32(body + 12, SECTION_LENGTH_UNKNOWN, true);
  view.setUint32(writeTextOption(view, body + 16, OPTION_APPLICATION, application), OPTION_END, true);
  const interfaceAt = at + section;
  const octets = BLOCK_HEAD + 8 + OPTION_HEAD + padded(link.length) + OPTION_HEAD + BLOCK_TAIL;
  const description = writeEnds(view, interfaceAt, BLOCK_INTERFACE, octets);
  view.setUint16(description, LINKTYPE_ETHERNET, true);
  view.setUint16(description + 2, 0, true);
  view.setUint32(description + 4, snaplen, true);
  view.setUint32(writeTextOption(view, description + 8, OPTION_INTERFACE_NAME, link), OPTION_END, true);
  return section + octets;
}

function writeTime(view: DataView, at: number, microseconds: number): void {
  view.setUint32(at, Math.floor(microseconds / 2 ** 32), true);
  view.setUint32(at + 4, microseconds % 2 ** 32, true);
}

/**
 * Everything of a packet's block but its octets, of which `captured` belong at PACKET_OCTETS_AT. `direction`: FROM_GUEST or
 * TO_GUEST; `comment`: printable ASCII, "" for none. The block has `packetBlockOctets`.
 */
export function writePacketBlock(
  view: DataView,
  at: number,
  microseconds: number,
  captured: number,
  original: number,
  direction: number,
  comment: string,
): void {
  const octets = packetBlockOctets(captured, comment.length);
  const body = writeEnds(view, at, BLOCK_ENHANCED_PACKET, octets);
  view.setUint32(body, 0, true);
  writeTime(view, body + 4, microseconds);
  view.setUint32(body + 12, captured, true);
  view.setUint32(body + 16, original, true);
  for (let pad = captured; pad < padded(captured); pad++) view.setUint8(at + PACKET_OCTETS_AT + pad, 0);
  let option = at + PACKET_OCTETS_AT + padded(captured);
  view.setUint16(option, OPTION_PACKET_FLAGS, true);
  view.setUint16(option + 2, 4, true);
  view.setUint32(option + OPTION_HEAD, direction, true);
  option += FLAGS_OCTETS;
  if (comment !== "") option = writeTextOption(view, option, OPTION_COMMENT, comment);
  view.setUint32(option, OPTION_END, true);
}

/** Says that the address in four words (IPv4 as v4-mapped) has `name`, printable ASCII. Returns the block's octets. */
export function writeName(
  view: DataView,
  at: number,
  words: ArrayLike<number>,
  isIpv4: boolean,
  name: string,
): number {
  const addressOctets = isIpv4 ? 4 : 16;
  const value = addressOctets + name.length + 1;
  const octets = BLOCK_HEAD + OPTION_HEAD + padded(value) + OPTION_HEAD + BLOCK_TAIL;
  const record = writeEnds(view, at, BLOCK_NAME_RESOLUTION, octets);
  view.setUint16(record, isIpv4 ? NAME_RECORD_IPV4 : NAME_RECORD_IPV6, true);
  view.setUint16(record + 2, value, true);
  // Addresses are in network order, whatever the file's.
  for (let i = 0; i < addressOctets / 4; i++)
    view.setInt32(record + OPTION_HEAD + 4 * i, words[isIpv4 ? 3 : i]);
  const nameAt = record + OPTION_HEAD + addressOctets;
  for (let i = 0; i < padded(value) - addressOctets; i++)
    view.setUint8(nameAt + i, i < name.length ? name.charCodeAt(i) & 0x7f : 0);
  view.setUint32(record + OPTION_HEAD + padded(value), NAME_RECORD_END, true);
  return octets;
}

/** Octets of what `writeStatistics` writes. */
export const STATISTICS_OCTETS = BLOCK_HEAD + 12 + 2 * (OPTION_HEAD + 8) + OPTION_HEAD + BLOCK_TAIL;

/** What a file ends with: packets there were for it, and those of them that are not in it. */
export function writeStatistics(
  view: DataView,
  at: number,
  microseconds: number,
  received: number,
  lost: number,
): void {
  const body = writeEnds(view, at, BLOCK_STATISTICS, STATISTICS_OCTETS);
  view.setUint32(body, 0, true);
  writeTime(view, body + 4, microseconds);
  let option = body + 12;
  for (const [code, count] of [
    [OPTION_RECEIVED, received],
    [OPTION_DROPPED, lost],
  ] as const) {
    view.setUint16(option, code, true);
    view.setUint16(option + 2, 8, true);
    view.setBigUint64(option + OPTION_HEAD, BigInt(count), true);
    option += OPTION_HEAD + 8;
  }
  view.setUint32(option, OPTION_END, true);
}
