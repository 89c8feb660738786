#!/usr/bin/env node
/** The `sluice` command: runs the compiled program, after building it where nobody has. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const program = fileURLToPath(new URL("../../dist/program/main.js", import.meta.url));
if (!existsSync(program)) {
  const { buildProgram } = await import("../bootstrap.mjs");
  process.exitCode = buildProgram();
}
if (!process.exitCode) {
  const { main } = createRequire(import.meta.url)(program);
  process.exitCode = await main(process.argv.slice(2));
}
