/** From the text of a spec file to models of the VMs in it, or to everything that is wrong with them at once. */
import { fieldFindings } from "./field-findings.ts";
import { at, type Finding, isMapping, type Mapping, type Remark } from "./finding.ts";
import { misplaced } from "./misplaced.ts";
import { remarks } from "./remarks.ts";
import { readSpecText, type SpecDocument } from "./spec-file.ts";
import {
  describeValue,
  type FieldPath,
  formatPath,
  type SpecNote,
  type SpecProblem,
} from "./spec-problem.ts";
import { checkRules, specForm } from "./spec-rules.ts";
import type { Spec2018 } from "./spec-schema.ts";
import type { SpecToday } from "./spec-today.ts";
import { type BindingNames, NO_BINDINGS } from "./today-bindings.ts";
import { type ObjectKind, objectKind, specPath, VM_KINDS, type VmKind } from "./vm-kind.ts";
import { todayModel, type VmModel, vmModel } from "./vm-model.ts";
import { objectSchema } from "./vm-schema.ts";

/** A VM of a file. */
export interface FoundVm {
  readonly file: string;
  readonly document: number;
  /** Where it stands in a document that is a list: `items[1]`. */
  readonly item?: string;
  readonly kind: VmKind;
  readonly model: VmModel;
  /** What is read and not acted upon, or carried out in another way. */
  readonly notes: readonly SpecNote[];
}

export interface Validation {
  /** The VMs without problems. */
  readonly vms: readonly FoundVm[];
  readonly problems: readonly SpecProblem[];
  /** Documents that were skipped, and the notes of every VM. */
  readonly notes: readonly SpecNote[];
}

/** Validates the text of one file; `bindings` are the binding plugins that are carried out as one of ours. Never throws. */
export function validateText(file: string, text: string, bindings: BindingNames = NO_BINDINGS): Validation {
  const { documents, problems } = readSpecText(file, text);
  const results = documents.map((document) => {
    const place = { file, document, path: [], bindings };
    return validateObject(place, document.value);
  });
  const all = mergeValidations(results);
  return { ...all, problems: inFileOrder([...problems, ...all.problems]) };
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

/** Where an object stands, and how it is read. */
interface Place {
  readonly file: string;
  readonly document: SpecDocument;
  /** Of the object in its document: empty, or `items[1]`. */
  readonly path: FieldPath;
  readonly bindings: BindingNames;
}

function validateObject(place: Place, value: unknown): Validation {
  const what = objectKind(value);
  if (what.is === "wrong") return failed(place, [what.finding]);
  if (what.is === "list") return validateList(place, value as Mapping);
  if (what.is === "other") return skipped(place, value, what);
  return validateVm(place, value as Mapping, what);
}

function failed(place: Place, findings: readonly Finding[]): Validation {
  return { vms: [], notes: [], problems: findings.map((finding) => placed(place, finding)) };
}

/** What `kubectl get -o yaml` prints: each item is an object of its own. */
function validateList(place: Place, list: Mapping): Validation {
  const items = list["items"];
  if (!Array.isArray(items)) {
    const code = items === undefined ? "required" : "type";
    return failed(place, [
      { code, path: ["items"], found: describeValue(items), allowed: "a list of objects" },
    ]);
  }
  if (items.length === 0) {
    return { vms: [], problems: [], notes: [note(place, { path: ["items"], message: "the list is empty" })] };
  }
  return mergeValidations(
    items.map((item, index) => validateObject({ ...place, path: [...place.path, "items", index] }, item)),
  );
}

/** Not a VM: a note. */
function skipped(place: Place, value: unknown, what: Extract<ObjectKind, { is: "other" }>): Validation {
  const where = `${place.path.length === 0 ? "" : `${formatPath(place.path)} of `}document ${place.document.number}`;
  const advice = what.advice === undefined ? `VMs are ${VM_KINDS.join(", ")}` : what.advice;
  const message = `${where} ${what.says} and was skipped; ${advice}`;
  const path = isMapping(value) && what.says.startsWith("is of kind") ? ["kind"] : ["apiVersion"];
  const line = place.document.locate([...place.path, ...path], "value").line;
  return {
    vms: [],
    problems: [],
    notes: [{ file: place.file, document: place.document.number, path: "", line, message }],
  };
}

function validateVm(place: Place, value: Mapping, what: Extract<ObjectKind, { is: "vm" }>): Validation {
  const { kind, vocabulary, mayBeOld } = what;
  const base = specPath(kind);
  const spec = at(value, base);
  const parsed = objectSchema(kind, vocabulary).safeParse(value);
  const wrongPlaces = misplaced(kind, value, mayBeOld);
  const fields = parsed.success
    ? []
    : parsed.error.issues.flatMap((issue) => fieldFindings(value, issue, what));
  const rules = isMapping(spec) ? checkRules(spec, { vocabulary, mayBeOld, bindings: place.bindings }) : [];
  const others = [...fields, ...rules.map((rule) => ({ ...rule, path: [...base, ...rule.path] }))];
  const findings = [...wrongPlaces, ...(wrongPlaces.length === 0 ? others : others.filter(isOwnNews))];
  if (findings.length > 0 || !parsed.success) return failed(place, findings);
  const found = at(parsed.data, base);
  const name = at(value, ["metadata", "name"]);
  const model =
    vocabulary === "today"
      ? todayModel(found as SpecToday, name, place.bindings)
      : vmModel(found as Spec2018, specForm(spec as Mapping, mayBeOld).form, name);
  const source = (path: FieldPath): string | undefined =>
    place.document.plainScalar([...place.path, ...path]);
  const notes =
    vocabulary === "today"
      ? remarks({ kind, value, model, bindings: place.bindings, source }).map((remark) => note(place, remark))
      : [];
  const item = place.path.length === 0 ? {} : { item: formatPath(place.path) };
  const vm: FoundVm = { file: place.file, document: place.document.number, ...item, kind, model, notes };
  return { vms: [vm], problems: [], notes };
}

/** What a field in the wrong place leaves missing elsewhere is no news. */
function isOwnNews(finding: Finding): boolean {
  if (finding.code === "unconnected") return false;
  const last = finding.path.at(-1);
  const isParent = ["spec", "template", "networks", "interfaces"].some((key) => key === last);
  return !(finding.code === "required" && isParent);
}

function note(place: Place, { path, message }: Remark): SpecNote {
  const whole = [...place.path, ...path];
  return {
    file: place.file,
    document: place.document.number,
    path: formatPath(whole),
    line: place.document.locate(whole, "value").line,
    message,
  };
}

function placed(place: Place, finding: Finding): SpecProblem {
  const { code, found, allowed, hint } = finding;
  const path = [...place.path, ...finding.path];
  return {
    code,
    file: place.file,
    document: place.document.number,
    path: formatPath(path),
    span: place.document.locate(path, finding.atKey ? "key" : "value"),
    found,
    allowed,
    ...(hint === undefined ? {} : { hint }),
  };
}
