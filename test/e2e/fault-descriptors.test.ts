/** No descriptor left: what runs goes on, what is new waits or is refused, and all is well once some are back. */
import { readdirSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Agent } from "../support/agent.ts";
import { engineOf } from "../support/engine-pid.ts";
import { NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { until } from "../support/program.ts";
import { missing, needs } from "../support/requirements.ts";

const GATEWAY = "10.0.2.2";
const NEEDS = NAMESPACE_NEEDS;
/** Of sluice's processes; the engine has some 27 open before the first connection. */
const LIMIT = 64;
/** Fewer connections than this many must be possible, and at least half of it. */
const ROOM = LIMIT - 20;
const WANTED = 100;
const FORWARDED = 7000;

describe("an engine at its limit of descriptors", () => {
  let guest: NamespaceGuest;
  let host: Agent;
  let engine: number;
  let echo: number;
  let udpEcho: number;
  /** Before the limit. */
  let idle: number;
  const descriptors = (): number => readdirSync(`/proc/${engine}/fd`).length;
  const socketFailures = async (): Promise<number> => (await guest.report()).drops["host-socket-failed"] ?? 0;
  const opened: string[] = [];
  const waiting: Promise<void>[] = [];

  beforeAll(async () => {
    if (missing(NEEDS).length > 0) return;
    const options = ["--allow-host-loopback", "--resolver", "127.0.0.1:9", "-p", `0:${FORWARDED}`];
    const through = ["sh", "-c", `ulimit -n ${LIMIT} && exec "$@"`, "sh"];
    guest = await NamespaceGuest.start({ options, through });
    host = new Agent();
    echo = await host.do("tcpServer", { kind: "echo" });
    udpEcho = await host.do("udpServer", { kind: "echo" });
    await guest.agent.do("tcpServer", { kind: "echo", host: "0.0.0.0", port: FORWARDED });
    await guest.agent.do("hold", { host: GATEWAY, port: echo, name: "old", message: "" });
    engine = engineOf(guest.sluice);
    idle = descriptors();
  });
  afterAll(async () => {
    await guest?.close();
    await host?.close();
  });

  it("says at its start that it has fewer than its bounds promise", (context) => {
    needs(context, NEEDS);
    const told = guest.sluice.stderr.match(/^.*RLIMIT_NOFILE.*$/gm);
    expect(told).toHaveLength(1);
    expect(told?.[0]).toContain(
      "allows 64 descriptors, room for about 31 flows of the 57344 of --max-flows; raise its hard limit",
    );
  });

  it("serves as many connections as it can, and lets the others wait", async (context) => {
    needs(context, NEEDS);
    for (let i = 0; i < WANTED; i++) {
      const name = `new ${i}`;
      const holding = guest.agent.do("hold", { host: GATEWAY, port: echo, name, message: "" });
      waiting.push(holding.then(() => void opened.push(name)));
    }
    await until(
      async () => (await socketFailures()) >= WANTED - ROOM,
      "connections are not accepted",
      60_000,
    );
    expect(opened.length).toBeGreaterThanOrEqual(ROOM / 2);
    expect(opened.length).toBeLessThanOrEqual(ROOM);
    for (const name of ["old", ...opened]) {
      expect(await guest.agent.do("askHeld", { name, message: name }), name).toBe(true);
    }
  });

  it("counts the datagrams it drops, fails names, resets clients of a forward", async (context) => {
    needs(context, NEEDS);
    const ask = { host: GATEWAY, port: udpEcho, message: "x", tries: 1, timeoutMs: 500 };
    expect(await guest.agent.do("udpAsk", ask)).toBeUndefined();
    expect((await guest.report()).drops["udp-mappings-full"]).toBe(1);
    const name = guest.agent.do("resolve", { server: "10.0.2.3", name: "host.test", type: "A" });
    await expect(name).rejects.toThrow("ESERVFAIL");
    for (let i = 0; i < 5; i++) {
      const there = { host: "127.0.0.1", port: guest.hostPort(FORWARDED), message: "x" };
      expect(await host.do("failureAfter", there)).toBe("ECONNRESET");
    }
  });

  it("serves those that wait as others leave, and everybody in the end", async (context) => {
    needs(context, NEEDS);
    let closed = 0;
    const close = async (): Promise<void> => {
      while (closed < opened.length) await guest.agent.do("closeHeld", { name: opened[closed++] });
    };
    await until(
      async () => {
        await close();
        return opened.length === WANTED;
      },
      "every connection has been served",
      120_000,
    );
    await Promise.all(waiting);
    await close();
    await until(() => descriptors() <= idle, "descriptors are given back", 60_000);
    const there = { host: GATEWAY, port: echo, count: ROOM / 4, octets: 10_000 };
    expect(await guest.agent.do("many", there)).toBe(ROOM / 4);
    expect(await guest.agent.do("udpEcho", { host: GATEWAY, port: udpEcho, sizes: [100] })).toEqual([]);
    const forward = { host: "127.0.0.1", port: guest.hostPort(FORWARDED), count: 5, octets: 10_000 };
    expect(await host.do("many", forward)).toBe(5);
    expect(await guest.agent.do("askHeld", { name: "old", message: "still there?" })).toBe(true);
  });

  it("has said nothing a thousand times", async (context) => {
    needs(context, NEEDS);
    expect(
      guest.sluice.stderr.split("\n").filter((line) => /EMFILE|too many/i.test(line)).length,
    ).toBeLessThan(20);
  });
});
