import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { COMMAND_NAMES } from "../../src/cli/commands.ts";
import { optionsOf } from "../../src/config/option-table.ts";
import { needs } from "../support/requirements.ts";
import { manPages } from "./man-pages.ts";

const FOLDER = fileURLToPath(new URL("../../docs/man/", import.meta.url));
const PAGES = [...manPages()];

describe("docs/man", () => {
  it.each(PAGES)(
    "%s is what the option table says (npx vitest run test/cli/man-pages.test.ts -u writes it)",
    async (name, text) => {
      await expect(text).toMatchFileSnapshot(join(FOLDER, name));
    },
  );

  it("holds nothing else", () => {
    expect(readdirSync(FOLDER).sort()).toEqual(PAGES.map(([name]) => name).sort());
  });

  it.for(PAGES)("%s is set without a warning, every option in it", ([name, text], context) => {
    needs(context, { commands: ["groff"] });
    const { stdout, stderr, status } = spawnSync("groff", ["-man", "-Tascii", "-ww", "-P-cbou"], {
      input: text,
      encoding: "utf8",
    });
    // As a pager shows it, without overstriking.
    expect([status, stderr]).toEqual([0, ""]);
    const command = COMMAND_NAMES.find((each) => name === `sluice-${each}.1`);
    for (const option of command === undefined ? ["help"] : optionsOf(command))
      expect(stdout).toContain(`--${option}`);
  });
});
