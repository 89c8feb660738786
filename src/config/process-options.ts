/** The options of the table about the command's own processes. */
import { parseDescriptor, parsePath, parseUser } from "./link-grammar.ts";
import { type CommandName, flag, option } from "./option-definition.ts";

const RUN: readonly CommandName[] = ["run"];
const ALL: readonly CommandName[] = ["run", "exec", "qemu", "replay"];

export const PROCESS_OPTIONS = {
  "ready-fd": option({
    group: "Process",
    commands: RUN,
    placeholder: "N",
    help: "Write 1 to descriptor N and close it once the guest is served.",
    parse: parseDescriptor,
  }),
  "exit-fd": option({
    group: "Process",
    commands: RUN,
    placeholder: "N",
    help: "End when descriptor N is closed at its other end.",
    parse: parseDescriptor,
  }),
  "one-off": flag("Process", RUN, "End when the first guest's connection ends (QEMU links)."),
  "pid-file": option({
    group: "Process",
    commands: RUN,
    placeholder: "FILE",
    help: "Write the process id to FILE; removed at the end.",
    parse: parsePath,
  }),
  background: flag(
    "Process",
    RUN,
    "Return once the guest is served, and serve on in a session of its own; implies --outlive-parent. The log then goes to --log-file, or nowhere.",
  ),
  "outlive-parent": flag("Process", RUN, "Keep serving when the process that started this one ends."),
  user: option({
    group: "Process",
    commands: RUN,
    placeholder: "USER",
    help: "Started as root: run the engine as this user, NAME or UID[:GID].",
    parse: parseUser,
  }),
  "no-sandbox": flag("Process", ALL, "Do not confine the engine process."),
} as const;
