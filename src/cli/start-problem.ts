/** How a command that cannot start says so. */
import { formatProblem, type Problem } from "../config/problem.ts";
import { writeText } from "../supervisor/log.ts";

/** Exit status for wrong arguments and specs. */
export const EXIT_USAGE = 2;
/** Exit status when something that was right could not be done. */
export const EXIT_FAILED = 1;

/** Prints every problem on standard error and returns the exit status. */
export function refuse(command: string, problems: readonly Problem[]): number {
  const lines = problems.map((problem) => `  ${formatProblem(problem)}\n`).join("");
  const many = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
  writeText(2, `sluice ${command}: ${many} with the arguments\n${lines}`);
  return EXIT_USAGE;
}

/** Prints what failed, one line per sentence, and returns the exit status. */
export function fail(command: string, error: unknown): number {
  const message = error instanceof Error ? error.message : String(error);
  writeText(
    2,
    `${message
      .split("\n")
      .map((line) => `sluice ${command}: ${line}`)
      .join("\n")}\n`,
  );
  return EXIT_FAILED;
}
