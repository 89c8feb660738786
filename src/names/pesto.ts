/**
 * pesto(1): shows and changes the inbound ports of a passt or pasta that runs, by the socket of its `-c`, which is that of
 * sluice's control API here. Its words are commands, obeyed one after the other.
 */
import { parseForwardRule, ruleText } from "../config/forward-rule.ts";
import { Unacceptable } from "../config/problem.ts";
import {
  EVERYWHERE,
  hasIpv6,
  isAuto,
  notePorts,
  type PortRule,
  refuseUnlessNone,
  ruleArguments,
} from "./passt-ports.ts";
import { RELEASE } from "./passt-words.ts";
import {
  type Program,
  type Question,
  Refusal,
  type RunningRules,
  readWords,
  type Surroundings,
  setter,
  type Translation,
  type Word,
} from "./words.ts";

type Protocol = "tcp" | "udp";

type Step =
  | { readonly kind: "add" | "delete"; readonly protocol: Protocol; readonly rule: PortRule }
  /** Every inbound port, or those of a protocol. */
  | { readonly kind: "clear"; readonly protocol?: Protocol };

interface Words {
  question?: Question;
  show: boolean;
  /** Something is asked for, be it nothing to do. */
  isCommand: boolean;
  /** What `-t` and `-u` are from here on; undefined: what there is from now on in place of what there was. */
  mode?: "add" | "delete";
  readonly replaced: Set<Protocol>;
  readonly steps: Step[];
}

/** The forwarding tables by the name of their interface; into the namespace's loopback nothing is ever forwarded. */
const TABLES = ["HOST", "SPLICE"] as const;

function notes(protocol: Protocol): (words: Words, spec: string) => void {
  return (words, spec) => {
    words.isCommand = true;
    const ports = { rules: [] as PortRule[], isSaid: false };
    notePorts(ports, spec);
    if (isAuto(ports))
      throw new Refusal(`"${spec}" is not offered: ports that come and go are those pasta began with`);
    if (words.mode === undefined && !words.replaced.has(protocol)) {
      words.replaced.add(protocol);
      words.steps.push({ kind: "clear", protocol });
    }
    for (const rule of ports.rules) words.steps.push({ kind: words.mode ?? "add", protocol, rule });
  };
}

function noteNone(form: string): (words: Words, spec: string) => void {
  return (words, spec) => {
    words.isCommand = true;
    refuseUnlessNone(form, spec);
  };
}

function noteClear(words: Words, table: string): void {
  if (!TABLES.some((name) => name === table)) throw new Refusal(`Unsupported pif name ${table}`);
  if (table === "HOST") words.steps.push({ kind: "clear" });
  words.mode = "add";
  words.isCommand = true;
}

const sets = setter<Words>();

const WORDS: readonly Word<Words>[] = [
  sets(["-A", "--add"], undefined, "Ports that follow are added (sluice forward add).", "mode", () => "add"),
  sets(["-D", "--delete"], undefined, "Ports that follow go (sluice forward rm).", "mode", () => "delete"),
  {
    forms: ["-C", "--clear"],
    placeholder: "PIF",
    help: "HOST: every inbound port is taken away. SPLICE has none.",
    note: noteClear,
  },
  {
    forms: ["-t", "--tcp-ports"],
    placeholder: "SPEC",
    help: "As pasta's, but for auto. Without -A, -D or -C: these in place of those that are there.",
    note: notes("tcp"),
  },
  { forms: ["-u", "--udp-ports"], placeholder: "SPEC", help: "The same.", note: notes("udp") },
  { forms: ["-T", "--tcp-ns"], placeholder: "SPEC", help: "none, as for pasta.", note: noteNone("--tcp-ns") },
  { forms: ["-U", "--udp-ns"], placeholder: "SPEC", help: "The same.", note: noteNone("--udp-ns") },
  sets(["-s", "--show"], undefined, "Shows the ports before and after.", "show", () => true),
  { forms: ["-d", "--debug"], help: "Nothing more is said.", note: () => {} },
  sets(["-h", "--help"], undefined, "This text.", "question", () => "help", "help"),
  sets(["--version"], undefined, "The version.", "question", () => "version", "version"),
];

