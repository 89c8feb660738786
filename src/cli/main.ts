/** The `sluice` command: which of its commands was meant. Commands are loaded only when they run. */
import { nearest, quote } from "../config/problem.ts";
import { noteGivenState } from "../host/process/given-state.ts";
import { ownVersion } from "../host/version.ts";
import { writeText } from "../supervisor/log.ts";
import { EXIT_USAGE, fail } from "./start-problem.ts";
import { endWithUserCode } from "./user-code.ts";
import { isVerb, VERBS } from "./verb-descriptions.ts";

type Run = (argv: readonly string[]) => Promise<number>;

const COMMANDS: Readonly<Record<string, () => Promise<Run>>> = {
  run: async () => (await import("./run.ts")).runCommand,
  exec: async () => (await import("./exec.ts")).execCommand,
  qemu: async () => (await import("./qemu.ts")).qemuCommand,
  replay: async () => (await import("./replay.ts")).replayCommand,
  names: async () => (await import("./names.ts")).namesCommand,
  as: async () => (await import("./as-name.ts")).asCommand,
  policy: async () => (await import("./policy.ts")).policyCommand,
  completion: async () => (await import("./completion-command.ts")).completionCommand,
  "kubevirt-binding": async () => (await import("./kubevirt-binding.ts")).kubevirtBindingCommand,
  vm: async () => {
    const { vmCommand } = await import("../kubevirt/commands/cli.ts");
    return (argv) =>
      vmCommand([...argv], { stdout: process.stdout, stderr: process.stderr, env: process.env });
  },
};

/** A reader that has seen enough (`| head`) is no failure; what is still said goes nowhere. */
function tolerateClosedReaders(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
    });
  }
}

/** Runs the program with the arguments after its name. Returns the exit status; never rejects. */
export async function main(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  tolerateClosedReaders();
  noteGivenState();
  try {
    if (name === undefined || name === "help" || name === "--help" || name === "-h") {
      const { overallHelp } = await import("./help.ts");
      if (name === "help" && rest[0] !== undefined && (Object.hasOwn(COMMANDS, rest[0]) || isVerb(rest[0]))) {
        return await main([rest[0], "--help"]);
      }
      (name === undefined ? process.stderr : process.stdout).write(overallHelp());
      return name === undefined ? EXIT_USAGE : 0;
    }
    if (name === "--version" || name === "-V") {
      process.stdout.write(`sluice ${ownVersion()}\n`);
      return 0;
    }
    const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
    if (load !== undefined) return await (await load())(rest);
    if (isVerb(name)) return await (await import("./verbs.ts")).runVerb(name, rest);
    const known = [...Object.keys(COMMANDS), ...Object.keys(VERBS)];
    const guess = nearest(name, known);
    const names = known.join(", ");
    writeText(
      2,
      `sluice: found ${quote(name)}; allowed: one of ${names}, --help or --version${guess ? `; did you mean ${guess}?` : ""}\n`,
    );
    return EXIT_USAGE;
  } catch (error) {
    return fail(name ?? "", error);
  } finally {
    endWithUserCode();
  }
}
