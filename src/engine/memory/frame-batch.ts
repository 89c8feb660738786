/** Frames a link read in one call, as offsets into the arena. Struct of arrays; nothing is allocated per frame. */

/** The transport checksum is still to be completed by whoever puts the frame on a wire (VIRTIO NEEDS_CSUM). */
export const CHECKSUM_PARTIAL = 1;
/** The link vouches for the transport checksum (VIRTIO DATA_VALID). */
export const CHECKSUM_VALID = 2;

export class FrameBatch {
  count = 0;
  /** Offset of the Ethernet header. */
  readonly at: Int32Array;
  /** Octets from the Ethernet header on. */
  readonly length: Int32Array;
  /** CHECKSUM_PARTIAL, CHECKSUM_VALID or 0. */
  readonly flags: Int32Array;
  /** Payload octets per segment of a super-frame, or 0 for a plain frame. */
  readonly segmentSize: Int32Array;
  /** Frames the link itself had to drop since the last call (too long, runt), for the counters. */
  oversized = 0;
  /** The link knows that nothing more waits: its next frame raises an event. Saves an empty read. */
  drained = false;

  constructor(readonly capacity: number) {
    this.at = new Int32Array(capacity);
    this.length = new Int32Array(capacity);
    this.flags = new Int32Array(capacity);
    this.segmentSize = new Int32Array(capacity);
  }

  reset(): void {
    this.count = 0;
    this.oversized = 0;
    this.drained = false;
  }

  push(at: number, length: number, flags: number, segmentSize: number): void {
    const i = this.count;
    this.at[i] = at;
    this.length[i] = length;
    this.flags[i] = flags;
    this.segmentSize[i] = segmentSize;
    this.count = i + 1;
  }
}
