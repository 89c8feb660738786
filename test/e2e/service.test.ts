/** The unit file of docs/, under the machine's own systemd. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BootedSystemd, CHECKOUT, SYSTEMD_NEEDS } from "../support/booted-systemd.ts";
import { PROGRAM, until } from "../support/program.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { missing, needs } from "../support/requirements.ts";

const UNIT = readFileSync(join(PROJECT_ROOT, "docs/sluice@.service"), "utf8");

it("is what systemd-analyze finds no fault with", (context) => {
  needs(context, { commands: ["systemd-analyze"] });
  const directory = mkdtempSync(join(tmpdir(), "sluice-test-unit-"));
  const path = join(directory, "sluice@.service");
  writeFileSync(path, UNIT.replace("ExecStart=sluice ", `ExecStart=${PROGRAM} `));
  const { status, stdout, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", path], {
    encoding: "utf8",
  });
  rmSync(directory, { recursive: true });
  const about = `${stdout}${stderr}`.split("\n").filter((line) => line.includes("sluice"));
  expect({ status, about }).toEqual({ status: 0, about: [] });
});

it("exposes no more than docs/service.md says", (context) => {
  needs(context, { commands: ["systemd-analyze"] });
  const said = readFileSync(join(PROJECT_ROOT, "docs/service.md"), "utf8");
  const exposure = /counts an exposure of (\d+\.\d)/.exec(said)![1];
  const unit = join(PROJECT_ROOT, "docs/sluice@.service");
  const args = ["security", "--offline=true", `--threshold=${Math.round(Number(exposure) * 10)}`, unit];
  const { status, stdout, stderr } = spawnSync("systemd-analyze", args, { encoding: "utf8" });
  expect([status, stdout], stderr).toEqual([0, expect.stringContaining("Overall exposure level")]);
});

it("the module for SELinux in docs/service.md compiles", (context) => {
  needs(context, { commands: ["checkmodule"] });
  const text = readFileSync(join(PROJECT_ROOT, "docs/service.md"), "utf8");
  const module = /^ *```te\n(.*?)^ *```$/ms.exec(text)![1];
  const directory = mkdtempSync(join(tmpdir(), "sluice-test-module-"));
  const [source, made] = ["sluice.te", "sluice.mod"].map((name) => join(directory, name));
  writeFileSync(source, module);
  const { status, stdout, stderr } = spawnSync("checkmodule", ["-M", "-m", "-o", made, source], {
    encoding: "utf8",
  });
  const isMade = existsSync(made);
  rmSync(directory, { recursive: true });
  expect([status, isMade], `${stdout}${stderr}`).toEqual([0, true]);
});

describe("under systemd", () => {
  let systemd: BootedSystemd | undefined;

  /** The drop-in of an instance: where the program is here, and what else. */
  const instance = (arguments_: string, ...more: readonly string[]): string =>
    [
      "[Unit]\nDefaultDependencies=no\n[Service]\nEnvironmentFile=\nExecStart=",
      "Environment=PATH=/run/node:/usr/sbin:/usr/bin:/sbin:/bin",
      `ExecStart=${CHECKOUT}/src/cli/sluice.cjs run --log-file /var/log/sluice/%i/log ${arguments_}`,
      ...more,
    ].join("\n");

  beforeAll(async () => {
    if (missing(SYSTEMD_NEEDS).length > 0) return;
    systemd = new BootedSystemd({
      "sluice@.service": UNIT,
      "sluice@vm1.service.d/test.conf": instance("--qemu-listen unix:/run/sluice/%i/link.sock"),
      "sluice@taken.service.d/test.conf": instance(
        "--qemu-listen unix:/no/such/directory/link.sock",
        "Restart=no",
      ),
      "sluice@hung.service.d/test.conf": instance(
        "--qemu-listen unix:/run/sluice/%i/link.sock",
        "Restart=no\nWatchdogSec=3",
      ),
      "sluice@low.service.d/test.conf": instance(
        "--qemu-listen unix:/run/sluice/%i/link.sock -p 127.0.0.1:87:80",
        "DynamicUser=no",
        "User=root",
        "CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_SYS_ADMIN CAP_SETUID CAP_SETGID CAP_SETPCAP",
      ),
      "sluice@tap.service.d/test.conf": instance(
        "--tap sluicetest0 --configure",
        "CapabilityBoundingSet=CAP_NET_ADMIN",
        "AmbientCapabilities=CAP_NET_ADMIN",
      ),
      "sluice@netns.service.d/test.conf": instance(
        "--tap sluicetest1 --netns /run/netns/blue --configure",
        "DynamicUser=no",
        "User=root",
        "CapabilityBoundingSet=CAP_NET_ADMIN CAP_SYS_ADMIN CAP_SETUID CAP_SETGID CAP_SETPCAP",
      ),
      "sluice@apart.service.d/test.conf": instance(
        "--background --pid-file /run/sluice/%i/pid --qemu-listen unix:/run/sluice/%i/link.sock",
        "Type=forking\nPIDFile=/run/sluice/apart/pid",
      ),
    });
    await systemd.ready();
  });
  afterAll(() => systemd?.close());

  const show = (name: string, property: string): string =>
    systemd!.run("systemctl", "show", "--value", "-p", property, `sluice@${name}`).stdout.trim();
  const log = (name: string): string => systemd!.run("cat", `/var/log/sluice/${name}/log`).stdout;
  const start = (name: string) => systemd!.run("systemctl", "start", `sluice@${name}`);
  const engineOf = (name: string): string => {
    const group = show(name, "ControlGroup");
    const pids = systemd!.run("cat", `/sys/fs/cgroup${group}/cgroup.procs`).stdout.trim().split("\n");
    return pids.find((pid) => systemd!.run("cat", `/proc/${pid}/cmdline`).stdout.includes("engine-process"))!;
  };

  it("a start ends when the guest is served, with all walls, and says so; a stop ends it in order", (context) => {
    needs(context, SYSTEMD_NEEDS);
    expect(start("vm1")).toMatchObject({ status: 0, stderr: "" });
    expect(show("vm1", "StatusText")).toMatch(
      /^ready: qemu-listen unix:\/run\/sluice\/vm1\/link\.sock; guest/,
    );
    expect(systemd!.run("test", "-S", "/run/sluice/vm1/link.sock").status).toBe(0);
    expect(log("vm1")).not.toMatch(/warn:.*(confined|filter)/);
    const status = systemd!.run("cat", `/proc/${engineOf("vm1")}/status`).stdout;
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(status).toMatch(/^CapEff:\t0+$/m);
    expect(systemd!.run("systemctl", "stop", "sluice@vm1").status).toBe(0);
    expect({ result: show("vm1", "Result"), state: show("vm1", "ActiveState") }).toEqual({
      result: "success",
      state: "inactive",
    });
    expect(log("vm1")).toContain("SIGTERM received; ending");
    expect(systemd!.run("test", "-e", "/run/sluice/vm1").status).toBe(1);
  });

  it("a start that fails is told as failed", (context) => {
    needs(context, SYSTEMD_NEEDS);
    expect(start("taken").status).not.toBe(0);
    expect(show("taken", "ExecMainStatus")).toBe("1");
  });

  it.for(["low", "tap", "netns"])("takes the drop-ins of docs/service.md: %s", (name, context) => {
    needs(context, SYSTEMD_NEEDS);
    if (name === "netns") systemd!.run("ip", "netns", "add", "blue");
    expect(start(name)).toMatchObject({ status: 0, stderr: "" });
    expect(log(name)).not.toMatch(/warn:.*(confined|filter)/);
    systemd!.run("systemctl", "stop", `sluice@${name}`);
  });

  it("an engine that hangs is noticed by the watchdog", async (context) => {
    needs(context, SYSTEMD_NEEDS);
    expect(start("hung").status).toBe(0);
    await new Promise((resolve) => setTimeout(resolve, 5000));
    expect(show("hung", "ActiveState")).toBe("active");
    systemd!.run("kill", "-STOP", engineOf("hung"));
    await until(() => show("hung", "Result") === "watchdog", "the watchdog", 20_000);
  });

  it("the process in the background becomes the service's", async (context) => {
    needs(context, SYSTEMD_NEEDS);
    expect(start("apart").status).toBe(0);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const pid = show("apart", "MainPID");
    expect(show("apart", "ActiveState")).toBe("active");
    const parents = systemd!.run("cat", `/proc/${engineOf("apart")}/status`).stdout;
    expect(/^PPid:\t(\d+)$/m.exec(parents)?.[1]).toBe(pid);
    systemd!.run("systemctl", "stop", "sluice@apart");
    expect(show("apart", "Result")).toBe("success");
  });
});
