/** Processes that serve a VM in the background: started until they say they are ready, found again, ended. */
import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { helperPath, packageRoot } from "../../host/native/native-loader.ts";
import { environmentOfStart } from "../../host/process/given-state.ts";

/** A process and when it began, in clock ticks since boot: a PID alone may name another one later. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly started: string;
}

/** A process that ended, or did not say it was ready, when it should serve. */
class ServiceError extends Error {
  override readonly name = "ServiceError";
}

/** proc(5): field 22 of stat, behind the command's name, which may hold blanks and parentheses. */
const START_TIME_FIELD = 22 - 3;
const STATE_FIELD = 0;

function statFields(pid: number): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}

export function processIdentity(pid: number): ProcessIdentity {
  return { pid, started: statFields(pid)?.[START_TIME_FIELD] ?? "" };
}

/** Whether that very process still runs. */
export function isRunning({ pid, started }: ProcessIdentity): boolean {
  const fields = statFields(pid);
  return fields !== undefined && fields[START_TIME_FIELD] === started && fields[STATE_FIELD] !== "Z";
}

const READY_TIMEOUT_MS = 20_000;
const END_TIMEOUT_MS = 5_000;
const POLL_MS = 20;
const LOG_SHOWN_LINES = 5;

/** The program this is, with these arguments: `node .../sluice.cjs ARGV`. */
export function sluiceCommand(argv: readonly string[]): string[] {
  return [process.execPath, join(packageRoot(), "src", "cli", "sluice.cjs"), ...argv];
}

export interface ServiceRequest {
  /** Arguments of `sluice`; `--ready-fd` is added. */
  readonly argv: readonly string[];
  /** Where what it says goes. */
  readonly log: string;
  /** Called with the process as soon as there is one, before it is ready. */
  readonly begun: (process: ProcessIdentity) => void;
}

const READY_FD = 3;

/** Starts a process in the background and resolves once it is ready. Throws ServiceError with what it said. */
export async function startService({ argv, log, begun }: ServiceRequest): Promise<void> {
  const command = sluiceCommand([...argv, "--ready-fd", String(READY_FD)]);
  // libuv may not have an io_uring that the seccomp filter of a service forbids later.
  const args = ["--no-io-uring", "--", ...command];
  const logFd = openSync(log, "a", 0o640);
  const from = existsSync(log) ? readFileSync(log).length : 0;
  const child = spawn(helperPath(), args, {
    detached: true,
    stdio: ["ignore", logFd, logFd, "pipe"],
    cwd: "/",
    env: environmentOfStart(argv),
  });
  closeSync(logFd);
  const failed = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => resolve(`ended with ${signal ?? `status ${code}`}`));
  });
  if (child.pid !== undefined) begun(processIdentity(child.pid));
  const ready = new Promise<"ready">((resolve) => {
    child.stdio[READY_FD]?.once("data", () => resolve("ready"));
  });
  const timeout = new AbortController();
  const late = sleep(READY_TIMEOUT_MS, `not ready after ${READY_TIMEOUT_MS / 1000} s`, {
    signal: timeout.signal,
  });
  const outcome = await Promise.race([ready, failed, late]).finally(() => {
    late.catch(() => {});
    timeout.abort();
  });
  child.stdio[READY_FD]?.destroy();
  child.unref();
  if (outcome === "ready") return;
  throw new ServiceError(`sluice ${argv[0]}: ${outcome}${lastWords(log, from)}`);
}

function lastWords(log: string, from: number): string {
  const text = readFileSync(log).subarray(from).toString("utf8").trim();
  return text === "" ? "" : `\n${text.split("\n").slice(-LOG_SHOWN_LINES).join("\n")}`;
}

/** Ends a process: SIGTERM, then SIGKILL. Does nothing when it is gone. */
export async function endService(identity: ProcessIdentity): Promise<void> {
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    if (!isRunning(identity)) return;
    try {
      process.kill(identity.pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
    const deadline = Date.now() + END_TIMEOUT_MS;
    while (isRunning(identity) && Date.now() < deadline) await sleep(POLL_MS);
  }
  if (isRunning(identity)) throw new ServiceError(`process ${identity.pid} does not end`);
}
