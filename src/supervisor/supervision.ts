/**
 * What ends a supervisor besides its engine: signals, a closed --exit-fd, the parent process, the guest's namespace.
 * The first one wins; each comes as a sentence.
 */
import { Socket } from "node:net";
import { constants } from "node:os";
import type { HostPlan, LinkPlan } from "../config/host-plan.ts";
import { native } from "../host/native/native.ts";
import { isGivenIgnored } from "../host/process/given-state.ts";
import { watchNamespace } from "../host/process/namespace-watch.ts";

/** A signal that nobody sends to a program for another reason. */
const PARENT_ENDED = "SIGPWR";
const END_SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const;

/** Resolves with the reason to end. `onReport` is called at each SIGUSR2. `close` stops watching. */
export interface Watch {
  readonly end: Promise<string>;
  close(): void;
}

export function watchForEnd(host: HostPlan, link: LinkPlan | undefined, onReport: () => void): Watch {
  const undo: (() => void)[] = [];
  let resolveEnd: (reason: string) => void = () => {};
  const end = new Promise<string>((resolve) => {
    resolveEnd = resolve;
  });
  const on = (signal: NodeJS.Signals, listener: () => void): void => {
    process.on(signal, listener);
    undo.push(() => process.off(signal, listener));
  };
  // What was ignored at the start (nohup) stays so; Node has set it back.
  for (const signal of END_SIGNALS)
    on(signal, isGivenIgnored(signal) ? () => {} : () => resolveEnd(`${signal} received`));
  on("SIGUSR2", onReport);
  if (host.exitFd !== undefined) undo.push(watchDescriptor(host.exitFd, resolveEnd));
  if (!host.outliveParent) undo.push(watchParent(resolveEnd));
  if (link?.kind === "tap" && link.netns !== undefined)
    undo.push(watchNamespace(link.netns, resolveEnd, link.opened !== undefined));
  return {
    end,
    close: () => {
      for (const each of undo) each();
    },
  };
}

/** Tells when the other end of a pipe or socket is closed. What comes over it is ignored. */
function watchDescriptor(fd: number, gone: (reason: string) => void): () => void {
  const socket = new Socket({ fd, readable: true, writable: false });
  const tell = (): void => gone(`descriptor ${fd} (--exit-fd) was closed`);
  socket.on("error", tell).on("end", tell).on("close", tell).resume();
  return () => socket.destroy();
}

/**
 * An orphan gets another parent. The kernel tells of that by a signal, which others may send as well and which comes at the
 * end of a thread too: what counts is who the parent is.
 */
function watchParent(gone: (reason: string) => void): () => void {
  const parent = process.ppid;
  if (parent <= 1) return () => {};
  const look = (): void => {
    if (process.ppid !== parent) gone(`the parent process (${parent}) has ended`);
  };
  process.on(PARENT_ENDED, look);
  native.signalAtParentsEnd(constants.signals[PARENT_ENDED]);
  // It may have been too late for that.
  look();
  return () => {
    native.signalAtParentsEnd(0);
    process.off(PARENT_ENDED, look);
  };
}
