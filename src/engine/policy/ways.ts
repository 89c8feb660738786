/** Ways out, as a policy compares them: another policy says the same with other objects. */
import type { PolicyWay } from "../config.ts";

export function isSameWay(a: PolicyWay | null, b: PolicyWay | null): boolean {
  if (a === b) return true;
  return a !== null && b !== null && JSON.stringify(a) === JSON.stringify(b);
}
