/**
 * What `npm start`, `npm test` and `npm run build` run: plain Node without dependencies, because on a fresh clone there
 * are none. Installs and builds what is missing or out of date, saying so in a sentence each, then does the job.
 *
 * Usage: node src/build/bootstrap.mjs start|test|build|install [ARGUMENT...]
 */
import { spawnSync } from "node:child_process";
import {
  accessSync,
  chmodSync,
  constants,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { makeCaches } from "./bundle.mjs";

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const NODE_MAJOR_MIN = 20;
/** Touched after a build that went well; older than a source means build again. */
const STAMP = join(ROOT, "dist", ".built");
/** The command as it is run, and what programs import. */
const PROGRAM = join(ROOT, "dist", "program");
const LIBRARY = join(ROOT, "dist", "lib");

function say(sentence) {
  process.stderr.write(`sluice: ${sentence}\n`);
}

/** Runs a program in the project; returns its exit status. With `quiet` its output shows only when it fails. */
function run(command, args, { quiet = false, ...options } = {}) {
  const result = spawnSync(command, args, {
    cwd: ROOT,
    stdio: quiet ? ["ignore", "pipe", "pipe"] : "inherit",
    encoding: "utf8",
    ...options,
  });
  const status = result.status ?? 1;
  if (result.error) say(`${command} could not be started: ${result.error.message}`);
  if (quiet && status !== 0) process.stderr.write(`${result.stdout ?? ""}${result.stderr ?? ""}`);
  return status;
}

function isComplete() {
  const { dependencies = {}, devDependencies = {} } = JSON.parse(
    readFileSync(join(ROOT, "package.json"), "utf8"),
  );
  const names = Object.keys({ ...dependencies, ...devDependencies });
  return names.every((name) => existsSync(join(ROOT, "node_modules", name, "package.json")));
}

/** Runs npm ci when a package is missing. */
function installDependencies() {
  if (isComplete()) return 0;
  say("installing the packages of package-lock.json (npm ci) ...");
  const status = run("npm", ["ci", "--no-audit", "--no-fund", "--ignore-scripts"], { quiet: true });
  if (status !== 0) say("npm ci failed; its message is above");
  return status;
}

/** Builds the C part when it is missing or older than its sources. */
async function buildShim() {
  try {
    const { buildNative } = await import("../../native-shims/build.mjs");
    await buildNative({ quiet: false });
    return 0;
  } catch (error) {
    if (error.output) process.stderr.write(error.output);
    say(error.message);
    return 1;
  }
}

/** Whether what came with the package is of its sources. */
function hasPrebuilt() {
  const { PRODUCTS, fingerprintOf, isCurrent, prebuiltPath } = createRequire(import.meta.url)(
    "../../native-shims/sources.cjs",
  );
  return Object.keys(PRODUCTS).every((product) => isCurrent(prebuiltPath(product), fingerprintOf(product)));
}

/** The newest change among the inputs of the compiler and the bundler, in milliseconds. */
function newestSource() {
  const files = readdirSync(join(ROOT, "src"), { recursive: true }).filter((name) =>
    /\.(ts|html|css|svg)$/.test(name),
  );
  // The program has the fingerprints of the C sources in it.
  const native = readdirSync(join(ROOT, "native-shims")).filter((name) => /\.([ch]|cjs)$/.test(name));
  const inputs = [
    ...files.map((name) => join("src", name)),
    ...native.map((name) => join("native-shims", name)),
    "src/build/bundle.mjs",
    "src/build/library.mjs",
    "src/build/program-loader.cjs",
    "tsconfig.json",
    "tsconfig.build.json",
    "package-lock.json",
  ];
  return Math.max(...inputs.map((name) => statSync(join(ROOT, name)).mtimeMs));
}

/** Whether files can be made in `directory`, which is made if need be; says so when not. */
function canWrite(directory) {
  try {
    mkdirSync(directory, { recursive: true });
    accessSync(directory, constants.W_OK | constants.X_OK);
    return true;
  } catch (error) {
    say(`the program has to be built, and nothing can be written in ${directory} (${error.code})`);
    return false;
  }
}

/** Compiles src/ to dist/src/ when a source is newer. Returns the compiler's exit status. */
export function buildProgram() {
  const compiler = join(ROOT, "node_modules", "typescript", "bin", "tsc");
  if (existsSync(STAMP) && statSync(STAMP).mtimeMs >= newestSource()) return 0;
  if (!canWrite(dirname(STAMP))) return 1;
  if (!existsSync(compiler)) {
    const status = installDependencies();
    if (status !== 0) return status;
  }
  say("compiling TypeScript ...");
  const newest = newestSource();
  const status =
    run(process.execPath, [compiler, "-p", "tsconfig.build.json"]) ||
    bundle("bundle.mjs", PROGRAM) ||
    bundle("library.mjs", LIBRARY);
  if (status === 0) makeCaches(PROGRAM);
  if (status === 0) {
    writeFileSync(STAMP, "");
    utimesSync(STAMP, newest / 1000 + 0.001, newest / 1000 + 0.001);
  }
  return status;
}

/** Removes what builds that were killed have left. */
function sweepBundles() {
  const left = readdirSync(dirname(PROGRAM)).filter((name) => /^(program|lib)-\d+$/.test(name));
  for (const name of left.filter((entry) => !existsSync(`/proc/${entry.replace(/.*-/, "")}`)))
    rmSync(join(dirname(PROGRAM), name), { recursive: true, force: true });
}

/** Makes a directory of dist/src by a script beside this one. */
function bundle(script, directory) {
  // Put in place whole: somebody may be running the old one, or building at the same time.
  const made = `${directory}-${process.pid}`;
  sweepBundles();
  const status = run(process.execPath, [join(ROOT, "src", "build", script), made], { quiet: true });
  if (status === 0) {
    rmSync(directory, { recursive: true, force: true });
    try {
      renameSync(made, directory);
    } catch (error) {
      // Another build was faster with the same sources.
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    }
  }
  rmSync(made, { recursive: true, force: true });
  return status;
}

async function prepare() {
  return installDependencies() || (await buildShim()) || buildProgram();
}

function binary(name) {
  return join(ROOT, "node_modules", ".bin", name);
}

/** A line for each failed test so far. */
const failures = [];

/** The user that owns nothing. */
const NOBODY = 65534;

/**
 * Runs vitest in `root`; `wrap` makes the whole command of node's arguments. Returns its exit status. What failed is
 * added to `failures`: of two runs of a thousand tests nobody finds the first one's in the output.
 */
function runTests(
  label,
  args,
  { wrap = (words) => [process.execPath, ...words], root = ROOT, ...options } = {},
) {
  process.stderr.write(`\n--- ${label}\n`);
  const directory = mkdtempSync(join(tmpdir(), "sluice-report-"));
  chmodSync(directory, 0o777);
  const file = join(directory, "report.json");
  const vitest = [join(root, "node_modules", "vitest", "vitest.mjs"), "run", ...args];
  const [command, ...words] = wrap([
    ...vitest,
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${file}`,
  ]);
  try {
    const status = run(command, words, { cwd: root, ...options });
    if (status !== 0) failures.push(...failuresIn(file, root).map((failure) => `${label}: ${failure}`));
    return status;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** One line for each failed test, or file that could not be run, of vitest's report. */
function failuresIn(file, root) {
  if (!existsSync(file)) return ["ended without a report"];
  const { testResults } = JSON.parse(readFileSync(file, "utf8"));
  return testResults.flatMap(({ name, status, message, assertionResults }) => {
    const failed = assertionResults.filter((test) => test.status === "failed");
    const lines = failed.map((test) => `${test.fullName}: ${test.failureMessages[0]?.split("\n")[0]}`);
    if (status === "failed" && lines.length === 0) lines.push(message.split("\n")[0]);
    return lines.map((line) => `${relative(root, name)}: ${line}`);
  });
}

/**
 * Types, lint, every test; the end-to-end tests once more as the other kind of user (root runs them as nobody; anybody
 * else through sudo where it asks for no password).
 */
function test(args) {
  if (args.length > 0) return runTests(`vitest ${args.join(" ")}`, args);
  const checks = [
    ["types", [binary("tsc"), "--noEmit", "-p", "tsconfig.json"]],
    ["types, room by room", [binary("tsc"), "-b", "--force", "src"]],
    ["types of the page", [binary("tsc"), "--noEmit", "-p", "src/page"]],
    ["format and lint", [binary("biome"), "check", "."]],
  ];
  const failed = [];
  for (const [label, [command, ...rest]] of checks) {
    process.stderr.write(`\n--- ${label}\n`);
    if (run(command, rest) !== 0) failed.push(label);
  }
  const other = testAsOther();
  if (other !== 0) failed.push("end-to-end tests as another user");
  if (runTests("unit and end-to-end tests", []) !== 0) failed.push("tests");
  for (const failure of failures) say(failure);
  if (failed.length > 0) say(`failed: ${failed.join(", ")}`);
  return failed.length === 0 ? 0 : 1;
}

/** Root's run of the end-to-end tests as nobody; in a copy of the project where nobody cannot read this one. */
function testAsNobody(args) {
  const home = mkdtempSync(join(tmpdir(), "sluice-test-"));
  chmodSync(home, 0o777);
  try {
    const tun = join(home, "tun");
    const made = run("mknod", ["-m", "666", tun, "c", "10", "200"], { quiet: true }) === 0;
    const env = {
      ...process.env,
      ...(made ? { SLUICE_TEST_TUN: tun } : {}),
      HOME: home,
      TMPDIR: home,
      USER: "nobody",
      LOGNAME: "nobody",
    };
    // npm hands its scripts the cache of who runs it, where nobody may not write.
    delete env.npm_config_cache;
    const identity = { uid: NOBODY, gid: NOBODY, env };
    const reads = spawnSync(process.execPath, ["-e", `process.chdir(${JSON.stringify(ROOT)})`], {
      ...identity,
      cwd: "/",
    });
    const root = reads.status === 0 ? ROOT : join(home, "project");
    if (root !== ROOT) {
      cpSync(ROOT, root, {
        recursive: true,
        verbatimSymlinks: true,
        filter: (path) => basename(path) !== ".git",
      });
    }
    return runTests("end-to-end tests without root (user nobody)", args, { ...identity, root });
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

/** End-to-end tests that are the same whoever runs them: once is enough. */
const ANYBODYS = [
  "api-examples",
  "boot-clients",
  "completion",
  "ipv6-boot",
  "kubevirt-kills",
  "package",
  "page",
  "prebuilt",
  "tftp",
  "top",
];

function testAsOther() {
  const args = ["--project", "e2e", "--passWithNoTests", "--configLoader", "runner", "--no-cache"];
  for (const name of ANYBODYS) args.push("--exclude", `test/e2e/${name}.test.ts`);
  if (process.getuid() === 0) return testAsNobody(args);
  if (run("sudo", ["-n", "true"], { quiet: true }) !== 0) {
    const must = process.env["SLUICE_REQUIRE_ALL"] === "1";
    say(
      `the end-to-end tests as root are left out: sudo asks for a password or is missing${must ? "" : " (SKIPPED)"}`,
    );
    return must ? 1 : 0;
  }
  return runTests("end-to-end tests as root", args, {
    wrap: (words) => ["sudo", "-n", "-E", process.execPath, ...words],
  });
}

/**
 * `npm install`, here or in a project that depends on this one: the shim, and the code caches of a program that is
 * there already, for this Node. Never a reason to fail. Nothing is built where the package has it.
 */
async function install() {
  if (!hasPrebuilt() && (await buildShim()) !== 0)
    say("the native part was not built; the first run tries again");
  if (existsSync(PROGRAM)) makeCaches(PROGRAM);
  return 0;
}

async function main([job, ...args]) {
  const major = Number(process.versions.node.split(".")[0]);
  if (major < NODE_MAJOR_MIN) {
    say(`Node ${NODE_MAJOR_MIN} or newer is needed; this is ${process.version}`);
    return 1;
  }
  switch (job) {
    case "install":
      return install();
    case "build":
      return prepare();
    case "test":
      return (await prepare()) || test(args);
    case "start": {
      const status = await prepare();
      if (status !== 0) return status;
      const demo = await import(pathToFileURL(join(ROOT, "dist", "src", "demo", "demo.js")).href);
      return demo.main(ROOT);
    }
    default:
      say(`found ${JSON.stringify(job)}; allowed: start, test, build or install`);
      return 2;
  }
}

if (process.argv[1] && pathToFileURL(process.argv[1]).href === import.meta.url) {
  try {
    process.exitCode = await main(process.argv.slice(2));
  } catch (error) {
    // What the file system refused is nobody's mistake here.
    if (error.syscall === undefined) throw error;
    say(error.message);
    process.exitCode = 1;
  }
}
