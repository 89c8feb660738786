/**
 * Three user-mode network stacks behind the same door, QEMU's framed Unix socket: our engine, libslirp (inside a QEMU
 * that runs no guest and joins its user network with the socket on a hub), and passt.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { defaultEngineConfig, defaultIpv6Config } from "../../src/engine/config.ts";
import { createEngineCore } from "../../src/engine/engine.ts";
import { startEngine } from "../../src/host/engine-host.ts";

export type StackName = "sluice" | "libslirp" | "passt";

/** Programs a stack needs. */
export const STACK_COMMANDS: Record<StackName, readonly string[]> = {
  sluice: [],
  libslirp: ["qemu-system-x86_64"],
  passt: ["passt"],
};

const PREFIX6 = "fd71:1ae0:d44d:2::";
/** Silence after which nothing more is expected, milliseconds. */
const QUIET_MS = 60;
/** How long an answer may take when none is expected, and when one is. */
export const SILENCE_MS = 200;
export const PATIENCE_MS = 3000;
const START_TRIES = 200;

/** A stack with a guest connected to it. */
export class Stack {
  private rest = Buffer.alloc(0);
  private frames: Buffer[] = [];
  private arrived: () => void = () => {};
  /** The stack has closed the connection, or died. */
  gone = false;

  private constructor(
    private readonly socket: Socket,
    private readonly stop: () => Promise<void>,
  ) {
    socket.on("data", (data) => this.parse(data));
    socket.on("close", () => {
      this.gone = true;
      this.arrived();
    });
    socket.on("error", () => {});
  }

  /** With `family` 6 the stack has IPv6 too (passt: alone), with our prefix and addresses. */
  static async start(name: StackName, directory: string, family: 4 | 6 = 4): Promise<Stack> {
    const path = join(directory, `${name}.sock`);
    if (name === "sluice") {
      const log = { error: () => {}, warn: () => {}, info: () => {}, debug: () => {} };
      const defaults = defaultEngineConfig();
      const ipv6 = { ...defaultIpv6Config(defaults.gatewayMac), defaultRouter: "on" } as const;
      const config = { ...defaults, ipv6: family === 6 ? ipv6 : null, allowHostLoopback: true };
      const link = { kind: "qemu-listen", address: { kind: "unix", path } } as const;
      const engine = await startEngine({ config, link, log }, createEngineCore);
      return Stack.join(path, () => engine.stop());
    }
    const child = name === "libslirp" ? startLibslirp(path, family) : startPasst(path, family);
    const stop = async (): Promise<void> => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGKILL");
      await once(child, "exit");
    };
    try {
      return new Stack(await connected(path), stop);
    } catch (error) {
      await stop();
      throw error;
    }
  }

  /** A stack that listens on `path` already; `stop` ends it. */
  static async join(path: string, stop: () => Promise<void>): Promise<Stack> {
    return new Stack(await connected(path), stop);
  }

  private parse(data: Buffer): void {
    this.rest = Buffer.concat([this.rest, data]);
    while (this.rest.length >= 4) {
      const length = this.rest.readUInt32BE(0);
      if (this.rest.length < 4 + length) break;
      this.frames.push(this.rest.subarray(4, 4 + length));
      this.rest = this.rest.subarray(4 + length);
    }
    this.arrived();
  }

  /** Sends a frame; resolves with what came back, the first within `firstMs`, before it fell silent. */
  async exchange(frame: Uint8Array, firstMs: number): Promise<Buffer[]> {
    this.frames = [];
    const prefix = Buffer.alloc(4);
    prefix.writeUInt32BE(frame.length);
    this.socket.write(Buffer.concat([prefix, frame]));
    for (let waitMs = firstMs; !this.gone; waitMs = QUIET_MS) {
      const news = new Promise<boolean>((resolve) => {
        this.arrived = () => resolve(true);
      });
      if (!(await Promise.race([news, sleep(waitMs, false)]))) break;
    }
    return this.frames;
  }

  async close(): Promise<void> {
    this.socket.destroy();
    await this.stop();
  }
}

function startLibslirp(path: string, family: 4 | 6): ChildProcess {
  const ipv6 = `,ipv6=on,ipv6-prefix=${PREFIX6},ipv6-host=${PREFIX6}2,ipv6-dns=${PREFIX6}3`;
  const args = [
    ...["-M", "none", "-display", "none", "-nodefaults", "-no-user-config"],
    ...["-netdev", `user,id=u${family === 6 ? ipv6 : ""}`, "-netdev", "hubport,id=hu,hubid=0,netdev=u"],
    ...["-netdev", `stream,id=n,server=on,addr.type=unix,addr.path=${path}`],
    ...["-netdev", "hubport,id=hn,hubid=0,netdev=n"],
  ];
  return spawn("qemu-system-x86_64", args, { stdio: "ignore" });
}

/**
 * passt takes IPv6 from the host alone: it gets a network namespace of its own, with an interface and a default route that
 * lead nowhere.
 */
const NAMESPACE_WITH_IPV6 = [
  "ip link set lo up",
  "ip link add up0 type veth peer name far0",
  "ip link set far0 up",
  "ip link set up0 up",
  "ip addr add 2001:db8::5/64 dev up0 nodad",
  "ip -6 route add default via 2001:db8::1 dev up0",
  'exec "$@"',
].join("; ");

function startPasst6(path: string): ChildProcess {
  const isRoot = process.getuid?.() === 0;
  const plan = ["-a", `${PREFIX6}15`, "-g", "fe80::2", "-M", "52:55:0a:00:02:02", "-m", "1500"];
  const passt = ["passt", "-f", "-q", "-1", "-6", ...(isRoot ? ["--runas", "0"] : []), ...plan, "-s", path];
  const namespaces = isRoot ? ["--net"] : ["--user", "--map-root-user", "--net"];
  return spawn("unshare", [...namespaces, "sh", "-c", NAMESPACE_WITH_IPV6, "sh", ...passt], {
    stdio: "ignore",
  });
}

/** With libslirp's addresses and MAC, so that the same frames suit all three. */
function startPasst(path: string, family: 4 | 6): ChildProcess {
  if (family === 6) return startPasst6(path);
  const identity = process.getuid?.() === 0 ? ["--runas", "0"] : [];
  const plan = ["-a", "10.0.2.15", "-n", "24", "-g", "10.0.2.2", "-M", "52:55:0a:00:02:02", "-m", "1500"];
  return spawn("passt", ["-f", "-q", "-1", "-4", ...identity, ...plan, "-s", path], { stdio: "ignore" });
}

async function connected(path: string): Promise<Socket> {
  for (let tries = 0; ; tries++) {
    const socket = connect(path);
    try {
      await once(socket, "connect");
      return socket;
    } catch (error) {
      if (tries === START_TRIES) throw error;
      await sleep(20);
    }
  }
}
