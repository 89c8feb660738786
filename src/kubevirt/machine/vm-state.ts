/**
 * What `up` has done for a VM, on disk: written before each step, so that whatever happens in between, `down` knows
 * what may have to be undone. A folder per VM holds the state, the sockets and the logs.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import type { Plan } from "../plan/plan.ts";
import type { NeighbourEntry } from "./device-state.ts";
import { isRunning, type ProcessIdentity, processIdentity } from "./service-process.ts";

/** A device as it was before anything was changed. */
export interface DeviceMemory {
  /** Number the kernel knows it by: a device of the same name made later has another. */
  readonly index: number;
  readonly mac: string;
  readonly up: boolean;
  /** Kernel messages of `ip -4 address save` and `ip -4 route save`, base64. */
  readonly addresses: string;
  readonly routes: string;
  readonly neighbours: readonly NeighbourEntry[];
}

export interface VmState {
  readonly version: 1;
  /** Everything the plan was made from; a second `up` with another one is refused. */
  readonly request: string;
  readonly plan: Plan;
  /** Which start of the machine this is of; nothing of it outlives the next. */
  readonly boot: string;
  /** Network namespace, as /proc/self/ns/net names it. */
  readonly namespace: string;
  readonly memory: Readonly<Record<string, DeviceMemory>>;
  /** `up` once every step is done. */
  phase: "changing" | "up";
  /** Steps begun, counted from the first: the last one may or may not have happened. */
  begun: number;
  /** Engine and DHCP processes, by step index. */
  readonly processes: Record<string, ProcessIdentity>;
}

/** Names the time since the machine was started. */
export function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}

/** State that cannot be read, or a lock that is held: a sentence. */
export class StateError extends Error {
  override readonly name = "StateError";
}

/** How often a lock that nobody living holds is tried for. */
const LOCK_TRIES = 4;

/** One VM's folder. */
export class StateFolder {
  readonly path: string;
  private readonly file: string;

  constructor(
    private readonly root: string,
    private readonly vm: string,
  ) {
    this.path = join(root, vm);
    this.file = join(this.path, "state.json");
  }

  /** The state, or undefined when the VM is not up (or was, before the machine was started anew). Throws StateError. */
  load(): VmState | undefined {
    if (!existsSync(this.file)) return undefined;
    try {
      const state = JSON.parse(readFileSync(this.file, "utf8")) as VmState;
      if (state.boot !== undefined && state.boot !== bootId()) {
        this.remove();
        return undefined;
      }
      if (state.version === 1) return state;
    } catch (error) {
      throw new StateError(`${this.file}: ${error instanceof Error ? error.message : String(error)}`);
    }
    throw new StateError(
      `${this.file}: written by another version of sluice; take the VM down with that one`,
    );
  }

  /** Replaces the state as a whole: a crash leaves the old or the new one. */
  save(state: VmState): void {
    mkdirSync(this.path, { recursive: true, mode: 0o755 });
    const next = `${this.file}.new`;
    const fd = openSync(next, "w", 0o600);
    writeSync(fd, JSON.stringify(state));
    fsyncSync(fd);
    closeSync(fd);
    renameSync(next, this.file);
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }

  /** Runs `work` while no other process changes this VM. Throws StateError when one does. */
  async locked<T>(work: () => Promise<T>): Promise<T> {
    mkdirSync(this.root, { recursive: true, mode: 0o755 });
    const lock = join(this.root, `${this.vm}.lock`);
    takeLock(lock, this.vm);
    try {
      return await work();
    } finally {
      rmSync(lock, { force: true });
    }
  }
}

/**
 * Makes the lock, whose content is there from its first moment: whoever finds it reads a holder. One that a dead holder left is
 * moved away, and looked at once more, for somebody may have been quicker.
 */
function takeLock(lock: string, vm: string): void {
  const claim = `${lock}.${process.pid}`;
  const stale = `${claim}.stale`;
  writeFileSync(claim, JSON.stringify(processIdentity(process.pid)), { mode: 0o600 });
  try {
    for (let tries = 0; tries < LOCK_TRIES; tries++) {
      if (made(claim, lock)) return;
      const holder = livingHolder(lock);
      if (holder !== undefined) {
        throw new StateError(`another sluice (process ${holder.pid}) is changing ${vm} right now`);
      }
      if (!moved(lock, stale)) continue;
      if (livingHolder(stale) !== undefined) made(stale, lock);
      rmSync(stale, { force: true });
    }
  } finally {
    rmSync(claim, { force: true });
  }
  throw new StateError(`${lock}: cannot be taken`);
}

/** False: there is one. */
function made(claim: string, lock: string): boolean {
  try {
    linkSync(claim, lock);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return false;
  }
}

/** False: it is gone. */
function moved(lock: string, to: string): boolean {
  try {
    renameSync(lock, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return false;
  }
}

function livingHolder(lock: string): ProcessIdentity | undefined {
  const holder = readHolder(lock);
  return holder !== undefined && isRunning(holder) ? holder : undefined;
}

function readHolder(lock: string): ProcessIdentity | undefined {
  try {
    return JSON.parse(readFileSync(lock, "utf8")) as ProcessIdentity;
  } catch {
    return undefined; // It is gone by now, or nobody's of ours.
  }
}
