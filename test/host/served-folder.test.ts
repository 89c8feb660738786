import { spawnSync } from "node:child_process";
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { EACCES, ENOENT } from "../../src/engine/boundary.ts";
import { folderOf, ServedFolder } from "../../src/host/served-folder.ts";
import { StartError } from "../../src/host/start-error.ts";
import { needs } from "../support/requirements.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-test-folder-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const served = join(directory, "served");
mkdirSync(join(served, "boot", "grub"), { recursive: true });
writeFileSync(join(served, "boot", "grub", "x64.efi"), "grub");
writeFileSync(join(directory, "outside"), "secret");
mkdirSync(join(directory, "served-not"));
writeFileSync(join(directory, "served-not", "x"), "secret");

const octets = new Uint8Array(4096);
const folder = new ServedFolder(served, octets);
afterAll(() => folder.release());

function contents(...names: string[]): string | number {
  const handle = folder.open(names);
  if (handle < 0) return handle;
  const length = folder.read(handle, 100, folder.size(handle), 0);
  folder.close(handle);
  return new TextDecoder().decode(octets.subarray(100, 100 + length));
}

/** Descriptors of this process. */
const descriptors = (): number => readdirSync("/proc/self/fd").length;

it("gives the files of the folder, from any position", () => {
  expect(contents("boot", "grub", "x64.efi")).toBe("grub");
  const handle = folder.open(["boot", "grub", "x64.efi"]);
  expect(folder.size(handle)).toBe(4);
  expect([folder.read(handle, 0, 10, 2), octets[0], octets[1]]).toEqual([2, 117, 98]);
  expect(folder.read(handle, 0, 10, 4)).toBe(0);
  folder.close(handle);
});

it("follows links within the folder and none out of it", () => {
  symlinkSync("boot/grub/x64.efi", join(served, "pxelinux.0"));
  symlinkSync(join(served, "boot"), join(served, "absolute"));
  symlinkSync("../outside", join(served, "out"));
  symlinkSync("..", join(served, "up"));
  symlinkSync("../served-not", join(served, "beside"));
  symlinkSync("/proc/self/environ", join(served, "environ"));
  symlinkSync("/proc/self/fd/0", join(served, "descriptor"));
  symlinkSync("circle", join(served, "circle"));
  expect(contents("pxelinux.0")).toBe("grub");
  expect(contents("absolute", "grub", "x64.efi")).toBe("grub");
  for (const names of [["out"], ["up", "outside"], ["beside", "x"], ["environ"], ["descriptor"]])
    expect(contents(...names)).toBe(EACCES);
  expect(contents("circle")).toBe(ENOENT);
});

it("gives no folder, pipe, socket or device, and waits for none", async (context) => {
  needs(context, { commands: ["mkfifo"] });
  spawnSync("mkfifo", [join(served, "pipe")]);
  const server = createServer().listen(join(served, "socket"));
  await new Promise((resolve) => server.once("listening", resolve));
  expect(["boot", "pipe", "socket"].map((name) => contents(name))).toEqual([EACCES, EACCES, EACCES]);
  server.close();
});

it("gives no device", (context) => {
  needs(context, { root: true, commands: ["mknod"] });
  spawnSync("mknod", [join(served, "zero"), "c", "1", "5"]);
  expect(contents("zero")).toBe(EACCES);
});

it("says that there is none, whatever is in the way", () => {
  for (const names of [["missing"], ["boot", "missing"], ["pxelinux.0", "x"], ["x".repeat(300)]])
    expect(contents(...names)).toBe(ENOENT);
});

it("keeps no descriptor of what it did not give", () => {
  const before = descriptors();
  for (const name of ["out", "boot", "missing", "pipe", "pxelinux.0"]) contents(name);
  expect(descriptors()).toBe(before);
});

it("is the same folder when it is moved, and what is put in its place is not", () => {
  const moved = join(directory, "moved");
  mkdirSync(moved);
  writeFileSync(join(moved, "a"), "mine");
  linkSync(join(directory, "outside"), join(moved, "hard"));
  const other = new ServedFolder(moved, octets);
  renameSync(moved, join(directory, "elsewhere"));
  mkdirSync(moved);
  writeFileSync(join(moved, "b"), "not mine");
  expect(other.open(["b"])).toBe(ENOENT);
  const handle = other.open(["a"]);
  expect(handle).toBeGreaterThan(0);
  other.close(handle);
  other.release();
});

it("must be a folder, and not the root", () => {
  expect(folderOf(served)).toBe(served);
  for (const path of ["/", "/missing", join(directory, "outside")]) expect(folderOf(path)).toBeUndefined();
  symlinkSync("served", join(directory, "by-link"));
  expect(folderOf(join(directory, "by-link"))).toBe(served);
  expect(() => new ServedFolder(join(directory, "outside"), octets)).toThrow(StartError);
});

// Root may enter every one.
it.skipIf(process.geteuid?.() === 0)("that its reader may not enter is told at the start", () => {
  const closed = join(directory, "closed");
  mkdirSync(closed);
  chmodSync(closed, 0o600);
  expect(() => new ServedFolder(closed, octets)).toThrow(/permission denied.*runs as uid/s);
});
