/** A policy as a file says it, from what was read: `readPolicy` reads the same from it, once it is told the passwords. */
import { stringify } from "yaml";
import { type PolicyConfig, type PolicyRule, STAND_INS } from "../../engine/config.ts";
import { formatNetwork } from "../address.ts";
import { formatDuration, PIN_GRACE_MS } from "./duration.ts";
import { guestLimitDocument, limitDocument } from "./limit.ts";
import { isRuleName } from "./schema.ts";
import { formatTarget } from "./target.ts";
import { wayDocument } from "./way.ts";

/** A rule's members, in the order people write them. */
function ruleDocument(rule: PolicyRule): Record<string, unknown> {
  const { name, verdict, check, message, way, limit, withinMs } = rule;
  const targets = rule.targets.map((target) => formatTarget(target, verdict));
  return {
    ...(isRuleName(name) ? { name } : {}),
    [verdict]: targets.length === 1 ? targets[0] : targets,
    ...(rule.private ? { private: true } : {}),
    ...(check === undefined ? {} : { check }),
    ...(message === undefined ? {} : { message }),
    ...(way === undefined ? {} : wayDocument(way)),
    ...(withinMs === undefined ? {} : { within: formatDuration(withinMs) }),
    ...(limit === undefined ? {} : { limit: limitDocument(limit) }),
  };
}

/** Everything but the rules. */
function headDocument(config: PolicyConfig): Record<string, unknown> {
  const { audit, answers, refuseEch, pinGraceMs, message, way, limit, standIns, refuseUnattended } = config;
  const isUsual = standIns.address === STAND_INS.address && standIns.prefixLength === STAND_INS.prefixLength;
  return {
    version: 1,
    default: config.default,
    ...(audit ? { mode: "audit" } : {}),
    ...(answers === "nxdomain" ? {} : { answers }),
    ...(refuseEch ? { ech: "refuse" } : {}),
    ...(refuseUnattended === undefined ? {} : { unattended: "deny" }),
    ...(pinGraceMs === PIN_GRACE_MS ? {} : { "pin-grace": formatDuration(pinGraceMs) }),
    ...(message === undefined ? {} : { message }),
    ...(way === undefined ? {} : wayDocument(way)),
    ...(limit === undefined ? {} : { limit: guestLimitDocument(limit) }),
    ...(isUsual
      ? {}
      : { "stand-ins": formatNetwork({ network: standIns.address, prefixLength: standIns.prefixLength }) }),
  };
}

/** YAML, each rule in a line of its own where it is short. */
export function policyText(config: PolicyConfig): string {
  return `${stringify(headDocument(config))}${rulesText(config.rules)}`;
}

/** The `rules:` of a file. */
export function rulesText(rules: readonly PolicyRule[]): string {
  return stringify({ rules: rules.map(ruleDocument) }, { lineWidth: 0 });
}
