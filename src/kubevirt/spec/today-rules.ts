/** The rules between fields that only documents of today's vocabulary can break. */
import { OPTIONS } from "../../config/option-table.ts";
import type { Entry } from "./entry.ts";
import { at, type Finding, isMapping, type Mapping, mappingsOf } from "./finding.ts";
import { describeValue, type FieldPath } from "./spec-problem.ts";
import {
  ALL_BINDINGS,
  ALL_NETWORK_TYPES,
  BINDINGS,
  type BindingNames,
  bindingText,
  carriedOutAs,
  pluginName,
  UNSUPPORTED_BINDINGS,
  UNSUPPORTED_NETWORKS,
  type Unsupported,
} from "./today-bindings.ts";

/** As many as an engine forwards that is told nothing else. */
const FORWARDS_MAX = Number(OPTIONS["max-forwards"].default);
/** MAC of the bridge that masquerade has in a cluster's pod. */
const MASQUERADE_BRIDGE_MAC = "02:00:00:00:00:00";

/** Every rule of today's that the spec breaks; paths start at the VM's spec. */
export function todayRules(
  spec: Mapping,
  interfaces: readonly Entry[],
  networks: readonly Entry[],
  names: BindingNames,
): Finding[] {
  return [
    ...networks.flatMap((network) =>
      unsupported(network, ALL_NETWORK_TYPES, UNSUPPORTED_NETWORKS, "pod, multus or resource"),
    ),
    ...interfaces.flatMap((nic) =>
      unsupported(
        nic,
        ALL_BINDINGS,
        UNSUPPORTED_BINDINGS,
        "bridge, slirp, masquerade, passtBinding or binding",
      ),
    ),
    ...oneDefaultNetwork(networks),
    ...interfaces.flatMap((nic) => {
      const network = networks.find(({ name }) => nic.name !== undefined && name === nic.name);
      return [
        ...unknownPlugin(nic, network, names),
        ...bindingOnNetwork(nic, network, names),
        ...stateRules(nic, network, names),
        ...portRules(nic, names),
        ...reservedMac(nic),
        ...eachOptionOnce(nic),
      ];
    }),
    ...onceEach(interfaces, "bootOrder", "boot order"),
    ...onceEach(interfaces, "acpiIndex", "ACPI index"),
    ...onceEach(interfaces, "pciAddress", "PCI address"),
    ...nameServers(spec),
  ];
}

/** A type that cannot be had, where it is the only one. */
function unsupported(
  entry: Entry,
  all: readonly string[],
  table: Readonly<Record<string, Unsupported>>,
  allowed: string,
): Finding[] {
  const present = all.filter((key) => key in entry.value);
  const [key] = present;
  if (key === undefined || present.length > 1 || !Object.hasOwn(table, key)) return [];
  const { what, instead } = table[key] as Unsupported;
  return [
    {
      code: "unsupported",
      path: [...entry.path, key],
      found: what,
      allowed,
      hint: instead,
      atKey: true,
    },
  ];
}

/** The binding of an interface, when it has exactly one that can be had. */
function onlyBinding(nic: Entry): string | undefined {
  const present = ALL_BINDINGS.filter((key) => key in nic.value);
  return present.length === 1 ? BINDINGS.find((key) => key === present[0]) : undefined;
}

function unknownPlugin(nic: Entry, network: Entry | undefined, names: BindingNames): Finding[] {
  const plugin = pluginName(nic.value);
  if (onlyBinding(nic) !== "binding" || plugin === undefined || plugin === "") return [];
  if (carriedOutAs(nic.value, names) !== undefined) return [];
  const onPod = network === undefined || "pod" in network.value;
  return [
    {
      code: "unsupported",
      path: [...nic.path, "binding", "name"],
      found: `the binding plugin ${describeValue(plugin)}, which is a cluster's own`,
      allowed: "slirp, sluice, passt, or a name that --binding carries out as one of ours",
      hint: `say what it is here: ${onPod ? `--binding ${shown(plugin)}=slirp or ` : ""}--binding ${shown(plugin)}=bridge`,
    },
  ];
}

function shown(plugin: string): string {
  return /^[\w.-]+$/.test(plugin) ? plugin : "NAME";
}

function bindingOnNetwork(nic: Entry, network: Entry | undefined, names: BindingNames): Finding[] {
  const key = onlyBinding(nic);
  const types = network === undefined ? [] : ALL_NETWORK_TYPES.filter((type) => type in network.value);
  const [type] = types;
  if (key === undefined || type === undefined || types.length > 1) return [];
  if (type === "pod" || Object.hasOwn(UNSUPPORTED_NETWORKS, type)) return [];
  if (carriedOutAs(nic.value, names) !== "slirp") return [];
  const what = bindingText(nic.value);
  return [
    {
      code: "conflict",
      path: [...nic.path, key],
      found: `${what} on a ${type} network`,
      allowed: `bridge on a ${type} network; ${what} needs a pod network`,
      atKey: true,
    },
  ];
}

/** One network may take the place of the pod's. */
function oneDefaultNetwork(networks: readonly Entry[]): Finding[] {
  const defaults = networks.filter((network) => at(network.value, ["multus", "default"]) === true);
  const hasPod = networks.some((network) => "pod" in network.value);
  return defaults.slice(hasPod ? 0 : 1).map((network) => ({
    code: "conflict",
    path: [...network.path, "multus", "default"],
    found: hasPod ? "a default network beside a pod network" : "another default network",
    allowed: "one network that is the pod's first: pod, or one multus network with default: true",
    atKey: true,
  }));
}

