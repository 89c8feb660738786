/** Names in a directory, and the launcher under them: what it answers by itself and what it starts. */
import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { launcherPath } from "../../src/host/native/native-loader.ts";
import { InstallationError, inspect, install, remove, withInstalled } from "../../src/names/installation.ts";
import { PROGRAM_NAMES, PROGRAMS } from "../../src/names/programs.ts";
import { helpText } from "../../src/names/texts.ts";

let root: string;
let directory: string;
let script: string;
let helper: string;

const VIEW = ["read /etc", "execute /usr"];

/** Node's stand-in: says what it was started with, then does what the test wants. */
function node(body: string): string {
  const path = join(root, "node");
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, 0o755);
  return path;
}

const put = (body = 'echo "$*"', programs = PROGRAMS): void =>
  install(directory, programs, {
    launcher: launcherPath(),
    node: node(body),
    script,
    helper,
    view: VIEW,
    version: "9.8.7",
  });

const start = (name: string, ...words: string[]) => {
  const { status, stdout, stderr } = spawnSync(join(directory, name), words, { encoding: "utf8" });
  return { status, stdout, stderr };
};

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "sluice-names-"));
  directory = join(root, "names");
  script = join(root, "script");
  helper = join(root, "helper");
});
afterEach(() => rmSync(root, { recursive: true }));

describe("installing", () => {
  it("is seen, done again, and taken back without a trace", () => {
    put();
    expect(inspect(directory, PROGRAM_NAMES)).toEqual({ directory, names: PROGRAM_NAMES, script });
    script = join(root, "other");
    put();
    expect(inspect(directory, PROGRAM_NAMES)?.script).toBe(script);
    expect(readFileSync(join(directory, ".sluice", "view"), "utf8")).toBe("read /etc\nexecute /usr\n");
    expect(remove(directory, PROGRAM_NAMES)).toEqual(PROGRAM_NAMES);
    expect(existsSync(directory)).toBe(false);
    expect(() => remove(directory, PROGRAM_NAMES)).toThrow(InstallationError);
  });

  it("brings what is there already up to date with one more name", () => {
    put(undefined, PROGRAMS.slice(0, 1));
    const text = join(directory, ".sluice", "slirp4netns.help");
    writeFileSync(text, "of an older one");
    const [, passt] = PROGRAMS;
    const programs = withInstalled(directory, passt === undefined ? [] : [passt], PROGRAMS);
    expect(programs.map(({ name }) => name)).toEqual(["slirp4netns", "passt"]);
    put(undefined, programs);
    expect(readFileSync(text, "utf8")).toMatch(/^Usage: slirp4netns/);
  });

  it("leaves nothing of an installation that fails half-way", () => {
    const place = {
      launcher: join(root, "no-launcher"),
      node: "/n",
      script,
      helper,
      view: VIEW,
      version: "1",
    };
    expect(() => install(join(directory, "deep"), PROGRAMS, place)).toThrow("ENOENT");
    expect(existsSync(directory)).toBe(false);
    mkdirSync(directory);
    writeFileSync(join(directory, "other"), "theirs");
    expect(() => install(directory, PROGRAMS, place)).toThrow("ENOENT");
    expect(readdirSync(directory)).toEqual(["other"]);
    put();
    expect(() => install(directory, PROGRAMS, place)).toThrow("ENOENT");
    expect(inspect(directory, PROGRAM_NAMES)?.names).toEqual(PROGRAM_NAMES);
    expect(readdirSync(join(directory, ".sluice")).filter((name) => name.endsWith(".new"))).toEqual([]);
  });

  it("leaves alone what is somebody else's", () => {
    put(undefined, PROGRAMS.slice(0, 1));
    writeFileSync(join(directory, "passt"), "theirs");
    symlinkSync("/nowhere", join(directory, "pasta"));
    expect(() => put()).toThrow(
      `${join(directory, "passt")}, ${join(directory, "pasta")}: there is something else already`,
    );
    expect(remove(directory, PROGRAM_NAMES)).toEqual(["slirp4netns"]);
    expect(readdirSync(directory).sort()).toEqual(["passt", "pasta"]);
    expect(readFileSync(join(directory, "passt"), "utf8")).toBe("theirs");
  });
});

