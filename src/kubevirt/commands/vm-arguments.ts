/** Arguments of a `sluice vm` command: Node's parser cuts them up; everything wrong is collected. */
import { type ParseArgsConfig, parseArgs } from "node:util";
import { type Problem, Unacceptable } from "../../config/problem.ts";
import { unknownOption, valueProblem } from "./option-problem.ts";
import { UsageError } from "./usage-error.ts";
import { VM_COMMANDS, type VmCommandName } from "./vm-commands.ts";

export interface VmArguments {
  /** Values by option name; a flag's value is the empty string. */
  readonly options: ReadonlyMap<string, string>;
  /** Values of options that may be given several times. */
  readonly lists: ReadonlyMap<string, readonly string[]>;
  /** Words that are no options. */
  readonly words: readonly string[];
  /** What stands behind `--`; undefined when there is no `--`. */
  readonly rest: readonly string[] | undefined;
  readonly help: boolean;
  readonly problems: readonly Problem[];
}

/** Parses everything after the command's name. Never throws. */
export function parseVmArguments(command: VmCommandName, argv: readonly string[]): VmArguments {
  const known = VM_COMMANDS[command].options;
  const config: NonNullable<ParseArgsConfig["options"]> = { help: { type: "boolean", short: "h" } };
  for (const [name, option] of Object.entries(known)) {
    config[name] = { type: option.placeholder === undefined ? "boolean" : "string", multiple: true };
  }
  const { tokens } = parseArgs({ args: [...argv], options: config, strict: false, tokens: true });
  const options = new Map<string, string>();
  const lists = new Map<string, string[]>();
  const words: string[] = [];
  const problems: Problem[] = [];
  let rest: readonly string[] | undefined;
  let help = false;
  for (const token of tokens) {
    if (token.kind === "positional") {
      words.push(token.value);
    } else if (token.kind === "option-terminator") {
      rest = argv.slice(token.index + 1);
      break;
    } else if (token.name === "help") {
      help = true;
    } else {
      const option = Object.hasOwn(known, token.name) ? known[token.name] : undefined;
      const problem =
        option === undefined
          ? unknownOption(`sluice vm ${command}`, token.rawName, Object.keys(known))
          : valueProblem(token, option.placeholder !== undefined, options.has(token.name));
      if (problem !== undefined) problems.push(problem);
      else if (option?.repeat === true)
        lists.set(token.name, [...(lists.get(token.name) ?? []), token.value ?? ""]);
      else options.set(token.name, token.value ?? "");
    }
  }
  return { options, lists, words, rest, help, problems };
}

/** The value of an option that is one of a few words. */
export function choiceOf<const T extends string>(
  args: VmArguments,
  option: string,
  values: readonly [T, ...T[]],
): T {
  const text = args.options.get(option);
  const value = text === undefined ? values[0] : values.find((known) => known === text);
  if (value === undefined) {
    throw new UsageError([
      { place: `--${option}`, found: text ?? "", allowed: `one of ${values.join(", ")}` },
    ]);
  }
  return value;
}

/** An option's value as `parse` reads it; what it refuses becomes a UsageError about `place`. */
export function checked<T>(place: string, text: string, parse: (text: string) => T): T {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof Unacceptable)) throw error;
    throw new UsageError([{ place, found: text, allowed: error.allowed }]);
  }
}
