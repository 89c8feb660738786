/** The package as npm packs it: what is in it, and that who installs it, without network or scripts, can use all of it. */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, type TestContext } from "vitest";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { needs } from "../support/requirements.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-test-package-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** npm with nothing of this machine's user, and no network unless it is said. */
function npm(args: readonly string[], cwd: string, offline = true) {
  const env = {
    ...process.env,
    npm_config_cache: join(directory, "cache"),
    ...(offline ? { npm_config_offline: "true" } : {}),
  };
  return spawnSync("npm", args, { cwd, env, encoding: "utf8" });
}

interface Packed {
  readonly filename: string;
  readonly files: readonly { readonly path: string; readonly mode: number }[];
}

let packed: Packed;
let archive = "";
let project = "";

beforeAll(() => {
  const { stdout, status } = npm(
    ["pack", "--json", "--ignore-scripts", "--pack-destination", directory],
    PROJECT_ROOT,
  );
  expect(status).toBe(0);
  [packed] = JSON.parse(stdout) as [Packed];
  archive = join(directory, packed.filename);
  project = join(directory, "project");
  mkdirSync(project);
  writeFileSync(join(project, "package.json"), '{ "name": "consumer", "private": true }\n');
  const installed = npm(["install", "--ignore-scripts", "--no-audit", "--no-fund", archive], project);
  expect([installed.status, installed.stderr]).toEqual([0, ""]);
});

describe("the package", () => {
  it("holds what is run, built of and read, and nothing else", () => {
    const allowed =
      /^(package\.json|README\.md|CHANGELOG\.md|LICENSE|dist\/(lib|program|program\/page)\/[^/]+|src\/cli\/sluice\.cjs|src\/build\/[^/]+|native-shims\/[^/]+\.(c|h|cjs|mjs)|native-shims\/prebuilt\/.*|docs\/man\/[^/]+\.1|docs\/[^/]+|docs\/kubevirt\/[^/]+|node_modules\/node-api-headers\/.*)$/;
    const paths = packed.files.map(({ path }) => path);
    expect(paths.filter((path) => !allowed.test(path))).toEqual([]);
    expect(paths.filter((path) => /\.(cache|map|ts)$/.test(path) && !path.endsWith(".d.ts"))).toEqual([]);
    for (const path of [
      "dist/lib/index.cjs",
      "dist/lib/index.d.cts",
      "dist/program/main.js",
      "dist/program/licenses.txt",
    ])
      expect(paths).toContain(path);
    expect(paths.length).toBeLessThan(230);
  });

  it("installs offline, with a command and man pages", () => {
    expect(existsSync(join(project, "node_modules/.bin/sluice"))).toBe(true);
    const prefix = join(directory, "global");
    const { status } = npm(["install", "--global", "--prefix", prefix, "--ignore-scripts", archive], project);
    expect(status).toBe(0);
    const pages = readdirSync(join(PROJECT_ROOT, "docs/man")).sort();
    expect(readdirSync(join(prefix, "share/man/man1")).sort()).toEqual(pages);
    const version = spawnSync(join(prefix, "bin/sluice"), ["--version"], { encoding: "utf8" });
    expect(version.stdout).toMatch(/^sluice \d+\.\d+\.\d+\n$/);
    const caches = (): string[] =>
      readdirSync(join(prefix, "lib/node_modules/sluice/dist/program")).filter((name) =>
        name.endsWith(".cache"),
      );
    expect(caches()).toEqual([]);
    const rebuilt = npm(["rebuild", "--global", "--prefix", prefix, "sluice"], project);
    expect(rebuilt.status).toBe(0);
    expect(caches().length).toBeGreaterThan(20);
  });

  it("names what is bundled in it, with licences and as a bill of materials", () => {
    for (const folder of ["program", "lib"]) {
      const read = (name: string): string =>
        readFileSync(join(project, "node_modules/sluice/dist", folder, name), "utf8");
      const { bomFormat, components } = JSON.parse(read("sbom.cdx.json")) as {
        bomFormat: string;
        components: {
          name: string;
          version: string;
          purl: string;
          licenses: { license: { id: string } }[];
        }[];
      };
      expect(bomFormat).toBe("CycloneDX");
      const names = components.map(({ name }) => name);
      expect(names).toEqual(expect.arrayContaining(["fastest-levenshtein", "ip-address", "yaml", "zod"]));
      if (folder === "program") expect(names).toContain("uplot");
      for (const { name, version, purl, licenses } of components) {
        const manifest = readFileSync(join(PROJECT_ROOT, "node_modules", name, "package.json"), "utf8");
        expect(version).toBe((JSON.parse(manifest) as { version: string }).version);
        expect(purl).toBe(`pkg:npm/${name.replace("@", "%40")}@${version}`);
        expect(read("licenses.txt")).toContain(`${name} ${version} (${licenses[0]?.license.id})\n`);
      }
    }
  });
});