describe("the launcher", () => {
  it.each(PROGRAMS)("answers for $name by itself", (program) => {
    put("exit 70");
    const help = { status: 0, stdout: helpText(program), stderr: "" };
    expect(start(program.name, "--help")).toEqual(help);
    expect(start(program.name, "-h")).toEqual(help);
    const [valued = ""] =
      program.words.find(({ kind, placeholder }) => placeholder !== undefined && kind === undefined)?.forms ??
      [];
    expect(start(program.name, valued, "--version", "--help")).toEqual(help);
    expect(start(program.name, "--version")).toEqual({
      status: 0,
      stdout: program.version("9.8.7"),
      stderr: "",
    });
  });

  it("is under its name wherever the link to it is", () => {
    put();
    symlinkSync(join(directory, "passt"), join(root, "pasta"));
    const { stdout } = spawnSync(join(root, "pasta"), ["--version"], { encoding: "utf8" });
    expect(stdout).toMatch(/^pasta /);
    symlinkSync(join(directory, "passt"), join(root, "other"));
    const { status, stderr } = spawnSync(join(root, "other"), [], { encoding: "utf8" });
    expect([status, stderr]).toEqual([1, expect.stringContaining("other: sluice has no such name")]);
  });

  it.each([
    ["slirp4netns", ["-c", "5", "tap0"]],
    // There is nothing to open a TAP with, so rights are still needed.
    ["slirp4netns", ["--enable-sandbox", "--api-socket", "/a/b", "5", "tap0"]],
    ["slirp4netns", ["--", "--help"]],
    ["slirp4netns", ["-r", "--help", "5", "tap0"]],
    ["slirp4netns", ["--unknown", "--help"]],
    ["slirp4netns", ["-cx", "--help"]],
    ["slirp4netns", ["--configure=yes", "--help"]],
    ["passt", ["-f", "--no-tcp", "--help"]],
    ["pasta", ["-f", "--host-lo-to-ns-lo", "--version"]],
    ["passt", ["-qf", "--fd", "3"]],
    ["passt", ["--foreground", "a b", ""]],
    ["pasta", []],
    ["pasta", ["-q", "--config-net", "sh", "--help"]],
    ["pasta", ["-t", "80", "--", "--help"]],
    ["pesto", ["-D", "-t", "80", "/c"]],
  ])("becomes sluice: %s %j", (name, words) => {
    put('for word in "$@"; do printf "<%s>" "$word"; done; printf " $SLUICE_STARTER"; exit 7');
    const shown = [script, "as", name, ...words].map((word) => `<${word}>`).join("");
    expect(start(name, ...words)).toEqual({ status: 7, stdout: `${shown} `, stderr: "" });
  });

  it("waits in the foreground for what it starts in the background", () => {
    put(
      `echo early >&2; sleep 0.2; echo "ready: x" > /proc/$$/fd/$SLUICE_STARTER; exec 2>/dev/null; sleep 0.5; echo "$*" > ${root}/done`,
    );
    const began = Date.now();
    // Standard output ends with the launcher: nothing of the caller's stays open.
    expect(start("passt", "--fd", "3")).toEqual({ status: 0, stdout: "", stderr: "early\n" });
    expect(Date.now() - began).toBeGreaterThan(150);
    expect(existsSync(join(root, "done"))).toBe(false);
    spawnSync("sh", ["-c", `for i in $(seq 100); do [ -s ${root}/done ] && exit; sleep 0.02; done`]);
    expect(readFileSync(join(root, "done"), "utf8")).toBe(`${script} as passt --fd 3\n`);
  });

  it("fails as what it started failed", () => {
    put('echo "passt: a sentence" >&2; exit 1');
    expect(start("passt")).toEqual({ status: 1, stdout: "", stderr: "passt: a sentence\n" });
    put("exit 0");
    expect(start("pasta", "7").status).toBe(1);
    put("kill -9 $$");
    expect(start("pasta", "--netns", "/n")).toMatchObject({
      status: 1,
      stderr: "pasta: ended by signal 9 before it served\n",
    });
  });

  it("passes the signals on that would end a start", async () => {
    put("trap 'echo got >&2; exit 3' TERM; echo up >&2; while :; do sleep 0.02; done");
    const child = spawn(join(directory, "passt"), [], { stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said += text;
      if (said === "up\n") child.kill("SIGTERM");
    });
    const status = await new Promise((resolve) => child.once("close", resolve));
    expect([status, said]).toEqual([3, "up\ngot\n"]);
  });

  it("says what is missing", () => {
    put();
    rmSync(join(root, "node"));
    const { status, stderr } = start("slirp4netns", "5", "tap0");
    expect([status, stderr]).toEqual([
      1,
      expect.stringMatching(/^slirp4netns: .*node: No such file .*names install/),
    ]);
    rmSync(join(directory, ".sluice", "program"));
    expect(start("passt").stderr).toMatch(/^passt: .*program: No such file/);
  });
});
