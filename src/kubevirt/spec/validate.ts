/** From the text of a spec file to models of the VMs in it, or to everything that is wrong with them at once. */

import { distance } from "fastest-levenshtein";
import type { z } from "zod";
import { nearest } from "../../config/problem.ts";
import { readSpecText, type SpecDocument } from "./spec-file.ts";
import {
  describeValue,
  type FieldPath,
  formatPath,
  type SpecNote,
  type SpecProblem,
} from "./spec-problem.ts";
import { at, checkRules, type Finding, isMapping, specForm } from "./spec-rules.ts";
import {
  knownKeys,
  specPath,
  VM_DOCUMENT,
  VM_KINDS,
  type VmDocument,
  type VmKind,
  type VmSpec,
} from "./spec-schema.ts";
import { type VmModel, vmModel } from "./vm-model.ts";

/** A VM of a file. */
export interface FoundVm {
  readonly file: string;
  readonly document: number;
  readonly kind: VmKind;
  readonly model: VmModel;
}

export interface Validation {
  /** The VMs without problems. */
  readonly vms: readonly FoundVm[];
  readonly problems: readonly SpecProblem[];
  readonly notes: readonly SpecNote[];
}

/** Validates the text of one file. Never throws. */
export function validateText(file: string, text: string): Validation {
  const { documents, problems } = readSpecText(file, text);
  const results = documents.map((document) => validateDocument(file, document));
  return {
    vms: results.flatMap((result) => result.vms),
    problems: inFileOrder([...problems, ...results.flatMap((result) => result.problems)]),
    notes: results.flatMap((result) => result.notes),
  };
}

/** Results of several files as one. */
export function mergeValidations(results: readonly Validation[]): Validation {
  return {
    vms: results.flatMap((result) => result.vms),
    problems: results.flatMap((result) => result.problems),
    notes: results.flatMap((result) => result.notes),
  };
}

function inFileOrder(problems: readonly SpecProblem[]): SpecProblem[] {
  const key = (problem: SpecProblem): [number, number] => [
    problem.span?.line ?? 0,
    problem.span?.column ?? 0,
  ];
  return [...problems].sort((a, b) => key(a)[0] - key(b)[0] || key(a)[1] - key(b)[1]);
}

function validateDocument(file: string, document: SpecDocument): Validation {
  const kind = isMapping(document.value) ? document.value["kind"] : undefined;
  if (!isVmKind(kind)) return otherKind(file, document, kind);
  const parsed = VM_DOCUMENT.safeParse(document.value);
  const base = specPath(kind);
  const spec = at(document.value, base);
  const findings = [
    ...(parsed.success
      ? []
      : parsed.error.issues.flatMap((issue) => fieldFindings(document.value, issue, base))),
    ...(isMapping(spec)
      ? checkRules(spec).map((finding) => ({ ...finding, path: [...base, ...finding.path] }))
      : []),
  ];
  if (findings.length > 0 || !parsed.success) {
    return { vms: [], notes: [], problems: findings.map((finding) => placed(file, document, finding)) };
  }
  const found = specOf(parsed.data);
  const model = vmModel(
    found,
    specForm(spec as Record<string, unknown>).form,
    at(document.value, ["metadata", "name"]),
  );
  return { vms: [{ file, document: document.number, kind, model }], problems: [], notes: [] };
}

function specOf(document: VmDocument): VmSpec {
  return document.kind === "VirtualMachine" ? document.spec.template.spec : document.spec;
}

function isVmKind(kind: unknown): kind is VmKind {
  return (VM_KINDS as readonly unknown[]).includes(kind);
}

/** Not a VM: a note, unless the kind looks like a slip of the fingers. */
function otherKind(file: string, document: SpecDocument, kind: unknown): Validation {
  const guess = typeof kind === "string" ? slipOf(kind) : undefined;
  if (guess !== undefined) {
    const finding: Finding = {
      code: "kind",
      path: ["kind"],
      found: describeValue(kind),
      allowed: `one of ${VM_KINDS.join(", ")}`,
      hint: `did you mean ${guess}?`,
    };
    return { vms: [], notes: [], problems: [placed(file, document, finding)] };
  }
  const what = kind === undefined ? "has no kind" : `is of kind ${describeValue(kind)}`;
  const message = `document ${document.number} ${what} and was skipped; VMs are ${VM_KINDS.join(", ")}`;
  const line = document.locate(["kind"], "value").line;
  return { vms: [], problems: [], notes: [{ file, document: document.number, line, message }] };
}

