/** `sluice vm --help` and the help of each command, made from the command descriptions. */
import { entry, wrap } from "../../config/help-text.ts";
import { VM_COMMAND_NAMES, VM_COMMANDS, type VmCommandName } from "./vm-commands.ts";

const INDENT = 26;

/** The help of one command. */
export function vmCommandHelp(name: VmCommandName): string {
  const { usage, description, options, examples } = VM_COMMANDS[name];
  const out = [`Usage: ${usage}`, "", wrap(description, 0), "", "Options:"];
  for (const [option, { placeholder, help }] of Object.entries(options)) {
    out.push(entry(`--${option}${placeholder === undefined ? "" : ` ${placeholder}`}`, help, INDENT));
  }
  out.push(entry("-h, --help", "This text.", INDENT), "", "Examples:");
  for (const [line, purpose] of examples) out.push(`  ${line}`, `      ${purpose}`);
  return `${out.join("\n")}\n`;
}

/** The help of `sluice vm`. */
export function vmHelp(): string {
  const width = Math.max(...VM_COMMAND_NAMES.map((name) => name.length));
  const commands = VM_COMMAND_NAMES.map((name) => `  ${name.padEnd(width)}  ${VM_COMMANDS[name].summary}`);
  return `Connects virtual machines to networks as a KubeVirt-style spec says.

Usage: sluice vm COMMAND [OPTIONS]

Commands:
${commands.join("\n")}

Each has its own help: sluice vm validate --help

Examples:
${VM_COMMAND_NAMES.map((name) => VM_COMMANDS[name].examples[0])
  .map(([line, purpose]) => `  ${line}\n      ${purpose}`)
  .join("\n")}

Exit status: 0 when it went well, 1 when something failed, 2 for wrong arguments or a wrong spec; run: QEMU's own.
`;
}
