/** The lines of a view: everything that Node is made of, each path once, none within another that has it. */
import { realpathSync } from "node:fs";
import { expect, it } from "vitest";
import { packageRoot } from "../../../src/host/native/native-loader.ts";
import { nodeFiles } from "../../../src/host/process/node-files.ts";
import { startedView } from "../../../src/host/process/started-view.ts";

it("has Node, its libraries, sluice and what is followed, directories before what is in them", () => {
  const entries = startedView().map((line) => line.split(" "));
  const paths = entries.map(([, path = ""]) => path);
  expect(paths).toEqual([...new Set(paths)].sort());
  expect(entries).toEqual(
    expect.arrayContaining([
      ["read", "/etc"],
      ["read", "/run"],
      ["execute", packageRoot()],
    ]),
  );
  const sees = (path: string): boolean => paths.some((seen) => path === seen || path.startsWith(`${seen}/`));
  for (const path of [realpathSync(process.execPath), ...nodeFiles().executable, ...nodeFiles().readable]) {
    expect([path, sees(path)]).toEqual([path, true]);
  }
  // Only /proc can be written, whose files ask for rights themselves.
  expect(entries.filter(([kind]) => kind === "write")).toEqual([["write", "/proc"]]);
  expect(sees("/var") || sees("/home/user") || sees("/root/other")).toBe(false);
});
