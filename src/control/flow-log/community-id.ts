/**
 * Community ID 1 with seed 0 (github.com/corelight/community-id-spec): the same text for a flow whoever saw it, and
 * whichever of its ends is named first. Wireshark, Zeek and Suricata have it of a capture of the guest's link.
 */
import { createHash } from "node:crypto";
import { Address6 } from "ip-address";
import type { Endpoint } from "../records.ts";

/** IANA's protocol numbers. */
export const PROTOCOL_NUMBERS = { tcp: 6, udp: 17 } as const;

/** Seed, two addresses, protocol, padding, two ports. */
const LENGTH_4 = 2 + 2 * 4 + 2 + 2 * 2;
const LENGTH_6 = 2 + 2 * 16 + 2 + 2 * 2;

/** `1:` and the digest of the flow between two ends, whose addresses are of one family. */
export function communityId(protocol: keyof typeof PROTOCOL_NUMBERS, one: Endpoint, other: Endpoint): string {
  const [a, b] = [addressOctets(one.address), addressOctets(other.address)];
  const order = Buffer.compare(a, b) || one.port - other.port;
  const [low, high] = order <= 0 ? [a, b] : [b, a];
  const octets = Buffer.alloc(low.length === 4 ? LENGTH_4 : LENGTH_6);
  let at = 2;
  at += low.copy(octets, at);
  at += high.copy(octets, at);
  at = octets.writeUInt8(PROTOCOL_NUMBERS[protocol], at) + 1;
  at = octets.writeUInt16BE(order <= 0 ? one.port : other.port, at);
  octets.writeUInt16BE(order <= 0 ? other.port : one.port, at);
  return `1:${createHash("sha1").update(octets).digest("base64")}`;
}

/** 4 or 16 octets. */
function addressOctets(text: string): Buffer {
  if (!text.includes(":")) return Buffer.from(text.split(".").map(Number));
  return Buffer.from(new Address6(text).bigInt().toString(16).padStart(32, "0"), "hex");
}
