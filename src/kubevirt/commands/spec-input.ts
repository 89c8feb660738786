/** Spec files from disk or standard input. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { failed, SPEC_FILE_MAX } from "../spec/spec-file.ts";
import type { SpecProblem } from "../spec/spec-problem.ts";
import type { BindingNames } from "../spec/today-bindings.ts";
import { mergeValidations, type Validation, validateText } from "../spec/validate.ts";

/** Reads and validates files; `-` is standard input. A file that cannot be read is a problem like any other. */
export function validateFiles(files: readonly string[], bindings: BindingNames): Validation {
  return mergeValidations(files.map((file) => validateFile(file, bindings)));
}

function validateFile(file: string, bindings: BindingNames): Validation {
  const spec = readSpecFile(file);
  if ("problems" in spec) return { vms: [], problems: spec.problems, notes: [] };
  return validateText(spec.name, spec.text, bindings);
}

/** The text of a file, `-` being standard input, with its name for people; or why there is none. */
export function readSpecFile(
  file: string,
): { readonly name: string; readonly text: string } | { readonly problems: readonly SpecProblem[] } {
  const name = file === "-" ? "<stdin>" : file;
  try {
    const text = readBounded(file === "-" ? 0 : file);
    if (text !== undefined) return { name, text };
    return failed(name, "too-large", "more", `a file of at most ${SPEC_FILE_MAX} octets`);
  } catch (error) {
    const found = `a file that cannot be read (${reason(error)})`;
    return failed(name, "unreadable", found, "a readable file");
  }
}

function reason(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : String(error);
}

/** The text of a file of at most SPEC_FILE_MAX octets (undefined: it is longer). Never reads more, whatever it is. */
function readBounded(file: string | 0): string | undefined {
  const fd = file === 0 ? 0 : openSync(file, "r");
  try {
    if (fstatSync(fd).isDirectory()) throw Object.assign(new Error("directory"), { code: "EISDIR" });
    const octets = Buffer.alloc(SPEC_FILE_MAX + 1);
    let length = 0;
    while (length < octets.length) {
      const count = readSync(fd, octets, length, octets.length - length, null);
      if (count === 0) break;
      length += count;
    }
    if (length > SPEC_FILE_MAX) return undefined;
    return new TextDecoder("utf-8", { fatal: true }).decode(octets.subarray(0, length));
  } finally {
    if (fd !== 0) closeSync(fd);
  }
}
