/** KubeVirt's manifests of today: what their interfaces and networks mean on one host. */
import { describe, expect, it } from "vitest";
import type { BindingNames } from "../../../src/kubevirt/spec/today-bindings.ts";
import { accepted, notesOf, refused, summary, today } from "../samples.ts";

const IFS = "spec.domain.devices.interfaces";
const POD = "[{name: red, pod: {}}]";
const MULTUS = "[{name: red, multus: {networkName: ns/red}}]";
const RESOURCE = "[{name: red, resource: {resourceName: a/b}}]";

describe("bindings", () => {
  const SOME: BindingNames = new Map([["other", "slirp"]]);

  it.each([
    ["bridge", "bridge: {}", POD, "bridge", undefined],
    ["slirp", "slirp: {}", POD, "slirp", undefined],
    ["masquerade", "masquerade: {}", POD, "slirp", "10.0.2.2"],
    ["passtBinding", "passtBinding: {}", POD, "slirp", undefined],
    ["the plugin passt", "binding: {name: passt}", POD, "slirp", undefined],
    ["the plugin slirp", "binding: {name: slirp}", POD, "slirp", undefined],
    ["the plugin sluice", "binding: {name: sluice}", POD, "slirp", undefined],
    ["bridge on multus", "bridge: {}", MULTUS, "bridge", undefined],
  ])("K5 %s", (_, binding, networks, carriedOut, guest) => {
    const [nic] = accepted(today(`[{name: red, ${binding}}]`, networks)).nics;
    expect([nic?.binding, nic?.nat?.guest]).toEqual([carriedOut, guest]);
    expect(nic?.delegate).toBe(carriedOut === "bridge" && networks === POD);
  });

  it("K5 masquerade has its own addresses: gateway first, guest second, DNS third", () => {
    expect(accepted(today("[{name: red, masquerade: {}}]")).nics[0]?.nat).toEqual({
      network: "10.0.2.0/24",
      gateway: "10.0.2.1",
      guest: "10.0.2.2",
      dns: "10.0.2.3",
    });
  });

  it("K5 what is carried out as another binding is said in one line", () => {
    const said = (binding: string, names?: BindingNames): string[] =>
      notesOf(today(`[{name: red, ${binding}, ports: [{port: 80}]}]`), names);
    expect(said("masquerade: {}")).toEqual([
      `${IFS}[0].masquerade: masquerade is carried out as user-mode NAT with masquerade's addresses: guest 10.0.2.2, gateway 10.0.2.1, DNS 10.0.2.3`,
    ]);
    expect(said("passtBinding: {}")[0]).toContain("in a cluster the guest has the pod's own address");
    expect(said("binding: {name: passt}")[0]).toContain("passt is carried out as user-mode NAT");
    expect(said("binding: {name: other}", SOME)).toEqual([
      `${IFS}[0].binding: the binding other is carried out as slirp`,
    ]);
    expect(said("slirp: {}")).toEqual([]);
    expect(said("binding: {name: sluice}")).toEqual([]);
  });

  it("K5 another plugin is an error that says how to name it, and is carried out once it is named", () => {
    const text = today("[{name: red, binding: {name: other}}]");
    expect(refused(text)).toMatchObject([
      {
        path: `${IFS}[0].binding.name`,
        hint: "say what it is here: --binding other=slirp or --binding other=bridge",
      },
    ]);
    expect(accepted(text, SOME).nics[0]?.binding).toBe("slirp");
    expect(accepted(text, new Map([["other", "bridge"]])).nics[0]).toMatchObject({
      binding: "bridge",
      delegate: true,
    });
    const secondary = refused(today("[{name: red, binding: {name: other}}]", MULTUS));
    expect(secondary[0]?.hint).toBe("say what it is here: --binding other=bridge");
  });

  it.each(["slirp: {}", "masquerade: {}", "passtBinding: {}", "binding: {name: slirp}"])(
    "K5 %s needs a pod network",
    (binding) => {
      for (const [networks, type] of [
        [MULTUS, "multus"],
        [RESOURCE, "resource"],
      ] as const) {
        const problems = refused(today(`[{name: red, ${binding}}]`, networks));
        expect(problems).toMatchObject([{ code: "conflict" }]);
        expect(problems[0]?.allowed).toContain(`bridge on a ${type} network`);
      }
    },
  );

  it.each([
    ["sriov", "[{name: red, sriov: {}}]", MULTUS, "vfio-pci"],
    ["macvtap", "[{name: red, macvtap: {}}]", MULTUS, "write bridge: {}"],
    ["passt", "[{name: red, passt: {}}]", POD, "write passtBinding: {}"],
    [
      "resourceClaim",
      "[{name: red, bridge: {}}]",
      "[{name: red, resourceClaim: {claimName: a}}]",
      "write multus",
    ],
    ["genie", "[{name: red, bridge: {}}]", "[{name: red, genie: {networkName: a}}]", "write multus"],
  ])("K5 %s is one error: what it is and what to write", (key, interfaces, networks, instead) => {
    const problems = refused(today(interfaces, networks));
    expect(problems).toMatchObject([{ code: "unsupported" }]);
    expect(problems[0]?.path.endsWith(`.${key}`)).toBe(true);
    expect(problems[0]?.hint).toContain(instead);
    refused(
      today(interfaces, networks)
        .replace("apiVersion: kubevirt.io/v1\n", "")
        .replace("MachineInstance", "Machine"),
    );
  });

  it.each([
    ["two", "[{name: red, bridge: {}, masquerade: {}}]"],
    ["two, one of which is gone", "[{name: red, bridge: {}, sriov: {}}]"],
    ["none", "[{name: red}]"],
    ["an unknown one", "[{name: red, tunnel: {}}]"],
    ["a misspelt one", "[{name: red, masquarade: {}}]"],
    ["an empty one", "[{name: red, masquerade: }]"],
  ])("K5 %s: one message", (_, interfaces) => {
    expect(refused(today(interfaces))).toHaveLength(1);
  });

  it("K5 one network is the pod's first", () => {
    const nics = "[{name: red, masquerade: {}}, {name: blue, bridge: {}}]";
    const nets = "[{name: red, pod: {}}, {name: blue, multus: {networkName: a, default: true}}]";
    expect(summary(refused(today(nics, nets)))).toEqual(["spec.networks[1].multus.default: conflict"]);
  });
});

