/** docs/vhost-user.md says which test shows what: each test it names is there. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { PROJECT_ROOT } from "../../support/project-root.ts";

const read = (path: string): string => readFileSync(join(PROJECT_ROOT, path), "utf8");
const rows = read("docs/vhost-user.md")
  .split("\n")
  .filter((line) => line.startsWith("| ") && line.includes(".test.ts"));

describe("docs/vhost-user.md", () => {
  it("has its table", () => expect(rows.length).toBeGreaterThan(8));

  it.each(rows)("%s", (row) => {
    const tests = row.split(" | ").at(-1) ?? "";
    let text = "";
    for (const [, file, title] of tests.matchAll(/`([^`]+\.test\.ts)`|"([^"]+)"/g)) {
      if (file !== undefined) text = read(file.includes("/") ? file : `test/host/link/${file}`);
      else expect(text).toContain(title);
    }
    expect(text).not.toBe("");
  });
});