describe("a program that uses it", () => {
  it("requires and imports the same library", () => {
    writeFileSync(
      join(project, "both.mjs"),
      `import { createRequire } from "node:module";
import { ConfigError, createEngine, StartError } from "sluice";
const required = createRequire(import.meta.url)("sluice");
console.log(required.createEngine === createEngine, required.ConfigError === ConfigError, required.StartError === StartError);
for (const create of [createEngine, required.createEngine])
  await create({ mtu: 9, qemuLisen: "x" }).catch((error) => console.log(error instanceof ConfigError, error.code, error.problems.length));
`,
    );
    const { stdout } = spawnSync(process.execPath, ["both.mjs"], { cwd: project, encoding: "utf8" });
    expect(stdout).toBe(`true true true\n${"true ERR_SLUICE_CONFIG 3\n".repeat(2)}`);
  });

  const TSC = join(PROJECT_ROOT, "node_modules", "typescript", "bin", "tsc");
  const compile = (options: readonly string[], files: readonly string[]): string =>
    spawnSync(
      process.execPath,
      [
        TSC,
        "--noEmit",
        "--strict",
        "--exactOptionalPropertyTypes",
        "--target",
        "es2022",
        ...options,
        ...files,
      ],
      {
        cwd: project,
        encoding: "utf8",
      },
    ).stdout;

  it("has its types, whatever it is written in and however it is resolved", () => {
    const body = `
const engine = await_({ qemuListen: "unix:/tmp/vm.sock", ports: ["2222:22", 80], mtu: 1500, tftp: "/srv", restrict: true,
  allow: ({ protocol, remotePort }) => protocol === "tcp" && remotePort === 443 });
void engine.then(async (running) => { const end: EngineEnd = await running.ended; const port: number = running.forwardPorts[0] ?? 0; return [end.reason, port]; });
const decide: Decide = async ({ host, port, protocol, rule, endsInMs }: Question, signal) => {
  if (signal.aborted || protocol === "udp" || rule === "none" || endsInMs === null) return undefined;
  return host.endsWith(".example") ? "allow" : port === 443 ? { verdict: "allow", for: 600 } : { verdict: "deny", for: "always", reason: "no" };
};
const words: readonly Decision[] = ["allow", "deny", { verdict: "allow", for: "once" }];
void await_({ policy: { version: 1, rules: [{ ask: "*" }] }, decide, allow: () => words.length > 0 });
void await_({ policy: "version: 1", decide: () => undefined });
void await_({ policy: "version: 1", decide: (question) => question.host === "a.example" ? "allow" : undefined });
declare function await_(options: SluiceOptions): ReturnType<typeof createEngine>;
export const errors = (error: unknown): string[] => error instanceof ConfigError ? error.problems.map(({ place }) => place) : error instanceof StartError ? error.problems.map(({ reason }) => reason) : [];
`;
    const names =
      "ConfigError, createEngine, type Decide, type Decision, type EngineEnd, type Question, type SluiceOptions, StartError";
    writeFileSync(join(project, "esm.mts"), `import { ${names} } from "sluice";${body}`);
    writeFileSync(join(project, "cjs.cts"), `import { ${names} } from "sluice";${body}`);
    writeFileSync(
      join(project, "cjs-require.cts"),
      `import sluice = require("sluice");\nexport const create: typeof sluice.createEngine = sluice.createEngine;\n`,
    );
    for (const resolution of [
      ["--module", "nodenext"],
      ["--module", "node20"],
      ["--module", "preserve", "--moduleResolution", "bundler"],
    ])
      expect(compile(resolution, ["esm.mts", "cjs.cts", "cjs-require.cts"]), resolution.join(" ")).toBe("");
    writeFileSync(
      join(project, "wrong.mts"),
      `import { createEngine } from "sluice";\nvoid createEngine({ qemuLisen: "x" });\nvoid createEngine({ restrict: "yes" });\nvoid createEngine({ decide: () => true });\nvoid createEngine({ decide: async () => ({ verdict: "maybe" }) });\n`,
    );
    expect(compile(["--module", "nodenext"], ["wrong.mts"]).match(/error TS\d+/g)).toHaveLength(4);
  });

  it("has the types of the sources, option by option", () => {
    writeFileSync(
      join(project, "same.mts"),
      `import type * as ours from "sluice";
import type * as sources from ${JSON.stringify(join(PROJECT_ROOT, "src", "index.ts"))};
type Same<A, B> = (<T>() => T extends { [K in keyof A]: A[K] } ? 1 : 2) extends (<T>() => T extends { [K in keyof B]: B[K] } ? 1 : 2) ? true : never;
export const options: Same<ours.CommandOptions, sources.CommandOptions> = true;
export const there: (options: sources.SluiceOptions) => ours.SluiceOptions = (options) => options;
export const here: (options: ours.SluiceOptions) => sources.SluiceOptions = (options) => options;
export const decide: (decide: sources.Decide) => ours.Decide = (decide) => decide;
export const decided: (decide: ours.Decide) => sources.Decide = (decide) => decide;
export const said: (decision: sources.Decision) => ours.Decision = (decision) => decision;
export const given: (decision: ours.Decision) => sources.Decision = (decision) => decision;
export const engine: (sluice: sources.Sluice) => ours.Sluice = (sluice) => sluice;
export const back: (sluice: ours.Sluice) => sources.Sluice = (sluice) => sluice;
`,
    );
    const types = ["--types", "node", "--typeRoots", join(PROJECT_ROOT, "node_modules", "@types")];
    expect(
      compile(
        ["--module", "nodenext", "--allowImportingTsExtensions", "--skipLibCheck", ...types],
        ["same.mts"],
      ),
    ).toBe("");
  });
});

