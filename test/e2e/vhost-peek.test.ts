/**
 * Bulk down to a real kernel behind a card in shared memory (bench/compare/vhost-bridge.c plays its driver): read straight
 * into the guest's buffers, and whole, also where frames are lost on the way.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { Agent } from "../support/agent.ts";
import { reportOf } from "../support/namespace-guest.ts";
import { NetworkNamespace } from "../support/network-namespace.ts";
import { sluice } from "../support/program.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { needs } from "../support/requirements.ts";

const OCTETS = 30_000_000;
const directory = mkdtempSync(join(tmpdir(), "sluice-test-peek-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Reads a connection to its end; prints the digest of what came. */
const client = (port: number): string => `
  import { createHash } from "node:crypto";
  import { connect } from "node:net";
  const hash = createHash("sha256");
  connect(${port}, "10.0.2.2").on("data", (data) => hash.update(data)).on("end", function () {
    console.log(hash.digest("hex"));
    this.end();
  });`;

it.for([
  ["nothing", 0],
  ["a frame in 40", 40],
] as const)(
  "with %s lost, several connections get what was sent",
  { timeout: 120_000 },
  async ([, lose], context) => {
    needs(context, { root: true, tun: true, commands: ["ip"] });
    const bridge = join(directory, "vhost-bridge");
    const source = join(PROJECT_ROOT, "bench/compare/vhost-bridge.c");
    execFileSync(process.env["CC"] ?? "cc", ["-D_GNU_SOURCE", "-O2", "-pthread", "-o", bridge, source]);
    const path = join(directory, `card-${lose}.sock`);
    const engine = sluice(["run", "--vhost-user", `unix:${path}`, "--allow-host-loopback"]);
    const host = new Agent();
    const namespace = new NetworkNamespace();
    try {
      await engine.says(/ready/);
      const addresses = ["--address", "10.0.2.15", "--gateway", "10.0.2.2"];
      namespace.spawn(bridge, "--tap", "tap0", ...addresses, "--connect", path, "--lose", String(lose));
      await engine.says(/guest attached/);
      const port = await host.do<number>("tcpServer", { kind: "source", octets: OCTETS, seed: 5 });
      const wanted = await host.do<string>("digest", { octets: OCTETS, seed: 5 });
      const digests = Array.from({ length: 3 }, async () => {
        let text = "";
        for await (const part of namespace.script(client(port)).stdout!) text += part;
        return text.trim();
      });
      expect(await Promise.all(digests)).toEqual([wanted, wanted, wanted]);
      const { counters } = await reportOf(engine);
      expect(counters["tcp-octets-to-guest"]).toBe(3 * OCTETS);
      expect(counters["tcp-octets-peeked"]).toBeGreaterThan(lose === 0 ? OCTETS : 100_000);
      expect(counters["tcp-retransmits"] ?? 0).toBeGreaterThan(lose === 0 ? -1 : 10);
    } finally {
      await namespace.remove();
      await host.close();
      engine.child.kill("SIGTERM");
      await engine.ended;
    }
  },
);
