/** A copy of the built engine and its tests with one thing broken: what tells whether a test program is any good. */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export interface Mutation {
  readonly name: string;
  /** In the build output's src. */
  readonly file: string;
  readonly find: RegExp;
  readonly replace: string;
}

/** What both the simulation and the fuzzing of the TCP stream have to notice. */
export const BASIC_MUTATIONS: readonly Mutation[] = [
  {
    name: "the guest's window is one octet larger than it said",
    file: "transport/tcp/to-guest.js",
    find: /const offered = c\.sndWnd - flight;/,
    replace: "const offered = c.sndWnd - flight + 1;",
  },
  {
    name: "a FIN is acknowledged ahead of the hole before it",
    file: "transport/tcp/input.js",
    find: /c\.finKnown = true;/,
    replace: "acceptFin(ctx, c);",
  },
];

/**
 * Calls `use` with the `dist` of a broken copy, then removes that. A mutation that no longer fits the text it patches is
 * an error: it would prove nothing.
 */
export function withBrokenCopy<T>(mutation: Mutation, use: (dist: string) => T): T {
  // dist/test/sim/broken-copy.js
  const dist = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
  const copy = mkdtempSync(join(tmpdir(), "sluice-mutation-"));
  try {
    for (const part of ["src", "test"])
      cpSync(join(dist, part), join(copy, "dist", part), { recursive: true });
    // The native part finds itself by the package's description; some inputs are files of the source tree.
    cpSync(join(dirname(dist), "package.json"), join(copy, "package.json"));
    for (const part of ["node_modules", "native-shims", "test"])
      symlinkSync(join(dirname(dist), part), join(copy, part));
    const path = join(copy, "dist", "src", "engine", mutation.file);
    const text = readFileSync(path, "utf8");
    const broken = text.replace(mutation.find, mutation.replace);
    if (broken === text) throw new Error(`${mutation.file} no longer has what "${mutation.name}" patches`);
    writeFileSync(path, broken);
    return use(join(copy, "dist"));
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}
