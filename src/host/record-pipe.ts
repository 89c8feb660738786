/**
 * Sends the engine's records to who reads them: after a turn, in one call, over a socket that never holds the engine up. The
 * first after a pause leave at once, others are gathered for a while: waking the reader costs more than what it reads.
 * What does not fit waits in the rings; what does not fit there is lost and counted. Rows of the flow table, which somebody
 * asked for, wait for room instead, and are not gathered.
 */
import type { EngineCore, RowCursor } from "../engine/api.ts";
import { EAGAIN, WRITABLE } from "../engine/boundary.ts";
import type { RecordRing } from "../engine/transport/record-ring.ts";
import { CLOCK_OCTETS, ROWS_END_OCTETS } from "../engine/wire/record.ts";
import type { EventLoop } from "./event-loop.ts";
import { native } from "./native/native.ts";
import { pause } from "./pause.ts";

/** How often the host's clock is told, milliseconds. */
const CLOCK_MS = 10_000;
/** How long records are gathered, milliseconds: one may wait twice as long. */
const GATHER_MS = 50;
/** How long the last records may wait for their reader, milliseconds. */
const LAST_MS = 200;

export class RecordPipe {
  private readonly rings: [RecordRing, RecordRing];
  private readonly gather = new Int32Array(8);
  private readonly rowCalls: RowCursor[] = [];
  /** Token of the wait for room, -1 while there is some. */
  private waiting = -1;
  private clockToldMs: number;
  private sentMs: number;
  /** Has what is gathered sent where no turn comes that does; made when it is first needed. */
  private gathering: NodeJS.Timeout | null = null;
  private isGathering = false;
  private isOpen = true;

  /** Takes `fd`, a stream socket, and tells what `wanted` (recorder.ts) says from now on. */
  constructor(
    private readonly core: EngineCore,
    private readonly loop: EventLoop,
    private readonly fd: number,
    wanted: number,
  ) {
    const recorder = core.record();
    recorder.read(wanted);
    this.rings = [recorder.events, recorder.drops];
    this.clockToldMs = native.nowMs();
    this.sentMs = (this.clockToldMs - GATHER_MS) | 0;
    loop.afterTurn = (nowMs) => this.work(nowMs);
    loop.wake();
  }

  want(wanted: number): void {
    this.core.record().wanted = wanted;
  }

  /** Has the rows at `cursor` told, and then where it has come to. */
  rows(cursor: RowCursor): void {
    this.rowCalls.push(cursor);
    this.loop.wake();
  }

  private work(nowMs: number): boolean {
    const recorder = this.core.record();
    recorder.endTurn();
    if (!this.isOpen || this.waiting >= 0) return false;
    const isAsked = this.rowCalls.length > 0;
    const told = this.tellRows(nowMs);
    if (this.rings[0].isEmpty && this.rings[1].isEmpty) return told;
    if (!isAsked && !this.isDue(nowMs)) return false;
    this.sentMs = nowMs;
    if (((nowMs - this.clockToldMs) | 0) >= CLOCK_MS && recorder.events.hasRoom(CLOCK_OCTETS)) {
      this.clockToldMs = nowMs;
      recorder.clock(Date.now());
    }
    this.send();
    return told && this.waiting < 0;
  }

  /** Whether there is something to send that waits no longer. If not, there will be. */
  private isDue(nowMs: number): boolean {
    if (((nowMs - this.sentMs) | 0) >= GATHER_MS) return true;
    if (this.rings[0].isFilling || this.rings[1].isFilling) return true;
    if (this.isGathering) return false;
    this.isGathering = true;
    this.gathering = this.gathering?.refresh() ?? setTimeout(this.gathered, GATHER_MS).unref();
    return false;
  }

  private readonly gathered = (): void => {
    this.isGathering = false;
    this.loop.wake();
  };

  /** Some rows of the call that came first. True when there are more to tell. */
  private tellRows(nowMs: number): boolean {
    const [first] = this.rowCalls;
    if (first === undefined) return false;
    const recorder = this.core.record();
    if (first.from >= 0) this.core.recordRows(first, nowMs);
    const isDone = first.from < 0 || first.places === 0 || first.rows === 0;
    if (!isDone || !recorder.events.hasRoom(ROWS_END_OCTETS)) return true;
    recorder.rowsEnd(first.call, Math.max(first.from, 0));
    this.rowCalls.shift();
    return this.rowCalls.length > 0;
  }

  private send(): void {
    const sent = this.push();
    if (sent === EAGAIN) this.wait();
    // The supervisor ends us, or is gone: then its control socket says so.
    else if (sent < 0) this.isOpen = false;
    else if (!this.rings[0].isEmpty) this.wait();
  }

  /** One call for what both rings have. Returns its octets, or a negated errno; there is something to send. */
  private push(): number {
    const [first, second] = this.rings;
    const count = first.pieces(this.gather, 0);
    const all = count + second.pieces(this.gather, count * 2);
    const sent = native.sendGather(this.fd, this.gather, all);
    if (sent < 0) return sent;
    const left = second.taken(first.taken(sent));
    if (left !== 0) throw new RangeError("more was sent than there was");
    // A record begun is finished before the other ring has its turn.
    if (first.isEmpty && !second.isEmpty) this.rings.reverse();
    return sent;
  }

  private wait(): void {
    this.waiting = this.loop.watch(this.fd, WRITABLE, () => {
      this.loop.unwatch(this.fd, this.waiting);
      this.waiting = -1;
    });
  }

  close(): void {
    this.loop.afterTurn = null;
    if (this.gathering !== null) clearTimeout(this.gathering);
    if (this.waiting >= 0) this.loop.unwatch(this.fd, this.waiting);
    this.waiting = -1;
    if (this.isOpen) this.sendLast();
    this.isOpen = false;
    native.close(this.fd);
  }

  /**
   * What is left, and how many found no room: each flow ends with the engine, and the rings hold 1,400 of them. The guest is
   * gone, so nobody is held up; who does not read by then hears no more.
   */
  private sendLast(): void {
    const until = native.nowMs() + LAST_MS;
    for (;;) {
      for (const ring of this.rings) ring.tellLost(this.core.uptimeMs);
      if (this.rings.every((ring) => ring.isEmpty)) return;
      const sent = this.push();
      if (sent >= 0) continue;
      if (sent !== EAGAIN || ((until - native.nowMs()) | 0) <= 0) return;
      pause(1);
    }
  }
}
