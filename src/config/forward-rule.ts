/** A rule of `-p` or hostfwd as the forwards it stands for, one for each range and family; and back, as one would write it. */
import type { Forward } from "../engine/config.ts";
import { formatIpv4, formatIpv6 } from "../engine/wire/address-text.ts";
import { parseHostfwd } from "./forward-grammar.ts";
import { leftOut, type PortRange, parsePublish, without } from "./publish-grammar.ts";
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
  return socketsOf(rule.filter(({ sharesPort }) => !sharesPort));
}

/** Sockets of forwards, if none of their ports is passed over. */
export function socketsOf(forwards: readonly Forward[]): number {
  return forwards.reduce((sum, { ports = 1 }) => sum + ports, 0);
}

/** A rule without those of its optional ports that are in `hole`. */
export function withoutOptional(rule: readonly Forward[], hole: PortRange): Forward[] {
  if (!rule[0]?.optional) return [...rule];
  return groupsOf(rule).flatMap((group) => {
    const [{ hostPort, ports } = { hostPort: 1, ports: 1 }] = group;
    return without([rangeAt(hostPort, ports)], [hole]).flatMap(({ first, last }) =>
      group.map((forward) => ({
        ...forward,
        hostPort: first,
        guestPort: guestPortOf(forward, first),
        ports: last - first + 1,
      })),
    );
  });
}

/** A rule's forwards in groups that have the same ports. */
export function groupsOf(rule: readonly Forward[]): Forward[][] {
  const groups: Forward[][] = [];
  for (const forward of rule) {
    if (forward.sharesPort) groups.at(-1)?.push(forward);
    else groups.push([forward]);
  }
  return groups;
}

/** One port of a forward, as a forward of its own. `hostPort`: as bound. */
export function onePort(forward: Forward, hostPort: number): Forward {
  const { ports: _, optional: __, ...one } = forward;
  return { ...one, hostPort, guestPort: guestPortOf(forward, hostPort) };
}

/** Where a port of a forward leads. */
export function guestPortOf({ hostPort: first, guestPort }: Forward, hostPort: number): number {
  return first === 0 ? guestPort : guestPort + hostPort - first;
}

const rangeText = ({ first, last }: PortRange): string => (first === last ? `${first}` : `${first}-${last}`);

const rangeAt = (first: number, ports = 1): PortRange => ({ first, last: first + ports - 1 });

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
  const [first, ...others] = rule.filter(({ sharesPort }) => !sharesPort);
  if (first === undefined) throw new RangeError("a rule without a port");
  const { protocol, ports, guestPort, hostDevice } = first;
  const host = bracketed(ruleHost(rule), hostDevice);
  const guest = ruleGuest(rule);
  if (guest !== null) return `${protocol}:${host}:${hostPort}-${bracketed(guest)}:${guestPort}`;
  const ranges = [first, ...others].map((forward) => rangeAt(forward.hostPort, forward.ports));
  if (first.optional) {
    const holes = leftOut(ranges).map((hole) => `~${rangeText(hole)}`);
    return `${protocol}:${host}:${["all", ...holes].join(",")}`;
  }
  if (others.length > 0) return `${protocol}:${host}:${ranges.map(rangeText).join(",")}`;
  return `${protocol}:${host}:${rangeText(rangeAt(hostPort, ports))}:${rangeText(rangeAt(guestPort, ports))}`;
}

/** An address as it stands before a colon, with the interface. */
function bracketed(address: string, device?: string): string {
  const onDevice = device === undefined ? address : `${address}%${device}`;
  return address.includes(":") ? `[${onDevice}]` : onDevice;
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
