/**
 * A kernel's TCP and ours through tc-netem(8), in a guest under QEMU because not every host's kernel has netem: what is
 * lost, repeated, overtaken and delayed still arrives whole, both ways. Rates are printed, not asserted on.
 *
 * SLUICE_NETEM_OCTETS sets the size of each transfer; with SLUICE_NETEM_KERNEL=1 the guest's kernel is measured talking to
 * itself through the same netem as well, on two ends of a veth pair.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { Agent } from "../support/agent.ts";
import { borrowedPrograms } from "../support/borrowed-programs.ts";
import { type Running, sluice } from "../support/program.ts";
import { bootGuest, needsGuest, type QemuGuest, shellScript } from "../support/qemu-guest.ts";
import { needs } from "../support/requirements.ts";

const OCTETS = Number(process.env["SLUICE_NETEM_OCTETS"] ?? 3_000_000);
const KERNEL_TOO = process.env["SLUICE_NETEM_KERNEL"] === "1";
const TRANSFER_LIMIT_MS = 1_200_000;
const PROGRAMS = ["ip", "tc", "ethtool"];
/** Frames that netem holds: more than are ever under way, so that only what is asked for is lost. */
const LIMIT = "limit 20000";

/** `share` of the octets is sent where the link makes that slow. */
const LINKS: readonly { readonly name: string; readonly netem: string; readonly share?: number }[] = [
  { name: "nothing wrong", netem: "" },
  { name: "0.1 % lost", netem: "loss 0.1%" },
  { name: "1 % lost", netem: "loss 1%" },
  { name: "10 % lost", netem: "loss 10%", share: 0.1 },
  { name: "5 % overtaking by 2 ms", netem: "delay 2ms reorder 5%" },
  { name: "5 % repeated", netem: "duplicate 5%" },
  { name: "10 ms each way", netem: "delay 10ms" },
  { name: "10 ms each way, 1 % lost", netem: "delay 10ms loss 1%", share: 0.3 },
];

/**
 * `impair NETEM` sets both directions of the card and of the veth pair. Segments are made and taken one by one, so that
 * it is frames that are lost.
 */
const SCRIPT = `/borrowed/ip address add 10.0.2.15/24 dev eth0
/borrowed/ip link set eth0 up
/borrowed/ip route add default via 10.0.2.2
echo reno > /proc/sys/net/ipv4/tcp_congestion_control
/borrowed/ip link set ifb0 up
unshare -n sleep 1000000 &
FAR=$!
sleep 1
/borrowed/ip link add near type veth peer name far netns $FAR
far() { nsenter -t $FAR -n "$@"; }
/borrowed/ip address add 192.0.2.1/24 dev near
/borrowed/ip link set near up
far /borrowed/ip address add 192.0.2.2/24 dev far
far /borrowed/ip link set far up
far sh -c "echo reno > /proc/sys/net/ipv4/tcp_congestion_control"
/borrowed/ethtool -K eth0 gso off gro off
/borrowed/ethtool -K near tso off gso off gro off
far /borrowed/ethtool -K far tso off gso off gro off
/borrowed/tc qdisc add dev eth0 ingress
/borrowed/tc filter add dev eth0 ingress matchall action mirred egress redirect dev ifb0
impair() {
  /borrowed/tc qdisc replace dev eth0 root netem "$@"
  /borrowed/tc qdisc replace dev ifb0 root netem "$@"
  /borrowed/tc qdisc replace dev near root netem "$@"
  far /borrowed/tc qdisc replace dev far root netem "$@"
}
# octets COUNT: so many, the same each time
octets() { while cat /tmp/block; do :; done 2> /dev/null | head -c $1; }
head -c 1000000 /dev/urandom > /tmp/block
# An input that never ends: a netcat leaves as soon as the other side has closed its direction.
mkfifo /tmp/endless
exec 9<> /tmp/endless`;

const directory = mkdtempSync(join(tmpdir(), "sluice-test-netem-"));
let host: Agent | undefined;
let engine: Running | undefined;
let guest: QemuGuest | undefined;

interface Rig {
  readonly host: Agent;
  readonly guest: QemuGuest;
}

