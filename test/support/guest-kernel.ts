/**
 * A Linux kernel and a first file system for guests that QEMU boots. The kernel is the one installed here when there is
 * one with modules, else Debian's, unpacked (not installed) from a package that apt-get downloads. What a boot needs is
 * kept in a directory of this user's under /var/tmp, so that it is made once.
 */
import { type ExecFileSyncOptionsWithStringEncoding, execFileSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { cpioArchive } from "./cpio.ts";
import { keptDirectory } from "./kept-directory.ts";
import { findCommand } from "./requirements.ts";

/**
 * `virtio` is the small cloud kernel, which boots faster; `e1000` the whole one, which has that driver too; `netem` the
 * small one with what impairs a link, both ways (tc-netem(8)); `uml` is User-Mode Linux, a kernel that is a program
 * (Debian's user-mode-linux).
 */
export type GuestKernel = "virtio" | "e1000" | "netem" | "uml";

export interface BootFiles {
  readonly kernel: string;
  /** busybox, the network driver and /init; a boot's own script comes in an archive after it. */
  readonly initrd: string;
}

const PACKAGES: Readonly<Record<Exclude<GuestKernel, "uml">, string>> = {
  virtio: "linux-image-cloud-amd64",
  e1000: "linux-image-amd64",
  netem: "linux-image-cloud-amd64",
};

/** The drivers of the card; what they depend on is loaded first. */
const DRIVERS: Readonly<Record<GuestKernel, readonly string[]>> = {
  virtio: ["virtio_pci", "virtio_net"],
  e1000: ["virtio_pci", "virtio_net", "e1000"],
  uml: ["virtio_net"],
  netem: [
    "virtio_pci",
    "virtio_net",
    "veth",
    "ifb",
    "sch_ingress",
    "cls_matchall",
    "act_mirred",
    "sch_netem",
  ],
};

/**
 * Runs /script. `guest-*` lines on the console are for the test: `guest-exit STATUS` when the script ended, whatever
 * else it prints before.
 */
const INIT = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /etc /usr/share /sbin /usr/bin /usr/sbin
/bin/busybox --install -s
export PATH=/sbin:/usr/sbin:/bin:/usr/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
for module in $(cat /modules/order); do insmod /modules/$module.ko; done
ip link set lo up
stty -F /dev/console -echo -onlcr
sh /script
echo "guest-exit $?"
sync
poweroff -f
`;

/** What udhcpc calls: sets what the lease says, prints it as lines `lease-NAME=VALUE`. */
const UDHCPC_SCRIPT = `#!/bin/sh
case "$1" in
  deconfig) ip addr flush dev $interface; ip link set $interface up;;
  bound|renew)
    ip addr add $ip/$mask dev $interface 2>/dev/null
    [ -n "$mtu" ] && ip link set $interface mtu $mtu
    [ -n "$router" ] && ip route replace default via $router dev $interface
    : > /etc/resolv.conf
    for server in $dns; do echo nameserver $server >> /etc/resolv.conf; done
    for name in ip mask router dns mtu lease serverid hostname domain search; do
      eval "value=\\$$name"
      [ -n "$value" ] && echo "lease-$name=$value"
    done;;
