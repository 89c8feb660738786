/**
 * How a wrong option, file or argument is told to a person: the place, what was found there, and what is allowed.
 * Everything wrong is collected and told at once.
 */
import { closest, distance } from "fastest-levenshtein";

export { Unacceptable } from "./unacceptable.ts";

/** One thing that is wrong. */
export interface Problem {
  /** Where: an option (`--mtu`), a property of the library's options (`mtu`), or a field path. */
  readonly place: string;
  /** What stands there now, as the user wrote it; absent when something is missing. */
  readonly found?: string;
  /** What would be right, as half a sentence. */
  readonly allowed: string;
}

/**
 * Everything that is wrong with a configuration, a line of the message each.
 *
 * @example
 * ```ts
 * import { ConfigError, createEngine } from "sluice";
 *
 * try {
 *   await createEngine({ qemuListen: "unix:/tmp/vm.sock", mtu: 9, ports: ["22", "ssh"] });
 * } catch (error) {
 *   if (!(error instanceof ConfigError)) throw error;
 *   console.log(error.problems.map(({ place, found }) => `${place} is ${found}`).join()); // mtu is 9,ports[1] is ssh
 * }
 * ```
 */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  /** Stays as it is. */
  readonly code = "ERR_SLUICE_CONFIG";
  /** At least one. */
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super(problems.map(formatProblem).join("\n"));
    this.problems = problems;
  }
}

/** One line: `--mtu: found "9"; allowed: a whole number from 576 to 65521`. */
export function formatProblem(problem: Problem): string {
  const found = problem.found === undefined ? "" : `found ${quote(problem.found)}; `;
  return `${problem.place}: ${found}allowed: ${problem.allowed}`;
}

const FOUND_LENGTH_MAX = 80;

/** A user's text made safe to print on a terminal: control characters escaped, long text cut. */
export function quote(text: string): string {
  const cut = text.length > FOUND_LENGTH_MAX ? `${text.slice(0, FOUND_LENGTH_MAX)}...` : text;
  return JSON.stringify(cut).replace(
    /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** The known word nearest to `word`, or undefined when none is near enough to be a slip of the fingers. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  if (known.length === 0 || word.length > FOUND_LENGTH_MAX) return undefined;
  const best = closest(word, known);
  const limit = Math.max(2, Math.floor(best.length / 3));
  return distance(word, best) <= limit ? best : undefined;
}
