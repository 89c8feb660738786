/** Times as people write them: `60s`, `5m`. */
import { Unacceptable } from "../unacceptable.ts";

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const ALLOWED = "a time such as 60s, 10m or 2h";
/** How long an address counts beyond its TTL, where a policy does not say. */
export const PIN_GRACE_MS = 60_000;
/** What `parseDuration` reads. */
export const DURATION = /^(\d{1,6})(ms|s|m|h|d)$/;

/** Milliseconds. Throws Unacceptable. */
export function parseDuration(text: string): number {
  const [, value, unit = ""] = DURATION.exec(text) ?? [];
  if (value === undefined) throw new Unacceptable(ALLOWED, text);
  return Number(value) * (UNITS_MS[unit] ?? 1);
}

/** In the largest unit that divides it: `parseDuration` reads the same from it. */
export function formatDuration(ms: number): string {
  if (ms === 0) return "0s";
  const [unit, each] = Object.entries(UNITS_MS)
    .reverse()
    .find(([, each]) => ms % each === 0) ?? ["ms", 1];
  return `${ms / each}${unit}`;
}
