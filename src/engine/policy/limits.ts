/**
 * What flows of a rule may take together: octets a second each way (a token bucket), octets in all, connections at a time
 * and how many flows begin in a second. By rule number, and by flow id the rule it counts for.
 */
import type { GuestLimit, PolicyConfig, PolicyLimit } from "../config.ts";
import { dropReason } from "../metrics/drop-reasons.ts";
import { NO_RULE } from "./rule-set.ts";

const BUDGET = dropReason("policy-budget");
const CONNECTIONS = dropReason("policy-connections");
const NEW_RATE = dropReason("policy-new-rate");

/** Directions. */
export const FROM_GUEST = 0;
export const TO_GUEST = 1;
/** The rule of a flow that counts for none. */
const UNLIMITED = -1;

/** What may be saved up: a twentieth of a second, and a large read. */
const BURST_MS = 50;
const BURST_OCTETS_MIN = 65_536;
/** Less is not worth waking anybody for, unless the rate is slow. */
const QUANTUM_MS = 5;
const QUANTUM_OCTETS_MIN = 1460;

/** Tokens that come by and by. */
class Bucket {
  tokens: number;
  private filledAt = 0;

  constructor(
    readonly perSecond: number,
    private readonly most: number,
  ) {
    this.tokens = most;
  }

  fill(nowMs: number): void {
    this.tokens = Math.min(this.most, this.tokens + ((nowMs - this.filledAt) * this.perSecond) / 1000);
    this.filledAt = nowMs;
  }

  /** Takes one whole token. False when there is none. */
  takeOne(nowMs: number): boolean {
    this.fill(nowMs);
    if (this.tokens < 1) return false;
    this.tokens--;
    return true;
  }
}

function countBucket(perSecond: number | undefined): Bucket | null {
  return perSecond === undefined ? null : new Bucket(perSecond, perSecond);
}

/** The limits of one rule, and what has been used of them. */
export class RuleLimit {
  /** One each way, or none. */
  readonly rate: readonly Bucket[];
  readonly quantum: number;
  /** Octets that are left of the budget. */
  left: number;
  open = 0;
  /** How long flows have waited for the rate, together. */
  waitedMs = 0;
  /** What a flow may take at a time while others wait, each way. */
  readonly share = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  private readonly fresh: Bucket | null;

  constructor(readonly limit: PolicyLimit) {
    const { rate, bytes, newFlows } = limit;
    const burst = Math.max(((rate ?? 0) * BURST_MS) / 1000, BURST_OCTETS_MIN);
    this.rate = rate === undefined ? [] : [new Bucket(rate, burst), new Bucket(rate, burst)];
    this.quantum = Math.min(
      Math.max(((rate ?? 0) * QUANTUM_MS) / 1000, QUANTUM_OCTETS_MIN),
      BURST_OCTETS_MIN,
    );
    this.left = bytes ?? Number.POSITIVE_INFINITY;
    this.fresh = countBucket(newFlows);
  }

  /** Octets that may pass now. */
  allowance(direction: number, nowMs: number): number {
    const bucket = this.rate[direction];
    if (bucket === undefined) return this.left;
    bucket.fill(nowMs);
    return Math.floor(Math.min(bucket.tokens, this.share[direction], this.left));
  }

  /** The budget is there anew. False where there is none. */
  resetBudget(): boolean {
    const { bytes } = this.limit;
    if (bytes === undefined) return false;
    this.left = bytes;
    return true;
  }

  take(direction: number, octets: number): void {
    const bucket = this.rate[direction];
    if (bucket !== undefined) bucket.tokens -= octets;
    this.left -= octets;
  }

  /** Milliseconds until a flow that waits is worth waking; 0: now. */
  waitMs(direction: number, nowMs: number): number {
    const bucket = this.rate[direction];
    if (bucket === undefined || this.left <= 0) return 0;
    bucket.fill(nowMs);
    const missing = Math.min(this.quantum, this.left) - bucket.tokens;
    return missing <= 0 ? 0 : Math.max(1, Math.ceil((missing * 1000) / bucket.perSecond));
  }

  /** Whether there is room for one more connection: 0, or the drop reason that says why not. */
  room(isTcp: boolean): number {
    if (this.left <= 0) return BUDGET;
    const { connections } = this.limit;
    return isTcp && connections !== undefined && this.open >= connections ? CONNECTIONS : 0;
  }

