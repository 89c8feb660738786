/**
 * Makes dist/program of dist/src: the command's modules joined into a few CommonJS files. Node takes longer to read a
 * hundred small modules than for everything else that happens before the first packet.
 *
 * Usage: node src/build/bundle.mjs DIRECTORY
 */
import { spawnSync } from "node:child_process";
import { appendFileSync, copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const LOADER = "program-loader.js";
/** Those that the seccomp filter knows; elsewhere a start hashes the C sources. */
const ARCHITECTURES = ["x64", "arm64"];
/** The commands that start an engine: what they import at once is in one file, what only some starts need in files of its own. */
const STARTS = ["main", "run", "exec", "qemu"].map((name) => join(ROOT, "dist", "src", "cli", `${name}.js`));

/** Those modules and what they import, however far down, but not by `import()`. */
function modulesOfStart(context) {
  const modules = new Set();
  const left = [...STARTS];
  for (let id = left.pop(); id !== undefined; id = left.pop()) {
    if (modules.has(id)) continue;
    modules.add(id);
    left.push(...(context.getModuleInfo(id)?.importedIds ?? []));
  }
  return modules;
}

/** Of the C sources, for every architecture: the program may be packed here and run elsewhere. */
export function fingerprints() {
  const { PRODUCTS, fingerprintOf } = createRequire(import.meta.url)("../../native-shims/sources.cjs");
  const pairs = Object.keys(PRODUCTS).flatMap((product) => ARCHITECTURES.map((name) => [product, name]));
  return Object.fromEntries(
    pairs.map(([product, name]) => [`${product}-${name}`, fingerprintOf(product, name)]),
  );
}

/** What is bundled in a directory: its licences, and a bill of materials (CycloneDX 1.5). */
const LICENSES = "licenses.txt";
const MATERIALS = "sbom.cdx.json";

/** Adds the packages that went into chunks to the directory's files of them. */
export function writeMaterials(directory, output) {
  const [licenses, materials] = [join(directory, LICENSES), join(directory, MATERIALS)];
  const known = existsSync(materials) ? JSON.parse(readFileSync(materials, "utf8")).components : [];
  const roots = output.flatMap(({ moduleIds = [] }) =>
    moduleIds.flatMap((id) => /^(.*[\\/]node_modules[\\/](?:@[^\\/]+[\\/])?[^\\/]+)/.exec(id)?.[1] ?? []),
  );
  const added = [...new Set(roots)].sort().flatMap((root) => {
    const { name, version, license } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    if (known.some((each) => each.name === name)) return [];
    const file = readdirSync(root).find((each) => /^licen[cs]e/i.test(each));
    if (file === undefined) throw new Error(`${name} has no licence file`);
    const text = readFileSync(join(root, file), "utf8").trim();
    appendFileSync(licenses, `${name} ${version} (${license})\n\n${text}\n\n---\n\n`);
    const purl = `pkg:npm/${name.replace("@", "%40")}@${version}`;
    return [
      { type: "library", "bom-ref": purl, name, version, purl, licenses: [{ license: { id: license } }] },
    ];
  });
  const components = [...known, ...added];
  const bill = { bomFormat: "CycloneDX", specVersion: "1.5", version: 1, components };
  writeFileSync(materials, `${JSON.stringify(bill, undefined, 2)}\n`);
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
  writeMaterials(directory, output);
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
 * everything works, a little later; another build may just be putting its own files in place.
 */
export function makeCaches(directory) {
  spawnSync(process.execPath, [join(directory, LOADER)]);
}

/** The page of `sluice ui`: its script in one file, which asks nothing of anybody but its own server. */
async function makePage(rolldown, directory) {
  const page = join(ROOT, "src", "page");
  const input = { page: join(page, "main.ts") };
  const build = await rolldown({ cwd: ROOT, input, platform: "browser", logLevel: "silent" });
  const { output } = await build.write({
    dir: directory,
    format: "es",
    entryFileNames: "[name].js",
    minify: true,
    codeSplitting: false,
  });
  await build.close();
  writeMaterials(dirname(directory), output);
  const chart = createRequire(import.meta.url).resolve("uplot/dist/uPlot.min.css");
  const styles = [chart, join(page, "page.css")].map((file) => readFileSync(file, "utf8"));
  writeFileSync(join(directory, "page.css"), styles.join("\n"));
  for (const name of ["index.html", "icon.svg"]) copyFileSync(join(page, name), join(directory, name));
}

async function makeProgram(directory) {
  // Not there where the package is installed, which needs the caches only.
  const { rolldown } = await import("rolldown");
  const engine = await bundle(rolldown, "supervisor/engine-process.js", "engine", directory, true);
  const replay = await bundle(rolldown, "supervisor/replay-process.js", "replay", directory, false);
  let start;
  const main = await bundle(rolldown, "cli/main.js", "main", directory, {
    groups: [
      {
        name: (id, context) => {
          start ??= modulesOfStart(context);
          return start.has(id) ? "supervisor" : null;
        },
      },
    ],
  });
  await makePage(rolldown, join(directory, "page"));
  copyFileSync(join(ROOT, "src", "build", "program-loader.cjs"), join(directory, LOADER));
  writeFileSync(join(directory, "package.json"), '{ "type": "commonjs" }\n');
  writeEntry(directory, "engine-process.js", engine);
  writeEntry(directory, "replay-process.js", replay);
  writeEntry(directory, "main.js", main);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await makeProgram(resolve(process.argv[2]));
