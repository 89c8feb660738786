/** IPv6 packets and Neighbour Discovery messages for tests, built with plain arithmetic rather than with the codecs under test. */
import { Address6 } from "ip-address";

/** An IPv6 address as four int32 words. */
export function ip6(text: string): [number, number, number, number] {
  const value = new Address6(text).bigInt();
  const word = (shift: bigint): number => Number(BigInt.asIntN(32, value >> shift));
  return [word(96n), word(64n), word(32n), word(0n)];
}

/** An IPv6 address as 16 octets. */
export function octets6(text: string): number[] {
  return ip6(text).flatMap((word) => [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255]);
}

export interface Ip6Packet {
  readonly source?: string;
  readonly destination?: string;
  readonly next?: number;
  readonly hopLimit?: number;
  /** Everything behind the fixed header. */
  readonly payload: readonly number[];
}

export const GUEST6 = "fd71:1ae0:d44d:2::15";
export const ROUTER6 = "fd71:1ae0:d44d:2::2";

/** The fixed header and its payload. */
export function packet6({
  source = GUEST6,
  destination = "2001:db8::1",
  next = 17,
  hopLimit = 64,
  payload,
}: Ip6Packet): Uint8Array {
  return Uint8Array.of(
    ...[0x60, 0, 0, 0, payload.length >>> 8, payload.length & 255, next, hopLimit],
    ...octets6(source),
    ...octets6(destination),
    ...payload,
  );
}

/** The ones' complement checksum of an upper-layer message, for its checksum field (which counts as zero). */
export function checksum6(
  source: string,
  destination: string,
  next: number,
  message: readonly number[],
): number {
  const octets = [
    ...octets6(source),
    ...octets6(destination),
    ...[0, 0, message.length >>> 8, message.length & 255, 0, 0, 0, next],
    ...message,
  ];
  let sum = 0;
  octets.forEach((octet, i) => {
    sum += i % 2 === 0 ? octet << 8 : octet;
  });
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** A packet with an ICMPv6 message, whose checksum (octets 2 and 3) is filled in. */
export function icmp6({
  source = GUEST6,
  destination = "ff02::2",
  hopLimit = 255,
  payload,
}: Ip6Packet): Uint8Array {
  const sum = checksum6(source, destination, 58, payload);
  const message = [payload[0], payload[1], sum >>> 8, sum & 255, ...payload.slice(4)];
  return packet6({ source, destination, hopLimit, next: 58, payload: message });
}

/** A neighbour solicitation or advertisement. */
export function neighbourMessage(
  type: 135 | 136,
  flags: number,
  target: string,
  options: readonly number[] = [],
): number[] {
  return [type, 0, 0, 0, flags, 0, 0, 0, ...octets6(target), ...options];
}

/** The solicited-node group of an address. */
export function groupOf(address: string): string {
  const low = ip6(address)[3] & 0xffffff;
  return `ff02::1:ff${(low >>> 16).toString(16).padStart(2, "0")}:${(low & 0xffff).toString(16)}`;
}

/** A link-layer address option. */
export function macOption(type: 1 | 2, mac: readonly number[]): number[] {
  return [type, 1, ...mac];
}

/** An Ethernet frame around a packet. */
export function frame6(packet: Uint8Array, to: readonly number[], from: readonly number[]): Uint8Array {
  return Uint8Array.of(...to, ...from, 0x86, 0xdd, ...packet);
}

/** A UDP packet; `checksum: 0` sends none. */
export function udp6(
  { source = GUEST6, destination = "2001:db8::1" }: Omit<Ip6Packet, "payload">,
  from: number,
  to: number,
  payload: readonly number[],
  checksum?: number,
): Uint8Array {
  const length = 8 + payload.length;
  const header = [from >>> 8, from & 255, to >>> 8, to & 255, length >>> 8, length & 255];
  const sum = checksum ?? checksum6(source, destination, 17, [...header, 0, 0, ...payload]);
  return packet6({ source, destination, next: 17, payload: [...header, sum >>> 8, sum & 255, ...payload] });
}

export interface Tcp6Segment {
  readonly from: number;
  readonly to: number;
  readonly sequence: number;
  readonly acknowledgment?: number;
  readonly flags: number;
  readonly options?: readonly number[];
  readonly payload?: readonly number[];
}

/** A TCP packet. */
export function tcp6(
  { source = GUEST6, destination = "2001:db8::1" }: Omit<Ip6Packet, "payload">,
  { from, to, sequence, acknowledgment = 0, flags, options = [], payload = [] }: Tcp6Segment,
): Uint8Array {
  const word = (value: number): number[] => [
    value >>> 24,
    (value >>> 16) & 255,
    (value >>> 8) & 255,
    value & 255,
  ];
  const segment = [
    ...[from >>> 8, from & 255, to >>> 8, to & 255],
    ...word(sequence),
    ...word(acknowledgment),
    ...[((20 + options.length) / 4) << 4, flags, 0xff, 0xff, 0, 0, 0, 0],
    ...options,
    ...payload,
  ];
  const sum = checksum6(source, destination, 6, segment);
  segment[16] = sum >>> 8;
  segment[17] = sum & 255;
  return packet6({ source, destination, next: 6, payload: segment });
}
