/**
 * The binding plugin as far as one gets without a cluster: libvirt of Debian unstable (SLUICE_TEST_TREE, made by
 * test/support/drop-in/make-tree.sh) starts a guest from the domain that the sidecar has made.
 */
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { HookClient } from "../kubevirt/binding/hook-client.ts";
import { vmiOf } from "../kubevirt/binding/vmi.ts";
import { UDHCPC_ARGUMENTS, UDHCPC_SCRIPT } from "../kubevirt/vm-guest.ts";
import { run } from "../support/program.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { GuestBoot, needsGuest } from "../support/qemu-guest.ts";
import { missing } from "../support/requirements.ts";

const TREE = process.env["SLUICE_TEST_TREE"] ?? "";

/** Why nothing can be tested here; empty otherwise. */
const lacks =
  TREE === ""
    ? ["SLUICE_TEST_TREE, a tree of Debian unstable"]
    : missing({ root: true, files: [join(TREE, "usr/sbin/libvirtd")], commands: ["unshare", "bash"] });
if (lacks.length > 0) process.stderr.write(`SKIPPED guests of libvirt's: needs ${lacks.join(" and ")}\n`);

/** What KubeVirt makes of a VM, as far as it concerns a card. ACPI: without it a card behind a root port stays asleep. */
const DOMAIN = `<domain type="qemu"><name>web</name><memory unit="MiB">192</memory><vcpu>1</vcpu>
<os><type arch="x86_64" machine="q35">hvm</type><kernel>FOLDER/kernel</kernel><initrd>FOLDER/initrd</initrd>
<cmdline>console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on</cmdline></os><features><acpi/></features>
<!-- kept --><devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<serial type="file"><source path="FOLDER/console"/></serial><memballoon model="none"/></devices></domain>
`;

const GUEST = `export LEASE=/tmp/lease
udhcpc -i eth0 -s /lease.script ${UDHCPC_ARGUMENTS.join(" ")} > /dev/null 2>&1
echo "lease: $(ip -4 -o address show eth0 | sed 's/.*inet //; s/ .*//')"
echo "mtu: $(cat /sys/class/net/eth0/mtu)"
echo "mac: $(cat /sys/class/net/eth0/address)"
mkdir /www; echo from-the-guest > /www/index.html
httpd -p 8080 -h /www
httpd -p 8081 -h /www
echo "egress: $(nc 198.51.100.7 7777 < /dev/null)"
echo guest-ready
while true; do sleep 1000; done
`;

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
  let domain = DOMAIN.replaceAll("FOLDER", folder);
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
    mkdirSync(join(PROJECT_ROOT, "dist"), { recursive: true });
    const folder = mkdtempSync(join(PROJECT_ROOT, "dist", "kubevirt-"));
    const boot = new GuestBoot({ script: GUEST, files: { "/lease.script": UDHCPC_SCRIPT } });
    try {
      const file = (option: string): string => boot.args[boot.args.indexOf(option) + 1] ?? "";
      copyFileSync(file("-kernel"), join(folder, "kernel"));
      copyFileSync(file("-initrd"), join(folder, "initrd"));
      const scripts = join(PROJECT_ROOT, "test", "support");
      const rig = run("bash", [
        join(scripts, "drop-in", "enter.sh"),
        TREE,
        PROJECT_ROOT,
        ...["bash", join(scripts, "kubevirt", "libvirt.sh"), folder],
      ]);
      await defineAndShutDown(folder);
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
      boot.remove();
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
