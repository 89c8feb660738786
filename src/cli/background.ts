/**
 * `sluice run --background`. Node cannot fork, so the caller's process starts the same program again, in a session of
 * its own, waits until that serves, and ends. What the other says up to then comes to the caller's standard error.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import type { OptionSet } from "../config/option-set.ts";
import { namedDescriptors } from "../config/plan.ts";
import { native } from "../host/native/native.ts";
import { packageRoot } from "../host/native/native-loader.ts";
import { environmentOfStart, givenNote, isGivenIgnored } from "../host/process/given-state.ts";
import { openLog, writeText } from "../supervisor/log.ts";
import { openServiceManager } from "../supervisor/service-manager.ts";
import { starterNote } from "./background-starter.ts";
import { fail } from "./start-problem.ts";

const STDERR_FD = 2;
/** Of a process that has ended: how long what it said may take to arrive, milliseconds. */
const LAST_WORDS_MS = 1000;
/** As a shell shows a signal: 128 and its number. */
const SIGNAL_STATUS = 128;
const PASSED_SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const;

/** How the start ended. */
interface Outcome {
  /** The ready line, when the other process serves. */
  readonly line?: string;
  /** Otherwise its end. */
  readonly status?: number | null;
  readonly signal?: NodeJS.Signals | null;
}

/** Starts `sluice WORDS`, which serves a guest, in the background. Returns the caller's exit status once that serves, or has ended. */
export async function startInBackground(words: readonly string[], options: OptionSet): Promise<number> {
  const named = namedDescriptors(options).map(({ fd }) => fd);
  let readyFd = STDERR_FD + 1;
  while (named.includes(readyFd)) readyFd++;
  // Descriptors keep their numbers; nothing else is passed on.
  const stdio = Array.from({ length: Math.max(readyFd, ...named) + 1 }, (_, fd) =>
    named.includes(fd) ? fd : fd === readyFd || fd === STDERR_FD ? ("pipe" as const) : ("ignore" as const),
  );
  holdNothing();
  const script = join(packageRoot(), "src", "cli", "sluice.cjs");
  // Before there is anything that a signal would have to end.
  const passing = passSignals((signal) => child.kill(signal));
  const child = spawn(process.execPath, [...process.execArgv, script, ...words], {
    detached: true,
    stdio,
    env: environment(words, readyFd),
  });
  const ready = child.stdio[readyFd] as Readable | null | undefined;
  const said = child.stdio[STDERR_FD] as Readable | null | undefined;
  said?.setEncoding("utf8").on("data", (text: string) => writeText(STDERR_FD, text));
  try {
    const outcome = await outcomeOf(child, ready);
    return outcome.line === undefined
      ? (passing.status() ?? failedStatus(outcome))
      : served(child, outcome.line);
  } finally {
    passing.close();
    child.unref();
    ready?.destroy();
    said?.destroy();
  }
}

/** Node closes what it was given when it starts a program, but not all of the high numbers (setCloseOnExec in calls.ts). */
function holdNothing(): void {
  for (const name of readdirSync("/proc/self/fd")) {
    // That of the directory is closed by now.
    if (Number(name) > STDERR_FD) native.setCloseOnExec(Number(name), true);
  }
}

function environment(words: readonly string[], readyFd: number): NodeJS.ProcessEnv {
  const env = { ...environmentOfStart(words), ...givenNote(), ...starterNote(readyFd) };
  // The watchdog's pings come from the process that serves.
  if (env["WATCHDOG_PID"] === String(process.pid)) delete env["WATCHDOG_PID"];
  return env;
}

/** The signals that would end a start in the foreground end this one too. `status`: 128 and more after one. */
function passSignals(kill: (signal: NodeJS.Signals) => void): {
  status(): number | undefined;
  close(): void;
} {
  let status: number | undefined;
  const undo = PASSED_SIGNALS.map((signal) => {
    const pass = (): void => {
      // Node has set it back (nohup).
      if (isGivenIgnored(signal)) return;
      status = SIGNAL_STATUS + constants.signals[signal];
      kill(signal);
    };
    process.on(signal, pass);
    return () => process.off(signal, pass);
  });
  return {
    status: () => status,
    close: () => {
      for (const each of undo) each();
    },
  };
}

/** Settles when the process serves, or has ended and all that it said is here. Rejects when it cannot be started. */
function outcomeOf(child: ChildProcess, ready: Readable | null | undefined): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    let line = "";
    ready?.setEncoding("utf8").on("data", (text: string) => {
      line += text;
      // What was said before is in the pipe by now: this turn of the loop reads it.
      if (line.endsWith("\n")) setImmediate(() => resolve({ line: line.trimEnd() }));
    });
    ready?.on("error", () => {});
    child.once("error", reject);
    child.once("exit", (status, signal) => {
      const end = (): void => resolve({ status, signal });
      const late = setTimeout(end, LAST_WORDS_MS);
      child.once("close", () => {
        clearTimeout(late);
        end();
      });
    });
  });
}

function failedStatus({ status, signal }: Outcome): number {
  if (status !== null && status !== undefined && status !== 0) return status;
  const how = signal ?? "it was told to, or what it was to serve has gone";
  return fail("run", new Error(`the process in the background ended before it served (${how})`));
}

/** Only the service's main process is heard by a service manager: that is this one, until it names the other. */
function served(child: ChildProcess, line: string): number {
  const log = openLog({ level: "warn", format: "text" });
  openServiceManager(process.env, log)?.ready(line, child.pid);
  return 0;
}
