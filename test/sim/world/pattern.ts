/**
 * Pseudo-random octets that can be checked at any position without being stored: a window into one fixed table,
 * starting at an offset of its own for each stream. Octets of another stream, or of another place in the same
 * stream, do not match.
 */
import { Random } from "./random.ts";

/** A prime, so that no power-of-two mistake maps a position onto an equal one. */
const TABLE_OCTETS = 1_048_573;
/** The table is followed by a copy of its beginning, so that a slice never wraps. */
const SLICE_MAX = 131_072;

const table = ((): Buffer => {
  const random = new Random(0x5eed);
  const octets = Buffer.alloc(TABLE_OCTETS + SLICE_MAX);
  for (let i = 0; i < TABLE_OCTETS; i++) octets[i] = random.int32() >>> 13;
  octets.copy(octets, TABLE_OCTETS, 0, SLICE_MAX);
  return octets;
})();

export class Pattern {
  constructor(private readonly offset: number) {}

  /** The octets at `position`; not to be written to. At most 128 KiB. */
  slice(position: number, length: number): Buffer {
    const start = (this.offset + position) % TABLE_OCTETS;
    return table.subarray(start, start + length);
  }

  /** Index of the first octet that differs from the pattern at `position`, or -1. */
  mismatch(position: number, octets: Uint8Array): number {
    for (let done = 0; done < octets.length; done += SLICE_MAX) {
      const part = octets.subarray(done, done + SLICE_MAX);
      const expected = this.slice(position + done, part.length);
      if (expected.equals(part)) continue;
      return done + part.findIndex((octet, i) => octet !== expected[i]);
    }
    return -1;
  }
}
