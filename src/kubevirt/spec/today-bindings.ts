/** Today's bindings and network types: what each is carried out as, and what to write for those a host cannot have. */
import { at, isMapping, type Mapping } from "./finding.ts";

export type Binding = "bridge" | "slirp";

/** `--binding OTHER=slirp|bridge`: what binding plugins of other names are carried out as. */
export type BindingNames = ReadonlyMap<string, Binding>;

export const NO_BINDINGS: BindingNames = new Map();

/** Bindings a host can have, in the order messages name them. */
export const BINDINGS = ["bridge", "slirp", "masquerade", "passtBinding", "binding"] as const;

const NETWORK_TYPES_TODAY = ["pod", "multus", "resource"] as const;

/** Binding plugins that are user-mode NAT. */
const NAT_PLUGINS: readonly string[] = ["slirp", "sluice", "passt"];

export interface Unsupported {
  /** Completes "found ...". */
  readonly what: string;
  readonly instead: string;
}

/** Bindings one host cannot have, and those that are gone. */
export const UNSUPPORTED_BINDINGS: Readonly<Record<string, Unsupported>> = {
  sriov: {
    what: "sriov, which hands a PCI device of the node to the guest and is no network of sluice's",
    instead:
      "give the device to QEMU yourself (-device vfio-pci) and leave it out here, or write bridge: {} and say its network's device with --network NETWORK=DEVICE",
  },
  macvtap: {
    what: "macvtap, which KubeVirt has refused since 1.3",
    instead: "write bridge: {} and say the network's device with --network NETWORK=DEVICE",
  },
  passt: {
    what: "passt, which KubeVirt has refused since 1.3",
    instead: "write passtBinding: {} on a pod network",
  },
};

/** Network types one host cannot have, and those that are gone. */
export const UNSUPPORTED_NETWORKS: Readonly<Record<string, Unsupported>> = {
  resourceClaim: {
    what: "resourceClaim, a device that Kubernetes allocates to a pod (DRA)",
    instead:
      "write multus: {networkName: NAME} with bridge: {}, and say the device with --network NETWORK=DEVICE",
  },
  genie: {
    what: "genie, which KubeVirt dropped in 0.29",
    instead:
      "write multus: {networkName: NAME} with bridge: {}, and say the device with --network NETWORK=DEVICE",
  },
};

/** Every key that says how an interface is bound, those that cannot be had included. */
export const ALL_BINDINGS: readonly string[] = [...BINDINGS, ...Object.keys(UNSUPPORTED_BINDINGS)];
export const ALL_NETWORK_TYPES: readonly string[] = [
  ...NETWORK_TYPES_TODAY,
  ...Object.keys(UNSUPPORTED_NETWORKS),
];

/** What an interface with one binding is carried out as; undefined for a plugin nobody has named. */
export function carriedOutAs(nic: Mapping, names: BindingNames): Binding | undefined {
  if ("bridge" in nic) return "bridge";
  if ("slirp" in nic || "masquerade" in nic || "passtBinding" in nic) return "slirp";
  const plugin = pluginName(nic);
  if (plugin === undefined) return undefined;
  return names.get(plugin) ?? (NAT_PLUGINS.includes(plugin) ? "slirp" : undefined);
}

/** The name of an interface's binding plugin. */
export function pluginName(nic: Mapping): string | undefined {
  const plugin = at(nic, ["binding", "name"]);
  return typeof plugin === "string" ? plugin : undefined;
}

/** The binding as a person would say it. */
export function bindingText(nic: Mapping): string {
  const key = BINDINGS.find((known) => known in nic) ?? "none";
  return key === "binding" && isMapping(nic["binding"]) ? `the binding ${pluginName(nic) ?? ""}` : key;
}
