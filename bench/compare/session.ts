/** One engine running between the two namespaces, with a guest behind it, and its account. */
import type { Engine } from "./engines.ts";
import { socketOf } from "./engines.ts";
import type { KernelCounters, Laboratory } from "./laboratory.ts";
import { difference, ECHO_PORT, ECHO_PORTS, TAP_NAME } from "./laboratory.ts";
import type { Memory, Program } from "./program.ts";
import { cpuSeconds, memoryOf, RunFailure } from "./program.ts";

const START_LIMIT_MS = 15_000;
const NANOSECONDS_PER_MS = 1e6;

/** CPU time and kernel counters at one moment. */
export interface Mark {
  readonly cpu: number;
  readonly bridgeCpu: number;
  readonly counters: KernelCounters;
}

export class Session {
  readonly laboratory: Laboratory;
  readonly engine: Engine;
  /** From the start of the engine's process to the first SYN it answered. */
  readonly startMs: number;
  readonly #program: Program | undefined;
  readonly #bridge: Program | undefined;

  private constructor(
    laboratory: Laboratory,
    engine: Engine,
    startMs: number,
    program: Program | undefined,
    bridge: Program | undefined,
  ) {
    this.laboratory = laboratory;
    this.engine = engine;
    this.startMs = startMs;
    this.#program = program;
    this.#bridge = bridge;
  }

  /** Starts the echo server, the bridge where one is needed, and the engine; returns once a SYN was answered. */
  static async start(laboratory: Laboratory, engine: Engine, mtu: number): Promise<Session> {
    const { programs } = laboratory;
    for (const sysctl of engine.guestSysctls ?? []) laboratory.run("guest", ["sysctl", "-q", "-w", sysctl]);
    const at = laboratory.at(ECHO_PORT);
    const echo = laboratory.inHost([programs["tcp-echo"], "--listen", at, "--ports", String(ECHO_PORTS)]);
    await echo.report("ready", 5000);
    if (engine.link === "kernel") return new Session(laboratory, engine, 0, undefined, undefined);

    let bridge: Program | undefined;
    if (engine.bridge) {
      bridge = laboratory.inGuest([
        ...[programs[engine.link === "vhost" ? "vhost-bridge" : "tap-bridge"], "--tap", TAP_NAME],
        ...["--mtu", String(mtu), "--address", engine.guestAddress, "--gateway", engine.gateway],
        ...[`--${engine.bridge}`, socketOf(laboratory), ...(engine.bridgeArguments ?? [])],
      ]);
      await bridge.report("ready", 5000);
    }
    const probe = laboratory.inGuest([programs["tcp-request"], "first", "--connect", at]);
    await probe.report("ready", 5000);
    const spawned = Number(process.hrtime.bigint());
    const program = laboratory.inHost(engine.command(laboratory, mtu));
    const answered = await firstAnswer(probe, program);
    if (engine.txqueuelen !== undefined) {
      laboratory.run("guest", ["ip", "link", "set", TAP_NAME, "txqueuelen", String(engine.txqueuelen)]);
    }
    return new Session(laboratory, engine, (answered - spawned) / NANOSECONDS_PER_MS, program, bridge);
  }

  /** Starts a client where the guest is; for the loopback ceiling that is the host namespace itself. */
  inGuest(argv: readonly string[]): Program {
    return this.engine.link === "kernel" ? this.laboratory.inHost(argv) : this.laboratory.inGuest(argv);
  }

  mark(): Mark {
    return {
      cpu: this.#program ? cpuSeconds(this.#program.processes()) : 0,
      bridgeCpu: this.#bridge ? cpuSeconds([this.#bridge.pid]) : 0,
      counters: this.laboratory.counters(),
    };
  }

  /** What happened since `from`. Throws when the engine has ended in the meantime. */
  since(from: Mark): Mark {
    if (this.#program && !this.#program.running) {
      throw new RunFailure(`the engine ended: ${this.#program.lastWords}`);
    }
    const now = this.mark();
    return {
      cpu: now.cpu - from.cpu,
      bridgeCpu: now.bridgeCpu - from.bridgeCpu,
      counters: difference(now.counters, from.counters),
    };
  }

  memory(field: "VmRSS" | "VmHWM"): Memory {
    return memoryOf(this.#program?.processes() ?? [], field);
  }

  /** Congestion control of the established connections in the host namespace, the engine's among them. */
  congestionInUse(): string[] {
    const lines = this.laboratory.run("host", ["ss", "-tinH", "state", "established"]);
    const names = lines.match(/^\s+(reno|cubic|bbr|dctcp|vegas|westwood|htcp|illinois)\b/gm) ?? [];
    return [...new Set(names.map((name) => name.trim()))].sort();
  }
}

async function firstAnswer(probe: Program, program: Program): Promise<number> {
  try {
    return Number((await probe.report("result", START_LIMIT_MS))["at"]);
  } catch (error) {
    if (!(error instanceof RunFailure)) throw error;
    throw new RunFailure(`the guest got no answer to its first SYN: ${program.lastWords || error.message}`);
  }
}
