/** V8's code caches of dist/program, for the Node that runs: where they are of a user who cannot write there, and making them. */
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";
import { packageRoot } from "../native/native-loader.ts";

/** `src/build/program-loader.cjs`, typed. */
interface ProgramLoader {
  trustedPlace(directory: string): string | undefined;
  removeOwnCaches(directory: string): void;
  importModule(url: string): Promise<Readonly<Record<string, unknown>>>;
}

const require = createRequire(import.meta.url);

function programDirectory(): string {
  return join(packageRoot(), "dist", "program");
}

function loaderPath(): string {
  return join(programDirectory(), "program-loader.js");
}

export function programLoader(): ProgramLoader {
  return require(loaderPath()) as ProgramLoader;
}

/** The directory with this user's own caches, if there is one that nobody else can write in. */
export function ownCodeCaches(): string | undefined {
  return programLoader().trustedPlace(programDirectory());
}

/**
 * Makes the caches that this Node lacks, in the program's directory or else in the user's cache. Returns why that was not
 * possible, in a sentence; without caches everything works, a little later.
 */
export function makeCodeCaches(): string | undefined {
  // They are to be good for starts without flags of somebody's own.
  const env = { ...process.env, NODE_OPTIONS: "" };
  const { status, signal, stderr, error } = spawnSync(process.execPath, [loaderPath()], {
    encoding: "utf8",
    env,
  });
  if (status === 0) return undefined;
  return error?.message ?? (stderr.trim() || `the program that makes them ended with ${signal ?? status}`);
}

/** Removes what is in the user's cache of them. Those in the program's directory go with the program. */
export function removeOwnCodeCaches(): void {
  programLoader().removeOwnCaches(programDirectory());
}
