/**
 * Builds the native part for others, once for each processor, so that nobody who installs the package needs a compiler:
 *
 *   native-shims/prebuilt/linux-x64/    sluice.node, sluice-helper, sluice-launcher
 *   native-shims/prebuilt/linux-arm64/  the same
 *   native-shims/prebuilt/sources.json  what they were built of: hashes of the sources and of the files
 *   native-shims/prebuilt/musl.txt      the licence of the C library in the programs
 *
 * One addon serves glibc (2.25 and up) and musl: it is linked with no C library at all and takes from Node's, which both
 * have under the same names, what it calls (its structures have glibc's layout, which is the kernel's; musl's calls take
 * it). The others are programs, so they are linked statically, with musl: they run wherever the
 * kernel does, are a tenth of what glibc makes of them, and its licence asks for no more than a notice (LGPL would).
 *
 * Usage: node native-shims/prebuilt.mjs [--into DIRECTORY] [--force] [--if-possible]
 * Needs Debian's (or Ubuntu's) gcc and its cross compiler, gcc-aarch64-linux-gnu or gcc-x86-64-linux-gnu. musl is the
 * machine's where both architectures of musl-dev are installed, else fetched by apt-get into a directory of its own, which
 * takes no root. The same compilers and musl give the same octets.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { findHeaders } from "./build.mjs";
import sources from "./sources.cjs";

const here = dirname(fileURLToPath(import.meta.url));

/** By Node's name of the processor. */
const TARGETS = {
  x64: { gnu: "x86_64-linux-gnu", musl: "x86_64-linux-musl", debian: "amd64" },
  arm64: { gnu: "aarch64-linux-gnu", musl: "aarch64-linux-musl", debian: "arm64" },
};

const NOTICE = "musl.txt";

/** No path of this machine, no time and no chance may get into the files. */
const REPRODUCIBLE = ["-Wl,--build-id=none", "-Wl,-s", `-ffile-prefix-map=${here}=.`, "-frandom-seed=sluice"];

/** Why they could not be built, in one sentence. */
class PrebuildError extends Error {
  name = "PrebuildError";
}

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { encoding: "utf8", ...options });
  if (result.error?.code === "ENOENT") {
    const wanted = command.endsWith("-gcc")
      ? ` (Debian: gcc-${command.slice(0, -4).replaceAll("_", "-")})`
      : "";
    throw new PrebuildError(`${command} was not found${wanted}`);
  }
  if (result.status !== 0)
    throw new PrebuildError(
      `${command} failed: ${(result.stderr || result.stdout || String(result.error)).trim()}`,
    );
  return result.stdout;
}

// --- musl ----------------------------------------------------------------------------------------------------------

function muslIn(root, { musl }) {
  const tree = { include: join(root, "usr/include", musl), lib: join(root, "usr/lib", musl) };
  return existsSync(join(tree.lib, "libc.a")) && existsSync(join(tree.include, "stdio.h")) ? tree : undefined;
}

/** Fetches musl-dev of all targets with apt-get's own checks of signatures, and nothing of the machine's state changed. */
function fetchMusl(work) {
  const state = join(work, "apt");
  for (const directory of ["lists/partial", "cache/archives/partial", "etc"])
    mkdirSync(join(state, directory), { recursive: true });
  writeFileSync(join(state, "status"), "");
  const architectures = Object.values(TARGETS).map(({ debian }) => debian);
  const options = [
    ...["-o", `Dir::State::lists=${state}/lists`, "-o", `Dir::State::status=${state}/status`],
    ...["-o", `Dir::Cache=${state}/cache`, "-o", "APT::Architectures::=,", "-o", "APT::Sandbox::User="],
    ...[
      "-o",
      "Acquire::Languages=none",
      "-o",
      "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false",
    ],
    ...architectures.flatMap((name) => ["-o", `APT::Architectures::=${name}`]),
    "-qq",
  ];
  run("apt-get", [...options, "update"]);
  for (const name of architectures)
    run("apt-get", [...options, "download", `musl-dev:${name}`], { cwd: state });
  const debs = readdirSync(state).filter((name) => name.endsWith(".deb"));
  const root = join(work, "musl");
  for (const deb of debs) run("dpkg-deb", ["--extract", join(state, deb), root]);
  return root;
}

// --- files ---------------------------------------------------------------------------------------------------------

/** glibc before 2.33 has no such function, but a macro: the structure is the kernel's. */
const OLD_GLIBC = `#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
int fstat(int fd, struct stat *status) { return (int)syscall(SYS_fstat, fd, status); }
`;

function markOf(work, fingerprint, more) {
  const path = join(work, `${fingerprint}.c`);
  writeFileSync(
    path,
    `__attribute__((used)) static const char fingerprint[] = "${sources.MARK}${fingerprint}";\n${more}`,
  );
  return path;
}

