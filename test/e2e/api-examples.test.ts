/** The examples of docs/api.md, compiled and run where the package is installed; each prints what its comments say. */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Consumer, typeScriptBlocks } from "../support/consumer.ts";
import { PROJECT_ROOT } from "../support/project-root.ts";

const documentOf = (name: string): string => readFileSync(join(PROJECT_ROOT, name), "utf8");
const EXAMPLES = typeScriptBlocks(documentOf("docs/api.md"));
const nameOf = (index: number): string => `example-${index}`;

let consumer: Consumer;
beforeAll(() => {
  consumer = new Consumer();
  mkdirSync(join(consumer.directory, "tmp"));
});
afterAll(() => consumer.remove());

it("compile, the README's too", () => {
  const programs = EXAMPLES.map((text, index) => [
    `${nameOf(index)}.ts`,
    // Two runs of the tests are not to meet.
    text.replaceAll("/tmp/", `${consumer.directory}/tmp/`),
  ]);
  const readme = typeScriptBlocks(documentOf("README.md")).map((text, index) => [`readme-${index}.ts`, text]);
  expect([programs.length > 5, readme.length]).toEqual([true, 1]);
  expect(consumer.compile(Object.fromEntries([...programs, ...readme]))).toBe("");
});

it.each(EXAMPLES.map((text, index) => [index, text] as const))(
  "number %i does what it says",
  async (index, text) => {
    const said = [...text.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)].map(([, line]) => `${line}\n`);
    const { status, stdout, stderr } = await consumer.start(`${nameOf(index)}.js`).ended;
    const output = stdout.replaceAll(`${consumer.directory}/tmp/`, "/tmp/");
    expect([status, output, stderr]).toEqual([0, said.join(""), ""]);
  },
);
