/** The options of the table about seeing and steering what runs. */
import { parsePath } from "./link-grammar.ts";
import { type CommandName, option } from "./option-definition.ts";
import { Unacceptable } from "./problem.ts";

const LIVE: readonly CommandName[] = ["run", "exec", "qemu"];

/** What fits a file name and a command line, and is no path. */
function parseInstanceName(text: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(text))
    throw new Unacceptable("1 to 64 letters, digits, dots, hyphens and underscores", text);
  return text;
}

export const CONTROL_OPTIONS = {
  name: option({
    group: "Control",
    commands: LIVE,
    placeholder: "NAME",
    help: "What sluice ls and its sisters call this instance.",
    parse: parseInstanceName,
    defaultWords: "the process id",
  }),
  control: option({
    group: "Control",
    commands: LIVE,
    placeholder: "PATH|none",
    help: "The Unix socket of the control API.",
    parse: (text) => (text === "none" ? null : parsePath(text)),
    defaultWords:
      "$XDG_RUNTIME_DIR/sluice/NAME.sock, for root /run/sluice/NAME.sock; none where there is no such directory",
  }),
} as const;
