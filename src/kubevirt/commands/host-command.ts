/** What commands that work on a machine have in common: being run inside the pod, and telling what went wrong. */
import { KernelError } from "../machine/iproute.ts";
import { LifecycleError } from "../machine/lifecycle.ts";
import { Refusal } from "../machine/refusal.ts";
import { StateError } from "../machine/vm-state.ts";
import { EXIT_FAILED } from "./exit-status.ts";
import { runInPod } from "./in-pod.ts";
import type { VmArguments } from "./vm-arguments.ts";
import type { VmIo } from "./vm-io.ts";

/** Runs a command inside the pod if `--pod-netns` says so; tells what goes wrong. */
export async function hostCommand(
  command: string,
  args: VmArguments,
  io: VmIo,
  work: () => Promise<number>,
): Promise<number> {
  if (args.options.has("pod-netns")) return runInPod(command, args, io);
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof Error) || !isExpected(error)) throw error;
    io.stderr.write(`sluice vm ${command}: ${error.message}\n`);
    if (error instanceof LifecycleError) {
      if (error.left.length === 0) io.stderr.write("everything done before was undone\n");
      for (const text of error.left) io.stderr.write(`left as it is: ${text}\n`);
    }
    return EXIT_FAILED;
  }
}

/** What can go wrong without a defect here: what we say ourselves, and what the file system says. */
function isExpected(error: Error): boolean {
  if ([Refusal, LifecycleError, StateError, KernelError].some((type) => error instanceof type)) return true;
  return "syscall" in error && "code" in error;
}
