/**
 * QUIC's packets with long headers and the frames of Initial ones (RFC 9000 sections 16, 17.2 and 19; version 2: RFC 9369).
 *
 *   long header  | 1, fixed bit, type (2 bits), 4 protected bits | version (4) | id length (1) | id | id length (1) | id |
 *   Initial      | ... | token length (v) | token | length (v) | packet number (1-4) | payload |
 *   0-RTT, Handshake | ... | length (v) | packet number (1-4) | payload |
 *
 * The first id is the destination's. `v` is an integer of 1, 2, 4 or 8 octets, of which the top two bits tell how many.
 * Packets with a length may have others behind them in a datagram; the one that begins with a zero bit takes the rest.
 */

const LONG_HEADER = 0x80;
const QUIC_1 = 1;
export const QUIC_2 = 0x6b3343cf;
export const QUIC_ID_MAX = 20;

/** Types, by their numbers in version 1, between which are 0-RTT and Handshake; those of version 2 are one higher (RFC 9369 section 3.2). */
export const INITIAL = 0;
const RETRY = 3;

/** Results of reading. */
export const QUIC_READ = 0;
const QUIC_MALFORMED = -1;
export const QUIC_OTHER_VERSION = -2;

export function hasLongHeader(octet: number): boolean {
  return (octet & LONG_HEADER) !== 0;
}

/** Reads one integer after the other, up to an end. */
class Integers {
  at = 0;
  private octets: Uint8Array = new Uint8Array(0);
  private end = 0;

  begin(octets: Uint8Array, at: number, end: number): void {
    this.octets = octets;
    this.at = at;
    this.end = end;
  }

  get left(): number {
    return this.end - this.at;
  }

  /** The integer at `at`, which goes behind it; -1 when it does not fit. From 2^53 on only its size is right. */
  next(): number {
    if (this.at >= this.end) return -1;
    const first = this.octets[this.at];
    const count = 1 << (first >> 6);
    if (count > this.left) return -1;
    let value = first & 0x3f;
    for (let i = 1; i < count; i++) value = value * 256 + this.octets[this.at + i];
    this.at += count;
    return value;
  }

  /** Leaves out so many octets. False when there are fewer. */
  skip(octets: number): boolean {
    if (octets < 0 || octets > this.left) return false;
    this.at += octets;
    return true;
  }
}

/** What stands in front of a packet. One at a time. */
export class LongHeader {
  version = 0;
  type = INITIAL;
  /** The destination's connection id. */
  idAt = 0;
  idOctets = 0;
  /** Where the protected packet number is. */
  numberAt = 0;
  /** Behind the packet. */
  end = 0;
  private readonly integers = new Integers();

  /** Reads the header at `at` of a datagram that ends at `end`. Returns QUIC_READ, QUIC_MALFORMED or QUIC_OTHER_VERSION. */
  read(octets: Uint8Array, at: number, end: number): number {
    if (at + 6 > end) return QUIC_MALFORMED;
    this.version = (octets[at + 1] << 24) | (octets[at + 2] << 16) | (octets[at + 3] << 8) | octets[at + 4];
    if (this.version !== QUIC_1 && this.version !== QUIC_2) return QUIC_OTHER_VERSION;
    this.type = ((octets[at] >> 4) - (this.version === QUIC_2 ? 1 : 0)) & 3;
    this.idAt = at + 6;
    this.idOctets = octets[at + 5];
    const sourceAt = this.idAt + this.idOctets;
    if (this.idOctets > QUIC_ID_MAX || sourceAt >= end || octets[sourceAt] > QUIC_ID_MAX)
      return QUIC_MALFORMED;
    const { integers } = this;
    integers.begin(octets, sourceAt + 1, end);
    if (!integers.skip(octets[sourceAt])) return QUIC_MALFORMED;
    // A client sends none, and nothing tells its end.
    if (this.type === RETRY) return QUIC_MALFORMED;
    if (this.type === INITIAL && !integers.skip(integers.next())) return QUIC_MALFORMED;
    const length = integers.next();
    if (length < 0 || length > integers.left) return QUIC_MALFORMED;
    this.numberAt = integers.at;
    this.end = integers.at + length;
    return QUIC_READ;
  }
}

const PADDING_FRAME = 0;
const PING_FRAME = 1;
const ACK_FRAME = 2;
const ACK_ECN_FRAME = 3;
export const CRYPTO_FRAME = 6;
const CLOSE_FRAME = 0x1c;
export const NO_MORE_FRAMES = 0;

/** The frames of an Initial packet, one after the other. */
export class InitialFrames {
  /** Of a CRYPTO frame: where its octets belong, where they are and how many. */
  offset = 0;
  dataAt = 0;
  length = 0;
  private octets: Uint8Array = new Uint8Array(0);
  private readonly integers = new Integers();

  /** `length` octets of payload, from the first on. */
  begin(octets: Uint8Array, length: number): void {
    this.octets = octets;
    this.integers.begin(octets, 0, length);
  }

  /** The next CRYPTO frame: CRYPTO_FRAME, NO_MORE_FRAMES or QUIC_MALFORMED. Others that an Initial packet may have are left out. */
  next(): number {
    const { integers, octets } = this;
    while (integers.left > 0) {
      const type = octets[integers.at];
      integers.at++;
      if (type === PADDING_FRAME || type === PING_FRAME) continue;
      if (type === CRYPTO_FRAME) return this.readCrypto();
      const isRead =
        type === ACK_FRAME || type === ACK_ECN_FRAME
          ? this.skipAck(type === ACK_ECN_FRAME)
          : type === CLOSE_FRAME && this.skipClose();
      if (!isRead) return QUIC_MALFORMED;
    }
    return NO_MORE_FRAMES;
  }

  private readCrypto(): number {
    const { integers } = this;
    this.offset = integers.next();
    this.length = integers.next();
    this.dataAt = integers.at;
    if (this.offset < 0 || !integers.skip(this.length)) return QUIC_MALFORMED;
    return CRYPTO_FRAME;
  }

  /** Largest, delay, count, first range, then a gap and a range each; three counts of ECN. */
  private skipAck(hasEcn: boolean): boolean {
    const { integers } = this;
    integers.next();
    integers.next();
    const ranges = integers.next();
    if (integers.next() < 0 || ranges > integers.left) return false;
    for (let left = 2 * ranges + (hasEcn ? 3 : 0); left > 0; left--) if (integers.next() < 0) return false;
    return true;
  }

  /** An error, the type of a frame, and words. */
  private skipClose(): boolean {
    const { integers } = this;
    integers.next();
    return integers.next() >= 0 && integers.skip(integers.next());
  }
}
