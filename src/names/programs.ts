/** The programs that sluice can stand in for. */
import { PASST } from "./passt.ts";
import { PASTA } from "./pasta.ts";
import { PESTO } from "./pesto.ts";
import { SLIRP4NETNS } from "./slirp4netns.ts";
import type { Program } from "./words.ts";

export const PROGRAMS: readonly Program[] = [SLIRP4NETNS, PASST, PASTA, PESTO];

export const PROGRAM_NAMES: readonly string[] = PROGRAMS.map(({ name }) => name);

export function findProgram(name: string): Program | undefined {
  return PROGRAMS.find((program) => program.name === name);
}
