/**
 * The rules between fields, which no schema can say: names that must match, types of which exactly one must stand,
 * combinations that do not exist. They run over the raw document beside the field checks, so that a slip in one field
 * hides nothing about another; whatever has the wrong type is passed over here and reported there.
 */
import { nearest } from "../../config/problem.ts";
import { describeValue, type FieldPath, type SpecProblemCode } from "./spec-problem.ts";
import { isName, knownKeys } from "./spec-schema.ts";
import { NEW_FORM, OLD_FORM, type SpecForm } from "./vm-model.ts";

/** What a rule found, before it is given its place in the file. The path starts at the VM's spec. */
export interface Finding {
  readonly code: SpecProblemCode;
  readonly path: FieldPath;
  readonly found: string;
  readonly allowed: string;
  readonly hint?: string;
  /** Show the key rather than the value. */
  readonly atKey?: boolean;
}

type Mapping = Readonly<Record<string, unknown>>;

interface Entry {
  readonly path: FieldPath;
  readonly value: Mapping;
  /** The trimmed name, when there is a legal one. */
  readonly name: string | undefined;
}

/** Which form a spec has, judged by what concerns networks. `both` when it mixes them. */
export function specForm(spec: Mapping): { readonly form: SpecForm; readonly both: boolean } {
  const hasNew = mentionsInterfaces(at(spec, NEW_FORM.devicesPath));
  const hasOld = mentionsInterfaces(at(spec, OLD_FORM.devicesPath));
  return { form: hasOld && !hasNew ? OLD_FORM : NEW_FORM, both: hasNew && hasOld };
}

function mentionsInterfaces(devices: unknown): boolean {
  return isMapping(devices) && ("interfaces" in devices || "autoattachPodInterface" in devices);
}

/** Every rule that the spec breaks. */
export function checkRules(spec: Mapping): Finding[] {
  const { form, both } = specForm(spec);
  const listsPath = [...form.devicesPath, "interfaces"];
  const interfaces = entries(at(spec, listsPath), listsPath);
  const networks = entries(spec["networks"], ["networks"]);
  return [
    ...(both ? [bothForms()] : []),
    ...onlyOneList(spec, interfaces, networks, form),
    ...networks.flatMap((network) => oneType(network)),
    ...interfaces.flatMap((nic) => oneBinding(nic, form)),
    ...duplicateNames(networks, "a network"),
    ...duplicateNames(interfaces, "an interface"),
    ...onePodNetwork(networks),
    ...unconnected(interfaces, networks),
    ...interfaces.flatMap((nic) => combination(nic, networks, form)),
    ...interfaces.flatMap((nic) => duplicatePorts(nic)),
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

function oneType(network: Entry): Finding[] {
  return exactlyOne(network, NETWORK_TYPES, "exactly one network type, pod or resource");
}

function oneBinding(nic: Entry, form: SpecForm): Finding[] {
  if (form.form === "new")
    return exactlyOne(nic, ["bridge", "slirp"], "exactly one binding, bridge or slirp");
  return exactlyOne(nic, ["bridge"], "a binding, which in this form is bridge");
}

function exactlyOne(entry: Entry, keys: readonly string[], allowed: string): Finding[] {
  const present = keys.filter((key) => key in entry.value);
  if (present.length === 1) return [];
  if (present.length > 1)
    return [{ code: "conflict", path: entry.path, found: present.join(" and "), allowed }];
  // A misspelt key is reported as such; saying that the right one is missing would be the same news twice.
  const known = knownKeys(entry.path);
  const misspelt = Object.keys(entry.value).some((key) => {
    const guess = known.includes(key) ? undefined : nearest(key, known);
    return guess !== undefined && keys.includes(guess);
  });
  return misspelt ? [] : [{ code: "required", path: entry.path, found: "none", allowed }];
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
    const guess = nearest(name, names);
    return [
      {
        code: "unconnected",
        path: [...entry.path, "name"],
        found: describeValue(name),
        allowed:
          names.length === 0 ? what : `${what}: ${names.map((known) => describeValue(known)).join(", ")}`,
        ...(guess === undefined ? {} : { hint: `did you mean ${describeValue(guess)}?` }),
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

function entries(list: unknown, path: FieldPath): Entry[] {
  if (!Array.isArray(list)) return [];
  return list.flatMap((value, index) => {
    if (!isMapping(value)) return [];
    const name = value["name"];
    // An illegal name is reported as one; what it matches is of no interest.
    return [{ path: [...path, index], value, name: isName(name) ? name.trim() : undefined }];
  });
}

/** Whether a value is a mapping (and no list). */
export function isMapping(value: unknown): value is Mapping {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The value at a path, or undefined. */
export function at(value: unknown, path: FieldPath): unknown {
  let current = value;
  for (const step of path) {
    if (typeof step === "number") current = Array.isArray(current) ? current[step] : undefined;
    else current = isMapping(current) && Object.hasOwn(current, step) ? current[step] : undefined;
  }
  return current;
}
