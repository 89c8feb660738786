/**
 * The policy as it changes: read and checked here, with this process's rights, swapped by the engine between two turns.
 * What is wrong changes nothing. One change at a time.
 */
import { dirname } from "node:path";
import type { ReadPolicy } from "../config/policy/read.ts";
import { type PolicyChange, Revisions } from "../config/policy/revision.ts";
import { formatTarget, parseTarget } from "../config/policy/target.ts";
import { formatProblem, type Problem } from "../config/problem.ts";
import { ControlRefusal, type LivePolicy, type PolicyOrder, type PolicyTally } from "../control/instance.ts";
import type { EngineRecord } from "../control/records.ts";
import type {
  Answer,
  PolicyChangeResource,
  PolicyDenial,
  PolicyResource,
  PolicyRuleResource,
  Question,
  RuleRequest,
} from "../control/schema.ts";
import { operatorSockets, type PolicyConfig, type PolicyRule } from "../engine/config.ts";
import { POLICY_RULES_MAX, POLICY_TARGETS_MAX } from "../engine/limits.ts";
import type { EngineCalls } from "./calls.ts";
import { isSocket } from "./own-socket.ts";
import { answeredRecord } from "./question-record.ts";
import { Turns } from "./turns.ts";

export interface PolicyParts {
  readonly calls: EngineCalls;
  /** The control socket, where there is one. */
  readonly controlPath: string | undefined;
  /** The engine sees only the directories of sockets that the policy named when it was started. */
  readonly isConfined: boolean;
  /** What the instance was started with. */
  readonly policy: PolicyConfig | null;
  readonly tell: (record: EngineRecord) => void;
  /** Whether the program that decides has this question, so that people have not; absent without one. */
  readonly isHeld?: ((question: number) => boolean) | undefined;
}

const SECOND_MS = 1000;

export class EnginePolicy implements LivePolicy {
  private readonly revisions: Revisions | null;
  /** Of rules that go by themselves: when, by id. */
  private readonly expiries = new Map<number, { readonly atMs: number; readonly timer: NodeJS.Timeout }>();
  private readonly turns = new Turns();

  constructor(private readonly parts: PolicyParts) {
    this.revisions = parts.policy && new Revisions(parts.policy);
  }

  /** As it holds now; null without one. */
  get config(): PolicyConfig | null {
    return this.revisions?.current.config ?? null;
  }

  private get kept(): Revisions {
    if (this.revisions !== null) return this.revisions;
    throw new ControlRefusal(
      409,
      "this instance was started without a policy; --policy-default allow starts one with a policy that allows everything",
    );
  }

  async show(): Promise<PolicyResource> {
    const { kept } = this;
    const counts = await this.parts.calls.call<"policy-counts">({ name: "policy-counts" });
    const { config, ids, generation } = kept.current;
    const { length } = config.rules;
    return {
      generation,
      default: config.default,
      mode: config.audit ? "audit" : "enforce",
      rules: config.rules.map((rule, i) =>
        this.resourceOf(rule, ids[i] ?? 0, counts.allowed[i] ?? 0, counts.denied[i] ?? 0),
      ),
      allowed: counts.allowed[length] ?? 0,
      denied: counts.denied[length] ?? 0,
      text: (await import("../config/policy/text.ts")).policyText(config),
    };
  }

  private resourceOf(rule: PolicyRule, id: number, allowed: number, denied: number): PolicyRuleResource {
    const { name, verdict, check = null, message = null } = rule;
    const expiry = this.expiries.get(id);
    return {
      id,
      name,
      verdict,
      targets: rule.targets.map((target) => formatTarget(target, verdict)),
      private: rule.private,
      check,
      message,
      expiresInMs: expiry === undefined ? null : Math.max(0, expiry.atMs - Date.now()),
      allowed,
      denied,
    };
  }

  async check(order: PolicyOrder): Promise<PolicyChangeResource> {
    const { kept } = this;
    const read = await this.read(order);
    return { ...described(kept.next(read.config), read), generation: kept.current.generation };
  }

