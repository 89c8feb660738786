/** `sluice completion SHELL`: the script by which a shell completes sluice's command line. */
import { wrap } from "../config/help-text.ts";
import { bashScript } from "./completion/bash.ts";
import { fishScript } from "./completion/fish.ts";
import { sluiceWords } from "./completion/words.ts";
import { zshScript } from "./completion/zsh.ts";
import { OTHER_COMMANDS, SHELLS } from "./other-commands.ts";
import { refuse } from "./start-problem.ts";

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;

/** Runs `sluice completion ARGV`. Returns the exit status. */
export async function completionCommand(argv: readonly string[]): Promise<number> {
  if (argv.includes("--help") || argv.includes("-h")) {
    const { usage, description } = OTHER_COMMANDS.completion;
    process.stdout.write(`Usage: ${usage}\n\n${wrap(description, 0)}\n`);
    return 0;
  }
  const shell = SHELLS.find((name) => name === argv[0]);
  if (shell === undefined || argv.length > 1) {
    const found = argv.length === 0 ? {} : { found: argv.join(" ") };
    return refuse("completion", [{ place: "SHELL", ...found, allowed: `one of ${SHELLS.join(", ")}` }]);
  }
  process.stdout.write(SCRIPTS[shell](sluiceWords()));
  return 0;
}
