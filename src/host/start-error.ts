/** Why an engine could not start: everything that is wrong, at once, each as a sentence for a person. */
import { getSystemErrorMap } from "node:util";

/** One thing that stands in the way. */
export interface StartProblem {
  /** What was asked for, such as `forward tcp 127.0.0.1:80` or `tap sluice0`. */
  readonly place: string;
  /** What the kernel said or what was found, and what would help. */
  readonly reason: string;
}

/**
 * Everything that stands in the way of a start, a line of the message each. Nothing is left of the engine then.
 *
 * @example
 * ```ts
 * import { createServer } from "node:net";
 * import { createEngine, StartError } from "sluice";
 *
 * const server = createServer().listen(0, "127.0.0.1");
 * await new Promise((resolve) => server.once("listening", resolve));
 * const { port } = server.address() as { port: number };
 * try {
 *   await createEngine({ qemuListen: "unix:/tmp/vm.sock", ports: [`${port}:22`] });
 * } catch (error) {
 *   if (!(error instanceof StartError)) throw error;
 *   console.log(error.problems[0]?.reason.includes("EADDRINUSE")); // true
 * }
 * server.close();
 * ```
 */
export class StartError extends Error {
  override readonly name = "StartError";
  /** Stays as it is. */
  readonly code = "ERR_SLUICE_START";
  /** At least one. */
  readonly problems: readonly StartProblem[];

  constructor(problems: readonly StartProblem[]) {
    super(problems.map((problem) => `${problem.place}: ${problem.reason}`).join("\n"));
    this.problems = problems;
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
