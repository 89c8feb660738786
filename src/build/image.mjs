/**
 * Makes what docs/Containerfile and docs/kubevirt/Containerfile copy: the root directory of an image in which there is
 * Node, the libraries that it is linked with, sluice, and nothing else: no shell, no package manager. Takes all of it
 * from this machine.
 *
 * Usage: node src/build/image.mjs [--node PROGRAM] DIRECTORY    (a directory that is not there yet, or is empty)
 */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import sources from "../../native-shims/sources.cjs";

const PACKAGE = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const USAGE = "node src/build/image.mjs [--node PROGRAM] DIRECTORY";
/** Where things are in the image. */
const NODE = "usr/bin/node";
const SLUICE = "usr/lib/node_modules/sluice";
/** Who runs there: the number that images without a shell have agreed on for nobody in particular. */
const ID = 65532;
/** The user that KubeVirt runs launchers and sidecars as. */
const QEMU_ID = 107;

const FILES = {
  "etc/passwd": [
    "root:x:0:0:root:/:/sbin/nologin\n",
    `sluice:x:${ID}:${ID}:sluice:/:/sbin/nologin\n`,
    `qemu:x:${QEMU_ID}:${QEMU_ID}::/tmp:/sbin/nologin\n`,
  ].join(""),
  "etc/group": `root:x:0:\nsluice:x:${ID}:\nqemu:x:${QEMU_ID}:\n`,
  "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
};
/**
 * Mount points, and where sockets go. Podman gives an empty volume the owner and the mode of the directory that it is first
 * mounted at.
 */
const DIRECTORIES = {
  dev: 0o755,
  proc: 0o755,
  sys: 0o755,
  run: 0o755,
  "run/sluice": 0o1777,
  tmp: 0o1777,
  "var/run/kubevirt-hooks": 0o1777,
};

/** Why it could not be made, in one sentence. */
class ImageError extends Error {
  name = "ImageError";
  constructor(message, status = 1) {
    super(message);
    this.status = status;
  }
}

function output(command, args, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: "utf8", ...options });
  if (status === 0) return stdout;
  throw new ImageError(`${command} ${args.join(" ")} failed: ${(error?.message ?? stderr).trim()}`);
}

/** Copies a file, links followed, with rights that everybody may use it by. */
function copy(from, to) {
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(realpathSync(from), to);
  chmodSync(to, statSync(from).mode & 0o111 ? 0o755 : 0o644);
}

/** The libraries that a program is linked with, its loader among them, at the paths where the loader looks for them. */
function librariesOf(program) {
  const lines = output("ldd", [program]).split("\n");
  const missing = lines.filter((line) => line.includes("not found"));
  if (missing.length > 0) throw new ImageError(`${program} lacks${missing.join(",")}`);
  return lines.flatMap((line) => /(\/\S+) \(0x[0-9a-f]+\)$/.exec(line)?.[1] ?? []);
}

/** JavaScript and data that the Node of a distribution has outside of its program (src/host/process/node-files.ts). */
function filesOutside(node) {
  const config = JSON.parse(output(node, ["-p", "JSON.stringify(process.config)"]));
  const builtins = (config.target_defaults?.defines ?? []).flatMap(
    (define) => /^NODE_SHARED_BUILTIN_\w+_PATH="?(\/[^"]+)"?$/.exec(define)?.[1] ?? [],
  );
  const data = config.variables?.icu_default_data;
  return data ? [...builtins, data] : builtins;
}

/** What a library's distribution wants to be handed on with it. */
function copyrightOf(library) {
  for (const path of [library, realpathSync(library)]) {
    const { status, stdout } = spawnSync("dpkg-query", ["--search", path], { encoding: "utf8" });
    const file = status === 0 ? `/usr/share/doc/${stdout.split(":")[0]}/copyright` : "";
    if (existsSync(file)) return file;
  }
  return undefined;
}

/** The files of the package, as npm would pack them, and the native part that was built here where it holds none. */
function packageFiles() {
  const [{ files }] = JSON.parse(
    output("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: PACKAGE }),
  );
  const native = Object.keys(sources.PRODUCTS).flatMap((product) => {
    const fingerprint = sources.fingerprintOf(product);
    if (sources.isCurrent(sources.prebuiltPath(product), fingerprint)) return [];
    const built = join("native-shims", "build", sources.PRODUCTS[product].output);
    if (sources.isCurrent(join(PACKAGE, built), fingerprint)) return [built];
    // What `sluice names` installs is of no use without a shell.
    if (product === "launcher") return [];
    throw new ImageError("the native part is not built; npm run build makes it");
  });
  return [...files.map(({ path }) => path), ...native];
}

function makeRoot(root, node) {
  for (const [path, mode] of Object.entries(DIRECTORIES)) {
    mkdirSync(join(root, path), { recursive: true });
    chmodSync(join(root, path), mode);
  }
  copy(node, join(root, NODE));
  for (const library of [...librariesOf(node), ...filesOutside(node)]) {
    copy(library, join(root, library));
    const copyright = copyrightOf(library);
    if (copyright !== undefined) copy(copyright, join(root, copyright));
  }
  for (const path of packageFiles()) copy(join(PACKAGE, path), join(root, SLUICE, path));
  for (const [path, text] of Object.entries(FILES)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  output(node, [
    join(root, SLUICE, "dist/program/program-loader.js"),
    "--for",
    join("/", SLUICE, "dist/program"),
  ]);
}

function main() {
  const { values, positionals } = parseArgs({
    options: { node: { type: "string", default: process.execPath } },
    allowPositionals: true,
  });
  if (positionals.length !== 1) throw new ImageError(`found ${positionals.length} directories; ${USAGE}`, 2);
  const root = resolve(positionals[0]);
  if (existsSync(root) && readdirSync(root).length > 0) throw new ImageError(`${root} is not empty`);
  if (!existsSync(join(PACKAGE, "dist/program/main.js")))
    throw new ImageError("sluice is not built; npm run build makes it");
  const [node, nodeVersion] = JSON.parse(
    output(values.node, ["-p", "JSON.stringify([process.execPath, process.version])"]),
  );
  makeRoot(root, node);
  const { version } = JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8"));
  process.stderr.write(`${root}: sluice ${version} with Node ${nodeVersion}\n`);
}

try {
  main();
} catch (error) {
  const isUsage = String(error.code).startsWith("ERR_PARSE_ARGS");
  if (!isUsage && !(error instanceof ImageError)) throw error;
  process.stderr.write(`image: ${error.message}\n`);
  process.exitCode = isUsage ? 2 : error.status;
}
