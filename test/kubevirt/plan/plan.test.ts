import { describe, expect, it } from "vitest";
import type { InterfaceRoute } from "../../../src/kubevirt/plan/delegation.ts";
import { type DeviceView, type Machine, type Plan, planVm } from "../../../src/kubevirt/plan/plan.ts";
import { planDot, planMermaid } from "../../../src/kubevirt/plan/plan-graph.ts";
import { planText } from "../../../src/kubevirt/plan/plan-text.ts";
import type { Step } from "../../../src/kubevirt/plan/steps.ts";
import { accepted, newForm, oldForm, sample, wrappedFragment } from "../samples.ts";

const UPLINK: DeviceView = {
  mac: "02:42:ac:11:00:05",
  mtu: 1450,
  addresses: [{ address: "10.1.0.5", prefixLength: 24, broadcast: "10.1.0.255" }],
  routes: [
    { destination: "0.0.0.0/0", gateway: "10.1.0.1", metric: 0, fromAddress: false },
    { destination: "10.1.0.0/24", metric: 0, fromAddress: true, scope: "link" },
  ],
  ipv6Addresses: [],
};

const RESOLVER = { nameServers: ["10.96.0.10"], engineResolvers: [], search: ["ns.svc.local", "svc.local"] };

interface Given {
  readonly eth0?: Partial<DeviceView> | null;
  readonly resources?: Readonly<Record<string, string>>;
  readonly others?: Readonly<Record<string, DeviceView>>;
  readonly nameServers?: readonly string[];
  readonly owner?: { readonly uid: number; readonly gid: number };
  readonly isDualStack?: boolean;
}

function planned(text: string, given: Given = {}): Plan {
  const devices = new Map<string, DeviceView>(Object.entries(given.others ?? {}));
  if (given.eth0 !== null) devices.set("eth0", { ...UPLINK, ...given.eth0 });
  const machine: Machine = {
    devices,
    resolver: given.nameServers === undefined ? RESOLVER : { ...RESOLVER, nameServers: given.nameServers },
    resources: { devices: new Map(Object.entries(given.resources ?? {})), problems: [] },
    ...(given.isDualStack === undefined ? {} : { isDualStack: given.isDualStack }),
  };
  const owner = given.owner === undefined ? {} : { owner: given.owner };
  return planVm(
    {
      vm: "web",
      model: accepted(text),
      uplink: "eth0",
      runDirectory: "/run/sluice/vm/web",
      hostname: "web",
      ...owner,
    },
    machine,
  );
}

function kinds(plan: Plan): string[] {
  return plan.steps.map((step) => step.do);
}

function step<K extends Step["do"]>(plan: Plan, kind: K): Extract<Step, { do: K }> {
  const found = plan.steps.find((candidate) => candidate.do === kind);
  if (found === undefined) throw new Error(`no step ${kind}`);
  return found as Extract<Step, { do: K }>;
}

