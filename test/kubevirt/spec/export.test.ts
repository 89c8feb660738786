/** `sluice vm export`: what a cluster is given for a spec, and that it is the same VM. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { afterAll, describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { vmCommand } from "../../../src/kubevirt/commands/cli.ts";
import { planVm } from "../../../src/kubevirt/plan/plan.ts";
import { exportVms } from "../../../src/kubevirt/spec/export.ts";
import { at, type Mapping } from "../../../src/kubevirt/spec/finding.ts";
import { readSpecText } from "../../../src/kubevirt/spec/spec-file.ts";
import { validateText } from "../../../src/kubevirt/spec/validate.ts";
import type { VmModel } from "../../../src/kubevirt/spec/vm-model.ts";
import { newForm, oldForm, sample, today, WHOLE_SAMPLES, wrappedFragment } from "../samples.ts";

const folder = mkdtempSync(join(tmpdir(), "sluice-vm-export-"));
afterAll(() => rmSync(folder, { recursive: true }));

const schema = JSON.parse(
  readFileSync(new URL("../../fixtures/vm/kubevirt-network-schema.json", import.meta.url), "utf8"),
) as object;
const isTakenByCluster = new Ajv2020({ strict: false }).compile(schema);

interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function exported(text: string, ...options: string[]): Promise<Outcome> {
  let stdout = "";
  let stderr = "";
  const file = join(folder, "vm.yaml");
  writeFileSync(file, text);
  const status = await vmCommand(["export", ...options, file], {
    stdout: { write: (said) => (stdout += said) },
    stderr: { write: (said) => (stderr += said.replaceAll(file, "vm.yaml")) },
    env: {},
  });
  return { status, stdout, stderr };
}

/** The objects of the output, as kubectl's YAML reads them. */
async function objects(text: string, ...options: string[]): Promise<Mapping[]> {
  const { status, stdout, stderr } = await exported(text, ...options);
  expect([status, stderr.replace(/^note: .*\n/gm, "")]).toEqual([0, ""]);
  return parseAllDocuments(stdout, { version: "1.1" }).map((document) => document.toJS() as Mapping);
}

const specOf = (object: unknown): unknown => at(object, ["spec", "template", "spec"]);
const nicsOf = (object: unknown): unknown => at(specOf(object), ["domain", "devices", "interfaces"]) ?? [];
const networksOf = (object: unknown): unknown => at(specOf(object), ["networks"]) ?? [];
const vmOf = async (text: string): Promise<unknown> => (await objects(text)).at(-1);
const takenByCluster = (object: unknown): unknown =>
  isTakenByCluster({ interfaces: nicsOf(object), networks: networksOf(object) });

/** What `plan` would do with a model in a pod that has everything it may ask for. */
function planOf(model: VmModel): unknown {
  const device = { mtu: 1500, addresses: [], routes: [], ipv6Addresses: [] };
  const eth0 = {
    ...device,
    mac: "02:42:0a:f4:01:05",
    addresses: [{ address: "10.244.1.5", prefixLength: 24 }],
    routes: [{ destination: "0.0.0.0/0", gateway: "10.244.1.1", metric: 0, fromAddress: false }],
  };
  const request = { vm: "vm", model, uplink: "eth0", runDirectory: "/run/vm", devices: { red: "eth1" } };
  return planVm(request, {
    devices: new Map([
      ["eth0", eth0],
      ["eth1", { ...device, mac: "0a:58:c0:a8:32:02" }],
    ]),
    resolver: { nameServers: ["10.96.0.10"], engineResolvers: [], search: [] },
    resources: { devices: new Map([["red", "eth1"]]), problems: [] },
  });
}

describe("every sample", () => {
  it.each(WHOLE_SAMPLES)(
    "K42 %s is exported as what a cluster and sluice itself take, with the same plan",
    async (name) => {
      const [vm] = await objects(sample(name));
      const { status, stdout } = await exported(sample(name));
      expect(status).toBe(0);
      const again = validateText("again.yaml", stdout);
      expect(again.problems).toEqual([]);
      const before = validateText("vm.yaml", sample(name)).vms[0].model;
      // Which has a name now; the guest is told it.
      expect(planOf(again.vms[0].model)).toEqual(planOf({ ...before, name: "vm" }));
      expect(takenByCluster(vm)).toBe(true);
    },
  );

  it("K42 a device plugin's network is the same bridge behind another name", async () => {
    const { stdout } = await exported(wrappedFragment());
    const [{ model }] = validateText("vm.yaml", stdout).vms;
    expect(model.nics).toMatchObject([
      { binding: "bridge", delegate: false, backend: { kind: "multus", networkName: "red" } },
    ]);
    const plan = planOf(model) as { problems: unknown[] };
    expect(plan.problems).toEqual([]);
  });
});

