/** Options as properties of the library. */
import { definitionOf, type OPTIONS, type OptionName } from "./option-table.ts";

type CamelCase<S extends string> = S extends `${infer Head}-${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : S;

/** The property of the library's options that stands for an option: camel case, or what the table says. */
export type PropertyOf<N extends OptionName> = (typeof OPTIONS)[N] extends {
  readonly property: infer P extends string;
}
  ? P
  : CamelCase<N>;

export function propertyOf(name: OptionName): string {
  return (
    definitionOf(name).property ?? name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
  );
}

/** What a property holds: the text of the command line, or a number or boolean that reads the same. */
export type PropertyValue<N extends OptionName> = (typeof OPTIONS)[N] extends { readonly repeat: true }
  ?
      | readonly (string | number)[]
      | ((typeof OPTIONS)[N] extends { readonly oneWithoutList: true } ? string | number : never)
  : (typeof OPTIONS)[N] extends { readonly placeholder: string }
    ? string | number
    : boolean;

/** Options about the command's own processes, its log and its policy, which the library has in ways of its own. */
const COMMAND_ONLY = [
  "model",
  // The library's `allow` is a program's, and its `policy` an object.
  "allow",
  "deny",
  "ask",
  "policy",
  "policy-default",
  "audit",
  // The library's is a function.
  "decide",
  "ready-fd",
  "exit-fd",
  "pid-file",
  "background",
  "outlive-parent",
  "user",
  "no-sandbox",
  "name",
  "control",
  "via",
  "flow-log",
  "flow-log-level",
  "log-level",
  "log-format",
  "log-file",
] as const satisfies readonly OptionName[];

export type CommandOnly = (typeof COMMAND_ONLY)[number];

export function isCommandOnly(name: OptionName): boolean {
  return (COMMAND_ONLY as readonly OptionName[]).includes(name);
}
