/**
 * Records on their way to the supervisor, one behind the other in a ring of arena octets. While nobody reads, the oldest
 * give way, so that who comes late hears what happened lately; once somebody does, what finds no room is lost and counted.
 */
import {
  LOST_COUNT,
  LOST_OCTETS,
  RECORD_LENGTH,
  RECORD_LOST,
  RECORD_PAD,
  RECORD_TYPE,
  writeRecord,
} from "../wire/record.ts";

export class RecordRing {
  /** Somebody reads: what is in the ring stays until it has been taken. */
  isRead = false;
  /** Records that found no room and are not told yet. */
  private lost = 0;
  private head = 0;
  private used = 0;

  constructor(
    private readonly view: DataView,
    private readonly at: number,
    private readonly size: number,
  ) {}

  get isEmpty(): boolean {
    return this.used === 0;
  }

  /** Better sent now than gathered. */
  get isFilling(): boolean {
    return this.used > this.size >> 2;
  }

  /** Whether `octets` more would certainly fit. */
  hasRoom(octets: number): boolean {
    return this.size - this.used >= 2 * octets;
  }

  /** Room for a record of `length` octets, a multiple of 4. Returns its offset in the arena, or -1: it is lost. */
  reserve(length: number, uptimeMs: number): number {
    this.tellLost(uptimeMs);
    if (this.lost > 0 || !this.makeRoom(length)) {
      this.lost++;
      return -1;
    }
    return this.place(length);
  }

  /** Tells of what was lost, if anything was and there is room. Otherwise the next record does. */
  tellLost(uptimeMs: number): void {
    if (this.lost === 0 || !this.makeRoom(LOST_OCTETS)) return;
    const at = this.place(LOST_OCTETS);
    writeRecord(this.view, at, RECORD_LOST, LOST_OCTETS, uptimeMs);
    this.view.setUint32(at + LOST_COUNT, Math.min(this.lost, 0xffffffff));
    this.lost = 0;
  }

  /** What is to be sent, as pairs of offset and length from `index` of `gather` on. Returns how many pairs: up to two. */
  pieces(gather: Int32Array, index: number): number {
    if (this.used === 0) return 0;
    const first = Math.min(this.used, this.size - this.head);
    gather[index] = this.at + this.head;
    gather[index + 1] = first;
    if (first === this.used) return 1;
    gather[index + 2] = this.at;
    gather[index + 3] = this.used - first;
    return 2;
  }

  /** The first `octets` have left; at most what there is. Returns how many of them were not ours. */
  taken(octets: number): number {
    const ours = Math.min(octets, this.used);
    this.head = (this.head + ours) % this.size;
    this.used -= ours;
    return octets - ours;
  }

  /** Octets at the end of the ring that a record of `length` octets would leave empty. */
  private gap(length: number): number {
    const tail = (this.head + this.used) % this.size;
    const toEnd = this.size - tail;
    return toEnd < length ? toEnd : 0;
  }

  private makeRoom(length: number): boolean {
    while (this.used + this.gap(length) + length > this.size) {
      if (this.isRead) return false;
      this.taken(this.view.getUint16(this.at + this.head + RECORD_LENGTH));
    }
    return true;
  }

  /** The caller has made room. */
  private place(length: number): number {
    const gap = this.gap(length);
    if (gap > 0) {
      const at = this.at + ((this.head + this.used) % this.size);
      // There may be no room for the time of a record here.
      this.view.setUint16(at + RECORD_LENGTH, gap);
      this.view.setUint16(at + RECORD_TYPE, RECORD_PAD << 8);
      this.used += gap;
    }
    const at = this.at + ((this.head + this.used) % this.size);
    this.used += length;
    return at;
  }
}
