/**
 * A VM of either vocabulary as a cluster's manifest of today: `VirtualMachine`, with its network in words that KubeVirt
 * takes now. Everything else of the document is carried over.
 */
import { networkPart, type PortableNetwork, type Report, without } from "./export-network.ts";
import { at, isMapping, type Mapping } from "./finding.ts";
import type { SpecDocument } from "./spec-file.ts";
import { type FieldPath, formatPath, type SpecNote, type SpecProblem } from "./spec-problem.ts";
import { specForm } from "./spec-rules.ts";
import { objectKind, specPath, type VmKind } from "./vm-kind.ts";
import { OLD_FORM } from "./vm-model.ts";

export interface ExportOptions {
  /** The binding plugin that stands for slirp. */
  readonly binding: string;
  readonly namespace?: string;
  /** The file's name, for notes. */
  readonly file: string;
  /** What a VM without `metadata.name` is called. */
  readonly fallbackName: string;
}

export interface Exported {
  /** Objects in the order in which a cluster wants them: networks, then VMs. */
  readonly objects: readonly Mapping[];
  readonly notes: readonly SpecNote[];
  /** What there is no word for today; the objects are then not whole. */
  readonly problems: readonly SpecProblem[];
}

/** A VM with the place where it stands. */
interface VmObject {
  readonly document: SpecDocument;
  readonly path: FieldPath;
  readonly value: Mapping;
  readonly kind: VmKind;
  readonly mayBeOld: boolean;
}

/** The VMs of right documents, lists gone through. */
function vmObjects(document: SpecDocument, path: FieldPath = [], value = document.value): VmObject[] {
  const what = objectKind(value);
  if (what.is === "vm") return [{ ...what, document, path, value: value as Mapping }];
  const items = what.is === "list" ? at(value, ["items"]) : undefined;
  if (!Array.isArray(items)) return [];
  return items.flatMap((item, index) => vmObjects(document, [...path, "items", index], item));
}

/** The names of all binding plugins in right or wrong documents: a cluster knows them, whatever they are. */
export function pluginNames(documents: readonly SpecDocument[]): string[] {
  return documents
    .flatMap((document) => vmObjects(document))
    .flatMap(({ value, kind }) => {
      const interfaces = at(value, [...specPath(kind), "domain", "devices", "interfaces"]);
      return Array.isArray(interfaces) ? interfaces.map((nic) => at(nic, ["binding", "name"])) : [];
    })
    .filter((name) => typeof name === "string");
}

/** Exports all VMs of documents without problems. */
export function exportVms(documents: readonly SpecDocument[], options: ExportOptions): Exported {
  const networks = new Map<string, Mapping>();
  const names = new Set<string>();
  const vms: Mapping[] = [];
  const notes: SpecNote[] = [];
  const problems: SpecProblem[] = [];
  for (const vm of documents.flatMap((document) => vmObjects(document))) {
    const { document } = vm;
    const place = { file: options.file, document: document.number };
    const report: Report = {
      say: (path, message) => {
        const whole = [...vm.path, ...path];
        const { line } = document.locate(whole, "value");
        notes.push({ ...place, path: formatPath(whole), line, message });
      },
      fail: ({ code, path, found, allowed, hint }) => {
        const whole = [...vm.path, ...path];
        const span = document.locate(whole, "value");
        problems.push({
          code,
          ...place,
          path: formatPath(whole),
          span,
          found,
          allowed,
          ...(hint ? { hint } : {}),
        });
      },
    };
    vms.push(manifest(vm, options, names, networks, report));
  }
  return { objects: [...networks.values(), ...vms], notes, problems };
}

/** What an API server writes into metadata; a manifest with it is refused, or meant for that one object. */
const SERVERS_OWN = [
  "uid",
  "resourceVersion",
  "generation",
  "creationTimestamp",
  "deletionTimestamp",
  "managedFields",
  "selfLink",
  "ownerReferences",
  "finalizers",
];

