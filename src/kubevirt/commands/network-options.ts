/** `--network NETWORK=DEVICE` and `--binding OTHER=slirp|bridge`: what a spec leaves to the machine. */
import { parseDeviceName } from "../../config/link-grammar.ts";
import type { Problem } from "../../config/problem.ts";
import { Unacceptable } from "../../config/problem.ts";
import { guess } from "../spec/guess.ts";
import type { Binding, BindingNames } from "../spec/today-bindings.ts";
import type { VmNic } from "../spec/vm-model.ts";
import { UsageError } from "./usage-error.ts";
import type { VmArguments } from "./vm-arguments.ts";

/** What binding plugins of a cluster's own are carried out as. Throws UsageError. */
export function bindingsOf(args: VmArguments): BindingNames {
  const allowed = "NAME=slirp or NAME=bridge, each name once";
  return pairs(args, "binding", allowed, (value): Binding => {
    if (value === "slirp" || value === "bridge") return value;
    throw new Unacceptable(allowed);
  });
}

/** The device of each multus network that one of the interfaces has, by the network's name. Throws UsageError. */
export function networkDevices(args: VmArguments, nics: readonly VmNic[]): Readonly<Record<string, string>> {
  const names = nics.filter((nic) => nic.backend.kind === "multus").map((nic) => nic.name);
  const devices = pairs(
    args,
    "network",
    "NETWORK=DEVICE, such as red=eth1, each network once",
    parseDeviceName,
  );
  const problems = [...devices.keys()].flatMap((name): Problem[] => {
    if (names.includes(name)) return [];
    const meant = guess(name, names);
    const which =
      names.length === 0 ? "no --network: the VM has no multus network" : `one of ${names.join(", ")}`;
    const hint = meant === undefined ? "" : `; did you mean ${meant}?`;
    return [{ place: "--network", found: name, allowed: `${which}${hint}` }];
  });
  if (problems.length > 0) throw new UsageError(problems);
  return Object.fromEntries(devices);
}

/** The values of a repeatable option of the form NAME=VALUE. */
function pairs<T>(
  args: VmArguments,
  option: string,
  allowed: string,
  parse: (value: string) => T,
): Map<string, T> {
  const found = new Map<string, T>();
  const problems: Problem[] = [];
  for (const text of args.lists.get(option) ?? []) {
    const at = text.indexOf("=");
    const name = text.slice(0, at);
    try {
      if (at < 1 || found.has(name)) throw new Unacceptable(allowed);
      found.set(name, parse(text.slice(at + 1)));
    } catch (error) {
      if (!(error instanceof Unacceptable)) throw error;
      problems.push({ place: `--${option}`, found: text, allowed: error.allowed });
    }
  }
  if (problems.length > 0) throw new UsageError(problems);
  return found;
}
