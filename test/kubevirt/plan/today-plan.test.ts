/** What today's manifests become on a host: engine arguments, DHCP, bridges, and QEMU's arguments. */
import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { OptionSet } from "../../../src/config/option-set.ts";
import { OPTION_NAMES } from "../../../src/config/option-table.ts";
import { planEngine } from "../../../src/config/plan.ts";
import type { EngineConfig } from "../../../src/engine/config.ts";
import { formatIpv4 } from "../../../src/engine/wire/address-text.ts";
import { DOMAIN_NAME, DOMAIN_SEARCH, encodeText } from "../../../src/engine/wire/dhcp-options.ts";
import { encodeSearchList } from "../../../src/engine/wire/domain-list.ts";
import { dhcpConfigOf } from "../../../src/kubevirt/plan/delegation.ts";
import { type DeviceView, type Plan, type PlanRequest, planVm } from "../../../src/kubevirt/plan/plan.ts";
import { planMermaid } from "../../../src/kubevirt/plan/plan-graph.ts";
import { planText } from "../../../src/kubevirt/plan/plan-text.ts";
import { guestResolver } from "../../../src/kubevirt/plan/resolver.ts";
import type { Step } from "../../../src/kubevirt/plan/steps.ts";
import { findCommand } from "../../support/requirements.ts";
import { accepted, today } from "../samples.ts";

const UPLINK: DeviceView = {
  mac: "02:42:ac:11:00:05",
  mtu: 1500,
  addresses: [{ address: "10.1.0.5", prefixLength: 24 }],
  routes: [{ destination: "0.0.0.0/0", gateway: "10.1.0.1", metric: 0, fromAddress: false }],
  ipv6Addresses: [],
};
const RESOLVER = {
  nameServers: ["10.96.0.10"],
  engineResolvers: [],
  resolvers: ["10.96.0.10", "fd00::10"],
  search: ["ns1.svc.cluster.local", "svc.cluster.local"],
};

interface Given {
  readonly devices?: Readonly<Record<string, DeviceView>>;
  readonly network?: Readonly<Record<string, string>>;
  readonly nameServers?: readonly string[];
}

function planned(text: string, given: Given = {}): Plan {
  const request: PlanRequest = {
    vm: "web",
    model: accepted(text),
    uplink: "eth0",
    runDirectory: "/run/sluice/vm/web",
    ...(given.network === undefined ? {} : { devices: given.network }),
  };
  return planVm(request, {
    devices: new Map(Object.entries({ eth0: UPLINK, ...given.devices })),
    resolver: { ...RESOLVER, nameServers: given.nameServers ?? RESOLVER.nameServers },
    resources: { devices: new Map(), problems: [] },
  });
}

function step<K extends Step["do"]>(plan: Plan, kind: K): Extract<Step, { do: K }> {
  const found = plan.steps.find((candidate) => candidate.do === kind);
  if (found === undefined) throw new Error(`no step ${kind}`);
  return found as Extract<Step, { do: K }>;
}

/** The engine's configuration as the program makes it from its arguments, which must all be right. */
function engineOf(plan: Plan): EngineConfig {
  const options = new OptionSet();
  const [, ...argv] = step(plan, "start-engine").argv;
  for (let i = 0; i < argv.length; i++) {
    const name = OPTION_NAMES.find((known) => `--${known}` === argv[i]);
    if (name === undefined) throw new Error(`no option ${argv[i]}`);
    if (name === "no-dns") options.add(name);
    else options.add(name, argv[++i]);
  }
  const config = planEngine(options);
  expect(options.problems).toEqual([]);
  return config;
}

/** The value of an option the engine gives to who asks for it. */
function told(engine: EngineConfig, code: number): Uint8Array | undefined {
  return engine.dhcp?.options.find((option) => option.code === code)?.value;
}

const networkOf = (cidr: string): string => `[{name: red, pod: {vmNetworkCIDR: ${cidr}}}]`;

