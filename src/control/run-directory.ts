/** Where the sockets of a user's instances are: $XDG_RUNTIME_DIR/sluice, for root /run/sluice. */
import { mkdirSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";

const SUFFIX = ".sock";
const OWNER_ONLY = 0o700;
const ROOT_RUN = "/run";

/** The directory, or undefined where this user has none. `env`: the environment. */
export function runDirectory(env: NodeJS.ProcessEnv): string | undefined {
  const { XDG_RUNTIME_DIR: own = "" } = env;
  if (own.startsWith("/")) return join(own, "sluice");
  return process.geteuid?.() === 0 ? join(ROOT_RUN, "sluice") : undefined;
}

export function socketPath(directory: string, name: string): string {
  return join(directory, `${name}${SUFFIX}`);
}

/** Makes the directory, for its owner alone, if its parent is there. Throws the file system's error. */
export function makeRunDirectory(directory: string): void {
  statSync(dirname(directory));
  mkdirSync(directory, { recursive: true, mode: OWNER_ONLY });
}

/** Names of the instances whose sockets are there, whether anybody serves them or not. */
export function instanceNames(directory: string | undefined): string[] {
  if (directory === undefined) return [];
  try {
    return readdirSync(directory)
      .filter((name) => name.endsWith(SUFFIX))
      .map((name) => name.slice(0, -SUFFIX.length))
      .sort();
  } catch {
    return [];
  }
}
