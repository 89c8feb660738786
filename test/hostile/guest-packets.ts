/** Frames a guest might send, legal or not, built with the simulation's codec, which shares no code with the engine. */
import {
  ACK,
  buildEthernet,
  buildIpv4,
  buildTcp,
  buildUdp,
  ETHERTYPE_IPV4,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  parseEthernet,
  parseIpv4,
  parseTcp,
  parseUdp,
  type TcpOptions,
  type TcpSegment,
  type UdpDatagram,
} from "../sim/guest-stack/codec.ts";
import { ip } from "../support/frames.ts";

export const GUEST = ip("10.0.2.15");
export const GATEWAY = ip("10.0.2.2");
export const REMOTE = ip("198.51.100.7");
export const GUEST_MAC = Buffer.from([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
export const GATEWAY_MAC = Buffer.from([0x52, 0x55, 10, 0, 2, 2]);
const NONE = Buffer.alloc(0);

export interface Addresses {
  readonly from?: number;
  readonly to?: number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
}

export interface PacketFields {
  readonly from?: number;
  readonly to?: number;
  readonly protocol: number;
  readonly id?: number;
  readonly moreFragments?: boolean;
  /** Octets. */
  readonly fragmentOffset?: number;
  readonly ttl?: number;
  readonly payload: Uint8Array;
}

export function packet({ from = GUEST, to = REMOTE, payload, ...fields }: PacketFields): Buffer {
  const octets = buildIpv4({
    source: from,
    destination: to,
    ttl: 64,
    id: 1,
    dontFragment: false,
    moreFragments: false,
    fragmentOffset: 0,
    ...fields,
    payload: Buffer.from(payload),
  });
  return buildEthernet(GATEWAY_MAC, GUEST_MAC, ETHERTYPE_IPV4, octets);
}

/** The part of a packet whose payload is octets `first` to `end` of the whole one's. */
export function fragmentOf({ payload, ...fields }: PacketFields, first: number, end: number): Buffer {
  const part = { payload: payload.subarray(first, end), fragmentOffset: first };
  return packet({ ...fields, ...part, moreFragments: end < payload.length });
}

export interface UdpFields extends Addresses {
  readonly payload?: Uint8Array;
}

export function udpPayload(fields: UdpFields): Buffer {
  const { from = GUEST, to = REMOTE, sourcePort = 40_000, destinationPort = 7, payload = NONE } = fields;
  return buildUdp({ sourcePort, destinationPort, payload: Buffer.from(payload) }, from, to, "full");
}

export function udp(fields: UdpFields): Buffer {
  const { from = GUEST, to = REMOTE } = fields;
  return packet({ from, to, protocol: PROTOCOL_UDP, payload: udpPayload(fields) });
}

export interface TcpFields extends Addresses {
  readonly flags: number;
  readonly sequence: number;
  readonly acknowledgment?: number;
  readonly window?: number;
  readonly urgentPointer?: number;
  readonly payload?: Uint8Array;
  readonly options?: TcpOptions;
}

export function tcp(fields: TcpFields): Buffer {
  const { from = GUEST, to = REMOTE, sourcePort = 40_000, destinationPort = 80, payload = NONE } = fields;
  const segment: TcpSegment = {
    sourcePort,
    destinationPort,
    sequence: fields.sequence >>> 0,
    acknowledgment: (fields.acknowledgment ?? 0) >>> 0,
    flags: fields.flags,
    window: fields.window ?? 65_535,
    urgentPointer: fields.urgentPointer ?? 0,
    options: fields.options ?? {},
    payload: Buffer.from(payload),
  };
  return packet({ from, to, protocol: PROTOCOL_TCP, payload: buildTcp(segment, from, to, "full") });
}

/** An answer of the engine as TCP; throws when it is anything else or not well-formed. */
export function asTcp(frame: Uint8Array): TcpSegment {
  const inner = asIpv4(frame);
  const segment = parseTcp(inner.payload, inner.source, inner.destination, false);
  if (typeof segment === "string") throw new Error(segment);
  return segment;
}

export function asUdp(frame: Uint8Array): UdpDatagram & { readonly source: number; readonly to: number } {
  const inner = asIpv4(frame);
  const datagram = parseUdp(inner.payload, inner.source, inner.destination, false);
  if (typeof datagram === "string") throw new Error(datagram);
  return { ...datagram, source: inner.source, to: inner.destination };
}

export function asIpv4(frame: Uint8Array) {
  const ethernet = parseEthernet(Buffer.from(frame));
  if (typeof ethernet === "string") throw new Error(ethernet);
  if (ethernet.type !== ETHERTYPE_IPV4) throw new Error(`EtherType ${ethernet.type.toString(16)}`);
  const inner = parseIpv4(ethernet.payload);
  if (typeof inner === "string") throw new Error(inner);
  return inner;
}

/** Something that can be given a frame and answers. */
export interface Exchanger {
  exchange(frame: Uint8Array): Uint8Array[];
}

/** A connection opened by the guest; `guest` and `engine` are the next sequence numbers of either side. */
export class OpenConnection {
  engine = 0;

  constructor(
    private readonly exchanger: Exchanger,
    public guest: number,
    private readonly addresses: Addresses = {},
    options: TcpOptions = { mss: 1460 },
  ) {
    const [synAck] = exchanger.exchange(tcp({ ...addresses, flags: 2, sequence: guest, options }));
    if (synAck === undefined) throw new Error("no answer to a SYN");
    const answer = asTcp(synAck);
    if (answer.flags !== (2 | ACK)) throw new Error(`flags ${answer.flags} in answer to a SYN`);
    this.guest = (guest + 1) | 0;
    this.engine = (answer.sequence + 1) | 0;
    this.send(ACK, NONE, options.timestamp === undefined ? {} : { timestamp: options.timestamp });
  }

  /** A segment in order; moves `guest` on. */
  send(flags: number, payload: Uint8Array = NONE, options: TcpOptions = {}, urgentPointer = 0): Uint8Array[] {
    const sequence = this.guest;
    const acknowledgment = this.engine;
    this.guest = (this.guest + payload.length + (flags & 1)) | 0;
    return this.exchanger.exchange(
      tcp({ ...this.addresses, flags, sequence, acknowledgment, payload, options, urgentPointer }),
    );
  }
}
