/**
 * What the native part is made of, and how to tell whether a built file still matches its sources. CommonJS, so
 * that the loader can use it synchronously from src/ as well as from dist/src/.
 */
const { readdirSync, readFileSync } = require("node:fs");
const { isAbsolute, join } = require("node:path");

const FLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden"];
const MARK = "sluice-fingerprint:";

/** The products: their file names, and which sources belong to them. */
const PRODUCTS = {
  addon: { output: "sluice.node", flags: [...FLAGS, "-fPIC", "-shared"], owns: (name) => !/^(helper|launcher)/.test(name) },
  helper: { output: "sluice-helper", flags: [...FLAGS, "-D_GNU_SOURCE"], owns: (name) => name.startsWith("helper") },
  launcher: { output: "sluice-launcher", flags: [...FLAGS, "-D_GNU_SOURCE"], owns: (name) => name.startsWith("launcher") },
};

/** Where the files that come with the package lie, by processor (prebuilt.mjs). */
const PREBUILT = join(__dirname, "prebuilt");

/** Names of a product's C sources and headers, sorted. */
function sourcesOf(product) {
  return readdirSync(__dirname)
    .filter((name) => /\.[ch]$/.test(name) && PRODUCTS[product].owns(name))
    .sort();
}

/** A hash over everything that decides what a product becomes. It is compiled into the product. */
function fingerprintOf(product, architecture = process.arch) {
  // Loaded only here: it takes longer than all else that the loader of a built product does.
  const hash = require("node:crypto").createHash("sha256");
  hash.update(`${architecture} ${PRODUCTS[product].flags.join(" ")}`);
  for (const name of sourcesOf(product)) hash.update(`\0${name}\0`).update(readFileSync(join(__dirname, name)));
  return hash.digest("hex").slice(0, 16);
}

/** Whether the file at `path` was built from the sources as they are now. */
function isCurrent(path, fingerprint) {
  try {
    return readFileSync(path).includes(MARK + fingerprint);
  } catch {
    return false;
  }
}

/** Where the package's own file of a product is, or would be. */
function prebuiltPath(product, architecture = process.arch) {
  return join(PREBUILT, `linux-${architecture}`, PRODUCTS[product].output);
}

/**
 * The user's cache (XDG Base Directory Specification, which has relative paths ignored), or undefined where there is no
 * home: a service's environment is empty, and a container's user may be in no user database. Here is what is built for a user
 * who cannot write in the package: the native part, and code caches (src/build/program-loader.cjs).
 */
function cacheDirectory() {
  const cache = process.env.XDG_CACHE_HOME ?? "";
  if (isAbsolute(cache)) return cache;
  try {
    // HOME, or what the user database says.
    const home = process.env.HOME ? process.env.HOME : require("node:os").userInfo().homedir;
    return isAbsolute(home) ? join(home, ".cache") : undefined;
  } catch {
    return undefined;
  }
}

module.exports = { PRODUCTS, MARK, PREBUILT, sourcesOf, fingerprintOf, isCurrent, prebuiltPath, cacheDirectory };
