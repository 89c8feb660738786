/**
 * The host's event loop around the core, as `host/` runs the real one: events, then turns until the core has nothing
 * more to do, then sleep until an event or the core's deadline. It calls the core at no other time, so a timer the
 * core forgets to announce is a timer that never fires.
 */

import { type EngineCore, TOKEN_LINK } from "../../src/engine/api.ts";
import { READABLE, WRITABLE } from "../../src/engine/boundary.ts";
import type { SimulatedHost } from "./host-network/host-network.ts";
import type { SimulatedLink } from "./simulated-link.ts";
import type { Scheduled } from "./world/event-queue.ts";
import type { World } from "./world/world.ts";

/** Turns in a row without sleeping, and wake-ups at one moment, after which the engine is spinning. */
const TURNS_MAX = 20_000;
const WAKES_MAX = 500;

export class EngineLoop {
  link: SimulatedLink | null = null;
  private wakeEvent: Scheduled | null = null;
  private timer: Scheduled | null = null;
  private lastMs = -1;
  private lastWork = 0;
  private wakes = 0;
  private stopped = false;
  /** The host does not get to run before this time (a stopped or suspended process). */
  private stalledUntilMs = 0;
  linkLost: () => void = () => {};

  constructor(
    private readonly world: World,
    private readonly core: EngineCore,
    private readonly host: SimulatedHost,
    private readonly latencyMs: () => number,
  ) {
    host.onReady = () => this.wake();
  }

  attach(link: SimulatedLink | null): void {
    this.link = link;
    if (link !== null) link.onReady = () => this.wake();
    this.core.attach(link, this.world.clock);
    this.wake();
  }

  stall(durationMs: number): void {
    this.stalledUntilMs = this.world.nowMs + durationMs;
    this.wake();
  }

  wake(): void {
    if (this.wakeEvent !== null) return;
    const atMs = Math.max(this.world.nowMs + this.latencyMs(), this.stalledUntilMs);
    this.wakeEvent = this.world.at(atMs, () => this.iterate());
  }

  private iterate(): void {
    if (this.stopped) return;
    const { world, core, host, link } = this;
    if (world.nowMs < this.stalledUntilMs) {
      this.wakeEvent = null;
      this.wake();
      return;
    }
    this.guardAgainstSpinning();
    const clock = world.clock;
    host.takeReady((token, events) => core.handleEvent(token, events, clock));
    if (link !== null) this.linkEvents(link, clock);
    let turns = 0;
    while (core.turn(clock)) {
      if (++turns > TURNS_MAX) world.violation(`turn() asked for another turn ${turns} times in a row`);
    }
    this.wakeEvent = null;
    this.sleep();
  }

  private linkEvents(link: SimulatedLink, clock: number): void {
    const { core } = this;
    if (link.broken) {
      // The core finds out by reading or writing; then the host takes the link away and waits for a new one.
      core.handleEvent(TOKEN_LINK, READABLE, clock);
      for (let turns = 0; turns < 3; turns++) core.turn(clock);
      this.link = null;
      core.attach(null, clock);
      link.close();
      this.linkLost();
      return;
    }
    let events = link.readable ? READABLE : 0;
    if (link.writablePending) events |= WRITABLE;
    link.writablePending = false;
    if (events !== 0) core.handleEvent(TOKEN_LINK, events, clock);
  }

  /** Waking again and again at one moment, with no frame and no call to show for it. */
  private guardAgainstSpinning(): void {
    const { world, link, host } = this;
    const work = (link?.framesHanded ?? 0) + (link?.framesSent ?? 0) + host.calls;
    const moment = Math.floor(world.nowMs);
    if (moment !== this.lastMs || work !== this.lastWork) {
      this.lastMs = moment;
      this.lastWork = work;
      this.wakes = 0;
    } else if (++this.wakes > WAKES_MAX) {
      world.violation(`woken ${this.wakes} times within one millisecond, for nothing`);
    }
  }

  private sleep(): void {
    const { world, core, link } = this;
    this.timer = world.cancel(this.timer);
    // The TAP is level-triggered: what is left there wakes us again.
    if (link?.readable ?? false) {
      this.wake();
      return;
    }
    const delay = core.nextDeadlineMs(world.clock);
    if (delay < 0) return;
    // The deadline counts from a whole millisecond of the engine's clock; the timer fires when that clock shows it.
    const fraction = world.nowMs - Math.floor(world.nowMs);
    this.timer = world.after(Math.max(0, delay - fraction), () => {
      this.timer = null;
      this.wake();
    });
  }

  /** The process ends: the core is called no more. */
  stop(): void {
    this.stopped = true;
  }
}