describe("sluice vm export", () => {
  it("K40 prints a VirtualMachine with everything else carried over", async () => {
    const text = `# a comment
kind: VirtualMachineInstance
metadata:
  name: web
  namespace: here
  uid: 1-2-3
  resourceVersion: "7"
  labels: {app: web}
  annotations: {sidecar.istio.io/inject: "true"}
spec:
  nodeSelector: {zone: a}
  volumes: [{name: root, emptyDisk: {capacity: 1Gi}}]
  domain:
    memory: {guest: 1Gi}
    devices:
      disks: [{name: root, disk: {bus: virtio}}]
      interfaces: [{name: red, slirp: {}, model: e1000}]
  networks: [{name: red, pod: {}}]
status: {phase: Running}
`;
    expect(await objects(text, "--namespace", "there", "--binding", "user-nat")).toEqual([
      {
        apiVersion: "kubevirt.io/v1",
        kind: "VirtualMachine",
        metadata: {
          name: "web",
          namespace: "there",
          labels: { app: "web" },
          annotations: { "sidecar.istio.io/inject": "true" },
        },
        spec: {
          runStrategy: "Always",
          template: {
            metadata: { labels: { app: "web" }, annotations: { "sidecar.istio.io/inject": "true" } },
            spec: {
              nodeSelector: { zone: "a" },
              volumes: [{ name: "root", emptyDisk: { capacity: "1Gi" } }],
              domain: {
                memory: { guest: "1Gi" },
                devices: {
                  disks: [{ name: "root", disk: { bus: "virtio" } }],
                  interfaces: [{ name: "red", model: "e1000", binding: { name: "user-nat" } }],
                },
              },
              networks: [{ name: "red", pod: {} }],
            },
          },
        },
      },
    ]);
  });

  it("K40 leaves a VirtualMachine what it says of itself, and lists their items", async () => {
    const one = (name: string): string =>
      `{apiVersion: kubevirt.io/v1, kind: VirtualMachine, metadata: {name: ${name}}, spec: {running: false, template: {metadata: {labels: {a: b}}, spec: {domain: {devices: {interfaces: [{name: red, masquerade: {}}]}}, networks: [{name: red, pod: {}}]}}}}`;
    const [first, second] = await objects(`kind: List\nitems: [${one("a")}, ${one("b")}]\n`);
    expect([first, second].map((object) => at(object, ["metadata", "name"]))).toEqual(["a", "b"]);
    expect(first["spec"]).toMatchObject({ running: false, template: { metadata: { labels: { a: "b" } } } });
    expect(at(first, ["spec", "runStrategy"])).toBeUndefined();
    expect(nicsOf(first)).toEqual([{ name: "red", masquerade: {} }]);
  });

  it("K40 is wrong use without a file, with a wrong name, or for nothing", async () => {
    for (const options of [["--binding", "Not A Label"], ["--namespace", "-x-"], ["more.yaml"]])
      expect((await exported(sample("a6-slirp"), ...options)).status).toBe(2);
    const { status, stderr, stdout } = await exported("kind: Service\n");
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toContain("no VM in the file");
    expect((await exported(newForm("[{name: red, modle: x}]"))).stderr).toContain("did you mean model?");
  });

  it("K41 slirp becomes the binding plugin, in either vocabulary; other plugins stay", async () => {
    for (const text of [newForm("[{name: red, slirp: {}}]"), today("[{name: red, slirp: {}}]")])
      expect(nicsOf(await vmOf(text))).toEqual([{ name: "red", binding: { name: "sluice" } }]);
    const other = "[{name: red, binding: {name: theirs}}]";
    expect(nicsOf(await vmOf(today(other)))).toEqual([{ name: "red", binding: { name: "theirs" } }]);
  });

  it("K41 the default card is written out, and none stays none", async () => {
    for (const text of [
      "kind: VM\nspec: {}\n",
      "kind: VirtualMachineInstance\napiVersion: kubevirt.io/v1\nspec: {}\n",
    ]) {
      expect(specOf(await vmOf(text))).toEqual({
        domain: { devices: { interfaces: [{ name: "default", bridge: {} }] } },
        networks: [{ name: "default", pod: {} }],
      });
      expect((await exported(text)).stderr).toContain("permitBridgeInterfaceOnPodNetwork");
    }
    expect(specOf(await vmOf(sample("a4-no-network")))).toEqual({
      domain: { devices: { autoattachPodInterface: false } },
    });
  });

  it("K41 a bridge stays, with what a cluster may say to it", async () => {
    const { stdout, stderr } = await exported(sample("a5-bridge"));
    expect(stdout).toContain("bridge: {}");
    expect(stderr).toMatch(
      /note: vm\.yaml:\d+: spec\.domain\.devices\.interfaces\[0\]\.bridge: .*does not migrate/,
    );
  });

  it("K41 the older form moves, with delegateIp; without it there is no such thing", async () => {
    expect(specOf(await vmOf(sample("b1-delegate-ip")))).toEqual({
      domain: { devices: { interfaces: [{ name: "red", bridge: {} }] } },
      networks: [{ name: "red", pod: {} }],
    });
    for (const bridge of ["{}", "{delegateIp: false}"]) {
      const { status, stdout, stderr } = await exported(oldForm(`[{name: red, bridge: ${bridge}}]`));
      expect([status, stdout]).toEqual([2, ""]);
      expect(stderr).toContain(
        "spec.devices.interfaces[0].bridge: found a bridge on the pod network that leaves",
      );
      expect(stderr).toContain("multus");
    }
  });

  it("K41 a device plugin's network becomes multus with a NetworkAttachmentDefinition", async () => {
    const text = newForm(
      "[{name: red, bridge: {}}, {name: blue, bridge: {}}]",
      "[{name: red, resource: {resourceName: bridge.network.kubevirt.io/Red_Net}}, {name: blue, resource: {resourceName: other/Red_Net}}]",
    );
    const [definition, vm, ...more] = await objects(text, "--namespace", "lab");
    expect(more).toEqual([]);
    expect(definition).toMatchObject({
      apiVersion: "k8s.cni.cncf.io/v1",
      kind: "NetworkAttachmentDefinition",
      metadata: { name: "red-net", namespace: "lab" },
    });
    expect(JSON.parse(String(at(definition, ["spec", "config"])))).toEqual({
      cniVersion: "0.3.1",
      name: "red-net",
      type: "bridge",
      bridge: "br-red-net",
      ipam: {},
    });
    expect(networksOf(vm)).toEqual([
      { name: "red", multus: { networkName: "red-net" } },
      { name: "blue", multus: { networkName: "red-net" } },
    ]);
    expect((await exported(text)).stderr).toContain("say in its config what it is on yours");
  });

  it("K41 names and MACs are as a cluster takes them", async () => {
    const nic =
      '[{name: red, slirp: {}, macAddress: "52-54-00-12-34-56", ports: [{name: HTTP, port: 80}, {port: 81}]}]';
    const text = `${newForm(nic)}metadata: {name: My_VM.1}\n`;
    const { stdout, stderr } = await exported(text);
    // Digits between colons are a number to kubectl unless they are quoted.
    expect(stdout).toContain('macAddress: "52:54:00:12:34:56"');
    const [vm] = await objects(text);
    expect(at(vm, ["metadata", "name"])).toBe("my-vm-1");
    expect(at(nicsOf(vm), [0, "ports"])).toEqual([{ name: "http", port: 80 }, { port: 81 }]);
    expect(stderr).toContain("a cluster takes lower case only: http");
    expect(stderr).toContain("a cluster takes DNS labels only: my-vm-1");
  });

  it("K41 VMs without a name are called by the file, each otherwise", async () => {
    const named = await objects(`${sample("a6-slirp")}---\n${sample("a5-bridge")}`);
    expect(named.map((object) => at(object, ["metadata", "name"]))).toEqual(["vm", "vm-2"]);
  });

  it("K42 each interface has exactly one binding, whatever the spec", () => {
    const nics = ["slirp: {}", "bridge: {}", "masquerade: {}", "passtBinding: {}", "binding: {name: x}"];
    for (const nic of nics) {
      const { documents } = readSpecText("vm.yaml", today(`[{name: red, ${nic}}]`));
      const { objects: made } = exportVms(documents, {
        binding: "sluice",
        fallbackName: "vm",
        file: "vm.yaml",
      });
      expect(takenByCluster(made[0])).toBe(true);
    }
  });
});
