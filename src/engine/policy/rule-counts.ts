/** Flows that each rule let through and did not, the default last. Those of a rule that stays are kept. */
import { NO_RULE } from "./rule-set.ts";

export class RuleCounts {
  allowed: Float64Array;
  denied: Float64Array;

  constructor(rules: number) {
    this.allowed = new Float64Array(rules + 1);
    this.denied = new Float64Array(rules + 1);
  }

  allow(rule: number): void {
    this.allowed[rule === NO_RULE ? this.allowed.length - 1 : rule]++;
  }

  /** A limit refuses a flow after all that the rule had let through. */
  takeBack(rule: number): void {
    this.allowed[rule === NO_RULE ? this.allowed.length - 1 : rule]--;
  }

  deny(rule: number): void {
    this.denied[rule === NO_RULE ? this.denied.length - 1 : rule]++;
  }

  /** Other rules: `before` says for each which one it was, or -1. */
  carry(before: readonly number[]): void {
    const last = this.allowed.length - 1;
    const carried = (counts: Float64Array): Float64Array =>
      Float64Array.from([...before, last], (old) => (old < 0 ? 0 : (counts[old] ?? 0)));
    this.allowed = carried(this.allowed);
    this.denied = carried(this.denied);
  }
}
