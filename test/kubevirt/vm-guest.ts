/** A QEMU guest started by `sluice vm run` inside a pod, driven over its console; and the cluster's services. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { GuestKernel } from "../support/guest-kernel.ts";
import { PROGRAM } from "../support/program.ts";
import { bootGuest, type QemuGuest } from "../support/qemu-guest.ts";
import type { PodRig } from "./pod-rig.ts";

/**
 * udhcpc's own default script ignores option 121; this one does as RFC 3442 says: with it, option 3 does not count.
 */
export const UDHCPC_SCRIPT = `#!/bin/sh
case "$1" in
  deconfig) ip -4 addr flush dev $interface; ip link set $interface up;;
  bound|renew)
    ip addr add $ip/$mask dev $interface
    [ -n "$mtu" ] && ip link set $interface mtu $mtu
    if [ -n "$staticroutes" ]; then
      set -- $staticroutes
      while [ $# -ge 2 ]; do
        if [ $2 = 0.0.0.0 ]; then ip route add $1 dev $interface; else ip route add $1 via $2 dev $interface; fi
        shift 2
      done
    elif [ -n "$router" ]; then
      ip route add default via $router dev $interface
    fi
    [ -n "$hostname" ] && echo "$hostname" > "$LEASE.hostname"
    echo "$lease" > "$LEASE.seconds"
    echo "$serverid" > "$LEASE.server"
    echo "search $search" > "$LEASE.resolv"
    for server in $dns; do echo nameserver $server >> "$LEASE.resolv"; done;;
esac
exit 0
`;

/** Options a client has to ask for. */
export const UDHCPC_ARGUMENTS = [
  "-n",
  "-q",
  "-t",
  "10",
  "-T",
  "1",
  "-O",
  "search",
  "-O",
  "staticroutes",
  "-O",
  "mtu",
  "-O",
  "hostname",
];

/** Serves a page and echoes UDP, then does what the console says. */
const GUEST_SCRIPT = `export LEASE=/tmp/lease
mkdir -p /www
echo from-the-guest > /www/index.html
httpd -p 80 -h /www
httpd -p 81 -h /www
/guest-echo udp 5353 &
for nic in $(ls /sys/class/net | grep -v lo); do ip link set $nic up; done
echo guest-ready
while read -r line; do eval "$line"; done
`;

/** Compiles the echo servers into the rig's folder and returns the program's path. */
export function echoProgram(rig: PodRig): string {
  const source = fileURLToPath(new URL("./guest-echo.c", import.meta.url));
  const program = join(rig.folder, "guest-echo");
  if (!existsSync(program)) execFileSync("cc", ["-O1", "-static", "-o", program, source]);
  return program;
}

/** Programs that guests of this kind are made with. */
export const GUEST_NEEDS = {
  root: true,
  tun: true,
  commands: ["ip", "bridge", "nsenter", "busybox", "cc"],
} as const;

export class VmGuest {
  private count = 0;
  readonly specFile: string;
  private readonly guest: QemuGuest;

  constructor(
    rig: PodRig,
    spec: string,
    options: {
      readonly kernel?: GuestKernel;
      readonly env?: Readonly<Record<string, string>>;
      /** Options of `sluice vm run`. */
      readonly more?: readonly string[];
      /** Arguments of QEMU. */
      readonly qemu?: readonly string[];
    } = {},
  ) {
    this.specFile = join(rig.folder, "vm.yaml");
    writeFileSync(this.specFile, spec);
    const variables = Object.entries(options.env ?? {}).map(([name, value]) => `${name}=${value}`);
    const words = ["ip", "netns", "exec", rig.pod, "env", ...variables, process.execPath, PROGRAM];
    this.guest = bootGuest({
      netdev: options.qemu ?? [],
      script: GUEST_SCRIPT,
      kernel: options.kernel ?? "virtio",
      files: { "/lease.script": UDHCPC_SCRIPT, "/guest-echo": readFileSync(echoProgram(rig)) },
      command: [
        ...[...words, ...vmArguments(rig, "run"), ...(options.more ?? []), this.specFile],
        ...["--", "qemu-system-x86_64"],
      ],
    });
  }

  async ready(): Promise<void> {
    await this.guest.waitFor(/^guest-ready$/m);
  }

  /** Runs a shell command in the guest; returns what it printed. Throws when its status is not 0. */
  async shell(command: string): Promise<string> {
    const { output, status } = await this.attempt(command);
    if (status !== 0) throw new Error(`status ${status} of ${command}:\n${output}`);
    return output;
  }

