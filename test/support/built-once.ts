/** The project built of its sources as they are, once for all tests of a run: two builds at a time write the same files. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PROJECT_ROOT } from "./project-root.ts";

/** Resolves with the build's status. */
export async function builtOnce(): Promise<number> {
  // The tests' processes of a run have one parent, whose number comes again one day: hence the time of its start (proc(5)).
  const stat = readFileSync(`/proc/${process.ppid}/stat`, "utf8");
  const startedAt = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  const place = join(tmpdir(), `sluice-built-${process.ppid}-${startedAt}`);
  const status = join(place, "0");
  try {
    mkdirSync(place);
  } catch {
    for (let n = 0; n < 1000 && !existsSync(status); n++) await new Promise((next) => setTimeout(next, 100));
    return existsSync(status) ? 0 : 1;
  }
  const built = spawnSync(process.execPath, ["src/build/bootstrap.mjs", "build"], { cwd: PROJECT_ROOT });
  if (built.status === 0) writeFileSync(status, "");
  return built.status ?? 1;
}
