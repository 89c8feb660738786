/** Descriptors given by number: they have to be there. */
import { fstatSync, type Stats } from "node:fs";
import type { HostPlan } from "../config/host-plan.ts";
import type { OptionSet } from "../config/option-set.ts";
import { namedDescriptors } from "../config/plan.ts";

function statOf(fd: number): Stats | undefined {
  try {
    return fstatSync(fd);
  } catch {
    return undefined;
  }
}

/** Descriptors that are for the supervisor itself, whatever command it starts. */
export function ownDescriptors({ flowLog }: HostPlan): number[] {
  return flowLog !== undefined && "fd" in flowLog.target ? [flowLog.target.fd] : [];
}

/** Complains about descriptors that are not open, or not of a kind that could tell when its other end is closed. */
export function checkInherited(options: OptionSet): void {
  for (const { name, fd } of namedDescriptors(options)) {
    const stat = statOf(fd);
    if (stat === undefined) options.reject(name, "a descriptor that is open");
    else if (name === "exit-fd" && !stat.isFIFO() && !stat.isSocket())
      options.reject(name, "a pipe or a socket");
  }
}
