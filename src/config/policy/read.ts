/**
 * A policy from all that says something about it: flags first, in the order of the command line, then the file. Everything
 * wrong is told at once; its tests are run, and one that fails refuses it.
 */
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import {
  type PolicyConfig,
  type PolicyRule,
  type PolicyTarget,
  type PolicyWay,
  STAND_INS,
} from "../../engine/config.ts";
import { POLICY_TARGETS_MAX } from "../../engine/limits.ts";
import { OfflinePolicy, type OfflineVerdict } from "../../engine/policy/offline.ts";
import { hideLogin } from "../hidden-login.ts";
import { type Problem, Unacceptable } from "../problem.ts";
import { type Place, type PolicySource, readDocument } from "./document.ts";
import { PIN_GRACE_MS, parseDuration } from "./duration.ts";
import { parseFlow } from "./flow.ts";
import { guestLimitOf, limitOf } from "./limit.ts";
import { type PolicyDocument, RULE_KEYS, type RuleDocument } from "./schema.ts";
import { parseTarget, type Verdict } from "./target.ts";
import { policyWarnings } from "./warnings.ts";
import { type HiddenPassword, parseStandIns, parseVia, wayOfRule } from "./way.ts";

/** A rule of the command line. */
export interface FlagRule {
  readonly verdict: Verdict;
  readonly text: string;
  /** For messages, such as `--allow`. */
  readonly place: string;
}

export interface PolicyInput {
  readonly flags: readonly FlagRule[];
  readonly source: PolicySource | undefined;
  readonly fallback: "deny" | "allow" | "ask" | undefined;
  readonly audit: boolean;
  /** The proxy of the command line. */
  readonly via?: PolicyWay | undefined;
  /** What passwords are that the source only shows as hidden; by default none is known. */
  readonly hidden?: HiddenPassword;
}

export interface ReadPolicy {
  readonly config: PolicyConfig;
  readonly warnings: readonly string[];
  /** Tests that were run. */
  readonly tests: number;
}

const VERDICTS = ["allow", "deny", "ask"] as const;
/** No guest's SYN lives much longer. */
const WITHIN_MAX_MS = 120_000;
/** Of a list of targets, octets. */
const LIST_OCTETS_MAX = 4_194_304;

/** Reads it. With problems the result is undefined. */
export function readPolicy(input: PolicyInput, problems: Problem[]): ReadPolicy | undefined {
  const before = problems.length;
  const read = input.source === undefined ? undefined : readDocument(input.source, problems);
  const { label, directory = dirname(label) } = input.source ?? { label: "" };
  const collect = new Rules(problems, label, directory, input.hidden);
  for (const flag of input.flags) collect.addFlag(flag);
  const document: PolicyDocument = read?.document ?? { version: 1 };
  const place: Place = read?.place ?? (() => "policy");
  document.rules?.forEach((rule, i) => {
    collect.addRule(rule, i, place);
  });
  if (read !== undefined && read.document === undefined) collect.lookAt(read.value, place);
  collect.finish();
  if (problems.length > before) {
    sortByPlace(problems);
    return undefined;
  }
  const parseProxy = (text: string): PolicyWay => parseVia(text, input.hidden);
  const via = optional(document.via, parseProxy, place(["via"]), problems);
  const standIns =
    optional(document["stand-ins"], parseStandIns, place(["stand-ins"]), problems) ?? STAND_INS;
  if (problems.length > before) return undefined;
  const config = configOf(input, document, collect.rules, { way: input.via ?? via, standIns });
  const tests = document.tests ?? [];
  runTests(config, tests, place, problems);
  if (problems.length > before) return undefined;
  const warnings = policyWarnings(config, (rule, target) => collect.placeOf(rule, target));
  return { config, warnings, tests: tests.length };
}

/** A part that need not be there, read by `parse`. */
function optional<T>(
  text: string | undefined,
  parse: (text: string) => T,
  place: string,
  problems: Problem[],
): T | undefined {
  if (text === undefined) return undefined;
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof Unacceptable)) throw error;
    problems.push({ place, found: hideLogin(text), allowed: error.allowed });
    return undefined;
  }
}

