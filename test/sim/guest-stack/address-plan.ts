/**
 * How a world's addresses, which are ints everywhere in it, stand in the packets of its family, and what those packets look
 * like: IPv4 as they are; IPv6 with 10.0.2.n as n of the guest's prefix and all others as the end of 2001:db8::/96.
 */
import {
  buildIpv4,
  buildIpv6,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  type Ip6,
  type Ipv4Packet,
  PROTOCOL_ICMPV6,
  parseIpv4,
  parseIpv6,
} from "./codec.ts";

/** A packet or fragment of either family: what the two have in common. */
export type IpPacket = Ipv4Packet;

export interface AddressPlan {
  readonly family: 4 | 6;
  readonly etherType: number;
  /** Octets of a packet's headers, and of a fragment's. */
  readonly headerOctets: number;
  readonly fragmentOctets: number;
  /** As the pseudo-header has it. */
  address(ip: number): number | Ip6;
  build(packet: IpPacket): Buffer;
  /** Text says what is wrong with it; ICMPv6 is not for this. */
  parse(octets: Buffer): IpPacket | string;
}

const GUEST_NET = 0x0a0002;
const PREFIX_0 = 0xfd711ae0 | 0;
const PREFIX_1 = 0xd44d0002 | 0;
const DOCUMENTATION = 0x20010db8;
const FRAGMENT = 44;
const FRAGMENT_OCTETS = 8;
const HOPS = 64;

export const PLAN4: AddressPlan = {
  family: 4,
  etherType: ETHERTYPE_IPV4,
  headerOctets: 20,
  fragmentOctets: 20,
  address: (ip) => ip,
  build: buildIpv4,
  parse: parseIpv4,
};

export function address6(ip: number): Ip6 {
  return ip >>> 8 === GUEST_NET ? [PREFIX_0, PREFIX_1, 0, ip & 255] : [DOCUMENTATION, 0, 0, ip];
}

/** The int an address stands for, or null. */
export function intOf([w0, w1, w2, w3]: Ip6): number | null {
  if (w0 === PREFIX_0 && w1 === PREFIX_1 && w2 === 0 && w3 >>> 8 === 0) return (GUEST_NET << 8) | w3;
  return w0 === DOCUMENTATION && (w1 | w2) === 0 ? w3 : null;
}

export const PLAN6: AddressPlan = {
  family: 6,
  etherType: ETHERTYPE_IPV6,
  headerOctets: 40,
  fragmentOctets: 40 + FRAGMENT_OCTETS,
  address: address6,
  build: (packet) => {
    const { protocol, moreFragments, fragmentOffset } = packet;
    const addresses = {
      source: address6(packet.source),
      destination: address6(packet.destination),
      hopLimit: HOPS,
    };
    if (!moreFragments && fragmentOffset === 0)
      return buildIpv6({ ...addresses, protocol, payload: packet.payload });
    const header = Buffer.alloc(FRAGMENT_OCTETS);
    header[0] = protocol;
    header.writeUInt16BE(fragmentOffset | (moreFragments ? 1 : 0), 2);
    header.writeUInt32BE(packet.id, 4);
    return buildIpv6({ ...addresses, protocol: FRAGMENT, payload: Buffer.concat([header, packet.payload]) });
  },
  parse: (octets) => {
    const packet = parseIpv6(octets);
    if (typeof packet === "string") return packet;
    const [source, destination] = [intOf(packet.source), intOf(packet.destination)];
    if (source === null || destination === null) return "an address of nobody";
    if (packet.protocol === PROTOCOL_ICMPV6) return "ICMPv6";
    const common = { source, destination, ttl: packet.hopLimit, dontFragment: false };
    const { payload } = packet;
    if (packet.protocol !== FRAGMENT) {
      return {
        ...common,
        protocol: packet.protocol,
        id: 0,
        moreFragments: false,
        fragmentOffset: 0,
        payload,
      };
    }
    if (payload.length < FRAGMENT_OCTETS) return "fragment header cut short";
    const bits = payload.readUInt16BE(2);
    return {
      ...common,
      protocol: payload[0],
      id: payload.readUInt32BE(4),
      moreFragments: (bits & 1) !== 0,
      fragmentOffset: bits & 0xfff8,
      payload: payload.subarray(FRAGMENT_OCTETS),
    };
  },
};
