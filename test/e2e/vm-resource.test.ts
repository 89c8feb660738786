/** Networks of a device plugin, whose interface comes late and down, with a real guest. */
import { execFileSync } from "node:child_process";
import { afterEach, describe, expect, it } from "vitest";
import { PodRig } from "../kubevirt/pod-rig.ts";
import { newForm, wrappedFragment } from "../kubevirt/samples.ts";
import { echoProgram, FAR_HOST, FAR_PORT, GUEST_NEEDS, startCluster, VmGuest } from "../kubevirt/vm-guest.ts";
import { needsGuest } from "../support/qemu-guest.ts";
import { needs } from "../support/requirements.ts";

let rig: PodRig;
let guest: VmGuest | undefined;
let late: NodeJS.Timeout | undefined;

afterEach(async () => {
  clearTimeout(late);
  await guest?.kill();
  guest = undefined;
  await rig?.remove();
});

const POD_SIDE_MAC = "0a:58:c0:a8:32:02";
const VARIABLE = "NETWORK_INTERFACE_RESOURCES_Q7ZK01BX";

function announcement(resource: string): string {
  const interfaces = ["eth-red01", "eth-red02"].map((name) => ({ name, protocol: "Ethernet" }));
  return JSON.stringify({ name: resource, interfaces });
}

/**
 * Does what the bridge device plugin does: the variable is there from the start; a veth, one end on the network's
 * bridge, is made outside and its other end moved into the pod, down, some time later.
 */
function pluginStandIn(delayMs: number): void {
  late = setTimeout(() => {
    rig.inCluster("link", "add", "red", "type", "bridge", "forward_delay", "0");
    rig.inCluster("link", "set", "red", "up");
    rig.inCluster("address", "add", "192.168.50.1/24", "dev", "red");
    const veth = ["type", "veth", "peer", "name", "eth-red01", "address", POD_SIDE_MAC];
    rig.inCluster("link", "add", "host-red01", ...veth);
    rig.inCluster("link", "set", "host-red01", "master", "red", "up");
    rig.inCluster("link", "set", "eth-red01", "netns", rig.pod);
  }, delayMs);
}

describe("a resource network", () => {
  it("S34 S36 S40 S41 D14 the page's sample: a veth that comes 3 s late and down, bridged as it is", async (context) => {
    needs(context, GUEST_NEEDS);
    needsGuest(context, "virtio");
    rig = new PodRig();
    guest = new VmGuest(rig, wrappedFragment(), {
      env: { [VARIABLE]: announcement("bridge.network.kubevirt.io/red") },
    });
    pluginStandIn(3000);
    await guest.ready();
    expect(guest.errors).toContain("waiting up to 60 s for eth-red01");

    // The guest is found by the MAC of the pod's side, which the pod's side keeps.
    expect((await guest.shell("cat /sys/class/net/eth0/address")).trim()).toBe(POD_SIDE_MAC);
    expect(rig.inPod("link", "show", "eth-red01")).toContain(POD_SIDE_MAC);
    await guest.shell("ip addr add 192.168.50.2/24 dev eth0");
    await guest.shell("ping -c 1 -W 5 192.168.50.1");
    rig.run(rig.cluster, "busybox", "ping", "-c", "1", "-W", "5", "192.168.50.2");

    // S17: whatever Ethernet carries.
    await guest.shell("/guest-echo serve eth0 & sleep 1");
    expect(
      execFileSync("ip", ["netns", "exec", rig.cluster, echoProgram(rig), "ask", "red"], {
        encoding: "utf8",
      }),
    ).toBe("any-ethertype\n");

    // Nobody here serves DHCP; the pod's own network is not touched.
    expect((await guest.attempt("udhcpc -i eth0 -n -q -t 2 -T 1 -s /bin/true")).status).not.toBe(0);
    expect(rig.inPod("-4", "address", "show", "dev", "eth0")).toContain("10.244.1.5/24");

    expect(await guest.powerOff()).toBe(0);
    expect(rig.inPod("-brief", "link", "show", "eth-red01")).toContain("DOWN");
  });

  it("S7 two NICs in one VM: slirp on the pod network, a resource beside it", async (context) => {
    needs(context, GUEST_NEEDS);
    needsGuest(context, "virtio");
    rig = new PodRig();
    await startCluster(rig);
    const spec = newForm(
      '[{name: red, slirp: {}, ports: [{port: 80}]}, {name: blue, macAddress: "02:00:00:00:00:b1", bridge: {}}]',
      "[{name: red, pod: {}}, {name: blue, resource: {resourceName: example.org/blue}}]",
    );
    guest = new VmGuest(rig, spec, { env: { [VARIABLE]: announcement("example.org/blue") } });
    pluginStandIn(0);
    await guest.ready();
    const cards = (await guest.shell("cat /sys/class/net/eth0/address /sys/class/net/eth1/address"))
      .trim()
      .split("\n");
    expect(cards).toHaveLength(2);
    const blue = cards.indexOf("02:00:00:00:00:b1");
    const nic = `eth${1 - blue}`;
    await guest.lease(nic);
    await guest.shell(`ip addr add 192.168.50.2/24 dev eth${blue}`);
    expect(await guest.shell(`nc ${FAR_HOST} ${FAR_PORT}`)).toContain("10.244.1.5");
    await guest.shell("ping -c 1 -W 5 192.168.50.1");
    rig.run(rig.cluster, "busybox", "ping", "-c", "1", "-W", "5", "192.168.50.2");
    expect(await guest.powerOff()).toBe(0);
  });
});
