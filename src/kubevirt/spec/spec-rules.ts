/**
 * The rules between fields, which no schema can say: names that must match, types of which exactly one must stand,
 * combinations that do not exist. They run over the raw document beside the field checks, so that a slip in one field
 * hides nothing about another; whatever has the wrong type is passed over here and reported there.
 */

import { type Entry, entries } from "./entry.ts";
import { at, type Finding, isMapping, type Mapping } from "./finding.ts";
import { guess } from "./guess.ts";
import { describeValue } from "./spec-problem.ts";
import { ALL_BINDINGS, ALL_NETWORK_TYPES, type BindingNames } from "./today-bindings.ts";
import { todayRules } from "./today-rules.ts";
import { mentionsInterfaces, type Vocabulary } from "./vm-kind.ts";
import { NEW_FORM, OLD_FORM, type SpecForm } from "./vm-model.ts";
import { knownKeys } from "./vm-schema.ts";

/** How the rules read a spec. */
export interface Reading {
  readonly vocabulary: Vocabulary;
  readonly mayBeOld: boolean;
  readonly bindings: BindingNames;
}

/** Which form a spec has, judged by what concerns networks. `both` when it mixes them. */
export function specForm(
  spec: Mapping,
  mayBeOld: boolean,
): { readonly form: SpecForm; readonly both: boolean } {
  if (!mayBeOld) return { form: NEW_FORM, both: false };
  const hasNew = mentionsInterfaces(at(spec, NEW_FORM.devicesPath));
  const hasOld = mentionsInterfaces(at(spec, OLD_FORM.devicesPath));
  return { form: hasOld && !hasNew ? OLD_FORM : NEW_FORM, both: hasNew && hasOld };
}

/** Every rule that the spec breaks; paths start at the VM's spec. */
export function checkRules(spec: Mapping, reading: Reading): Finding[] {
  const { form, both } = specForm(spec, reading.mayBeOld);
  const listsPath = [...form.devicesPath, "interfaces"];
  const interfaces = entries(at(spec, listsPath), listsPath);
  const networks = entries(spec["networks"], ["networks"]);
  return [
    ...(both ? [bothForms()] : []),
    ...onlyOneList(spec, interfaces, networks, form),
    ...networks.flatMap((network) => oneType(network, reading.vocabulary)),
    ...interfaces.flatMap((nic) => oneBinding(nic, form, reading.vocabulary)),
    ...duplicateNames(networks, "a network"),
    ...duplicateNames(interfaces, "an interface"),
    ...onePodNetwork(networks),
    ...unconnected(interfaces, networks),
    ...interfaces.flatMap((nic) => duplicatePorts(nic)),
    ...(reading.vocabulary === "today"
      ? todayRules(spec, interfaces, networks, reading.bindings)
      : interfaces.flatMap((nic) => combination(nic, networks, form))),
    ...(form.form === "old" ? oldFormLimits(interfaces, networks) : []),
  ];
}

function bothForms(): Finding {
  return {
    code: "conflict",
    path: ["devices"],
    found: "network settings here and under domain.devices",
    allowed: "one of the two forms in a document",
    atKey: true,
  };
}

function onlyOneList(
  spec: Mapping,
  interfaces: readonly Entry[],
  networks: readonly Entry[],
  form: SpecForm,
): Finding[] {
  const interfacesPath = [...form.devicesPath, "interfaces"];
  const noInterfaces = isAbsentOrEmpty(at(spec, interfacesPath));
  const noNetworks = isAbsentOrEmpty(spec["networks"]);
  if (noInterfaces && networks.length > 0) {
    return [
      {
        code: "required",
        path: interfacesPath,
        found: "nothing",
        allowed: "an interface for each network, or neither interfaces nor networks",
      },
    ];
  }
  if (noNetworks && interfaces.length > 0) {
    return [
      {
        code: "required",
        path: ["networks"],
        found: "nothing",
        allowed: "a network for each interface, or neither interfaces nor networks",
      },
    ];
  }
  return [];
}

function isAbsentOrEmpty(value: unknown): boolean {
  return value === undefined || (Array.isArray(value) && value.length === 0);
}

const NETWORK_TYPES = ["pod", "resource"];

function oneType(network: Entry, vocabulary: Vocabulary): Finding[] {
  if (vocabulary === "2018") {
    return exactlyOne(network, NETWORK_TYPES, "exactly one network type, pod or resource", vocabulary);
  }
  return exactlyOne(
    network,
    ALL_NETWORK_TYPES,
    "exactly one network type: pod, multus or resource",
    vocabulary,
  );
}

function oneBinding(nic: Entry, form: SpecForm, vocabulary: Vocabulary): Finding[] {
  if (vocabulary === "today") {
    const allowed = "exactly one binding: bridge, slirp, masquerade, passtBinding or binding: {name: PLUGIN}";
    return exactlyOne(nic, ALL_BINDINGS, allowed, vocabulary);
  }
  if (form.form === "new")
    return exactlyOne(nic, ["bridge", "slirp"], "exactly one binding, bridge or slirp", vocabulary);
  return exactlyOne(nic, ["bridge"], "a binding, which in this form is bridge", vocabulary);
}

