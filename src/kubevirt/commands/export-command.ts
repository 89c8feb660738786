/** `export`: a cluster's manifest of a spec. Reads only. */
import { basename } from "node:path";
import { stringify } from "yaml";
import { dnsLabel, exportVms, pluginNames } from "../spec/export.ts";
import { readSpecText } from "../spec/spec-file.ts";
import type { Binding } from "../spec/today-bindings.ts";
import { type Validation, validateText } from "../spec/validate.ts";
import { EXIT_OK } from "./exit-status.ts";
import { printFaults, printNotes } from "./spec-commands.ts";
import { readSpecFile } from "./spec-input.ts";
import { UsageError, WrongSpec } from "./usage-error.ts";
import type { VmArguments } from "./vm-arguments.ts";
import type { VmIo } from "./vm-io.ts";

const BINDING_DEFAULT = "sluice";
const LABEL_ALLOWED = "a DNS label: 1 to 63 lower-case letters, digits and inner hyphens";

export function exportCommand(args: VmArguments, io: VmIo): number {
  const [file, ...more] = args.words;
  if (file === undefined || more.length > 0) {
    const found = file === undefined ? {} : { found: args.words.join(" ") };
    throw new UsageError([{ place: "FILE", ...found, allowed: "one spec file, or - for standard input" }]);
  }
  const binding = labelOption(args, "binding") ?? BINDING_DEFAULT;
  const namespace = labelOption(args, "namespace");
  const spec = readSpecFile(file);
  if ("problems" in spec) return refuse({ vms: [], notes: [], problems: spec.problems }, io);
  const { documents } = readSpecText(spec.name, spec.text);
  // Which plugins a cluster has is its own business; bridge is what may stand on any network.
  const plugins = new Map(pluginNames(documents).map((name): [string, Binding] => [name, "bridge"]));
  const result = validateText(spec.name, spec.text, plugins);
  if (result.problems.length > 0) return refuse(result, io);
  if (result.vms.length === 0) {
    printFaults(result, io);
    throw new UsageError([{ place: "FILE", found: "no VM in the file", allowed: "at least one VM" }]);
  }
  const { objects, notes, problems } = exportVms(documents, {
    binding,
    ...(namespace === undefined ? {} : { namespace }),
    fallbackName: file === "-" ? "vm" : basename(file).replace(/\.(ya?ml|json)$/i, ""),
    file: spec.name,
  });
  if (problems.length > 0) return refuse({ vms: [], notes: [], problems }, io);
  const skipped = result.notes.filter((note) => !result.vms.some((vm) => vm.notes.includes(note)));
  printNotes([...skipped, ...notes], io);
  // kubectl reads YAML 1.1, where a MAC of digits is a number and `on` is true.
  const texts = objects.map((object) =>
    stringify(object, { version: "1.1", aliasDuplicateObjects: false, lineWidth: 0 }),
  );
  io.stdout.write(texts.join("---\n"));
  return EXIT_OK;
}

/** Says what is wrong. Throws WrongSpec. */
function refuse(result: Validation, io: VmIo): never {
  printFaults(result, io);
  throw new WrongSpec();
}

function labelOption(args: VmArguments, option: string): string | undefined {
  const value = args.options.get(option);
  if (value === undefined || value === dnsLabel(value)) return value;
  throw new UsageError([{ place: `--${option}`, found: value, allowed: LABEL_ALLOWED }]);
}
