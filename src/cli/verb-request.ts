/** What a command about a running instance is given, and how it says that its words make no sense. */
import { readFileSync } from "node:fs";
import { formatProblem, type Problem } from "../config/problem.ts";
import type { ControlClient } from "../control/client.ts";
import { readId } from "../control/target.ts";

export interface VerbRequest {
  readonly words: readonly string[];
  /** The verb's own options. */
  readonly flags: Readonly<Record<string, string | boolean | undefined>>;
  readonly json: boolean;
  readonly client: () => Promise<ControlClient>;
  readonly out: (text: string) => void;
}

/** Words that no instance could make sense of. */
export class VerbError extends Error {
  override readonly name = "VerbError";
  constructor(
    readonly problem: Problem,
    readonly others: readonly Problem[] = [],
  ) {
    super(formatProblem(problem));
  }
}

/** The text of a file. Throws a VerbError. */
export function textOf(place: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const allowed = `a file that can be read (${(error as Error).message})`;
    throw new VerbError({ place, found: path, allowed });
  }
}

/** An id that was written, or another number of the instance's own. Throws a VerbError. */
export function idOf(place: string, text: string, allowed: string): number {
  const id = readId(text);
  if (id === undefined) throw new VerbError({ place, found: text, allowed });
  return id;
}

/** Of what a verb prints with --json. */
export function jsonLine(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}
