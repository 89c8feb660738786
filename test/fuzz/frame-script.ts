/**
 * A conversation as octets, for fuzzing: frames one after the other, each with a length and bits that say how it is to
 * be mended before it is sent. Unmended frames rarely get past a checksum; mended ones reach the state machines.
 *
 *   | bits | length, 2 octets | frame |  | bits | ...
 */

/** Mend the Ethernet header, the IPv4 source and the header checksum. */
export const MEND_HEADERS = 1;
/** The link vouches for the transport checksum. */
export const VOUCH = 2;
/** The TCP acknowledgment number is relative to what the engine last sent. */
export const RELATIVE_ACK = 4;
/** A second passes first. */
export const WAIT = 8;
/** The host gives 500 octets to the newest connection first. */
export const HOST_GIVES = 16;
/** The host ends the newest connection first. */
export const HOST_ENDS = 32;

const FRAMES_MAX = 24;
const HEAD_OCTETS = 3;

export interface ScriptedFrame {
  readonly bits: number;
  readonly octets: Uint8Array;
}

export function encodeScript(frames: readonly ScriptedFrame[]): Uint8Array {
  const parts = frames.map(({ bits, octets }) =>
    Buffer.concat([Buffer.from([bits, octets.length >>> 8, octets.length]), octets]),
  );
  return new Uint8Array(Buffer.concat(parts));
}

/** Every input is a script: a length beyond the end takes what is there. */
export function decodeScript(input: Uint8Array): ScriptedFrame[] {
  const frames: ScriptedFrame[] = [];
  for (let at = 0; at + HEAD_OCTETS <= input.length && frames.length < FRAMES_MAX; ) {
    const length = (input[at + 1] << 8) | input[at + 2];
    frames.push({ bits: input[at], octets: input.slice(at + HEAD_OCTETS, at + HEAD_OCTETS + length) });
    at += HEAD_OCTETS + length;
  }
  return frames;
}
