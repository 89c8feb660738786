/** How a person is told what is wrong. */
import { describe, expect, it } from "vitest";
import { ConfigError, formatProblem, nearest, quote } from "../../src/config/problem.ts";

describe("a problem", () => {
  it("is a line: the place, what was found there if anything, and what is allowed", () => {
    expect(formatProblem({ place: "--mtu", found: "9", allowed: "a number" })).toBe(
      '--mtu: found "9"; allowed: a number',
    );
    expect(formatProblem({ place: "--mtu", found: "", allowed: "a number" })).toBe(
      '--mtu: found ""; allowed: a number',
    );
    expect(formatProblem({ place: "--mtu", allowed: "a number" })).toBe("--mtu: allowed: a number");
  });

  it("is one of those of a ConfigError, whose message has a line for each", () => {
    const problems = [
      { place: "mtu", found: "9", allowed: "a number" },
      { place: "net", allowed: "a network" },
    ];
    const error = new ConfigError(problems);
    expect(error).toMatchObject({ name: "ConfigError", code: "ERR_SLUICE_CONFIG", problems });
    expect(error.message).toBe('mtu: found "9"; allowed: a number\nnet: allowed: a network');
  });
});

describe("what was found", () => {
  it("is cut behind 80 characters", () => {
    expect(quote("x".repeat(80))).toBe(`"${"x".repeat(80)}"`);
    expect(quote("x".repeat(81))).toBe(`"${"x".repeat(80)}..."`);
  });

  it.each([
    ["\u001b[2J", '"\\u001b[2J"'],
    ['a"b\\', '"a\\"b\\\\"'],
    ["\u007e\u007f\u0080\u009f\u00a0", '"\u007e\\u007f\\u0080\\u009f\u00a0"'],
    ["\u2027\u2028\u2029\u202a\u202e\u202f", '"\u2027\\u2028\\u2029\\u202a\\u202e\u202f"'],
    ["\u2065\u2066\u2069\u206a", '"\u2065\\u2066\\u2069\u206a"'],
    ["é漢", '"é漢"'],
  ])("has nothing that moves a terminal's text: %j", (text, quoted) => {
    expect(quote(text)).toBe(quoted);
  });
});

describe("the nearest word", () => {
  it.each([
    // A slip of two letters in any word, and of a third of a long one.
    ["gatway", ["dns", "gateway"], "gateway"],
    ["abc", ["abcde"], "abcde"],
    ["ab", ["abcde"], undefined],
    ["abcdef", ["abcdefghi"], "abcdefghi"],
    ["abcdefgh", ["abcdefghijk"], "abcdefghijk"],
    ["abcdefg", ["abcdefghijk"], undefined],
    ["zzzzzz", ["gateway"], undefined],
    ["gateway", [], undefined],
  ])("to %j of %j is %j", (word, known, found) => {
    expect(nearest(word, known)).toBe(found);
  });

  it("to more than 80 characters is none, however near", () => {
    const [short, long] = ["x".repeat(80), "x".repeat(81)];
    expect(nearest(short, [short])).toBe(short);
    expect(nearest(long, [long])).toBeUndefined();
  });
});
