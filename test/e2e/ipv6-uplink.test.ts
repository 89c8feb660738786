/** The host's way out over IPv6 comes and goes, in a network namespace. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { needs } from "../support/requirements.ts";

describe("the way out over IPv6", () => {
  it("N5 is told of half a second after each change, and only then", (context) => {
    needs(context, { root: true, commands: ["unshare", "ip"] });
    const script = fileURLToPath(new URL("uplink-in-namespace.mjs", import.meta.url));
    const host = join(PROJECT_ROOT, "dist/src/host");
    const output = execFileSync("unshare", ["--net", process.execPath, script, host], { encoding: "utf8" });
    expect(JSON.parse(output)).toEqual([
      ...["start", false],
      ...["an address", false],
      ...[true, "a default route", true],
      ...["by device", true, false],
      ...["another route", true],
      ...[false, "no default route", false],
      ...["unreachable", false],
      ...[true, "a route to 2000::/3", true],
      ...[false, "device down", false],
    ]);
  });
});
