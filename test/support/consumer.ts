/** A project that has the packed package installed, without network, as whoever depends on it has. */
import { type SpawnOptions, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Running, run } from "./program.ts";
import { PROJECT_ROOT } from "./project-root.ts";

const TSC = join(PROJECT_ROOT, "node_modules", "typescript", "bin", "tsc");

/** The TypeScript blocks of a document, in order. */
export function typeScriptBlocks(document: string): string[] {
  return [...document.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, block]) => block);
}

export class Consumer {
  readonly directory = mkdtempSync(join(tmpdir(), "sluice-test-consumer-"));

  /** Throws when npm cannot pack or install. */
  constructor() {
    writeFileSync(
      join(this.directory, "package.json"),
      '{ "name": "consumer", "private": true, "type": "module" }\n',
    );
    const packed = this.#npm(PROJECT_ROOT, "pack", "--silent", "--pack-destination", this.directory);
    this.#npm(this.directory, "install", "--no-audit", "--no-fund", join(this.directory, packed.trim()));
    const native = join(PROJECT_ROOT, "native-shims", "build");
    // What is packed here may have no prebuilt part; what was built of the same sources is as good.
    if (existsSync(native))
      cpSync(native, join(this.directory, "node_modules/sluice/native-shims/build"), { recursive: true });
    mkdirSync(join(this.directory, "node_modules/@types"), { recursive: true });
    for (const name of ["@types/node", "undici-types"])
      symlinkSync(join(PROJECT_ROOT, "node_modules", name), join(this.directory, "node_modules", name));
  }

  #npm(cwd: string, ...args: readonly string[]): string {
    const env = {
      ...process.env,
      npm_config_offline: "true",
      npm_config_cache: join(this.directory, ".npm"),
    };
    const { status, stdout, stderr } = spawnSync("npm", [...args, "--ignore-scripts"], {
      cwd,
      env,
      encoding: "utf8",
    });
    if (status !== 0) throw new Error(`npm ${args[0]} failed: ${stderr}`);
    return stdout;
  }

  /** Compiles programs strictly to JavaScript beside them. Returns what the compiler said: nothing, when all is well. */
  compile(programs: Readonly<Record<string, string>>): string {
    for (const [name, text] of Object.entries(programs)) writeFileSync(join(this.directory, name), text);
    const options = ["--strict", "--target", "es2022", "--module", "nodenext", "--types", "node"];
    const args = [TSC, ...options, ...Object.keys(programs)];
    return spawnSync(process.execPath, args, { cwd: this.directory, encoding: "utf8" }).stdout;
  }

  /** The environment of npm's scripts: commands of installed packages are found by name. */
  get env(): NodeJS.ProcessEnv {
    return { ...process.env, PATH: `${join(this.directory, "node_modules/.bin")}:${process.env["PATH"]}` };
  }

  /** Starts a compiled program. */
  start(name: string, args: readonly string[] = [], options: SpawnOptions = {}): Running {
    const { directory: cwd, env } = this;
    return run(process.execPath, [name, ...args], { cwd, env, ...options });
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}
