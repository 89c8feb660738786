/** The files for a cluster in docs/kubevirt parse, and say what the code says. */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { boundNic } from "../../../src/kubevirt/binding/bound-nic.ts";
import { networkBinding } from "../../../src/kubevirt/binding/network-binding.ts";
import { validateText } from "../../../src/kubevirt/spec/validate.ts";

const FOLDER = new URL("../../../docs/kubevirt/", import.meta.url);
const text = (name: string): string => readFileSync(new URL(name, FOLDER), "utf8");
const SYSCTL = "net.ipv4.ip_unprivileged_port_start";

/** The objects of a file; each must be free of errors. */
// biome-ignore lint/suspicious/noExplicitAny: manifests of other programs' kinds.
function objects(name: string): any[] {
  return parseAllDocuments(text(name)).map((document) => {
    expect(document.errors).toEqual([]);
    return document.toJS();
  });
}

describe("the files for a cluster", () => {
  it("K38 are all there, and all named by the page", () => {
    const files = readdirSync(FOLDER).filter((name) => name !== "README.md");
    expect(files).toEqual([
      "Containerfile",
      "kubevirt-patch.yaml",
      "low-ports-network.yaml",
      "low-ports-policy.yaml",
      "standalone.yaml",
      "vm.yaml",
    ]);
    for (const file of files) expect(text("README.md")).toContain(file);
  });

  it("K38 register the plugin under its default name, for VMs that move, with room for a sidecar", () => {
    const [{ spec }] = objects("kubevirt-patch.yaml");
    const { network, supportContainerResources } = spec.configuration;
    expect(network.binding).toEqual({
      sluice: { sidecarImage: "registry.example.com/sluice-kubevirt:latest", migration: {} },
    });
    expect(supportContainerResources).toEqual([
      {
        type: "sidecar",
        resources: { requests: { cpu: "50m", memory: "64Mi" }, limits: { cpu: "2", memory: "256Mi" } },
      },
    ]);
    expect(text("README.md")).toContain("registry.example.com/sluice-kubevirt:latest");
  });

  it("K31 K38 open low ports by the sysctl that the refusal names, in two ways", () => {
    const [network] = objects("low-ports-network.yaml");
    const { name, namespace } = network.metadata;
    expect(text("kubevirt-patch.yaml")).toContain(`networkAttachmentDefinition: ${namespace}/${name}`);
    const plugins = JSON.parse(network.spec.config).plugins;
    expect(plugins).toEqual([{ type: "loopback" }, { type: "tuning", sysctl: { [SYSCTL]: "0" } }]);
    const [policy, binding] = objects("low-ports-policy.yaml");
    expect(binding.spec.policyName).toBe(policy.metadata.name);
    expect(policy.spec.matchConstraints.objectSelector.matchLabels).toEqual({
      "kubevirt.io": "virt-launcher",
    });
    const image = objects("kubevirt-patch.yaml")[0].spec.configuration.network.binding.sluice.sidecarImage;
    const [, part = "?"] =
      /c\.image\.contains\("([^"]+)"\)/.exec(policy.spec.matchConditions[0].expression) ?? [];
    expect(image).toContain(part);
    const [{ jsonPatch }] = policy.spec.mutations;
    expect(jsonPatch.expression.split(`name: "${SYSCTL}", value: "0"`)).toHaveLength(3);
  });

  it("K38 have a VM that sluice vm reads, and that the plugin serves", () => {
    const { vms, problems } = validateText("vm.yaml", text("vm.yaml"));
    expect([vms.length, problems]).toEqual([1, []]);
    const [vm] = objects("vm.yaml");
    const vmi = { metadata: vm.metadata, spec: vm.spec.template.spec };
    expect(boundNic(JSON.stringify(vmi), "sluice").nic.ports.map(({ port }) => port)).toEqual([22, 8080]);
  });

  it("K39 have a pod for a machine without a cluster, whose sidecar is found where the launcher looks", () => {
    const [pod] = objects("standalone.yaml");
    const [sidecar, launcher] = pod.spec.containers;
    const mount = (container: typeof sidecar): string =>
      container.volumeMounts.find(({ name }: { name: string }) => name === "hooks").mountPath;
    expect(sidecar.securityContext).toMatchObject({ runAsUser: 107, readOnlyRootFilesystem: true });
    expect(mount(launcher)).toBe(`${mount(sidecar)}/${sidecar.name}`);
    const vmi = launcher.env.find(({ name }: { name: string }) => name === "STANDALONE_VMI").value;
    // Whichever container podman starts first: the volumes are that user's.
    expect(launcher.securityContext.runAsUser).toBe(sidecar.securityContext.runAsUser);
    const { metadata, spec } = JSON.parse(vmi);
    const { namespace, name, uid } = metadata;
    expect(launcher.args.join(" ")).toContain(`--namespace ${namespace} --name ${name} --uid ${uid} `);
    expect(spec.domain).toMatchObject({ features: { acpi: {} }, firmware: { uuid: expect.anything() } });
    const place = {
      binding: sidecar.env[1].value,
      hooksDirectory: mount(sidecar),
      container: sidecar.env[0].value,
      sandbox: true,
      memory: 0,
    };
    const { argv, domainXml } = networkBinding(place, "<domain><devices/></domain>", vmi);
    expect(argv).toContain(`unix:${mount(sidecar)}/engine/card.sock`);
    expect(domainXml).toContain(`${mount(launcher)}/engine/card.sock`);
  });
});
