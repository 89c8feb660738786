/**
 * The files that this Node reads before its first line of JavaScript, found out from the Node that runs: it is the one
 * that the confined process becomes. Distributions build Node of libraries, and of JavaScript, that lie elsewhere.
 */
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { delimiter, normalize, resolve } from "node:path";

/** How Node was built (`config.gypi` of its sources); Node's types know little of it. */
interface BuildConfig {
  readonly target_defaults?: { readonly defines?: readonly string[] };
  readonly variables?: { readonly icu_gyp_path?: string; readonly icu_default_data?: string };
}

export interface NodeFiles {
  /** The program, its shared libraries, the loader. */
  readonly executable: string[];
  readonly readable: string[];
}

/** Shared libraries as the loader asked for them, its own path among them. */
function sharedLibraries(): string[] {
  // Without the flag (Node 22 and up) a report resolves the names of connected peers.
  (process.report as { excludeNetwork?: boolean }).excludeNetwork = true;
  const report = process.report.getReport() as { sharedObjects?: readonly string[] };
  return (report.sharedObjects ?? [])
    .filter((path) => path.startsWith("/") && !path.endsWith(".node"))
    .map((path) => normalize(path));
}

/** What the loader finds libraries by: glibc's cache; musl's list, named by the architecture as the loader is. */
function loaderFiles(libraries: readonly string[]): string[] {
  const musl = libraries.flatMap((path) => /\/(ld-musl-[^/]+)\.so\.1$/.exec(path)?.[1] ?? []);
  return ["/etc/ld.so.cache", ...musl.map((name) => `/etc/${name}.path`)];
}

/** Built-in modules that were left out of the program (configure's --shared-builtin-...-path). */
function externalBuiltins({ target_defaults }: BuildConfig): string[] {
  const defines = target_defaults?.defines ?? [];
  return defines.flatMap((define) => /^NODE_SHARED_BUILTIN_\w+_PATH="?(\/[^"]+)"?$/.exec(define)?.[1] ?? []);
}

/** ICU's data: in the program, in a library, or a file that ICU maps when it starts. */
function icuData({ variables }: BuildConfig): string[] {
  const separate = variables?.icu_default_data ? [variables.icu_default_data] : [];
  if (variables?.icu_gyp_path?.endsWith("icu-system.gyp") !== true) return separate;
  const mapped = readFileSync("/proc/self/maps", "latin1").match(/\/\S+\/icudt[^/\s]*\.dat$/gm) ?? [];
  return [...separate, ...new Set(mapped)];
}

/** Everything that this Node is known to need. */
export function nodeFiles(): NodeFiles {
  const config = process.config as unknown as BuildConfig;
  const libraries = sharedLibraries();
  const exists = (path: string): boolean => existsSync(path);
  return {
    executable: [realpathSync(process.execPath), ...libraries.filter(exists)],
    readable: [...loaderFiles(libraries), ...externalBuiltins(config), ...icuData(config)].filter(exists),
  };
}

/** LD_LIBRARY_PATH as it means the same from another working directory; empty entries are this one. */
export function absoluteLibraryPath(path: string): string {
  return path
    .split(/[:;]/)
    .map((directory) => resolve(directory))
    .join(delimiter);
}
