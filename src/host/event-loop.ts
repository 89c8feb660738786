/**
 * Drives the engine core: one epoll set under one handle of Node's loop.
 *
 * When the set is readable Node calls `drain`: take events, hand them to the core (or to the host's own handlers),
 * let the core take its turn, and again until nothing is left or 5 ms have gone, so that signals and timers of the
 * process get their share. A dedicated process then waits up to 1 ms for the next event instead of going back to
 * Node at once, which halves the latency of a busy connection; and before it sleeps it asks for a few tens of
 * microseconds, since being woken costs more than that (on a virtual machine several times more). Where the asking is
 * in vain it is soon done for one wait in 32 only, and never while nothing happens: an idle engine sleeps. Work that
 * is left over is resumed by setImmediate.
 *
 * The core's next deadline goes into a timerfd of the same set. It is armed again only when a deadline comes that is
 * earlier than what is armed: an expiry too early costs one empty turn, arming costs a system call each time.
 *
 * A link is level-triggered for reading, and for writing only while it says that it is full; one in shared memory has an
 * edge-triggered descriptor for each. A drain allocates nothing.
 */

import { type EngineCore, TOKEN_HOST, TOKEN_INDEX_MASK, TOKEN_LINK, TOKEN_TCP_FLOW } from "../engine/api.ts";
import { FAILED, HANGUP, READABLE, WRITABLE } from "../engine/boundary.ts";
import type { Arena } from "../engine/memory/arena.ts";
import type { HostLink } from "./engine-options.ts";
import { EDGE_TRIGGERED } from "./native/linux.ts";
import { native } from "./native/native.ts";
import { type Descriptors, EVENTS_MAX } from "./native/shim-tables.ts";
import { describeErrno, StartError } from "./start-error.ts";

/** Time after which a drain goes back to Node's loop, milliseconds. */
const DRAIN_MS = 5;
/** How long a dedicated process waits for one more event, milliseconds. */
const SHORT_WAIT_MS = 1;
/** How long it asks for one before it sleeps, microseconds: about what a sleep and a wake-up take together. */
const SPIN_US = 50;
/** After so many spins in vain the pause between them, which doubles each time, grows no longer: 2^5 - 1 waits. */
const VAIN_SPINS_MAX = 5;
/** A difference between the clock that counts suspends and the one that does not, from which on it is one. */
const SUSPEND_MS = 1000;

const TOKEN_TIMER = TOKEN_HOST;
/** The descriptor by which a link in shared memory tells of room. */
const TOKEN_LINK_ROOM = TOKEN_LINK | 1;
const TOKEN_KIND_MASK = ~TOKEN_INDEX_MASK;
const EVENT_INTS = 2;

/** Called after each turn with the time of it. True when it has more to do right now. */
export type AfterTurn = (nowMs: number) => boolean;

/** Called with the readiness bits of a watched descriptor. */
export type EventHandler = (events: number) => void;

export interface EventLoopHooks {
  /** The attached link has failed and was taken out of the set; its `failure` tells why. */
  readonly linkFailed: (link: HostLink) => void;
  /** The machine slept for `ms`. */
  readonly resumed: (ms: number) => void;
}

export class EventLoop {
  /** For who has something to do with what a turn left; null while nobody does. */
  afterTurn: AfterTurn | null = null;
  private core: EngineCore | null = null;
  private link: HostLink | null = null;
  private linkWantsWritable = false;
  /** Slot 0 is the timer's. */
  private readonly handlers: (EventHandler | null)[] = [null];
  private readonly ints: Int32Array;
  private readonly eventsAt: number;
  private timerArmed = false;
  private timerDue = 0;
  private resumeQueued = false;
  /** Spins in vain since the last one that paid, and waits that sleep at once until the next spin. */
  private vainSpins = 0;
  private spinPause = 0;
  private bootAhead: number;
  private open = true;

  /** Opens the process's epoll set; there is one, so a second loop in the same process is refused. */
  constructor(
    arena: Arena,
    descriptors: Descriptors,
    private readonly dedicated: boolean,
    private readonly hooks: EventLoopHooks,
  ) {
    this.ints = arena.ints;
    this.eventsAt = descriptors.eventsAt;
    this.bootAhead = (native.bootMs() - native.nowMs()) | 0;
    const result = native.epollOpen(this.drain);
    if (result < 0) {
      const reason = `an engine is running in this process already, or ${describeErrno(result)}`;
      throw new StartError([{ place: "engine", reason }]);
    }
  }

  start(core: EngineCore): void {
    this.core = core;
    this.wake();
  }

  /** Watches a descriptor of the host's own (a listener, a connection attempt). Returns a token for `unwatch`. */
  watch(fd: number, events: number, handler: EventHandler): number {
    let slot = this.handlers.indexOf(null, 1);
    if (slot < 0) slot = this.handlers.length;
    const result = native.epollAdd(fd, events, TOKEN_HOST | slot);
    if (result < 0) throw new Error(`epoll_ctl: ${describeErrno(result)}`);
    this.handlers[slot] = handler;
    return TOKEN_HOST | slot;
  }

  unwatch(fd: number, token: number): void {
    native.epollRemove(fd);
    this.handlers[token & TOKEN_INDEX_MASK] = null;
  }

