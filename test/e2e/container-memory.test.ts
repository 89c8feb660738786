/**
 * An engine in a container of 64 MiB, which is what a VM with dedicated CPUs leaves to sidecars: its kernel kills whoever wants more.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { memoryArguments } from "../../src/kubevirt/binding/container-memory.ts";
import { HookClient } from "../kubevirt/binding/hook-client.ts";
import { vmiOf } from "../kubevirt/binding/vmi.ts";
import { Agent } from "../support/agent.ts";
import { engineOf } from "../support/engine-pid.ts";
import { LEASE_AND_WEB, READY } from "../support/guest-lab.ts";
import { MEMORY_GROUP_NEEDS, MemoryGroup } from "../support/memory-group.ts";
import { HostNamespace, NAMESPACE_NEEDS, NamespaceGuest } from "../support/namespace-guest.ts";
import { PROGRAM, run } from "../support/program.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import {
  bootGuest,
  KERNEL_ARGUMENTS,
  needsGuest,
  type QemuGuest,
  shellScript,
} from "../support/qemu-guest.ts";
import { needs } from "../support/requirements.ts";
import { sharedCard } from "../support/vhost-guest.ts";

const GROUP_OCTETS = 64 * 1_048_576;
/** Somebody who is not this pod. */
const OUTSIDE = "198.51.100.7";
/** Of a card that QEMU is told nothing about. */
const GUEST_MAC = "52:54:00:12:34:56";
const GATEWAY = "10.0.2.2";
/** Each way; together fewer than the flows there are, so that somebody else can still connect. */
const CONNECTIONS = 600;
const OCTETS = 100_000;
const TRANSFERS = 2;

/** A server of the host; gives its port. */
async function serve(servers: Server[], connected: (socket: Socket) => void): Promise<number> {
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    socket.on("error", () => {});
    connected(socket);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

/** Sends for ever. */
function give(socket: Socket): void {
  const octets = Buffer.alloc(65_536);
  const more = (): void => {
    while (socket.write(octets));
  };
  socket.on("drain", more);
  more();
}

/** Files up and down, each compared. */
async function transfer(guest: NamespaceGuest, host: Agent): Promise<void> {
  const seed = 7;
  const sink = await host.do<number>("tcpServer", { kind: "sink" });
  const source = await host.do<number>("tcpServer", { kind: "source", octets: OCTETS, seed });
  for (let n = 0; n < TRANSFERS; n++) {
    const up = await guest.agent.do<{ sha256: string; server: unknown }>("upload", {
      ...{ host: GATEWAY, port: sink, octets: OCTETS, seed },
    });
    const whole = { octets: OCTETS, sha256: up.sha256 };
    expect(up.server).toEqual(whole);
    expect(await guest.agent.do("download", { host: GATEWAY, port: source })).toMatchObject(whole);
  }
}

describe("an engine in a container of 64 MiB", () => {
  it("K34 is not killed by twelve hundred connections that nobody reads and a flood of datagrams, and goes on", {
    timeout: 180_000,
  }, async (context) => {
    needs(context, { ...NAMESPACE_NEEDS, ...MEMORY_GROUP_NEEDS });
    const group = new MemoryGroup(GROUP_OCTETS);
    const servers: Server[] = [];
    const host = new Agent();
    const options = ["--allow-host-loopback", ...memoryArguments(GROUP_OCTETS)];
    const guest = await NamespaceGuest.start({ options, through: group.enter });
    try {
      const engine = engineOf(guest.sluice);
      const deaf = await serve(servers, () => {});
      const gives = await serve(servers, give);
      const program = `${PROJECT_ROOT}/test/support/guest-programs/flood.cjs`;
      const flood = guest.spawn(process.execPath, program, GATEWAY, `${gives}`, `${deaf}`, `${CONNECTIONS}`);
      await new Promise((resolve) => setTimeout(resolve, 8000));
      await transfer(guest, host);
      const { counters, drops } = await guest.report();
      // It was a flood: more came than there is room for.
      expect(counters["tcp-opened"]).toBeGreaterThan(CONNECTIONS);
      expect(drops["memory-exhausted"]).toBeGreaterThan(0);
      flood.child.kill("SIGKILL");
      await flood.ended;
      await transfer(guest, host);
      expect([group.kills, engineOf(guest.sluice)]).toEqual([0, engine]);
    } finally {
      for (const server of servers) server.close();
      await host.close();
      await guest.close();
      await group.remove();
    }
  });

  it("K34 is the sidecar's, and has no page of a guest's to pay for", {
    timeout: 180_000,
  }, async (context) => {
    needsGuest(context);
    needs(context, { ...NAMESPACE_NEEDS, ...MEMORY_GROUP_NEEDS });
    const group = new MemoryGroup(GROUP_OCTETS);
    const host = await HostNamespace.make();
    const hooks = mkdtempSync(join(tmpdir(), "sluice-hooks-"));
    host.shell(`ip address add ${OUTSIDE}/32 dev lo; ip route add default dev lo`);
    const [command = "", ...words] = [...host.enter, ...group.enter, process.execPath, PROGRAM];
    const sidecar = run(command, [...words, "kubevirt-binding", "--hooks-dir", hooks]);
    let guest: QemuGuest | undefined;
    try {
      await sidecar.says(/serving the hooks/);
      const client = new HookClient(join(hooks, "sluice-sluice.sock"));
      const domain = await client.define("<domain><devices/></domain>", vmiOf({ macAddress: GUEST_MAC }));
      client.close();
      expect(domain).toContain('<allocation mode="immediate"/>');
      const source = { kind: "source", host: OUTSIDE, octets: 20_000_000, seed: 7 };
      const port = await host.agent.do<number>("tcpServer", source);
      const card = sharedCard(join(hooks, "engine", "card.sock")).map((word) =>
        word.replace(/^memory-backend-.*/, "$&,prealloc=on"),
      );
      // A kernel that does not touch what it receives into, as Debian's would.
      const kernel = ["-append", `${KERNEL_ARGUMENTS} init_on_alloc=0`];
      const script = `${LEASE_AND_WEB}\nip route add default via ${GATEWAY}`;
      guest = bootGuest({ netdev: [...card, ...kernel], script: shellScript(script) });
      await guest.waitFor(READY);
      const four = `for n in 1 2 3 4; do nc ${OUTSIDE} ${port} < /dev/null | wc -c & done; wait`;
      expect((await guest.run(four)).trim().split("\n")).toEqual(Array(4).fill("20000000"));
      expect(group.sharedOctets).toBeLessThan(1_048_576);
      expect(group.kills).toBe(0);
    } finally {
      await guest?.kill();
      sidecar.child.kill("SIGTERM");
      await sidecar.ended;
      await host.close();
      await group.remove();
      rmSync(hooks, { recursive: true, force: true });
    }
  });
});
