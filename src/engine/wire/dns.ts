/**
 * DNS messages (RFC 1035 section 4.1), as much as a forwarder looks at: header, question, and the OPT record of EDNS
 * (RFC 6891).
 *
 *    0       2       4       6       8       10      12
 *   +-------+-------+-------+-------+-------+-------+------------------------------------
 *   |  id   | flags |questns|answers|authrty|additnl| question, then resource records
 *   +-------+-------+-------+-------+-------+-------+------------------------------------
 *    flags: QR 8000, opcode 7800, AA 0400, TC 0200, RD 0100, RA 0080, AD 0020, CD 0010, rcode 000f
 *
 *   question: | name | type | class |              record: | name | type | class | TTL (4) | length | data |
 *   OPT:      the root name (one zero octet), type 41; its class is the UDP payload size the sender takes
 */
import { V4_MAPPED } from "../boundary.ts";
import { dropReason, HANDLED } from "../metrics/drop-reasons.ts";

export const ID = 0;
export const FLAGS = ID + 2;
export const QUESTIONS = FLAGS + 2;
export const ANSWERS = QUESTIONS + 2;
export const AUTHORITIES = ANSWERS + 2;
export const ADDITIONALS = AUTHORITIES + 2;
export const DNS_HEADER_OCTETS = ADDITIONALS + 2;

export const FLAG_RESPONSE = 0x8000;
export const FLAG_AUTHORITATIVE = 0x0400;
export const FLAG_TRUNCATED = 0x0200;
export const FLAG_RECURSION_DESIRED = 0x0100;
export const FLAG_RECURSION_AVAILABLE = 0x0080;
export const OPCODE_MASK = 0x7800;
export const RCODE_MASK = 0x000f;
export const RCODE_SERVFAIL = 2;
export const RCODE_NXDOMAIN = 3;
export const RCODE_NOTIMP = 4;
export const RCODE_REFUSED = 5;

/** Longest message for a client that announces nothing (RFC 1035 section 4.2.1). */
export const PLAIN_UDP_OCTETS = 512;
/** What we announce in an OPT record of our own: fits any path (RFC 9715). */
export const EDNS_UDP_OCTETS = 1232;
/** An OPT record without options. */
export const OPT_OCTETS = 11;
/** The option of an extended error without its text: code, length, and the error's own code. */
export const EXTENDED_ERROR_OCTETS = 6;
const OPTION_EXTENDED_ERROR = 15;
/** Blocked by the operator of this server (RFC 8914 section 4.16). */
export const ERROR_BLOCKED = 15;

export const TYPE_A = 1;
export const TYPE_CNAME = 5;
export const TYPE_AAAA = 28;
export const TYPE_SVCB = 64;
export const TYPE_HTTPS = 65;
export const TYPE_IXFR = 251;
export const TYPE_AXFR = 252;
export const TYPE_ANY = 255;
export const CLASS_IN = 1;
const TYPE_OPT = 41;
export const QUESTION_FIXED_OCTETS = 4;
/** Behind a record's name. */
export const RECORD_FIXED_OCTETS = 10;
export const RECORD_CLASS = 2;
export const RECORD_TTL = 4;
export const RECORD_LENGTH = 8;
const DOT = 0x2e;
const LABEL_MAX = 63;
const POINTER_MIN = 0xc0;
/** Longest name, with its length octets and the root. */
const NAME_MAX = 255;
/** One bit for each octet of a name. */
export const CASE_OCTETS = 32;
const CASE_BIT = 0x20;
const FNV_PRIME = 0x01000193;
const DNSSEC_OK = 0x8000;
const MALFORMED = dropReason("dns-malformed");

export function id(view: DataView, at: number): number {
  return view.getUint16(at + ID);
}
export function flags(view: DataView, at: number): number {
  return view.getUint16(at + FLAGS);
}
export function questions(view: DataView, at: number): number {
  return view.getUint16(at + QUESTIONS);
}
export function answers(view: DataView, at: number): number {
  return view.getUint16(at + ANSWERS);
}
export function authorities(view: DataView, at: number): number {
  return view.getUint16(at + AUTHORITIES);
}
export function additionals(view: DataView, at: number): number {
  return view.getUint16(at + ADDITIONALS);
}
/** The UDP payload size an OPT record announces; less than 512 means 512 (RFC 6891 section 6.2.3). */
export function optPayloadOctets(view: DataView, optAt: number): number {
  return Math.max(view.getUint16(optAt + 1 + RECORD_CLASS), PLAIN_UDP_OCTETS);
}
/** Octets of an OPT record that `findOpt` found. */
export function optOctets(view: DataView, optAt: number): number {
  return OPT_OCTETS + view.getUint16(optAt + 1 + RECORD_LENGTH);
}

