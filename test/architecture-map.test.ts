/** The map has to be true: every path and symbol that docs/architecture.md and CONTRIBUTING.md name exists. */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const file = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));
const REFERENCE = /`((?:src|test|bench|docs|native-shims)\/[\w./-]*)(?::(\w+))?`/g;

/** What a newcomer must find by the map. */
const QUESTIONS = [
  "where does a guest's SYN go?",
  "what happens to a short send to a host socket?",
  "what bounds out-of-order octets?",
  "where is a refused forward decided?",
  "how does the engine learn that the resolver changed?",
  "in which order is the engine confined?",
  "where does an option's default stand?",
  "what does one more named DHCP option cost?",
  "who may use which MAC and source address?",
  "which flow gives way when a table is full?",
];

/** Whether the file defines the name, as a declaration, a member or a C function. */
function defines(text: string, name: string): boolean {
  const declared = `(function|class|const|let|interface|type|enum)\\s+${name}\\b`;
  const member = `^\\s+((private|readonly|static|async|get|set)\\s+)*${name}\\s*[(:=]`;
  const inC = `^(static )?\\w[\\w *]*\\b${name}\\(`;
  return new RegExp(`${declared}|${member}|${inC}`, "m").test(text);
}

describe.each(["docs/architecture.md", "CONTRIBUTING.md"])("%s", (document) => {
  const text = readFileSync(file(document), "utf8");
  const references = [...text.matchAll(REFERENCE)].map(([, path, symbol]) => ({ path, symbol }));

  it("names only what there is", () => {
    expect(references.length).toBeGreaterThan(5);
    const wrong = references.filter(({ path, symbol }) => {
      if (!existsSync(file(path))) return true;
      return symbol !== undefined && !defines(readFileSync(file(path), "utf8"), symbol);
    });
    expect(wrong).toEqual([]);
  });
});

it("answers what a newcomer asks", () => {
  const text = readFileSync(file("docs/architecture.md"), "utf8");
  expect(QUESTIONS.filter((question) => !text.includes(`| ${question} |`))).toEqual([]);
});

it("names every room of src", () => {
  const text = readFileSync(file("docs/architecture.md"), "utf8");
  const rooms = [
    "engine",
    "config",
    "host",
    "control",
    "supervisor",
    "cli",
    "kubevirt",
    "demo",
    "page",
    "build",
  ];
  expect(rooms.filter((room) => !text.includes(`| \`src/${room}/\` |`))).toEqual([]);
});
