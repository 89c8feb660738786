/** The engines under comparison: how each is found, started and reached. One place for every command line. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Laboratory } from "./laboratory.ts";
import { DNS_PORT, TAP_NAME } from "./laboratory.ts";
import type { CompareOptions } from "./options.ts";
import { writePolicy } from "./policy-file.ts";
import { findProgram, versionOf } from "./toolchain.ts";

export type EngineId =
  | "loopback"
  | "sluice"
  | "sluice-plain"
  | "sluice-log"
  | "sluice-watched"
  | "sluice-policy"
  | "slirp4netns"
  | "pasta"
  | "pasta-tuned"
  | "sluice-stream"
  | "passt"
  | "sluice-vhost"
  | "passt-vhost"
  | "libslirp"
  | "gvproxy"
  | "qemu-sluice"
  | "qemu-user";

/** Octets of the socket's path must fit 108; the laboratory's directory is short. */
const SOCKET = "engine.sock";

export interface Engine {
  readonly id: EngineId;
  readonly title: string;
  /** `tap`: makes a TAP in the guest's namespace. `stream`: behind tap-bridge. `vhost`: behind vhost-bridge. `kernel`: no
   * engine, the ceiling. `qemu`: a virtual machine's own card. */
  readonly link: "tap" | "stream" | "vhost" | "kernel" | "qemu";
  /** Who waits for whom on the bridge's socket. */
  readonly bridge?: "listen" | "connect";
  readonly bridgeArguments?: readonly string[];
  readonly largestMtu: number;
  readonly guestAddress: string;
  readonly gateway: string;
  /** The command line, run in the host namespace. */
  readonly command: (laboratory: Laboratory, mtu: number) => string[];
  /** sysctls of the guest's namespace, `KEY=VALUE`. */
  readonly guestSysctls?: readonly string[];
  readonly txqueuelen?: number;
  /** It has a control socket, and watchers while it is measured (measure-control.ts). */
  readonly isWatched?: true;
  /** It keeps a policy, and pins (measure-policy.ts). */
  readonly hasPolicy?: true;
}

export interface FoundEngine extends Engine {
  readonly version: string;
}

export interface Absent {
  readonly id: EngineId;
  readonly title: string;
  /** What is missing and how to get it. */
  readonly sentence: string;
}

const LIBSLIRP_PLAN = { guestAddress: "10.0.2.15", gateway: "10.0.2.2" };

interface Definition extends Omit<Engine, "command"> {
  readonly program: string;
  readonly versionArguments: readonly string[];
  readonly toGet: string;
  readonly command: (path: string, laboratory: Laboratory, mtu: number) => string[];
}

/** `sluice run` on each of its links. The supervisor and all its processes are counted. */
function sluice(
  id: EngineId,
  title: string,
  link: "tap" | "stream" | "vhost" | "qemu",
  more: readonly string[] | ((laboratory: Laboratory) => readonly string[]),
): Definition {
  return {
    id,
    title,
    link,
    ...(link === "stream" || link === "vhost" ? { bridge: "connect" as const } : {}),
    largestMtu: 65520,
    ...LIBSLIRP_PLAN,
    program: "sluice",
    versionArguments: ["--version"],
    toGet: "npm run build",
    command: (path, laboratory, mtu) => {
      const where =
        link === "tap"
          ? ["--tap", TAP_NAME, "--netns", String(laboratory.guestPid), "--configure"]
          : [
              link === "vhost" ? "--vhost-user" : "--qemu-listen",
              `unix:${join(laboratory.directory, SOCKET)}`,
            ];
      const others = typeof more === "function" ? more(laboratory) : more;
      return [process.execPath, path, "run", ...where, "--mtu", String(mtu), ...others];
    },
  };
}

/** Addresses of ours for passt and pasta, which take the host's by themselves. */
function passtAddresses({ family }: Laboratory): string[] {
  return family === 4
    ? ["--ipv4-only", "--address", "10.0.2.15", "--netmask", "255.255.255.0", "--gateway", "10.0.2.2"]
    : ["--ipv6-only", "--address", "fd71:1ae0:d44d:2::15", "--gateway", "fe80::2"];
}

