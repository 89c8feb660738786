/**
 * The kernel's network configuration through iproute2: `ip -json` to read, `ip` and `bridge` to change, each a single
 * program started with an argument list. Nothing here goes through a shell.
 *
 * iproute2 rather than a netlink library: the few on the registry are unkept or native add-ons of their own, none has
 * bridge ports and neighbours, and a netlink encoder written here would be a second copy of what every pod image with
 * a Linux bridge has. `ip address save` and `ip route save` also hand out the kernel's own messages, so that what
 * was there comes back octet for octet, attributes this program has never heard of included. The cost, one process
 * of about a millisecond per change, is paid a dozen times when a VM starts.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Everything `up` and `down` ask of the kernel; tests replace it to make single calls fail. */
export interface Kernel {
  /** Runs `ip` or `bridge` and returns what it printed. Throws KernelError. */
  run(program: "ip" | "bridge", args: readonly string[], input?: Buffer): Promise<Buffer>;
  /** Writes below /proc/sys, such as `net/ipv6/conf/br0/disable_ipv6`. Throws the file system's error. */
  writeSysctl(key: string, value: string): Promise<void>;
}

/** What the kernel, or iproute2, said no to. */
export class KernelError extends Error {
  override readonly name = "KernelError";
}

/** The machine's kernel, in the network namespace of this process. */
export const hostKernel: Kernel = {
  run: (program, args, input) => runProgram(program, args, input),
  writeSysctl: async (key, value) => writeFileSync(`/proc/sys/${key}`, value),
};

/** Runs a program of iproute2, wherever distributions put it. */
export async function runProgram(program: string, args: readonly string[], input?: Buffer): Promise<Buffer> {
  const stdin = input === undefined ? undefined : fileWith(input);
  try {
    const env = { ...process.env, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`, LC_ALL: "C" };
    const child = spawn(program, [...args], { stdio: [stdin ?? "ignore", "pipe", "pipe"], env });
    const output: Buffer[] = [];
    const said: Buffer[] = [];
    child.stdout?.on("data", (octets: Buffer) => output.push(octets));
    child.stderr?.on("data", (octets: Buffer) => said.push(octets));
    await ended(child, program, args, said);
    return Buffer.concat(output);
  } finally {
    if (stdin !== undefined) closeSync(stdin);
  }
}

function ended(
  child: ChildProcess,
  program: string,
  args: readonly string[],
  said: readonly Buffer[],
): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (reason: string): void => reject(new KernelError(`${program} ${args.join(" ")}: ${reason}`));
    child.once("error", (error: NodeJS.ErrnoException) => {
      fail(error.code === "ENOENT" ? `${program} is not installed (package iproute2)` : error.message);
    });
    child.once("close", (code, signal) => {
      if (code === 0) resolve();
      else fail(Buffer.concat(said).toString("utf8").trim() || `ended with ${signal ?? `status ${code}`}`);
    });
  });
}

/** A nameless file with this content, open at its start: `ip route restore` seeks in its input. */
function fileWith(content: Buffer): number {
  const folder = mkdtempSync(join(tmpdir(), "sluice-"));
  try {
    const path = join(folder, "input");
    writeFileSync(path, content, { mode: 0o600 });
    return openSync(path, "r");
  } finally {
    rmSync(folder, { recursive: true });
  }
}
