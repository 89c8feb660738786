/** What somebody probably meant to write. */

const SLIPS_MAX = 2;
const WORD_LENGTH_MAX = 80;

/**
 * The known word that `word` is a slip of: at most two slips, and at most one in three letters, case aside. Longer
 * guesses name a field that has nothing to do with the one meant.
 */
export function guess(word: string, known: readonly string[]): string | undefined {
  if (word.length > WORD_LENGTH_MAX) return undefined;
  const lower = word.toLowerCase();
  let best: string | undefined;
  let least = SLIPS_MAX + 1;
  for (const candidate of known) {
    const distance = slips(lower, candidate.toLowerCase());
    if (distance < least && distance <= candidate.length / 3) {
      best = candidate;
      least = distance;
    }
  }
  return best;
}

/** Damerau-Levenshtein distance (optimal string alignment): letters put in, left out, changed, or two swapped. */
function slips(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let cost = Math.min(changed, (last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) cost = Math.min(cost, (beforeLast[j - 2] ?? 0) + 1);
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