export function setId(view: DataView, at: number, value: number): void {
  view.setUint16(at + ID, value);
}
export function setFlags(view: DataView, at: number, value: number): void {
  view.setUint16(at + FLAGS, value);
}

/** A question of our own, which asks for recursion. `name`: labels parted by dots. */
export function makeQuestion(id: number, name: Uint8Array, type: number): Uint8Array {
  const message = new Uint8Array(DNS_HEADER_OCTETS + name.length + 2 + QUESTION_FIXED_OCTETS);
  const view = new DataView(message.buffer);
  setId(view, 0, id);
  setFlags(view, 0, FLAG_RECURSION_DESIRED);
  view.setUint16(QUESTIONS, 1);
  let at = DNS_HEADER_OCTETS;
  let labelAt = at++;
  for (const octet of name) {
    if (octet === DOT) labelAt = at++;
    else {
      message[at++] = octet;
      message[labelAt]++;
    }
  }
  at++;
  view.setUint16(at, type);
  view.setUint16(at + 2, CLASS_IN);
  return message;
}

/** Sets how many records follow the question. */
export function setRecordCounts(view: DataView, at: number, ofAnswers: number, ofAdditionals: number): void {
  view.setUint16(at + ANSWERS, ofAnswers);
  view.setUint16(at + AUTHORITIES, 0);
  view.setUint16(at + ADDITIONALS, ofAdditionals);
}

/** Writes an OPT record without options; keeps the DO bit of the one at `queryOptAt`. */
export function writeOpt(view: DataView, at: number, queryOptAt: number): void {
  const dnssecOk = view.getUint16(queryOptAt + 1 + RECORD_TTL + 2) & DNSSEC_OK;
  view.setUint8(at, 0);
  view.setUint16(at + 1, TYPE_OPT);
  view.setUint16(at + 1 + RECORD_CLASS, EDNS_UDP_OCTETS);
  view.setUint16(at + 1 + RECORD_TTL, 0);
  view.setUint16(at + 1 + RECORD_TTL + 2, dnssecOk);
  view.setUint16(at + 1 + RECORD_LENGTH, 0);
}

/**
 * Writes an extended error (RFC 8914) into an OPT record that `writeOpt` wrote last in its message: a code, and text of
 * `length` octets that lies where it is to stand. Returns how many octets the record has grown.
 */
export function writeExtendedError(view: DataView, optAt: number, code: number, length: number): number {
  const added = EXTENDED_ERROR_OCTETS + length;
  view.setUint16(optAt + 1 + RECORD_LENGTH, added);
  view.setUint16(optAt + OPT_OCTETS, OPTION_EXTENDED_ERROR);
  view.setUint16(optAt + OPT_OCTETS + 2, 2 + length);
  view.setUint16(optAt + OPT_OCTETS + 4, code);
  return added;
}

/**
 * The length check of a query: header, at most one question (RFC 9619) and every record lie within `length`. Returns
 * HANDLED or a drop reason.
 */
export function checkQuery(view: DataView, at: number, length: number): number {
  if (length < DNS_HEADER_OCTETS || (flags(view, at) & FLAG_RESPONSE) !== 0) return MALFORMED;
  return findOpt(view, at, length) < 0 ? MALFORMED : HANDLED;
}

/** Type and class of the question that ends `end` octets into the message (see `questionEnd`). */
export function questionType(view: DataView, at: number, end: number): number {
  return view.getUint16(at + end - QUESTION_FIXED_OCTETS);
}
export function questionClass(view: DataView, at: number, end: number): number {
  return view.getUint16(at + end - QUESTION_FIXED_OCTETS + 2);
}

