/** The commands that only read: `validate` and `schema`. */
import type { Problem } from "../../config/problem.ts";
import { formatSpecProblem, quoteFile } from "../spec/spec-problem.ts";
import { vmJsonSchema } from "../spec/spec-schema.ts";
import type { Validation } from "../spec/validate.ts";
import { validateFiles } from "./spec-input.ts";
import type { VmArguments } from "./vm-arguments.ts";

/** Where a command writes and what it sees. */
export interface VmIo {
  readonly stdout: { write(text: string): unknown };
  readonly stderr: { write(text: string): unknown };
  readonly env: Readonly<Record<string, string | undefined>>;
}

export const EXIT_OK = 0;
export const EXIT_FAILED = 1;
export const EXIT_WRONG = 2;

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

/** The value of an option that is one of a few words. */
export function choiceOf<const T extends string>(
  args: VmArguments,
  option: string,
  values: readonly [T, ...T[]],
): T {
  const text = args.options.get(option);
  const value = text === undefined ? values[0] : values.find((known) => known === text);
  if (value === undefined) {
    throw new UsageError([
      { place: `--${option}`, found: text ?? "", allowed: `one of ${values.join(", ")}` },
    ]);
  }
  return value;
}

export function validateCommand(args: VmArguments, io: VmIo): number {
  const format = choiceOf(args, "format", ["text", "json"]);
  const files = [...args.words, ...(args.rest ?? [])];
  if (files.length === 0)
    throw new UsageError([{ place: "FILE", allowed: "at least one spec file, or - for standard input" }]);
  const result = validateFiles(files);
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

/** What is wrong and what was skipped, for a person. */
export function printFaults({ problems, notes }: Validation, io: VmIo): void {
  for (const note of notes) io.stderr.write(`note: ${quoteFile(note.file)}:${note.line}: ${note.message}\n`);
  for (const problem of problems) io.stderr.write(`${formatSpecProblem(problem)}\n\n`);
  if (problems.length > 0)
    io.stderr.write(`${count(problems.length, "problem")} found; nothing was changed\n`);
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
