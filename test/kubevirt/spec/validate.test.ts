import { describe, expect, it } from "vitest";
import { NIC_MODELS } from "../../../src/kubevirt/spec/spec-schema.ts";
import { validateText } from "../../../src/kubevirt/spec/validate.ts";
import {
  accepted,
  newForm,
  oldForm,
  refused,
  sample,
  summary,
  WHOLE_SAMPLES,
  wrappedFragment,
} from "../samples.ts";

const INTERFACES = "spec.domain.devices.interfaces";

describe("the spec model", () => {
  it("S1 networks are backends and interfaces frontends, joined by name", () => {
    expect(accepted(sample("a1-pod-bridge")).nics).toEqual([
      {
        name: "red",
        model: "e1000",
        mac: "de:ad:00:00:be:af",
        binding: "bridge",
        delegate: true,
        backend: { kind: "pod" },
        ports: [],
      },
    ]);
  });

  it("S2 an interface without a network of its name is an error that names both", () => {
    const problems = refused(newForm("[{name: red, slirp: {}}]", "[{name: rod, pod: {}}]"));
    expect(summary(problems)).toEqual([
      `${INTERFACES}[0].name: unconnected`,
      "spec.networks[0].name: unconnected",
    ]);
    expect(problems[0]).toMatchObject({ found: '"red"', hint: 'did you mean "rod"?' });
  });

  it.each([
    ["none", "{name: red}", ["spec.networks[0]: required"]],
    ["two", "{name: red, pod: {}, resource: {resourceName: a/b}}", ["spec.networks[0]: conflict"]],
    ["another key", "{name: red, multus: {}}", ["spec.networks[0].multus: unknown-key"]],
    ["a misspelt one, told once", "{name: red, pdo: {}}", ["spec.networks[0].pdo: unknown-key"]],
  ])("S3 a network has exactly one type: %s", (_, network, expected) => {
    expect(summary(refused(newForm("[{name: red, bridge: {}}]", `[${network}]`)))).toEqual(expected);
  });

  it("S4 network names are unique, blanks around them aside", () => {
    const networks = '[{name: red, pod: {}}, {name: " red ", resource: {resourceName: a/b}}]';
    expect(summary(refused(newForm("[{name: red, bridge: {}}]", networks)))).toEqual([
      "spec.networks[1].name: duplicate",
    ]);
  });

  it.each(WHOLE_SAMPLES)("S6 the sample %s is accepted verbatim", (name) => {
    accepted(sample(name));
  });

  it("S6 the sample that is a fragment is accepted inside a whole document, trailing blank and all", () => {
    expect(sample("a2-resource-fragment")).toContain("name: red \n");
    expect(accepted(wrappedFragment()).nics[0]).toMatchObject({
      name: "red",
      backend: { kind: "resource", resourceName: "bridge.network.kubevirt.io/red" },
    });
  });

  it("S6 one-space list indents and comments make no difference", () => {
    expect(accepted(sample("a3-ports")).nics[0].ports).toEqual([{ name: "http", port: 80, protocol: "tcp" }]);
  });

  it("S7 interfaces on different networks may have different bindings", () => {
    const networks = "[{name: red, pod: {}}, {name: blue, resource: {resourceName: a/b}}]";
    const model = accepted(newForm("[{name: red, slirp: {}}, {name: blue, bridge: {}}]", networks));
    expect(model.nics.map((nic) => [nic.binding, nic.backend.kind])).toEqual([
      ["slirp", "pod"],
      ["bridge", "resource"],
    ]);
  });

  it("S8 both bindings at once are an error", () => {
    const problems = refused(newForm("[{name: red, bridge: {}, slirp: {}}]"));
    expect(summary(problems)).toEqual([`${INTERFACES}[0]: conflict`]);
    expect(problems[0]).toMatchObject({ found: "bridge and slirp", span: { line: 5 } });
  });

  it("S9 the models are accepted, virtio is the default, and case counts", () => {
    for (const model of NIC_MODELS) {
      expect(accepted(newForm(`[{name: red, model: ${model}, slirp: {}}]`)).nics[0].model).toBe(model);
    }
    expect(accepted(newForm("[{name: red, slirp: {}}]")).nics[0].model).toBe("virtio");
    const [problem] = refused(newForm("[{name: red, model: E1000, slirp: {}}]"));
    expect(problem).toMatchObject({
      path: `${INTERFACES}[0].model`,
      found: '"E1000"',
      hint: "did you mean e1000?",
    });
    expect(problem.allowed).toContain("rtl8139");
  });

  it("S10 both MAC notations are accepted and normalised", () => {
    expect(accepted(newForm("[{name: red, macAddress: DE-AD-00-00-BE-AF, slirp: {}}]")).nics[0].mac).toBe(
      "de:ad:00:00:be:af",
    );
    expect(accepted(newForm('[{name: red, macAddress: "de:ad:00:00:be:af", slirp: {}}]')).nics[0].mac).toBe(
      "de:ad:00:00:be:af",
    );
  });

  it.each([
    "01:00:5e:00:00:01",
    "ff:ff:ff:ff:ff:ff",
    "00:00:00:00:00:00",
    "00-00-00-00-00-00",
    "dead.0000.beaf",
    "de:ad:00:00:be",
    "de:ad-00:00:be:af",
    "de:ad:00:00:be:ag",
  ])("S10 the MAC address %s is an error", (mac) => {
    expect(summary(refused(newForm(`[{name: red, macAddress: "${mac}", slirp: {}}]`)))).toEqual([
      `${INTERFACES}[0].macAddress: value`,
    ]);
  });

  it("S11 a port needs a number from 1 to 65535; the name is an IANA service name, once per interface", () => {
    const ports = (list: string): string => newForm(`[{name: red, slirp: {}, ports: [${list}]}]`);
    expect(accepted(ports("{port: 1}, {port: 65535, name: a-1}")).nics[0].ports).toEqual([
      { port: 1, protocol: "tcp" },
      { name: "a-1", port: 65535, protocol: "tcp" },
    ]);
    for (const port of ["0", "65536", "-1", "1.5", '"80"', "null", ".nan"]) {
      expect(refused(ports(`{port: ${port}}`))[0]).toMatchObject({ path: `${INTERFACES}[0].ports[0].port` });
    }
    expect(summary(refused(ports("{name: http}")))).toEqual([`${INTERFACES}[0].ports[0].port: required`]);
    for (const name of ["-a", "a-", "a--b", '"1234"', "abcdefghijklmnop", "a_b", '""', '"a b"']) {
      expect(summary(refused(ports(`{port: 1, name: ${name}}`)))).toEqual([
        `${INTERFACES}[0].ports[0].name: value`,
      ]);
    }
    expect(summary(refused(ports("{port: 1, name: http}, {port: 2, name: HTTP}")))).toEqual([
      `${INTERFACES}[0].ports[1].name: duplicate`,
    ]);
    expect(summary(refused(ports("{port: 1}, {port: 1}")))).toEqual([
      `${INTERFACES}[0].ports[1].port: duplicate`,
    ]);
  });

  it("S12 the protocol is TCP by default, TCP or UDP otherwise, upper case; one port may have both", () => {
    const ports = (list: string): string => newForm(`[{name: red, slirp: {}, ports: [${list}]}]`);
    expect(
      accepted(ports("{port: 53}, {port: 53, protocol: UDP}")).nics[0].ports.map((port) => port.protocol),
    ).toEqual(["tcp", "udp"]);
    for (const protocol of ["tcp", "SCTP", "17"]) {
      expect(refused(ports(`{port: 1, protocol: ${protocol}}`))[0]).toMatchObject({
        path: `${INTERFACES}[0].ports[0].protocol`,
      });
    }
  });

  it("S15 without interfaces and networks there is one default NIC, bridge on pod", () => {
    for (const spec of [
      "{}",
      "{domain: {devices: {disks: []}}}",
      "{domain: {devices: {interfaces: []}}, networks: []}",
    ]) {
      expect(accepted(`kind: VM\nspec: ${spec}\n`).nics).toEqual([
        {
          name: "default",
          model: "virtio",
          binding: "bridge",
          delegate: true,
          backend: { kind: "pod" },
          ports: [],
        },
      ]);
    }
  });

  it("S16 autoattachPodInterface: false without interfaces is no NIC at all, in both forms", () => {
    expect(accepted(sample("a4-no-network")).nics).toEqual([]);
    expect(accepted("kind: VM\nspec: {devices: {autoattachPodInterface: false}}").nics).toEqual([]);
    expect(accepted("kind: VM\nspec: {domain: {devices: {autoattachPodInterface: true}}}").nics).toHaveLength(
      1,
    );
    expect(summary(refused("kind: VM\nspec: {domain: {devices: {autoattachPodInterface: 0}}}"))).toEqual([
      "spec.domain.devices.autoattachPodInterface: type",
    ]);
  });
});

