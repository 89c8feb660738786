/** KubeVirt's manifests of today: which documents are read, in which words, and how slips are told. */
import { describe, expect, it } from "vitest";
import { validateText } from "../../../src/kubevirt/spec/validate.ts";
import { accepted, notesOf, refused, sample, summary, today } from "../samples.ts";

const IFS = "spec.domain.devices.interfaces";
const POD = "[{name: red, pod: {}}]";
const MULTUS = "[{name: red, multus: {networkName: ns/red}}]";

/** A VirtualMachine whose template's spec is this, in YAML flow style. */
function virtualMachine(spec: string, head = "apiVersion: kubevirt.io/v1\n"): string {
  return `${head}kind: VirtualMachine\nspec: {template: {spec: ${spec}}}\n`;
}

const GOOD = `{domain: {devices: {interfaces: [{name: red, masquerade: {}, ports: [{port: 80}]}]}}, networks: ${POD}}`;

describe("which documents", () => {
  it("K1 three kinds, any version of the group, or no apiVersion", () => {
    for (const head of ["apiVersion: kubevirt.io/v1\n", "apiVersion: kubevirt.io/v1alpha3\n", ""]) {
      expect(accepted(virtualMachine(GOOD, head)).nics).toHaveLength(1);
      expect(accepted(`${head}kind: VirtualMachineInstance\nspec: ${GOOD}\n`).nics).toHaveLength(1);
    }
    for (const head of ["apiVersion: example.org/v7\n", "apiVersion: v1\n", ""]) {
      expect(accepted(`${head}${sample("a6-slirp")}`).nics[0]).toMatchObject({ binding: "slirp" });
    }
  });

  it("K1 a VirtualMachine of another group is skipped with a note that names the group", () => {
    const result = validateText("vm.yaml", virtualMachine(GOOD, "apiVersion: hypervisor.example/v1\n"));
    expect([result.problems, result.vms]).toEqual([[], []]);
    expect(result.notes[0]?.message).toContain('of group "hypervisor.example"');
    const core = validateText("vm.yaml", virtualMachine(GOOD, "apiVersion: v1\n"));
    expect(core.notes[0]?.message).toContain("of the core group");
  });

  it.each(["kubevirt.io", "kubevrit.io/v1", "kubevirt.io/", "kubevirt.io/latest", "1", "[a]"])(
    "K1 the apiVersion %s is a slip, not another group",
    (version) => {
      const [problem, ...others] = refused(virtualMachine(GOOD, `apiVersion: ${version}\n`));
      expect([problem, others]).toMatchObject([{ path: "apiVersion", code: "kind" }, []]);
    },
  );

  it("K1 the items of a List are read, and paths begin with the item", () => {
    const wrong = virtualMachine(
      "{domain: {devices: {interfaces: [{name: red, masquarade: {}}]}}, networks: [{name: red, pod: {}}]}",
    );
    const item = (text: string): string => `- ${text.trim().replaceAll("\n", "\n  ")}\n`;
    const list = `apiVersion: v1\nkind: List\nitems:\n${item(virtualMachine(GOOD))}${item(wrong)}${item("kind: Service")}`;
    const { problems, vms, notes } = validateText("vm.yaml", list);
    expect(problems.map(({ path, hint }) => [path, hint])).toEqual([
      [`items[1].spec.template.${IFS}[0].masquarade`, "did you mean masquerade?"],
    ]);
    expect(problems[0]?.span?.line).toBe(9);
    expect(vms.map(({ document, item }) => [document, item])).toEqual([[1, "items[0]"]]);
    expect(notes.map(({ message }) => message).join()).toContain("items[2] of document 1 is of kind");
  });

  it("K1 a List without items is no list, an empty one is told", () => {
    expect(summary(refused("kind: List\n"))).toEqual(["items: required"]);
    expect(summary(refused("kind: List\nitems: {}\n"))).toEqual(["items: type"]);
    expect(notesOf("kind: List\nitems: []\n")).toEqual(["items: the list is empty"]);
    expect(summary(refused("kind: list\nitems: []\n"))).toEqual(["kind: kind"]);
  });

  it("K1 JSON and Windows line ends are read as well", () => {
    const json = JSON.stringify({
      apiVersion: "kubevirt.io/v1",
      kind: "VirtualMachineInstance",
      spec: {
        domain: { devices: { interfaces: [{ name: "n", masquerade: {}, ports: [{ port: 80 }] }] } },
        networks: [{ name: "n", pod: {} }],
      },
    });
    expect(accepted(json.replaceAll(",", ",\n\t")).nics[0]).toMatchObject({ name: "n" });
    expect(accepted(virtualMachine(GOOD).replaceAll("\n", "\r\n")).nics).toHaveLength(1);
  });

  it("K1 merge keys are read, as kubectl reads them, and problems shown where the value stands", () => {
    const base =
      "x-nic: &nic {model: MODEL, slirp: {}}\nx-more: &more {ports: [{port: 80}], model: e1000e}\n";
    const nic = "{<<: [*nic, *more], name: red}";
    const text = `${base}apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nspec: {domain: {devices: {interfaces: [${nic}]}}, networks: ${POD}}\n`;
    expect(accepted(text.replace("MODEL", "e1000")).nics[0]).toMatchObject({
      name: "red",
      model: "e1000",
      binding: "slirp",
      ports: [{ port: 80 }],
    });
    expect(refused(text.replace("MODEL", "e100"))).toMatchObject([
      { path: "spec.domain.devices.interfaces[0].model", span: { line: 1, column: 21 } },
    ]);
    const whole = "x: &spec {domain: {interfaces: []}}\nkind: VM\nspec: {<<: *spec}\n";
    expect(summary(refused(whole))).toEqual(["spec.domain.interfaces: misplaced"]);
    expect(refused("kind: VM\nspec: {<<: 5}\n")[0]?.found).toBe("<< with something that is no mapping");
    expect(
      summary(
        refused(
          'kind: VM\nspec: {domain: {devices: {interfaces: [{"<<": {}, name: red, slirp: {}}]}}, networks: [{name: red, pod: {}}]}\n',
        ),
      ),
    ).toEqual(['spec.domain.devices.interfaces[0]["<<"]: unknown-key']);
  });

  it("K1 kinds that make VMs, and kinds of networks, are skipped with what to write", () => {
    const advice = (kind: string): string =>
      validateText("x", `kind: ${kind}\nspec: {}\n`).notes[0]?.message ?? "";
    expect(advice("VirtualMachinePool")).toContain("spec.virtualMachineTemplate");
    expect(advice("VirtualMachineInstanceReplicaSet")).toContain("spec.template");
    expect(advice("NetworkAttachmentDefinition")).toContain("--network NETWORK=DEVICE");
  });

  it.each([
    [sample("a2-resource-fragment"), "a part of a VM's spec (networks)"],
    ["interfaces: [{name: red, slirp: {}}]\n", "a part of a VM's spec (interfaces)"],
    [`spec: ${GOOD}\n`, "it looks like a VirtualMachineInstance"],
    [`spec: {template: {spec: ${GOOD}}}\n`, "it looks like a VirtualMachine:"],
    [`template: {spec: ${GOOD}}\n`, "the spec of a VirtualMachine"],
    ["items: []\n", "write kind: List"],
    ["Kind: VM\nspec: {}\n", "did you mean kind?"],
  ])("K2 a document without kind is an error that says what it looks like: %j", (text, sentence) => {
    const problems = refused(text);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatchObject({ code: "kind", found: "a document without kind" });
    expect(problems[0]?.hint).toContain(sentence);
  });

  it.each(["a: b\n", "- a\n", "hello\n", "kind:\nspec: {}\n", "kind: [VM]\n"])(
    "K2 neither is %j a success",
    (text) => {
      expect(refused(text)).toHaveLength(1);
    },
  );
});