describe("ports", () => {
  const ranges = (list: string, binding = "masquerade: {}"): string =>
    today(`[{name: red, ${binding}, portRanges: [${list}]}]`);

  it("K6 masquerade and passt without ports forward nothing, and a note says what to add", () => {
    for (const binding of [
      "masquerade: {}",
      "passtBinding: {}",
      "binding: {name: passt}",
      "masquerade: {}, ports: []",
    ]) {
      const notes = notesOf(today(`[{name: red, ${binding}}]`));
      expect(notes.join("\n")).toContain(`${IFS}[0]: no port is forwarded to the guest`);
    }
    expect(notesOf(today("[{name: red, masquerade: {}, ports: [{port: 80}]}]")).join()).not.toContain(
      "no port is",
    );
    expect(notesOf(today("[{name: red, slirp: {}}]"))).toEqual([]);
  });

  it("K7 port ranges are forwarded as they are", () => {
    const list = "{protocol: TCP, start: 8000, end: 8010}, {protocol: UDP, start: 8000, end: 8000}";
    expect(accepted(ranges(list)).nics[0]?.ports).toEqual([
      { port: 8000, end: 8010, protocol: "tcp" },
      { port: 8000, protocol: "udp" },
    ]);
  });

  it.each([
    ["{start: 1, end: 2}", "portRanges[0].protocol: required"],
    ["{protocol: TCP, end: 2}", "portRanges[0].start: required"],
    ["{protocol: TCP, start: 1}", "portRanges[0].end: required"],
    ["{protocol: SCTP, start: 1, end: 2}", "portRanges[0].protocol: value"],
    ["{protocol: TCP, start: 0, end: 2}", "portRanges[0].start: value"],
    ["{protocol: TCP, start: 1, end: 65536}", "portRanges[0].end: value"],
    ["{protocol: TCP, start: 3, end: 2}", "portRanges[0].end: value"],
    ["{protocol: TCP, start: 1, end: 2, name: x}", "portRanges[0].name: unknown-key"],
    ["{protocol: TCP, start: 1, end: 4097}", "portRanges: value"],
    [
      "{protocol: TCP, start: 1, end: 5}, {protocol: UDP, start: 5, end: 9}, {protocol: TCP, start: 5, end: 9}",
      "portRanges[2]: duplicate",
    ],
    [
      Array.from({ length: 11 }, (_, i) => `{protocol: TCP, start: ${i + 1}, end: ${i + 1}}`).join(", "),
      "portRanges: value",
    ],
  ])("K7 the ranges %s are one error", (list, expected) => {
    expect(summary(refused(ranges(list)))).toEqual([`${IFS}[0].${expected}`]);
  });

  it("K7 not together with ports, not with bridge, and with slirp with a note", () => {
    const one = "{protocol: TCP, start: 80, end: 81}";
    expect(summary(refused(ranges(one, "masquerade: {}, ports: [{port: 1}]")))).toEqual([
      `${IFS}[0].portRanges: conflict`,
    ]);
    accepted(ranges(one, "masquerade: {}, ports: []"));
    expect(summary(refused(ranges(one, "bridge: {}")))).toEqual([`${IFS}[0].portRanges: conflict`]);
    expect(notesOf(ranges(one, "slirp: {}"))).toEqual([
      `${IFS}[0].portRanges: forwarded here; a cluster takes portRanges with masquerade only`,
    ]);
  });
});

