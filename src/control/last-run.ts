/** What the last run that ended was denied, kept beside the control sockets for `sluice policy suggest --from last`. */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { makeRunDirectory, runDirectory } from "./run-directory.ts";
import { policyDenialSchema } from "./schema.ts";

const FILE = "last-denials.json";
const OWNER_ONLY = 0o600;

const lastRunSchema = z.strictObject({
  /** As YAML. */
  policy: z.string(),
  denials: z.array(policyDenialSchema),
});

export type LastRun = z.infer<typeof lastRunSchema>;

/** Keeps it. False where this user has no run directory, or it cannot be written. */
export function keepLastRun(run: LastRun, env: NodeJS.ProcessEnv): boolean {
  const directory = runDirectory(env);
  if (directory === undefined) return false;
  try {
    makeRunDirectory(directory);
    const path = join(directory, FILE);
    const unfinished = `${path}.${process.pid}`;
    writeFileSync(unfinished, `${JSON.stringify(run)}\n`, { mode: OWNER_ONLY });
    renameSync(unfinished, path);
    return true;
  } catch {
    return false;
  }
}

/** What is kept, or undefined. */
export function lastRun(env: NodeJS.ProcessEnv): LastRun | undefined {
  const directory = runDirectory(env);
  if (directory === undefined) return undefined;
  try {
    const result = lastRunSchema.safeParse(JSON.parse(readFileSync(join(directory, FILE), "utf8")));
    return result.success ? result.data : undefined;
  } catch {
    return undefined;
  }
}
