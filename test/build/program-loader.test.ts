import { spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Script } from "node:vm";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { needs } from "../support/requirements.ts";

const LOADER = fileURLToPath(new URL("../../src/build/program-loader.cjs", import.meta.url));
const INNER = `exports.greet = (name) => ["hello", name].join(" ");
exports.place = () => /\\((.*):\\d+:\\d+\\)/.exec(new Error().stack)[1];`;
const OUTER = 'exports.text = require("./inner-x.js").greet(require("node:path").basename(__filename));';
const SUFFIX = `.${process.version}-${process.arch}.cache`;
/** Two users who are nobody else here. */
const USER = 54321;
const STRANGER = 54322;

let folder = "";
let directory = "";
let home = "";

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sluice-program-"));
  chmodSync(folder, 0o755);
  directory = join(folder, "dist/program");
  home = join(folder, "home");
  mkdirSync(directory, { recursive: true });
  mkdirSync(join(folder, "native-shims"));
  mkdirSync(home);
  copyFileSync(join(PROJECT_ROOT, "native-shims/sources.cjs"), join(folder, "native-shims/sources.cjs"));
  copyFileSync(LOADER, join(directory, "program-loader.js"));
  writeFileSync(join(directory, "inner-x.js"), INNER);
  writeFileSync(join(directory, "outer-x.js"), OUTER);
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

interface As {
  readonly uid?: number;
  readonly home?: string;
  readonly flags?: readonly string[];
}

function node(words: readonly string[], { uid, home: at = home, flags = [] }: As = {}) {
  const env = { PATH: process.env["PATH"], HOME: at };
  const identity = uid === undefined ? {} : { uid, gid: uid };
  return spawnSync(process.execPath, [...flags, ...words], {
    cwd: directory,
    encoding: "utf8",
    env,
    ...identity,
  });
}

/** What the program says. */
function run(as: As = {}): string {
  const code = `console.log(require("./program-loader.js").load(require("node:path").resolve("outer-x.js")).text)`;
  return node(["-e", code], as).stdout.trim();
}

const make = (as: As = {}) => node([join(directory, "program-loader.js")], as);
const caches = (where = directory): string[] => readdirSync(where).filter((name) => name.endsWith(".cache"));
const ownPlace = (): string => join(home, ".cache/sluice/program", directory);

/**
 * Puts the cache of other code that is as long where the one of inner-x.js belongs: V8 takes it, and what runs is not the file's
 * own. Returns the path.
 */
function plant(where: string): string {
  const other = mkdtempSync(join(folder, "other-"));
  cpSync(directory, join(other, "dist/program"), { recursive: true });
  cpSync(join(folder, "native-shims"), join(other, "native-shims"), { recursive: true });
  for (const name of caches(join(other, "dist/program"))) rmSync(join(other, "dist/program", name));
  writeFileSync(join(other, "dist/program/inner-x.js"), INNER.replace("hello", "HELLO"));
  node([join(other, "dist/program/program-loader.js"), "--for", directory]);
  const path = join(where, `inner-x.js${SUFFIX}`);
  copyFileSync(join(other, `dist/program/inner-x.js${SUFFIX}`), path);
  return path;
}

const OWN = "hello outer-x.js";
const PLANTED = "HELLO outer-x.js";

describe("a program's files", () => {
  it("run without caches, with them, and under flags that the caches were not made for", () => {
    expect(run()).toBe(OWN);
    expect(make()).toMatchObject({ status: 0, stdout: "", stderr: "" });
    expect(caches()).toHaveLength(2);
    expect(run()).toBe(OWN);
    expect(run({ flags: ["--max-semi-space-size=2"] })).toBe(OWN);
  });

  it("run with caches that are damaged, which are made anew", () => {
    make();
    const [first, second] = caches().map((name) => join(directory, name));
    const sizes = [first, second].map((path) => statSync(path).size);
    writeFileSync(first, readFileSync(first).subarray(0, 40));
    writeFileSync(second, "");
    expect(run()).toBe(OWN);
    make();
    expect([first, second].map((path) => statSync(path).size)).toEqual(sizes);
  });

  it("have caches that V8 takes", () => {
    make();
    const path = join(directory, "inner-x.js");
    const cachedData = readFileSync(`${path}${SUFFIX}`);
    const source = `(function (exports, require, module, __filename, __dirname) { ${INNER}\n})`;
    const code = `const { Script } = require("node:vm");
      const [source, data] = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
      const script = new Script(source, { cachedData: Buffer.from(data, "hex") });
      console.log(script.cachedDataRejected)`;
    const input = JSON.stringify([source, cachedData.toString("hex")]);
    const { stdout } = spawnSync(process.execPath, ["-e", code], { input, encoding: "utf8" });
    expect(stdout.trim()).toBe("false");
    expect(new Script(`${source} `, { cachedData }).cachedDataRejected).toBe(true);
  });

  it("keep the caches that are good, and name the place that --for says", () => {
    make();
    const path = join(directory, `inner-x.js${SUFFIX}`);
    const before = statSync(path).ino;
    make();
    expect(statSync(path).ino).toBe(before);
    node([join(directory, "program-loader.js"), "--for", "/usr/lib/elsewhere"]);
    const code = `console.log(require("./program-loader.js").load(${JSON.stringify(join(directory, "inner-x.js"))}).place())`;
    // V8 takes a file's name from its cache up to Node 20, later from who loads it.
    const isFromCache = Number.parseInt(process.versions.node, 10) <= 20;
    const place = isFromCache ? "/usr/lib/elsewhere" : directory;
    expect(node(["-e", code]).stdout).toBe(`${place}/inner-x.js\n`);
  });
});

