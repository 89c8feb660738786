/** What each `sluice vm` command is called, takes and is for: the source of parsing and of `--help`. */

export interface VmOption {
  /** What stands for the value in the help; absent for a flag. */
  readonly placeholder?: string;
  readonly help: string;
}

export interface VmCommandDescription {
  readonly usage: string;
  /** One line for the overview. */
  readonly summary: string;
  readonly description: string;
  readonly options: Readonly<Record<string, VmOption>>;
  /** Command lines with what each is for. */
  readonly examples: readonly (readonly [command: string, purpose: string])[];
}

export type VmCommandName = "validate" | "schema";

export const VM_COMMANDS: Readonly<Record<VmCommandName, VmCommandDescription>> = {
  validate: {
    usage: "sluice vm validate [OPTIONS] FILE...",
    summary: "check spec files and tell everything that is wrong with them",
    description:
      "Reads YAML files (- is standard input) and reports every problem with its field, its place, what was found and what is allowed. Documents of other kinds are skipped with a note. The exit status is 0 when all VMs are right, 2 otherwise.",
    options: { format: { placeholder: "text|json", help: "How problems are told (default text)." } },
    examples: [["sluice vm validate vm.yaml --format json", "problems as data, for a program"]],
  },
  schema: {
    usage: "sluice vm schema",
    summary: "print the JSON Schema of a spec file",
    description:
      "Prints the JSON Schema (draft 2020-12) that the validator checks fields by; editors complete against it.",
    options: {},
    examples: [["sluice vm schema > vm.schema.json", "a schema file for an editor"]],
  },
};

export const VM_COMMAND_NAMES = Object.keys(VM_COMMANDS) as VmCommandName[];
