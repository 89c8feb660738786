/** Where node_api.h is, for the addons of tests. */
import { existsSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

export function nodeHeaders(): string {
  const beside = join(dirname(dirname(realpathSync(process.execPath))), "include", "node");
  if (existsSync(join(beside, "node_api.h"))) return beside;
  const headers = createRequire(import.meta.url)("node-api-headers") as { include_dir: string };
  return headers.include_dir;
}
