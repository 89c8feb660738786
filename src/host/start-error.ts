/** Why an engine could not start: everything that is wrong, at once, each as a sentence for a person. */
import { getSystemErrorMap } from "node:util";

/** One thing that stands in the way. */
export interface StartProblem {
  /** What was asked for, such as `forward tcp 127.0.0.1:80` or `tap sluice0`. */
  readonly place: string;
  /** What the kernel said or what was found, and what would help. */
  readonly reason: string;
}

/** Thrown by `startEngine`. `code` is stable; `message` is one line per problem. */
export class StartError extends Error {
  override readonly name = "StartError";
  readonly code = "ERR_SLUICE_START";

  constructor(readonly problems: readonly StartProblem[]) {
    super(problems.map((problem) => `${problem.place}: ${problem.reason}`).join("\n"));
  }
}

/** Kernel errors that libuv has no words for. */
const MORE_ERRNOS = new Map([
  [-77, ["EBADFD", "file descriptor in bad state"]],
  [-112, ["EHOSTDOWN", "host is down"]],
]);

/** `address already in use (EADDRINUSE)` for -98. */
export function describeErrno(errno: number): string {
  const known = getSystemErrorMap().get(errno) ?? MORE_ERRNOS.get(errno);
  return known ? `${known[1]} (${known[0]})` : `error ${-errno}`;
}
