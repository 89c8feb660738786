/**
 * Puts together what the image of the KubeVirt sidecar is made of: this Node, the libraries and files it reads, the built program.
 * No shell, no package manager, nothing else. docs/kubevirt/Containerfile copies the folder into an image from scratch.
 *
 * Usage: node src/build/image-root.mjs DIRECTORY
 */
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, normalize, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
/** The user that KubeVirt runs launchers and sidecars as. */
const QEMU_USER = 107;

/** Shared libraries and the loader, by the paths that they are asked for. */
function libraries() {
  process.report.excludeNetwork = true;
  const { sharedObjects = [] } = process.report.getReport();
  return sharedObjects
    .filter((path) => path.startsWith("/") && !path.endsWith(".node"))
    .map((path) => normalize(path));
}

/** What distributions keep beside the program: built-in modules, ICU's data (src/host/process/node-files.ts). */
function besideNode() {
  const { target_defaults, variables } = process.config;
  const defines = target_defaults?.defines ?? [];
  const builtins = defines.flatMap(
    (define) => /^NODE_SHARED_BUILTIN_\w+_PATH="?(\/[^"]+)"?$/.exec(define)?.[1] ?? [],
  );
  const mapped = readFileSync("/proc/self/maps", "latin1").match(/\/\S+\/icudt[^/\s]*\.dat$/gm) ?? [];
  return [
    ...builtins,
    ...(variables?.icu_default_data ? [variables.icu_default_data] : []),
    ...new Set(mapped),
  ];
}

function makeRoot(directory) {
  const place = (path) => {
    const made = join(directory, path);
    mkdirSync(dirname(made), { recursive: true });
    return made;
  };
  const copy = (from, to) => cpSync(from, place(to), { recursive: true, dereference: true });
  copy(realpathSync(process.execPath), "/usr/bin/node");
  for (const path of [...libraries(), ...besideNode(), "/etc/ld.so.cache"].filter(existsSync))
    copy(path, path);
  for (const path of ["package.json", "LICENSE", "src/cli/sluice.cjs", "dist/program", "native-shims"])
    copy(join(ROOT, path), join("/sluice", path));
  writeFileSync(place("/etc/passwd"), `root:x:0:0::/:/\nqemu:x:${QEMU_USER}:${QEMU_USER}::/tmp:/\n`);
  writeFileSync(place("/etc/group"), `root:x:0:\nqemu:x:${QEMU_USER}:\n`);
  for (const path of ["/tmp", "/var/run/kubevirt-hooks"])
    mkdirSync(join(directory, path), { recursive: true });
  chmodSync(join(directory, "tmp"), 0o1777);
}

const [directory] = process.argv.slice(2);
if (directory === undefined) {
  process.stderr.write("usage: node src/build/image-root.mjs DIRECTORY\n");
  process.exit(2);
}
if (existsSync(directory) && readdirSync(directory).length > 0) {
  process.stderr.write(`${directory} is not empty\n`);
  process.exit(2);
}
makeRoot(resolve(directory));
