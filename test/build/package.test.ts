/** What npm has to find in the package, so that a fresh clone installs. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

interface LockedPackage {
  readonly version?: string;
  readonly resolved?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

function readJson<T>(name: string): T {
  return JSON.parse(readFileSync(join(ROOT, name), "utf8")) as T;
}

const { packages } = readJson<{ packages: Readonly<Record<string, LockedPackage>> }>("package-lock.json");

/** Where Node would find `name` from the package at `from`, among the locked ones. */
function isLocked(name: string, from: string): boolean {
  const places = [from];
  for (let at = from; at !== ""; ) {
    at = at.includes("/node_modules/") ? at.slice(0, at.lastIndexOf("/node_modules/")) : "";
    places.push(at);
  }
  return places.some(
    (place) => packages[`${place === "" ? "" : `${place}/`}node_modules/${name}`] !== undefined,
  );
}

it("locks every package of every platform, which npm ci insists on", () => {
  const missing = Object.entries(packages).flatMap(
    ([from, { dependencies = {}, optionalDependencies = {} }]) =>
      Object.keys({ ...dependencies, ...optionalDependencies })
        .filter((name) => !isLocked(name, from))
        .map((name) => `${name} for ${from}`),
  );
  expect(missing).toEqual([]);
});

it("names no registry in the lock file", () => {
  expect(Object.values(packages).filter(({ resolved }) => resolved !== undefined)).toEqual([]);
});

it("has every file that it points at", () => {
  const manifest = readJson<{ bin: Record<string, string>; files: string[] }>("package.json");
  expect(statSync(join(ROOT, manifest.bin["sluice"])).mode & 0o111).toBe(0o111);
  const sources = manifest.files.filter((name) => !name.startsWith("!") && !name.startsWith("dist/"));
  expect(sources.filter((name) => !existsSync(join(ROOT, name)))).toEqual([]);
});