describe("fields in places where nobody looks", () => {
  const nic = "[{name: red, slirp: {}}]";
  it.each([
    [
      "domain.interfaces",
      virtualMachine(`{domain: {interfaces: [slirp]}, networks: ${POD}}`),
      "spec.template.spec.domain.interfaces",
      "spec.template.spec.domain.devices.interfaces",
    ],
    [
      "domain.interfaces alone, in kind: VM",
      "kind: VM\nspec: {domain: {interfaces: [slirp]}}\n",
      "spec.domain.interfaces",
      IFS,
    ],
    [
      "devices.interface",
      virtualMachine(`{domain: {devices: {interface: ${nic}}}, networks: ${POD}}`),
      "spec.template.spec.domain.devices.interface",
      "spec.template.spec.domain.devices.interfaces",
    ],
    [
      "devices.networks",
      virtualMachine(`{domain: {devices: {interfaces: ${nic}, networks: ${POD}}}}`),
      "spec.template.spec.domain.devices.networks",
      "spec.template.spec.networks",
    ],
    [
      "networks beside the template",
      `apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nspec: {networks: ${POD}, template: {spec: {domain: {devices: {interfaces: ${nic}}}}}}\n`,
      "spec.networks",
      "spec.template.spec.networks",
    ],
    [
      "domain in place of the template",
      `apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nspec: {domain: {devices: {interfaces: ${nic}}}}\n`,
      "spec.domain",
      "spec.template.spec.domain",
    ],
    [
      "template beside kind",
      `apiVersion: kubevirt.io/v1\nkind: VirtualMachine\ntemplate: {spec: ${GOOD}}\n`,
      "template",
      "spec.template",
    ],
    [
      "a template in an instance",
      `apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nspec: {template: {spec: ${GOOD}}}\n`,
      "spec.template",
      "spec",
    ],
    ["interfaces beside kind", `kind: VM\ninterfaces: ${nic}\nspec: {}\n`, "interfaces", IFS],
    [
      "interfaces under a disk",
      today(nic).replace("      interfaces:", "      disks: [{name: d, interfaces: []}]\n      interfaces:"),
      "spec.domain.devices.disks[0].interfaces",
      IFS,
    ],
    [
      "the older form in a document of today's",
      `apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nspec: {devices: {interfaces: [{name: red, bridge: {}}]}, networks: ${POD}}\n`,
      "spec.devices",
      "spec.domain.devices",
    ],
    [
      "autoattachPodInterface under spec",
      "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nspec: {autoattachPodInterface: false}\n",
      "spec.autoattachPodInterface",
      "spec.domain.devices.autoattachPodInterface",
    ],
  ])("K3 %s is an error that names the right place", (_, text, path, right) => {
    const problems = refused(text);
    expect(problems.map((problem) => problem.path)).toEqual([path]);
    expect(problems[0]).toMatchObject({ code: "misplaced", allowed: `it at ${right}` });
  });

  it.each([
    ["{domain: {devices: {autoAttachPodInterface: false}}}", "autoattachPodInterface"],
    ["{domain: {devices: {interfcaes: []}}}", "interfaces"],
    ["{domian: {devices: {}}}", "domain"],
    ["{domain: {device: {}}}", "devices"],
    ["{netwroks: []}", "networks"],
  ])("K3 a decisive key with a slip in it is not passed over: %s", (spec, meant) => {
    const problems = refused(`apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nspec: ${spec}\n`);
    expect(problems.map(({ code, hint }) => [code, hint])).toEqual([
      ["unknown-key", `did you mean ${meant}?`],
    ]);
  });

  it("K3 what kubectl prints of a running VM, and labels called network, are in the right place", () => {
    const text = `${today(`[{name: red, slirp: {}}]`, POD, { nodeSelector: "{network: fast}" })}status: {interfaces: [{name: red}]}\n`;
    expect(accepted(text).nics).toHaveLength(1);
  });
});

