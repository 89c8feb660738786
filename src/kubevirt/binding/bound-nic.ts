/**
 * What a VirtualMachineInstance says about the one interface that is bound to this plugin. Its other interfaces are others'
 * business, and so is every field that has nothing to do with this one: clusters are newer than what is known here.
 */
import { at, isMapping, type Mapping, mappingsOf } from "../spec/finding.ts";
import { istioPorts } from "../spec/port-remarks.ts";
import type { SpecProblem } from "../spec/spec-problem.ts";
import { validateText } from "../spec/validate.ts";
import type { VmNic } from "../spec/vm-model.ts";
import { CallRefusal } from "./grpc.ts";

export interface BoundNic {
  readonly nic: VmNic;
  /** Of the VM; the same on every node it moves to. */
  readonly uid: string;
  readonly subdomain?: string;
  /** As written; any bus. */
  readonly pciAddress?: string;
  /** The card begins with its link down. */
  readonly isDown: boolean;
  /** What is read and not acted upon. */
  readonly notes: readonly string[];
}

/** Fields of an interface that say something to us. */
const NIC_FIELDS = [
  "name",
  "model",
  "macAddress",
  "ports",
  "portRanges",
  "bootOrder",
  "acpiIndex",
  "pciAddress",
  "dhcpOptions",
];

/** Remarks about what one host does otherwise: a cluster's plugin does as it is asked. */
const CARRIED_OUT = /\.(binding|pciAddress)$/;

/** Reads the interface of `binding` out of a VMI in JSON. Throws a CallRefusal. */
export function boundNic(vmiJson: string, binding: string): BoundNic {
  const vmi = parseJson(vmiJson);
  const { nic, network } = findNic(vmi, binding);
  const name = String(nic["name"]);
  const state = nic["state"];
  const { vms, problems } = validateText(
    "VMI",
    JSON.stringify(reduced(vmi, nic, network)),
    new Map([[binding, "slirp"]]),
  );
  const [vm] = vms;
  const model = vm?.model.nics[0];
  if (problems.length > 0 || vm === undefined || model === undefined)
    throw new CallRefusal("INVALID_ARGUMENT", problems.map((problem) => sentence(problem, name)).join("; "));
  refuseIstio(vmi, model);
  const { subdomain } = vm.model;
  const pciAddress = nic["pciAddress"];
  return {
    nic: model,
    uid: String(at(vmi, ["metadata", "uid"]) ?? ""),
    ...(subdomain === undefined ? {} : { subdomain }),
    ...(typeof pciAddress === "string" ? { pciAddress } : {}),
    isDown: state === "down",
    notes: vm.notes
      .filter(({ path }) => !CARRIED_OUT.test(path))
      .map(({ path, message }) => `${placeIn(path, name)}: ${message}`),
  };
}

function parseJson(text: string): Mapping {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CallRefusal(
      "INVALID_ARGUMENT",
      `the VM that KubeVirt gave is no JSON: ${(error as Error).message}`,
    );
  }
  if (!isMapping(value)) throw new CallRefusal("INVALID_ARGUMENT", "the VM that KubeVirt gave is no object");
  return value;
}

/** The interface that is bound to us, and its network. */
function findNic(vmi: Mapping, binding: string): { readonly nic: Mapping; readonly network: Mapping } {
  const interfaces = mappingsOf(at(vmi, ["spec", "domain", "devices", "interfaces"]), []);
  const ours = interfaces.filter(({ value }) => at(value, ["binding", "name"]) === binding);
  const networks = mappingsOf(at(vmi, ["spec", "networks"]), []);
  const pairs = ours.flatMap(({ value: nic }) => {
    const network = networks.find(({ value }) => value["name"] === nic["name"])?.value;
    return network !== undefined && "pod" in network ? [{ nic, network }] : [];
  });
  const [pair] = pairs;
  if (pair !== undefined) return pair;
  const others = interfaces.flatMap(({ value }) => {
    const other = at(value, ["binding", "name"]);
    return typeof other === "string" && other !== binding ? [other] : [];
  });
  const first = ours[0]?.value["name"];
  const found =
    first !== undefined
      ? `interface ${String(first)} has binding ${binding}, and its network is no pod network, which is the only one it can have`
      : others.length > 0
        ? `no interface has binding ${binding} (there is ${others.join(", ")}): the plugin is to be registered by the name its interfaces use`
        : `no interface has binding: {name: ${binding}}`;
  throw new CallRefusal("INVALID_ARGUMENT", found);
}

/** The VM with this interface alone. Names and name servers are the pod's, which a cluster has set already. */
function reduced(vmi: Mapping, nic: Mapping, network: Mapping): unknown {
  const spec = isMapping(vmi["spec"]) ? vmi["spec"] : {};
  const fields = Object.entries(nic).filter(([key]) => NIC_FIELDS.includes(key));
  const transitional = at(spec, ["domain", "devices", "useVirtioTransitional"]);
  const keep = (source: Mapping, keys: readonly string[]): object =>
    Object.fromEntries(Object.entries(source).filter(([key]) => keys.includes(key)));
  const devices = {
    interfaces: [{ ...Object.fromEntries(fields), binding: nic["binding"] }],
    ...(transitional === undefined ? {} : { useVirtioTransitional: transitional }),
  };
  return {
    apiVersion: "kubevirt.io/v1",
    kind: "VirtualMachineInstance",
    metadata: keep(isMapping(vmi["metadata"]) ? vmi["metadata"] : {}, ["name", "annotations", "labels"]),
    spec: {
      ...keep(spec, ["subdomain"]),
      domain: { devices },
      networks: [keep(network, ["name", "pod"])],
    },
  };
}

/** Istio's proxy has these ports of the pod already, or will: the guest's would fail when it comes up. */
function refuseIstio(vmi: Mapping, { name, ports }: VmNic): void {
  const taken = istioPorts(vmi, ports);
  if (taken.length === 0) return;
  const which = taken.length === 1 ? `port ${taken[0]} is` : `ports ${taken.join(", ")} are`;
  throw new CallRefusal(
    "INVALID_ARGUMENT",
    `interface ${name}: ${which} of Istio's sidecar in this pod (sidecar.istio.io/inject); leave it out of the interface's ports, or the sidecar out of the pod`,
  );
}

function sentence({ path, found, allowed, hint }: SpecProblem, name: string): string {
  return `${placeIn(path, name)}: found ${found}; allowed: ${allowed}${hint === undefined ? "" : ` (${hint})`}`;
}

/** Paths count our interface alone: it is called by its name. */
function placeIn(path: string, name: string): string {
  return path
    .replace(/^spec\.domain\.devices\.interfaces\[0\]\.?/, `interface ${name} `)
    .replace(/^spec\.networks\[0\]\.?/, `network ${name} `)
    .trim();
}