describe("the bindings in a spec", () => {
  it("S21 bridge takes no fields in the newer form", () => {
    const [problem] = refused(newForm("[{name: red, bridge: {delegateIp: true}}]"));
    expect(problem).toMatchObject({ path: `${INTERFACES}[0].bridge.delegateIp`, code: "unknown-key" });
    expect(problem.hint).toContain("always gives the address");
  });

  it("S23 pod with bridge is Ethernet in the older form, with delegateIp it is IP", () => {
    const delegates = (bridge: string): boolean =>
      accepted(oldForm(`[{name: red, bridge: ${bridge}}]`)).nics[0].delegate;
    expect([delegates("{}"), delegates("{delegateIp: false}"), delegates("{delegateIp: true}")]).toEqual([
      false,
      false,
      true,
    ]);
  });

  it("S26 delegateIp on a resource network is an error", () => {
    const text = oldForm(
      "[{name: red, bridge: {delegateIp: true}}]",
      "[{name: red, resource: {resourceName: a/b}}]",
    );
    expect(summary(refused(text))).toContain("spec.devices.interfaces[0].bridge.delegateIp: conflict");
  });

  it("S30 slirp takes no fields", () => {
    expect(summary(refused(newForm("[{name: red, slirp: {net: 10.0.0.0/8}}]")))).toEqual([
      `${INTERFACES}[0].slirp.net: unknown-key`,
    ]);
  });

  it.each(["red", "a/b/c", "/red", "plugin/", "/", '""', '"a /b"'])(
    "S33 the resource name %s is an error",
    (resource) => {
      const problems = refused(
        newForm("[{name: red, bridge: {}}]", `[{name: red, resource: {resourceName: ${resource}}}]`),
      );
      expect(summary(problems)).toEqual(["spec.networks[0].resource.resourceName: value"]);
    },
  );

  it("S39 (and S32) slirp on a resource network is an error", () => {
    const problems = refused(
      newForm("[{name: red, slirp: {}}]", "[{name: red, resource: {resourceName: a/b}}]"),
    );
    expect(summary(problems)).toEqual([`${INTERFACES}[0].slirp: conflict`]);
  });
});