describe("two vocabularies", () => {
  it.each([
    ["masquerade", "[{name: red, masquerade: {}}]", POD],
    ["passtBinding", "[{name: red, passtBinding: {}}]", POD],
    ["binding", "[{name: red, binding: {name: slirp}}]", POD],
    ["multus", "[{name: red, bridge: {}}]", MULTUS],
    ["vmNetworkCIDR", "[{name: red, slirp: {}}]", "[{name: red, pod: {vmNetworkCIDR: 10.1.0.0/24}}]"],
    ["portRanges", "[{name: red, slirp: {}, portRanges: []}]", POD],
    ["bootOrder", "[{name: red, slirp: {}, bootOrder: 1}]", POD],
    ["pciAddress", '[{name: red, slirp: {}, pciAddress: "0000:00:05.0"}]', POD],
    ["dhcpOptions", "[{name: red, slirp: {}, dhcpOptions: {}}]", POD],
    ["igb", "[{name: red, slirp: {}, model: igb}]", POD],
  ])("K4 %s stays an error in kind: VM, told once, with a hint", (key, interfaces, networks) => {
    const text = `kind: VM\nspec: {domain: {devices: {interfaces: ${interfaces}}}, networks: ${networks}}\n`;
    const problems = refused(text);
    expect(problems).toHaveLength(1);
    expect(problems[0]?.hint).toBe(
      `${key} is today's form: write apiVersion: kubevirt.io/v1, kind: VirtualMachine`,
    );
    accepted(`apiVersion: kubevirt.io/v1\n${text}`);
  });

  it("K4 documents of today's know nothing of delegateIp", () => {
    const [problem] = refused(today("[{name: red, bridge: {delegateIp: true}}]"));
    expect(problem).toMatchObject({ path: `${IFS}[0].bridge.delegateIp`, code: "unknown-key" });
  });
});

