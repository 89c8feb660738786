/**
 * cloud-init's network data in the VM's volumes, against the network the VM is given: addresses the guest would give
 * itself that are not its own, and MACs that no card has. Versions 1 and 2, and OpenStack's form.
 */
import { parse } from "yaml";
import { inNetwork, isIpv4, parseIpv4 } from "../../config/address.ts";
import { at, isMapping, type Mapping, mappingsOf, type Remark } from "./finding.ts";
import { NAT_NETWORK6, parseGuestNetwork, slirpAddresses } from "./nat-addresses.ts";
import { describeValue, type FieldPath } from "./spec-problem.ts";
import { normaliseMac, type VmModel, type VmNic } from "./vm-model.ts";

const SOURCES = ["cloudInitNoCloud", "cloudInitConfigDrive"];

/** Remarks about every volume with network data. */
export function networkDataRemarks(spec: Mapping, base: FieldPath, model: VmModel): Remark[] {
  return mappingsOf(spec["volumes"], [...base, "volumes"]).flatMap(({ path, value }) =>
    SOURCES.flatMap((source) => {
      const plain = at(value, [source, "networkData"]);
      const encoded = at(value, [source, "networkDataBase64"]);
      const text = typeof plain === "string" ? plain : decoded(encoded);
      if (text === undefined) return [];
      const place = [...path, source, typeof plain === "string" ? "networkData" : "networkDataBase64"];
      return linksOf(read(text)).flatMap((link) => linkRemarks(link, place, model));
    }),
  );
}

function decoded(encoded: unknown): string | undefined {
  return typeof encoded === "string" ? Buffer.from(encoded, "base64").toString("utf8") : undefined;
}

/** Network data that is no YAML is cloud-init's to complain about. */
function read(text: string): unknown {
  try {
    return parse(text, { logLevel: "silent", maxAliasCount: 100 });
  } catch {
    return undefined;
  }
}

/** A network interface as cloud-init would set it up. */
interface Link {
  readonly name: string;
  readonly mac?: string;
  /** Static addresses, with or without a prefix. */
  readonly addresses: readonly string[];
}

function linksOf(data: unknown): Link[] {
  const network = isMapping(data) && isMapping(data["network"]) ? data["network"] : data;
  if (!isMapping(network)) return [];
  return [...version2(network), ...version1(network), ...openStack(network)];
}

function version2(network: Mapping): Link[] {
  return ["ethernets", "bonds", "bridges", "vlans"].flatMap((section) => {
    const links = network[section];
    if (!isMapping(links)) return [];
    return Object.entries(links).map(([name, link]) => ({
      name,
      ...macOf(at(link, ["match", "macaddress"])),
      addresses: texts(at(link, ["addresses"])),
    }));
  });
}

function version1(network: Mapping): Link[] {
  return mappingsOf(network["config"], []).map(({ value }) => ({
    name: String(value["name"] ?? ""),
    ...macOf(value["mac_address"]),
    addresses: mappingsOf(value["subnets"], []).flatMap(({ value: subnet }) =>
      String(subnet["type"]).startsWith("static") ? texts([subnet["address"]]) : [],
    ),
  }));
}

function openStack(network: Mapping): Link[] {
  const addresses = mappingsOf(network["networks"], []);
  return mappingsOf(network["links"], []).map(({ value: link }) => ({
    name: String(link["id"] ?? ""),
    ...macOf(link["ethernet_mac_address"]),
    addresses: addresses.flatMap(({ value }) =>
      value["link"] === link["id"] ? texts([value["ip_address"]]) : [],
    ),
  }));
}

function macOf(value: unknown): { mac?: string } {
  return typeof value === "string" ? { mac: normaliseMac(value.trim()) } : {};
}

/** Addresses of a list; netplan also takes `{ADDRESS: {label: ...}}`. */
function texts(list: unknown): string[] {
  if (!Array.isArray(list)) return [];
  return list.flatMap((item) =>
    isMapping(item) ? Object.keys(item) : typeof item === "string" ? [item] : [],
  );
}

function linkRemarks(link: Link, path: FieldPath, model: VmModel): Remark[] {
  const { mac } = link;
  const withMac = model.nics.find((nic) => mac !== undefined && nic.mac === mac);
  if (mac !== undefined && withMac === undefined) {
    const message = `it sets up the card with the MAC ${describeValue(mac)}, which no interface has: write it as macAddress of the interface that is meant`;
    return [{ path, message }];
  }
  const named = withMac ?? nicOf(link.name, model);
  const nic = named ?? model.nics.find((candidate) => candidate.binding === "slirp");
  if (nic?.binding !== "slirp") return [];
  const { guest, network } = nic.nat ?? slirpAddresses();
  return link.addresses.flatMap((written) => {
    const address = written.replace(/\/.*/, "").trim();
    // Of a card that cannot be told from others only an address in NAT's own subnet says that it is meant.
    if (address === guest || (named === undefined && !isInside(address, network))) return [];
    const message = address.includes(":")
      ? `it gives the guest the address ${describeValue(address)}, but no IPv6 is behind this NAT but ${NAT_NETWORK6}, by router advertisement`
      : `it gives the guest the address ${describeValue(address)}, but the guest of interface ${nic.name} is ${guest}: what is forwarded goes there`;
    return [{ path, message }];
  });
}

function isInside(address: string, network: string): boolean {
  const subnet = parseGuestNetwork(network);
  return subnet !== undefined && isIpv4(address) && inNetwork(parseIpv4(address), subnet);
}

/** The interface a guest's name for a card means: the only one, or the Nth by `ethN`. */
function nicOf(name: string, model: VmModel): VmNic | undefined {
  if (model.nics.length === 1) return model.nics[0];
  const number = /^eth(\d+)$/.exec(name)?.[1];
  return number === undefined ? undefined : model.nics[Number(number)];
}
