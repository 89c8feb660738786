/** `--help`, made from the option table and the command descriptions. */
import { entry, wrap } from "../config/help-text.ts";
import type { CommandName, OptionGroup } from "../config/option-definition.ts";
import { helpOf } from "../config/option-help.ts";
import { definitionOf, optionsOf } from "../config/option-table.ts";
import type { OwnOption } from "./arguments.ts";
import { COMMAND_NAMES, COMMANDS } from "./commands.ts";
import { OTHER_COMMANDS, VM_SUMMARY } from "./other-commands.ts";
import { VERBS } from "./verb-descriptions.ts";

const INDENT = 30;

/** The help of one command. */
export function commandHelp(command: CommandName): string {
  const description = COMMANDS[command];
  const out = [`Usage: ${description.usage}`, "", wrap(description.description, 0)];
  const groups = new Map<OptionGroup, string[]>();
  for (const name of optionsOf(command)) {
    const { group, short, placeholder, flagIn } = definitionOf(name);
    const value = placeholder && !flagIn?.includes(command) ? ` ${placeholder}` : "";
    const left = `${short ? `-${short}, ` : ""}--${name}${value}`;
    const entries = groups.get(group) ?? [];
    entries.push(entry(left, helpOf(name), INDENT));
    groups.set(group, entries);
  }
  const own = Object.entries(description.own).map(([name, o]) =>
    entry(`--${name} ${o.placeholder}`, ownHelp(o), INDENT),
  );
  if (own.length > 0) out.push("", "Replay:", ...own);
  for (const [group, entries] of groups) out.push("", `${group}:`, ...entries);
  out.push("", "Examples:");
  for (const [line, purpose] of description.examples) out.push(`  ${line}`, `      ${purpose}`);
  return `${out.join("\n")}\n`;
}

function ownHelp({ help, default: usual }: OwnOption): string {
  return usual === undefined ? help : `${help.slice(0, -1)} (default ${usual}).`;
}

/** The help of the program. */
export function overallHelp(): string {
  const line = (name: string, summary: string): string => `  ${name.padEnd(16)} ${summary}`;
  const commands = [
    ...COMMAND_NAMES.map((name) => line(name, COMMANDS[name].summary)),
    line("vm", VM_SUMMARY),
    ...Object.entries(OTHER_COMMANDS).map(([name, { summary }]) => line(name, summary)),
  ];
  const verbs = Object.entries(VERBS).map(([name, { summary }]) => line(name, summary));
  return `sluice: user-mode networking (SLIRP) for virtual machines and namespaces, without privileges.

Usage: sluice COMMAND [OPTIONS]

Commands:
${commands.join("\n")}

Of instances that run (each takes --name NAME and --json):
${verbs.join("\n")}

Options:
  -h, --help     this text, or a command's own: sluice run --help
  --version      print the version

Examples:
  sluice exec -- ip address
      a shell command behind the engine: the quickest way to see it work
${COMMAND_NAMES.filter((name) => name !== "exec")
  .flatMap((name) => COMMANDS[name].examples.slice(0, 1))
  .map(([line, purpose]) => `  ${line}\n      ${purpose}`)
  .join("\n")}

Exit status: 0 at a clean end, 1 when something failed, 2 for wrong arguments; exec and qemu: the command's own.
`;
}
