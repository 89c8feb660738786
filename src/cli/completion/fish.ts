/** Completions for fish. */
import { withPaths } from "./bash.ts";
import type { CommandWords, OptionWords, ValueKind } from "./words.ts";

function quoted(text: string): string {
  return `'${text.replace(/[\\']/g, "\\$&")}'`;
}

const ARGUMENTS: Readonly<Record<ValueKind, string>> = {
  file: "-r -F",
  directory: "-x -a '(__fish_complete_directories)'",
  user: "-x -a '(__fish_complete_users)'",
  text: "-x",
};

function option(condition: string, { name, short, help, value }: OptionWords): string {
  const argument =
    value === undefined
      ? ""
      : ` ${value.words.length > 0 ? `-x -a ${quoted(value.words.join(" "))}` : ARGUMENTS[value.kind]}`;
  return `complete -c sluice -n ${condition} -l ${name}${short === undefined ? "" : ` -s ${short}`}${argument} -d ${quoted(help)}`;
}

/** What the conditions of the script call. */
const FUNCTIONS = `# The words before the one at hand begin with these.
function __sluice_at
    set -l words (commandline -opc)[2..]
    for i in (seq (count $argv))
        test "$words[$i]" = "$argv[$i]"; or return 1
    end
end

# And are no more than these.
function __sluice_alone
    __sluice_at $argv; and test (count (commandline -opc)) -eq (math 1 + (count $argv))
end

# The words of another program's command line so far, if it has begun; the arguments are options that take a value.
function __sluice_rest
    set -l words (commandline -opc)[3..]
    while set -q words[1]
        if test "$words[1]" = --
            set -e words[1]
            string join -- \\n $words
            return 0
        else if string match -q -- '-*' $words[1]
            if contains -- $words[1] $argv
                set -e words[1]
            end
            set -e words[1]
        else
            string join -- \\n $words
            return 0
        end
    end
    return 1
end

function __sluice_complete_rest
    set -l rest (__sluice_rest $argv)
    if test $status -ne 0
        string match -q -- '-*' (commandline -ct); and return
    end
    complete -C (string join ' ' -- (string escape -- $rest) (commandline -ct))
end
`;

export function fishScript(root: CommandWords): string {
  const lines = withPaths(root).flatMap(({ path, command }) => {
    const before = path === "" ? [] : [`# sluice ${path}`];
    const own = quoted(`__sluice_at ${path}`);
    const valued = command.options
      .filter(({ value }) => value !== undefined)
      .flatMap(({ name, short }) => [`--${name}`, ...(short === undefined ? [] : [`-${short}`])])
      .join(" ");
    const isOther = command.operands === "command";
    const alone = quoted(`__sluice_alone ${path}`);
    const condition = isOther
      ? quoted(`__sluice_at ${path}; and not __sluice_rest ${valued} > /dev/null`)
      : command.commands.length > 0
        ? alone
        : own;
    const options = command.options.map((each) => option(condition, each));
    const names = command.commands.map(
      ({ name, summary }) => `complete -c sluice -n ${alone} -a ${name} -d ${quoted(summary)}`,
    );
    if (Array.isArray(command.operands))
      names.push(`complete -c sluice -n ${own} -a ${quoted(command.operands.join(" "))}`);
    if (command.operands === "file") names.push(`complete -c sluice -n ${own} -F`);
    if (isOther)
      names.push(`complete -c sluice -n ${own} -a ${quoted(`(__sluice_complete_rest ${valued})`)}`);
    return [...before, ...options, ...names, ""];
  });
  return `# Completions of sluice for fish, made by "sluice completion fish".

${FUNCTIONS}
complete -c sluice -f

${lines.join("\n")}`;
}
