/**
 * Packets of the simulated guest: parsed into plain objects, built from them. Written from the RFCs, apart from the
 * engine's codecs, so that one mistake cannot hide in both.
 */

export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;

export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const PSH = 0x08;
export const ACK = 0x10;
export const URG = 0x20;

/** Ones' complement sum of RFC 1071, folded to 16 bits, not complemented. */
export function onesSum(octets: Uint8Array, initial = 0): number {
  let sum = initial;
  const even = octets.length & ~1;
  for (let i = 0; i < even; i += 2) sum += (octets[i] << 8) | octets[i + 1];
  if (octets.length & 1) sum += octets[octets.length - 1] << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

/** Sum over the pseudo-header of RFC 9293 3.1. */
export function pseudoSum(source: number, destination: number, protocol: number, length: number): number {
  const header = Buffer.alloc(12);
  header.writeUInt32BE(source >>> 0, 0);
  header.writeUInt32BE(destination >>> 0, 4);
  header[9] = protocol;
  header.writeUInt16BE(length, 10);
  return onesSum(header);
}

/** An IPv6 address: four int32 words. */
export type Ip6 = readonly [number, number, number, number];

export const ETHERTYPE_IPV6 = 0x86dd;
export const PROTOCOL_ICMPV6 = 58;
export const NEIGHBOUR_SOLICITATION = 135;
export const NEIGHBOUR_ADVERTISEMENT = 136;
export const ROUTER_ADVERTISEMENT = 134;

/** Of either family: the pseudo-header of IPv6 has longer fields, with the same sum. */
function pseudoSumOf(
  source: number | Ip6,
  destination: number | Ip6,
  protocol: number,
  length: number,
): number {
  if (typeof source === "number" || typeof destination === "number") {
    return pseudoSum(source as number, destination as number, protocol, length);
  }
  const octets = Buffer.concat([octetsOf(source), octetsOf(destination), Buffer.alloc(4)]);
  octets.writeUInt16BE(protocol, 34);
  return onesSum(octets, length);
}

function octetsOf(address: Ip6): Buffer {
  const octets = Buffer.alloc(16);
  for (const [i, word] of address.entries()) octets.writeInt32BE(word, i * 4);
  return octets;
}

function ip6At(octets: Buffer, at: number): Ip6 {
  return [0, 4, 8, 12].map((offset) => octets.readInt32BE(at + offset)) as unknown as Ip6;
}

export interface Ipv6Packet {
  readonly source: Ip6;
  readonly destination: Ip6;
  readonly protocol: number;
  readonly hopLimit: number;
  readonly payload: Buffer;
}

export function parseIpv6(octets: Buffer): Ipv6Packet | string {
  if (octets.length < 40) return "IPv6 header cut short";
  if (octets[0] >> 4 !== 6) return "not IPv6";
  if (octets.readUInt16BE(4) !== octets.length - 40) return "IPv6 payload length is not the frame's";
  return {
    source: ip6At(octets, 8),
    destination: ip6At(octets, 24),
    protocol: octets[6],
    hopLimit: octets[7],
    payload: octets.subarray(40),
  };
}

export function buildIpv6({ source, destination, protocol, hopLimit, payload }: Ipv6Packet): Buffer {
  const header = Buffer.alloc(8);
  header[0] = 0x60;
  header.writeUInt16BE(payload.length, 4);
  header[6] = protocol;
  header[7] = hopLimit;
  return Buffer.concat([header, octetsOf(source), octetsOf(destination), payload]);
}

/** "I have this address", with the MAC of who has it. */
export function buildNeighbourAdvertisement(flags: number, address: Ip6, mac: Buffer, to: Ip6): Buffer {
  return neighbourMessage(NEIGHBOUR_ADVERTISEMENT, flags, address, 2, mac, address, to);
}

/** "Who has this address?", from whom and with the MAC of who asks. */
export function buildNeighbourSolicitation(target: Ip6, mac: Buffer, from: Ip6): Buffer {
  return neighbourMessage(NEIGHBOUR_SOLICITATION, 0, target, 1, mac, from, solicitedNode(target));
}

function neighbourMessage(
  type: number,
  flags: number,
  target: Ip6,
  option: number,
  mac: Buffer,
  from: Ip6,
  to: Ip6,
): Buffer {
  const head = Buffer.from([type, 0, 0, 0, flags, 0, 0, 0]);
  const message = Buffer.concat([head, octetsOf(target), Buffer.from([option, 1]), mac]);
  const pseudo = pseudoSumOf(from, to, PROTOCOL_ICMPV6, message.length);
  message.writeUInt16BE(0xffff ^ onesSum(message, pseudo), 2);
  return message;
}

/** The group that whoever has the address listens to (RFC 4291 2.7.1). */
export function solicitedNode(address: Ip6): Ip6 {
  return [0xff020000 | 0, 0, 1, 0xff000000 | (address[3] & 0xffffff)];
}

/** An ICMPv6 message: its type, and of neighbour messages the target and the MAC in the option. */
export interface Icmpv6Message {
  readonly type: number;
  readonly target: Ip6 | null;
  readonly mac: Buffer | null;
}

export function parseIcmpv6({ source, destination, payload }: Ipv6Packet): Icmpv6Message | string {
  if (payload.length < 8) return "ICMPv6 cut short";
  const pseudo = pseudoSumOf(source, destination, PROTOCOL_ICMPV6, payload.length);
  if (onesSum(payload, pseudo) !== 0xffff) return "ICMPv6 checksum wrong";
  const isNeighbours = payload[0] === NEIGHBOUR_SOLICITATION || payload[0] === NEIGHBOUR_ADVERTISEMENT;
  if (!isNeighbours) return { type: payload[0], target: null, mac: null };
  if (payload.length !== 32 || payload[25] !== 1) return "a neighbour message without its option";
  return { type: payload[0], target: ip6At(payload, 8), mac: payload.subarray(26, 32) };
}

export function formatIp(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join(".");
}

// --- Ethernet --------------------------------------------------------------------------------------------------

export interface EthernetFrame {
  readonly destination: Buffer;
  readonly source: Buffer;
  readonly type: number;
  readonly payload: Buffer;
}

export function parseEthernet(frame: Buffer): EthernetFrame | string {
  if (frame.length < 14) return "frame shorter than its Ethernet header";
  return {
    destination: frame.subarray(0, 6),
    source: frame.subarray(6, 12),
    type: frame.readUInt16BE(12),
    payload: frame.subarray(14),
  };
}

export function buildEthernet(destination: Buffer, source: Buffer, type: number, payload: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(14 + payload.length);
  destination.copy(frame, 0);
  source.copy(frame, 6);
  frame.writeUInt16BE(type, 12);
  payload.copy(frame, 14);
  return frame;
}

// --- ARP (RFC 826) ---------------------------------------------------------------------------------------------

export interface ArpPacket {
  /** 1 request, 2 reply. */
  readonly operation: number;
  readonly senderMac: Buffer;
  readonly senderIp: number;
  readonly targetMac: Buffer;
  readonly targetIp: number;
}

export function parseArp(packet: Buffer): ArpPacket | string {
  if (packet.length < 28) return "ARP packet cut short";
  if (packet.readUInt32BE(0) !== 0x00010800 || packet.readUInt16BE(4) !== 0x0604) {
    return "ARP is not for IPv4 over Ethernet";
  }
  return {
    operation: packet.readUInt16BE(6),
    senderMac: packet.subarray(8, 14),
    senderIp: packet.readInt32BE(14),
    targetMac: packet.subarray(18, 24),
    targetIp: packet.readInt32BE(24),
  };
}

export function buildArp(arp: ArpPacket): Buffer {
  const packet = Buffer.alloc(28);
  packet.writeUInt32BE(0x00010800, 0);
  packet.writeUInt16BE(0x0604, 4);
  packet.writeUInt16BE(arp.operation, 6);
  arp.senderMac.copy(packet, 8);
  packet.writeInt32BE(arp.senderIp | 0, 14);
  arp.targetMac.copy(packet, 18);
  packet.writeInt32BE(arp.targetIp | 0, 24);
  return packet;
}

// --- IPv4 (RFC 791) --------------------------------------------------------------------------------------------

export interface Ipv4Packet {
  readonly source: number;
  readonly destination: number;
  readonly protocol: number;
  readonly ttl: number;
  readonly id: number;
  readonly dontFragment: boolean;
  readonly moreFragments: boolean;
  /** Octets. */
  readonly fragmentOffset: number;
  readonly payload: Buffer;
}

/** Octets after the packet's total length (Ethernet padding) are cut off. */
export function parseIpv4(octets: Buffer): Ipv4Packet | string {
  if (octets.length < 20) return "IPv4 header cut short";
  const headerLength = (octets[0] & 15) * 4;
  const totalLength = octets.readUInt16BE(2);
  if (octets[0] >> 4 !== 4) return "not IP version 4";
  if (headerLength < 20 || headerLength > octets.length) return "IPv4 header length impossible";
  if (totalLength < headerLength || totalLength > octets.length) return "IPv4 total length impossible";
  if (onesSum(octets.subarray(0, headerLength)) !== 0xffff) return "IPv4 header checksum wrong";
  const flags = octets.readUInt16BE(6);
  return {
    source: octets.readInt32BE(12),
    destination: octets.readInt32BE(16),
    protocol: octets[9],
    ttl: octets[8],
    id: octets.readUInt16BE(4),
    dontFragment: (flags & 0x4000) !== 0,
    moreFragments: (flags & 0x2000) !== 0,
    fragmentOffset: (flags & 0x1fff) * 8,
    payload: octets.subarray(headerLength, totalLength),
  };
}

export function buildIpv4(packet: Ipv4Packet): Buffer {
  const octets = Buffer.alloc(20 + packet.payload.length);
  octets[0] = 0x45;
  octets.writeUInt16BE(octets.length, 2);
  octets.writeUInt16BE(packet.id, 4);
  octets.writeUInt16BE(
    (packet.dontFragment ? 0x4000 : 0) | (packet.moreFragments ? 0x2000 : 0) | (packet.fragmentOffset >> 3),
    6,
  );
  octets[8] = packet.ttl;
  octets[9] = packet.protocol;
  octets.writeInt32BE(packet.source | 0, 12);
  octets.writeInt32BE(packet.destination | 0, 16);
  octets.writeUInt16BE(0xffff ^ onesSum(octets.subarray(0, 20)), 10);
  packet.payload.copy(octets, 20);
  return octets;
}

// --- UDP (RFC 768) ---------------------------------------------------------------------------------------------

export interface UdpDatagram {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly payload: Buffer;
}

/** `partial`: the checksum field holds the pseudo-header sum only and the payload is not covered yet. */
export function parseUdp(
  octets: Buffer,
  source: number | Ip6,
  destination: number | Ip6,
  partial: boolean,
): UdpDatagram | string {
  if (octets.length < 8) return "UDP header cut short";
  const length = octets.readUInt16BE(4);
  if (length < 8 || length > octets.length) return "UDP length impossible";
  const datagram = octets.subarray(0, length);
  const pseudo = pseudoSumOf(source, destination, PROTOCOL_UDP, length);
  const checksum = octets.readUInt16BE(6);
  if (partial) {
    if (checksum !== pseudo) return "UDP partial checksum is not the pseudo-header's sum";
  } else if (checksum === 0 ? typeof source !== "number" : onesSum(datagram, pseudo) !== 0xffff) {
    return "UDP checksum wrong";
  }
  return {
    sourcePort: octets.readUInt16BE(0),
    destinationPort: octets.readUInt16BE(2),
    payload: datagram.subarray(8),
  };
}

export function buildUdp(
  datagram: UdpDatagram,
  source: number | Ip6,
  destination: number | Ip6,
  checksum: "full" | "partial" | "none",
): Buffer {
  const octets = Buffer.alloc(8 + datagram.payload.length);
  octets.writeUInt16BE(datagram.sourcePort, 0);
  octets.writeUInt16BE(datagram.destinationPort, 2);
  octets.writeUInt16BE(octets.length, 4);
  datagram.payload.copy(octets, 8);
  const pseudo = pseudoSumOf(source, destination, PROTOCOL_UDP, octets.length);
  if (checksum === "partial") octets.writeUInt16BE(pseudo, 6);
  // A computed zero is sent as all ones: zero means "no checksum".
  if (checksum === "full") octets.writeUInt16BE(0xffff ^ onesSum(octets, pseudo) || 0xffff, 6);
  return octets;
}

// --- TCP (RFC 9293) --------------------------------------------------------------------------------------------

export interface TcpOptions {
  readonly mss?: number;
  readonly windowScale?: number;
  readonly sackPermitted?: boolean;
  /** Pairs [left edge, right edge). */
  readonly sack?: readonly (readonly [number, number])[];
  readonly timestamp?: readonly [value: number, echo: number];
}

export interface TcpSegment {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgment: number;
  readonly flags: number;
  /** As in the header, not scaled. */
  readonly window: number;
  readonly urgentPointer: number;
  readonly options: TcpOptions;
  readonly payload: Buffer;
}

function parseTcpOptions(octets: Buffer): TcpOptions | string {
  const options: {
    -readonly [K in keyof TcpOptions]: TcpOptions[K];
  } = {};
  for (let at = 0; at < octets.length; ) {
    const kind = octets[at];
    if (kind === 0) break;
    if (kind === 1) {
      at++;
      continue;
    }
    const length = octets[at + 1];
    if (length === undefined || length < 2 || at + length > octets.length) {
      return `TCP option ${kind} has an impossible length`;
    }
    if (kind === 2 && length === 4) options.mss = octets.readUInt16BE(at + 2);
    else if (kind === 3 && length === 3) options.windowScale = octets[at + 2];
    else if (kind === 4 && length === 2) options.sackPermitted = true;
    else if (kind === 8 && length === 10)
      options.timestamp = [octets.readUInt32BE(at + 2), octets.readUInt32BE(at + 6)];
    else if (kind === 5 && length % 8 === 2) {
      const blocks: [number, number][] = [];
      for (let block = at + 2; block < at + length; block += 8) {
        blocks.push([octets.readUInt32BE(block), octets.readUInt32BE(block + 4)]);
      }
      options.sack = blocks;
    } else return `TCP option ${kind} with length ${length} is not one this stack sends`;
    at += length;
  }
  return options;
}

export function parseTcp(
  octets: Buffer,
  source: number | Ip6,
  destination: number | Ip6,
  partial: boolean,
): TcpSegment | string {
  if (octets.length < 20) return "TCP header cut short";
  const dataOffset = (octets[12] >> 4) * 4;
  if (dataOffset < 20 || dataOffset > octets.length) return "TCP data offset impossible";
  const pseudo = pseudoSumOf(source, destination, PROTOCOL_TCP, octets.length);
  if (partial) {
    if (octets.readUInt16BE(16) !== pseudo) return "TCP partial checksum is not the pseudo-header's sum";
  } else if (onesSum(octets, pseudo) !== 0xffff) {
    return "TCP checksum wrong";
  }
  const options = parseTcpOptions(octets.subarray(20, dataOffset));
  if (typeof options === "string") return options;
  return {
    sourcePort: octets.readUInt16BE(0),
    destinationPort: octets.readUInt16BE(2),
    sequence: octets.readUInt32BE(4),
    acknowledgment: octets.readUInt32BE(8),
    flags: octets[13],
    window: octets.readUInt16BE(14),
    urgentPointer: octets.readUInt16BE(18),
    options,
    payload: octets.subarray(dataOffset),
  };
}

function buildTcpOptions(options: TcpOptions): Buffer {
  const octets: number[] = [];
  const word = (value: number): void => {
    octets.push((value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
  };
  if (options.mss !== undefined) octets.push(2, 4, options.mss >> 8, options.mss & 255);
  if (options.sackPermitted) octets.push(4, 2);
  if (options.timestamp !== undefined) {
    while (octets.length % 4 !== 2) octets.push(1);
    octets.push(8, 10);
    word(options.timestamp[0]);
    word(options.timestamp[1]);
  }
  if (options.windowScale !== undefined) octets.push(1, 3, 3, options.windowScale);
  if (options.sack !== undefined && options.sack.length > 0) {
    while (octets.length % 4 !== 2) octets.push(1);
    const room = Math.floor((40 - octets.length - 2) / 8);
    const blocks = options.sack.slice(0, room);
    octets.push(5, 2 + 8 * blocks.length);
    for (const [left, right] of blocks) {
      word(left);
      word(right);
    }
  }
  while (octets.length % 4 !== 0) octets.push(0);
  return Buffer.from(octets);
}

export function buildTcp(
  segment: TcpSegment,
  source: number | Ip6,
  destination: number | Ip6,
  checksum: "full" | "partial",
): Buffer {
  const options = buildTcpOptions(segment.options);
  const octets = Buffer.allocUnsafe(20 + options.length + segment.payload.length);
  octets.writeUInt16BE(segment.sourcePort, 0);
  octets.writeUInt16BE(segment.destinationPort, 2);
  octets.writeUInt32BE(segment.sequence >>> 0, 4);
  octets.writeUInt32BE(segment.acknowledgment >>> 0, 8);
  octets[12] = ((20 + options.length) / 4) << 4;
  octets[13] = segment.flags;
  octets.writeUInt16BE(segment.window, 14);
  octets.writeUInt16BE(0, 16);
  octets.writeUInt16BE(segment.urgentPointer, 18);
  options.copy(octets, 20);
  segment.payload.copy(octets, 20 + options.length);
  const pseudo = pseudoSumOf(source, destination, PROTOCOL_TCP, octets.length);
  octets.writeUInt16BE(checksum === "partial" ? pseudo : 0xffff ^ onesSum(octets, pseudo), 16);
  return octets;
}

const FLAG_LETTERS: readonly (readonly [number, string])[] = [
  [SYN, "S"],
  [FIN, "F"],
  [RST, "R"],
  [PSH, "P"],
  [URG, "U"],
  [ACK, "."],
];

/** As tcpdump writes flags: `S.` is SYN and ACK. */
export function formatFlags(flags: number): string {
  return FLAG_LETTERS.map(([bit, letter]) => (flags & bit ? letter : "")).join("") || "none";
}

/** One line for traces. */
export function describeTcp(segment: TcpSegment): string {
  const { options } = segment;
  const parts = [`${formatFlags(segment.flags)} seq ${segment.sequence}`];
  if (segment.payload.length > 0) parts.push(`len ${segment.payload.length}`);
  if (segment.flags & ACK) parts.push(`ack ${segment.acknowledgment}`);
  parts.push(`win ${segment.window}`);
  if (segment.flags & URG) parts.push(`urg ${segment.urgentPointer}`);
  if (options.mss !== undefined) parts.push(`mss ${options.mss}`);
  if (options.windowScale !== undefined) parts.push(`ws ${options.windowScale}`);
  if (options.sackPermitted) parts.push("sackOK");
  if (options.timestamp !== undefined) parts.push(`TS ${options.timestamp[0]} ecr ${options.timestamp[1]}`);
  if (options.sack !== undefined) parts.push(`sack ${options.sack.map((b) => b.join("-")).join(" ")}`);
  return parts.join(" ");
}