esac
exit 0
`;

function findFile(directory: string, name: RegExp): string | undefined {
  const found = readdirSync(directory, { recursive: true, encoding: "utf8" }).find((path) =>
    name.test(basename(path)),
  );
  return found === undefined ? undefined : join(directory, found);
}

interface KernelFiles {
  readonly image: string;
  readonly modules: string;
}

/** A kernel below `root` that has the last, decisive module. */
function kernelBelow(root: string, kind: GuestKernel): KernelFiles | undefined {
  const boot = join(root, "boot");
  const library = join(root, "lib", "modules");
  if (!existsSync(boot) || !existsSync(library)) return undefined;
  const wanted = new RegExp(`^${DRIVERS[kind].at(-1)}\\.ko$`);
  for (const release of readdirSync(library).sort().reverse()) {
    const image = join(boot, `vmlinuz-${release}`);
    const modules = join(library, release);
    if (existsSync(image) && findFile(modules, wanted) !== undefined) return { image, modules };
  }
  return undefined;
}

/** User-Mode Linux as it is installed. Throws when it is not. */
function userModeLinux(): KernelFiles {
  const image = findCommand("linux.uml");
  const library = "/usr/lib/uml/modules";
  const release = existsSync(library) ? readdirSync(library).sort().at(-1) : undefined;
  if (image === undefined || release === undefined) throw new Error("user-mode-linux is not installed");
  return { image, modules: join(library, release) };
}

/** Downloads and unpacks Debian's kernel below `directory`. Throws with apt-get's words when it cannot. */
function downloadKernel(kind: Exclude<GuestKernel, "uml">, directory: string): KernelFiles {
  const options: ExecFileSyncOptionsWithStringEncoding = {
    cwd: directory,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  };
  const depends = execFileSync("apt-cache", ["depends", PACKAGES[kind]], options);
  const name = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  if (name === undefined) throw new Error(`apt knows no kernel as ${PACKAGES[kind]}`);
  execFileSync("apt-get", ["-o", "Acquire::Retries=3", "download", name], options);
  const file = readdirSync(directory).find((entry) => entry.endsWith(".deb"))!;
  execFileSync("dpkg-deb", ["-x", file, "root"], options);
  const found = kernelBelow(join(directory, "root"), kind);
  if (found === undefined) throw new Error(`${name} has no module ${DRIVERS[kind].at(-1)}`);
  return found;
}

/** A driver's modules in the order in which they load, by what each says it depends on (modinfo). */
function modulesOf(kind: GuestKernel, library: string): Map<string, Buffer> {
  const loaded = new Map<string, Buffer>();
  const add = (name: string): void => {
    const path = findFile(library, new RegExp(`^${name.replaceAll(/[-_]/g, "[-_]")}\\.ko$`));
    if (path === undefined || loaded.has(name)) return;
    const content = readFileSync(path);
    const depends = /\0depends=([^\0]*)\0/.exec(content.toString("latin1"))?.[1] ?? "";
    for (const other of depends.split(",").filter(Boolean)) add(other);
    loaded.set(name, content);
  };
  for (const driver of DRIVERS[kind]) add(driver);
  return loaded;
}

function baseArchive(kind: GuestKernel, library: string): Buffer {
  const modules = modulesOf(kind, library);
  const directory = (name: string) => ({ name, mode: 0o040755 });
  const text = (name: string, content: string) => ({ name, mode: 0o100755, content: Buffer.from(content) });
  return cpioArchive([
    ...["bin", "modules", "etc", "etc/udhcpc"].map(directory),
    { name: "bin/busybox", mode: 0o100755, content: readFileSync(findCommand("busybox")!) },
    ...[...modules].map(([name, content]) => ({ name: `modules/${name}.ko`, mode: 0o100644, content })),
    text("modules/order", [...modules.keys()].map((name) => `${name}\n`).join("")),
    text("init", INIT),
    text("etc/udhcpc/default.script", UDHCPC_SCRIPT),
  ]);
}

/** Files for a boot; made when they are not there yet. Throws when no kernel can be had. */
export function bootFiles(kind: GuestKernel): BootFiles {
  const cache = keptDirectory("guest-kernels");
  const ready = join(cache, kind);
  const files = { kernel: join(ready, "vmlinuz"), initrd: join(ready, "initrd") };
  const busybox = findCommand("busybox")!;
  const stamp = `${statSync(busybox).mtimeMs} ${DRIVERS[kind]} ${INIT}${UDHCPC_SCRIPT}`;
  const stampFile = join(ready, "stamp");
  if (existsSync(stampFile) && readFileSync(stampFile, "utf8") === stamp) return files;
  const work = mkdtempSync(join(cache, "making-"));
  try {
    const kernel = kind === "uml" ? userModeLinux() : (kernelBelow("/", kind) ?? downloadKernel(kind, work));
    const made = join(work, "ready");
    mkdirSync(made);
    copyFileSync(kernel.image, join(made, "vmlinuz"));
    writeFileSync(join(made, "initrd"), baseArchive(kind, kernel.modules));
    writeFileSync(join(made, "stamp"), stamp);
    rmSync(ready, { recursive: true, force: true });
    renameSync(made, ready);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return files;
}
