/** What the grammars of options and policies say of what is no word of theirs. */
import { Unacceptable } from "../../src/config/problem.ts";

/** What the complaint says is allowed, and of which part. */
export function refusal(read: () => unknown): [allowed: string, found: string | undefined] {
  try {
    return [`nothing: it is ${JSON.stringify(read())}`, undefined];
  } catch (error) {
    if (!(error instanceof Unacceptable)) throw error;
    return [error.allowed, error.found];
  }
}
