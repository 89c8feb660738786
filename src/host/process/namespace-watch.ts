/** Tells when a namespace or its process has gone. */
import { statSync } from "node:fs";
import type { NamespaceTarget } from "./namespace-tap.ts";

const WATCH_INTERVAL_MS = 1000;

/**
 * Calls `gone` once with a sentence when the namespace's process has ended, or its file is another one or none. A
 * TAP's descriptor keeps its namespace alive, so the TAP itself never tells. Returns what stops the watch.
 */
export function watchNamespace(target: NamespaceTarget, gone: (message: string) => void): () => void {
  const isPid = /^\d+$/.test(String(target));
  const path = isPid ? `/proc/${target}/ns/net` : String(target);
  const identity = (): string | undefined => {
    try {
      const { dev, ino } = statSync(path);
      return `${dev}:${ino}`;
    } catch {
      return undefined;
    }
  };
  const first = identity();
  const timer = setInterval(() => {
    if (first !== undefined && identity() === first) return;
    clearInterval(timer);
    gone(isPid ? `process ${target}, whose network namespace this is, has ended` : `${path} has gone`);
  }, WATCH_INTERVAL_MS);
  timer.unref();
  return () => clearInterval(timer);
}
