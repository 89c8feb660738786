import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { vmCommand } from "../../../src/kubevirt/commands/cli.ts";
import { VM_COMMAND_NAMES } from "../../../src/kubevirt/commands/vm-commands.ts";
import { newForm, sample } from "../samples.ts";

interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function vm(...argv: string[]): Promise<Outcome> {
  let stdout = "";
  let stderr = "";
  const status = await vmCommand(argv, {
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    env: {},
  });
  return { status, stdout, stderr };
}

let folder = "";
const file = (name: string): string => join(folder, name);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "sluice-vm-cli-"));
  writeFileSync(file("good.yaml"), sample("a6-slirp"));
  writeFileSync(file("bad.yaml"), newForm("[{name: red, modle: x}]"));
  writeFileSync(file("other.yaml"), "kind: Service\n");
  writeFileSync(file("latin1.yaml"), Buffer.from([0x6b, 0xff, 0xfe]));
});

afterAll(() => rmSync(folder, { recursive: true }));

describe("sluice vm validate", () => {
  it("says that right files are right", async () => {
    expect(await vm("validate", file("good.yaml"))).toEqual({
      status: 0,
      stdout: "valid: 1 VM, 1 network interface in 1 file\n",
      stderr: "",
    });
  });

  it("tells every problem of every file and ends with 2", async () => {
    const { status, stdout, stderr } = await vm(
      "validate",
      file("bad.yaml"),
      file("none.yaml"),
      folder,
      file("latin1.yaml"),
    );
    expect(status).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toContain(`bad.yaml:5:32`);
    expect(stderr).toContain("did you mean model?");
    expect(stderr).toContain("exactly one binding");
    expect(stderr).toContain("ENOENT");
    expect(stderr).toContain("EISDIR");
    expect(stderr).toContain("5 problems found; nothing was changed");
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  it("skips other kinds with a note", async () => {
    const { status, stdout, stderr } = await vm("validate", file("other.yaml"));
    expect([status, stdout]).toEqual([0, "nothing to check: no VM in 1 file\n"]);
    expect(stderr).toContain('other.yaml:1: document 1 is of kind "Service" and was skipped');
  });

  it("gives problems as data with --format json", async () => {
    const { status, stdout } = await vm("validate", "--format", "json", file("good.yaml"), file("bad.yaml"));
    const report = JSON.parse(stdout);
    expect([status, report.valid]).toEqual([2, false]);
    expect(report.vms[0].model.nics[0]).toMatchObject({ name: "red", binding: "slirp" });
    expect(report.problems[0]).toMatchObject({ document: 1, code: "required", span: { line: 5 } });
  });
});

describe("sluice vm", () => {
  it("plans engines that are confined, or not with --no-sandbox", async () => {
    const argv = async (...options: string[]): Promise<string[]> => {
      const { stdout } = await vm("plan", "--format", "json", ...options, file("good.yaml"));
      const { steps } = JSON.parse(stdout) as { steps: { do: string; argv: string[] }[] };
      return steps.find((step) => step.do === "start-engine")!.argv;
    };
    const confined = await argv();
    expect(confined).not.toContain("--no-sandbox");
    expect(await argv("--no-sandbox")).toEqual([...confined, "--no-sandbox"]);
  });

  it("prints the JSON Schema", async () => {
    const { status, stdout } = await vm("schema");
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ $schema: "https://json-schema.org/draft/2020-12/schema" });
  });

  it("has help for itself and for each command", async () => {
    const { status, stdout } = await vm("--help");
    expect(status).toBe(0);
    for (const name of VM_COMMAND_NAMES) {
      expect(stdout).toContain(`  ${name}`);
      const help = await vm(name, "--help");
      expect([help.status, help.stderr]).toEqual([0, ""]);
      expect(help.stdout).toContain(`Usage: sluice vm ${name}`);
    }
  });

  it.each([
    [[], "Usage: sluice vm"],
    [["validat"], 'found "validat"; allowed: validate'],
    [["validate"], "FILE: allowed: at least one spec file"],
    [["validate", "--formt", "json", "x"], "--formt: allowed: an option that sluice vm validate has"],
    [["validate", "--format", "xml", "x"], '--format: found "xml"; allowed: one of text, json'],
    [["validate", "--format"], "--format: allowed: a value after it"],
    [["schema", "x"], 'schema: found "x"; allowed: no further words'],
  ])("refuses %j with 2 and a sentence", async (argv, sentence) => {
    const { status, stdout, stderr } = await vm(...argv);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toContain(sentence);
  });
});
