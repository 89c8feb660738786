/**
 * A policy's rules, compiled: which rule decides about an address, or a name, on a port. Every question is answered by the
 * lowest number of a rule that matches; none allocates anything.
 *
 *   names      hash of the whole, or of a suffix -> targets, in the order of rules
 *   networks   per prefix length in use, hash of the prefix -> targets
 *   groups     every name; every, public, private addresses -> targets
 */
import type { PolicyCheck, PolicyConfig, PolicyHost } from "../config.ts";
import { isPrivate4, isPrivate6 } from "../network/addresses.ts";
import { isMapped } from "../wire/mapped-address.ts";
import type { Name } from "./name.ts";
import { type KeyRow, NameKeys, nameHash, TargetKeys } from "./target-keys.ts";
import { type HostRow, OVER_QUIC, OVER_TCP, OVER_UDP, Targets } from "./targets.ts";

/** Behind every rule: the default decides. */
export const NO_RULE = 0x7fffffff;

/** What is known of a name beside that somebody said it: nothing; that it leads to the address; to a private one. */
export const NOT_PINNED = 0;
export const PINNED = 1;
export const PINNED_PRIVATE = 2;

/** What a connection must show. */
export const CHECK_NONE = 0;
export const CHECK_TLS = 1;
const CHECK_HTTP = 2;

const CHECKS: Readonly<Record<PolicyCheck, number>> = { none: CHECK_NONE, tls: CHECK_TLS, http: CHECK_HTTP };
const CHECK_BY_PORT = -1;

const ALLOW = 1;
const PRIVATE = 2;
/** Says by what way. */
const WAY = 4;
const ASK = 8;

const WORDS = 4;
const V4_MAPPED_BITS = 96;
const NETWORK_WORDS = WORDS + 1;
const HASH_PRIME = 0x9e3779b1 | 0;
/** Ports whose first named rules are remembered: a power of two. */
const MEMO_SLOTS = 256;
const PORT_MAX = 65_535;
/** Columns of a row of `shapes`. */
const SHAPE_ENTRY = 0;
const SHAPE_RULE = 1;
const SHAPE_COLUMNS = 2;

/** What a port is known for. */
export function checkOfPort(port: number): number {
  if (port === 443 || port === 8443) return CHECK_TLS;
  return port === 80 || port === 8080 ? CHECK_HTTP : CHECK_NONE;
}

function hashWords(words: Int32Array, at: number, prefixLength: number): number {
  let hash = prefixLength;
  for (let i = 0; i < WORDS; i++) hash = Math.imul(hash ^ words[at + i] ^ (hash >>> 15), HASH_PRIME);
  return hash;
}

/** A range of targets. */
class Group {
  readonly first: number;
  readonly end: number;

  constructor(rows: readonly HostRow[], kind: PolicyHost["kind"]) {
    const row = rows.find(({ host }) => host.kind === kind);
    this.first = row?.first ?? 0;
    this.end = row?.end ?? 0;
  }
}

export class RuleSet {
  readonly allowsByDefault: boolean;
  /** A rule has names that QUIC has to show. */
  readonly hasQuic: boolean;
  private readonly flags: Uint8Array;
  private readonly checks: Int8Array;
  private readonly targets: Targets;
  private readonly names: NameKeys;
  private readonly namesUnder: NameKeys;
  private readonly networks: TargetKeys;
  /** Four words and a prefix length each. */
  private readonly networkWords: Int32Array;
  private readonly prefixLengths: Int32Array;
  private readonly everyName: Group;
  private readonly everyAddress: Group;
  private readonly publicAddress: Group;
  private readonly privateAddress: Group;
  private hosts = new Int32Array(0);
  /** Rows: of all named targets with the same verdict, ports and protocols one, and the lowest rule. */
  private readonly shapes: Int32Array;
  private readonly memoKey = new Int32Array(MEMO_SLOTS).fill(-1);
  private readonly memoAllow = new Int32Array(MEMO_SLOTS);
  private readonly memoDeny = new Int32Array(MEMO_SLOTS);
  private readonly masked = new Int32Array(WORDS);
  /** Targets that have the name in question. */
  private readonly naming: Int32Array;
  /** The rule that denies the name of the last `mayAsk`, or NO_RULE. */
  decidedBy = NO_RULE;
  // The flow in question.
  private port = 0;
  private protocol = OVER_TCP;
  private pinned = NOT_PINNED;
  private onlyAllow = false;