/** Octets of header and question (at most one), or -1 when they do not fit `length`. */
export function questionEnd(view: DataView, at: number, length: number): number {
  if (length < DNS_HEADER_OCTETS) return -1;
  const count = questions(view, at);
  if (count > 1) return -1;
  if (count === 0) return DNS_HEADER_OCTETS;
  const nameEnd = skipName(view, at + DNS_HEADER_OCTETS, at + length, false);
  if (nameEnd < 0 || nameEnd + QUESTION_FIXED_OCTETS > at + length) return -1;
  return nameEnd + QUESTION_FIXED_OCTETS - at;
}

/** Where the message's OPT record is, 0 when it has none, -1 when a record runs past the end. */
export function findOpt(view: DataView, at: number, length: number): number {
  const end = at + length;
  const fixed = questionEnd(view, at, length);
  if (fixed < 0) return -1;
  const before = answers(view, at) + authorities(view, at);
  const total = before + additionals(view, at);
  let position = at + fixed;
  let found = 0;
  for (let i = 0; i < total; i++) {
    const nameAt = position;
    position = skipName(view, position, end, true);
    if (position < 0 || position + RECORD_FIXED_OCTETS > end) return -1;
    const isOpt = view.getUint16(position) === TYPE_OPT && position === nameAt + 1;
    position += RECORD_FIXED_OCTETS + view.getUint16(position + RECORD_LENGTH);
    if (position > end) return -1;
    if (isOpt && i >= before && found === 0) found = nameAt;
  }
  return found;
}

/**
 * The record whose name is at `at`: the offset of its type, behind which are class (2 octets), TTL (4), length (2) and
 * data; -1 when it runs past `end`.
 */
export function recordAt(view: DataView, at: number, end: number): number {
  const fixedAt = skipName(view, at, end, true);
  if (fixedAt < 0 || fixedAt + RECORD_FIXED_OCTETS > end) return -1;
  return recordEnd(view, fixedAt) > end ? -1 : fixedAt;
}
export function recordTtl(view: DataView, fixedAt: number): number {
  return view.getUint32(fixedAt + RECORD_TTL);
}
/** Offset of a record's data, and of what follows it. */
export function recordData(fixedAt: number): number {
  return fixedAt + RECORD_FIXED_OCTETS;
}
export function recordEnd(view: DataView, fixedAt: number): number {
  return fixedAt + RECORD_FIXED_OCTETS + view.getUint16(fixedAt + RECORD_LENGTH);
}

/**
 * Puts the addresses of a message's A and AAAA answers into `to`, four words each, IPv4 as v4-mapped, as far as there is
 * room, and the least of their TTLs and `ttl[0]` into that. Its question ends after `questionOctets`. Returns how many; what
 * runs past the end ends them.
 */
export function takeAddresses(
  view: DataView,
  at: number,
  length: number,
  questionOctets: number,
  to: Int32Array,
  ttl: Uint32Array,
): number {
  const end = at + length;
  let position = at + questionOctets;
  let count = 0;
  for (let left = answers(view, at); left > 0 && (count + 1) * 4 <= to.length; left--) {
    position = skipName(view, position, end, true);
    if (position < 0 || position + RECORD_FIXED_OCTETS > end) break;
    const dataAt = position + RECORD_FIXED_OCTETS;
    const dataOctets = view.getUint16(position + RECORD_LENGTH);
    if (dataAt + dataOctets > end) break;
    const type = view.getUint16(position);
    const isIpv4 = type === TYPE_A && dataOctets === 4;
    if (isIpv4 || (type === TYPE_AAAA && dataOctets === 16)) {
      for (let word = 0; word < 3; word++) {
        to[count * 4 + word] = isIpv4 ? (word === 2 ? V4_MAPPED : 0) : view.getInt32(dataAt + 4 * word);
      }
      to[count * 4 + 3] = view.getInt32(dataAt + dataOctets - 4);
      ttl[0] = Math.min(ttl[0], view.getUint32(position + RECORD_TTL));
      count++;
    }
    position = dataAt + dataOctets;
  }
  return count;
}

/** Offset behind the name at `at`, or -1. A pointer ends a name; a question's may not have one. */
export function skipName(view: DataView, at: number, end: number, mayPoint: boolean): number {
  const most = at + NAME_MAX;
  while (at < end && at < most) {
    const label = view.getUint8(at);
    if (label === 0) return at + 1;
    if (label >= POINTER_MIN) return mayPoint && at + 2 <= end ? at + 2 : -1;
    if (label > LABEL_MAX) return -1;
    at += 1 + label;
  }
  return -1;
}

