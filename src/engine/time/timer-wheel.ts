/**
 * Deadlines of up to `capacity` owners, one each, in a hierarchical wheel of small ints (Varghese and Lauck, 1987).
 * An owner that needs several timers files the earliest and looks again when it fires.
 *
 *   level 0: 256 slots of 4 ms = 1 s   level 1: 64 slots of 1 s = 65 s   level 2: 64 slots of 65 s = 70 min
 *   level 3: 64 slots of 70 min = 74 h
 *
 * Filing later than the filed time costs nothing: only the deadline field changes, and the entry is filed anew when
 * its slot comes up. So a retransmission timer pushed back by every ACK never touches the lists.
 */

const TICK_MS_SHIFT = 2;
const LEVELS = 4;
const SLOT_BITS = [8, 6, 6, 6];
const SHIFTS = [0, 8, 14, 20];
const OFFSETS = [0, 256, 320, 384];
const SLOTS = 448;
/** Owners and slots are kept plus one, so that a table of zeros, whose pages nobody has touched, is an empty one. */
const NONE = 0;
/** One tick less than the top level spans; a deadline beyond it is filed again when its slot comes up. */
const AHEAD_MAX = (1 << 26) - 1;
/** Ticks are ms / 4 as a wrapping 30-bit count, so that ms may wrap at 2^32. */
const TICK_MASK = 0x3fffffff;

export class TimerWheel {
  private readonly slotHead = new Int32Array(SLOTS);
  private readonly next: Int32Array;
  private readonly previous: Int32Array;
  private readonly slotOf: Int32Array;
  private readonly deadline: Int32Array;
  private readonly filedAt: Int32Array;
  private tick: number;
  private filed = 0;

  /** `fire(owner)` is called by `advance` once the owner's deadline has passed; the owner is then not filed. */
  constructor(
    readonly capacity: number,
    nowMs: number,
    private readonly fire: (owner: number) => void,
  ) {
    this.next = new Int32Array(capacity);
    this.previous = new Int32Array(capacity);
    this.slotOf = new Int32Array(capacity);
    this.deadline = new Int32Array(capacity);
    this.filedAt = new Int32Array(capacity);
    this.tick = (nowMs >>> TICK_MS_SHIFT) & TICK_MASK;
  }

  get count(): number {
    return this.filed;
  }

  isSet(owner: number): boolean {
    return this.slotOf[owner] !== NONE;
  }

  /** Sets or moves the owner's deadline (int32 ms, at most 24 days ahead). */
  set(owner: number, deadlineMs: number): void {
    this.deadline[owner] = deadlineMs;
    if (this.slotOf[owner] !== NONE) {
      if (((deadlineMs - this.filedAt[owner]) | 0) >= 0) return;
      this.unlink(owner);
    }
    this.file(owner, deadlineMs);
  }

  clear(owner: number): void {
    if (this.slotOf[owner] !== NONE) this.unlink(owner);
  }

  private file(owner: number, deadlineMs: number): void {
    // Rounded up, so that it never fires early; at least one tick ahead.
    const target = ((deadlineMs + 3) >>> TICK_MS_SHIFT) & TICK_MASK;
    let ahead = ((target - this.tick) << 2) >> 2;
    if (ahead < 1) ahead = 1;
    else if (ahead > AHEAD_MAX) ahead = AHEAD_MAX;
    const at = (this.tick + ahead) & TICK_MASK;
    let level = 0;
    while (level < LEVELS - 1 && ahead >= 1 << (SHIFTS[level] + SLOT_BITS[level])) level++;
    const slot = OFFSETS[level] + ((at >>> SHIFTS[level]) & ((1 << SLOT_BITS[level]) - 1));
    this.filedAt[owner] = deadlineMs;
    this.slotOf[owner] = slot + 1;
    const head = this.slotHead[slot];
    this.next[owner] = head;
    this.previous[owner] = NONE;
    if (head !== NONE) this.previous[head - 1] = owner + 1;
    this.slotHead[slot] = owner + 1;
    this.filed++;
  }

  private unlink(owner: number): void {
    const slot = this.slotOf[owner] - 1;
    const next = this.next[owner];
    const previous = this.previous[owner];
    if (previous === NONE) this.slotHead[slot] = next;
    else this.next[previous - 1] = next;
    if (next !== NONE) this.previous[next - 1] = previous;
    this.slotOf[owner] = NONE;
    this.filed--;
  }

  /** Moves the time forward and fires what is due. A clock that goes back, or stands, does nothing. */
  advance(nowMs: number): void {
    const target = (nowMs >>> TICK_MS_SHIFT) & TICK_MASK;
    if (this.filed === 0) {
      this.tick = target;
      return;
    }
    let behind = ((target - this.tick) << 2) >> 2;
    while (behind-- > 0) {
      this.tick = (this.tick + 1) & TICK_MASK;
      for (let level = LEVELS - 1; level >= 1; level--) {
        if ((this.tick & ((1 << SHIFTS[level]) - 1)) === 0) this.cascade(level, nowMs);
      }
      this.expire(OFFSETS[0] + (this.tick & 255), nowMs);
      if (this.filed === 0) {
        this.tick = target;
        return;
      }
    }
  }

  private cascade(level: number, nowMs: number): void {
    const slot = OFFSETS[level] + ((this.tick >>> SHIFTS[level]) & ((1 << SLOT_BITS[level]) - 1));
    this.expire(slot, nowMs);
  }

  /** Empties a slot: what is due fires, the rest is filed anew, which never means into this slot. */
  private expire(slot: number, nowMs: number): void {
    for (let head = this.slotHead[slot]; head !== NONE; head = this.slotHead[slot]) {
      const owner = head - 1;
      this.unlink(owner);
      if (((this.deadline[owner] - nowMs) | 0) <= 0) this.fire(owner);
      else this.file(owner, this.deadline[owner]);
    }
  }

  /** Milliseconds until the next slot with an entry comes up (a bound, maybe early), or -1 when nothing is filed. */
  nextMs(nowMs: number): number {
    if (this.filed === 0) return -1;
    for (let i = 1; i <= 256; i++) {
      const tick = (this.tick + i) & TICK_MASK;
      // A cascade may bring entries down at this tick.
      if (this.slotHead[tick & 255] !== NONE || ((tick & 255) === 0 && this.upperFiled())) {
        const ms = ((tick << TICK_MS_SHIFT) - nowMs) | 0;
        return Math.max(ms, 0);
      }
    }
    return 1024;
  }

  private upperFiled(): boolean {
    for (let slot = OFFSETS[1]; slot < SLOTS; slot++) if (this.slotHead[slot] !== NONE) return true;
    return false;
  }
}
