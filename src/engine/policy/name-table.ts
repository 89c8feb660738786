/** The names that have pins: each once, with a number, for as long as a pin has it. */
import { POLICY_NAMES_MAX } from "../limits.ts";
import type { Name } from "./name.ts";

const NAME_SLOT_OCTETS = 256;
const NO_NAME = -1;

export class NameTable {
  /** A length and the octets each. */
  private readonly octets: Uint8Array;
  private readonly hash: Int32Array;
  /** Pins that have it; 0: free. */
  private readonly uses: Int32Array;
  private readonly heads: Int32Array;
  private readonly next: Int32Array;
  private readonly mask: number;
  private free = 0;
  used = 0;

  /** `capacity` is a power of two. */
  constructor(private readonly capacity = POLICY_NAMES_MAX) {
    this.octets = new Uint8Array(capacity * NAME_SLOT_OCTETS);
    this.hash = new Int32Array(capacity);
    this.uses = new Int32Array(capacity);
    this.heads = new Int32Array(capacity).fill(NO_NAME);
    this.next = new Int32Array(capacity).fill(NO_NAME);
    this.mask = capacity - 1;
    for (let i = 0; i < capacity - 1; i++) this.next[i] = i + 1;
  }

  /** The number of a name that has pins, or NO_NAME. */
  find(name: Name): number {
    const hash = name.hashes[name.labels];
    for (let id = this.heads[this.bucket(hash)]; id !== NO_NAME; id = this.next[id]) {
      const at = id * NAME_SLOT_OCTETS;
      if (this.hash[id] === hash && name.hasSuffix(name.labels, this.octets, at + 1, this.octets[at]))
        return id;
    }
    return NO_NAME;
  }

  get full(): boolean {
    return this.used === this.capacity;
  }

  /** One use more of a name, which gets a number if it has none; the caller has seen that the table is not full. */
  take(name: Name): number {
    let id = this.find(name);
    if (id === NO_NAME) {
      id = this.free;
      this.free = this.next[id];
      this.used++;
      const hash = name.hashes[name.labels];
      const at = id * NAME_SLOT_OCTETS;
      this.octets[at] = name.length;
      for (let i = 0; i < name.length; i++) this.octets[at + 1 + i] = name.octets[i];
      this.hash[id] = hash;
      this.next[id] = this.heads[this.bucket(hash)];
      this.heads[this.bucket(hash)] = id;
    }
    this.uses[id]++;
    return id;
  }

  /** One use less. */
  release(id: number): void {
    if (--this.uses[id] > 0) return;
    const bucket = this.bucket(this.hash[id]);
    if (this.heads[bucket] === id) {
      this.heads[bucket] = this.next[id];
    } else {
      let before = this.heads[bucket];
      while (this.next[before] !== id) before = this.next[before];
      this.next[before] = this.next[id];
    }
    this.next[id] = this.free;
    this.free = id;
    this.used--;
  }

  /** Takes name `id` in hand. */
  read(id: number, name: Name): void {
    const at = id * NAME_SLOT_OCTETS;
    name.copy(this.octets, at + 1, this.octets[at]);
  }

  private bucket(hash: number): number {
    return (hash ^ (hash >>> 15)) & this.mask;
  }
}
