/** `sluice vm ...`: finds the command, parses its arguments, tells what is wrong with them. */
import { formatProblem, nearest, quote } from "../../config/problem.ts";
import { EXIT_OK, EXIT_WRONG } from "./exit-status.ts";
import { schemaCommand, validateCommand } from "./spec-commands.ts";
import { UsageError, WrongSpec } from "./usage-error.ts";
import { parseVmArguments, type VmArguments } from "./vm-arguments.ts";
import { findVmCommand, VM_COMMAND_NAMES, type VmCommandName } from "./vm-commands.ts";
import { vmCommandHelp, vmHelp } from "./vm-help.ts";
import type { VmIo } from "./vm-io.ts";

export type { VmIo } from "./vm-io.ts";

type Run = (args: VmArguments, io: VmIo) => number | Promise<number>;

const RUNS: Readonly<Record<VmCommandName, Run>> = {
  validate: validateCommand,
  plan: async (args, io) => (await import("./plan-commands.ts")).planCommand(args, io),
  up: async (args, io) => (await import("./up-commands.ts")).upCommand(args, io),
  down: async (args, io) => (await import("./up-commands.ts")).downCommand(args, io),
  status: async (args, io) => (await import("./up-commands.ts")).statusCommand(args, io),
  run: async (args, io) => (await import("./up-commands.ts")).runCommand(args, io),
  "qemu-args": async (args, io) => (await import("./up-commands.ts")).qemuArgsCommand(args, io),
  "dhcp-serve": async (args, io) => (await import("./dhcp-serve-command.ts")).dhcpServeCommand(args, io),
  export: async (args, io) => (await import("./export-command.ts")).exportCommand(args, io),
  schema: schemaCommand,
};

/** Runs `sluice vm ARGV...` and returns the exit status: 0, 1 when something failed, 2 for wrong use or a wrong spec. */
export async function vmCommand(argv: readonly string[], io: VmIo): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    (name === undefined ? io.stderr : io.stdout).write(vmHelp());
    return name === undefined ? EXIT_WRONG : EXIT_OK;
  }
  const command = findVmCommand(name);
  if (command === undefined) {
    const guess = nearest(name, VM_COMMAND_NAMES);
    const meant = guess === undefined ? "" : `; did you mean ${guess}?`;
    io.stderr.write(`sluice vm: found ${quote(name)}; allowed: ${VM_COMMAND_NAMES.join(", ")}${meant}\n`);
    return EXIT_WRONG;
  }
  const args = parseVmArguments(command, rest);
  if (args.help) {
    io.stdout.write(vmCommandHelp(command));
    return EXIT_OK;
  }
  try {
    if (args.problems.length > 0) throw new UsageError(args.problems);
    return await RUNS[command](args, io);
  } catch (error) {
    if (error instanceof WrongSpec) return error.status;
    if (!(error instanceof UsageError)) throw error;
    for (const problem of error.problems)
      io.stderr.write(`sluice vm ${command}: ${formatProblem(problem)}\n`);
    return EXIT_WRONG;
  }
}
