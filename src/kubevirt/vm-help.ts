/** `sluice vm --help` and the help of each command, made from the command descriptions. */
import { VM_COMMAND_NAMES, VM_COMMANDS, type VmCommandName } from "./vm-commands.ts";

const WIDTH = 100;
const INDENT = 26;

/** Breaks text at blanks so that no line passes WIDTH; lines after the first are indented. */
function wrap(text: string, indent: number): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && indent + line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].join(`\n${" ".repeat(indent)}`);
}

function entry(left: string, help: string): string {
  const head = `  ${left}`;
  const gap = head.length + 2 > INDENT ? `\n${" ".repeat(INDENT)}` : " ".repeat(INDENT - head.length);
  return `${head}${gap}${wrap(help, INDENT)}`;
}

/** The help of one command. */
export function vmCommandHelp(name: VmCommandName): string {
  const { usage, description, options, examples } = VM_COMMANDS[name];
  const out = [`Usage: ${usage}`, "", wrap(description, 0), "", "Options:"];
  for (const [option, { placeholder, help }] of Object.entries(options)) {
    out.push(entry(`--${option}${placeholder === undefined ? "" : ` ${placeholder}`}`, help));
  }
  out.push(entry("-h, --help", "This text."), "", "Examples:");
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
