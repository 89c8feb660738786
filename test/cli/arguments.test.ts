import { describe, expect, it } from "vitest";
import { parseCommandArguments } from "../../src/cli/arguments.ts";
import { formatProblem } from "../../src/config/problem.ts";

describe("exec and qemu", () => {
  it("leave everything from the first word on to the command", () => {
    const parsed = parseCommandArguments("exec", ["-p", "80", "ls", "-l", "--mtu"]);
    expect(parsed.rest).toEqual(["ls", "-l", "--mtu"]);
    expect(parsed.options.all("publish")).toHaveLength(1);
    expect(parsed.options.problems).toEqual([]);
  });

  it("leave everything after -- to the command, even options of ours", () => {
    const parsed = parseCommandArguments("qemu", ["--mtu", "9000", "--", "-p", "80", "--"]);
    expect(parsed.rest).toEqual(["-p", "80", "--"]);
    expect(parsed.options.get("mtu")).toBe(9000);
  });

  it("have no link to choose", () => {
    expect(parseCommandArguments("exec", ["--tap", "x"]).options.problems).toHaveLength(1);
    expect(parseCommandArguments("qemu", ["--netns", "1"]).options.problems).toHaveLength(1);
  });
});

describe("replay", () => {
  it("takes files and options in any order", () => {
    const own = { output: { placeholder: "FILE", help: "" } };
    const parsed = parseCommandArguments("replay", ["a.pcap", "--output", "b", "--mtu=1400", "--", "c"], own);
    expect(parsed.rest).toEqual(["a.pcap", "c"]);
    expect(parsed.own.get("output")).toBe("b");
    expect(parsed.options.get("mtu")).toBe(1400);
  });
});

describe("values", () => {
  it("are found after a blank, an equals sign, or a short option", () => {
    for (const argv of [["-p", "80"], ["-p80"], ["--publish=80"], ["--publish", "80"]]) {
      const { options } = parseCommandArguments("run", argv);
      expect(options.problems).toEqual([]);
      expect(options.get("publish")).toMatchObject([{ hostPort: 80 }]);
    }
  });

  it("are not the next option", () => {
    const { options } = parseCommandArguments("run", ["--pid-file", "--restrict"]);
    expect(options.problems.map(formatProblem)).toEqual([
      '--pid-file: found "--restrict"; allowed: a value after it (or --pid-file=VALUE)',
    ]);
  });

  it("of an unknown option are not complained about too", () => {
    const { options, rest } = parseCommandArguments("run", ["--gatway", "10.0.2.2", "--mtu", "9"]);
    expect(rest).toEqual([]);
    expect(options.problems.map((problem) => problem.place)).toEqual(["--gatway", "--mtu"]);
  });

  it("do not run away with help", () => {
    expect(parseCommandArguments("run", ["--bogus", "-h"]).help).toBe(true);
    expect(parseCommandArguments("exec", ["ls", "--help"]).help).toBe(false);
  });
});
