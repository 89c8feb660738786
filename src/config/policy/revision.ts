/** A policy as it changes while it is kept: numbers for its rules that never come again, and what is new in another one. */
import type { PolicyConfig, PolicyRule } from "../../engine/config.ts";

export interface Revision {
  /** Counts from 1. */
  readonly generation: number;
  readonly config: PolicyConfig;
  /** Of each rule. */
  readonly ids: readonly number[];
}

export interface PolicyChange {
  readonly revision: Revision;
  /** For each rule which one of those before it was, or -1: one that says the same stays what it was. */
  readonly before: readonly number[];
  /** Names of rules. */
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly kept: number;
}

export class Revisions {
  private lastId: number;
  current: Revision;

  constructor(config: PolicyConfig) {
    this.lastId = config.rules.length;
    this.current = { generation: 1, config, ids: config.rules.map((_, i) => i + 1) };
  }

  /** What `config` in place of the current one would change; `take` makes it so. */
  next(config: PolicyConfig): PolicyChange {
    const { generation, config: old, ids: oldIds } = this.current;
    const unclaimed = new Map<string, number[]>();
    old.rules.forEach((rule, i) => {
      const key = JSON.stringify(rule);
      const indexes = unclaimed.get(key);
      if (indexes === undefined) unclaimed.set(key, [i]);
      else indexes.push(i);
    });
    const before = config.rules.map((rule) => unclaimed.get(JSON.stringify(rule))?.shift() ?? -1);
    const stays = new Set(before);
    let lastId = this.lastId;
    const ids = before.map((index) => oldIds[index] ?? ++lastId);
    const names = (rules: readonly PolicyRule[]): string[] => rules.map(({ name }) => name);
    return {
      revision: { generation: generation + 1, config, ids },
      before,
      added: names(config.rules.filter((_, i) => before[i] === -1)),
      removed: names(old.rules.filter((_, i) => !stays.has(i))),
      kept: before.filter((index) => index >= 0).length,
    };
  }

  take({ revision }: PolicyChange): void {
    this.lastId = revision.ids.reduce((most, id) => Math.max(most, id), this.lastId);
    this.current = revision;
  }
}
