/** This machine's own programs, for guests whose busybox lacks them: each with the libraries it is linked with. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { findCommand } from "./requirements.ts";

/** The files of a guest (QemuGuest) that make these programs run there, as `/borrowed/NAME`: by a bare name a shell of busybox takes its own. */
export function borrowedPrograms(names: readonly string[]): Record<string, Uint8Array> {
  const files: Record<string, Uint8Array> = {};
  for (const name of names) {
    const path = findCommand(name)!;
    files[`/borrowed/${name}`] = readFileSync(path);
    const linked = execFileSync("ldd", [path], { encoding: "utf8" });
    for (const [library] of linked.matchAll(/\/\S+/g)) files[library] ??= readFileSync(library);
  }
  return files;
}
