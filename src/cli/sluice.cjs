#!/usr/bin/env node
/**
 * The `sluice` command: runs the compiled program, after building it where nobody has. CommonJS, so that a start does not
 * wait for Node's other loader.
 */
const { existsSync } = require("node:fs");
const { join } = require("node:path");

const PROGRAM = join(__dirname, "..", "..", "dist", "program", "main.js");

async function run() {
  if (!existsSync(PROGRAM)) {
    const { buildProgram } = await import("../build/bootstrap.mjs");
    const status = buildProgram();
    if (status !== 0) return status;
  }
  return require(PROGRAM).main(process.argv.slice(2));
}

run().then((status) => {
  process.exitCode = status;
});
