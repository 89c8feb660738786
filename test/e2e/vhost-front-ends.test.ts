/**
 * Front-ends of others behind `--vhost-user`: User-Mode Linux, DPDK's virtio-user, QEMU that migrates, and a QEMU of today
 * (SLUICE_TEST_TREE: a tree of Debian unstable made by test/support/drop-in/make-tree.sh).
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { existsSync, mkdtempSync } from "node:fs";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { guestLab, LEASE_AND_WEB, READY } from "../support/guest-lab.ts";
import { reportOf } from "../support/namespace-guest.ts";
import { Running, until } from "../support/program.ts";
import { needsGuest, type QemuGuest, shellScript } from "../support/qemu-guest.ts";
import { Qmp } from "../support/qmp.ts";
import { needs } from "../support/requirements.ts";
import { type CardOptions, sharedCard } from "../support/vhost-guest.ts";

const { directory, services, boot } = guestLab("fronts");

async function expectNoneBad(engine: Running): Promise<void> {
  const { counters, drops } = await reportOf(engine);
  expect(counters["vhost-bad-ring"] ?? 0).toBe(0);
  for (const reason of Object.keys(drops))
    expect(reason).not.toMatch(/malformed|checksum|oversized|truncated/);
}

describe("User-Mode Linux", () => {
  it("is served by Linux' own driver, which is called by a socket", {
    timeout: 200_000,
  }, async (context) => {
    needsGuest(context, "uml");
    const path = join(directory, "uml.sock");
    const engine = services.engine("--vhost-user", `unix:${path}`);
    await engine.says(/ready/);
    const netdev = [`virtio_uml.device=${path}:1`];
    const guest = boot({ kernel: "uml", netdev, script: shellScript(LEASE_AND_WEB) });
    await guest.waitFor(READY);
    await services.expectServed(guest, engine);
    await expectNoneBad(engine);
  });
});

describe("DPDK's virtio-user", () => {
  const GATEWAY = "52:55:0a:00:02:02";
  /** Two threads that poll, on one processor; no huge pages, no devices. */
  const EAL = ["--no-huge", "-m", "512", "--no-pci", "--no-shconf", "--no-telemetry", "--lcores", "0@0,1@0"];

  /** Sends datagrams of all sizes, one after the other; gives how many came back as they were. */
  async function echoed(socket: UdpSocket, port: number, count: number): Promise<number> {
    let same = 0;
    for (let i = 0; i < count; i++) {
      const octets = Buffer.alloc(1 + ((i * 37) % 1472), i);
      const back = new Promise<Buffer | null>((resolve) => {
        const timer = setTimeout(() => resolve(null), 1000);
        socket.once("message", (message) => {
          clearTimeout(timer);
          resolve(message);
        });
      });
      socket.send(octets, port, "127.0.0.1");
      if ((await back)?.equals(octets)) same++;
    }
    return same;
  }

  it("answers ARP and sends datagrams back, by a driver that polls and knows no offload", {
    timeout: 100_000,
  }, async (context) => {
    needs(context, { commands: ["dpdk-testpmd"] });
    const path = join(directory, "dpdk.sock");
    const engine = services.engine("--vhost-user", `unix:${path}`, "-p", "0:7/udp");
    const [, port] = await engine.says(/udp 127\.0\.0\.1:(\d+) -> :7/);
    const card = `net_virtio_user0,path=${path},queues=1,mac=52:54:00:12:34:56`;
    const words = [...EAL, `--vdev=${card}`, "--", "-i", "--total-num-mbufs=2048", `--eth-peer=0,${GATEWAY}`];
    const program = new Running(
      spawn("dpdk-testpmd", words, {
        stdio: ["pipe", "pipe", "pipe"],
        env: { ...process.env, XDG_RUNTIME_DIR: directory },
      }),
    );
    const type = (text: string): void => void program.child.stdin!.write(`${text}\n`);
    const socket = createSocket("udp4");
    try {
      await engine.says(/guest attached/);
      // Nobody knows the guest's address yet: it is asked for.
      type("set fwd icmpecho\nstart");
      await until(async () => {
        socket.send("hello", Number(port), "127.0.0.1");
        const { counters } = await reportOf(engine);
        return (counters["link-frames-from-guest"] ?? 0) > 0;
      }, "an ARP reply");
      type("stop\nset fwd 5tswap\nstart");
      await until(async () => (await echoed(socket, Number(port), 1)) === 1, "an echo", 20_000);
      expect(await echoed(socket, Number(port), 500)).toBe(500);
      type("stop\nquit");
      expect((await program.ended).status).toBe(0);
      await engine.says(/the front-end closed the connection/);
      await expectNoneBad(engine);
    } finally {
      socket.close();
      program.child.kill("SIGKILL");
    }
  });
});

/** A QEMU, and what it needs. */
interface Emulator {
  readonly name: string;
  readonly command?: readonly string[];
  readonly card: CardOptions;
}

const TREE = process.env["SLUICE_TEST_TREE"] ?? "";
const OF_TREE = join(TREE, "usr/bin/qemu-system-x86_64");
/** The tree's program by the tree's loader: nothing of it is this machine's. */
const BY_LOADER = [
  join(TREE, "usr/lib64/ld-linux-x86-64.so.2"),
  ...["--argv0", "qemu-system-x86_64", "--library-path", join(TREE, "usr/lib/x86_64-linux-gnu"), OF_TREE],
  ...["-L", join(TREE, "usr/share/qemu"), "-L", join(TREE, "usr/share/seabios")],
];
const EMULATORS: readonly Emulator[] = [
  { name: "QEMU as it is installed", card: {} },
  ...(TREE !== "" && existsSync(OF_TREE)
    ? [{ name: "QEMU of the tree", command: BY_LOADER, card: { vectors: true } }]
    : []),
];
if (EMULATORS.length === 1)
  process.stderr.write("SKIPPED a QEMU of today: needs SLUICE_TEST_TREE, a tree of Debian unstable\n");

