/**
 * Every way QEMU has of handing out frames, each before an engine of its own: one guest with a card for each, each on
 * a network of its own, boots once.
 */
import { closeSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { native } from "../../src/host/native/native.ts";
import { freePort } from "../support/free-port.ts";
import { GUEST_WEB, HostServices } from "../support/host-services.ts";
import { reportOf } from "../support/namespace-guest.ts";
import { type Running, until } from "../support/program.ts";
import { bootGuest, needsGuest, type QemuGuest, shellScript } from "../support/qemu-guest.ts";

/** QEMU serves this socket: the engine is started after QEMU, and connects. */
interface Served {
  readonly netdev: string;
  readonly link: readonly string[];
  /** Appears when QEMU listens. */
  readonly path?: string;
}

const directory = mkdtempSync(join(tmpdir(), "sluice-test-links-"));
const services = new HostServices();
const [oursFd, theirsFd] = native.socketPair("stream");
const engines: Running[] = [];
/** The engine's link options where it can be started anew. */
const links: (readonly string[])[] = [];
let guest: QemuGuest;

const socketFile = (name: string): string => join(directory, name);

/** Starts an engine that listens on a TCP port; gives the port. */
async function listening(net: number): Promise<number> {
  const port = await freePort();
  engines[net] = services.engine("--net", `10.0.${net}.0/24`, "--qemu-listen", `tcp:127.0.0.1:${port}`);
  await engines[net].says(/ready/);
  return port;
}

/** The ways where the engine waits for QEMU, or needs no connection. */
const KINDS = [
  "stream, QEMU connects over TCP",
  "stream, QEMU connects to a Unix socket",
  "stream, QEMU listens on a Unix socket",
  "stream, QEMU listens on TCP",
  "socket,connect=",
  "socket,listen=",
  "socket,fd=",
  "socket,udp=",
  "dgram over Unix sockets",
  "dgram over UDP",
] as const;

/** What QEMU is given for the n-th way, and the engine's link options where it has not started yet. */
async function prepare(net: number): Promise<Served> {
  switch (KINDS[net]) {
    case "stream, QEMU connects over TCP": {
      const port = await listening(net);
      return { netdev: `stream,server=off,addr.type=inet,addr.host=127.0.0.1,addr.port=${port}`, link: [] };
    }
    case "stream, QEMU connects to a Unix socket": {
      const path = socketFile("listen.sock");
      engines[net] = services.engine("--net", `10.0.${net}.0/24`, "--qemu-listen", `unix:${path}`);
      await engines[net].says(/ready/);
      return { netdev: `stream,server=off,addr.type=unix,addr.path=${path}`, link: [] };
    }
    case "stream, QEMU listens on a Unix socket": {
      const path = socketFile("connect.sock");
      const netdev = `stream,server=on,addr.type=unix,addr.path=${path}`;
      return { netdev, link: ["--qemu-connect", `unix:${path}`], path };
    }
    case "stream, QEMU listens on TCP": {
      const port = await freePort();
      const netdev = `stream,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=${port}`;
      return { netdev, link: ["--qemu-connect", `tcp:127.0.0.1:${port}`] };
    }
    case "socket,connect=":
      return { netdev: `socket,connect=127.0.0.1:${await listening(net)}`, link: [] };
    case "socket,listen=": {
      const port = await freePort();
      return {
        netdev: `socket,listen=127.0.0.1:${port}`,
        link: ["--qemu-connect", `tcp:127.0.0.1:${port}`],
      };
    }
    case "socket,fd=":
      return { netdev: "socket,fd=3", link: ["--fd", "3"] };
    case "socket,udp=": {
      const [local, remote] = [await freePort(), await freePort()];
      const netdev = `socket,udp=127.0.0.1:${local},localaddr=127.0.0.1:${remote}`;
      return { netdev, link: ["--qemu-dgram", `udp:127.0.0.1:${local},udp:127.0.0.1:${remote}`] };
    }
    case "dgram over Unix sockets": {
      const [local, remote] = [socketFile("ours.sock"), socketFile("theirs.sock")];
      const netdev = `dgram,local.type=unix,local.path=${remote},remote.type=unix,remote.path=${local}`;
      return { netdev, link: ["--qemu-dgram", `unix:${local},unix:${remote}`], path: remote };
    }
    default: {
      const [local, remote] = [await freePort(), await freePort()];
      const ends = `local.type=inet,local.host=127.0.0.1,local.port=${remote},remote.type=inet,remote.host=127.0.0.1,remote.port=${local}`;
      return {
        netdev: `dgram,${ends}`,
        link: ["--qemu-dgram", `udp:127.0.0.1:${local},udp:127.0.0.1:${remote}`],
      };
    }
  }
}

async function start(): Promise<void> {
  await services.open();
  const served: Served[] = [];
  for (let net = 0; net < KINDS.length; net++) served.push(await prepare(net));
  const netdev = served.flatMap((one, net) => {
    const [kind, ...rest] = one.netdev.split(",");
    return [
      ...["-netdev", [kind, `id=n${net}`, ...rest].join(",")],
      ...["-device", `virtio-net-pci,netdev=n${net},mac=52:54:00:00:01:0${net},romfile=`],
    ];
  });
  guest = bootGuest({ netdev, script: shellScript(GUEST_WEB), descriptors: [theirsFd] });
  await guest.waitFor(/^guest-ready\n/m);
  for (let net = 0; net < KINDS.length; net++) {
    const { link, path } = served[net];
    if (link.length === 0) continue;
    if (path !== undefined) await until(() => existsSync(path), `QEMU makes ${path}`);
    const descriptors = link[0] === "--fd" ? [oursFd] : [];
    engines[net] = services.engineWith(descriptors, "--net", `10.0.${net}.0/24`, ...link);
    links[net] = link;
    await engines[net].says(/ready/);
  }
}

describe("a card of", () => {
  let started: Promise<void> | undefined;
  beforeEach(async (context) => {
    needsGuest(context);
    started ??= start();
    await started;
  });
  afterAll(async () => {
    await guest?.kill();
    await services.close();
    closeSync(oursFd);
    closeSync(theirsFd);
    rmSync(directory, { recursive: true, force: true });
  });

  it.for(KINDS.map((kind, net) => ({ kind, net })))("$kind is served", async ({ net }) => {
    const lease = await guest.run(`udhcpc -i eth${net} -n -q -t 10`);
    expect(lease).toContain(`lease-ip=10.0.${net}.15\n`);
    await services.expectServed(guest, engines[net], `10.0.${net}`);
    const { counters, drops } = await reportOf(engines[net]);
    expect(counters["dns-queries"]).toBeGreaterThan(0);
    for (const reason of Object.keys(drops)) expect(reason).not.toMatch(/malformed|checksum|oversized/);
  });

  it.for(
    KINDS.map((kind, net) => ({ kind, net })).filter(({ kind }) =>
      /QEMU listens|,listen=|udp=|^dgram/.test(kind),
    ),
  )("$kind goes on with an engine that is started anew", async ({ net }) => {
    engines[net].child.kill("SIGTERM");
    await engines[net].ended;
    engines[net] = services.engine("--net", `10.0.${net}.0/24`, ...links[net]);
    await engines[net].says(/ready/);
    await services.expectServed(guest, engines[net], `10.0.${net}`);
  });
});
