/** An interface of a right document: what is written beside what it means. */
import { at, type Mapping, mappingsOf } from "./finding.ts";
import type { FieldPath } from "./spec-problem.ts";
import type { VmModel, VmNic } from "./vm-model.ts";

/** An interface as written, as understood, and its network. */
export interface WrittenNic {
  readonly path: FieldPath;
  readonly value: Mapping;
  readonly nic: VmNic;
  readonly network: { readonly path: FieldPath; readonly value: Mapping } | undefined;
}

/** The interfaces of a spec that become cards; `base` is where the spec lies. */
export function writtenNics(spec: Mapping, base: FieldPath, model: VmModel): WrittenNic[] {
  const path = [...base, "domain", "devices", "interfaces"];
  const networks = mappingsOf(spec["networks"], [...base, "networks"]);
  return mappingsOf(at(spec, ["domain", "devices", "interfaces"]), path).flatMap((entry) => {
    const name = String(entry.value["name"]).trim();
    const nic = model.nics.find((candidate) => candidate.name === name);
    const network = networks.find((candidate) => String(candidate.value["name"]).trim() === name);
    return nic === undefined ? [] : [{ ...entry, nic, network }];
  });
}