describe("one slip, one message", () => {
  it("K13 a guess is made only when most of the word agrees", () => {
    const hint = (fields: string): string | undefined =>
      refused(today(`[{name: red, slirp: {}, ${fields}}]`))[0]?.hint;
    expect(hint('pciAdress: "0000:00:05.0"')).toBe("did you mean pciAddress?");
    expect(hint("bootOrdre: 1")).toBe("did you mean bootOrder?");
    expect(hint("usbAddress: 1")).toBeUndefined();
    expect(hint("tog: x")).toBe("did you mean tag?");
    expect(hint("toga: x")).toBeUndefined();
    const old = refused(
      "kind: VM\nspec: {domain: {devices: {interfaces: [{name: red, slirp: {}, pciAddress: x}]}}, networks: [{name: red, pod: {}}]}\n",
    );
    expect(old.map((problem) => problem.hint)).toEqual([expect.stringContaining("today's form")]);
  });

  it("K13 an unknown binding or network type is one error", () => {
    expect(summary(refused(today("[{name: red, tunnel: {}}]")))).toEqual([`${IFS}[0].tunnel: unknown-key`]);
    expect(summary(refused(today("[{name: red, slirp: {}}]", "[{name: red, vlan: {id: 5}}]")))).toEqual([
      "spec.networks[0].vlan: unknown-key",
    ]);
  });

  it("K13 text that is no YAML is told once a document, where it begins", () => {
    const tabs = "kind: VM\nspec:\n\tdomain:\n\t\tdevices:\n\t\t\tinterfaces: []\n";
    expect(refused(tabs).map(({ hint }) => hint)).toEqual(["indent with blanks"]);
    expect(refused(`${today("[{name: red, slirp: {}}]")} ...\n`)[0]?.hint).toContain("take the line away");
  });

  it("K13 YAML 1.1's words for true and false get a hint", () => {
    const text =
      "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nspec: {domain: {devices: {autoattachPodInterface: no}}}\n";
    expect(refused(text)[0]?.hint).toBe("only YAML 1.1 reads no as false: write false");
  });
});
