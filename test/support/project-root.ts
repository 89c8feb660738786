/** Where the project is, for files that run as they are and compiled (then from dist/). */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

function find(directory: string): string {
  if (existsSync(join(directory, "package.json"))) return directory;
  const parent = dirname(directory);
  if (parent === directory) throw new Error("these files are not inside the project");
  return find(parent);
}

export const PROJECT_ROOT = find(dirname(fileURLToPath(import.meta.url)));
