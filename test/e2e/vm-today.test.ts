/** `sluice vm run` with manifests of today's: what they say reaches a real guest. */
import { afterEach, describe, expect, it } from "vitest";
import { PodRig } from "../kubevirt/pod-rig.ts";
import { today } from "../kubevirt/samples.ts";
import {
  FAR_HOST,
  FAR_PORT,
  fetchFromCluster,
  GUEST_NEEDS,
  startCluster,
  VmGuest,
} from "../kubevirt/vm-guest.ts";
import { needsGuest } from "../support/qemu-guest.ts";
import { needs } from "../support/requirements.ts";

let rig: PodRig;
let guest: VmGuest | undefined;

afterEach(async () => {
  await guest?.kill();
  guest = undefined;
  await rig?.remove();
});

async function boot(
  spec: string,
  prepare: () => void = () => {},
  more: readonly string[] = [],
): Promise<VmGuest> {
  rig = new PodRig();
  await startCluster(rig);
  prepare();
  guest = new VmGuest(rig, spec, { more });
  await guest.ready();
  return guest;
}

function needsVm(context: Parameters<typeof needs>[0]): void {
  needs(context, GUEST_NEEDS);
  needsGuest(context, "virtio");
}

const DHCP_OPTIONS =
  "dhcpOptions: {bootFileName: pxe.0, tftpServerName: tftp.lan, ntpServers: [10.7.7.7], privateOptions: [{option: 240, value: hello}]}";

/** Takes a lease and shows what the server said, as udhcpc hands it to its script. */
async function offered(vm: VmGuest): Promise<string> {
  await vm.shell(
    `printf '#!/bin/sh\\n[ "$1" = bound ] && env > /tmp/offer\\nexit 0\\n' > /show && chmod +x /show`,
  );
  await vm.shell(
    "udhcpc -i eth0 -n -q -t 10 -T 1 -s /show -O ntpsrv -O tftp -O bootfile -O search -O domain",
  );
  return vm.shell("cat /tmp/offer");
}

