/** Interfaces and networks as they are written. */
import { type Mapping, mappingsOf } from "./finding.ts";
import type { FieldPath } from "./spec-problem.ts";
import { isName } from "./spec-schema.ts";

/** An interface or a network of a spec. */
export interface Entry {
  readonly path: FieldPath;
  readonly value: Mapping;
  /** The trimmed name, when there is a legal one. */
  readonly name: string | undefined;
}

/** The mappings of a list of interfaces or networks, or of ports. */
export function entries(list: unknown, path: FieldPath): Entry[] {
  return mappingsOf(list, path).map(({ path: place, value }) => {
    const name = value["name"];
    // An illegal name is reported as one; what it matches is of no interest.
    return { path: place, value, name: isName(name) ? name.trim() : undefined };
  });
}
