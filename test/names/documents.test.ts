/** docs/drop-in.md and docs/drop-in-words.md say what the names do. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { PROGRAM_NAMES, PROGRAMS } from "../../src/names/programs.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { wordsDocument } from "./words-document.ts";

it("docs/drop-in-words.md is what the tables say (npx vitest run test/names/documents.test.ts -u writes it)", async () => {
  await expect(wordsDocument()).toMatchFileSnapshot(join(PROJECT_ROOT, "docs", "drop-in-words.md"));
});

it("docs/drop-in.md names programs that there are, and words that are refused", () => {
  const text = readFileSync(join(PROJECT_ROOT, "docs", "drop-in.md"), "utf8");
  for (const [, names = ""] of text.matchAll(/^sluice names install \S+(.*)$/gm)) {
    for (const name of names.split(" ").filter(Boolean)) expect(PROGRAM_NAMES).toContain(name);
  }
  const [, refused = ""] =
    /What the owners' programs do and sluice does not:\n\n((?:\|.*\n)+)/.exec(text) ?? [];
  const words = PROGRAMS.flatMap((program) => program.words);
  const isRefused = (form: string): boolean | undefined =>
    words.find(({ forms }) => forms.includes(form))?.refused;
  for (const form of ["--repair-path", "--no-netns-quit"]) {
    expect([form, refused.includes(form), isRefused(form)]).toEqual([form, true, true]);
  }
});
