/** Mappings whose sockets have datagrams, in the order they got them: a ring with room for every flow. */
import { powerOfTwo } from "../flow-table.ts";

export class ReadyRing {
  count = 0;
  private readonly ring: Int32Array;
  private readonly mask: number;
  private head = 0;

  constructor(capacity: number) {
    this.ring = new Int32Array(powerOfTwo(capacity));
    this.mask = this.ring.length - 1;
  }

  push(id: number): void {
    this.ring[(this.head + this.count) & this.mask] = id;
    this.count++;
  }

  /** The first, of at least one. */
  shift(): number {
    const id = this.ring[this.head];
    this.head = (this.head + 1) & this.mask;
    this.count--;
    return id;
  }
}
