/**
 * QEMU that connects anew by itself. `-netdev stream` has had `reconnect` since 8.0 (`reconnect-ms` since 9.2, where
 * the older one went); with an older QEMU there is nothing to test, and the test says so.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type Running, run, sluice } from "../support/program.ts";
import { findCommand, needs } from "../support/requirements.ts";

const QEMU = "qemu-system-x86_64";

/** Major and minor version as one number (8.2 is 802), 0 without QEMU. */
function qemuVersion(): number {
  if (findCommand(QEMU) === undefined) return 0;
  const said = /version (\d+)\.(\d+)/.exec(execFileSync(QEMU, ["--version"], { encoding: "utf8" }));
  return said === null ? 0 : Number(said[1]) * 100 + Number(said[2]);
}

const version = qemuVersion();
if (version > 0 && version < 800) {
  process.stderr.write(
    `qemu-reconnect: QEMU ${Math.floor(version / 100)}.${version % 100} cannot reconnect; 8.0 and newer are tested\n`,
  );
}

const directory = mkdtempSync(join(tmpdir(), "sluice-test-reconnect-"));
const started: Running[] = [];
const begin = (running: Running): Running => {
  started.push(running);
  return running;
};

afterAll(() => {
  for (const { child } of started) child.kill("SIGKILL");
  rmSync(directory, { recursive: true, force: true });
});

describe("QEMU's reconnect", () => {
  it("is tested where the version has it", (context) => {
    needs(context, { commands: [QEMU] });
    expect(version).toBeGreaterThan(500);
  });

  it.runIf(version >= 800)("finds an engine that was stopped and started again", async () => {
    const path = join(directory, "vm.sock");
    const reconnect = version >= 902 ? "reconnect-ms=500" : "reconnect=1";
    const listen = ["run", "--qemu-listen", `unix:${path}`];
    const first = begin(sluice(listen));
    await first.says(/ready/);
    begin(
      run(QEMU, [
        ...["-M", "none", "-nodefaults", "-display", "none", "-netdev", "user,id=u"],
        ...["-netdev", "hubport,id=h0,hubid=0,netdev=u"],
        ...["-netdev", `stream,id=s,server=off,addr.type=unix,addr.path=${path},${reconnect}`],
        ...["-netdev", "hubport,id=h1,hubid=0,netdev=s"],
      ]),
    );
    await first.says(/guest attached/);
    first.child.kill("SIGTERM");
    const second = begin(sluice(listen));
    await second.says(/guest attached/);
  });
});
