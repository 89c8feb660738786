/** What checks find in a document before it is given its place in the file, and how they look into raw values. */
import type { FieldPath, SpecProblemCode } from "./spec-problem.ts";

/** Something that is wrong. Where the path starts is said by whoever finds it. */
export interface Finding {
  readonly code: SpecProblemCode;
  readonly path: FieldPath;
  readonly found: string;
  readonly allowed: string;
  readonly hint?: string;
  /** Show the key rather than the value. */
  readonly atKey?: boolean;
}

/** Something a person should know about a right document. */
export interface Remark {
  readonly path: FieldPath;
  readonly message: string;
}

export type Mapping = Readonly<Record<string, unknown>>;

/** Whether a value is a mapping (and no list). */
export function isMapping(value: unknown): value is Mapping {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The value at a path, or undefined. */
export function at(value: unknown, path: FieldPath): unknown {
  let current = value;
  for (const step of path) {
    if (typeof step === "number") current = Array.isArray(current) ? current[step] : undefined;
    else current = isMapping(current) && Object.hasOwn(current, step) ? current[step] : undefined;
  }
  return current;
}

/** The mappings of a list with their paths; anything else in it is passed over. */
export function mappingsOf(list: unknown, path: FieldPath): { path: FieldPath; value: Mapping }[] {
  if (!Array.isArray(list)) return [];
  return list.flatMap((value, index) => (isMapping(value) ? [{ path: [...path, index], value }] : []));
}