  /** Takes `link` into the set and gives it to the core; null takes the current one out. The caller closes links. */
  attach(link: HostLink | null): void {
    if (this.link !== null) {
      native.epollRemove(this.link.fd);
      if (this.link.roomFd !== undefined) native.epollRemove(this.link.roomFd);
    }
    this.link = link;
    this.linkWantsWritable = false;
    if (link !== null) {
      const { fd, roomFd } = link;
      let result = native.epollAdd(
        fd,
        roomFd === undefined ? READABLE : READABLE | EDGE_TRIGGERED,
        TOKEN_LINK,
      );
      if (result === 0 && roomFd !== undefined) {
        result = native.epollAdd(roomFd, READABLE | EDGE_TRIGGERED, TOKEN_LINK_ROOM);
      }
      if (result < 0) throw new Error(`epoll_ctl: ${describeErrno(result)}`);
    }
    this.core?.attach(link, native.nowMs());
    this.wake();
  }

  /** Has the core look at the attached link, both ways, though no descriptor told of anything. */
  pokeLink(): void {
    this.link?.resume();
    this.core?.handleEvent(TOKEN_LINK, READABLE | WRITABLE, native.nowMs());
    this.wake();
  }

  /** Gives the core a turn soon: something changed that no descriptor tells of. */
  wake(): void {
    if (this.resumeQueued || !this.open) return;
    this.resumeQueued = true;
    setImmediate(this.resume);
  }

  private readonly resume = (): void => {
    this.resumeQueued = false;
    this.drain();
  };

  private readonly drain = (): void => {
    const core = this.core;
    if (core === null || !this.open) return;
    const started = native.nowMs();
    let now = started;
    let more = false;
    let wait = false;
    do {
      const count = wait ? this.awaitEvents() : native.epollWait(this.eventsAt, EVENTS_MAX, 0);
      now = native.nowMs();
      for (let i = 0; i < count; i++) this.dispatch(core, i, now);
      more = core.turn(now);
      if (this.afterTurn?.(now)) more = true;
      this.tendLink();
      if (!this.open) return;
      if (!more && count <= 0 && (wait || !this.dedicated)) break;
      wait = !more && this.dedicated;
    } while (((now - started) | 0) < DRAIN_MS);
    if (more) this.wake();
    this.armTimer(core, now);
    this.noticeSuspend(now);
  };

  /** The short wait of a dedicated process. Returns the count of events. */
  private awaitEvents(): number {
    if (this.spinPause > 0) {
      this.spinPause--;
      return native.epollWait(this.eventsAt, EVENTS_MAX, SHORT_WAIT_MS);
    }
    // What is there already tells nothing about whether spinning pays.
    let count = native.epollWait(this.eventsAt, EVENTS_MAX, 0);
    if (count !== 0) return count;
    count = native.epollSpin(this.eventsAt, EVENTS_MAX, SPIN_US);
    if (count !== 0) {
      this.vainSpins = 0;
      return count;
    }
    this.spinPause = (1 << this.vainSpins) - 1;
    if (this.vainSpins < VAIN_SPINS_MAX) this.vainSpins++;
    return native.epollWait(this.eventsAt, EVENTS_MAX, SHORT_WAIT_MS);
  }

  private dispatch(core: EngineCore, i: number, now: number): void {
    const index = (this.eventsAt >> 2) + i * EVENT_INTS;
    let events = this.ints[index];
    const token = this.ints[index + 1];
    if (token >= TOKEN_HOST) {
      if (token === TOKEN_TIMER) this.timerArmed = false;
      else this.handlers[token & TOKEN_INDEX_MASK]?.(events);
      return;
    }
    const kind = token & TOKEN_KIND_MASK;
    // A pending error (an ICMP error of a UDP socket, the end of a link) shows as FAILED alone; reading takes it.
    if (events & (FAILED | HANGUP) && kind !== TOKEN_TCP_FLOW) events |= READABLE;
    if (kind !== TOKEN_LINK) {
      core.handleEvent(token, events, now);
    } else if (this.link !== null) {
      if (token === TOKEN_LINK_ROOM) events = WRITABLE;
      if (events & WRITABLE) this.link.resume();
      core.handleEvent(TOKEN_LINK, events, now);
    }
  }

  /** After a turn: takes out a link that failed, and asks for a writable event if the link wants one. */
  private tendLink(): void {
    const link = this.link;
    if (link === null) return;
    if (link.failure !== "") {
      this.attach(null);
      this.hooks.linkFailed(link);
    } else if (link.wantsWritable !== this.linkWantsWritable && link.roomFd === undefined) {
      this.linkWantsWritable = link.wantsWritable;
      native.epollModify(link.fd, link.wantsWritable ? READABLE | WRITABLE : READABLE, TOKEN_LINK);
    }
  }

  private armTimer(core: EngineCore, now: number): void {
    const delay = core.nextDeadlineMs(now);
    if (delay < 0) return;
    const due = (now + delay) | 0;
    if (this.timerArmed && ((due - this.timerDue) | 0) >= 0) return;
    native.timerArm(TOKEN_TIMER, delay);
    this.timerArmed = true;
    this.timerDue = due;
  }

  private noticeSuspend(now: number): void {
    const ahead = (native.bootMs() - now) | 0;
    const slept = (ahead - this.bootAhead) | 0;
    this.bootAhead = ahead;
    if (slept >= SUSPEND_MS) this.hooks.resumed(slept);
  }

  /** Closes the epoll set. Links and watched descriptors stay with their owners. */
  close(): void {
    if (!this.open) return;
    this.open = false;
    native.epollClose();
  }
}