describe("vmNetworkCIDR", () => {
  const nat = (cidr: string, binding = "masquerade") =>
    accepted(today(`[{name: red, ${binding}: {}}]`, `[{name: red, pod: {vmNetworkCIDR: ${cidr}}}]`)).nics[0]
      ?.nat;

  it("K8 is the guest's subnet, with masquerade's places or slirp's", () => {
    expect(nat("10.10.10.0/24")).toEqual({
      network: "10.10.10.0/24",
      gateway: "10.10.10.1",
      guest: "10.10.10.2",
      dns: "10.10.10.3",
    });
    expect(nat("10.10.10.0/24", "slirp")).toEqual({
      network: "10.10.10.0/24",
      gateway: "10.10.10.2",
      guest: "10.10.10.15",
      dns: "10.10.10.3",
    });
    expect(nat("10.1.2.8/29", "slirp")).toMatchObject({ guest: "10.1.2.12" });
    expect(nat("192.168.0.4/30")).toEqual({
      network: "192.168.0.4/30",
      gateway: "192.168.0.5",
      guest: "192.168.0.6",
    });
  });

  it("K8 leading zeros are decimal, and a host part is cut off with a note", () => {
    expect(nat("10.10.010.0/24")?.network).toBe("10.10.10.0/24");
    expect(nat("010.008.0.0/16")?.network).toBe("10.8.0.0/16");
    const notes = notesOf(
      today("[{name: red, slirp: {}}]", "[{name: red, pod: {vmNetworkCIDR: 10.1.1.9/24}}]"),
    );
    expect(notes).toEqual([
      "spec.networks[0].pod.vmNetworkCIDR: the network is 10.1.1.0/24: the host part is not used",
    ]);
    expect(
      notesOf(today("[{name: red, slirp: {}}]", "[{name: red, pod: {vmNetworkCIDR: 10.01.1.0/24}}]")),
    ).toEqual([]);
  });

  it.each([
    "10.0.0.0/31",
    "10.0.0.0/3",
    "10.0.0.0",
    "10.0.0.256/24",
    "127.0.0.0/8",
    "224.0.0.0/8",
    '"fd00::/64"',
    "10.0.0/24",
    "5",
  ])("K8 the network %s is one error", (cidr) => {
    const text = today("[{name: red, masquerade: {}}]", `[{name: red, pod: {vmNetworkCIDR: ${cidr}}}]`);
    expect(refused(text).map((problem) => problem.path)).toEqual(["spec.networks[0].pod.vmNetworkCIDR"]);
  });

  it("K8 vmIPv6NetworkCIDR is checked", () => {
    const text = (cidr: string): string =>
      today(
        "[{name: red, masquerade: {}, ports: [{port: 1}]}]",
        `[{name: red, pod: {vmIPv6NetworkCIDR: "${cidr}"}}]`,
      );
    accepted(text("fd10:0:2::/120"));
    for (const cidr of ["fd10::", "fd10::/127", "10.0.2.0/24", "fd10:/120", "x/64"]) {
      expect(refused(text(cidr)).map(({ path }) => path)).toEqual(["spec.networks[0].pod.vmIPv6NetworkCIDR"]);
    }
  });
});

