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
import type { Ipv6Words, PolicyConfig } from "../config.ts";
import { POLICY_UDP_REMOTES_MAX } from "../limits.ts";
import { dropReason } from "../metrics/drop-reasons.ts";
import { EMBEDDED_MAX, embeddedIpv4, isIsatap } from "../network/addresses.ts";
import { CHECK, GO, HERE, reasonOf, refuse, ticketOf, wait } from "../network/destinations.ts";
import type { FlowJudge, Wish, Wish6 } from "../network/judge.ts";
import { setMapped } from "../wire/mapped-address.ts";
import { extractIpv4, isOfPrefix, type Nat64Prefix } from "../wire/translated-address.ts";
import { DNS_PORT } from "../wire/udp.ts";
import { Denials, type FlowInHand } from "./denials.ts";
import { Name } from "./name.ts";
import { NO_PIN, Pins } from "./pins.ts";
import { CHECK_NONE, checkOfPort, NO_RULE, NOT_PINNED, PINNED, PINNED_PRIVATE, RuleSet } from "./rule-set.ts";
import { OVER_TCP, OVER_UDP } from "./targets.ts";

const NO_SUCH_RULE = dropReason("policy-no-rule");
const DENIED = dropReason("policy-denied");
const UNNAMED = dropReason("policy-address-unnamed");
const MISMATCH = dropReason("policy-name-mismatch");
const NAME_PRIVATE = dropReason("policy-name-private");
/** A datagram to somebody else's port 53: answered in their stead, and counted under this only where that fails. */
const RESOLVER = dropReason("policy-resolver");

const WORDS = 4;
const HASH_PRIME = 0x9e3779b1 | 0;

export interface PolicyParts {
  readonly config: PolicyConfig;
  /** Milliseconds of a clock that does not wrap. */
  readonly uptimeMs: () => number;
  /** What else has a say once the policy has let a flow through, or null. */
  readonly narrower: FlowJudge | null;
  readonly udpTimeoutMs: number;
  /** Whether the guest has a DNS address: questions to others can be answered then. */
  readonly hasDns: boolean;
}

class Flow implements FlowInHand {
  readonly words = new Int32Array(WORDS);
  port = 0;
  protocol = OVER_TCP;
}

export class Policy implements FlowJudge {
  readonly pins: Pins;
  readonly denials = new Denials();
  rules: RuleSet;
  config: PolicyConfig;
  /** Flows that each rule let through and did not, the default last: those of a rule that stays are kept. */
  allowed: Float64Array;
  denied: Float64Array;
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
  private readonly flow = new Flow();
  /** The prefix of the network's translator, if it has one. */
  nat64: Nat64Prefix | null = null;
  readonly embedded = new Int32Array(EMBEDDED_MAX);
  private ownsDns = false;
  private hostAddresses: readonly Ipv6Words[] = [];
  // Remotes of UDP: four words, port, verdict, when it was last asked, and what was known then.
  private readonly udpWords = new Int32Array(POLICY_UDP_REMOTES_MAX * WORDS);
  private readonly udpPort = new Int32Array(POLICY_UDP_REMOTES_MAX);
  private readonly udpVerdict = new Int32Array(POLICY_UDP_REMOTES_MAX);
  private readonly udpAskedAt = new Float64Array(POLICY_UDP_REMOTES_MAX);
  private readonly udpGeneration = new Int32Array(POLICY_UDP_REMOTES_MAX);

  constructor(private readonly parts: PolicyParts) {
    this.config = parts.config;
    this.rules = new RuleSet(parts.config);
    this.pins = new Pins(parts.config.pinGraceMs);
    this.allowed = new Float64Array(parts.config.rules.length + 1);
    this.denied = new Float64Array(parts.config.rules.length + 1);
    this.takeDns();
  }

  private takeDns(): void {
    this.ownsDns = this.parts.hasDns && this.config.default === "deny" && !this.config.audit;
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
    const { allowed, denied } = this;
    const last = this.config.rules.length;
    const carry = (counts: Float64Array): Float64Array =>
      Float64Array.from([...before, last], (old) => (old < 0 ? 0 : (counts[old] ?? 0)));
    this.config = config;
    this.rules = new RuleSet(config);
    this.rules.setHostAddresses(this.hostAddresses);
    this.allowed = carry(allowed);
    this.denied = carry(denied);
    this.denials.renumber(before);
    this.pins.graceMs = config.pinGraceMs;
    this.takeDns();
    this.udpPort.fill(0);
    this.pins.generation = (this.pins.generation + 1) | 0;
  }

