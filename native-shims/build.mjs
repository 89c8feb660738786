/**
 * Builds the native part with nothing but a C compiler and Node's own headers:
 *
 *   native-shims/build/sluice.node       the addon (every other *.c here)
 *   native-shims/build/sluice-helper     the helper program (helper*.c)
 *   native-shims/build/sluice-launcher   what stands under other programs' names (launcher*.c); made when it is asked for
 *
 * Usage: node native-shims/build.mjs [--product addon|helper|launcher] [--into DIRECTORY] [--force] [--quiet]
 * A file that matches its sources is left alone. A new one is written beside its place and renamed into it, so
 * that two builds at once, or a build under a running process, do no harm. CC names another compiler.
 */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import sources from "./sources.cjs";

const here = dirname(fileURLToPath(import.meta.url));

/** Why the native part could not be built, in one sentence. `output` is what the compiler said, if it ran. */
export class NativeBuildError extends Error {
  constructor(code, message, output = "") {
    super(message);
    this.name = "NativeBuildError";
    this.code = code;
    this.output = output;
  }
}

/** The directory with node_api.h: beside the node binary, else the package node-api-headers. */
export function findHeaders(execPath = process.execPath) {
  const beside = join(dirname(dirname(realpathSync(execPath))), "include", "node");
  if (existsSync(join(beside, "node_api.h"))) return beside;
  try {
    return createRequire(import.meta.url)("node-api-headers").include_dir;
  } catch {
    throw new NativeBuildError(
      "NO_HEADERS",
      `Node's header node_api.h was not found in ${beside}, and the package node-api-headers is not installed; ` +
        "run npm install, or install the development package of Node",
    );
  }
}

/** Runs the compiler; throws a sentence when it is missing or refuses. */
function compile(args) {
  const [command, ...first] = (process.env["CC"] ?? "").split(/\s+/).filter(Boolean);
  const compiler = command ?? "cc";
  const run = spawnSync(compiler, [...first, ...args], { cwd: here, encoding: "utf8" });
  if (run.error?.code === "ENOENT" || run.error?.code === "EACCES") {
    throw new NativeBuildError(
      "NO_COMPILER",
      `the C compiler ${JSON.stringify(compiler)} was not found; install one (Debian and Ubuntu: apt install gcc libc6-dev; ` +
        "Fedora: dnf install gcc; Alpine: apk add gcc musl-dev linux-headers), or name another with CC",
    );
  }
  const output = `${run.stdout ?? ""}${run.stderr ?? ""}`;
  if (run.error || run.status !== 0) {
    const line =
      output.split("\n").find((text) => /error:|undefined reference/.test(text)) ??
      run.error?.message ??
      `status ${run.status}`;
    const missing = /([\w/.-]+\.h): No such file/.exec(output)?.[1];
    const advice = missing?.startsWith("linux/")
      ? "; install the kernel's headers (Debian and Ubuntu: linux-libc-dev; Alpine: linux-headers)"
      : missing
        ? "; install the C library's headers (Debian and Ubuntu: libc6-dev; Alpine: musl-dev)"
        : "";
    throw new NativeBuildError(
      "COMPILE_FAILED",
      `${compiler} could not compile the native part (${line.trim()})${advice}`,
      output,
    );
  }
  return output;
}

/** How the directories that builds work in begin; no build takes as long as STALE_MS. */
const WORK = ".build-";
const STALE_MS = 3_600_000;

/** Removes what builds that were killed have left. */
function sweep(into) {
  for (const name of readdirSync(into).filter((entry) => entry.startsWith(WORK))) {
    const path = join(into, name);
    const age = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0);
    if (age > STALE_MS) rmSync(path, { recursive: true, force: true });
  }
}

/**
 * Builds one product unless it is current. Returns its path.
 * Throws NativeBuildError, or the file system's error when `into` cannot be written.
 */
export function buildProduct(product, { into = join(here, "build"), force = false, quiet = true } = {}) {
  const { output, flags } = sources.PRODUCTS[product];
  const target = join(into, output);
  const fingerprint = sources.fingerprintOf(product);
  if (!force && sources.isCurrent(target, fingerprint)) return target;
  const started = Date.now();
  mkdirSync(into, { recursive: true });
  sweep(into);
  const work = mkdtempSync(join(into, WORK));
  try {
    const mark = join(work, "fingerprint.c");
    const made = join(work, output);
    writeFileSync(
      mark,
      `__attribute__((used)) static const char fingerprint[] = "${sources.MARK}${fingerprint}";\n`,
    );
    const files = sources.sourcesOf(product).filter((name) => name.endsWith(".c"));
    const headers = product === "addon" ? ["-isystem", findHeaders()] : [];
    const said = compile([...flags, ...headers, "-o", made, ...files, mark]);
    if (!quiet && said) process.stderr.write(said);
    renameSync(made, target);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  if (!quiet) process.stderr.write(`built ${output} in ${((Date.now() - started) / 1000).toFixed(1)} s\n`);
  return target;
}

/** Builds what is missing or out of date. Returns the paths of the addon and the helper program. */
export function buildNative({ quiet = false, force = false, into } = {}) {
  const options = into === undefined ? { quiet, force } : { quiet, force, into };
  return { addon: buildProduct("addon", options), helper: buildProduct("helper", options) };
}

function main() {
  const { values } = parseArgs({
    options: {
      product: { type: "string" },
      into: { type: "string" },
      force: { type: "boolean", default: false },
      quiet: { type: "boolean", default: false },
    },
  });
  const options = {
    force: values.force,
    quiet: values.quiet,
    ...(values.into === undefined ? {} : { into: values.into }),
  };
  if (values.product === undefined) buildNative(options);
  else buildProduct(values.product, options);
}

if (
  process.argv[1] !== undefined &&
  realpathSync(process.argv[1]) === realpathSync(fileURLToPath(import.meta.url))
) {
  try {
    main();
  } catch (error) {
    process.stderr.write(`${error instanceof NativeBuildError && error.output ? error.output : ""}`);
    process.stderr.write(`sluice: ${error.message}\n`);
    process.exitCode = 1;
  }
}
