/** Whatever the arguments are, the answer is a plan or a list of complaints, never an exception. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { parseCommandArguments } from "../../src/cli/arguments.ts";
import type { CommandName } from "../../src/config/option-definition.ts";
import { definitionOf, OPTION_NAMES } from "../../src/config/option-table.ts";
import { planEngine, planHost, planLink } from "../../src/config/plan.ts";
import { formatProblem } from "../../src/config/problem.ts";

const LOOKS_RIGHT = fc.oneof(
  fc.ipV4(),
  fc.ipV6(),
  fc.integer({ min: -1, max: 70_000 }).map(String),
  fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 33 })).map(([a, p]) => `${a}/${p}`),
  fc.stringMatching(/^(tcp|udp)?:?[0-9.:-]{0,24}$/),
  fc.stringMatching(/^(tcp|udp):[0-9.]{0,10}:[0-9]{0,5}-(tcp|unix|cmd)?:[a-z0-9.:]{0,12}$/),
  fc.stringMatching(/^[0-9]{1,3}=(ip|u8|u16|u32|hex|text)?:?[0-9a-f.,:]{0,12}$/),
  fc.stringMatching(/^([0-9a-f]{2}:){5}[0-9a-f]{2}(=10\.0\.2\.[0-9]{1,3})?$/),
  fc.constantFrom("unix:/a", "tcp:localhost:1", "unix:/a,unix:/b", "__proto__", "constructor", "--", "-", ""),
  fc.string(),
  fc.string({ unit: "binary" }),
);

const NAME = fc.oneof(
  fc.constantFrom(...OPTION_NAMES).map((name) => `--${name}`),
  fc.constantFrom("-p", "-h", "--help", "-x", "--__proto__", "--toString", "--no-mtu", "--"),
);

const ARGV = fc.array(
  fc.oneof(
    fc.tuple(NAME, LOOKS_RIGHT).map(([name, value]) => [name, value]),
    fc.tuple(NAME, LOOKS_RIGHT).map(([name, value]) => [`${name}=${value}`]),
    fc.tuple(NAME, LOOKS_RIGHT).map(([name, value]) => [`${name}${value}`]),
    NAME.map((name) => [name]),
    LOOKS_RIGHT.map((word) => [word]),
  ),
  { maxLength: 12 },
);

const COMMAND = fc.constantFrom<CommandName>("run", "exec", "qemu", "replay");

it("never throws, and every complaint is one printable line", () => {
  fc.assert(
    fc.property(COMMAND, ARGV, (command, words) => {
      const { options } = parseCommandArguments(command, words.flat());
      planLink(options);
      planHost(options, "run");
      const engine = planEngine(options);
      for (const problem of options.problems) {
        // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these must not reach a terminal
        expect(formatProblem(problem)).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
      }
      if (options.problems.length > 0) return;
      expect(engine.mtu).toBeGreaterThanOrEqual(576);
      expect(engine.dhcp?.rangeSize).toBeGreaterThanOrEqual(1);
      expect(new Set([engine.gateway, engine.dns, engine.guestAddress]).size).toBe(3);
    }),
    { numRuns: 3000 },
  );
});

it("never throws on a single option with any value", () => {
  fc.assert(
    fc.property(fc.constantFrom(...OPTION_NAMES), LOOKS_RIGHT, (name, value) => {
      const takesValue = definitionOf(name).placeholder !== undefined;
      const { options } = parseCommandArguments("run", takesValue ? [`--${name}=${value}`] : [`--${name}`]);
      planLink(options);
      planEngine(options);
      planHost(options, "run");
      expect(options.problems.every((problem) => problem.allowed.length > 0)).toBe(true);
    }),
    { numRuns: 3000 },
  );
});
