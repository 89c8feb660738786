/**
 * One host name in hand, small letters with dots, and a hash of each of its suffixes: what rules and pins are looked up by.
 *
 *   www.example.com      hashes[1] of `com`, hashes[2] of `example.com`, hashes[3] of all
 *
 * Only letters, digits, hyphens and underscores make a name (RFC 1123 section 2.1, and `_` of RFC 8552): a label with a dot
 * or a zero in it would read like another name.
 */

/** Longest name as text, and the most labels it can have. */
const NAME_TEXT_MAX = 253;
const LABELS_MAX = 127;
const LABEL_MAX = 63;
const FNV_PRIME = 0x01000193;
const FNV_BASIS = 0x811c9dc5 | 0;
const DOT = 0x2e;
const NOT_IN_NAME = 0;

/** Each octet as a name has it: small letters; 0 for what no name has. */
const FOLDED = new Uint8Array(256);
for (const range of ["az", "09"]) {
  for (let octet = range.charCodeAt(0); octet <= range.charCodeAt(1); octet++) FOLDED[octet] = octet;
}
for (let octet = 0x41; octet <= 0x5a; octet++) FOLDED[octet] = octet | 0x20;
for (const octet of [0x2d, 0x5f]) FOLDED[octet] = octet;

export class Name {
  readonly octets = new Uint8Array(NAME_TEXT_MAX);
  length = 0;
  /** How many labels; 0: no name. */
  labels = 0;
  /** By number of labels, from the right. */
  readonly hashes = new Int32Array(LABELS_MAX + 1);
  /** Where that suffix begins. */
  readonly starts = new Int32Array(LABELS_MAX + 1);

  /** Takes dotted text of `length` octets at `at`; a trailing dot is left out. False when it is no name. */
  readText(octets: Uint8Array, at: number, length: number): boolean {
    this.labels = 0;
    if (length > 0 && octets[at + length - 1] === DOT) length--;
    if (length === 0 || length > NAME_TEXT_MAX) return false;
    let labelOctets = 0;
    for (let i = 0; i < length; i++) {
      const octet = octets[at + i];
      if (octet === DOT) {
        if (labelOctets === 0) return false;
        labelOctets = 0;
        this.octets[i] = DOT;
        continue;
      }
      const folded = FOLDED[octet];
      if (folded === NOT_IN_NAME || ++labelOctets > LABEL_MAX) return false;
      this.octets[i] = folded;
    }
    if (labelOctets === 0) return false;
    this.length = length;
    this.hash();
    return true;
  }

  /** Takes the labels at `at`, up to the root before `end` and without pointers (a question's name). */
  readLabels(view: DataView, at: number, end: number): boolean {
    this.labels = 0;
    let length = 0;
    while (at < end) {
      const label = view.getUint8(at++);
      if (label === 0) break;
      if (label > LABEL_MAX || at + label > end || length + label + 1 > NAME_TEXT_MAX) return false;
      if (length > 0) this.octets[length++] = DOT;
      for (let i = 0; i < label; i++) {
        const folded = FOLDED[view.getUint8(at++)];
        if (folded === NOT_IN_NAME) return false;
        this.octets[length++] = folded;
      }
    }
    if (length === 0) return false;
    this.length = length;
    this.hash();
    return true;
  }

  /** Takes a name of a configuration. False when it is none. */
  setText(text: string): boolean {
    const octets = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) octets[i] = Math.min(text.charCodeAt(i), 0x7f);
    return this.readText(octets, 0, octets.length);
  }

  /** Takes a name as `octets` of this class have it. */
  copy(octets: Uint8Array, at: number, length: number): void {
    for (let i = 0; i < length; i++) this.octets[i] = octets[at + i];
    this.length = length;
    this.hash();
  }

  /** Whether the last `labels` labels are these octets. */
  hasSuffix(labels: number, octets: Uint8Array, at: number, length: number): boolean {
    const start = this.starts[labels];
    if (this.length - start !== length) return false;
    for (let i = 0; i < length; i++) if (this.octets[start + i] !== octets[at + i]) return false;
    return true;
  }

  get text(): string {
    let text = "";
    if (this.labels > 0) for (let i = 0; i < this.length; i++) text += String.fromCharCode(this.octets[i]);
    return text;
  }

  private hash(): void {
    let hash = FNV_BASIS;
    let labels = 0;
    for (let i = this.length - 1; i >= 0; i--) {
      if (this.octets[i] === DOT) {
        labels++;
        this.hashes[labels] = hash;
        this.starts[labels] = i + 1;
      }
      hash = Math.imul(hash ^ this.octets[i], FNV_PRIME);
    }
    labels++;
    this.hashes[labels] = hash;
    this.starts[labels] = 0;
    this.labels = labels;
  }
}
