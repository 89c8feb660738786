/** A module of the user's own, to run in this process. */
import { spawnSync } from "node:child_process";
import { realpathSync, type Stats, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Unacceptable } from "../../config/unacceptable.ts";
import { programLoader } from "./code-caches.ts";

const WRITABLE_BY_ALL = 0o002;
const WRITABLE_BY_GROUP = 0o020;
const STICKY = 0o1000;
/** How long it may take to load, milliseconds. */
const LOAD_MS = 10_000;

export interface UserModule {
  /** What it exports by default. */
  readonly exported: unknown;
  /** Who else can change it, as sentences. */
  readonly warnings: readonly string[];
}

/** Loads the module in the file at `path`, ESM or CommonJS. Throws Unacceptable where it cannot be had or trusted. */
export async function loadUserModule(path: string): Promise<UserModule> {
  const warnings = writersOf(path);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const seconds = LOAD_MS / 1000;
    timer = setTimeout(() => reject(new Error(`it did not end within ${seconds} seconds`)), LOAD_MS);
  });
  try {
    const url = pathToFileURL(resolve(path)).href;
    const module = await Promise.race([programLoader().importModule(url), late]);
    return { exported: defaultOf(module), warnings };
  } catch (error) {
    throw new Unacceptable(`a module that loads (${whatFailed(path, error)})`);
  } finally {
    clearTimeout(timer);
  }
}

/** Who else can change the file, or put another in its place. Throws Unacceptable where everybody can. */
function writersOf(path: string): string[] {
  let file: Stats;
  let directory: Stats;
  try {
    const real = realpathSync(path);
    file = statSync(real);
    directory = statSync(dirname(real));
  } catch (error) {
    throw new Unacceptable(`a file that can be read (${(error as Error).message})`);
  }
  if (!file.isFile()) throw new Unacceptable("a file");
  return [...othersOf(file, "it", "its"), ...othersOf(directory, "its directory", "its directory's")];
}

function othersOf(stats: Stats, it: string, its: string): string[] {
  const { uid, mode } = stats;
  // In a sticky directory files are their owners'.
  const isShared = !stats.isDirectory() || (mode & STICKY) === 0;
  if (isShared && (mode & WRITABLE_BY_ALL) !== 0) {
    const where = stats.isDirectory() ? "in a directory that" : "that";
    throw new Unacceptable(
      `a file ${where} not everybody can write: who can runs what he likes as this user`,
    );
  }
  return [
    ...(uid === process.geteuid?.() || uid === 0
      ? []
      : [`${it} belongs to user ${uid}, who can change the module`]),
    ...(isShared && (mode & WRITABLE_BY_GROUP) !== 0 ? [`${its} group can change the module`] : []),
  ];
}

/** Of CommonJS that was ESM once, the default export is one of its exports. */
function defaultOf(module: Readonly<Record<string, unknown>>): unknown {
  const { default: exported } = module;
  const inner = exported as { readonly __esModule?: unknown; readonly default?: unknown } | null | undefined;
  return typeof exported === "object" && inner?.__esModule === true ? inner.default : exported;
}

/** One line, with the place where that is a mistake in the file's syntax. */
function whatFailed(path: string, error: unknown): string {
  if (!(error instanceof Error)) return String(error).split("\n")[0] ?? "";
  const [message] = `${error.name}: ${error.message}`.split("\n");
  const line = error instanceof SyntaxError ? lineOf(path) : undefined;
  return line === undefined ? `${message}` : `${message}, line ${line}`;
}

/** Node tells the place of a syntax error only to standard error. */
function lineOf(path: string): string | undefined {
  const { stderr } = spawnSync(process.execPath, ["--check", path], { encoding: "utf8", timeout: LOAD_MS });
  return /^(?:file:\/\/)?\/.*:(\d+)\n/.exec(stderr)?.[1];
}
