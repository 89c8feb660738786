/** The text of a policy: where each part stands, and what is no such text. */
import { describe, expect, it } from "vitest";
import { readDocument } from "../../../src/config/policy/document.ts";
import { formatProblem, type Problem } from "../../../src/config/problem.ts";

function read(text: string) {
  const problems: Problem[] = [];
  const found = readDocument({ label: "p.yaml", text }, problems);
  return { found, problems: problems.map(formatProblem) };
}

const TEXT = `# A comment.
version: 1
rules:
  - allow: [a.example, b.example]
    limit: { new: 1/s }
  - deny: c.example
message:
`;

describe("a part of a text", () => {
  const place = read(TEXT.replace("message:\n", "message: x\n")).found?.place;

  it.each<[(string | number)[], string | undefined, string]>([
    [[], undefined, "p.yaml:2:1"],
    [["version"], undefined, "p.yaml:2:10: version"],
    [["version"], "version", "p.yaml:2:10: version"],
    [[], "version", "p.yaml:2:1"],
    [["rules"], undefined, "p.yaml:4:3: rules"],
    [["rules", 0], undefined, "p.yaml:4:5: rules[0]"],
    [["rules", 0, "allow"], undefined, "p.yaml:4:12: rules[0].allow"],
    [["rules", 0, "allow", 1], undefined, "p.yaml:4:24: rules[0].allow[1]"],
    [["rules", 0, "limit", "new"], undefined, "p.yaml:5:19: rules[0].limit.new"],
    [["rules", 0, "limit"], "new", "p.yaml:5:14: rules[0].limit"],
    [["rules", 1], "deny", "p.yaml:6:5: rules[1]"],
    // What is not there is told at what it would be part of.
    [["rules", 1, "name"], undefined, "p.yaml:6:5: rules[1].name"],
    [["rules", 1], "name", "p.yaml:6:5: rules[1]"],
    [["rules", 2], undefined, "p.yaml:4:3: rules[2]"],
    [["rules", 7, "allow", 3], undefined, "p.yaml:4:3: rules[7].allow[3]"],
    [["tests", 0, "flow"], undefined, "p.yaml:2:1: tests[0].flow"],
    [["version", "x"], undefined, "p.yaml:2:10: version.x"],
    [["rules", 0, "allow", 0, "x", 1], undefined, "p.yaml:4:13: rules[0].allow[0].x[1]"],
  ])("%j, its key %j: %s", (path, key, where) => {
    expect(place?.(path, key)).toBe(where);
  });

  it("without a value stands where its key does", () => {
    const { found, problems } = read(TEXT);
    expect(problems).toEqual([
      expect.stringMatching(/^p\.yaml:7:9: message: found "null"; allowed: text of at most 200/),
    ]);
    expect(found?.document).toBeUndefined();
    expect(found?.value).toMatchObject({ version: 1, message: null });
  });

  it("in braces without a value stands where its key does", () => {
    const { found, problems } = read("version: 1\nrules:\n  - {allow}\n");
    expect(problems).toEqual([
      expect.stringMatching(/^p\.yaml:3:6: rules\[0\]\.allow: found "null"; allowed: /),
    ]);
    expect(found?.place(["rules", 0, "allow", 0])).toBe("p.yaml:3:6: rules[0].allow[0]");
    expect(found?.place(["rules", 0, "allow", "x"])).toBe("p.yaml:3:6: rules[0].allow.x");
  });

  it("that is missing has nothing that was found", () => {
    const problems: Problem[] = [];
    readDocument({ label: "p.yaml", text: "rules: []\n" }, problems);
    expect(problems).toStrictEqual([{ place: "p.yaml:1:1: version", allowed: "1" }]);
  });

  it("of JSON has a place, too", () => {
    const json = '{\n  "version": 1,\n  "rules": [\n    {"allow": 3}\n  ]\n}\n';
    expect(read(json).problems).toEqual([
      expect.stringMatching(/^p\.yaml:4:15: rules\[0\]\.allow: found "3"/),
    ]);
  });

  it("of an empty text has none", () => {
    expect(read("").problems).toEqual([
      expect.stringMatching(/^p\.yaml(:1:1)?: found "null"; allowed: a policy/),
    ]);
  });
});

describe("a text that is none", () => {
  it("is told by each of its errors, and has nothing in it", () => {
    const { found, problems } = read("version: 1\nrules: [a\nmode: {b\n");
    expect(found).toBeUndefined();
    expect(problems.length).toBeGreaterThan(1);
    for (const problem of problems)
      expect(problem).toMatch(/^p\.yaml:\d+:\d+: allowed: YAML or JSON \([^\n]+\)$/);
    expect(problems.join()).not.toMatch(/ at line/);
    expect(read("version: 1\nversion: 1\n").problems).toEqual([
      "p.yaml:2:1: allowed: YAML or JSON (Map keys must be unique)",
    ]);
  });

  it("is told by its error without the place, which stands in front", () => {
    const [first] = read(`version: 1${"\n".repeat(11)}message: "a long text" b\n`).problems;
    expect(first).toMatch(/^p\.yaml:12:\d\d: allowed: YAML or JSON \([^\d]*\)$/);
  });

  it("has an alias, which could make a small file a large one", () => {
    const { found, problems } = read("version: 1\nmessage: &a x\nrules:\n  - {allow: *a}\n");
    expect(found).toBeUndefined();
    expect(problems).toEqual([expect.stringMatching(/^p\.yaml: allowed: a file without aliases \(/)]);
  });
});

describe("a value that a program made", () => {
  it("has the same places, without lines", () => {
    const problems: Problem[] = [];
    const found = readDocument({ label: "policy", value: { version: 2, rules: [{ allow: 3 }] } }, problems);
    expect(problems.map(({ place }) => place)).toEqual(["policy: version", "policy: rules[0].allow"]);
    expect(found?.place([])).toBe("policy");
    expect(found?.place(["a", 0, 1, "b"], "c")).toBe("policy: a[0][1].b");
    expect(found?.place([0])).toBe("policy: [0]");
  });

  it("shows a proxy without its password, and other texts as they are", () => {
    const shown = (rule: object): (string | undefined)[] => {
      const problems: Problem[] = [];
      readDocument({ label: "policy", value: { version: 1, rules: [rule] } }, problems);
      return problems.map(({ found }) => found);
    };
    expect(shown({ allow: "a.example", via: ["http://me:secret@x:1"] })).toEqual(['["http://me:***@x:1"]']);
    expect(shown({ allow: "a.example", message: "me:secret@x\n" })).toEqual(["me:secret@x\n"]);
    expect(shown({ allow: "a.example", name: { a: 1 } })).toEqual(['{"a":1}']);
  });
});
