/** What can stand on a command line of sluice's: the option table and the command descriptions as a tree, for shells. */
import type { CommandName } from "../../config/option-definition.ts";
import { helpOf } from "../../config/option-help.ts";
import { definitionOf, optionsOf } from "../../config/option-table.ts";
import { VM_COMMAND_NAMES, VM_COMMANDS } from "../../kubevirt/commands/vm-commands.ts";
import { COMMAND_NAMES, COMMANDS } from "../commands.ts";
import { OTHER_COMMANDS, VM_SUMMARY } from "../other-commands.ts";
import { VERBS, type VerbDescription } from "../verb-descriptions.ts";

/** What a value is, as far as a shell can complete it. */
export type ValueKind = "file" | "directory" | "user" | "text";

export interface OptionWords {
  readonly name: string;
  readonly short?: string;
  /** One sentence without its full stop. */
  readonly help: string;
  readonly repeat: boolean;
  /** Absent for a flag. */
  readonly value?: {
    readonly placeholder: string;
    readonly kind: ValueKind;
    /** All there are; empty where a value may be anything. */
    readonly words: readonly string[];
  };
}

export interface CommandWords {
  readonly name: string;
  readonly summary: string;
  readonly options: readonly OptionWords[];
  /** What its words are that are no options; `command` is another program's command line. */
  readonly operands: "none" | "file" | "command" | readonly string[];
  readonly commands: readonly CommandWords[];
}

const HELP: OptionWords = { name: "help", short: "h", help: "Show the help", repeat: false };

const OPERANDS: Readonly<Record<CommandName, CommandWords["operands"]>> = {
  run: "none",
  exec: "command",
  qemu: "command",
  replay: "file",
};

/** The whole command. */
export function sluiceWords(): CommandWords {
  return {
    name: "sluice",
    summary: "",
    options: [HELP, { name: "version", help: "Print the version", repeat: false }],
    operands: "none",
    commands: [
      ...COMMAND_NAMES.map(tableCommand),
      vmCommand(),
      ...Object.entries(OTHER_COMMANDS).map(otherCommand),
      ...Object.entries<VerbDescription>(VERBS).map(verbCommand),
    ],
  };
}

function tableCommand(name: CommandName): CommandWords {
  const { summary, own } = COMMANDS[name];
  const options = optionsOf(name).map((option): OptionWords => {
    const { short, placeholder, repeat, parse } = definitionOf(option);
    return {
      ...optionWords(option, placeholder, helpOf(option), repeat === true, parse.values),
      ...(short === undefined ? {} : { short }),
    };
  });
  const others = Object.entries(own).map(([option, { placeholder, help }]) =>
    optionWords(option, placeholder, help, false),
  );
  return { name, summary, options: [HELP, ...options, ...others], operands: OPERANDS[name], commands: [] };
}

function vmCommand(): CommandWords {
  return {
    name: "vm",
    summary: VM_SUMMARY,
    options: [HELP],
    operands: "none",
    commands: VM_COMMAND_NAMES.map((name) => {
      const { summary, options } = VM_COMMANDS[name];
      const words = Object.entries(options).map(([option, { placeholder, help, repeat }]) =>
        optionWords(option, placeholder, help, repeat === true),
      );
      return { name, summary, options: [HELP, ...words], operands: "file", commands: [] };
    }),
  };
}

function otherCommand([name, { summary, words }]: readonly [
  string,
  { readonly summary: string; readonly words: readonly string[] },
]): CommandWords {
  return { name, summary, options: [HELP], operands: words, commands: [] };
}

/** A command about instances that run: the words in its usage that stand for themselves. */
function verbCommand([name, { usage, summary, flags = {} }]: readonly [
  string,
  VerbDescription,
]): CommandWords {
  const words = usage.split(/[\s|[\]]+/).filter((word) => /^[a-z]+$/.test(word));
  const own = Object.entries(flags).map(([option, { placeholder, help }]) =>
    optionWords(option, placeholder, help, false),
  );
  const all = [
    HELP,
    optionWords("name", "NAME", "The instance.", false),
    optionWords("json", undefined, "Print JSON.", false),
    ...own,
  ];
  return { name, summary, options: all, operands: words.slice(2), commands: [] };
}

function optionWords(
  name: string,
  placeholder: string | undefined,
  help: string,
  repeat: boolean,
  values?: readonly string[],
): OptionWords {
  const sentence = help.replace(/\.$/, "");
  if (placeholder === undefined) return { name, help: sentence, repeat };
  // `text|json` names all there are.
  const words = values ?? (/^[a-z]+(\|[a-z]+)+$/.test(placeholder) ? placeholder.split("|") : []);
  return { name, help: sentence, repeat, value: { placeholder, kind: kindOf(placeholder), words } };
}

function kindOf(placeholder: string): ValueKind {
  if (placeholder === "DIR") return "directory";
  if (placeholder === "USER") return "user";
  return /^(FILE|PATH|MODULE)\b/.test(placeholder) ? "file" : "text";
}
