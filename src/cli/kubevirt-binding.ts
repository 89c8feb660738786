/** `sluice kubevirt-binding`: the sidecar of KubeVirt's binding plugin, with engines that run as those of `sluice run`. */
import { formatProblem } from "../config/problem.ts";
import { bindingCommand } from "../kubevirt/binding/command.ts";
import type { ServedGuest } from "../kubevirt/binding/engine-keeper.ts";
import { runGuest } from "./run.ts";
import { EXIT_FAILED, EXIT_USAGE } from "./start-problem.ts";

/** Runs `sluice kubevirt-binding ARGV`. Returns the exit status. */
export function kubevirtBindingCommand(argv: readonly string[]): Promise<number> {
  return bindingCommand(
    argv,
    { stdout: process.stdout, stderr: process.stderr, env: process.env },
    serveGuest,
  );
}

/** Serves a guest by arguments of `sluice`, the first of which is `run`. */
function serveGuest(argv: readonly string[]): ServedGuest {
  const reasons: string[] = [];
  let stop: (reason: string) => void = () => {};
  const end = new Promise<string>((resolve) => {
    stop = resolve;
  });
  let served: () => void = () => {};
  const begun = new Promise<void>((resolve) => {
    served = resolve;
  });
  const ended = runGuest(argv.slice(1), {
    refuse: (problems) => {
      reasons.push(...problems.map(formatProblem));
      return EXIT_USAGE;
    },
    fail: (error) => {
      reasons.push(error instanceof Error ? error.message : String(error));
      return EXIT_FAILED;
    },
    again: argv,
    life: { end, served },
  }).then(() => {});
  const early = ended.then(() => {
    throw new Error(reasons.length === 0 ? "the engine has ended" : reasons.join("\n"));
  });
  early.catch(() => {});
  return { served: Promise.race([begun, early]), ended, stop: () => stop("the VM's end") };
}
