/** What is legal in a policy and yet not what it seems. */
import type { PolicyConfig, PolicyHost, PolicyRule, PolicyTarget } from "../../engine/config.ts";
import { isHosting } from "./hosting-suffixes.ts";
import { formatTarget } from "./target.ts";

/** Where the target `target` of rule `rule` stands, or the rule. */
export type RulePlace = (rule: number, target?: number) => string;

const TLS_PORTS = [443, 8443];
const HTTP_PORTS = [80, 8080];
const RESOLVER_PORTS = [53, 853];
/** Rules with more targets in all are not compared with each other. */
const COMPARED_MAX = 2000;

function isName({ kind }: PolicyHost): boolean {
  return kind === "name" || kind === "names-under" || kind === "every-name";
}

function has(target: PolicyTarget, port: number): boolean {
  return target.ports.some(([first, last]) => port >= first && port <= last);
}

/** Whether all ports of the target are among these. */
function isWithin({ ports }: PolicyTarget, known: readonly number[]): boolean {
  return ports.every(([first, last]) => first === last && known.includes(first));
}

function hostCovers(a: PolicyHost, b: PolicyHost): boolean {
  if (a.kind === "every-name") return isName(b);
  if (a.kind === "every-address") return !isName(b);
  if (a.kind === "names-under" && (b.kind === "name" || b.kind === "names-under")) {
    return b.name.endsWith(`.${a.name}`) || (b.kind === "names-under" && b.name === a.name);
  }
  if (a.kind === "name" && b.kind === "name") return a.name === b.name;
  if (a.kind === "network" && b.kind === "network") {
    if (a.prefixLength > b.prefixLength) return false;
    return a.words.every((word, i) => {
      const bits = a.prefixLength - i * 32;
      const mask = bits >= 32 ? -1 : bits <= 0 ? 0 : -1 << (32 - bits);
      return (word & mask) === ((b.words[i] ?? 0) & mask);
    });
  }
  return a.kind === b.kind && (a.kind === "public" || a.kind === "private");
}

function covers(a: PolicyTarget, b: PolicyTarget): boolean {
  return (
    (a.tcp || !b.tcp) &&
    (a.udp || !b.udp) &&
    (a.quic !== true || b.quic === true) &&
    hostCovers(a.host, b.host) &&
    b.ports.every(([first, last]) => a.ports.some((range) => range[0] <= first && range[1] >= last))
  );
}

/** The rule before rule `number` that covers every target of it, with one that shows it, or undefined. */
function covering(
  rules: readonly PolicyRule[],
  number: number,
): { rule: number; by: PolicyTarget } | undefined {
  const { targets, private: isPrivate, verdict } = rules[number] as PolicyRule;
  for (let before = 0; before < number; before++) {
    const other = rules[before] as PolicyRule;
    // An allow rule does not decide about private addresses of its names.
    if (verdict === "allow" && isPrivate && other.verdict === "allow" && !other.private) continue;
    const by = targets.map((target) => other.targets.find((each) => covers(each, target)));
    if (by[0] !== undefined && by.every((each) => each !== undefined)) return { rule: before, by: by[0] };
  }
  return undefined;
}

/** One line each, with its place. */
export function policyWarnings(config: PolicyConfig, place: RulePlace): string[] {
  const { rules } = config;
  const lines: string[] = [];
  const warn = (where: string, text: string): void => {
    lines.push(`${where}: warning: ${text}`);
  };
  const count = rules.reduce((sum, { targets }) => sum + targets.length, 0);
  rules.forEach((rule, number) => {
    const cover = count <= COMPARED_MAX ? covering(rules, number) : undefined;
    if (cover !== undefined) {
      const { verdict } = rules[cover.rule] as PolicyRule;
      const by = formatTarget(cover.by, verdict);
      warn(place(number), `never decides: rules[${cover.rule}] (${by}) covers it`);
    }
    rule.targets.forEach((target, i) => {
      for (const text of targetWarnings(config, rule, target)) warn(place(number, i), text);
    });
  });
  return lines;
}

function targetWarnings(config: PolicyConfig, rule: PolicyRule, target: PolicyTarget): string[] {
  const { host } = target;
  const text = formatTarget(target, rule.verdict);
  if (rule.verdict === "deny") {
    return isName(host) && config.default === "allow"
      ? [`${text} is advice, not a wall: an address typed by hand is not stopped`]
      : [];
  }
  const warnings: string[] = [];
  if (rule.way !== undefined && target.udp) {
    warnings.push(`UDP to ${text} is refused: to and via carry TCP alone`);
  }
  if (!isName(host)) {
    const opened = RESOLVER_PORTS.filter((port) => has(target, port) && target.ports[0]?.[1] === port);
    for (const port of opened) {
      warnings.push(
        `opens port ${port}: names asked for there are not seen, and no rule by name comes of them`,
      );
    }
    return warnings;
  }
  if (host.kind === "names-under" && isHosting(host.name)) {
    warnings.push(`anybody can have a name under ${host.name}`);
  } else if (host.kind === "names-under" && rule.way === undefined && config.way === undefined) {
    warnings.push(`the name servers of ${host.name} see every name that is asked for under it`);
  }
  const { check } = rule;
  const isHttp = check === "http" || (check === undefined && HTTP_PORTS.some((port) => has(target, port)));
  const isWellKnown = check === undefined && isWithin(target, [...TLS_PORTS, ...HTTP_PORTS]);
  const showsName = check === "tls" || check === "http" || isWellKnown;
  const isChecked = target.quic === true || (target.tcp && showsName);
  const isStandIn = rule.way !== undefined || config.way !== undefined;
  if (!isChecked && !isStandIn) {
    warnings.push(`${text} is known by address only: others behind the same address can be reached`);
  }
  if (target.tcp && isHttp) {
    warnings.push("of a plain HTTP connection only the first request is looked at");
  }
  return warnings;
}
