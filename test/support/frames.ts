/** Frames for tests, built with plain arithmetic rather than with the codecs under test. */

export interface UdpFrame {
  readonly source: number;
  readonly sourcePort: number;
  readonly destination: number;
  readonly destinationPort: number;
  readonly payload: Uint8Array;
}

/** Ethernet, IPv4 and UDP around a payload, checksums included. */
export function udpFrame({
  source,
  sourcePort,
  destination,
  destinationPort,
  payload,
}: UdpFrame): Uint8Array {
  const udpOctets = 8 + payload.length;
  const frame = new Uint8Array(14 + 20 + udpOctets);
  const view = new DataView(frame.buffer);
  frame.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x55, 10, 0, 2, 2, 8, 0]);
  view.setUint16(14, 0x4500);
  view.setUint16(16, 20 + udpOctets);
  view.setUint16(22, 0x4011);
  view.setInt32(26, source);
  view.setInt32(30, destination);
  view.setUint16(24, onesComplement(frame.subarray(14, 34)));
  view.setUint16(34, sourcePort);
  view.setUint16(36, destinationPort);
  view.setUint16(38, udpOctets);
  frame.set(payload, 42);
  const pseudo = new Uint8Array(12 + udpOctets);
  pseudo.set(frame.subarray(26, 34));
  pseudo.set([0, 17, udpOctets >>> 8, udpOctets], 8);
  pseudo.set(frame.subarray(34), 12);
  view.setUint16(40, onesComplement(pseudo) || 0xffff);
  return frame;
}

/** RFC 1071, octet by octet. */
function onesComplement(octets: Uint8Array): number {
  let sum = 0;
  octets.forEach((octet, i) => {
    sum += i % 2 === 0 ? octet << 8 : octet;
  });
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** A dotted quad as int32. */
export function ip(text: string): number {
  return text.split(".").reduce((address, octet) => (address << 8) | Number(octet), 0);
}
