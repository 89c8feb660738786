/** The sample specs of KubeVirt's early pages, verbatim (test/fixtures/vm), and what tests do with spec texts. */
import { readFileSync } from "node:fs";
import { expect } from "vitest";
import type { SpecProblem } from "../../src/kubevirt/spec/spec-problem.ts";
import type { BindingNames } from "../../src/kubevirt/spec/today-bindings.ts";
import { type Validation, validateText } from "../../src/kubevirt/spec/validate.ts";
import type { VmModel } from "../../src/kubevirt/spec/vm-model.ts";

const FOLDER = new URL("../fixtures/vm/", import.meta.url);

/** Samples that are whole documents. */
export const WHOLE_SAMPLES = [
  "a1-pod-bridge",
  "a3-ports",
  "a4-no-network",
  "a5-bridge",
  "a6-slirp",
  "b1-delegate-ip",
] as const;

export function sample(name: (typeof WHOLE_SAMPLES)[number] | "a2-resource-fragment"): string {
  return readFileSync(new URL(`${name}.yaml`, FOLDER), "utf8");
}

/** The `networks:` fragment of the resource sample as a whole document, its own lines untouched. */
export function wrappedFragment(): string {
  const head =
    "kind: VM\nspec:\n  domain:\n    devices:\n      interfaces:\n      - name: red\n        bridge: {}\n";
  return head + sample("a2-resource-fragment").replace(/^/gm, "  ").trimEnd();
}

/** A document in the newer form with these interfaces and networks, in YAML flow style. */
export function newForm(interfaces: string, networks = "[{name: red, pod: {}}]"): string {
  return `kind: VM\nspec:\n  domain:\n    devices:\n      interfaces: ${interfaces}\n  networks: ${networks}\n`;
}

/** A document in the older form. */
export function oldForm(interfaces: string, networks = "[{name: red, pod: {}}]"): string {
  return `kind: VM\nspec:\n  devices:\n    interfaces: ${interfaces}\n  networks: ${networks}\n`;
}

/** A VirtualMachineInstance of today's with these interfaces and networks, in YAML flow style; `more` goes into its spec. */
export function today(
  interfaces: string,
  networks = "[{name: red, pod: {}}]",
  more: Readonly<Record<string, string>> = {},
): string {
  const rest = Object.entries(more).map(([key, value]) => `  ${key}: ${value}\n`);
  const devices = `  domain:\n    devices:\n      interfaces: ${interfaces}\n`;
  return `apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nspec:\n${devices}  networks: ${networks}\n${rest.join("")}`;
}

/** `path: message` of the notes of a text that is right. */
export function notesOf(text: string, bindings?: BindingNames): string[] {
  const result = validateText("vm.yaml", text, bindings);
  expect(result.problems).toEqual([]);
  return result.notes.map((note) => `${note.path}: ${note.message}`);
}

/** The one VM of a text that must be right. */
export function accepted(text: string, bindings?: BindingNames): VmModel {
  const result = validateText("vm.yaml", text, bindings);
  expect(result.problems).toEqual([]);
  expect(result.vms).toHaveLength(1);
  return result.vms[0].model;
}

/** The problems of a text that must be wrong. */
export function refused(text: string): readonly SpecProblem[] {
  const result: Validation = validateText("vm.yaml", text);
  expect(result.problems).not.toEqual([]);
  expect(result.vms).toEqual([]);
  return result.problems;
}

/** `path: code` of each problem. */
export function summary(problems: readonly SpecProblem[]): string[] {
  return problems.map((problem) => `${problem.path}: ${problem.code}`);
}
