/** `sluice policy`: what a policy says, without a guest. */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { hideLogin } from "../config/hidden-login.ts";
import { parseFlow } from "../config/policy/flow.ts";
import { describeVerdict, type ReadPolicy, readPolicy } from "../config/policy/read.ts";
import { policyJsonSchema } from "../config/policy/schema.ts";
import { formatTarget } from "../config/policy/target.ts";
import { parseVia, withoutPasswords } from "../config/policy/way.ts";
import { POLICY_OPTIONS } from "../config/policy-options.ts";
import { formatProblem, nearest, type Problem, quote, Unacceptable } from "../config/problem.ts";
import type { PolicyWay } from "../engine/config.ts";
import { OfflinePolicy } from "../engine/policy/offline.ts";
import { writeText } from "../supervisor/log.ts";
import { EXIT_FAILED, EXIT_USAGE } from "./start-problem.ts";
import { isPolicyVerb, POLICY_VERBS } from "./verb-descriptions.ts";

const DEFAULTS = ["deny", "allow", "ask"] as const;
const VERBS = ["check", "test", "schema"] as const;
const NAMES = Object.keys(POLICY_OPTIONS) as (keyof typeof POLICY_OPTIONS)[];

export const POLICY_HELP = `Usage: sluice policy check [FILE] [OPTIONS]
       sluice policy test [FILE] FLOW... [OPTIONS]
       sluice policy schema
       sluice policy show|set|rm|reset-budget|suggest
                                            about an instance that runs (each has --help)

check reads a policy and says everything that is wrong with it, with its place, and what is legal and
useless; its tests are run. test says what becomes of flows: NAME[:PORT], ADDRESS:PORT, with /udp for
UDP and /quic for QUIC. schema prints the JSON Schema of policy files.

Options:
  --policy FILE           the file, where it is not named by itself
  --allow TARGET          rules in front of the file's, as of sluice run; so are
  --deny TARGET           these
  --ask TARGET            and these
  --policy-default WORD
  --via URL
  --audit
  --json                  print JSON

Exit status: 0 when all is well, 1 when a flow is denied, 2 for wrong arguments and policies.

Examples:
  sluice policy check policy.yaml
      everything wrong in a file, before anything is started with it
  sluice policy test --allow '*.example.com' packages.example.com 203.0.113.9:443
      what a rule lets through
`;

interface Arguments {
  readonly words: readonly string[];
  readonly values: Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>;
  readonly tokens: readonly {
    readonly kind: string;
    readonly name?: string;
    readonly value?: string | undefined;
  }[];
}

/** Runs `sluice policy ARGV`. Returns the exit status. */
export async function policyCommand(argv: readonly string[]): Promise<number> {
  const [verb, ...rest] = argv;
  if (verb === "--help" || verb === "-h" || verb === "help") {
    process.stdout.write(POLICY_HELP);
    return 0;
  }
  if (isPolicyVerb(verb)) return (await import("./policy-verbs.ts")).runPolicyVerb(verb, rest);
  const problems: Problem[] = [];
  const given = parse(rest, problems);
  if (given.values["help"] === true) {
    process.stdout.write(POLICY_HELP);
    return 0;
  }
  if (!VERBS.some((known) => known === verb)) {
    const guess = verb === undefined ? undefined : nearest(verb, [...VERBS, ...Object.keys(POLICY_VERBS)]);
    problems.unshift({
      place: "verb",
      ...(verb === undefined ? {} : { found: verb }),
      allowed: `check, test, schema, show, set, rm, reset-budget or suggest${guess === undefined ? "" : `; did you mean ${guess}?`}`,
    });
  }
  if (problems.length > 0) return complain(problems);
  if (verb === "schema") {
    process.stdout.write(`${JSON.stringify(policyJsonSchema(), null, 2)}\n`);
    return 0;
  }
  return verb === "check" ? check(given) : test(given);
}

