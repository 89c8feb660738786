/** The rooms of `kubevirt/` stand on each other: what a spec says, what would be done, doing it, the commands. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const KUBEVIRT = fileURLToPath(new URL("../../src/kubevirt", import.meta.url));
const ROOMS = ["spec", "plan", "machine", "commands", "binding"];

function roomOf(file: string): number {
  return ROOMS.findIndex((room) => file.startsWith(`${room}/`));
}

it("every room imports from itself and from those below it", () => {
  const files = readdirSync(KUBEVIRT, { recursive: true, encoding: "utf8" }).filter((file) =>
    file.endsWith(".ts"),
  );
  expect(files.filter((file) => roomOf(file) < 0)).toEqual([]);
  const upward = files.flatMap((file) =>
    [...readFileSync(join(KUBEVIRT, file), "utf8").matchAll(/(?:from|import\()\s*"(\.[^"]+)"/g)]
      .map(([, target = ""]) => relative(KUBEVIRT, resolve(KUBEVIRT, dirname(file), target)))
      .filter((target) => !target.startsWith("..") && roomOf(target) > roomOf(file))
      .map((target) => `${file} -> ${target}`),
  );
  expect(upward).toEqual([]);
});

it("no file imports itself, by whatever way", () => {
  const targets = new Map<string, readonly string[]>();
  const visit = (file: string, path: readonly string[]): void => {
    expect(path, `a circle: ${[...path, file].join(" -> ")}`).not.toContain(file);
    for (const target of importsOf(file, targets)) visit(target, [...path, file]);
  };
  visit("commands/cli.ts", []);
  visit("binding/command.ts", []);
});

/** What a file needs at run time: types are gone by then. */
function importsOf(file: string, known: Map<string, readonly string[]>): readonly string[] {
  const before = known.get(file);
  if (before !== undefined) return before;
  const text = readFileSync(join(KUBEVIRT, file), "utf8");
  const found = [...text.matchAll(/^(?:import|export) (?!type )[^;]*?from "(\.[^"]+)"/gms)]
    .map(([, target = ""]) => relative(KUBEVIRT, resolve(KUBEVIRT, dirname(file), target)))
    .filter((target) => !target.startsWith(".."));
  known.set(file, found);
  return found;
}
