/** A child process that speaks in lines: started, listened to, stopped by its own id, and accounted for. */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

/** A run that did not give a figure. The message is the reason that the report shows. */
export class RunFailure extends Error {
  override readonly name = "RunFailure";
}

/** One line of output that was JSON. */
export type Report = Record<string, unknown> & { event: string };

const STDERR_KEPT = 4000;

/**
 * Without what is meant for this Node: NODE_EXTRA_CA_CERTS alone, which some machines set for everybody, costs every
 * Node 80 ms at its start.
 */
const ENVIRONMENT = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !name.startsWith("NODE_")),
);

export class Program {
  readonly pid: number;
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #reports: Report[] = [];
  readonly #waiting: (() => void)[] = [];
  #tail = "";
  #stderr = "";
  #ended: string | undefined;

  /** Starts `argv` in a session of its own, so that all its processes can be found. */
  constructor(argv: readonly string[]) {
    this.name = argv.join(" ");
    this.#child = spawn(argv[0], argv.slice(1), {
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
      env: ENVIRONMENT,
    });
    this.pid = this.#child.pid ?? -1;
    this.#child.on("error", (error) => this.#end(error.message));
    this.#child.on("close", (code, signal) => this.#end(signal ?? `exit code ${code}`));
    this.#child.stdin?.on("error", () => {});
    this.#child.stdout?.setEncoding("utf8").on("data", (text: string) => this.#read(text));
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_KEPT);
      this.#wake();
    });
  }

  get running(): boolean {
    return this.#ended === undefined;
  }

  /** What it said on stderr, and how it ended. */
  get lastWords(): string {
    const text = this.#stderr.trim().split("\n").slice(-3).join(" / ");
    return [text, this.#ended].filter((part) => part).join("; ");
  }

  writeLine(text: string): void {
    this.#child.stdin?.write(`${text}\n`);
  }

  /** The next report of that kind. Throws RunFailure when the program ends first or the time is over. */
  async report(event: string, timeoutMs: number): Promise<Report> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const index = this.#reports.findIndex((report) => report.event === event);
      if (index >= 0) return this.#reports.splice(0, index + 1)[index];
      if (!this.running) throw new RunFailure(this.lastWords || "ended without a result");
      const left = deadline - performance.now();
      if (left <= 0) throw new RunFailure(`stalled: no ${event} within ${(timeoutMs / 1000).toFixed(0)} s`);
      await this.#change(left);
    }
  }

  /** Waits until it has said something of that form on stderr. */
  async said(pattern: RegExp, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!pattern.test(this.#stderr)) {
      if (!this.running || performance.now() > deadline)
        throw new RunFailure(`did not start: ${this.lastWords}`);
      await this.#change(deadline - performance.now());
    }
  }

  /** Ends the program: the signal, and SIGKILL to its whole session when it does not go. */
  async stop(signal: NodeJS.Signals = "SIGTERM", graceMs = 2000): Promise<void> {
    this.#child.stdin?.end();
    if (this.running) {
      this.signal(signal);
      const deadline = performance.now() + graceMs;
      while (this.running && performance.now() < deadline) await this.#change(deadline - performance.now());
    }
    for (const pid of this.processes()) send(pid, "SIGKILL");
    while (this.running) await this.#change(1000);
  }

  /** Sends a signal; one that has ended in the meantime does not mind. */
  signal(signal: NodeJS.Signals): void {
    if (this.pid > 0) send(this.pid, signal);
  }

  /** The ids of all its processes that still run. */
  processes(): number[] {
    return processesOf(this.pid);
  }

  #change(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#waiting.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  #wake(): void {
    for (const resume of this.#waiting.splice(0)) resume();
  }

  #end(how: string): void {
    this.#ended ??= how;
    this.#wake();
  }

  #read(text: string): void {
    const lines = (this.#tail + text).split("\n");
    this.#tail = lines.pop() ?? "";
    for (const line of lines) {
      if (line.startsWith("{")) this.#reports.push(JSON.parse(line) as Report);
      else if (line !== "") this.#reports.push({ event: line });
    }
    this.#wake();
  }
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** /proc/PID/stat after the command's name: state, ppid, pgrp, session, ... as proc_pid_stat(5) numbers them from 3. */
function statOf(pid: number | string): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}

/** Children, grandchildren and whoever else is in the session of `leader`. */
function processesOf(leader: number): number[] {
  const found = new Set<number>();
  const all = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  const stats = all.map((name) => ({ pid: Number(name), stat: statOf(name) }));
  let grew = true;
  while (grew) {
    grew = false;
    for (const { pid, stat } of stats) {
      if (!stat || found.has(pid) || stat[0] === "Z") continue;
      if (pid === leader || Number(stat[3]) === leader || found.has(Number(stat[1]))) {
        found.add(pid);
        grew = true;
      }
    }
  }
  return [...found];
}

const TICKS_PER_SECOND = 100;

/** User and system time of the processes so far, seconds. */
export function cpuSeconds(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const stat = statOf(pid);
    if (stat) ticks += Number(stat[11]) + Number(stat[12]);
  }
  return ticks / TICKS_PER_SECOND;
}

export interface Memory {
  /** The largest single process (the engine, where there is a supervisor beside it), KiB. */
  readonly engineKb: number;
  /** The sum over all processes, KiB; what they share is counted in each. */
  readonly allKb: number;
}

/** Resident memory now (`VmRSS`) or at its highest (`VmHWM`). */
export function memoryOf(pids: readonly number[], field: "VmRSS" | "VmHWM"): Memory {
  let engineKb = 0;
  let allKb = 0;
  for (const pid of pids) {
    try {
      const match = new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(
        readFileSync(`/proc/${pid}/status`, "latin1"),
      );
      const kb = Number(match?.[1] ?? 0);
      engineKb = Math.max(engineKb, kb);
      allKb += kb;
    } catch {
      // Ended between the listing and the reading.
    }
  }
  return { engineKb, allKb };
}
