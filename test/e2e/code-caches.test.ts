/** `sluice names install` makes the code caches of a package that came without, and a confined engine takes them. */
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
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type Ended, type Running, run } from "../support/program.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { needs } from "../support/requirements.ts";

const SUFFIX = `.${process.version}-${process.arch}.cache`;
/** Two who are nobody else here. */
const USER = 54321;
const STRANGER = 54322;

let folder = "";
let home = "";
let uid: number | undefined;

/** The package as npm unpacks it, without caches, with what was built of the native part. */
function unpack(to: string): void {
  for (const path of ["package.json", "native-shims", "src/cli/sluice.cjs", "src/build", "dist/program"])
    cpSync(join(PROJECT_ROOT, path), join(to, path), {
      recursive: true,
      filter: (from) => !from.endsWith(".cache"),
    });
  // The names' program may not have been needed yet, and is not everybody's to build.
  const shims = join(to, "native-shims");
  const built = spawnSync(process.execPath, [join(shims, "build.mjs"), "--quiet", "--product", "launcher"]);
  expect(built.status, String(built.stderr)).toBe(0);
}

const program = (at = "package"): string => join(folder, at, "dist/program");
const caches = (directory: string): string[] =>
  existsSync(directory) ? readdirSync(directory).filter((name) => name.endsWith(SUFFIX)) : [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sluice-code-caches-"));
  chmodSync(folder, 0o755);
  home = join(folder, "home");
  mkdirSync(home);
  uid = undefined;
  unpack(join(folder, "package"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function start(...words: string[]): Running {
  const script = join(folder, "package/src/cli/sluice.cjs");
  const identity = uid === undefined ? {} : { uid, gid: uid };
  const env = { PATH: process.env["PATH"], HOME: home, XDG_STATE_HOME: join(home, "state") };
  return run(process.execPath, [script, ...words], { cwd: "/", env, ...identity });
}

/** Serves, and ends when it is told to. */
async function served(): Promise<Ended> {
  const running = start("run", "--qemu-listen", `unix:${join(home, "qemu.sock")}`);
  await running.says(/ready: /);
  running.child.kill("SIGTERM");
  return running.ended;
}

/**
 * In place of the engine's cache in `directory`, that of an engine which says goodbye in other letters: V8 takes it, so that
 * what the engine says tells whether it was looked at.
 */
function plant(directory: string): void {
  const other = join(folder, "other");
  unpack(other);
  const engine = readdirSync(program()).find((name) => /^engine-(?!process)[^.]*\.js$/.test(name)) ?? "";
  const path = join(program("other"), engine);
  writeFileSync(path, readFileSync(path, "latin1").replaceAll("from the guest", "FROM THE GUEST"), "latin1");
  const made = spawnSync(process.execPath, [join(program("other"), "program-loader.js"), "--for", program()]);
  expect(made.status).toBe(0);
  copyFileSync(`${path}${SUFFIX}`, join(directory, `${engine}${SUFFIX}`));
}

it("makes the caches beside the program where that is its user's, once", async () => {
  expect(caches(program())).toEqual([]);
  const { status, stderr } = await start("names", "install", join(home, "names")).ended;
  expect([status, stderr]).toEqual([0, ""]);
  const made = caches(program());
  const files = readdirSync(program()).filter((name) => /-[\w-]{8}\.js$/.test(name));
  expect(made.map((name) => name.replace(SUFFIX, ""))).toEqual(files);
  const times = (): number[] => made.map((name) => statSync(join(program(), name)).ino);
  const before = times();
  await start("names", "install", join(home, "names")).ended;
  expect(times()).toEqual(before);
  expect((await served()).stderr).toContain("from the guest");
  plant(program());
  expect((await served()).stderr).toContain("FROM THE GUEST");
  chmodSync(join(program(), made.find((name) => /^engine-(?!process)/.test(name)) ?? ""), 0o666);
  expect((await served()).stderr).toContain("from the guest");
});

it("makes them in the user's cache otherwise, where the confined engine sees them, and takes them away at the end", async (context) => {
  needs(context, { root: true });
  uid = USER;
  chownSync(home, USER, USER);
  const { status, stderr } = await start("names", "install", join(home, "names")).ended;
  expect([status, stderr]).toEqual([0, ""]);
  const place = join(home, ".cache/sluice/program", program());
  expect(caches(program())).toEqual([]);
  expect(caches(place).length).toBeGreaterThan(20);
  const good = await served();
  expect([good.status, good.stderr.includes("from the guest")]).toEqual([0, true]);
  expect(good.stderr).not.toContain("less confined");
  plant(place);
  for (const [owner, said] of [
    [STRANGER, "from the guest"],
    [USER, "FROM THE GUEST"],
  ] as const) {
    for (const name of caches(place)) chownSync(join(place, name), owner, owner);
    expect((await served()).stderr).toContain(said);
  }
  expect((await start("names", "remove", join(home, "names")).ended).status).toBe(0);
  expect(readdirSync(join(home, ".cache"))).toEqual([]);
});

it("says why there are none, and starts all the same", async (context) => {
  needs(context, { root: true });
  uid = USER;
  const names = join(folder, "names");
  mkdirSync(names);
  for (const path of [home, names]) chownSync(path, USER, USER);
  writeFileSync(join(home, ".cache"), "in the way");
  const { status, stdout, stderr } = await start("names", "install", names).ended;
  expect([status, stdout]).toEqual([0, `${names}: slirp4netns, passt, pasta, pesto\n`]);
  expect(stderr).toMatch(/^sluice names: starts will take longer, without code caches: ENOTDIR: [^\n]*\n$/);
  expect((await served()).status).toBe(0);
});
