/**
 * The sidecar's image, made without a network and run as a cluster runs it: a user without rights, nothing to write but /tmp, and a
 * runtime that refuses what a sandbox would be made of. And the two CNI plugins that open low ports.
 */
import { execFileSync } from "node:child_process";
import { chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { HookClient } from "../kubevirt/binding/hook-client.ts";
import { vmiOf } from "../kubevirt/binding/vmi.ts";
import { isAlive, run, until } from "../support/program.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { needs } from "../support/requirements.ts";

const QEMU_USER = 107;
const folder = mkdtempSync(join(tmpdir(), "sluice-image-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** podman with a storage of the test's own; in a mount namespace with one kind of cgroup, which is all that crun takes. */
const podman = (...words: readonly string[]) =>
  run("unshare", [
    ...["--mount", "--propagation", "private", "bash", "-c"],
    'umount -R /sys/fs/cgroup 2> /dev/null; mount -t cgroup2 none /sys/fs/cgroup; exec podman "$@"',
    "podman",
    ...["--root", join(folder, "storage"), "--runroot", join(folder, "state"), "--storage-driver", "vfs"],
    ...["--cgroup-manager", "cgroupfs", "--events-backend", "none"],
    ...words,
  ]);

/** Everything is allowed but what makes namespaces and mounts. */
const PROFILE = {
  defaultAction: "SCMP_ACT_ALLOW",
  syscalls: [{ names: ["unshare", "mount", "setns", "pivot_root"], action: "SCMP_ACT_ERRNO", errnoRet: 1 }],
};

/** Lines of a process's status, by their names. */
function statusOf(pid: number): Record<string, string> {
  const lines = readFileSync(`/proc/${pid}/status`, "utf8").trim().split("\n");
  return Object.fromEntries(lines.map((line) => line.split(/:\s*/, 2)));
}

/** The processes below `/usr/bin/node` in the image whose command line has a word. */
function processesWith(word: string): number[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const words = readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0");
      return words[0] === "/usr/bin/node" && words.includes(word) ? [Number(name)] : [];
    } catch {
      return [];
    }
  });
}

describe("the sidecar's image", () => {
  it("K32 K37 is made of the program alone, and serves as user 107 without rights, mounts or namespaces", async (context) => {
    needs(context, { root: true, commands: ["podman", "crun", "unshare"] });
    const image = join(folder, "image");
    const root = join(image, "root");
    execFileSync(process.execPath, [join(PROJECT_ROOT, "src/build/image.mjs"), root]);
    expect(readdirSync(join(root, "usr/bin"))).toEqual(["node"]);
    const file = join(PROJECT_ROOT, "docs/kubevirt/Containerfile");
    const words = ["build", "--network", "none", "--tag", "sluice-kubevirt", "--file", file];
    const built = await podman(...words, image).ended;
    expect([built.status, built.stderr]).toEqual([0, expect.anything()]);
    const hooks = join(folder, "hooks");
    mkdirSync(hooks);
    chownSync(hooks, QEMU_USER, QEMU_USER);
    writeFileSync(join(folder, "seccomp.json"), JSON.stringify(PROFILE));
    const sidecar = podman(
      ...[
        "run",
        "--rm",
        "--cgroups",
        "disabled",
        "--ulimit",
        "nofile=4096:4096",
        "--ulimit",
        "nproc=4096:4096",
      ],
      ...[
        "--read-only",
        "--read-only-tmpfs=false",
        "--tmpfs",
        "/tmp",
        "--cap-drop",
        "all",
        "--network",
        "none",
      ],
      ...["--security-opt", "no-new-privileges", "--security-opt", `seccomp=${join(folder, "seccomp.json")}`],
      ...["--env", "CONTAINER_NAME=hook-sidecar-0", "--env", "NETWORK_BINDING_PLUGIN_NAME=sluice"],
      ...["--volume", `${hooks}:/var/run/kubevirt-hooks`, "sluice-kubevirt"],
    );
    await sidecar.says(/serving the hooks/);
    const client = new HookClient(join(hooks, "sluice-sluice.sock"));
    const vmi = vmiOf({ ports: [{ port: 8080 }] });
    expect(await client.define("<domain><devices/></domain>", vmi)).toContain(
      "/hook-sidecar-0/engine/card.sock",
    );
    await sidecar.says(/ready: vhost-user/);
    expect(sidecar.stderr.match(/the engine is less confined than it could be/g)).toHaveLength(1);
    const engine = processesWith("/usr/lib/node_modules/sluice/dist/program/engine-process.js").at(-1) ?? 0;
    const { Uid, CapEff, CapBnd, NoNewPrivs, Seccomp } = statusOf(engine);
    expect(Uid?.split("\t")).toEqual(["107", "107", "107", "107"]);
    expect([CapEff, CapBnd, NoNewPrivs, Seccomp]).toEqual(["0000000000000000", "0000000000000000", "1", "2"]);
    await client.shutdown();
    client.close();
    const { status } = await sidecar.ended;
    expect(status).toBe(0);
    expect(readdirSync(hooks)).toEqual(["engine"]);
    await until(() => !isAlive(engine), "the engine is gone");
  });
});

describe("the network that opens low ports", () => {
  it("K31 is made by two standard plugins: loopback for its result, tuning for the sysctl", (context) => {
    needs(context, {
      root: true,
      files: ["/usr/lib/cni/loopback", "/usr/lib/cni/tuning"],
      commands: ["ip"],
    });
    const [manifest] = parseAllDocuments(
      readFileSync(join(PROJECT_ROOT, "docs/kubevirt/low-ports-network.yaml"), "utf8"),
    );
    const { cniVersion, name, plugins } = JSON.parse(manifest?.toJS().spec.config) as {
      readonly cniVersion: string;
      readonly name: string;
      readonly plugins: readonly { readonly type: string }[];
    };
    const namespace = `sluice-cni-${process.pid}`;
    const first = (): string =>
      execFileSync(
        "ip",
        ["netns", "exec", namespace, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"],
        {
          encoding: "utf8",
        },
      ).trim();
    execFileSync("ip", ["netns", "add", namespace]);
    try {
      expect(first()).toBe("1024");
      let prevResult: unknown;
      for (const plugin of plugins) {
        const result = execFileSync(`/usr/lib/cni/${plugin.type}`, {
          input: JSON.stringify({ cniVersion, name, ...plugin, ...(prevResult ? { prevResult } : {}) }),
          env: {
            CNI_COMMAND: "ADD",
            CNI_CONTAINERID: "sluice",
            CNI_NETNS: `/var/run/netns/${namespace}`,
            CNI_IFNAME: "net1",
            CNI_PATH: "/usr/lib/cni",
          },
          encoding: "utf8",
        });
        prevResult = JSON.parse(result);
      }
      expect(first()).toBe("0");
    } finally {
      execFileSync("ip", ["netns", "delete", namespace]);
    }
  });
});
