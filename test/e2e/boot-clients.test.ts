/** A machine without a disk: iPXE in the card's ROM gets a lease from us, and by it finds what to boot. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { run, sluice, until } from "../support/program.ts";
import { needs } from "../support/requirements.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-test-boot-"));
/** What was asked for, and what iPXE says about its lease. */
const asked: string[] = [];
const web = createServer((request, response) => {
  asked.push(request.url!);
  const { port } = web.address() as AddressInfo;
  const lease = ["ip", "netmask", "gateway", "dns", "hostname", "next-server"].map(
    (name) => `\${net0/${name}}`,
  );
  response.end(`#!ipxe\nchain http://10.0.2.2:${port}/lease/${lease.join("/")}\n`);
});

beforeAll(() => new Promise<void>((resolve) => web.listen(0, "127.0.0.1", resolve)));
afterAll(() => {
  web.closeAllConnections();
  web.close();
  rmSync(directory, { recursive: true, force: true });
});

it.for([
  { model: "virtio-net-pci", rom: "pxe-virtio.rom" },
  { model: "e1000", rom: "pxe-e1000.rom" },
])("iPXE boots from a $model card", async ({ model, rom }, context) => {
  needs(context, { commands: ["qemu-system-x86_64"], files: [`/usr/lib/ipxe/qemu/${rom}`] });
  asked.length = 0;
  const path = join(directory, `${model}.sock`);
  const { port } = web.address() as AddressInfo;
  const engine = sluice([
    ...["run", "--qemu-listen", `unix:${path}`, "--allow-host-loopback", "--hostname", "vm1"],
    ...["--next-server", "10.0.2.2", "--boot-file", `http://10.0.2.2:${port}/boot.ipxe`],
  ]);
  await engine.says(/ready/);
  const qemu = run("qemu-system-x86_64", [
    ...["-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg", "-m", "128"],
    ...["-netdev", `stream,id=n0,server=off,addr.type=unix,addr.path=${path}`],
    ...["-device", `${model},netdev=n0,bootindex=1`],
  ]);
  try {
    await until(() => asked.length >= 2, "iPXE follows its boot file", 120_000);
    expect(asked.slice(0, 2)).toEqual([
      "/boot.ipxe",
      "/lease/10.0.2.15/255.255.255.0/10.0.2.2/10.0.2.3/vm1/10.0.2.2",
    ]);
  } finally {
    qemu.child.kill("SIGKILL");
    await qemu.ended;
    engine.child.kill("SIGTERM");
    await engine.ended;
  }
});
