import { describe, expect, it } from "vitest";
import { COMMAND_NAMES, COMMANDS } from "../../src/cli/commands.ts";
import { commandHelp, overallHelp } from "../../src/cli/help.ts";
import { optionsOf } from "../../src/config/option-table.ts";

describe.each(COMMAND_NAMES)("the help of %s", (command) => {
  it("names every option it takes and shows examples", () => {
    const help = commandHelp(command);
    for (const name of optionsOf(command)) expect(help).toContain(`--${name}`);
    for (const [line] of COMMANDS[command].examples) expect(help).toContain(line);
  });

  it("fits a terminal", () => {
    for (const line of commandHelp(command).split("\n")) expect(line.length).toBeLessThanOrEqual(100);
  });
});

it("lists every command", () => {
  for (const command of [...COMMAND_NAMES, "vm"])
    expect(overallHelp()).toMatch(new RegExp(`^  ${command} `, "m"));
});
