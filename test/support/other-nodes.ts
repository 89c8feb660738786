/**
 * Nodes other than the one that runs the tests: nodejs.org's of the next line, from npm, and Debian unstable's, built
 * against the distribution's libraries with some of its JavaScript outside, unpacked (not installed) in a tree that a
 * process enters as its root. Both are kept in a directory of this user's under /var/tmp, so that they are fetched once.
 *
 * SLUICE_TEST_NODE names another program to try in place of npm's; SLUICE_TEST_NODE_TREE a tree with one in /usr/bin.
 */
import { execFileSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { PROJECT_ROOT } from "./project-root.ts";
import { fetching, kept, unpackUnstable } from "./unstable-packages.ts";

const NEXT_LINE = 24;
const isRoot = process.geteuid!() === 0;

export interface OtherNode {
  /** What comes before the program's arguments. */
  readonly command: readonly string[];
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

/** A program in a tree, which it has as its root. */
function inTree(tree: string, program: string): readonly string[] {
  const namespaces = ["unshare", ...(isRoot ? [] : ["--user", "--map-root-user"]), "--mount"];
  return [...namespaces, "/bin/sh", "-c", ENTER, "sh", tree, PROJECT_ROOT, program];
}

/** A program of a package of Debian unstable, as what comes before its arguments. Throws when it cannot be had. */
export function unstableProgram(name: string, program: string): readonly string[] {
  return inTree(
    kept(`debian-unstable-${name}`, (into) => unpackUnstable(name, into)),
    program,
  );
}

/** Debian unstable's Node, in its tree. Throws when it cannot be had. */
export function unstableNode(): OtherNode {
  const given = process.env["SLUICE_TEST_NODE_TREE"];
  if (given !== undefined) return { command: inTree(given, "/usr/bin/node") };
  return { command: unstableProgram("nodejs", "/usr/bin/node") };
}
