import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { native } from "../../../src/host/native/native.ts";
import { addonPath } from "../../../src/host/native/native-loader.ts";
import { needs } from "../../support/requirements.ts";

const ENOENT = -2;
const EACCES = -13;
const EINVAL = -22;

function runScript(script: string): ReturnType<typeof spawnSync> {
  const preamble = `const native = require(${JSON.stringify(addonPath())});`;
  return spawnSync(process.execPath, ["-e", preamble + script], { encoding: "utf8", timeout: 30_000 });
}

describe("exec", () => {
  it("replaces the process, with arguments and environment", () => {
    const run = runScript(
      `native.exec("/bin/sh", ["sh", "-c", 'echo "$0 $1 $FOO $HOME"', "a b", "ü"], ["FOO=bar"])`,
    );
    expect(run.stdout).toBe("a b ü bar \n");
    expect(run.status).toBe(0);
  });

  it("gives the new program default signals, which Node has changed", () => {
    expect(runScript(`native.exec("/bin/sh", ["sh", "-c", "kill -PIPE $$; echo alive"], [])`).signal).toBe(
      "SIGPIPE",
    );
  });

  it("passes on a descriptor only when told to", () => {
    const pass = (on: boolean): string => `
      const [a, b] = native.socketPair("stream");
      native.setCloseOnExec(b, ${on});
      native.exec("/bin/sh", ["sh", "-c", "readlink /proc/self/fd/" + b + " || echo none"], []);`;
    expect(runScript(pass(false)).stdout).toMatch(/^socket:/);
    expect(runScript(pass(true)).stdout).toBe("none\n");
    expect(native.setCloseOnExec(-1, true)).toBe(-9);
  });

  it("comes back only with an error", () => {
    expect(native.exec("/nonexistent/program", ["x"], [])).toBe(ENOENT);
    expect(native.exec("/", ["x"], [])).toBe(EACCES);
    expect(native.exec(`/${"x".repeat(5000)}`, ["x"], [])).toBe(-36);
    expect(native.exec("/bin/true", "x" as unknown as string[], [])).toBe(EINVAL);
    expect(native.exec("/bin/true", [7 as unknown as string], [])).toBe(EINVAL);
  });
});

describe("limits and signals", () => {
  it("raises the soft file limit to the hard one", (context) => {
    needs(context, { commands: ["prlimit"] });
    // Node has raised it at start already; so it is lowered under it.
    const run = runScript(`
      require("node:child_process").execFileSync("prlimit", ["--pid", String(process.pid), "--nofile=100:700"]);
      console.log(native.raiseFileLimit());
      require("node:child_process").execFileSync("sh", ["-c", "ulimit -Sn"], { stdio: "inherit" });`);
    expect(run).toMatchObject({ stdout: "700\n700\n", status: 0 });
  });

  it("sends the signal asked for when the parent ends", () => {
    const child = `const native = require(${JSON.stringify(addonPath())});
      process.on("SIGUSR2", () => { process.stderr.write("parent gone"); process.exit(); });
      process.stderr.write(native.setParentDeathSignal(12) + " ");
      process.stdout.write("ready");
      setTimeout(() => {}, 20000);`;
    const parent = `const { spawn } = require("node:child_process");
      const child = spawn(process.execPath, ["-e", ${JSON.stringify(child)}], { stdio: ["ignore", "pipe", "inherit"] });
      child.stdout.once("data", () => process.kill(process.pid, "SIGKILL"));`;
    const run = spawnSync(process.execPath, ["-e", parent], { encoding: "utf8", timeout: 10_000 });
    expect(run.stderr).toBe("0 parent gone");
    expect(native.setParentDeathSignal(-1)).toBe(EINVAL);
  });
});