  // --- flows -------------------------------------------------------------------------------------------------------

  tcp(wish: Wish): number {
    this.flow.protocol = OVER_TCP;
    this.flow.port = wish.remotePort;
    setMapped(this.flow.words, 0, wish.remoteAddress);
    const verdict = this.settle(this.judge());
    return isLetThrough(verdict) ? this.narrow(verdict, this.parts.narrower?.tcp(wish) ?? GO) : verdict;
  }

  tcp6(wish: Wish6): number {
    this.flow.protocol = OVER_TCP;
    this.flow.port = wish.remotePort;
    const verdict = this.settle(this.judge6(wish.pair, WORDS));
    return isLetThrough(verdict) ? this.narrow(verdict, this.parts.narrower?.tcp6(wish) ?? GO) : verdict;
  }

  udp(wish: Wish, nowMs: number): number {
    setMapped(this.flow.words, 0, wish.remoteAddress);
    const verdict = this.udpVerdictOf(this.flow.words, 0, wish.remotePort);
    return verdict === GO ? (this.parts.narrower?.udp(wish, nowMs) ?? GO) : verdict;
  }

  udp6(wish: Wish6, nowMs: number): number {
    const verdict = this.udpVerdictOf(wish.pair, WORDS, wish.remotePort);
    return verdict === GO ? (this.parts.narrower?.udp6(wish, nowMs) ?? GO) : verdict;
  }

  /** What another judge says of a flow that is let through; who has yet to decide does so before a name is looked for. */
  private narrow(verdict: number, other: number): number {
    if (other === GO) return verdict;
    const ticket = ticketOf(other);
    return ticket >= 0 ? wait(ticket, verdict) : other;
  }

  /**
   * UDP is judged once per remote: an allowed one stays so as long as datagrams go there, as a mapping would; a refused one
   * until something more is known.
   */
  private udpVerdictOf(words: Int32Array, at: number, port: number): number {
    const i = udpSlot(words, at, port);
    const own = i * WORDS;
    const { udpWords } = this;
    const uptime = this.parts.uptimeMs();
    let isKnown = this.udpPort[i] === port && uptime - this.udpAskedAt[i] < this.parts.udpTimeoutMs;
    for (let word = 0; word < WORDS && isKnown; word++) isKnown = udpWords[own + word] === words[at + word];
    if (isKnown && (this.udpVerdict[i] === GO || this.udpGeneration[i] === this.pins.generation)) {
      if (this.udpVerdict[i] === GO) this.udpAskedAt[i] = uptime;
      return this.udpVerdict[i];
    }
    for (let word = 0; word < WORDS; word++) udpWords[own + word] = words[at + word];
    this.flow.protocol = OVER_UDP;
    this.flow.port = port;
    const isIpv4 = words === this.flow.words;
    const verdict = this.settle(isIpv4 ? this.judge() : this.judge6(words, at));
    this.udpPort[i] = port;
    this.udpVerdict[i] = verdict;
    this.udpAskedAt[i] = uptime;
    this.udpGeneration[i] = this.pins.generation;
    return verdict;
  }

  /** Under audit what would be refused goes, and nothing is waited for; it is noted either way. */
  private settle(verdict: number): number {
    if (verdict === HERE || verdict === refuse(RESOLVER)) return verdict;
    const { audit } = this.config;
    if (verdict === CHECK && !audit) return CHECK;
    if (verdict === GO || verdict === CHECK) {
      this.tally(this.allowed);
      return GO;
    }
    this.tally(this.denied);
    const named = this.pinnedName.labels > 0 ? this.pinnedName : null;
    this.denials.note(this.flow, named, reasonOf(verdict), this.rule === NO_RULE ? -1 : this.rule);
    return audit ? GO : verdict;
  }

  private tally(counts: Float64Array): void {
    counts[this.rule === NO_RULE ? counts.length - 1 : this.rule]++;
  }

  /** The flow in hand over IPv6, to the address at `words[at]`: the strictest verdict of all that it may be. */
  private judge6(words: Int32Array, at: number): number {
    const inside = this.inner(words, at);
    const all = this.candidates(inside, words, at);
    let strictest = GO;
    let isLenient = true;
    for (let i = 0; i < all; i++) {
      this.take(i, inside, words, at);
      const verdict = this.judge();
      if (verdict !== GO && verdict !== CHECK) return verdict;
      if (verdict === GO) continue;
      strictest = CHECK;
      isLenient = isLenient && this.lenient;
    }
    this.lenient = isLenient;
    return strictest;
  }

