/** What a command about a running instance is given, and how it says that its words make no sense. */
import { formatProblem, type Problem } from "../config/problem.ts";
import type { ControlClient } from "../control/client.ts";

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
  constructor(readonly problem: Problem) {
    super(formatProblem(problem));
  }
}
