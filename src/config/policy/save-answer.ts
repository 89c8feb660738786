/** An answer to a question, kept: a rule in a policy's file, right in front of the one that asks. */
import { type Document, isNode, isSeq, parseDocument, stringify } from "yaml";
import { OfflinePolicy } from "../../engine/policy/offline.ts";
import type { Problem } from "../problem.ts";
import { parseFlow } from "./flow.ts";
import { describeVerdict, readPolicy } from "./read.ts";

/** What was asked about. */
export interface AskedTarget {
  /** A name or an address, IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
  readonly protocol: "tcp" | "udp";
}

export interface AnswerToSave {
  readonly target: AskedTarget;
  readonly verdict: "allow" | "deny";
  /** The policy's file, as it is called and as it is. */
  readonly label: string;
  readonly text: string;
}

/** What a rule that asks may say and one that allows says too. */
const KEPT = ["private", "check", "limit"] as const;

/**
 * The file's text with the answer in it, comments and all. Undefined, with problems, where the file is no policy, or one that does
 * not ask about this target.
 */
export function withAnswer(answer: AnswerToSave, problems: Problem[]): string | undefined {
  const { label, text, verdict } = answer;
  const read = readText(label, text, problems);
  if (read === undefined) return undefined;
  const policy = new OfflinePolicy(read.config);
  const texts = targetTexts(answer.target);
  const asked = texts.find((each) => policy.judge(parseFlow(each)).asks);
  if (asked === undefined) {
    const [first = ""] = texts;
    const found = `${first} ${describeVerdict(read.config, policy.judge(parseFlow(first)))}`;
    problems.push({ place: label, found, allowed: "a policy that asks about it" });
    return undefined;
  }
  const { rule } = policy.judge(parseFlow(asked));
  const next = edited(text, rule, (old) => newRule(old, verdict, asked));
  return readText(label, next, problems) === undefined ? undefined : next;
}

function readText(label: string, text: string, problems: Problem[]) {
  return readPolicy({ flags: [], source: { label, text }, fallback: undefined, audit: false }, problems);
}

/** As rules say it; of UDP that may have to be QUIC, both ways. */
function targetTexts({ host, port, protocol }: AskedTarget): string[] {
  const at = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  return protocol === "tcp" ? [at] : [`${at}/udp`, `${at}/quic`];
}

function newRule(
  old: Readonly<Record<string, unknown>>,
  verdict: "allow" | "deny",
  target: string,
): Record<string, unknown> {
  const kept = verdict === "deny" ? [] : KEPT.filter((key) => old[key] !== undefined);
  return { [verdict]: target, ...Object.fromEntries(kept.map((key) => [key, old[key]])) };
}

type MakeRule = (old: Readonly<Record<string, unknown>>) => Record<string, unknown>;

/** The text with a rule in front of number `index`, or at the end where it is the default that asks. */
function edited(text: string, index: number, make: MakeRule): string {
  const document = parseDocument(text);
  const rules = document.get("rules");
  if (!isSeq(rules)) {
    document.set("rules", [make({})]);
    return written(document, text);
  }
  const [old = {}] = (rules.toJS(document) as Record<string, unknown>[]).slice(index, index + 1);
  const rule = make(old);
  const line = lineFor(text, rules.items, index);
  if (line !== undefined) {
    const lines = stringify([rule], { lineWidth: 0 }).replace(/^/gm, line.indent).trimEnd();
    const before = text.slice(0, line.at);
    return `${before}${before.endsWith("\n") ? "" : "\n"}${lines}\n${text.slice(line.at)}`;
  }
  rules.items.splice(Math.min(index, rules.items.length), 0, document.createNode(rule));
  return written(document, text);
}

/** Where a rule's lines go in a list that has one rule after the other, and how far in: the rest stays as it is, to the letter. */
function lineFor(
  text: string,
  items: readonly unknown[],
  index: number,
): { at: number; indent: string } | undefined {
  const item = items[Math.min(index, items.length - 1)];
  if (!isNode(item) || !item.range) return undefined;
  const [start, end] = item.range;
  let at = text.lastIndexOf("\n", start - 1) + 1;
  const [, indent] = /^( *)- +$/.exec(text.slice(at, start)) ?? [];
  if (indent === undefined) return undefined;
  if (index >= items.length) {
    const newline = text.indexOf("\n", text.slice(0, end).trimEnd().length);
    return { at: newline < 0 ? text.length : newline + 1, indent };
  }
  // What is said above a rule is about that.
  for (let above = at; above > 0; ) {
    above = text.lastIndexOf("\n", above - 2) + 1;
    if (!/^ *#/.test(text.slice(above, at))) break;
    at = above;
  }
  return { at, indent };
}

function written(document: Document, text: string): string {
  return isJson(text) ? `${JSON.stringify(document.toJS(), null, 2)}\n` : document.toString({ lineWidth: 0 });
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
