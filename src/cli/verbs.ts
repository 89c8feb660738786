/** Commands about instances that run: what each is called, and how its words are read. Loaded when one of them runs. */
import { parseArgs } from "node:util";
import { nearest, type Problem, quote } from "../config/problem.ts";
import { ControlError } from "../control/client.ts";
import { InstanceError, instanceOf } from "./instances.ts";
import { EXIT_FAILED, EXIT_USAGE, fail, refuse } from "./start-problem.ts";
import { VERBS, type VerbDescription, type VerbName } from "./verb-descriptions.ts";
import { VerbError, type VerbRequest } from "./verb-request.ts";
import { VERB_RUNS } from "./verb-table.ts";

const COMMON = {
  help: { type: "boolean", short: "h" },
  json: { type: "boolean" },
  name: { type: "string" },
  control: { type: "string" },
} as const;

function verbHelp({ usage, summary, flags = {} }: VerbDescription): string {
  const own = Object.entries(flags).map(([flag, { help, placeholder }]) => {
    const left = `  --${flag}${placeholder === undefined ? "" : ` ${placeholder}`}`;
    return `${left.padEnd(22)}${help}`;
  });
  return `${[
    `Usage: ${usage}`,
    "",
    `${summary}.`,
    "",
    "Options:",
    ...own,
    "  --name NAME         the instance called so; the only one that runs by default",
    "  --control PATH      the one whose control socket is at PATH",
    "  --json              print JSON, one object a line where there are many",
  ].join("\n")}\n`;
}

/** What a verb's words say. */
export interface VerbArguments {
  readonly help: boolean;
  readonly words: readonly string[];
  readonly flags: VerbRequest["flags"];
  readonly problems: readonly Problem[];
}

/** Cuts up everything after a verb's name. Never throws. */
export function parseVerb(name: VerbName, argv: readonly string[]): VerbArguments {
  return parseWords(name, VERBS[name], argv);
}

function parseWords(name: string, description: VerbDescription, argv: readonly string[]): VerbArguments {
  const { flags = {}, words: count, usage } = description;
  const known: Record<string, { type: "boolean" | "string"; short?: string }> = { ...COMMON };
  for (const [flag, { placeholder }] of Object.entries(flags)) {
    known[flag] = { type: placeholder === undefined ? "boolean" : "string" };
  }
  const { values, positionals, tokens } = parseArgs({
    args: [...argv],
    options: known,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const problems = tokens.flatMap((token): Problem[] => {
    if (token.kind !== "option") return [];
    const { rawName, value } = token;
    const type = Object.hasOwn(known, token.name) ? known[token.name]?.type : undefined;
    if (type === undefined) return [unknownOption(rawName, name, Object.keys(known))];
    if (type === "string" && value === undefined) return [{ place: rawName, allowed: "a value after it" }];
    return type === "boolean" && value !== undefined
      ? [{ place: rawName, found: value, allowed: "no value" }]
      : [];
  });
  const [least, most] = count;
  if (positionals.length < least || positionals.length > most) {
    problems.push({
      place: "arguments",
      ...(positionals.length === 0 ? {} : { found: positionals.join(" ") }),
      allowed: usage,
    });
  }
  return {
    help: values["help"] === true,
    words: positionals,
    flags: values as VerbRequest["flags"],
    problems,
  };
}

/** Runs `sluice NAME ARGV`. Returns the exit status. */
export function runVerb(name: VerbName, argv: readonly string[]): Promise<number> {
  return runDescribed(name, VERBS[name], VERB_RUNS[name], argv);
}

/** Runs what `name`, as messages call it, is described to be. Returns the exit status. */
export async function runDescribed(
  name: string,
  description: VerbDescription,
  run: (request: VerbRequest) => Promise<void>,
  argv: readonly string[],
): Promise<number> {
  const { help, words, flags, problems } = parseWords(name, description, argv);
  if (help) {
    process.stdout.write(verbHelp(description));
    return 0;
  }
  if (problems.length > 0) return refuse(name, problems);
  const text = (flag: string): string | undefined => {
    const value = flags[flag];
    return typeof value === "string" ? value : undefined;
  };
  try {
    await run({
      words,
      flags,
      json: flags["json"] === true,
      client: () => instanceOf(text("name"), text("control")),
      out: (line) => void process.stdout.write(line),
    });
    return 0;
  } catch (error) {
    return failure(name, error);
  }
}

function failure(name: string, error: unknown): number {
  if (error instanceof VerbError) return refuse(name, [error.problem, ...error.others]);
  if (error instanceof ControlError) {
    const { status, problems } = error.problem;
    if (problems !== undefined && problems.length > 0) return refuse(name, problems as Problem[]);
    fail(name, error);
    return status === 400 ? EXIT_USAGE : EXIT_FAILED;
  }
  if (error instanceof InstanceError) {
    fail(name, error);
    return EXIT_USAGE;
  }
  return fail(name, error);
}

function unknownOption(rawName: string, name: string, known: readonly string[]): Problem {
  const guess = nearest(rawName.replace(/^-+/, ""), known);
  return {
    place: quote(rawName).slice(1, -1),
    allowed: `an option that sluice ${name} has (sluice ${name} --help lists them)${guess ? `; did you mean --${guess}?` : ""}`,
  };
}
