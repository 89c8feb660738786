/** Runs the helper program as whoever a test wants it to be, and namespaces for it to enter. */
import { type ChildProcess, execFileSync, type SpawnOptions, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { helperPath } from "../../src/host/native/native-loader.ts";
import { findCommand } from "./requirements.ts";

/** uid and gid of nobody. */
export const NOBODY = 65534;

export interface Identity {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** Who the tests can be: whoever runs them, and for root an unprivileged user as well. */
export function identities(): Identity[] {
  const uid = process.geteuid!();
  const own = { name: uid === 0 ? "root" : `uid ${uid}`, uid, gid: process.getegid!() };
  return uid === 0 ? [own, { name: "an unprivileged user", uid: NOBODY, gid: NOBODY }] : [own];
}

/** What a run of the helper gave. */
export interface HelperResult {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A directory that everyone may read, with a copy of the helper and, for root, a /dev/net/tun for everyone. */
export class HelperRig {
  readonly directory = mkdtempSync(join(tmpdir(), "sluice-test-helper-"));
  readonly helper = join(this.directory, "sluice-helper");
  /** `--tun-device PATH`, or nothing where the usual device has to do. */
  readonly tunArgs: readonly string[];
  private readonly children: ChildProcess[] = [];

  constructor() {
    chmodSync(this.directory, 0o755);
    copyFileSync(helperPath(), this.helper);
    chmodSync(this.helper, 0o755);
    const node = join(this.directory, "tun");
    const made =
      process.geteuid!() === 0 && spawnSync("mknod", ["-m", "666", node, "c", "10", "200"]).status === 0;
    this.tunArgs = made ? ["--tun-device", node] : [];
  }

  /** The helper with `args`, as `identity`; --parent included. */
  run(identity: Identity, args: readonly string[], env: NodeJS.ProcessEnv = process.env): HelperResult {
    const { status, signal, stdout, stderr } = spawnSync(
      this.helper,
      ["--parent", String(process.pid), ...args],
      { uid: identity.uid, gid: identity.gid, encoding: "utf8", cwd: "/", env },
    );
    return { status, signal, stdout, stderr };
  }

  /** Options that make namespaces, for this identity: root needs no user namespace. */
  newNamespaces(identity: Identity): string[] {
    const user = identity.uid === 0 ? [] : ["--new-user", `${identity.uid}:${identity.gid}`];
    return [...user, "--new-net", "--new-mount"];
  }

  /** Starts a program that is killed by `close`. */
  spawn(command: string, args: readonly string[], options: SpawnOptions = {}): ChildProcess {
    const child = spawn(command, args, { cwd: "/", stdio: ["ignore", "ignore", "inherit"], ...options });
    this.children.push(child);
    return child;
  }

  /**
   * A process in a network namespace of a user namespace of its own, made by `identity`: what a rootless container
   * is. Settles with its pid.
   */
  async rootlessNamespace(identity: Identity): Promise<number> {
    const args = ["--user", "--map-root-user", "--net", "sh", "-c", "echo made; exec sleep 100"];
    const child = this.spawn("unshare", args, {
      uid: identity.uid,
      gid: identity.gid,
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(child.stdout!, "data");
    return child.pid!;
  }

  async close(): Promise<void> {
    for (const child of this.children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** For `node -e`: starts the helper with the arguments given, says its pid, and stays. */
export const HELPER_PARENT = `
  const [helper, ...args] = process.argv.slice(1);
  const all = ["--status-fd", "3", "--parent", String(process.pid), ...args];
  const child = require("node:child_process").spawn(helper, all, { stdio: ["ignore", "ignore", "inherit", "pipe"] });
  process.stdout.write(String(child.pid));
  setInterval(() => {}, 1000);`;

/** The name of a running process, or undefined when there is none. */
export function commandName(pid: number): string | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return /^State:\tZ/m.test(status) ? undefined : /^Name:\t(.*)$/m.exec(status)?.[1];
  } catch {
    return undefined;
  }
}

/** Runs `ip` in the namespaces of a process, and reads its JSON. */
export function ipJson(pid: number, ...args: string[]): Record<string, unknown>[] {
  const enter = ["--preserve-credentials", "--user", "--net", "--target", String(pid), "--"];
  const text = execFileSync("nsenter", [...enter, findCommand("ip")!, "-json", "-details", ...args], {
    encoding: "utf8",
  });
  return JSON.parse(text) as Record<string, unknown>[];
}
