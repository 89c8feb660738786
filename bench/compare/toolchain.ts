/** What the comparison needs from the machine: compiled load programs, and the peers with their versions. */
import { execFileSync } from "node:child_process";
import { accessSync, constants, mkdirSync } from "node:fs";
import { delimiter, join } from "node:path";

const LOAD_PROGRAMS = [
  "netns",
  "tap-bridge",
  "vhost-bridge",
  "tcp-stream",
  "tcp-echo",
  "tcp-request",
  "tcp-hold",
  "udp-rate",
] as const;
/** The one that also runs inside a QEMU guest, where there is no C library. */
const STATIC_PROGRAM = "tcp-stream-static";
export type LoadProgram = (typeof LOAD_PROGRAMS)[number] | typeof STATIC_PROGRAM;

/** Paths of the compiled load programs. */
export type LoadPrograms = Readonly<Record<LoadProgram, string>>;

/** Compiles bench/compare/*.c into `directory`. Throws an Error that says what is missing. */
export function compileLoadPrograms(sources: string, directory: string): LoadPrograms {
  const compiler = process.env["CC"] ?? "cc";
  if (!findProgram(compiler)) {
    throw new Error(`No C compiler (${compiler}). On Debian: apt install gcc libc6-dev`);
  }
  mkdirSync(directory, { recursive: true });
  const paths: Partial<Record<LoadProgram, string>> = {};
  const compile = (name: LoadProgram, source: string, ...more: string[]): void => {
    const path = join(directory, name);
    const flags = ["-D_GNU_SOURCE", "-O2", "-Wall", "-pthread", ...more];
    execFileSync(compiler, [...flags, "-o", path, join(sources, source)], { stdio: ["ignore", 2, 2] });
    paths[name] = path;
  };
  for (const name of LOAD_PROGRAMS) compile(name, `${name}.c`);
  compile(STATIC_PROGRAM, "tcp-stream.c", "-static");
  return paths as LoadPrograms;
}

/** The path of a program: as given when it has a slash, else the first in PATH; undefined when there is none. */
export function findProgram(name: string): string | undefined {
  const candidates = name.includes("/")
    ? [name]
    : (process.env["PATH"] ?? "").split(delimiter).map((directory) => join(directory, name));
  // Not every user has the sbin directories in PATH.
  if (!name.includes("/")) candidates.push(join("/usr/sbin", name), join("/sbin", name));
  return candidates.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** The output of a command, both channels, or "" when it fails. */
export function outputOf(command: string, args: readonly string[]): string {
  try {
    return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    const output = error as { stdout?: string; stderr?: string };
    return `${output.stdout ?? ""}${output.stderr ?? ""}`;
  }
}

/**
 * The version a program gives of itself, on one line; where it says "unknown" (Debian's passt) the version of the
 * package that owns the file.
 */
export function versionOf(path: string, args: readonly string[]): string {
  const first = outputOf(path, args).split("\n")[0].trim();
  if (first !== "" && !/unknown/i.test(first)) return first;
  const owner = outputOf("dpkg-query", ["-S", path]).split(":")[0];
  const version = owner ? outputOf("dpkg-query", ["-W", owner]).trim().replace("\t", " ") : "";
  return version || first || "version unknown";
}
