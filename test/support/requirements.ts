/**
 * What a test needs of the machine. A test whose needs are not met is skipped, and says so on stderr: a silent
 * skip would pass for a success. With SLUICE_REQUIRE_ALL=1 it fails instead.
 */
import { spawnSync } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join } from "node:path";

export interface Needs {
  /** The effective user is root. */
  readonly root?: boolean;
  /** TUN_DEVICE can be opened by this user. */
  readonly tun?: boolean;
  /** An unprivileged user namespace with a network namespace can be made. */
  readonly userNamespaces?: boolean;
  /** Programs looked up in PATH and the sbin directories. */
  readonly commands?: readonly string[];
  /** Files or directories that exist and can be read. */
  readonly files?: readonly string[];
}

/** The part of a vitest test context that is used here. */
interface Skippable {
  readonly task: { readonly name: string };
  skip(note?: string): never;
}

const BINARY_DIRECTORIES = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/** The full path of a program, or undefined. */
export function findCommand(name: string): string | undefined {
  const directories = [
    ...(process.env["PATH"] ?? "").split(delimiter).filter(Boolean),
    ...BINARY_DIRECTORIES,
  ];
  return directories
    .map((directory) => join(directory, name))
    .find((path) => canAccess(path, constants.X_OK));
}

function canAccess(path: string, mode: number): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
}

function isCharacterDevice(path: string): boolean {
  return canAccess(path, constants.R_OK | constants.W_OK) && statSync(path).isCharacterDevice();
}

let userNamespaces: boolean | undefined;

function canMakeUserNamespace(): boolean {
  userNamespaces ??= spawnSync("unshare", ["--user", "--map-root-user", "--net", "true"]).status === 0;
  return userNamespaces;
}

/**
 * The clone device for TAPs. Root's run of the suite as another user makes one that everybody may open and names it,
 * where /dev/net/tun is for root alone.
 */
export const TUN_DEVICE = process.env["SLUICE_TEST_TUN"] ?? "/dev/net/tun";

/** What is missing, in words; empty when nothing is. */
export function missing(needs: Needs): string[] {
  const lacks: string[] = [];
  if (needs.root && process.geteuid?.() !== 0) lacks.push("root");
  if (needs.tun && !isCharacterDevice(TUN_DEVICE)) lacks.push(`read and write access to ${TUN_DEVICE}`);
  if (needs.userNamespaces && !canMakeUserNamespace()) lacks.push("unprivileged user namespaces");
  for (const command of needs.commands ?? []) {
    if (findCommand(command) === undefined) lacks.push(`the program ${command}`);
  }
  for (const file of needs.files ?? []) if (!canAccess(file, constants.R_OK)) lacks.push(`the file ${file}`);
  return lacks;
}

/**
 * Call it first in a test: `it("…", (context) => { needs(context, { root: true }); … })`. Returns when the machine
 * has everything, else skips the test loudly, or throws when SLUICE_REQUIRE_ALL=1 and more than root is missing.
 */
export function needs(context: Skippable, wanted: Needs): void {
  const lacks = missing(wanted);
  if (lacks.length === 0) return;
  const reason = `needs ${lacks.join(" and ")}`;
  // Not being root is what one of the suite's two runs is about.
  const failure = lacks.some((lack) => lack !== "root");
  if (failure && process.env["SLUICE_REQUIRE_ALL"] === "1")
    throw new Error(`${context.task.name}: ${reason}`);
  process.stderr.write(`SKIPPED ${context.task.name}: ${reason}\n`);
  context.skip(reason);
}
