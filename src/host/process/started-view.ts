/**
 * What a supervisor sees of the files that was started in a view of its own: what Node and it load, what it follows while it
 * runs (/etc and /run for resolv.conf), and what it starts the engine from, /proc for the ids of the engine's own user namespace. Noted at the installation of a name, since
 * whoever builds the view comes before Node (native-shims/launcher-view.c).
 */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { addonPath, cacheDirectory, helperPath, packageRoot } from "../native/native-loader.ts";
import { nodeFiles } from "./node-files.ts";

const READ = ["/etc", "/run"];
const WRITE = ["/proc"];
/** Programs and libraries of the system; elsewhere than in /usr they are links where it is merged. */
const EXECUTE = ["/usr", "/lib", "/lib32", "/lib64"];
const DEVICES = ["/dev/null", "/dev/urandom"];

function isBelow(path: string, directories: readonly string[]): boolean {
  return directories.some((directory) => path === directory || path.startsWith(`${directory}/`));
}

/** Lines of `KIND PATH`, a directory before what lies in it. */
export function startedView(): string[] {
  const node = nodeFiles();
  const cache = cacheDirectory();
  const programs = [packageRoot(), dirname(addonPath()), dirname(helperPath()), ...node.executable];
  const data = [...node.readable, ...(cache === undefined ? [] : [join(cache, "sluice")])];
  const system = [...READ, ...EXECUTE];
  const more = (kind: string, paths: readonly string[], among: readonly string[]): string[] =>
    [...new Set(paths)].filter((path) => !isBelow(path, among)).map((path) => `${kind} ${path}`);
  const lines = [
    ...READ.map((path) => `read ${path}`),
    ...WRITE.map((path) => `write ${path}`),
    ...EXECUTE.filter((path) => existsSync(path)).map((path) => `execute ${path}`),
    ...DEVICES.map((path) => `device ${path}`),
    ...more("execute", programs, system),
    ...more("read", data, [...system, packageRoot()]),
  ];
  const pathOf = (line: string): string => line.slice(line.indexOf(" ") + 1);
  return lines.sort((a, b) => (pathOf(a) < pathOf(b) ? -1 : 1));
}
