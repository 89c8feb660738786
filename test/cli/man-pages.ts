/** docs/man, made from the option table and the command descriptions: man-pages.test.ts keeps them together. */
import { COMMAND_NAMES, COMMANDS } from "../../src/cli/commands.ts";
import { OTHER_COMMANDS, VM_SUMMARY } from "../../src/cli/other-commands.ts";
import { VERBS } from "../../src/cli/verb-descriptions.ts";
import type { CommandName, OptionGroup } from "../../src/config/option-definition.ts";
import { helpOf } from "../../src/config/option-help.ts";
import { definitionOf, optionsOf } from "../../src/config/option-table.ts";
import { VM_COMMAND_NAMES, VM_COMMANDS } from "../../src/kubevirt/commands/vm-commands.ts";

/** Text as roff takes it (groff_char(7)): no line of ours is a request, and a hyphen is one that can be copied. */
function roff(text: string): string {
  const escaped = text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replaceAll("…", "...");
  return escaped.replace(/^([.'])/gm, "\\&$1");
}

const bold = (text: string): string => `\\fB${roff(text)}\\fR`;
const italic = (text: string): string => `\\fI${roff(text)}\\fR`;

/** `sluice run LINK [OPTIONS]`: what stands as it is, and what stands for something. */
function synopsis(usage: string): string {
  const words = usage
    .split(" ")
    .map((word) => (/^\[?[A-Z][A-Z.]*\]?(\.\.\.)?\]?$/.test(word) ? italic(word) : bold(word)));
  return words.join(" ");
}

interface Entry {
  readonly short?: string | undefined;
  readonly name: string;
  readonly placeholder?: string | undefined;
  readonly help: string;
}

function optionEntry({ short, name, placeholder, help }: Entry): string {
  const forms = [...(short === undefined ? [] : [bold(`-${short}`)]), bold(`--${name}`)].join(", ");
  return `.TP\n${forms}${placeholder === undefined ? "" : ` ${italic(placeholder)}`}\n${roff(help)}`;
}

const HELP: Entry = { short: "h", name: "help", help: "Print a help text." };

interface Page {
  readonly name: string;
  readonly summary: string;
  readonly usage: readonly string[];
  readonly description: string;
  readonly sections: readonly (readonly [title: string, text: string])[];
  readonly examples: readonly (readonly [command: string, purpose: string])[];
  readonly exitStatus: string;
}

function text({ name, summary, usage, description, sections, examples, exitStatus }: Page): string {
  const see = ["sluice", ...COMMAND_NAMES.map((each) => `sluice-${each}`), "sluice-vm"].filter(
    (each) => each !== name,
  );
  const out = [
    '.\\" Made from the option table: npx vitest run test/cli/man-pages.test.ts -u',
    `.TH ${name.toUpperCase()} 1 "" sluice "User Commands"`,
    // Command lines are to be copied: left-aligned, no word cut.
    ".ad l",
    ".nh",
    ".SH NAME",
    `${roff(name)} \\- ${roff(summary)}`,
    ".SH SYNOPSIS",
    ...usage.map((line, i) => `${i > 0 ? ".br\n" : ""}${synopsis(line)}`),
    ".SH DESCRIPTION",
    roff(description),
    ...sections.flatMap(([title, body]) => [`.SH ${title.toUpperCase()}`, body]),
    ".SH EXAMPLES",
    ...examples.flatMap(([line, purpose]) => [".TP", bold(line), roff(`${purpose}.`)]),
    ".SH EXIT STATUS",
    roff(exitStatus),
    ".SH SEE ALSO",
    `${see.map((each) => `${bold(each)}(1)`).join(", ")}`,
  ];
  return `${out.join("\n")}\n`;
}

const EXIT_STATUS = "0 at a clean end, 1 when something failed, 2 for wrong arguments.";

const EXIT_STATUSES: Readonly<Record<CommandName, string>> = {
  run: EXIT_STATUS,
  exec: `That of the command, 128 + N when signal N ended it, 127 when it was not found, 126 when it could not be run. Before it runs: ${EXIT_STATUS}`,
  qemu: `QEMU's, 128 + N when signal N ended it. Before it runs: ${EXIT_STATUS}`,
  replay: EXIT_STATUS,
};

const SIGNALS =
  "SIGTERM, SIGINT, SIGHUP and SIGQUIT end sluice cleanly; exec and qemu pass them on to their command. SIGUSR2 has the size of the heap, the counters and the flow table printed.";

function commandPage(command: CommandName): string {
  const { usage, summary, description, own, examples } = COMMANDS[command];
  const groups = new Map<OptionGroup, string[]>();
  for (const name of optionsOf(command)) {
    const { group, short, placeholder } = definitionOf(name);
    const entry = optionEntry({ short, name, placeholder, help: helpOf(name) });
    groups.set(group, [...(groups.get(group) ?? []), entry]);
  }
  const ownEntries = Object.entries(own).map(([name, { placeholder, help }]) =>
    optionEntry({ name, placeholder, help }),
  );
  const options = [
    optionEntry(HELP),
    ...ownEntries,
    ...[...groups].flatMap(([group, entries]) => [`.SS ${group}`, ...entries]),
  ].join("\n");
  return text({
    name: `sluice-${command}`,
    summary,
    usage: [usage],
    description,
    sections: [
      ["options", options],
      ["signals", roff(SIGNALS)],
    ],
    examples,
    exitStatus: EXIT_STATUSES[command],
  });
}

function vmPage(): string {
  const commands = VM_COMMAND_NAMES.flatMap((name) => {
    const { usage, description, options } = VM_COMMANDS[name];
    const entries = Object.entries(options).map(([option, { placeholder, help }]) =>
      optionEntry({ name: option, placeholder, help }),
    );
    return [`.SS ${name}`, synopsis(usage), ".PP", roff(description), ...entries];
  });
  return text({
    name: "sluice-vm",
    summary: "connect virtual machines as KubeVirt-style specs say",
    usage: VM_COMMAND_NAMES.map((name) => VM_COMMANDS[name].usage),
    description: "Connects virtual machines to networks as a KubeVirt-style spec says.",
    sections: [
      ["commands", commands.join("\n")],
      ["options of every command", optionEntry(HELP)],
    ],
    examples: VM_COMMAND_NAMES.flatMap((name) => VM_COMMANDS[name].examples),
    exitStatus: `0 when it went well, 1 when something failed, 2 for wrong arguments or a wrong spec; run: QEMU's own.`,
  });
}

function overviewPage(): string {
  const line = (name: string, summary: string): string => `.TP\n${bold(name)}\n${roff(summary)}`;
  const commands = [
    ...COMMAND_NAMES.map((name) => line(`sluice-${name}(1)`, COMMANDS[name].summary)),
    line("sluice-vm(1)", VM_SUMMARY),
    ...Object.values(OTHER_COMMANDS).map(({ usage, description }) => line(usage, description)),
  ];
  const verbs = Object.values(VERBS).map(({ usage, summary }) => line(usage, `${summary}.`));
  const options = [optionEntry(HELP), optionEntry({ name: "version", help: "Print the version." })];
  return text({
    name: "sluice",
    summary: "user-mode networking for virtual machines and namespaces",
    usage: ["sluice COMMAND [OPTIONS]"],
    description:
      "Gives a virtual machine or a network namespace a network without privileges: TCP, UDP, DHCP and DNS through sockets of the user who runs it (SLIRP).",
    sections: [
      ["commands", commands.join("\n")],
      ["commands about instances that run", verbs.join("\n")],
      ["options", options.join("\n")],
    ],
    examples: COMMAND_NAMES.flatMap((name) => COMMANDS[name].examples.slice(0, 1)),
    exitStatus: `${EXIT_STATUS} exec and qemu: the command's own.`,
  });
}

/** Every page by its file's name. */
export function manPages(): ReadonlyMap<string, string> {
  return new Map([
    ["sluice.1", overviewPage()],
    ...COMMAND_NAMES.map((name): [string, string] => [`sluice-${name}.1`, commandPage(name)]),
    ["sluice-vm.1", vmPage()],
  ]);
}
