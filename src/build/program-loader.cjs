/**
 * Loads the files of dist/program, where this one is copied to, each with V8's code cache where there is one: most of
 * what Node does before the first packet would otherwise be parsing and compiling.
 *
 * A cache holds the bytecode of every function in one file, and is made by whoever builds or installs the program or the
 * names it stands under, never by a start. It lies beside its file or, where that place is not theirs to write, in the
 * user's own cache. It is bound to its file by the hash in the file's name, to Node by its own name, and to V8's version and
 * flags by V8, which rejects any other; then, and where there is none, the file is compiled as usual. (Whoever edits a file
 * there by hand removes the cache beside it.)
 *
 * V8 does not compare a cache with its source: a cache is code. So one is taken only where nobody else can have written
 * it: beside its file if it belongs to the file's owner, whose code runs anyway; in the user's cache if that user or root owns it.
 *
 * Usage, in the build and by `sluice names install`: node program-loader.js [--for DIRECTORY]
 * Makes the caches of the files beside this one that have none that this Node takes; with --for, of all, beside them, as
 * they will be when they lie in DIRECTORY. Status 1 and a sentence on standard error when one could not be written.
 */
const fs = require("node:fs");
const { basename, dirname, join } = require("node:path");
const { Script } = require("node:vm");

/** Another Node may have the same V8, and another one of ours may be built for the other architecture. */
const CACHE_SUFFIX = `.${process.version}-${process.arch}.cache`;
/** Files that are loaded as Node loads any. */
const PLAIN = [basename(__filename), "main.js", "engine-process.js", "replay-process.js"];
const WRITABLE_BY_OTHERS = 0o022;
/** Whose number files also have that belong to nobody in a user namespace: as an owner it says nothing. */
const NOBODY = 65534;

/** No place of the user's that could be trusted. */
class CacheError extends Error {
  name = "CacheError";
}

const loaded = new Map();
/** Of the files' directory, once somebody has looked: `path` is undefined where there is none. */
let foundPlace;

/** Where users have caches that they cannot write beside the files; undefined for nobody, and where there is no home. */
function ownCaches(directory) {
  if (process.geteuid() === NOBODY) return undefined;
  const { cacheDirectory } = require(join(directory, "..", "..", "native-shims", "sources.cjs"));
  const cache = cacheDirectory();
  return cache === undefined ? undefined : join(cache, "sluice", "program");
}

/** There, those of the files in `directory`, by its path: stack traces get the files' names from their caches. */
function ownPlace(directory) {
  const caches = ownCaches(directory);
  return caches === undefined ? undefined : join(caches, directory);
}

function isOurs({ uid, mode }) {
  return (uid === process.geteuid() || uid === 0) && (mode & WRITABLE_BY_OTHERS) === 0;
}

/** The user's place if it is there and nobody else can write in it. */
function trustedPlace(directory) {
  try {
    const place = ownPlace(directory);
    return place !== undefined && isOurs(fs.lstatSync(place)) ? place : undefined;
  } catch {
    return undefined;
  }
}

