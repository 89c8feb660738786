/** `sluice names`: what is installed under other programs' names, putting it there, and taking it back. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { delimiter, dirname, isAbsolute, join, resolve } from "node:path";
import { quote } from "../config/problem.ts";
import { helperPath, launcherPath, packageRoot } from "../host/native/native-loader.ts";
import { makeCodeCaches, removeOwnCodeCaches } from "../host/process/code-caches.ts";
import { startedView } from "../host/process/started-view.ts";
import { ownVersion } from "../host/version.ts";
import {
  InstallationError,
  type Installed,
  inspect,
  install,
  remove,
  withInstalled,
} from "../names/installation.ts";
import { findProgram, PROGRAM_NAMES, PROGRAMS } from "../names/programs.ts";
import { writeText } from "../supervisor/log.ts";
import { EXIT_FAILED, EXIT_USAGE } from "./start-problem.ts";

const HELP = `Usage: sluice names
       sluice names install [DIRECTORY [NAME...]]
       sluice names remove [DIRECTORY]

Lets sluice stand in for other programs: ${PROGRAM_NAMES.join(", ")}. Programs that start one of them by
its name find sluice when DIRECTORY comes first where they look. Without a command: what is installed, and where.

DIRECTORY is made if need be (default: ~/.local/share/sluice/names; for root /usr/local/lib/sluice/names). Without
NAMEs all are installed; installing again brings them up to date. Nothing but what was installed is removed.
Installing also makes the code caches that starts with this Node are faster by, in the package's directory or, for who may
not write there, in the user's cache; the last remove takes the user's away.

Options:
  -h, --help     this text
`;

/** The user's directory of this kind (XDG Base Directory Specification). */
function userDirectory(variable: string, usual: string): string {
  const given = process.env[variable] ?? "";
  return join(isAbsolute(given) ? given : join(homedir(), usual), "sluice");
}

function defaultDirectory(): string {
  return process.geteuid?.() === 0
    ? "/usr/local/lib/sluice/names"
    : join(userDirectory("XDG_DATA_HOME", ".local/share"), "names");
}

/** Where it is noted which directories have names, one to a line. */
function listFile(): string {
  return process.geteuid?.() === 0 && !isAbsolute(process.env["XDG_STATE_HOME"] ?? "")
    ? "/var/lib/sluice/names"
    : join(userDirectory("XDG_STATE_HOME", ".local/state"), "names");
}

function listed(): string[] {
  try {
    return readFileSync(listFile(), "utf8")
      .split("\n")
      .filter((line) => line !== "");
  } catch {
    return [];
  }
}

/** Notes the directories with names; none leaves no note. One that cannot be noted is still found in PATH. */
function note(directories: readonly string[]): void {
  try {
    if (directories.length === 0) {
      rmSync(listFile(), { force: true });
      removeEmpty(dirname(listFile()));
      return;
    }
    mkdirSync(dirname(listFile()), { recursive: true });
    writeFileSync(listFile(), directories.map((directory) => `${directory}\n`).join(""));
  } catch (error) {
    writeText(2, `sluice names: ${(error as Error).message}\n`);
  }
}

/** Everything installed in directories that are noted or in PATH. */
function installations(): Installed[] {
  const path = (process.env["PATH"] ?? "").split(delimiter).filter((directory) => isAbsolute(directory));
  return [...new Set([...listed(), defaultDirectory(), ...path])].flatMap(
    (directory) => inspect(directory, PROGRAM_NAMES) ?? [],
  );
}

function show(): number {
  const all = installations();
  if (all.length === 0) writeText(1, "nothing is installed (sluice names install)\n");
  for (const { directory, names, script } of all) {
    const starts = script === undefined ? "damaged; install it again" : script;
    writeText(
      1,
      `${directory}: ${names.join(", ") || "no name"}\n  starts   ${starts}\n  take back: sluice names remove ${directory}\n`,
    );
  }
  return 0;
}

function installInto(directory: string, names: readonly string[]): number {
  const unknown = names.filter((name) => findProgram(name) === undefined);
  if (unknown.length > 0) {
    writeText(2, `sluice names: found ${quote(unknown.join(" "))}; allowed: ${PROGRAM_NAMES.join(", ")}\n`);
    return EXIT_USAGE;
  }
  const asked = names.length === 0 ? PROGRAMS : names.flatMap((name) => findProgram(name) ?? []);
  const programs = withInstalled(directory, asked, PROGRAMS);
  install(directory, programs, {
    launcher: launcherPath(),
    node: realpathSync(process.execPath),
    script: join(packageRoot(), "src", "cli", "sluice.cjs"),
    helper: helperPath(),
    view: startedView(),
    version: ownVersion(),
  });
  note([...new Set([...listed(), directory])]);
  writeText(1, `${directory}: ${programs.map(({ name }) => name).join(", ")}\n`);
  const problem = makeCodeCaches();
  if (problem !== undefined)
    writeText(2, `sluice names: starts will take longer, without code caches: ${problem}\n`);
  return 0;
}

/** Removes a directory of ours that holds nothing any more. */
function removeEmpty(directory: string): void {
  if (existsSync(directory) && readdirSync(directory).length === 0) rmdirSync(directory);
}

function removeFrom(directory: string): number {
  const names = remove(directory, PROGRAM_NAMES);
  if (directory === defaultDirectory() && !existsSync(directory)) removeEmpty(dirname(directory));
  const left = listed().filter((other) => other !== directory);
  if (left.length !== listed().length) note(left);
  if (left.length === 0) removeOwnCodeCaches();
  writeText(1, `${directory}: ${names.join(", ") || "no name"} removed\n`);
  return 0;
}

/** Runs `sluice names ARGV`. Returns the exit status. */
export async function namesCommand(argv: readonly string[]): Promise<number> {
  const [verb, directory, ...names] = argv;
  if (verb === undefined) return show();
  if (verb === "--help" || verb === "-h" || verb === "help") {
    writeText(1, HELP);
    return 0;
  }
  const asked = resolve(directory ?? defaultDirectory());
  try {
    if (verb === "install") return installInto(asked, names);
    if (verb === "remove" && names.length === 0) return removeFrom(asked);
  } catch (error) {
    const expected =
      error instanceof InstallationError || (error as NodeJS.ErrnoException).syscall !== undefined;
    if (!expected) throw error;
    writeText(2, `sluice names: ${(error as Error).message}\n`);
    return EXIT_FAILED;
  }
  writeText(
    2,
    `sluice names: found ${quote(argv.join(" "))}; allowed: install [DIRECTORY [NAME...]] or remove [DIRECTORY]\n`,
  );
  return EXIT_USAGE;
}
