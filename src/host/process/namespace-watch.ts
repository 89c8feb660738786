/** Tells when a namespace or its process has gone. */
import { readFileSync, statSync } from "node:fs";
import type { NamespaceTarget } from "./namespace-tap.ts";

const WATCH_INTERVAL_MS = 1000;

/** When a process began, which tells it from a later one of its number (proc(5), field 22). */
function beginOf(pid: NamespaceTarget): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    return text.slice(text.lastIndexOf(")")).split(" ")[20];
  } catch {
    return undefined;
  }
}

function fileOf(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path);
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}

/**
 * Calls `gone` once with a sentence when the namespace's process has ended, or its file is another one or none. A
 * TAP's descriptor keeps its namespace alive, so the TAP itself never tells. Returns what stops the watch. Who may not look at
 * the namespaces of a process watches the process. `mayBeHidden`: what is not there at the start is out of view and not watched.
 */
export function watchNamespace(
  target: NamespaceTarget,
  gone: (message: string) => void,
  mayBeHidden = false,
): () => void {
  const isPid = /^\d+$/.test(String(target));
  const path = isPid ? `/proc/${target}/ns/net` : String(target);
  const isOpen = fileOf(path) !== undefined;
  const identity = (): string | undefined => (isPid && !isOpen ? beginOf(target) : fileOf(path));
  const first = identity();
  if (first === undefined && mayBeHidden) return () => {};
  const timer = setInterval(() => {
    if (first !== undefined && identity() === first) return;
    clearInterval(timer);
    gone(isPid ? `process ${target}, whose network namespace this is, has ended` : `${path} has gone`);
  }, WATCH_INTERVAL_MS);
  timer.unref();
  return () => clearInterval(timer);
}
