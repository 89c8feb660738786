/**
 * A guest whose one process sends what no kernel sends, and more of it than anyone needs, while another uses the
 * network as one does. The host is a namespace with nowhere to go: what gets out gets nowhere.
 */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { Agent } from "../support/agent.ts";
import { engineOf } from "../support/engine-pid.ts";
import { ip } from "../support/frames.ts";
import { malformedFrames, synFrame } from "../support/hostile-frames.ts";
import { HostNamespace, NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { until } from "../support/program.ts";
import { missing, needs } from "../support/requirements.ts";

const GATEWAY = "10.0.2.2";
const MAC = "52:54:00:12:34:56";
const OCTETS = 20_000_000;
const FRAMES = 6000;
const SYNS = 12_000;
const KILOBYTES_MORE_MAX = 40_000;

let host: HostNamespace;
let guest: NamespaceGuest;
let attacker: Agent;

beforeEach((context) => needs(context, NAMESPACE_NEEDS));
beforeAll(async () => {
  if (missing(NAMESPACE_NEEDS).length > 0) return;
  host = await HostNamespace.make();
  guest = await NamespaceGuest.start({ host, options: ["--allow-host-loopback"] });
  guest.ip("link", "set", "tap0", "address", MAC);
  attacker = new Agent(guest.enter);
});
afterAll(async () => {
  await attacker?.close();
  await guest?.close();
  await host?.close();
});

const macOctets = Uint8Array.from(MAC.split(":"), (octet) => Number.parseInt(octet, 16));
const hex = (frame: Uint8Array): string => Buffer.from(frame).toString("hex");

/** Memory of the engine process, kilobytes. */
function residentKilobytes(): number {
  const status = readFileSync(`/proc/${engineOf(guest.sluice)}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)![1]);
}

/** A file each way, a hundred connections and some datagrams, all whole. */
async function expectService(): Promise<void> {
  const sink = await host.agent.do<number>("tcpServer", { kind: "sink" });
  const source = await host.agent.do<number>("tcpServer", { kind: "source", octets: OCTETS, seed: 9 });
  const echo = await host.agent.do<number>("tcpServer", { kind: "echo" });
  const udp = await host.agent.do<number>("udpServer", { kind: "echo" });
  const upload = { host: GATEWAY, port: sink, octets: OCTETS, seed: 8 };
  const [sent, got, right, lost] = await Promise.all([
    guest.agent.do<{ sha256: string; server: unknown }>("upload", upload),
    guest.agent.do<{ sha256: string }>("download", { host: GATEWAY, port: source }),
    guest.agent.do("many", { host: GATEWAY, port: echo, count: 100, octets: 10_000 }),
    guest.agent.do("udpEcho", { host: GATEWAY, port: udp, sizes: [0, 100, 1472, 4000] }),
  ]);
  expect(sent.server).toEqual({ octets: OCTETS, sha256: sent.sha256 });
  expect(got.sha256).toBe(await host.agent.do("digest", { octets: OCTETS, seed: 9 }));
  expect(right).toBe(100);
  expect(lost).toEqual([]);
}

it("malformed frames cost nobody else anything", async () => {
  await expectService();
  const before = residentKilobytes();
  for (const seed of [1, 2, 3]) {
    const frames = malformedFrames(seed, FRAMES, macOctets).map(hex);
    const flood = attacker.do<number>("frames", { device: "tap0", frames, rounds: 3 });
    await expectService();
    expect(await flood).toBeGreaterThan(FRAMES);
  }
  const { drops } = await guest.report();
  expect(Object.keys(drops).length).toBeGreaterThan(8);
  expect(residentKilobytes() - before).toBeLessThan(KILOBYTES_MORE_MAX);
});

it("connections that are never finished are bounded, and take nothing from those there are", async () => {
  // Into a route that swallows everything: each of these hangs in SYN-SENT. The oldest give way.
  host.ip("route", "add", "203.0.113.0/24", "dev", "lo");
  const before = residentKilobytes();
  const sink = await host.agent.do<number>("tcpServer", { kind: "sink" });
  const udp = await host.agent.do<number>("udpServer", { kind: "echo" });
  const upload = { host: GATEWAY, port: sink, octets: 10 * OCTETS, seed: 8 };
  const sending = guest.agent.do<{ sha256: string; server: unknown }>("upload", upload);
  await until(async () => (await guest.report()).flows.includes(`:${sink} `), "the upload has begun");
  const frames = Array.from({ length: SYNS }, (_, i) =>
    hex(synFrame(macOctets, ip("203.0.113.1"), 1024 + i, 80)),
  );
  await attacker.do<number>("frames", { device: "tap0", frames });
  await until(
    async () => ((await guest.report()).counters["tcp-half-open-evicted"] ?? 0) > 0,
    "the bound is reached",
  );
  const echo = await host.agent.do<number>("tcpServer", { kind: "echo" });
  expect(await guest.agent.do("many", { host: GATEWAY, port: echo, count: 5, octets: 1000 })).toBe(5);
  const sent = await sending;
  expect(sent.server).toEqual({ octets: 10 * OCTETS, sha256: sent.sha256 });
  expect(await guest.agent.do("udpEcho", { host: GATEWAY, port: udp, sizes: [100] })).toEqual([]);
  expect(residentKilobytes() - before).toBeLessThan(KILOBYTES_MORE_MAX);
});