describe("NAT", () => {
  it.each([
    ["masquerade", "10.0.2.0/24", "10.0.2.1", "10.0.2.2", "10.0.2.3"],
    ["masquerade", "10.10.010.0/24", "10.10.10.1", "10.10.10.2", "10.10.10.3"],
    ["slirp", "10.10.10.0/24", "10.10.10.2", "10.10.10.15", "10.10.10.3"],
    ["slirp", "10.10.10.8/29", "10.10.10.10", "10.10.10.12", "10.10.10.11"],
    ["slirp", "172.16.0.0/12", "172.16.0.2", "172.16.0.15", "172.16.0.3"],
    ["masquerade", "172.16.0.0/16", "172.16.0.1", "172.16.0.2", "172.16.0.3"],
  ])(
    "K5 K8 %s with %s: the engine has gateway %s, guest %s, DNS %s",
    (binding, cidr, gateway, guest, dns) => {
      const plan = planned(today(`[{name: red, ${binding}: {}}]`, networkOf(cidr)));
      const engine = engineOf(plan);
      expect([engine.gateway, engine.guestAddress, engine.dns].map(formatIpv4)).toEqual([
        gateway,
        guest,
        dns,
      ]);
      expect(formatIpv4(engine.dhcp?.rangeStart ?? 0)).toBe(guest);
      expect(planText(plan)).toContain(
        `guest address      ${guest} by DHCP (gateway ${gateway}, DNS ${dns})`,
      );
      expect(planMermaid(plan)).toContain(`${guest} by DHCP`);
    },
  );

  it("K8 a /30 has no room for DNS: the guest is told the machine's own name servers", () => {
    const plan = planned(today("[{name: red, masquerade: {}}]", networkOf("10.9.9.0/30")));
    const engine = engineOf(plan);
    expect([formatIpv4(engine.gateway), formatIpv4(engine.guestAddress), engine.dns]).toEqual([
      "10.9.9.1",
      "10.9.9.2",
      0,
    ]);
    expect(engine.dhcp?.extraOptions).toEqual([{ code: 6, value: Uint8Array.of(10, 96, 0, 10) }]);
    const local = planned(today("[{name: red, masquerade: {}}]", networkOf("10.9.9.0/30")), {
      nameServers: ["127.0.0.53"],
    });
    expect(local.warnings.join()).toContain("no room for DNS");
  });

  it("K6 K7 ports and ranges are forwarded on all addresses of the pod, no others", () => {
    const ranges = "{protocol: TCP, start: 8000, end: 8002}, {protocol: UDP, start: 53, end: 53}";
    const plan = planned(today(`[{name: red, masquerade: {}, portRanges: [${ranges}]}]`));
    expect(
      engineOf(plan).forwards.map((f) => [f.protocol, f.hostAddress, f.hostPort, f.guestPort, f.ports]),
    ).toEqual([
      ["tcp", 0, 8000, 8000, 3],
      ["udp", 0, 53, 53, undefined],
    ]);
    expect(planText(plan)).toContain("8000-8002/TCP of the pod");
    expect(engineOf(planned(today("[{name: red, masquerade: {}}]"))).forwards).toEqual([]);
  });

  const OPTIONS =
    "dhcpOptions: {bootFileName: pxe.0, tftpServerName: -tftp, ntpServers: [10.0.0.1], privateOptions: [{option: 240, value: 'a,b=c'}]}";
  const EXPECTED = [
    [67, "pxe.0"],
    [66, "-tftp"],
    [42, "\n\0\0\x01"],
    [240, "a,b=c"],
  ];
  const read = (options: readonly { code: number; value: Uint8Array }[]): unknown =>
    options.map(({ code, value }) => [code, Buffer.from(value).toString("latin1")]);

  it("K9 dhcpOptions reach the engine's DHCP", () => {
    const plan = planned(today(`[{name: red, slirp: {}, ${OPTIONS}}]`));
    expect(read(engineOf(plan).dhcp?.extraOptions ?? [])).toEqual(EXPECTED);
  });

  it("K9 dhcpOptions reach the bridge's DHCP server", () => {
    const plan = planned(today(`[{name: red, bridge: {}, ${OPTIONS}}]`));
    const { offer } = step(plan, "serve-dhcp");
    expect(read(dhcpConfigOf(JSON.parse(JSON.stringify(offer))).extraOptions)).toEqual(EXPECTED);
    expect(planText(plan)).toContain('DHCP option 240    "a,b=c"');
  });
});

