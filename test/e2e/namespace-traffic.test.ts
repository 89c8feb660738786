/** What a kernel in a namespace sends and receives through the engine arrives whole, with super-frames and without. */
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Agent } from "../support/agent.ts";
import { NAMESPACE_NEEDS, NamespaceGuest, type Report } from "../support/namespace-guest.ts";
import { PROGRAM, run } from "../support/program.ts";
import { missing, needs, TUN_DEVICE } from "../support/requirements.ts";

const GATEWAY = "10.0.2.2";
const MANY_OCTETS = 300_000_000;
/** An IP packet is at most 65535 octets; a device without super-frames carries 1500 of it. */
const SUPER_FRAME_OCTETS = 20_000;
const PLAIN_FRAME_OCTETS = 1514;

interface Received {
  readonly octets: number;
  readonly sha256: string;
}

/** Octets per frame between two reports. */
function averageFrame(before: Report, after: Report, direction: "from-guest" | "to-guest"): number {
  const grown = (name: string) => (after.counters[name] ?? 0) - (before.counters[name] ?? 0);
  return grown(`link-octets-${direction}`) / grown(`link-frames-${direction}`);
}

describe.for([
  { name: "with offload", options: [], offload: true },
  { name: "with plain frames", options: ["--no-offload"], offload: false },
])("a guest $name", ({ options, offload }) => {
  let guest: NamespaceGuest;
  let host: Agent;

  beforeAll(async () => {
    if (missing(NAMESPACE_NEEDS).length > 0) return;
    guest = await NamespaceGuest.start({ options: ["--allow-host-loopback", ...options] });
    host = new Agent();
  });
  afterAll(async () => {
    await guest?.close();
    await host?.close();
  });

  function expectFrames(average: number): void {
    process.stderr.write(`  ${Math.round(average)} octets per frame\n`);
    if (offload) expect(average).toBeGreaterThan(SUPER_FRAME_OCTETS);
    else expect(average).toBeLessThanOrEqual(PLAIN_FRAME_OCTETS);
  }

  it("uploads 300 MB", async (context) => {
    needs(context, NAMESPACE_NEEDS);
    const port = await host.do("tcpServer", { kind: "sink" });
    const before = await guest.report();
    const sent = await guest.agent.do<Received & { server: Received }>("upload", {
      host: GATEWAY,
      port,
      octets: MANY_OCTETS,
      seed: 1,
    });
    expect(sent.server).toEqual({ octets: MANY_OCTETS, sha256: sent.sha256 });
    expectFrames(averageFrame(before, await guest.report(), "from-guest"));
  });

  it("downloads 300 MB", async (context) => {
    needs(context, NAMESPACE_NEEDS);
    const port = await host.do("tcpServer", { kind: "source", octets: MANY_OCTETS, seed: 2 });
    const before = await guest.report();
    const got = await guest.agent.do<Received>("download", { host: GATEWAY, port });
    expect(got).toEqual({
      octets: MANY_OCTETS,
      sha256: await host.do("digest", { octets: MANY_OCTETS, seed: 2 }),
    });
    expectFrames(averageFrame(before, await guest.report(), "to-guest"));
  });

  it("has 500 connections at once, each with its own data", async (context) => {
    needs(context, NAMESPACE_NEEDS);
    const port = await host.do("tcpServer", { kind: "echo" });
    const count = 500;
    const right = await guest.agent.do("many", { host: GATEWAY, port, count, octets: 50_000 });
    expect(right).toBe(count);
  });

  it("has datagrams of every kind of size echoed, up to the largest", async (context) => {
    needs(context, NAMESPACE_NEEDS);
    const port = await host.do("udpServer", { kind: "echo" });
    const sizes = [0, 1, 2, 511, 1471, 1472, 1473, 1480, 2952, 2953, 8192, 9000, 30_000, 65_506, 65_507];
    expect(await guest.agent.do("udpEcho", { host: GATEWAY, port, sizes })).toEqual([]);
  });

  it.for([
    { name: "up", args: [], direction: "from-guest" },
    { name: "down", args: ["--reverse"], direction: "to-guest" },
  ] as const)("runs iperf3 $name", async ({ args, direction }, context) => {
    needs(context, { ...NAMESPACE_NEEDS, commands: ["iperf3"] });
    const free = await host.do<number>("tcpServer", { kind: "hold" });
    await host.do("closeServer", { port: free });
    const port = String(free);
    const server = run("iperf3", [
      "--server",
      "--one-off",
      "--bind",
      "127.0.0.1",
      "--port",
      port,
      "--forceflush",
    ]);
    await server.says(/listening on/, "stdout");
    const before = await guest.report();
    const client = await guest.run(
      "iperf3",
      "--client",
      GATEWAY,
      "--port",
      port,
      "--time",
      "2",
      "--json",
      ...args,
    );
    expect(client.status, client.stdout).toBe(0);
    const { end } = JSON.parse(client.stdout) as { end: { sum_received: { bytes: number } } };
    expect(end.sum_received.bytes).toBeGreaterThan(0);
    expectFrames(averageFrame(before, await guest.report(), direction));
    await server.ended;
  });

  it("has closed what it closed", async (context) => {
    needs(context, NAMESPACE_NEEDS);
    const { drops, counters } = await guest.report();
    for (const reason of ["tcp-bad-checksum", "udp-bad-checksum", "ipv4-bad-checksum", "tcp-malformed"]) {
      expect(drops[reason] ?? 0, reason).toBe(0);
    }
    // The transfers' and the five hundred; iperf3 opens two each time.
    expect(counters["tcp-opened"]).toBeGreaterThanOrEqual(502);
    expect(counters["tcp-refused"] ?? 0).toBe(0);
  });
});

describe("a command of sluice exec", () => {
  it("uploads and downloads 300 MB, and leaves with its own status", async (context) => {
    needs(context, { tun: true, userNamespaces: true });
    const exec = [
      process.execPath,
      PROGRAM,
      "exec",
      "--tun-device",
      TUN_DEVICE,
      "--allow-host-loopback",
      "--",
    ];
    const guest = new Agent(exec);
    const host = new Agent();
    const sink = await host.do("tcpServer", { kind: "sink" });
    const sent = await guest.do<Received & { server: Received }>("upload", {
      host: GATEWAY,
      port: sink,
      octets: MANY_OCTETS,
      seed: 6,
    });
    expect(sent.server).toEqual({ octets: MANY_OCTETS, sha256: sent.sha256 });
    const source = await host.do("tcpServer", { kind: "source", octets: MANY_OCTETS, seed: 7 });
    const got = await guest.do<Received>("download", { host: GATEWAY, port: source });
    expect(got.sha256).toBe(await host.do("digest", { octets: MANY_OCTETS, seed: 7 }));
    const ended = once(guest.process, "close");
    guest.process.stdin!.end();
    expect(await ended).toEqual([0, null]);
    await host.close();
  });
});
