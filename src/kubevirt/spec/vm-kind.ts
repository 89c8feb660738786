/** Which objects of a file are VMs, in which words they may speak, and what all the others are. */
import { at, type Finding, isMapping, type Mapping } from "./finding.ts";
import { guess } from "./guess.ts";
import { describeValue } from "./spec-problem.ts";

export const VM_KINDS = ["VM", "VirtualMachineInstance", "VirtualMachine"] as const;
export type VmKind = (typeof VM_KINDS)[number];

/** What `kubectl get -o yaml` and the API print several objects as. */
const LIST_KINDS: readonly string[] = ["List", "VirtualMachineList", "VirtualMachineInstanceList"];

const GROUP = "kubevirt.io";
const API_VERSION_ALLOWED = `${GROUP}/v1, another version of ${GROUP}, or no apiVersion`;

/**
 * `today` is what KubeVirt has now. `2018` is the form of its early pages, which only knows what those pages say.
 */
export type Vocabulary = "2018" | "today";

export type ObjectKind =
  | {
      readonly is: "vm";
      readonly kind: VmKind;
      readonly vocabulary: Vocabulary;
      /** Interfaces under `spec.devices` are read. */
      readonly mayBeOld: boolean;
    }
  | { readonly is: "list" }
  | { readonly is: "wrong"; readonly finding: Finding }
  /** What it is, as the middle of a sentence, and what to do with it. */
  | { readonly is: "other"; readonly says: string; readonly advice?: string };

/** What an object is, by `kind` and `apiVersion`. */
export function objectKind(value: unknown): ObjectKind {
  if (!isMapping(value)) return wrong([], describeValue(value), "a mapping with kind and spec");
  const kind = value["kind"];
  if (kind === undefined) return { is: "wrong", finding: withoutKind(value) };
  if (typeof kind !== "string") return wrong(["kind"], describeValue(kind), `one of ${VM_KINDS.join(", ")}`);
  if (LIST_KINDS.includes(kind)) return { is: "list" };
  const known = VM_KINDS.find((name) => name === kind);
  if (known === undefined) return otherKind(kind);
  const version = value["apiVersion"];
  const isGroup = typeof version === "string" && version.startsWith(`${GROUP}/`);
  if (known === "VM") {
    return { is: "vm", kind: known, vocabulary: isGroup ? "today" : "2018", mayBeOld: !isGroup };
  }
  const spec = at(value, specPath(known));
  const isOld = version === undefined && isMapping(spec) && mentionsInterfaces(spec["devices"]);
  return (
    apiVersionFault(version) ?? {
      is: "vm",
      kind: known,
      vocabulary: isOld ? "2018" : "today",
      mayBeOld: version === undefined,
    }
  );
}

/** Whether devices say anything about network interfaces. */
export function mentionsInterfaces(devices: unknown): boolean {
  return isMapping(devices) && ("interfaces" in devices || "autoattachPodInterface" in devices);
}

/** Where the spec of a VM lies in an object of a kind. */
export function specPath(kind: VmKind): readonly string[] {
  return kind === "VirtualMachine" ? ["spec", "template", "spec"] : ["spec"];
}

function wrong(path: readonly string[], found: string, allowed: string, hint?: string): ObjectKind {
  const finding: Finding = { code: "kind", path, found, allowed };
  return { is: "wrong", finding: hint === undefined ? finding : { ...finding, hint } };
}

/** Not of KubeVirt's group: skipped when it plainly is another's, wrong when it is a slip. */
function apiVersionFault(version: unknown): ObjectKind | undefined {
  if (version === undefined) return undefined;
  if (typeof version !== "string") return wrong(["apiVersion"], describeValue(version), API_VERSION_ALLOWED);
  const slash = version.indexOf("/");
  const group = slash < 0 ? "" : version.slice(0, slash);
  if (group === GROUP && /^v\d+((alpha|beta)\d+)?$/.test(version.slice(slash + 1))) return undefined;
  const meant = group === GROUP || guess(slash < 0 ? version : group, [GROUP]) !== undefined;
  if (meant) {
    return wrong(["apiVersion"], describeValue(version), API_VERSION_ALLOWED, `did you mean ${GROUP}/v1?`);
  }
  const owner = group === "" ? `the core group (${describeValue(version)})` : `group ${describeValue(group)}`;
  return { is: "other", says: `is of ${owner}, not of ${GROUP}` };
}

