/** docs/insight.md says which test shows what: each is there. */
import { existsSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");

it("every test that docs/insight.md names exists", () => {
  const [, table = ""] = read("docs/insight.md").split("## Shown by");
  const named = [...table.matchAll(/`(test\/[\w./-]+)`: ([^;|]+)/g)].map(([, file = "", name = ""]) => ({
    file,
    name: name.trim(),
  }));
  expect(named.length).toBeGreaterThan(15);
  const missing = named.filter(({ file, name }) => {
    const path = new URL(`../../${file}`, import.meta.url);
    return !existsSync(path) || !read(file).includes(name);
  });
  expect(missing).toEqual([]);
});
