/** Processes that are stopped or killed: what depends on them goes on, or ends with a sentence and nothing left. */

import { createSocket } from "node:dgram";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { afterAll, describe, expect, it } from "vitest";
import { Agent } from "../support/agent.ts";
import { arpRequest } from "../support/arp-core.ts";
import { engineOf } from "../support/engine-pid.ts";
import { NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { isAlive, sluice, until } from "../support/program.ts";
import { needs, TUN_DEVICE } from "../support/requirements.ts";
import { StreamPeer } from "../support/stream-peer.ts";

const GATEWAY = "10.0.2.2";
const OCTETS = 60_000_000;
const STOPPED_MS = 3000;

const directory = mkdtempSync(join(tmpdir(), "sluice-test-fault-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
let sockets = 0;
const socketPath = (): string => join(directory, `${sockets++}.sock`);

const passes = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe("an engine that is stopped for three seconds", () => {
  it("goes on with every connection where it was", async (context) => {
    needs(context, NAMESPACE_NEEDS);
    const guest = await NamespaceGuest.start({ options: ["--allow-host-loopback", "-p", "0:7000"] });
    const host = new Agent();
    try {
      const echo = await host.do<number>("tcpServer", { kind: "echo" });
      const source = await host.do<number>("tcpServer", { kind: "source", octets: OCTETS, seed: 5 });
      await guest.agent.do("tcpServer", { kind: "echo", host: "0.0.0.0", port: 7000 });
      const there = { host: GATEWAY, port: echo, message: "" };
      await guest.agent.do("hold", { ...there, name: "out" });
      await host.do("hold", { host: "127.0.0.1", port: guest.hostPort(7000), name: "in", message: "" });
      const download = guest.agent.do<{ octets: number; sha256: string }>("download", {
        host: GATEWAY,
        port: source,
      });
      const engine = engineOf(guest.sluice);
      process.kill(engine, "SIGSTOP");
      // While nobody is there: a new connection, and words on the old ones.
      const dialled = guest.agent.do("exchange", { host: GATEWAY, port: echo, message: "meanwhile" });
      const answers = [
        guest.agent.do("askHeld", { name: "out", message: "are you there?" }),
        host.do("askHeld", { name: "in", message: "are you there?" }),
      ];
      await passes(STOPPED_MS);
      process.kill(engine, "SIGCONT");
      expect(await Promise.all(answers)).toEqual([true, true]);
      expect(await dialled).toBe("meanwhile");
      expect(await download).toMatchObject({
        octets: OCTETS,
        sha256: await host.do("digest", { octets: OCTETS, seed: 5 }),
      });
    } finally {
      await guest.close();
      await host.close();
    }
  });
});

describe("an engine that is killed", () => {
  it("is told by its supervisor, which cleans up and ends with status 1", async () => {
    const path = socketPath();
    const pidFile = join(directory, "engine-killed.pid");
    const running = sluice(["run", "--qemu-listen", `unix:${path}`, "--pid-file", pidFile, "-p", "0:22"]);
    await running.says(/ready/);
    await until(() => existsSync(pidFile), "the pid file", 60_000);
    process.kill(engineOf(running), "SIGKILL");
    const { status, stderr } = await running.ended;
    expect(stderr).toContain("the engine process ended unexpectedly (SIGKILL)");
    expect(status).toBe(1);
    expect(existsSync(path)).toBe(false);
    expect(existsSync(pidFile)).toBe(false);
  });

  it("is told to the user of exec, whose command goes on and keeps its status", async (context) => {
    needs(context, NAMESPACE_NEEDS);
    const running = sluice(
      ["exec", "--tun-device", TUN_DEVICE, "--", "sh", "-c", "echo begun; read line; exit 7"],
      {
        stdio: ["pipe", "pipe", "pipe"],
      },
    );
    await running.says(/begun/, "stdout");
    process.kill(engineOf(running), "SIGKILL");
    await running.says(/ended unexpectedly \(SIGKILL\); the command is cut off from the network/);
    running.child.stdin!.end("\n");
    expect((await running.ended).status).toBe(7);
  });

  it("is told to the user of qemu, whose QEMU goes on and keeps its status", async () => {
    const running = sluice(["qemu", "--", "sh", "-c", "echo begun; read line; exit 7"], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    await running.says(/begun/, "stdout");
    process.kill(engineOf(running), "SIGKILL");
    await running.says(/ended unexpectedly \(SIGKILL\); the guest is cut off from the network/);
    running.child.stdin!.end("\n");
    expect((await running.ended).status).toBe(7);
  });
});

describe("a supervisor that is killed", () => {
  it("takes the engine along, and the next one can have its socket", async () => {
    const path = socketPath();
    const first = sluice(["run", "--qemu-listen", `unix:${path}`]);
    await first.says(/ready/);
    const engine = engineOf(first);
    const peer = await StreamPeer.connect(path);
    peer.send(arpRequest());
    await until(() => peer.frames.length === 1, "an answer to ARP", 60_000);
    first.child.kill("SIGKILL");
    await first.ended;
    await until(() => !isAlive(engine), "the engine ends", 60_000);
    await until(() => peer.closed, "the guest's link ends", 60_000);

    const second = sluice(["run", "--qemu-listen", `unix:${path}`]);
    await second.says(/ready/);
    const next = await StreamPeer.connect(path);
    next.send(arpRequest());
    await until(() => next.frames.length === 1, "an answer of the next one", 60_000);
    next.socket.destroy();
    second.child.kill("SIGTERM");
    expect((await second.ended).status).toBe(0);
  });
});

describe("input that comes late", () => {
  it.for(["exec", "qemu"])("is waited for by the command of %s", async (command, context) => {
    needs(context, command === "exec" ? NAMESPACE_NEEDS : {});
    // The command shares its end of the pipe with the supervisor, which must leave that as it is: blocking.
    const device = command === "exec" ? ["--tun-device", TUN_DEVICE] : [];
    const running = sluice([command, ...device, "--", "sh", "-c", "echo begun; exec cat"], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    await running.says(/begun/, "stdout");
    await passes(500);
    running.child.stdin!.end("late\n");
    expect(await running.ended).toMatchObject({ status: 0, stdout: "begun\nlate\n", stderr: "" });
  });
});

describe("ports that others have", () => {
  it("are all named at once, with status 1", async () => {
    const tcp = createServer().listen(0, "127.0.0.1");
    await once(tcp, "listening");
    const udp = createSocket("udp4").bind(0, "127.0.0.1");
    await once(udp, "listening");
    try {
      const taken = [(tcp.address() as AddressInfo).port, udp.address().port];
      const path = socketPath();
      const options = ["-p", `${taken[0]}:80`, "-p", "0:81", "-p", `udp:${taken[1]}:53`];
      const { status, stderr } = await sluice(["run", "--qemu-listen", `unix:${path}`, ...options]).ended;
      expect(status).toBe(1);
      expect(stderr).toContain(
        `forward tcp 127.0.0.1:${taken[0]}: port ${taken[0]} is taken by another program`,
      );
      expect(stderr).toContain(
        `forward udp 127.0.0.1:${taken[1]}: port ${taken[1]} is taken by another program`,
      );
      expect(existsSync(path)).toBe(false);
    } finally {
      tcp.close();
      udp.close();
    }
  });
});

describe("a pid file", () => {
  it("stays when a second sluice with the same options cannot start", async () => {
    const options = [
      "run",
      "--qemu-listen",
      `unix:${socketPath()}`,
      "--pid-file",
      join(directory, "both.pid"),
    ];
    const first = sluice(options);
    await first.says(/ready/);
    await until(() => existsSync(join(directory, "both.pid")), "the pid file", 60_000);
    const second = await sluice(options).ended;
    expect(second.status).toBe(1);
    expect(readFileSync(join(directory, "both.pid"), "utf8")).toBe(`${first.child.pid}\n`);
    first.child.kill("SIGTERM");
    expect((await first.ended).status).toBe(0);
    expect(existsSync(join(directory, "both.pid"))).toBe(false);
  });

  it("that cannot be written, or a --ready-fd that nobody reads, is named; status 1, nothing left", async () => {
    const path = socketPath();
    const file = join(directory, "no", "such", "pid");
    const unwritten = await sluice(["run", "--qemu-listen", `unix:${path}`, "--pid-file", file]).ended;
    expect(unwritten.status).toBe(1);
    expect(unwritten.stderr).toMatch(/^sluice run: --pid-file .*\/no\/such\/pid: ENOENT/m);
    expect(existsSync(path)).toBe(false);
    const unheard = sluice(["run", "--qemu-listen", `unix:${path}`, "--ready-fd", "3"], {
      stdio: ["ignore", "pipe", "pipe", "pipe"],
    });
    (unheard.child.stdio[3] as Readable).destroy();
    const { status, stderr } = await unheard.ended;
    expect(status).toBe(1);
    expect(stderr).toMatch(/^sluice run: --ready-fd 3: EPIPE/m);
    expect(existsSync(path)).toBe(false);
  });
});
