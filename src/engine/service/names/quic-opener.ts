/** Opens Initial packets of QUIC (RFC 9001 sections 5.3 and 5.4). */
import {
  QUIC_IV_AT,
  QUIC_IV_OCTETS,
  QUIC_SAMPLE_OCTETS,
  QUIC_TAG_OCTETS,
  type QuicKeys,
} from "../../boundary.ts";
import { QUIC_HELD_OCTETS } from "../../limits.ts";
import { type LongHeader, QUIC_2 } from "../../wire/quic.ts";

/** Where the sample is behind the beginning of the packet number, however long that is. */
const SAMPLE_BEHIND = 4;
const NUMBER_LENGTH = 3;
/** Of the first octet, those that are protected. */
const PROTECTED = 0x0f;
/** Of a packet number only the end is sent. As many beginnings are thought of; a handshake has no more packets. */
const WINDOWS_MAX = 4;

export class QuicOpener {
  /** What was opened last, octets of it and its packet number. */
  readonly plain = new Uint8Array(QUIC_HELD_OCTETS);
  length = 0;
  number = 0;
  private readonly header = new Uint8Array(QUIC_HELD_OCTETS);
  private readonly sample = new Uint8Array(QUIC_SAMPLE_OCTETS);
  private readonly mask = new Uint8Array(QUIC_SAMPLE_OCTETS);
  private readonly nonce = new Uint8Array(QUIC_IV_OCTETS);

  constructor(private readonly keys: QuicKeys) {}

  /** The keys of a client by the first connection id it used. */
  derive(version: number, id: Uint8Array, keys: Uint8Array): void {
    this.keys.derive(version === QUIC_2, id, keys);
  }

  /**
   * Opens the packet at `at`, no longer than `QUIC_HELD_OCTETS`. Returns how many packet numbers it opens with of all that
   * the other end may take it to have, which has heard of none above `largest`. One that opens with two was made to be
   * read in two ways: AES-GCM does not keep its keeper from that.
   */
  open(keys: Uint8Array, octets: Uint8Array, at: number, packet: LongHeader, largest: number): number {
    const { sample, mask, header } = this;
    const { numberAt, end } = packet;
    if (numberAt + SAMPLE_BEHIND + QUIC_SAMPLE_OCTETS > end) return 0;
    for (let i = 0; i < QUIC_SAMPLE_OCTETS; i++) sample[i] = octets[numberAt + SAMPLE_BEHIND + i];
    this.keys.headerMask(keys, sample, mask);
    const headerOctets = numberAt - at;
    for (let i = 0; i < headerOctets; i++) header[i] = octets[at + i];
    header[0] ^= mask[0] & PROTECTED;
    const numberOctets = (header[0] & NUMBER_LENGTH) + 1;
    let number = 0;
    for (let i = 0; i < numberOctets; i++) {
      header[headerOctets + i] = octets[numberAt + i] ^ mask[1 + i];
      number = number * 256 + header[headerOctets + i];
    }
    const window = 256 ** numberOctets;
    if (largest >= WINDOWS_MAX * window) return 0;
    // With the sample there is room for a tag as well.
    const sealed = octets.subarray(numberAt + numberOctets, end);
    const aad = header.subarray(0, headerOctets + numberOctets);
    let ways = 0;
    for (let each = number; each <= largest + window; each += window) {
      this.setNonce(keys, each);
      if (!this.keys.open(keys, this.nonce, aad, sealed, this.plain)) continue;
      ways++;
      this.number = each;
      this.length = sealed.length - QUIC_TAG_OCTETS;
    }
    return ways;
  }

  private setNonce(keys: Uint8Array, number: number): void {
    const { nonce } = this;
    let rest = number;
    for (let i = QUIC_IV_OCTETS - 1; i >= 0; i--) {
      nonce[i] = keys[QUIC_IV_AT + i] ^ (rest & 255);
      rest = Math.floor(rest / 256);
    }
  }
}