  /** Whether another flow may begin: 0, or the drop reason that says why not. */
  admit(isTcp: boolean, nowMs: number): number {
    const reason = this.room(isTcp);
    if (reason !== 0) return reason;
    return this.fresh === null || this.fresh.takeOne(nowMs) ? 0 : NEW_RATE;
  }
}

export class Limits {
  /** By rule; null: none. */
  private rules: (RuleLimit | null)[] = [];
  private guestNew: Bucket | null = null;
  private questions: Bucket | null = null;
  /** By flow id: the rule it counts for. Made when the first rule has a limit. */
  private ruleByFlow: Int16Array | null = null;
  /** Rules whose budget has been used up, and whose flows have yet to be told. */
  spent = false;

  constructor(
    config: PolicyConfig,
    private readonly maxFlows: number,
  ) {
    this.setGuest(config);
    this.take(config, []);
  }

  /** Nothing is limited. */
  get isNone(): boolean {
    return this.ruleByFlow === null;
  }

  private setGuest({ limit, audit }: PolicyConfig): void {
    const { newFlows, questions }: GuestLimit = audit ? {} : (limit ?? {});
    this.guestNew = countBucket(newFlows);
    this.questions = countBucket(questions);
  }

  /** Nothing is held back under audit. */
  private take(config: PolicyConfig, before: readonly number[]): void {
    const old = this.rules;
    this.rules = config.rules.map(({ limit }, i) => {
      if (limit === undefined || config.audit) return null;
      const kept = before[i] === undefined || before[i] < 0 ? null : old[before[i]];
      return kept ?? new RuleLimit(limit);
    });
    if (this.ruleByFlow === null && this.rules.some((rule) => rule !== null)) {
      this.ruleByFlow = new Int16Array(this.maxFlows).fill(UNLIMITED);
    }
  }

  /**
   * Another policy: `before` says for each rule which one it was, or -1. What was used of a rule that stays is used. Flows whose
   * limits are others now count for no rule, until somebody says which one it is.
   */
  replace(config: PolicyConfig, before: readonly number[]): void {
    const old = this.rules;
    this.setGuest(config);
    this.take(config, before);
    const { ruleByFlow } = this;
    if (ruleByFlow === null) return;
    for (let flow = 0; flow < ruleByFlow.length; flow++) {
      const rule = ruleByFlow[flow];
      if (rule === UNLIMITED) continue;
      const next = before.indexOf(rule);
      ruleByFlow[flow] = next >= 0 && this.rules[next] === old[rule] ? next : UNLIMITED;
    }
  }

  /** The limits of a rule, or null. */
  ofRule(rule: number): RuleLimit | null {
    return rule === NO_RULE || rule < 0 ? null : (this.rules[rule] ?? null);
  }

  /** The limits a flow counts for, or null. */
  ofFlow(flow: number): RuleLimit | null {
    return this.ruleByFlow === null ? null : this.ofRule(this.ruleByFlow[flow]);
  }

  /** The rule of a flow that `ofFlow` has limits of. */
  ruleOf(flow: number): number {
    return this.ruleByFlow === null ? NO_RULE : this.ruleByFlow[flow];
  }

  /** Flow `flow`, which has no socket yet, counts for this rule. */
  bind(flow: number, rule: number): void {
    if (this.ruleByFlow !== null) this.ruleByFlow[flow] = rule === NO_RULE ? UNLIMITED : rule;
  }

  /** It has shown a name, and counts for another rule: 0, or the drop reason that says why it may not. */
  rebind(flow: number, rule: number, nowMs: number): number {
    if (this.ruleByFlow === null) return 0;
    const old = this.ofFlow(flow);
    const next = this.ofRule(rule);
    if (old === next) return 0;
    const reason = next?.admit(true, nowMs) ?? 0;
    if (reason !== 0) return reason;
    if (old !== null) old.open--;
    if (next !== null) next.open++;
    this.bind(flow, rule);
    return 0;
  }

  /** Whether another flow of the rule may begin: 0, or the drop reason that says why not. */
  admit(rule: number, isTcp: boolean, nowMs: number): number {
    if (this.guestNew !== null && !this.guestNew.takeOne(nowMs)) return NEW_RATE;
    return this.ofRule(rule)?.admit(isTcp, nowMs) ?? 0;
  }

  /** Whether the guest may ask another question. */
  mayAsk(nowMs: number): boolean {
    return this.questions === null || this.questions.takeOne(nowMs);
  }
}
