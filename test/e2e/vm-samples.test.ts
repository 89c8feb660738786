/** `sluice vm run` with each sample of the pages, verbatim, and a real guest behind it. */
import { afterEach, describe, expect, it } from "vitest";
import { CALICO, PLAIN, type PodLayout, PodRig } from "../kubevirt/pod-rig.ts";
import { newForm, oldForm, sample } from "../kubevirt/samples.ts";
import {
  datagramFromCluster,
  FAR_HOST,
  FAR_PORT,
  fetchFromCluster,
  GUEST_NEEDS,
  startCluster,
  VmGuest,
} from "../kubevirt/vm-guest.ts";
import type { GuestKernel } from "../support/guest-kernel.ts";
import { needsGuest } from "../support/qemu-guest.ts";
import { needs } from "../support/requirements.ts";
import { WITHOUT_VECTORS } from "../support/vhost-guest.ts";

let rig: PodRig;
let guest: VmGuest | undefined;

afterEach(async () => {
  await guest?.kill();
  guest = undefined;
  await rig?.remove();
});

async function boot(spec: string, kernel: GuestKernel, layout: PodLayout = PLAIN): Promise<VmGuest> {
  rig = new PodRig(layout);
  await startCluster(rig);
  guest = new VmGuest(rig, spec, { kernel });
  await guest.ready();
  return guest;
}

type Context = Parameters<typeof needs>[0];

function needsVm(context: Context, kernel: GuestKernel): void {
  needs(context, GUEST_NEEDS);
  needsGuest(context, kernel);
}

const POD_MAC = /link\/ether ([0-9a-f:]{17})/;

describe("bridge on the pod network", () => {
  it.for([
    ["S18 S10 S14 a1: e1000 with a declared MAC", sample("a1-pod-bridge"), "e1000", "de:ad:00:00:be:af"],
    ["D4 a3: e1000 with a port that changes nothing", sample("a3-ports"), "e1000", undefined],
    ["S19 a5: virtio, the pod's own MAC", sample("a5-bridge"), "virtio", undefined],
    ["D1 b1: the older form with delegateIp", sample("b1-delegate-ip"), "virtio", undefined],
    ["S15 neither interfaces nor networks", "kind: VM\nspec: {}\n", "virtio", undefined],
  ] as const)("%s", async ([, spec, kernel, declared], context) => {
    needsVm(context, kernel);
    rig = new PodRig();
    const podMac = POD_MAC.exec(rig.inPod("link", "show", "eth0"))?.[1];
    await rig.remove();
    const vm = await boot(spec, kernel);
    const ownMac = POD_MAC.exec(rig.inPod("link", "show", "eth0"))?.[1];
    await vm.lease();

    // The guest is the pod now: its address, its MAC (unless one was declared), its way out.
    expect(await vm.shell("ip -4 addr show dev eth0")).toContain("inet 10.244.1.5/24");
    const guestMac = (await vm.shell("cat /sys/class/net/eth0/address")).trim();
    if (declared !== undefined) expect(guestMac).toBe(declared);
    expect(guestMac).not.toBe(ownMac);
    expect(podMac).toBeDefined();
    expect(await vm.shell("ip route")).toContain("default via 10.244.1.1 dev eth0");
    expect(await vm.shell("cat /tmp/lease.resolv")).toBe(
      "search ns1.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\n",
    );
    await vm.shell("cp /tmp/lease.resolv /etc/resolv.conf");
    expect(await vm.shell("nslookup web.ns1.svc.cluster.local")).toContain(FAR_HOST);
    expect((await vm.shell("cat /tmp/lease.seconds")).trim()).toBe("86313600");

    // The pod's interface has none.
    expect(rig.inPod("-4", "address", "show", "dev", "eth0")).toBe("");
    expect(vm.errors).toContain("left without an IPv4 address");

    // Both ways, every protocol, every port: it is Ethernet.
    expect(await vm.shell(`nc ${FAR_HOST} ${FAR_PORT}`)).toContain("10.244.1.5");
    expect(fetchFromCluster(rig, "10.244.1.5")).toBe("from-the-guest\n");
    expect(fetchFromCluster(rig, "10.244.1.5", 81)).toBe("from-the-guest\n");
    expect(datagramFromCluster(rig, "10.244.1.5", 5353, "hello")).toBe("hello");
    await vm.shell("ping -c 1 -W 5 10.244.1.1");

    expect(await vm.powerOff()).toBe(0);
    expect(rig.inPod("-4", "address", "show", "dev", "eth0")).toContain("inet 10.244.1.5/24");
    expect(rig.inPod("route")).toContain("default via 10.244.1.1");
    expect(rig.inPod("-brief", "link")).not.toMatch(/^(br|tp)/m);
  });

  it("S18 S20 a5 on Calico with an MTU of 1450: the guest's own routes and MTU", async (context) => {
    needsVm(context, "virtio");
    const vm = await boot(sample("a5-bridge"), "virtio", { ...CALICO, mtu: 1450 });
    await vm.lease();
    expect(await vm.shell("ip -4 addr show dev eth0")).toContain("inet 10.244.7.9/32");
    expect((await vm.shell("cat /sys/class/net/eth0/mtu")).trim()).toBe("1450");
    const routes = (await vm.shell("ip route"))
      .trim()
      .split("\n")
      .map((line) => line.trim());
    expect(routes).toEqual(["default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link"]);
    expect(await vm.shell(`nc ${FAR_HOST} ${FAR_PORT}`)).toContain("10.244.7.9");
    expect(fetchFromCluster(rig, "10.244.7.9")).toBe("from-the-guest\n");
    expect(await vm.powerOff()).toBe(0);
  });

  it("D13 plain Ethernet: pod and guest live side by side", async (context) => {
    needsVm(context, "virtio");
    const vm = await boot(oldForm("[{name: red, bridge: {}}]"), "virtio");
    await vm.shell("ip addr add 10.244.1.77/24 dev eth0 && ip route add default via 10.244.1.1");
    expect(await vm.shell(`nc ${FAR_HOST} ${FAR_PORT}`)).toContain("10.244.1.77");
    expect(fetchFromCluster(rig, "10.244.1.77")).toBe("from-the-guest\n");
    // The pod kept its address, on the bridge, and reaches the world.
    expect(rig.run(rig.pod, "busybox", "nc", FAR_HOST, String(FAR_PORT))).toContain("10.244.1.5");
    expect(rig.inPod("-4", "address", "show", "dev", "eth0")).toBe("");
    // Nobody serves DHCP.
    expect((await vm.attempt("udhcpc -i eth0 -n -q -t 2 -T 1 -s /bin/true")).status).not.toBe(0);
    expect(await vm.powerOff()).toBe(0);
    expect(rig.run(rig.pod, "busybox", "nc", FAR_HOST, String(FAR_PORT))).toContain("10.244.1.5");
  });
});

