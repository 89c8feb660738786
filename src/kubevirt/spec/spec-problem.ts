/** What is wrong with a spec file: the field, the place in the file, what stands there and what is allowed. */
import { quote } from "../../config/problem.ts";

/** Keys and list indices from the document's root to a field. */
export type FieldPath = readonly (string | number)[];

/** A stretch of one line of a file. Lines and columns count from 1; `endColumn` is the first column after it. */
export interface Span {
  readonly line: number;
  readonly column: number;
  readonly endColumn: number;
  /** The whole line, without its end. */
  readonly text: string;
}

/** Stable names of what can be wrong, for programs. */
export type SpecProblemCode =
  | "unreadable"
  | "syntax"
  | "too-large"
  | "kind"
  | "type"
  | "value"
  | "required"
  | "unknown-key"
  | "misplaced"
  | "unsupported"
  | "duplicate"
  | "conflict"
  | "unconnected";

export interface SpecProblem {
  readonly code: SpecProblemCode;
  readonly file: string;
  /** Number of the document in the file, from 1; 0 when the whole file is meant. */
  readonly document: number;
  /** `spec.domain.devices.interfaces[0].ports[1].port`; empty for the document or the file as a whole. */
  readonly path: string;
  readonly span?: Span;
  readonly found: string;
  readonly allowed: string;
  /** What the author probably meant, as a sentence. */
  readonly hint?: string;
}

/** A document that was left alone, and why; or what a person should know about a VM that is right. */
export interface SpecNote {
  readonly file: string;
  readonly document: number;
  /** The field it is about; empty for the document as a whole. */
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

/** `vm.yaml:7: spec.hostname: message`. */
export function formatSpecNote({ file, line, path, message }: SpecNote): string {
  return `${quoteFile(file)}:${line}: ${path === "" ? "" : `${path}: `}${message}`;
}

/** `spec.networks[0].name`; keys that are no plain word are quoted in brackets. */
export function formatPath(path: FieldPath): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else if (/^[A-Za-z_][A-Za-z0-9_-]*$/.test(part)) text += text === "" ? part : `.${part}`;
    else text += `[${quote(part)}]`;
  }
  return text;
}

/** Says what a value is, short enough for one line. */
export function describeValue(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null (an empty value)";
  if (typeof value === "string") return quote(value);
  if (typeof value !== "object") return String(value);
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : `a list of ${value.length}`;
  const keys = Object.keys(value);
  return keys.length === 0 ? "an empty mapping" : `a mapping with ${listKeys(keys)}`;
}

const KEYS_SHOWN_MAX = 4;

function listKeys(keys: readonly string[]): string {
  const shown = keys.slice(0, KEYS_SHOWN_MAX).map((key) => quote(key));
  return keys.length > KEYS_SHOWN_MAX ? `${shown.join(", ")}, ...` : shown.join(", ");
}

const LINE_SHOWN_MAX = 120;
const TAB = "  ";

/** The problem as a compiler would show it: a sentence, the place, the line with a caret under the fault. */
export function formatSpecProblem(problem: SpecProblem): string {
  const where = problem.path === "" ? "" : `${problem.path}: `;
  const head = `error: ${where}found ${printable(problem.found)}; allowed: ${problem.allowed}`;
  const hint = problem.hint === undefined ? [] : [`  = help: ${problem.hint}`];
  const span = problem.span;
  if (span === undefined) return [head, ` --> ${quoteFile(problem.file)}`, ...hint].join("\n");
  const number = String(span.line);
  const gutter = " ".repeat(number.length);
  const { text, caretAt, caretLength } = excerpt(span);
  return [
    head,
    `${gutter}--> ${quoteFile(problem.file)}:${span.line}:${span.column}`,
    `${gutter} |`,
    `${number} | ${text}`,
    `${gutter} | ${" ".repeat(caretAt)}${"^".repeat(caretLength)}`,
    ...hint.map((line) => `${gutter}${line.slice(1)}`),
  ].join("\n");
}

/** A file name safe to print: as it is, unless it holds something a terminal would act on. */
function quoteFile(file: string): string {
  const quoted = quote(file);
  return quoted === `"${file}"` ? file : quoted;
}

interface Excerpt {
  readonly text: string;
  readonly caretAt: number;
  readonly caretLength: number;
}

/** The part of the line around the span, made safe to print, and where the caret goes in it. */
function excerpt(span: Span): Excerpt {
  const start = span.column - 1;
  const from = start > LINE_SHOWN_MAX - 20 ? start - 40 : 0;
  const before = printable(span.text.slice(from, start));
  const end = Math.max(start + 1, Math.min(span.endColumn - 1, span.text.length));
  const marked = printable(span.text.slice(start, end));
  const text = `${from > 0 ? "..." : ""}${before}${marked}${printable(span.text.slice(end))}`;
  const caretAt = (from > 0 ? 3 : 0) + before.length;
  const caretLength = Math.max(1, Math.min(marked.length, LINE_SHOWN_MAX - caretAt));
  const cut = text.length > LINE_SHOWN_MAX ? `${text.slice(0, LINE_SHOWN_MAX)}...` : text;
  return { text: cut.trimEnd(), caretAt, caretLength };
}

/** Makes text safe to print: tabs become two blanks, anything a terminal would act on becomes a visible mark of the same width. */
export function printable(text: string): string {
  return text.replaceAll("\t", TAB).replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, "\ufffd");
}
