/** The network part of a spec, of either vocabulary and form, in the words that KubeVirt takes today. */
import { at, type Finding, isMapping, type Mapping } from "./finding.ts";
import type { FieldPath } from "./spec-problem.ts";
import { NEW_FORM, normaliseMac, OLD_FORM } from "./vm-model.ts";

/** A network that a NetworkAttachmentDefinition has to stand for. */
export interface PortableNetwork {
  /** A name that Kubernetes takes. */
  readonly name: string;
  readonly path: FieldPath;
}

export interface NetworkPart {
  /** The whole spec, with its network in today's words. */
  readonly spec: Mapping;
  readonly networks: readonly PortableNetwork[];
}

/** Takes what a person should know, and what is wrong; paths start at the object. */
export interface Report {
  readonly say: (path: FieldPath, message: string) => void;
  readonly fail: (finding: Finding) => void;
}

/** How a spec is read and written. */
interface Porting {
  /** Where the spec stands in its object. */
  readonly base: FieldPath;
  /** The binding plugin that stands for slirp. */
  readonly binding: string;
  /** Its interfaces are under `spec.devices`. */
  readonly isOld: boolean;
}

const DEFAULT_NAME = "default";
const ON_POD =
  "a cluster may forbid bridge on the pod network (permitBridgeInterfaceOnPodNetwork), and such a VM does not migrate";

export function networkPart(spec: Mapping, porting: Porting, report: Report): NetworkPart {
  const { base, isOld } = porting;
  const { say } = report;
  const domain = mapping(spec["domain"]);
  const devices = { ...mapping(domain["devices"]), ...(isOld ? mapping(spec["devices"]) : {}) };
  const nicsAt = [...base, ...(isOld ? OLD_FORM : NEW_FORM).devicesPath, "interfaces"];
  const written = list(devices["interfaces"]);
  const wantsDefault = written.length === 0 && devices["autoattachPodInterface"] !== false;
  const networks = wantsDefault ? [{ name: DEFAULT_NAME, pod: {} }] : list(spec["networks"]);
  const nics = wantsDefault ? [{ name: DEFAULT_NAME, bridge: {} }] : written;
  if (wantsDefault)
    say(
      [...base, "domain"],
      `the card that a VM without interfaces has is written out: bridge on pod; ${ON_POD}`,
    );
  const portable: PortableNetwork[] = [];
  const newNetworks = networks.map((network, i) => portNetwork(network, [...base, "networks", i], portable));
  const onPod = new Set(newNetworks.filter((network) => "pod" in network).map(({ name }) => name));
  const newNics = nics.map((nic, i) => {
    const ported = portInterface(nic, [...nicsAt, i], porting, report);
    if (!wantsDefault && "bridge" in ported && onPod.has(ported["name"]))
      say([...nicsAt, i, "bridge"], ON_POD);
    return ported;
  });
  const otherDevices = without(devices, ["interfaces"]);
  return {
    spec: {
      ...without(spec, ["networks", "domain", ...(isOld ? ["devices"] : [])]),
      domain: {
        ...domain,
        devices: { ...otherDevices, ...(newNics.length === 0 ? {} : { interfaces: newNics }) },
      },
      ...(newNetworks.length === 0 ? {} : { networks: newNetworks }),
    },
    networks: portable,
  };
}

/** A mapping without some keys. */
export function without(value: Mapping, keys: readonly string[]): Mapping {
  return Object.fromEntries(Object.entries(value).filter(([key]) => !keys.includes(key)));
}

function mapping(value: unknown): Record<string, unknown> {
  return isMapping(value) ? { ...value } : {};
}

function list(value: unknown): Mapping[] {
  return Array.isArray(value) ? value.filter(isMapping) : [];
}

function trimmed(value: unknown): unknown {
  return typeof value === "string" ? value.trim() : value;
}

function portNetwork(network: Mapping, path: FieldPath, portable: PortableNetwork[]): Mapping {
  const others = without(network, ["resource"]);
  const resource = network["resource"];
  const name = trimmed(network["name"]);
  if (!isMapping(resource)) return { ...others, name };
  const label = objectName(String(at(resource, ["resourceName"])).replace(/^.*\//, ""));
  portable.push({ name: label, path: [...path, "resource"] });
  return { ...others, name, multus: { networkName: label } };
}

/** A name of an object (RFC 1123 subdomain) out of a network's. */
function objectName(text: string): string {
  const name = text
    .toLowerCase()
    .replace(/[^a-z0-9.-]+/g, "-")
    .replace(/^[.-]+|[.-]+$/g, "");
  return name === "" ? "network" : name;
}

function portInterface(
  nic: Mapping,
  path: FieldPath,
  { binding, isOld }: Porting,
  { say, fail }: Report,
): Mapping {
  const { slirp, bridge, ...others } = nic;
  const mac = nic["macAddress"];
  if (isOld && at(bridge, ["delegateIp"]) !== true) {
    fail({
      code: "unsupported",
      path: [...path, "bridge"],
      found: "a bridge on the pod network that leaves the pod its address",
      allowed: "delegateIp: true, for which there is bridge today",
      hint: "plain Ethernet is bridge: {} on a secondary network (multus) today",
    });
  }
  return {
    ...others,
    name: trimmed(nic["name"]),
    ...(bridge === undefined ? {} : { bridge: {} }),
    ...(slirp === undefined ? {} : { binding: { name: binding } }),
    ...(typeof mac === "string" ? { macAddress: normaliseMac(mac) } : {}),
    ...(Array.isArray(nic["ports"])
      ? { ports: portsInLowerCase(list(nic["ports"]), [...path, "ports"], say) }
      : {}),
  };
}

/** Names in lower case, as a cluster wants them; two that differ in case only are wrong here too. */
function portsInLowerCase(ports: readonly Mapping[], path: FieldPath, say: Report["say"]): Mapping[] {
  return ports.map((port, i) => {
    const name = port["name"];
    if (typeof name !== "string" || name === name.toLowerCase()) return port;
    say([...path, i, "name"], `a cluster takes lower case only: ${name.toLowerCase()}`);
    return { ...port, name: name.toLowerCase() };
  });
}
