/**
 * Where the guest may go, by address and by name: asked once per TCP connection, per remote of UDP and per DNS question,
 * after the floor (destinations.ts) has said that the address is one anybody may be at.
 *
 *   question   a rule names it?  no: NXDOMAIN          answer   its addresses are pinned to the name
 *   flow       a rule for the address, or for a name that is pinned to it?  no: refused
 *              the port's protocol says a name?  yes: CHECK, and `shown` decides about the name that comes
 *
 * An address that carries an IPv4 address inside is judged as that one.
 */
import type { Ipv6Words, PolicyConfig, PolicyWay } from "../config.ts";
import { dropReason } from "../metrics/drop-reasons.ts";
import { CHECK, EXPLAIN, GO, HERE, reasonOf, refuse, ticketOf, wait } from "../network/destinations.ts";
import type { FlowJudge, Wish, Wish6 } from "../network/judge.ts";
import { setMapped } from "../wire/mapped-address.ts";
import type { Nat64Prefix } from "../wire/translated-address.ts";
import { DNS_PORT } from "../wire/udp.ts";
import { Asking } from "./asking.ts";
import { Denials } from "./denials.ts";
import { JudgedFlow } from "./judged-flow.ts";
import { Limits } from "./limits.ts";
import { Name } from "./name.ts";
import { PinnedRules, pinnedAs } from "./pinned-rules.ts";
import { NO_PIN, Pins } from "./pins.ts";
import { RuleCounts } from "./rule-counts.ts";
import { CHECK_NONE, checkOfPort, NO_RULE, NOT_PINNED, PINNED, RuleSet } from "./rule-set.ts";
import { StandIns } from "./stand-ins.ts";
import { OVER_QUIC, OVER_TCP, OVER_UDP } from "./targets.ts";
import { UdpRemotes, UNKNOWN } from "./udp-remotes.ts";
import { isSameWay, wayOf } from "./ways.ts";

const NO_SUCH_RULE = dropReason("policy-no-rule");
const DENIED = dropReason("policy-denied");
const UNNAMED = dropReason("policy-address-unnamed");
const MISMATCH = dropReason("policy-name-mismatch");
const NAME_PRIVATE = dropReason("policy-name-private");
/** A datagram to somebody else's port 53: answered in their stead, and counted under this only where that fails. */
const RESOLVER = dropReason("policy-resolver");
/** A datagram of what leaves by another way than straight. */
const NO_UDP = dropReason("proxy-udp");

const WORDS = 4;
/** Of IPv6, or of none. */
const NO_ADDRESS = 0;

export interface PolicyParts {
  readonly config: PolicyConfig;
  /** Milliseconds of a clock that does not wrap. */
  readonly uptimeMs: () => number;
  /** What else has a say once the policy has let a flow through, or null. */
  readonly narrower: FlowJudge | null;
  readonly udpTimeoutMs: number;
  /** Whether the guest has a DNS address: questions to others can be answered then. */
  readonly hasDns: boolean;
  /** Addresses by which the guest reaches the host itself: nothing is asked of a proxy for them. */
  readonly hostAddresses?: readonly number[];
  readonly maxFlows?: number;
}

export class Policy implements FlowJudge {
  readonly pins: Pins;
  readonly denials = new Denials();
  readonly asking = new Asking(this);
  rules: RuleSet;
  config: PolicyConfig;
  readonly counts: RuleCounts;
  /** The name that was shown or asked for last. */
  readonly name = new Name();
  /** The rule that decided last, or NO_RULE. */
  rule = NO_RULE;
  /** What a connection that is to be checked has to show; 0 when a name is not required of it. */
  check = CHECK_NONE;
  /** A name is waited for only a little, and need not come: what denies it is a courtesy. */
  lenient = false;
  /** The name by whose pin the flow in hand goes, where `byName`; else the last of those that lead there. */
  readonly pinnedName = new Name();
  byName = false;
  /** By what way the flow that was let through last leaves; null: straight. */
  way: PolicyWay | null = null;
  /** Null where everything goes straight, and denied names have no address. */
  standIns: StandIns | null = null;
  readonly flow = new JudgedFlow();
  private readonly pinned = new PinnedRules(this);
  private ownsDns = false;
  private hostAddresses: readonly Ipv6Words[] = [];
  readonly remotes: UdpRemotes;
  readonly limits: Limits;
  /** What decided last would have refused it, but for the audit: it is counted and noted. */
  private isNoted = false;