function compile(architecture, product, musl, work, directory) {
  const target = TARGETS[architecture];
  const compiler = `${target.gnu}-gcc`;
  const { output, flags } = sources.PRODUCTS[product];
  const made = join(directory, output);
  const files = sources.sourcesOf(product).filter((name) => name.endsWith(".c"));
  const isAddon = product === "addon";
  const mark = markOf(work, sources.fingerprintOf(product, architecture), isAddon ? OLD_GLIBC : "");
  const common = [...flags, ...REPRODUCIBLE, `-ffile-prefix-map=${work}=.`, "-o", made];
  if (isAddon) {
    run(compiler, [...common, "-nostdlib", "-isystem", findHeaders(), ...files, mark, "-lgcc"], {
      cwd: here,
    });
    return made;
  }
  const own = run(compiler, ["-print-file-name=include"]).trim();
  const kernel =
    architecture === process.arch
      ? ["/usr/include", `/usr/include/${target.gnu}`]
      : [`/usr/${target.gnu}/include`];
  const headers = [
    "-nostdinc",
    "-isystem",
    musl.include,
    "-isystem",
    own,
    ...kernel.flatMap((path) => ["-idirafter", path]),
  ];
  const start = ["crt1.o", "crti.o"].map((name) => join(musl.lib, name));
  const link = [
    "-static",
    "-nostdlib",
    ...start,
    ...files,
    mark,
    join(musl.lib, "libc.a"),
    "-lgcc",
    join(musl.lib, "crtn.o"),
  ];
  run(compiler, [...common, ...headers, ...link], { cwd: here });
  return made;
}

const sha256 = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");

/** What the files are built of, as text: the same for the same sources, compilers and musl. */
function manifest(directory) {
  const products = Object.keys(sources.PRODUCTS);
  const all = [...new Set(products.flatMap((product) => sources.sourcesOf(product)))].sort();
  const made = Object.keys(TARGETS).flatMap((name) =>
    products.map((product) => [`linux-${name}/${sources.PRODUCTS[product].output}`, product, name]),
  );
  return `${JSON.stringify(
    {
      sources: Object.fromEntries(all.map((name) => [name, sha256(join(here, name))])),
      files: Object.fromEntries(
        made.map(([path, product, name]) => [
          path,
          { fingerprint: sources.fingerprintOf(product, name), sha256: sha256(join(directory, path)) },
        ]),
      ),
    },
    undefined,
    2,
  )}\n`;
}

function isCurrent(into) {
  return Object.keys(TARGETS).every((name) =>
    Object.keys(sources.PRODUCTS).every((product) => {
      const path = join(into, `linux-${name}`, sources.PRODUCTS[product].output);
      return sources.isCurrent(path, sources.fingerprintOf(product, name));
    }),
  );
}

/** Builds all of them unless they are current. Throws PrebuildError. */
export function buildPrebuilt({ into = sources.PREBUILT, force = false } = {}) {
  if (!force && isCurrent(into)) return;
  const work = mkdtempSync(join(tmpdir(), "sluice-prebuilt-"));
  try {
    const machine = Object.values(TARGETS).every((target) => muslIn("/", target) !== undefined);
    for (const { gnu } of Object.values(TARGETS)) run(`${gnu}-gcc`, ["--version"]);
    const root = machine ? "/" : fetchMusl(work);
    const made = join(work, "made");
    for (const [architecture, target] of Object.entries(TARGETS)) {
      const directory = join(made, `linux-${architecture}`);
      mkdirSync(directory, { recursive: true });
      const musl = muslIn(root, target);
      if (musl === undefined) throw new PrebuildError(`there is no musl for ${target.musl} in ${root}`);
      for (const product of Object.keys(sources.PRODUCTS))
        compile(architecture, product, musl, work, directory);
    }
    writeFileSync(join(made, "sources.json"), manifest(made));
    writeFileSync(join(made, NOTICE), readFileSync(join(root, "usr/share/doc/musl-dev/copyright")));
    putInPlace(made, into);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Each file is renamed into its place, since somebody may be running the one that is there. */
function putInPlace(made, into) {
  for (const name of readdirSync(made, { recursive: true, withFileTypes: true })) {
    if (!name.isFile()) continue;
    const from = join(name.parentPath ?? name.path, name.name);
    const to = join(into, from.slice(made.length));
    mkdirSync(dirname(to), { recursive: true });
    const beside = `${to}.${process.pid}`;
    writeFileSync(beside, readFileSync(from), { mode: /\.(json|txt)$/.test(name.name) ? 0o644 : 0o755 });
    renameSync(beside, to);
  }
}

function main() {
  const { values } = parseArgs({
    options: {
      into: { type: "string" },
      force: { type: "boolean", default: false },
      "if-possible": { type: "boolean", default: false },
    },
  });
  try {
    buildPrebuilt({ force: values.force, ...(values.into === undefined ? {} : { into: values.into }) });
  } catch (error) {
    if (!(error instanceof PrebuildError)) throw error;
    process.stderr.write(`sluice: no prebuilt native parts: ${error.message}\n`);
    process.exitCode = values["if-possible"] ? 0 : 1;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