/** What is sent while the guest migrates, and stays in its kernel until it is there. */
const LATE_OCTETS = 110_000;

/** A connection of the guest's that takes all of them without anybody to read. */
const CONNECT_LATE = (port: number): string =>
  "echo 4096 1000000 4000000 > /proc/sys/net/ipv4/tcp_rmem; " +
  `sleep 1000 | sh -c 'echo $$ > /tmp/reader; exec nc 10.0.2.2 ${port} > /tmp/late' >/dev/null 2>&1 &`;
const HOLD_BACK = "kill -STOP $(cat /tmp/reader)";
/** The receive queue of /proc/net/tcp has every octet: what was sent only is not in the guest's memory yet. */
const ALL_WAIT =
  `for i in $(seq 40); do grep -q ':0*${LATE_OCTETS.toString(16).toUpperCase()} ' /proc/net/tcp && break; sleep 1; done; ` +
  "[ $i -lt 40 ] || { cat /proc/net/tcp /proc/net/netstat; false; }";
const READ_LATE =
  "kill -CONT $(cat /tmp/reader); " +
  `until [ $(stat -c %s /tmp/late) -ge ${LATE_OCTETS} ]; do sleep 1; done; sha256sum /tmp/late`;

/** Memory that the guest keeps writing, so that its migration does not end by itself. */
const KEEP_BUSY =
  "(while [ ! -e /tmp/quiet ]; do dd if=/dev/urandom of=/tmp/busy bs=64k count=64 2>/dev/null; done) &";

describe.each(EMULATORS)("$name", ({ command, card }) => {
  const emulator = command === undefined ? {} : { command };

  it("is served over a restart of its guest and of the engine", { timeout: 400_000 }, async (context) => {
    needsGuest(context);
    const path = join(directory, `again-${EMULATORS.length}-${command === undefined}.sock`);
    const first = services.engine("--vhost-user", `unix:${path}`);
    await first.says(/ready/);
    const socket = command === undefined ? ",reconnect=1" : ",reconnect-ms=300";
    const netdev = sharedCard(path, { ...card, socket });
    const guest = boot({ ...emulator, netdev, script: shellScript(LEASE_AND_WEB), reboots: true });
    await guest.waitFor(READY);
    await services.expectServed(guest, first);
    guest.send("0 reboot -f\n");
    await guest.waitFor(READY, 2);
    await services.expectServed(guest, first);
    await expectNoneBad(first);
    first.child.kill("SIGKILL");
    await first.ended;
    const second = services.engine("--vhost-user", `unix:${path}`);
    await second.says(/guest attached/);
    await services.expectServed(guest, second);
  });

  it("migrates to another, with what was written to its memory meanwhile", {
    timeout: 400_000,
  }, async (context) => {
    needsGuest(context);
    const place = mkdtempSync(join(directory, "migration-"));
    const late = Buffer.alloc(LATE_OCTETS, "octets that come late\n");
    let peer: Socket | null = null;
    const server = createServer((socket) => {
      peer = socket.on("error", () => {});
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const start = async (name: string, ...args: string[]): Promise<[Running, QemuGuest]> => {
      const engine = services.engine("--vhost-user", `unix:${place}/${name}`);
      await engine.says(/ready/);
      const netdev = [...sharedCard(`${place}/${name}`, card), ...args];
      netdev.push("-qmp", `unix:${place}/${name}.qmp,server=on,wait=off`);
      return [engine, boot({ ...emulator, netdev, script: shellScript(LEASE_AND_WEB) })];
    };
    try {
      const [before, origin] = await start("origin");
      await origin.waitFor(READY);
      await services.expectServed(origin, before);
      await origin.run(CONNECT_LATE(port));
      await until(() => peer !== null, "a connection");
      await origin.run(HOLD_BACK);
      await origin.run(KEEP_BUSY);

      const [after, target] = await start("target", "-incoming", `unix:${place}/incoming`);
      await until(() => existsSync(`${place}/incoming`), "a QEMU that waits");
      const qmp = await Qmp.open(`${place}/origin.qmp`);
      await qmp.do("migrate-set-parameters", { "max-bandwidth": 10_000_000, "downtime-limit": 1 });
      await qmp.do("migrate", { uri: `unix:${place}/incoming` });
      // All memory has been sent once, and the guest goes on: from here on the log alone tells of what the engine writes.
      const rounds = async (): Promise<number> => {
        const { ram } = await qmp.do("query-migrate");
        return (ram as { "dirty-sync-count": number } | undefined)?.["dirty-sync-count"] ?? 0;
      };
      await until(async () => (await rounds()) >= 2, "the second round", 60_000);
      // No time to stop in: it cannot end, however little a busy machine lets the guest write.
      await qmp.do("migrate-set-parameters", { "max-bandwidth": 1_000_000, "downtime-limit": 0 });
      peer!.write(late);
      await origin.run(ALL_WAIT);
      await origin.run("touch /tmp/quiet");
      await qmp.do("migrate-set-parameters", { "max-bandwidth": 1_000_000_000, "downtime-limit": 2000 });
      await until(
        async () => (await qmp.do("query-migrate"))["status"] === "completed",
        "the migration",
        60_000,
      );
      qmp.close();
      await origin.kill();
      await after.says(/guest attached/);

      const digest = createHash("sha256").update(late).digest("hex");
      expect((await target.run(READ_LATE)).slice(0, 64)).toBe(digest);
      await services.expectServed(target, after);
      await expectNoneBad(after);
    } finally {
      (peer as Socket | null)?.destroy();
      server.close();
    }
  });
});
