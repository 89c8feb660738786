import { ADDRESS_WORDS, type UdpBatch } from "../boundary.ts";

/** An empty batch for `capacity` entries. */
export function makeUdpBatch(capacity: number): UdpBatch {
  return {
    capacity,
    drained: false,
    at: new Int32Array(capacity),
    length: new Int32Array(capacity),
    segment: new Int32Array(capacity),
    words: new Int32Array(capacity * ADDRESS_WORDS),
    local: new Int32Array(capacity * ADDRESS_WORDS),
  };
}

/** How many datagrams an entry is: one, or those of a run. */
export function datagramsOf({ segment, length }: UdpBatch, entry: number): number {
  return segment[entry] === 0 ? 1 : Math.ceil(length[entry] / segment[entry]);
}
