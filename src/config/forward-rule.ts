/** A rule of `-p` or hostfwd as the forwards it stands for, one for each port and family; and back, as one would write it. */
import type { Forward } from "../engine/config.ts";
import { formatIpv4, formatIpv6 } from "../engine/wire/address-text.ts";
import { parseHostfwd, parsePublish } from "./forward-grammar.ts";
import { Unacceptable } from "./unacceptable.ts";

/** The forwards of one rule, marked as such. */
export function asRule(forwards: readonly Forward[]): Forward[] {
  return forwards.map((forward, i) =>
    i === 0 || forward.sharesPort ? forward : { ...forward, continues: true },
  );
}

/** Forwards of many rules, rule by rule. */
export function forwardRules(forwards: readonly Forward[]): Forward[][] {
  const rules: Forward[][] = [];
  for (const forward of forwards) {
    const last = rules.at(-1);
    if (last !== undefined && (forward.sharesPort || forward.continues)) last.push(forward);
    else rules.push([forward]);
  }
  return rules;
}

/** Ports of a rule: one that binds both families counts once. */
export function portsOf(rule: readonly Forward[]): number {
  return rule.filter(({ sharesPort }) => !sharesPort).length;
}

const range = (first: number, ports: number): string =>
  ports === 1 ? String(first) : `${first}-${first + ports - 1}`;

/** What a rule binds, as text: an address of either family, or `*` for all of both. */
export function ruleHost([first, second]: readonly Forward[]): string {
  if (first === undefined) throw new RangeError("a rule without a port");
  if (second?.sharesPort) return "*";
  return first.hostAddress6 === undefined ? formatIpv4(first.hostAddress) : formatIpv6(first.hostAddress6);
}

/** Where its clients go: an address, `[]` for the one of IPv6 that the guest keeps, or null for the guest's own. */
export function ruleGuest([first]: readonly Forward[]): string | null {
  if (first === undefined) throw new RangeError("a rule without a port");
  const { guestAddress, guestAddress6, eitherFamily } = first;
  if (eitherFamily || (guestAddress6 === undefined && guestAddress === 0)) return null;
  if (guestAddress6 === undefined) return formatIpv4(guestAddress);
  return guestAddress6 === null ? "[]" : formatIpv6(guestAddress6);
}

/** The rule in `-p`'s grammar; in hostfwd's where a guest is named. `hostPort`: its first port, as bound. */
export function ruleText(rule: readonly Forward[], hostPort: number): string {
  const [{ protocol, guestPort } = { protocol: "tcp", guestPort: 0 }] = rule;
  const host = bracketed(ruleHost(rule));
  const guest = ruleGuest(rule);
  const ports = portsOf(rule);
  if (guest === null) return `${protocol}:${host}:${range(hostPort, ports)}:${range(guestPort, ports)}`;
  return `${protocol}:${host}:${hostPort}-${bracketed(guest)}:${guestPort}`;
}

function bracketed(address: string): string {
  return address.includes(":") ? `[${address}]` : address;
}

/** A rule of `-p` or of hostfwd, whichever it fits. Throws Unacceptable. */
export function parseForwardRule(text: string): Forward[] {
  try {
    return asRule(parsePublish(text));
  } catch (error) {
    // What has hostfwd's dash between host and guest is hostfwd's; of all else `-p` says what is wrong.
    if (!(error instanceof Unacceptable) || !/^(tcp|udp|):.*-.*:[^:]+$/.test(text)) throw error;
    return [parseHostfwd(text)];
  }
}
