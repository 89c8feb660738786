/** A VM's network interfaces with every default filled in: what the rest of `kubevirt/` works from. */
import type { Mapping } from "./finding.ts";
import {
  masqueradeAddresses,
  type NatAddresses,
  parseGuestNetwork,
  plainIpv4,
  slirpAddresses,
} from "./nat-addresses.ts";
import { NIC_MODEL_DEFAULT, type NicModel, type PortSpec, type Spec2018 } from "./spec-schema.ts";
import type { DhcpOptionsToday, InterfaceToday, NetworkToday, SpecToday } from "./spec-today.ts";
import { type BindingNames, carriedOutAs } from "./today-bindings.ts";

export interface VmPort {
  readonly name?: string;
  readonly port: number;
  /** Last port of a range that begins with `port`. */
  readonly end?: number;
  readonly protocol: "tcp" | "udp";
}

/** What an interface is connected to. */
export type Backend =
  | { readonly kind: "pod" }
  | { readonly kind: "resource"; readonly resourceName: string }
  | { readonly kind: "multus"; readonly networkName: string };

/** A DHCP option in the words of `--dhcp-option`. */
export interface ExtraOption {
  readonly code: number;
  readonly form: "text" | "ip";
  readonly value: string;
}

/** How a card sits in the guest, where the spec says so. */
export interface CardPlace {
  readonly bootOrder?: number;
  readonly acpiIndex?: number;
  /** Slot and function on the root bus: `05.0`. */
  readonly pciSlot?: string;
  /** A virtio card that old drivers understand too. */
  readonly transitional?: true;
}

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
  /** With `slirp`, where they are not slirp's own. */
  readonly nat?: NatAddresses;
  readonly place?: CardPlace;
  readonly dhcpOptions?: readonly ExtraOption[];
}

/** What a spec says about names and name servers. */
export interface VmDns {
  /** Nothing of the machine's is used. */
  readonly alone: boolean;
  readonly nameServers: readonly string[];
  readonly search: readonly string[];
}

