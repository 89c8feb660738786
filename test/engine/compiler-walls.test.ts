/** What the compiler lets into the core: a file that would break the walls must not compile as part of it. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PROJECT_ROOT } from "../support/project-root.ts";

const PROBES = {
  setTimeout: "setTimeout(() => {}, 1);",
  setImmediate: "setImmediate(() => {});",
  Buffer: "export const octets = Buffer.alloc(1);",
  process: "export const pid = process.pid;",
  console: "console.log(1);",
  performance: "export const now = performance.now();",
  "node:fs": 'export { readFileSync } from "node:fs";',
  "src/host": `export { StartError } from ${JSON.stringify(join(PROJECT_ROOT, "src/host/start-error.ts"))};`,
};

let directory = "";
let complaints = "";

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "sluice-walls-"));
  const engine = join(PROJECT_ROOT, "src", "engine");
  const files = Object.values(PROBES).map((text, i) => {
    const file = join(directory, `probe-${i}.ts`);
    writeFileSync(file, text);
    return file;
  });
  const fine = join(directory, "fine.ts");
  writeFileSync(fine, 'export const octets = new TextEncoder().encode("a");');
  const config = {
    extends: join(engine, "tsconfig.json"),
    compilerOptions: { rootDir: "/", outDir: join(directory, "out") },
    files: [...files, fine, join(engine, "text-coding.d.ts")],
    include: [],
  };
  writeFileSync(join(directory, "tsconfig.json"), JSON.stringify(config));
  writeFileSync(join(directory, "package.json"), '{"type":"module"}');
  const tsc = join(PROJECT_ROOT, "node_modules", "typescript", "bin", "tsc");
  const run = spawnSync(process.execPath, [tsc, "-p", directory, "--pretty", "false"], { encoding: "utf8" });
  complaints = run.stdout + run.stderr;
});

afterAll(() => {
  rmSync(directory, { recursive: true });
});

describe("the compiler", () => {
  it.each(Object.keys(PROBES).map((name, i) => [name, i] as const))("refuses %s in the core", (_name, i) => {
    expect(complaints).toMatch(new RegExp(`probe-${i}\\.ts\\(\\d+,\\d+\\): error TS`));
  });

  it("takes what the language has, and text coding", () => {
    expect(complaints).not.toContain("fine.ts");
  });
});
