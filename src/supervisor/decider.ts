/**
 * The program that decides about questions before people do: asked once about each that opens, at most 64 at a time. What it
 * says is checked here; what it does not say in time, or wrongly, denies. It runs in this process and never in a turn of the
 * engine: whatever the engine tells is acted on a little later.
 */
import { inspect } from "node:util";
import type { z } from "zod";
import { formatTargetEnd } from "../control/end-text.ts";
import { printable } from "../control/printable.ts";
import type { AnsweredQuestion } from "../control/records.ts";
import { type Decision, decisionSchema, type Question } from "../control/schema.ts";
import type { Logger } from "../engine/boundary.ts";
import type { PolicyConfig } from "../engine/config.ts";
import { QUESTIONS_OPEN_MAX } from "../engine/limits.ts";
import type { QuestionEnd } from "../engine/policy/questions.ts";

/**
 * Decides about what a policy's rules `ask`, before people do. Called once for each question, which stands for all flows to one
 * target, with at most 64 under way at a time; never per packet. `undefined` leaves it to people. What throws, rejects, is
 * no decision or takes longer than the rule's `within` denies. The signal aborts when the answer does not count any more: nobody
 * waits for it, the time has passed, the policy is another one, or the engine ends.
 *
 * @example
 * ```ts
 * import { createEngine, type Decide, type PolicyDocument } from "sluice";
 *
 * const decide: Decide = ({ host, port }) => {
 *   if (host.endsWith(".example.com") && port === 443) return { verdict: "allow", for: 600 };
 *   if (host === "telemetry.example.net") return { verdict: "deny", for: "always", reason: "no telemetry" };
 *   return undefined; // people decide
 * };
 * const policy: PolicyDocument = { version: 1, rules: [{ ask: "*", within: "30s" }] };
 * const engine = await createEngine({ qemuListen: "unix:/tmp/vm.sock", policy, decide });
 * await engine.stop();
 * ```
 */
export type Decide = (
  question: Question,
  signal: AbortSignal,
) => Decision | undefined | Promise<Decision | undefined>;

/** What is wrong with a program: each is told once. */
type Failure = "throws" | "wrong" | "late";

/** What the engine is to do about a question. */
export interface ProgramAnswer {
  readonly allow: boolean;
  /** As the engine has it: 0 for those that wait, null until the end. */
  readonly forMs: number | null;
  /** The program failed. */
  readonly failed: boolean;
}

export interface DeciderParts {
  /** Resolves with whether it counts; never rejects. */
  readonly answer: (id: number, answer: ProgramAnswer) => Promise<boolean>;
  /** Gives it to people. Resolves with whether it waits for them; never rejects. */
  readonly leave: (id: number) => Promise<boolean>;
  /** People have it now. */
  readonly left: (question: Question) => void;
  /** The program's answer counts. */
  readonly answered: (answered: AnsweredQuestion) => void;
  readonly log: Logger;
}

const SECOND_MS = 1000;
/** Characters of what a program says or throws that are told. */
const SHOWN_MAX = 200;

export class Decider {
  private readonly calls = new Map<number, AbortController>();
  private readonly told = new Set<Failure>();
  private isOver = false;

  constructor(
    private readonly decide: Decide,
    private readonly parts: DeciderParts,
  ) {}

  /** A question opened, of a number that an earlier one may have had. */
  readonly asked = (question: Question): void => {
    if (this.isOver) return;
    this.drop(question.id);
    // Of so many the engine has ended the first, and we have not heard of it yet.
    const [first] = this.calls.keys();
    if (this.calls.size >= QUESTIONS_OPEN_MAX && first !== undefined) this.drop(first);
    const call = new AbortController();
    this.calls.set(question.id, call);
    void this.ask(question, call);
  };

  /** Its answer counts no more. */
  readonly over = (id: number, end: QuestionEnd): void => {
    if (this.drop(id) && end === "late") this.failed("late", "did not answer within the time of the rule");
  };

  /** Whether the program has it, so that people have not. */
  readonly holds = (id: number): boolean => this.calls.has(id);

