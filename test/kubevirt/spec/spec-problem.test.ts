import { describe, expect, it } from "vitest";
import { formatSpecProblem, type SpecProblem } from "../../../src/kubevirt/spec/spec-problem.ts";
import { validateText } from "../../../src/kubevirt/spec/validate.ts";

describe("how a problem is told", () => {
  it("like a compiler: field, place, line, caret, help", () => {
    const text =
      "kind: VM\nspec:\n  domain:\n    devices:\n      interfaces:\n      - {name: red, model: virt, slirp: {}}\n  networks: [{name: red, pod: {}}]\n";
    const [problem] = validateText("specs/vm.yaml", text).problems;
    expect(formatSpecProblem(problem)).toBe(
      [
        'error: spec.domain.devices.interfaces[0].model: found "virt"; allowed: one of e1000, e1000e, ne2k_pci, pcnet, rtl8139, virtio',
        " --> specs/vm.yaml:6:28",
        "  |",
        "6 |       - {name: red, model: virt, slirp: {}}",
        "  |                            ^^^^",
        "  = help: did you mean virtio?",
      ].join("\n"),
    );
  });

  const base: SpecProblem = { code: "value", file: "f", document: 1, path: "a", found: "x", allowed: "y" };

  it("the caret stays under the fault behind tabs and in long lines", () => {
    const shown = (text: string, column: number, endColumn: number): string[] =>
      formatSpecProblem({ ...base, span: { line: 1, column, endColumn, text } }).split("\n");
    const tabbed = shown("\tkey: bad", 7, 10);
    expect(tabbed[4].indexOf("^")).toBe(tabbed[3].indexOf("bad"));
    const long = shown(`${"x".repeat(500)}bad${"y".repeat(500)}`, 501, 504);
    expect(long[4].indexOf("^")).toBe(long[3].indexOf("bad"));
    expect(Math.max(...long.map((line) => line.length))).toBeLessThan(140);
  });

  it("nothing reaches a terminal that it would act on", () => {
    const span = { line: 1, column: 1, endColumn: 3, text: "\u001b[2J\u202e evil" };
    expect(formatSpecProblem({ ...base, file: "\u001b[2J", span })).not.toMatch(/[^\P{Cc}\n]|\u202e/u);
  });
});
