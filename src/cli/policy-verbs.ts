/** `sluice policy show, set, rm, reset-budget, suggest`: the policy of an instance that runs. */
import { dirname, resolve } from "node:path";
import { HIDDEN } from "../config/hidden-login.ts";
import { readPolicy } from "../config/policy/read.ts";
import { suggest, suggestionText, type Wanted } from "../config/policy/suggest.ts";
import { deniedInFlowLog } from "../control/flow-log/denied.ts";
import { lastRun } from "../control/last-run.ts";
import { printable } from "../control/printable.ts";
import type { PolicyChangeResource } from "../control/schema.ts";
import type { PolicyConfig } from "../engine/config.ts";
import { table } from "./table.ts";
import { POLICY_VERBS, type PolicyVerbName } from "./verb-descriptions.ts";
import { idOf, jsonLine, textOf, VerbError, type VerbRequest } from "./verb-request.ts";
import { duration } from "./verb-table.ts";
import { runDescribed } from "./verbs.ts";

async function show({ flags, json, out, client }: VerbRequest): Promise<void> {
  const policy = await (await client()).policy();
  if (json || flags["text"] === true) {
    out(json ? jsonLine(policy) : policy.text);
    return;
  }
  const { generation, mode, default: fallback, rules, allowed, denied } = policy;
  const rows = rules.map((rule) => [
    String(rule.id),
    printable(rule.name),
    rule.verdict,
    String(rule.allowed),
    String(rule.denied),
    rule.expiresInMs === null ? "" : `in ${duration(rule.expiresInMs)}`,
    rule.targets.join(" "),
  ]);
  const last = ["", "default", fallback, String(allowed), String(denied), "", ""];
  out(`generation ${generation}${mode === "audit" ? ", audit: nothing is denied" : ""}\n`);
  out(table(["ID", "RULE", "VERDICT", "ALLOWED", "DENIED", "ENDS", "TARGETS"], [...rows, last], ""));
}

async function set({ words, flags, json, out, client }: VerbRequest): Promise<void> {
  const [path = ""] = words;
  const { generation } = flags;
  const expected =
    typeof generation === "string"
      ? idOf("--generation", generation, "a number that policy show tells")
      : undefined;
  const policy = {
    text: textOf("file", path),
    label: path,
    directory: dirname(resolve(path)),
    keepOpen: flags["keep-open"] === true,
  };
  const asked = await client();
  const isTrial = flags["dry-run"] === true;
  const change = isTrial ? await asked.checkPolicy(policy) : await asked.setPolicy(policy, expected);
  out(json ? jsonLine(change) : changeText(change, isTrial));
}

function changeText(
  { generation, added, removed, kept, tests, warnings }: PolicyChangeResource,
  isTrial: boolean,
) {
  const rules = (n: number): string => `${n} rule${n === 1 ? "" : "s"}`;
  const what = `${rules(added.length)} added, ${removed.length} removed, ${kept} kept; ${tests} tests passed`;
  const changed = [...added.map((name) => `  + ${name}\n`), ...removed.map((name) => `  - ${name}\n`)];
  const head = isTrial ? `would change: ${what}` : `generation ${generation}: ${what}`;
  return `${warnings.map((warning) => `${printable(warning)}\n`).join("")}${head}\n${changed.map(printableLine).join("")}`;
}

function printableLine(text: string): string {
  return `${printable(text.trimEnd())}\n`;
}

/** The rule that is meant. Throws a VerbError. */
function ruleOf(place: string, [id = ""]: readonly string[]): number {
  return idOf(place, id, "an id that sluice policy show tells");
}

async function rm({ words, json, out, client }: VerbRequest): Promise<void> {
  const id = ruleOf("policy rm", words);
  await (await client()).removeRule(id);
  if (json) out(jsonLine({ removed: id }));
}

async function resetBudget({ words, json, out, client }: VerbRequest): Promise<void> {
  const id = ruleOf("policy reset-budget", words);
  await (await client()).resetBudget(id);
  if (json) out(jsonLine({ reset: id }));
}

interface Source {
  readonly wanted: readonly Wanted[];
  /** The policy that denied it, where that is known. */
  readonly policy: PolicyConfig | null;
}

async function suggestPolicy({ flags, json, out, client }: VerbRequest): Promise<void> {
  const { from } = flags;
  const { wanted, policy } = typeof from === "string" ? sourceOf(from) : await running(client);
  const suggestions = suggest(wanted);
  out(json ? jsonLine(suggestions) : suggestionText(suggestions, policy));
}

async function running(client: VerbRequest["client"]): Promise<Source> {
  const asked = await client();
  const { text } = await asked.policy();
  return { wanted: await asked.policyDenials(), policy: configOf(text) };
}

function sourceOf(from: string): Source {
  if (from !== "last") return { wanted: deniedInFlowLog(textOf("--from", from)), policy: null };
  const last = lastRun(process.env);
  if (last === undefined) {
    throw new VerbError({
      place: "--from",
      found: "last",
      allowed: "a flow log: no run that has ended here was denied anything",
    });
  }
  return { wanted: last.denials, policy: configOf(last.policy) };
}

/** A policy as an instance tells it, its passwords hidden as they will be in what is made of it. */
function configOf(text: string): PolicyConfig | null {
  const source = { label: "policy", text, directory: null };
  const input = { flags: [], source, fallback: undefined, audit: false, hidden: () => HIDDEN };
  return readPolicy(input, [])?.config ?? null;
}

const RUNS: Readonly<Record<PolicyVerbName, (request: VerbRequest) => Promise<void>>> = {
  show,
  set,
  rm,
  "reset-budget": resetBudget,
  suggest: suggestPolicy,
};

/** Runs `sluice policy NAME ARGV`. Returns the exit status. */
export function runPolicyVerb(name: PolicyVerbName, argv: readonly string[]): Promise<number> {
  return runDescribed(`policy ${name}`, POLICY_VERBS[name], RUNS[name], argv);
}
