/**
 * A spec file as text -> its YAML documents as plain data, each able to say where in the file a field stands.
 *
 * The parser's own tree is walked here instead of its `toJS`, because three things must hold for any input: what an
 * alias may expand to is bounded, an alias that contains itself is reported, and every value keeps its position.
 */
import {
  type Alias,
  type Document,
  isAlias,
  isCollection,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseAllDocuments,
  type YAMLMap,
} from "yaml";
import {
  type FieldPath,
  printable,
  type Span,
  type SpecProblem,
  type SpecProblemCode,
} from "./spec-problem.ts";

/** Octets of one file: a thousand times the largest real spec. */
export const SPEC_FILE_MAX = 1 << 20;
/** Values of one document, aliases expanded. */
const SPEC_VALUES_MAX = 50_000;
/** How deep values may nest. */
const SPEC_DEPTH_MAX = 100;

/** One document of a file, free of syntax errors. Mappings have no prototype. */
export interface SpecDocument {
  /** Number in the file, from 1. */
  readonly number: number;
  readonly value: unknown;
  /** Where a field stands: its value, or its key. For a field that is not there, the nearest parent that is. */
  locate(path: FieldPath, part: "key" | "value"): Span;
  /** The text of a scalar that is written without quotes; undefined for anything else. */
  plainScalar(path: FieldPath): string | undefined;
}

export interface SpecFile {
  readonly file: string;
  readonly documents: readonly SpecDocument[];
  readonly problems: readonly SpecProblem[];
}

/** Reads the text of a file. Never throws; whatever is wrong is in `problems`, and the good documents are there too. */
export function readSpecText(file: string, text: string): SpecFile {
  if (text.length > SPEC_FILE_MAX) {
    return failed(file, "too-large", `${text.length} octets`, `a file of at most ${SPEC_FILE_MAX} octets`);
  }
  const lines = new LineCounter();
  const cursor = new TextCursor(text, lines);
  let parsed: readonly Document[];
  try {
    parsed = [...parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, logLevel: "silent" })];
  } catch (error) {
    // The parser recurses: a megabyte of "[" ends its stack, which is an input error like any other.
    const found = error instanceof RangeError ? "values nested too deep" : "text the YAML parser cannot read";
    return failed(file, "syntax", found, `YAML nested at most ${SPEC_DEPTH_MAX} deep`);
  }
  if (parsed.length === 0 || parsed.every((doc) => isEmpty(doc) && doc.errors.length === 0)) {
    return failed(file, "syntax", "no YAML document", "at least one document with a VM");
  }
  const documents: SpecDocument[] = [];
  const problems: SpecProblem[] = [];
  parsed.forEach((doc, index) => {
    const number = index + 1;
    const faults = telling(doc.errors).map((error) => syntaxProblem(file, number, cursor, error));
    const tree = new Tree(cursor);
    const root = faults.length === 0 ? tree.read(doc.contents) : undefined;
    problems.push(...faults, ...tree.faults.map((fault) => treeProblem(file, number, cursor, fault)));
    if (faults.length === 0 && tree.faults.length === 0 && !isEmpty(doc)) {
      documents.push({
        number,
        value: root,
        locate: (path, part) => tree.locate(doc.contents, path, part),
        plainScalar: (path) => tree.plainScalar(doc.contents, path),
      });
    }
  });
  return { file, documents, problems };
}

/** Nothing but comments between two separators. */
function isEmpty(doc: Document): boolean {
  return doc.contents === null || (isScalar(doc.contents) && doc.contents.value === null);
}

/** A file that could not be read at all. */
export function failed(file: string, code: SpecProblemCode, found: string, allowed: string): SpecFile {
  return { file, documents: [], problems: [{ code, file, document: 0, path: "", found, allowed }] };
}

interface SyntaxFault {
  readonly code: string;
  readonly message: string;
  readonly pos: readonly [number, number];
}

/** Behind the first place that is no YAML the parser guesses: what it says of the rest is about its guesses. */
function telling(errors: readonly SyntaxFault[]): readonly SyntaxFault[] {
  const isDuplicate = (error: SyntaxFault): boolean => error.code === "DUPLICATE_KEY";
  const first = errors.find((error) => !isDuplicate(error));
  if (first === undefined) return errors;
  return [...errors.filter((error) => isDuplicate(error) && error.pos[0] < first.pos[0]), first];
}