describe("what the pages leave open", () => {
  it("D1 the newer form always delegates, the older one only when asked", () => {
    expect(accepted(sample("a5-bridge")).nics[0].delegate).toBe(true);
    expect(accepted(sample("b1-delegate-ip")).nics[0].delegate).toBe(true);
    expect(accepted(oldForm("[{name: red, bridge: {}}]")).nics[0].delegate).toBe(false);
    const onResource = newForm("[{name: red, bridge: {}}]", "[{name: red, resource: {resourceName: a/b}}]");
    expect(accepted(onResource).nics[0].delegate).toBe(false);
  });

  it("D2 both forms in one document are an error; devices of other kinds are not a form", () => {
    const both = `${newForm("[{name: red, bridge: {}}]")}  devices: {interfaces: [{name: red, bridge: {}}]}\n`;
    expect(summary(refused(both))).toEqual(["spec.devices: conflict"]);
    accepted(`${newForm("[{name: red, bridge: {}}]")}  devices: {disks: []}\n`);
  });

  it("D3 the older form has one interface at most, on pod", () => {
    const networks = "[{name: red, pod: {}}, {name: blue, resource: {resourceName: a/b}}]";
    expect(
      summary(refused(oldForm("[{name: red, bridge: {}}, {name: blue, bridge: {}}]", networks))),
    ).toEqual(["spec.devices.interfaces[1]: conflict", "spec.networks[1].resource: conflict"]);
    expect(summary(refused(oldForm("[{name: red, slirp: {}}]")))).toContain(
      "spec.devices.interfaces[0].slirp: unknown-key",
    );
  });

  it("D4 ports on a bridge interface are accepted and checked", () => {
    expect(accepted(sample("a3-ports")).nics[0]).toMatchObject({ binding: "bridge", ports: [{ port: 80 }] });
    refused(newForm("[{name: red, bridge: {}, ports: [{port: 0}]}]"));
  });

  it("D5 an interface without a binding is an error, and a misspelt binding is told once", () => {
    expect(summary(refused(newForm("[{name: red}]")))).toEqual([`${INTERFACES}[0]: required`]);
    expect(summary(refused(newForm("[{name: red, slrip: {}}]")))).toEqual([
      `${INTERFACES}[0].slrip: unknown-key`,
    ]);
  });

  it("D6 one interface per network, no unused network, one pod network", () => {
    const twice = newForm("[{name: red, bridge: {}}, {name: red, slirp: {}}]");
    expect(summary(refused(twice))).toEqual([`${INTERFACES}[1].name: duplicate`]);
    const unused = newForm(
      "[{name: red, bridge: {}}]",
      "[{name: red, pod: {}}, {name: blue, resource: {resourceName: a/b}}]",
    );
    expect(summary(refused(unused))).toEqual(["spec.networks[1].name: unconnected"]);
    const pods = newForm(
      "[{name: red, bridge: {}}, {name: blue, slirp: {}}]",
      "[{name: red, pod: {}}, {name: blue, pod: {}}]",
    );
    expect(summary(refused(pods))).toEqual(["spec.networks[1].pod: conflict"]);
  });

  it("D8 only one of interfaces and networks is an error", () => {
    expect(summary(refused("kind: VM\nspec: {networks: [{name: red, pod: {}}]}"))).toEqual([
      `${INTERFACES}: required`,
    ]);
    const noNetworks = "kind: VM\nspec: {domain: {devices: {interfaces: [{name: red, slirp: {}}]}}}";
    expect(summary(refused(noNetworks))).toEqual(["spec.networks: required"]);
  });

  it("D9 autoattachPodInterface: false with explicit interfaces: the interfaces stand", () => {
    const text =
      "kind: VM\nspec:\n  domain: {devices: {autoattachPodInterface: false, interfaces: [{name: red, slirp: {}}]}}\n  networks: [{name: red, pod: {}}]";
    expect(accepted(text).nics.map((nic) => nic.name)).toEqual(["red"]);
  });

  it("D10 slirp goes with any model", () => {
    for (const model of NIC_MODELS) accepted(newForm(`[{name: red, model: ${model}, slirp: {}}]`));
  });

  it("D11 unknown keys name their path and the nearest known key; other parts pass untouched", () => {
    const problems = refused(
      newForm("[{name: red, slirp: {}, macAdress: x, prots: []}]", "[{name: red, pods: {}}]"),
    );
    expect(problems.map((problem) => [problem.path, problem.hint])).toEqual([
      [`${INTERFACES}[0].macAdress`, "did you mean macAddress?"],
      [`${INTERFACES}[0].prots`, "did you mean ports?"],
      ["spec.networks[0].pods", "did you mean pod?"],
    ]);
    accepted(
      "kind: VM\nmetadata: {labels: {a: b}}\nspec: {domain: {cpu: {cores: 4}, devices: {disks: [{name: d}], rng: {}}}, volumes: []}",
    );
  });

  it.each(["red,x", "id=1", "a b", "", "rød", "a/b", "$(x)"])(
    "D11 the interface name %j is an error",
    (name) => {
      const text = newForm(`[{name: ${JSON.stringify(name)}, slirp: {}}]`);
      expect(summary(refused(text))).toContain(`${INTERFACES}[0].name: value`);
    },
  );

  it("D12 three kinds are VMs; a VirtualMachine keeps the spec in its template", () => {
    const spec =
      "{domain: {devices: {interfaces: [{name: red, slirp: {}}]}}, networks: [{name: red, pod: {}}]}";
    for (const kind of ["VM", "VirtualMachineInstance"])
      expect(accepted(`kind: ${kind}\nspec: ${spec}`).nics).toHaveLength(1);
    expect(
      accepted(
        `kind: VirtualMachine\nmetadata: {name: web}\nspec: {running: true, template: {spec: ${spec}}}`,
      ),
    ).toMatchObject({
      name: "web",
      nics: [{ name: "red", binding: "slirp" }],
    });
    const wrong = refused("kind: VirtualMachine\nspec: {template: {spec: {networks: 3}}}");
    expect(summary(wrong)).toEqual(["spec.template.spec.networks: type"]);
    expect(summary(refused("kind: VirtualMachine\nspec: {}"))).toEqual(["spec.template: required"]);
  });
});

