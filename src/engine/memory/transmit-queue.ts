/**
 * Frames on their way to the link: a ring of descriptors. A frame is a header, which lies in a header slot the
 * queue owns, and a payload slice anywhere in the arena, which must stay in place until the frame has left.
 * `headSequence` counts frames that have left; chunk pools use it to free a chunk only after its last frame.
 *
 *        head                       tail
 *   -----|==========================|---------   frame n uses header slot n mod capacity
 */
import { TX_HEADER_SLOT_OCTETS } from "../limits.ts";

/** The transport checksum field holds the folded pseudo-header sum; the link or the guest completes it. */
export const TX_CHECKSUM_PARTIAL = 1;
/** A TCP super-frame to be cut into `segmentSize` octets of payload. */
export const TX_TCP_SEGMENTS = 2;
/** A UDP super-frame (USO) to be cut into `segmentSize` octets of payload. */
export const TX_UDP_SEGMENTS = 4;
/** A partial checksum or a super-frame of IPv6; of IPv4 otherwise. */
export const TX_IPV6 = 8;

export class TransmitQueue {
  /** Absolute offset of the Ethernet header. Within its slot it ends at the slot's end, so headroom is in front. */
  readonly headerAt: Int32Array;
  readonly headerLength: Int32Array;
  readonly payloadAt: Int32Array;
  readonly payloadLength: Int32Array;
  readonly flags: Int32Array;
  readonly segmentSize: Int32Array;
  /** Offset of the transport header from the Ethernet header (checksum start of a partial checksum). */
  readonly transportOffset: Int32Array;
  /** Frames ever taken by the link, and ever queued; int32 that wrap. */
  headSequence = 0;
  tailSequence = 0;
  /** Told of each frame that the link would not have: the offset of its Ethernet header. */
  lost: (headerAt: number) => void = () => {};

  /** `capacity` is a power of two; `slotsAt` is an arena offset with capacity * TX_HEADER_SLOT_OCTETS octets. */
  constructor(
    readonly capacity: number,
    private readonly slotsAt: number,
  ) {
    this.headerAt = new Int32Array(capacity);
    this.headerLength = new Int32Array(capacity);
    this.payloadAt = new Int32Array(capacity);
    this.payloadLength = new Int32Array(capacity);
    this.flags = new Int32Array(capacity);
    this.segmentSize = new Int32Array(capacity);
    this.transportOffset = new Int32Array(capacity);
  }

  get length(): number {
    return (this.tailSequence - this.headSequence) | 0;
  }

  get room(): number {
    return this.capacity - this.length;
  }

  /** Ring index of the oldest frame; `(first + i) & (capacity - 1)` is the i-th. */
  get first(): number {
    return this.headSequence & (this.capacity - 1);
  }

  /** End (exclusive) of the header slot the next frame will use: headers are written right to left from here. */
  nextHeaderEnd(): number {
    return this.slotsAt + ((this.tailSequence & (this.capacity - 1)) + 1) * TX_HEADER_SLOT_OCTETS;
  }

  /** Queues the frame whose header was written to end at `nextHeaderEnd()`. The caller has checked `room`. */
  push(
    headerLength: number,
    payloadAt: number,
    payloadLength: number,
    flags: number,
    segmentSize: number,
    transportOffset: number,
  ): void {
    const i = this.tailSequence & (this.capacity - 1);
    this.headerAt[i] = this.slotsAt + (i + 1) * TX_HEADER_SLOT_OCTETS - headerLength;
    this.headerLength[i] = headerLength;
    this.payloadAt[i] = payloadAt;
    this.payloadLength[i] = payloadLength;
    this.flags[i] = flags;
    this.segmentSize[i] = segmentSize;
    this.transportOffset[i] = transportOffset;
    this.tailSequence = (this.tailSequence + 1) | 0;
  }

  /** The frame `behind` the oldest by so many will not reach the guest; it is taken all the same. */
  lose(behind: number): void {
    this.lost(this.headerAt[(this.headSequence + behind) & (this.capacity - 1)]);
  }

  /** Removes the `count` oldest frames: the link has them. */
  taken(count: number): void {
    this.headSequence = (this.headSequence + count) | 0;
  }
}
