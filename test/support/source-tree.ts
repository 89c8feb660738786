/** The sources as the architecture's rules see them: read by a parser, not by regular expressions. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { parseSync } from "rolldown/utils";
import { PROJECT_ROOT } from "./project-root.ts";

/** A node of the syntax tree (ESTree with TypeScript's own nodes). */
export interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [field: string]: unknown;
}

export interface Import {
  /** A file of the project (`src/engine/api.ts`), a package, or a built-in module. */
  readonly from: string;
  /** What is taken; `*` for everything. */
  readonly names: readonly string[];
  readonly typeOnly: boolean;
  readonly dynamic: boolean;
}

export interface Export {
  readonly name: string;
  readonly isType: boolean;
}

export interface Source {
  /** From the project's root, such as `src/engine/api.ts`. */
  readonly file: string;
  readonly text: string;
  readonly program: Node;
  readonly imports: readonly Import[];
  readonly exports: readonly Export[];
}

const nameOf = (node: unknown): string => (node as { name: string }).name;
const listOf = (value: unknown): Node[] => (Array.isArray(value) ? (value as Node[]) : []);

/** Calls `visit` for a node and everything in it. */
export function walk(node: unknown, visit: (node: Node) => void): void {
  if (typeof node !== "object" || node === null) return;
  if ("type" in node) visit(node as Node);
  for (const value of Object.values(node)) if (typeof value === "object") walk(value, visit);
}

export function readSource(file: string, text: string): Source {
  const { program, errors } = parseSync(file, text);
  if (errors.length > 0) throw new Error(`${file}: ${errors[0].message}`);
  const tree = program as unknown as Node;
  return { file, text, program: tree, imports: importsOf(file, tree), exports: exportsOf(tree) };
}

/** Every file below `directory` whose name ends in one of `endings`. */
export function readTree(directory: string, ending = ".ts"): Source[] {
  return readdirSync(join(PROJECT_ROOT, directory), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(ending) && !name.endsWith(".d.ts"))
    .map((name) => join(directory, name))
    .map((file) => readSource(file, readFileSync(join(PROJECT_ROOT, file), "utf8")));
}

function importsOf(file: string, program: Node): Import[] {
  const target = (source: unknown): string => {
    const from = String((source as { value: string }).value);
    if (!from.startsWith(".")) return from;
    return relative(PROJECT_ROOT, resolve(PROJECT_ROOT, dirname(file), from));
  };
  const found: Import[] = [];
  for (const node of listOf(program["body"])) {
    const source = node["source"];
    if (node.type === "ExportAllDeclaration") {
      found.push({
        from: target(source),
        names: ["*"],
        typeOnly: node["exportKind"] === "type",
        dynamic: false,
      });
    }
    const taken = node.type === "ImportDeclaration" || node.type === "ExportNamedDeclaration";
    if (!taken || source === null || source === undefined) continue;
    const specifiers = listOf(node["specifiers"]);
    const names = specifiers.map((each) => {
      const name = each["imported"] ?? each["local"];
      return each.type === "ImportSpecifier" || each.type === "ExportSpecifier" ? nameOf(name) : "*";
    });
    const kinds = [node, ...specifiers].map((each) => each["importKind"] ?? each["exportKind"]);
    const typeOnly =
      kinds[0] === "type" || (kinds.length > 1 && kinds.slice(1).every((kind) => kind === "type"));
    found.push({ from: target(source), names, typeOnly, dynamic: false });
  }
  return [...found, ...dynamicImportsOf(program, target)];
}

/** `import("./x.ts")`: the names where it is awaited into a pattern, otherwise everything. */
function dynamicImportsOf(program: Node, target: (source: unknown) => string): Import[] {
  const found = new Map<unknown, Import>();
  walk(program, (node) => {
    if (node.type !== "ImportExpression") return;
    const source = node["source"] as Node;
    if (source.type !== "Literal") return;
    found.set(node, { from: target(source), names: ["*"], typeOnly: false, dynamic: true });
  });
  walk(program, (node) => {
    if (node.type !== "VariableDeclarator") return;
    const [pattern, init] = [node["id"] as Node, node["init"] as Node | null];
    const known = init?.type === "AwaitExpression" ? found.get(init["argument"]) : undefined;
    if (known === undefined || pattern.type !== "ObjectPattern") return;
    const names = listOf(pattern["properties"]).map((property) => nameOf(property["key"]));
    found.set(init?.["argument"], { ...known, names });
  });
  return [...found.values()];
}

