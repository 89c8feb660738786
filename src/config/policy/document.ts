/** The text of a policy (YAML, and so JSON) with the place of each part. */
import { isMap, isScalar, LineCounter, type Node, type Pair, parseDocument } from "yaml";
import type { z } from "zod";
import { hideLogin } from "../hidden-login.ts";
import { nearest, type Problem } from "../problem.ts";
import {
  GUEST_LIMIT_KEYS,
  POLICY_KEYS,
  type PolicyDocument,
  policySchema,
  RULE_KEYS,
  RULE_LIMIT_KEYS,
} from "./schema.ts";

export type Path = readonly (string | number)[];

/** Text and what it is called in messages. A policy that a program made has no lines. */
export interface PolicySource {
  readonly label: string;
  /** What the source says, or the value itself. */
  readonly text?: string;
  readonly value?: unknown;
  /** Where the lists of targets lie that it names; beside the file by default. Null: it may name none. */
  readonly directory?: string | null;
}

/** Says where a part of the source stands: `policy.yaml:9:14: rules[1].allow[0]`; with `key`, where that key of it does. */
export type Place = (path: Path, key?: string) => string;

export interface ReadDocument {
  /** Undefined when its form is not a policy's; then `value` may still have rules that can be looked at. */
  readonly document: PolicyDocument | undefined;
  readonly value: unknown;
  readonly place: Place;
}

function pathText(path: Path): string {
  return path.reduce<string>(
    (text, part) => (typeof part === "number" ? `${text}[${part}]` : text === "" ? part : `${text}.${part}`),
    "",
  );
}

/** Reads and checks a source. Everything wrong goes to `problems`; what is no YAML gives undefined. */
export function readDocument(source: PolicySource, problems: Problem[]): ReadDocument | undefined {
  if (source.text === undefined) {
    const place: Place = (path) => join(source.label, pathText(path));
    return check(source.value, place, problems);
  }
  const lines = new LineCounter();
  // Aliases could make a small file a large one.
  const parsed = parseDocument(source.text, { lineCounter: lines, maxAliasCount: 0 } as object);
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${source.label}:${line}:${col}`;
  };
  for (const error of parsed.errors) {
    problems.push({ place: at(error.pos[0]), allowed: `YAML or JSON (${firstLine(error.message)})` });
  }
  if (parsed.errors.length > 0) return undefined;
  const place: Place = (path, key) => {
    const ofKey = key === undefined ? undefined : offsetOf(parsed.contents, [...path, key], true);
    if (ofKey !== undefined) return join(at(ofKey), pathText(path));
    for (let length = path.length; length >= 0; length--) {
      const offset = offsetOf(parsed.contents, path.slice(0, length), false);
      if (offset !== undefined) return join(at(offset), pathText(path));
    }
    return join(source.label, pathText(path));
  };
  let value: unknown;
  try {
    value = parsed.toJS({ maxAliasCount: 0 });
  } catch (error) {
    problems.push({ place: source.label, allowed: `a file without aliases (${(error as Error).message})` });
    return undefined;
  }
  return check(value, place, problems);
}

function join(label: string, path: string): string {
  return path === "" ? label : `${label}: ${path}`;
}

function firstLine(text: string): string {
  return (text.split("\n")[0] ?? "").replace(/ at line \d+, column \d+:?$/, "");
}

/** Where a part begins in the text: its value, or with `ofKey` its key. */
function offsetOf(root: unknown, path: Path, ofKey: boolean): number | undefined {
  let node = root as Node | null;
  let offset = node?.range?.[0];
  for (const part of path) {
    if (isMap(node)) {
      const pair: Pair | undefined = node.items.find((item) => isScalar(item.key) && item.key.value === part);
      if (pair === undefined) return undefined;
      node = pair.value as Node | null;
      const keyAt = (pair.key as Node).range?.[0];
      offset = ofKey ? keyAt : (node?.range?.[0] ?? keyAt);
    } else {
      node = (node as { items?: Node[] } | null)?.items?.[part as number] ?? null;
      if (node === null) return undefined;
      offset = node.range?.[0];
    }
  }
  return offset;
}

function check(value: unknown, place: Place, problems: Problem[]): ReadDocument {
  const result = policySchema.safeParse(value);
  if (result.success) return { document: result.data, value, place };
  for (const issue of result.error.issues) problems.push(...problemsOf(issue, value, place));
  return { document: undefined, value, place };
}

function problemsOf(issue: z.core.$ZodIssue, value: unknown, place: Place): Problem[] {
  const path = issue.path as (string | number)[];
  if (issue.code === "unrecognized_keys") return issue.keys.map((key) => unknownKey(path, key, place));
  const found = textOf(path.reduce<unknown>((part, key) => (part as Record<string, unknown>)?.[key], value));
  const allowed = issue.message;
  const shown = found !== undefined && path[path.length - 1] === "via" ? hideLogin(found) : found;
  return [{ place: place(path), ...(shown === undefined ? {} : { found: shown }), allowed }];
}

function unknownKey(path: Path, key: string, place: Place): Problem {
  const known =
    path.length === 0
      ? POLICY_KEYS
      : path[0] === "limit"
        ? GUEST_LIMIT_KEYS
        : path[2] === "limit"
          ? RULE_LIMIT_KEYS
          : path[0] === "tests"
            ? TEST_KEYS
            : path.length > 2
              ? ["file"]
              : RULE_KEYS;
  const guess = nearest(key, known);
  const names = `${known.slice(0, -1).join(", ")}${known.length > 1 ? " or " : ""}${known[known.length - 1]}`;
  return {
    place: place(path, key),
    found: key,
    allowed: `${names}${guess === undefined ? "" : `; did you mean ${guess}?`}`,
  };
}

const TEST_KEYS = ["flow", "expect", "rule"];

function textOf(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  return typeof value === "string" ? value : JSON.stringify(value);
}
