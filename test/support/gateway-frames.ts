/**
 * Frames as the engine sends them to a guest at 10.9.0.15, made by hand so that link tests depend on nothing above
 * the link: ARP replies, UDP datagrams, TCP segments, with the transport checksum complete or left to the link.
 */

export const GATEWAY = 0x0a090002;
export const GUEST = 0x0a09000f;
const GATEWAY_MAC = [0x52, 0x55, 0x0a, 0x09, 0x00, 0x02];
export const ETHERNET_OCTETS = 14;
export const TRANSPORT_OFFSET = 34;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;

function onesComplementSum(octets: Uint8Array, initial = 0): number {
  let sum = initial;
  for (let i = 0; i < octets.length; i += 2) sum += (octets[i] << 8) | (octets[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

/** Answers an ARP request with the gateway's MAC. */
export function arpReply(request: Uint8Array): Uint8Array {
  const reply = new Uint8Array(42);
  reply.set(request.subarray(6, 12), 0);
  reply.set(GATEWAY_MAC, 6);
  reply.set([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2], 12);
  reply.set(GATEWAY_MAC, 22);
  reply.set(request.subarray(38, 42), 28);
  reply.set(request.subarray(22, 32), 32);
  return reply;
}

/** An IPv4 packet from the gateway to the guest. With `partial` only the pseudo-header is summed. */
export function ipv4Frame(
  guestMac: Uint8Array,
  protocol: number,
  transport: Uint8Array,
  partial: boolean,
): Uint8Array {
  const frame = new Uint8Array(TRANSPORT_OFFSET + transport.length);
  const view = new DataView(frame.buffer);
  frame.set(guestMac, 0);
  frame.set(GATEWAY_MAC, 6);
  view.setUint16(12, 0x0800);
  view.setUint8(14, 0x45);
  view.setUint16(16, 20 + transport.length);
  view.setUint16(20, 0x4000);
  view.setUint8(22, 64);
  view.setUint8(23, protocol);
  view.setUint32(26, GATEWAY);
  view.setUint32(30, GUEST);
  view.setUint16(24, 0xffff & ~onesComplementSum(frame.subarray(14, 34)));
  frame.set(transport, TRANSPORT_OFFSET);
  const checksumAt = TRANSPORT_OFFSET + (protocol === PROTOCOL_TCP ? 16 : 6);
  const pseudo = onesComplementSum(frame.subarray(26, 34), protocol + transport.length);
  const sum = partial ? pseudo : 0xffff & ~onesComplementSum(frame.subarray(TRANSPORT_OFFSET), pseudo);
  view.setUint16(checksumAt, sum);
  return frame;
}

export function udpSegment(sourcePort: number, destinationPort: number, payload: Uint8Array): Uint8Array {
  const segment = new Uint8Array(8 + payload.length);
  const view = new DataView(segment.buffer);
  view.setUint16(0, sourcePort);
  view.setUint16(2, destinationPort);
  view.setUint16(4, segment.length);
  segment.set(payload, 8);
  return segment;
}

export interface TcpFields {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgment: number;
  readonly flags: number;
  readonly options?: readonly number[];
}

export function tcpSegment(fields: TcpFields, payload: Uint8Array = new Uint8Array(0)): Uint8Array {
  const options = fields.options ?? [];
  const segment = new Uint8Array(20 + options.length + payload.length);
  const view = new DataView(segment.buffer);
  view.setUint16(0, fields.sourcePort);
  view.setUint16(2, fields.destinationPort);
  view.setUint32(4, fields.sequence);
  view.setUint32(8, fields.acknowledgment);
  view.setUint8(12, (5 + options.length / 4) << 4);
  view.setUint8(13, fields.flags);
  view.setUint16(14, 65_535);
  segment.set(options, 20);
  segment.set(payload, 20 + options.length);
  return segment;
}

export function isArpRequest(frame: Uint8Array): boolean {
  const target = new DataView(frame.buffer, frame.byteOffset).getUint32(38);
  return frame[12] === 0x08 && frame[13] === 0x06 && frame[21] === 1 && target === GATEWAY;
}

export function isIpv4(frame: Uint8Array, protocol: number): boolean {
  return frame[12] === 0x08 && frame[13] === 0x00 && frame[23] === protocol;
}
