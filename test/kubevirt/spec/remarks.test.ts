/** Notes: what is read and not acted upon, and what the rest of a manifest takes for granted about its network. */
import { describe, expect, it } from "vitest";
import { validateText } from "../../../src/kubevirt/spec/validate.ts";
import { notesOf, refused, today } from "../samples.ts";

const IFS = "spec.domain.devices.interfaces";
const POD = "[{name: red, pod: {}}]";
const MULTUS = "[{name: red, multus: {networkName: a}}]";
const SLIRP = "[{name: red, slirp: {}, ports: [{name: web, port: 80}, {port: 53, protocol: UDP}]}]";

/** The places of the notes. */
function places(text: string): string[] {
  return notesOf(text).map((note) => note.slice(0, note.indexOf(": ")));
}

describe("K11 nothing is ignored in silence", () => {
  it.each([
    ["tag", "[{name: red, slirp: {}, tag: x}]", POD, {}, `${IFS}[0].tag`],
    ["a PCI bus", '[{name: red, slirp: {}, pciAddress: "0000:81:00.0"}]', POD, {}, `${IFS}[0].pciAddress`],
    ["ports on bridge", "[{name: red, bridge: {}, ports: [{port: 80}]}]", POD, {}, `${IFS}[0].ports`],
    [
      "dhcpOptions where nobody serves DHCP",
      "[{name: red, bridge: {}, dhcpOptions: {bootFileName: x}}]",
      MULTUS,
      {},
      `${IFS}[0].dhcpOptions`,
    ],
    [
      "the default network",
      "[{name: red, bridge: {}}]",
      "[{name: red, multus: {networkName: a, default: true}}]",
      {},
      "spec.networks[0].multus.default",
    ],
    [
      "vmNetworkCIDR with bridge",
      "[{name: red, bridge: {}}]",
      "[{name: red, pod: {vmNetworkCIDR: 10.1.0.0/24}}]",
      {},
      "spec.networks[0].pod.vmNetworkCIDR",
    ],
    [
      "vmIPv6NetworkCIDR",
      SLIRP,
      '[{name: red, pod: {vmIPv6NetworkCIDR: "fd10:0:2::/120"}}]',
      {},
      "spec.networks[0].pod.vmIPv6NetworkCIDR",
    ],
    ["cluster DNS", SLIRP, POD, { dnsPolicy: "ClusterFirst" }, "spec.dnsPolicy"],
    ["resolver options", SLIRP, POD, { dnsConfig: "{options: [{name: ndots}]}" }, "spec.dnsConfig.options"],
    ["a host name nobody is told", "[{name: red, bridge: {}}]", MULTUS, { hostname: "web" }, "spec.hostname"],
  ] as const)("%s", (_, interfaces, networks, more, place) => {
    expect(places(today(interfaces, networks, more))).toEqual([place]);
  });

  it("K11 fields of the devices", () => {
    const text = (field: string): string =>
      today(SLIRP).replace("      interfaces", `      ${field}\n      interfaces`);
    expect(places(text("networkInterfaceMultiqueue: true"))).toEqual([
      "spec.domain.devices.networkInterfaceMultiqueue",
    ]);
    expect(places(text("networkInterfaceMultiqueue: false"))).toEqual([]);
    expect(places(text("autoattachPodInterface: false"))).toEqual([
      "spec.domain.devices.autoattachPodInterface",
    ]);
    expect(places(text("useVirtioTransitional: true"))).toEqual([]);
    expect(
      places(text("useVirtioTransitional: true").replace("slirp: {}", "slirp: {}, model: e1000")),
    ).toEqual(["spec.domain.devices.useVirtioTransitional"]);
  });

  it("K11 a note has its file, document, line and place", () => {
    const text = `kind: Service\n---\n${today("[{name: red, slirp: {}, tag: x}]")}`;
    const { notes, vms } = validateText("vm.yaml", text);
    expect(notes.map(({ document, line }) => [document, line])).toEqual([
      [1, 1],
      [2, 8],
    ]);
    expect(vms[0]?.notes).toEqual([notes[1]]);
  });

  it("K11 documents of 2018 have none", () => {
    const text =
      "kind: VM\nspec: {domain: {devices: {interfaces: [{name: n, bridge: {}, ports: [{port: 80}]}]}}, networks: [{name: n, pod: {}}]}\n";
    expect(notesOf(text)).toEqual([]);
  });
});

