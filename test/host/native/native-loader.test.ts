import { execFile, spawnSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir, userInfo } from "node:os";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { packageRoot } from "../../../src/host/native/native-loader.ts";

type Loader = typeof import("../../../src/host/native/native-loader.ts");

const root = packageRoot();
const shims = join(root, "native-shims");
let copy = "";
let cache = "";
let said = "";

/** Copies the package's own files, without what was built, and imports the loader from there. */
async function importLoader(): Promise<Loader> {
  return (await import(
    pathToFileURL(join(copy, "src", "host", "native", "native-loader.ts")).href
  )) as Loader;
}

beforeEach(() => {
  copy = mkdtempSync(join(tmpdir(), "sluice-loader-"));
  cache = join(copy, "cache");
  cpSync(shims, join(copy, "native-shims"), {
    recursive: true,
    filter: (path) => !["build", "prebuilt"].some((name) => `${path}/`.startsWith(`${join(shims, name)}/`)),
  });
  cpSync(join(root, "package.json"), join(copy, "package.json"));
  // Not every Node has its headers beside it.
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  for (const name of ["native-loader.ts"])
    cpSync(join(root, "src/host/native", name), join(copy, "src/host/native", name));
  vi.stubEnv("XDG_CACHE_HOME", cache);
  said = "";
  vi.spyOn(process.stderr, "write").mockImplementation((chunk) => {
    said += chunk;
    return true;
  });
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  rmSync(copy, { recursive: true, force: true });
});

