/** Runs the built `sluice` command as its users do. */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { join } from "node:path";
import { PROJECT_ROOT } from "./project-root.ts";

export const PROGRAM = join(PROJECT_ROOT, "src/cli/sluice.cjs");

export interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A process with what it has said so far. */
export class Running {
  stdout = "";
  stderr = "";
  readonly ended: Promise<Ended>;
  #wake: () => void = () => {};
  #over = false;

  constructor(readonly child: ChildProcess) {
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
      this.#wake();
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
      this.#wake();
    });
    this.ended = new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (status, signal) => {
        this.#over = true;
        this.#wake();
        resolve({ status, signal, stdout: this.stdout, stderr: this.stderr });
      });
    });
    this.ended.catch(() => {});
  }

  /** Waits until standard error (or output) matches. Throws with all that was said when the process ends first. */
  async says(pattern: RegExp, stream: "stdout" | "stderr" = "stderr"): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this[stream]);
      if (match) return match;
      if (this.#over) throw new Error(`ended without saying ${pattern}:\n${this.stdout}${this.stderr}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** Starts `sluice ARGS`. */
export function sluice(args: readonly string[], options: SpawnOptions = {}): Running {
  return run(process.execPath, [PROGRAM, ...args], options);
}

/** Starts any program. */
export function run(command: string, args: readonly string[], options: SpawnOptions = {}): Running {
  return new Running(spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options }));
}

/** Whether a process exists (a zombie does not count). */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Waits until `condition` holds. Throws after `timeoutMs`. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  timeoutMs = 30_000,
): Promise<void> {
  for (const end = performance.now() + timeoutMs; !(await condition()); ) {
    if (performance.now() > end) throw new Error(`waited ${timeoutMs} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
