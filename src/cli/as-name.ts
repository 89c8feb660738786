/** `sluice as NAME WORDS`: does what another program of that name would do, with its words. */
import { existsSync } from "node:fs";
import { formatProblem, quote } from "../config/problem.ts";
import type { Instance } from "../control/instance.ts";
import { defaultDevice } from "../host/kernel-routes.ts";
import { ownVersion } from "../host/version.ts";
import { findProgram, PROGRAM_NAMES } from "../names/programs.ts";
import { helpText } from "../names/texts.ts";
import { type Program, Refusal, type RunningForwards, type Translation } from "../names/words.ts";
import { writeText } from "../supervisor/log.ts";
import { type Manner, runGuest } from "./run.ts";
import { EXIT_FAILED, EXIT_USAGE } from "./start-problem.ts";

/** Runs `sluice as ARGV`. Every failure is status 1, which is what those programs' callers know. */
export async function asCommand(argv: readonly string[]): Promise<number> {
  const [name = "", ...words] = argv;
  const program = findProgram(name);
  if (program === undefined) {
    const found = name === "" ? "none" : quote(name);
    writeText(2, `sluice as: found ${found}; allowed: one of ${PROGRAM_NAMES.join(", ")}\n`);
    return EXIT_USAGE;
  }
  const say = (line: string): void => writeText(2, `${name}: ${line}\n`);
  try {
    return await serveAs(program, words, say);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    say(error.message);
    return EXIT_FAILED;
  }
}

/** The TAP that the launcher has opened; its note goes from the environment. */
function takeTap(): number | undefined {
  const note = process.env["SLUICE_TAP"];
  delete process.env["SLUICE_TAP"];
  return note === undefined ? undefined : Number(note);
}

/** Runs a command in namespaces of its own, or the user's shell where there is none. */
async function runCommandAs(
  { words, device, isConfigured }: NonNullable<Translation["command"]>,
  argv: readonly string[],
  { refuse, fail }: Manner,
): Promise<number> {
  const { execGuest } = await import("./exec.ts");
  const given = words.length > 0;
  const command = given ? words : [process.env["SHELL"] ?? "/bin/sh"];
  return execGuest([...argv, "--", ...command], { device, isConfigured, asRoot: true, given, refuse, fail });
}

/** Steers what runs. Every failure is a sentence and status 1. */
async function steer(
  { path, steer }: NonNullable<Translation["steering"]>,
  say: (line: string) => void,
): Promise<number> {
  const { ControlError, controlClient } = await import("../control/client.ts");
  const client = controlClient(path);
  try {
    const said = await steer({
      list: () => client.forwards(),
      add: (rule) => client.addForward(rule),
      remove: (id) => client.removeForward(id),
    });
    writeText(1, said);
    return 0;
  } catch (error) {
    const { syscall, code } = error as NodeJS.ErrnoException;
    if (!(error instanceof ControlError) && syscall === undefined) throw error;
    say(syscall === undefined ? (error as Error).message : `Failed to connect to ${path}: ${code}`);
    return EXIT_FAILED;
  }
}

/** The forwards of an instance that is made when they are first asked for. */
function runningForwards(instance: () => Promise<Instance>): RunningForwards {
  return {
    add: async (forward) => (await instance()).forwards.add(forward),
    remove: async (id) => (await instance()).forwards.remove(id),
  };
}

async function serveAs(
  program: Program,
  words: readonly string[],
  say: (line: string) => void,
): Promise<number> {
  const tapFd = takeTap();
  // What it was opened by was there, and may be out of view by now.
  const exists = tapFd === undefined ? existsSync : (): boolean => true;
  const translation = program.translate(words, { exists, defaultDevice });
  if (translation === "help" || translation === "version") {
    writeText(1, translation === "help" ? helpText(program) : program.version(ownVersion()));
    return 0;
  }
  const { argv, background, command, greeting, serveApi, steering, warnings } = translation;
  if (steering !== undefined) return steer(steering, say);
  for (const warning of warnings) say(warning);
  const manner: Manner = {
    refuse: (problems) => {
      for (const problem of problems) say(formatProblem(problem));
      return EXIT_FAILED;
    },
    fail: (error) => {
      for (const line of (error instanceof Error ? error.message : String(error)).split("\n")) say(line);
      return EXIT_FAILED;
    },
    again: ["as", program.name, ...words],
    ...(greeting === undefined ? {} : { greeting }),
    ...(tapFd === undefined ? {} : { tapFd }),
    ...(serveApi === undefined ? {} : { serving: (instance) => serveApi(runningForwards(instance)) }),
  };
  if (command !== undefined) return runCommandAs(command, argv, manner);
  return runGuest(background ? ["--background", ...argv] : argv, manner);
}