/** A rule as the API tells it: of every address where the host has both families, or of IPv4's. */
function rulesFor({ protocol, rule }: Extract<Step, { rule: PortRule }>, hasIpv6: boolean): string[] {
  const everywhere = hasIpv6 ? [EVERYWHERE, "0.0.0.0"] : ["0.0.0.0"];
  return everywhere.map((host) => {
    const [, text] = ruleArguments(protocol, rule, host);
    try {
      const forwards = parseForwardRule(text);
      return ruleText(forwards, forwards[0]?.hostPort ?? 0);
    } catch (error) {
      if (!(error instanceof Unacceptable)) throw error;
      throw new Refusal(`${text}: ${error.allowed}`);
    }
  });
}

interface Rule {
  readonly id: number;
  readonly rule: string;
}

/** Takes back one change. */
interface Undo {
  /** What is not as it was when that fails. */
  readonly rule: string;
  readonly run: () => Promise<unknown>;
}

/** The rules of `rules`, each change of which adds to `undo`. */
function undoable(rules: RunningRules, undo: Undo[]) {
  return {
    list: () => rules.list(),
    add: async (rule: string): Promise<void> => {
      const { id } = await rules.add(rule);
      undo.push({ rule, run: () => rules.remove(id) });
    },
    remove: async ({ id, rule }: Rule): Promise<void> => {
      await rules.remove(id);
      undo.push({ rule, run: () => rules.add(rule) });
    },
  };
}

async function obey(step: Step, rules: ReturnType<typeof undoable>, hasIpv6: boolean): Promise<void> {
  if (step.kind === "clear") {
    const { protocol = "" } = step;
    for (const each of await rules.list()) if (each.rule.startsWith(protocol)) await rules.remove(each);
    return;
  }
  const texts = rulesFor(step, hasIpv6);
  const [text = ""] = texts;
  const there = (await rules.list()).find(({ rule }) => texts.includes(rule));
  if (step.kind === "delete") {
    if (there === undefined) throw new Refusal(`Couldn't find forwarding rule to delete: ${text}`);
    await rules.remove(there);
  } else {
    if (there !== undefined) throw new Refusal(`Forwarding configuration conflict: ${text} is there already`);
    await rules.add(text);
  }
}

/** Obeys all of it, or leaves what was there: rejects with what stands in the way, and with what could not be put back. */
async function obeyAll(steps: readonly Step[], rules: RunningRules, hasIpv6: boolean): Promise<void> {
  const undo: Undo[] = [];
  const noted = undoable(rules, undo);
  try {
    for (const step of steps) await obey(step, noted, hasIpv6);
  } catch (error) {
    const left: string[] = [];
    for (const { rule, run } of undo.reverse()) await run().catch(() => left.push(rule));
    if (left.length === 0) throw error;
    throw new Refusal(`${(error as Error).message}; not put back as it was: ${left.join(", ")}`);
  }
}

/** What is forwarded, in pesto's form: `    TCP [127.0.0.1]:8080  =>  80`. */
async function shown(title: string, path: string, rules: RunningRules): Promise<string> {
  const lines = (await rules.list()).map(({ rule }) => {
    const [, protocol = "", host = "", rest = ""] = /^(tcp|udp):(\[.*?\]|[^:]*):(.*)$/.exec(rule) ?? [];
    const [, ports = rest, guest = ports] =
      /^(\d+)-((?:\[.*\]|[\d.]+):\d+)$/.exec(rest) ?? /^([^:]+):([^:]+)$/.exec(rest) ?? [];
    return `    ${protocol.toUpperCase()} [${host.replace(/^\[|\]$/g, "")}]:${ports}  =>  ${guest}\n`;
  });
  return `${title} (${path})\n  HOST\n${lines.join("")}  SPLICE\n`;
}

function translate(argv: readonly string[], { exists }: Surroundings): Translation | Question {
  const words: Words = { show: false, isCommand: false, replaced: new Set(), steps: [] };
  const [path, extra] = readWords(WORDS, argv, words);
  if (words.question !== undefined) return words.question;
  if (path === undefined || extra !== undefined) throw new Refusal("one PATH is needed, that of pasta's -c");
  return {
    argv: [],
    background: false,
    warnings: [],
    steering: {
      path,
      steer: async (rules) => {
        const { steps, show, isCommand } = words;
        if (!isCommand) return shown("passt/pasta configuration", path, rules);
        const before = show ? await shown("Previous configuration", path, rules) : "";
        await obeyAll(steps, rules, hasIpv6(exists));
        return show ? before + (await shown("Updated configuration", path, rules)) : "";
      },
    },
  };
}

export const PESTO: Program = {
  name: "pesto",
  usage: "pesto [OPTION]... PATH",
  background: false,
  words: WORDS as readonly Word<never>[],
  version: (own) => `pesto ${RELEASE}.sluice-${own}\n`,
  translate,
};
