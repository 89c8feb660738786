import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { vmCommand } from "../../../src/kubevirt/commands/cli.ts";
import { VM_COMMAND_NAMES } from "../../../src/kubevirt/commands/vm-commands.ts";
import { inFirstNamespace } from "../../../src/kubevirt/machine/pod-namespace.ts";
import { newForm, sample, today } from "../samples.ts";

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
  const networks = "[{name: red, pod: {}}, {name: blue, multus: {networkName: lan}}]";
  writeFileSync(
    file("today.yaml"),
    today("[{name: red, masquerade: {}}, {name: blue, bridge: {}}]", networks),
  );
  writeFileSync(file("bridge.yaml"), today("[{name: red, bridge: {}}]"));
  writeFileSync(file("plugin.yaml"), today("[{name: red, binding: {name: other}}]"));
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

describe("today's manifests", () => {
  it("K11 notes are told with their place, and do not make a spec wrong", async () => {
    const { status, stdout, stderr } = await vm("validate", file("today.yaml"));
    expect([status, stdout]).toEqual([0, "valid: 1 VM, 2 network interfaces in 1 file\n"]);
    expect(stderr).toMatch(
      /^note: .*today\.yaml:6: spec\.domain\.devices\.interfaces\[0\]\.masquerade: masquerade is/,
    );
    const { stdout: json } = await vm("validate", "--format", "json", file("today.yaml"));
    expect(JSON.parse(json).notes).toContainEqual({
      file: file("today.yaml"),
      document: 1,
      path: "spec.domain.devices.interfaces[0].masquerade",
      line: 6,
      message: expect.stringContaining("carried out as user-mode NAT"),
    });
  });

  it("K5 plan says how a binding is carried out, in text and as data", async () => {
    const { stdout } = await vm("plan", "--network", "blue=lo", file("today.yaml"));
    expect(stdout).toMatch(/^note: .*masquerade is carried out as user-mode NAT/m);
    const { stdout: json } = await vm("plan", "--format", "json", "--network=blue=lo", file("today.yaml"));
    expect(JSON.parse(json).notes[0].message).toContain("masquerade is carried out");
  });

  it("K5 --network: without it validate is content, plan shows a placeholder, up refuses", async () => {
    const run = ["--run-dir", file("run"), file("today.yaml")];
    expect((await vm("validate", "--network", "blue=eth1", file("today.yaml"))).status).toBe(0);
    expect((await vm("validate", "--network", "bleu=eth1", file("today.yaml"))).status).toBe(2);
    const plan = await vm("plan", ...run);
    expect(plan.status).toBe(1);
    expect(plan.stdout).toContain("make <device of blue> a port of");
    expect(plan.stdout).toContain(
      "error: network blue: found no device for it; allowed: --network blue=DEVICE",
    );
    const up = await vm("up", ...run);
    expect(up.status).toBe(1);
    expect(up.stderr).toContain("nothing was changed:\nnetwork blue: found no device for it");
    const absent = await vm("up", "--network", "blue=nosuch0", ...run);
    expect(absent.stderr).toContain("nosuch0 is not here now");
  });

  it("K5 --binding carries a plugin out, for validate too", async () => {
    expect((await vm("validate", file("plugin.yaml"))).status).toBe(2);
    const named = await vm("validate", "--binding", "other=slirp", file("plugin.yaml"));
    expect([named.status, named.stderr]).toEqual([
      0,
      expect.stringContaining("the binding other is carried out as slirp"),
    ]);
    const plan = await vm("plan", "--binding=other=slirp", file("plugin.yaml"));
    expect([plan.status, plan.stdout]).toEqual([0, expect.stringContaining("start an engine for QEMU")]);
  });

  it.each([
    [["--network", "blue"], '--network: found "blue"; allowed: NETWORK=DEVICE'],
    [["--network", "blue=a", "--network", "blue=b"], '--network: found "blue=b"'],
    [["--network", "blue=a/b"], '--network: found "blue=a/b"'],
    [["--network", "bleu=eth1"], '--network: found "bleu"; allowed: one of blue; did you mean blue?'],
    [["--network", "red=eth1"], '--network: found "red"; allowed: one of blue'],
    [["--binding", "x=tap"], '--binding: found "x=tap"; allowed: NAME=slirp or NAME=bridge'],
    [["--binding", "=slirp"], '--binding: found "=slirp"'],
  ])("K5 %j is refused with 2 and a sentence", async (options, sentence) => {
    const { status, stdout, stderr } = await vm("plan", ...options, file("today.yaml"));
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toContain(sentence);
  });

  it("K14 plan says when up would refuse for want of --uplink, and ends with 1", async (context) => {
    // Only in the machine's first namespace does the uplink have to be named.
    if (!inFirstNamespace()) return context.skip("needs the first network namespace");
    const { status, stdout } = await vm("plan", file("bridge.yaml"));
    expect(status).toBe(1);
    expect(stdout).toContain(
      "error: --uplink: found none, on a machine that is no pod; allowed: the network interface",
    );
    const named = await vm("plan", "--uplink", "nosuch0", file("bridge.yaml"));
    expect(named.stdout).not.toContain("error: --uplink");
    const up = await vm("up", "--run-dir", file("run"), file("bridge.yaml"));
    expect([up.status, up.stderr]).toEqual([
      2,
      expect.stringContaining("--uplink: allowed: the network interface"),
    ]);
    expect((await vm("plan", file("good.yaml"))).status).toBe(0);
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