function exactlyOne(
  entry: Entry,
  keys: readonly string[],
  allowed: string,
  vocabulary: Vocabulary,
): Finding[] {
  const present = [...new Set(keys)].filter((key) => key in entry.value);
  if (present.length === 1) return [];
  if (present.length > 1)
    return [{ code: "conflict", path: entry.path, found: present.join(" and "), allowed }];
  // A misspelt or unknown key is reported as such; saying that the right one is missing would be the same news twice.
  const known = knownKeys(entry.path, vocabulary);
  const meant = Object.entries(entry.value).some(([key, value]) => {
    if (known.includes(key)) return false;
    const candidate = guess(key, known);
    return candidate === undefined ? isMapping(value) || value === null : keys.includes(candidate);
  });
  return meant ? [] : [{ code: "required", path: entry.path, found: "none", allowed }];
}

function duplicateNames(list: readonly Entry[], what: string): Finding[] {
  const seen = new Set<string>();
  return list.flatMap((entry) => {
    if (entry.name === undefined) return [];
    if (!seen.has(entry.name)) {
      seen.add(entry.name);
      return [];
    }
    const found = `${describeValue(entry.name)} again`;
    return [
      {
        code: "duplicate",
        path: [...entry.path, "name"],
        found,
        allowed: `a name no other entry has: ${what} is named once`,
      },
    ];
  });
}

function onePodNetwork(networks: readonly Entry[]): Finding[] {
  return networks
    .filter((network) => "pod" in network.value)
    .slice(1)
    .map(
      (network): Finding => ({
        code: "conflict",
        path: [...network.path, "pod"],
        found: "another pod network",
        allowed: "one pod network at most",
        atKey: true,
      }),
    );
}

function unconnected(interfaces: readonly Entry[], networks: readonly Entry[]): Finding[] {
  // With one of the two lists missing altogether, that is what is wrong.
  if (interfaces.length === 0 || networks.length === 0) return [];
  return [
    ...notIn(interfaces, networks, "the name of a network in spec.networks"),
    ...notIn(networks, interfaces, "the name of an interface that uses this network"),
  ];
}

function notIn(list: readonly Entry[], others: readonly Entry[], what: string): Finding[] {
  const names = others.flatMap((other) => (other.name === undefined ? [] : [other.name]));
  return list.flatMap((entry) => {
    const name = entry.name;
    if (name === undefined || names.includes(name)) return [];
    const meant = guess(name, names);
    return [
      {
        code: "unconnected",
        path: [...entry.path, "name"],
        found: describeValue(name),
        allowed:
          names.length === 0 ? what : `${what}: ${names.map((known) => describeValue(known)).join(", ")}`,
        ...(meant === undefined ? {} : { hint: `did you mean ${describeValue(meant)}?` }),
      },
    ];
  });
}

function combination(nic: Entry, networks: readonly Entry[], form: SpecForm): Finding[] {
  const network = networks.find((candidate) => nic.name !== undefined && candidate.name === nic.name);
  if (network === undefined || !("resource" in network.value) || "pod" in network.value) return [];
  const findings: Finding[] = [];
  if ("slirp" in nic.value) {
    findings.push({
      code: "conflict",
      path: [...nic.path, "slirp"],
      found: "slirp on a resource network",
      allowed: "bridge on a resource network; slirp needs a pod network",
      atKey: true,
    });
  }
  const bridge = nic.value["bridge"];
  if (form.form === "old" && isMapping(bridge) && bridge["delegateIp"] === true) {
    findings.push({
      code: "conflict",
      path: [...nic.path, "bridge", "delegateIp"],
      found: "delegateIp on a resource network",
      allowed: "delegateIp on a pod network only",
      atKey: true,
    });
  }
  return findings;
}

/** The older form knows one interface, on the pod network. */
function oldFormLimits(interfaces: readonly Entry[], networks: readonly Entry[]): Finding[] {
  const others = interfaces.slice(1).map(
    (nic): Finding => ({
      code: "conflict",
      path: nic.path,
      found: "another interface",
      allowed: "one interface at most in the older form (spec.devices); use spec.domain.devices for more",
    }),
  );
  const resources = networks
    .filter((network) => "resource" in network.value)
    .map(
      (network): Finding => ({
        code: "conflict",
        path: [...network.path, "resource"],
        found: "a resource network",
        allowed: "a pod network, the only type of the older form (spec.devices)",
        atKey: true,
      }),
    );
  return [...others, ...resources];
}

function duplicatePorts(nic: Entry): Finding[] {
  const path = [...nic.path, "ports"];
  const names = new Set<string>();
  const numbers = new Set<string>();
  return entries(nic.value["ports"], path).flatMap((port) => {
    const findings: Finding[] = [];
    const written = port.value["name"];
    // RFC 6335 section 5.1: service names differ by more than case.
    const name = typeof written === "string" ? written.toLowerCase() : undefined;
    if (name !== undefined && names.has(name)) {
      const found = `${describeValue(written)} again`;
      findings.push({
        code: "duplicate",
        path: [...port.path, "name"],
        found,
        allowed: "a port name once in an interface",
      });
    }
    const number = port.value["port"];
    const protocol = port.value["protocol"] ?? "TCP";
    if (name !== undefined) names.add(name);
    if (typeof number !== "number" || typeof protocol !== "string") return findings;
    const key = `${protocol} ${number}`;
    if (numbers.has(key)) {
      const allowed = "a port and protocol once in an interface";
      findings.push({ code: "duplicate", path: [...port.path, "port"], found: `${key} again`, allowed });
    }
    numbers.add(key);
    return findings;
  });
}
