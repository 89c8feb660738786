import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { addonPath } from "../../../src/host/native/native-loader.ts";
import { needs } from "../../support/requirements.ts";

function runScript(script: string): ReturnType<typeof spawnSync> {
  const preamble = `const native = require(${JSON.stringify(addonPath())});`;
  return spawnSync(process.execPath, ["-e", preamble + script], { encoding: "utf8", timeout: 30_000 });
}

describe("limits", () => {
  it("raises the soft file limit to the hard one", (context) => {
    needs(context, { commands: ["prlimit"] });
    // Node has raised it at start already; so it is lowered under it.
    const run = runScript(`
      require("node:child_process").execFileSync("prlimit", ["--pid", String(process.pid), "--nofile=100:700"]);
      console.log(native.raiseFileLimit());
      require("node:child_process").execFileSync("sh", ["-c", "ulimit -Sn"], { stdio: "inherit" });`);
    expect(run).toMatchObject({ stdout: "700\n700\n", status: 0 });
  });
});