describe("the loader", () => {
  it("takes what came with the package before it builds anything, and says when that is of other sources", async () => {
    const prebuilt = join(copy, "native-shims", "prebuilt", `linux-${process.arch}`);
    const loader = await importLoader();
    for (const path of [loader.addonPath(), loader.helperPath()])
      cpSync(path, join(prebuilt, basename(path)));
    rmSync(join(copy, "native-shims", "build"), { recursive: true });
    said = "";
    expect(loader.addonPath()).toBe(join(prebuilt, "sluice.node"));
    expect(loader.helperPath()).toBe(join(prebuilt, "sluice-helper"));
    expect(said).toBe("");
    // A program that an archive has made a file of.
    chmodSync(join(prebuilt, "sluice-helper"), 0o644);
    vi.stubEnv("CC", "/nonexistent/cc");
    expect(() => loader.helperPath()).toThrow("the C compiler");
    expect(said).toContain(`sluice: ${prebuilt}/sluice-helper may not be run\n`);
    said = "";
    appendFileSync(join(copy, "native-shims", "shim.h"), "\n");
    expect(() => loader.addonPath()).toThrow("the C compiler");
    expect(said).toContain(`sluice: ${prebuilt}/sluice.node is not of the sources that lie here\n`);
  });

  it("builds what is missing, says so once, and loads it", async () => {
    const loader = await importLoader();
    expect(typeof loader.loadShim().nowMs()).toBe("number");
    expect(said).toMatch(/^sluice: building its native part \(sluice\.node\) in .*, once\n$/);
    expect(loader.addonPath()).toBe(join(copy, "native-shims/build/sluice.node"));
    expect(loader.loadShim().nowMs()).toBeDefined();
    expect(said.split("\n")).toHaveLength(2);
  });

  it("builds again when a source has changed", async () => {
    const loader = await importLoader();
    loader.addonPath();
    writeFileSync(join(copy, "native-shims/process.c"), "/* changed */\n", { flag: "a" });
    loader.addonPath();
    expect(said.match(/building/g)).toHaveLength(2);
  });

  it("takes what was built of the sources that the program was bundled with", async () => {
    const { fingerprintOf } = createRequire(import.meta.url)(join(shims, "sources.cjs")) as {
      fingerprintOf(product: string): string;
    };
    const loader = await importLoader();
    const built = loader.addonPath();
    writeFileSync(join(copy, "native-shims/process.c"), "/* changed */\n", { flag: "a" });
    vi.stubGlobal("SLUICE_FINGERPRINTS", { [`addon-${process.arch}`]: fingerprintOf("addon") });
    expect(loader.addonPath()).toBe(built);
    expect(said.match(/building/g)).toHaveLength(1);
    vi.stubGlobal("SLUICE_FINGERPRINTS", { [`addon-${process.arch}`]: "another" });
    loader.addonPath();
    expect(said.match(/building/g)).toHaveLength(2);
    vi.unstubAllGlobals();
  });

  it("builds in the user's cache when the package cannot be written", async () => {
    writeFileSync(join(copy, "native-shims/build"), "in the way");
    const loader = await importLoader();
    const path = loader.addonPath();
    expect(path.startsWith(`${join(cache, "sluice")}/`)).toBe(true);
    expect(loader.loadShim().checksum(0, 0, 1)).toBe(1);
    expect(loader.addonPath()).toBe(path);
    expect(said.match(/building/g)).toHaveLength(1);
  });

  it("says so when nothing can be written", async () => {
    writeFileSync(join(copy, "native-shims/build"), "in the way");
    writeFileSync(cache, "in the way");
    const loader = await importLoader();
    expect(() => loader.loadShim()).toThrow(
      expect.objectContaining({ name: "ShimError", code: "SHIM_DIRECTORY" }),
    );
  });

  it("finds the user's cache without the environment that a login has, or does without", async () => {
    const { cacheDirectory } = await importLoader();
    const { homedir } = userInfo();
    for (const [xdg, home, expected] of [
      ["/cache", "/home/x", "/cache"],
      ["relative", "/home/x", "/home/x/.cache"],
      [undefined, "relative", undefined],
      [undefined, "", join(homedir, ".cache")],
      [undefined, undefined, join(homedir, ".cache")],
    ] as const) {
      vi.stubEnv("XDG_CACHE_HOME", xdg);
      vi.stubEnv("HOME", home);
      expect(cacheDirectory()).toBe(expected);
    }
  });

  it("says in a sentence that nothing can be written where there is no home either", async () => {
    writeFileSync(join(copy, "native-shims/build"), "in the way");
    vi.stubEnv("XDG_CACHE_HOME", undefined);
    vi.stubEnv("HOME", "nowhere");
    const loader = await importLoader();
    expect(() => loader.loadShim()).toThrow(
      /^the native part is not built, and \S+\/native-shims\/build is not writable; run it once as .* XDG_CACHE_HOME .*$/,
    );
  });

  it("builds again what cannot be loaded", async () => {
    const loader = await importLoader();
    const path = loader.addonPath();
    const mark = /sluice-fingerprint:[0-9a-f]{16}/.exec(readFileSync(path, "latin1"))![0];
    writeFileSync(path, mark);
    expect(typeof loader.loadShim().nowMs()).toBe("number");
  });

  it("names the compiler that is missing and how to get one", async () => {
    vi.stubEnv("CC", "no-such-compiler");
    const loader = await importLoader();
    let error: unknown;
    try {
      loader.loadShim();
    } catch (caught) {
      error = caught;
    }
    expect(error).toMatchObject({ name: "ShimError", code: "SHIM_BUILD" });
    expect((error as Error).message).toMatch(
      /^the C compiler "no-such-compiler" was not found; install one .*apt install gcc/,
    );
    expect((error as Error).message).not.toContain("\n");
  });

  it("says what the compiler refused", async () => {
    writeFileSync(join(copy, "native-shims/process.c"), "int broken(\n");
    const loader = await importLoader();
    expect(() => loader.loadShim()).toThrow(/^cc could not compile the native part \(process\.c:.*error:/);
  });

  it("says so when the package's files are not all there", async () => {
    rmSync(join(copy, "native-shims"), { recursive: true });
    const loader = await importLoader();
    expect(() => loader.loadShim()).toThrow(expect.objectContaining({ code: "SHIM_PACKAGE" }));
  });
});

describe("build.mjs", () => {
  const script = (): string => join(copy, "native-shims/build.mjs");

  it("may run several times at once and leaves nothing but the products", async () => {
    const run = promisify(execFile);
    const builds = [1, 2].map(() => run(process.execPath, [script(), "--force", "--product", "addon"]));
    await Promise.all(builds);
    expect(readdirSync(join(copy, "native-shims/build"))).toEqual(["sluice.node"]);
    const addon = createRequire(import.meta.url)(join(copy, "native-shims/build/sluice.node"));
    expect(typeof addon.nowMs()).toBe("number");
  });

  it("sweeps what a build that was killed has left, and not that of one that runs", () => {
    const build = join(copy, "native-shims/build");
    for (const name of [".build-killed", ".build-running"]) mkdirSync(join(build, name), { recursive: true });
    utimesSync(join(build, ".build-killed"), 1, 1);
    spawnSync(process.execPath, [script(), "--product", "helper"]);
    expect(readdirSync(build).sort()).toEqual([".build-running", "sluice-helper"]);
  });

  it("leaves a current product alone, and ends with 1 and a sentence on failure", () => {
    const first = spawnSync(process.execPath, [script(), "--product", "addon"], { encoding: "utf8" });
    expect(first).toMatchObject({ status: 0, stderr: expect.stringMatching(/^built sluice\.node in/) });
    expect(spawnSync(process.execPath, [script(), "--product", "addon"], { encoding: "utf8" }).stderr).toBe(
      "",
    );
    const env = { ...process.env, CC: "no-such-compiler" };
    const failed = spawnSync(process.execPath, [script(), "--force", "--product", "addon"], {
      encoding: "utf8",
      env,
    });
    expect(failed).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^sluice: the C compiler .*\n$/),
    });
    expect(existsSync(join(copy, "native-shims/build/sluice.node"))).toBe(true);
  });

  it("compiles against node-api-headers where Node has no headers beside it, without a warning", async () => {
    const { findHeaders } = (await import(pathToFileURL(join(shims, "build.mjs")).href)) as {
      findHeaders(execPath: string): string;
    };
    const headers = findHeaders(join(copy, "package.json"));
    expect(headers).toMatch(/node-api-headers/);
    const files = readdirSync(shims).filter((name) => name.endsWith(".c") && !name.startsWith("helper"));
    const args = [
      "-std=gnu11",
      "-Wall",
      "-Wextra",
      "-Werror",
      "-fsyntax-only",
      "-isystem",
      headers,
      ...files,
    ];
    const run = spawnSync(process.env["CC"] || "cc", args, { cwd: shims, encoding: "utf8" });
    expect(run).toMatchObject({ status: 0, stderr: "" });
  });
});
