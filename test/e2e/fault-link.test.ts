/** A TAP that goes down, is narrow, or is removed under the engine: traffic goes on, or the end comes as a sentence. */
import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Agent } from "../support/agent.ts";
import { engineOf } from "../support/engine-pid.ts";
import { NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { isAlive, sluice, until } from "../support/program.ts";
import { findCommand, missing, needs, TUN_DEVICE } from "../support/requirements.ts";

const GATEWAY = "10.0.2.2";
const OCTETS = 20_000_000;
const DOWN_MS = 1500;

interface Received {
  readonly octets: number;
  readonly sha256: string;
}

const passes = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe("a TAP that", () => {
  let guest: NamespaceGuest;
  let host: Agent;
  let digest: string;
  let source: number;
  let sink: number;

  beforeAll(async () => {
    if (missing(NAMESPACE_NEEDS).length > 0) return;
    guest = await NamespaceGuest.start({ options: ["--allow-host-loopback"] });
    host = new Agent();
    const stream = { octets: OCTETS, seed: 3 };
    digest = await host.do("digest", stream);
    source = await host.do("tcpServer", { kind: "source", ...stream });
    sink = await host.do("tcpServer", { kind: "sink" });
  });
  afterAll(async () => {
    await guest?.close();
    await host?.close();
  });

  async function expectBothWays(meanwhile: () => Promise<void>): Promise<void> {
    const down = guest.agent.do<Received>("download", { host: GATEWAY, port: source });
    const up = guest.agent.do<Received & { server: Received }>("upload", {
      host: GATEWAY,
      port: sink,
      octets: OCTETS,
      seed: 4,
    });
    await meanwhile();
    expect(await down).toEqual({ octets: OCTETS, sha256: digest });
    const { sha256, server } = await up;
    expect(server).toEqual({ octets: OCTETS, sha256 });
  }

  it("goes down and comes up again loses no octet, and the engine counts what it could not send", async (context) => {
    needs(context, NAMESPACE_NEEDS);
    const echo = await host.do<number>("tcpServer", { kind: "echo" });
    await guest.agent.do("hold", { host: GATEWAY, port: echo, name: "idle", message: "" });
    await expectBothWays(async () => {
      await passes(20);
      guest.ip("link", "set", guest.device, "down");
      await passes(DOWN_MS);
      guest.ip("link", "set", guest.device, "up");
      guest.ip("route", "replace", "default", "via", GATEWAY);
    });
    expect(await guest.agent.do("askHeld", { name: "idle", message: "still there?" })).toBe(true);
    expect((await guest.report()).drops["link-down"]).toBeGreaterThan(0);
  });

  it("is down while the host resets a connection: the guest, which only listens, hears of it later", async (context) => {
    needs(context, NAMESPACE_NEEDS);
    const port = await host.do<number>("tcpServer", { kind: "keep" });
    await guest.agent.do("hold", { host: GATEWAY, port, name: "listens", listening: true });
    await passes(200);
    const open = async (): Promise<boolean> => (await guest.report()).flows.includes(`${GATEWAY}:${port}`);
    expect(await open()).toBe(true);
    guest.ip("link", "set", guest.device, "down");
    await host.do("resetAll", { port });
    await until(async () => !(await open()), "the engine hears of the reset");
    guest.ip("link", "set", guest.device, "up");
    guest.ip("route", "replace", "default", "via", GATEWAY);
    const failed = async (): Promise<boolean> =>
      (await guest.agent.do("failureHeld", { name: "listens" })) === "ECONNRESET";
    await until(failed, "the guest hears of the reset", 20_000);
  });

  it("holds two frames loses no octet", async (context) => {
    needs(context, NAMESPACE_NEEDS);
    guest.ip("link", "set", guest.device, "txqueuelen", "2");
    await expectBothWays(async () => {});
    guest.ip("link", "set", guest.device, "txqueuelen", "1000");
  });

  it("goes down while its queue is narrow, again and again, loses no octet", async (context) => {
    needs(context, NAMESPACE_NEEDS);
    await expectBothWays(async () => {
      for (let i = 0; i < 5; i++) {
        await passes(50);
        guest.ip("link", "set", guest.device, "txqueuelen", String(1 + i), "down");
        guest.ip("link", "set", guest.device, "up");
      }
    });
  });
});

describe("a TAP that is removed", () => {
  it("ends sluice run with status 1 and a sentence", async (context) => {
    needs(context, NAMESPACE_NEEDS);
    const guest = await NamespaceGuest.start();
    const engine = engineOf(guest.sluice);
    guest.ip("link", "delete", guest.device);
    const { status, stderr } = await guest.sluice.ended;
    expect(stderr).toContain(`tap ${guest.device} was removed`);
    expect(stderr).toMatch(/from the guest, .* to it/);
    expect(status).toBe(1);
    expect(isAlive(engine)).toBe(false);
    await guest.close();
  });

  it("together with its namespace ends sluice run with a sentence", async (context) => {
    needs(context, { ...NAMESPACE_NEEDS, root: true });
    const name = `sluice-test-fault-${process.pid}`;
    const ip = findCommand("ip")!;
    execFileSync(ip, ["netns", "add", name]);
    const running = sluice([
      ...["run", "--tap", "tap0", "--netns", `/run/netns/${name}`, "--configure", "--tun-device", TUN_DEVICE],
    ]);
    await running.says(/ready: tap tap0/).finally(() => execFileSync(ip, ["netns", "delete", name]));
    const engine = engineOf(running);
    const { status, stderr } = await running.ended;
    expect(stderr).toContain(`/run/netns/${name} has gone; ending`);
    expect(status).toBe(0);
    expect(isAlive(engine)).toBe(false);
  });

  it("is told to the user of exec, whose command goes on and keeps its status", async (context) => {
    needs(context, { ...NAMESPACE_NEEDS, root: true });
    const running = sluice(
      ["exec", "--tun-device", TUN_DEVICE, "--", "sh", "-c", "echo pid $$; read line; exit 7"],
      {
        stdio: ["pipe", "pipe", "pipe"],
      },
    );
    const [, pid] = await running.says(/pid (\d+)/, "stdout");
    execFileSync("nsenter", ["-t", pid, "-n", findCommand("ip")!, "link", "delete", "tap0"]);
    await running.says(/tap tap0 was removed; the command is cut off from the network/);
    running.child.stdin!.end("\n");
    expect((await running.ended).status).toBe(7);
  });
});
