/**
 * Nodes other than the one that runs the tests: nodejs.org's of the next line, from npm, and Debian unstable's, built
 * against the distribution's libraries with some of its JavaScript outside, unpacked (not installed) in a tree that a
 * process enters as its root. Both are kept in a directory of this user's under /var/tmp, so that they are fetched once.
 *
 * SLUICE_TEST_NODE names another program to try in place of npm's; SLUICE_TEST_NODE_TREE a tree with one in /usr/bin.
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
import { keptDirectory } from "./kept-directory.ts";
import { PROJECT_ROOT } from "./project-root.ts";

const NEXT_LINE = 24;
const FETCH_MS = 240_000;
const isRoot = process.geteuid!() === 0;

export interface OtherNode {
  /** What comes before the program's arguments. */
  readonly command: readonly string[];
}

/** Makes `name` below the kept directory whole, by `fetch`, unless it is there. Throws with what could not be had. */
function kept(name: string, fetch: (into: string) => void): string {
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

function fetching(cwd: string): ExecFileSyncOptions {
  return { cwd, stdio: ["ignore", "pipe", "pipe"], timeout: FETCH_MS };
}

/** nodejs.org's program of a line, from npm. Throws when it cannot be had. */
export function npmNode(line: number): string {
  const directory = kept(`npm-${line}-${process.arch}`, (into) => {
    execFileSync("npm", ["pack", "--silent", `node-linux-${process.arch}@${line}`], fetching(into));
    const [archive] = readdirSync(into);
    execFileSync("tar", ["xzf", archive, "package/bin/node"], fetching(into));
    rmSync(join(into, archive));
  });
  return join(directory, "package", "bin", "node");
}

/** The same of the next line, for every run of the tests. */
export function nextLine(): OtherNode {
  return { command: [process.env["SLUICE_TEST_NODE"] ?? npmNode(NEXT_LINE)] };
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

/** Unpacks Debian unstable's Node and what it needs. */
function unpackUnstable(into: string): void {
  const at = join(into, "apt");
  for (const name of ["state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"])
    mkdirSync(join(at, name), { recursive: true });
  writeFileSync(join(at, "status"), "");
  writeFileSync(join(at, "etc/sources.list"), `deb [signed-by=${KEYRING}] ${mirror()} sid main\n`);
  unstable(at, "update");
  unstable(at, "install", "-y", "--download-only", "nodejs");
  const archives = listing(join(at, "cache/archives")).filter((path) => path.endsWith(".deb"));
  for (const archive of archives) execFileSync("dpkg-deb", ["-x", archive, into], fetching(into));
  rmSync(at, { recursive: true });
  // base-files has them, which installing would need more of Debian for.
  for (const name of ["bin", "lib", "lib64", "sbin"])
    if (!existsSync(join(into, name))) symlinkSync(`usr/${name}`, join(into, name));
  for (const name of ["proc", "sys", "dev", "tmp", "old", "etc"])
    mkdirSync(join(into, name), { recursive: true });
}

/**
 * Enters the tree `$1` as a root of its own, with this project at its place, and becomes the rest. Not chroot, where user
 * namespaces are refused.
 */
const ENTER = `set -e
root=$1 project=$2; shift 2
mount --bind "$root" "$root"; cd "$root"
for place in proc sys dev; do mount --rbind /$place $place; done
mount -t tmpfs tmpfs tmp
mkdir -p "./$project"; mount --rbind "$project" "./$project"
pivot_root . old; cd /
exec "$@"`;

/** Debian unstable's Node, in its tree. Throws when it cannot be had. */
export function unstableNode(): OtherNode {
  const tree = process.env["SLUICE_TEST_NODE_TREE"] ?? kept("debian-unstable", unpackUnstable);
  const namespaces = ["unshare", ...(isRoot ? [] : ["--user", "--map-root-user"]), "--mount"];
  return { command: [...namespaces, "/bin/sh", "-c", ENTER, "sh", tree, PROJECT_ROOT, "/usr/bin/node"] };
}
