/** What a failed field check says, in our words. Paths start at the object's root. */
import type { z } from "zod";
import { at, type Finding } from "./finding.ts";
import { guess } from "./guess.ts";
import { describeValue, type FieldPath } from "./spec-problem.ts";
import { NIC_MODELS_TODAY } from "./spec-schema.ts";
import { UNSUPPORTED_BINDINGS, UNSUPPORTED_NETWORKS } from "./today-bindings.ts";
import { specPath, type VmKind, type Vocabulary } from "./vm-kind.ts";
import { knownKeys } from "./vm-schema.ts";
import { inYaml11 } from "./yaml-1-1.ts";

interface Head {
  readonly kind: VmKind;
  readonly vocabulary: Vocabulary;
}

/** The findings of one issue of the schema. */
export function fieldFindings(root: unknown, issue: z.core.$ZodIssue, head: Head): Finding[] {
  const path = issue.path.map((step) => (typeof step === "symbol" ? String(step) : step)) as FieldPath;
  if (issue.code === "unrecognized_keys") return issue.keys.flatMap((key) => unknownKey(path, key, head));
  const value = at(root, path);
  const code = value === undefined ? "required" : issue.code === "invalid_type" ? "type" : "value";
  return [
    { code, path, found: describeValue(value), allowed: issue.message, ...hintFor(issue, value, path, head) },
  ];
}

function isNumeral(value: unknown): boolean {
  return typeof value === "string" && /^\d+$/.test(value);
}

function hintFor(issue: z.core.$ZodIssue, value: unknown, path: FieldPath, head: Head): { hint?: string } {
  if (issue.code === "invalid_type" && issue.expected === "number" && isNumeral(value)) {
    return { hint: "this is text; a number stands without quotes" };
  }
  if (value === null && issue.code === "invalid_type") {
    const form = issue.expected === "object" ? "{}" : issue.expected === "array" ? "[]" : undefined;
    return form === undefined ? {} : { hint: `write ${form} for an empty one, or leave the key out` };
  }
  if (issue.code === "invalid_type" && issue.expected === "boolean" && typeof value === "string") {
    const other = inYaml11(value);
    if (other === "true" || other === "false") {
      return { hint: `only YAML 1.1 reads ${value} as ${other}: write ${other}` };
    }
  }
  if (path.at(-1) === "model" && head.vocabulary === "2018" && isModelOfToday(value)) {
    return { hint: todaysForm(String(value), head.kind) };
  }
  if (issue.code !== "invalid_value" || typeof value !== "string") return {};
  const meant = guess(value, issue.values.map(String));
  return meant === undefined ? {} : { hint: `did you mean ${meant}?` };
}

function isModelOfToday(value: unknown): boolean {
  return (NIC_MODELS_TODAY as readonly unknown[]).includes(value);
}

/** Fields a document may have once it is one of KubeVirt's API group. */
function todaysForm(what: string, kind: VmKind): string {
  const head =
    kind === "VM" ? "apiVersion: kubevirt.io/v1, kind: VirtualMachine" : "apiVersion: kubevirt.io/v1";
  return `${what} is today's form: write ${head}`;
}

function unknownKey(path: FieldPath, key: string, { kind, vocabulary }: Head): Finding[] {
  const inSpec = path.slice(specPath(kind).length);
  const known = knownKeys(inSpec, vocabulary);
  const table = inSpec[0] === "networks" ? UNSUPPORTED_NETWORKS : UNSUPPORTED_BINDINGS;
  // On an interface or a network of today's the rules say what it is, and what to write instead.
  const unsupported = known.includes("name") && Object.hasOwn(table, key) ? table[key] : undefined;
  if (unsupported !== undefined && vocabulary === "today") return [];
  const hint = unsupported?.instead ?? hintForKey(inSpec, key, kind, vocabulary) ?? guessed(key, known);
  return [
    {
      code: "unknown-key",
      path: [...path, key],
      found: unsupported?.what ?? `the unknown key ${describeValue(key)}`,
      allowed: known.length === 0 ? "no keys: {}" : `the keys ${known.join(", ")}`,
      ...(hint === undefined ? {} : { hint }),
      atKey: true,
    },
  ];
}

function guessed(key: string, known: readonly string[]): string | undefined {
  const meant = guess(key, known);
  return meant === undefined ? undefined : `did you mean ${meant}?`;
}

/** Keys that exist in another form. */
function hintForKey(
  inSpec: FieldPath,
  key: string,
  kind: VmKind,
  vocabulary: Vocabulary,
): string | undefined {
  if (key === "delegateIp")
    return "in this form bridge: {} on a pod network always gives the address to the guest";
  if (vocabulary === "today") return undefined;
  const isOldForm = inSpec[0] === "devices";
  if (key === "slirp" && isOldForm) return "slirp exists in the newer form, under spec.domain.devices";
  const place = isOldForm ? ["domain", ...inSpec] : inSpec;
  return knownKeys(place, "today").includes(key) ? todaysForm(key, kind) : undefined;
}