/** What is in the file at `path`, if it is one and `isTrusted` says so of its status. */
function readTrusted(path, isTrusted) {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
  let fd;
  try {
    fd = fs.openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    const status = fs.fstatSync(fd);
    return status.isFile() && isTrusted(status) ? fs.readFileSync(fd) : undefined;
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

/** The file as the function that Node's own loader makes of it. The build leaves only ASCII in it. */
function compile(path, cachedData, filename = path) {
  const source = `(function (exports, require, module, __filename, __dirname) { ${fs.readFileSync(path, "latin1")}\n})`;
  return new Script(source, { filename, cachedData });
}

/** What can be trusted of a file's caches, the likelier first. */
function* cachesOf(path) {
  const owner = fs.statSync(path).uid;
  const isOfOwner = ({ uid, mode }) => uid === owner && (mode & WRITABLE_BY_OTHERS) === 0;
  const beside = readTrusted(path + CACHE_SUFFIX, isOfOwner);
  if (beside !== undefined) yield beside;
  foundPlace ??= { path: trustedPlace(dirname(path)) };
  const own = foundPlace.path && readTrusted(join(foundPlace.path, basename(path) + CACHE_SUFFIX), isOurs);
  if (own !== undefined) yield own;
}

function compileBest(path) {
  for (const cache of cachesOf(path)) {
    const script = compile(path, cache);
    if (!script.cachedDataRejected) return script;
  }
  return compile(path);
}

/** Runs a file once and returns what it exports. */
function load(path) {
  const before = loaded.get(path);
  if (before !== undefined) return before.exports;
  const module = { exports: {} };
  loaded.set(path, module);
  const directory = dirname(path);
  const requireFrom = (id) => (id.startsWith("./") ? load(join(directory, id)) : require(id));
  const script = compileBest(path);
  script.runInThisContext()(module.exports, requireFrom, module, path, directory);
  return module.exports;
}

/** Whether V8 takes a cache of the file. Under another name: what it compiled so far is not to be found again below. */
function isCached(path) {
  for (const cache of cachesOf(path)) if (!compile(path, cache, "").cachedDataRejected) return true;
  return false;
}

/** Of all of a file's functions, since those that a start calls are most of them. */
function cacheOf(path, filename) {
  const { setFlagsFromString } = require("node:v8");
  setFlagsFromString("--no-lazy");
  const script = compile(path, undefined, filename);
  setFlagsFromString("--lazy");
  return script.createCachedData();
}

/** Puts a cache in place whole, readable for all and writable for its owner. Throws the file system's error. */
function put(path, data, owner) {
  const next = join(dirname(path), `.${basename(path)}.${process.pid}`);
  // Not through a link that somebody has put there.
  const fd = fs.openSync(next, "wx", 0o644);
  try {
    fs.fchmodSync(fd, 0o644);
    if (owner !== process.geteuid()) fs.fchownSync(fd, owner, -1);
    fs.writeFileSync(fd, data);
    fs.renameSync(next, path);
  } catch (error) {
    fs.rmSync(next, { force: true });
    throw error;
  } finally {
    fs.closeSync(fd);
  }
}

/** Writes a file's cache beside it where it would be taken there, else into the user's place. Throws the file system's error. */
function writeCache(path, cache) {
  const owner = fs.statSync(path).uid;
  const name = basename(path) + CACHE_SUFFIX;
  try {
    put(join(dirname(path), name), cache, owner);
  } catch (error) {
    const place = ownPlace(dirname(path));
    if (place === undefined) throw error;
    fs.mkdirSync(place, { recursive: true, mode: 0o700 });
    if (trustedPlace(dirname(path)) === undefined) throw new CacheError(`${place}: others can write there`);
    put(join(place, name), cache, process.geteuid());
  }
}

/** Removes from the user's place what is of files that are there no more. */
function sweep(directory, files) {
  const place = trustedPlace(directory);
  const names = place === undefined ? [] : fs.readdirSync(place);
  for (const name of names.filter((each) => !files.some((file) => each.startsWith(`${file}.`))))
    fs.rmSync(join(place, name), { force: true });
}

/** Removes the user's own caches of the program in `directory`, and the directories above that are empty then. */
function removeOwnCaches(directory) {
  const place = trustedPlace(directory);
  if (place === undefined) return;
  fs.rmSync(place, { recursive: true });
  try {
    const last = dirname(ownCaches(directory));
    for (let above = dirname(place); above.length >= last.length; above = dirname(above)) fs.rmdirSync(above);
  } catch {
    // Something else is in it: another program's caches, the native part.
  }
}

function makeCaches(option, directory) {
  const files = fs.readdirSync(__dirname).filter((name) => name.endsWith(".js") && !PLAIN.includes(name));
  for (const name of files) {
    const path = join(__dirname, name);
    if (option === "--for") put(path + CACHE_SUFFIX, cacheOf(path, join(directory, name)), process.geteuid());
    else if (!isCached(path)) writeCache(path, cacheOf(path, path));
  }
  if (option === undefined) sweep(__dirname, files);
}

/** A module of somebody's own, as Node loads any: what `load` has run can import nothing by itself. */
const importModule = (url) => import(url);

module.exports = { load, trustedPlace, removeOwnCaches, importModule };

if (require.main === module) {
  try {
    makeCaches(...process.argv.slice(2));
  } catch (error) {
    if (error.syscall === undefined && !(error instanceof CacheError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
}
