/** Text as netascii has it (RFC 764): a line ends in CR LF, a CR that ends none is CR NUL. */

const [NUL, LF, CR] = [0, 10, 13];

/** Where the text goes on: octets of the file that are done with, and the second octet of a pair cut in two, plus one. */
export interface TextPlace {
  at: number;
  pending: number;
}

/**
 * Writes at most `room` octets at `to` from `length` octets of the file at `from`. `place` is moved on. Returns how many
 * were written: fewer than `room` when the file's octets have run out.
 */
export function writeNetascii(
  octets: Uint8Array,
  from: number,
  length: number,
  to: number,
  room: number,
  place: TextPlace,
): number {
  let written = 0;
  if (place.pending !== 0 && room > 0) {
    octets[to + written++] = place.pending - 1;
    place.pending = 0;
  }
  let taken = 0;
  while (taken < length && written < room) {
    const octet = octets[from + taken++];
    if (octet !== LF && octet !== CR) {
      octets[to + written++] = octet;
      continue;
    }
    octets[to + written++] = CR;
    const second = octet === LF ? LF : NUL;
    if (written < room) octets[to + written++] = second;
    else place.pending = second + 1;
  }
  place.at += taken;
  return written;
}
