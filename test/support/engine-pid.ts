/** The engine process of a running `sluice`. */
import { readFileSync } from "node:fs";
import type { Running } from "./program.ts";

/** The supervisor's child that is the engine. Throws when there is none. */
export function engineOf(running: Running): number {
  const supervisor = running.child.pid!;
  const children = readFileSync(`/proc/${supervisor}/task/${supervisor}/children`, "utf8").trim().split(" ");
  const engine = children.find((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("engine-process"),
  );
  if (engine === undefined) throw new Error(`sluice ${supervisor} has no engine process`);
  return Number(engine);
}