/** The guest, booted for the first test that can have one. */
async function rig(context: Parameters<typeof needs>[0]): Promise<Rig> {
  needs(context, { commands: PROGRAMS });
  needsGuest(context, "netem");
  if (host !== undefined && guest !== undefined) return { host, guest };
  const path = join(directory, "netem.sock");
  engine = sluice(["run", "--qemu-listen", `unix:${path}`, "--allow-host-loopback"]);
  await engine.says(/ready/);
  host = new Agent();
  const netdev = `stream,id=n0,server=off,addr.type=unix,addr.path=${path}`;
  guest = bootGuest({
    kernel: "netem",
    netdev: ["-netdev", netdev, "-device", "virtio-net-pci,netdev=n0"],
    script: shellScript(SCRIPT),
    files: borrowedPrograms(PROGRAMS),
  });
  await guest.waitFor(/^guest-ready\n/m);
  return { host, guest };
}

afterAll(async () => {
  await guest?.kill();
  await host?.close();
  engine?.child.kill("SIGTERM");
  await engine?.ended;
  rmSync(directory, { recursive: true, force: true });
});

/** Has the guest run a line; gives its output and the seconds it took. */
async function timed(guest: QemuGuest, line: string): Promise<[string, number]> {
  const begun = performance.now();
  const text = await guest.run(line, TRANSFER_LIMIT_MS);
  return [text.trim(), (performance.now() - begun) / 1000];
}

const digestOf = async (guest: QemuGuest, octets: number): Promise<string> =>
  (await guest.run(`octets ${octets} | sha256sum`)).slice(0, 64);

function tell(name: string, between: string, octets: number, up: number, down: number): void {
  const rates = [up, down].map((seconds) => (octets / seconds / 1e6).toFixed(2));
  process.stderr.write(`  ${name}: ${between} ${rates[0]} MB/s up, ${rates[1]} MB/s down\n`);
}

describe.for(LINKS)("with $name", ({ name, netem, share = 1 }) => {
  const octets = Math.round(OCTETS * share);

  it("transfers through the engine arrive whole", { timeout: 2 * TRANSFER_LIMIT_MS }, async (context) => {
    const { host, guest } = await rig(context);
    await guest.run(`impair ${LIMIT} ${netem}`);
    const sink = await host.do<number>("tcpServer", { kind: "sink" });
    const [answer, up] = await timed(guest, `octets ${octets} | nc 10.0.2.2 ${sink}; echo`);
    expect(JSON.parse(answer)).toEqual({ octets, sha256: await digestOf(guest, octets) });
    const source = await host.do<number>("tcpServer", { kind: "source", octets, seed: 5 });
    const [digest, down] = await timed(guest, `nc 10.0.2.2 ${source} < /dev/null | sha256sum`);
    expect(digest.slice(0, 64)).toBe(await host.do("digest", { octets, seed: 5 }));
    tell(name, "guest and engine", octets, up, down);
  });
});

describe.for(KERNEL_TOO ? LINKS : [])("with $name", ({ name, netem, share = 1 }) => {
  const octets = Math.round(OCTETS * share);

  it("transfers between two kernels arrive whole", { timeout: 2 * TRANSFER_LIMIT_MS }, async (context) => {
    const { guest } = await rig(context);
    await guest.run(`impair ${LIMIT} ${netem}`);
    await guest.run("far nc -l -p 7000 <&9 | sha256sum > /tmp/arrived & sleep 1");
    const [, up] = await timed(
      guest,
      `octets ${octets} | nc 192.0.2.2 7000; while [ ! -s /tmp/arrived ]; do usleep 10000; done`,
    );
    expect((await guest.run("cat /tmp/arrived; rm /tmp/arrived")).slice(0, 64)).toBe(
      await digestOf(guest, octets),
    );
    await guest.run(`octets ${octets} | far nc -l -p 7001 & sleep 1`);
    const [digest, down] = await timed(guest, "nc 192.0.2.2 7001 <&9 | sha256sum");
    expect(digest.slice(0, 64)).toBe(await digestOf(guest, octets));
    tell(name, "two kernels", octets, up, down);
  });
});
