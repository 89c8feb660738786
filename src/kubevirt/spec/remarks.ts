/**
 * What a person should know about a document of today's that is right: bindings that are carried out as others, fields
 * that are read and change nothing here, and what other parts of the VM take for granted about its network. One remark
 * for each, with its place.
 */
import { networkDataRemarks } from "./cloud-init.ts";
import { at, isMapping, type Mapping, mappingsOf, type Remark } from "./finding.ts";
import { NAT_NETWORK6, parseGuestNetwork, slirpAddresses } from "./nat-addresses.ts";
import { istioRemarks, portNameRemarks, probeRemarks } from "./port-remarks.ts";
import type { FieldPath } from "./spec-problem.ts";
import { type BindingNames, bindingText, pluginName } from "./today-bindings.ts";
import { specPath, type VmKind } from "./vm-kind.ts";
import type { VmModel } from "./vm-model.ts";
import { type WrittenNic, writtenNics } from "./written-nic.ts";
import { scalarRemarks } from "./yaml-1-1.ts";

/** An object whose fields and rules are all right. */
export interface RightObject {
  readonly kind: VmKind;
  readonly value: Mapping;
  readonly model: VmModel;
  readonly bindings: BindingNames;
  /** The text of a scalar without quotes, by its path from the object's root. */
  readonly source: (path: FieldPath) => string | undefined;
}

/** All remarks about an object; paths start at its root. */
export function remarks(object: RightObject): Remark[] {
  const { kind, value, model } = object;
  const base = specPath(kind);
  const spec = at(value, base);
  if (!isMapping(spec)) return [];
  const nics = writtenNics(spec, base, model);
  return [
    ...nics.flatMap((nic) => [
      ...bindingRemarks(nic, object.bindings),
      ...portsRemarks(nic),
      ...networkRemarks(nic),
      ...cardRemarks(nic),
    ]),
    ...devicesRemarks(spec, base, model),
    ...dnsRemarks(spec, base, model),
    ...bootOrderRemarks(spec, nics),
    ...portNameRemarks(nics),
    ...istioRemarks(value, nics),
    ...probeRemarks(spec, base, model),
    ...networkDataRemarks(spec, base, model),
    ...scalarRemarks(value, base, object.source),
  ];
}

/** Bindings that a cluster carries out in another way. */
function bindingRemarks({ path, value, nic }: WrittenNic, names: BindingNames): Remark[] {
  const { guest, gateway, dns } = nic.nat ?? slirpAddresses();
  const resolver = dns === undefined ? "no address for DNS" : `DNS ${dns}`;
  const addresses = `guest ${guest}, gateway ${gateway}, ${resolver}`;
  if ("masquerade" in value) {
    const message = `masquerade is carried out as user-mode NAT with masquerade's addresses: ${addresses}`;
    return [{ path: [...path, "masquerade"], message }];
  }
  const plugin = pluginName(value);
  const isPasst = "passtBinding" in value || (plugin === "passt" && !names.has(plugin));
  if (isPasst) {
    const message = `passt is carried out as user-mode NAT: ${addresses}; in a cluster the guest has the pod's own address`;
    return [{ path: [...path, "passtBinding" in value ? "passtBinding" : "binding"], message }];
  }
  if (plugin === undefined || !names.has(plugin)) return [];
  return [{ path: [...path, "binding"], message: `${bindingText(value)} is carried out as ${nic.binding}` }];
}

function isEmptyList(value: unknown): boolean {
  return value === undefined || (Array.isArray(value) && value.length === 0);
}

function portsRemarks({ path, value, nic }: WrittenNic): Remark[] {
  const forwardsAll = "masquerade" in value || "passtBinding" in value || pluginName(value) === "passt";
  if (nic.binding === "slirp" && nic.ports.length === 0 && forwardsAll) {
    const message =
      "no port is forwarded to the guest: a cluster forwards all of them when none is listed; list those that are used under ports or portRanges";
    return [{ path, message }];
  }
  if (nic.binding === "bridge" && !isEmptyList(value["ports"])) {
    const message = "with bridge every port of the guest can be reached: the list changes nothing";
    return [{ path: [...path, "ports"], message }];
  }
  if (nic.binding === "slirp" && !isEmptyList(value["portRanges"]) && !("masquerade" in value)) {
    const message = "forwarded here; a cluster takes portRanges with masquerade only";
    return [{ path: [...path, "portRanges"], message }];
  }
  return [];
}

