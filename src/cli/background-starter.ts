/** What a process in the background knows of the one that started it and waits for it (background.ts). */
import { closeSync, openSync, writeSync } from "node:fs";
import { native } from "../host/native/native.ts";
import { takeGivenDescriptors } from "../host/process/given-state.ts";
import { describeErrno, StartError } from "../host/start-error.ts";

const NOTE = "SLUICE_STARTER";
const STDERR_FD = 2;

/** The environment by which the started process finds its end of the socket, descriptor `readyFd`. */
export function starterNote(readyFd: number): NodeJS.ProcessEnv {
  return { [NOTE]: String(readyFd) };
}

/** Whether this process is one that another has started to serve in the background. */
export function hasStarter(): boolean {
  return process.env[NOTE] !== undefined;
}

/** The descriptor of `starterNote`, which goes from the environment; undefined in the process that is to start another. */
export function takeStarter(): number | undefined {
  const note = process.env[NOTE];
  delete process.env[NOTE];
  return note === undefined ? undefined : Number(note);
}

/** Closes what this process was given and no option names: whoever waits for its end waits for its caller. */
export function letGo(named: readonly (number | undefined)[]): void {
  for (const fd of takeGivenDescriptors(named)) native.close(fd);
}

/**
 * Tells the waiting process that the guest is served, with the ready line, and lets go of it: standard error becomes the
 * log's file, or nothing. Throws StartError when nobody waits any more: a start that was given up is none.
 */
export function tellStarter(readyFd: number, line: string, logFd: number): void {
  try {
    writeSync(readyFd, `${line}\n`);
    closeSync(readyFd);
  } catch (error) {
    throw new StartError([{ place: "--background", reason: (error as Error).message }]);
  }
  const target = logFd === STDERR_FD ? openSync("/dev/null", "w") : logFd;
  const failure = native.replaceDescriptor(target, STDERR_FD);
  if (target !== logFd) closeSync(target);
  if (failure < 0) throw new StartError([{ place: "--background", reason: describeErrno(failure) }]);
}