  private drop(id: number): boolean {
    const call = this.calls.get(id);
    this.calls.delete(id);
    // Whoever listens is not to be called from within a turn of the engine.
    if (call !== undefined) queueMicrotask(() => call.abort());
    return call !== undefined;
  }

  private async ask(question: Question, call: AbortController): Promise<void> {
    await null;
    if (!this.counts(question.id, call)) return;
    const said = await this.said(question, call);
    // From now on it is nobody's to abort.
    if (!this.counts(question.id, call)) return;
    this.calls.delete(question.id);
    if (said === undefined) await this.leave(question);
    else await this.answer(question, said);
  }

  private counts(id: number, call: AbortController): boolean {
    return this.calls.get(id) === call;
  }

  /** What the program says: undefined leaves it to people, null is a failure. */
  private async said(question: Question, call: AbortController): Promise<Said | null | undefined> {
    try {
      const said: unknown = await this.decide({ ...question }, call.signal);
      if (said === undefined) return undefined;
      const parsed = decisionSchema.safeParse(said);
      if (parsed.success) return parsed.data;
      if (this.counts(question.id, call)) this.failed("wrong", `${found(said)}; allowed: ${ALLOWED}`);
    } catch (error) {
      // What comes late, such as the abort itself thrown on, concerns nobody.
      if (this.counts(question.id, call)) this.failed("throws", messageOf(error));
    }
    return null;
  }

  private async leave(question: Question): Promise<void> {
    if (await this.parts.leave(question.id)) this.parts.left(question);
  }

  private async answer(question: Question, said: Said | null): Promise<void> {
    const { id, host, port, protocol, rule } = question;
    const { verdict, for: lasts, reason } = inFull(said);
    const forMs = lasts === "always" ? null : lasts === "once" ? 0 : lasts * SECOND_MS;
    const failed = said === null;
    if (!(await this.parts.answer(id, { allow: verdict === "allow", forMs, failed }))) return;
    const what = `${formatTargetEnd(question)} is ${verdict === "allow" ? "allowed" : "denied"}`;
    const why = reason === undefined ? "" : `: ${printable(reason)}`;
    if (!failed) this.parts.log.info(`${what} by the program that decides${why}`);
    this.parts.answered({ id, host, port, protocol, rule, verdict, by: "program", reason: reason ?? null });
  }

  private failed(failure: Failure, what: string): void {
    if (this.told.has(failure)) return;
    this.told.add(failure);
    this.parts.log.error(
      `the program that decides ${FAILED[failure]} ${what}; what it was asked about is denied (said once)`,
    );
  }

  /** The engine ends. */
  close(): void {
    this.isOver = true;
    for (const id of [...this.calls.keys()]) this.drop(id);
  }
}

/** Said at the start, of a policy by which nothing is asked; undefined where something may be. */
export function whyUnasked({ audit, rules }: PolicyConfig): string | undefined {
  if (audit) return "under audit nothing is asked, so that nothing is to be decided";
  if (rules.some(({ verdict }) => verdict === "ask")) return undefined;
  return "no rule of the policy asks, so that nothing is to be decided until one does";
}

type Said = z.output<typeof decisionSchema>;

const ALLOWED =
  '"allow", "deny", undefined, or { verdict: "allow" or "deny", for: "once", "always" or seconds, reason: a text }';

const FAILED: Readonly<Record<Failure, string>> = {
  throws: "failed:",
  wrong: "says what is no decision: found",
  late: "is late: it",
};

function inFull(said: Said | null): Exclude<Said, string> {
  return said === null
    ? { verdict: "deny", for: "once" }
    : typeof said === "string"
      ? { verdict: said, for: "once" }
      : said;
}

/** Of whatever it is, one short line. */
function found(value: unknown): string {
  return shown(inspect(value, { depth: 1, breakLength: Number.POSITIVE_INFINITY }));
}

function messageOf(error: unknown): string {
  return shown(error instanceof Error ? `${error.name}: ${error.message}` : inspect(error, { depth: 1 }));
}

function shown(text: string): string {
  return printable(text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}...` : text);
}
