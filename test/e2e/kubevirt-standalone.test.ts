/** docs/kubevirt/standalone.yaml as podman plays it, with a launcher that does what KubeVirt's does with a sidecar. */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { run } from "../support/program.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { needs } from "../support/requirements.ts";

/** Plays the pod until both containers have ended. One kind of control groups, which is all that crun takes: of two the old one. */
const PLAY = `set -e
if [ -d /sys/fs/cgroup/unified ]; then umount /sys/fs/cgroup/unified; fi
build() { podman build --quiet --network none --tag "$1" --file "$2" "$3"; }
build sluice-kubevirt "$1/docs/kubevirt/Containerfile" image
build launcher launcher/Containerfile launcher
trap 'podman kube down pod.yaml; podman rm --all --force --time 0' EXIT
podman kube play --network none pod.yaml
timeout 60 podman wait web-hook-sidecar-0 web-compute
podman logs web-hook-sidecar-0
podman logs web-compute`;

describe("the VM of standalone.yaml", () => {
  it("K39 is served by the sidecar beside its launcher, and both end", {
    timeout: 200_000,
  }, async (context) => {
    needs(context, { root: true, commands: ["podman", "crun", "conmon", "catatonit", "unshare"] });
    // Podman 4.3 does not always notice that the two have ended, which is not understood yet: two runs of five hang.
    if (process.env["SLUICE_TEST_KUBE_PLAY"] === undefined) {
      process.stderr.write("SKIPPED kubevirt-standalone: runs with SLUICE_TEST_KUBE_PLAY=1\n");
      return context.skip("runs with SLUICE_TEST_KUBE_PLAY=1");
    }
    const folder = mkdtempSync(join(tmpdir(), "sluice-standalone-"));
    const at = (name: string): string => join(folder, name);
    execFileSync(process.execPath, [join(PROJECT_ROOT, "src/build/image.mjs"), at("image/root")]);
    mkdirSync(at("launcher"));
    copyFileSync(join(PROJECT_ROOT, "test/support/guest-programs/launcher.mjs"), at("launcher/launcher.mjs"));
    writeFileSync(
      at("launcher/Containerfile"),
      'FROM localhost/sluice-kubevirt\nCOPY launcher.mjs /launcher.mjs\nENTRYPOINT ["/usr/bin/node", "/launcher.mjs"]\n',
    );
    const pod = readFileSync(join(PROJECT_ROOT, "docs/kubevirt/standalone.yaml"), "utf8");
    writeFileSync(at("pod.yaml"), pod.replace("image: LAUNCHER", "image: localhost/launcher:latest"));
    writeFileSync(
      at("storage.conf"),
      `[storage]\ndriver = "vfs"\ngraphroot = "${at("graph")}"\nrunroot = "${at("run")}"\n`,
    );
    writeFileSync(
      at("containers.conf"),
      `[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]\ncgroup_manager = "cgroupfs"\nruntime = "crun"\nevents_logger = "file"\ntmp_dir = "${at("tmp")}"\n`,
    );
    const words = ["--mount", "--propagation", "private", "bash", "-c", PLAY, "play", PROJECT_ROOT];
    const env = {
      ...process.env,
      CONTAINERS_CONF: at("containers.conf"),
      CONTAINERS_STORAGE_CONF: at("storage.conf"),
    };
    try {
      const { status, stdout, stderr } = await run("unshare", words, { cwd: folder, env }).ended;
      const said = `${stdout}${stderr}`;
      expect(status, said).toBe(0);
      expect(stdout).toMatch(/^0\n0\n/m);
      expect(said).toContain("ready: vhost-user unix:/var/run/kubevirt-hooks/engine/card.sock");
      expect(said).toContain('path="/var/run/kubevirt-hooks/hook-sidecar-0/engine/card.sock"');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
