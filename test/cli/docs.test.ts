/** What the documents say must be what the program takes. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { parseCommandArguments } from "../../src/cli/arguments.ts";
import { COMMAND_NAMES, COMMANDS } from "../../src/cli/commands.ts";
import { isVerb, VERBS } from "../../src/cli/verb-descriptions.ts";
import { parseVerb } from "../../src/cli/verbs.ts";
import type { CommandName } from "../../src/config/option-definition.ts";
import { planEngine, planHost, planLink } from "../../src/config/plan.ts";
import { formatProblem } from "../../src/config/problem.ts";
import { optionsDocument } from "./options-document.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const DOCUMENTS = ["README.md", ...readdirSync(join(ROOT, "docs")).map((name) => `docs/${name}`)].filter(
  (name) => name.endsWith(".md"),
);

/** Lines of the ```sh blocks, continued ones joined. */
function shellLines(text: string): string[] {
  const blocks = [...text.matchAll(/^```sh\n(.*?)^```$/gms)].map((match) => match[1]);
  return blocks.flatMap((block) => block.replaceAll("\\\n", " ").split("\n"));
}

/** Cuts a line into words as a shell does, up to a comment, a pipe or a redirection. */
function words(line: string): string[] {
  const found: string[] = [];
  for (const [, double, single, bare] of line.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)) {
    if (bare !== undefined && /^(#|\||&|;|>|<|[0-9]>)/.test(bare)) break;
    found.push(double ?? single ?? bare);
  }
  return found;
}

/** The arguments of `sluice` in a line, or undefined when the line is about another program. */
function sluiceArguments(line: string): string[] | undefined {
  const [first, second, ...rest] = words(line);
  if (first === "sluice") return [second, ...rest].filter((word) => word !== undefined);
  return first === "npx" && second === "sluice" ? rest : undefined;
}

function problemsOf(argv: readonly string[]): string[] {
  const [command = "", ...rest] = argv;
  if (isVerb(command)) return parseVerb(command, rest).problems.map(formatProblem);
  if (!COMMAND_NAMES.includes(command as CommandName)) return [];
  const name = command as CommandName;
  const { options, rest: words } = parseCommandArguments(name, rest, COMMANDS[name].own);
  if (name === "run") planLink(options);
  planEngine(options);
  planHost(options, "run");
  const problems = options.problems.map(formatProblem);
  if (name !== "run" && words.length === 0) problems.push("a command or a file is missing");
  return problems;
}

const COMMAND_LINES = DOCUMENTS.flatMap((document) =>
  shellLines(readFileSync(join(ROOT, document), "utf8"))
    .map((line) => ({ document, line, argv: sluiceArguments(line) }))
    .filter(({ argv }) => argv !== undefined),
);

describe("command lines in the documents", () => {
  it("are there", () => {
    expect(COMMAND_LINES.filter(({ document }) => document === "README.md").length).toBeGreaterThan(8);
  });

  it.each(COMMAND_LINES)("$document: $line", ({ argv = [] }) => {
    const others = ["policy", "vm", "names", "as", "kubevirt-binding", "--help", "--version"];
    expect([...COMMAND_NAMES, ...Object.keys(VERBS), ...others]).toContain(argv[0]);
    expect(problemsOf(argv)).toEqual([]);
  });
});

it.each(COMMAND_NAMES.flatMap((name) => COMMANDS[name].examples))("help: %s", (line) => {
  expect(problemsOf(sluiceArguments(line) ?? [])).toEqual([]);
});

it("docs/options.md is what the option table says (npx vitest run test/cli/docs.test.ts -u writes it)", async () => {
  await expect(optionsDocument()).toMatchFileSnapshot(join(ROOT, "docs", "options.md"));
});
