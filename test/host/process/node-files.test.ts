/** What a Node needs, by how it was built. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { absoluteLibraryPath, nodeFiles } from "../../../src/host/process/node-files.ts";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "sluice-files-"));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(directory, { recursive: true });
});

/** The files to read under a build's config.gypi, without those of this Node's own. */
function readable(config: object): string[] {
  const own = nodeFiles().readable;
  vi.spyOn(process, "config", "get").mockReturnValue(config as typeof process.config);
  return nodeFiles().readable.filter((path) => !own.includes(path));
}

const touch = (name: string): string => {
  const path = join(directory, name);
  writeFileSync(path, "");
  return path;
};

describe("a Node", () => {
  it("needs itself, its libraries and the loader, all of which are there", () => {
    const { executable } = nodeFiles();
    expect(executable[0]).toMatch(/\/node/);
    expect(executable.some((path) => /\/ld-[^/]*\.so/.test(path))).toBe(true);
    expect(executable.filter((path) => path.endsWith(".node"))).toEqual([]);
  });

  it("needs the built-in modules that were left out of it, in whatever prefix", () => {
    const [one, two] = [touch("undici-fetch.js"), touch("acorn.js")];
    const defines = [
      "NODE_OPENSSL_CONF_NAME=nodejs_conf",
      `NODE_SHARED_BUILTIN_UNDICI_UNDICI_PATH=${one}`,
      `NODE_SHARED_BUILTIN_ACORN_PATH="${two}"`,
      `NODE_SHARED_BUILTIN_ACORN_WALK_PATH=${join(directory, "not-there.js")}`,
    ];
    expect(readable({ target_defaults: { defines }, variables: {} })).toEqual([one, two]);
  });

  it("needs ICU's data where it is a directory of its own", () => {
    const data = join(directory, "icu");
    mkdirSync(data);
    expect(readable({ variables: { icu_default_data: data } })).toEqual([data]);
  });

  it("needs nothing more by a config that says nothing", () => {
    expect(readable({})).toEqual([]);
    expect(readable({ variables: { icu_gyp_path: "tools/icu/icu-system.gyp" } })).toEqual([]);
  });
});

it("a library path means the same elsewhere", () => {
  expect(absoluteLibraryPath("/a:b;")).toBe(`/a:${process.cwd()}/b:${process.cwd()}`);
});
