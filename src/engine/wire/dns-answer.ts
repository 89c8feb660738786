/**
 * The addresses in a DNS answer (RFC 1035 section 4.1.3): those of the question's name, and of the names that its chain of
 * CNAME records leads to. What else stands in the answer is not looked at.
 *
 *   www.example.com  CNAME  web.example.net        the chain begins at the question
 *   web.example.net  A      192.0.2.7              found, with the shortest TTL on the way
 *   other.example    A      192.0.2.9              not on the chain
 */
import { V4_MAPPED } from "../boundary.ts";
import {
  answers,
  CLASS_IN,
  DNS_HEADER_OCTETS,
  RECORD_CLASS,
  RECORD_FIXED_OCTETS,
  RECORD_LENGTH,
  RECORD_TTL,
  skipName,
  TYPE_A,
  TYPE_AAAA,
  TYPE_CNAME,
} from "./dns.ts";

/** Longer chains end in nothing: resolvers follow eleven or so. */
const CNAMES_MAX = 16;
/** Addresses of one answer that are taken. */
const ADDRESSES_MAX = 128;
const WORDS = 4;
const NAME_MAX = 255;
const LABEL_MAX = 63;
const POINTER = 0xc0;
const POINTER_OFFSET = 0x3fff;
/** Pointers in one name. Each leads back, so that a name without end is impossible; this bounds the work. */
const POINTERS_MAX = 64;

export class DnsAnswer {
  /** Addresses found, four words each, IPv4 as v4-mapped. */
  readonly words = new Int32Array(ADDRESSES_MAX * WORDS);
  /** Seconds; the top bit set means 0 (RFC 2181 section 8). */
  readonly ttl = new Int32Array(ADDRESSES_MAX);
  count = 0;
  /** Labels with their lengths, in small letters. */
  private readonly chain = new Uint8Array(NAME_MAX);
  private chainOctets = 0;
  private readonly owner = new Uint8Array(NAME_MAX);
  private readonly target = new Uint8Array(NAME_MAX);
  private targetOctets = 0;
  private targetTtl = 0;

  /** Reads a message of `length` octets at `at` whose question ends after `end` octets. */
  read(view: DataView, at: number, length: number, end: number): void {
    this.count = 0;
    if (end === DNS_HEADER_OCTETS) return;
    this.chainOctets = expandName(view, at, at + DNS_HEADER_OCTETS, length, this.chain);
    let ttl = 0x7fffffff;
    for (let names = 0; names < CNAMES_MAX && this.chainOctets > 0; names++) {
      this.targetOctets = -1;
      this.readRecords(view, at, length, at + end, ttl);
      ttl = Math.min(ttl, this.targetTtl);
      this.chain.set(this.target);
      this.chainOctets = this.targetOctets;
    }
  }

  /** The records of the chain's name. */
  private readRecords(view: DataView, at: number, length: number, from: number, ttl: number): void {
    const end = at + length;
    let position = from;
    for (let left = answers(view, at); left > 0; left--) {
      const nameAt = position;
      position = skipName(view, position, end, true);
      if (position < 0 || position + RECORD_FIXED_OCTETS > end) return;
      const type = view.getUint16(position);
      const isInternet = view.getUint16(position + RECORD_CLASS) === CLASS_IN;
      const ownTtl = Math.max(0, view.getInt32(position + RECORD_TTL));
      const octets = view.getUint16(position + RECORD_LENGTH);
      const dataAt = position + RECORD_FIXED_OCTETS;
      position = dataAt + octets;
      if (position > end) return;
      const isAddress = (type === TYPE_A && octets === 4) || (type === TYPE_AAAA && octets === 16);
      if (!isInternet || !(isAddress || type === TYPE_CNAME) || !this.isOfChain(view, at, nameAt, length)) {
        continue;
      }
      if (isAddress) {
        this.take(view, dataAt, type, Math.min(ttl, ownTtl));
      } else if (this.targetOctets < 0) {
        this.targetOctets = expandName(view, at, dataAt, length, this.target);
        this.targetTtl = ownTtl;
      }
    }
  }

  private isOfChain(view: DataView, at: number, nameAt: number, length: number): boolean {
    const { owner, chain, chainOctets } = this;
    if (expandName(view, at, nameAt, length, owner) !== chainOctets) return false;
    for (let i = 0; i < chainOctets; i++) if (owner[i] !== chain[i]) return false;
    return true;
  }

  private take(view: DataView, dataAt: number, type: number, ttl: number): void {
    if (this.count === ADDRESSES_MAX) return;
    const to = this.count * WORDS;
    const isIpv4 = type === TYPE_A;
    this.words[to] = isIpv4 ? 0 : view.getInt32(dataAt);
    this.words[to + 1] = isIpv4 ? 0 : view.getInt32(dataAt + 4);
    this.words[to + 2] = isIpv4 ? V4_MAPPED : view.getInt32(dataAt + 8);
    this.words[to + 3] = view.getInt32(isIpv4 ? dataAt : dataAt + 12);
    this.ttl[this.count++] = ttl;
  }
}

/**
 * Writes the name at `nameAt` of a message without its pointers, in small letters, to `to`. Returns its octets, or -1 when
 * it is none.
 */
function expandName(view: DataView, at: number, nameAt: number, length: number, to: Uint8Array): number {
  const end = at + length;
  let octets = 0;
  let pointers = 0;
  let position = nameAt;
  while (position < end) {
    const label = view.getUint8(position);
    if (label >= POINTER) {
      if (position + 2 > end || ++pointers > POINTERS_MAX) return -1;
      const target = at + (view.getUint16(position) & POINTER_OFFSET);
      if (target >= position) return -1;
      position = target;
      continue;
    }
    if (label > LABEL_MAX || position + 1 + label > end || octets + 1 + label > NAME_MAX) return -1;
    to[octets++] = label;
    if (label === 0) return octets;
    for (let i = 1; i <= label; i++) {
      const octet = view.getUint8(position + i);
      to[octets++] = octet >= 0x41 && octet <= 0x5a ? octet | 0x20 : octet;
    }
    position += 1 + label;
  }
  return -1;
}