function parse(argv: readonly string[], problems: Problem[]): Arguments {
  const options = Object.fromEntries([
    ...NAMES.map((name) => {
      const isFlag = !("placeholder" in POLICY_OPTIONS[name]);
      return [name, { type: isFlag ? "boolean" : "string", multiple: !isFlag }] as const;
    }),
    ["json", { type: "boolean", multiple: false }] as const,
    ["help", { type: "boolean", short: "h", multiple: false }] as const,
  ]);
  const { values, positionals, tokens } = parseArgs({
    args: [...argv],
    options: options as Record<string, { type: "string" | "boolean"; multiple: boolean }>,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const known = Object.hasOwn(options, token.name) ? options[token.name] : undefined;
    if (known === undefined) {
      const guess = nearest(token.name, Object.keys(options));
      const allowed = `an option that sluice policy has${guess === undefined ? "" : `; did you mean --${guess}?`}`;
      problems.push({ place: quote(token.rawName).slice(1, -1), allowed });
    } else if (known.type === "string" && token.value === undefined) {
      problems.push({ place: token.rawName, allowed: "a value after it" });
    }
  }
  const files = values["policy"];
  if (Array.isArray(files) && files.length > 1) {
    problems.push({ place: "--policy", found: String(files[1]), allowed: "once only" });
  }
  return { words: positionals, values: values as Arguments["values"], tokens };
}

function complain(problems: readonly Problem[]): number {
  writeText(2, problems.map((problem) => `${formatProblem(problem)}\n`).join(""));
  return EXIT_USAGE;
}

/** The policy of the arguments, or undefined after complaining into `problems`. */
function read(
  { values, tokens }: Arguments,
  path: string | undefined,
  problems: Problem[],
): ReadPolicy | undefined {
  const flags = tokens.flatMap(({ kind, name, value }) =>
    kind === "option" && (name === "allow" || name === "deny" || name === "ask") && value !== undefined
      ? [{ verdict: name, text: value, place: `--${name}` } as const]
      : [],
  );
  const [word] = (values["policy-default"] as string[] | undefined) ?? [];
  if (word !== undefined && !DEFAULTS.some((known) => known === word)) {
    problems.push({ place: "--policy-default", found: word, allowed: "deny, allow or ask" });
  }
  let text: string | undefined;
  try {
    text = path === undefined ? undefined : readFileSync(path, "utf8");
  } catch (error) {
    problems.push({
      place: "file",
      found: path ?? "",
      allowed: `one that can be read (${(error as Error).message})`,
    });
  }
  if (path === undefined && flags.length === 0 && values["via"] === undefined) {
    problems.push({ place: "file", allowed: "a policy's file, --allow, --deny or --via" });
  }
  if (problems.length > 0) return undefined;
  const source = path === undefined || text === undefined ? undefined : { label: path, text };
  const fallback = word as (typeof DEFAULTS)[number] | undefined;
  const via = viaOf(values, problems);
  if (problems.length > 0) return undefined;
  return readPolicy({ flags, source, fallback, audit: values["audit"] === true, via }, problems);
}

function viaOf(values: Arguments["values"], problems: Problem[]): PolicyWay | undefined {
  const [text, ...more] = (values["via"] as string[] | undefined) ?? [];
  if (more.length > 0)
    problems.push({ place: "--via", found: hideLogin(String(more[0])), allowed: "once only" });
  try {
    return text === undefined ? undefined : parseVia(text);
  } catch (error) {
    if (!(error instanceof Unacceptable)) throw error;
    problems.push({ place: "--via", found: hideLogin(text ?? ""), allowed: error.allowed });
    return undefined;
  }
}

function fileOf({ values }: Arguments): string | undefined {
  return (values["policy"] as string[] | undefined)?.[0];
}

function check(given: Arguments): number {
  const problems: Problem[] = [];
  const [first, ...more] = given.words;
  const path = fileOf(given) ?? first;
  const surplus = fileOf(given) === undefined ? more : given.words;
  if (surplus.length > 0)
    problems.push({ place: "arguments", found: surplus.join(" "), allowed: "one file" });
  const policy = read(given, path, problems);
  if (given.values["json"] === true) {
    const warnings = policy?.warnings ?? [];
    const config = policy === undefined ? null : withoutPasswords(policy.config);
    process.stdout.write(`${JSON.stringify({ problems, warnings, policy: config })}\n`);
    return problems.length > 0 ? EXIT_USAGE : 0;
  }
  if (policy === undefined) return complain(problems);
  if (policy.warnings.length > 0) writeText(2, `${policy.warnings.join("\n")}\n`);
  const { rules, default: fallback, audit } = policy.config;
  const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;
  const mode = audit ? ", audit: nothing is denied" : "";
  const line = `${count(rules.length, "rule")}, ${count(policy.tests, "test")} passed, default ${fallback}${mode}`;
  process.stdout.write(`${path ?? "options"}: ${line}\n`);
  return 0;
}

function test(given: Arguments): number {
  const problems: Problem[] = [];
  const named = fileOf(given);
  const hasFlags = given.tokens.some(({ name }) => name === "allow" || name === "deny" || name === "ask");
  const isFirstFile = named === undefined && !hasFlags;
  const path = isFirstFile ? given.words[0] : named;
  const flows = isFirstFile ? given.words.slice(1) : given.words;
  if (flows.length === 0) {
    problems.push({
      place: "flow",
      allowed: "one or more flows, such as packages.example.com or 203.0.113.9:443",
    });
  }
  const parsed = flows.flatMap((text) => {
    try {
      return [parseFlow(text)];
    } catch (error) {
      if (!(error instanceof Unacceptable)) throw error;
      problems.push({ place: "flow", found: text, allowed: error.allowed });
      return [];
    }
  });
  const policy = read(given, path, problems);
  if (policy === undefined) return complain(problems);
  const { config } = policy;
  const judge = new OfflinePolicy(config);
  let isDenied = false;
  const rows = parsed.map((flow) => {
    const verdict = judge.judge(flow);
    isDenied ||= !verdict.allowed;
    const host =
      "name" in flow.host
        ? ({ kind: "name", name: flow.host.name } as const)
        : ({
            kind: "network",
            words: flow.host.words as [number, number, number, number],
            prefixLength: 128,
          } as const);
    const [tcp, quic] = [flow.protocol === "tcp", flow.protocol === "quic"];
    const target = formatTarget({ host, ports: [[flow.port, flow.port]], tcp, udp: !tcp, quic }, "deny");
    const rule = verdict.rule < 0 ? "default" : (config.rules[verdict.rule]?.name ?? "");
    return { target, verdict, rule };
  });
  if (given.values["json"] === true) {
    const list = rows.map(({ target, verdict, rule }) => ({
      flow: target,
      verdict: verdict.asks ? "asked" : verdict.allowed ? "allowed" : "denied",
      rule,
      reason: verdict.reason,
    }));
    process.stdout.write(`${JSON.stringify(list)}\n`);
  } else {
    for (const { target, verdict } of rows) {
      const why = verdict.reason === null ? "" : ` (${verdict.reason})`;
      process.stdout.write(`${target}: ${describeVerdict(config, verdict)}${why}\n`);
    }
  }
  return isDenied ? EXIT_FAILED : 0;
}
