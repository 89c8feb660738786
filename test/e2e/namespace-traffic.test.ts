/** What a kernel in a namespace sends and receives through the engine arrives whole, with super-frames and without. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Agent } from "../support/agent.ts";
import { NAMESPACE_NEEDS, NamespaceGuest, type Report } from "../support/namespace-guest.ts";
import { missing, needs } from "../support/requirements.ts";

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
function averageFrame(before: Report, after: Report, direction: "in" | "out"): number {
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
    expectFrames(averageFrame(before, await guest.report(), "in"));
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
    expectFrames(averageFrame(before, await guest.report(), "out"));
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

  it("has closed what it closed", async (context) => {
    needs(context, NAMESPACE_NEEDS);
    const { drops, counters } = await guest.report();
    for (const reason of ["tcp-bad-checksum", "udp-bad-checksum", "ipv4-bad-checksum", "tcp-malformed"]) {
      expect(drops[reason] ?? 0, reason).toBe(0);
    }
    expect(counters["tcp-opened"]).toBe(502);
    expect(counters["tcp-refused"] ?? 0).toBe(0);
  });
});
