/**
 * Starts an engine process with only what it needs: the helper narrows itself (helper-confine.c), then becomes Node.
 *
 * What the process may see, and why: what Node reads before the first line of JavaScript runs (node-files.ts),
 * sluice's own compiled files, /dev/null and /dev/urandom, its own /proc entry (memoryUsage), and what the caller adds.
 * Nothing of it can be written but what the caller says. There is no /etc, no home, no other process.
 *
 * The engine adds the last wall itself once it has loaded: `native.applySeccomp()`.
 */
import type { ChildProcess, SpawnOptions } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { CAP_NET_BIND_SERVICE, CAP_SYS_ADMIN, NOBODY } from "../native/linux.ts";
import { addonPath, cacheDirectory, packageRoot } from "../native/native-loader.ts";
import { ownCodeCaches } from "./code-caches.ts";
import {
  type Channel,
  FIRST_CHANNEL,
  HelperError,
  type HelperNote,
  hasCapability,
  runHelper,
} from "./helper.ts";
import { absoluteLibraryPath, nodeFiles } from "./node-files.ts";

/** The uid and gid that own nothing (Linux's overflow ids, `nobody` in most distributions). */

export interface ConfinedRequest {
  /** The program's main file and its arguments. */
  readonly script: string;
  readonly args?: readonly string[];
  /**
   * `strict`: what the kernel refuses is an error. `best-effort`: it is a note, and the rest is done. `off`: nothing
   * is narrowed; the process still dies with this one.
   */
  readonly mode: "strict" | "best-effort" | "off";
  /** By default the caller's, or `nobody` when that is root. */
  readonly user?: { readonly uid: number; readonly gid: number };
  /** Keep CAP_NET_BIND_SERVICE, if the caller has it, for forwards from ports under 1024. */
  readonly bindLowPorts?: boolean;
  /** More files and directories to read, to load code from, and to write to; absolute, existing. */
  readonly readable?: readonly string[];
  readonly executable?: readonly string[];
  readonly writable?: readonly string[];
  /** Standard input, output and error. */
  readonly stdio?: SpawnOptions["stdio"];
  /** Descriptors from 3 on; all others are closed. */
  readonly channels?: readonly Channel[];
  /** Added to the few variables that are passed on. */
  readonly env?: NodeJS.ProcessEnv;
}

export interface ConfinedProcess {
  /** Becomes Node; its stdio[3] and on are the channels. */
  readonly child: ChildProcess;
  /**
   * Settles when the walls stand and Node is started, with what the kernel refused (best-effort); rejects with a
   * HelperError.
   */
  readonly started: Promise<readonly HelperNote[]>;
  /** Whether a path is in the process's view, by itself or in a directory that is. */
  readonly sees: (path: string) => boolean;
}

// --- what the process sees ---------------------------------------------------------------------------------------

interface View {
  readonly read: string[];
  readonly execute: string[];
  readonly write: string[];
  readonly device: string[];
}

function packageView(root: string): Pick<View, "read" | "execute"> {
  const shim = join(root, "native-shims");
  const addon = dirname(addonPath());
  const caches = ownCodeCaches();
  const own = [join(root, "package.json"), join(root, "dist", "src"), join(root, "dist", "program")];
  return {
    read: [...own.filter((path) => existsSync(path)), ...(caches === undefined ? [] : [caches])],
    execute: addon.startsWith(shim) ? [shim] : [shim, addon],
  };
}

/** The caller's own paths; one that is missing would cost the whole view. */
function asked(paths: readonly string[] = []): readonly string[] {
  for (const path of paths) {
    if (!existsSync(path)) throw new HelperError("usage", `${path}: there is no such file or directory`);
  }
  return paths;
}

function viewFor(request: ConfinedRequest): View {
  const own = packageView(packageRoot());
  const node = nodeFiles();
  return {
    read: [...own.read, ...node.readable, ...asked(request.readable)],
    execute: [...node.executable, ...own.execute, ...asked(request.executable)],
    write: [...asked(request.writable)],
    device: ["/dev/null", "/dev/urandom"],
  };
}

function viewArgs(view: View): string[] {
  const entries = (["read", "execute", "write", "device"] as const).flatMap((kind) =>
    view[kind].map((path) => ({ kind, path })),
  );
  // A directory before what lies in it, or the one bound later would hide the other.
  entries.sort((a, b) => (a.path < b.path ? -1 : 1));
  return entries.flatMap(({ kind, path }) => [`--view-${kind}`, path]);
}

function isInView(view: View, path: string): boolean {
  return [...view.read, ...view.execute, ...view.write, ...view.device].some(
    (seen) => path === seen || path.startsWith(`${seen}/`),
  );
}

// --- the walls ---------------------------------------------------------------------------------------------------

function userArgs(request: ConfinedRequest): string[] {
  if (request.user) return ["--user", `${request.user.uid}:${request.user.gid}`];
  return process.geteuid!() === 0 ? ["--user-if-mapped", `${NOBODY}:${NOBODY}`] : [];
}

/** The helper's arguments up to the command. */
function confinementArgs(request: ConfinedRequest, view: View): string[] {
  const args = ["--confine", "--view-process", ...viewArgs(view), ...userArgs(request)];
  if (request.mode === "best-effort") args.push("--best-effort");
  if (!hasCapability(CAP_SYS_ADMIN)) args.push("--own-user-namespace");
  if (request.bindLowPorts && hasCapability(CAP_NET_BIND_SERVICE)) args.push("--keep-bind-service");
  const channels = (request.channels ?? []).map((_, index) => FIRST_CHANNEL + index);
  args.push("--keep-fds", channels.join(","));
  return args;
}

/**
 * Little of the environment passes: where the loader and sluice's own loader look, how text is to look. NODE_OPTIONS
 * does not (it may name files that are out of view). OpenSSL ends a process that may not read its configuration.
 */
function environment(request: ConfinedRequest): NodeJS.ProcessEnv {
  const passed = ["LANG", "LC_ALL", "TZ", "TERM", "NO_COLOR"];
  const env: NodeJS.ProcessEnv = { OPENSSL_CONF: "" };
  for (const name of passed) if (process.env[name] !== undefined) env[name] = process.env[name];
  const libraries = process.env["LD_LIBRARY_PATH"];
  if (libraries) env["LD_LIBRARY_PATH"] = absoluteLibraryPath(libraries);
  // Which may follow from the user database, and that is out of view.
  const cache = cacheDirectory();
  if (cache !== undefined) env["XDG_CACHE_HOME"] = cache;
  return { ...env, ...request.env };
}

/** Starts `script` confined. Returns at once; throws HelperError or ShimError when the helper cannot be run at all. */
export function spawnConfined(request: ConfinedRequest): ConfinedProcess {
  const view = request.mode === "off" ? undefined : viewFor(request);
  const command = [process.execPath, request.script, ...(request.args ?? [])];
  const run = runHelper([...(view ? confinementArgs(request, view) : []), "--", ...command], {
    stdio: request.stdio ?? ["ignore", "ignore", "inherit"],
    channels: request.channels ?? [],
    env: environment(request),
  });
  const started = run.wait(() => false).then(() => run.status.notes);
  // Whoever looks only at the child's end must not be killed by a rejection nobody waits for.
  started.catch(() => {});
  return { child: run.child, started, sees: (path) => view === undefined || isInView(view, path) };
}
