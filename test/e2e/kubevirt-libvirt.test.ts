/**
 * The binding plugin as far as one gets without a cluster: libvirt of Debian unstable (SLUICE_TEST_TREE, made by
 * test/support/drop-in/make-tree.sh) starts a guest from the domain that the sidecar has made.
 */
import { existsSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { HookClient } from "../kubevirt/binding/hook-client.ts";
import { vmiOf } from "../kubevirt/binding/vmi.ts";
import { domainXml, LibvirtGuest, libvirtLacks } from "../support/libvirt-guest.ts";
import { needsGuest } from "../support/qemu-guest.ts";

const lacks = libvirtLacks("guests of libvirt's");

/** Of the guest's card, besides its lease. */
const CARD = `echo "mtu: $(cat /sys/class/net/eth0/mtu)"
echo "mac: $(cat /sys/class/net/eth0/address)"`;

/** Waits until a file is there. */
async function thereIs(path: string): Promise<void> {
  for (let n = 0; n < 1200 && !existsSync(path); n++)
    await new Promise((resolve) => setTimeout(resolve, 100));
}

/** The launcher's part: asks three times, each time with the last answer, and says when the VM has ended. */
async function defineAndShutDown(folder: string): Promise<void> {
  const socket = join(folder, "hooks", "sluice-sluice.sock");
  await thereIs(socket);
  const client = new HookClient(socket);
  const vmi = vmiOf({ macAddress: "02:11:22:33:44:55", ports: [{ port: 8080 }] });
  // What KubeVirt makes of a VM, as far as it concerns a card.
  let domain = domainXml("", "").replaceAll("FOLDER", folder);
  for (let n = 0; n < 3; n++) domain = await client.define(domain, vmi);
  writeFileSync(join(folder, "made"), domain);
  renameSync(join(folder, "made"), join(folder, "made.xml"));
  await thereIs(join(folder, "ended"));
  await client.shutdown();
  client.close();
}

describe.skipIf(lacks.length > 0)("a guest that libvirt starts from the sidecar's domain", () => {
  it("K24 K27 K28 K29 K30 has lease, MTU and way out; a declared port is reached, another refused; engines may die", async (context) => {
    needsGuest(context);
    const guest = new LibvirtGuest(CARD);
    try {
      const rig = guest.run("kubevirt/libvirt.sh");
      await defineAndShutDown(guest.folder);
      const { stdout, stderr } = await rig.ended;
      expect(stdout.trim().split("\n"), stderr).toEqual([
        "valid: yes",
        "state: running",
        "lease: 10.0.2.15/24",
        "mtu: 65520",
        "mac: 02:11:22:33:44:55",
        "egress: from-outside",
        "declared: from-the-guest",
        "undeclared: refused",
        "after kill -9, four times: served",
        "after a reset: served",
        "sidecar: runs",
        "status: 0",
        "left: engine",
      ]);
    } finally {
      guest.remove();
    }
  });
});