  constructor(private readonly parts: PolicyParts) {
    this.config = parts.config;
    this.rules = new RuleSet(parts.config);
    this.remotes = new UdpRemotes(parts.udpTimeoutMs);
    this.limits = new Limits(parts.config, parts.maxFlows ?? 0);
    this.pins = new Pins(parts.config.pinGraceMs);
    this.counts = new RuleCounts(parts.config.rules.length);
    this.takeNames();
  }

  /** Which names are ours to answer for, and which by stand-ins. */
  private takeNames(): void {
    const { config, pins, parts } = this;
    this.ownsDns = parts.hasDns && (config.way !== undefined || (config.default === "deny" && !config.audit));
    const before = this.standIns;
    const hasWays = config.way !== undefined || config.rules.some(({ way }) => way !== undefined);
    this.standIns = hasWays || config.answers === "explain" ? new StandIns(config.standIns, pins) : null;
    // No name of ours leads there any more: nobody's address may be one of somebody's.
    if (before !== null && this.standIns?.isOf(before) !== true)
      pins.removeOf((words, at) => before.has(words, at));
  }

  uptimeMs(): number {
    return this.parts.uptimeMs();
  }

  /** Addresses of this host count as private. */
  setHostAddresses(addresses: readonly Ipv6Words[]): void {
    this.hostAddresses = addresses;
    this.rules.setHostAddresses(addresses);
  }

  /**
   * Another policy from now on. Pins stay, and so do the counts of rules that do: `before` says for each rule which one it
   * was, or -1. Remotes of UDP are judged anew.
   */
  replace(config: PolicyConfig, before: readonly number[]): void {
    this.config = config;
    this.rules = new RuleSet(config);
    this.rules.setHostAddresses(this.hostAddresses);
    this.counts.carry(before);
    this.limits.replace(config, before);
    this.denials.renumber(before);
    this.asking.questions.renumber(before);
    this.pins.graceMs = config.pinGraceMs;
    this.takeNames();
    this.remotes.clear();
    this.pins.generation = (this.pins.generation + 1) | 0;
  }

  // --- flows -------------------------------------------------------------------------------------------------------

  tcp(wish: Wish): number {
    this.flow.protocol = OVER_TCP;
    this.flow.port = wish.remotePort;
    setMapped(this.flow.words, 0, wish.remoteAddress);
    const verdict = this.settle(this.judge());
    if (!isLetThrough(verdict)) return verdict;
    this.takeWay(wish.remoteAddress);
    const limited = this.limited(verdict, true);
    if (limited !== GO) return limited;
    this.countAllowed(verdict);
    return this.asking.about(this.narrow(verdict, this.parts.narrower?.tcp(wish) ?? GO));
  }

  tcp6(wish: Wish6): number {
    this.flow.protocol = OVER_TCP;
    this.flow.port = wish.remotePort;
    const verdict = this.settle(this.judge6(wish.pair, WORDS));
    if (!isLetThrough(verdict)) return verdict;
    this.takeWay(NO_ADDRESS);
    const limited = this.limited(verdict, true);
    if (limited !== GO) return limited;
    this.countAllowed(verdict);
    return this.asking.about(this.narrow(verdict, this.parts.narrower?.tcp6(wish) ?? GO));
  }

  udp(wish: Wish, nowMs: number): number {
    setMapped(this.flow.words, 0, wish.remoteAddress);
    const verdict = this.udpVerdictOf(this.flow.words, 0, wish.remotePort);
    if (!isLetThrough(verdict)) return verdict;
    const other = this.parts.narrower?.udp(wish, nowMs) ?? GO;
    return other === GO ? verdict : other;
  }

  udp6(wish: Wish6, nowMs: number): number {
    const verdict = this.udpVerdictOf(wish.pair, WORDS, wish.remotePort);
    if (!isLetThrough(verdict)) return verdict;
    const other = this.parts.narrower?.udp6(wish, nowMs) ?? GO;
    return other === GO ? verdict : other;
  }

  /** What another judge says of a flow that is let through; who has yet to decide does so before a name is looked for. */
  private narrow(verdict: number, other: number): number {
    if (other === GO) return verdict;
    const ticket = ticketOf(other);
    return ticket >= 0 ? wait(ticket, verdict) : other;
  }