describe("the plan of a bridge on the pod network", () => {
  it("S17 follows the order: bridge, enslave, address away, MAC away, TAP, DHCP", () => {
    expect(kinds(planned(sample("a5-bridge")))).toEqual([
      "create-bridge",
      "disable-ipv6",
      "add-server-address",
      "bring-up",
      "enslave",
      "learning-off",
      "remove-addresses",
      "set-mac",
      "create-tap",
      "set-mtu",
      "disable-ipv6",
      "enslave",
      "bring-up",
      "serve-dhcp",
    ]);
  });

  it("S19 the address is offered to the guest and removed from the pod's interface", () => {
    const plan = planned(sample("a5-bridge"));
    expect(step(plan, "remove-addresses").addresses).toEqual(UPLINK.addresses);
    expect(step(plan, "serve-dhcp").offer).toMatchObject({
      address: "10.1.0.5",
      prefixLength: 24,
      router: "10.1.0.1",
      dnsServers: ["10.96.0.10"],
      hostname: "web",
      domain: "ns.svc.local",
      searchDomains: ["ns.svc.local", "svc.local"],
      mtu: 1450,
      leaseSeconds: 86_313_600,
      routes: [{ destination: "0.0.0.0/0", gateway: "10.1.0.1" }],
    });
  });

  it("S17 bridge and TAP have the uplink's MTU, and virtio guests are told", () => {
    const plan = planned(sample("a5-bridge"));
    expect(step(plan, "create-bridge").mtu).toBe(1450);
    expect(step(plan, "set-mtu").mtu).toBe(1450);
    expect(plan.qemuArguments.join(" ")).toContain("host_mtu=1450");
    expect(planned(sample("a5-bridge"), { eth0: { mtu: 1500 } }).qemuArguments.join(" ")).not.toContain(
      "host_mtu",
    );
  });

  it("S10 the guest takes the uplink's MAC unless one is given; the uplink keeps its vendor prefix", () => {
    const plan = planned(sample("a5-bridge"));
    expect(plan.nics[0].mac).toBe(UPLINK.mac);
    const { from, to } = step(plan, "set-mac");
    expect(from).toBe(UPLINK.mac);
    expect(to.slice(0, 9)).toBe("02:42:ac:");
    expect(to).not.toBe(from);
    expect(planned(sample("a1-pod-bridge")).nics[0].mac).toBe("de:ad:00:00:be:af");
    expect(step(planned(sample("a1-pod-bridge")), "serve-dhcp").offer.mac).toBe("de:ad:00:00:be:af");
  });

  it("S27 warns that the pod is left without an address", () => {
    expect(planned(sample("a5-bridge")).warnings.join()).toContain("left without an IPv4 address");
    expect(planned(sample("a6-slirp")).warnings).toEqual([]);
  });

  it("S22 an uplink without an IPv4 address is plain Ethernet without a DHCP server, not an error", () => {
    const plan = planned(sample("a5-bridge"), { eth0: { addresses: [], routes: [] }, nameServers: [] });
    expect(plan.problems).toEqual([]);
    expect(kinds(plan)).not.toContain("serve-dhcp");
    expect(kinds(plan)).not.toContain("set-mac");
    expect(plan.warnings.join()).toContain("no DHCP is served");
  });

  it("an address without any route, and a resolv.conf without IPv4 servers, are errors found before anything happens", () => {
    const plan = planned(sample("a5-bridge"), { eth0: { routes: [] }, nameServers: [] });
    expect(plan.problems.map(({ place }) => place)).toEqual(["eth0", "resolv.conf"]);
  });

  it("an interface that is a port of a bridge already is an error", () => {
    expect(planned(sample("a5-bridge"), { eth0: { master: "br0" } }).problems[0]).toMatchObject({
      found: "a port of br0",
    });
  });

  it("routes without a default give no router", () => {
    const routes: InterfaceRoute[] = [
      { destination: "10.0.0.0/8", gateway: "10.1.0.1", metric: 0, fromAddress: false },
    ];
    const { offer } = step(planned(sample("a5-bridge"), { eth0: { routes } }), "serve-dhcp");
    expect(offer.router).toBeUndefined();
    expect(offer.routes).toEqual([{ destination: "10.0.0.0/8", gateway: "10.1.0.1" }]);
  });

  it("DHCP is served from an address nothing else there uses", () => {
    const routes: InterfaceRoute[] = [
      { destination: "0.0.0.0/0", gateway: "169.254.75.10", metric: 0, fromAddress: false },
    ];
    expect(step(planned(sample("a5-bridge"), { eth0: { routes } }), "serve-dhcp").offer.server).toBe(
      "169.254.75.11",
    );
  });

  it("D13 plain Ethernet: the guest has a MAC of its own, address and routes move to the bridge", () => {
    const plan = planned(oldForm("[{name: red, bridge: {}}]"));
    expect(plan.nics[0]).toMatchObject({ way: "ethernet", keeps: UPLINK.addresses });
    expect(Number.parseInt(plan.nics[0].mac.slice(0, 2), 16) & 3).toBe(2);
    expect(plan.nics[0].mac).not.toBe(UPLINK.mac);
    expect(step(plan, "create-bridge").mac).toBe(UPLINK.mac);
    expect(kinds(plan).slice(-3)).toEqual(["remove-addresses", "move-address", "move-route"]);
    expect(step(plan, "move-route").route).toMatchObject({ destination: "0.0.0.0/0", gateway: "10.1.0.1" });
    const declared = planned(oldForm('[{name: red, bridge: {}, macAddress: "02:00:00:00:00:09"}]'));
    expect(declared.nics[0].mac).toBe("02:00:00:00:00:09");
  });

  it("D13 routes that lead to a gateway move before those that need it", () => {
    const routes: InterfaceRoute[] = [
      { destination: "0.0.0.0/0", gateway: "169.254.1.1", metric: 0, fromAddress: false },
      { destination: "169.254.1.1/32", metric: 0, fromAddress: false, scope: "link" },
    ];
    const plan = planned(oldForm("[{name: red, bridge: {}}]"), { eth0: { routes } });
    const moved = plan.steps.flatMap((item) => (item.do === "move-route" ? [item.route.destination] : []));
    expect(moved).toEqual(["169.254.1.1/32", "0.0.0.0/0"]);
  });

  it("TAPs belong to the user QEMU runs as", () => {
    const plan = planned(sample("a5-bridge"), { owner: { uid: 107, gid: 108 } });
    expect(step(plan, "create-tap").owner).toEqual({ uid: 107, gid: 108 });
  });
});