function networkRemarks({ nic, network }: WrittenNic): Remark[] {
  if (network === undefined) return [];
  const place = (...keys: string[]): FieldPath => [...network.path, ...keys];
  const found: Remark[] = [];
  const cidr = at(network.value, ["pod", "vmNetworkCIDR"]);
  if (typeof cidr === "string") {
    const path = place("pod", "vmNetworkCIDR");
    const used = parseGuestNetwork(cidr);
    if (nic.binding === "bridge") {
      found.push({ path, message: "not used: with bridge the guest has the pod's own address" });
    } else if (used !== undefined && nic.nat !== undefined && hasHostPart(cidr, nic.nat.network)) {
      found.push({ path, message: `the network is ${nic.nat.network}: the host part is not used` });
    }
  }
  if (at(network.value, ["pod", "vmIPv6NetworkCIDR"]) !== undefined) {
    const message = `not used: where the pod has IPv6, the guest's network is ${NAT_NETWORK6}`;
    found.push({ path: place("pod", "vmIPv6NetworkCIDR"), message });
  }
  if (at(network.value, ["multus", "default"]) === true) {
    const message = "not used: there is no pod whose first network it would be; it is one more network here";
    found.push({ path: place("multus", "default"), message });
  }
  return found;
}

function hasHostPart(cidr: string, network: string): boolean {
  const plain = cidr.replace(/\/.*/, "").split(".").map(Number).join(".");
  return plain !== network.replace(/\/.*/, "");
}

function cardRemarks({ path, value, nic }: WrittenNic): Remark[] {
  const found: Remark[] = [];
  const address = value["pciAddress"];
  if (typeof address === "string" && nic.place?.pciSlot === undefined) {
    const bus = address.slice(0, "0000:00".length);
    const message = `not used: bus ${bus} is for QEMU's own command to make; the card goes to a free slot of the root bus`;
    found.push({ path: [...path, "pciAddress"], message });
  }
  if (value["tag"] !== undefined) {
    const message = "not used: it is for a config drive, and none is written here";
    found.push({ path: [...path, "tag"], message });
  }
  if (nic.dhcpOptions !== undefined && nic.binding === "bridge" && !nic.delegate) {
    const message = "not used: nobody here serves DHCP on a secondary network";
    found.push({ path: [...path, "dhcpOptions"], message });
  }
  return found;
}

function devicesRemarks(spec: Mapping, base: FieldPath, model: VmModel): Remark[] {
  const devices = at(spec, ["domain", "devices"]);
  if (!isMapping(devices)) return [];
  const path = [...base, "domain", "devices"];
  const found: Remark[] = [];
  if (devices["networkInterfaceMultiqueue"] === true) {
    const message = "not used: every card has one queue here";
    found.push({ path: [...path, "networkInterfaceMultiqueue"], message });
  }
  if (devices["useVirtioTransitional"] === true && !model.nics.some((nic) => nic.model === "virtio")) {
    found.push({ path: [...path, "useVirtioTransitional"], message: "not used: no card is a virtio one" });
  }
  if (devices["autoattachPodInterface"] === false && !isEmptyList(devices["interfaces"])) {
    const message = "not used: it is about VMs that list no interfaces";
    found.push({ path: [...path, "autoattachPodInterface"], message });
  }
  return found;
}

function dnsRemarks(spec: Mapping, base: FieldPath, model: VmModel): Remark[] {
  const found: Remark[] = [];
  const policy = spec["dnsPolicy"];
  if (policy === "ClusterFirst" || policy === "ClusterFirstWithHostNet") {
    const message = "not used: there is no cluster DNS, and this machine's name servers are asked";
    found.push({ path: [...base, "dnsPolicy"], message });
  }
  if (!isEmptyList(at(spec, ["dnsConfig", "options"]))) {
    const message = "not used: DHCP cannot tell a guest resolver options";
    found.push({ path: [...base, "dnsConfig", "options"], message });
  }
  if (model.nics.some((nic) => nic.binding === "slirp" || nic.delegate)) return found;
  for (const key of ["hostname", "subdomain", "dnsConfig"]) {
    if (spec[key] === undefined) continue;
    const message = "not used: nobody here serves DHCP to this VM, which would tell the guest";
    found.push({ path: [...base, key], message });
  }
  return found;
}

function bootOrderRemarks(spec: Mapping, nics: readonly WrittenNic[]): Remark[] {
  const disks = mappingsOf(at(spec, ["domain", "devices", "disks"]), []);
  const taken = new Map(disks.map(({ value }) => [value["bootOrder"], value["name"]]));
  return nics.flatMap(({ path, value }) => {
    const order = value["bootOrder"];
    if (order === undefined || !taken.has(order)) return [];
    const message =
      "a disk has the same boot order: a cluster refuses that, and QEMU does when the disk is given it";
    return [{ path: [...path, "bootOrder"], message }];
  });
}
