/** docs/drop-in-words.md, made from the tables of words: documents.test.ts keeps the file and the tables together. */
import { PROGRAMS } from "../../src/names/programs.ts";

/** A `|` would end a table's cell. */
const cell = (text: string): string => text.replaceAll("|", "\\|");

export function wordsDocument(): string {
  const out = [
    "# The words of other programs",
    "",
    "Made from the tables in `src/names/`, which also read them and print `--help`. Options on the right are those of",
    "`sluice run` ([options.md](options.md)). How to install the names is in [drop-in.md](drop-in.md).",
    "",
  ];
  for (const { name, usage, words } of PROGRAMS) {
    out.push(`## ${name}`, "", `\`${usage}\``, "", "| word | what it comes to |", "|---|---|");
    for (const { forms, placeholder, help } of words) {
      const shown = forms.map((form) => `\`${form}\``).join(", ");
      out.push(`| ${shown}${placeholder === undefined ? "" : ` \`${cell(placeholder)}\``} | ${cell(help)} |`);
    }
    out.push("");
  }
  return out.join("\n");
}
