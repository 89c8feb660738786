/**
 * Finds the native part, builds it where it is missing or does not match its sources, and loads it.
 *
 * It lies in `native-shims/build` of the package, or, when that directory cannot be written (a package root
 * installed), in a directory of the user's cache named by the fingerprint of the sources, or else is the one that came
 * with the package (`native-shims/prebuilt`). A file is taken only if the fingerprint compiled into it is that of the
 * sources here, or of those that the bundled program was built with, so an update never meets an old addon.
 */
import { accessSync, constants, existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Native } from "./calls.ts";

type Product = "addon" | "helper" | "launcher";

/** `native-shims/sources.cjs`, typed. */
interface Sources {
  readonly PRODUCTS: Readonly<Record<Product, { readonly output: string }>>;
  fingerprintOf(product: Product): string;
  isCurrent(path: string, fingerprint: string): boolean;
  prebuiltPath(product: Product): string;
  /** The user's cache, or undefined where there is no home. */
  cacheDirectory(): string | undefined;
}

/**
 * The native part cannot be had. `code`: SHIM_PACKAGE (the package's files are not all there), SHIM_BUILD (the
 * compiler is missing or refused), SHIM_DIRECTORY (nowhere to write it), SHIM_LOAD (built, but not loadable).
 */
class ShimError extends Error {
  override readonly name = "ShimError";

  constructor(
    readonly code: "SHIM_PACKAGE" | "SHIM_BUILD" | "SHIM_DIRECTORY" | "SHIM_LOAD",
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

const require = createRequire(import.meta.url);

/**
 * Fingerprints by product and architecture, put into the bundled program by its build (bundle.mjs): a start need not
 * hash the sources. Not there in dist/src.
 */
declare const SLUICE_FINGERPRINTS: Readonly<Record<string, string>>;

let foundRoot: string | undefined;

/**
 * The directory of sluice's package.json: code runs from src/ under vitest, from dist/src/ when built.
 * Throws ShimError (SHIM_PACKAGE).
 */
export function packageRoot(): string {
  foundRoot ??= findPackageRoot();
  return foundRoot;
}

function findPackageRoot(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const file = join(directory, "package.json");
    if (existsSync(file) && (JSON.parse(readFileSync(file, "utf8")) as { name?: string }).name === "sluice") {
      return directory;
    }
    const parent = dirname(directory);
    if (parent === directory) {
      throw new ShimError(
        "SHIM_PACKAGE",
        `no package.json of sluice above ${fileURLToPath(import.meta.url)}`,
      );
    }
    directory = parent;
  }
}

function loadSources(root: string): Sources {
  try {
    return require(join(root, "native-shims", "sources.cjs")) as Sources;
  } catch (cause) {
    throw new ShimError("SHIM_PACKAGE", `${join(root, "native-shims")} is missing or incomplete`, { cause });
  }
}

/** The user's cache, or undefined where there is no home. Throws ShimError (SHIM_PACKAGE). */
export function cacheDirectory(): string | undefined {
  return loadSources(packageRoot()).cacheDirectory();
}

/** Where a built file may lie, best first. */
function directories(root: string, fingerprint: string): string[] {
  const cache = cacheDirectory();
  const beside = join(root, "native-shims", "build");
  return cache === undefined ? [beside] : [beside, join(cache, "sluice", fingerprint)];
}

/** Makes `directory` if need be and tells whether files can be made in it. */
function isWritable(directory: string): boolean {
  try {
    mkdirSync(directory, { recursive: true });
    accessSync(directory, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Runs build.mjs for one product. Returns the file's path; throws ShimError (SHIM_DIRECTORY, SHIM_BUILD). */
function build(root: string, product: Product, output: string, candidates: string[], force: boolean): string {
  const into = candidates.find(isWritable);
  if (into === undefined) {
    const places =
      candidates.length === 1 ? `${candidates[0]} is not` : `neither ${candidates.join(" nor ")} is`;
    throw new ShimError(
      "SHIM_DIRECTORY",
      `the native part is not built, and ${places} writable; run it once as a user who may write there, or set ` +
        "XDG_CACHE_HOME to a directory that is",
    );
  }
  process.stderr.write(`sluice: building its native part (${output}) in ${into}, once\n`);
  const script = join(root, "native-shims", "build.mjs");
  const args = [script, "--quiet", "--product", product, "--into", into, ...(force ? ["--force"] : [])];
  // Loaded only here: the engine process has no other use for it.
  const { spawnSync } = require("node:child_process") as typeof import("node:child_process");
  const run = spawnSync(process.execPath, args, { encoding: "utf8" });
  if (run.status !== 0) {
    const sentence = run.stderr
      ?.trim()
      .split("\n")
      .at(-1)
      ?.replace(/^sluice: /, "");
    throw new ShimError(
      "SHIM_BUILD",
      sentence || run.error?.message || `${script} ended with ${run.signal ?? run.status}`,
    );
  }
  return join(into, output);
}

/** The fingerprint that the bundled program was built with. */
function bundledFingerprint(product: Product): string | undefined {
  return typeof SLUICE_FINGERPRINTS === "undefined"
    ? undefined
    : SLUICE_FINGERPRINTS[`${product}-${process.arch}`];
}

/** A program must be one that may be run: not every archive or file system keeps that. */
function isUsable(product: Product, path: string): boolean {
  try {
    accessSync(path, product === "addon" ? constants.R_OK : constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Why the file that came with the package is not the one. */
function tellUnused(path: string, isCurrent: boolean, failed: boolean): void {
  const why = !isCurrent
    ? "is not of the sources that lie here"
    : failed
      ? "cannot be loaded by this Node"
      : "may not be run";
  process.stderr.write(`sluice: ${path} ${why}\n`);
}

/** The path of a product that matches its sources, built if there is none. */
function locate(product: Product, force: boolean): string {
  const root = packageRoot();
  const sources = loadSources(root);
  const { output } = sources.PRODUCTS[product];
  const prebuilt = sources.prebuiltPath(product);
  const find = (fingerprint: string): string | undefined =>
    [...directories(root, fingerprint).map((directory) => join(directory, output)), prebuilt].find(
      (path) => sources.isCurrent(path, fingerprint) && isUsable(product, path),
    );
  const bundled = force ? undefined : bundledFingerprint(product);
  const current = bundled === undefined ? undefined : find(bundled);
  if (current !== undefined) return current;
  const fingerprint = sources.fingerprintOf(product);
  const found = force ? undefined : find(fingerprint);
  if (found !== undefined) return found;
  if (existsSync(prebuilt)) tellUnused(prebuilt, sources.isCurrent(prebuilt, fingerprint), force);
  return build(root, product, output, directories(root, fingerprint), force);
}

/**
 * Loads the addon; builds it first, with a sentence on stderr, where it is missing, out of date, or made for
 * another C library. Throws ShimError.
 */
export function loadShim(): Native {
  const path = addonPath();
  try {
    return require(path) as Native;
  } catch {
    const rebuilt = locate("addon", true);
    try {
      return require(rebuilt) as Native;
    } catch (cause) {
      throw new ShimError("SHIM_LOAD", `${rebuilt} cannot be loaded: ${(cause as Error).message}`, { cause });
    }
  }
}

/** The path of the addon, built first where it is missing or out of date. Throws ShimError. */
export function addonPath(): string {
  return locate("addon", false);
}

/** The path of the helper program, built first where it is missing or out of date. Throws ShimError. */
export function helperPath(): string {
  return locate("helper", false);
}

/** The path of the program that stands under other programs' names, built first where need be. Throws ShimError. */
export function launcherPath(): string {
  return locate("launcher", false);
}