  /** UDP is judged once per remote: what rules say holds, what a limit or a question says for a moment. */
  private udpVerdictOf(words: Int32Array, at: number, port: number): number {
    const { remotes, flow, asking } = this;
    const uptime = this.uptimeMs();
    const generation = (this.pins.generation + asking.questions.generation) | 0;
    const known = remotes.find(words, at, port, uptime, generation);
    if (known !== UNKNOWN) return known;
    // Judging takes other words in hand.
    const place = remotes.take(words, at, port, uptime, generation);
    flow.protocol = OVER_UDP;
    flow.port = port;
    const isIpv4 = words === flow.words;
    let verdict = this.settle(isIpv4 ? this.judge() : this.judge6(words, at));
    if (isLetThrough(verdict) && this.goesAnotherWay(isIpv4 ? words[3] : NO_ADDRESS)) {
      verdict = refuse(NO_UDP);
      this.refused(NO_UDP);
    }
    const byRules = verdict;
    if (isLetThrough(verdict)) verdict = asking.aboutDatagram(verdict);
    if (isLetThrough(verdict)) {
      const limited = this.limited(verdict, false);
      if (limited !== GO) verdict = limited;
    }
    if (verdict !== byRules) remotes.keepBriefly(place, uptime);
    else if (verdict === GO && !this.isNoted) this.counts.allow(this.rule);
    remotes.verdict[place] = verdict;
    remotes.rule[place] = this.rule;
    return verdict;
  }

  /** Under audit what would be refused goes, and nothing is waited for; it is noted either way. */
  private settle(verdict: number): number {
    this.isNoted = false;
    if (verdict === HERE || verdict === EXPLAIN || verdict === refuse(RESOLVER)) return verdict;
    const { audit } = this.config;
    if (verdict === CHECK && !audit) return CHECK;
    if (verdict === GO || verdict === CHECK) return GO;
    this.isNoted = true;
    this.counts.deny(this.rule);
    const named = this.pinnedName.labels > 0 ? this.pinnedName : null;
    this.denials.note(this.flow, named, reasonOf(verdict), this.rule === NO_RULE ? -1 : this.rule);
    return audit ? GO : verdict;
  }

  /** Nothing is left that could refuse the connection but an answer, or the name it shows, which count it then. */
  private countAllowed(verdict: number): void {
    if (verdict !== GO || this.isNoted) return;
    if (this.config.audit || !this.rules.asks(this.rule)) this.counts.allow(this.rule);
  }

  /**
   * GO, or the refusal of a flow that there are enough of. Which rule's a flow is that has to show a name is seen then; one that
   * may show none is its first one's until it has.
   */
  private limited(verdict: number, isTcp: boolean): number {
    const rule = verdict === CHECK && !this.lenient ? NO_RULE : this.rule;
    const reason = this.limits.admit(rule, isTcp, this.uptimeMs());
    if (reason === 0) return GO;
    this.name.labels = 0;
    this.refused(reason);
    return refuse(reason);
  }

  /** What a rule says of the way; null: straight. */
  wayOf(rule: number): PolicyWay | null {
    return wayOf(this.config, this.rules, rule);
  }

  /** Notes, and returns, by what way the flow that was judged last leaves. `address`: as the guest says it, of IPv4. */
  takeWay(address: number): PolicyWay | null {
    const way = this.standIns === null ? null : this.wayOf(this.rule);
    const isHost = address !== NO_ADDRESS && this.parts.hostAddresses?.includes(address) === true;
    this.way = way !== null && way.kind !== "to" && isHost ? null : way;
    return this.way;
  }

  private goesAnotherWay(address: number): boolean {
    return this.takeWay(address) !== null || this.standIns?.has(this.flow.words, 0) === true;
  }

  /** The flow in hand over IPv6, to the address at `words[at]`: the strictest verdict of all that it may be. */
  private judge6(words: Int32Array, at: number): number {
    const { flow } = this;
    const all = flow.candidates(words, at);
    let strictest = GO;
    let isLenient = true;
    let check = CHECK_NONE;
    let way: PolicyWay | null = null;
    for (let i = 0; i < all; i++) {
      flow.take(i, words, at);
      const verdict = this.judge();
      if (verdict !== GO && verdict !== CHECK) return verdict;
      // One that may be two, which leave by different ways, has no way.
      if (i > 0 && !isSameWay(this.wayOf(this.rule), way)) return refuse(NO_SUCH_RULE);
      way = this.wayOf(this.rule);
      if (verdict === GO) continue;
      strictest = CHECK;
      if (check === CHECK_NONE || !this.lenient) check = this.check;
      isLenient = isLenient && this.lenient;
    }
    this.lenient = isLenient;
    this.check = check;
    return strictest;
  }

  /** Puts the IPv4 addresses in the IPv6 address at `words[at]` into `embedded`. Returns how many. */
  inner(words: Int32Array, at: number): number {
    return this.flow.inner(words, at);
  }

  setNat64(prefix: Nat64Prefix | null): void {
    this.flow.nat64 = prefix;
  }