  constructor(config: PolicyConfig) {
    const { rules } = config;
    this.allowsByDefault = config.default === "allow";
    this.hasQuic = rules.some(({ targets: all }) => all.some(({ quic }) => quic === true));
    this.flags = Uint8Array.from(
      rules,
      ({ verdict, private: isPrivate, way }) =>
        (verdict === "deny" ? 0 : ALLOW) |
        (verdict === "ask" ? ASK : 0) |
        (isPrivate ? PRIVATE : 0) |
        (way === undefined ? 0 : WAY),
    );
    this.checks = Int8Array.from(rules, ({ check }) => (check === undefined ? CHECK_BY_PORT : CHECKS[check]));
    const targets = new Targets(config);
    this.targets = targets;
    const { hosts } = targets;
    this.names = new NameKeys(nameRows(hosts, "name"));
    this.namesUnder = new NameKeys(nameRows(hosts, "names-under"));
    const networks = networkRows(hosts);
    this.networkWords = Int32Array.from(networks.flatMap(({ words }) => words));
    this.networks = new TargetKeys(networks);
    this.prefixLengths = Int32Array.from(new Set(networks.map(({ words }) => words[WORDS] ?? 0)));
    this.everyName = new Group(hosts, "every-name");
    this.everyAddress = new Group(hosts, "every-address");
    this.publicAddress = new Group(hosts, "public");
    this.privateAddress = new Group(hosts, "private");
    this.shapes = this.shapesOf(hosts);
    this.naming = new Int32Array(targets.count);
  }

  private shapesOf(hosts: readonly HostRow[]): Int32Array {
    const { portsAt, portsEnd, protocols, rule } = this.targets;
    const rows = new Map<string, [entry: number, rule: number]>();
    for (const { host, first, end } of hosts) {
      if (host.kind !== "name" && host.kind !== "names-under" && host.kind !== "every-name") continue;
      for (let entry = first; entry < end; entry++) {
        const verdict = this.flags[rule[entry]] & ALLOW;
        const shape = `${portsAt[entry]} ${portsEnd[entry]} ${protocols[entry]} ${verdict}`;
        const row = rows.get(shape) ?? [entry, NO_RULE];
        row[SHAPE_RULE] = Math.min(row[SHAPE_RULE], rule[entry]);
        rows.set(shape, row);
      }
    }
    return Int32Array.from([...rows.values()].flat());
  }

  /** Addresses of this host count as private. */
  setHostAddresses(words: readonly (readonly number[])[]): void {
    this.hosts = Int32Array.from(words.flat());
  }

  /** Any rule has names. */
  get hasNames(): boolean {
    return this.shapes.length > 0;
  }

  /** Whether rule `rule` allows, or the default does. */
  allows(rule: number): boolean {
    return rule === NO_RULE ? this.allowsByDefault : (this.flags[rule] & ALLOW) !== 0;
  }

  /** Whether somebody has to say yes to what this rule lets through. */
  asks(rule: number): boolean {
    return rule !== NO_RULE && (this.flags[rule] & ASK) !== 0;
  }

  /** What a flow to `port` must show by this rule. */
  checkOf(rule: number, port: number): number {
    return rule === NO_RULE || this.checks[rule] === CHECK_BY_PORT ? checkOfPort(port) : this.checks[rule];
  }

  /** Whether the address is private, or this host's. IPv4 is v4-mapped. */
  isPrivate(words: Int32Array, at: number): boolean {
    if (isMapped(words, at) ? isPrivate4(words[at + 3]) : isPrivate6(words, at)) return true;
    const { hosts } = this;
    for (let i = 0; i < hosts.length; i += WORDS) {
      const isSame =
        hosts[i + 3] === words[at + 3] &&
        hosts[i + 2] === words[at + 2] &&
        hosts[i + 1] === words[at + 1] &&
        hosts[i] === words[at];
      if (isSame) return true;
    }
    return false;
  }

  // --- addresses ---------------------------------------------------------------------------------------------------

  /** The rule that decides about an address, names aside. */
  addressRule(words: Int32Array, at: number, port: number, protocol: number): number {
    this.port = port;
    this.protocol = protocol;
    const group = this.isPrivate(words, at) ? this.privateAddress : this.publicAddress;
    // IPv4 has a corner of IPv6's space here, and is in no larger network of it.
    const shortest = isMapped(words, at) ? V4_MAPPED_BITS : 0;
    let best = this.covering(this.everyAddress.first, this.everyAddress.end, NO_RULE);
    best = this.covering(group.first, group.end, best);
    for (let i = 0; i < this.prefixLengths.length; i++) {
      if (this.prefixLengths[i] < shortest) continue;
      const key = this.findNetwork(words, at, this.prefixLengths[i]);
      if (key >= 0) best = this.covering(this.networks.first[key], this.networks.end[key], best);
    }
    return best;
  }