  /** How many addresses the one at `words[at]` may be: those inside, and itself where these leave it open. */
  private candidates(inside: number, words: Int32Array, at: number): number {
    return inside === 0 || isIsatap(words, at) ? inside + 1 : inside;
  }

  /** Takes the `i`-th of them in hand. */
  private take(i: number, inside: number, words: Int32Array, at: number): void {
    if (i < inside) setMapped(this.flow.words, 0, this.embedded[i]);
    else for (let word = 0; word < WORDS; word++) this.flow.words[word] = words[at + word];
  }

  /** Puts the IPv4 addresses in the IPv6 address at `words[at]` into `embedded`. Returns how many. */
  inner(words: Int32Array, at: number): number {
    const { nat64, embedded } = this;
    if (nat64 === null || !isOfPrefix(words, at, nat64)) return embeddedIpv4(words, at, embedded);
    embedded[0] = extractIpv4(words, at, nat64.length);
    return 1;
  }

  /** The flow in hand. */
  private judge(): number {
    const { flow, rules } = this;
    this.pinnedName.labels = 0;
    this.byName = false;
    const fixed = rules.addressRule(flow.words, 0, flow.port, flow.protocol);
    if (flow.port === DNS_PORT && this.ownsDns && fixed === NO_RULE) {
      return flow.protocol === OVER_TCP ? HERE : refuse(RESOLVER);
    }
    const allowing = this.allowingRule();
    const isAllowed = rules.allows(fixed);
    if (flow.protocol === OVER_TCP) {
      const check = isAllowed ? checkOfPort(flow.port) : rules.checkOf(allowing, flow.port);
      if (check !== CHECK_NONE) return this.judgeChecked(fixed, allowing, check);
    }
    const named = this.decidingRule();
    this.rule = Math.min(fixed, named);
    this.byName = named < fixed;
    return rules.allows(this.rule) ? GO : this.refusal();
  }

  /** A flow to a port whose protocol says a name. */
  private judgeChecked(fixed: number, allowing: number, check: number): number {
    const { flow, rules } = this;
    this.check = check;
    if (rules.allows(fixed)) {
      this.rule = fixed;
      this.lenient = true;
      return rules.firstDenying(flow.port, flow.protocol) < fixed ? CHECK : GO;
    }
    this.lenient = false;
    this.byName = allowing < fixed;
    this.rule = Math.min(allowing, fixed);
    return this.byName ? CHECK : this.refusal();
  }

