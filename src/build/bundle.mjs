/**
 * Makes dist/program of dist/src: the command's modules joined into a few CommonJS files. Node takes longer to read a
 * hundred small modules than for everything else that happens before the first packet.
 *
 * Usage: node src/build/bundle.mjs DIRECTORY
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const LOADER = "program-loader.js";
/** Files without a code cache. */
const PLAIN = [LOADER, "main.js", "engine-process.js", "replay-process.js"];
/** Those that the seccomp filter knows; elsewhere a start hashes the C sources. */
const ARCHITECTURES = ["x64", "arm64"];
/** What every command but `vm` and `replay` needs, in one file; what only some starts need is in files of its own. */
const SUPERVISOR =
  /dist[\\/]src[\\/]((cli|supervisor)[\\/](?!replay|background|service-manager|names|as-name|policy|live-|peer-guard|verbs|verb-table|verb-request|instances|table|completion)|host[\\/](?!link[\\/]replay|unreachable|host-copy)|config[\\/](?!policy[\\/]))|[\\/]node_modules[\\/](?!yaml|zod|lru-cache)/;

/** Of the C sources, for every architecture: the program may be packed here and run elsewhere. */
export function fingerprints() {
  const { PRODUCTS, fingerprintOf } = createRequire(import.meta.url)("../../native-shims/sources.cjs");
  const pairs = Object.keys(PRODUCTS).flatMap((product) => ARCHITECTURES.map((name) => [product, name]));
  return Object.fromEntries(
    pairs.map(([product, name]) => [`${product}-${name}`, fingerprintOf(product, name)]),
  );
}

/** Bundles one process's entry; returns the name of its file. */
async function bundle(rolldown, entry, name, directory, codeSplitting) {
  const input = { [name]: join(ROOT, "dist", "src", entry) };
  const transform = { define: { SLUICE_FINGERPRINTS: JSON.stringify(fingerprints()) } };
  const build = await rolldown({ cwd: ROOT, input, platform: "node", logLevel: "silent", transform });
  const { output } = await build.write({
    dir: directory,
    format: "cjs",
    entryFileNames: "[name]-[hash].js",
    chunkFileNames: "[name]-[hash].js",
    // ASCII without comments: a file is read as one octet per character.
    charset: "ascii",
    comments: false,
    // The loader's scripts can `require` only.
    dynamicImportInCjs: false,
    codeSplitting,
  });
  await build.close();
  for (const { fileName, code = "" } of output) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII.
    if (/[^\x00-\x7f]/.test(code)) throw new Error(`${fileName} is not ASCII`);
  }
  return output[0].fileName;
}

/** The file that `src/` knows by name; that of the code has a hash in it. */
function writeEntry(directory, name, file) {
  const path = `require("node:path").join(__dirname, ${JSON.stringify(file)})`;
  writeFileSync(join(directory, name), `module.exports = require("./${LOADER}").load(${path});\n`);
}

/**
 * Makes the code caches for this Node, where the files stay: stack traces get their names from them. Without them
 * everything works, a little later.
 */
export function makeCaches(directory) {
  let files;
  try {
    files = readdirSync(directory).filter((name) => name.endsWith(".js") && !PLAIN.includes(name));
  } catch {
    // Another build is just putting its own in place.
    return;
  }
  spawnSync(process.execPath, [LOADER, ...files.map((name) => join(directory, name))], { cwd: directory });
}

async function makeProgram(directory) {
  // Not there where the package is installed, which needs the caches only.
  const { rolldown } = await import("rolldown");
  const engine = await bundle(rolldown, "supervisor/engine-process.js", "engine", directory, true);
  const replay = await bundle(rolldown, "supervisor/replay-process.js", "replay", directory, false);
  const main = await bundle(rolldown, "cli/main.js", "main", directory, {
    groups: [{ name: "supervisor", test: SUPERVISOR }],
  });
  copyFileSync(join(ROOT, "src", "build", "program-loader.cjs"), join(directory, LOADER));
  writeFileSync(join(directory, "package.json"), '{ "type": "commonjs" }\n');
  writeEntry(directory, "engine-process.js", engine);
  writeEntry(directory, "replay-process.js", replay);
  writeEntry(directory, "main.js", main);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await makeProgram(resolve(process.argv[2]));
