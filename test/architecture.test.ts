/**
 * The rules of the tree that a reader relies on, checked against the sources. The compiler keeps some of them as well:
 * src/engine/tsconfig.json and its sisters (see test/engine/compiler-walls.test.ts).
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { PROJECT_ROOT } from "./support/project-root.ts";
import {
  functionsOf,
  importCircles,
  readSource,
  readTree,
  type Source,
  usesOf,
} from "./support/source-tree.ts";

const SOURCES = readTree("src");
const TESTS = [...readTree("test"), ...readTree("test", ".mjs"), ...readTree("bench")];

/** Lower floors first; a file imports from its own floor and from those below it. */
const FLOORS: readonly (readonly string[])[] = [
  ["src/engine/limits.ts", "src/engine/metrics/"],
  ["src/engine/boundary.ts", "src/engine/memory/", "src/engine/time/", "src/engine/config.ts"],
  ["src/engine/wire/"],
  ["src/engine/link/"],
  ["src/engine/network/"],
  ["src/engine/policy/"],
  ["src/engine/api.ts", "src/engine/transport/", "src/engine/service/"],
  ["src/engine/engine.ts", "src/engine/layers.ts", "src/engine/layers6.ts", "src/engine/policy-layers.ts"],
  ["src/config/"],
  ["src/host/"],
  ["src/serve.ts"],
  ["src/control/"],
  ["src/supervisor/"],
  ["src/kubevirt/", "src/names/", "src/demo/", "src/page/", "src/index.ts"],
  ["src/cli/"],
];

/** What a room may import of the core, where that is less than all of it. */
const CORE_FOR: readonly (readonly [room: string, allowed: readonly string[]])[] = [
  // A policy's tests are judged by what judges packets.
  [
    "src/config/",
    ["src/engine/config.ts", "src/engine/limits.ts", "src/engine/wire/", "src/engine/policy/offline.ts"],
  ],
];

/** Who is handed the core's factory instead of importing it. */
const WITHOUT_ENGINE = [
  "src/config/",
  "src/host/",
  "src/kubevirt/",
  "src/names/",
  "src/cli/",
  "src/demo/",
  "src/index.ts",
];

const startsWithOne = (file: string, prefixes: readonly string[]): boolean =>
  prefixes.some((prefix) => file.startsWith(prefix));
const floorOf = (file: string): number => FLOORS.findIndex((prefixes) => startsWithOne(file, prefixes));
const roomOf = (file: string): string => file.split("/").slice(0, 2).join("/");
const isOurs = (from: string): boolean => from.startsWith("src/");

function violations(rule: (source: Source, from: string) => boolean, sources = SOURCES): string[] {
  return sources.flatMap((source) =>
    source.imports.filter(({ from }) => rule(source, from)).map(({ from }) => `${source.file} -> ${from}`),
  );
}

describe("rooms", () => {
  it("are all on a floor", () => {
    expect(SOURCES.length).toBeGreaterThan(80);
    expect(SOURCES.map(({ file }) => file).filter((file) => floorOf(file) < 0)).toEqual([]);
  });

  it("import downward, types too", () => {
    const upward = (source: Source): string[] =>
      source.imports
        .filter(({ from, dynamic }) => isOurs(from) && !dynamic && floorOf(from) > floorOf(source.file))
        .map(({ from }) => `${source.file} -> ${from}`);
    expect(SOURCES.flatMap(upward)).toEqual([]);
  });

  it("have no circle of imports, types included", () => {
    expect(importCircles(SOURCES)).toEqual([]);
  });

  it("leave the commands alone", () => {
    expect(
      violations(({ file }, from) => from.startsWith("src/cli/") && !file.startsWith("src/cli/")),
    ).toEqual([]);
  });

  it("beside each other do not know each other", () => {
    const beside = ["src/kubevirt", "src/names", "src/demo", "src/index.ts"];
    expect(
      violations(
        ({ file }, from) =>
          beside.includes(roomOf(file)) && beside.includes(roomOf(from)) && roomOf(file) !== roomOf(from),
      ),
    ).toEqual([]);
  });
});