  set(order: PolicyOrder, expected?: number): Promise<PolicyChangeResource> {
    return this.inTurn(expected, async () => {
      const read = await this.read(order);
      return described(await this.change(read.config, order.keepOpen), read);
    });
  }

  /** Reads a policy and sees that what it names can be reached. Throws a ControlRefusal with everything that is wrong. */
  private async read(order: PolicyOrder): Promise<ReadPolicy> {
    const read = await readOrder(order, this.kept.current.config);
    const { controlPath } = this.parts;
    const own = operatorSockets(read.config).find(
      (path) => controlPath !== undefined && isSocket(controlPath, path),
    );
    if (own !== undefined) {
      throw new ControlRefusal(409, `to: unix:${own} is the control socket, which the guest may not reach`);
    }
    if (!this.parts.isConfined) return read;
    const seen = new Set(operatorSockets(this.parts.policy).map((path) => dirname(path)));
    const hidden = operatorSockets(read.config).filter((path) => !seen.has(dirname(path)));
    if (hidden.length === 0) return read;
    throw new ControlRefusal(
      409,
      `to: unix:${hidden[0]}: the engine sees only the directories of sockets that its policy named when it was started`,
    );
  }

  addRule(request: RuleRequest, expected?: number): Promise<PolicyRuleResource> {
    return this.inTurn(expected, async () => {
      const { verdict, target } = request;
      const { config } = this.kept.current;
      const rule = { verdict, name: `sluice ${verdict} ${target}`, targets: [parseTarget(target, verdict)] };
      const whole = { ...rule, private: request.private };
      if (config.rules.length >= POLICY_RULES_MAX) {
        throw new ControlRefusal(409, `a policy has at most ${POLICY_RULES_MAX} rules`);
      }
      if (config.rules.reduce((sum, { targets }) => sum + targets.length, 1) > POLICY_TARGETS_MAX) {
        throw new ControlRefusal(409, `a policy has at most ${POLICY_TARGETS_MAX} targets`);
      }
      const { revision } = await this.change({ ...config, rules: [whole, ...config.rules] }, false);
      const [id = 0] = revision.ids;
      if (request.for !== undefined) this.expire(id, request.for * SECOND_MS);
      return this.resourceOf(whole, id, 0, 0);
    });
  }

  private expire(id: number, ms: number): void {
    const timer = setTimeout(() => void this.removeRule(id).catch(() => {}), ms).unref();
    this.expiries.set(id, { atMs: Date.now() + ms, timer });
  }

  removeRule(id: number, expected?: number): Promise<void> {
    return this.inTurn(expected, async () => {
      const { config, ids } = this.kept.current;
      if (!ids.includes(id)) throw new ControlRefusal(404, `there is no rule ${id}`);
      await this.change({ ...config, rules: config.rules.filter((_, i) => ids[i] !== id) }, false);
    });
  }

  resetBudget(id: number): Promise<void> {
    return this.inTurn(undefined, async () => {
      const rule = this.kept.current.ids.indexOf(id);
      if (rule < 0) throw new ControlRefusal(404, `there is no rule ${id}`);
      const { reset } = await this.parts.calls.call<"reset-budget">({ name: "reset-budget", rule });
      if (!reset) throw new ControlRefusal(409, `rule ${id} has no limit of bytes that holds`);
    });
  }

  async denials(): Promise<readonly PolicyDenial[]> {
    if (this.revisions === null) return [];
    const { denials } = await this.parts.calls.call<"denials">({ name: "denials" });
    return denials;
  }

