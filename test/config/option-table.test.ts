import { describe, expect, it } from "vitest";
import { helpOf } from "../../src/config/option-help.ts";
import { OptionSet } from "../../src/config/option-set.ts";
import { definitionOf, OPTION_NAMES, type OptionName, optionsOf } from "../../src/config/option-table.ts";
import { planEngine, planHost } from "../../src/config/plan.ts";

function given(...options: readonly (readonly [OptionName, string])[]): OptionSet {
  const set = new OptionSet();
  for (const [name, text] of options) set.add(name, text);
  return set;
}

const WITH_DEFAULT = OPTION_NAMES.filter((name) => definitionOf(name).default !== undefined);
const NAMED_DHCP = OPTION_NAMES.filter((name) => definitionOf(name).dhcp !== undefined);

describe("a default", () => {
  it.each(WITH_DEFAULT)("of --%s is a value it takes, and told in its help", (name) => {
    const { default: usual = "", parse } = definitionOf(name);
    expect(() => parse(usual)).not.toThrow();
    expect(helpOf(name)).toContain(`(default ${usual}`);
  });

  it("changes nothing when it is given", () => {
    const asked = given(
      ...WITH_DEFAULT.filter((name) => optionsOf("run").includes(name)).map(
        (name) => [name, definitionOf(name).default ?? ""] as const,
      ),
    );
    expect(planEngine(asked)).toEqual(planEngine(new OptionSet()));
    expect(planHost(asked, "run")).toEqual(planHost(new OptionSet(), "run"));
    expect(asked.problems).toEqual([]);
  });

  it("may be another for some commands", () => {
    const level = (command: "run" | "exec") => planHost(new OptionSet(), command).log.level;
    expect([level("run"), level("exec")]).toEqual(["info", "warn"]);
    expect(helpOf("log-level")).toContain("(default info; warn for exec, qemu and replay).");
  });

  it("of an address follows the subnet", () => {
    const config = planEngine(given(["net", "192.168.7.0/28"]));
    expect([config.gateway & 15, config.dns & 15, config.guestAddress & 15]).toEqual([2, 3, 4]);
    expect(helpOf("gateway")).toContain("(default: the third of the subnet, 10.0.2.2).");
  });
});

describe("a named DHCP option", () => {
  it.each(NAMED_DHCP)("--%s reaches the server as the octets of its code", (name) => {
    const options = given([name, "boot.example"]);
    const code = definitionOf(name).dhcp?.code ?? 0;
    const config = planEngine(options);
    expect(config.dhcp?.options.map((option) => option.code)).toEqual([code]);
    const octets = Buffer.from(config.dhcp?.options[0].value ?? []);
    expect(octets.toString("latin1")).toContain("example");
    expect(helpOf(name)).toContain(`(option ${code})`);
  });

  it("is refused when its values do not fit", () => {
    const options = given(...Array.from({ length: 40 }, (_, i) => ["search", `a${i}.example${i}`] as const));
    planEngine(options);
    expect(options.problems).toMatchObject([
      { place: "--search", allowed: expect.stringContaining("at most 255 octets") },
    ]);
  });
});
