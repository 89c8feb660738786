/** Frames of other people's captures made to look like the guest's, so that they get past the Ethernet door. */

const GATEWAY_MAC = [0x52, 0x55, 10, 0, 2, 2];
export const GUEST_MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const GUEST_ADDRESS = [10, 0, 2, 15];
const ETHERNET_OCTETS = 14;
const IPV4_HEADER_OCTETS = 20;

/** Sum of an IPv4 header in place; nothing when the header is not all there. */
export function fixHeaderChecksum(frame: Uint8Array, at = ETHERNET_OCTETS): void {
  const octets = (frame[at] & 15) * 4;
  if (octets < IPV4_HEADER_OCTETS || frame.length < at + octets) return;
  frame[at + 10] = 0;
  frame[at + 11] = 0;
  let sum = 0;
  for (let i = 0; i < octets; i += 2) sum += (frame[at + i] << 8) | frame[at + i + 1];
  sum = (sum & 0xffff) + (sum >>> 16);
  sum = ~((sum & 0xffff) + (sum >>> 16));
  frame[at + 10] = (sum >>> 8) & 255;
  frame[at + 11] = sum & 255;
}

/** A copy from the guest's MAC to the gateway's; an IPv4 packet in it comes from the guest's address. */
export function asFromGuest(octets: Uint8Array): Uint8Array {
  const frame = octets.slice();
  if (frame.length < ETHERNET_OCTETS) return frame;
  frame.set(GATEWAY_MAC, 0);
  frame.set(GUEST_MAC, 6);
  if (frame[12] !== 8 || frame[13] !== 0 || frame.length < ETHERNET_OCTETS + IPV4_HEADER_OCTETS) return frame;
  frame.set(GUEST_ADDRESS, ETHERNET_OCTETS + 12);
  fixHeaderChecksum(frame);
  return frame;
}

/** A packet of a link without Ethernet, as the payload of an IPv4 frame. */
export function wrapped(packet: Uint8Array): Uint8Array {
  const frame = new Uint8Array(ETHERNET_OCTETS + packet.length);
  frame.set([...GATEWAY_MAC, ...GUEST_MAC, 8, 0]);
  frame.set(packet, ETHERNET_OCTETS);
  return frame;
}
