/** A network namespace of a test's own, with a TAP moved into it. Needs root. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { findCommand } from "./requirements.ts";

let count = 0;

export class NetworkNamespace {
  readonly name = `sluice-test-${process.pid}-${count++}`;
  private readonly children: ChildProcess[] = [];

  constructor() {
    ip("netns", "add", this.name);
    this.ip("link", "set", "lo", "up");
  }

  /** Moves a device of ours in, gives it an address and brings it up. */
  adopt(device: string, address: string, mtu = 1500): void {
    ip("link", "set", device, "netns", this.name);
    this.ip("addr", "add", address, "dev", device);
    this.ip("link", "set", device, "mtu", String(mtu), "up");
  }

  /** Runs `ip` inside. */
  ip(...args: string[]): string {
    return ip("-n", this.name, ...args);
  }

  /** Starts a program inside; it is killed when the namespace is removed. */
  spawn(command: string, ...args: string[]): ChildProcess {
    const child = spawn(ipPath(), ["netns", "exec", this.name, command, ...args], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.children.push(child);
    return child;
  }

  /** Runs JavaScript inside, in a Node of its own. */
  script(source: string): ChildProcess {
    return this.spawn(process.execPath, "--input-type=module", "-e", source);
  }

  async remove(): Promise<void> {
    for (const child of this.children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    ip("netns", "del", this.name);
  }
}

function ipPath(): string {
  const path = findCommand("ip");
  if (path === undefined) throw new Error("the program ip (iproute2) is needed");
  return path;
}

function ip(...args: string[]): string {
  return execFileSync(ipPath(), args, { encoding: "utf8" });
}
