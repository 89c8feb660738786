/**
 * Framing of QEMU's `-netdev stream` and `-netdev socket` over a byte stream (net/stream.c): the frame's length in
 * octets as 32 bits in network order, then the frame from its Ethernet header on.
 */

/** Octets of the length in front of a frame. */
export const STREAM_PREFIX_OCTETS = 4;

/** Length of the frame behind the prefix at `at`, 0 to 2^32 - 1. */
export function streamFrameLength(view: DataView, at: number): number {
  return view.getUint32(at);
}

export function setStreamFrameLength(view: DataView, at: number, length: number): void {
  view.setUint32(at, length);
}
