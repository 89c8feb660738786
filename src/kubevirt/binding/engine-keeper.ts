/** The engine of a VM: begun when the VM is defined, begun anew when it dies, ended with the VM. */
/** A guest that is served by an engine of its own. */
export interface ServedGuest {
  /** Settles when the guest is served; rejects with an error of a line for each reason why it is not. */
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
    if (this.#isClosed) throw new Error("the VM has ended");
    if (this.#running !== undefined && isSame(this.#wanted, wanted)) return;
    await this.#end();
    this.#wanted = wanted;
    await this.#begin(wanted);
  }

  /** Settles when there is no engine any more, nor ever again. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#end();
  }

  async #begin(wanted: Wanted): Promise<void> {
    const guest = this.#parts.serve(wanted.argv);
    this.#running = guest;
    try {
      await guest.served;
    } catch (error) {
      await guest.ended;
      if (this.#running === guest) this.#running = undefined;
      throw error;
    }
    void guest.ended.then(() => this.#revive(guest, wanted));
  }

  async #end(): Promise<void> {
    const guest = this.#running;
    this.#running = undefined;
    guest?.stop();
    await guest?.ended;
  }

  /** The engine has ended; nobody asked it to, unless another is running or none is to run. */
  async #revive(guest: ServedGuest, wanted: Wanted): Promise<void> {
    const { say, lost, nowMs } = this.#parts;
    for (let last = guest; this.#running === last; ) {
      if (!wanted.reconnects) {
        lost("the engine has ended, and QEMU does not connect to another one with this model of card");
        return;
      }
      const now = nowMs();
      this.#restarts = this.#restarts.filter((at) => now - at < RESTART_SPAN_MS);
      if (this.#restarts.length === RESTARTS_MAX) {
        lost(`the engine has ended ${RESTARTS_MAX + 1} times within ${RESTART_SPAN_MS / 1000} seconds`);
        return;
      }
      this.#restarts.push(now);
      say("the engine has ended; starting it again");
      await new Promise((resolve) => setTimeout(resolve, RESTART_PAUSE_MS));
      if (this.#isClosed || this.#running !== last) return;
      const next = this.#parts.serve(wanted.argv);
      this.#running = next;
      try {
        await next.served;
      } catch (error) {
        say((error as Error).message);
      }
      await next.ended;
      last = next;
    }
  }
}

function isSame(a: Wanted | undefined, b: Wanted): boolean {
  return a !== undefined && a.reconnects === b.reconnects && a.argv.join("\0") === b.argv.join("\0");
}