function syntaxProblem(file: string, document: number, cursor: TextCursor, error: SyntaxFault): SpecProblem {
  const duplicate = error.code === "DUPLICATE_KEY";
  const hint = duplicate ? undefined : syntaxHint(cursor.span(error.pos[0], error.pos[1]).text);
  return {
    code: duplicate ? "duplicate" : "syntax",
    file,
    document,
    path: "",
    span: cursor.span(error.pos[0], error.pos[1]),
    found: duplicate ? "a key that stands in this mapping already" : "text that is not YAML",
    allowed: duplicate ? "every key once" : firstLine(error.message),
    ...(hint === undefined ? {} : { hint }),
  };
}

/** What people do to YAML that they print somewhere. */
function syntaxHint(line: string): string | undefined {
  if (/^\s*\.\.\.\s*$/.test(line)) return "the ... stands for something left out: take the line away";
  return /^ *\t/.test(line) ? "indent with blanks" : undefined;
}

function firstLine(text: string): string {
  return printable(text.replace(/\n.*/s, ""));
}

function treeProblem(file: string, document: number, cursor: TextCursor, fault: TreeFault): SpecProblem {
  return {
    code: fault.tooLarge ? "too-large" : "syntax",
    file,
    document,
    path: "",
    span: cursor.span(...fault.range),
    found: fault.found,
    allowed: fault.allowed,
  };
}

/** Offsets to lines and columns. */
class TextCursor {
  constructor(
    private readonly text: string,
    private readonly lines: LineCounter,
  ) {}

  /** The span from `start` to `end`, or to the end of its first line. */
  span(start: number, end: number): Span {
    const at = Math.min(start, this.text.length);
    const position = this.lines.linePos(at);
    const line = Math.max(1, position.line);
    const column = Math.max(1, position.col);
    const lineStart = at - (column - 1);
    const newline = this.text.indexOf("\n", lineStart);
    const lineEnd = newline < 0 ? this.text.length : newline;
    const text = this.text.slice(lineStart, lineEnd).replace(/\r$/, "");
    const endColumn = Math.max(column + 1, Math.min(end, lineStart + text.length) - lineStart + 1);
    return { line, column, endColumn, text };
  }
}

interface TreeFault {
  readonly range: readonly [number, number];
  readonly found: string;
  readonly allowed: string;
  readonly tooLarge: boolean;
}

/** Turns one document's nodes into plain data and remembers what its aliases mean. */
class Tree {
  readonly faults: TreeFault[] = [];
  private readonly anchors = new Map<string, Node>();
  private readonly targets = new Map<Alias, Node>();
  private readonly open = new Set<Node>();
  private values = 0;

  constructor(private readonly cursor: TextCursor) {}

  read(node: unknown, depth = 0): unknown {
    if (!isNode(node)) return null;
    if (isAlias(node)) return this.readAlias(node, depth);
    if (node.anchor !== undefined) this.anchors.set(node.anchor, node);
    if (this.overLimit(node, depth)) return null;
    if (isScalar(node)) return plainScalar(node.value);
    if (!isCollection(node)) return null;
    this.open.add(node);
    const value = isMap(node) ? this.readPairs(node.items, depth) : this.readItems(node.items, depth);
    this.open.delete(node);
    return value;
  }

  private readAlias(alias: Alias, depth: number): unknown {
    const target = this.targets.get(alias) ?? this.anchors.get(alias.source);
    const range = rangeOf(alias);
    if (target === undefined) {
      return this.fault(
        range,
        `an alias to nothing, *${alias.source}`,
        "an alias to an anchor that stands before it",
      );
    }
    this.targets.set(alias, target);
    if (this.open.has(target)) {
      return this.fault(
        range,
        `an alias that contains itself, *${alias.source}`,
        "an alias to a finished value",
      );
    }
    return this.read(target, depth);
  }

  private readItems(items: readonly unknown[], depth: number): unknown[] {
    // `!!omap` and `!!pairs` of YAML 1.1 hold pairs where a list holds values.
    return items.map((item) => (isPair(item) ? this.readPairs([item], depth) : this.read(item, depth + 1)));
  }

  private readPairs(pairs: readonly Pair[], depth: number): Record<string, unknown> {
    const value: Record<string, unknown> = Object.create(null);
    for (const pair of pairs) {
      if (!isMergeKey(pair)) value[keyText(pair.key)] = this.read(pair.value, depth + 1);
    }
    for (const pair of pairs) if (isMergeKey(pair)) this.merge(pair, value, depth);
    return value;
  }

