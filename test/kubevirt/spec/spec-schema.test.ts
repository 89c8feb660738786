/** The JSON Schema and the validator come from one definition; here an independent checker reads the schema. */
import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { vmJsonSchema } from "../../../src/kubevirt/spec/vm-schema.ts";
import { newForm, oldForm, sample, today, WHOLE_SAMPLES, wrappedFragment } from "../samples.ts";

const ajv = new Ajv2020({ strict: false });
const valid = ajv.compile(vmJsonSchema() as Record<string, unknown>);

describe("the JSON Schema", () => {
  it("accepts every sample", () => {
    for (const text of [...WHOLE_SAMPLES.map(sample), wrappedFragment()]) {
      expect(valid(parse(text)), JSON.stringify(valid.errors)).toBe(true);
    }
  });

  it.each([
    newForm("[{name: red}]"),
    newForm("[{name: red, bridge: {}, slirp: {}}]"),
    newForm("[{name: red, bridge: {delegateIp: true}}]"),
    newForm("[{name: red, slirp: {}, model: E1000}]"),
    newForm("[{name: red, slirp: {}, ports: [{port: 0}]}]"),
    newForm('[{name: red, slirp: {}, macAddress: "01:00:5e:00:00:01"}]'),
    newForm('[{name: "a,b", slirp: {}}]'),
    newForm("[{name: red, slirp: {}}]", "[{name: red}]"),
    oldForm("[{name: red, slirp: {}}]"),
    "kind: Service",
  ])("refuses %j", (text) => {
    expect(valid(parse(text))).toBe(false);
  });

  const MULTUS = "[{name: red, multus: {networkName: a}}]";

  it.each([
    today("[{name: red, masquerade: {}}]"),
    today("[{name: red, passtBinding: {}, ports: [{port: 80}]}]"),
    today("[{name: red, binding: {name: sluice}}]"),
    today("[{name: red, bridge: {}, state: absent, tag: x}]", MULTUS),
    today("[{name: red, masquerade: {}, portRanges: [{protocol: TCP, start: 1, end: 2}]}]"),
    today("[{name: red, slirp: {}}]", "[{name: red, pod: {vmNetworkCIDR: 10.10.010.0/24}}]"),
    today('[{name: red, slirp: {}, model: igb, bootOrder: 1, acpiIndex: 1, pciAddress: "0000:00:05.0"}]'),
    today("[{name: red, slirp: {}, dhcpOptions: {bootFileName: x, ntpServers: [10.0.0.1]}}]"),
    today("[{name: red, slirp: {}}]").replace("kubevirt.io/v1", "kubevirt.io/v1alpha3"),
    today("[{name: red, masquerade: {}}]").replace("VirtualMachineInstance", "VM"),
    "{apiVersion: kubevirt.io/v1, kind: VirtualMachine, spec: {template: {spec: {domain: {}}}}}",
    "{kind: List, items: []}",
  ])("K15 accepts today's %j", (text) => {
    expect(valid(parse(text)), JSON.stringify(valid.errors)).toBe(true);
  });

  it.each([
    today("[{name: red}]"),
    today("[{name: red, sriov: {}}]"),
    today("[{name: red, masquerade: {}, bridge: {}}]"),
    today("[{name: red, bridge: {delegateIp: true}}]"),
    today("[{name: red, masquerade: {}}]", "[{name: red, pod: {}, multus: {networkName: a}}]"),
    today("[{name: red, masquerade: {}}]", "[{name: red, genie: {networkName: a}}]"),
    today("[{name: red, bridge: {}}]", "[{name: red, multus: {}}]"),
    today("[{name: red, slirp: {}}]", "[{name: red, pod: {vmNetworkCIDR: 10.10.10.0}}]"),
    today("[{name: red, masquerade: {}, portRanges: [{start: 1, end: 2}]}]"),
    today("[{name: red, slirp: {}, bootOrder: 0}]"),
    today("[{name: red, slirp: {}, acpiIndex: 16384}]"),
    today('[{name: red, slirp: {}, pciAddress: "0000:81:01.10"}]'),
    today("[{name: red, slirp: {}, state: gone}]"),
    today("[{name: red, slirp: {}, dhcpOptions: {privateOptions: [{option: 1, value: x}]}}]"),
    today("[{name: red, slirp: {}}]", undefined, { dnsPolicy: "none" }),
    today("[{name: red, masquerade: {}}]").replace("kubevirt.io/v1", "example.org/v1"),
    today("[{name: red, masquerade: {}}]")
      .replace("apiVersion: kubevirt.io/v1\n", "")
      .replace("VirtualMachineInstance", "VM"),
  ])("K15 refuses %j", (text) => {
    expect(valid(parse(text))).toBe(false);
  });

  it("describes every field for an editor", () => {
    const { $defs } = vmJsonSchema() as {
      $defs: Record<string, { properties: Record<string, { description?: string }> }>;
    };
    const today = ["InterfaceToday", "NetworkToday", "PortRange", "DhcpOptions", "PrivateOption"];
    for (const definition of ["Interface", "OldInterface", "Network", "Port", ...today]) {
      for (const [key, field] of Object.entries($defs[definition].properties)) {
        expect({ description: "", ...field }, `${definition}.${key}`).toMatchObject(
          "$ref" in field ? {} : { description: expect.stringMatching(/./) },
        );
      }
    }
  });
});