describe("interface fields", () => {
  const one = (fields: string): string => today(`[{name: red, slirp: {}, ${fields}}]`);
  const two = (fields: string): string =>
    today(
      `[{name: red, slirp: {}, ${fields}}, {name: blue, bridge: {}, ${fields}}]`,
      "[{name: red, pod: {}}, {name: blue, multus: {networkName: a}}]",
    );

  it("K9 the card's place in the guest", () => {
    const nic = accepted(one('bootOrder: 1, acpiIndex: 7, pciAddress: "0000:00:0A.1", model: igb')).nics[0];
    expect(nic).toMatchObject({ model: "igb", place: { bootOrder: 1, acpiIndex: 7, pciSlot: "0a.1" } });
    expect(accepted(one('pciAddress: "0000:81:00.1"')).nics[0]?.place).toBeUndefined();
  });

  it.each([
    ["bootOrder: 0", "bootOrder: value"],
    ["bootOrder: first", "bootOrder: type"],
    ["acpiIndex: 0", "acpiIndex: value"],
    ["acpiIndex: 16384", "acpiIndex: value"],
    ['pciAddress: "0000:81:01.10"', "pciAddress: value"],
    ['pciAddress: "0000:00:05.8"', "pciAddress: value"],
    ['pciAddress: "00:05.0"', "pciAddress: value"],
    ['pciAddress: "0000:00:20.0"', "pciAddress: value"],
    ["state: down", "state: unsupported"],
    ["state: Up", "state: value"],
    ["tag: 7", "tag: type"],
    ["model: vmxnet3", "model: value"],
    ["dhcpOptions: {bootFile: x}", "dhcpOptions.bootFile: unknown-key"],
    ["dhcpOptions: {ntpServers: [a.b]}", "dhcpOptions.ntpServers[0]: value"],
    [
      "dhcpOptions: {privateOptions: [{option: 223, value: x}]}",
      "dhcpOptions.privateOptions[0].option: value",
    ],
    [
      "dhcpOptions: {privateOptions: [{option: 255, value: x}]}",
      "dhcpOptions.privateOptions[0].option: value",
    ],
    ["dhcpOptions: {privateOptions: [{option: 224}]}", "dhcpOptions.privateOptions[0].value: required"],
    [
      'dhcpOptions: {privateOptions: [{option: 224, value: ""}]}',
      "dhcpOptions.privateOptions[0].value: value",
    ],
    [
      `dhcpOptions: {privateOptions: [{option: 224, value: ${"é".repeat(128)}}]}`,
      "dhcpOptions.privateOptions[0].value: value",
    ],
    ['dhcpOptions: {bootFileName: "a\\0b"}', "dhcpOptions.bootFileName: value"],
    [
      "dhcpOptions: {privateOptions: [{option: 224, value: a}, {option: 224, value: b}]}",
      "dhcpOptions.privateOptions[1].option: duplicate",
    ],
  ])("K9 %s is one error", (fields, expected) => {
    expect(summary(refused(one(fields)))).toEqual([`${IFS}[0].${expected}`]);
  });

  it.each(["bootOrder: 1", "acpiIndex: 1", 'pciAddress: "0000:00:05.0"'])(
    "K9 %s belongs to one interface",
    (field) => {
      const [key] = field.split(":");
      expect(summary(refused(two(field)))).toEqual([`${IFS}[1].${key}: duplicate`]);
    },
  );

  it("K9 absent means no card, with bridge on a secondary network only", () => {
    const nics = (blue: string): string =>
      today(
        `[{name: red, slirp: {}}, {name: blue, ${blue}}]`,
        "[{name: red, pod: {}}, {name: blue, multus: {networkName: a}}]",
      );
    expect(accepted(nics("bridge: {}, state: absent")).nics.map((nic) => nic.name)).toEqual(["red"]);
    expect(accepted(nics("bridge: {}, state: up")).nics).toHaveLength(2);
    for (const binding of ["bridge", "masquerade", "slirp"]) {
      expect(summary(refused(today(`[{name: red, ${binding}: {}, state: absent}]`)))).toEqual([
        `${IFS}[0].state: conflict`,
      ]);
    }
    const first = "[{name: red, multus: {networkName: a, default: true}}]";
    expect(summary(refused(today("[{name: red, bridge: {}, state: absent}]", first)))).toEqual([
      `${IFS}[0].state: conflict`,
    ]);
  });

  it("K9 masquerade's own MAC is not for guests", () => {
    for (const mac of ["02:00:00:00:00:00", "02-00-00-00-00-00"]) {
      const fields = `macAddress: "${mac}"`;
      expect(summary(refused(today(`[{name: red, masquerade: {}, ${fields}}]`)))).toEqual([
        `${IFS}[0].macAddress: value`,
      ]);
      accepted(one(fields));
    }
  });

  it("K9 dhcpOptions become options 67, 66, 42 and the private ones", () => {
    const fields =
      "dhcpOptions: {bootFileName: pxe.0, tftpServerName: tftp.lan, ntpServers: [10.0.0.1, 010.000.0.2], privateOptions: [{option: 240, value: x=y}]}";
    expect(accepted(one(fields)).nics[0]?.dhcpOptions).toEqual([
      { code: 67, form: "text", value: "pxe.0" },
      { code: 66, form: "text", value: "tftp.lan" },
      { code: 42, form: "ip", value: "10.0.0.1,10.0.0.2" },
      { code: 240, form: "text", value: "x=y" },
    ]);
  });

  it("K9 useVirtioTransitional is for virtio cards, the default one included", () => {
    const text = (devices: string): string =>
      `apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nspec: {domain: {devices: {${devices}}}, networks: []}\n`;
    expect(accepted(text("useVirtioTransitional: true")).nics[0]?.place).toEqual({ transitional: true });
    expect(accepted(text("useVirtioTransitional: false")).nics[0]?.place).toBeUndefined();
    expect(summary(refused(text("networkInterfaceMultiqueue: yes")))).toEqual([
      "spec.domain.devices.networkInterfaceMultiqueue: type",
    ]);
  });
});

