/**
 * A guest that libvirt of Debian unstable starts, in a tree of that (SLUICE_TEST_TREE, made by test/support/drop-in/make-tree.sh): its
 * kernel and its first file system in a folder that the tree shares, and a script there that looks at it from outside.
 */
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { UDHCPC_ARGUMENTS, UDHCPC_SCRIPT } from "../kubevirt/vm-guest.ts";
import { type Running, run } from "./program.ts";
import { PROJECT_ROOT } from "./project-root.ts";
import { GuestBoot } from "./qemu-guest.ts";
import { missing } from "./requirements.ts";

const TREE = process.env["SLUICE_TEST_TREE"] ?? "";
const SCRIPTS = join(PROJECT_ROOT, "test", "support");

/** Takes a lease, says it and what `says` prints, serves two ports and asks the server outside. */
const guestScript = (says: string): string => `export LEASE=/tmp/lease
udhcpc -i eth0 -s /lease.script ${UDHCPC_ARGUMENTS.join(" ")} > /dev/null 2>&1
echo "lease: $(ip -4 -o address show eth0 | sed 's/.*inet //; s/ .*//')"
${says}
mkdir /www; echo from-the-guest > /www/index.html
httpd -p 8080 -h /www
httpd -p 8081 -h /www
echo "egress: $(nc 198.51.100.7 7777 < /dev/null)"
echo guest-ready
while true; do sleep 1000; done
`;

/** What is missing here for such a guest, which is also said; empty when nothing is. */
export function libvirtLacks(title: string): readonly string[] {
  const lacks =
    TREE === ""
      ? ["SLUICE_TEST_TREE, a tree of Debian unstable"]
      : missing({ root: true, files: [join(TREE, "usr/sbin/libvirtd")], commands: ["unshare", "bash"] });
  if (lacks.length > 0) process.stderr.write(`SKIPPED ${title}: needs ${lacks.join(" and ")}\n`);
  return lacks;
}

/**
 * A domain of libvirt's with `memory` in it and `devices` among its devices. ACPI: without it a card behind a root port stays
 * asleep. FOLDER stands for the guest's.
 */
export const domainXml = (memory: string, devices: string): string =>
  `<domain type="qemu"><name>web</name><memory unit="MiB">192</memory>${memory}<vcpu>1</vcpu>
<os><type arch="x86_64" machine="q35">hvm</type><kernel>FOLDER/kernel</kernel><initrd>FOLDER/initrd</initrd>
<cmdline>console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on</cmdline></os><features><acpi/></features>
<!-- kept --><devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<serial type="file"><source path="FOLDER/console"/></serial><memballoon model="none"/>${devices}</devices></domain>
`;

export class LibvirtGuest {
  readonly folder: string;
  private readonly boot: GuestBoot;

  constructor(says = "") {
    mkdirSync(join(PROJECT_ROOT, "dist"), { recursive: true });
    this.folder = mkdtempSync(join(PROJECT_ROOT, "dist", "libvirt-"));
    this.boot = new GuestBoot({ script: guestScript(says), files: { "/lease.script": UDHCPC_SCRIPT } });
    const { args } = this.boot;
    for (const name of ["kernel", "initrd"])
      copyFileSync(args[args.indexOf(`-${name}`) + 1] ?? "", join(this.folder, name));
  }

  /** Runs a script of test/support in the tree, with the folder. */
  run(script: string): Running {
    const enter = [join(SCRIPTS, "drop-in", "enter.sh"), TREE, PROJECT_ROOT];
    return run("bash", [...enter, "bash", join(SCRIPTS, script), this.folder]);
  }

  remove(): void {
    this.boot.remove();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