/** What other kinds have to do with VMs. */
const KINDS_WITH_VMS: Readonly<Record<string, string>> = {
  VirtualMachinePool:
    "a cluster makes VMs of its spec.virtualMachineTemplate: write that as a VirtualMachine of its own",
  VirtualMachineInstanceReplicaSet:
    "a cluster makes VMs of its spec.template: write that as a VirtualMachineInstance of its own",
  VirtualMachineInstancePreset: "a cluster merged it into VMs: write its fields into the VM itself",
  Template: "its objects have parameters to fill in: process it first and give the result",
  NetworkAttachmentDefinition:
    "what stands for it on this machine is said by --network NETWORK=DEVICE, for each multus network",
};

function otherKind(kind: string): ObjectKind {
  const meant = slipOf(kind);
  if (meant !== undefined) {
    const allowed = `one of ${VM_KINDS.join(", ")}, or List`;
    return wrong(["kind"], describeValue(kind), allowed, `did you mean ${meant}?`);
  }
  const advice = Object.hasOwn(KINDS_WITH_VMS, kind) ? KINDS_WITH_VMS[kind] : undefined;
  return {
    is: "other",
    says: `is of kind ${describeValue(kind)}`,
    ...(advice === undefined ? {} : { advice }),
  };
}

/** A kind that differs in case, or a long one that differs by a slip; VirtualMachinePool is a kind of its own. */
function slipOf(kind: string): string | undefined {
  const word = kind.trim();
  const known = [...VM_KINDS, ...LIST_KINDS];
  const sameLetters = known.find((name) => name.toLowerCase() === word.toLowerCase());
  return (
    sameLetters ??
    guess(
      word,
      known.filter((name) => name.length > SHORT_KIND_MAX),
    )
  );
}

const SHORT_KIND_MAX = 4;

const FRAGMENT_KEYS = ["networks", "interfaces", "domain", "devices", "template"];

/** No kind: what it looks like, and what to put around it. */
function withoutKind(value: Mapping): Finding {
  const keys = Object.keys(value);
  const allowed = `kind: ${VM_KINDS.join(", ")}, or List`;
  const base = { code: "kind", path: [], found: "a document without kind", allowed } as const;
  const meant = keys.find((key) => guess(key, ["kind"]) !== undefined);
  if (meant !== undefined) return { ...base, path: [meant], atKey: true, hint: "did you mean kind?" };
  if ("items" in value)
    return { ...base, hint: "it looks like a list of objects: write kind: List above it" };
  if (isMapping(value["spec"])) {
    const kind = "template" in value["spec"] ? "VirtualMachine" : "VirtualMachineInstance";
    return {
      ...base,
      hint: `it looks like a ${kind}: write apiVersion: ${GROUP}/v1 and kind: ${kind} above it`,
    };
  }
  const parts = FRAGMENT_KEYS.filter((key) => key in value);
  return parts.length === 0 ? base : { ...base, hint: wrapping(parts) };
}

function wrapping(parts: readonly string[]): string {
  if (parts.includes("template")) {
    const shape = "apiVersion: kubevirt.io/v1, kind: VirtualMachine, spec: {template: {spec: {...}}}";
    return `it looks like the spec of a VirtualMachine: put it into a whole document, ${shape}`;
  }
  const shape = "{domain: {devices: {interfaces: [...]}}, networks: [...]}";
  return `it looks like a part of a VM's spec (${parts.join(", ")}): put it into a whole document, apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, spec: ${shape}`;
}
