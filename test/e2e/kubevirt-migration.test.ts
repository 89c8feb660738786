/** A VM that moves from one pod to another: two sidecars, two engines, two QEMUs, and its memory in between. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { HookClient } from "../kubevirt/binding/hook-client.ts";
import { vmiOf } from "../kubevirt/binding/vmi.ts";
import { UDHCPC_ARGUMENTS, UDHCPC_SCRIPT } from "../kubevirt/vm-guest.ts";
import { READY } from "../support/guest-lab.ts";
import { HostNamespace, NAMESPACE_NEEDS } from "../support/namespace-guest.ts";
import { PROGRAM, type Running, run, until } from "../support/program.ts";
import { bootGuest, needsGuest, type QemuGuest, shellScript } from "../support/qemu-guest.ts";
import { Qmp } from "../support/qmp.ts";
import { needs } from "../support/requirements.ts";
import { sharedCard } from "../support/vhost-guest.ts";

/** Somebody who is no pod, and is reached from both. */
const OUTSIDE = "198.51.100.7";
/** Of a card that QEMU is told nothing about. */
const VMI = vmiOf({ macAddress: "52:54:00:12:34:56", ports: [{ port: 8080 }] });
const DOMAIN = "<domain><devices/></domain>";
const LEASE = `udhcpc -i eth0 -s /lease.script ${UDHCPC_ARGUMENTS.join(" ")}`;
const GUEST = `export LEASE=/tmp/lease
${LEASE}
mkdir /www; echo from-the-guest > /www/index.html; httpd -p 8080 -h /www`;

const ADDRESSES =
  "ip -4 -o address show eth0; ip route; cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu";
const SIZE_PORT = 7777;
const HELD_PORT = 7778;
const NAMES = `nslookup -type=a pod.test ${OUTSIDE}`;
const SIZE = `nc ${OUTSIDE} ${SIZE_PORT} < /dev/null | wc -c`;

/** A pod with its sidecar, and who is outside: says by a name's address and a file's size which pod it is reached from. */
class Pod {
  guest!: QemuGuest;
  domain = "";

  private constructor(
    private readonly folder: string,
    readonly host: HostNamespace,
    private readonly sidecar: Running,
  ) {}

  static async make(address: string, octets: number): Promise<Pod> {
    const folder = mkdtempSync(join(tmpdir(), "sluice-pod-"));
    const host = await HostNamespace.make();
    host.shell(`ip address add ${OUTSIDE}/32 dev lo; ip route add default dev lo`);
    const [command = "", ...words] = [...host.enter, process.execPath, PROGRAM, "kubevirt-binding"];
    const pod = new Pod(folder, host, run(command, [...words, "--hooks-dir", folder]));
    await host.agent.do("dnsServer", { host: OUTSIDE, address });
    await host.agent.do("tcpServer", { kind: "source", host: OUTSIDE, port: SIZE_PORT, octets, seed: 1 });
    await host.agent.do("tcpServer", { kind: "hold", host: OUTSIDE, port: HELD_PORT });
    await pod.sidecar.says(/serving the hooks/);
    const client = new HookClient(join(folder, "sluice-sluice.sock"));
    pod.domain = await client.define(DOMAIN, VMI);
    client.close();
    return pod;
  }

  /** QEMU of the VM, or one that waits for its memory. */
  boot(...more: readonly string[]): void {
    const netdev = [...sharedCard(join(this.folder, "engine", "card.sock")), ...more];
    netdev.push("-qmp", `unix:${this.folder}/qmp,server=on,wait=off`);
    this.guest = bootGuest({ netdev, script: shellScript(GUEST), files: { "/lease.script": UDHCPC_SCRIPT } });
  }

  qmp(): Promise<Qmp> {
    return Qmp.open(`${this.folder}/qmp`);
  }

  /** The page behind the declared port, or what became of the connection. */
  async page(): Promise<string> {
    const request = { host: "127.0.0.1", port: 8080, message: "GET / HTTP/1.0\r\n\r\n" };
    // A port takes clients for a while after its guest has gone: they hear nothing.
    const silence = new Promise<string>((resolve) => setTimeout(resolve, 2000, "silence"));
    try {
      return await Promise.race([this.host.agent.do<string>("exchange", request), silence]);
    } catch (error) {
      return (error as Error).message;
    }
  }

  async close(): Promise<void> {
    await this.guest?.kill();
    this.sidecar.child.kill("SIGTERM");
    await this.sidecar.ended;
    await this.host.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const pods: Pod[] = [];
afterEach(async () => {
  for (const pod of pods.splice(0)) await pod.close();
});

async function makePod(address: string, octets: number): Promise<Pod> {
  const pod = await Pod.make(address, octets);
  pods.push(pod);
  return pod;
}

describe("a VM that moves to another pod", () => {
  it("K35 keeps its address and its lease; its connections end at once, and new ones go on from there", {
    timeout: 200_000,
  }, async (context) => {
    needsGuest(context);
    needs(context, NAMESPACE_NEEDS);
    const origin = await makePod("192.0.2.1", 1111);
    const target = await makePod("192.0.2.2", 2222);
    // The target is asked, too, and its answer thrown away: the domain comes along.
    expect(target.domain).toBe(origin.domain);

    origin.boot();
    await origin.guest.waitFor(READY);
    const { guest } = origin;
    expect(await guest.run(NAMES)).toContain("192.0.2.1");
    expect((await guest.run(SIZE)).trim()).toBe("1111");
    await until(async () => (await origin.page()).includes("from-the-guest"), "the declared port");
    const held = `(while sleep 1; do echo x; done) | nc ${OUTSIDE} ${HELD_PORT} > /dev/null`;
    await guest.run(`(${held}; echo > /tmp/over) > /dev/null 2>&1 &`);
    const addresses = await guest.run(ADDRESSES);

    const incoming = `${tmpdir()}/sluice-incoming-${process.pid}`;
    target.boot("-incoming", `unix:${incoming}`);
    await until(() => existsSync(incoming), "a QEMU that waits");
    const qmp = await origin.qmp();
    await qmp.do("migrate-set-parameters", { "max-bandwidth": 1_000_000_000, "downtime-limit": 2000 });
    expect(await guest.run("ls /tmp/over || echo held")).toContain("held");
    await qmp.do("migrate", { uri: `unix:${incoming}` });
    await until(
      async () => (await qmp.do("query-migrate"))["status"] === "completed",
      "the migration",
      60_000,
    );
    qmp.close();
    await guest.kill();

    const moved = target.guest;
    await moved.run("while [ ! -e /tmp/over ]; do sleep 1; done");
    expect(await moved.run(NAMES)).toContain("192.0.2.2");
    expect((await moved.run(SIZE)).trim()).toBe("2222");
    await until(async () => (await target.page()).includes("from-the-guest"), "the declared port");
    await until(async () => (await origin.page()) === "ECONNREFUSED", "the port is closed where it was");
    expect(await moved.run(ADDRESSES)).toBe(addresses);
    await moved.run(`${LEASE} -R; ip -4 address flush dev eth0; ${LEASE}`);
    expect(await moved.run(ADDRESSES)).toBe(addresses);
  });
});
