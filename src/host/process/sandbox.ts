/**
 * Starts an engine process with only what it needs: the helper narrows itself (helper-confine.c), then becomes Node.
 *
 * What the process may see, and why: the node binary, its shared libraries and the loader's cache (read before the
 * first line of JavaScript runs), sluice's own compiled files, /dev/null and /dev/urandom, its own /proc entry
 * (memoryUsage), a directory that holds a copy of the host's resolv.conf, and what the caller adds. Nothing of it
 * can be written but what the caller says. There is no /etc, no home, no other process.
 *
 * The copy is kept current from here, so that a resolv.conf that is replaced by rename, or is a link somewhere else,
 * needs no view of the directories it passes through.
 *
 * The engine adds the last wall itself once it has loaded: `native.applySeccomp()`.
 */
import type { ChildProcess, SpawnOptions } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, normalize } from "node:path";
import { CAP_NET_BIND_SERVICE, CAP_SYS_ADMIN, NOBODY } from "../native/linux.ts";
import { addonPath, packageRoot } from "../native/native-loader.ts";
import { PathWatch } from "../path-watch.ts";
import { RESOLV_CONF } from "../resolv-conf.ts";
import {
  type Channel,
  FIRST_CHANNEL,
  HelperError,
  type HelperNote,
  hasCapability,
  runHelper,
} from "./helper.ts";

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
  /** The resolv.conf to follow; the host's by default. */
  readonly resolvConf?: string;
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
  /** Where the process finds the copy of resolv.conf. */
  readonly resolvConf: string;
}

// --- what Node needs ---------------------------------------------------------------------------------------------

interface View {
  readonly read: string[];
  readonly execute: string[];
  readonly write: string[];
  readonly device: string[];
}

/** Shared libraries as the loader asked for them, its own path among them. */
function sharedLibraries(): string[] {
  // Without the flag (Node 22 and up) a report resolves the names of connected peers.
  (process.report as { excludeNetwork?: boolean }).excludeNetwork = true;
  const report = process.report.getReport() as { sharedObjects?: readonly string[] };
  return (report.sharedObjects ?? [])
    .filter((path) => path.startsWith("/") && !path.endsWith(".node") && existsSync(path))
    .map((path) => normalize(path));
}

function packageView(root: string): Pick<View, "read" | "execute"> {
  const shim = join(root, "native-shims");
  const addon = dirname(addonPath());
  return {
    read: [join(root, "package.json"), join(root, "dist", "src"), join(root, "dist", "program")].filter(
      (path) => existsSync(path),
    ),
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

function viewFor(request: ConfinedRequest, resolvDirectory: string): View {
  const own = packageView(packageRoot());
  const cache = ["/etc/ld.so.cache"].filter((path) => existsSync(path));
  return {
    read: [...own.read, ...cache, resolvDirectory, ...asked(request.readable)],
    execute: [
      realpathSync(process.execPath),
      ...sharedLibraries(),
      ...own.execute,
      ...asked(request.executable),
    ],
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

// --- the walls ---------------------------------------------------------------------------------------------------

function userArgs(request: ConfinedRequest): string[] {
  if (request.user) return ["--user", `${request.user.uid}:${request.user.gid}`];
  return process.geteuid!() === 0 ? ["--user-if-mapped", `${NOBODY}:${NOBODY}`] : [];
}

/** The helper's arguments up to the command. */
function confinementArgs(request: ConfinedRequest, resolvDirectory: string): string[] {
  if (request.mode === "off") return [];
  const args = [
    "--confine",
    "--view-process",
    ...viewArgs(viewFor(request, resolvDirectory)),
    ...userArgs(request),
  ];
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
  const passed = ["HOME", "XDG_CACHE_HOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "TERM", "NO_COLOR"];
  const env: NodeJS.ProcessEnv = { OPENSSL_CONF: "" };
  for (const name of passed) if (process.env[name] !== undefined) env[name] = process.env[name];
  return { ...env, ...request.env };
}

// --- the resolver's directory ------------------------------------------------------------------------------------

/** A directory with a copy of `source` that follows its changes, each put in place by a rename. */
function mirrorResolvConf(source: string): { directory: string; path: string; stop(): void } {
  const directory = mkdtempSync(join(tmpdir(), "sluice-"));
  const path = join(directory, "resolv.conf");
  const update = (): void => {
    const next = `${path}.new`;
    try {
      copyFileSync(source, next);
    } catch {
      // There is none at the moment, which means the same as an empty one.
      writeFileSync(next, "");
    }
    chmodSync(next, 0o644);
    renameSync(next, path);
  };
  update();
  chmodSync(directory, 0o755);
  const watch = new PathWatch(source, update);
  const stop = (): void => {
    process.removeListener("exit", stop);
    watch.close();
    rmSync(directory, { recursive: true, force: true });
  };
  // A caller that leaves by process.exit never sees the child's end.
  process.once("exit", stop);
  return { directory, path, stop };
}

/**
 * Starts `script` confined. Returns at once; throws HelperError or ShimError when the helper cannot be run at all.
 * The process and its resolver directory go away with each other.
 */
export function spawnConfined(request: ConfinedRequest): ConfinedProcess {
  const mirror = mirrorResolvConf(request.resolvConf ?? RESOLV_CONF);
  try {
    const command = [process.execPath, request.script, ...(request.args ?? [])];
    const run = runHelper([...confinementArgs(request, mirror.directory), "--", ...command], {
      stdio: request.stdio ?? ["ignore", "ignore", "inherit"],
      channels: request.channels ?? [],
      env: environment(request),
    });
    run.child.once("exit", mirror.stop);
    run.child.once("error", mirror.stop);
    const started = run.wait(() => false).then(() => run.status.notes);
    // Whoever looks only at the child's end must not be killed by a rejection nobody waits for.
    started.catch(() => {});
    return { child: run.child, started, resolvConf: mirror.path };
  } catch (error) {
    mirror.stop();
    throw error;
  }
}
