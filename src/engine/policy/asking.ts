/** Flows that a rule lets through once somebody has said yes: what is asked, and what comes of the answers. */

import type { PolicyConfig } from "../config.ts";
import { dropReason } from "../metrics/drop-reasons.ts";
import { CHECK, GO, reasonOf, refuse, ticketOf } from "../network/destinations.ts";
import type { Denials, FlowInHand } from "./denials.ts";
import type { Name } from "./name.ts";
import { type AskedFlow, type QuestionEnd, type QuestionRow, Questions } from "./questions.ts";
import type { RuleCounts } from "./rule-counts.ts";
import { NO_RULE, type RuleSet } from "./rule-set.ts";

const HOOK_FAILED = dropReason("policy-hook-failed");
/** How long a flow waits for an answer, where its rule does not say. */
const WITHIN_MS = 60_000;

/** The policy whose rules ask, with the flow in hand. */
export interface AskingPolicy {
  readonly config: PolicyConfig;
  readonly rules: RuleSet;
  readonly counts: RuleCounts;
  readonly denials: Denials;
  readonly flow: FlowInHand;
  /** The one that decided last, or NO_RULE. */
  readonly rule: number;
  readonly byName: boolean;
  readonly pinnedName: Name;
  /** The name that was shown last. */
  readonly name: Name;
  uptimeMs(): number;
}

export class Asking {
  readonly questions: Questions;
  /** Somebody is there who answers questions. */
  isAttended = false;
  /** Of a program that decides before people do: told of each question that it need not answer any more. Null without one. */
  over: ((id: number, end: QuestionEnd) => void) | null = null;
  /** Of the flow in hand: one for all, since every SYN may be asked about. */
  private readonly terms = { rule: 0, withinMs: 0, canBeUnattended: true, verdict: GO, canWait: true };
  /** Told of each question; and has the flows under its ticket go on or end, and says how many they were. */
  asked: (row: QuestionRow) => void = () => {};
  decide: (ticket: number, isAllowed: boolean, reason: number) => number = () => 0;
  /** Whether flows wait under this ticket. */
  waits: (ticket: number) => boolean = () => false;

  constructor(private readonly policy: AskingPolicy) {
    this.questions = new Questions({
      uptimeMs: () => policy.uptimeMs(),
      decided: (asked, ticket, isAllowed, reason) =>
        this.answered(asked, this.decide(ticket, isAllowed, reason), isAllowed, reason),
      opened: (row) => this.asked(row),
      nameOfRule: (rule) => policy.config.rules[rule]?.name ?? "",
      isAttended: () => this.isAttended,
      hasProgram: () => this.over !== null,
      over: (id, end) => this.over?.(id, end),
      waits: (ticket) => this.waits(ticket),
    });
  }

  /** The program leaves it to people; as `Questions.leave`. */
  leave(id: number): boolean {
    return this.questions.leave(id, this.policy.config.refuseUnattended !== true);
  }

  /** So many flows waited for an answer. */
  private answered(
    { flow, name, rule, verdict }: AskedFlow,
    count: number,
    isAllowed: boolean,
    reason: number,
  ): void {
    const { counts, denials } = this.policy;
    for (let i = 0; i < count; i++) {
      if (!isAllowed) counts.deny(rule < 0 ? NO_RULE : rule);
      else if (verdict === GO) counts.allow(rule < 0 ? NO_RULE : rule);
    }
    if (isAllowed) return;
    for (let i = 0; i < Math.max(count, 1); i++) denials.note(flow, name, reason, rule);
  }

  /** Whether the rule that decided last asks. */
  private get isAsking(): boolean {
    const { config, rules, rule } = this.policy;
    return !config.audit && rules.asks(rule);
  }

  /** The name that the flow in hand is asked about by; null: by its address. */
  private get subject(): Name | null {
    const { byName, pinnedName } = this.policy;
    return byName ? pinnedName : null;
  }

  /** A connection that is let through with this verdict. A program that takes its time cannot be asked beside a person. */
  about(verdict: number): number {
    if (!this.isAsking) return verdict;
    if (verdict === GO || verdict === CHECK) {
      const answer = this.question(verdict, this.subject, true);
      if (answer === GO) this.policy.counts.allow(this.policy.rule);
      return answer;
    }
    return ticketOf(verdict) < 0 ? verdict : this.deny(HOOK_FAILED, this.subject);
  }

  /** A datagram that is let through with this verdict: it does not wait, and one after the answer goes. */
  aboutDatagram(verdict: number): number {
    if (!this.isAsking) return verdict;
    const answer = this.question(GO, this.subject, false);
    return answer === GO ? verdict : answer;
  }

  /**
   * A rule lets on the name that was shown. Who waited for an answer has had it; another name than the one that was asked
   * about is refused until somebody has said yes to it, too. Returns HANDLED (0) or the reason.
   */
  aboutShown(): number {
    if (!this.isAsking) return 0;
    const verdict = this.question(GO, this.policy.name, false);
    return verdict === GO ? 0 : reasonOf(verdict);
  }

  /** What becomes of the flow in hand, whose rule asks. `canWait`: until somebody has answered. */
  private question(verdict: number, name: Name | null, canWait: boolean): number {
    const { config, flow, rule } = this.policy;
    const { terms } = this;
    terms.rule = rule;
    terms.withinMs = config.rules[rule].withinMs ?? WITHIN_MS;
    terms.canBeUnattended = config.refuseUnattended !== true;
    terms.verdict = verdict;
    terms.canWait = canWait;
    const answer = this.questions.ask(flow, name, terms);
    if (answer === GO || answer === CHECK || ticketOf(answer) >= 0) return answer;
    return this.deny(reasonOf(answer), name);
  }

  private deny(reason: number, name: Name | null): number {
    const { counts, denials, flow, rule } = this.policy;
    counts.deny(rule);
    denials.note(flow, name, reason, rule);
    return refuse(reason);
  }
}