describe("names and name servers", () => {
  it("K10 host name, subdomain and name servers are read", () => {
    const model = accepted(
      today("[{name: red, slirp: {}}]", POD, {
        hostname: "web-1",
        subdomain: "web",
        dnsPolicy: "None",
        dnsConfig: '{nameservers: [010.9.9.9, "fd00::53"], searches: [a.example., b.example]}',
      }),
    );
    expect(model).toMatchObject({
      hostname: "web-1",
      subdomain: "web",
      dns: { alone: true, nameServers: ["10.9.9.9", "fd00::53"], search: ["a.example", "b.example"] },
    });
  });

  it.each([
    [{ dnsPolicy: "None" }, "spec.dnsConfig.nameservers: required"],
    [
      { dnsPolicy: "None", dnsConfig: "{nameservers: [], searches: [a.b]}" },
      "spec.dnsConfig.nameservers: required",
    ],
    [{ dnsPolicy: "none" }, "spec.dnsPolicy: value"],
    [{ dnsConfig: "{nameservers: [dns.example]}" }, "spec.dnsConfig.nameservers[0]: value"],
    [{ dnsConfig: "{searches: [a..b]}" }, "spec.dnsConfig.searches[0]: value"],
    [{ hostname: "Web" }, "spec.hostname: value"],
    [{ hostname: "web.example" }, "spec.hostname: value"],
    [{ subdomain: "-a" }, "spec.subdomain: value"],
    [{ hostnam: "web" }, "spec.hostnam: unknown-key"],
  ])("K10 %j is one error", (more, expected) => {
    expect(summary(refused(today("[{name: red, slirp: {}}]", POD, more)))).toEqual([expected]);
  });
});