describe("names and name servers", () => {
  const none = {
    dnsPolicy: "None",
    dnsConfig: '{nameservers: [10.9.9.9, "fd00::53"], searches: [a.example]}',
  };

  it("K10 dnsPolicy None replaces the machine's resolvers and search list, for the engine and on the bridge", () => {
    const slirp = engineOf(planned(today("[{name: red, slirp: {}}]", undefined, none)));
    expect(slirp.resolvers.map(({ words }) => words)).toEqual([
      [0, 0, 0xffff, (10 << 24) | (9 << 16) | (9 << 8) | 9],
      [0xfd000000 | 0, 0, 0, 0x53],
    ]);
    expect(told(slirp, DOMAIN_SEARCH)).toEqual(encodeSearchList(["a.example"]));
    const { offer } = step(planned(today("[{name: red, bridge: {}}]", undefined, none)), "serve-dhcp");
    expect(offer).toMatchObject({
      dnsServers: ["10.9.9.9"],
      searchDomains: ["a.example"],
      domain: "a.example",
    });
  });

  it("K10 with another policy dnsConfig is added to what the machine has", () => {
    const model = accepted(
      today("[{name: red, slirp: {}}]", undefined, {
        dnsConfig: "{nameservers: [10.9.9.9], searches: [a.example]}",
      }),
    );
    expect(guestResolver(model, RESOLVER)).toMatchObject({
      nameServers: ["10.96.0.10", "10.9.9.9"],
      engineResolvers: ["10.96.0.10", "fd00::10", "10.9.9.9"],
      search: [...RESOLVER.search, "a.example"],
    });
    const searches = accepted(
      today("[{name: red, slirp: {}}]", undefined, { dnsConfig: "{searches: [a.example]}" }),
    );
    expect(guestResolver(searches, RESOLVER).engineResolvers).toEqual([]);
  });

  it("K10 a subdomain is the guest's domain below the cluster's, and first in its search list", () => {
    const text = (binding: string): string =>
      today(`[{name: red, ${binding}: {}}]`, undefined, { subdomain: "web" });
    const domain = "web.ns1.svc.cluster.local";
    const engine = engineOf(planned(text("slirp")));
    expect(told(engine, DOMAIN_NAME)).toEqual(encodeText(domain));
    expect(told(engine, DOMAIN_SEARCH)).toEqual(encodeSearchList([domain, ...RESOLVER.search]));
    expect(step(planned(text("bridge")), "serve-dhcp").offer).toMatchObject({ domain });
    const model = accepted(text("slirp"));
    expect(guestResolver(model, { ...RESOLVER, search: [] })).toMatchObject({ domain: "web", search: [] });
    expect(guestResolver(model, { ...RESOLVER, search: ["corp.example"] })).toMatchObject({
      domain: "web.corp.example",
    });
    expect(guestResolver(model, { ...RESOLVER, search: [domain] }).search).toEqual([domain]);
  });

  it("K10 name servers nobody can be told by DHCPv4 are an error of the spec", () => {
    const six = { dnsPolicy: "None", dnsConfig: '{nameservers: ["fd00::53"]}' };
    const plan = planned(today("[{name: red, bridge: {}}]", undefined, six));
    expect(plan.problems.map(({ place }) => place)).toEqual(["dnsConfig.nameservers"]);
  });

  it("K10 a search list too long for an option is cut, with a warning", () => {
    const long = Array.from({ length: 8 }, (_, i) => `d${i}.${"x".repeat(40)}.example`);
    const plan = planned(
      today("[{name: red, slirp: {}}]", undefined, { dnsConfig: `{searches: [${long.join(", ")}]}` }),
    );
    expect(told(engineOf(plan), DOMAIN_SEARCH)).toEqual(
      encodeSearchList([...RESOLVER.search, ...long.slice(0, 4)]),
    );
    expect(plan.warnings.join()).not.toContain(long[3]);
    expect(plan.warnings.join()).toContain(long[7]);
  });
});

describe("multus", () => {
  const NETS = "[{name: red, pod: {}}, {name: blue, multus: {networkName: ns/lan}}]";
  const text = today("[{name: red, masquerade: {}}, {name: blue, bridge: {}}]", NETS);
  const eth1: DeviceView = {
    mac: "02:00:00:00:01:01",
    mtu: 1450,
    addresses: [],
    routes: [],
    ipv6Addresses: [],
  };

  it("K5 without --network the plan shows a placeholder, and says that up would refuse", () => {
    const plan = planned(text);
    expect(plan.nics[1]).toMatchObject({ way: "ethernet", network: "ns/lan", device: "<device of blue>" });
    expect(plan.problems).toEqual([
      expect.objectContaining({
        place: "network blue",
        allowed: expect.stringContaining("--network blue=DEVICE"),
      }),
    ]);
    expect(planText(plan)).toContain("make <device of blue> a port of");
  });

  it("K5 a network interface becomes a port of a bridge of its own: plain Ethernet, no DHCP, no waiting", () => {
    const plan = planned(text, { network: { blue: "eth1" }, devices: { eth1 } });
    expect([plan.problems, plan.unknown]).toEqual([[], []]);
    expect(plan.nics[1]).toMatchObject({ way: "ethernet", device: "eth1", mac: eth1.mac, mtu: 1450 });
    const kinds = plan.steps.map((item) => item.do);
    expect(kinds).toContain("create-bridge");
    for (const kind of ["serve-dhcp", "wait-for-device", "remove-addresses"])
      expect(kinds).not.toContain(kind);
  });

  it("K5 a bridge gets one more port and is left alone otherwise", () => {
    const plan = planned(text, { network: { blue: "br0" }, devices: { br0: { ...eth1, isBridge: true } } });
    expect(plan.problems).toEqual([]);
    expect(plan.nics[1]).toMatchObject({ device: "br0", bridge: "br0" });
    expect(plan.nics[1]?.mac).not.toBe(eth1.mac);
    expect(step(plan, "create-tap").mac).toMatch(/^fe:/);
    expect(plan.steps.flatMap((item) => ("device" in item ? [item.device] : []))).not.toContain("br0");
    expect(plan.steps.filter((item) => item.do === "enslave")).toEqual([
      { do: "enslave", device: expect.stringMatching(/^tpblue/), bridge: "br0" },
    ]);
  });

  it("K5 a port of a bridge is refused with the bridge to name; addresses are warned about; one device, one network", () => {
    const port = planned(text, { network: { blue: "eth1" }, devices: { eth1: { ...eth1, master: "br0" } } });
    expect(port.problems[0]?.allowed).toContain("--network blue=br0");
    const addressed = planned(text, {
      network: { blue: "eth1" },
      devices: { eth1: { ...eth1, addresses: UPLINK.addresses } },
    });
    expect(addressed.warnings.join()).toContain("10.1.0.5/24) do not work");
    const twice = planned(text.replace("masquerade", "bridge"), { network: { blue: "eth0" } });
    expect(twice.problems.map(({ found }) => found)).toContain("eth0, which another interface has");
  });
});