  async tally(): Promise<PolicyTally | null> {
    if (this.revisions === null) return null;
    const { calls } = this.parts;
    const { generation, config } = this.revisions.current;
    const [{ allowed, denied, waitedMs }, questions] = await Promise.all([
      calls.call<"policy-counts">({ name: "policy-counts" }),
      this.allQuestions(),
    ]);
    return {
      generation,
      rules: [...config.rules, null].map((rule, i) => ({
        name: rule?.name ?? null,
        allowed: allowed[i] ?? 0,
        denied: denied[i] ?? 0,
        waitedMs: rule?.limit?.rate === undefined ? null : (waitedMs[i] ?? 0),
      })),
      openQuestions: questions.filter(({ state }) => state === "open").length,
    };
  }

  async questions(): Promise<readonly Question[]> {
    const { isHeld = () => false } = this.parts;
    return (await this.allQuestions()).filter(({ id }) => !isHeld(id));
  }

  private async allQuestions(): Promise<readonly Question[]> {
    if (this.revisions === null) return [];
    const { questions } = await this.parts.calls.call<"questions">({ name: "questions" });
    return questions;
  }

  async answer(id: number, { verdict, for: lasts }: Answer): Promise<void> {
    if (this.parts.isHeld?.(id) === true) {
      throw new ControlRefusal(409, `question ${id} is with the program that decides`);
    }
    // Before, since what is answered may be the last that keeps the engine.
    const question = (await this.allQuestions()).find((each) => each.id === id);
    const forMs = lasts === "always" ? null : lasts === "once" ? 0 : lasts * SECOND_MS;
    const allow = verdict === "allow";
    const { result } = await this.parts.calls.call<"answer">({ name: "answer", question: id, allow, forMs });
    if (result === "unknown") throw new ControlRefusal(404, `there is no question ${id}`);
    if (result === "answered") throw new ControlRefusal(409, `question ${id} has been answered`);
    // It may have come, or its hour have passed, between the two.
    if (question === undefined) return;
    const { host, port, protocol, rule } = question;
    this.parts.tell(answeredRecord({ id, host, port, protocol, rule, verdict, by: "person", reason: null }));
  }

  private async change(policy: PolicyConfig, keepOpen: boolean): Promise<PolicyChange> {
    const { kept } = this;
    const change = kept.next(policy);
    const { before, revision, added, removed } = change;
    await this.parts.calls.call<"policy-set">({ name: "policy-set", policy, before, keepOpen });
    kept.take(change);
    for (const [id, { timer }] of this.expiries) {
      if (revision.ids.includes(id)) continue;
      clearTimeout(timer);
      this.expiries.delete(id);
    }
    this.parts.tell({ type: "policy", atMs: Date.now(), generation: revision.generation, added, removed });
    return change;
  }

  /** Changes are made one at a time; one that is about another generation than there is by then is refused (412). */
  private inTurn<T>(expected: number | undefined, work: () => Promise<T>): Promise<T> {
    return this.turns.take(() => {
      const { generation } = this.kept.current;
      if (expected === undefined || expected === generation) return work();
      throw new ControlRefusal(412, `the policy is of generation ${generation}, not ${expected}`);
    });
  }

  close(): void {
    for (const { timer } of this.expiries.values()) clearTimeout(timer);
  }
}

/** Throws a ControlRefusal with everything that is wrong. */
async function readOrder(
  { directory, keepOpen: _, ...given }: PolicyOrder,
  current: PolicyConfig,
): Promise<ReadPolicy> {
  const { readPolicy } = await import("../config/policy/read.ts");
  const { passwordsOf } = await import("../config/policy/way.ts");
  const problems: Problem[] = [];
  const source = { ...given, directory: directory ?? null };
  const hidden = passwordsOf(current);
  const policy = readPolicy({ flags: [], source, fallback: undefined, audit: false, hidden }, problems);
  if (policy === undefined) throw new ControlRefusal(400, problems.map(formatProblem).join("\n"), problems);
  return policy;
}

function described(
  { revision, added, removed, kept }: PolicyChange,
  { tests, warnings }: ReadPolicy,
): PolicyChangeResource {
  const { generation } = revision;
  return { generation, added: [...added], removed: [...removed], kept, tests, warnings: [...warnings] };
}