function pasta(id: EngineId, title: string, more: Partial<Engine>): Definition {
  return {
    id,
    title,
    link: "tap",
    largestMtu: 65520,
    ...LIBSLIRP_PLAN,
    program: "pasta",
    versionArguments: ["--version"],
    toGet: "apt install passt",
    ...more,
    command: (path, laboratory, mtu) => [
      ...[
        path,
        "--foreground",
        "--quiet",
        "--config-net",
        "--mtu",
        String(mtu),
        ...passtAddresses(laboratory),
      ],
      ...["--ns-ifname", TAP_NAME, "-t", "none", "-u", "none", "-T", "none", "-U", "none"],
      ...["--runas", "0", "--netns", `/proc/${laboratory.guestPid}/ns/net`],
    ],
  };
}

/**
 * `more`: what it needs for its kind of link. It has no segmentation offload in shared memory. That of October 2026 ends by an
 * assertion of its own (tcp_vu.c:294) as soon as much is to go down, whatever the size of the ring and of its buffers.
 */
function passt(id: EngineId, title: string, link: "stream" | "vhost", more: readonly string[]): Definition {
  return {
    id,
    title,
    link,
    bridge: "connect",
    ...(link === "vhost" ? { bridgeArguments: ["--gro"] } : {}),
    largestMtu: 65520,
    ...LIBSLIRP_PLAN,
    program: "passt",
    versionArguments: ["--version"],
    toGet: link === "vhost" ? "passt of 2025 or newer, by --passt PATH" : "apt install passt",
    command: (path, laboratory, mtu) => [
      ...[path, "--foreground", "--quiet", "--mtu", String(mtu), ...passtAddresses(laboratory)],
      ...["--runas", "0", "--socket", join(laboratory.directory, SOCKET), ...more],
    ],
  };
}

