/** Datagrams that go only once a name was shown: what UDP asks about each, where somebody has that to say. */
import { UDP_SEGMENTS_MAX } from "../../limits.ts";
import type { Packet } from "../../memory/packet.ts";

/** Octets of payload of each datagram of the super-frame in hand, but for the last; of a plain one: of itself. */
export function datagramOctets({ segmentSize, payloadOctets }: Packet): number {
  return segmentSize === 0
    ? payloadOctets
    : Math.max(segmentSize, Math.ceil(payloadOctets / UDP_SEGMENTS_MAX));
}

export interface DatagramChecks {
  /**
   * What becomes of the datagram, or the super-frame, in hand, whose remote is one that has to be shown a name. It leaves by
   * `way`, as do those that were kept before it. Returns HANDLED or a drop reason.
   */
  datagram(packet: Packet, way: WayOut): number;
}

export interface WayOut {
  /** The datagram in hand leaves, whose octets may be written over once `endOfBatch` has been called. HANDLED or a drop reason. */
  pass(packet: Packet): number;
  endOfBatch(): void;
}
