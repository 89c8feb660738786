/** A VM's network interfaces with every default filled in: what the rest of `kubevirt/` works from. */
import {
  type NetworkSpec,
  NIC_MODEL_DEFAULT,
  type NicModel,
  type PortSpec,
  type VmSpec,
} from "./spec-schema.ts";

export interface VmPort {
  readonly name?: string;
  readonly port: number;
  readonly protocol: "tcp" | "udp";
}

/** What an interface is connected to. */
export type Backend = { readonly kind: "pod" } | { readonly kind: "resource"; readonly resourceName: string };

/** One network interface of the guest. */
export interface VmNic {
  readonly name: string;
  readonly model: NicModel;
  /** Lower case with colons; absent when the spec leaves it to us. */
  readonly mac?: string;
  readonly binding: "bridge" | "slirp";
  /** The pod's IPv4 address is given to the guest. Only with `bridge` on `pod`. */
  readonly delegate: boolean;
  readonly backend: Backend;
  /** Forwarded with `slirp`; with `bridge` they change nothing. */
  readonly ports: readonly VmPort[];
}

export interface VmModel {
  /** `metadata.name`, when it is one. */
  readonly name?: string;
  readonly nics: readonly VmNic[];
}

/** Name of the interface a VM gets that lists none. */
const DEFAULT_NIC_NAME = "default";

/** Which of the two places interfaces stand in. A spec that has none counts as the newer form. */
export interface SpecForm {
  readonly form: "new" | "old";
  readonly devicesPath: readonly string[];
}

export const NEW_FORM: SpecForm = { form: "new", devicesPath: ["domain", "devices"] };
export const OLD_FORM: SpecForm = { form: "old", devicesPath: ["devices"] };

/** The model of a spec without problems. */
export function vmModel(spec: VmSpec, form: SpecForm, metadataName: unknown): VmModel {
  const name =
    typeof metadataName === "string" && metadataName.trim() !== "" ? { name: metadataName.trim() } : {};
  return { ...name, nics: nicsOf(spec, form) };
}

function nicsOf(spec: VmSpec, form: SpecForm): VmNic[] {
  const devices = form.form === "old" ? spec.devices : spec.domain?.devices;
  const interfaces = devices?.interfaces ?? [];
  if (interfaces.length === 0) return devices?.autoattachPodInterface === false ? [] : [DEFAULT_NIC];
  const networks = new Map((spec.networks ?? []).map((network) => [network.name, backendOf(network)]));
  return interfaces.map((nic) => {
    const backend = networks.get(nic.name) ?? { kind: "pod" };
    const binding = "slirp" in nic && nic.slirp !== undefined ? "slirp" : "bridge";
    const asked =
      form.form === "new" ||
      (nic.bridge !== undefined && "delegateIp" in nic.bridge && nic.bridge.delegateIp === true);
    return {
      name: nic.name,
      model: nic.model,
      ...(nic.macAddress === undefined ? {} : { mac: normaliseMac(nic.macAddress) }),
      binding,
      delegate: binding === "bridge" && backend.kind === "pod" && asked,
      backend,
      ports: (nic.ports ?? []).map(portOf),
    };
  });
}

const DEFAULT_NIC: VmNic = {
  name: DEFAULT_NIC_NAME,
  model: NIC_MODEL_DEFAULT,
  binding: "bridge",
  delegate: true,
  backend: { kind: "pod" },
  ports: [],
};

function backendOf(network: NetworkSpec): Backend {
  return network.resource === undefined
    ? { kind: "pod" }
    : { kind: "resource", resourceName: network.resource.resourceName };
}

function portOf(port: PortSpec): VmPort {
  return {
    ...(port.name === undefined ? {} : { name: port.name }),
    port: port.port,
    protocol: port.protocol === "UDP" ? "udp" : "tcp",
  };
}

/** `DE-AD-00-00-BE-AF` -> `de:ad:00:00:be:af`. */
function normaliseMac(mac: string): string {
  return mac.toLowerCase().replaceAll("-", ":");
}
