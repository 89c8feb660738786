/** Engines of a VM that are killed again and again while its guest sends and receives. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { EngineKeeper, type ServedGuest } from "../../src/kubevirt/binding/engine-keeper.ts";
import { Agent } from "../support/agent.ts";
import { engineOf } from "../support/engine-pid.ts";
import { freePort } from "../support/free-port.ts";
import { LEASE_AND_WEB, READY } from "../support/guest-lab.ts";
import { reportOf } from "../support/namespace-guest.ts";
import { isAlive, type Running, sluice, until } from "../support/program.ts";
import { bootGuest, needsGuest, shellScript } from "../support/qemu-guest.ts";
import { sharedCard } from "../support/vhost-guest.ts";

const KILLS = 50;

describe("an engine that is killed under load", () => {
  it("K29 is followed by another fifty times, and each serves the same guest", {
    timeout: 600_000,
  }, async (context) => {
    needsGuest(context);
    const folder = mkdtempSync(join(tmpdir(), "sluice-kills-"));
    const host = new Agent();
    let running: Running | undefined;
    const serve = (argv: readonly string[]): ServedGuest => {
      const engine = sluice(argv);
      running = engine;
      return {
        served: engine.says(/ready/).then(() => {}),
        ended: engine.ended.then(() => {}),
        stop: () => engine.child.kill("SIGTERM"),
      };
    };
    const lost: string[] = [];
    // A day in each minute: more than five deaths in one are too many for a sidecar.
    const nowMs = (): number => performance.now() * 1440;
    const keeper = new EngineKeeper({ serve, nowMs, say: () => {}, lost: (message) => lost.push(message) });
    const card = join(folder, "card.sock");
    const port = await freePort();
    await keeper.want({
      argv: ["run", "--vhost-user", `unix:${card}`, "--allow-host-loopback", "-p", `${port}:80`],
      reconnects: true,
    });
    const guest = bootGuest({
      netdev: sharedCard(card, { socket: ",reconnect=1" }),
      script: shellScript(LEASE_AND_WEB),
    });
    const page = async (): Promise<string> => {
      const silence = new Promise<string>((resolve) => setTimeout(resolve, 500, "silence"));
      const request = { host: "127.0.0.1", port, message: "GET / HTTP/1.0\r\n\r\n" };
      const answer = host.do<string>("exchange", request).catch((error: Error) => error.message);
      return Promise.race([answer, silence]);
    };
    const isServed = async (): Promise<boolean> => (await page()).includes("the guest's page");
    try {
      await guest.waitFor(READY);
      const sink = await host.do<number>("tcpServer", { kind: "sink" });
      const source = await host.do<number>("tcpServer", { kind: "source", octets: 1_000_000_000, seed: 1 });
      await guest.run(`(while true; do nc 10.0.2.2 ${source} < /dev/null; done) > /dev/null 2>&1 &`);
      await guest.run(`(while true; do nc 10.0.2.2 ${sink} < /dev/zero; done) > /dev/null 2>&1 &`);
      await until(isServed, "the guest's page");
      for (let n = 0; n < KILLS; n++) {
        await until(async () => {
          const { counters } = await reportOf(running!);
          return (counters["tcp-octets-to-guest"] ?? 0) > 0 && (counters["tcp-octets-from-guest"] ?? 0) > 0;
        }, "octets both ways");
        const dead = engineOf(running!);
        process.kill(dead, "SIGKILL");
        await until(() => !isAlive(dead), "the engine is dead");
        await until(isServed, `the guest is served after ${n + 1} kills`, 30_000);
      }
      expect(lost).toEqual([]);
    } finally {
      await guest.kill();
      await keeper.close();
      await host.close();
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
