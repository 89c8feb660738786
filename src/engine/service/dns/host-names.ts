/**
 * Names that we answer ourselves: they stand for the host, at the gateway's address. Of the types only A has a record;
 * the others get "no data", so that a stub does not go looking for them elsewhere.
 */
import {
  CLASS_IN,
  DNS_HEADER_OCTETS,
  questionClass,
  questionType,
  TYPE_A,
  TYPE_ANY,
} from "../../wire/dns.ts";

export const NOT_OURS = -1;

export class HostNames {
  /** As on the wire: length octets and small letters, with the root. */
  private readonly names: readonly Uint8Array[];

  constructor(
    names: readonly string[],
    private readonly address: number,
  ) {
    this.names = names.map(wireName);
  }

  /** What the question that ends `end` octets into the message gets: an address, 0 for no data, or NOT_OURS. */
  answer(view: DataView, at: number, end: number): number {
    if (end === DNS_HEADER_OCTETS || questionClass(view, at, end) !== CLASS_IN) return NOT_OURS;
    for (let i = 0; i < this.names.length; i++) {
      if (!isName(view, at + DNS_HEADER_OCTETS, end - DNS_HEADER_OCTETS - 4, this.names[i])) continue;
      const type = questionType(view, at, end);
      return type === TYPE_A || type === TYPE_ANY ? this.address : 0;
    }
    return NOT_OURS;
  }
}

function wireName(name: string): Uint8Array {
  const octets: number[] = [];
  for (const label of name.toLowerCase().split(".")) {
    octets.push(label.length, ...[...label].map((letter) => letter.charCodeAt(0)));
  }
  return Uint8Array.from([...octets, 0]);
}

function isName(view: DataView, at: number, length: number, name: Uint8Array): boolean {
  if (name.length !== length) return false;
  for (let i = 0; i < length; i++) {
    const octet = view.getUint8(at + i);
    if (octet !== name[i] && (octet < 0x41 || octet > 0x5a || (octet | 0x20) !== name[i])) return false;
  }
  return true;
}