function manifest(
  vm: VmObject,
  options: ExportOptions,
  names: Set<string>,
  networks: Map<string, Mapping>,
  report: Report,
): Mapping {
  const { value, kind, mayBeOld } = vm;
  const { say } = report;
  const base = specPath(kind);
  const spec = mappingAt(value, base);
  const part = networkPart(
    spec,
    { base, binding: options.binding, isOld: specForm(spec, mayBeOld).form === OLD_FORM },
    report,
  );
  const metadata = without(mappingAt(value, ["metadata"]), SERVERS_OWN);
  const own = metadata["namespace"];
  const namespace = options.namespace ?? (typeof own === "string" ? own : undefined);
  for (const network of part.networks) define(network, namespace, networks, say);
  const named = {
    ...metadata,
    name: labelOf(metadata["name"], options.fallbackName, namespace, names, say),
    ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
  };
  const outer = kind === "VirtualMachine" ? mappingAt(value, ["spec"]) : {};
  const template = kind === "VirtualMachine" ? mappingAt(value, ["spec", "template"]) : ofInstance(metadata);
  return {
    ...without(value, ["status"]),
    apiVersion: "kubevirt.io/v1",
    kind: "VirtualMachine",
    metadata: named,
    spec: {
      ...("running" in outer || "runStrategy" in outer ? {} : { runStrategy: "Always" }),
      ...outer,
      template: { ...template, spec: part.spec },
    },
  };
}

function mappingAt(value: unknown, path: FieldPath): Record<string, unknown> {
  const found = at(value, path);
  return isMapping(found) ? { ...found } : {};
}

/** An instance's labels and annotations are what services and webhooks look at: in a VirtualMachine, the template's. */
function ofInstance(metadata: Mapping): Mapping {
  const kept = Object.entries(metadata).filter(([key]) => key === "labels" || key === "annotations");
  return kept.length === 0 ? {} : { metadata: Object.fromEntries(kept) };
}

const LABEL_OCTETS_MAX = 63;

/** A DNS label (RFC 1123) out of any text; empty where there is none in it. */
export function dnsLabel(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, "-")
    .slice(0, LABEL_OCTETS_MAX)
    .replace(/^-+|-+$/g, "");
}

/** The VM's name, which no other of its namespace has. */
function labelOf(
  written: unknown,
  fallback: string,
  namespace: string | undefined,
  names: Set<string>,
  say: Report["say"],
): string {
  const key = (name: string): string => `${namespace ?? ""}/${name}`;
  const wanted = typeof written === "string" && written.trim() !== "" ? written.trim() : fallback;
  const stem = dnsLabel(wanted) || "vm";
  let label = stem;
  for (let n = 2; names.has(key(label)); n++) label = `${stem.slice(0, LABEL_OCTETS_MAX - 4)}-${n}`;
  names.add(key(label));
  if (written === undefined) say(["metadata", "name"], `the VM has no name and is called ${label}`);
  else if (label !== written) say(["metadata", "name"], `a cluster takes DNS labels only: ${label}`);
  return label;
}

/** Longest name of a Linux device. */
const DEVICE_NAME_MAX = 15;

/** The NetworkAttachmentDefinition that a network of a device plugin becomes, once for each name in a namespace. */
function define(
  { name, path }: PortableNetwork,
  namespace: string | undefined,
  networks: Map<string, Mapping>,
  say: Report["say"],
): void {
  const key = `${namespace ?? ""}/${name}`;
  if (networks.has(key)) return;
  const bridge = `br-${name}`.slice(0, DEVICE_NAME_MAX);
  const config = { cniVersion: "0.3.1", name, type: "bridge", bridge, ipam: {} };
  networks.set(key, {
    apiVersion: "k8s.cni.cncf.io/v1",
    kind: "NetworkAttachmentDefinition",
    metadata: { name, ...(namespace === undefined ? {} : { namespace }) },
    spec: { config: JSON.stringify(config) },
  });
  say(
    path,
    `the device plugin's network becomes a NetworkAttachmentDefinition, ${name}, of a bridge ${bridge} that every node has: say in its config what it is on yours`,
  );
}
