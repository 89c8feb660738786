/**
 * What the native part is made of, and how to tell whether a built file still matches its sources. CommonJS, so
 * that the loader can use it synchronously from src/ as well as from dist/src/.
 */
const { readdirSync, readFileSync } = require("node:fs");
const { join } = require("node:path");

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

module.exports = { PRODUCTS, MARK, PREBUILT, sourcesOf, fingerprintOf, isCurrent, prebuiltPath };
