/** Completions for bash, with nothing but bash; the words of a command behind exec are bash-completion's where it is loaded. */
import type { CommandWords, OptionWords } from "./words.ts";

/** A command and those below it, each with its path: ``, `run`, `vm up`. */
export function withPaths(command: CommandWords, path = ""): { path: string; command: CommandWords }[] {
  return [
    { path, command },
    ...command.commands.flatMap((each) => withPaths(each, path === "" ? each.name : `${path} ${each.name}`)),
  ];
}

function forms({ name, short }: OptionWords): string[] {
  return short === undefined ? [`--${name}`] : [`--${name}`, `-${short}`];
}

const GENERATORS = {
  file: '_sluice_files "$current" -f',
  directory: '_sluice_files "$current" -d',
  user: 'COMPREPLY=($(compgen -u -- "$current"))',
  text: "COMPREPLY=()",
} as const;

/** What stands in the script besides its tables. */
const FILES = `_sluice_files() {
  local IFS=$'\\n'
  compopt -o filenames 2> /dev/null
  COMPREPLY=($(compgen "$2" -- "$1"))
}

# The words of another program's command line, which begins at word $1.
_sluice_command() {
  if declare -F _command_offset > /dev/null; then _command_offset "$1"
  elif [ "$1" = "$COMP_CWORD" ]; then COMPREPLY=($(compgen -c -- "$current"))
  else _sluice_files "$current" -f
  fi
}
`;

const COMPLETE = `_sluice() {
  local current=\${COMP_WORDS[COMP_CWORD]} option="" path="" options valued words kind word i
  COMPREPLY=()
  _sluice_table
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    # bash cuts words at = and : as well.
    if [ "$word" = = ]; then continue; fi
    if [ -n "$option" ] && { [ "\${COMP_WORDS[i - 1]}" = "$option" ] || [ "\${COMP_WORDS[i - 1]}" = = ]; }; then
      while [ "\${COMP_WORDS[i + 1]}" = : ] && ((i + 2 < COMP_CWORD)); do i=$((i + 2)); done
      option=""
      continue
    fi
    option=""
    case "$word" in
      --) if [ "$kind" = command ]; then _sluice_command $((i + 1)); return; fi ;;
      -*) case " $valued " in *" $word "*) option=$word ;; esac ;;
      *)
        case "$kind" in
          command) _sluice_command "$i"; return ;;
          commands) path=\${path:+$path }$word; options="" valued="" words="" kind=none; _sluice_table ;;
        esac ;;
    esac
  done
  [ "$current" = = ] && current=""
  if [ -n "$option" ]; then _sluice_value; return; fi
  case "$current" in
    -*) COMPREPLY=($(compgen -W "$options" -- "$current")) ;;
    *)
      case "$kind" in
        commands | words) COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
        command) _sluice_command "$COMP_CWORD" ;;
        file) _sluice_files "$current" -f ;;
        none) COMPREPLY=($(compgen -W "$options" -- "$current")) ;;
      esac ;;
  esac
}

complete -F _sluice sluice
`;

export function bashScript(root: CommandWords): string {
  const all = withPaths(root);
  const values = all.flatMap(({ path, command }) =>
    command.options.flatMap((option) => {
      if (option.value === undefined) return [];
      const { words, kind } = option.value;
      const patterns = forms(option).map((form) => `"${path} ${form}"`);
      const choose = `COMPREPLY=($(compgen -W "${words.join(" ")}" -- "$current"))`;
      return [`    ${patterns.join(" | ")}) ${words.length > 0 ? choose : GENERATORS[kind]} ;;`];
    }),
  );
  return `# Completions of sluice for bash, made by "sluice completion bash".

${FILES}
_sluice_table() {
  case "$path" in
${all.map(({ path, command }) => table(path, command)).join("\n")}
  esac
}

_sluice_value() {
  case "$path $option" in
${values.join("\n")}
  esac
}

${COMPLETE}`;
}

function table(path: string, { options, operands, commands }: CommandWords): string {
  const valued = options.filter(({ value }) => value !== undefined).flatMap(forms);
  const words = [...commands.map(({ name }) => name), ...(Array.isArray(operands) ? operands : [])];
  const kind = commands.length > 0 ? "commands" : Array.isArray(operands) ? "words" : operands;
  return `    "${path}") options="${options.flatMap(forms).join(" ")}" valued="${valued.join(" ")}" words="${words.join(" ")}" kind=${kind} ;;`;
}