  /** The key of the network of this prefix length that the address is in, or -1. */
  private findNetwork(words: Int32Array, at: number, prefixLength: number): number {
    const { networks, networkWords, masked } = this;
    for (let i = 0; i < WORDS; i++) {
      const bits = prefixLength - i * 32;
      masked[i] = bits >= 32 ? words[at + i] : bits <= 0 ? 0 : words[at + i] & (-1 << (32 - bits));
    }
    const hash = hashWords(masked, 0, prefixLength);
    for (let slot = networks.firstSlot(hash); ; slot = networks.nextSlot(slot)) {
      const key = networks.keyAt(slot);
      if (key < 0) return -1;
      const row = key * NETWORK_WORDS;
      if (
        networks.hash[key] === hash &&
        networkWords[row + WORDS] === prefixLength &&
        networkWords[row + 3] === masked[3] &&
        networkWords[row + 2] === masked[2] &&
        networkWords[row + 1] === masked[1] &&
        networkWords[row] === masked[0]
      ) {
        return key;
      }
    }
  }

  /** The rule of the first of these targets that has port and protocol, if it is before `best`; else `best`. */
  private covering(first: number, end: number, best: number): number {
    const { rule } = this.targets;
    for (let entry = first; entry < end && rule[entry] < best; entry++) {
      if (this.targets.rangeEnd(entry, this.port, this.protocol) >= 0) return rule[entry];
    }
    return best;
  }

  // --- names -------------------------------------------------------------------------------------------------------

  /**
   * The rule that decides about a name on a port. An allow rule counts as far as the name leads to the flow's address
   * (`pinned`), a deny rule always.
   */
  nameRule(name: Name, port: number, protocol: number, pinned: number): number {
    this.onlyAllow = false;
    return this.firstNaming(name, port, protocol, pinned);
  }

  /** The same with deny rules left out. */
  allowingRule(name: Name, port: number, protocol: number, pinned: number): number {
    this.onlyAllow = true;
    return this.firstNaming(name, port, protocol, pinned);
  }

  private firstNaming(name: Name, port: number, protocol: number, pinned: number): number {
    this.port = port;
    this.protocol = protocol;
    this.pinned = pinned;
    let best = this.firstCounting(this.everyName.first, this.everyName.end, NO_RULE);
    const whole = this.names.find(name, name.labels);
    if (whole >= 0) best = this.firstCounting(this.names.first[whole], this.names.end[whole], best);
    for (let labels = 1; labels < name.labels; labels++) {
      const key = this.namesUnder.find(name, labels);
      if (key >= 0) best = this.firstCounting(this.namesUnder.first[key], this.namesUnder.end[key], best);
    }
    return best;
  }

  private firstCounting(first: number, end: number, best: number): number {
    const { rule } = this.targets;
    for (let entry = first; entry < end && rule[entry] < best; entry++) {
      const counts = this.counts(rule[entry]);
      if (counts && this.targets.rangeEnd(entry, this.port, this.protocol) >= 0) return rule[entry];
    }
    return best;
  }

  private counts(rule: number): boolean {
    const flags = this.flags[rule];
    if ((flags & ALLOW) === 0) return !this.onlyAllow;
    return this.pinned === PINNED || (this.pinned === PINNED_PRIVATE && (flags & PRIVATE) !== 0);
  }

  /** The first rule that denies any name on this port. */
  firstDenying(port: number, protocol: number): number {
    return this.memoDeny[this.remember(port, protocol)];
  }

  /** The first rule that allows any name on this port. */
  firstAllowing(port: number, protocol: number): number {
    return this.memoAllow[this.remember(port, protocol)];
  }

