/**
 * Raw sockets for a guest, by the package raw-socket. Packages are installed without running their scripts, so its part
 * in C++ is built by the first test that wants it.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { PROJECT_ROOT } from "./project-root.ts";

const BINARY = join(PROJECT_ROOT, "node_modules/raw-socket/build/Release/raw.node");

export const RAW_SENDER = join(PROJECT_ROOT, "test/support/guest-programs/raw-sender.cjs");

/** Builds the package where it is not built. Returns what was in the way, or nothing. */
export function buildRawSocket(): string | undefined {
  if (existsSync(BINARY)) return undefined;
  const args = ["rebuild", "raw-socket", "--ignore-scripts=false", "--foreground-scripts"];
  const { status, stderr, error } = spawnSync("npm", args, {
    cwd: PROJECT_ROOT,
    encoding: "utf8",
    timeout: 300_000,
  });
  if (error !== undefined) return error.message;
  if (existsSync(BINARY)) return undefined;
  return `npm rebuild raw-socket ended with ${status}: ${stderr.trim().split("\n").slice(-3).join("; ")}`;
}
