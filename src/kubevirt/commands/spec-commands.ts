/** The commands that only read: `validate` and `schema`. */
import { formatSpecNote, formatSpecProblem, type SpecNote } from "../spec/spec-problem.ts";
import type { Validation } from "../spec/validate.ts";
import { vmJsonSchema } from "../spec/vm-schema.ts";
import { EXIT_OK, EXIT_WRONG } from "./exit-status.ts";
import { bindingsOf, networkDevices } from "./network-options.ts";
import { validateFiles } from "./spec-input.ts";
import { UsageError } from "./usage-error.ts";
import { choiceOf, type VmArguments } from "./vm-arguments.ts";
import type { VmIo } from "./vm-io.ts";

export function validateCommand(args: VmArguments, io: VmIo): number {
  const format = choiceOf(args, "format", ["text", "json"]);
  const files = [...args.words, ...(args.rest ?? [])];
  if (files.length === 0)
    throw new UsageError([{ place: "FILE", allowed: "at least one spec file, or - for standard input" }]);
  const result = validateFiles(files, bindingsOf(args));
  // A VM that is wrong has no interfaces yet whose networks could be named.
  if (result.problems.length === 0)
    networkDevices(
      args,
      result.vms.flatMap((vm) => vm.model.nics),
    );
  if (format === "json") io.stdout.write(`${JSON.stringify(validationReport(result), undefined, 2)}\n`);
  else printValidation(result, files.length, io);
  return result.problems.length === 0 ? EXIT_OK : EXIT_WRONG;
}

function validationReport({ vms, problems, notes }: Validation): unknown {
  return { valid: problems.length === 0, vms, problems, notes };
}

/** Problems and notes on stderr, the verdict last. */
function printValidation(result: Validation, files: number, io: VmIo): void {
  printFaults(result, io);
  const { vms, problems } = result;
  if (problems.length > 0) return;
  if (vms.length === 0) {
    io.stdout.write(`nothing to check: no VM in ${count(files, "file")}\n`);
    return;
  }
  const nics = vms.reduce((sum, vm) => sum + vm.model.nics.length, 0);
  io.stdout.write(
    `valid: ${count(vms.length, "VM")}, ${count(nics, "network interface")} in ${count(files, "file")}\n`,
  );
}

/** What is wrong, what was skipped and what to know, for a person. */
export function printFaults({ problems, notes }: Validation, io: VmIo): void {
  printNotes(notes, io);
  for (const problem of problems) io.stderr.write(`${formatSpecProblem(problem)}\n\n`);
  if (problems.length > 0)
    io.stderr.write(`${count(problems.length, "problem")} found; nothing was changed\n`);
}

export function printNotes(notes: readonly SpecNote[], io: VmIo): void {
  for (const note of notes) io.stderr.write(`note: ${formatSpecNote(note)}\n`);
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}

export function schemaCommand(args: VmArguments, io: VmIo): number {
  if (args.words.length > 0) {
    throw new UsageError([{ place: "schema", found: args.words.join(" "), allowed: "no further words" }]);
  }
  io.stdout.write(`${JSON.stringify(vmJsonSchema(), undefined, 2)}\n`);
  return EXIT_OK;
}
