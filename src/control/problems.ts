/** What a schema finds wrong, in the words that options and files are told in. */
import type { z } from "zod";
import type { Problem } from "../config/problem.ts";

/** Everything that is wrong with `value`, whose place is `place`. */
export function problemsOf(error: z.ZodError, value: unknown, place: string): Problem[] {
  return error.issues.flatMap((issue): Problem[] => {
    const at = [place, ...issue.path.map(String)].join(".");
    if (issue.code === "unrecognized_keys") {
      return issue.keys.map((key) => ({ place: `${at}.${key}`, allowed: "nothing of that name" }));
    }
    const found = valueAt(value, issue.path);
    return [
      { place: at, ...(found === undefined ? {} : { found: textOf(found) }), allowed: allowedBy(issue) },
    ];
  });
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let found = value;
  for (const key of path) {
    if (typeof found !== "object" || found === null) return undefined;
    found = (found as Record<PropertyKey, unknown>)[key];
  }
  return found;
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

const KINDS: Readonly<Record<string, string>> = {
  string: "a text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  object: "an object",
  array: "a list",
};

function allowedBy(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case "invalid_type":
      return KINDS[issue.expected] ?? issue.expected;
    case "invalid_value":
      return issue.values.length === 1 ? String(issue.values[0]) : `one of ${issue.values.join(", ")}`;
    case "too_small":
      return issue.origin === "string" ? `at least ${issue.minimum} characters` : `${issue.minimum} at least`;
    case "too_big":
      return issue.origin === "string" ? `at most ${issue.maximum} characters` : `${issue.maximum} at most`;
    default:
      return issue.message;
  }
}
