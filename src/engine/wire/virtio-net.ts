/**
 * virtio_net_hdr as TAP devices use it (linux/virtio_net.h, VIRTIO 1.2 section 5.1.6): 10 octets in front of the
 * Ethernet header, in the host's octet order.
 *
 *    0  flags   1  gso_type   2  hdr_len   4  gso_size   6  csum_start   8  csum_offset
 */

/** Octets of the header (without the num_buffers field of mergeable buffers). */
export const VNET_HEADER_OCTETS = 10;
/** Octets of virtio_net_hdr_v1, which has num_buffers behind the rest (VIRTIO 1.2 section 5.1.6). */
export const VNET_HEADER_V1_OCTETS = 12;

/** flags: the checksum from csum_start on is still to be completed. */
export const VNET_NEEDS_CSUM = 1;
/** flags: the checksum has been verified. */
export const VNET_DATA_VALID = 2;

/** gso_type values. */
export const VNET_GSO_NONE = 0;
export const VNET_GSO_TCPV4 = 1;
export const VNET_GSO_TCPV6 = 4;
/** Datagrams of one flow back to back (USO), not the retired IP fragmentation offload (3). */
export const VNET_GSO_UDP_L4 = 5;
/** Bit beside gso_type: the segments carry ECN's CWR in the first only. */
export const VNET_GSO_ECN = 0x80;

const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

export function vnetFlags(view: DataView, at: number): number {
  return view.getUint8(at);
}

/** gso_type without the ECN bit. */
export function vnetGsoType(view: DataView, at: number): number {
  return view.getUint8(at + 1) & ~VNET_GSO_ECN;
}

export function vnetHeaderLength(view: DataView, at: number): number {
  return view.getUint16(at + 2, LITTLE_ENDIAN);
}

export function vnetGsoSize(view: DataView, at: number): number {
  return view.getUint16(at + 4, LITTLE_ENDIAN);
}

export function vnetChecksumStart(view: DataView, at: number): number {
  return view.getUint16(at + 6, LITTLE_ENDIAN);
}

export function vnetChecksumOffset(view: DataView, at: number): number {
  return view.getUint16(at + 8, LITTLE_ENDIAN);
}

/** Writes the whole header at `at`. */
export function writeVnetHeader(
  view: DataView,
  at: number,
  flags: number,
  gsoType: number,
  headerLength: number,
  gsoSize: number,
  checksumStart: number,
  checksumOffset: number,
): void {
  view.setUint8(at, flags);
  view.setUint8(at + 1, gsoType);
  view.setUint16(at + 2, headerLength, LITTLE_ENDIAN);
  view.setUint16(at + 4, gsoSize, LITTLE_ENDIAN);
  view.setUint16(at + 6, checksumStart, LITTLE_ENDIAN);
  view.setUint16(at + 8, checksumOffset, LITTLE_ENDIAN);
}
