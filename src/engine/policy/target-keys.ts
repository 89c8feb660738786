/** Hash tables from a name, or a network, to the targets that have it: open addressing, built once. */
import { Name } from "./name.ts";

/** Targets `first` to `end` have one key in common. */
export interface KeyRow {
  readonly hash: number;
  readonly first: number;
  readonly end: number;
}

/** Hash of a configured name. */
export function nameHash(text: string): number {
  const name = new Name();
  name.setText(text);
  return name.hashes[name.labels];
}

export class TargetKeys {
  readonly hash: Int32Array;
  readonly first: Int32Array;
  readonly end: Int32Array;
  private readonly slots: Int32Array;
  private readonly slotMask: number;

  constructor(rows: readonly KeyRow[]) {
    let size = 4;
    while (size < rows.length * 2) size *= 2;
    this.slots = new Int32Array(size).fill(-1);
    this.slotMask = size - 1;
    this.hash = Int32Array.from(rows, ({ hash }) => hash);
    this.first = Int32Array.from(rows, ({ first }) => first);
    this.end = Int32Array.from(rows, ({ end }) => end);
    rows.forEach(({ hash }, key) => {
      let slot = this.firstSlot(hash);
      while (this.slots[slot] >= 0) slot = this.nextSlot(slot);
      this.slots[slot] = key;
    });
  }

  firstSlot(hash: number): number {
    return (hash ^ (hash >>> 16)) & this.slotMask;
  }

  nextSlot(slot: number): number {
    return (slot + 1) & this.slotMask;
  }

  /** The key in a slot, or -1. */
  keyAt(slot: number): number {
    return this.slots[slot];
  }
}

/** Keys that are names. */
export class NameKeys extends TargetKeys {
  private readonly octets: Uint8Array;
  private readonly at: Int32Array;

  constructor(rows: readonly (KeyRow & { readonly name: string })[]) {
    super(rows);
    this.octets = new Uint8Array(rows.reduce((sum, { name }) => sum + name.length, 0));
    this.at = new Int32Array(rows.length + 1);
    let at = 0;
    rows.forEach(({ name }, key) => {
      this.at[key] = at;
      for (let i = 0; i < name.length; i++) this.octets[at++] = name.charCodeAt(i);
    });
    this.at[rows.length] = at;
  }

  /** The key of the last `labels` labels of `name`, or -1. */
  find(name: Name, labels: number): number {
    const hash = name.hashes[labels];
    for (let slot = this.firstSlot(hash); ; slot = this.nextSlot(slot)) {
      const key = this.keyAt(slot);
      if (key < 0) return -1;
      const at = this.at[key];
      if (this.hash[key] === hash && name.hasSuffix(labels, this.octets, at, this.at[key + 1] - at))
        return key;
    }
  }
}