function configOf(
  input: PolicyInput,
  document: PolicyDocument,
  rules: readonly PolicyRule[],
  { way, standIns }: { way: PolicyWay | undefined; standIns: PolicyConfig["standIns"] },
): PolicyConfig {
  const { message, "pin-grace": pinGrace } = document;
  const limit = guestLimitOf(document);
  // Rules that only deny leave the rest open, and so does a proxy alone.
  const hasOnlyDenials =
    (rules.length > 0 || way !== undefined) && rules.every(({ verdict }) => verdict === "deny");
  const fallback = input.fallback ?? document.default ?? (hasOnlyDenials ? "allow" : "deny");
  return {
    default: fallback === "ask" ? "deny" : fallback,
    audit: input.audit || document.mode === "audit",
    rules: fallback === "ask" ? [...rules, ...ASK_ABOUT_ALL] : rules,
    answers: document.answers ?? "nxdomain",
    refuseEch: document.ech === "refuse",
    pinGraceMs: pinGrace === undefined ? PIN_GRACE_MS : parseDuration(pinGrace),
    standIns,
    ...(way === undefined ? {} : { way }),
    ...(limit === undefined ? {} : { limit }),
    ...(message === undefined ? {} : { message }),
    ...(document.unattended === "deny" ? { refuseUnattended: true } : {}),
  };
}

/** What a default of ask comes to: about the name where one leads there. */
const ASK_ABOUT_ALL = [["*:1-65535", "*:1-65535/udp"], ["@any"]].map(
  (texts): PolicyRule => ({
    verdict: "ask",
    name: "default",
    targets: texts.map((text) => parseTarget(text, "ask")),
    private: false,
  }),
);

/** The rules, collected, with where each stands. */
class Rules {
  readonly rules: PolicyRule[] = [];
  private readonly places: ((target?: number) => string)[] = [];
  private targets = 0;

  constructor(
    private readonly problems: Problem[],
    private readonly label: string,
    /** Where lists of targets lie, or null. */
    private readonly directory: string | null,
    private readonly hidden: HiddenPassword | undefined,
  ) {}

  placeOf(rule: number, target?: number): string {
    return this.places[rule]?.(target) ?? "policy";
  }

  addFlag({ verdict, text, place }: FlagRule): void {
    const target = this.target(text, verdict, place);
    this.places.push(() => place);
    if (target !== undefined)
      this.add({ verdict, name: `${place} ${text}`, targets: [target], private: false });
  }

  addRule(rule: RuleDocument, index: number, place: Place): void {
    const at = ["rules", index];
    const [verdict, ...others] = VERDICTS.filter((each) => rule[each] !== undefined);
    const said = verdict === undefined ? undefined : rule[verdict];
    if (verdict === undefined || said === undefined || others.length > 0) {
      this.notEither(place(at));
      return;
    }
    for (const key of ["private", "check"] as const) {
      if (verdict === "deny" && rule[key] !== undefined) {
        this.problems.push({ place: place([...at, key], key), allowed: `${key} only with allow and ask` });
      }
    }
    const withinMs = this.within(rule, verdict, place([...at, "within"], "within"));
    const texts =
      typeof said === "string"
        ? [said]
        : "file" in said
          ? this.readList(said.file, place([...at, verdict, "file"]))
          : said;
    const isList = Array.isArray(said);
    const placeOf = (target?: number): string =>
      target === undefined ? place(at) : place(isList ? [...at, verdict, target] : [...at, verdict]);
    const targets = texts.flatMap((text, i) => {
      const target = this.target(text, verdict, placeOf(i));
      return target === undefined ? [] : [target];
    });
    this.places.push(placeOf);
    const reject = (key: string, allowed: string, found?: string): void => {
      const what = found === undefined ? {} : { found };
      this.problems.push({ place: place([...at, key], key), ...what, allowed });
    };
    const way = wayOfRule(rule, reject, this.hidden);
    if (way !== undefined) this.rejectUdp(targets, placeOf);
    const { check, message } = rule;
    const limit = limitOf(rule);
    if (verdict === "deny" && limit !== undefined) {
      this.problems.push({ place: place([...at, "limit"], "limit"), allowed: "limit only with allow" });
    }
    this.add({
      verdict,
      name: rule.name ?? `rule-${index + 1}`,
      targets,
      private: rule.private ?? false,
      ...(check === undefined ? {} : { check }),
      ...(message === undefined ? {} : { message }),
      ...(withinMs === undefined ? {} : { withinMs }),
      ...(way === undefined ? {} : { way }),
      ...(limit === undefined ? {} : { limit }),
    });
  }

  /** Ways out carry TCP. An address without ports is all of TCP and UDP, and its UDP is refused. */
  private rejectUdp(targets: readonly PolicyTarget[], placeOf: (target: number) => string): void {
    targets.forEach(({ tcp }, i) => {
      if (!tcp) this.problems.push({ place: placeOf(i), allowed: "TCP: to and via carry no UDP" });
    });
  }

  private within({ within }: RuleDocument, verdict: Verdict, place: string): number | undefined {
    if (within === undefined) return undefined;
    const ms = parseDuration(within);
    if (verdict !== "ask") this.problems.push({ place, allowed: "within only with ask" });
    if (ms < 1000 || ms > WITHIN_MAX_MS) {
      this.problems.push({ place, found: within, allowed: "a time from 1s to 120s" });
    }
    return ms;
  }