  /** The first rule that allows one of the names pinned to the flow's address. Notes the last of them. */
  private allowingRule(): number {
    const { flow, pins, rules, pinnedName } = this;
    let first = NO_RULE;
    let firstPin = NO_PIN;
    this.sawPrivate = false;
    if (!rules.hasNames && !this.config.audit) return NO_RULE;
    const uptime = this.parts.uptimeMs();
    for (let pin = pins.firstOf(flow.words, 0); pin !== NO_PIN; pin = pins.nextOf(pin)) {
      if (!pins.counts(pin, uptime)) continue;
      pins.readName(pin, pinnedName);
      const isPrivate = this.isPrivatePin(pin);
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

  /** Whether the pin's address is private, as things are: this host may have got it since. */
  private isPrivatePin(pin: number): boolean {
    const { pins, rules } = this;
    return !pins.isOwn(pin) && rules.isPrivate(pins.words, pin * WORDS);
  }

  /** A name leads to the address and would be allowed, were the address not private. */
  private sawPrivate = false;

  /** The first rule, allowing or denying, of the names pinned to the flow's address. */
  private decidingRule(): number {
    const { flow, pins, rules, pinnedName } = this;
    let first = NO_RULE;
    let firstPin = NO_PIN;
    if (!rules.hasNames) return NO_RULE;
    const uptime = this.parts.uptimeMs();
    for (let pin = pins.firstOf(flow.words, 0); pin !== NO_PIN; pin = pins.nextOf(pin)) {
      if (!pins.counts(pin, uptime)) continue;
      pins.readName(pin, pinnedName);
      const rule = rules.nameRule(pinnedName, flow.port, flow.protocol, pinnedAs(this.isPrivatePin(pin)));
      if (rule >= first) continue;
      first = rule;
      firstPin = pin;
    }
    if (firstPin !== NO_PIN) pins.readName(firstPin, pinnedName);
    return first;
  }

  /** Why the flow in hand is refused; `rule` decided. */
  private refusal(): number {
    const { flow, rules } = this;
    if (this.rule !== NO_RULE) return refuse(DENIED);
    if (this.sawPrivate) return refuse(NAME_PRIVATE);
    const isForNames = rules.firstAllowing(flow.port, flow.protocol) !== NO_RULE;
    return refuse(isForNames ? UNNAMED : NO_SUCH_RULE);
  }

  // --- names that are shown ----------------------------------------------------------------------------------------

  /**
   * Whether a connection to the address at `words[at]` may go on now that it has shown `name`. Returns HANDLED (0) or the
   * reason why not, which is noted.
   */
  shown(words: Int32Array, at: number, port: number): number {
    const inside = this.inner(words, at);
    const all = this.candidates(inside, words, at);
    let reason = 0;
    this.flow.protocol = OVER_TCP;
    this.flow.port = port;
    for (let i = 0; i < all && reason === 0; i++) {
      this.take(i, inside, words, at);
      reason = this.shownAt();
    }
    if (reason === 0) this.tally(this.allowed);
    return reason;
  }

  private shownAt(): number {
    const { name, pins, flow } = this;
    this.judgeShown(pins.leading(name, flow.words, 0, this.parts.uptimeMs()));
    if (this.rules.allows(this.rule)) return 0;
    const reason = this.rule === NO_RULE ? MISMATCH : DENIED;
    this.refused(reason);
    return reason;
  }

  /** The rule for the flow in hand, whose name is in `name`; `pin` is the one of that name, if any. */
  private judgeShown(pin: number): void {
    const { flow, name, rules } = this;
    const pinned = pin === NO_PIN ? NOT_PINNED : pinnedAs(this.isPrivatePin(pin));
    const fixed = rules.addressRule(flow.words, 0, flow.port, flow.protocol);
    this.rule = Math.min(fixed, rules.nameRule(name, flow.port, flow.protocol, pinned));
  }

  /**
   * Whether an open flow to the address at `words[at]` could still be, by the policy as it is. One that had shown a name,
   * which is in `name` then, is judged by that; another as if it began now.
   */
  holds(words: Int32Array, at: number, port: number, protocol: number, isNamed: boolean): boolean {
    if (this.config.audit) return true;
    const inside = this.inner(words, at);
    const all = this.candidates(inside, words, at);
    for (let i = 0; i < all; i++) {
      this.take(i, inside, words, at);
      this.flow.port = port;
      this.flow.protocol = protocol;
      if (!(isNamed ? this.holdsNamed() : this.holdsUnnamed())) return false;
    }
    return true;
  }

  private holdsNamed(): boolean {
    this.judgeShown(this.pins.find(this.name, this.flow.words, 0));
    return this.rules.allows(this.rule);
  }

  /** Where a name has to be shown, it can be no more. */
  private holdsUnnamed(): boolean {
    const verdict = this.judge();
    return verdict === GO || (verdict === CHECK && this.lenient);
  }

  /** Notes that the connection to this address is not let on for `reason`; a name that was shown is in hand, if any. */
  refusedFlow(words: Int32Array, at: number, port: number, reason: number): void {
    this.flow.protocol = OVER_TCP;
    this.flow.port = port;
    for (let word = 0; word < WORDS; word++) this.flow.words[word] = words[at + word];
    this.rule = NO_RULE;
    this.refused(reason);
  }

  private refused(reason: number): void {
    this.tally(this.denied);
    const named = this.name.labels > 0 ? this.name : null;
    this.denials.note(this.flow, named, reason, this.rule === NO_RULE ? -1 : this.rule);
  }
}

function isLetThrough(verdict: number): boolean {
  return verdict === GO || verdict === CHECK;
}

function pinnedAs(isPrivate: boolean): number {
  return isPrivate ? PINNED_PRIVATE : PINNED;
}

function udpSlot(words: Int32Array, at: number, port: number): number {
  let mixed = Math.imul(port, HASH_PRIME);
  for (let word = 0; word < WORDS; word++) mixed = Math.imul(mixed ^ words[at + word], 0x85ebca6b);
  return (mixed >>> 16) & (POLICY_UDP_REMOTES_MAX - 1);
}
