/**
 * By which name each open connection was let in: the name it showed, or else the one whose pin led here. That pin stays as
 * long as the connection, and the connection is judged by that name again when the policy is another one.
 *
 * By flow id; an entry counts as long as its flow does, which its number says. Names are kept once each.
 */
import type { Name } from "./name.ts";
import { NameTable } from "./name-table.ts";

const NOTHING = -1;
/** How long it is believed that a full table stays full. */
const FULL_BELIEF_MS = 1000;

export class LetIn {
  private readonly names = new NameTable();
  private readonly serials: Float64Array;
  private readonly nameOf: Int32Array;
  private readonly isShownName: Uint8Array;
  private fullAtMs = Number.NEGATIVE_INFINITY;

  /** `isOpen`: whether the flow of this id and number still is. */
  constructor(
    private readonly capacity: number,
    private readonly isOpen: (id: number, serial: number) => boolean,
  ) {
    this.serials = new Float64Array(capacity);
    this.nameOf = new Int32Array(capacity).fill(NOTHING);
    this.isShownName = new Uint8Array(capacity);
  }

  /** Flow `id`, whose number is `serial`, was let in by `name`, or by its address alone (null). */
  note(id: number, serial: number, name: Name | null, isShown: boolean, nowMs: number): void {
    this.forget(id);
    if (name === null || !this.hasRoom(name, nowMs)) return;
    this.serials[id] = serial;
    this.nameOf[id] = this.names.take(name);
    this.isShownName[id] = isShown ? 1 : 0;
  }

  private forget(id: number): void {
    if (this.nameOf[id] !== NOTHING) this.names.release(this.nameOf[id]);
    this.nameOf[id] = NOTHING;
  }

  /** A flow whose name finds no room is one that was let in by its address. */
  private hasRoom(name: Name, nowMs: number): boolean {
    if (!this.names.full || this.names.find(name) >= 0) return true;
    if (nowMs - this.fullAtMs < FULL_BELIEF_MS) return false;
    this.fullAtMs = nowMs;
    for (let id = 0; id < this.capacity; id++) {
      if (this.nameOf[id] !== NOTHING && !this.isOpen(id, this.serials[id])) this.forget(id);
    }
    return !this.names.full;
  }

  /** Takes the name of the flow in hand; false when it has none. */
  read(id: number, serial: number, name: Name): boolean {
    name.labels = 0;
    if (this.nameOf[id] === NOTHING || this.serials[id] !== serial) return false;
    this.names.read(this.nameOf[id], name);
    return true;
  }

  /** Whether the name of flow `id`, which has one, is one that it showed. */
  isShown(id: number): boolean {
    return this.isShownName[id] !== 0;
  }

  /** Whether one of the open flows that `name` let in `fits`. */
  some(name: Name, fits: (id: number) => boolean): boolean {
    const wanted = this.names.find(name);
    if (wanted < 0) return false;
    for (let id = 0; id < this.capacity; id++) {
      if (this.nameOf[id] === wanted && this.isOpen(id, this.serials[id]) && fits(id)) return true;
    }
    return false;
  }
}
