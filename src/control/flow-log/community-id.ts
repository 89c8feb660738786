/**
 * Community ID 1 with seed 0 (github.com/corelight/community-id-spec): the same text for a flow whoever saw it, and
 * whichever of its ends is named first. Wireshark, Zeek and Suricata have it of a capture of the guest's link.
 */
import crypto from "node:crypto";
import { Address6 } from "ip-address";
import type { Endpoint } from "../records.ts";

/** IANA's protocol numbers. */
export const PROTOCOL_NUMBERS = { tcp: 6, udp: 17 } as const;

const OCTETS_4 = 4;
const OCTETS_6 = 16;
/** Seed, two addresses, protocol, padding, two ports: filled anew for each flow, the seed and the padding being 0. */
const hashed4 = Buffer.alloc(2 + 2 * OCTETS_4 + 2 + 2 * 2);
const hashed6 = Buffer.alloc(2 + 2 * OCTETS_6 + 2 + 2 * 2);
const FIRST = 2;

/** In one call where this Node has it (20.12): no object for each flow. */
const sha1: (octets: Buffer) => string =
  typeof crypto.hash === "function"
    ? (octets) => crypto.hash("sha1", octets, "base64")
    : (octets) => crypto.createHash("sha1").update(octets).digest("base64");

/** `1:` and the digest of the flow between two ends, whose addresses are of one family. */
export function communityId(protocol: keyof typeof PROTOCOL_NUMBERS, one: Endpoint, other: Endpoint): string {
  const isV6 = one.address.includes(":");
  const [octets, length, put] = isV6 ? [hashed6, OCTETS_6, put6] : [hashed4, OCTETS_4, put4];
  const second = FIRST + length;
  put(octets, FIRST, one.address);
  put(octets, second, other.address);
  const order = octets.compare(octets, second, second + length, FIRST, second) || one.port - other.port;
  if (order > 0) {
    put(octets, FIRST, other.address);
    put(octets, second, one.address);
  }
  const [low, high] = order > 0 ? [other.port, one.port] : [one.port, other.port];
  let at = second + length;
  at = octets.writeUInt8(PROTOCOL_NUMBERS[protocol], at) + 1;
  at = octets.writeUInt16BE(low, at);
  octets.writeUInt16BE(high, at);
  return `1:${sha1(octets)}`;
}

const DOT = ".".charCodeAt(0);
const ZERO = "0".charCodeAt(0);

function put4(octets: Buffer, at: number, text: string): void {
  let value = 0;
  let place = at;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === DOT) {
      octets[place++] = value;
      value = 0;
    } else {
      value = value * 10 + code - ZERO;
    }
  }
  octets[place] = value;
}

function put6(octets: Buffer, at: number, text: string): void {
  octets.write(
    new Address6(text)
      .bigInt()
      .toString(16)
      .padStart(2 * OCTETS_6, "0"),
    at,
    "hex",
  );
}