const DEFINITIONS: readonly Definition[] = [
  {
    id: "loopback",
    title: "kernel loopback",
    link: "kernel",
    largestMtu: 65536,
    ...LIBSLIRP_PLAN,
    program: "true",
    versionArguments: [],
    toGet: "",
    command: () => [],
  },
  sluice("sluice", "sluice, TAP", "tap", []),
  sluice("sluice-plain", "sluice, TAP without offload", "tap", ["--no-offload"]),
  sluice("sluice-log", "sluice, TAP, with a flow log", "tap", ({ directory }) => [
    ...["--flow-log", join(directory, "flows.ndjson")],
  ]),
  {
    ...sluice("sluice-watched", "sluice, TAP, watched", "tap", (laboratory) => [
      ...["--control", controlSocketOf(laboratory)],
    ]),
    isWatched: true,
  },
  {
    ...sluice("sluice-policy", "sluice, TAP, with a policy", "tap", (laboratory) => [
      ...["--policy", writePolicy(laboratory), "--resolver", laboratory.at(DNS_PORT)],
    ]),
    hasPolicy: true,
  },
  {
    id: "slirp4netns",
    title: "slirp4netns, TAP",
    link: "tap",
    largestMtu: 65520,
    guestAddress: "10.0.2.100",
    gateway: "10.0.2.2",
    program: "slirp4netns",
    versionArguments: ["--version"],
    toGet: "apt install slirp4netns",
    command: (path, laboratory, mtu) => [
      ...[path, "--configure", "--mtu", String(mtu), ...(laboratory.family === 6 ? ["--enable-ipv6"] : [])],
      ...[String(laboratory.guestPid), TAP_NAME],
    ],
  },
  pasta("pasta", "pasta, TAP", {}),
  // What its authors set for their own measurements (test/perf/pasta_tcp in passt's sources), and a longer queue.
  pasta("pasta-tuned", "pasta, tuned, txqueuelen 10000", {
    guestSysctls: [
      "net.ipv4.tcp_rmem=131072 524288 134217728",
      "net.ipv4.tcp_wmem=131072 524288 134217728",
      "net.ipv4.tcp_timestamps=0",
    ],
    txqueuelen: 10000,
  }),
  sluice("sluice-stream", "sluice, stream", "stream", []),
  passt("passt", "passt, stream", "stream", []),
  sluice("sluice-vhost", "sluice, vhost-user", "vhost", []),
  passt("passt-vhost", "passt, vhost-user", "vhost", ["--vhost-user"]),
  {
    id: "libslirp",
    title: "QEMU's libslirp, stream",
    link: "stream",
    bridge: "listen",
    largestMtu: 1500,
    ...LIBSLIRP_PLAN,
    program: "qemu-system-x86_64",
    versionArguments: ["--version"],
    toGet: "apt install qemu-system-x86",
    // A hub joins the user network to a stream: QEMU as a network stack without a machine.
    command: (path, laboratory) => [
      ...[path, "-M", "none", "-nodefaults", "-display", "none"],
      ...["-netdev", "user,id=u", "-netdev", "hubport,id=h0,hubid=0,netdev=u"],
      ...["-netdev", `stream,id=s,server=off,addr.type=unix,addr.path=${join(laboratory.directory, SOCKET)}`],
      ...["-netdev", "hubport,id=h1,hubid=0,netdev=s"],
    ],
  },
  {
    id: "gvproxy",
    title: "gvproxy, stream",
    link: "stream",
    bridge: "connect",
    largestMtu: 65520,
    guestAddress: "192.168.127.2",
    gateway: "192.168.127.1",
    program: "gvproxy",
    versionArguments: ["-version"],
    toGet: "build github.com/containers/gvisor-tap-vsock and pass --gvproxy PATH (Debian 12 has no package)",
    command: (path, laboratory, mtu) => [
      ...[path, "-mtu", String(mtu), "-ssh-port", "-1"],
      ...["-listen-qemu", `unix://${join(laboratory.directory, SOCKET)}`],
    ],
  },
  sluice("qemu-sluice", "sluice, QEMU guest over stream", "qemu", []),
  {
    id: "qemu-user",
    title: "QEMU's user network, QEMU guest",
    link: "qemu",
    largestMtu: 1500,
    ...LIBSLIRP_PLAN,
    program: "qemu-system-x86_64",
    versionArguments: ["--version"],
    toGet: "apt install qemu-system-x86 busybox",
    // The network stack is part of the machine that measure-qemu.ts starts.
    command: () => [],
  },
];

export const ENGINE_IDS: readonly EngineId[] = DEFINITIONS.map((definition) => definition.id);

/** The socket between the bridge and a stream engine. */
export function socketOf(laboratory: Laboratory): string {
  return join(laboratory.directory, SOCKET);
}

/** The control socket of an engine that is watched. */
export function controlSocketOf(laboratory: Laboratory): string {
  return join(laboratory.directory, "control.sock");
}

/** The engines that are here, with their versions, and those that are not, with how to get them. */
export function findEngines(options: CompareOptions, projectRoot: string): (FoundEngine | Absent)[] {
  const wanted = DEFINITIONS.filter(
    ({ id }) => options.engines.length === 0 || options.engines.includes(id) || id === "loopback",
  );
  return wanted.map((definition) => {
    const { program, versionArguments, toGet, command, ...engine } = definition;
    if (engine.link === "kernel") return { ...engine, version: "", command: () => [] };
    const path = locate(program, options, projectRoot);
    if (path === undefined) {
      return { id: engine.id, title: engine.title, sentence: `${program} is not here: ${toGet}` };
    }
    const version =
      program === "sluice"
        ? versionOf(process.execPath, [path, ...versionArguments])
        : versionOf(path, versionArguments);
    return { ...engine, version, command: (laboratory, mtu) => command(path, laboratory, mtu) };
  });
}

function locate(program: string, options: CompareOptions, projectRoot: string): string | undefined {
  if (program !== "sluice") return findProgram(options.paths.get(program) ?? program);
  const script = options.sluice ?? join(projectRoot, "src/cli/sluice.cjs");
  return existsSync(script) ? script : undefined;
}
