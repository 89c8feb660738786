/**
 * Packages of Debian unstable, unpacked (not installed) with all that they need, for tests of what Debian stable has not
 * got yet. Kept in a directory of this user's under /var/tmp, so that they are fetched once.
 */
import { type ExecFileSyncOptions, execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { TestContext } from "vitest";
import { keptDirectory } from "./kept-directory.ts";

const FETCH_MS = 240_000;

/** Makes `name` below the kept directory whole, by `fetch`, unless it is there. Throws with what could not be had. */
export function kept(name: string, fetch: (into: string) => void): string {
  const path = join(keptDirectory("nodes"), name);
  if (existsSync(path)) return path;
  const into = `${path}.${process.pid}`;
  mkdirSync(into, { recursive: true });
  try {
    fetch(into);
    renameSync(into, path);
  } finally {
    rmSync(into, { recursive: true, force: true });
  }
  return path;
}

/** How programs that fetch are run. */
export function fetching(cwd: string): ExecFileSyncOptions {
  return { cwd, stdio: ["ignore", "pipe", "pipe"], timeout: FETCH_MS };
}

/** A mirror of Debian: the one that this machine gets its packages from, or debootstrap's own, on another distribution. */
function mirror(): string {
  const sources = ["/etc/apt/sources.list", ...listing("/etc/apt/sources.list.d"), "/usr/sbin/debootstrap"];
  const text = sources.filter((path) => existsSync(path)).map((path) => readFileSync(path, "utf8"));
  const found = /https?:\/\/[^\s"]+\/debian\/?(?=[\s"]|$)/m.exec(text.join("\n").replace(/^ *#.*$/gm, ""));
  if (found === null) throw new Error("no mirror of Debian is known here (apt's sources, or debootstrap)");
  return found[0];
}

function listing(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory).map((name) => join(directory, name)) : [];
}

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** apt-get with directories of its own in `at`, for Debian unstable: nothing of this machine's changes. */
function unstable(at: string, ...args: string[]): void {
  const options = [
    `Dir::State=${at}/state`,
    `Dir::State::status=${at}/status`,
    `Dir::Cache=${at}/cache`,
    `Dir::Etc=${at}/etc`,
    "Acquire::Check-Valid-Until=false",
    "Acquire::Languages=none",
    "Acquire::Retries=3",
    "APT::Install-Recommends=false",
    "APT::Sandbox::User=",
    "Debug::NoLocking=1",
  ];
  execFileSync("apt-get", ["-qq", ...options.flatMap((option) => ["-o", option]), ...args], fetching(at));
}

/** Unpacks a package of Debian unstable and what it needs. */
export function unpackUnstable(name: string, into: string): void {
  const at = join(into, "apt");
  for (const each of ["state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"])
    mkdirSync(join(at, each), { recursive: true });
  writeFileSync(join(at, "status"), "");
  writeFileSync(join(at, "etc/sources.list"), `deb [signed-by=${KEYRING}] ${mirror()} sid main\n`);
  unstable(at, "update");
  unstable(at, "install", "-y", "--download-only", name);
  const archives = listing(join(at, "cache/archives")).filter((path) => path.endsWith(".deb"));
  for (const archive of archives) execFileSync("dpkg-deb", ["-x", archive, into], fetching(into));
  rmSync(at, { recursive: true });
  // base-files has them, which installing would need more of Debian for.
  for (const each of ["bin", "lib", "lib64", "sbin"])
    if (!existsSync(join(into, each))) symlinkSync(`usr/${each}`, join(into, each));
  for (const each of ["proc", "sys", "dev", "tmp", "old", "etc"])
    mkdirSync(join(into, each), { recursive: true });
}

/** What `fetch` gives; where it cannot be had the test is skipped, loudly, or fails under SLUICE_REQUIRE_ALL=1. */
export function fetched<T>(context: TestContext, what: string, fetch: () => T): T {
  try {
    return fetch();
  } catch (error) {
    const reason = `${what} cannot be had: ${(error as Error).message.trim().split("\n").at(-1)}`;
    if (process.env["SLUICE_REQUIRE_ALL"] === "1") throw new Error(reason);
    process.stderr.write(`SKIPPED ${context.task.name}: ${reason}\n`);
    return context.skip(reason);
  }
}