  /** The flow in hand. */
  private judge(): number {
    const { flow, rules } = this;
    this.pinnedName.labels = 0;
    this.byName = false;
    if (this.standIns?.has(flow.words, 0) === true) return this.judgeStandIn(this.standIns);
    const fixed = rules.addressRule(flow.words, 0, flow.port, flow.protocol);
    if (flow.port === DNS_PORT && this.ownsDns && fixed === NO_RULE) {
      return flow.protocol === OVER_TCP ? HERE : refuse(RESOLVER);
    }
    const allowing = this.pinned.allowing();
    if (flow.protocol === OVER_TCP) {
      // Where an address is asked about, a name that leads there says more.
      const isByAddress = rules.allows(fixed) && !(rules.asks(fixed) && allowing < fixed);
      const check = isByAddress ? checkOfPort(flow.port) : rules.checkOf(allowing, flow.port);
      if (check !== CHECK_NONE) return this.judgeChecked(fixed, allowing, isByAddress, check);
    } else if (rules.hasQuic && this.hasToShow(Math.min(fixed, allowing))) return CHECK;
    const named = this.pinned.deciding();
    this.rule = Math.min(fixed, named);
    this.byName = named < fixed;
    return rules.allows(this.rule) ? GO : this.refusal();
  }

  /** Whether UDP has to be QUIC and show a name: by a rule before `first`, the one that lets it go as it is. */
  private hasToShow(first: number): boolean {
    const { flow } = this;
    flow.protocol = OVER_QUIC;
    const allowing = this.pinned.allowing();
    flow.protocol = OVER_UDP;
    if (allowing >= first) return false;
    this.rule = allowing;
    this.byName = true;
    this.lenient = false;
    return true;
  }

  /** A flow to an address that stands for a name, whatever rules say of addresses. */
  private judgeStandIn(standIns: StandIns): number {
    const { flow, pins, rules, pinnedName } = this;
    const uptime = this.uptimeMs();
    const pin = standIns.pinAt(flow.words, 0, uptime);
    this.rule = NO_RULE;
    if (pin === NO_PIN) return refuse(UNNAMED);
    pins.use(pin, uptime);
    pins.readName(pin, pinnedName);
    this.byName = true;
    this.rule = rules.nameRule(pinnedName, flow.port, flow.protocol, PINNED);
    if (!rules.allows(this.rule)) return this.refuseStandIn();
    this.check = flow.protocol === OVER_TCP ? rules.checkOf(this.rule, flow.port) : CHECK_NONE;
    // What no rule names passes whatever it shows, but for what a rule denies.
    this.lenient = this.rule === NO_RULE;
    if (this.lenient && rules.firstDenying(flow.port, flow.protocol) === NO_RULE) this.check = CHECK_NONE;
    return this.check === CHECK_NONE ? GO : CHECK;
  }

  /** A flow to an address that stands for a name which is denied. */
  private refuseStandIn(): number {
    const { flow, config } = this;
    const isExplained = config.answers === "explain" && !config.audit && flow.protocol === OVER_TCP;
    this.check = isExplained ? checkOfPort(flow.port) : CHECK_NONE;
    if (this.check !== CHECK_NONE) return EXPLAIN;
    return refuse(this.rule === NO_RULE ? NO_SUCH_RULE : DENIED);
  }

  /** A flow to a port whose protocol says a name. */
  private judgeChecked(fixed: number, allowing: number, isByAddress: boolean, check: number): number {
    const { flow, rules } = this;
    this.check = check;
    if (isByAddress) {
      this.rule = fixed;
      this.lenient = true;
      return rules.firstDenying(flow.port, flow.protocol) < fixed ? CHECK : GO;
    }
    this.lenient = false;
    this.byName = allowing < fixed;
    this.rule = Math.min(allowing, fixed);
    return this.byName ? CHECK : this.refusal();
  }

  /** Why the flow in hand is refused; `rule` decided. */
  private refusal(): number {
    const { flow, rules } = this;
    if (this.rule !== NO_RULE) return refuse(DENIED);
    if (this.pinned.sawPrivate) return refuse(NAME_PRIVATE);
    const protocol = flow.protocol === OVER_UDP ? OVER_QUIC : flow.protocol;
    const isForNames = rules.firstAllowing(flow.port, protocol) !== NO_RULE;
    return refuse(isForNames ? UNNAMED : NO_SUCH_RULE);
  }

  // --- names that are shown ----------------------------------------------------------------------------------------

