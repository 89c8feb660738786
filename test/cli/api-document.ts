/** docs/api.md, made from the types that the package has: api-document.test.ts keeps the two together. */
import { parseSync } from "rolldown/utils";
import type { Node } from "../support/source-tree.ts";

interface Comment {
  readonly type: string;
  readonly value: string;
  readonly start: number;
  readonly end: number;
}

/** A member or a declaration: its name, what it looks like, and what is said of it. */
export interface Entry {
  readonly name: string;
  readonly code: string;
  readonly about: string;
  readonly examples: readonly string[];
  readonly members: readonly Entry[];
}

/** Sections, in the order in which a reader wants them. */
const SECTIONS: readonly (readonly [title: string, names: readonly string[]])[] = [
  ["Start", ["createEngine", "SluiceOptions", "CommandOptions"]],
  [
    "A running engine",
    ["SteeredSluice", "Sluice", "EngineEnd", "FlowRow", "LeaseRow", "DenialRow", "State", "Why", "Dns"],
  ],
  ["Forwards", ["LiveForwards", "OwnForward"]],
  [
    "Events and captures",
    ["ControlEvent", "EventType", "EventOf", "OwnCaptures", "CaptureStreamQuery", "CaptureResource"],
  ],
  [
    "Where the guest may go",
    [
      ...["Allow", "FlowRequest", "PolicyDocument", "OwnPolicy", "PolicyResource", "PolicyRuleResource"],
      ...["PolicyChangeResource", "RuleWish", "Question", "AnswerWish", "Decide", "Decision"],
    ],
  ],
  ["Errors", ["ConfigError", "Problem", "StartError", "StartProblem"]],
  ["Log", ["Logger"]],
];
const BLOCK = /^```ts\n([\s\S]*?)^```$/m;

/** A comment's words, without the stars; each `@example` apart. */
function wordsOf(comment: Comment | undefined): Pick<Entry, "about" | "examples"> {
  if (comment === undefined) return { about: "", examples: [] };
  const lines = comment.value.split("\n").map((line) => line.replace(/^ *\* ?/, "").trimEnd());
  const [about, ...examples] = lines
    .join("\n")
    .trim()
    .split(/^@example$/m);
  return {
    about: about.replaceAll(/(\S)\n(?=\S)/g, "$1 ").trim(),
    examples: examples.map((text) => BLOCK.exec(text.trim())?.[1] ?? ""),
  };
}

/** The declarations of a file of types that others can import. */
export function declarationsOf(text: string): Entry[] {
  const { program, comments } = parseSync("index.d.ts", text) as unknown as {
    program: { body: Node[] };
    comments: Comment[];
  };
  const before = (node: Node): Comment | undefined =>
    comments.find(
      ({ type, value, end }) =>
        type === "Block" &&
        value.startsWith("*") &&
        /^\s*$/.test(text.slice(end, node.start)) &&
        end <= node.start,
    );
  const member = (node: Node): Entry => ({
    name: text.slice((node["key"] as Node).start, (node["key"] as Node).end),
    code: text
      .slice(node.start, node.end)
      .replaceAll(/\s+/g, " ")
      .replace(/;$/, "")
      .replace(/^readonly /, ""),
    ...wordsOf(before(node)),
    members: [],
  });
  return program.body
    .filter(({ type }) => type === "ExportNamedDeclaration")
    .map((node) => {
      const declared = node["declaration"] as Node;
      const body = (declared["body"] as { body?: Node[] } | undefined)?.body ?? [];
      return {
        name: (declared["id"] as { name: string }).name,
        code: text.slice(declared.start, declared.end).replace(/^declare /, ""),
        ...wordsOf(before(node)),
        members: body
          .filter((each) => (each["key"] as { name?: string })?.name !== "constructor")
          .map(member),
      };
    });
}

/** Text in a table's cell. */
const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");

function table(members: readonly Entry[]): string[] {
  const rows = members.map(({ code, about }) => `| \`${cell(code)}\` | ${cell(about)} |`);
  return ["| | |", "|---|---|", ...rows, ""];
}

function section({ name, code, about, examples, members }: Entry): string[] {
  const isShort = members.length > 0;
  const head = isShort ? [] : ["```typescript", code, "```", ""];
  const parents = / extends ([\w, ]+) \{/.exec(code)?.[1];
  const inherited = parents === undefined ? [] : [`With all of ${parents}.`, ""];
  const shown = examples.flatMap((example) => ["```ts", example.trimEnd(), "```", ""]);
  return [`### ${name}`, "", about, "", ...head, ...inherited, ...(isShort ? table(members) : []), ...shown];
}

/** The whole document. */
export function apiDocument(text: string): string {
  const entries = declarationsOf(text);
  const head = wordsOf({ type: "Block", value: /^\/\*([\s\S]*?)\*\//.exec(text)![1], start: 0, end: 0 });
  const parts = SECTIONS.flatMap(([title, names]) => [
    `## ${title}`,
    "",
    ...names.flatMap((name) => {
      const entry = entries.find((each) => each.name === name);
      if (entry === undefined) throw new Error(`${name} is not in the types`);
      return section(entry);
    }),
  ]);
  const missing = entries.filter(({ name }) => !SECTIONS.some(([, names]) => names.includes(name)));
  if (missing.length > 0) throw new Error(`no section has ${missing.map(({ name }) => name)}`);
  const out = [
    "# The library",
    "",
    "Made from the doc comments of the package's types; `test/e2e/api-examples.test.ts` compiles and runs the examples.",
    "Whole programs are in [cookbook.md](cookbook.md).",
    "",
    head.about.replace(/^ {4}/gm, "    "),
    "",
    ...parts,
  ];
  return `${out.join("\n").trimEnd()}\n`;
}
