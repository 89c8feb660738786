/**
 * Network fields in places where KubeVirt does not look. They would be passed over in silence, and the VM would get
 * the default card, which takes the pod's address.
 */
import { at, type Finding, isMapping, type Mapping } from "./finding.ts";
import { guess } from "./guess.ts";
import { describeValue, type FieldPath, formatPath } from "./spec-problem.ts";
import { mentionsInterfaces, specPath, type VmKind } from "./vm-kind.ts";

const AUTOATTACH = "autoattachPodInterface";
const WORDS = ["interfaces", "interface", "networks", "network", AUTOATTACH] as const;

const DEVICES = ["domain", "devices"];

/** Keys that decide about the network, by the mapping of a spec they belong into. */
const DECISIVE: readonly (readonly [path: readonly string[], keys: readonly string[]])[] = [
  [[], ["domain", "networks", "hostname", "subdomain", "dnsPolicy", "dnsConfig"]],
  [["domain"], ["devices"]],
  [DEVICES, ["interfaces", AUTOATTACH, "networkInterfaceMultiqueue", "useVirtioTransitional"]],
];

/** Everything that stands in the wrong place of an object, paths from its root. `mayBeOld`: `spec.devices` is read. */
export function misplaced(kind: VmKind, value: Mapping, mayBeOld: boolean): Finding[] {
  const base = specPath(kind);
  return [
    ...around(kind, value, base),
    ...inSpec(value, base, mayBeOld),
    ...inDomain(value, base),
    ...misspelt(value, base),
  ];
}

/** Above the spec: beside kind, or beside a VirtualMachine's template. */
function around(kind: VmKind, value: Mapping, base: readonly string[]): Finding[] {
  const findings: Finding[] = [];
  const root = isMapping(value) ? value : {};
  findings.push(...wordsAt(root, [], base, [...WORDS, "domain"]));
  if ("template" in root) {
    const right = kind === "VirtualMachine" ? "spec.template" : formatPath(base);
    findings.push(finding(["template"], "beside kind", right));
  }
  const spec = root["spec"];
  if (!isMapping(spec)) return findings;
  if (kind !== "VirtualMachine") {
    if (isMapping(spec["template"])) {
      const hint = "kind: VirtualMachine has a template";
      findings.push({ ...finding(["spec", "template"], `in a ${kind}`, "spec"), hint });
    }
    return findings;
  }
  for (const path of [["spec"], ["spec", "template"]]) {
    const mapping = at(value, path);
    if (!isMapping(mapping)) continue;
    findings.push(...wordsAt(mapping, path, base, [...WORDS, "domain"]));
    if (mentionsInterfaces(mapping["devices"])) {
      findings.push(
        finding([...path, "devices"], `under ${formatPath(path)}`, formatPath([...base, ...DEVICES])),
      );
    }
  }
  return findings;
}

function inSpec(value: Mapping, base: readonly string[], mayBeOld: boolean): Finding[] {
  const spec = at(value, base);
  if (!isMapping(spec)) return [];
  const findings = wordsAt(spec, base, base, ["interfaces", "interface", "network", AUTOATTACH]);
  const devices = spec["devices"];
  if (mayBeOld && isMapping(devices)) {
    findings.push(...wordsAt(devices, [...base, "devices"], base, ["interface", "networks", "network"]));
  } else if (mentionsInterfaces(devices)) {
    const where = `under ${formatPath(base)}`;
    findings.push(finding([...base, "devices"], where, formatPath([...base, ...DEVICES])));
  }
  return findings;
}

/** Anywhere below the domain; its devices keep their own two. */
function inDomain(value: Mapping, base: readonly string[]): Finding[] {
  const findings: Finding[] = [];
  const visit = (part: unknown, path: FieldPath): void => {
    if (Array.isArray(part)) {
      for (const [index, item] of part.entries()) visit(item, [...path, index]);
      return;
    }
    if (!isMapping(part)) return;
    const isDevices = formatPath(path) === formatPath([...base, ...DEVICES]);
    const words = isDevices ? (["interface", "networks", "network"] as const) : WORDS;
    findings.push(...wordsAt(part, path, base, words));
    for (const [key, child] of Object.entries(part)) {
      if (!(WORDS as readonly string[]).includes(key)) visit(child, [...path, key]);
    }
  };
  visit(at(value, [...base, "domain"]), [...base, "domain"]);
  return findings;
}

/** Decisive keys with a slip in them; without one they are somebody else's. */
function misspelt(value: Mapping, base: readonly string[]): Finding[] {
  return DECISIVE.flatMap(([path, keys]) => {
    const mapping = at(value, [...base, ...path]);
    if (!isMapping(mapping)) return [];
    return Object.keys(mapping).flatMap((key): Finding[] => {
      if (keys.includes(key) || (WORDS as readonly string[]).includes(key)) return [];
      const meant = guess(key, keys);
      if (meant === undefined || meant in mapping) return [];
      return [
        {
          code: "unknown-key",
          path: [...base, ...path, key],
          found: `the unknown key ${describeValue(key)}`,
          allowed: meant,
          hint: `did you mean ${meant}?`,
          atKey: true,
        },
      ];
    });
  });
}

function wordsAt(mapping: Mapping, path: FieldPath, base: FieldPath, words: readonly string[]): Finding[] {
  const where = path.length === 0 ? "beside kind" : `under ${formatPath(path)}`;
  return words
    .filter((word) => Object.hasOwn(mapping, word))
    .map((word) => finding([...path, word], where, formatPath([...base, ...rightPlace(word)])));
}

function rightPlace(word: string): readonly string[] {
  if (word.startsWith("interface")) return [...DEVICES, "interfaces"];
  if (word.startsWith("network")) return ["networks"];
  return word === AUTOATTACH ? [...DEVICES, AUTOATTACH] : [word];
}

function finding(path: FieldPath, where: string, right: string): Finding {
  const word = String(path.at(-1));
  return {
    code: "misplaced",
    path,
    found: `${word} ${where}, where KubeVirt does not look for it`,
    allowed: `it at ${right}`,
    atKey: true,
  };
}