  /**
   * Whether a connection to the address at `words[at]`, which leaves by `way`, may go on now that it has shown `name`.
   * Returns HANDLED (0) or the reason why not, which is noted. Once no limit refuses it either, `counts` has to hear of it.
   */
  shown(words: Int32Array, at: number, port: number, way: PolicyWay | null, protocol = OVER_TCP): number {
    const { flow } = this;
    const all = flow.candidates(words, at);
    let reason = 0;
    this.flow.protocol = protocol;
    this.flow.port = port;
    for (let i = 0; i < all && reason === 0; i++) {
      flow.take(i, words, at);
      reason = this.shownAt(way);
    }
    return reason;
  }

  private shownAt(way: PolicyWay | null): number {
    const { name, pins, flow } = this;
    this.judgeShown(pins.leading(name, flow.words, 0, this.uptimeMs()));
    const isAllowed = this.isStandInOfAnother() ? false : this.rules.allows(this.rule);
    // Names behind one address may have ways of their own: this connection has taken one.
    if (isAllowed && isSameWay(this.wayOf(this.rule), way)) return this.asking.aboutShown();
    const reason = this.rule === NO_RULE || this.rules.allows(this.rule) ? MISMATCH : DENIED;
    this.refused(reason);
    return reason;
  }

  /**
   * Whether the flow in hand goes to an address that stands for another name than it shows, and that a rule has. Of a stand-in
   * nothing else is known; one that has no rule leads wherever it says.
   */
  private isStandInOfAnother(): boolean {
    const { flow, pins, rules, name, pinnedName, standIns } = this;
    if (standIns?.has(flow.words, 0) !== true) return false;
    const pin = standIns.pinAt(flow.words, 0, this.uptimeMs());
    if (pin === NO_PIN) return true;
    pins.readName(pin, pinnedName);
    if (pinnedName.hasSuffix(pinnedName.labels, name.octets, 0, name.length)) return false;
    return rules.nameRule(pinnedName, flow.port, flow.protocol, PINNED) !== NO_RULE;
  }

  /** The rule for the flow in hand, whose name is in `name`; `pin` is the one of that name, if any. */
  private judgeShown(pin: number): void {
    const { flow, name, rules } = this;
    const pinned = pin === NO_PIN ? NOT_PINNED : pinnedAs(this.pinned.isPrivate(pin));
    const isStandIn = this.standIns?.has(flow.words, 0) === true;
    const fixed = isStandIn ? NO_RULE : rules.addressRule(flow.words, 0, flow.port, flow.protocol);
    this.rule = Math.min(fixed, rules.nameRule(name, flow.port, flow.protocol, pinned));
  }

  /**
   * Whether an open flow to the address at `words[at]` could still be, by the policy as it is. One that had shown a name,
   * which is in `name` then, is judged by that; another as if it began now.
   */
  holds(words: Int32Array, at: number, port: number, protocol: number, isNamed: boolean): boolean {
    const { flow } = this;
    const all = flow.candidates(words, at);
    for (let i = 0; i < all; i++) {
      flow.take(i, words, at);
      this.flow.port = port;
      this.flow.protocol = protocol;
      const holds = isNamed ? this.holdsNamed() : this.holdsUnnamed();
      if (!holds && !this.config.audit) return false;
    }
    return true;
  }

  private holdsNamed(): boolean {
    this.judgeShown(this.pins.find(this.name, this.flow.words, 0));
    return this.rules.allows(this.rule) && !this.isStandInOfAnother();
  }

  /** Where a name has to be shown, it can be no more. */
  private holdsUnnamed(): boolean {
    const verdict = this.judge();
    if (verdict === GO && this.flow.protocol === OVER_UDP && this.goesAnotherWay(NO_ADDRESS)) return false;
    return verdict === GO || (verdict === CHECK && this.lenient);
  }

  /**
   * Notes that the flow to this address is not let on for `reason`, which is no rule's or a limit's of `rule`; a name that was
   * shown is in hand, if any.
   */
  refusedFlow(words: Int32Array, port: number, protocol: number, reason: number, rule = NO_RULE): void {
    this.flow.protocol = protocol;
    this.flow.port = port;
    for (let word = 0; word < WORDS; word++) this.flow.words[word] = words[word];
    this.rule = rule;
    this.refused(reason);
  }

  private refused(reason: number): void {
    this.counts.deny(this.rule);
    const named = this.name.labels > 0 ? this.name : null;
    this.denials.note(this.flow, named, reason, this.rule === NO_RULE ? -1 : this.rule);
  }
}

function isLetThrough(verdict: number): boolean {
  return verdict === GO || verdict === CHECK;
}