/** QEMU refuses options it does not have before it starts anything; here it is told to stop at once. */
function qemuRefuses(args: readonly string[]): string {
  const netdevs = args.map((arg) => arg.replace(/^(?:tap|stream),(id=[^,]+).*/, "hubport,$1,hubid=0"));
  const { stderr, status } = spawnSync(
    "qemu-system-x86_64",
    ["-M", "q35", "-nodefaults", "-display", "none", "-S", "-monitor", "stdio", ...netdevs],
    { input: "quit\n", encoding: "utf8", timeout: 60_000 },
  );
  return status === 0 ? "" : stderr;
}

describe("QEMU's arguments", () => {
  const card = (fields: string, binding = "slirp"): string =>
    planned(today(`[{name: red, ${binding}: {}, ${fields}}]`)).qemuArguments[3]?.replace(/,mac=[^,]+/, "") ??
    "";

  it("K9 boot order, ACPI index, PCI slot and model become options of the card", () => {
    const all = 'bootOrder: 2, acpiIndex: 7, pciAddress: "0000:00:0A.1"';
    for (const binding of ["slirp", "bridge"]) {
      expect(card(all, binding)).toBe(
        "virtio-net-pci,netdev=net-red,id=nic-red,bootindex=2,acpi-index=7,addr=0a.1",
      );
    }
    expect(card("model: igb")).toBe("igb,netdev=net-red,id=nic-red");
    expect(card('pciAddress: "0000:81:00.0"')).toBe("virtio-net-pci,netdev=net-red,id=nic-red");
    const old = today("[{name: red, slirp: {}}]").replace(
      "      interfaces",
      "      useVirtioTransitional: true\n      interfaces",
    );
    expect(planned(old).qemuArguments[3]).toMatch(/^virtio-net-pci-transitional,/);
    expect(planned(old.replace("slirp: {}", "slirp: {}, model: e1000")).qemuArguments[3]).toMatch(/^e1000,/);
  });

  it("K9 an interface that is absent has no card", () => {
    const text = today("[{name: red, bridge: {}, state: absent}]", "[{name: red, multus: {networkName: a}}]");
    expect(planned(text).qemuArguments).toEqual(["-nic", "none"]);
  });

  it("K9 QEMU takes them", (context) => {
    if (findCommand("qemu-system-x86_64") === undefined) return context.skip("needs qemu-system-x86_64");
    const place = 'bootOrder: 1, acpiIndex: 5, pciAddress: "0000:00:05.0"';
    for (const model of ["virtio", "e1000", "e1000e", "ne2k_pci", "pcnet", "rtl8139"]) {
      expect(
        qemuRefuses(planned(today(`[{name: red, slirp: {}, model: ${model}, ${place}}]`)).qemuArguments),
      ).toBe("");
    }
    const old = today(`[{name: red, bridge: {}, ${place}}]`).replace(
      "      interfaces",
      "      useVirtioTransitional: true\n      interfaces",
    );
    expect(qemuRefuses(planned(old).qemuArguments)).toBe("");
    expect(
      qemuRefuses(["-netdev", "stream,id=n", "-device", "virtio-net-pci,netdev=n,acpi-index=99999"]),
    ).not.toBe("");
  });
});
