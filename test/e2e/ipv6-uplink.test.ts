/** The host's way out over IPv6 comes and goes, in a network namespace. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { needs } from "../support/requirements.ts";

describe("the way out", () => {
  it("N5 is told of half a second after each change, and only then", (context) => {
    needs(context, { root: true, commands: ["unshare", "ip"] });
    const script = fileURLToPath(new URL("uplink-in-namespace.mjs", import.meta.url));
    const host = join(PROJECT_ROOT, "dist/src/host");
    const output = execFileSync("unshare", ["--net", process.execPath, script, host], { encoding: "utf8" });
    expect(JSON.parse(output)).toEqual([
      ...["start", "--"],
      ...["an address", "--"],
      ...["-6", "a default route", "-6"],
      ...["by device", "-6", "--"],
      ...["another route", "-6"],
      ...["--", "no default route", "--"],
      ...["unreachable", "--"],
      ...["-6", "a route to 2000::/3", "-6"],
      ...["an IPv4 address", "-6"],
      ...["46", "an IPv4 default route", "46"],
      ...["--", "device down", "--"],
    ]);
  });
});
