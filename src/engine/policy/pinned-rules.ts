/** Which rules the names have that are pinned to the address of the flow in hand. */
import type { PolicyConfig } from "../config.ts";
import type { JudgedFlow } from "./judged-flow.ts";
import type { Name } from "./name.ts";
import { NO_PIN, type Pins } from "./pins.ts";
import { NO_RULE, PINNED, PINNED_PRIVATE, type RuleSet } from "./rule-set.ts";

const WORDS = 4;

/** The policy, as it is when it is asked. */
export interface PinnedParts {
  readonly pins: Pins;
  readonly rules: RuleSet;
  readonly config: PolicyConfig;
  readonly flow: JudgedFlow;
  /** Takes the name of the rule that is found. */
  readonly pinnedName: Name;
  uptimeMs(): number;
}

export class PinnedRules {
  /** A name leads to the address and would be allowed, were the address not private. */
  sawPrivate = false;

  constructor(private readonly policy: PinnedParts) {}

  /** The first rule that allows one of the names pinned to the flow's address. Notes the last of them. */
  allowing(): number {
    const { flow, pins, rules, pinnedName, config } = this.policy;
    let first = NO_RULE;
    let firstPin = NO_PIN;
    this.sawPrivate = false;
    if (!rules.hasNames && !config.audit) return NO_RULE;
    const uptime = this.policy.uptimeMs();
    for (let pin = pins.firstOf(flow.words, 0); pin !== NO_PIN; pin = pins.nextOf(pin)) {
      if (!pins.counts(pin, uptime)) continue;
      pins.readName(pin, pinnedName);
      const isPrivate = this.isPrivate(pin);
      const rule = rules.allowingRule(pinnedName, flow.port, flow.protocol, pinnedAs(isPrivate));
      if (isPrivate && rule === NO_RULE)
        this.sawPrivate ||= rules.allowingRule(pinnedName, flow.port, flow.protocol, PINNED) !== NO_RULE;
      if (rule < first) {
        first = rule;
        firstPin = pin;
      }
    }
    if (firstPin !== NO_PIN) {
      pins.use(firstPin, uptime);
      pins.readName(firstPin, pinnedName);
    }
    return first;
  }

  /** The first rule, allowing or denying, of the names pinned to the flow's address. */
  deciding(): number {
    const { flow, pins, rules, pinnedName } = this.policy;
    let first = NO_RULE;
    let firstPin = NO_PIN;
    if (!rules.hasNames) return NO_RULE;
    const uptime = this.policy.uptimeMs();
    for (let pin = pins.firstOf(flow.words, 0); pin !== NO_PIN; pin = pins.nextOf(pin)) {
      if (!pins.counts(pin, uptime)) continue;
      pins.readName(pin, pinnedName);
      const rule = rules.nameRule(pinnedName, flow.port, flow.protocol, pinnedAs(this.isPrivate(pin)));
      if (rule >= first) continue;
      first = rule;
      firstPin = pin;
    }
    if (firstPin !== NO_PIN) pins.readName(firstPin, pinnedName);
    return first;
  }

  /** Whether the pin's address is private, as things are: this host may have got it since. */
  isPrivate(pin: number): boolean {
    const { pins, rules } = this.policy;
    return !pins.isOwn(pin) && rules.isPrivate(pins.words, pin * WORDS);
  }
}

export function pinnedAs(isPrivate: boolean): number {
  return isPrivate ? PINNED_PRIVATE : PINNED;
}
