/**
 * A guest under QEMU without acceleration, virtio-net, one TCP stream: sluice over QEMU's stream link against QEMU's
 * built-in user network. The guest's load program is linked statically and rides in the guest's first file system.
 */
import { readFileSync } from "node:fs";
import { bootGuest, type QemuGuest } from "../../test/support/qemu-guest.ts";
import type { Engine } from "./engines.ts";
import { socketOf } from "./engines.ts";
import type { Laboratory } from "./laboratory.ts";
import { STREAM_PORT } from "./laboratory.ts";
import type { Measurement } from "./measurement.ts";
import type { CompareOptions } from "./options.ts";
import { cpuSeconds, memoryOf, type Program, type Report, RunFailure } from "./program.ts";

const BOOT_LIMIT_MS = 120_000;
/** Emulation warms up slowly: its translations are made as the code is first run. */
const WARMUP_MS = 1500;
const PROGRAM_IN_GUEST = "/bin/tcp-stream";

function netdev(engine: Engine, laboratory: Laboratory): string[] {
  const device = ["-device", "virtio-net-pci,netdev=n0"];
  if (engine.id === "qemu-user") return ["-netdev", "user,id=n0", ...device];
  const stream = `stream,id=n0,server=off,addr.type=unix,addr.path=${socketOf(laboratory)}`;
  return ["-netdev", stream, ...device];
}

/** The next `{"event":...}` line of that kind on the guest's console after the first `seen`. */
async function reportFromGuest(guest: QemuGuest, event: string, timeoutMs: number): Promise<Report> {
  const match = await guest.waitFor(new RegExp(`^\\{"event":"${event}".*\\}$`, "m"), 1, timeoutMs);
  return JSON.parse(match[0]) as Report;
}

/** Gbit/s at the receiver for one stream; beside it sluice's CPU seconds per gigabyte. */
export async function measureQemu(
  options: CompareOptions,
  laboratory: Laboratory,
  engine: Engine,
  direction: "up" | "down",
): Promise<Measurement> {
  const program = engine.id === "qemu-user" ? undefined : laboratory.inHost(engine.command(laboratory, 1500));
  if (program) await socketExists(program);
  const guest = bootGuest({
    command: laboratory.commandInHost([options.paths.get("qemu-system-x86_64") ?? "qemu-system-x86_64"]),
    netdev: netdev(engine, laboratory),
    files: { [PROGRAM_IN_GUEST]: readFileSync(laboratory.programs["tcp-stream-static"]) },
    script: [
      `ip addr add ${engine.guestAddress}/24 dev eth0; ip link set eth0 up`,
      `ip route add default via ${engine.gateway}`,
      "echo guest-ready; read line; eval $line",
    ].join("\n"),
  });
  try {
    await guest.waitFor(/^guest-ready$/m, 1, BOOT_LIMIT_MS);
    return await transfer(options, laboratory, guest, program, direction);
  } catch (error) {
    throw error instanceof RunFailure ? error : new RunFailure((error as Error).message.slice(0, 300));
  } finally {
    await guest.kill();
  }
}

async function transfer(
  options: CompareOptions,
  laboratory: Laboratory,
  guest: QemuGuest,
  program: Program | undefined,
  direction: "up" | "down",
): Promise<Measurement> {
  const at = laboratory.at(STREAM_PORT);
  const windowMs = Math.max(options.windowMs, 1000);
  const timing = `--warmup ${WARMUP_MS} --window ${windowMs}`;
  const role = (receives: boolean) => (receives ? `recv ${timing}` : "send");
  const server = laboratory.inHost([
    ...[laboratory.programs["tcp-stream"], ...role(direction === "up").split(" ")],
    ...["--listen", at],
  ]);
  await server.report("ready", 5000);
  guest.send(`${PROGRAM_IN_GUEST} ${role(direction === "down")} --connect ${at}\n`);
  const limit = WARMUP_MS + windowMs + 30_000;
  const wait = (event: string) =>
    direction === "up" ? server.report(event, limit) : reportFromGuest(guest, event, limit);
  await wait("window");
  const before = program ? cpuSeconds(program.processes()) : 0;
  const result = await wait("result");
  const cpu = program ? cpuSeconds(program.processes()) - before : 0;
  const octets = (result["octets"] as number[]).reduce((sum, n) => sum + n, 0);
  const more: Record<string, number> = { longestSilenceMs: Number(result["silenceMs"]) };
  if (program) {
    more["cpuSecondsPerGb"] = cpu / (octets / 1e9);
    more["peakRssKb"] = memoryOf(program.processes(), "VmHWM").engineKb;
  }
  const seconds = Number(result["nanoseconds"]) / 1e9;
  return { value: (octets * 8) / seconds / 1e9, more };
}

/** Waits until sluice listens. */
async function socketExists(program: Program): Promise<void> {
  await program.said(/listening|ready|serving/i, 15_000);
}
