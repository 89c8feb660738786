/** Words as getopt_long(3) reads them, and its sentences. */
import { describe, expect, it } from "vitest";
import { PROGRAMS } from "../../src/names/programs.ts";
import { helpText, wordsText } from "../../src/names/texts.ts";
import { type Question, Refusal, readWords, type Word } from "../../src/names/words.ts";

interface Seen {
  list: string[];
}

function word(forms: readonly string[], placeholder?: string): Word<Seen> {
  return {
    forms,
    ...(placeholder === undefined ? {} : { placeholder }),
    help: "Something.",
    note: ({ list }, value) => {
      list.push(`${forms.at(-1)}=${value}`);
    },
  };
}

const TABLE = [
  word(["-c", "--configure"]),
  word(["-r", "--ready-fd"], "FD"),
  word(["--no-tcp"]),
  word(["--no-udp"]),
  word(["--no"]),
];

function read(...argv: string[]): string[] {
  const seen: Seen = { list: [] };
  const rest = readWords(TABLE, argv, seen);
  return [...seen.list, ...rest];
}

describe("words", () => {
  it.each([
    [
      ["-c", "--ready-fd", "3", "5", "tap0"],
      ["--configure=", "--ready-fd=3", "5", "tap0"],
    ],
    [
      ["--ready-fd=3", "-r4", "-cr5", "-cr", "6"],
      ["--ready-fd=3", "--ready-fd=4", "--configure=", "--ready-fd=5", "--configure=", "--ready-fd=6"],
    ],
    [
      ["--conf", "--read=", "-"],
      ["--configure=", "--ready-fd=", "-"],
    ],
    [
      ["5", "-c", "tap0"],
      ["--configure=", "5", "tap0"],
    ],
    [
      ["--no", "--", "-c"],
      ["--no=", "-c"],
    ],
    [["-r", "-c"], ["--ready-fd=-c"]],
  ])("%j", (argv, expected) => {
    expect(read(...argv)).toEqual(expected);
  });

  it.each([
    [["--nonsense"], "unrecognized option '--nonsense'"],
    [["--nonsense=3"], "unrecognized option '--nonsense'"],
    [["-x"], "invalid option -- 'x'"],
    [["-cx"], "invalid option -- 'x'"],
    [["--ready"], "option '--ready-fd' requires an argument"],
    [["-r"], "option requires an argument -- 'r'"],
    [["--configure=1"], "option '--configure' doesn't allow an argument"],
    [["--no-"], "option '--no-' is ambiguous; possibilities: '--no-tcp' '--no-udp'"],
  ])("%j is refused", (argv, sentence) => {
    expect(() => read(...argv)).toThrow(new Refusal(sentence));
  });
});

describe.each(PROGRAMS)("$name", (program) => {
  const surroundings = { exists: () => true, defaultDevice: () => "eth0" };

  it("has each form once, and says of each word what it comes to", () => {
    const forms = program.words.flatMap((entry) => entry.forms);
    expect(forms).toEqual([...new Set(forms)]);
    for (const { forms, help } of program.words) {
      expect(helpText(program)).toContain(forms.join(", "));
      expect(help).toMatch(/^[^\n]+\.$/);
    }
  });

  it("answers questions, whatever else is said", () => {
    const asked = (...argv: string[]): unknown => program.translate(argv, surroundings);
    const questions: Question[] = ["help", "version"];
    expect([asked("--help"), asked("--version")]).toEqual(questions);
    expect(program.version("1.2.3").split("\n")[0]).toMatch(new RegExp(`^${program.name} .*\\d`));
    expect(program.version("1.2.3")).toContain("1.2.3");
  });

  it("refuses each word that is marked so, with its name, and tells the launcher of no such word", () => {
    const told = wordsText(program).split(/\s/);
    for (const { forms, placeholder, refused } of program.words) {
      for (const form of forms) expect(told.includes(form)).toBe(refused !== true);
      if (refused !== true) continue;
      const argv = placeholder === undefined ? [forms[0] as string] : [forms[0] as string, "1"];
      expect(() => program.translate(argv, surroundings)).toThrow(`${forms[0]} is not offered: `);
    }
  });
});