/** Skips, and says so, what npm could not reach somebody for. */
function skipWithoutNetwork(context: TestContext, name: string, stderr: string): void {
  if (!/E(AI_AGAIN|NOTFOUND|TIMEDOUT|CONNREFUSED)|ENOTCACHED/.test(stderr)) return;
  process.stderr.write(`SKIPPED ${name}: it cannot be fetched\n`);
  context.skip("it cannot be fetched");
}

describe("the checkers of packages", () => {
  // The command begins as a shell script on purpose (src/cli/sluice.cjs), which publint takes for no program.
  const EXPECTED = /^1\. pkg\.bin\.sluice is src\/cli\/sluice\.cjs but the file is not executable\./;

  it.for([
    ["publint", ["publint@0.3", "--strict", "--pack", "false"]],
    ["attw", ["@arethetypeswrong/cli@0.18", "--no-emoji", "--format", "ascii"]],
  ] as const)("%s finds nothing", ([name, [spec, ...args]], context) => {
    needs(context, { commands: ["npm"] });
    const target = name === "attw" ? archive : join(project, "node_modules/sluice");
    const words = ["exec", "--yes", `--package=${spec}`, "--", name, ...args, target];
    const { status, stdout, stderr } = npm(words, directory, false);
    skipWithoutNetwork(context, name, stderr);
    if (name === "attw") {
      expect([status, stdout], stderr).toEqual([0, expect.stringContaining("No problems found")]);
      return;
    }
    const findings = stdout.split("\n").filter((line) => /^\d+\. /.test(line) && !EXPECTED.test(line));
    expect([findings, stdout], stderr).toEqual([[], expect.stringContaining("Linting")]);
  });

  it("npm finds what is built with signed by its registry", (context) => {
    needs(context, { commands: ["npm"] });
    const { status, stdout, stderr } = npm(["audit", "signatures", "--fetch-retries=0"], PROJECT_ROOT, false);
    const finding = /\b(invalid|missing)\b.* signatures?/;
    // Where the keys cannot be had, npm says so in a way of its own for each reason; what it finds is in its words above.
    if (status !== 0 && !finding.test(stdout + stderr)) {
      process.stderr.write("SKIPPED npm audit signatures: its keys cannot be fetched\n");
      context.skip("its keys cannot be fetched");
    }
    expect(stdout, stderr).toContain("verified registry signatures");
    expect(stdout + stderr).not.toMatch(finding);
  });
});