  private notEither(place: string): void {
    this.problems.push({ place, allowed: "one of allow, deny and ask" });
  }

  /** The targets of a document whose form is wrong elsewhere: what is wrong with them is told as well. */
  lookAt(value: unknown, place: Place): void {
    const { rules } = (value ?? {}) as { rules?: unknown };
    if (!Array.isArray(rules)) return;
    rules.forEach((rule: unknown, i) => {
      const keys = Object.keys((rule ?? {}) as object);
      const isKnown = keys.every((key) => RULE_KEYS.some((known) => known === key));
      const verdicts = VERDICTS.filter((verdict) => keys.includes(verdict));
      if (isKnown && verdicts.length !== 1) this.notEither(place(["rules", i]));
      for (const verdict of verdicts) {
        const said = ((rule ?? {}) as Record<string, unknown>)[verdict];
        const texts: unknown[] = Array.isArray(said) ? said : [said];
        texts.forEach((text, at) => {
          const path = ["rules", i, verdict];
          if (typeof text === "string")
            this.target(text, verdict, place(Array.isArray(said) ? [...path, at] : path));
        });
      }
    });
  }

  private add(rule: PolicyRule): void {
    this.rules.push(rule);
    this.targets += rule.targets.length;
  }

  finish(): void {
    if (this.targets > POLICY_TARGETS_MAX) {
      this.problems.push({
        place: this.label === "" ? "policy" : this.label,
        found: `${this.targets} targets`,
        allowed: `at most ${POLICY_TARGETS_MAX} in all`,
      });
    }
  }

  private target(text: string, verdict: Verdict, place: string): PolicyTarget | undefined {
    try {
      return parseTarget(text, verdict);
    } catch (error) {
      if (!(error instanceof Unacceptable)) throw error;
      this.problems.push({ place, found: text, allowed: error.allowed });
      return undefined;
    }
  }

  private readList(file: string, place: string): readonly string[] {
    if (this.directory === null) {
      this.problems.push({
        place,
        found: file,
        allowed: "the targets themselves, or the directory of their files",
      });
      return [];
    }
    try {
      const text = readFileSync(resolve(this.directory, file), "utf8");
      if (text.length > LIST_OCTETS_MAX) throw new Error(`${file} has more than ${LIST_OCTETS_MAX} octets`);
      return text
        .split("\n")
        .map((line) => line.replace(/#.*/, "").trim())
        .filter((line) => line !== "");
    } catch (error) {
      this.problems.push({
        place,
        found: file,
        allowed: `a file that can be read (${(error as Error).message})`,
      });
      return [];
    }
  }
}

/** In the order of the file's lines; what has no line comes first. */
function sortByPlace(problems: Problem[]): void {
  const at = ({ place }: Problem): number => {
    const [, line = "0", column = "0"] = /:(\d+):(\d+)(: |$)/.exec(place) ?? [];
    return Number(line) * 10_000 + Number(column);
  };
  problems.sort((a, b) => at(a) - at(b));
}

/** How a verdict is told: `allowed by rule packages`. */
export function describeVerdict(
  config: PolicyConfig,
  { allowed, asks, rule, reason }: OfflineVerdict,
): string {
  const by =
    rule < 0
      ? reason === "destination-refused"
        ? "always"
        : "by default"
      : `by rule ${config.rules[rule]?.name}`;
  return `${asks ? "asked about" : allowed ? "allowed" : "denied"} ${by}`;
}

function runTests(
  config: PolicyConfig,
  tests: NonNullable<PolicyDocument["tests"]>,
  place: Place,
  problems: Problem[],
): void {
  const policy = new OfflinePolicy(config);
  tests.forEach((test, i) => {
    try {
      const verdict = policy.judge(parseFlow(test.flow));
      const rule = verdict.rule < 0 ? "default" : config.rules[verdict.rule]?.name;
      const said = verdict.asks ? "asked" : verdict.allowed ? "allowed" : "denied";
      const isAsExpected = said === test.expect;
      if (isAsExpected && (test.rule === undefined || test.rule === rule)) return;
      const wanted = test.rule === undefined ? test.expect : `${test.expect} by rule ${test.rule}`;
      problems.push({
        place: place(["tests", i]),
        found: describeVerdict(config, verdict),
        allowed: `${wanted}, as it expects`,
      });
    } catch (error) {
      if (!(error instanceof Unacceptable)) throw error;
      problems.push({ place: place(["tests", i, "flow"]), found: test.flow, allowed: error.allowed });
    }
  });
}