const SLIRP_E1000 = newForm(
  "[{name: red, model: e1000, macAddress: DE-AD-00-00-BE-AF, slirp: {}, ports: [{name: http, port: 80}, {port: 5353, protocol: UDP}]}]",
);

describe("slirp on the pod network", () => {
  it("S13 S14 S28 S29 S31 e1000 with a declared MAC and two ports", async (context) => {
    needsVm(context, "e1000");
    const vm = await boot(SLIRP_E1000, "e1000");
    await vm.lease();
    expect(await vm.shell("ip -4 addr show dev eth0")).toContain("inet 10.0.2.15/24");
    expect((await vm.shell("cat /sys/class/net/eth0/address")).trim()).toBe("de:ad:00:00:be:af");
    expect(await vm.shell("ip route")).toContain("default via 10.0.2.2 dev eth0");
    expect(await vm.shell("cat /tmp/lease.resolv")).toBe(
      "search ns1.svc.cluster.local svc.cluster.local\nnameserver 10.0.2.3\n",
    );

    // The pod keeps its address, and the guest's traffic comes from it.
    expect(rig.inPod("-4", "address", "show", "dev", "eth0")).toContain("inet 10.244.1.5/24");
    expect(await vm.shell(`nc ${FAR_HOST} ${FAR_PORT}`)).toContain("10.244.1.5");

    // Names are looked up where the pod looks them up.
    await vm.shell("cp /tmp/lease.resolv /etc/resolv.conf");
    expect(await vm.shell("nslookup web.ns1.svc.cluster.local")).toContain(FAR_HOST);

    // Only what was declared comes in.
    expect(fetchFromCluster(rig, "10.244.1.5")).toBe("from-the-guest\n");
    expect(fetchFromCluster(rig, "10.244.1.5", 81)).toBe("ECONNREFUSED");
    expect(datagramFromCluster(rig, "10.244.1.5", 5353, "hello")).toBe("hello");

    // No ICMP, and nothing worse for it.
    expect((await vm.attempt(`ping -c 2 -W 2 ${FAR_HOST}`)).status).not.toBe(0);
    expect(fetchFromCluster(rig, "10.244.1.5")).toBe("from-the-guest\n");
    expect(await vm.powerOff()).toBe(0);
    expect(fetchFromCluster(rig, "10.244.1.5")).toBe("ECONNREFUSED");
  });

  it("S12 S13 D10 a6: virtio without ports: out it goes, in comes nothing", async (context) => {
    needsVm(context, "virtio");
    const vm = await boot(sample("a6-slirp"), "virtio");
    await vm.lease();
    expect(await vm.shell("ip -4 addr show dev eth0")).toContain("inet 10.0.2.15/24");
    expect(await vm.shell(`nc ${FAR_HOST} ${FAR_PORT}`)).toContain("10.244.1.5");
    expect(fetchFromCluster(rig, "10.244.1.5")).toBe("ECONNREFUSED");
    expect(datagramFromCluster(rig, "10.244.1.5", 5353, "hello")).toBe("silence");
    expect(await vm.powerOff()).toBe(0);
  });
});

describe("slirp in shared memory", () => {
  it("gives a virtio card to the engine by vhost-user, and takes its ports", async (context) => {
    needsVm(context, "virtio");
    rig = new PodRig();
    await startCluster(rig);
    const spec = newForm("[{name: red, slirp: {}, ports: [{port: 80}]}]");
    guest = new VmGuest(rig, spec, { more: ["--vhost-user"], qemu: WITHOUT_VECTORS });
    await guest.ready();
    await guest.lease();
    expect(await guest.shell(`nc ${FAR_HOST} ${FAR_PORT}`)).toContain("10.244.1.5");
    expect(fetchFromCluster(rig, "10.244.1.5")).toBe("from-the-guest\n");
    expect(fetchFromCluster(rig, "10.244.1.5", 81)).toBe("ECONNREFUSED");
    expect(await guest.powerOff()).toBe(0);
    expect(fetchFromCluster(rig, "10.244.1.5")).toBe("ECONNREFUSED");
  });
});

describe("no network", () => {
  it("S16 a4: autoattachPodInterface: false leaves the guest with lo alone", async (context) => {
    needsVm(context, "virtio");
    const vm = await boot(sample("a4-no-network"), "virtio");
    expect((await vm.shell("ls /sys/class/net")).trim()).toBe("lo");
    expect(await vm.powerOff()).toBe(0);
  });
});
