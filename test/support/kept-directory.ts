/** Where tests keep what takes long to fetch or to make. */
import { existsSync, mkdirSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A directory that outlives the run, and that only this user, or only root, can have written. */
export function keptDirectory(name: string): string {
  const uid = process.geteuid!();
  const path = join(existsSync("/var/tmp") ? "/var/tmp" : tmpdir(), `sluice-${name}-${uid}`);
  mkdirSync(path, { recursive: true, mode: 0o755 });
  if (statSync(path).uid !== uid) throw new Error(`${path} belongs to somebody else`);
  return path;
}
