/** Whatever stands in a file: problems or VMs come out, never an exception, and nothing a terminal would act on. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { formatSpecNote, formatSpecProblem } from "../../../src/kubevirt/spec/spec-problem.ts";
import { validateText } from "../../../src/kubevirt/spec/validate.ts";

const NAME = /^[A-Za-z0-9_-]+$/;

function check(text: string): void {
  const result = validateText("any\u001b[31m.yaml", text);
  for (const problem of result.problems) {
    const shown = formatSpecProblem(problem);
    expect(shown).not.toMatch(/[^\P{Cc}\n]/u);
    expect(problem.allowed).not.toBe("");
  }
  for (const note of result.notes) expect(formatSpecNote(note)).not.toMatch(/[^\P{Cc}\n]/u);
  for (const vm of result.vms) {
    for (const nic of vm.model.nics) {
      expect(nic.name).toMatch(NAME);
      if (nic.mac !== undefined) expect(nic.mac).toMatch(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
    }
  }
}

/** Values that stand where a spec wants something else, or nearly the right thing. */
const word = fc.constantFrom(
  "name",
  "red",
  "blue",
  "bridge",
  "slirp",
  "pod",
  "resource",
  "resourceName",
  "a/b",
  "ports",
  "port",
  "protocol",
  "TCP",
  "model",
  "virtio",
  "macAddress",
  "de:ad:00:00:be:af",
  "delegateIp",
  "masquerade",
  "passtBinding",
  "binding",
  "sriov",
  "multus",
  "networkName",
  "vmNetworkCIDR",
  "10.010.1.0/24",
  "portRanges",
  "start",
  "end",
  "bootOrder",
  "pciAddress",
  "0000:00:05.0",
  "dhcpOptions",
  "privateOptions",
  "template",
  "domain",
  "devices",
  "cloudInitNoCloud",
  "networkData",
  "tcpSocket",
  "kubevirt.io/v1",
  "items",
  "interfaces",
  "networks",
  "__proto__",
  "constructor",
);
const scalar = fc.oneof(word, fc.integer(), fc.boolean(), fc.constant(null), fc.string(), fc.double());
const value = fc.letrec((tie) => ({
  any: fc.oneof(
    { depthSize: "small" },
    scalar,
    fc.array(tie("any"), { maxLength: 4 }),
    fc.dictionary(word, tie("any"), { maxKeys: 5 }),
  ),
})).any;

const name = fc.oneof(fc.constantFrom("red", "blue", " red "), fc.string());
const nic = fc.record(
  {
    ...{ name, model: scalar, macAddress: scalar, ports: value, bridge: value, slirp: fc.constant({}) },
    ...{ masquerade: fc.constant({}), binding: value, portRanges: value, dhcpOptions: value },
    ...{ bootOrder: scalar, acpiIndex: scalar, pciAddress: scalar, state: scalar, tag: scalar, sriov: value },
  },
  { requiredKeys: ["name"] },
);
const network = fc.record(
  { name, pod: value, resource: value, multus: value, genie: value },
  { requiredKeys: ["name"] },
);

describe("any YAML", () => {
  it("any text", () => {
    fc.assert(fc.property(fc.string({ unit: "grapheme", maxLength: 300 }), check), { numRuns: 500 });
    fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 300 }), check), { numRuns: 500 });
  });

  it("text made of YAML's own marks", () => {
    const marks = fc.constantFrom(
      ..."-?:,[]{}#&*!|>'\"%@` \n\t\r",
      "---\n",
      "<<: ",
      "!!set ",
      "%YAML 1.1\n---\n",
      "&a ",
      "*a ",
      "kind: VM\n",
      "spec:\n ",
    );
    fc.assert(
      fc.property(fc.array(marks, { maxLength: 80 }), (parts) => check(parts.join(""))),
      { numRuns: 700 },
    );
  });

  it("any value where the spec wants a certain one", () => {
    const spec = fc.record(
      {
        domain: fc.oneof(
          value,
          fc.record({ devices: fc.oneof(value, fc.record({ interfaces: fc.oneof(value, fc.array(nic)) })) }),
        ),
        devices: fc.oneof(value, fc.record({ interfaces: fc.array(nic) })),
        networks: fc.oneof(value, fc.array(network)),
        volumes: value,
        readinessProbe: value,
        dnsConfig: value,
        hostname: scalar,
        template: value,
      },
      { requiredKeys: [] },
    );
    const kinds = fc.constantFrom("VM", "VirtualMachineInstance", "VirtualMachine", "List");
    const heads = fc.constantFrom({}, { apiVersion: "kubevirt.io/v1" }, { apiVersion: "v1" });
    fc.assert(
      fc.property(kinds, heads, spec, value, (kind, head, body, items) => {
        const inner = kind === "VirtualMachine" ? { template: { spec: body } } : body;
        check(stringify({ ...head, kind, spec: inner, items }));
      }),
      { numRuns: 500 },
    );
  });

  it("a right spec cut at any octet", () => {
    const text = stringify({
      kind: "VM",
      spec: {
        domain: { devices: { interfaces: [{ name: "red", ports: [{ port: 80 }], slirp: {} }] } },
        networks: [{ name: "red", pod: {} }],
      },
    });
    for (let at = 0; at <= text.length; at++) check(text.slice(0, at));
  });
});
