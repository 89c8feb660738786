/** Numbers as the page shows them. */

/** `0.4 s`, `12 s`, `3 min`, `2 h`. */
export function formatIdle(ms: number): string {
  if (ms < 1000) return `${(Math.floor(ms / 100) / 10).toFixed(1)} s`;
  const seconds = Math.floor(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`;
}

/** How fast counters grow: what they were, and when. */
export class Rates {
  #counts: Readonly<Record<string, number>> = {};
  #atMs = 0;

  /** Per second since the last call, by name; 0 at the first. */
  update(counts: Readonly<Record<string, number>>, atMs: number): (name: string) => number {
    const [before, beforeMs] = [this.#counts, this.#atMs];
    this.#counts = counts;
    this.#atMs = atMs;
    const seconds = (atMs - beforeMs) / 1000;
    return (name) =>
      beforeMs === 0 || seconds <= 0 ? 0 : Math.max(0, ((counts[name] ?? 0) - (before[name] ?? 0)) / seconds);
  }
}
