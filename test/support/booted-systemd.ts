/** The machine's own systemd, booted in namespaces, for tests of what it makes of a unit file. Needs root. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "./program.ts";
import { PROJECT_ROOT } from "./project-root.ts";
import type { Needs } from "./requirements.ts";

export const SYSTEMD = "/lib/systemd/systemd";
export const SYSTEMD_NEEDS: Needs = {
  root: true,
  commands: ["unshare", "nsenter", "systemctl", "ip"],
  tun: true,
  files: [SYSTEMD, "/proc/self/ns/cgroup"],
};

/** Where the checkout is inside. */
export const CHECKOUT = "/run/checkout";

const IDLE = "[Unit]\nDescription=Nothing at all\nDefaultDependencies=no\n";

/** Where cgroup2 is mounted. */
function controlGroups(): string {
  const mount = /^\S+ (\S+) cgroup2 /m.exec(readFileSync("/proc/mounts", "utf8"));
  if (mount === null) throw new Error("no cgroup2 is mounted");
  return mount[1];
}

export class BootedSystemd {
  readonly #directory = mkdtempSync(join(tmpdir(), "sluice-test-systemd-"));
  readonly #group: string;
  readonly #boot: ChildProcess;
  readonly #ended: Promise<unknown>;

  /** `units`: files of /etc/systemd/system by their names, folders for drop-ins included. */
  constructor(units: Readonly<Record<string, string>>) {
    for (const [name, text] of Object.entries({ ...units, "idle.target": IDLE })) {
      mkdirSync(join(this.#directory, name, ".."), { recursive: true });
      writeFileSync(join(this.#directory, name), text);
    }
    this.#group = join(controlGroups(), `sluice-test-${process.pid}`);
    mkdirSync(this.#group);
    const script = join(PROJECT_ROOT, "test/support/booted-systemd.sh");
    const args = [script, this.#group, PROJECT_ROOT, process.execPath, this.#directory, SYSTEMD];
    this.#boot = spawn("sh", args, { stdio: ["ignore", "ignore", "inherit"] });
    this.#ended = new Promise((resolve) => this.#boot.once("exit", resolve));
  }

  /** Settles when systemd takes orders. */
  async ready(): Promise<void> {
    await until(
      () => this.run("systemctl", "is-active", "idle.target").stdout === "active\n",
      "systemd",
      30_000,
    );
  }

  /** Runs a command beside systemd. */
  run(
    command: string,
    ...args: readonly string[]
  ): { status: number | null; stdout: string; stderr: string } {
    const { pid, exitCode, signalCode } = this.#boot;
    if (exitCode !== null || signalCode !== null) throw new Error("systemd could not be booted");
    const init = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
    if (init === "") return { status: null, stdout: "", stderr: "no systemd" };
    const inside = [
      "-t",
      init,
      "--mount",
      "--pid",
      "--net",
      "--cgroup",
      "--uts",
      "--ipc",
      "--",
      command,
      ...args,
    ];
    return spawnSync("nsenter", inside, { encoding: "utf8", timeout: 60_000, killSignal: "SIGKILL" });
  }

  /** Ends everything that runs there. */
  async close(): Promise<void> {
    this.#boot.kill("SIGKILL");
    await this.#ended;
    const removed = () =>
      spawnSync("find", [this.#group, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+"]);
    await until(() => removed().status === 0, "the control group goes");
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