/**
 * Whether a resolver's answer is none, so that another one is to be asked, as the C library has it (res_send.c): it
 * failed, would not, or cannot; or it knows nothing and asks nobody (no answer, neither authoritative nor recursive). An
 * answer that says no (NXDOMAIN, no data) is an answer.
 */
export function isFailure(view: DataView, at: number): boolean {
  const bits = flags(view, at);
  const rcode = bits & RCODE_MASK;
  if (rcode !== 0) return rcode === RCODE_SERVFAIL || rcode === RCODE_NOTIMP || rcode === RCODE_REFUSED;
  return (
    (bits & (FLAG_AUTHORITATIVE | FLAG_RECURSION_AVAILABLE | FLAG_TRUNCATED)) === 0 &&
    (bits & FLAG_RECURSION_DESIRED) !== 0 &&
    answers(view, at) === 0 &&
    additionals(view, at) === 0
  );
}

/**
 * A number that equal queries share: all octets behind the id count, letters of the question's name (it ends `end` octets
 * into the message) in either case.
 */
export function queryHash(view: DataView, at: number, length: number, end: number): number {
  let hash = length;
  for (let i = FLAGS; i < length; i++) {
    const octet = view.getUint8(at + i);
    hash = Math.imul(hash ^ (isNameOctet(i, end) ? lower(octet) : octet), FNV_PRIME);
  }
  return hash;
}

/** Whether two queries of `length` octets ask the same in the same way; see `queryHash`. */
export function isSameQuery(view: DataView, a: number, b: number, length: number, end: number): boolean {
  for (let i = FLAGS; i < length; i++) {
    const left = view.getUint8(a + i);
    const right = view.getUint8(b + i);
    if (left !== right && !(isNameOctet(i, end) && lower(left) === lower(right))) return false;
  }
  return true;
}

/** Length octets of labels stand among the name's: they are below any letter, so case does not touch them. */
function isNameOctet(i: number, end: number): boolean {
  return i >= DNS_HEADER_OCTETS && i < end - QUESTION_FIXED_OCTETS;
}

/** Notes which letters of the question's name are small, a bit each, from `bitsAt` on: 32 octets. */
export function noteCase(view: DataView, at: number, end: number, bits: Uint8Array, bitsAt: number): void {
  bits.fill(0, bitsAt, bitsAt + CASE_OCTETS);
  for (let i = 0; isNameOctet(i + DNS_HEADER_OCTETS, end); i++) {
    if ((view.getUint8(at + DNS_HEADER_OCTETS + i) & CASE_BIT) !== 0) bits[bitsAt + (i >> 3)] |= 1 << (i & 7);
  }
}

/** Gives the letters of the question's name the case that was noted. */
export function restoreCase(view: DataView, at: number, end: number, bits: Uint8Array, bitsAt: number): void {
  for (let i = 0; isNameOctet(i + DNS_HEADER_OCTETS, end); i++) {
    const letter = lower(view.getUint8(at + DNS_HEADER_OCTETS + i));
    if (letter < 0x61 || letter > 0x7a) continue;
    const small = (bits[bitsAt + (i >> 3)] >> (i & 7)) & 1;
    view.setUint8(at + DNS_HEADER_OCTETS + i, small === 1 ? letter : letter & ~CASE_BIT);
  }
}

/** Whether the names of two questions are the same to the letter. */
export function isSameName(view: DataView, a: number, b: number, end: number): boolean {
  for (let i = DNS_HEADER_OCTETS; isNameOctet(i, end); i++) {
    if (view.getUint8(a + i) !== view.getUint8(b + i)) return false;
  }
  return true;
}

/** Whether two questions are the same, letters of either case being equal (RFC 4343). */
export function isSameQuestion(view: DataView, a: number, b: number, octets: number): boolean {
  const fixedAt = octets - QUESTION_FIXED_OCTETS;
  for (let i = DNS_HEADER_OCTETS; i < octets; i++) {
    const left = view.getUint8(a + i);
    const right = view.getUint8(b + i);
    if (left !== right && (i >= fixedAt || lower(left) !== lower(right))) return false;
  }
  return true;
}

function lower(octet: number): number {
  return octet >= 0x41 && octet <= 0x5a ? octet | 0x20 : octet;
}