describe("K12 cross-checks", () => {
  const probe = (field: string): string[] => notesOf(today(SLIRP, POD, { readinessProbe: field }));

  it("K12 a probe of a port that is not forwarded always fails", () => {
    for (const way of [
      "tcpSocket: {port: 81}",
      "httpGet: {port: 81}",
      "tcpSocket: {port: 53}",
      "httpGet: {port: admin}",
    ]) {
      expect(probe(`{${way}}`)).toEqual([expect.stringContaining("it always fails")]);
    }
    for (const port of ["80", "web", '"80"']) expect(probe(`{httpGet: {port: ${port}}}`)).toEqual([]);
    expect(probe("{exec: {command: [a]}}")).toEqual([]);
    expect(probe("{httpGet: {port: 81, host: 192.0.2.1}}")).toEqual([]);
    expect(
      notesOf(today("[{name: red, bridge: {}}]", POD, { livenessProbe: "{tcpSocket: {port: 81}}" })),
    ).toEqual([]);
    const range = "[{name: red, masquerade: {}, portRanges: [{protocol: TCP, start: 8000, end: 8010}]}]";
    expect(places(today(range, POD, { livenessProbe: "{httpGet: {port: 8005}}" }))).toEqual([
      `${IFS}[0].masquerade`,
    ]);
  });

  it("K12 a TCP probe behind NAT tells nothing about the guest", () => {
    expect(probe("{tcpSocket: {port: 80}}")).toEqual([
      expect.stringMatching(/^spec\.readinessProbe\.tcpSocket\.port: .*succeeds with nothing listening/),
    ]);
  });

  it("K12 Istio's own ports", () => {
    const inject = (interfaces: string, value = '"true"'): string =>
      today(interfaces).replace(
        "spec:\n",
        `metadata: {annotations: {sidecar.istio.io/inject: ${value}}}\nspec:\n`,
      );
    const nic = "[{name: red, slirp: {}, ports: [{port: 15001}]}]";
    expect(notesOf(inject(nic))).toEqual([expect.stringContaining(`${IFS}[0].ports[0].port: 15001: `)]);
    expect(notesOf(inject(nic, '"false"'))).toEqual([]);
    expect(notesOf(today(nic))).toEqual([]);
    expect(notesOf(inject("[{name: red, slirp: {}, ports: [{port: 15002}]}]"))).toEqual([]);
    const range = "[{name: red, masquerade: {}, portRanges: [{protocol: TCP, start: 15005, end: 15009}]}]";
    expect(notesOf(inject(range)).join()).toContain("15006, 15008, 15009");
    const machine = `apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nspec: {template: {metadata: {annotations: {sidecar.istio.io/inject: "true"}}, spec: {domain: {devices: {interfaces: ${nic}}}, networks: ${POD}}}}\n`;
    expect(notesOf(machine)).toHaveLength(1);
  });

  const data = (
    interfaces: string,
    text: string,
    source = "cloudInitNoCloud",
    key = "networkData",
  ): string[] =>
    notesOf(today(interfaces, POD, { volumes: `[{name: c, ${source}: {${key}: ${JSON.stringify(text)}}}]` }));

  it.each([
    ["version 2", "version: 2\nethernets:\n  eth0: {addresses: [ADDRESS/24]}\n"],
    [
      "version 2 inside network",
      "network:\n  version: 2\n  ethernets:\n    eth0: {addresses: [ADDRESS/24]}\n",
    ],
    [
      "version 1",
      "version: 1\nconfig:\n- {type: physical, name: eth0, subnets: [{type: static, address: ADDRESS, netmask: 255.255.255.0}]}\n",
    ],
    [
      "OpenStack's form",
      JSON.stringify({
        links: [{ id: "a", type: "phy" }],
        networks: [{ link: "a", type: "ipv4", ip_address: "ADDRESS" }],
      }),
    ],
  ])("K12 a static address that is not the guest's, in %s", (_, text) => {
    const at = (address: string): string => text.replace("ADDRESS", address);
    for (const source of ["cloudInitNoCloud", "cloudInitConfigDrive"]) {
      expect(data(SLIRP, at("10.0.2.15"), source)).toEqual([]);
      expect(data(SLIRP, at("10.0.2.2"), source)).toEqual([
        expect.stringContaining(
          `spec.volumes[0].${source}.networkData: it gives the guest the address "10.0.2.2"`,
        ),
      ]);
    }
    const masquerade = SLIRP.replace("slirp", "masquerade");
    expect(data(masquerade, at("10.0.2.2"))).toHaveLength(1);
    expect(data(masquerade, at("10.0.2.9"))).toHaveLength(2);
    expect(data("[{name: red, bridge: {}}]", at("10.0.2.9"))).toEqual([]);
    const encoded = Buffer.from(at("10.0.2.9")).toString("base64");
    expect(data(SLIRP, encoded, "cloudInitNoCloud", "networkDataBase64")).toHaveLength(1);
  });

  it("K12 an IPv6 address behind NAT, and a MAC no interface has", () => {
    const text = (mac: string): string =>
      `version: 2\nethernets:\n  id0: {match: {macaddress: "${mac}"}, dhcp4: true, addresses: [fd10:0:2::2/120]}\n`;
    const nic = '[{name: red, slirp: {}, macAddress: "52:54:00:AA:00:01"}]';
    expect(data(nic, text("52:54:00:aa:00:01"))).toEqual([expect.stringContaining("no IPv6")]);
    expect(data(nic, text("52:54:00:aa:00:02"))).toEqual([
      expect.stringContaining('the MAC "52:54:00:aa:00:02", which no interface has'),
    ]);
  });

  it("K12 of several cards one is meant by its number, or by an address of its subnet", () => {
    const notes = (link: string, address: string): string[] => {
      const text = JSON.stringify(`version: 2\nethernets:\n  ${link}: {addresses: [${address}/24]}\n`);
      const nics = "[{name: red, slirp: {}}, {name: blue, bridge: {}}]";
      const nets = "[{name: red, pod: {}}, {name: blue, multus: {networkName: a}}]";
      return notesOf(today(nics, nets, { volumes: `[{name: c, cloudInitNoCloud: {networkData: ${text}}}]` }));
    };
    expect(notes("eth0", "192.168.1.5")).toHaveLength(1);
    expect(notes("eth1", "192.168.1.5")).toEqual([]);
    expect(notes("enp1s0", "192.168.1.5")).toEqual([]);
    expect(notes("enp1s0", "10.0.2.7")).toHaveLength(1);
    expect(notes("enp1s0", "10.0.2.15")).toEqual([]);
  });

  it("K12 network data that is no YAML, or something else, is none of ours", () => {
    for (const text of ["a: [", "[]", "hello", "version: 2\nethernets: 5\n", "config: {a: b}", "&a [*a]"]) {
      expect(data(SLIRP, text)).toEqual([]);
    }
  });

  it.each(["n", "y", "on", "Off", "YES", "no"])("K12 the name %s is a boolean to kubectl", (name) => {
    const text = today(`[{name: ${name}, slirp: {}}]`, `[{name: ${name}, pod: {}}]`);
    expect(places(text)).toEqual([`${IFS}[0].name`, "spec.networks[0].name"]);
    expect(notesOf(text)[0]).toContain(`write "${name}"`);
    expect(notesOf(text.replaceAll(`name: ${name}`, `name: "${name}"`))).toEqual([]);
  });

  it("K12 MACs of decimal digits, octal numbers and dates, in what kubectl reads", () => {
    expect(notesOf(today("[{name: 2026-01-02, slirp: {}}]", "[{name: 2026-01-02, pod: {}}]"))[0]).toContain(
      "as a date",
    );
    expect(notesOf(today("[{name: red, slirp: {}, ports: [{port: 0o120}]}]"))[0]).toContain(
      "as text (YAML 1.1): write 80",
    );
    expect(places(today("[{name: red, slirp: {}, macAddress: 52:54:00:12:34:56}]"))).toEqual([
      `${IFS}[0].macAddress`,
    ]);
    expect(places(today("[{name: red, slirp: {}, macAddress: 02:00:00:00:00:01}]"))).toEqual([
      `${IFS}[0].macAddress`,
    ]);
    expect(places(today("[{name: red, slirp: {}, macAddress: 52:54:00:12:34:5a}]"))).toEqual([]);
    expect(places(today("[{name: red, slirp: {}, macAddress: 52-54-00-12-34-56}]"))).toEqual([]);
    expect(notesOf(today("[{name: red, slirp: {}, ports: [{port: 0100}]}]"))).toEqual([
      expect.stringContaining("as the octal number 64 (YAML 1.1): write 100"),
    ]);
    expect(notesOf(today("[{name: nO, slirp: {}}]", "[{name: nO, pod: {}}]"))).toEqual([]);
  });

  it("K12 a cluster refuses upper case in a port's name, and two things with one boot order", () => {
    expect(notesOf(today("[{name: red, slirp: {}, ports: [{name: HTTP, port: 80}]}]"))).toEqual([
      `${IFS}[0].ports[0].name: a cluster refuses upper case in a port's name: write http`,
    ]);
    const text = today("[{name: red, slirp: {}, bootOrder: 1}]");
    const disk = text.replace("      interfaces", "      disks: [{name: d, bootOrder: 1}]\n      interfaces");
    expect(places(disk)).toEqual([`${IFS}[0].bootOrder`]);
  });

  it("K12 a document that is wrong has its errors alone", () => {
    const text = today("[{name: n, slirp: {}, prots: []}]", "[{name: n, pod: {}}]");
    expect(refused(text)).toHaveLength(1);
    expect(validateText("vm.yaml", text).notes).toEqual([]);
  });
});
