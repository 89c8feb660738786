/** Answers of our own, and answers cut to what the guest takes. */
import {
  additionals,
  CLASS_IN,
  DNS_HEADER_OCTETS,
  ERROR_BLOCKED,
  EXTENDED_ERROR_OCTETS,
  FLAG_RECURSION_AVAILABLE,
  FLAG_RECURSION_DESIRED,
  FLAG_RESPONSE,
  FLAG_TRUNCATED,
  findOpt,
  flags,
  OPCODE_MASK,
  OPT_OCTETS,
  optOctets,
  optPayloadOctets,
  PLAIN_UDP_OCTETS,
  questionEnd,
  questionType,
  setFlags,
  setRecordCounts,
  TYPE_A,
  TYPE_AAAA,
  writeExtendedError,
  writeOpt,
} from "../../wire/dns.ts";

/** Room that every answer of our own fits into: header, question of 255 + 4, an A or AAAA record, OPT. */
export const REPLY_OCTETS = 512;
/** Octets of a record whose name is a pointer to the question's, without its data. */
const RECORD_OCTETS = 12;
/** 64:ff9b::/96, in which IPv4 addresses are IPv6 ones (RFC 6052 section 2.1). */
const NAT64 = 0x0064ff9b;
const POINTER_TO_QUESTION = 0xc000 | DNS_HEADER_OCTETS;
/** As long as the stub may remember: the network of a guest does not change while it runs. */
const A_RECORD_TTL_SECONDS = 60;

/** What an answer of our own says. */
export class OwnAnswer {
  /** Of the flags: a code, AA. */
  bits = 0;
  /** Of an A record, or for an AAAA question of a record in 64:ff9b::/96; 0: none. */
  address = 0;
  ttlSeconds = 0;

  be(bits: number, address = 0, ttlSeconds = A_RECORD_TTL_SECONDS): this {
    this.bits = bits;
    this.address = address;
    this.ttlSeconds = ttlSeconds;
    return this;
  }
}

/**
 * Makes an answer to the query of `length` octets at `from`: its id and question, what `answer` says, and an OPT record of
 * ours if the query has one. Returns the length, at most REPLY_OCTETS.
 */
export function writeReply(
  octets: Uint8Array,
  view: DataView,
  from: number,
  length: number,
  to: number,
  { bits, address, ttlSeconds }: Readonly<OwnAnswer>,
): number {
  const end = questionEnd(view, from, length);
  const optAt = additionals(view, from) > 0 ? findOpt(view, from, length) : 0;
  octets.copyWithin(to, from, from + end);
  let total = end;
  if (address !== 0) {
    const isIpv6 = questionType(view, from, end) === TYPE_AAAA;
    total += writeAddressRecord(view, to + total, isIpv6, address, ttlSeconds);
  }
  if (optAt > 0) {
    writeOpt(view, to + total, optAt);
    total += OPT_OCTETS;
  }
  setRecordCounts(view, to, address === 0 ? 0 : 1, optAt > 0 ? 1 : 0);
  const kept = flags(view, from) & (OPCODE_MASK | FLAG_RECURSION_DESIRED);
  setFlags(view, to, FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | kept | bits);
  return total;
}

/**
 * Says why, in an extended error of an answer of ours of `length` octets at `at` that ends in an OPT record; one that has
 * none stays as it is. Text that finds no room is cut. Returns the answer's length.
 */
export function explain(
  octets: Uint8Array,
  view: DataView,
  at: number,
  length: number,
  text: string,
): number {
  if (additionals(view, at) === 0) return length;
  const encoded = new TextEncoder().encode(text);
  const room = REPLY_OCTETS - length - EXTENDED_ERROR_OCTETS;
  let shown = Math.min(encoded.length, room);
  // No character in halves.
  while (shown > 0 && shown < encoded.length && (encoded[shown] & 0xc0) === 0x80) shown--;
  octets.set(encoded.slice(0, shown), at + length + EXTENDED_ERROR_OCTETS);
  return length + writeExtendedError(view, at + length - OPT_OCTETS, ERROR_BLOCKED, shown);
}

/** Returns its octets. */
function writeAddressRecord(
  view: DataView,
  at: number,
  isIpv6: boolean,
  address: number,
  ttlSeconds: number,
): number {
  const octets = isIpv6 ? 16 : 4;
  view.setUint16(at, POINTER_TO_QUESTION);
  view.setUint16(at + 2, isIpv6 ? TYPE_AAAA : TYPE_A);
  view.setUint16(at + 4, CLASS_IN);
  view.setUint32(at + 6, ttlSeconds);
  view.setUint16(at + 10, octets);
  if (isIpv6) {
    view.setInt32(at + RECORD_OCTETS, NAT64);
    view.setInt32(at + RECORD_OCTETS + 4, 0);
    view.setInt32(at + RECORD_OCTETS + 8, 0);
  }
  view.setInt32(at + RECORD_OCTETS + octets - 4, address);
  return RECORD_OCTETS + octets;
}

/** The longest answer over UDP that the sender of this query takes. */
export function payloadMax(view: DataView, at: number, length: number): number {
  const optAt = findOpt(view, at, length);
  return optAt > 0 ? optPayloadOctets(view, optAt) : PLAIN_UDP_OCTETS;
}

/** Cuts an answer down to question (it ends after `end` octets) and OPT, in place. Returns its length, at most `most`. */
export function truncate(view: DataView, at: number, length: number, end: number, most: number): number {
  const optAt = findOpt(view, at, length);
  let total = end;
  if (optAt > 0 && end + optOctets(view, optAt) <= most) {
    const record = optOctets(view, optAt);
    for (let i = 0; i < record; i++) view.setUint8(at + end + i, view.getUint8(optAt + i));
    total += record;
  }
  setFlags(view, at, flags(view, at) | FLAG_TRUNCATED);
  setRecordCounts(view, at, 0, total > end ? 1 : 0);
  return total;
}