  private remember(port: number, protocol: number): number {
    const key = (port << 3) | protocol;
    const slot = Math.imul(key, HASH_PRIME) >>> 24;
    if (this.memoKey[slot] === key) return slot;
    let allow = NO_RULE;
    let deny = NO_RULE;
    for (let row = 0; row < this.shapes.length; row += SHAPE_COLUMNS) {
      const rule = this.shapes[row + SHAPE_RULE];
      if (this.targets.rangeEnd(this.shapes[row + SHAPE_ENTRY], port, protocol) < 0) continue;
      if ((this.flags[rule] & ALLOW) !== 0) allow = Math.min(allow, rule);
      else deny = Math.min(deny, rule);
    }
    this.memoKey[slot] = key;
    this.memoAllow[slot] = allow;
    this.memoDeny[slot] = deny;
    return slot;
  }

  // --- questions ---------------------------------------------------------------------------------------------------

  /**
   * Whether a flow to this name could be allowed on some port, were it pinned: its addresses may be asked for then. For a
   * denied one `decidedBy` is the rule that denies it first.
   */
  mayAsk(name: Name): boolean {
    const count = this.gather(name);
    for (let i = 0; i < count; i++) {
      const entry = this.naming[i];
      if ((this.flags[this.targets.rule[entry]] & ALLOW) !== 0 && this.isOpen(entry, count)) return true;
    }
    this.decidedBy = NO_RULE;
    for (let i = 0; i < count; i++) {
      const rule = this.targets.rule[this.naming[i]];
      if ((this.flags[rule] & ALLOW) === 0) this.decidedBy = Math.min(this.decidedBy, rule);
    }
    if (!this.allowsByDefault) return false;
    return (
      this.hasGap(1, PORT_MAX, OVER_TCP, count, NO_RULE) || this.hasGap(1, PORT_MAX, OVER_UDP, count, NO_RULE)
    );
  }

  /** Whether a rule that allows this name says by what way it is reached. */
  hasWay(name: Name): boolean {
    const count = this.gather(name);
    for (let i = 0; i < count; i++)
      if ((this.flags[this.targets.rule[this.naming[i]]] & WAY) !== 0) return true;
    return false;
  }

  /** Lists the targets that have this name. Returns how many. */
  private gather(name: Name): number {
    let count = this.list(this.everyName.first, this.everyName.end, 0);
    const whole = this.names.find(name, name.labels);
    if (whole >= 0) count = this.list(this.names.first[whole], this.names.end[whole], count);
    for (let labels = 1; labels < name.labels; labels++) {
      const key = this.namesUnder.find(name, labels);
      if (key >= 0) count = this.list(this.namesUnder.first[key], this.namesUnder.end[key], count);
    }
    return count;
  }

  private list(first: number, end: number, count: number): number {
    for (let entry = first; entry < end; entry++) this.naming[count++] = entry;
    return count;
  }

  /** Whether a port of the allowing target is left by the denying ones before it. */
  private isOpen(entry: number, count: number): boolean {
    const { ports, portsAt, portsEnd, protocols, rule } = this.targets;
    for (let i = portsAt[entry]; i < portsEnd[entry]; i += 2) {
      for (let protocol = OVER_TCP; protocol <= OVER_QUIC; protocol <<= 1) {
        if ((protocols[entry] & protocol) === 0) continue;
        if (this.hasGap(ports[i], ports[i + 1], protocol, count, rule[entry])) return true;
      }
    }
    return false;
  }

  /** Whether a port from `from` to `to` is in no denying target of a rule before `before`. */
  private hasGap(from: number, to: number, protocol: number, count: number, before: number): boolean {
    let port = from;
    while (port <= to) {
      let end = -1;
      for (let i = 0; i < count && end < 0; i++) {
        const entry = this.naming[i];
        const rule = this.targets.rule[entry];
        if (rule >= before || (this.flags[rule] & ALLOW) !== 0) continue;
        end = this.targets.rangeEnd(entry, port, protocol);
      }
      if (end < 0) return true;
      port = end + 1;
    }
    return false;
  }
}

type NamedKind = "name" | "names-under";

function nameRows(hosts: readonly HostRow[], kind: NamedKind): (KeyRow & { readonly name: string })[] {
  return hosts.flatMap(({ host, first, end }) =>
    host.kind === kind ? [{ name: host.name, hash: nameHash(host.name), first, end }] : [],
  );
}

function networkRows(hosts: readonly HostRow[]): (KeyRow & { readonly words: readonly number[] })[] {
  return hosts.flatMap(({ host, first, end }) => {
    if (host.kind !== "network") return [];
    const words = Int32Array.from(host.words);
    return [
      { words: [...host.words, host.prefixLength], hash: hashWords(words, 0, host.prefixLength), first, end },
    ];
  });
}
