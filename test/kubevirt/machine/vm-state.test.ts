/** The lock of a VM's folder: one process changes it at a time, and a dead one's is nobody's. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { processIdentity } from "../../../src/kubevirt/machine/service-process.ts";
import { StateError, StateFolder } from "../../../src/kubevirt/machine/vm-state.ts";

let root = "";
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "sluice-vm-state-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const folder = (): StateFolder => new StateFolder(root, "web");
const lock = (): string => join(root, "web.lock");

it("is held by one at a time, whose name is in it, and is gone afterwards", async () => {
  await folder().locked(async () => {
    expect(JSON.parse(readFileSync(lock(), "utf8"))).toEqual(processIdentity(process.pid));
    const other = folder().locked(async () => expect.fail("two at once"));
    await expect(other).rejects.toThrow(StateError);
    await expect(other).rejects.toThrow(`another sluice (process ${process.pid}) is changing web right now`);
  });
  expect(readdirSync(root)).toEqual([]);
});

it("is taken from one who died, also before he had written his name", async () => {
  const { pid } = spawnSync("true");
  for (const left of [JSON.stringify({ ...processIdentity(process.pid), pid }), ""]) {
    writeFileSync(lock(), left);
    expect(await folder().locked(async () => 5)).toBe(5);
    expect(readdirSync(root)).toEqual([]);
  }
});