function stateRules(nic: Entry, network: Entry | undefined, names: BindingNames): Finding[] {
  const state = nic.value["state"];
  const path = [...nic.path, "state"];
  if (state === "down") {
    return [
      {
        code: "unsupported",
        path,
        found: "down, which waits for somebody to set the link up later",
        allowed: "up, or absent: nothing here would ever set it up",
        hint: "leave state out, or leave out the interface and its network",
      },
    ];
  }
  if (state !== "absent" || onlyBinding(nic) === undefined || network === undefined) return [];
  const secondary = !("pod" in network.value) && at(network.value, ["multus", "default"]) !== true;
  if (secondary && carriedOutAs(nic.value, names) === "bridge") return [];
  return [
    {
      code: "conflict",
      path,
      found: `absent on ${secondary ? "a secondary network" : "the pod's first network"} with ${bindingText(nic.value)}`,
      allowed: "absent with bridge on a secondary network only",
      hint: "leave out the interface and its network",
    },
  ];
}

function portRules(nic: Entry, names: BindingNames): Finding[] {
  const ranges = nic.value["portRanges"];
  if (!Array.isArray(ranges) || ranges.length === 0) return [];
  const path = [...nic.path, "portRanges"];
  const findings: Finding[] = [];
  const ports = nic.value["ports"];
  if (Array.isArray(ports) && ports.length > 0) {
    const allowed = "ports or portRanges, not both; a range may be one port long";
    findings.push({ code: "conflict", path, found: "portRanges beside ports", allowed, atKey: true });
  }
  if (onlyBinding(nic) !== undefined && carriedOutAs(nic.value, names) === "bridge") {
    const allowed = "portRanges with masquerade only; with bridge every port of the guest is reachable";
    findings.push({ code: "conflict", path, found: "portRanges with bridge", allowed, atKey: true });
  }
  return [...findings, ...rangeRules(ranges, path)];
}

interface Range {
  readonly path: FieldPath;
  readonly protocol: string;
  readonly start: number;
  readonly end: number;
}

function rangeRules(list: unknown, path: FieldPath): Finding[] {
  const findings: Finding[] = [];
  const right: Range[] = [];
  for (const { path: place, value } of mappingsOf(list, path)) {
    const { protocol, start, end } = value;
    if (!isPort(start) || !isPort(end) || typeof protocol !== "string") continue;
    if (end < start) {
      const allowed = "an end that is not below the start";
      findings.push({ code: "value", path: [...place, "end"], found: `${end} below ${start}`, allowed });
      continue;
    }
    const other = right.find(
      (range) => range.protocol === protocol && start <= range.end && range.start <= end,
    );
    if (other !== undefined) {
      const found = `${protocol} ${start}-${end}, which overlaps ${other.start}-${other.end}`;
      findings.push({
        code: "duplicate",
        path: place,
        found,
        allowed: "a port and protocol once in an interface",
      });
    }
    right.push({ path: place, protocol, start, end });
  }
  const ports = right.reduce((sum, { start, end }) => sum + end - start + 1, 0);
  if (ports > FORWARDS_MAX) {
    const allowed = `at most ${FORWARDS_MAX} forwarded ports: name those that are used`;
    findings.push({ code: "value", path, found: `${ports} ports`, allowed, atKey: true });
  }
  return findings;
}

function isPort(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= 65535;
}

function reservedMac(nic: Entry): Finding[] {
  const mac = nic.value["macAddress"];
  if (!("masquerade" in nic.value) || typeof mac !== "string") return [];
  if (mac.replaceAll("-", ":") !== MASQUERADE_BRIDGE_MAC) return [];
  return [
    {
      code: "value",
      path: [...nic.path, "macAddress"],
      found: describeValue(mac),
      allowed: "another MAC: this is the one of masquerade's own bridge",
    },
  ];
}

function eachOptionOnce(nic: Entry): Finding[] {
  const path = [...nic.path, "dhcpOptions", "privateOptions"];
  const seen = new Set<unknown>();
  return mappingsOf(at(nic.value, ["dhcpOptions", "privateOptions"]), path).flatMap(
    ({ path: place, value }) => {
      const option = value["option"];
      if (option === undefined || !seen.has(option)) {
        seen.add(option);
        return [];
      }
      const found = `option ${describeValue(option)} again`;
      return [{ code: "duplicate", path: [...place, "option"], found, allowed: "each option once" } as const];
    },
  );
}

/** A field that may be left out, but has a value of its own in each interface that has it. */
function onceEach(interfaces: readonly Entry[], key: string, what: string): Finding[] {
  const seen = new Set<unknown>();
  return interfaces.flatMap((nic) => {
    const written = nic.value[key];
    const value = typeof written === "string" ? written.toLowerCase() : written;
    if (value === undefined || value === null || typeof value === "object" || !seen.has(value)) {
      seen.add(value);
      return [];
    }
    const found = `${describeValue(written)} again`;
    return [{ code: "duplicate", path: [...nic.path, key], found, allowed: `a ${what} of its own` } as const];
  });
}

function nameServers(spec: Mapping): Finding[] {
  if (spec["dnsPolicy"] !== "None") return [];
  const config = spec["dnsConfig"];
  const servers = at(config, ["nameservers"]);
  if (config !== undefined && !isMapping(config)) return [];
  if (servers !== undefined && !(Array.isArray(servers) && servers.length === 0)) return [];
  return [
    {
      code: "required",
      path: ["dnsConfig", "nameservers"],
      found: "nothing",
      allowed: "at least one name server beside dnsPolicy: None",
    },
  ];
}
