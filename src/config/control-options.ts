/** The options of the table about seeing and steering what runs. */
import { FLOW_LOG_LEVELS, type FlowLogTarget } from "./host-plan.ts";
import { parseDescriptor, parsePath } from "./link-grammar.ts";
import { type CommandName, choice, option } from "./option-definition.ts";
import { Unacceptable } from "./problem.ts";

const LIVE: readonly CommandName[] = ["run", "exec", "qemu"];

/** What fits a file name and a command line, and is no path. */
function parseInstanceName(text: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(text))
    throw new Unacceptable("1 to 64 letters, digits, dots, hyphens and underscores", text);
  return text;
}

/** `FILE`, `-` for standard output, or `fd:N`. */
function parseFlowLog(text: string): FlowLogTarget {
  if (text === "-") return { fd: 1 };
  return text.startsWith("fd:")
    ? { fd: parseDescriptor(text.slice("fd:".length)) }
    : { path: parsePath(text) };
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
  "flow-log": option({
    group: "Log",
    commands: LIVE,
    placeholder: "FILE|-|fd:N",
    help: "Append what each flow came to, and what was denied, one JSON object a line (Elastic Common Schema).",
    parse: parseFlowLog,
  }),
  "flow-log-level": option({
    group: "Log",
    commands: LIVE,
    placeholder: "LEVEL",
    help: "ends, or all: the beginnings of flows, too.",
    default: "ends",
    parse: choice(FLOW_LOG_LEVELS),
  }),
} as const;
