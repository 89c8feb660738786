/**
 * How a network tells of its NAT64 (RFC 7050): the name ipv4only.arpa has the addresses 192.0.0.170 and 192.0.0.171 and no
 * others, so that an IPv6 address of it is one of them under the translator's prefix.
 */
import {
  answers,
  flags,
  makeQuestion,
  questionEnd,
  RCODE_MASK,
  recordAt,
  recordData,
  recordEnd,
  recordTtl,
  TYPE_AAAA,
} from "../wire/dns.ts";
import { readAddress } from "../wire/ipv6.ts";
import { extractIpv4, isTranslated, type Nat64Prefix, PREFIX_LENGTHS } from "../wire/translated-address.ts";

const WELL_KNOWN = 0xc00000aa | 0;
const WELL_KNOWN_OTHER = 0xc00000ab | 0;
const NAME_ERROR = 3;
const ADDRESS_OCTETS = 16;

/** ipv4only.arpa, AAAA, IN, with recursion; CD is clear (section 3). */
export const IPV4ONLY_QUESTION = makeQuestion(0, new TextEncoder().encode("ipv4only.arpa"), TYPE_AAAA);

/**
 * What the answer at `at` says: a prefix, or that there is none (null), and for how long that holds (0 for what is not
 * there). Null when it says nothing: a failure, or nonsense.
 */
export function readPrefix(
  view: DataView,
  at: number,
  length: number,
): { readonly prefix: Nat64Prefix | null; readonly ttlSeconds: number } | null {
  const rcode = flags(view, at) & RCODE_MASK;
  if (rcode === NAME_ERROR) return { prefix: null, ttlSeconds: 0 };
  const fixed = questionEnd(view, at, length);
  if (rcode !== 0 || fixed < 0) return null;
  const address = new Int32Array(4);
  let position = at + fixed;
  for (let i = answers(view, at); i > 0; i--) {
    const record = recordAt(view, position, at + length);
    if (record < 0) return null;
    position = recordEnd(view, record);
    const dataAt = recordData(record);
    const isAddress = view.getUint16(record) === TYPE_AAAA && position - dataAt === ADDRESS_OCTETS;
    if (!isAddress) continue;
    readAddress(view, dataAt, address, 0);
    const prefix = prefixOf(address);
    if (prefix !== null) return { prefix, ttlSeconds: recordTtl(view, record) };
  }
  return { prefix: null, ttlSeconds: 0 };
}

/** The prefix of an address that has one of the two addresses in one place; in more than one it tells nothing. */
export function prefixOf(address: Int32Array): Nat64Prefix | null {
  const lengths = PREFIX_LENGTHS.filter((length) => {
    const inside = extractIpv4(address, 0, length);
    return inside === WELL_KNOWN || inside === WELL_KNOWN_OTHER;
  });
  const [length] = lengths;
  if (length === undefined || lengths.length > 1 || !isTranslated(address, 0, length)) return null;
  const words = address.map((word, i) => {
    const bits = Math.min(Math.max(length - i * 32, 0), 32);
    return bits === 0 ? 0 : word & (-1 << (32 - bits));
  });
  return { words, length };
}
