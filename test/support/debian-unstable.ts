/**
 * Programs of Debian unstable, unpacked (not installed) in a directory of this user's under /var/tmp, so that they are
 * fetched once. Nothing of this machine's changes.
 */
import { type ExecFileSyncOptions, execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { keptDirectory } from "./kept-directory.ts";

const FETCH_MS = 240_000;
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

export function fetching(cwd: string): ExecFileSyncOptions {
  return { cwd, stdio: ["ignore", "pipe", "pipe"], timeout: FETCH_MS };
}

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

/** apt-get with directories of its own in `at`, for Debian unstable. */
function apt(at: string, ...args: string[]): void {
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
export function unpackUnstable(into: string, name: string): void {
  const at = join(into, "apt");
  for (const directory of [
    "state/lists/partial",
    "cache/archives/partial",
    "etc/apt.conf.d",
    "etc/preferences.d",
  ])
    mkdirSync(join(at, directory), { recursive: true });
  writeFileSync(join(at, "status"), "");
  writeFileSync(join(at, "etc/sources.list"), `deb [signed-by=${KEYRING}] ${mirror()} sid main\n`);
  apt(at, "update");
  apt(at, "install", "-y", "--download-only", name);
  const archives = listing(join(at, "cache/archives")).filter((path) => path.endsWith(".deb"));
  for (const archive of archives) execFileSync("dpkg-deb", ["-x", archive, into], fetching(into));
  rmSync(at, { recursive: true });
}
