/**
 * What a service manager such as systemd is told (sd_notify(3)): that the guest is served, since when not any more, and
 * for a watchdog that the engine answers. One datagram per message, to the socket that NOTIFY_SOCKET names.
 */
import type { Logger } from "../engine/boundary.ts";
import { native } from "../host/native/native.ts";
import { describeErrno } from "../host/start-error.ts";
import { writeText } from "./log.ts";

const NAMES = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] as const;
const US_PER_MS = 1000;

export class ServiceManager {
  readonly #fd: number;
  readonly #watchdogMs: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(fd: number, watchdogMs: number) {
    this.#fd = fd;
    this.#watchdogMs = watchdogMs;
  }

  /** `status` is for people; `mainPid` when another process than this one is the service's from now on. */
  ready(status: string, mainPid?: number): void {
    this.#send([...(mainPid === undefined ? [] : [`MAINPID=${mainPid}`]), "READY=1", `STATUS=${status}`]);
  }

  /** Has `ask` look whether all is well twice per watchdog interval, where the manager wants to hear of that. */
  watch(ask: (answered: () => void) => void): void {
    if (this.#watchdogMs === 0) return;
    const answered = (): void => this.#send(["WATCHDOG=1"]);
    this.#timer = setInterval(() => ask(answered), this.#watchdogMs / 2);
    ask(answered);
  }

  stopping(status: string): void {
    clearInterval(this.#timer);
    this.#send(["STOPPING=1", `STATUS=${status}`]);
  }

  close(): void {
    clearInterval(this.#timer);
    native.close(this.#fd);
  }

  /** A status is one line. */
  #send(assignments: readonly string[]): void {
    writeText(this.#fd, assignments.map((text) => text.replaceAll("\n", " ")).join("\n"));
  }
}

/** Half of WATCHDOG_USEC is the timer's; 0 where there is none, or it is meant for another process. */
function watchdogMs(env: NodeJS.ProcessEnv): number {
  const { WATCHDOG_USEC: interval = "", WATCHDOG_PID: pid } = env;
  if (pid !== undefined && pid !== String(process.pid)) return 0;
  return /^\d+$/.test(interval) ? Number(interval) / US_PER_MS : 0;
}

/** The service manager of `env`, if there is one and it can be told; `log` hears why it cannot. */
export function openServiceManager(env: NodeJS.ProcessEnv, log: Logger): ServiceManager | undefined {
  const { NOTIFY_SOCKET: address = "" } = env;
  if (address === "") return undefined;
  const warn = (why: string): undefined => {
    log.warn(`NOTIFY_SOCKET ${address}: ${why}; the service manager is not told that this serves`);
    return undefined;
  };
  if (!/^[/@]./.test(address)) return warn("neither a path nor @ and an abstract name");
  const fd = native.unixConnect(address.replace(/^@/, "\0"), "dgram");
  return fd < 0 ? warn(describeErrno(fd)) : new ServiceManager(fd, watchdogMs(env));
}

/** As openServiceManager with this process's environment, from which what is meant for this process alone is taken. */
export function takeServiceManager(log: Logger): ServiceManager | undefined {
  const env = { ...process.env };
  for (const name of NAMES) delete process.env[name];
  return openServiceManager(env, log);
}
