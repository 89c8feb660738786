import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Script } from "node:vm";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const { makeCaches } = (await import(new URL("../../src/build/bundle.mjs", import.meta.url).href)) as {
  makeCaches(directory: string): void;
};
const LOADER = fileURLToPath(new URL("../../src/build/program-loader.cjs", import.meta.url));
const INNER = 'exports.greet = (name) => ["hello", name].join(" ");';
const OUTER = 'exports.text = require("./inner-x.js").greet(require("node:path").basename(__filename));';

let directory = "";

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "sluice-program-"));
  copyFileSync(LOADER, join(directory, "program-loader.js"));
  writeFileSync(join(directory, "inner-x.js"), INNER);
  writeFileSync(join(directory, "outer-x.js"), OUTER);
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

function run(...flags: string[]): string {
  const code = `console.log(require("./program-loader.js").load(require("node:path").resolve("outer-x.js")).text)`;
  return execFileSync(process.execPath, [...flags, "-e", code], { cwd: directory, encoding: "utf8" }).trim();
}

const caches = (): string[] => readdirSync(directory).filter((name) => name.endsWith(".cache"));

describe("a program's files", () => {
  it("run without caches, with them, and under flags that the caches were not made for", () => {
    expect(run()).toBe("hello outer-x.js");
    makeCaches(directory);
    expect(caches()).toHaveLength(2);
    expect(run()).toBe("hello outer-x.js");
    expect(run("--max-semi-space-size=2")).toBe("hello outer-x.js");
  });

  it("run with caches that are damaged", () => {
    makeCaches(directory);
    const [first, second] = caches().map((name) => join(directory, name));
    writeFileSync(first, readFileSync(first).subarray(0, 40));
    writeFileSync(second, "");
    expect(run()).toBe("hello outer-x.js");
  });

  it("have caches that V8 takes", () => {
    makeCaches(directory);
    const path = join(directory, "inner-x.js");
    const cachedData = readFileSync(`${path}.${process.version}-${process.arch}.cache`);
    const source = `(function (exports, require, module, __filename, __dirname) { ${INNER}\n})`;
    const code = `const { Script } = require("node:vm");
      const [source, data] = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
      const script = new Script(source, { cachedData: Buffer.from(data, "hex") });
      console.log(script.cachedDataRejected)`;
    const input = JSON.stringify([source, cachedData.toString("hex")]);
    expect(execFileSync(process.execPath, ["-e", code], { input, encoding: "utf8" }).trim()).toBe("false");
    expect(new Script(`${source} `, { cachedData }).cachedDataRejected).toBe(true);
  });
});
