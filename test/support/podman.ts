/**
 * buildah and podman with a store of their own in a temporary directory, in a mount namespace that has control groups as
 * podman wants them (of one version alone). Nothing of the machine's containers is seen or changed. Needs root.
 */
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Running, run } from "./program.ts";
import type { Needs } from "./requirements.ts";

export const PODMAN_NEEDS: Needs = {
  root: true,
  commands: ["buildah", "podman", "crun", "conmon", "unshare", "nsenter"],
};

const HOLD = "echo made && exec sleep 3600";
const NO_GROUPS = `umount -R /sys/fs/cgroup 2>/dev/null; mount -t cgroup2 cgroup2 /sys/fs/cgroup && ${HOLD}`;
/** One kind of control groups, which is all that crun takes: of two the old one, which asks for no right to load BPF. */
const GROUPS = `[ ! -d /sys/fs/cgroup/unified ] || umount /sys/fs/cgroup/unified; ${HOLD}`;

/** What a container may have where root lacks CAP_SYS_RESOURCE; podman takes the lesser of these for processes itself. */
function limitsHere(): string {
  const limits = readFileSync("/proc/self/limits", "utf8");
  const hard = (title: string): number =>
    Number(new RegExp(`^${title} +\\S+ +(\\d+)`, "m").exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
  const files = Math.min(hard("Max open files"), 2 ** 20);
  const processes = Math.min(hard("Max processes"), Number(readFileSync("/proc/sys/kernel/pid_max", "utf8")));
  return `"nofile=${files}:${files}", "nproc=${processes}:${processes}"`;
}

export class Podman {
  readonly directory = mkdtempSync(join(tmpdir(), "sluice-test-podman-"));
  readonly #env: NodeJS.ProcessEnv;
  readonly #groups: boolean;
  #holder: Running | undefined;

  /** `groups`: with the machine's control groups, which pods cannot be without. */
  constructor({ groups = false }: { readonly groups?: boolean } = {}) {
    this.#groups = groups;
    const at = (name: string): string => join(this.directory, name);
    writeFileSync(
      at("storage.conf"),
      `[storage]\ndriver = "overlay"\ngraphroot = "${at("graph")}"\nrunroot = "${at("run")}"\n`,
    );
    writeFileSync(
      at("containers.conf"),
      `[containers]\n${groups ? "" : 'cgroups = "disabled"\n'}default_ulimits = [${limitsHere()}]\n
[engine]\ncgroup_manager = "cgroupfs"\nruntime = "crun"\nevents_logger = "file"\ntmp_dir = "${at("tmp")}"\n`,
    );
    this.#env = {
      ...process.env,
      CONTAINERS_STORAGE_CONF: at("storage.conf"),
      CONTAINERS_CONF: at("containers.conf"),
      // Builds by the kernel's means alone, without a runtime.
      BUILDAH_ISOLATION: "chroot",
    };
  }

  async open(): Promise<void> {
    const holder = this.#groups ? GROUPS : NO_GROUPS;
    this.#holder = run("unshare", ["--mount", "--propagation", "private", "sh", "-c", holder]);
    await this.#holder.says(/made/, "stdout");
  }

  get #enter(): readonly string[] {
    return ["-t", String(this.#holder!.child.pid), "-m", `--wd=${process.cwd()}`, "--"];
  }

  /** Runs a command there, to its end. */
  run(...words: readonly string[]): SpawnSyncReturns<string> {
    return spawnSync("nsenter", [...this.#enter, ...words], {
      env: this.#env,
      encoding: "utf8",
      timeout: 300_000,
    });
  }

  /** Starts a command there. */
  start(...words: readonly string[]): Running {
    return run("nsenter", [...this.#enter, ...words], { env: this.#env });
  }

  async close(): Promise<void> {
    if (this.#holder === undefined) return;
    this.run("podman", "rm", "--all", "--force", "--time", "0");
    this.#holder.child.kill("SIGKILL");
    await this.#holder.ended;
    rmSync(this.directory, { recursive: true, force: true });
  }
}
