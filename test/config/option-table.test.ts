import { describe, expect, it } from "vitest";
import { parseCommandArguments } from "../../src/cli/arguments.ts";
import { helpOf } from "../../src/config/option-help.ts";
import { OptionSet } from "../../src/config/option-set.ts";
import { definitionOf, OPTION_NAMES, type OptionName, optionsOf } from "../../src/config/option-table.ts";
import { planEngine, planHost } from "../../src/config/plan.ts";
import { Unacceptable } from "../../src/config/problem.ts";

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

describe("an option", () => {
  it("stands alone, without its value, where the table says so", () => {
    const alone = (command: "run" | "qemu") =>
      parseCommandArguments(command, ["--vhost-user"]).options.problems.length;
    expect([alone("qemu"), alone("run")]).toEqual([0, 1]);
  });

  it("takes one value by itself as a property, where it takes one of each family", () => {
    const single = OPTION_NAMES.filter((name) => definitionOf(name).oneWithoutList);
    expect(single).toEqual(["next-server", "outbound-addr"]);
    expect(single.every((name) => definitionOf(name).repeat)).toBe(true);
  });

  it("is a flag, or has a value of few words which it knows", () => {
    expect(definitionOf("restrict").parse("")).toBe(true);
    expect(definitionOf("nat64").parse("off")).toBe("off");
    expect(definitionOf("ipv6").parse.values).toEqual(["auto", "on", "off"]);
    expect(definitionOf("flow-log-level").parse.values).toEqual(["ends", "all"]);
    expect(() => definitionOf("ipv6").parse("of")).toThrow(
      expect.objectContaining({ allowed: "one of auto, on, off", found: "of" }),
    );
    for (const word of ["virtio", "e1000", "e1000e", "ne2k_pci", "pcnet", "rtl8139"])
      expect(definitionOf("model").parse(word)).toBe(word);
  });

  it("of a policy is kept as it is written", () => {
    for (const name of ["allow", "deny", "ask", "via"] as const)
      expect(definitionOf(name).parse("what*ever")).toBe("what*ever");
  });

  it("copies the host's network from an interface, or from that of its default route", () => {
    expect(definitionOf("copy-host").parse("auto")).toBe("auto");
    expect(definitionOf("copy-host").parse("eth0")).toBe("eth0");
    expect(() => definitionOf("copy-host").parse("a/b")).toThrow(Unacceptable);
  });
});

describe("the help of an option", () => {
  it.each<[OptionName, RegExp]>([
    ["restrict", /Forwards and guest forwards still work\.$/],
    ["mtu", /octets; told to the guest \(default 1500\)\.$/],
    ["publish", /while it does\. Repeatable\.$/],
    ["hostname", /^The guest's host name \(option 12\)\.$/],
    ["search", /^A domain to search \(option 119\)\. Repeatable\.$/],
    ["userns", /first \(default: the one that owns it\)\.$/],
    ["dns", /^The address that answers DNS \(default: the fourth of the subnet, 10\.0\.2\.3\)\.$/],
    ["dhcp-start", /\(default: the sixteenth of the subnet, 10\.0\.2\.15\)\.$/],
    ["log-level", /^error, warn, info or debug \(default info; warn for exec, qemu and replay\)\.$/],
    ["log-file", /^Append the log to FILE instead of standard error\.$/],
  ])("--%s says what its definition does", (name, help) => {
    expect(helpOf(name)).toMatch(help);
  });
});