export interface VmModel {
  /** `metadata.name`, when it is one. */
  readonly name?: string;
  readonly hostname?: string;
  readonly subdomain?: string;
  readonly dns?: VmDns;
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

/** The model of a document of 2018 without problems. */
export function vmModel(spec: Spec2018, form: SpecForm, metadataName: unknown): VmModel {
  return { ...nameOf(metadataName), nics: nicsOf(spec, form) };
}

function nameOf(metadataName: unknown): { name?: string } {
  return typeof metadataName === "string" && metadataName.trim() !== "" ? { name: metadataName.trim() } : {};
}

function nicsOf(spec: Spec2018, form: SpecForm): VmNic[] {
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

/** The model of a document of today's without problems. */
export function todayModel(spec: SpecToday, metadataName: unknown, names: BindingNames): VmModel {
  const devices = spec.domain?.devices;
  const interfaces = devices?.interfaces ?? [];
  const networks = new Map((spec.networks ?? []).map((network) => [network.name, network]));
  const transitional = devices?.useVirtioTransitional === true;
  const nics =
    interfaces.length > 0
      ? interfaces
          .filter((nic) => nic.state !== "absent")
          .map((nic) => todayNic(nic, networks.get(nic.name), names, transitional))
      : devices?.autoattachPodInterface === false
        ? []
        : [{ ...DEFAULT_NIC, ...(transitional ? { place: { transitional: true } as const } : {}) }];
  return {
    ...nameOf(metadataName),
    ...(spec.hostname === undefined ? {} : { hostname: spec.hostname }),
    ...(spec.subdomain === undefined ? {} : { subdomain: spec.subdomain }),
    ...dnsOf(spec),
    nics,
  };
}

function dnsOf({ dnsPolicy, dnsConfig }: SpecToday): { dns?: VmDns } {
  if (dnsPolicy !== "None" && dnsConfig === undefined) return {};
  return {
    dns: {
      alone: dnsPolicy === "None",
      nameServers: (dnsConfig?.nameservers ?? []).map((server) => plainIpv4(server) ?? server),
      search: (dnsConfig?.searches ?? []).map((domain) => domain.replace(/\.$/, "")),
    },
  };
}

function todayNic(
  nic: InterfaceToday,
  network: NetworkToday | undefined,
  names: BindingNames,
  transitional: boolean,
): VmNic {
  const backend = network === undefined ? ({ kind: "pod" } as const) : backendOf(network);
  const binding = carriedOutAs(nic as Mapping, names) ?? "bridge";
  const place = placeOf(nic, transitional);
  const dhcpOptions = nic.dhcpOptions === undefined ? [] : extraOptions(nic.dhcpOptions);
  const nat = binding === "slirp" ? natOf(nic, network) : undefined;
  return {
    name: nic.name,
    model: nic.model,
    ...(nic.macAddress === undefined ? {} : { mac: normaliseMac(nic.macAddress) }),
    binding,
    delegate: binding === "bridge" && backend.kind === "pod",
    backend,
    ports: [
      ...(nic.ports ?? []).map(portOf),
      ...(nic.portRanges ?? []).map(({ protocol, start, end }) => ({
        port: start,
        ...(end === start ? {} : { end }),
        protocol: protocol === "UDP" ? ("udp" as const) : ("tcp" as const),
      })),
    ],
    ...(nat === undefined ? {} : { nat }),
    ...(Object.keys(place).length === 0 ? {} : { place }),
    ...(dhcpOptions.length === 0 ? {} : { dhcpOptions }),
  };
}

/** Addresses behind NAT; undefined where they are slirp's own. */
function natOf(nic: InterfaceToday, network: NetworkToday | undefined): NatAddresses | undefined {
  const cidr = network?.pod?.vmNetworkCIDR;
  const subnet = cidr === undefined ? undefined : parseGuestNetwork(cidr);
  if (nic.masquerade !== undefined) return masqueradeAddresses(subnet);
  return subnet === undefined ? undefined : slirpAddresses(subnet);
}

const ROOT_BUS = /^0000:00:([0-9a-f]{2}\.[0-7])$/i;

function placeOf(nic: InterfaceToday, transitional: boolean): CardPlace {
  const slot = ROOT_BUS.exec(nic.pciAddress ?? "")?.[1]?.toLowerCase();
  return {
    ...(nic.bootOrder === undefined ? {} : { bootOrder: nic.bootOrder }),
    ...(nic.acpiIndex === undefined ? {} : { acpiIndex: nic.acpiIndex }),
    ...(slot === undefined ? {} : { pciSlot: slot }),
    ...(transitional && nic.model === "virtio" ? { transitional: true } : {}),
  };
}

const BOOT_FILE = 67;
const TFTP_SERVER = 66;
const NTP_SERVERS = 42;

function extraOptions(options: DhcpOptionsToday): ExtraOption[] {
  const { bootFileName, tftpServerName, ntpServers = [], privateOptions = [] } = options;
  const text = (code: number, value: string | undefined): ExtraOption[] =>
    value === undefined ? [] : [{ code, form: "text", value }];
  const ntp = ntpServers.map((server) => plainIpv4(server) ?? server).join(",");
  return [
    ...text(BOOT_FILE, bootFileName),
    ...text(TFTP_SERVER, tftpServerName),
    ...(ntp === "" ? [] : [{ code: NTP_SERVERS, form: "ip", value: ntp } as const]),
    ...privateOptions.flatMap(({ option, value }) => text(option, value)),
  ];
}

const DEFAULT_NIC: VmNic = {
  name: DEFAULT_NIC_NAME,
  model: NIC_MODEL_DEFAULT,
  binding: "bridge",
  delegate: true,
  backend: { kind: "pod" },
  ports: [],
};

interface NetworkTypes {
  readonly resource?: { readonly resourceName: string } | undefined;
  readonly multus?: { readonly networkName: string } | undefined;
}

function backendOf({ resource, multus }: NetworkTypes): Backend {
  if (resource !== undefined) return { kind: "resource", resourceName: resource.resourceName };
  return multus === undefined ? { kind: "pod" } : { kind: "multus", networkName: multus.networkName };
}

function portOf(port: PortSpec): VmPort {
  return {
    ...(port.name === undefined ? {} : { name: port.name }),
    port: port.port,
    protocol: port.protocol === "UDP" ? "udp" : "tcp",
  };
}

/** `DE-AD-00-00-BE-AF` -> `de:ad:00:00:be:af`. */
export function normaliseMac(mac: string): string {
  return mac.toLowerCase().replaceAll("-", ":");
}
