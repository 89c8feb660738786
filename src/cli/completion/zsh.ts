/** Completions for zsh: what _arguments takes. */
import type { CommandWords, OptionWords, ValueKind } from "./words.ts";

/** Text in single quotes. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Text inside a specification of _arguments. */
function escaped(text: string): string {
  return text.replace(/[[\]:\\]/g, "\\$&");
}

const ACTIONS: Readonly<Record<ValueKind, string>> = {
  file: "_files",
  directory: "_path_files -/",
  user: "_users",
  text: " ",
};

function specification({ name, short, help, repeat, value }: OptionWords): string {
  const text = `[${escaped(help)}]`;
  const action = value && (value.words.length > 0 ? `(${value.words.join(" ")})` : ACTIONS[value.kind]);
  const argument = value === undefined ? "" : `:${escaped(value.placeholder)}:${action}`;
  const long = value === undefined ? `--${name}` : `--${name}=`;
  if (short === undefined) return quoted(`${repeat ? "*" : ""}${long}${text}${argument}`);
  const brief = value === undefined ? `-${short}` : `-${short}+`;
  const head = repeat ? quoted("*") : quoted(`(-${short} --${name})`);
  return `${head}{${brief},${long}}${quoted(`${text}${argument}`)}`;
}

function operands({ operands: what }: CommandWords): string[] {
  if (what === "command") return [quoted("(-)1:command:_command_names -e"), quoted("*::argument:_normal")];
  if (what === "file") return [quoted("*:file:_files")];
  return Array.isArray(what) ? [quoted(`1:word:(${what.join(" ")})`)] : [];
}

const functionOf = (path: readonly string[]): string => `_${path.join("_").replaceAll("-", "_")}`;

function functions(command: CommandWords, above: readonly string[] = []): string[] {
  const path = [...above, command.name];
  const name = functionOf(path);
  const specifications = command.options.map(specification);
  if (command.commands.length === 0) {
    const lines = [...specifications, ...operands(command)].map((line) => `    ${line}`);
    return [`${name}() {\n  _arguments -s -S : \\\n${lines.join(" \\\n")}\n}\n`];
  }
  const names = command.commands.map(
    (each) => `      ${quoted(`${each.name}:${each.summary.replaceAll(":", "\\:")}`)}`,
  );
  const cases = command.commands.map(
    (each) => `        ${each.name}) ${functionOf([...path, each.name])} ;;`,
  );
  return [
    `${name}() {
  local curcontext=$curcontext state line
  local -a subcommands
  _arguments -C \\
    ${[...specifications, quoted("1:command:->command"), quoted("*::argument:->argument")].join(" \\\n    ")}
  case $state in
    command)
      subcommands=(
${names.join("\n")}
      )
      _describe -t commands command subcommands
      ;;
    argument)
      case $line[1] in
${cases.join("\n")}
      esac
      ;;
  esac
}
`,
    ...command.commands.flatMap((each) => functions(each, path)),
  ];
}

export function zshScript(root: CommandWords): string {
  return `#compdef sluice
# Completions of sluice for zsh, made by "sluice completion zsh".

${functions(root).join("\n")}
# A file of fpath is run to complete; one that is sourced says what it completes.
if [ "$funcstack[1]" = _sluice ]; then
  _sluice "$@"
else
  compdef _sluice sluice
fi
`;
}