describe("the plan of a resource network", () => {
  const view: DeviceView = {
    mac: "0a:58:00:00:00:01",
    mtu: 1500,
    addresses: [],
    routes: [],
    ipv6Addresses: [],
  };

  it("S40 bridges without touching IP or MAC, and serves no DHCP", () => {
    const plan = planned(wrappedFragment(), {
      resources: { red: "eth-red01" },
      others: { "eth-red01": view },
    });
    expect(kinds(plan)).toEqual([
      "wait-for-device",
      "create-bridge",
      "disable-ipv6",
      "bring-up",
      "enslave",
      "bring-up",
      "yield-mac",
      "create-tap",
      "set-mtu",
      "disable-ipv6",
      "enslave",
      "bring-up",
    ]);
    expect(step(plan, "create-bridge").mac).not.toBe(view.mac);
  });

  it("S41 the guest's MAC is macAddress if given, else that of the pod-side interface", () => {
    const given = { resources: { red: "eth-red01" }, others: { "eth-red01": view } };
    expect(planned(wrappedFragment(), given).nics[0].mac).toBe("0a:58:00:00:00:01");
    const declared = wrappedFragment().replace(
      "bridge: {}",
      'bridge: {}\n        macAddress: "02:00:00:00:00:07"',
    );
    const plan = planned(declared, given);
    expect(plan.nics[0].mac).toBe("02:00:00:00:00:07");
    expect(kinds(plan)).not.toContain("yield-mac");
  });

  it("D14 a late device is waited for 60 seconds, before anything is changed", () => {
    const networks = "[{name: red, pod: {}}, {name: blue, resource: {resourceName: a/b}}]";
    const plan = planned(newForm("[{name: red, bridge: {}}, {name: blue, bridge: {}}]", networks), {
      resources: { blue: "net1" },
    });
    expect(plan.steps[0]).toEqual({ do: "wait-for-device", device: "net1", seconds: 60 });
    expect(plan.unknown).toHaveLength(1);
  });
});