  async attempt(command: string): Promise<{ readonly output: string; readonly status: number }> {
    const mark = `mark${this.count++}`;
    const from = this.guest.output.length;
    // The mark is put together in the guest, so that an echo of the command is not taken for its end.
    this.guest.send(`${command} 2>&1; echo "${mark}""-$?"\n`);
    const end = await this.guest.waitFor(new RegExp(`${mark}-(\\d+)\\n`));
    const text = this.guest.output.slice(from);
    return { output: text.slice(0, text.indexOf(`${mark}-`)), status: Number(end[1]) };
  }

  /** Takes a lease on a NIC. */
  async lease(nic = "eth0"): Promise<void> {
    await this.shell(`udhcpc -i ${nic} -s /lease.script ${UDHCPC_ARGUMENTS.join(" ")}`);
  }

  /** Powers the guest off; resolves with the status of `sluice vm run`. */
  async powerOff(): Promise<number> {
    this.guest.send("poweroff -f\n");
    return this.guest.exited;
  }

  /** What `sluice vm run` said. */
  get errors(): string {
    return this.guest.errors;
  }

  async kill(): Promise<void> {
    await this.guest.kill("SIGTERM");
  }

  get pid(): number {
    return this.guest.process.pid ?? -1;
  }
}

/** `sluice vm COMMAND` with the rig's folders. */
export function vmArguments(rig: PodRig, command: string): string[] {
  return ["vm", command, "--run-dir", join(rig.folder, "run"), "--resolv-conf", rig.resolvConf];
}

export const FAR_HOST = "198.51.100.7";
export const FAR_PORT = 7777;

/** The cluster's DNS server, the one of the rig's resolv.conf. */
const CLUSTER_DNS = "10.96.0.10";

/**
 * A TCP and a UDP server in the cluster that tell a client its address, and a DNS server that knows one address for
 * every name: the far host's.
 */
export async function startCluster(rig: PodRig): Promise<void> {
  rig.inCluster("address", "add", `${CLUSTER_DNS}/32`, "dev", "lo");
  const child = rig.spawn(
    rig.cluster,
    process.execPath,
    "-e",
    `const net = require("net"), dgram = require("dgram");
     const udp = dgram.createSocket("udp4");
     udp.on("message", (text, from) => udp.send(from.address, from.port, from.address));
     const dns = dgram.createSocket("udp4");
     dns.on("message", (query, from) => {
       const end = query.indexOf(0, 12) + 5;
       const isA = query.readUInt16BE(end - 4) === 1;
       const head = Buffer.from(query.subarray(0, 12));
       head.writeUInt16BE(0x8180, 2);
       head.writeUInt32BE(isA ? 0x00010001 : 0x00010000, 4);
       head.writeUInt32BE(0, 8);
       const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ${FAR_HOST.replaceAll(".", ", ")}]);
       dns.send(Buffer.concat([head, query.subarray(12, end), ...(isA ? [answer] : [])]), from.port, from.address);
     });
     dns.bind(53, "${CLUSTER_DNS}");
     udp.bind(${FAR_PORT}, "${FAR_HOST}", () =>
       net.createServer((socket) => { socket.on("error", () => {}); socket.end(socket.remoteAddress + "\\n"); })
         .listen(${FAR_PORT}, "${FAR_HOST}", () => console.log("listening")));`,
  );
  await new Promise<void>((resolve) => child.stdout?.once("data", () => resolve()));
}

/** What a page on the guest says to the cluster, or the errno there is instead. */
export function fetchFromCluster(rig: PodRig, address: string, port = 80): string {
  const script = `require("http").get("http://${address}:${port}/", { timeout: 5000 }, (answer) => answer.pipe(process.stdout))
    .on("timeout", function () { this.destroy(Object.assign(new Error(), { code: "ETIMEDOUT" })); })
    .on("error", (error) => process.stdout.write(error.code));`;
  return rig.run(rig.cluster, process.execPath, "-e", script);
}

/** Sends a datagram from the cluster and returns the answer, or "silence". */
export function datagramFromCluster(rig: PodRig, address: string, port: number, text: string): string {
  const script = `const socket = require("dgram").createSocket("udp4");
    socket.on("message", (answer) => { process.stdout.write(answer); process.exit(); });
    socket.on("error", () => {});
    const send = () => socket.send(${JSON.stringify(text)}, ${port}, "${address}");
    send(); setInterval(send, 300);
    setTimeout(() => { process.stdout.write("silence"); process.exit(); }, 3000);`;
  return rig.run(rig.cluster, process.execPath, "-e", script);
}
