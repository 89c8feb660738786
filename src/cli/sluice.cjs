#!/bin/sh
":" /* This is a shell script up to the exec, and a comment to Node. Node forgets at its start which signals were ignored
# and blocked, what the soft limit of descriptors was and which were open; commands that sluice starts are to have what
# it was given (src/host/process/given-state.ts). Nothing here starts a process, and no name is one of the user's.
while read -r sluice_name sluice_value; do
  case $sluice_name in
    SigBlk:) sluice_blocked=$sluice_value ;;
    SigIgn:) sluice_ignored=$sluice_value; break ;;
  esac
done 2> /dev/null < /proc/$$/status
while read -r sluice_name sluice_value; do
  case "$sluice_name $sluice_value" in "Max open files "*) sluice_files=${sluice_value#open files}; break ;; esac
done 2> /dev/null < /proc/$$/limits
# Those that close themselves at the exec (O_CLOEXEC, 02000000) are the shell's.
for sluice_fd in /proc/$$/fdinfo/*; do
  while read -r sluice_name sluice_value; do
    case "$sluice_name $sluice_value" in "flags: "*[2367]??????) sluice_fd=; break ;; "flags: "*) break ;; esac
  done < "$sluice_fd"
  sluice_fd=${sluice_fd#/proc/$$/fdinfo/}
  [ "$sluice_fd" -gt 2 ] && [ -e "/proc/$$/fd/$sluice_fd" ] && sluice_fds=$sluice_fds,$sluice_fd
done 2> /dev/null
# With NODE_EXTRA_CA_CERTS Node reads that file at every start, and all roots with it (80 ms): for nobody, but a module of
# --decide, which may ask a server. Commands have it as it was.
case "${NODE_EXTRA_CA_CERTS+set} $*" in *" --decide"*) ;; set*)
  export SLUICE_NODE_EXTRA_CA_CERTS="$NODE_EXTRA_CA_CERTS"
  unset NODE_EXTRA_CA_CERTS ;;
esac
SLUICE_GIVEN="$$ $sluice_blocked $sluice_ignored ${sluice_fds:-,} $sluice_files" exec node "$0" "$@"
*/
/**
 * The `sluice` command: runs the compiled program, after building it where nobody has. CommonJS, so that a start does not
 * wait for Node's other loader.
 */
const { existsSync } = require("node:fs");
const { join } = require("node:path");

const CERTIFICATES = "NODE_EXTRA_CA_CERTS";
const PROGRAM = join(__dirname, "..", "..", "dist", "program", "main.js");

async function run() {
  const certificates = process.env[`SLUICE_${CERTIFICATES}`];
  if (certificates !== undefined) {
    process.env[CERTIFICATES] = certificates;
    delete process.env[`SLUICE_${CERTIFICATES}`];
  }
  if (!existsSync(PROGRAM)) {
    const { buildProgram } = await import("../build/bootstrap.mjs");
    const status = buildProgram();
    if (status !== 0) return status;
  }
  return require(PROGRAM).main(process.argv.slice(2));
}

/**
 * What the machine would not give (a compiler, a place to write) is a sentence; anything else is a mistake in the program,
 * and shows where.
 */
function problemOf(error) {
  const expected = error instanceof Error && (error.name === "ShimError" || error.syscall !== undefined);
  return expected ? error.message : (error?.stack ?? String(error));
}

run().then(
  (status) => {
    process.exitCode = status;
  },
  (error) => {
    process.stderr.write(`sluice: ${problemOf(error)}\n`);
    process.exitCode = 1;
  },
);
