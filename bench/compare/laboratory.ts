/**
 * Two fresh network namespaces for each run: `host`, where the engine and the servers live, and `guest`, where the
 * TAP and the clients live. Fresh ones have no TIME_WAIT sockets, no routes of the machine and no other traffic.
 * The servers listen on an address of the benchmark range (RFC 2544) that the host namespace owns, so that no
 * engine needs its way to the host's loopback opened, and packets between engine and server take `lo`.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Program, RunFailure } from "./program.ts";
import type { LoadPrograms } from "./toolchain.ts";

export const SERVER_ADDRESS = "198.18.0.1";
const SERVER_GATEWAY = "198.18.0.254";
/** Of the documentation range: that for benchmarks (RFC 5180) is not routed to by every kernel's rules. */
const SERVER_ADDRESS_6 = "2001:db8:198::1";
const SERVER_GATEWAY_6 = "2001:db8:198::fe";
export const STREAM_PORT = 5000;
export const ECHO_PORT = 6000;
export const ECHO_PORTS = 16;
export const DATAGRAM_PORT = 7000;
export const DNS_PORT = 53;
export const TAP_NAME = "tap0";

/** Octets of a command that lists ten thousand connections. */
const OUTPUT_MAX = 67_108_864;
/** What the probe of readiness may leave behind. */
const TIME_WAIT_ALLOWED = 50;

/** Addresses are good at once: a second of detection is no engine's. */
const NO_DAD = ["net/ipv6/conf/default/accept_dad=0", "net/ipv6/conf/default/router_solicitation_delay=0"];
const PORT_RANGE = "net/ipv4/ip_local_port_range=1024 65535";

/** Ports that thousands of an engine's own connections leave alone. */
const SERVERS_PORTS = `net/ipv4/ip_local_reserved_ports=${STREAM_PORT},${DATAGRAM_PORT}`;

/** What the servers are reached over. */
export type Family = 4 | 6;

/** Counters of the kernel, cumulated since the namespace was made. */
export interface KernelCounters {
  /** Frames the guest's TAP dropped on their way to the engine, and from it. */
  readonly tapDropsUp: number;
  readonly tapDropsDown: number;
  /** Segments the guest's kernel sent again, and that arrived at it out of order (the engine resent or lost some). */
  readonly guestResent: number;
  readonly guestOutOfOrder: number;
  readonly hostResent: number;
}

export class Laboratory {
  readonly directory: string;
  readonly programs: LoadPrograms;
  readonly #host: Program;
  readonly #guest: Program;
  readonly #started: Program[] = [];

