/**
 * Loads the files of dist/program, where this one is copied to, each with V8's code cache where there is one: most of
 * what Node does before the first packet would otherwise be parsing and compiling.
 *
 * A cache holds the bytecode of every function in one file, lies beside it and is made by whoever builds or installs the
 * program, never at run time: nothing that another user wrote is run. It is bound to its file by the hash in the file's name,
 * to Node by its own name, and to V8's version and flags by V8, which rejects any other; then, and where there is
 * none, the file is compiled as usual. (Whoever edits a file there by hand removes the cache beside it.)
 *
 * Usage, in the build: node program-loader.js FILE...    makes the caches of these files
 */
const { readFileSync, renameSync, writeFileSync } = require("node:fs");
const { basename, dirname, join } = require("node:path");
const { Script } = require("node:vm");

/** Another Node may have the same V8, and another one of ours may be built for the other architecture. */
const CACHE_SUFFIX = `.${process.version}-${process.arch}.cache`;

const loaded = new Map();

function readOrUndefined(path) {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

/** The file as the function that Node's own loader makes of it. The build leaves only ASCII in it. */
function compile(path, cachedData) {
  const source = `(function (exports, require, module, __filename, __dirname) { ${readFileSync(path, "latin1")}\n})`;
  return new Script(source, { filename: path, cachedData });
}

/** Runs a file once and returns what it exports. */
function load(path) {
  const before = loaded.get(path);
  if (before !== undefined) return before.exports;
  const module = { exports: {} };
  loaded.set(path, module);
  const directory = dirname(path);
  const requireFrom = (id) => (id.startsWith("./") ? load(join(directory, id)) : require(id));
  const script = compile(path, readOrUndefined(path + CACHE_SUFFIX));
  script.runInThisContext()(module.exports, requireFrom, module, path, directory);
  return module.exports;
}

/** Writes the cache of a file: of all its functions, since those that a start calls are most of them. */
function writeCache(path) {
  const { setFlagsFromString } = require("node:v8");
  setFlagsFromString("--no-lazy");
  const script = compile(path);
  setFlagsFromString("--lazy");
  const next = join(dirname(path), `.${basename(path)}.${process.pid}`);
  writeFileSync(next, script.createCachedData());
  renameSync(next, path + CACHE_SUFFIX);
}

module.exports = { CACHE_SUFFIX, load };

if (require.main === module) for (const path of process.argv.slice(2)) writeCache(path);
