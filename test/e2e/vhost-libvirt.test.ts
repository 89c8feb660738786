/**
 * docs/vhost-user.md's lines for libvirt, as they stand there, in a domain that libvirt of Debian unstable starts (SLUICE_TEST_TREE,
 * made by test/support/drop-in/make-tree.sh).
 */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
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
if (lacks.length > 0)
  process.stderr.write(`SKIPPED vhost-user under libvirt: needs ${lacks.join(" and ")}\n`);

const GUEST = `export LEASE=/tmp/lease
udhcpc -i eth0 -s /lease.script ${UDHCPC_ARGUMENTS.join(" ")} > /dev/null 2>&1
echo "lease: $(ip -4 -o address show eth0 | sed 's/.*inet //; s/ .*//')"
mkdir /www; echo from-the-guest > /www/index.html
httpd -p 8080 -h /www
httpd -p 8081 -h /www
echo "egress: $(nc 198.51.100.7 7777 < /dev/null)"
echo guest-ready
while true; do sleep 1000; done
`;

/** A machine with what the page says of its memory and its card. */
function domain(folder: string): string {
  const page = readFileSync(join(PROJECT_ROOT, "docs/vhost-user.md"), "utf8");
  const [, lines = ""] = /```xml\n([\s\S]*?)```/.exec(page) ?? [];
  const [memory = "", card = ""] = lines.split("<devices>");
  return `<domain type="qemu"><name>web</name><memory unit="MiB">192</memory>${memory}<vcpu>1</vcpu>
<os><type arch="x86_64" machine="q35">hvm</type><kernel>${folder}/kernel</kernel><initrd>${folder}/initrd</initrd>
<cmdline>console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on</cmdline></os><features><acpi/></features>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<serial type="file"><source path="${folder}/console"/></serial><memballoon model="none"/>${card}</domain>
`;
}

describe.skipIf(lacks.length > 0)("a guest of libvirt's with the page's card", () => {
  it("has a lease and a way out; a declared port is reached, another refused", async (context) => {
    needsGuest(context);
    mkdirSync(join(PROJECT_ROOT, "dist"), { recursive: true });
    const folder = mkdtempSync(join(PROJECT_ROOT, "dist", "libvirt-"));
    const boot = new GuestBoot({ script: GUEST, files: { "/lease.script": UDHCPC_SCRIPT } });
    try {
      const file = (option: string): string => boot.args[boot.args.indexOf(option) + 1] ?? "";
      copyFileSync(file("-kernel"), join(folder, "kernel"));
      copyFileSync(file("-initrd"), join(folder, "initrd"));
      writeFileSync(join(folder, "domain.xml"), domain(folder));
      const scripts = join(PROJECT_ROOT, "test", "support");
      const rig = ["bash", join(scripts, "vhost-libvirt.sh"), folder];
      const { stdout, stderr } = await run("bash", [
        join(scripts, "drop-in", "enter.sh"),
        TREE,
        PROJECT_ROOT,
        ...rig,
      ]).ended;
      expect(stdout.trim().split("\n"), stderr).toEqual([
        "valid: yes",
        "state: running",
        "lease: 10.0.2.15/24",
        "egress: from-outside",
        "declared: from-the-guest",
        "undeclared: refused",
        "status: 0",
      ]);
    } finally {
      boot.remove();
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
