/**
 * The links against QEMU itself: no guest runs, but a hub joins QEMU's user network (libslirp) with the netdev under
 * test, so that what our link sends reaches libslirp and libslirp's ARP answer comes back through it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { defaultEngineConfig } from "../../../src/engine/config.ts";
import { type EngineHost, type LinkSpec, startEngine } from "../../../src/host/engine-host.ts";
import { native } from "../../../src/host/native/native.ts";
import { ArpCore, arpRequest } from "../../support/arp-core.ts";
import { freePort } from "../../support/free-port.ts";
import { KeptLog, until } from "../../support/link-rig.ts";
import { needs } from "../../support/requirements.ts";

const QEMU = "qemu-system-x86_64";

let directory = "";
let engine: EngineHost | undefined;
let core: ArpCore;
let qemu: ChildProcess | undefined;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "sluice-qemu-"));
});

afterEach(async () => {
  await stopQemu();
  await engine?.stop();
  engine = undefined;
  rmSync(directory, { recursive: true });
});

const at = (name: string): string => join(directory, name);

/** Starts QEMU with its user network and `netdev` (which has id=n) on one hub. `fd` becomes its descriptor 3. */
function startQemu(netdev: string, fd?: number): void {
  const hub = ["-netdev", "user,id=u", "-netdev", "hubport,id=hu,hubid=0,netdev=u"];
  const link = ["-netdev", netdev, "-netdev", "hubport,id=hn,hubid=0,netdev=n"];
  const args = ["-M", "none", "-display", "none", "-nodefaults", "-no-user-config", ...hub, ...link];
  qemu = spawn(QEMU, args, { stdio: ["ignore", "ignore", "ignore", fd ?? "ignore"] });
}

async function stopQemu(): Promise<void> {
  const child = qemu;
  qemu = undefined;
  if (child === undefined || child.exitCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}

async function start(link: LinkSpec): Promise<void> {
  engine = await startEngine({ config: defaultEngineConfig(), link, log: new KeptLog() }, (config, ports) => {
    core = new ArpCore(config, ports);
    return core;
  });
}

const isAnswer = (frame: Uint8Array): boolean =>
  frame[12] === 8 &&
  frame[13] === 6 &&
  frame[21] === 2 &&
  frame.subarray(22, 32).join() === "82,85,10,0,2,2,10,0,2,2";

/** Asks libslirp for 10.0.2.2, again and again, until it answers. */
async function expectAnswer(): Promise<void> {
  core.frames.length = 0;
  const ask = setInterval(() => {
    if (core.link === null) return;
    core.send(arpRequest());
    core.dueMs = native.nowMs();
    core.turn(native.nowMs());
  }, 50);
  try {
    await until(() => core.frames.some(isAnswer), "libslirp's ARP answer", 20_000);
  } finally {
    clearInterval(ask);
  }
}

it("stream over Unix, QEMU connects, is killed and started again", async (context) => {
  needs(context, { commands: [QEMU] });
  await start({ kind: "qemu-listen", address: { kind: "unix", path: at("s") } });
  for (let i = 0; i < 2; i++) {
    startQemu(`stream,id=n,server=off,addr.type=unix,addr.path=${at("s")}`);
    await expectAnswer();
    await stopQemu();
    await until(() => engine?.linked === false, "the loss to be noticed");
  }
});

it("stream over TCP, QEMU connects", async (context) => {
  needs(context, { commands: [QEMU] });
  await start({ kind: "qemu-listen", address: { kind: "tcp", host: "127.0.0.1", port: 0 } });
  startQemu(`stream,id=n,server=off,addr.type=inet,addr.host=127.0.0.1,addr.port=${engine?.listenPort}`);
  await expectAnswer();
});

it("stream over Unix, QEMU listens, is killed and started again", async (context) => {
  needs(context, { commands: [QEMU] });
  await start({ kind: "qemu-connect", address: { kind: "unix", path: at("s") } });
  for (let i = 0; i < 2; i++) {
    rmSync(at("s"), { force: true });
    startQemu(`stream,id=n,server=on,addr.type=unix,addr.path=${at("s")}`);
    await expectAnswer();
    await stopQemu();
    await until(() => engine?.linked === false, "the loss to be noticed");
  }
});

it("stream over TCP, QEMU listens", async (context) => {
  needs(context, { commands: [QEMU] });
  const port = await freePort();
  await start({ kind: "qemu-connect", address: { kind: "tcp", host: "127.0.0.1", port } });
  startQemu(`stream,id=n,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=${port}`);
  await expectAnswer();
});

it("socket,connect=", async (context) => {
  needs(context, { commands: [QEMU] });
  await start({ kind: "qemu-listen", address: { kind: "tcp", host: "127.0.0.1", port: 0 } });
  startQemu(`socket,id=n,connect=127.0.0.1:${engine?.listenPort}`);
  await expectAnswer();
});

it("socket,listen=", async (context) => {
  needs(context, { commands: [QEMU] });
  const port = await freePort();
  await start({ kind: "qemu-connect", address: { kind: "tcp", host: "127.0.0.1", port } });
  startQemu(`socket,id=n,listen=127.0.0.1:${port}`);
  await expectAnswer();
});

it.for(["stream", "dgram"] as const)("socket,fd= of a %s socket pair", async (type, context) => {
  needs(context, { commands: [QEMU] });
  const [ours, theirs] = native.socketPair(type);
  await start({ kind: "fd", fd: ours });
  startQemu("socket,id=n,fd=3", theirs);
  native.close(theirs);
  await expectAnswer();
});

it("socket,udp=", async (context) => {
  needs(context, { commands: [QEMU] });
  const [local, remote] = [await freePort(), await freePort()];
  const host = "127.0.0.1";
  const addresses = { kind: "udp", local: { host, port: local }, remote: { host, port: remote } } as const;
  await start({ kind: "qemu-dgram", addresses });
  startQemu(`socket,id=n,udp=${host}:${local},localaddr=${host}:${remote}`);
  await expectAnswer();
});

it("dgram over UDP", async (context) => {
  needs(context, { commands: [QEMU] });
  const [local, remote] = [await freePort(), await freePort()];
  const host = "127.0.0.1";
  const addresses = { kind: "udp", local: { host, port: local }, remote: { host, port: remote } } as const;
  await start({ kind: "qemu-dgram", addresses });
  startQemu(
    `dgram,id=n,local.type=inet,local.host=${host},local.port=${remote},remote.type=inet,remote.host=${host},remote.port=${local}`,
  );
  await expectAnswer();
});

it("dgram over Unix, QEMU is killed and started again", async (context) => {
  needs(context, { commands: [QEMU] });
  await start({ kind: "qemu-dgram", addresses: { kind: "unix", local: at("ours"), remote: at("qemu") } });
  for (let i = 0; i < 2; i++) {
    rmSync(at("qemu"), { force: true });
    startQemu(
      `dgram,id=n,local.type=unix,local.path=${at("qemu")},remote.type=unix,remote.path=${at("ours")}`,
    );
    await expectAnswer();
    await stopQemu();
  }
  expect(engine?.linked).toBe(true);
});