describe("the core", () => {
  const core = SOURCES.filter(({ file }) => file.startsWith("src/engine/"));

  it("imports nothing from outside, no package and no built-in module", () => {
    expect(violations((_, from) => !from.startsWith("src/engine/"), core)).toEqual([]);
  });

  it("knows no time and no chance of its own", () => {
    const calls = core.flatMap(({ file, text }) =>
      Array.from(
        text.matchAll(/\b(Date|Math\.random|globalThis|eval)\b[.(]/g),
        ([call]) => `${file}: ${call}`,
      ),
    );
    expect(calls).toEqual([]);
  });

  it("is shown only in part to some rooms", () => {
    const found = CORE_FOR.flatMap(([room, allowed]) =>
      violations(
        (_, from) => from.startsWith("src/engine/") && !startsWithOne(from, allowed),
        SOURCES.filter(({ file }) => file.startsWith(room)),
      ),
    );
    expect(found).toEqual([]);
  });

  it("is handed to the host, which does not import its factory", () => {
    const found = violations(
      ({ file }, from) => from === "src/engine/engine.ts" && startsWithOne(file, WITHOUT_ENGINE),
    );
    expect(found).toEqual([]);
  });

  it("allocates nothing per packet by the calls that are known to", () => {
    const hot = ["wire", "link", "network", "transport"].map((room) => `src/engine/${room}/`);
    const calls = core
      .filter(
        ({ file }) =>
          startsWithOne(file, hot) && !/wire\/(pcap|dhcp|dns|domain-list|address-text)|flow-rows/.test(file),
      )
      .flatMap(({ file, text }) =>
        Array.from(
          text.matchAll(/\.subarray\(|\.readU?Int|Buffer\.(from|alloc|concat)|new (Map|Set)\(/g),
          ([call]) => `${file}: ${call}`,
        ),
      )
      // Once per start.
      .filter((found) => found !== "src/engine/link/arp.ts: new Set(");
    expect(calls).toEqual([]);
  });
});

const FILE_LINES_MAX = 500;
const FUNCTION_LINES_MAX = 70;
const NUMBERS_MAX = 5;

/** Where functions take more numbers, and why. */
const MANY_NUMBERS: readonly (readonly [file: string, reason: string])[] = [
  ["src/engine/wire/", "a codec's writer takes a header's fields, in the header's order"],
  ["src/host/native/calls.ts", "the shim's arguments are an array of ints in C, named by these declarations"],
  ["src/engine/transport/flow-table.ts", "a hash takes the two words of its key and the four of its message"],
  [
    "src/engine/memory/transmit-queue.ts",
    "an entry of the queue is one row of its columns, written in one place",
  ],
];

describe("sizes", () => {
  it("of files are readable", () => {
    const long = SOURCES.map(({ file, text }) => [file, text.trimEnd().split("\n").length] as const);
    expect(long.filter(([, lines]) => lines > FILE_LINES_MAX)).toEqual([]);
  });

  it("of functions are readable", () => {
    const long = SOURCES.flatMap(functionsOf).filter(({ lines }) => lines > FUNCTION_LINES_MAX);
    expect(long).toEqual([]);
  });

  it("of parameter lists: no more than five positional numbers below the commands", () => {
    const long = SOURCES.filter(
      ({ file }) => !startsWithOne(file, ["src/cli/", ...MANY_NUMBERS.map(([at]) => at)]),
    );
    expect(long.flatMap(functionsOf).filter(({ numbers }) => numbers > NUMBERS_MAX)).toEqual([]);
    const needless = MANY_NUMBERS.map(([at]) => at).filter(
      (at) =>
        !SOURCES.filter(({ file }) => file.startsWith(at))
          .flatMap(functionsOf)
          .some(({ numbers }) => numbers > NUMBERS_MAX),
    );
    expect(needless).toEqual([]);
  });

  it("are measured by a parser that sees them", () => {
    const body = "\n".repeat(FUNCTION_LINES_MAX);
    const source = readSource(
      "src/x.ts",
      `class A { private f = (a: number, b = 1) => {${body}}; g(a: string) {} }`,
    );
    expect(functionsOf(source)).toEqual([
      { place: "src/x.ts:1", lines: FUNCTION_LINES_MAX + 1, numbers: 2 },
      { place: `src/x.ts:${FUNCTION_LINES_MAX + 1}`, lines: 1, numbers: 0 },
    ]);
  });
});

describe("names", () => {
  it("have no catch-all among folders and files, and no left markers", () => {
    const names = SOURCES.filter(({ file }) => /(utils|helpers|common)(\/|\.ts$)/.test(file));
    const marks = SOURCES.filter(({ text }) =>
      /\b(TODO|FIXME)\b|@ts-ignore|@ts-expect-error|\bas any\b[^-a-z ]/.test(text),
    );
    expect([...names, ...marks].map(({ file }) => file)).toEqual([]);
  });
});

/** Files whose exports are for others than our sources: the library, and what the command and `npm start` load. */
const ENTRIES = ["src/index.ts", "src/cli/main.ts", "src/demo/demo.ts"];

/**
 * Exports that no other file imports. One is alive too when it is used where it is defined and tested by name, when it
 * is a type (a part of what an exported function takes or gives), or when it belongs to a header that tests read
 * whole while the engine reads a part (`engine/wire`).
 */
function deadExports(sources: readonly Source[], tests: readonly Source[]): string[] {
  const taken = (files: readonly Source[]): Set<string> =>
    new Set(
      files.flatMap(({ imports }) =>
        imports.flatMap(({ from, names }) => names.map((name) => `${from} ${name}`)),
      ),
    );
  const [bySources, byTests] = [taken(sources), taken(tests)];
  const has = (users: Set<string>, file: string, name: string): boolean =>
    users.has(`${file} ${name}`) || users.has(`${file} *`);
  return sources
    .filter(({ file }) => !ENTRIES.includes(file))
    .flatMap((source) =>
      source.exports
        .filter(({ name, isType }) => {
          if (has(bySources, source.file, name)) return false;
          const used = usesOf(source, name) > 1;
          if (isType) return !used;
          return !(has(byTests, source.file, name) && (used || source.file.startsWith("src/engine/wire/")));
        })
        .map(({ name }) => `${source.file}: ${name}`),
    );
}

describe("dead code", () => {
  it("is in no export", () => {
    expect(deadExports(SOURCES, TESTS)).toEqual([]);
  });

  it("is found", () => {
    const defines = readSource(
      "src/a.ts",
      "export const used = 1, dead = 2, tested = 3; export function both() {}; both();",
    );
    const uses = readSource(
      "src/b.ts",
      'import { used } from "./a.ts"; const { x } = await import("./a.ts");',
    );
    const test = readSource("test/a.test.ts", 'import { both, tested } from "../src/a.ts";');
    expect(deadExports([defines, uses], [test])).toEqual(["src/a.ts: dead", "src/a.ts: tested"]);
  });

  it("is in no call of the shim, and C and TypeScript have the same ones", () => {
    const calls = SOURCES.find(({ file }) => file === "src/host/native/calls.ts")?.text ?? "";
    const typed = Array.from(calls.matchAll(/^ {2}(\w+)\(/gm), ([, name]) => name);
    const addon = readFileSync(join(PROJECT_ROOT, "native-shims/addon.c"), "utf8");
    const exported = Array.from(addon.matchAll(/^ {4}\{"(\w+)", /gm), ([, name]) => name);
    expect(exported.sort()).toEqual([...typed].sort());
    const used = new Set(
      SOURCES.flatMap(({ text }) => Array.from(text.matchAll(/\bnative\s*\.(\w+)\b/g), ([, name]) => name)),
    );
    expect(typed.filter((name) => !used.has(name))).toEqual([]);
  });
});
