/**
 * Arguments to options: Node's own parser cuts them up, the option table says what each means. Everything wrong is
 * collected; nothing here throws on any argument list.
 */
import { type ParseArgsConfig, parseArgs } from "node:util";
import type { CommandName } from "../config/option-definition.ts";
import { OptionSet } from "../config/option-set.ts";
import { definitionOf, type OptionName, optionsOf } from "../config/option-table.ts";
import { nearest, type Problem, quote } from "../config/problem.ts";

/** What a command line says. */
export interface CommandArguments {
  readonly options: OptionSet;
  /** `--help` or `-h` was given: nothing else counts. */
  readonly help: boolean;
  /**
   * What comes from the first word that is not an option on (`--` itself is left out): somebody else's command line.
   * For run and replay, all words that are not options.
   */
  readonly rest: readonly string[];
  /** The command's own few flags that are not in the table, such as replay's `--output`. */
  readonly own: ReadonlyMap<string, string>;
}

/** An option with a value that only one command has. */
export interface OwnOption {
  readonly placeholder: string;
  readonly help: string;
  /** What holds when it is not given, as one would write it. */
  readonly default?: string;
}

/** Parses everything after the command's name. `own` names the command's own options. */
export function parseCommandArguments(
  command: CommandName,
  argv: readonly string[],
  own: Readonly<Record<string, OwnOption>> = {},
): CommandArguments {
  const options = new OptionSet();
  const ownValues = new Map<string, string>();
  for (const [name, { default: usual }] of Object.entries(own))
    if (usual !== undefined) ownValues.set(name, usual);
  const known = optionsOf(command);
  const config: NonNullable<ParseArgsConfig["options"]> = { help: { type: "boolean", short: "h" } };
  for (const name of known) {
    const { placeholder, short, flagIn } = definitionOf(name);
    const takesValue = placeholder !== undefined && flagIn?.includes(command) !== true;
    config[name] = { type: takesValue ? "string" : "boolean", multiple: true, ...(short ? { short } : {}) };
  }
  for (const name of Object.keys(own)) config[name] = { type: "string", multiple: true };
  const { tokens } = parseArgs({ args: [...argv], options: config, strict: false, tokens: true });
  let help = false;
  let rest: string[] = [];
  const takesCommand = command === "exec" || command === "qemu";
  let afterUnknown = false;
  for (const token of tokens) {
    const wasUnknown = afterUnknown;
    afterUnknown = false;
    if (token.kind === "positional" && wasUnknown) continue; // The unknown option's value, most likely.
    if (token.kind === "positional" && !takesCommand) {
      rest.push(token.value);
      continue;
    }
    if (token.kind === "option-terminator" && !takesCommand) continue;
    if (token.kind !== "option") {
      rest = argv.slice(token.index + (token.kind === "option-terminator" ? 1 : 0));
      break;
    }
    if (token.name === "help" && token.value === undefined) {
      help = true;
    } else if (Object.hasOwn(config, token.name)) {
      const takesValue = config[token.name]?.type === "string";
      const problem = valueProblem(token.rawName, token.value, token.inlineValue === true, takesValue);
      if (problem) options.problems.push(problem);
      else if (Object.hasOwn(own, token.name)) ownValues.set(token.name, token.value as string);
      else options.add(token.name as OptionName, token.value);
    } else {
      afterUnknown = token.inlineValue !== true;
      options.problems.push(unknownOption(token.rawName, command, Object.keys(config)));
    }
  }
  return { options, help, rest, own: ownValues };
}

function valueProblem(
  rawName: string,
  value: string | undefined,
  inline: boolean,
  takesValue: boolean,
): Problem | undefined {
  if (!takesValue) {
    return value === undefined ? undefined : { place: rawName, found: value, allowed: "no value" };
  }
  if (value === undefined) return { place: rawName, allowed: "a value after it" };
  // `--mtu --net ...` is a forgotten value; a value that does begin with a dash is written `--name=-value`.
  if (!inline && value.startsWith("-") && value.length > 1) {
    return { place: rawName, found: value, allowed: `a value after it (or ${rawName}=VALUE)` };
  }
  return undefined;
}

function unknownOption(rawName: string, command: CommandName, known: readonly string[]): Problem {
  const guess = nearest(rawName.replace(/^-+/, ""), known);
  const elsewhere = guess === undefined ? "" : `; did you mean --${guess}?`;
  return {
    place: quote(rawName).slice(1, -1),
    allowed: `an option that sluice ${command} has (sluice ${command} --help lists them)${elsewhere}`,
  };
}