/** A VM kind that differs in case or by two letters; VirtualMachinePool and its like are kinds of their own. */
function slipOf(kind: string): VmKind | undefined {
  const word = kind.trim();
  const sameLetters = VM_KINDS.find((known) => known.toLowerCase() === word.toLowerCase());
  if (sameLetters !== undefined) return sameLetters;
  const long = VM_KINDS.filter((known) => known.length > SLIP_LETTERS_MAX && word.length < 2 * known.length);
  return long.find((known) => distance(word, known) <= SLIP_LETTERS_MAX);
}

const SLIP_LETTERS_MAX = 2;

/** What a failed field check says, in our words. */
function fieldFindings(root: unknown, issue: z.core.$ZodIssue, base: readonly string[]): Finding[] {
  const path = issue.path.map((step) => (typeof step === "symbol" ? String(step) : step)) as FieldPath;
  if (issue.code === "unrecognized_keys") return issue.keys.map((key) => unknownKey(path, key, base));
  const value = at(root, path);
  const missing = value === undefined;
  const numeral = issue.code === "invalid_type" && issue.expected === "number" && isNumeral(value);
  return [
    {
      code: missing ? "required" : issue.code === "invalid_type" ? "type" : "value",
      path,
      found: describeValue(value),
      allowed: issue.message,
      ...hintFor(issue, value, numeral),
    },
  ];
}

function isNumeral(value: unknown): boolean {
  return typeof value === "string" && /^\d+$/.test(value);
}

function hintFor(issue: z.core.$ZodIssue, value: unknown, numeral: boolean): { hint?: string } {
  if (numeral) return { hint: "this is text; a number stands without quotes" };
  if (value === null && issue.code === "invalid_type") {
    const form = issue.expected === "object" ? "{}" : issue.expected === "array" ? "[]" : undefined;
    return form === undefined ? {} : { hint: `write ${form} for an empty one, or leave the key out` };
  }
  if (issue.code !== "invalid_value" || typeof value !== "string") return {};
  const guess = nearest(
    value.toLowerCase(),
    issue.values.map((known) => String(known).toLowerCase()),
  );
  const known = issue.values.find((candidate) => String(candidate).toLowerCase() === guess);
  return known === undefined ? {} : { hint: `did you mean ${String(known)}?` };
}

function unknownKey(path: FieldPath, key: string, base: readonly string[]): Finding {
  const known = knownKeys(path.slice(base.length));
  const guess = nearest(key, known) ?? nearest(key.toLowerCase(), known);
  return {
    code: "unknown-key",
    path: [...path, key],
    found: `the unknown key ${describeValue(key)}`,
    allowed: known.length === 0 ? "no keys: {}" : `the keys ${known.join(", ")}`,
    ...(guess === undefined ? hintForKey(path, key) : { hint: `did you mean ${guess}?` }),
    atKey: true,
  };
}

/** Keys that exist in the other form. */
function hintForKey(path: FieldPath, key: string): { hint?: string } {
  if (key === "delegateIp") {
    return { hint: "in this form bridge: {} on a pod network always gives the address to the guest" };
  }
  if (key === "slirp" && path.includes("interfaces")) {
    return { hint: "slirp exists in the newer form, under spec.domain.devices" };
  }
  return {};
}

function placed(file: string, document: SpecDocument, finding: Finding): SpecProblem {
  const { code, path, found, allowed, hint } = finding;
  return {
    code,
    file,
    document: document.number,
    path: formatPath(path),
    span: document.locate(path, finding.atKey ? "key" : "value"),
    found,
    allowed,
    ...(hint === undefined ? {} : { hint }),
  };
}
