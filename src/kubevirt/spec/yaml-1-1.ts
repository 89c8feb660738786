/**
 * Scalars that kubectl reads otherwise. Its YAML is 1.1, where `n`, `on` and `yes` are booleans, numbers may be octal
 * and digits between colons are a number to the base of 60; the YAML read here is 1.2.
 */
import { at, isMapping, type Remark } from "./finding.ts";
import { type FieldPath, formatPath } from "./spec-problem.ts";

const TRUE = ["y", "yes", "on"];
const FALSE = ["n", "no", "off"];

/** What YAML 1.1 makes of a plain scalar that YAML 1.2 reads as text or as another number. */
export function inYaml11(plain: string): string | undefined {
  const isOneCase = [plain.toLowerCase(), plain.toUpperCase()].includes(plain) || /^[A-Z][a-z]+$/.test(plain);
  if (isOneCase && TRUE.includes(plain.toLowerCase())) return "true";
  if (isOneCase && FALSE.includes(plain.toLowerCase())) return "false";
  if (/^[-+]?0[0-7]+$/.test(plain)) return `the octal number ${Number.parseInt(plain, 8)}`;
  if (/^[-+]?0b[01]+$/.test(plain)) return `the binary number ${Number.parseInt(plain.replace("0b", ""), 2)}`;
  if (/^[-+]?0o[0-7]+$/.test(plain)) return "text";
  if (/^\d{4}-\d\d-\d\d$/.test(plain)) return "a date";
  // A MAC of decimal digits; of a time, the first number may not have a leading zero, but not every parser minds.
  if (/^[-+]?\d+(:[0-5]?\d)+$/.test(plain) || /^\d\d(:\d\d){5}$/.test(plain))
    return "a number to the base of 60";
  return undefined;
}

/** Where an object speaks of its network. */
const SUBTREES: readonly (readonly string[])[] = [
  ["domain", "devices", "interfaces"],
  ["networks"],
  ["hostname"],
  ["subdomain"],
  ["dnsConfig"],
];

/** Remarks about the scalars that decide about the network; paths start at the object's root. */
export function scalarRemarks(
  value: unknown,
  base: FieldPath,
  source: (path: FieldPath) => string | undefined,
): Remark[] {
  const places = [["metadata", "name"], ...SUBTREES.map((path) => [...base, ...path])];
  return places.flatMap((place) =>
    scalarPaths(at(value, place), place).flatMap((path) => {
      const plain = source(path);
      const other = plain === undefined ? undefined : inYaml11(plain);
      if (other === undefined) return [];
      const written = String(at(value, path));
      const better = typeof at(value, path) === "number" ? written : `"${written}"`;
      const message = `kubectl reads ${plain} without quotes as ${other} (YAML 1.1): write ${better}`;
      return [{ path, message }];
    }),
  );
}

function scalarPaths(value: unknown, path: FieldPath): FieldPath[] {
  if (Array.isArray(value)) return value.flatMap((item, index) => scalarPaths(item, [...path, index]));
  if (isMapping(value))
    return Object.entries(value).flatMap(([key, child]) => scalarPaths(child, [...path, key]));
  return value === undefined || formatPath(path) === "" ? [] : [path];
}
