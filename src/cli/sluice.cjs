#!/bin/sh
":" /* This is a shell script up to the exec, and a comment to Node. Node forgets at its start which signals were ignored
# and blocked and what the soft limit of descriptors was; commands that sluice starts are to have what it was given
# (src/host/process/given-state.ts). Nothing here starts a process.
while read -r name value; do
  case $name in
    SigBlk:) blocked=$value ;;
    SigIgn:) ignored=$value; break ;;
  esac
done 2> /dev/null < /proc/$$/status
while read -r name value; do
  case "$name $value" in "Max open files "*) files=${value#open files}; break ;; esac
done 2> /dev/null < /proc/$$/limits
SLUICE_GIVEN="$$ $blocked $ignored $files" exec node "$0" "$@"
*/
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
