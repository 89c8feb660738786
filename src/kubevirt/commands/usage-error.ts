/** Why a command ends with EXIT_WRONG before it has done anything. */
import type { Problem } from "../../config/problem.ts";
import { EXIT_WRONG } from "./exit-status.ts";

/** Wrong use of a command; `vmCommand` prints the problems and ends with EXIT_WRONG. */
export class UsageError extends Error {
  override readonly name = "UsageError";

  constructor(readonly problems: readonly Problem[]) {
    super(problems.map((problem) => problem.place).join(", "));
  }
}

/** The spec was wrong and has been reported; the command ends with this status. */
export class WrongSpec extends Error {
  override readonly name = "WrongSpec";
  readonly status = EXIT_WRONG;
}
