/** The engine of a VM: begun when the VM is defined, begun anew when it dies, ended with the VM. */
/** A guest that is served by an engine of its own. */
export interface ServedGuest {
  /** Settles when the guest is served; rejects with an error of a line for each reason why it is not, at the end at last. */
  readonly served: Promise<void>;
  /** Settles when it is over. Never rejects. */
  readonly ended: Promise<void>;
  /** Begins the end. */
  stop(): void;
}

/** Serves a guest by the arguments of `sluice`. Never throws. */
export type ServeGuest = (argv: readonly string[]) => ServedGuest;

export interface Wanted {
  /** Arguments of `sluice`. */
  readonly argv: readonly string[];
  /** QEMU finds a new engine by itself. */
  readonly reconnects: boolean;
}

export interface KeeperParts {
  readonly serve: ServeGuest;
  readonly say: (message: string) => void;
  /** The VM's card is dead for good: what happened. */
  readonly lost: (message: string) => void;
  /** Milliseconds of a clock that only goes on. */
  readonly nowMs: () => number;
}

/** As often as an engine is begun anew within RESTART_SPAN_MS: one that dies at once every time is no help. */
export const RESTARTS_MAX = 5;
export const RESTART_SPAN_MS = 60_000;
/** Between an end and the next beginning. */
const RESTART_PAUSE_MS = 100;

export class EngineKeeper {
  #wanted: Wanted | undefined;
  #running: ServedGuest | undefined;
  /** Settles when `#running`, or what is begun in its place, serves. Rejects when nothing will. */
  #ready: Promise<void> = Promise.resolve();
  #restarts: number[] = [];
  #isClosed = false;
  /** What is being done about an earlier wish. */
  #busy: Promise<unknown> = Promise.resolve();
  readonly #parts: KeeperParts;

  constructor(parts: KeeperParts) {
    this.#parts = parts;
  }

  /** Settles when an engine serves what is wanted, and has its ports. Rejects with what stands in the way. */
  want(wanted: Wanted): Promise<void> {
    const done = this.#busy.then(() => this.#change(wanted));
    this.#busy = done.catch(() => {});
    return done;
  }

  async #change(wanted: Wanted): Promise<void> {
    if (this.#isClosed) throw vmEnded();
    if (this.#running !== undefined && isSame(this.#wanted, wanted)) return this.#ready;
    await this.#end();
    if (this.#isClosed) throw vmEnded();
    this.#wanted = wanted;
    await this.#begin(wanted);
  }

  /** Settles when there is no engine any more, nor ever again. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#end();
    await this.#busy;
  }

  async #begin(wanted: Wanted): Promise<void> {
    const guest = this.#parts.serve(wanted.argv);
    this.#running = guest;
    this.#ready = guest.served;
    try {
      await guest.served;
    } catch (error) {
      await guest.ended;
      if (this.#running === guest) this.#running = undefined;
      throw error;
    }
    this.#watch(guest, wanted);
  }

  async #end(): Promise<void> {
    const guest = this.#running;
    this.#running = undefined;
    guest?.stop();
    await guest?.ended;
  }

  /** Begins another engine when this one ends, unless another is running by then or none is to run. */
  #watch(guest: ServedGuest, wanted: Wanted): void {
    void guest.ended.then(() => {
      if (this.#running !== guest) return;
      this.#ready = this.#revive(guest, wanted);
      // Whoever wants the engine hears of it; nobody may.
      this.#ready.catch(() => {});
    });
  }

  /** The engine has ended, and nobody asked it to. Settles when another one serves; rejects when none will. */
  async #revive(guest: ServedGuest, wanted: Wanted): Promise<void> {
    const { say, serve } = this.#parts;
    for (let last = guest; this.#running === last; ) {
      this.#countRestart(wanted);
      say("the engine has ended; starting it again");
      await new Promise((resolve) => setTimeout(resolve, RESTART_PAUSE_MS));
      if (this.#isClosed || this.#running !== last) break;
      const next = serve(wanted.argv);
      this.#running = next;
      try {
        await next.served;
        this.#watch(next, wanted);
        return;
      } catch (error) {
        say((error as Error).message);
      }
      await next.ended;
      last = next;
    }
    throw vmEnded();
  }

  /** Throws when no other engine may be begun. */
  #countRestart({ reconnects }: Wanted): void {
    const { lost, nowMs } = this.#parts;
    const giveUp = (message: string): never => {
      lost(message);
      throw new Error(message);
    };
    if (!reconnects)
      giveUp("the engine has ended, and QEMU does not connect to another one with this model of card");
    const now = nowMs();
    this.#restarts = this.#restarts.filter((at) => now - at < RESTART_SPAN_MS);
    if (this.#restarts.length === RESTARTS_MAX)
      giveUp(`the engine has ended ${RESTARTS_MAX + 1} times within ${RESTART_SPAN_MS / 1000} seconds`);
    this.#restarts.push(now);
  }
}

const vmEnded = (): Error => new Error("the VM has ended");

function isSame(a: Wanted | undefined, b: Wanted): boolean {
  return a !== undefined && a.reconnects === b.reconnects && a.argv.join("\0") === b.argv.join("\0");
}
