/** docs/kubevirt/standalone.yaml as podman plays it, with a launcher that does what KubeVirt's does with a sidecar. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PODMAN_NEEDS, Podman } from "../support/podman.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { needs } from "../support/requirements.ts";

const SIDECAR = "web-hook-sidecar-0";
const LAUNCHER = "web-compute";

describe("the VM of standalone.yaml", () => {
  let folder: string;
  let machine: Podman;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "sluice-standalone-"));
    machine = new Podman({ groups: true });
  });
  afterEach(async () => {
    await machine.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Runs podman; gives what it says on standard output. */
  function podman(...words: readonly string[]): string {
    const { status, stdout, stderr } = machine.run("timeout", "90", "podman", ...words);
    expect(status, `podman ${words.join(" ")}: ${stdout}${stderr}`).toBe(0);
    return stdout;
  }

  function build(tag: string, file: string, root: string): void {
    podman("build", "--quiet", "--tag", tag, "--file", file, root);
  }

  it("K39 is served by the sidecar beside its launcher, and both end", {
    timeout: 200_000,
  }, async (context) => {
    needs(context, PODMAN_NEEDS);
    needs(context, { commands: ["catatonit"] });
    await machine.open();
    const at = (name: string): string => join(folder, name);
    execFileSync(process.execPath, [join(PROJECT_ROOT, "src/build/image.mjs"), at("image/root")]);
    build("sluice-kubevirt", join(PROJECT_ROOT, "docs/kubevirt/Containerfile"), at("image"));
    mkdirSync(at("launcher/usr/bin"), { recursive: true });
    copyFileSync(join(PROJECT_ROOT, "test/support/guest-programs/launcher.mjs"), at("launcher/launcher.mjs"));
    chmodSync(at("launcher/launcher.mjs"), 0o755);
    symlinkSync("/launcher.mjs", at("launcher/usr/bin/virt-launcher-monitor"));
    writeFileSync(at("Containerfile"), "FROM localhost/sluice-kubevirt\nUSER 0:0\nCOPY . /\n");
    build("launcher", at("Containerfile"), at("launcher"));
    const pod = readFileSync(join(PROJECT_ROOT, "docs/kubevirt/standalone.yaml"), "utf8");
    writeFileSync(at("pod.yaml"), pod.replace("image: LAUNCHER", "image: localhost/launcher:latest"));
    // Podman starts a pod's containers in any order, and the first decides whose the volumes are.
    for (const order of [
      [SIDECAR, LAUNCHER],
      [LAUNCHER, SIDECAR],
    ]) {
      podman("kube", "play", "--network", "none", "--start=false", at("pod.yaml"));
      podman("start", ...order);
      const { stdout } = machine.run("timeout", "60", "podman", "wait", SIDECAR, LAUNCHER);
      expect([stdout, machine.run("podman", "logs", SIDECAR).stderr]).toEqual([
        "0\n0\n",
        expect.stringContaining("ready: vhost-user unix:/var/run/kubevirt-hooks/engine/card.sock"),
      ]);
      expect(podman("logs", LAUNCHER)).toContain(
        'path="/var/run/kubevirt-hooks/hook-sidecar-0/engine/card.sock"',
      );
      podman("kube", "down", at("pod.yaml"));
    }
  });
});