  /** YAML 1.1's `<<: *base`, which kubectl reads: fields of other mappings, where this one has none of the name. */
  private merge(pair: Pair, value: Record<string, unknown>, depth: number): void {
    const source = this.read(pair.value, depth + 1);
    for (const base of Array.isArray(source) ? source : [source]) {
      if (typeof base !== "object" || base === null || Array.isArray(base)) {
        const range = isNode(pair.key) ? rangeOf(pair.key) : ([0, 1] as const);
        this.fault(
          range,
          "<< with something that is no mapping",
          "a mapping to take fields from, or a list of them",
        );
        return;
      }
      for (const [key, child] of Object.entries(base)) if (!(key in value)) value[key] = child;
    }
  }

  private overLimit(node: Node, depth: number): boolean {
    this.values++;
    if (depth > SPEC_DEPTH_MAX) {
      this.fault(rangeOf(node), "values nested too deep", `at most ${SPEC_DEPTH_MAX} levels`, true);
      return true;
    }
    if (this.values <= SPEC_VALUES_MAX) return false;
    if (this.values === SPEC_VALUES_MAX + 1) {
      const allowed = `at most ${SPEC_VALUES_MAX} values in a document, aliases expanded`;
      this.fault(rangeOf(node), "too many values", allowed, true);
    }
    return true;
  }

  private fault(range: readonly [number, number], found: string, allowed: string, tooLarge = false): null {
    if (this.faults.length < FAULTS_MAX) this.faults.push({ range, found, allowed, tooLarge });
    return null;
  }

  locate(root: unknown, path: FieldPath, part: "key" | "value"): Span {
    let node: unknown = this.resolve(root);
    let range = isNode(node) ? rangeOf(node) : ([0, 1] as const);
    for (const [index, step] of path.entries()) {
      const last = index === path.length - 1;
      if (isMap(node)) {
        const pair = this.pairOf(node, step);
        if (pair === undefined) break;
        const key = isNode(pair.key) ? rangeOf(pair.key) : range;
        const value = this.resolve(pair.value);
        const showKey = (last && part === "key") || !last || isCollection(value) || emptyNode(value);
        range = showKey ? key : rangeOf(value as Node);
        node = value;
      } else if (isSeq(node) && typeof step === "number" && step < node.items.length) {
        node = this.resolve(node.items[step]);
        if (isNode(node)) range = isMap(node) ? firstKey(node.items[0], rangeOf(node)) : rangeOf(node);
      } else {
        break;
      }
    }
    return this.cursor.span(range[0], range[1]);
  }

  plainScalar(root: unknown, path: FieldPath): string | undefined {
    let node = this.resolve(root);
    for (const step of path) {
      const next: unknown = isMap(node)
        ? this.pairOf(node, step)?.value
        : isSeq(node) && typeof step === "number"
          ? node.items[step]
          : undefined;
      node = this.resolve(next);
    }
    return isScalar(node) && node.type === "PLAIN" ? node.source : undefined;
  }

  /** The pair of a key, also where it comes from a merged mapping. */
  private pairOf(map: YAMLMap, key: string | number): Pair | undefined {
    const own = map.items.find((item) => !isMergeKey(item) && keyText(item.key) === key);
    if (own !== undefined) return own;
    for (const item of map.items) {
      if (!isMergeKey(item)) continue;
      const source = this.resolve(item.value);
      for (const base of isSeq(source) ? source.items.map((entry) => this.resolve(entry)) : [source]) {
        const pair = isMap(base) ? this.pairOf(base, key) : undefined;
        if (pair !== undefined) return pair;
      }
    }
    return undefined;
  }

  private resolve(node: unknown): unknown {
    return isAlias(node) ? (this.targets.get(node) ?? node) : node;
  }
}

const FAULTS_MAX = 20;

function firstKey(pair: Pair | undefined, otherwise: readonly [number, number]): readonly [number, number] {
  return isNode(pair?.key) ? rangeOf(pair.key) : otherwise;
}

function rangeOf(node: Node): readonly [number, number] {
  return node.range ? [node.range[0], node.range[1]] : [0, 1];
}

/** A value that is written as nothing has no place of its own: its key is shown. */
function emptyNode(node: unknown): boolean {
  return !isNode(node) || (node.range != null && node.range[0] === node.range[1]);
}

function isMergeKey({ key }: Pair): boolean {
  return isScalar(key) && key.type === "PLAIN" && key.value === "<<";
}

function keyText(key: unknown): string {
  if (isScalar(key)) return String(key.value);
  if (isAlias(key)) return `*${key.source}`;
  return isNode(key) ? "[a list or mapping as key]" : String(key);
}

/** Numbers, strings, booleans and null stay; what other YAML types make (dates, octets) is told by its text. */
function plainScalar(value: unknown): unknown {
  if (value === null || value === undefined) return null;
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return value;
  return value instanceof Uint8Array ? `binary of ${value.length} octets` : String(value);
}