  private constructor(
    programs: LoadPrograms,
    congestion: string,
    readonly family: Family,
  ) {
    this.programs = programs;
    this.directory = mkdtempSync(join(tmpdir(), "sluice-compare-"));
    const control = `net/ipv4/tcp_congestion_control=${congestion}`;
    const uplink = ["--uplink", SERVER_ADDRESS, SERVER_GATEWAY];
    const backlog = "net/core/somaxconn=65535";
    this.#host = new Program([
      programs.netns,
      "anchor",
      ...uplink,
      control,
      PORT_RANGE,
      SERVERS_PORTS,
      backlog,
    ]);
    this.#guest = new Program([
      programs.netns,
      "anchor",
      control,
      PORT_RANGE,
      ...(family === 6 ? NO_DAD : []),
    ]);
  }

  static async open(programs: LoadPrograms, congestion: string, family: Family = 4): Promise<Laboratory> {
    const laboratory = new Laboratory(programs, congestion, family);
    await laboratory.#host.report("ready", 5000);
    await laboratory.#guest.report("ready", 5000);
    if (family === 6) {
      laboratory.run("host", ["ip", "address", "add", `${SERVER_ADDRESS_6}/64`, "dev", "uplink", "nodad"]);
      laboratory.run("host", [
        "ip",
        "-6",
        "route",
        "add",
        "default",
        "via",
        SERVER_GATEWAY_6,
        "dev",
        "uplink",
      ]);
    }
    return laboratory;
  }

  /** Where a server listens, as the load programs write it. */
  at(port: number): string {
    return this.family === 4 ? `${SERVER_ADDRESS}:${port}` : `[${SERVER_ADDRESS_6}]:${port}`;
  }

  get guestPid(): number {
    return this.#guest.pid;
  }

  /** `argv` as a command that runs in the host namespace. */
  commandInHost(argv: readonly string[]): string[] {
    return [this.programs.netns, "enter", String(this.#host.pid), ...argv];
  }

  /** Starts a program in the host namespace; `close` stops it. */
  inHost(argv: readonly string[]): Program {
    return this.#start(this.#host, argv);
  }

  /** Starts a program in the guest namespace. */
  inGuest(argv: readonly string[]): Program {
    return this.#start(this.#guest, argv);
  }

  /** Runs a short command to its end in a namespace; returns its output. */
  run(where: "host" | "guest", argv: readonly string[]): string {
    const pid = where === "host" ? this.#host.pid : this.#guest.pid;
    const options = { encoding: "utf8", maxBuffer: OUTPUT_MAX } as const;
    return execFileSync(this.programs.netns, ["enter", String(pid), ...argv], options);
  }

  counters(): KernelCounters {
    const device = this.#read(this.#guest, "dev")
      .split("\n")
      .find((line) => line.trim().startsWith(`${TAP_NAME}:`))
      ?.split(":")[1]
      .trim()
      .split(/\s+/)
      .map(Number);
    return {
      tapDropsUp: device?.[11] ?? 0,
      tapDropsDown: device?.[3] ?? 0,
      guestResent: counter(this.#read(this.#guest, "snmp"), "Tcp", "RetransSegs"),
      guestOutOfOrder: counter(this.#read(this.#guest, "netstat"), "TcpExt", "TCPOFOQueue"),
      hostResent: counter(this.#read(this.#host, "snmp"), "Tcp", "RetransSegs"),
    };
  }

  /** Throws when TIME_WAIT sockets are left over. */
  checkTimeWait(): void {
    for (const anchor of [this.#host, this.#guest]) {
      const waiting = Number(/^TCP: .* tw (\d+)/m.exec(this.#read(anchor, "sockstat"))?.[1] ?? 0);
      if (waiting > TIME_WAIT_ALLOWED)
        throw new RunFailure(`${waiting} TIME_WAIT sockets before the run began`);
    }
  }

  /** Ends everything that was started, newest first, and the namespaces with it. */
  async close(): Promise<void> {
    for (const program of this.#started.reverse()) await program.stop();
    await Promise.all([this.#host.stop("SIGKILL"), this.#guest.stop("SIGKILL")]);
    rmSync(this.directory, { recursive: true, force: true });
  }

  #start(anchor: Program, argv: readonly string[]): Program {
    const program = new Program([this.programs.netns, "enter", String(anchor.pid), ...argv]);
    this.#started.push(program);
    return program;
  }

  #read(anchor: Program, file: string): string {
    return readFileSync(`/proc/${anchor.pid}/net/${file}`, "latin1");
  }
}

/** A field of /proc/net/snmp or netstat: a line of names and a line of values with the same prefix. */
function counter(text: string, prefix: string, name: string): number {
  const [names, values] = text
    .split("\n")
    .filter((line) => line.startsWith(`${prefix}: `))
    .map((line) => line.split(" "));
  return Number(values?.[names.indexOf(name)] ?? 0);
}

export function difference(after: KernelCounters, before: KernelCounters): KernelCounters {
  return {
    tapDropsUp: after.tapDropsUp - before.tapDropsUp,
    tapDropsDown: after.tapDropsDown - before.tapDropsDown,
    guestResent: after.guestResent - before.guestResent,
    guestOutOfOrder: after.guestOutOfOrder - before.guestOutOfOrder,
    hostResent: after.hostResent - before.hostResent,
  };
}

/** The congestion control that new namespaces may have: the wanted one, or reno, which the kernel always allows. */
export async function allowedCongestionControl(programs: LoadPrograms, wanted: string): Promise<string> {
  const probe = new Program([programs.netns, "anchor", `net/ipv4/tcp_congestion_control=${wanted}`]);
  try {
    await probe.report("ready", 5000);
    return wanted;
  } catch {
    return "reno";
  } finally {
    await probe.stop("SIGKILL");
  }
}
