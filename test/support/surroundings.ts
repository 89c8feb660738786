/** Where a start happens: what a service, a container or a careless parent gives a program, or does not. */
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { freePort } from "./free-port.ts";
import { type Ended, PROGRAM, run } from "./program.ts";
import { PROJECT_ROOT } from "./project-root.ts";
import { type Needs, TUN_DEVICE } from "./requirements.ts";

export interface Surroundings {
  /** Runs the rest of its arguments there. */
  readonly enter: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly needs?: Needs;
}

const CAPTURE = join(PROJECT_ROOT, "test/fixtures/linux-6.1-guest-behind-libslirp.pcap");
const SPEC = join(PROJECT_ROOT, "test/fixtures/vm/a6-slirp.yaml");
/** What the command under exec and qemu ends with. */
export const COMMAND_STATUS = 7;
const COMMAND = ["sh", "-c", `exit ${COMMAND_STATUS}`];
const READY_FD = 3;

/** The commands, with what each ends with when all is well. */
export const COMMANDS: Readonly<
  Record<string, { readonly words: readonly string[]; readonly status: number }>
> = {
  run: { words: ["run", "--ready-fd", String(READY_FD)], status: 0 },
  exec: { words: ["exec", "--tun-device", TUN_DEVICE, "--", ...COMMAND], status: COMMAND_STATUS },
  qemu: { words: ["qemu", "--", ...COMMAND], status: COMMAND_STATUS },
  replay: { words: ["replay", CAPTURE], status: 0 },
  "vm plan": { words: ["vm", "plan", SPEC], status: 0 },
};

/** Runs one of COMMANDS in the surroundings; `run` is ended once it serves. */
export async function startIn({ enter, env }: Surroundings, command: string): Promise<Ended> {
  const { words } = COMMANDS[command];
  const serves = command === "run";
  const link = serves ? ["--qemu-listen", `tcp:127.0.0.1:${await freePort()}`] : [];
  const [program, ...args] = [...enter, process.execPath, PROGRAM, ...words, ...link];
  const running = run(program, args, {
    stdio: ["ignore", "pipe", "pipe", "pipe"],
    ...(env === undefined ? {} : { env }),
  });
  if (serves) {
    const ready = running.child.stdio[READY_FD] as Readable;
    ready.once("data", () => running.child.kill("SIGTERM"));
  }
  return running.ended;
}

/** Whether this checkout can be read there: it may be root's alone. */
export function reachesProgram({ enter, env }: Surroundings): boolean {
  const [program, ...args] = [
    ...enter,
    process.execPath,
    "-e",
    `require("node:fs").accessSync("${PROGRAM}")`,
  ];
  return spawnSync(program, args, env === undefined ? {} : { env }).status === 0;
}

/** A shell that does `line` and then becomes the rest of the arguments. */
export const after = (line: string): string[] => ["/bin/sh", "-c", `${line}; exec "$@"`, "sh"];

/** Every mount but the kernel's own read-only, in a mount namespace of its own. */
export const READ_ONLY = `mount --make-rprivate /
for m in $(cut -d" " -f5 /proc/self/mountinfo | grep -v "^/\\(proc\\|sys\\|dev\\)"); do mount -o remount,bind,ro "$m"; done
! touch /tmp/sluice-test-written 2>/dev/null || exit 99`;

/** A directory that is gone when the program starts. */
export function goneDirectory(parent: string): string[] {
  const gone = join(parent, "gone");
  rmSync(gone, { recursive: true, force: true });
  mkdirSync(gone);
  return after(`cd ${gone} && rmdir ${gone}`);
}