describe("files", () => {
  it("other kinds are skipped with a note, VMs beside them are checked", () => {
    const result = validateText(
      "all.yaml",
      `kind: Service\n---\n${sample("a6-slirp")}---\nkind: VirtualMachinePool\n`,
    );
    expect(result.problems).toEqual([]);
    expect(result.vms.map((vm) => vm.document)).toEqual([2]);
    expect(result.notes.map((note) => [note.document, note.line])).toEqual([
      [1, 1],
      [3, 14],
    ]);
  });

  it("a kind that is nearly a VM is a mistake, not another kind", () => {
    for (const kind of ["vm", "Vm", "virtualmachine", "VirtualMachin"]) {
      expect(summary(refused(`kind: ${kind}\nspec: {}`))).toEqual(["kind: kind"]);
    }
  });

  it("a document with a syntax error does not hide the problems of the others", () => {
    const problems = refused(`a: [\n---\n${newForm("[{name: red}]")}---\nkind: VM\nkind: VM\n`);
    expect(problems.map((problem) => [problem.document, problem.code])).toEqual([
      [1, "syntax"],
      [2, "required"],
      [3, "duplicate"],
    ]);
  });

  it("aliases are followed and their problems shown where the value stands", () => {
    const text = `kind: VM
x-port: &port {port: 70000}
spec:
  domain: {devices: {interfaces: [{name: red, slirp: {}, ports: [*port]}]}}
  networks: [{name: red, pod: {}}]
`;
    expect(refused(text)[0]).toMatchObject({
      path: `${INTERFACES}[0].ports[0].port`,
      span: { line: 2, column: 22 },
    });
  });

  it("an alias bomb, a snake that bites its tail and endless nesting are problems, quickly told", () => {
    const levels = Array.from(
      { length: 12 },
      (_, i) => `l${i + 1}: &l${i + 1} [${Array(10).fill(`*l${i}`).join(", ")}]`,
    );
    expect(summary(refused(`l0: &l0 x\n${levels.join("\n")}\n`))).toEqual([": too-large"]);
    expect(refused("kind: VM\nspec: &a [*a]\n")[0].found).toContain("contains itself");
    expect(summary(refused("[".repeat(100_000)))).toContain(": syntax");
    expect(summary(refused(`${"[".repeat(200)}${"]".repeat(200)}`))).toContain(": too-large");
    expect(summary(refused(" ".repeat((1 << 20) + 1)))).toEqual([": too-large"]);
  });

  it("an empty file is a problem", () => {
    for (const text of ["", "\n\n", "# nothing\n", "---\n"])
      expect(summary(refused(text))).toEqual([": syntax"]);
  });
});