function exportsOf(program: Node): Export[] {
  return listOf(program["body"]).flatMap((node): Export[] => {
    if (node.type !== "ExportNamedDeclaration") return [];
    const declaration = node["declaration"] as Node | null;
    const isType = node["exportKind"] === "type";
    if (declaration === null) {
      return listOf(node["specifiers"]).map((each) => ({ name: nameOf(each["exported"]), isType }));
    }
    const declared = declaration["declarations"];
    const named = declared === undefined ? [declaration] : listOf(declared);
    return named.map((each) => ({ name: nameOf(each["id"]), isType }));
  });
}

/** Circles of files that import each other, types included: the strongly connected components (Tarjan's algorithm). */
export function importCircles(sources: readonly Pick<Source, "file" | "imports">[]): string[][] {
  const files = new Map(sources.map((source) => [source.file, source]));
  const order = new Map<string, number>();
  const lowest = new Map<string, number>();
  const path: string[] = [];
  const circles: string[][] = [];
  const enter = (file: string): void => {
    const mine = order.size;
    order.set(file, mine);
    lowest.set(file, mine);
    path.push(file);
    for (const { from, dynamic } of files.get(file)?.imports ?? []) {
      if (dynamic || !files.has(from)) continue;
      if (!order.has(from)) enter(from);
      if (path.includes(from)) lowest.set(file, Math.min(lowest.get(file) ?? 0, lowest.get(from) ?? 0));
    }
    if (lowest.get(file) !== mine) return;
    const circle = path.splice(path.indexOf(file));
    if (circle.length > 1) circles.push(circle.sort());
  };
  for (const file of files.keys()) if (!order.has(file)) enter(file);
  return circles;
}

const FUNCTIONS = ["FunctionDeclaration", "FunctionExpression", "ArrowFunctionExpression"];
const SIGNATURES = [
  "TSMethodSignature",
  "TSFunctionType",
  "TSDeclareFunction",
  "TSEmptyBodyFunctionExpression",
];

export interface FunctionShape {
  /** `src/host/sockets.ts:12`. */
  readonly place: string;
  readonly lines: number;
  /** Parameters that are plain numbers. */
  readonly numbers: number;
}

/** Every function and method, those that are only declared included. */
export function functionsOf({ file, text, program }: Source): FunctionShape[] {
  const lineOf = (offset: number): number => text.slice(0, offset).split("\n").length;
  const found: FunctionShape[] = [];
  walk(program, (node) => {
    if (!FUNCTIONS.includes(node.type) && !SIGNATURES.includes(node.type)) return;
    const first = lineOf(node.start);
    const numbers = listOf(node["params"]).filter(isNumber).length;
    found.push({ place: `${file}:${first}`, lines: lineOf(node.end) - first + 1, numbers });
  });
  return found;
}

function isNumber(parameter: Node): boolean {
  const inner = (parameter["parameter"] ?? parameter["left"] ?? parameter) as Node;
  const right = parameter["right"] as Node | undefined;
  if (right?.type === "Literal" && typeof right["value"] === "number") return true;
  // A default that has a name is a constant, and those of the packet path are numbers.
  if (right?.type === "Identifier" && /^[A-Z][A-Z0-9_]*$/.test(nameOf(right) ?? "")) return true;
  const annotation = (inner["typeAnnotation"] as Node | null)?.["typeAnnotation"] as Node | undefined;
  return annotation?.type === "TSNumberKeyword";
}

/** How often a name occurs in a file as an identifier. */
export function usesOf({ program }: Source, name: string): number {
  let count = 0;
  walk(program, (node) => {
    if (node.type === "Identifier" && nameOf(node) === name) count++;
  });
  return count;
}
