/**
 * What a policy says, in the plainest words: lists and texts, every rule looked at in turn. The compiled one has to agree.
 * Names in the policy are A-labels in small letters; so are those of flows.
 */
import type { PolicyConfig, PolicyRule, PolicyTarget } from "../../../src/engine/config.ts";

export interface ReferenceFlow {
  readonly protocol: "tcp" | "udp";
  readonly port: number;
  /** As 128 bits, IPv4 as v4-mapped. */
  readonly address: bigint;
  readonly isPrivate: boolean;
  /** Names that were answered with this address. */
  readonly pinned: readonly string[];
  /** The name that the connection shows where it is asked for one; null: none. */
  readonly shown: string | null;
}

const V4_BITS = 96;

function bits(words: readonly number[]): bigint {
  return words.reduce((value, word) => (value << 32n) | BigInt(word >>> 0), 0n);
}

/** `showsName`: UDP that is QUIC. */
function hasPort(
  { ports, tcp, udp, quic }: PolicyTarget,
  { port, protocol }: ReferenceFlow,
  showsName = false,
): boolean {
  return (
    (protocol === "tcp" ? tcp : udp && (showsName || quic !== true)) &&
    ports.some(([first, last]) => port >= first && port <= last)
  );
}

function hasAddress({ host }: PolicyTarget, { address, isPrivate }: ReferenceFlow): boolean {
  if (host.kind === "every-address") return true;
  if (host.kind === "private") return isPrivate;
  if (host.kind === "public") return !isPrivate;
  if (host.kind !== "network") return false;
  const isIpv4 = address >> 32n === 0xffffn;
  if (isIpv4 && host.prefixLength < V4_BITS) return false;
  const shift = BigInt(128 - host.prefixLength);
  return address >> shift === bits(host.words) >> shift;
}

function hasName({ host }: PolicyTarget, name: string): boolean {
  if (host.kind === "every-name") return true;
  if (host.kind === "name") return host.name === name;
  return host.kind === "names-under" && name.endsWith(`.${host.name}`);
}

/** The number of the first rule of which `matches` holds, or -1. */
function first(
  { rules }: PolicyConfig,
  matches: (rule: PolicyRule, target: PolicyTarget) => boolean,
): number {
  return rules.findIndex((rule) => rule.targets.some((target) => matches(rule, target)));
}

function allows(policy: PolicyConfig, rule: number): boolean {
  return (rule < 0 ? policy.default : policy.rules[rule].verdict) === "allow";
}

function checkOf(rule: PolicyRule | undefined, port: number): string {
  if (rule?.check !== undefined) return rule.check;
  if (port === 443 || port === 8443) return "tls";
  return port === 80 || port === 8080 ? "http" : "none";
}

/** Whether octets of the flow reach the other end. */
export function reference(policy: PolicyConfig, flow: ReferenceFlow): boolean {
  const isOpen = (rule: PolicyRule): boolean => rule.private || !flow.isPrivate;
  const byAddress = first(policy, (_, target) => hasPort(target, flow) && hasAddress(target, flow));
  const isDns = flow.port === 53 && policy.default === "deny" && byAddress < 0;
  if (isDns) return false;
  const rank = (rule: number): number => (rule < 0 ? policy.rules.length : rule);
  const allowedBy = (showsName: boolean): number =>
    first(
      policy,
      (rule, target) =>
        rule.verdict === "allow" &&
        isOpen(rule) &&
        hasPort(target, flow, showsName) &&
        flow.pinned.some((name) => hasName(target, name)),
    );
  const allowing = allowedBy(false);
  const isAllowed = allows(policy, byAddress);
  const check = checkOf(isAllowed || allowing < 0 ? undefined : policy.rules[allowing], flow.port);
  const isChecked = flow.protocol === "tcp" && check !== "none";
  /** The rule that decides, by the address and the names that are said. */
  const decide = (names: readonly string[], showsName = false): boolean => {
    const byName = first(
      policy,
      (rule, target) =>
        hasPort(target, flow, showsName) &&
        names.some(
          (name) =>
            hasName(target, name) &&
            (rule.verdict === "deny" || (isOpen(rule) && flow.pinned.includes(name))),
        ),
    );
    return allows(policy, rank(byName) < rank(byAddress) ? byName : byAddress);
  };
  const asQuic = allowedBy(true);
  if (flow.protocol === "udp" && asQuic >= 0 && rank(asQuic) < Math.min(rank(allowing), rank(byAddress))) {
    return flow.shown !== null && decide([flow.shown], true);
  }
  if (!isChecked) return decide(flow.pinned);
  if (isAllowed) {
    const denying = first(
      policy,
      (rule, target) =>
        rule.verdict === "deny" &&
        hasPort(target, flow) &&
        ["name", "names-under", "every-name"].includes(target.host.kind),
    );
    const isLookedAt = rank(denying) < rank(byAddress) && denying >= 0;
    return !isLookedAt || flow.shown === null || decide([flow.shown]);
  }
  if (allowing < 0 || rank(allowing) > rank(byAddress)) return false;
  return flow.shown !== null && decide([flow.shown]);
}
