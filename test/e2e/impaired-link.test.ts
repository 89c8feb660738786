/**
 * A kernel's TCP and ours over a bad cable (guest-programs/relay.mjs: not every kernel has netem): what is lost,
 * repeated, overtaken and delayed still arrives whole, both ways. Rates are printed, not asserted on.
 *
 * SLUICE_IMPAIRED_OCTETS sets the size of each transfer; with SLUICE_IMPAIRED_KERNEL=1 the same cables are measured
 * between two kernels as well.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { Agent } from "../support/agent.ts";
import { HostNamespace, NAMESPACE_NEEDS, reportOf } from "../support/namespace-guest.ts";
import { type Running, run, sluice, until } from "../support/program.ts";
import { needs, TUN_DEVICE } from "../support/requirements.ts";

const RELAY = fileURLToPath(new URL("../support/guest-programs/relay.mjs", import.meta.url));
const OCTETS = Number(process.env["SLUICE_IMPAIRED_OCTETS"] ?? 3_000_000);

/** `share` of the octets is sent where the cable makes that slow. */
const CABLES: readonly { readonly name: string; readonly cable: object; readonly share?: number }[] = [
  { name: "nothing wrong", cable: {} },
  { name: "0.1 % lost", cable: { loss: 0.001 } },
  { name: "1 % lost", cable: { loss: 0.01 } },
  { name: "10 % lost", cable: { loss: 0.1 }, share: 0.1 },
  { name: "5 % overtaken", cable: { reorder: 0.05 } },
  { name: "5 % repeated", cable: { duplicate: 0.05 } },
  { name: "10 ms each way", cable: { delayMs: 10 } },
  { name: "10 ms each way, 0.1 % lost", cable: { delayMs: 10, loss: 0.001 } },
  { name: "10 ms each way, 1 % lost", cable: { delayMs: 10, loss: 0.01 }, share: 0.3 },
];

const directory = mkdtempSync(join(tmpdir(), "sluice-test-impaired-"));
let sockets = 0;
const running: Running[] = [];
const namespaces: HostNamespace[] = [];
const agents: Agent[] = [];

beforeEach((context) => needs(context, NAMESPACE_NEEDS));
afterEach(async () => {
  for (const agent of agents.splice(0)) await agent.close();
  for (const one of running.splice(0).reverse()) {
    one.child.kill("SIGTERM");
    await one.ended;
  }
  for (const namespace of namespaces.splice(0)) await namespace.close();
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** A namespace with a relay's TAP and an address. */
async function relayed(address: string, options: Record<string, unknown>): Promise<HostNamespace> {
  const namespace = await HostNamespace.make();
  namespaces.push(namespace);
  // Rates are compared with the engine's, whose congestion control is of this family (RFC 5681, 6582).
  namespace.shell("echo reno > /proc/sys/net/ipv4/tcp_congestion_control || true");
  const task = JSON.stringify({ tap: "tap0", tunDevice: TUN_DEVICE, ...options });
  const [nsenter, ...rest] = namespace.enter;
  const relay = run(nsenter, [...rest, process.execPath, RELAY, task]);
  running.push(relay);
  await relay.says(options["listen"] === undefined ? /ready/ : /listening/, "stdout");
  namespace.ip("address", "add", `${address}/24`, "dev", "tap0");
  namespace.ip("link", "set", "tap0", "up");
  return namespace;
}

interface Ends {
  readonly client: Agent;
  readonly server: Agent;
  /** Where the client finds the server, and where that listens. */
  readonly host: string;
  readonly listen: string;
}

/** Sends up and down; gives megabytes per second of each. */
async function transfer({ client, server, host, listen }: Ends, share: number): Promise<[number, number]> {
  const octets = Math.round(OCTETS * share);
  const sink = await server.do<number>("tcpServer", { kind: "sink", host: listen });
  const begun = performance.now();
  const sent = await client.do<{ sha256: string; server: unknown }>("upload", {
    host,
    port: sink,
    octets,
    seed: 3,
  });
  const turned = performance.now();
  expect(sent.server).toEqual({ octets, sha256: sent.sha256 });
  const source = await server.do<number>("tcpServer", {
    kind: "source",
    host: listen,
    octets,
    seed: 4,
  });
  const got = await client.do<{ sha256: string }>("download", { host, port: source });
  const ended = performance.now();
  expect(got.sha256).toBe(await server.do("digest", { octets, seed: 4 }));
  return [octets / (turned - begun) / 1000, octets / (ended - turned) / 1000];
}

function tell(name: string, between: string, [up, down]: [number, number]): void {
  process.stderr.write(`  ${name}: ${between} ${up.toFixed(2)} MB/s up, ${down.toFixed(2)} MB/s down\n`);
}

describe.for(CABLES)("with $name", ({ name, cable, share = 1 }) => {
  it("transfers through the engine arrive whole", async () => {
    const path = join(directory, `${sockets++}.sock`);
    const engine = sluice(["run", "--qemu-listen", `unix:${path}`, "--allow-host-loopback"]);
    running.push(engine);
    await engine.says(/ready/);
    const guest = await relayed("10.0.2.15", { connect: path, ...cable });
    const host = new Agent();
    agents.push(host);
    const ends = { client: guest.agent, server: host, host: "10.0.2.2", listen: "127.0.0.1" };
    tell(name, "guest and engine", await transfer(ends, share));
    // Whatever came twice or out of order is counted once.
    expect((await reportOf(engine)).counters["tcp-octets-from-guest"]).toBe(Math.round(OCTETS * share));
  });
});

describe.for(process.env["SLUICE_IMPAIRED_KERNEL"] === "1" ? CABLES : [])(
  "with $name",
  ({ name, cable, share = 1 }) => {
    it("transfers between two kernels arrive whole", async () => {
      const path = join(directory, `${sockets++}.sock`);
      const server = await relayed("10.0.2.2", { listen: path });
      await until(() => existsSync(path), "the far relay listens");
      const client = await relayed("10.0.2.15", { connect: path, ...cable });
      const ends = { client: client.agent, server: server.agent, host: "10.0.2.2", listen: "10.0.2.2" };
      tell(name, "two kernels", await transfer(ends, share));
    });
  },
);