describe("masquerade", () => {
  it("K5 K7 K8 K9 K10 addresses, ports, the card's slot, DHCP options and names", async (context) => {
    needsVm(context);
    const vm = await boot(
      today(
        `[{name: red, masquerade: {}, pciAddress: "0000:00:0a.0", bootOrder: 1, portRanges: [{protocol: TCP, start: 80, end: 81}], ${DHCP_OPTIONS}}]`,
        "[{name: red, pod: {vmNetworkCIDR: 10.10.010.0/24}}]",
        { hostname: "web-1", subdomain: "web", dnsConfig: "{searches: [corp.example]}" },
      ),
    );
    const offer = await offered(vm);
    expect(offer).toContain("ip=10.10.10.2\n");
    expect(offer).toContain("router=10.10.10.1\n");
    expect(offer).toContain("dns=10.10.10.3\n");
    expect(offer).toContain("ntpsrv=10.7.7.7\n");
    expect(offer).toMatch(/(?:tftp|sname)='?tftp\.lan/);
    expect(offer).toMatch(/boot_?file='?pxe\.0/);
    expect(offer).toContain("opt240=68656c6c6f\n");
    expect(offer).toContain("hostname=web-1\n");
    expect(offer).toContain("domain=web.ns1.svc.cluster.local\n");
    expect(offer).toContain(
      "search=web.ns1.svc.cluster.local ns1.svc.cluster.local svc.cluster.local corp.example\n",
    );
    await vm.lease();
    expect(await vm.shell("readlink -f /sys/class/net/eth0/device")).toContain("0000:00:0a.0");
    expect(await vm.shell(`nc ${FAR_HOST} ${FAR_PORT}`)).toContain("10.244.1.5");
    await vm.shell("cp /tmp/lease.resolv /etc/resolv.conf");
    expect(await vm.shell("nslookup db.ns1.svc.cluster.local")).toContain(FAR_HOST);
    for (const port of [80, 81]) expect(fetchFromCluster(rig, "10.244.1.5", port)).toBe("from-the-guest\n");
    expect(fetchFromCluster(rig, "10.244.1.5", 82)).toBe("ECONNREFUSED");
    expect(vm.errors).toContain("masquerade is carried out as user-mode NAT");
    expect(await vm.powerOff()).toBe(0);
  });

  it("K8 a /30: the guest asks the pod's own name server", async (context) => {
    needsVm(context);
    const vm = await boot(
      today("[{name: red, masquerade: {}}]", "[{name: red, pod: {vmNetworkCIDR: 10.9.9.0/30}}]"),
    );
    await vm.lease();
    expect(await vm.shell("ip -4 addr show dev eth0")).toContain("inet 10.9.9.2/30");
    expect(await vm.shell("cat /tmp/lease.resolv")).toContain("nameserver 10.96.0.10\n");
    await vm.shell("cp /tmp/lease.resolv /etc/resolv.conf");
    expect(await vm.shell("nslookup db.ns1.svc.cluster.local")).toContain(FAR_HOST);
    expect(await vm.powerOff()).toBe(0);
  });
});

describe("bridge", () => {
  it("K9 K10 the DHCP server on the bridge gives the spec's options, name servers and names", async (context) => {
    needsVm(context);
    const dns = {
      dnsPolicy: "None",
      dnsConfig: "{nameservers: [10.96.0.10], searches: [a.example]}",
      hostname: "h-1",
    };
    const vm = await boot(today(`[{name: red, bridge: {}, ${DHCP_OPTIONS}}]`, undefined, dns));
    const offer = await offered(vm);
    expect(offer).toContain("ip=10.244.1.5\n");
    expect(offer).toContain("ntpsrv=10.7.7.7\n");
    expect(offer).toContain("opt240=68656c6c6f\n");
    expect(offer).toMatch(/boot_?file='?pxe\.0/);
    expect(offer).toContain("hostname=h-1\n");
    expect(offer).toContain("search=a.example\n");
    expect(offer).toContain("dns=10.96.0.10\n");
    expect(await vm.powerOff()).toBe(0);
  });
});

describe("multus", () => {
  const SPEC = today(
    "[{name: red, masquerade: {}}, {name: lan, bridge: {}}]",
    "[{name: red, pod: {}}, {name: lan, multus: {networkName: lan}}]",
  );
  const net1 = (): void => {
    rig.inPod("link", "add", "net1", "type", "veth", "peer", "name", "lan0", "netns", rig.cluster);
    rig.inPod("link", "set", "net1", "address", "02:00:00:00:77:01", "up");
    rig.inCluster("address", "add", "192.168.77.1/24", "dev", "lan0");
    rig.inCluster("link", "set", "lan0", "up");
  };

  it("K5 a network interface: the guest is on its Ethernet, and all is as before afterwards", async (context) => {
    needsVm(context);
    let before: unknown;
    const vm = await boot(SPEC, () => {
      net1();
      before = rig.dump();
    }, ["--network", "lan=net1"]);
    await vm.shell("ip addr add 192.168.77.9/24 dev eth1");
    await vm.shell("ping -c 1 -W 5 192.168.77.1");
    await vm.lease("eth0");
    expect(await vm.shell(`nc ${FAR_HOST} ${FAR_PORT}`)).toContain("10.244.1.5");
    expect(await vm.powerOff()).toBe(0);
    expect(withoutNeighbours(rig.dump())).toEqual(withoutNeighbours(before));
  });

  it("K5 a bridge that is there already gets one more port, and loses it again", async (context) => {
    needsVm(context);
    let before = "";
    /** Its MAC and address; the rest is about its ports. */
    const bridge = (): string =>
      /link\/ether .*?inet \S+/s.exec(rig.inPod("address", "show", "br0"))?.[0] ?? "";
    const vm = await boot(SPEC, () => {
      net1();
      rig.inPod("link", "add", "br0", "type", "bridge");
      rig.inPod("link", "set", "net1", "master", "br0");
      rig.inPod("link", "set", "br0", "up");
      rig.inPod("address", "add", "192.168.77.2/24", "dev", "br0");
      before = bridge();
    }, ["--network", "lan=br0"]);
    await vm.shell("ip addr add 192.168.77.9/24 dev eth1");
    await vm.shell("ping -c 1 -W 5 192.168.77.1");
    await vm.shell("ping -c 1 -W 5 192.168.77.2");
    expect(rig.inPod("-brief", "link", "show", "master", "br0")).toMatch(/tplan-/);
    expect(bridge()).toBe(before);
    expect(await vm.powerOff()).toBe(0);
    expect(bridge()).toBe(before);
    expect(rig.inPod("-brief", "link", "show", "master", "br0")).not.toMatch(/tplan-/);
  });
});

/** What the pod has learned of others while it ran. */
function withoutNeighbours(dump: unknown): unknown {
  const { neighbours: _, entries: __, ...rest } = dump as Record<string, unknown>;
  return rest;
}
