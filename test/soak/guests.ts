/**
 * The two guests of a soak, each a namespace with the kernel's own stack: one behind a TAP with super-frames, one behind
 * a QEMU stream (bench/compare/tap-bridge.c plays QEMU). The stream's far end can be killed and started anew while the
 * engine and the guest keep their connections, as when QEMU is restarted from a snapshot.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Agent } from "../support/agent.ts";
import { engineOf } from "../support/engine-pid.ts";
import { NamespaceGuest, reportOf } from "../support/namespace-guest.ts";
import { type Running, run, sluice } from "../support/program.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";

/** Guest ports that are forwarded, TCP and UDP. */
export const FORWARDED_TCP = 7000;
export const FORWARDED_UDP = 7001;

export interface SoakGuest {
  readonly name: string;
  /** Inside. */
  readonly agent: Agent;
  /** The name of its network device. */
  readonly device: string;
  readonly sluice: Running;
  /** Cuts the link in the middle of a frame and restores it, where that can be. */
  readonly relink?: () => Promise<void>;
  close(): Promise<void>;
}

const OPTIONS = [
  ...["--allow-host-loopback", "--udp-timeout", "120"],
  ...["-p", `0:${FORWARDED_TCP}`, "-p", `udp:127.0.0.1:0:${FORWARDED_UDP}`],
];

export async function tapGuest(resolver: string): Promise<SoakGuest> {
  const guest = await NamespaceGuest.start({ options: [...OPTIONS, "--resolver", resolver] });
  return {
    name: "tap",
    agent: guest.agent,
    device: guest.device,
    sluice: guest.sluice,
    close: async () => void (await guest.close()),
  };
}

const DEVICE = "tap0";
const GUEST_ADDRESS = "10.0.2.15";
const GATEWAY = "10.0.2.2";

/** The device stays when its far end is killed, and so do its addresses. The bridge adds a route without a metric. */
const NETWORK = [
  "ip link set lo up",
  `ip tuntap add dev ${DEVICE} mode tap`,
  `ip link set ${DEVICE} address 52:54:00:12:34:56 up`,
  `ip address add ${GUEST_ADDRESS}/24 dev ${DEVICE}`,
  `ip route add default via ${GATEWAY} dev ${DEVICE} metric 100`,
].join(" && ");

/** A far end of the stream that dies in the middle of a frame: the header of 1000 octets, and 10 of them. */
async function cutFrame(path: string): Promise<void> {
  const socket = connect(path);
  const frame = Buffer.alloc(14);
  frame.writeUInt32BE(1000);
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.once("connect", () => socket.write(frame, () => resolve()));
  });
  socket.destroy();
}

export async function streamGuest(resolver: string): Promise<SoakGuest> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-soak-"));
  const bridge = join(directory, "tap-bridge");
  const source = join(PROJECT_ROOT, "bench/compare/tap-bridge.c");
  execFileSync("cc", ["-D_GNU_SOURCE", "-O2", "-pthread", "-o", bridge, source]);
  const path = join(directory, "qemu.sock");
  const holder = run("unshare", [
    ...["--net", "--mount", "sh", "-c"],
    `${NETWORK} && echo made && exec sleep 100000`,
  ]);
  await holder.says(/made/, "stdout");
  const enter = ["nsenter", "-t", String(holder.child.pid), "-n", "-m"];
  const engine = sluice(["run", "--qemu-listen", `unix:${path}`, ...OPTIONS, "--resolver", resolver]);
  await engine.says(/ready: .*/);
  const device = ["--tap", DEVICE, "--address", GUEST_ADDRESS, "--gateway", GATEWAY];
  const plug = async (): Promise<Running> => {
    const [nsenter, ...rest] = enter;
    const plugged = run(nsenter, [...rest, bridge, ...device, "--connect", path]);
    await plugged.says(/connected/, "stdout");
    return plugged;
  };
  let plugged = await plug();
  const agent = new Agent(enter);
  const unplug = async (): Promise<void> => {
    plugged.child.kill("SIGKILL");
    await plugged.ended;
    const [nsenter, ...rest] = enter;
    await run(nsenter, [...rest, "ip", "route", "del", "default", "metric", "0"]).ended;
  };
  return {
    name: "stream",
    agent,
    device: DEVICE,
    sluice: engine,
    relink: async () => {
      await unplug();
      await cutFrame(path);
      plugged = await plug();
    },
    close: async () => {
      engine.child.kill("SIGTERM");
      await engine.ended;
      await agent.close();
      await unplug();
      holder.child.kill("SIGKILL");
      await holder.ended;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** The host port of a forward, from the line that tells that sluice is ready. */
export function forwardedPort(guest: SoakGuest, protocol: "tcp" | "udp", guestPort: number): number {
  const found = new RegExp(`${protocol} [^ ]+:(\\d+) -> [\\d.]*:${guestPort}\\b`).exec(guest.sluice.stderr);
  if (!found) throw new Error(`no ${protocol} forward to ${guestPort}:\n${guest.sluice.stderr}`);
  return Number(found[1]);
}

/** One look at an engine. */
export interface Sample {
  /** Since the load began, seconds. */
  readonly seconds: number;
  readonly rssOctets: number;
  readonly heapOctets: number;
  readonly descriptors: number;
  readonly flows: number;
  /** User and system time so far, seconds. */
  readonly cpuSeconds: number;
  readonly counters: Readonly<Record<string, number>>;
  readonly drops: Readonly<Record<string, number>>;
}

/** USER_HZ, which proc(5) counts in on every Linux. */
const TICKS_PER_SECOND = 100;

export async function sampleOf(guest: SoakGuest, seconds: number): Promise<Sample> {
  const pid = engineOf(guest.sluice);
  const { counters, drops, flows } = await reportOf(guest.sluice);
  const reports = guest.sluice.stderr;
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const ticks = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  return {
    seconds,
    rssOctets: Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) * 1024,
    heapOctets: Number(/heap:\n {2}used +(\d+)/.exec(reports.slice(reports.lastIndexOf("heap:")))?.[1]),
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    flows: Number(/flows \((\d+)\)/.exec(flows)?.[1]),
    cpuSeconds: (Number(ticks[11]) + Number(ticks[12])) / TICKS_PER_SECOND,
    counters,
    drops,
  };
}
