/** The driver's side of a split virtqueue (VIRTIO 1.2 section 2.7), over memory that is shared. */
import { hasAll, MRG_RXBUF, RING_EVENT_IDX, VERSION_1 } from "../../src/host/link/vhost-protocol.ts";

export const NEXT = 1;
export const WRITE = 2;
export const INDIRECT = 4;

export interface RingPlace {
  readonly entries: number;
  /** Where the ring lies in the memory, and where its buffers may lie. */
  readonly at: number;
  readonly buffersAt: number;
  readonly buffersEnd: number;
  readonly guestBase: bigint;
  readonly kick: number;
  readonly call: number;
}

/** One buffer of a chain: octets for the device, or room for its own. `at` places it; else it goes behind the last. */
export interface ChainBuffer {
  readonly octets?: Uint8Array;
  readonly room?: number;
  readonly at?: number;
}

export interface Used {
  readonly head: number;
  readonly length: number;
}

export class DriverRing {
  features = 0n;
  readonly entries: number;
  readonly tableAt: number;
  readonly availableAt: number;
  readonly usedAt: number;
  readonly kick: number;
  readonly call: number;
  availableIndex = 0;
  usedIndex = 0;
  readonly view: DataView;
  private nextEntry = 0;
  private nextBuffer: number;
  /** Where each chain's buffers lie, by its head. */
  private readonly chains = new Map<number, { at: number; length: number }[]>();

  constructor(
    readonly memory: Uint8Array,
    readonly place: RingPlace,
  ) {
    this.entries = place.entries;
    this.tableAt = place.at;
    this.availableAt = this.tableAt + 16 * this.entries;
    this.usedAt = (this.availableAt + 6 + 2 * this.entries + 3) & ~3;
    this.kick = place.kick;
    this.call = place.call;
    this.nextBuffer = place.buffersAt;
    this.view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
  }

  /** Octets of the virtio header in front of each frame. */
  get headerOctets(): number {
    return (this.features & (VERSION_1 | MRG_RXBUF)) === 0n ? 10 : 12;
  }

  /** Room of `octets` for a buffer, on a boundary of 16; wraps. */
  allocate(octets: number): number {
    if (this.nextBuffer + octets > this.place.buffersEnd) this.nextBuffer = this.place.buffersAt;
    const at = this.nextBuffer;
    this.nextBuffer = (at + octets + 15) & ~15;
    return at;
  }

  guestAddress(at: number): bigint {
    return this.place.guestBase + BigInt(at);
  }

  writeEntry(tableAt: number, i: number, address: bigint, length: number, flags: number, next: number): void {
    const at = tableAt + 16 * i;
    this.view.setBigUint64(at, address, true);
    this.view.setUint32(at + 8, length, true);
    this.view.setUint16(at + 12, flags, true);
    this.view.setUint16(at + 14, next, true);
  }

  /** Makes a chain available. Returns its head. */
  post(buffers: readonly ChainBuffer[], indirect = false): number {
    const placed = buffers.map(({ octets, room = 0, at }) => {
      const length = octets?.length ?? room;
      const where = at ?? this.allocate(Math.max(length, 1));
      if (octets !== undefined) this.memory.set(octets, where);
      return { at: where, length, flags: octets === undefined ? WRITE : 0 };
    });
    const entries = placed.length;
    const tableAt = indirect ? this.allocate(16 * entries) : this.tableAt;
    const first = indirect ? 0 : this.takeEntries(entries);
    placed.forEach(({ at, length, flags }, i) => {
      const last = i === entries - 1;
      const index = indirect ? i : (first + i) & (this.entries - 1);
      const next = last ? 0 : indirect ? i + 1 : (index + 1) & (this.entries - 1);
      this.writeEntry(tableAt, index, this.guestAddress(at), length, flags | (last ? 0 : NEXT), next);
    });
    let head = first;
    if (indirect) {
      head = this.takeEntries(1);
      this.writeEntry(this.tableAt, head, this.guestAddress(tableAt), 16 * entries, INDIRECT, 0);
    }
    this.chains.set(head, placed);
    this.makeAvailable(head);
    return head;
  }

  private takeEntries(count: number): number {
    const first = this.nextEntry;
    this.nextEntry = (first + count) & (this.entries - 1);
    return first;
  }

  makeAvailable(head: number): void {
    this.view.setUint16(this.availableAt + 4 + 2 * (this.availableIndex & (this.entries - 1)), head, true);
    this.availableIndex = (this.availableIndex + 1) & 0xffff;
    this.setAvailableIndex(this.availableIndex);
  }

  setAvailableIndex(index: number): void {
    this.view.setUint16(this.availableAt + 2, index, true);
  }

  /** The index at which the driver wants to be called, and the one at which the device wants a kick. */
  setUsedEvent(index: number): void {
    this.view.setUint16(this.availableAt + 4 + 2 * this.entries, index, true);
  }

  get availableEvent(): number {
    return this.view.getUint16(this.usedAt + 4 + 8 * this.entries, true);
  }

  /** Whether the device wants to hear of what was made available since index `before`. */
  wantsKick(before: number): boolean {
    if (!hasAll(this.features, RING_EVENT_IDX)) return (this.view.getUint16(this.usedAt, true) & 1) === 0;
    const now = this.availableIndex;
    return ((now - this.availableEvent - 1) & 0xffff) < ((now - before) & 0xffff);
  }

  /** What the device has given back since the last call. */
  takeUsed(): Used[] {
    const end = this.view.getUint16(this.usedAt + 2, true);
    const out: Used[] = [];
    for (; this.usedIndex !== end; this.usedIndex = (this.usedIndex + 1) & 0xffff) {
      const at = this.usedAt + 4 + 8 * (this.usedIndex & (this.entries - 1));
      out.push({ head: this.view.getUint32(at, true), length: this.view.getUint32(at + 4, true) });
    }
    return out;
  }

  /** The octets the device wrote into a chain. */
  octetsOf({ head, length }: Used): Uint8Array {
    const parts: Uint8Array[] = [];
    let left = length;
    for (const buffer of this.chains.get(head) ?? []) {
      const part = Math.min(left, buffer.length);
      parts.push(this.memory.slice(buffer.at, buffer.at + part));
      left -= part;
    }
    return new Uint8Array(Buffer.concat(parts));
  }

  /** Frames from the device, without their virtio headers; those in several buffers put together. */
  takeFrames(): { header: Uint8Array; frame: Uint8Array }[] {
    const frames: { header: Uint8Array; frame: Uint8Array }[] = [];
    const used = this.takeUsed();
    for (let i = 0; i < used.length; ) {
      const first = this.octetsOf(used[i]);
      const buffers = this.headerOctets === 12 ? new DataView(first.buffer).getUint16(10, true) : 1;
      const octets = Buffer.concat(used.slice(i, i + buffers).map((each) => this.octetsOf(each)));
      const whole = new Uint8Array(octets);
      frames.push({ header: whole.slice(0, this.headerOctets), frame: whole.slice(this.headerOctets) });
      i += Math.max(buffers, 1);
    }
    return frames;
  }
}
