/** What the library's types say is what docs/api.md says, and they say something of everything. */
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { builtOnce } from "../support/built-once.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";
import { apiDocument, declarationsOf } from "./api-document.ts";

let types = "";
beforeAll(async () => {
  // The types are made of what the compiler has made of the sources.
  expect(await builtOnce()).toBe(0);
  const { libraryTypes } = (await import("../../src/build/library.mjs" as string)) as {
    libraryTypes: () => Promise<string>;
  };
  types = await libraryTypes();
}, 120_000);

it("docs/api.md is what the types say (npx vitest run test/cli/api-document.test.ts -u writes it)", async () => {
  await expect(apiDocument(types)).toMatchFileSnapshot(join(PROJECT_ROOT, "docs", "api.md"));
});

it("everything that is exported is explained, member by member", () => {
  const silent = declarationsOf(types).flatMap(({ name, about, members }) => [
    ...(about === "" ? [name] : []),
    ...members
      .filter((member) => member.about === "" && member.name !== "name")
      .map((member) => `${name}.${member.name}`),
  ]);
  expect(silent).toEqual([]);
});

it("an example is a block of TypeScript", () => {
  const examples = declarationsOf(types).flatMap((entry) => entry.examples);
  expect(examples.length).toBeGreaterThan(5);
  expect(examples.filter((text) => !text.includes('from "sluice"'))).toEqual([]);
});
