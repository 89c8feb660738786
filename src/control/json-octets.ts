/** JSON as octets, one behind the other: no string for each of ten thousand rows, which would be garbage at once. */

const INT_MAX = 0x7fff_ffff;
const ZERO = "0".charCodeAt(0);
/** Digits of the largest whole number that is exact. */
const DIGITS_MAX = 16;

/** Octets that are whoever's made them again once they have been sent. */
export interface LentOctets {
  readonly octets: Buffer;
  /** Called once at most, when nobody reads them any more. */
  readonly giveBack: () => void;
}

export class JsonOctets {
  private octets: Buffer;
  private length = 0;

  /** Writes into `octets`, and into more once they are full. */
  constructor(octets: Buffer) {
    this.octets = octets;
  }

  /** ASCII, as it is. */
  put(text: string): void {
    this.makeRoom(text.length);
    const { octets } = this;
    let at = this.length;
    for (let i = 0; i < text.length; i++) octets[at++] = text.charCodeAt(i);
    this.length = at;
  }

  /** A whole number that is not below 0. */
  number(value: number): void {
    if (value > INT_MAX) {
      this.put(String(value));
      return;
    }
    this.makeRoom(DIGITS_MAX);
    const { octets } = this;
    let digits = 1;
    for (let left = (value / 10) | 0; left > 0; left = (left / 10) | 0) digits++;
    let at = this.length + digits;
    this.length = at;
    let left = value | 0;
    do {
      const tenth = (left / 10) | 0;
      octets[--at] = ZERO + left - 10 * tenth;
      left = tenth;
    } while (left > 0);
  }

  /** Any value that JSON can tell. */
  value(value: unknown): void {
    const text = JSON.stringify(value);
    this.makeRoom(Buffer.byteLength(text));
    this.length += this.octets.write(text, this.length);
  }

  /** What there is, as long as nothing is added. */
  all(): Buffer {
    return this.octets.subarray(0, this.length);
  }

  /** What it has written into. */
  get room(): Buffer {
    return this.octets;
  }

  private makeRoom(octets: number): void {
    if (this.length + octets <= this.octets.length) return;
    const more = Buffer.allocUnsafeSlow(2 * (this.length + octets));
    this.octets.copy(more, 0, 0, this.length);
    this.octets = more;
  }
}
