/**
 * Names in a directory: a link each to a launcher in a folder beside them, which has the texts and words of each and knows
 * where Node and sluice are. Nothing that is not ours is replaced or removed.
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { helpText, wordsText } from "./texts.ts";
import type { Program } from "./words.ts";

/** The folder, and the launcher in it. */
const FOLDER = ".sluice";
const LAUNCHER = "launcher";
const TARGET = join(FOLDER, LAUNCHER);

/** Where what a name becomes lies. */
export interface Place {
  readonly launcher: string;
  readonly node: string;
  readonly script: string;
  readonly helper: string;
  /** What a process that asks for a view of its own sees: lines of native-shims/launcher.c. */
  readonly view: readonly string[];
  readonly version: string;
}

/** What a directory holds of ours. */
export interface Installed {
  readonly directory: string;
  readonly names: readonly string[];
  /** The script that its names start; absent when the folder is damaged. */
  readonly script?: string;
}

/** Something else is in the way, or nothing of ours is there. */
export class InstallationError extends Error {
  override readonly name = "InstallationError";
}

function linkAt(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function isThere(path: string): boolean {
  return existsSync(path) || linkAt(path) !== undefined;
}

/** What is installed in `directory`, or undefined. */
export function inspect(directory: string, known: readonly string[]): Installed | undefined {
  const names = known.filter((name) => linkAt(join(directory, name)) === TARGET);
  if (names.length === 0 && !existsSync(join(directory, TARGET))) return undefined;
  let script: string | undefined;
  try {
    script = readFileSync(join(directory, FOLDER, "program"), "utf8").split("\n")[1];
  } catch {
    // Somebody has taken it away.
  }
  return { directory, names, ...(script === undefined ? {} : { script }) };
}

/** Those of `known` that `asked` names, and those that are in `directory` already: their texts are to be as new. */
export function withInstalled(
  directory: string,
  asked: readonly Program[],
  known: readonly Program[],
): readonly Program[] {
  const there =
    inspect(
      directory,
      known.map(({ name }) => name),
    )?.names ?? [];
  return known.filter((program) => asked.includes(program) || there.includes(program.name));
}

/**
 * Puts the names of `programs` into `directory`, which is made; again over what is there of ours. Throws InstallationError, or
 * the file system's error: then nothing is left of what was not there before.
 */
export function install(directory: string, programs: readonly Program[], place: Place): void {
  const taken = programs
    .map(({ name }) => join(directory, name))
    .filter((path) => isThere(path) && linkAt(path) !== TARGET);
  if (taken.length > 0) throw new InstallationError(`${taken.join(", ")}: there is something else already`);
  const folder = join(directory, FOLDER);
  const undo: (() => void)[] = [];
  try {
    const made = mkdirSync(directory, { recursive: true });
    if (made !== undefined) undo.push(() => rmSync(made, { recursive: true, force: true }));
    else if (!isThere(folder)) undo.push(() => rmSync(folder, { recursive: true, force: true }));
    mkdirSync(folder, { recursive: true });
    fill(folder, programs, place);
    for (const { name } of programs) {
      const path = join(directory, name);
      if (isThere(path)) continue;
      symlinkSync(TARGET, path);
      undo.push(() => unlinkSync(path));
    }
  } catch (error) {
    for (const each of undo.reverse()) each();
    throw error;
  }
}

/** The launcher, and what it knows. */
function fill(folder: string, programs: readonly Program[], place: Place): void {
  const write = (file: string, text: string): void =>
    replace(join(folder, file), (path) => writeFileSync(path, text));
  // A running launcher keeps its file; a new one is renamed over it.
  replace(join(folder, LAUNCHER), (path) => copyFileSync(place.launcher, path));
  write("program", `${place.node}\n${place.script}\n${place.helper}\n`);
  write("view", place.view.map((line) => `${line}\n`).join(""));
  for (const program of programs) {
    write(`${program.name}.help`, helpText(program));
    write(`${program.name}.version`, program.version(place.version));
    write(`${program.name}.words`, wordsText(program));
  }
}

function replace(path: string, write: (path: string) => void): void {
  const next = `${path}.new`;
  try {
    write(next);
    renameSync(next, path);
  } catch (error) {
    rmSync(next, { force: true });
    throw error;
  }
}

/** Takes back what `install` put there; the directory too when nothing else is in it. Throws InstallationError. */
export function remove(directory: string, known: readonly string[]): readonly string[] {
  const installed = inspect(directory, known);
  if (installed === undefined) throw new InstallationError(`${directory}: no names of sluice are there`);
  for (const name of installed.names) unlinkSync(join(directory, name));
  rmSync(join(directory, FOLDER), { recursive: true, force: true });
  if (readdirSync(directory).length === 0) rmdirSync(directory);
  return installed.names;
}
