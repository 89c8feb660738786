/** How help is laid out: lines of a hundred columns at most, words whole. */
import { describe, expect, it } from "vitest";
import { entry, wrap } from "../../src/config/help-text.ts";

const word = (length: number, letter = "x"): string => letter.repeat(length);

describe("wrap", () => {
  it.each([
    ["leaves a short text as it is", "one two", 4, "one two"],
    ["leaves nothing as it is", "", 4, ""],
    ["fills a line of 100 columns", `${word(49)} ${word(50)}`, 0, `${word(49)} ${word(50)}`],
    ["breaks one that would have 101", `${word(50)} ${word(50)}`, 0, `${word(50)}\n${word(50)}`],
    ["counts what the lines are indented by", `${word(44)} ${word(50)}`, 5, `${word(44)} ${word(50)}`],
    ["and breaks one column on", `${word(45)} ${word(50)}`, 5, `${word(45)}\n     ${word(50)}`],
    ["never breaks a word", `a ${word(120)} b`, 0, `a\n${word(120)}\nb`],
    ["never begins with an empty line", word(120), 0, word(120)],
    [
      "indents every line after the first",
      [word(60, "a"), word(60, "b"), word(60, "c")].join(" "),
      3,
      `${word(60, "a")}\n   ${word(60, "b")}\n   ${word(60, "c")}`,
    ],
  ])("%s", (_what, text, indent, laidOut) => {
    expect(wrap(text, indent)).toBe(laidOut);
  });
});

describe("an entry", () => {
  it.each([
    ["has its help in its column", "-p", 8, "  -p    help"],
    ["has two blanks at least before it", "-port", 9, "  -port  help"],
    ["or begins it on a line of its own", "-ports", 9, "  -ports\n         help"],
  ])("%s", (_what, left, indent, laidOut) => {
    expect(entry(left, "help", indent)).toBe(laidOut);
  });

  it("has further lines of its help in the same column", () => {
    const [a, b] = [word(60, "a"), word(60, "b")];
    expect(entry("-p", `${a} ${b}`, 8)).toBe(`  -p    ${a}\n        ${b}`);
  });
});