describe("a cache that somebody else may have written", () => {
  it("is not taken when others can write it, or it is no file", () => {
    const path = plant(directory);
    chmodSync(path, 0o644);
    expect(run()).toBe(PLANTED);
    for (const mode of [0o666, 0o664, 0o646]) {
      chmodSync(path, mode);
      expect(run(), mode.toString(8)).toBe(OWN);
    }
    chmodSync(path, 0o644);
    renameSync(path, join(folder, "elsewhere"));
    symlinkSync(join(folder, "elsewhere"), path);
    expect(run()).toBe(OWN);
    rmSync(path);
    spawnSync("mkfifo", [path]);
    expect(run()).toBe(OWN);
  });

  it("is not taken when it is not the owner's of its file", (context) => {
    needs(context, { root: true });
    const path = plant(directory);
    chownSync(path, STRANGER, STRANGER);
    expect(run()).toBe(OWN);
    chownSync(join(directory, "inner-x.js"), STRANGER, STRANGER);
    expect(run()).toBe(PLANTED);
    chownSync(path, 0, 0);
    expect(run()).toBe(OWN);
  });

  it("is made anew, and belongs to the owner of its file", (context) => {
    needs(context, { root: true });
    const path = plant(directory);
    chmodSync(path, 0o666);
    chownSync(join(directory, "inner-x.js"), USER, USER);
    expect(make().status).toBe(0);
    expect(statSync(path)).toMatchObject({ uid: USER, mode: 0o100644 });
    expect(run()).toBe(OWN);
    expect(readFileSync(path, "latin1")).not.toContain("HELLO");
  });
});

describe("a user who may not write beside the files", () => {
  beforeEach((context) => {
    needs(context, { root: true });
    chownSync(home, USER, USER);
  });

  it("has caches in a place that is the user's alone", () => {
    expect(make({ uid: USER })).toMatchObject({ status: 0, stderr: "" });
    expect(caches()).toEqual([]);
    expect(caches(ownPlace())).toHaveLength(2);
    expect(statSync(ownPlace())).toMatchObject({ uid: USER, mode: 0o040700 });
    expect(run({ uid: USER })).toBe(OWN);
    chownSync(plant(ownPlace()), USER, USER);
    expect(run({ uid: USER })).toBe(PLANTED);
    expect(run(), "root runs nothing of it").toBe(OWN);
  });

  it("makes none where the ones beside the files are good", () => {
    make();
    expect(make({ uid: USER }).status).toBe(0);
    expect(existsSync(ownPlace())).toBe(false);
  });

  it("runs none that others can have written", () => {
    make({ uid: USER });
    const path = plant(ownPlace());
    chownSync(path, STRANGER, STRANGER);
    expect(run({ uid: USER })).toBe(OWN);
    chownSync(path, USER, USER);
    chmodSync(path, 0o666);
    expect(run({ uid: USER })).toBe(OWN);
    chmodSync(path, 0o644);
    expect(run({ uid: USER })).toBe(PLANTED);
    chmodSync(ownPlace(), 0o777);
    expect(run({ uid: USER })).toBe(OWN);
    expect(make({ uid: USER })).toMatchObject({
      status: 1,
      stderr: `${ownPlace()}: others can write there\n`,
    });
    chmodSync(ownPlace(), 0o755);
    chownSync(ownPlace(), STRANGER, STRANGER);
    expect(run({ uid: USER })).toBe(OWN);
  });

  it("loses those of files that are gone, and all at the end with the directories that are empty", () => {
    make({ uid: USER });
    const gone = join(ownPlace(), `before-x.js${SUFFIX}`);
    writeFileSync(gone, "");
    make({ uid: USER });
    expect([existsSync(gone), caches(ownPlace()).length]).toEqual([false, 2]);
    const code = `require("./program-loader.js").removeOwnCaches(${JSON.stringify(directory)})`;
    mkdirSync(join(home, ".cache/sluice/other"));
    expect(node(["-e", code], { uid: USER }).stderr).toBe("");
    expect(readdirSync(join(home, ".cache/sluice"))).toEqual(["other"]);
    expect(node(["-e", code], { uid: USER }).stderr).toBe("");
  });

  it("does without where there is no home, as nobody does, whose files are anybody's in a user namespace", () => {
    const denied = /^EACCES: permission denied/;
    expect(make({ uid: USER, home: "nowhere" })).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(denied),
    });
    chownSync(home, 65534, 65534);
    expect(make({ uid: 65534 })).toMatchObject({ status: 1, stderr: expect.stringMatching(denied) });
    expect(readdirSync(home)).toEqual([]);
    expect(run({ uid: 65534 })).toBe(OWN);
  });
});