describe("the plan of slirp", () => {
  it("S13 only the configured ports are given to the engine, on all addresses of the pod", () => {
    const text = newForm("[{name: red, slirp: {}, ports: [{port: 80}, {port: 53, protocol: UDP}]}]");
    const { argv } = step(planned(text), "start-engine");
    expect(argv.filter((_, index) => argv[index - 1] === "--publish")).toEqual([
      "tcp:0.0.0.0:80:80",
      "udp:0.0.0.0:53:53",
    ]);
    expect(argv.slice(0, 3)).toEqual([
      "run",
      "--qemu-listen",
      `unix:${step(planned(text), "start-engine").socket}`,
    ]);
    expect(argv).toContain(planned(text).nics[0].mac);
  });

  it("S13 ports are those of both families on a pod that has both, and the guest has IPv6", () => {
    const text = newForm("[{name: red, slirp: {}, ports: [{port: 80}, {port: 53, protocol: UDP}]}]");
    const { argv } = step(planned(text, { isDualStack: true }), "start-engine");
    expect(argv.filter((_, index) => argv[index - 1] === "--publish")).toEqual([
      "tcp:*:80:80",
      "udp:*:53:53",
    ]);
    expect(argv.join(" ")).toContain("--ipv6 auto");
  });

  it("S32 needs the pod network and nothing of its interface", () => {
    const plan = planned(sample("a6-slirp"), { eth0: null });
    expect([plan.problems, plan.unknown, kinds(plan)]).toEqual([[], [], ["start-engine"]]);
  });

  it("the same VM has the same MAC each time, another VM another", () => {
    const mac = (vm: string): string =>
      planVm(
        { vm, model: accepted(sample("a6-slirp")), uplink: "eth0", runDirectory: "/r" },
        { devices: new Map(), resolver: RESOLVER, resources: { devices: new Map(), problems: [] } },
      ).nics[0].mac;
    expect(mac("a")).toBe(mac("a"));
    expect(mac("a")).not.toBe(mac("b"));
  });
});

describe("what a person sees", () => {
  it("S16 no network interface means nothing to do, and QEMU is told so", () => {
    const plan = planned(sample("a4-no-network"));
    expect([plan.steps, plan.qemuArguments]).toEqual([[], ["-nic", "none"]]);
    expect(planText(plan)).toContain("Nothing to do on this machine.");
  });

  it("a plan made where there is no eth0 has placeholders, and says what it does not know", () => {
    const plan = planned(sample("a5-bridge"), { eth0: null });
    expect(plan.unknown).toEqual([
      "eth0 is not here now: its MAC, MTU and addresses are read when the VM comes up",
    ]);
    expect(planText(plan)).toContain("<MAC of eth0>");
    expect(planText(plan)).toContain("not known here: eth0 is not here now");
  });

  it("the text numbers the steps and shows the lease, the ports and QEMU's arguments", () => {
    const text = planText(planned(sample("a5-bridge")));
    expect(text).toContain("VM web: 1 network interface\n");
    expect(text).toMatch(/ 7\. remove 10\.1\.0\.5\/24 and its routes from eth0\n/);
    expect(text).toContain("routes             default via 10.1.0.1\n");
    expect(text).toContain("-netdev tap,id=net-red,ifname=tpred-");
    const slirp = planText(planned(newForm("[{name: red, slirp: {}, ports: [{name: http, port: 80}]}]")));
    expect(slirp).toContain("80/TCP (http) of the pod -> the same of the guest");
  });

  it("the pictures name every part, and nothing in them can end a label", () => {
    const plan = planned(sample("a5-bridge"));
    for (const picture of [planMermaid(plan), planDot(plan)]) {
      for (const part of [
        "red (virtio)",
        "10.1.0.5/24 by DHCP",
        "TAP tpred-",
        "bridge brred-",
        "DHCP server",
        "eth0",
        "cluster",
      ]) {
        expect(picture).toContain(part);
      }
    }
    expect(planMermaid(planned(sample("a4-no-network")))).toContain("no network interface");
    expect(planMermaid(planned(sample("a5-bridge"), { eth0: null }))).not.toMatch(/<(?!br\/>)/);
  });
});
